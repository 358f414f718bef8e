"""Which input pixels a unit can see, with the image's edge and without.

Two descriptions stand side by side. The *clipped* box of a unit lies within the image and is
exact: it is the hull of all pixels that the unit depends on (`nbviz.analysis.dependence` follows
them through a recorded forward pass). The *unclipped* box ignores the image's edge, so that all
units of a layer have boxes of one size, one stride apart, which is what size/padding/stride tables
give; an `Axis` carries it from layer to layer, and `ReceptiveField` holds both for one layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

Number = int | Fraction


@dataclass(frozen=True)
class Box:
    """A half-open box of pixels: ``image[..., box.top:box.bottom, box.left:box.right]``.

    An unclipped box may reach outside the image (negative or too large coordinates). A unit that
    depends on no pixel has the empty box ``Box(0, 0, 0, 0)``.

    Examples
    --------
    >>> Box(0, 2, 11, 13).height, Box(0, 2, 11, 13).width
    (11, 11)
    """

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """Rows covered."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns covered."""
        return self.right - self.left

    @property
    def is_empty(self) -> bool:
        """Whether the box holds no pixel."""
        return self.height <= 0 or self.width <= 0


@dataclass(frozen=True)
class Axis:
    """How the cells of one axis of a feature map lie on the image.

    Without the image's edge, cell ``i`` sees the pixels around ``centre + i * stride``, `size` of
    them. `size` is None once an operation mixes all cells (attention, global pooling,
    squeeze-excite). `aligned` is False where cells of one layer see windows of different shape
    (transposed convolution, upsampling); then `size` is the smallest that holds for every cell.
    """

    stride: Fraction
    centre: Fraction
    size: Fraction | None
    aligned: bool = True

    @classmethod
    def pixels(cls) -> Axis:
        """Give the axis of the image itself: cell i is pixel i."""
        return cls(Fraction(1), Fraction(0), Fraction(1))

    @property
    def start(self) -> Fraction | None:
        """First pixel of cell 0; negative where padding is seen."""
        return None if self.size is None else self.centre - (self.size - 1) / 2

    def window(self, first: Number, last: Number, step: Number, *, aligned: bool = True) -> Axis:
        """Give the axis of cells that read ``first + j * step`` to ``last + j * step``."""
        size = None if self.size is None else self.size + (last - first) * self.stride
        centre = self.centre + Fraction(first + last) / 2 * self.stride
        return Axis(self.stride * step, centre, size, self.aligned and aligned)

    def resampled(self, first: int, step: int) -> Axis:
        """Give the axis after keeping only cells ``first, first + step, ...``."""
        return replace(self, centre=self.centre + first * self.stride, stride=self.stride * step)

    def lost(self) -> Axis:
        """Give the axis with its stride and centre kept, and its window unknown."""
        return replace(self, size=None)

    def union(self, other: Axis) -> Axis:
        """Give the axis whose cell i sees what cell i of either axis sees."""
        if self.stride != other.stride:
            return self.lost()
        if self.start is None or other.start is None or self.size is None or other.size is None:
            return self.lost()
        start = min(self.start, other.start)
        size = max(self.start + self.size, other.start + other.size) - start
        return Axis(self.stride, start + (size - 1) / 2, size, self.aligned and other.aligned)


@dataclass(frozen=True)
class Frame:
    """The two axes of a feature map."""

    rows: Axis
    cols: Axis

    def lost(self) -> Frame:
        """Give the frame with the window of both axes unknown."""
        return Frame(self.rows.lost(), self.cols.lost())

    def union(self, other: Frame) -> Frame:
        """Give the frame whose cells see what the same cell of either frame sees."""
        return Frame(self.rows.union(other.rows), self.cols.union(other.cols))

    @property
    def is_lost(self) -> bool:
        """Whether the window of either axis is unknown."""
        return self.rows.size is None or self.cols.size is None


def _whole(value: Fraction) -> Number:
    return int(value) if value.denominator == 1 else value


