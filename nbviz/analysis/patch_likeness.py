"""How alike a channel's strongest patches are, in class and in look, and which are false friends.

All channels of a layer at once. Class numbers below 0 stand for "not known" and count nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbviz.analysis.feature_rows import FeatureRows

__all__ = [
    "BESIDE_THE_CLASS",
    "BESIDE_THE_LOOK",
    "ClassShare",
    "class_shares",
    "diversity",
    "false_friends",
    "purity",
    "similarities",
]

# Bits of a patch's flags.
BESIDE_THE_CLASS, BESIDE_THE_LOOK = 1, 2

# The standard deviation of a normal distribution in median absolute deviations.
_DEVIATIONS = 1.4826
# Cosines of float32 features are off by no more; a distance within it is no difference in look.
_ROUNDING = 1e-5
# So many patches make an outlier one.
_FEW = 5
# Bytes of the features that are gathered at a time: what a processor's cache holds.
_BLOCK = 4 << 20


def similarities(
    features: NDArray[np.floating[Any]] | FeatureRows, positions: NDArray[np.integer[Any]]
) -> NDArray[np.float32]:
    """The cosine between the features of any two of a channel's patches.

    Parameters
    ----------
    features : float array, shape (n, D)
        One row an image; of those that lie in files (`FeatureRows`) only rows that are needed are
        read. NaN where unknown; a row of zeros, or one whose square float32 cannot hold, counts as
        unknown.
    positions : int array, shape (channels, k)
        Row of each patch's image; -1 where there is none.

    Returns
    -------
    float32 array, shape (channels, k, k)
        NaN in row and column of a patch whose features are unknown.

    Examples
    --------
    >>> alike = similarities(np.array([[1.0, 0.0], [2.0, 2.0]]), np.array([[0, 1, -1]]))
    >>> [round(float(value), 2) for value in alike[0, 0]]
    [1.0, 0.71, nan]
    """
    channels, k = positions.shape
    alike = np.full((channels, k, k), np.nan, np.float32)
    if not features.size or not k:
        return alike
    step = max(1, _BLOCK // (4 * k * features.shape[1]))
    for start in range(0, channels, step):
        at = positions[start : start + step]
        rows = np.asarray(features[at.clip(min=0)], np.float32)
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            products = rows @ rows.transpose(0, 2, 1)
            squares = products.diagonal(axis1=1, axis2=2)
            known = (at >= 0) & np.isfinite(squares) & (squares > 0)
            sizes = np.sqrt(np.where(known, squares, np.nan))
            alike[start : start + step] = products / sizes[:, :, None] / sizes[:, None, :]
    return alike


def diversity(alike: NDArray[np.floating[Any]], top: int = 9) -> NDArray[np.float64]:
    """How unlike the images of a channel's strongest patches are.

    Parameters
    ----------
    alike : float array, shape (channels, k, k)
        Of `similarities`, the strongest patch first.
    top : int
        How many patches count.

    Returns
    -------
    float64 array, shape (channels,)
        Mean cosine distance (1 - cosine) over all pairs of patches whose features are known; NaN
        where there are not two. Patches of one image are a pair like any other, at distance 0.

    Examples
    --------
    >>> alike = similarities(np.array([[1.0, 0.0], [0.0, 3.0]]), np.array([[0, 1, -1], [0, 0, 1]]))
    >>> diversity(alike).round(2).tolist(), diversity(alike, top=2).tolist()
    ([1.0, 0.67], [1.0, 0.0])
    """
    first = np.asarray(alike[:, :top, :top], np.float64)
    above, beside = np.triu_indices(first.shape[1], 1)
    distances = 1 - first[:, above, beside]
    known = np.isfinite(distances)
    pairs = known.sum(1)
    total = np.where(known, distances, 0).sum(1)
    return np.where(pairs > 0, total / np.maximum(pairs, 1), np.nan).clip(min=0)


def purity(labels: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Share of the most frequent class among a channel's patches.

    Parameters
    ----------
    labels : int array, shape (channels, k)
        Negative where unknown: such patches do not count.

    Returns
    -------
    float64 array, shape (channels,)
        NaN where no class is known.

    Examples
    --------
    >>> purity(np.array([[3, 3, 5, -1], [-1, -1, -1, -1]])).round(2).tolist()
    [0.67, nan]
    """
    counts = _class_counts(labels)
    known = (counts > 0).sum(1)
    most = counts.max(1, initial=0)
    return np.where(known > 0, most / np.maximum(known, 1), np.nan)


