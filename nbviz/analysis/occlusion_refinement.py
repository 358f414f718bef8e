"""Where an occlusion map needs more positions, and what stands where it needs none.

A grid is refined as in a quincunx: first the middles of its squares, each between four positions,
then the middles of their sides, each between four positions again; so the step is halved. What is
expected to be off there by less than a tolerance is interpolated and never computed.

The rule for what to expect comes from what such maps are like. Moving a mask by a step takes a
strip of pixels out and brings one in, and what strips matter is nearly independent of one another.
So along a line values change like a random walk: how far a position is from the straight line
between its neighbours tells how far one between them will be. The map in pixels is a mean over all
masks that cover a pixel, in which errors of positions apart from each other cancel. What is left of
them is compared with the tolerance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Middles", "coarsest_step", "expected_error", "level_lines", "middles"]


@dataclass(frozen=True, eq=False)
class Middles:
    """Positions that lie between positions of a coarser grid.

    Attributes
    ----------
    cells : int64 array, shape (n,)
        Numbers of positions, row by row.
    neighbours : int64 array, shape (n, 4)
        Positions around each, with an answer by now.
    weights : float64 array, shape (n, 4)
        Of the neighbours, of sum 1: linear interpolation; 0 where there is none.
    reach : float
        Steps of the finest grid to a neighbour.
    variance : float64 array, shape (n,)
        Of the value in the middle, by that of one halfway between two in each direction.
    grid : pair of int64 arrays
        Rows and columns of the coarser grid.
    """

    cells: NDArray[np.int64]
    neighbours: NDArray[np.int64]
    weights: NDArray[np.float64]
    reach: float
    variance: NDArray[np.float64]
    grid: tuple[NDArray[np.int64], NDArray[np.int64]]

    def interpolated(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """What neighbours give for each cell: (n, ...) for values (R, Q, ...)."""
        flat = values.reshape(-1, *values.shape[2:])
        total = np.zeros((len(self.cells), *values.shape[2:]))
        for neighbours, weights in zip(self.neighbours.T, self.weights.T, strict=True):
            shaped = weights.reshape(-1, *[1] * (values.ndim - 2))
            # beyond the border stands no neighbour, whose place may hold NaN
            total += np.where(shaped > 0, shaped * flat[neighbours], 0)
        return total.astype(np.float32)


def coarsest_step(size: tuple[int, int], stride: tuple[int, int]) -> int:
    """The step of the first grid: that at which masks stand side by side, as a power of two."""
    overlap = min(length / step for length, step in zip(size, stride, strict=True))
    return int(2 ** np.clip(np.floor(np.log2(max(overlap, 1))), 1, 5))


def level_lines(count: int, step: int) -> NDArray[np.int64]:
    """Every so many-th of the lines of a grid, and the last."""
    return np.unique([*range(0, count, step), count - 1])


def middles(tops: NDArray[np.int32], lefts: NDArray[np.int32], coarsest: int) -> Iterator[Middles]:
    """Grids ever finer, from one of a step of `coarsest` lines down to all positions."""
    step = coarsest
    while step > 1:
        rows, cols = _Lines.of(tops, step), _Lines.of(lefts, step)
        for found in (_between(rows, cols, step / np.sqrt(2)), _beside(rows, cols, step / 2)):
            if found is not None:
                yield found
        step //= 2


@dataclass(frozen=True, eq=False)
class _Lines:
    """Rows or columns of two grids, one of twice the step of the other."""

    places: NDArray[np.int32]
    old: NDArray[np.int64]
    """Lines of the coarser grid."""
    new: NDArray[np.int64]
    """Lines of the finer one besides; each lies between two old ones."""
    around: tuple[NDArray[np.int64], NDArray[np.int64]]
    """For every line the ones before and behind it in the finer grid, -1 where there is none."""

    @classmethod
    def of(cls, places: NDArray[np.int32], step: int) -> _Lines:
        count = len(places)
        old, finer = level_lines(count, step), level_lines(count, step // 2)
        before, behind = np.full((2, count), -1)
        before[finer[1:]], behind[finer[:-1]] = finer[:-1], finer[1:]
        return cls(places, old, np.setdiff1d(finer, old), (before, behind))

    def is_new(self, lines: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.isin(lines, self.new)

    def shares(self, lines: NDArray[np.int64]) -> NDArray[np.float64]:
        """What the lines before and behind give for a value between, as a straight line has it.

        Shape (2, n); zero where one of the two is missing.
        """
        before, behind = (around[lines] for around in self.around)
        places = self.places.astype(np.float64)
        there = (before >= 0) & (behind >= 0)
        whole = np.where(there, places[behind] - places[before], 1)
        behinds = (places[lines] - places[before]) / whole
        return np.where(there, np.stack([1 - behinds, behinds]), 0)


def _between(rows: _Lines, cols: _Lines, reach: float) -> Middles | None:
    """The middles of squares, each between four corners."""
    row, col = _crossings(rows.new, cols.new)
    if not row.size:
        return None
    weights = np.stack([a * b for a in rows.shares(row) for b in cols.shares(col)], 1)
    corners = [_number(cols, up[row], side[col]) for up in rows.around for side in cols.around]
    return Middles(
        _number(cols, row, col),
        np.stack(corners, 1),
        weights,
        reach,
        np.ones(len(row)),
        (rows.old, cols.old),
    )


def _beside(rows: _Lines, cols: _Lines, reach: float) -> Middles | None:
    """The middles of sides, each between two ends and the middles of two squares."""
    parts = (_crossings(rows.new, cols.old), _crossings(rows.old, cols.new))
    row, col = (np.concatenate(lines) for lines in zip(*parts, strict=True))
    if not row.size:
        return None
    ends = [(up[row], col) for up in rows.around] + [(row, side[col]) for side in cols.around]
    # With one line new and one old it is the middle of a side, which has no answer yet. So it comes
    # where the last line follows too closely for a new one between.
    known = [rows.is_new(r) == cols.is_new(c) for r, c in ends]
    # A pair counts if both are known: one alone would pull the value to its side.
    down = rows.shares(row) * (known[0] & known[1])
    across = cols.shares(col) * (known[2] & known[3])
    pairs = np.maximum(down.any(0).astype(int) + across.any(0), 1)
    return Middles(
        _number(cols, row, col),
        np.stack([_number(cols, r, c) for r, c in ends], 1),
        np.concatenate([down, across]).T / pairs[:, None],
        reach,
        # of the mean of two that err apart from each other; else of one of them
        np.where(pairs == 2, 1 / 4, 1 / 2),
        (rows.old, cols.old),
    )


def _crossings(
    rows: NDArray[np.int64], cols: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.repeat(rows, len(cols)), np.tile(cols, len(rows))


def _number(cols: _Lines, row: NDArray[np.int64], col: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers of cells; where there is no such line, of any."""
    return np.asarray(np.maximum(row, 0) * len(cols.places) + np.maximum(col, 0))


