"""Histograms of a score, with the chosen part apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Scores that differ by no more, relative to their size, are equal: float32 rounds by 1e-7.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Distribution:
    """Counts in bins of equal width."""

    edges: np.ndarray
    """float64, shape (bins + 1,)."""
    chosen: np.ndarray
    """int, shape (bins,): items that are chosen."""
    others: np.ndarray
    """int, shape (bins,): items that are not."""
    uncounted: int
    """Items whose score is NaN or infinite."""

    @property
    def ticks(self) -> np.ndarray:
        """About five whole numbers from zero to the largest count, evenly spaced."""
        most = int((self.chosen + self.others).max())
        return np.arange(0, most + 1, max(1, round(most / 4)))


def distribution(
    scores: np.ndarray,
    chosen: list[int],
    bins: int = 24,
    span: tuple[float, float] | None = None,
) -> Distribution:
    """Count scores in bins between their least and greatest, chosen items apart.

    Parameters
    ----------
    scores : ndarray, shape (n,)
    chosen : list of int
        Indices of the chosen items.
    bins : int
        Of a span from least to greatest; about scores that are equal, the bins lie around them.
    span : pair of float, optional
        Use this span instead; all scores must lie in it.

    Examples
    --------
    >>> distribution(np.array([0.0, 1.0, 1.0]), [2], bins=2).others.tolist()
    [1, 1]
    """
    finite = np.isfinite(scores)
    is_chosen = np.zeros(len(scores), bool)
    is_chosen[chosen] = True
    # In float64: float32 has no edges between scores that are a few roundings apart.
    values = np.asarray(scores, np.float64)
    counted = values[finite] if finite.any() else np.array([0.0, 1.0])
    low, high = span or (float(counted.min()), float(counted.max()))
    size = max(abs(low), abs(high))
    if high - low <= _ROUNDING * size:
        half = max(0.5, 1e-3 * size)
        low, high = low - half, high + half
    edges = np.linspace(low, high, bins + 1)
    return Distribution(
        edges=edges,
        chosen=np.histogram(values[finite & is_chosen], edges)[0],
        others=np.histogram(values[finite & ~is_chosen], edges)[0],
        uncounted=int((~finite).sum()),
    )


def items_between(scores: np.ndarray, low: float, high: float) -> list[int]:
    """Indices of the scores from `low` to `high`, both included."""
    return [int(i) for i in np.flatnonzero((scores >= low) & (scores <= high))]
