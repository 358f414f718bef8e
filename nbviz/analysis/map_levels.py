"""Feature maps in few bytes: one a value, and four a channel.

A value is ``low + q / 255 * (high - low)`` of its channel, and a channel's ends are 16-bit
fractions of the whole layer's range, so that 2048 maps of 7 x 7 travel in 1.08 times their number
of values. Several inputs share the scale of each channel, so that their maps can be compared, and
subtracted, level by level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nbviz.analysis.activations import quantise_maps

_ENDS = 65535


# A channel whose range is a smaller part of the layer's would get too few 16-bit steps.
_FEW_ENDS = 4096


@dataclass(frozen=True, eq=False, slots=True)
class MapLevels:
    """Maps of one layer for one or more inputs, quantised on one scale a channel."""

    values: tuple[np.ndarray, ...]
    """uint8, shape (channels, rows, columns), one an input."""
    low: np.ndarray | None
    high: np.ndarray | None
    """Shape (channels,): ends of a channel's range. uint16, as fractions of the layer's; float32,
    themselves, where a channel's range is less than a 4096th of the layer's. None where every
    channel has one value, on the layer's scale."""
    layer_low: float
    layer_high: float
    nonfinite: tuple[np.ndarray | None, ...]
    """A bit for each value that is NaN or infinite, lowest bit first, one an input."""


def map_levels(
    maps: Sequence[np.ndarray], ranges: Sequence[tuple[np.ndarray, np.ndarray]]
) -> MapLevels:
    """Quantise the maps of one layer for one or more inputs.

    Parameters
    ----------
    maps : sequence of ndarray, shape (channels, rows, columns), float32
    ranges : sequence of pairs of ndarray, shape (channels,)
        Least and largest finite value of each channel, one pair an input; NaN where there is none.

    Returns
    -------
    MapLevels
        A value is off by at most half a level of its channel (a 510th of its range, over all
        inputs; of the layer's range where every channel has one value) and the 131070th part of
        the layer's range, beside the rounding of float32; a channel that is the same everywhere
        keeps low == high. Zero is exact in a layer without negative values.

    Examples
    --------
    >>> maps = np.array([[[0.0, 1.0]], [[2.0, 2.0]]], np.float32)
    >>> levels = map_levels([maps], [(maps.min((1, 2)), maps.max((1, 2)))])
    >>> levels.values[0].tolist(), levels.low.tolist(), levels.high.tolist()
    ([[[0, 255]], [[0, 0]]], [0, 65535], [32768, 65535])
    """
    # fmin and fmax: a channel without a finite value for one input may have some for the other.
    low = np.fmin.reduce([np.asarray(pair[0], np.float64) for pair in ranges])
    high = np.fmax.reduce([np.asarray(pair[1], np.float64) for pair in ranges])
    # a channel without a finite value has no ends
    known = np.isfinite(low) & np.isfinite(high)
    low, high = np.where(known, low, 0.0), np.where(known, high, 0.0)
    least = float(low[known].min()) if known.any() else 0.0
    most = float(high[known].max()) if known.any() else 0.0
    codes: tuple[np.ndarray | None, np.ndarray | None] = (None, None)
    if maps[0][0].size > 1:
        spans = (high - low)[high > low]
        if spans.size and spans.min() < (most - least) / _FEW_ENDS:
            codes = (low.astype(np.float32), high.astype(np.float32))
        else:
            codes = _ends(low, high, least, most)
            low, high = (least + code / _ENDS * (most - least) for code in codes)
    else:
        low, high = np.full_like(low, least), np.full_like(high, most)
    ends = low.astype(np.float32), high.astype(np.float32)
    levels = [quantise_maps(each, *ends) for each in maps]
    return MapLevels(
        values=tuple(each.values for each in levels),
        low=codes[0],
        high=codes[1],
        layer_low=least,
        layer_high=most,
        nonfinite=tuple(each.nonfinite for each in levels),
    )


def _ends(
    low: np.ndarray, high: np.ndarray, least: float, most: float
) -> tuple[np.ndarray, np.ndarray]:
    """Ends as 16-bit fractions, outwards so that no value lies beyond; constant stays constant."""
    span = (most - least) or 1.0
    same = low == high
    down = np.where(same, np.rint((low - least) / span * _ENDS), (low - least) / span * _ENDS)
    up = np.where(same, down, np.ceil((high - least) / span * _ENDS))
    return (
        np.floor(down).clip(0, _ENDS).astype(np.uint16),
        up.clip(0, _ENDS).astype(np.uint16),
    )
