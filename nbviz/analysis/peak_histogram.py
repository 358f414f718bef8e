"""A histogram to draw out of one that was counted in bins of growing width."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Below this share of its size, a span is the rounding of one value.
_ROUNDING = 1e-6


def even_histogram(
    counts: ArrayLike, edges: ArrayLike, low: float, high: float, bins: int = 40
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Counts in bins of equal width, from counts in bins of any width.

    What lay in a bin is spread evenly over the part of it that lies between `low` and `high`, so
    a new bin may hold a fraction. The total stays the same.

    Parameters
    ----------
    counts : array of int, shape (n,)
    edges : array of float, shape (n + 1,)
        Ascending; two that are equal hold one value between them, infinite ones what lies beyond.
    low, high : float
        Least and greatest value that was counted. All lies in one bin around them where they are
        equal.
    bins : int

    Returns
    -------
    counts : float64 array, shape (bins,)
    edges : float64 array, shape (bins + 1,)

    Raises
    ------
    ValueError
        If `low` or `high` is no finite number, or there is not one edge more than counts.

    Examples
    --------
    >>> even_histogram([2, 4, 8], [0, 1, 2, 4], low=0, high=4, bins=2)
    (array([6., 8.]), array([0., 2., 4.]))
    """
    numbers = np.asarray(counts, np.float64)
    ends = np.asarray(edges, np.float64)
    if ends.shape != (len(numbers) + 1,):
        raise ValueError(
            f"expected {len(numbers) + 1} edges of {len(numbers)} bins, got {ends.shape}"
        )
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise ValueError(f"expected a least and a greatest value, got {low} and {high}")
    size = max(abs(low), abs(high))
    if high - low <= _ROUNDING * size:
        half = max(0.5, 1e-3 * size)
        drawn = np.linspace(low - half, high + half, bins + 1)
        even = np.zeros(bins)
        even[bins // 2] = numbers.sum()
        return even, drawn
    drawn = np.linspace(low, high, bins + 1)
    starts, stops = ends[:-1].clip(low, high), ends[1:].clip(low, high)
    widths = stops - starts
    below = np.divide(
        drawn[:, None] - starts, widths, out=np.zeros((bins + 1, len(numbers))), where=widths > 0
    ).clip(0, 1)
    # One value lies in the bin that begins with it, and the greatest in the last.
    single = widths <= 0
    below[:, single] = drawn[:, None] > starts[single]
    below[-1] = 1
    return np.diff(below @ numbers), drawn
