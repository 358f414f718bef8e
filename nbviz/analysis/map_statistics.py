"""Numbers on feature maps, one a channel, and the maps in one byte a value for a browser.

Both take float32 maps (channels, rows, cols), count only finite values, and stay within the cache
of the processor by going through few channels at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

# Values that fit into the cache of one core beside what is made of them.
_BLOCK = 65536

# A range within these has a reciprocal, and a difference, that float32 holds.
_SMALLEST_RANGE, _LARGEST_RANGE = 1e-30, 1e30


@dataclass(frozen=True, eq=False)
class ChannelStatistics:
    """What can be said of each channel, from its finite values; arrays of shape (channels,)."""

    BYTES: ClassVar[int] = 41
    """Memory that all of them take, for a channel."""

    peak: np.ndarray
    """float32: largest value. NaN where a channel has no finite value, as for `low` and `mean`."""
    low: np.ndarray
    """float32: smallest value."""
    mean: np.ndarray
    """float32."""
    sparsity: np.ndarray
    """float32: share of values that are exactly zero, of all values."""
    dead: np.ndarray
    """bool: all values are zero, or (of two or more) the same."""
    nonfinite: np.ndarray
    """int64: number of values that are NaN or infinite."""
    place: np.ndarray
    """int64, shape (channels, 2): row and column of the peak, the first of equals; -1 where there
    is none."""


@dataclass(frozen=True, eq=False)
class QuantisedMaps:
    """Maps in one byte a value: about ``low + values / 255 * (high - low)``, by channel."""

    values: np.ndarray
    """uint8, shape (channels, rows, cols); 0 is exactly `low`, 255 exactly `high`."""
    low: np.ndarray
    """float32, shape (channels,)."""
    high: np.ndarray
    """float32, shape (channels,); equal to `low` for a constant channel, whose bytes are 0."""
    nonfinite: np.ndarray | None
    """Bits (`np.packbits`, little) over ``values.ravel()``, set at NaN or infinity, else None."""


def channel_statistics(maps: np.ndarray) -> ChannelStatistics:
    """Peak, smallest value, mean, sparsity and more of each channel.

    Parameters
    ----------
    maps : ndarray of float32, shape (channels, rows, cols)
        At least one value a channel.

    Examples
    --------
    >>> numbers = channel_statistics(np.float32([[[0, 2], [0, 1]], [[0, 0], [0, 0]]]))
    >>> numbers.peak.tolist(), numbers.sparsity.tolist(), numbers.dead.tolist()
    ([2.0, 0.0], [0.5, 1.0], [False, True])
    >>> numbers.place.tolist()
    [[0, 1], [0, 0]]
    """
    rows = _by_channel(maps)
    channels, places = rows.shape
    where = np.empty(channels, np.int64)
    low, mean = np.empty((2, channels), np.float32)
    zeros = np.empty(channels, np.int64)
    with np.errstate(all="ignore"):  # what is not finite is counted below
        for block in _blocks(rows):
            part = rows[block]
            part.argmax(axis=1, out=where[block])
            part.min(axis=1, out=low[block])
            part.mean(axis=1, out=mean[block])
            zeros[block] = [np.count_nonzero(is_zero) for is_zero in part == 0]
    peak = rows[np.arange(channels), where]
    nonfinite = np.zeros(channels, np.int64)
    for channel in np.flatnonzero(~(np.isfinite(peak) & np.isfinite(low) & np.isfinite(mean))):
        finite = np.isfinite(rows[channel])
        values = rows[channel][finite]
        nonfinite[channel] = places - len(values)
        if not len(values):
            peak[channel] = low[channel] = mean[channel] = np.nan
            where[channel] = -1
            continue
        peak[channel], low[channel] = values.max(), values.min()
        mean[channel] = values.mean(dtype=np.float64)
        where[channel] = np.where(finite, rows[channel], -np.inf).argmax()
    dead = (nonfinite == 0) & (low == peak) & ((low == 0) | (places > 1))
    place = np.stack(np.divmod(where, maps.shape[2]), axis=1)
    place[where < 0] = -1
    sparsity = (zeros / places).astype(np.float32)
    return ChannelStatistics(peak, low, mean, sparsity, dead, nonfinite, place)


def quantise_maps(
    maps: np.ndarray, low: ArrayLike | None = None, high: ArrayLike | None = None
) -> QuantisedMaps:
    """Maps in one byte a value, off by at most half a step of ``(high - low) / 255``.

    Parameters
    ----------
    maps : ndarray of float32, shape (channels, rows, cols)
        NaN and infinity become the byte 0 and are marked.
    low, high : float or ndarray of shape (channels,), optional
        What the bytes 0 and 255 stand for; values beyond are cut off there. By default the
        smallest and the largest finite value of each channel (0 and 0 where there is none).

    Raises
    ------
    ValueError
        If `low` or `high` is not finite, or `high` is below `low`.

    Examples
    --------
    >>> small = quantise_maps(np.float32([[[0.0, 0.5, 1.0]], [[3.0, 3.0, np.nan]]]))
    >>> small.values.tolist(), small.high.tolist(), small.nonfinite.tolist()
    ([[[0, 128, 255]], [[0, 0, 0]]], [1.0, 3.0], [32])
    """
    rows = _by_channel(maps)
    lowest, highest = _extent(rows)
    mask = None
    if not (np.isfinite(lowest) & np.isfinite(highest)).all():
        finite = np.isfinite(rows)
        mask = np.packbits(~finite.ravel(), bitorder="little")
        lowest = rows.min(axis=1, initial=np.inf, where=finite)
        highest = rows.max(axis=1, initial=-np.inf, where=finite)
        lowest[~finite.any(axis=1)] = highest[~finite.any(axis=1)] = 0
        rows = np.where(finite, rows, lowest[:, None])
    bottom, top = _limit(low, lowest, "low"), _limit(high, highest, "high")
    if (bottom > top).any():
        channel = int((bottom > top).argmax())
        msg = (
            f"expected low <= high for every channel, got {bottom[channel]:g} and "
            f"{top[channel]:g} for channel {channel}; pass both, or none"
        )
        raise ValueError(msg)
    beyond = bool((lowest < bottom).any() or (highest > top).any())
    values = _bytes_between(rows, bottom, top, cut=beyond)
    if mask is not None:
        values[~finite] = 0
    return QuantisedMaps(values.reshape(maps.shape), bottom, top, mask)


def _bytes_between(rows: np.ndarray, low: np.ndarray, high: np.ndarray, *, cut: bool) -> np.ndarray:
    """The nearest of 256 steps from `low` to `high` to each value."""
    values = np.empty(rows.shape, np.uint8)
    span = high.astype(np.float64) - low
    fine = (span == 0) | ((span > _SMALLEST_RANGE) & (span < _LARGEST_RANGE))
    # a range next to zero or to the largest number is beyond float32 when divided by or subtracted
    number = np.float32 if fine.all() else np.float64
    scale = np.divide(255, span, out=np.zeros_like(span), where=span > 0)[:, None].astype(number)
    base = low[:, None].astype(number)
    for block in _blocks(rows):
        part = np.subtract(rows[block], base[block], dtype=number)
        part *= scale[block]
        if cut:
            np.clip(part, 0, 255, out=part)
        part += number(0.5)
        np.copyto(values[block], part, casting="unsafe")
    return values


def _limit(given: ArrayLike | None, found: np.ndarray, name: str) -> np.ndarray:
    if given is None:
        return found
    limit = np.asarray(given, np.float32)
    if limit.shape not in ((), found.shape):
        msg = f"expected {name} as one number or {len(found)}, got shape {limit.shape}"
        raise ValueError(msg)
    if not np.isfinite(limit).all():
        msg = f"expected a finite {name}, got {given!r:.60}; leave it out to use the maps' own"
        raise ValueError(msg)
    each: np.ndarray = np.broadcast_to(limit, found.shape).copy()
    return each


def _by_channel(maps: np.ndarray) -> np.ndarray:
    maps = np.asarray(maps, np.float32)
    if maps.ndim != 3 or not maps.size:
        msg = (
            f"expected maps of shape (channels, rows, cols) with at least one value each, got "
            f"shape {maps.shape}"
        )
        raise ValueError(msg)
    return np.ascontiguousarray(maps).reshape(len(maps), -1)


def _blocks(rows: np.ndarray) -> Iterator[slice]:
    """Cut channels into blocks that fit into the cache."""
    step = max(1, _BLOCK // rows.shape[1])
    return (slice(start, start + step) for start in range(0, len(rows), step))


def _extent(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.empty((2, len(rows)), np.float32)
    for block in _blocks(rows):
        rows[block].min(axis=1, out=low[block])
        rows[block].max(axis=1, out=high[block])
    return low, high
