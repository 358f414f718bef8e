"""Where a unit lies in a tensor, and which unit of an earlier layer an element was.

A unit is (channel, row, column), whatever the layout of a layer: `Places` turns it into an index
and back. `Origin` follows an element of what a layer reads back to the layer that computed it,
through views and rearrangements, by its address in memory or by equality of all values, never by
guessing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from nbviz.analysis.layers import Layer, Layout

Unit = tuple[int, int, int]
Index = tuple[int, ...]

_INPUT_LAYOUTS: dict[int, Layout] = {3: "maps", 2: "signal", 1: "vector"}


@dataclass(frozen=True)
class Places:
    """The units of a tensor of one layout; indices and shapes are without the batch dimension.

    Attributes
    ----------
    layout : str
        As `Layer.layout`.
    shape : tuple of int
        Of the tensor.
    grid : pair of int
        Rows and columns of places; (1, number) where they lie in a line.
    prefix : int
        Tokens before the grid's. Their units are (channel, -1, number of the token).
    """

    layout: Layout
    shape: tuple[int, ...]
    grid: tuple[int, int]
    prefix: int = 0

    @classmethod
    def of_layer(cls, layer: Layer) -> Places:
        """The units of a layer's output."""
        shape, layout = layer.output_shape, layer.layout
        grid = layer.grid or (1, 1)
        if layout == "tokens" and layer.grid is None:
            grid = (1, shape[0])
        elif layout == "signal":
            grid = (1, shape[1])
        return cls(layout, shape, grid, layer.prefix_tokens if layer.grid else 0)

    @classmethod
    def of_input(cls, shape: tuple[int, ...]) -> Places:
        """The units of the network's input: pixels, samples, or values of a vector."""
        layout = _INPUT_LAYOUTS.get(len(shape), "other")
        grids = {"maps": shape[-2:], "signal": (1, shape[-1])}
        return cls(layout, shape, grids.get(layout, (1, 1)))  # type: ignore[arg-type]

    @property
    def channels(self) -> int:
        """Number of channels; 0 for the layout "other", which has no units."""
        if self.layout == "other":
            return 0
        return self.shape[0 if self.layout in {"maps", "signal"} else -1]

    def index(self, unit: Unit) -> Index:
        """The index of a unit."""
        channel, row, col = unit
        if self.layout == "maps":
            return channel, row, col
        if self.layout == "maps_last":
            return row, col, channel
        if self.layout == "signal":
            return channel, col
        if self.layout == "tokens":
            token = col if row < 0 else self.prefix + row * self.grid[1] + col
            return token, channel
        return (channel,)

    def unit(self, index: Index) -> Unit | None:
        """The unit at an index; None where the layout has no units or the tokens no place."""
        if self.layout == "maps":
            return index[0], index[1], index[2]
        if self.layout == "maps_last":
            return index[2], index[0], index[1]
        if self.layout == "signal":
            return index[0], 0, index[1]
        if self.layout == "vector":
            return index[0], 0, 0
        if self.layout == "tokens":
            token = index[0] - self.prefix
            if token < 0:
                return index[1], -1, index[0]
            if token < self.grid[0] * self.grid[1]:
                return index[1], token // self.grid[1], token % self.grid[1]
        return None

    def checked(self, unit: Sequence[int], name: str) -> Unit:
        """The unit as (channel, row, column), after a check that there is one.

        Raises
        ------
        TypeError
            If it is no sequence of integers.
        IndexError
            If the layer `name` has no such unit; the message says which it has.
        """
        try:
            numbers = tuple(int(n.__index__()) for n in unit)
        except (TypeError, AttributeError):
            msg = f"expected a unit (channel, row, column) of integers, got {unit!r}"
            raise TypeError(msg) from None
        if len(numbers) == 1 and self.grid == (1, 1):
            numbers = (*numbers, 0, 0)
        rows, cols = self.grid
        has = f"channels 0 to {self.channels - 1}, rows 0 to {rows - 1}, columns 0 to {cols - 1}"
        if self.prefix:
            has += f", and at row -1 the {self.prefix} tokens before the grid"
        if len(numbers) == 3:
            channel, row, col = numbers
            placed = 0 <= row < rows and 0 <= col < cols
            placed = placed or (row == -1 and 0 <= col < self.prefix)
            if placed and 0 <= channel < self.channels:
                return channel, row, col
        msg = f"expected a unit (channel, row, column) of layer {name!r} with {has}, got {unit!r}"
        raise IndexError(msg)