def _class_counts(labels: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """How many patches of the channel are of each patch's class; 0 where it is unknown."""
    same = (labels[:, :, None] == labels[:, None, :]).sum(2)
    return np.where(labels >= 0, same, 0)


def false_friends(
    labels: NDArray[np.integer[Any]], alike: NDArray[np.floating[Any]]
) -> NDArray[np.uint8]:
    """Which of a channel's strongest patches are not like the rest.

    A patch's class differs (`BESIDE_THE_CLASS`, 1) if at least half of the patches with a known
    class are of one other class; of two classes with half each, neither differs. Its look differs
    (`BESIDE_THE_LOOK`, 2) if its cosine distance to the mean direction of all other patches'
    features lies above the median of these distances by more than three scaled median absolute
    deviations, the usual rule for outliers (Leys et al. 2013, "Detecting outliers: Do not use
    standard deviation around the mean, use absolute deviation around the median"); this takes five
    patches with features.

    Parameters
    ----------
    labels : int array, shape (channels, k)
        Negative where unknown.
    alike : float array, shape (channels, k, k)
        Of `similarities`.

    Returns
    -------
    uint8 array, shape (channels, k)
        Sum of both; 0 for what is unknown.

    Examples
    --------
    >>> features = np.array([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [1.0, -0.1], [-1.0, 0.5]])
    >>> alike = similarities(features, np.array([[0, 1, 2, 3, 4]]))
    >>> false_friends(np.array([[7, 7, 7, 2, 2]]), alike).tolist()
    [[0, 0, 0, 1, 3]]
    """
    counts = _class_counts(labels)
    most = counts.max(1, initial=0, keepdims=True)
    known = counts > 0
    half = 2 * most >= known.sum(1, keepdims=True)
    by_class = known & (counts < most) & half

    distance = _distance_to_rest(np.asarray(alike, np.float64))
    typical = _row_median(distance)
    spread = _DEVIATIONS * _row_median(np.abs(distance - typical))
    enough = np.isfinite(distance).sum(1, keepdims=True) >= _FEW
    by_look = enough & (distance > typical + np.maximum(3 * spread, _ROUNDING))
    flags: NDArray[np.uint8] = (BESIDE_THE_CLASS * by_class).astype(np.uint8)
    flags |= (BESIDE_THE_LOOK * by_look).astype(np.uint8)
    return flags


def _distance_to_rest(alike: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine distance of each unit vector to the sum of the others of its channel."""
    known = np.isfinite(alike.diagonal(axis1=1, axis2=2))
    products = np.where(known[:, :, None] & known[:, None, :], alike, 0)
    to_all = products.sum(2)
    to_rest = to_all - 1
    rest = to_all.sum(1, keepdims=True) - 2 * to_all + 1
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = 1 - to_rest / np.sqrt(np.where(rest > _ROUNDING, rest, np.nan))
    return np.where(known, distance.clip(min=0), np.nan)


def _row_median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median of the known values of each row, shape (rows, 1); NaN where there is none."""
    count = (~np.isnan(values)).sum(1, keepdims=True)
    ordered = np.sort(values, axis=1)  # NaN last
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, axis=1)
    high = np.take_along_axis(ordered, np.minimum(count // 2, values.shape[1] - 1), axis=1)
    return np.asarray((low + high) / 2)


@dataclass(frozen=True)
class ClassShare:
    """A class among a channel's patches: how many are of it, and which part that is."""

    number: int
    count: int
    share: float


def class_shares(labels: NDArray[np.integer[Any]]) -> tuple[ClassShare, ...]:
    """The classes of one channel's patches, the most frequent first.

    Parameters
    ----------
    labels : int array, shape (k,)
        Negative where unknown: such patches do not count.

    Returns
    -------
    tuple of ClassShare
        Of equal ones that of the stronger patch first.

    Examples
    --------
    >>> class_shares(np.array([5, 3, 3, -1]))[0]
    ClassShare(number=3, count=2, share=0.6666666666666666)
    """
    known = labels[labels >= 0]
    numbers, first, counts = np.unique(known, return_index=True, return_counts=True)
    return tuple(
        ClassShare(int(numbers[i]), int(counts[i]), int(counts[i]) / len(known))
        for i in np.lexsort((first, -counts))
    )
