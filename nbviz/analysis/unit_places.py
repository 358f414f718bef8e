"""Where the units of a layer lie on the picture: centres, cells and boxes of many units at once.

`nbviz.analysis.receptive_field` describes one unit exactly; here the same is read off for arrays of
units, and each place of a feature map gets a point on the picture, as drawing it there takes.
Coordinates are edges of pixels: pixel i reaches from i to i + 1, its middle is i + 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbviz.analysis.layers import Layer
from nbviz.analysis.receptive_field import Box, ReceptiveField

__all__ = ["cell_edges", "sees_padding", "unit_boxes", "unit_centres", "units_centred_in"]


def unit_centres(layer: Layer) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The middle of the receptive field of each row and each column of a layer's units.

    Where the receptive field has a size, it is the middle of the field without the image's edge
    (Araujo, Norris & Sim, Distill 2019), so that centres are one stride apart. Where it has none
    (behind attention or squeeze-and-excitation) the places share the picture evenly; behind a flip
    the middles of the clipped boxes are taken.

    Parameters
    ----------
    layer : Layer
        Without a grid, as a vector, it has one row and one column.

    Returns
    -------
    rows : float64 array, shape (rows,)
    cols : float64 array, shape (columns,)
        In pixels from the top left corner; a centre can lie outside the picture.

    Raises
    ------
    ValueError
        If the network's input has no pixels.

    Examples
    --------
    >>> from torch import nn
    >>> from nbviz import Network
    >>> layer = Network(nn.Conv2d(1, 2, 3, stride=2, padding=1), input_shape=(1, 8, 6)).layers[0]
    >>> [centres.tolist() for centres in unit_centres(layer)]
    [[0.5, 2.5, 4.5, 6.5], [0.5, 2.5, 4.5]]
    """
    field = _field(layer)
    grid = layer.grid or (1, 1)
    rows, cols = (_centres(layer, field, axis, grid[axis]) for axis in (0, 1))
    return rows, cols


def _centres(layer: Layer, field: ReceptiveField, axis: int, count: int) -> NDArray[np.float64]:
    if layer.grid is not None and field.size and field.padding and field.stride:
        first = field.size[axis] / 2 - field.padding[axis]
        return np.array([float(first + index * field.stride[axis]) for index in range(count)])
    if layer.stride is None and not field.is_global:
        edges = field.edges()[axis]
        if edges.ndim == 2 and _one_way(middles := edges.mean(1)):
            return np.asarray(middles, np.float64)
    return (np.arange(count) + 0.5) * field.image[axis] / count


def _one_way(values: NDArray[np.float64]) -> bool:
    steps = np.diff(values)
    return bool((steps > 0).all() or (steps < 0).all())


