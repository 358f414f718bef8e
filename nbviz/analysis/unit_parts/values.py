"""Layers that make a value of a few single values: normalisation, sums, products, activations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nbviz.analysis.unit_parts.operations import (
    function_of_one_value,
    index_moved,
    mover_of,
)
from nbviz.analysis.unit_parts.places import Index
from nbviz.analysis.unit_parts.terms import (
    Opaque,
    Parts,
    Question,
    Reading,
    Term,
    float64,
    number,
    operand,
    single,
)

Settings = dict[str, Any]


def _normalised(
    question: Question,
    reading: Reading,
    statistics: tuple[float, float, float],
    scale: tuple[float, float] = (1.0, 0.0),
) -> Parts:
    """(x - mean) / sqrt(variance + eps) * weight + bias, as factor * x + rest."""
    mean, variance, eps = statistics
    weight, bias = scale
    factor = weight / np.sqrt(variance + eps)
    rest = bias - mean * factor
    x = reading.value(question.index)
    value = float(factor * x + rest)
    term = reading.term(question.index, _channel(question), float(factor * x), float(factor))
    expression = (
        f"({number(x)} - {operand(mean)}) / sqrt({number(variance)} + {number(eps)})"
        f" * {operand(weight)} + {operand(bias)} = {number(value)}"
    )
    named = {"mean": mean, "variance": variance, "eps": eps, "weight": weight, "bias": bias}
    return replace(
        single("normalisation", value, expression, [term], bias=float(rest)), statistics=named
    )


def _channel(question: Question) -> int:
    """Channel of the value: the last axis of features, the first of maps."""
    places = question.places
    unit = places.unit(question.index)
    return question.index[0] if unit is None else unit[0]


def _affine(settings: Settings, at: int | Index) -> tuple[float, float]:
    weight, bias = settings.get("weight"), settings.get("bias")
    return (
        1.0 if weight is None else float(weight[at]),
        0.0 if bias is None else float(bias[at]),
    )


def batch_norm(question: Question, settings: Settings) -> Parts:
    """The statistics are the stored ones; without any, those of this input."""
    reading = question.reading(settings["input"])
    channel = question.index[0]
    mean, variance = settings.get("running_mean"), settings.get("running_var")
    if mean is None or variance is None or settings.get("training") is True:
        return instance_norm(question, {**settings, "running_mean": None})
    statistics = float(mean[channel]), float(variance[channel]), settings.get("eps", 1e-5)
    return _normalised(question, reading, statistics, _affine(settings, channel))


def instance_norm(question: Question, settings: Settings) -> Parts:
    """The statistics are those of the value's channel."""
    if settings.get("running_mean") is not None and not settings.get(
        "use_input_stats", question.module is None
    ):
        return batch_norm(question, settings)
    reading, channel = question.reading(settings["input"]), question.index[0]
    statistics = _statistics(reading.tensor[0, channel], settings.get("eps", 1e-5))
    return _normalised(question, reading, statistics, _affine(settings, channel))


def group_norm(question: Question, settings: Settings) -> Parts:
    """The statistics are those of the channels in the value's group."""
    reading, channel = question.reading(settings["input"]), question.index[0]
    size = reading.tensor.shape[1] // settings["num_groups"]
    first = channel // size * size
    statistics = _statistics(reading.tensor[0, first : first + size], settings.get("eps", 1e-5))
    return _normalised(question, reading, statistics, _affine(settings, channel))


def layer_norm(question: Question, settings: Settings) -> Parts:
    """The statistics are those of all features at the value's place."""
    reading = question.reading(settings["input"])
    values, at = _features(question, reading.tensor, settings)
    statistics = _statistics(values, settings.get("eps", 1e-5))
    return _normalised(question, reading, statistics, _affine(settings, at))


def rms_norm(question: Question, settings: Settings) -> Parts:
    """Divided by the root of the mean square of all features at the value's place."""
    reading = question.reading(settings["input"])
    values, at = _features(question, reading.tensor, settings)
    eps = settings.get("eps")
    eps = torch.finfo(values.dtype).eps if eps is None else eps
    statistics = 0.0, float(np.square(float64(values)).mean()), eps
    return _normalised(question, reading, statistics, _affine(settings, at))


def _features(question: Question, x: Tensor, settings: Settings) -> tuple[Tensor, Index]:
    """The values that are normalised together, and the value's index among them."""
    shape = settings["normalized_shape"]
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    index, module = question.index, question.module
    own = module is not None and not type(module).__module__.startswith("torch.")
    if own and question.places.layout == "maps" and shape == (x.shape[1],):
        return x[0][:, index[1], index[2]], index[:1]  # channels first, as `LayerNorm2d`
    lead = len(index) - len(shape)
    return x[0][index[:lead]], index[lead:]


def _statistics(values: Tensor, eps: float) -> tuple[float, float, float]:
    numbers = float64(values)
    return float(numbers.mean()), float(numbers.var()), eps


def arithmetic(question: Question, settings: Settings, function: str) -> Parts:
    """A sum, difference, product or quotient of two."""
    first, second = settings["input"], settings.get("other")
    alpha = float(settings.get("alpha", 1) or 1)
    if settings.get("rounding_mode") is not None or second is None:
        msg = "it rounds its result" if second is not None else "it has one operand only"
        raise Opaque(msg)
    made = [_operation(question, function, first, second, alpha)]
    if function in {"sub", "div"}:  # `1 - x` comes as the same function, the other way round
        made.append(_operation(question, function, second, first, alpha))
    wrong = [abs(parts.value - question.captured) for parts in made]
    return made[1] if len(made) == 2 and wrong[1] < wrong[0] else made[0]


