"""What a person asks of a map of images: misplaced ones, doubles, outliers, groups, names.

All answers come from the table of true neighbours or from features; none trusts the map, except
`category_places`, which finds where on it a name should stand.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from nbviz.analysis.neighbours import Neighbours

__all__ = [
    "Misplaced",
    "category_places",
    "clusters",
    "misplaced",
    "near_duplicates",
    "outliers",
]

# Rows of a block of votes: its square of neighbours stays some MiB.
_VOTERS = 16_384
# Reachability below this share of the median counts as this: duplicates have none at all.
_LEAST_REACH = 0.01
# K-means on batches from so many images on.
_MANY = 20_000
_FINEST = 32
# The sparsest cells of a category's density hold so much of it, and join no parts.
_STRAYS = 0.1


@dataclass(frozen=True, eq=False)
class Misplaced:
    """Images that lie among another class, the most misplaced first.

    Attributes
    ----------
    rows : int32 array, shape (m,)
    own_share : float32 array, shape (m,)
        Share of the neighbours of known class that have the image's own.
    among : int32 array, shape (m,)
        The class that most of its neighbours have, never its own.
    among_share : float32 array, shape (m,)
        Their share.
    """

    rows: NDArray[np.int32]
    own_share: NDArray[np.float32]
    among: NDArray[np.int32]
    among_share: NDArray[np.float32]


def misplaced(
    neighbours_index: NDArray[np.int32],
    labels: ArrayLike,
    *,
    label: int | None = None,
    among: int | None = None,
) -> Misplaced:
    """Images most of whose neighbours are of one other class (the vote of Cover & Hart 1967).

    Parameters
    ----------
    neighbours_index : int array, shape (n, k)
        Rows of the true neighbours.
    labels : int array, shape (n,)
        Classes, below 0 for unknown: such images are neither listed nor counted.
    label : int, optional
        Only images of this class.
    among : int, optional
        Only images among this class.

    Returns
    -------
    Misplaced
        By `own_share` ascending, then `among_share` descending, then row. Where its own class has
        as many votes as another, an image is not misplaced; of other classes with the same the
        lowest number wins.

    Raises
    ------
    ValueError
        If there is not one label an image.

    Examples
    --------
    >>> found = misplaced(np.int32([[1, 2], [0, 2], [0, 1]]), [0, 0, 1])
    >>> found.rows.tolist(), found.among.tolist(), found.among_share.tolist()
    ([2], [0], [1.0])
    """
    index = np.asarray(neighbours_index)
    given = np.asarray(labels)
    if given.shape != (len(index),):
        raise ValueError(
            f"expected a label an image, shape ({len(index)},), got {given.shape}; give -1 to "
            "those of unknown class"
        )
    given = given.astype(np.int64)
    rows = np.flatnonzero(given >= 0 if label is None else given == label)
    rows = rows[given[rows] >= 0]
    starts = range(0, len(rows) if index.shape[1] else 0, _VOTERS)
    parts = [
        _votes(index[rows[at : at + _VOTERS]], given, rows[at : at + _VOTERS]) for at in starts
    ]
    if not parts:
        nothing = np.zeros(0, np.float32)
        return Misplaced(np.zeros(0, np.int32), nothing, np.zeros(0, np.int32), nothing)
    own, other, share = (np.concatenate(column) for column in zip(*parts, strict=True))
    keep = share > own
    if among is not None:
        keep &= other == among
    order = np.lexsort((rows[keep], -share[keep], own[keep]))
    return Misplaced(
        rows[keep][order].astype(np.int32),
        own[keep][order],
        other[keep][order],
        share[keep][order],
    )


def near_duplicates(
    neighbours: Neighbours, *, most: int = 200
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The pairs of images that are nearest to each other in feature space.

    Parameters
    ----------
    neighbours : Neighbours
        The table; pairs that it does not hold are not found, such as beyond k copies of one image.
    most : int
        How many pairs at most.

    Returns
    -------
    pairs : int32 array, shape (m, 2)
        Rows, the smaller first; each pair once, closest first, then by row.
    distance : float32 array, shape (m,)
        As in the table.

    Examples
    --------
    >>> from nbviz.analysis.feature_space import feature_space
    >>> from nbviz.analysis.neighbours import NeighbourSearch
    >>> space = feature_space(np.float32([[0, 1], [5, 0], [0, 2]]), normalise=False)
    >>> near_duplicates(NeighbourSearch(space).neighbours, most=1)[0].tolist()
    [[0, 2]]
    """
    index, distance = neighbours.index, neighbours.distance
    wanted = 2 * max(most, 0)  # each pair may stand in the table twice
    if index.size == 0 or wanted == 0:
        return np.zeros((0, 2), np.int32), np.zeros(0, np.float32)
    flat = distance.reshape(-1)
    wanted = min(wanted, flat.size)
    limit = np.partition(flat, wanted - 1)[wanted - 1]
    at = np.flatnonzero(flat <= limit)
    ends = np.sort(np.stack([at // index.shape[1], index.reshape(-1)[at]], axis=1), axis=1)
    pair = ends.astype(np.int64) @ [len(index), 1]
    # Where very many are as near as the last one, the first of them suffice.
    tied = flat[at] == limit
    last = min(wanted, int(tied.sum())) - 1
    keep = ~tied | (pair <= np.partition(pair[tied], last)[last])
    pair, found = pair[keep], flat[at[keep]]
    order = np.lexsort((pair, found))
    pair, found = pair[order], found[order]
    first = np.sort(np.unique(pair, return_index=True)[1])[: max(most, 0)]
    ends = np.stack(np.divmod(pair[first], len(index)), axis=1)
    return ends.astype(np.int32), found[first].astype(np.float32)


def outliers(neighbours: Neighbours, *, k: int | None = None) -> NDArray[np.float32]:
    """How much sparser it is round each image than round its neighbours: local outlier factor.

    After Breunig, Kriegel, Ng & Sander (2000), "LOF: identifying density-based local outliers",
    definitions 5 to 7. Reachability below a hundredth of its median counts as that, so that images
    beside a heap of duplicates do not come out infinitely far away.

    Parameters
    ----------
    neighbours : Neighbours
        The table.
    k : int, optional
        How many of its columns (MinPts); all if not given.

    Returns
    -------
    float32 array, shape (n,)
        About 1 inside a group; the larger, the lonelier. 1 where there are no neighbours.

    Raises
    ------
    ValueError
        If k is below 1 or above the columns of the table.

    Examples
    --------
    >>> from nbviz.analysis.feature_space import feature_space
    >>> from nbviz.analysis.neighbours import NeighbourSearch
    >>> space = feature_space(np.float32([[0, 0], [0, 1], [1, 0], [1, 1], [9, 9]]), normalise=False)
    >>> int(outliers(NeighbourSearch(space, k=2).neighbours).argmax())
    4
    """
    count, width = neighbours.index.shape
    if width == 0:
        return np.ones(count, np.float32)
    k = width if k is None else k
    if not 1 <= k <= width:
        raise ValueError(f"expected k of 1 to {width}, as many as the table has, got {k}")
    index = neighbours.index[:, :k]
    distance = neighbours.distance[:, :k].astype(np.float64)
    reach = np.maximum(distance[:, -1][index], distance).mean(axis=1)
    usual = float(np.median(reach[reach > 0])) if (reach > 0).any() else 1.0
    reach = np.maximum(reach, _LEAST_REACH * usual)
    return np.asarray(reach * (1 / reach)[index].mean(axis=1), np.float32)


def clusters(reduced: NDArray[np.float32], count: int, seed: int = 0) -> NDArray[np.int32]:
    """Groups of images by k-means (Lloyd 1982; k-means++ of Arthur & Vassilvitskii 2007).

    On batches (Sculley 2010) from 20,000 images on.

    Parameters
    ----------
    reduced : float array, shape (n, d)
        Features, best after PCA.
    count : int
        How many groups; fewer where there are fewer different images.
    seed : int
        Of the first centres.

    Returns
    -------
    int32 array, shape (n,)
        The group of each image, the largest is 0.

    Raises
    ------
    ValueError
        If count is below 1.

    Examples
    --------
    >>> clusters(np.float32([[0], [0.1], [9], [9.1], [9.2]]), 2).tolist()
    [1, 1, 0, 0, 0]
    """
    if count < 1:
        raise ValueError(f"expected at least 1 group, got {count}")
    from sklearn.cluster import KMeans, MiniBatchKMeans  # takes half a second
    from sklearn.exceptions import ConvergenceWarning

    rows = np.ascontiguousarray(reduced, np.float32)
    if not len(rows):
        return np.zeros(0, np.int32)
    count = min(count, len(rows))
    kind = KMeans if len(rows) < _MANY else MiniBatchKMeans
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different images than groups
        found = kind(count, n_init=4, random_state=seed).fit_predict(rows)
    _, first, found, sizes = np.unique(
        found, return_index=True, return_inverse=True, return_counts=True
    )
    place = np.empty(len(sizes), np.int32)
    place[np.lexsort((first, -sizes))] = np.arange(len(sizes))
    return place[found]


def category_places(
    positions: NDArray[np.float32], categories: ArrayLike, *, most: int | None = None
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32]]:
    """Where on the map the name of each category should stand: in the middle of its largest part.

    Parts are what hangs together in a histogram of the category's places, without its sparsest
    tenth; the name stands at the image nearest to the mean of the densest surroundings there.

    Parameters
    ----------
    positions : float array, shape (n, 2)
        The map.
    categories : int array, shape (n,)
        Below 0 for none.
    most : int, optional
        Only so many, the largest.

    Returns
    -------
    numbers : int32 array, shape (m,)
        Of the categories that occur, the largest first, then by number.
    places : float32 array, shape (m, 2)
        An image's own place each.
    counts : int32 array, shape (m,)
        How many images there are of each.

    Raises
    ------
    ValueError
        If there is not one category an image.

    Examples
    --------
    >>> places = np.float32([[0, 0], [1, 0], [2, 0], [50, 0], [7, 7]])
    >>> category_places(places, [3, 3, 3, 3, -1])[1].tolist()
    [[1.0, 0.0]]
    """
    places = np.asarray(positions, np.float32)
    given = np.asarray(categories)
    if given.shape != (len(places),):
        raise ValueError(
            f"expected a category an image, shape ({len(places)},), got {given.shape}; give -1 to "
            "those without"
        )
    order = np.argsort(given, kind="stable")
    order = order[given[order] >= 0]
    numbers, starts, counts = np.unique(given[order], return_index=True, return_counts=True)
    largest = np.argsort(-counts, kind="stable")[:most]
    numbers, starts, counts = numbers[largest], starts[largest], counts[largest]
    found = np.zeros((len(numbers), 2), np.float32)
    for at, (start, count) in enumerate(zip(starts, counts, strict=True)):
        found[at] = _densest(places[order[start : start + count]])
    return numbers.astype(np.int32), found, counts.astype(np.int32)


def _votes(
    index: NDArray[np.int32], labels: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    """Share of the own class, the most frequent other class, and its share."""
    votes = labels[index]
    known = votes >= 0
    total = np.maximum(known.sum(axis=1), 1)
    own = (votes == labels[rows, None]).sum(axis=1)
    # Sorted, so that of classes with as many votes the lowest number comes first.
    votes = np.sort(votes, axis=1)
    counts = (votes[:, :, None] == votes[:, None, :]).sum(axis=2, dtype=np.int32)
    counts[(votes < 0) | (votes == labels[rows, None])] = 0
    best = counts.argmax(axis=1)[:, None]
    most = np.take_along_axis(counts, best, axis=1)[:, 0]
    other = np.take_along_axis(votes, best, axis=1)[:, 0]
    return (
        (own / total).astype(np.float32),
        np.where(most > 0, other, -1).astype(np.int32),
        (most / total).astype(np.float32),
    )


def _densest(places: NDArray[np.float32]) -> NDArray[np.float32]:
    """The place amid the densest surroundings of the largest part."""
    side = int(min(2 + np.sqrt(len(places) / 2), _FINEST))
    low, high = places.min(axis=0), places.max(axis=0)
    extent = np.maximum(high - low, np.finfo(np.float32).tiny)
    cells = np.minimum(((places - low) / extent * side).astype(np.int64), side - 1)
    numbers = cells[:, 0] * side + cells[:, 1]
    held = np.bincount(numbers, minlength=side * side)
    ascending = np.argsort(held, kind="stable")
    strays = np.cumsum(held[ascending]) <= _STRAYS * len(places)
    kept = held.copy()
    kept[ascending[strays]] = 0
    parts, _ = ndimage.label(kept.reshape(side, side) > 0, np.ones((3, 3)))
    sizes = np.bincount(parts.ravel(), weights=kept)
    largest = parts == sizes.argmax()
    around = ndimage.convolve(
        np.where(largest, kept.reshape(side, side), 0), np.ones((3, 3), int), mode="constant"
    )
    column, row = np.unravel_index(np.where(largest, around, -1).argmax(), around.shape)
    near = (np.abs(cells - [column, row]) <= 1).all(axis=1) & largest.ravel()[numbers]
    members = places[near]
    middle = members.mean(axis=0, dtype=np.float64)
    return np.asarray(members[np.square(members - middle).sum(axis=1).argmin()])