def expected_error(
    between: Middles,
    values: NDArray[np.floating],
    places: tuple[NDArray[np.int32], NDArray[np.int32]],
    overlap: float,
) -> NDArray[np.float64]:
    """How far off interpolated values are expected to leave the map in pixels.

    Parameters
    ----------
    between : Middles
        Of n cells.
    values : array, shape (R, Q)
        With answers on the coarser grid.
    places : pair of int32 arrays, shapes (R,) and (Q,)
        Pixels at which masks begin.
    overlap : float
        How many masks cover a pixel, along one side: size by stride.

    Returns
    -------
    float64 array, shape (n,)
        A standard deviation, in units of `values`; NaN beside what is NaN.
    """
    rows, cols = between.grid
    known = values[np.ix_(rows, cols)].astype(np.float64)
    down, across = (_halfway(known, places[0][rows], 0), _halfway(known, places[1][cols], 1))
    variance = np.zeros(len(between.cells))
    for squares, trust in (down, across):
        variance += _smoothed(squares, trust, between, values.shape)
    cancelled = min(1.0, between.reach * np.sqrt(2) / overlap)
    return np.asarray(cancelled * np.sqrt(between.variance * variance))


# How much what is known worse counts: not at all, where there is anything better.
_LAST_RESORT = 1e-6


def _halfway(
    known: NDArray[np.float64], places: NDArray[np.int32], axis: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The variance that each position lets expect halfway to its neighbours, and trust in it."""
    lines = np.moveaxis(known, axis, 0)
    squares, trust = np.zeros_like(lines), np.zeros_like(lines)
    apart = np.diff(places.astype(np.float64))
    if len(lines) > 1:  # a difference between two, of which a slope is a part
        steps = np.diff(lines, axis=0) ** 2 / 4
        squares[:-1] += steps * _LAST_RESORT
        trust[:-1] += _LAST_RESORT
    if len(lines) > 2:
        share = (apart[:-1] / (apart[:-1] + apart[1:]))[:, None]
        off = lines[1:-1] - (1 - share) * lines[:-2] - share * lines[2:]
        # in a random walk twice that in the middle of a step
        squares[1:-1], trust[1:-1] = off**2 / 2, 1
    return np.moveaxis(squares, 0, axis), np.moveaxis(trust, 0, axis)


def _smoothed(
    squares: NDArray[np.float64],
    trust: NDArray[np.float64],
    between: Middles,
    shape: tuple[int, ...],
) -> NDArray[np.float64]:
    """Means about each cell: one position tells little of how rough the map is, many tell more."""
    from scipy.ndimage import gaussian_filter

    planes = np.zeros((2, *shape))
    for plane, values in zip(planes, (squares, trust), strict=True):
        plane[np.ix_(*between.grid)] = values
    total, weight = (
        gaussian_filter(plane, between.reach).ravel()[between.cells] for plane in planes
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.maximum(total, 0) / weight
    # along a side of one line nothing changes
    return np.asarray(np.where(weight > 0, mean, 0 if not trust.any() else np.nan))