def cell_edges(layer: Layer) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The edges of a layer's places when its map is laid over the picture.

    An edge lies half way between the centres of two places; the outermost places reach as far
    outwards as inwards. One place alone covers the picture.

    Returns
    -------
    rows : float64 array, shape (rows + 1,)
    cols : float64 array, shape (columns + 1,)
        In pixels; they can lie outside the picture, and run backwards behind a flip.

    Raises
    ------
    ValueError
        If the network's input has no pixels.

    Examples
    --------
    >>> from torch import nn
    >>> from nbviz import Network
    >>> layer = Network(nn.Conv2d(1, 2, 3, stride=2, padding=1), input_shape=(1, 8, 6)).layers[0]
    >>> cell_edges(layer)[1].tolist()
    [-0.5, 1.5, 3.5, 5.5]
    """
    image = _field(layer).image
    rows, cols = (
        _edges(centres, length) for centres, length in zip(unit_centres(layer), image, strict=True)
    )
    return rows, cols


def _edges(centres: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    if len(centres) == 1:
        return np.array([0.0, float(length)])
    between = (centres[1:] + centres[:-1]) / 2
    first, last = 2 * centres[0] - between[0], 2 * centres[-1] - between[-1]
    return np.concatenate([[first], between, [last]])


def units_centred_in(layer: Layer, box: Box) -> Box:
    """The units whose centres (`unit_centres`) lie in a box of pixels.

    Where a box is so small that no row of units has its centre in it, the nearest row is taken
    (the upper of two), and so with columns.

    Parameters
    ----------
    layer : Layer
    box : Box
        In pixels, not empty.

    Returns
    -------
    Box
        Half-open, in rows and columns of the layer's grid; never empty.

    Raises
    ------
    ValueError
        If the box is empty, or the network's input has no pixels.

    Examples
    --------
    >>> from torch import nn
    >>> from nbviz import Network
    >>> layer = Network(nn.Conv2d(1, 2, 3, stride=2, padding=1), input_shape=(1, 8, 6)).layers[0]
    >>> units_centred_in(layer, Box(0, 3, 4, 4))
    Box(top=0, left=1, bottom=2, right=2)
    """
    if box.is_empty:
        msg = f"expected a box with at least one pixel, got {box}; drag a larger one"
        raise ValueError(msg)
    rows, cols = unit_centres(layer)
    top, bottom = _between(rows, box.top, box.bottom)
    left, right = _between(cols, box.left, box.right)
    return Box(top, left, bottom, right)


def _between(centres: NDArray[np.float64], start: int, end: int) -> tuple[int, int]:
    inside = np.flatnonzero((centres >= start) & (centres < end))
    if not len(inside):
        inside = np.array([np.abs(centres - (start + end) / 2).argmin()])
    return int(inside[0]), int(inside[-1]) + 1


def unit_boxes(layer: Layer, row: ArrayLike, col: ArrayLike) -> NDArray[np.int32]:
    """The boxes of pixels that many units of one layer can see, as `Layer.box` gives one.

    Parameters
    ----------
    layer : Layer
    row, col : int array, shape (...)
        Places on the layer's grid; a negative number stands for no unit. Without a grid all units
        have one box.

    Returns
    -------
    int32 array, shape (..., 4)
        Top, left, bottom, right of each clipped box; zeros where there is no unit.

    Raises
    ------
    ValueError
        If the network's input has no pixels.
    IndexError
        If the layer has no unit at a place.

    Examples
    --------
    >>> from torch import nn
    >>> from nbviz import Network
    >>> layer = Network(nn.Conv2d(1, 2, 3), input_shape=(1, 8, 6)).layers[0]
    >>> unit_boxes(layer, [2, -1], [1, -1]).tolist()
    [[2, 1, 5, 4], [0, 0, 0, 0]]
    """
    field = _field(layer)
    rows, cols = np.broadcast_arrays(np.asarray(row, np.int64), np.asarray(col, np.int64))
    if layer.grid is None:  # one box for all units
        rows, cols = np.minimum(rows, 0), np.minimum(cols, 0)
    grid = layer.grid or (1, 1)
    if ((rows >= grid[0]) | (cols >= grid[1])).any():
        msg = (
            f"expected places on the grid of {grid[0]} x {grid[1]} of layer {layer.name!r}, got "
            f"row {rows.max()} and column {cols.max()}; rows and columns count from 0"
        )
        raise IndexError(msg)
    vertical, horizontal = field.edges()
    if vertical.ndim == 2:
        down, across = vertical[rows], horizontal[cols]
    else:
        down, across = vertical[rows, cols], horizontal[rows, cols]
    boxes = np.stack([down[..., 0], across[..., 0], down[..., 1], across[..., 1]], axis=-1)
    boxes[(rows < 0) | (cols < 0)] = 0
    return boxes


def sees_padding(layer: Layer, row: ArrayLike, col: ArrayLike) -> NDArray[np.bool_]:
    """Whether padding may count in what units answer, as their fields reach over the edge.

    A unit that sees the whole picture does not count: there is nothing that it should see instead.
    Where a layer has no receptive field of one size, a unit counts if its box touches the edge.

    Parameters
    ----------
    layer : Layer
    row, col : int array, shape (...)
        Places on the layer's grid; a negative number stands for no unit.

    Returns
    -------
    bool array, shape (...)

    Raises
    ------
    ValueError, IndexError
        As `unit_boxes`.

    Examples
    --------
    >>> from torch import nn
    >>> from nbviz import Network
    >>> layer = Network(nn.Conv2d(1, 2, 3, padding=1), input_shape=(1, 8, 6)).layers[0]
    >>> sees_padding(layer, [0, 3, 7], [3, 3, 3]).tolist()
    [True, False, True]
    """
    field = _field(layer)
    boxes = unit_boxes(layer, row, col)
    whole = (boxes == (0, 0, *field.image)).all(-1)
    there = (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1]) & ~whole
    if layer.grid is None or field.size is None:
        near = (boxes[..., :2] == 0).any(-1) | (boxes[..., 2:] == field.image).any(-1)
        return np.asarray(near & there)
    across = (field.unclipped(0, index) for index in range(layer.grid[1]))
    down = (field.unclipped(index, 0) for index in range(layer.grid[0]))
    over_rows = _reach_over([(box.top, box.bottom) for box in down if box], field.image[0])
    over_cols = _reach_over([(box.left, box.right) for box in across if box], field.image[1])
    rows, cols = np.asarray(row, np.int64), np.asarray(col, np.int64)
    return np.asarray((over_rows[rows] | over_cols[cols]) & there)


def _reach_over(spans: Sequence[tuple[int, int]], length: int) -> NDArray[np.bool_]:
    return np.array([start < 0 or end > length for start, end in spans])


def _field(layer: Layer) -> ReceptiveField:
    if layer.receptive_field is None:
        msg = (
            f"expected a network whose input is a picture, but layer {layer.name!r} belongs to one "
            f"that takes vectors, so its units have no place on a picture"
        )
        raise ValueError(msg)
    return layer.receptive_field
