"""The arithmetic of one unit: what each input channel contributed, in float64.

`Parts` is what one layer's value at one place is made of. For all layers that weigh their inputs
and add up (convolution, linear, average pooling) it is: bias + sum of patch times kernel over
input channels. `windows` and `values` know which patch and kernel a layer has there, `places` the
way back to earlier units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from nbviz.analysis.calls import Call
from nbviz.analysis.receptive_field import Box
from nbviz.analysis.unit_parts.operations import Operation
from nbviz.analysis.unit_parts.places import Index, Origin, Places, Unit


class Opaque(Exception):  # noqa: N818 - it says of a value what it is
    """A value cannot be taken apart; the message says why."""


ToIndex = Callable[[int, int, int], Index]


@dataclass(frozen=True)
class Others:
    """Contributions that are not among the terms: how many, and their sum."""

    count: int
    sum: float


@dataclass(frozen=True, eq=False)
class Term:
    """What one input channel, addend or factor contributed.

    Attributes
    ----------
    source : str or None
        The layer that it came from; "" is the network's input, None a parameter or constant, or
        where it cannot be told.
    channel : int
        Of the tensor that the layer reads.
    contribution : float
        Sum of `products`; of a multiplication the factor, of an activation the value it is of.
    patch, kernel, products : float32 ndarray, shape (rows, columns)
        What was read, its weights, and patch times kernel. NaN in the patch of a maximum is
        padding; its kernel is 1 at the winner.
    box : Box or None
        Where the patch lies on the source's map, half open; partly outside where it was padded.
        None where it is no box there.
    from_unit : (channel, row, column) or None
        The unit of the source to step back to: where the product is largest by magnitude.
    """

    source: str | None
    channel: int
    contribution: float
    patch: np.ndarray
    kernel: np.ndarray
    products: np.ndarray
    box: Box | None = None
    from_unit: Unit | None = None


_NOTHING = np.zeros(0, np.float32)
_NO_OTHERS = Others(0, 0.0)


@dataclass(frozen=True, eq=False)
class Parts:
    """What one layer's value at one place is made of; the fields are those of `Step`."""

    operation: Operation
    value: float
    expression: str
    bias: float = 0.0
    terms: tuple[Term, ...] = ()
    others: Others = _NO_OTHERS
    contributions: np.ndarray = field(default_factory=lambda: _NOTHING)
    first_channel: int = 0
    window: Box | None = None
    map_size: tuple[int, int] | None = None
    statistics: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


class Reading:
    """A tensor that a layer reads, with the way back to where its values came from.

    Parameters
    ----------
    tensor : Tensor
        As the layer was given it.
    origin : Origin
    overwritten : bool
        The layer has written its output over it; values then come from the layers before.
    """

    def __init__(self, tensor: Tensor, origin: Origin, *, overwritten: bool = False) -> None:
        self.tensor = tensor.detach()
        self.origin = origin
        self._overwritten = overwritten

    def with_batch(self) -> Reading:
        """The same with a batch dimension before the others."""
        return Reading(self.tensor[None], self.origin.with_batch(), overwritten=self._overwritten)

    def value(self, index: Index) -> float:
        """The value at an index (without batch) as the layer read it.

        Raises
        ------
        Opaque
            If it was overwritten and the layer before does not have it either.
        """
        if not self._overwritten:
            return float(self.tensor[0][index])
        found = self.origin.find(index)
        if found is None or found.prior is None:
            msg = "its input was overwritten in place, and is in no layer before"
            raise Opaque(msg)
        return found.prior

    def term(self, index: Index, channel: int, contribution: float, factor: float = 1.0) -> Term:
        """The term of a single value."""
        value = self.value(index)
        found = self.origin.find(index)
        return Term(
            found.name if found else self.origin.only_source,
            channel,
            contribution,
            _cell(value),
            _cell(factor),
            _cell(value * factor),
            box=None if found is None or found.unit is None else _cell_box(found.unit),
            from_unit=found.unit if found else None,
        )


def _cell(value: float) -> np.ndarray:
    return np.full((1, 1), value, np.float32)


def _cell_box(unit: Unit) -> Box | None:
    _, row, col = unit
    return None if row < 0 else Box(row, col, row + 1, col + 1)


