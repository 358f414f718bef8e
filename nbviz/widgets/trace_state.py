"""A `UnitTrace` packed for the browser: the value of the trait ``trace`` of an ActivationBrowser.

Names and places are JSON, all numbers with a fraction are arrays, since JSON has no NaN:
``numbers`` float64 (steps, 5) with value, captured, bias, sum of the other contributions, and
difference; ``statistics`` float64 (steps, 5), NaN where a step has none; ``contributions`` float32,
those of all terms one after the other; ``channels`` float32, those of all input channels likewise;
``cells`` float32, of each term in turn the patch, the kernel and the products.
``js/activation-browser/trace-state.ts`` reads it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nbviz.analysis.receptive_field import Box
from nbviz.analysis.unit_trace import Step, Term, UnitTrace
from nbviz.widgets import wire

STATISTICS = ("mean", "variance", "eps", "weight", "bias")

# A heat map of more cells than this cannot be told apart, and a bar chart of more bars neither.
_CELLS_A_SIDE = 24
_BARS = 512


def trace_state(trace: UnitTrace) -> dict[str, Any]:
    """The trace packed: steps as JSON, numbers as arrays; some tens of kB at most.

    Windows of more than 24 rows or columns are made coarser, and say by how much.

    Examples
    --------
    >>> from nbviz.analysis.unit_trace import unit_trace
    >>> from nbviz.network import Network
    >>> network = Network(torch.nn.Conv2d(1, 2, 3), input_shape=(1, 8, 8))
    >>> packed = trace_state(unit_trace(network, torch.ones(1, 8, 8), "Conv2d", (0, 2, 3)))
    >>> packed["steps"][0]["operation"], wire.unpack(packed)["cells"].shape
    ('convolution', (27,))
    """
    cells: list[np.ndarray] = []
    contributions: list[float] = []
    steps: list[dict[str, Any]] = []
    for step in trace.steps:
        terms = []
        for term, cell in step.coarse_terms(_CELLS_A_SIDE):
            cells += [term.patch.ravel(), term.kernel.ravel(), term.products.ravel()]
            contributions.append(term.contribution)
            terms.append(_term(term, cell))
        steps.append({**_step(step), "terms": terms})
    bars = [step.coarse_contributions(_BARS) for step in trace.steps]
    for packed, line in zip(steps, bars, strict=True):
        packed["bars"] = len(line)
    return wire.pack(
        {
            "numbers": np.array([_numbers(step) for step in trace.steps], np.float64),
            "statistics": np.array(
                [[step.statistics.get(n, np.nan) for n in STATISTICS] for step in trace.steps]
            ),
            "contributions": np.array(contributions, np.float64),
            "channels": np.concatenate(bars),
            "cells": np.concatenate([np.zeros(0), *cells]).astype(np.float32),
        },
        layer=trace.layer,
        unit=list(trace.unit),
        chosen=trace.chosen,
        steps=steps,
    )


def _numbers(step: Step) -> tuple[float, ...]:
    return step.value, step.captured, step.bias, step.others.sum, step.difference


def _step(step: Step) -> dict[str, Any]:
    return {
        "layer": step.layer,
        "kind": step.kind,
        "operation": step.operation,
        "unit": list(step.unit),
        "expression": step.expression,
        "note": step.note,
        "agrees": step.agrees,
        "others": step.others.count,
        "sources": list(step.sources),
        "inputs": len(step.contributions),
        "firstChannel": step.first_channel,
        "window": _box(step.window),
        "mapSize": None if step.map_size is None else list(step.map_size),
    }


def _term(term: Term, cell: tuple[int, int]) -> dict[str, Any]:
    return {
        "source": term.source,
        "channel": term.channel,
        "shape": list(term.patch.shape),
        "cell": list(cell),
        "box": _box(term.box),
        "fromUnit": None if term.from_unit is None else list(term.from_unit),
    }


def _box(box: Box | None) -> list[int] | None:
    return None if box is None else [box.top, box.left, box.bottom, box.right]