@dataclass(frozen=True)
class ReceptiveField:
    """The input pixels that the units of one layer can see, over all channels of the layer.

    Size, padding and stride are (rows, columns) in input pixels, as in Araujo, Norris & Sim,
    "Computing Receptive Fields of Convolutional Neural Networks" (Distill, 2019): without the
    image's edge, unit (i, j) sees rows ``-padding[0] + i * stride[0]`` to ``... + size[0] - 1``.

    Attributes
    ----------
    size, padding, stride : pair of int or Fraction, or None
        None where no such description exists (windows of attention, or `is_global`).
    is_global : bool
        Every unit sees the same pixels, because an operation mixed all places.
    aligned : bool
        False where units of the layer see windows of different shape (after a transposed
        convolution or upsampling); `unclipped` is then an outer bound. `clipped` stays exact.
    exact : bool
        False where an operation without a known rule lies on the way (`Layers.approximated`);
        `clipped` is then an outer bound.
    image : pair of int
        Height and width of the recorded input.

    Examples
    --------
    >>> from torch import nn
    >>> from nbviz import Network
    >>> convolution = nn.Sequential(nn.Conv2d(3, 8, 5, stride=2, padding=2))
    >>> field = Network(convolution, input_shape=(3, 32, 32)).layers["0"].receptive_field
    >>> field.size, field.padding, field.stride
    ((5, 5), (2, 2), (2, 2))
    >>> field.clipped(0, 3), field.unclipped(0, 3)
    (Box(top=0, left=4, bottom=3, right=9), Box(top=-2, left=4, bottom=3, right=9))
    """

    size: tuple[Number, Number] | None
    padding: tuple[Number, Number] | None
    stride: tuple[Number, Number] | None
    is_global: bool
    aligned: bool
    exact: bool
    image: tuple[int, int]
    _boxes: _BoxTable = field(repr=False, compare=False)

    def unclipped(self, row: int, col: int) -> Box | None:
        """Give the box of unit (row, col) as if the image went on beyond its edge.

        Padding that mirrors the image, as seen by `clipped`, is not described here.

        None where there is no such description, as for a unit that sees everything.

        Raises
        ------
        IndexError
            If the layer has no unit there; the message gives the grid.
        """
        row, col = self._boxes.checked(row, col)
        if self.size is None or self.padding is None or self.stride is None:
            return None
        edges = []
        for index, size, padding, stride in zip(
            (row, col), self.size, self.padding, self.stride, strict=True
        ):
            start = -padding + index * stride
            edges.append((math.ceil(start), math.floor(start + size - 1) + 1))
        (top, bottom), (left, right) = edges
        return Box(top, left, bottom, right)

    def clipped(self, row: int, col: int) -> Box:
        """Give the smallest box, within the image, of all pixels that unit (row, col) depends on.

        A layer without a grid (a vector) has one box, the union over its units, at (0, 0).

        Raises
        ------
        IndexError
            If the layer has no unit there; the message gives the grid.
        """
        return self._boxes.box(row, col)

    def units_within(self, box: Box) -> Box:
        """The units that see no pixel outside `box`: all that may feed a unit which sees `box`.

        Whatever a unit is computed from sees no more than the unit itself; so if `box` belongs to a
        unit of a later layer, the units of this layer that it is computed from are among these. One
        exception: where the channels of a unit see different pixels and the later layer reads some
        channels only, as a grouped convolution does, `clipped` is too large to tell.

        Parameters
        ----------
        box : Box
            In pixels, within the image: what `clipped` gives.

        Returns
        -------
        Box
            Half-open, in rows and columns of this layer's grid (of 1 x 1 for a vector): the
            smallest that holds these units, empty if there are none. A unit that sees nothing is
            among them for any `box`.

        Examples
        --------
        >>> from torch import nn
        >>> from nbviz import Network
        >>> two = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3))
        >>> first, second = Network(two, input_shape=(1, 9, 9)).layers
        >>> first.receptive_field.units_within(second.box(2, 4))
        Box(top=2, left=4, bottom=5, right=7)
        >>> second.receptive_field.units_covering(first.box(3, 3))
        Box(top=1, left=1, bottom=4, right=4)
        """
        return self._boxes.hull(self._boxes.within(box))

    def units_covering(self, box: Box) -> Box:
        """The units that see all of `box`: all that a unit which sees `box` may feed.

        The counterpart of `units_within`, with the same exception: `box` belongs to a unit of an
        earlier layer.

        Parameters
        ----------
        box : Box
            In pixels, within the image: what `clipped` gives. An empty one is seen by every unit.

        Returns
        -------
        Box
            Half-open, in rows and columns of this layer's grid; empty if there are no such units.
        """
        return self._boxes.hull(self._boxes.covering(box))

    def edges(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """The clipped boxes of all units at once.

        Returns
        -------
        vertical : ndarray of int32, shape (rows, 2) or (rows, columns, 2)
            First row of pixels and the row after the last. Of shape (rows, 2) where it depends on
            the unit's row alone and `horizontal` on its column alone; then both have the short
            shape.
        horizontal : ndarray of int32, shape (columns, 2) or (rows, columns, 2)
            First column of pixels and the column after the last.
        """
        return self._boxes.rows.copy(), self._boxes.cols.copy()


@dataclass(frozen=True, eq=False)
class _BoxTable:
    """The clipped boxes of a grid of units, by row and by column where they separate."""

    grid: tuple[int, int]
    rows: npt.NDArray[np.int32]  # (rows, 2), or (rows, cols, 2): top, bottom
    cols: npt.NDArray[np.int32]  # (cols, 2), or (rows, cols, 2): left, right

    @classmethod
    def of(cls, extents: npt.NDArray[np.float32]) -> _BoxTable:
        """Take (4, rows, cols): -top, last row, -left, last column; -inf for none."""
        empty = np.isneginf(extents).any(axis=0)
        edges = np.where(empty, 0, extents) * np.array([-1, 1, -1, 1]).reshape(4, 1, 1)
        edges[1::2] += ~empty
        edges = edges.astype(np.int32).transpose(1, 2, 0)
        vertical, horizontal = edges[..., :2], edges[..., 2:]
        grid = (edges.shape[0], edges.shape[1])
        separable = (vertical == vertical[:, :1]).all() and (horizontal == horizontal[:1]).all()
        if separable:
            return cls(grid, vertical[:, 0].copy(), horizontal[0].copy())
        return cls(grid, vertical.copy(), horizontal.copy())

    def checked(self, row: int, col: int) -> tuple[int, int]:
        if not (0 <= row < self.grid[0] and 0 <= col < self.grid[1]):
            msg = (
                f"expected a unit within the layer's grid of {self.grid[0]} rows x {self.grid[1]} "
                f"columns, got ({row}, {col}); rows and columns count from 0"
            )
            raise IndexError(msg)
        return int(row), int(col)

    def box(self, row: int, col: int) -> Box:
        row, col = self.checked(row, col)
        top, bottom = self.rows[row] if self.rows.ndim == 2 else self.rows[row, col]
        left, right = self.cols[col] if self.cols.ndim == 2 else self.cols[row, col]
        return Box(int(top), int(left), int(bottom), int(right))

    def _by_unit(self) -> tuple[npt.NDArray[np.int32], ...]:
        """Top, left, bottom and right of all units, to be broadcast to the grid."""
        rows = self.rows[:, None] if self.rows.ndim == 2 else self.rows
        cols = self.cols[None] if self.cols.ndim == 2 else self.cols
        return rows[..., 0], cols[..., 0], rows[..., 1], cols[..., 1]

    def within(self, box: Box) -> npt.NDArray[np.bool_]:
        """Which units of the grid see nothing outside `box`."""
        top, left, bottom, right = self._by_unit()
        blind = (bottom <= top) | (right <= left)
        inside = (top >= box.top) & (bottom <= box.bottom)
        found: npt.NDArray[np.bool_] = blind | inside & (left >= box.left) & (right <= box.right)
        return found

    def covering(self, box: Box) -> npt.NDArray[np.bool_]:
        """Which units of the grid see all of `box`."""
        if box.is_empty:
            return np.ones(self.grid, dtype=bool)
        top, left, bottom, right = self._by_unit()
        around = (top <= box.top) & (bottom >= box.bottom)
        found: npt.NDArray[np.bool_] = around & (left <= box.left) & (right >= box.right)
        return found

    def hull(self, units: npt.NDArray[np.bool_]) -> Box:
        """The smallest box of the grid that holds `units`."""
        rows, cols = units.any(1).nonzero()[0], units.any(0).nonzero()[0]
        if not len(rows):
            return Box(0, 0, 0, 0)
        return Box(int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1)


def receptive_field(
    extents: npt.NDArray[np.float32],
    frame: Frame | None,
    image: tuple[int, int],
    *,
    uniform: bool,
    exact: bool,
) -> ReceptiveField:
    """Join both descriptions of a layer's units into one `ReceptiveField`.

    Parameters
    ----------
    extents : array, shape (4, rows, columns), float32
        For each unit -top, last row, -left and last column that it depends on; -inf for nothing.
    frame : Frame or None
        The unclipped description of the same units, None where it was lost.
    image : pair of int
        Height and width of the input.
    uniform : bool
        Whether all units of the layer see the same pixels.
    exact : bool
        False if `extents` are outer bounds.
    """
    boxes = _BoxTable.of(extents)
    if frame is None or frame.rows.size is None or frame.cols.size is None:
        return ReceptiveField(None, None, None, uniform, True, exact, image, boxes)
    axes = (frame.rows, frame.cols)
    rows, cols = (
        (
            _whole(axis.size or Fraction(0)),
            _whole(-(axis.start or Fraction(0))),
            _whole(axis.stride),
        )
        for axis in axes
    )
    (size, padding, stride) = zip(rows, cols, strict=True)
    aligned = all(axis.aligned for axis in axes)
    return ReceptiveField(size, padding, stride, False, aligned, exact, image, boxes)
