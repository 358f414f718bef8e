"""The part of a picture that a unit sees, as a small square, and what a map leaves of a picture.

`patch` cuts a picture at a unit's receptive field; `masked_by_activation` dims what does not make
the unit answer (Zhou et al. 2015, "Object detectors emerge in deep scene CNNs"; Bau et al. 2017,
"Network dissection", sec. 2.2).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbviz.analysis.layers import Layer
from nbviz.analysis.receptive_field import Box
from nbviz.analysis.unit_places import unit_centres

__all__ = ["masked_by_activation", "patch", "upsampled"]

# Where there is no picture: stripes that neither a dark nor a bright page swallows.
_STRIPE, _GROUND, _PERIOD = 112, 160, 6
# What is dimmed keeps so much of its contrast, about the middle grey: a black picture shows it too.
_DIMMED, _GREY = 0.25, 128
_ROUNDING = 1e-9


def patch(
    picture: NDArray[np.uint8], box: Box, unclipped: Box | None, side: int
) -> NDArray[np.uint8]:
    """The part of a picture that a unit sees, as a square.

    Patches of one layer show windows of one size: what lies beyond the picture's edge, where the
    unit saw padding, is striped. A window wider or higher than the picture is cut at the picture's
    edge instead. One that is not square lies in the middle, with stripes at its sides.

    Parameters
    ----------
    picture : uint8 array, shape (H, W, 3) or (H, W, 1)
        The network's input as a picture (`nbviz.analysis.input_picture`).
    box : Box
        The unit's receptive field within the picture (`Layer.box`). If it is empty all is striped.
    unclipped : Box or None
        The same without the picture's edge (`ReceptiveField.unclipped`).
    side : int
        Of the result, in pixels.

    Returns
    -------
    uint8 array, shape (side, side, 3)
        Enlarged, each pixel is the one that its middle falls into; reduced, the mean over the area
        that it covers.

    Raises
    ------
    ValueError
        If `picture` or `side` is none, or the box reaches over the picture.

    Examples
    --------
    >>> picture = np.full((8, 8, 1), 255, np.uint8)
    >>> cut = patch(picture, Box(0, 2, 2, 5), Box(-1, 2, 2, 5), 6)
    >>> cut[:2, 0, 0].tolist(), cut[2:, 0, 0].tolist()
    ([112, 112], [255, 255, 255, 255])
    """
    height, width = _expect_picture(picture)
    if side < 1:
        msg = f"expected a patch of at least 1 pixel, got {side}"
        raise ValueError(msg)
    if box.top < 0 or box.left < 0 or box.bottom > height or box.right > width:
        msg = (
            f"expected a box within the picture of {height} x {width}, got {box}; pass the clipped "
            f"box of a layer of the same input"
        )
        raise ValueError(msg)
    result = _stripes(side)
    if box.is_empty:
        return result
    window = _window(box, unclipped, height, width)
    scale = side / max(window.height, window.width)
    top, bottom = max(0, window.top), min(height, window.bottom)
    left, right = max(0, window.left), min(width, window.right)
    part = picture[top:bottom, left:right]
    part, down = _resized(part, window.top - top, window.bottom - top, scale)
    part, across = _resized(part.swapaxes(0, 1), window.left - left, window.right - left, scale)
    first, start = (side - len(down)) // 2, (side - len(across)) // 2
    there = np.ix_(first + np.flatnonzero(down), start + np.flatnonzero(across))
    result[there] = np.rint(part.swapaxes(0, 1)[down][:, across]).astype(np.uint8)
    return result


def _expect_picture(picture: NDArray[np.uint8]) -> tuple[int, int]:
    if picture.ndim != 3 or picture.shape[2] not in (1, 3) or picture.dtype != np.uint8:
        msg = (
            f"expected a uint8 picture of shape (height, width, 3 or 1), got {picture.dtype} of "
            f"shape {picture.shape}; `input_picture(network, batch).pixels` is one"
        )
        raise ValueError(msg)
    return picture.shape[0], picture.shape[1]


def _window(box: Box, unclipped: Box | None, height: int, width: int) -> Box:
    """What is shown: along each axis the unclipped box, unless it is larger than the picture."""
    if unclipped is None:
        return box
    top, bottom, left, right = box.top, box.bottom, box.left, box.right
    # Padding that mirrors the picture shows a unit pixels that the unclipped box does not hold.
    if unclipped.height <= height and unclipped.top <= top and unclipped.bottom >= bottom:
        top, bottom = unclipped.top, unclipped.bottom
    if unclipped.width <= width and unclipped.left <= left and unclipped.right >= right:
        left, right = unclipped.left, unclipped.right
    return Box(top, left, bottom, right)


def _resized(
    lines: NDArray[Any], start: int, end: int, scale: float
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The lines (first axis) from start to end, and which of them the picture covers by half."""
    length, size = len(lines), end - start
    count = max(1, math.floor(size * scale + 0.5))
    if count >= size:  # in whole numbers, as a middle can lie between two pixels
        at = start + (2 * np.arange(count) + 1) * size // (2 * count)
        return lines[at.clip(0, length - 1)], (at >= 0) & (at < length)
    # The sum over all lines above a border, read at two borders, gives the mean between them.
    inside = np.linspace(start, end, count + 1).clip(0, length)
    whole = np.floor(inside).astype(np.int64).clip(max=length - 1)
    above = np.cumsum(lines, axis=0, dtype=np.float64)[whole] - lines[whole]
    above += lines[whole] * (inside - whole)[:, None, None]
    covered = np.diff(inside)
    means = np.diff(above, axis=0) / np.where(covered > 0, covered, 1)[:, None, None]
    return means.clip(0, 255), covered >= (0.5 - _ROUNDING) * size / count


