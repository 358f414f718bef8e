"""Histograms of a score, with the chosen part apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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


def distribution(scores: np.ndarray, chosen: list[int], bins: int = 24) -> Distribution:
    """Count scores in bins between their least and greatest, chosen items apart.

    Parameters
    ----------
    scores : ndarray, shape (n,)
    chosen : list of int
        Indices of the chosen items.
    bins : int

    Examples
    --------
    >>> distribution(np.array([0.0, 1.0, 1.0]), [2], bins=2).others.tolist()
    [1, 1]
    """
    finite = np.isfinite(scores)
    is_chosen = np.zeros(len(scores), bool)
    is_chosen[chosen] = True
    span = scores[finite] if finite.any() else np.array([0.0, 1.0])
    edges = np.histogram_bin_edges(span, bins=bins)
    return Distribution(
        edges=edges,
        chosen=np.histogram(scores[finite & is_chosen], edges)[0],
        others=np.histogram(scores[finite & ~is_chosen], edges)[0],
        uncounted=int((~finite).sum()),
    )


def items_between(scores: np.ndarray, low: float, high: float) -> list[int]:
    """Indices of the scores from `low` to `high`, both included."""
    return [int(i) for i in np.flatnonzero((scores >= low) & (scores <= high))]
