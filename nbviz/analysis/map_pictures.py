"""Feature maps beside the picture that they answer to, as one still picture."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image

from nbviz.analysis.activations import Activation
from nbviz.analysis.colormaps import colormap

_TILE, _GAP, _ACROSS = 60, 6, 12
_PICTURE = 192


def activation_sheet(
    activation: Activation,
    picture: np.ndarray,
    *,
    normalise: Literal["channel", "layer", "symmetric"] = "channel",
    most: int = 60,
) -> np.ndarray:
    """The picture at the left and the first maps of a layer at the right.

    Parameters
    ----------
    activation : Activation
    picture : ndarray, uint8, shape (H, W, 3) or (H, W, 1)
    normalise : {"channel", "layer", "symmetric"}
        What one colour scale spans. Layers that hold negative values are drawn in the diverging
        map, zero in the middle.
    most : int
        How many maps at most, by channel number.

    Returns
    -------
    ndarray, uint8, shape (height, width, 3)
        On white; values that are NaN or infinite are magenta.
    """
    maps = activation.maps[:most]
    columns = min(_ACROSS, len(maps))
    lines = -(-len(maps) // columns)
    height = max(_PICTURE, lines * (_TILE + _GAP) - _GAP)
    width = _PICTURE + 3 * _GAP + columns * (_TILE + _GAP) - _GAP
    sheet = np.full((height, width, 3), 255, np.uint8)
    colour = picture if picture.shape[2] == 3 else picture.repeat(3, axis=2)
    _place(sheet, colour, 0, 0, _PICTURE)
    coloured = _coloured(activation, maps, normalise)
    for number, tile in enumerate(coloured):
        top = number // columns * (_TILE + _GAP)
        left = _PICTURE + 3 * _GAP + number % columns * (_TILE + _GAP)
        _place(sheet, tile, top, left, _TILE)
    return sheet


def _coloured(activation: Activation, maps: np.ndarray, normalise: str) -> np.ndarray:
    numbers = activation.statistics
    # float64: the difference of two large numbers is beyond float32.
    lows, highs = (edge.astype(np.float64) for edge in (numbers.low, numbers.peak))
    low, high = lows[: len(maps)], highs[: len(maps)]
    known = np.isfinite(lows)
    signed = bool((lows[known] < 0).any())
    if normalise != "channel":
        low = np.full_like(low, lows[known].min() if known.any() else 0.0)
        high = np.full_like(high, highs[known].max() if known.any() else 0.0)
    if signed or normalise == "symmetric":
        high = np.maximum(np.abs(low), np.abs(high))
        low = -high
    low, high = (np.nan_to_num(edge)[:, None, None] for edge in (low, high))
    span = np.where(high > low, high - low, 1.0)
    odd = ~np.isfinite(maps)
    place = np.where(odd, 0.0, (np.where(odd, 0.0, maps) - low) / span)
    index = np.clip(np.rint(place * 255), 0, 255).astype(np.uint8)
    coloured: np.ndarray = colormap("diverging" if signed else "sequential")[index]
    coloured[odd] = (255, 0, 200)
    return coloured


def _place(sheet: np.ndarray, tile: np.ndarray, top: int, left: int, side: int) -> None:
    """Draw a tile as large as fits a square of the sheet: enlarged by nearest neighbour."""
    scale = side / max(tile.shape[:2])
    size = (max(1, round(tile.shape[1] * scale)), max(1, round(tile.shape[0] * scale)))
    how = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
    drawn = np.asarray(Image.fromarray(np.ascontiguousarray(tile)).resize(size, how))
    sheet[top : top + drawn.shape[0], left : left + drawn.shape[1]] = drawn
