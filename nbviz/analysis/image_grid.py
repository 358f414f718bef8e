"""A map of images as a grid: every image in a cell of its own, near its place on the map.

After the grids of A. Karpathy, "t-SNE visualization of CNN codes" (2014): the sum of the squared
ways from the images' places to their cells is the least there is, or, for large maps, nearly so.
`grid_layout` works in steps, of which the exact one is a single one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from nbviz.analysis.steps import InSteps, Steps

__all__ = ["GridLayout", "grid_layout"]

# Cells across a window in which images are assigned anew.
_SIDE = 8
# Windows between two steps.
_ASSIGNED = 32
# Where windows are laid, in shares of one: the later ones mend the seams of those before.
_SHIFTS = ((0.0, 0.0), (0.5, 0.5))
_LAST_SHIFTS = (*_SHIFTS, (0.0, 0.5), (0.5, 0.0))


@dataclass(frozen=True, eq=False)
class GridLayout:
    """Every image in a cell of its own.

    Attributes
    ----------
    positions : float32 array, shape (n, 2)
        Middles of the cells, in units of a cell: column + 0.5, row + 0.5.
    columns, rows : int
        How many cells there are across and down; fewer than `columns` stay empty.
    exact : bool
        Whether no other assignment has a smaller sum of squared ways.
    moved : float
        Mean way from an image's place on the map, stretched to the grid, to its cell, as a share of
        the grid's diagonal.
    note : str
        How the cells were found, for a person.
    """

    positions: NDArray[np.float32]
    columns: int
    rows: int
    exact: bool
    moved: float
    note: str


@InSteps
def grid_layout(
    positions: NDArray[np.float32], *, aspect: float = 1.5, exact_up_to: int = 2000
) -> Steps[GridLayout]:
    """A cell of its own for every image, near its place on the map.

    The map is stretched to the grid, each axis for itself. Up to `exact_up_to` images it is the
    linear assignment problem, solved exactly (Crouse 2016, "On implementing 2D rectangular
    assignment algorithms", a variant of Jonker & Volgenant 1987); its time grows with the cube of
    n. Beyond, images are split among halves of the grid along its longer side, down to 64 cells,
    and assigned within windows of 8 x 8 cells, first of cells that lie far apart (every 2^s-th, all
    over the grid), at last of cells side by side. That takes O(n log n). Where both ran, the mean
    way was at most 1 % longer than with the exact one on maps with groups, and 10 %, a fifth of a
    cell's side at most, where the images lay evenly from the start.

    Parameters
    ----------
    positions : float array, shape (n, 2)
        The map, in any unit.
    aspect : float
        Columns for each row, about.
    exact_up_to : int
        Maps of up to so many images are assigned exactly.

    Returns
    -------
    GridLayout

    Raises
    ------
    ValueError
        If there are no positions, some are not finite, or aspect is not above 0.

    Examples
    --------
    >>> grid = grid_layout(np.float32([[0, 0], [0.1, 0], [5, 0], [5, 9]]), aspect=1)
    >>> grid.columns, grid.rows, grid.positions.tolist()
    (2, 2, [[0.5, 0.5], [0.5, 1.5], [1.5, 0.5], [1.5, 1.5]])
    """
    places = np.asarray(positions, np.float64)
    if places.ndim != 2 or places.shape[1] != 2 or not len(places):
        raise ValueError(f"expected positions of shape (n, 2), n at least 1, got {places.shape}")
    if not np.isfinite(places).all():
        raise ValueError("expected finite positions, got NaN or inf; compute the map again")
    if not 0 < aspect < np.inf:
        raise ValueError(f"expected an aspect above 0, such as 1.5, got {aspect}")
    count = len(places)
    columns = min(max(int(np.ceil(np.sqrt(count * aspect))), 1), count)
    rows = -(-count // columns)
    fitted = _fitted(places, columns, rows)
    cells = np.full((rows, columns), -1, np.int64)
    exact = count <= exact_up_to
    if exact:
        cells.ravel()[:count] = np.arange(count)
        _assign(cells, fitted, 0, 0, 1)
        note = "No other way to give every image a cell of its own is nearer to the map."
    else:
        yield from _approximate(cells, fitted)
        note = (
            "Cells were found in windows, not all at once: images lie about 1% further from their "
            "places on the map than they would have to, up to 10% where the map is even."
        )
    row, column = np.nonzero(cells >= 0)
    found = np.empty((count, 2))
    found[cells[row, column]] = np.stack([column, row], axis=1) + 0.5
    way = np.linalg.norm(found - fitted, axis=1).mean()
    return GridLayout(
        found.astype(np.float32), columns, rows, exact, float(way / np.hypot(columns, rows)), note
    )


def _fitted(places: NDArray[np.float64], columns: int, rows: int) -> NDArray[np.float64]:
    """Places stretched to the grid; in the middle of an axis where all are the same."""
    low = places.min(axis=0)
    extent = places.max(axis=0) - low
    share = np.where(extent > 0, (places - low) / np.where(extent > 0, extent, 1), 0.5)
    return np.asarray(share * [columns, rows])


def _approximate(cells: NDArray[np.int64], fitted: NDArray[np.float64]) -> Steps[None]:
    """Fill the cells with images, each near its place."""
    whole = sum(stride * stride for stride, _, _ in _windows(*cells.shape))
    for _ in _split(cells, fitted):
        yield 0.0
    done = 0
    for stride, top, left in _windows(*cells.shape):
        window = cells[max(top, 0) : top + _SIDE * stride, max(left, 0) : left + _SIDE * stride]
        for down, across in np.ndindex(stride, stride):
            start = max(top, 0) + down, max(left, 0) + across
            _assign(window[down::stride, across::stride], fitted, *start, stride)
            done += 1
            if done % _ASSIGNED == 0:
                yield done / whole


def _split(cells: NDArray[np.int64], fitted: NDArray[np.float64]) -> Iterator[None]:
    """Fill the cells with images, halving the grid along its longer side."""
    waiting = [(np.arange(len(fitted)), cells)]
    while waiting:
        images, part = waiting.pop()
        if part.size <= _SIDE * _SIDE:
            # In any order: they are assigned within windows afterwards.
            part.flat[: len(images)] = images
            yield
            continue
        axis = int(part.shape[1] < part.shape[0])
        if axis == 1:
            first, second = part[: len(part) // 2], part[len(part) // 2 :]
        else:
            first, second = part[:, : part.shape[1] // 2], part[:, part.shape[1] // 2 :]
        images = images[np.argsort(fitted[images, axis], kind="stable")]
        share = round(len(images) * first.size / part.size)
        waiting += [(images[:share], first), (images[share:], second)]


def _windows(rows: int, columns: int) -> Iterator[tuple[int, int, int]]:
    """Stride, top and left of windows, the widest strides first."""
    stride = 1
    while stride * _SIDE < max(rows, columns):
        stride *= 2
    while stride:
        side = _SIDE * stride
        for down, across in _SHIFTS if stride > 1 else _LAST_SHIFTS:
            for top in range(-int(down * _SIDE) * stride, rows, side):
                for left in range(-int(across * _SIDE) * stride, columns, side):
                    yield stride, top, left
        stride //= 2


def _assign(
    cells: NDArray[np.int64], fitted: NDArray[np.float64], top: int, left: int, stride: int
) -> None:
    """Assign the images of some cells anew to these; the first is at `top`, `left`."""
    held = cells.ravel()
    images = held[held >= 0]
    if not len(images) or held.size < 2:
        return
    row, column = np.divmod(np.arange(held.size), cells.shape[1])
    middles = np.stack([column * stride + left, row * stride + top], axis=1) + 0.5
    # Of the squared way only what depends on the cell and the image together, or on empty cells.
    cost = np.square(middles).sum(axis=1) - 2 * fitted[images] @ middles.T
    chosen = np.full(held.size, -1)
    chosen[linear_sum_assignment(cost)[1]] = images
    cells[:] = chosen.reshape(cells.shape)
