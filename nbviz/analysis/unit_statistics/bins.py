"""Bins for values whose range nobody knows beforehand, finer where most activations are.

Eight to the octave from 2**-12 to 2**12, two to the octave beyond, from 2**-40 to 2**20, on both
sides of zero. Every histogram has the same bins, so two are merged by adding their counts. Zero has
a bin of its own, since a rectified unit answers most images with it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["BINS", "EDGES", "bin_of", "quantile", "share_above"]

#: First octave, the one behind the last, and bins to the octave.
_OCTAVES = ((-40, -12, 2), (-12, 12, 8), (12, 20, 2))


def _edges() -> NDArray[np.float64]:
    positive = [
        2.0**octave * (1 + step / count)
        for first, end, count in _OCTAVES
        for octave in range(first, end)
        for step in range(count)
    ]
    positive += [2.0 ** _OCTAVES[-1][1], np.inf]
    return np.array([*(-value for value in reversed(positive)), 0.0, 0.0, *positive])


#: float64, shape (BINS + 1,): bin `b` spans ``EDGES[b]`` to ``EDGES[b + 1]``. Of two neighbouring
#: bins the one farther from zero has the edge between them; zero's own bin has no width.
EDGES = _edges()
#: Number of bins.
BINS = len(EDGES) - 1
_ZERO = BINS // 2

#: Of a float32 sign, exponent and the first three bits behind the point tell the bin.
_SHIFT = 20


def _table() -> NDArray[np.int32]:
    heads = np.arange(2 ** (31 - _SHIFT), dtype=np.uint32) << np.uint32(_SHIFT)
    finite = heads < np.float32(np.inf).view(np.uint32)
    smallest = heads[finite].view(np.float32)
    step = np.searchsorted(EDGES[_ZERO + 2 :], smallest, side="right") + 1
    step[smallest < np.finfo(np.float32).tiny] = 0  # which processors may take as zero
    table = np.full((2, len(heads)), BINS, np.int32)
    table[:, finite] = _ZERO + step, _ZERO - step
    return table.reshape(-1)


_BIN_OF_HEAD = _table()


def bin_of(values: NDArray[np.float32]) -> NDArray[np.int32]:
    """The bin of each value, from 0 to `BINS` - 1; `BINS` for what is not finite.

    Parameters
    ----------
    values : ndarray, float32, any shape

    Examples
    --------
    >>> found = bin_of(np.array([-0.3, 0.0, 0.3], np.float32))
    >>> EDGES[found].tolist(), EDGES[found + 1].tolist()
    ([-0.3125, 0.0, 0.28125], [-0.28125, 0.0, 0.3125])
    """
    heads = np.ascontiguousarray(values, np.float32).view(np.uint32) >> np.uint32(_SHIFT)
    found: NDArray[np.int32] = _BIN_OF_HEAD.take(heads)
    return found


def quantile(counts: NDArray[np.int64], q: float) -> NDArray[np.float64]:
    """The value below which a share `q` of what was counted lies, a row of `counts` each.

    Within a bin values are taken as spread evenly, so the error is at most the width of a bin: an
    eighth to a sixteenth of the value between 2**-12 and 2**12, a half to a third beyond.

    Parameters
    ----------
    counts : ndarray, int64, shape (..., BINS)
    q : float
        0 to 1.

    Returns
    -------
    ndarray, float64, shape (...)
        NaN where nothing was counted.
    """
    total = counts.sum(-1)
    rank = q * total
    reached = np.cumsum(counts, -1)
    found = np.minimum((reached < rank[..., None]).sum(-1), BINS - 1)
    # q = 0 must not fall into an empty bin ahead of the first value
    found = np.maximum(found, (reached == 0).sum(-1).clip(max=BINS - 1))
    inside = np.take_along_axis(counts, found[..., None], -1)[..., 0]
    before = np.take_along_axis(reached, found[..., None], -1)[..., 0] - inside
    share = (rank - before) / np.maximum(inside, 1)
    low, high = _span(found)
    result = np.where(share >= 1, high, low + (high - low) * np.clip(share, 0, 1))
    return np.where(total == 0, np.nan, result)


def share_above(counts: NDArray[np.int64], values: NDArray[np.float32]) -> NDArray[np.float64]:
    """The share of what was counted that is larger than a value, a row of `counts` each.

    Parameters
    ----------
    counts : ndarray, int64, shape (..., BINS)
    values : ndarray, float32, shape (...)

    Returns
    -------
    ndarray, float64, shape (...)
        NaN where nothing was counted or the value is not finite.
    """
    finite = np.isfinite(values)
    known = np.where(finite, values, np.float32(0))
    found = bin_of(known)
    above = (
        counts.sum(-1)
        - np.take_along_axis(np.cumsum(counts, -1), found[..., None].astype(np.int64), -1)[..., 0]
    )
    inside = np.take_along_axis(counts, found[..., None].astype(np.int64), -1)[..., 0]
    low, high = _span(found)
    width = np.where(high > low, high - low, 1.0)
    part = np.where(high > low, np.clip((high - known) / width, 0, 1), 0.0)
    total = counts.sum(-1)
    share = (above + inside * part) / np.maximum(total, 1)
    return np.where((total == 0) | ~finite, np.nan, share)


def _span(found: NDArray[np.integer]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    limit = EDGES[-2]
    return np.clip(EDGES[found], -limit, limit), np.clip(EDGES[found + 1], -limit, limit)