@dataclass(frozen=True, eq=False)
class Held:
    """What a layer returned, kept while the pass lasts so that its memory is not used again.

    Attributes
    ----------
    tensor : Tensor
        The model's own; later operations in place overwrite it.
    copy : Tensor or None
        Its values when the layer returned, where somebody may overwrite them.
    known : mapping of index to float
        Single values of that time, instead of a copy.
    """

    name: str
    places: Places
    tensor: Tensor
    copy: Tensor | None = None
    known: Mapping[Index, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """The layer and unit that an element came from; the unit is None where it has no place.

    `prior` is its value when the layer returned, None if that was not kept.
    """

    name: str
    unit: Unit | None
    prior: float | None = None


class Origin:
    """Finds what the elements of a tensor that a layer reads were in the layers before.

    Parameters
    ----------
    tensor : Tensor
        With its batch dimension; may be a view, broadcast, or a rearranged copy.
    held : sequence of Held
        The layers whose output it holds.
    """

    def __init__(self, tensor: Tensor, held: Sequence[Held]) -> None:
        self._tensor = tensor
        self._held = tuple(held)

    def with_batch(self) -> Origin:
        """The same of the tensor with a batch dimension before the others."""
        return Origin(self._tensor[None], self._held)

    @property
    def only_source(self) -> str | None:
        """The layer that all of it came from, None if that is not one."""
        return self._held[0].name if len(self._held) == 1 else None

    def find(self, index: Index) -> Found | None:
        """The layer and unit that the element at an index (without batch) was; None if unknown."""
        for held in self._held:
            at = _index_by_address(self._tensor, index, held.tensor)
            if at is not None:
                return _found(held, at)
        flat = sum(i * s for i, s in zip(index, _row_major(self._tensor.shape[1:]), strict=True))
        for held, shape, order in self._copies:
            moved = _unravel(flat, shape)
            return _found(held, tuple(moved[order.index(axis)] for axis in range(len(order))))
        return None

    @cached_property
    def _copies(self) -> list[tuple[Held, tuple[int, ...], tuple[int, ...]]]:
        """Sources that the tensor is a copy of: with the order of their axes in it."""
        found = []
        for held in self._held:
            source = held.tensor if held.copy is None else held.copy
            if source.numel() != self._tensor.numel() or source.dtype != self._tensor.dtype:
                continue
            for order in _orders(source.ndim - 1):
                moved = source.permute(0, *(axis + 1 for axis in order))
                if torch.equal(moved.reshape(-1), self._tensor.reshape(-1)):
                    found.append((held, tuple(moved.shape[1:]), order))
                    break
        return found


def _orders(axes: int) -> list[tuple[int, ...]]:
    """Orders of axes that networks copy in: as it is, channels last, channels first."""
    plain = tuple(range(axes))
    return [plain, (*plain[1:], 0), (axes - 1, *plain[:-1])] if axes > 1 else [plain]


def _found(held: Held, index: Index) -> Found:
    prior = held.known.get(index)
    if prior is None and held.copy is not None:
        prior = float(held.copy[0][index])
    return Found(held.name, held.places.unit(index), prior)


def _row_major(shape: Sequence[int]) -> list[int]:
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _unravel(flat: int, shape: Sequence[int]) -> Index:
    return tuple(flat // step % size for step, size in zip(_row_major(shape), shape, strict=True))


def _index_by_address(tensor: Tensor, index: Index, source: Tensor) -> Index | None:
    """The index in `source` of the element that `tensor` holds at `index`, if they share memory."""
    if tensor.untyped_storage().data_ptr() != source.untyped_storage().data_ptr():
        return None
    if tensor.dtype != source.dtype:
        return None
    offset = int(tensor.storage_offset() - source.storage_offset())
    offset += sum(i * step for i, step in zip(index, tensor.stride()[1:], strict=True))
    at = [0] * (source.ndim - 1)
    axes = sorted(range(1, source.ndim), key=source.stride, reverse=True)
    for axis in axes:
        step, size = source.stride(axis), source.shape[axis]
        if size > 1 and step > 0:
            at[axis - 1], offset = divmod(offset, step)
            if not 0 <= at[axis - 1] < size:
                return None
    return tuple(at) if offset == 0 else None


def same_place(index: Index, shape: Sequence[int], source: Sequence[int]) -> Index | None:
    """The index in a tensor of shape `source` of an element of one of `shape`, by sizes alone.

    None unless the shapes are the same, or one of them is the other flattened.
    """
    if tuple(shape) == tuple(source):
        return index
    if math.prod(shape) != math.prod(source) or min(len(shape), len(source)) != 1:
        return None
    flat = sum(i * step for i, step in zip(index, _row_major(shape), strict=True))
    return _unravel(flat, source)
