"""A program run on whole maps once, to keep them, and on windows of them from then on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nbviz.analysis.incremental.graph import Node, Program, filled_in
from nbviz.analysis.incremental.operations import (
    GlobalMean,
    Operation,
    Placewise,
    Pooling,
    Whole,
    Windowed,
)
from nbviz.analysis.incremental.reach import Reach
from nbviz.analysis.incremental.windows import KeptMap, Region
from nbviz.analysis.layers import Layer
from nbviz.analysis.masked_boxes import MaskedBatch, expect_logits, place_sums

__all__ = ["Execution", "Part"]

# From this share of a map on, whole maps cost less than windows and gathering them.
_MOST = 0.85


@dataclass(frozen=True, eq=False)
class Part:
    """A batch of boxes that has come to the cut: its value there (all it has, if there is none)."""

    numbers: NDArray[np.int64]
    values: dict[int, Any]
    sums: dict[str, Tensor]


class Execution:
    """A program with the maps of one image.

    Parameters
    ----------
    program : Program
    image : Tensor, shape (1, C, H, W)
        On the program's device; lies channels last.
    watched : mapping of str to Layer
        Layers whose maps are summed over places.

    Attributes
    ----------
    logits : Tensor, shape (classes,)
    sums : mapping of str to Tensor, shape (channels,)
    """

    def __init__(self, program: Program, image: Tensor, watched: Mapping[str, Layer]) -> None:
        self.program = program
        self.cut = program.cut()
        self._last = program.last_uses()
        self._watched = watched
        self._wanted = program.kept(watched)
        self.kept: dict[int, KeptMap] = {}
        values: dict[int, Any] = {0: image}
        if 0 in self._wanted:
            self.kept[0] = KeptMap(image)
        sums = self._run(values, range(1, len(program.nodes)), None, 1)
        self.logits = self._output(values)[0]
        self.sums: Mapping[str, Tensor] = {name: value[0] for name, value in sums.items()}

    def to_cut(self, pixels: Tensor, numbers: NDArray[np.int64], rows: Reach, cols: Reach) -> Part:
        """What changes up to the cut as boxes hold other pixels.

        Parameters
        ----------
        pixels : Tensor, shape (n, C, h, w)
        numbers : ndarray, shape (n,)
            Which of the boxes that `rows` and `cols` were made for these are.
        """
        windows = _Windows(rows, cols, numbers)
        tops, lefts, _ = windows.of(0, self.program.nodes[0])
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        values: dict[int, Any] = {0: Region(self.kept.get(0), pixels, tops, lefts)}
        end = len(self.program.nodes) if self.cut is None else self.cut + 1
        return Part(numbers, values, self._run(values, range(1, end), windows, len(numbers)))

    def behind_cut(self, parts: Sequence[Part]) -> MaskedBatch:
        """The answers to all boxes of some batches."""
        numbers = np.concatenate([part.numbers for part in parts])
        known = parts[0].sums
        sums = {name: torch.cat([part.sums[name] for part in parts]) for name in known}
        if self.cut is None:
            outputs = [self._output(part.values) for part in parts]
            return MaskedBatch(numbers, torch.cat(outputs), sums)
        values = {self.cut: torch.cat([part.values[self.cut] for part in parts])}
        rest = range(self.cut + 1, len(self.program.nodes))
        sums |= self._run(values, rest, None, len(numbers))
        return MaskedBatch(numbers, self._output(values), sums)

    def bytes_each(self, rows: Reach, cols: Reach, element: int) -> int:
        """About what one box takes at most, with `element` bytes a value."""
        each = 0
        for k, node in enumerate(self.program.nodes):
            if node.local and len(node.shape) == 4:
                area = int(rows.length[k].max()) * int(cols.length[k].max())
                # its windows, and once more behind the kept map
                each += area * node.shape[1] * element * (2 if k in self.kept else 1)
            else:
                each += int(np.prod(node.shape)) * element
        return max(each, 1)

    def _output(self, values: Mapping[int, Any]) -> Tensor:
        return expect_logits(filled_in(self.program.output, lambda k: _whole(values[k])))

    def _run(
        self, values: dict[int, Any], steps: range, windows: _Windows | None, count: int
    ) -> dict[str, Tensor]:
        """Run steps in order; values that nobody needs any more are let go."""
        sums: dict[str, Tensor] = {}
        keeping = not self.kept.keys() >= self._wanted
        for k in steps:
            node = self.program.nodes[k]
            values[k] = self._value(k, node, [values[i] for i in node.inputs], windows, count)
            if keeping and k in self._wanted:
                self.kept[k] = KeptMap(values[k])
            if node.name in self._watched:
                sums[node.name] = _sums(self._watched[node.name], values[k])
            for i in node.inputs:
                if self._last[i] == k:
                    values.pop(i, None)
        return sums

    def _value(
        self, k: int, node: Node, given: list[Any], windows: _Windows | None, count: int
    ) -> Any:
        operation = node.operation
        if isinstance(operation, Whole):
            if operation.reads_shape:
                shape = (count, *self.program.nodes[node.inputs[0]].shape[1:])
                return operation.run(torch.empty(shape, device="meta"))
            return operation.run(*(_whole(value) for value in given))
        if isinstance(operation, GlobalMean) and isinstance(given[0], Region):
            return operation.on_region(given[0])
        if windows is not None and node.local and all(isinstance(v, Region) for v in given):
            tops, lefts, size = windows.of(k, node)
            if size[0] * size[1] < _MOST * node.shape[-2] * node.shape[-1]:
                changed = _on_windows(operation, given, tops, lefts, size)
                return Region(self.kept.get(k), changed, tops, lefts)
        return _on_whole(operation, [_whole(value) for value in given])


def _on_windows(
    operation: Operation | None,
    given: list[Region],
    tops: NDArray[np.int32],
    lefts: NDArray[np.int32],
    size: tuple[int, int],
) -> Tensor:
    if isinstance(operation, Windowed | Pooling):
        return operation.on_window(given[0], tops, lefts, size)
    if isinstance(operation, Placewise):
        return operation(*(region.window(tops, lefts, size) for region in given))
    raise TypeError(f"expected an operation on windows, got {operation!r}")


def _on_whole(operation: Operation | None, given: list[Tensor]) -> Tensor:
    if isinstance(operation, Windowed | Pooling | GlobalMean):
        return operation.on_whole(given[0])
    if isinstance(operation, Placewise):
        return operation(*given)
    raise TypeError(f"expected an operation on maps, got {operation!r}")


def _whole(value: Any) -> Any:
    return value.whole() if isinstance(value, Region) else value


def _sums(layer: Layer, value: Any) -> Tensor:
    if isinstance(value, Region) and value.kept is not None and value.kept.is_finite:
        return value.sums().to(torch.promote_types(value.changed.dtype, torch.float32))
    return place_sums(layer, _whole(value))


class _Windows:
    """Where the windows of a batch of boxes lie in each map, all of one size."""

    def __init__(self, rows: Reach, cols: Reach, numbers: NDArray[np.int64]) -> None:
        self._axes = [
            (start, (reach.stop[:, own] - start).max(1))
            for reach in (rows, cols)
            for own in [reach.number[numbers]]
            for start in [reach.start[:, own]]
        ]

    def of(
        self, k: int, node: Node
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], tuple[int, int]]:
        """First rows, first columns, and size of the windows in the map of node `k`."""
        (tops, heights), (lefts, widths) = self._axes
        size = (int(heights[k]), int(widths[k]))
        return (
            np.minimum(tops[k], np.int32(node.shape[-2] - size[0])),
            np.minimum(lefts[k], np.int32(node.shape[-1] - size[1])),
            size,
        )
