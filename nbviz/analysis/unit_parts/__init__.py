"""What one value of a layer is made of: `take_apart` gives its parts, for each kind of layer.

`operations` brings modules and functions to one form, `windows` and `values` hold the arithmetic
(one function a kind, from a `Question` to `Parts`), `terms` what they share, and `places` the way
from a value back to the units of earlier layers. What is not known here is "other", and says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn

from nbviz.analysis.unit_parts import values, windows
from nbviz.analysis.unit_parts.operations import (
    ARITHMETIC,
    CONCATENATIONS,
    function_of,
    is_activation,
    is_identity,
    is_mover,
    settings_of,
)
from nbviz.analysis.unit_parts.terms import Opaque, Parts, Question, number, single

__all__ = ["take_apart"]

_BY_FUNCTION: dict[str, Callable[[Question, dict[str, Any]], Parts]] = {
    "conv1d": windows.convolution,
    "conv2d": windows.convolution,
    "conv_transpose1d": windows.transposed_convolution,
    "conv_transpose2d": windows.transposed_convolution,
    "linear": windows.linear,
    "max_pool1d": windows.max_pool,
    "max_pool2d": windows.max_pool,
    "adaptive_max_pool1d": windows.adaptive_max_pool,
    "adaptive_max_pool2d": windows.adaptive_max_pool,
    "avg_pool1d": windows.average_pool,
    "avg_pool2d": windows.average_pool,
    "adaptive_avg_pool1d": windows.adaptive_average_pool,
    "adaptive_avg_pool2d": windows.adaptive_average_pool,
    "mean": windows.mean,
    "batch_norm": values.batch_norm,
    "instance_norm": values.instance_norm,
    "layer_norm": values.layer_norm,
    "group_norm": values.group_norm,
    "rms_norm": values.rms_norm,
}


def take_apart(question: Question) -> Parts:
    """The parts of a value; of operation "other", with a note, where it cannot be taken apart."""
    call, module = question.call, question.module
    try:
        parts = _parts(question)
    except Opaque as reason:
        return _other(question, f"{call.kind} cannot be taken apart: {reason}")
    if parts is None:
        return _other(question, f"{call.kind} is not taken apart into terms here")
    if _may_differ(call.kind, module) and not _near(parts, question.captured):
        return _other(question, f"{call.kind} computes in a way of its own, not known here")
    return parts


def _parts(question: Question) -> Parts | None:
    call, module = question.call, question.module
    function = function_of(call.kind, module)
    settings = settings_of(call, module)
    if function in _BY_FUNCTION:
        return _BY_FUNCTION[function](question, settings)
    if function in ARITHMETIC:
        return values.arithmetic(question, settings, function)
    if function in CONCATENATIONS:
        return values.concatenation(question, settings)
    if is_mover(call.kind, module):
        return values.moved(question, settings)
    if is_identity(call.kind, module):
        return values.identity(question, settings)
    if is_activation(call.kind, module):
        return values.activation(question, settings)
    return None


def _other(question: Question, why: str) -> Parts:
    value = question.captured
    note = f"{why}; the value is the one that the network computed"
    return replace(single("other", value, f"= {number(value)}"), note=note)


def _may_differ(kind: str, module: nn.Module | None) -> bool:
    """Whether a layer may do something else than its name says: a home-made one, or dropout."""
    if module is None:
        return is_identity(kind, module)
    return not type(module).__module__.startswith("torch.")


def _near(parts: Parts, captured: float) -> bool:
    if not math.isfinite(captured):
        return True
    scale = max([abs(captured), *(abs(term.contribution) for term in parts.terms)])
    return abs(parts.value - captured) <= 0.02 * scale + 1e-12