def _operation(question: Question, function: str, first: Any, second: Any, alpha: float) -> Parts:
    a, b = (_operand(question, side) for side in (first, second))
    if function == "add":
        value, signs = a + alpha * b, (1.0, alpha)
    elif function == "sub":
        value, signs = a - alpha * b, (1.0, -alpha)
    elif function == "mul":
        value, signs = a * b, (1.0, 1.0)
    else:
        value, signs = (a / b if b else float("nan")), (1.0, 1.0)
    terms = [
        _addend(question, side, sign) for side, sign in zip((first, second), signs, strict=True)
    ]
    mark = {"add": "+", "sub": "-", "mul": "*", "div": "/"}[function]
    times = "" if alpha == 1 else f"{number(alpha)} * "
    expression = f"{number(a)} {mark} {times}{operand(b)} = {number(value)}"
    sums = function in {"add", "sub"}
    return single("addition" if sums else "multiplication", value, expression, terms)


def _operand(question: Question, side: Any) -> float:
    if not isinstance(side, Tensor):
        return float(side)
    reading, index = _broadcast(question, side)
    return reading.value(index)


def _broadcast(question: Question, side: Tensor) -> tuple[Reading, Index]:
    """The operand's reading, and the index of its element that the value is made of."""
    shape, index = question.call.tensor.shape, (0, *question.index)
    reading = question.reading(side)
    at = index[len(shape) - side.ndim :]
    at = tuple(0 if size == 1 else i for i, size in zip(at, side.shape, strict=True))
    if side.ndim == len(shape):
        return reading, at[1:]
    return reading.with_batch(), at


def _addend(question: Question, side: Any, sign: float) -> Term:
    if not isinstance(side, Tensor):
        return constant(_channel(question), float(side), sign)
    reading, index = _broadcast(question, side)
    value = reading.value(index)
    return reading.term(index, _channel(question), value * sign, sign)


def constant(channel: int, value: float, sign: float) -> Term:
    """The term of a number in the code of the network."""
    cell = np.full((1, 1), value, np.float32)
    one = np.full((1, 1), sign, np.float32)
    return Term(None, channel, value * sign, cell, one, cell * one)


def concatenation(question: Question, settings: Settings) -> Parts:
    """The value itself, and which of the tensors it lies in."""
    call = question.call
    tensors: Any = call.args[0] if call.args else settings["tensors"]
    dim = settings.get("dim", call.args[1] if len(call.args) > 1 else 0)
    axis = dim % call.tensor.ndim - 1
    if axis < 0:
        msg = "it joins along the batch"
        raise Opaque(msg)
    index, left = list(question.index), question.index[axis]
    for number_, tensor in enumerate(tensors):
        if tensor.ndim != call.tensor.ndim:
            continue  # an empty tensor, which `cat` passes over
        if left < tensor.shape[axis + 1]:
            index[axis] = left
            reading = question.reading(tensor)
            value = reading.value(tuple(index))
            channel = left if axis == 0 else _channel(question)
            term = reading.term(tuple(index), channel, value)
            text = f"number {number_ + 1} of {len(tensors)} joined = {number(value)}"
            return single("concatenation", value, text, [term])
        left -= tensor.shape[axis + 1]
    msg = "the value lies in none of what it joins"
    raise Opaque(msg)


def moved(question: Question, settings: Settings) -> Parts:
    """A value that comes from another place, or is padding."""
    x, call = settings["input"], question.call
    at = index_moved(mover_of(call, question.module), tuple(x.shape[1:]), question.index)
    if at is None:
        value = question.captured
        return single("identity", value, f"padding = {number(value)}")
    reading = question.reading(x)
    value = reading.value(at)
    term = reading.term(at, _channel(question), value)
    return single("identity", value, f"moved here = {number(value)}", [term])


def identity(question: Question, settings: Settings) -> Parts:
    """The value itself."""
    reading = question.reading(settings["input"])
    value = reading.value(question.index)
    term = reading.term(question.index, _channel(question), value)
    return single("identity", value, f"passed on unchanged = {number(value)}", [term])


_EXPRESSIONS: dict[str, Callable[[str], str]] = {
    "relu": lambda x: f"max(0, {x})",
    "relu6": lambda x: f"min(6, max(0, {x}))",
    "sigmoid": lambda x: f"1 / (1 + exp(-({x})))",
    "silu": lambda x: f"{x} * sigmoid({x})",
    "hardswish": lambda x: f"{x} * min(6, max(0, {x} + 3)) / 6",
    "hardsigmoid": lambda x: f"min(6, max(0, {x} + 3)) / 6",
}


def activation(question: Question, settings: Settings) -> Parts:
    """A function of one value, computed anew in float64."""
    one = function_of_one_value(question.call, question.module, question.index)
    if one is None:
        msg = "its function cannot be called by itself"
        raise Opaque(msg)
    reading = question.reading(settings["input"])
    x = reading.value(question.index)
    value = one(x)
    kind = question.call.kind
    written = _EXPRESSIONS.get(kind.lower())
    term = reading.term(question.index, _channel(question), x)
    text = written(number(x)) if written else f"{kind}({number(x)})"
    return single("activation", value, f"{text} = {number(value)}", [term])