def number(value: float) -> str:
    """A number as expressions show it: four digits."""
    return f"{value:.4g}".replace("nan", "NaN")


def operand(value: float) -> str:
    """A number behind an operator: in brackets if it is negative."""
    return f"({number(value)})" if value < 0 else number(value)


def float64(tensor: Tensor) -> np.ndarray:
    """The values as float64, from whatever device (not all have float64)."""
    values: np.ndarray = tensor.detach().cpu().double().numpy()
    return values


def as_it_is(channel: int, row: int, col: int) -> Index:
    """The index of a place in a tensor (channels, rows, columns)."""
    return channel, row, col


@dataclass(frozen=True, eq=False)
class Window:
    """The places that a unit reads, in the tensor that its layer reads.

    Attributes
    ----------
    rows, cols : int arrays
        Positions, which may lie outside; ascending.
    size : pair of int
        Of the map.
    row_at, col_at : int arrays
        Where the values come from: the same positions, with what padding repeats mapped inside;
        -1 where there is none.
    index : callable
        From (channel, row, column) to the index in the tensor (without batch).
    """

    rows: np.ndarray
    cols: np.ndarray
    size: tuple[int, int]
    row_at: np.ndarray
    col_at: np.ndarray
    index: ToIndex

    @classmethod
    def of(
        cls,
        rows: np.ndarray,
        cols: np.ndarray,
        size: tuple[int, int],
        *,
        padding: str = "zeros",
        index: ToIndex = as_it_is,
    ) -> Window:
        """A window at these positions of a map of this size."""
        row_at, col_at = (
            _mapped(line, n, padding) for line, n in ((rows, size[0]), (cols, size[1]))
        )
        return cls(rows, cols, size, row_at, col_at, index)

    @classmethod
    def whole(cls, size: tuple[int, int], index: ToIndex = as_it_is) -> Window:
        """All of a map of this size."""
        return cls.of(np.arange(size[0]), np.arange(size[1]), size, index=index)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the window."""
        return len(self.rows), len(self.cols)

    @property
    def box(self) -> Box | None:
        """The window as a box of the map, None if it is empty."""
        if not len(self.rows) or not len(self.cols):
            return None
        ends = int(self.rows[-1]) + 1, int(self.cols[-1]) + 1
        return Box(int(self.rows[0]), int(self.cols[0]), *ends)

    @property
    def inside(self) -> np.ndarray:
        """Which cells have a value, bool of the window's shape."""
        return (self.row_at >= 0)[:, None] & (self.col_at >= 0)[None]

    def read(self, maps: Tensor, outside: float = 0.0) -> np.ndarray:
        """The window's values in each of `maps` (channels, rows, columns), float64."""
        values = np.full((len(maps), *self.shape), outside)
        rows, cols = (np.flatnonzero(at >= 0) for at in (self.row_at, self.col_at))
        at = [
            torch.as_tensor(line[kept], device=maps.device)
            for line, kept in ((self.row_at, rows), (self.col_at, cols))
        ]
        inner = maps.index_select(1, at[0]).index_select(2, at[1])
        values[:, rows[:, None], cols[None]] = float64(inner)
        return values


def _mapped(line: np.ndarray, size: int, padding: str) -> np.ndarray:
    if padding == "circular":
        return line % size
    if padding == "replicate":
        return line.clip(0, size - 1)
    if padding == "reflect":
        line = size - 1 - np.abs(size - 1 - np.abs(line))
    inside: np.ndarray = np.where((line >= 0) & (line < size), line, -1)
    return inside


@dataclass(frozen=True, eq=False)
class Weighted:
    """Patches of input channels and their kernels, each (channels, rows, columns) in float64."""

    patches: np.ndarray
    kernels: np.ndarray
    window: Window
    first_channel: int = 0
    bias: float = 0.0
    shows_window: bool = True