def _stripes(side: int) -> NDArray[np.uint8]:
    rows, cols = np.indices((side, side))
    lines = (rows + cols) % _PERIOD < _PERIOD // 3
    return np.repeat(np.where(lines, _STRIPE, _GROUND).astype(np.uint8)[..., None], 3, axis=2)


def upsampled(values: NDArray[np.floating[Any]], layer: Layer) -> NDArray[np.float64]:
    """A feature map at every pixel of the network's input.

    Bilinear between the middles of the units' receptive fields (`unit_centres`), as in Bau et al.
    (2017), sec. 2.2; beyond the outermost units, their values. Units without a grid, as those of a
    vector, have no place: the largest of their values stands everywhere.

    Parameters
    ----------
    values : float array, shape (rows, cols)
        One map on the layer's grid. What is NaN or infinite counts as the least finite value.
    layer : Layer

    Returns
    -------
    float64 array, shape (H, W)
        Of the network's input; zero if no value is finite.

    Raises
    ------
    ValueError
        If the map is not of the layer's grid, or the network's input has no pixels.

    Examples
    --------
    >>> from torch import nn
    >>> from nbviz import Network
    >>> layer = Network(nn.MaxPool2d(2), input_shape=(1, 2, 6)).layers[0]
    >>> upsampled(np.array([[0.0, 4.0, 4.0]]), layer).tolist()
    [[0.0, 1.0, 3.0, 4.0, 4.0, 4.0], [0.0, 1.0, 3.0, 4.0, 4.0, 4.0]]
    """
    rows, cols = unit_centres(layer)
    if layer.grid is None:
        values = np.array([[values[np.isfinite(values)].max(initial=-np.inf)]])
    if values.shape != (len(rows), len(cols)):
        msg = (
            f"expected one map of {len(rows)} x {len(cols)} of layer {layer.name!r}, got shape "
            f"{values.shape}"
        )
        raise ValueError(msg)
    assert layer.receptive_field is not None
    height, width = layer.receptive_field.image
    finite = np.isfinite(values)
    least = float(values[finite].min()) if finite.any() else 0.0
    known = np.where(finite, values, least).astype(np.float64)
    return np.asarray(_between(rows, height) @ known @ _between(cols, width).T)


def _between(centres: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """The part of each of the values at `centres` in each pixel, shape (length, centres)."""
    middles = np.arange(length) + 0.5
    order = np.argsort(centres, kind="stable")
    each = np.eye(len(centres))
    columns = [np.interp(middles, centres[order], each[order, n]) for n in range(len(centres))]
    return np.stack(columns, axis=1)


def masked_by_activation(
    picture: NDArray[np.uint8],
    values: NDArray[np.floating[Any]],
    layer: Layer,
    box: Box | None = None,
    *,
    threshold: float | None = None,
) -> NDArray[np.uint8]:
    """A picture dimmed wherever a feature map is low.

    The map is brought to the picture's size by `upsampled`; what lies below the threshold loses
    three quarters of its contrast, towards the middle grey.

    Parameters
    ----------
    picture : uint8 array, shape (H, W, 3) or (H, W, 1)
        The network's input as a picture.
    values : float array, shape (rows, cols)
        One map on the layer's grid.
    layer : Layer
    box : Box, optional
        Outside of it all is dimmed: what a unit does not see is not why it answers.
    threshold : float, optional
        By default half of the map's largest value, or where that is not above zero, half way from
        its least to its largest. Bau et al. (2017) take a high quantile of the channel's
        activations over all places and images (`UnitStatistics.place_quantile`).

    Returns
    -------
    uint8 array, shape (H, W, 3)

    Raises
    ------
    ValueError
        If the map is not of the layer's grid, the picture is not of the network's input's size, or
        the network's input has no pixels.

    Examples
    --------
    >>> from torch import nn
    >>> from nbviz import Network
    >>> layer = Network(nn.MaxPool2d(2), input_shape=(1, 2, 6)).layers[0]
    >>> white = np.full((2, 6, 1), 255, np.uint8)
    >>> masked_by_activation(white, np.array([[0.0, 4.0, 4.0]]), layer)[0, :, 0].tolist()
    [160, 160, 255, 255, 255, 255]
    """
    size = _expect_picture(picture)
    field = upsampled(values, layer)
    if field.shape != size:
        msg = (
            f"expected a picture of the network's input, {field.shape[0]} x {field.shape[1]}, got "
            f"{size[0]} x {size[1]}"
        )
        raise ValueError(msg)
    kept = field >= (_threshold(values) if threshold is None else threshold)
    if box is not None:
        inside = np.zeros(size, bool)
        inside[box.top : box.bottom, box.left : box.right] = True
        kept &= inside
    colour = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture
    dimmed = np.rint(_GREY + _DIMMED * (colour.astype(np.float32) - _GREY)).astype(np.uint8)
    return np.where(kept[..., None], colour, dimmed)


def _threshold(values: NDArray[np.floating[Any]]) -> float:
    finite = values[np.isfinite(values)].astype(np.float64)
    if not finite.size:
        return 0.0
    low, high = float(finite.min()), float(finite.max())
    return high / 2 if high > 0 else (low + high) / 2