def weighted_sum(operation: Operation, reading: Reading, weighted: Weighted, largest: int) -> Parts:
    """The parts of bias + sum of patch times kernel, the largest contributions as terms."""
    with np.errstate(invalid="ignore", over="ignore"):
        products = weighted.patches * weighted.kernels
        contributions = products.sum((1, 2))
        value = float(contributions.sum() + weighted.bias)
        # NaN first: a unit is not understood before one knows where it came from
        order = np.argsort(-np.nan_to_num(np.abs(contributions), nan=np.inf), kind="stable")
    chosen = order[:largest]
    left = np.setdiff1d(np.arange(len(contributions)), chosen)
    terms = tuple(_weighted_term(reading, weighted, int(i), products[i]) for i in chosen)
    rest = Others(len(left), float(contributions[left].sum()))
    count = len(contributions)
    summed = f"sum over {count} input channel{'' if count == 1 else 's'}"
    if weighted.bias:
        total = number(value - weighted.bias)
        summed = f"{total} ({summed}) + bias {operand(weighted.bias)}"
    return Parts(
        operation,
        value,
        f"{summed} = {number(value)}",
        bias=weighted.bias,
        terms=terms,
        others=rest,
        contributions=contributions.astype(np.float32),
        first_channel=weighted.first_channel,
        window=weighted.window.box if weighted.shows_window else None,
        map_size=weighted.window.size if weighted.shows_window else None,
    )


def _weighted_term(
    reading: Reading, weighted: Weighted, number_: int, products: np.ndarray
) -> Term:
    channel = weighted.first_channel + number_
    term = Term(
        None,
        channel,
        float(products.sum()),
        weighted.patches[number_].astype(np.float32),
        weighted.kernels[number_].astype(np.float32),
        products.astype(np.float32),
    )
    return placed(term, reading, weighted.window, np.abs(products))


def placed(term: Term, reading: Reading, window: Window, weight: np.ndarray) -> Term:
    """The term with its source, its box there, and the unit with the largest `weight`."""
    term = replace(term, source=reading.origin.only_source)
    if not window.inside.any():
        return term
    at = np.where(window.inside, np.nan_to_num(weight, nan=np.inf), -1.0)
    row, col = np.unravel_index(int(at.argmax()), at.shape)
    at_row, at_col = int(window.row_at[row]), int(window.col_at[col])
    found = reading.origin.find(window.index(term.channel, at_row, at_col))
    if found is None:
        return term
    box = _box_in_source(term.channel, reading.origin, window)
    return replace(term, source=found.name, from_unit=found.unit, box=box)


def _box_in_source(channel: int, origin: Origin, window: Window) -> Box | None:
    """The window on the source's map, if it is only shifted there."""
    box = window.box
    rows, cols = (np.flatnonzero(at >= 0) for at in (window.row_at, window.col_at))
    shifts = set()
    for i, j in ((rows[0], cols[0]), (rows[-1], cols[-1])):
        row, col = int(window.row_at[i]), int(window.col_at[j])
        found = origin.find(window.index(channel, row, col))
        if found is None or found.unit is None or box is None:
            return None
        shifts.add((found.unit[1] - row, found.unit[2] - col))
    if len(shifts) != 1 or box is None:
        return None
    down, right = shifts.pop()
    return Box(box.top + down, box.left + right, box.bottom + down, box.right + right)


def single(
    operation: Operation, value: float, expression: str, terms: Sequence[Term] = (), bias: float = 0
) -> Parts:
    """The parts of a value that is made of single values."""
    parts = np.array([term.contribution for term in terms], np.float32)
    first = terms[0].channel if terms else 0
    return Parts(
        operation,
        value,
        expression,
        bias=bias,
        terms=tuple(terms),
        contributions=parts,
        first_channel=first,
    )


@dataclass(frozen=True, eq=False)
class Question:
    """One value of one layer.

    Attributes
    ----------
    index : tuple of int
        In the output, without batch.
    places : Places
        The units of the layer.
    captured : float
        What the layer returned there.
    reading : callable
        Gives the `Reading` of a tensor among the layer's arguments.
    largest : int
        Most terms.
    geometry : (channels, rows, columns) or None
        Of the maps whose flattened values a linear layer reads.
    """

    call: Call
    module: nn.Module | None
    index: Index
    places: Places
    captured: float
    reading: Callable[[Tensor], Reading]
    largest: int
    geometry: tuple[int, int, int] | None = None
