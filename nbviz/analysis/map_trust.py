"""How far a map of images can be trusted: what it kept of the neighbours, and where it tears.

A map in the plane cannot keep all neighbours of a space of many dimensions. `map_trust` measures
how many it kept, for the whole and for each image; `seams` finds the places where images lie side
by side that have little in common. *Near* always means: among the k nearest. Each works in steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import Delaunay, QhullError, cKDTree

from nbviz.analysis.feature_space import FeatureSpace
from nbviz.analysis.image_grid import GridLayout
from nbviz.analysis.neighbours import Neighbours, first_of_equals
from nbviz.analysis.steps import InSteps, Steps

__all__ = ["MapTrust", "Seams", "map_trust", "nearest_on_map", "seams"]

# Numbers in a block of distances: 32 MiB, and some 0.2 s of work.
_BLOCK = 1 << 23
# Images whose nearest on the map are sought between two steps.
_SOUGHT = 1 << 15
# Squared distances in float32 that differ by less, as a share of the largest square of a length,
# are the same: a product of matrices leaves about a tenth of that between duplicates.
_ROUNDING = 1e-6
# Distances that differ by less, as a share, are the same.
_TIE = 1e-5
# How many neighbours on the map an image's surroundings are.
_SURROUNDINGS = 10
_RANDOM_PAIRS = 20_000


@dataclass(frozen=True, eq=False)
class MapTrust:
    """How many neighbours a map kept; all measures are 1 where it kept all.

    Attributes
    ----------
    k : int
        How many nearest images are neighbours.
    trustworthiness : float
        How far images that are near on the map are near in feature space, too; 0.5 is about what a
        random map has. NaN if fewer than three images are there.
    continuity : float
        How far images that are near in feature space are near on the map, too; NaN as above.
    preserved : float
        Share of the k nearest in feature space that are among the k nearest on the map; NaN as
        above.
    point_trustworthiness, point_continuity : float32 array, shape (n,)
        The same for each image, NaN where not measured; the means of these are the above.
    point_preserved : float32 array, shape (n,)
        The same for each image, measured for all.
    measured : int
        Of how many images trustworthiness and continuity were measured; 0 of fewer than three.
    exact : bool
        Whether that was all, with true neighbours.
    error : float
        Standard error of trustworthiness or continuity, the larger, due to the sample; 0 if all.
    sentence : str
        What was found, for a person.
    """

    k: int
    trustworthiness: float
    continuity: float
    preserved: float
    point_trustworthiness: NDArray[np.float32]
    point_continuity: NDArray[np.float32]
    point_preserved: NDArray[np.float32]
    measured: int
    exact: bool
    error: float
    sentence: str


@dataclass(frozen=True, eq=False)
class Seams:
    """Pairs of neighbours on a map that are far apart in feature space.

    Attributes
    ----------
    pairs : int32 array, shape (m, 2)
        Rows, the smaller first; the strongest seam first.
    strength : float32 array, shape (m,)
        Above 0, which is as near as true neighbours usually are, up to 1, which is as far apart as
        two images at random.
    meaning : str
        What 0 and 1 mean, with the distances.
    """

    pairs: NDArray[np.int32]
    strength: NDArray[np.float32]
    meaning: str


@InSteps
def map_trust(
    space: FeatureSpace,
    positions: NDArray[np.float32],
    neighbours: Neighbours,
    *,
    k: int = 10,
    exact_up_to: int = 5000,
    sample: int = 1000,
    seed: int = 0,
) -> Steps[MapTrust]:
    """Trustworthiness, continuity and preserved neighbours of a map.

    Trustworthiness and continuity are those of Venna & Kaski (2001, "Neighborhood preservation in
    nonlinear projection methods", section 2; 2006, "Local multidimensional scaling", section 2): an
    image that is near on the map only is punished by how many ranks beyond the k-th it has in
    feature space, and the reverse. Preserved neighbours are the plain share (Lee & Verleysen 2009,
    "Quality assessment of dimensionality reduction", Q_NX). A tie is no fault: of images at one
    distance each has the best of their ranks.

    Parameters
    ----------
    space : FeatureSpace
        What the map was made from; distances are those of `features`.
    positions : float array, shape (n, 2)
        The map.
    neighbours : Neighbours
        Of `space`; k is lowered to as many as there are, and below n / 2.
    k : int
        How many nearest images are neighbours.
    exact_up_to : int
        Ranks are taken of all images of a set of up to so many, else of a sample.
    sample : int
        Its size, drawn without replacement.
    seed : int
        Of the sample.

    Returns
    -------
    MapTrust

    Raises
    ------
    ValueError
        If positions are not finite or not one an image, or k or the sample is below 1.

    Examples
    --------
    >>> from nbviz.analysis.feature_space import feature_space
    >>> from nbviz.analysis.neighbours import NeighbourSearch
    >>> line = np.stack([np.arange(30), np.zeros(30)], axis=1).astype(np.float32)
    >>> space = feature_space(line, normalise=False)
    >>> trust = map_trust(space, line, NeighbourSearch(space).neighbours)
    >>> trust.k, trust.trustworthiness, trust.exact
    (10, 1.0, True)
    """
    count = len(space.features)
    places = _checked(positions, count)
    if k < 1 or sample < 1:
        raise ValueError(f"expected k and sample of at least 1, got {k} and {sample}")
    k = min(k, neighbours.index.shape[1], (count - 1) // 2)
    if k < 1:
        return _unmeasured(count)
    on_map, _ = yield from nearest_on_map.steps(places, k)
    preserved = yield from _preserved(space.features, on_map, neighbours, k)
    complete = count <= exact_up_to
    measured = min(count, max(sample, 2))
    rows = np.arange(count)
    if not complete:
        rows = np.sort(np.random.default_rng(seed).choice(count, measured, replace=False))
    faults = yield from _faults(space.features, places, on_map, rows, k)
    worst = k * (2 * count - 3 * k - 1) / 2
    points = np.full((2, count), np.nan, np.float32)
    points[:, rows] = 1 - faults / worst
    means = points[:, rows].mean(axis=1, dtype=np.float64).tolist()
    left_over = 1 - len(rows) / count
    spread = points[:, rows].std(axis=1, ddof=1, dtype=np.float64).max()
    error = float(spread * np.sqrt(left_over / len(rows)))
    return MapTrust(
        k,
        means[0],
        means[1],
        float(preserved.mean(dtype=np.float64)),
        points[0],
        points[1],
        preserved,
        len(rows),
        len(rows) == count and neighbours.exact,
        error,
        _sentence(k, means, float(preserved.mean(dtype=np.float64)), len(rows), count),
    )


@InSteps
def seams(
    space: FeatureSpace,
    positions: NDArray[np.float32],
    neighbours: Neighbours,
    *,
    grid: GridLayout | None = None,
    most: int = 4000,
) -> Steps[Seams]:
    """Where images lie side by side on a map, but far apart in feature space.

    Side by side are the edges of the Delaunay triangulation, without those that are longer than the
    mean way from their ends to the 10th nearest on the map (across gaps, which a person sees, and
    along the hull); on a grid layout the cells that share a side. After the third picture of
    A. Karpathy, "t-SNE visualization of CNN codes" (2014).

    Parameters
    ----------
    space : FeatureSpace
        What the map was made from.
    positions : float array, shape (n, 2)
        The map; not used with a grid.
    neighbours : Neighbours
        Of `space`; their median distance is what strength 0 stands for.
    grid : GridLayout, optional
        Look at cells of this one instead.
    most : int
        The weakest beyond so many are left out.

    Returns
    -------
    Seams

    Raises
    ------
    ValueError
        If positions are not finite or not one an image.

    Examples
    --------
    >>> from nbviz.analysis.feature_space import feature_space
    >>> from nbviz.analysis.neighbours import NeighbourSearch
    >>> features = np.repeat(np.eye(2, dtype=np.float32), 20, axis=0)
    >>> features += np.linspace(0, 0.1, 40, dtype=np.float32)[:, None]
    >>> space = feature_space(features)
    >>> line = np.stack([np.arange(40), np.zeros(40)], axis=1).astype(np.float32)
    >>> seams(space, line, NeighbourSearch(space).neighbours).pairs.tolist()[0]
    [19, 20]
    """
    count = len(space.features)
    places = _checked(positions if grid is None else grid.positions, count)
    pairs = _beside_on_grid(grid) if grid is not None else (yield from _beside_on_map(places))
    near, far = yield from _usual_distances(space.features, neighbours)
    meaning = (
        f"0: as near as true neighbours usually are ({near:.3g}); 1: as far apart as two images at "
        f"random ({far:.3g})"
    )
    distance = yield from _distances(space.features, pairs)
    keep = np.flatnonzero(distance > near) if far > near else np.zeros(0, np.int64)
    keep = keep[np.argsort(-distance[keep], kind="stable")][: max(most, 0)]
    strength = np.clip((distance[keep] - near) / max(far - near, 1e-30), 0, 1)
    return Seams(pairs[keep].astype(np.int32), strength.astype(np.float32), meaning)


@InSteps
def nearest_on_map(
    positions: NDArray[np.float32], k: int
) -> Steps[tuple[NDArray[np.int32], NDArray[np.float32]]]:
    """The images that lie nearest to each on a map.

    Parameters
    ----------
    positions : float array, shape (n, 2)
        The map.
    k : int
        How many; at most n - 1.

    Returns
    -------
    index : int32 array, shape (n, k)
        Nearest first, without the image itself.
    distance : float32 array, shape (n, k)
        In units of the map.

    Examples
    --------
    >>> index, distance = nearest_on_map(np.float32([[0, 0], [1, 0], [3, 0]]), 1)
    >>> index.ravel().tolist(), distance.ravel().tolist()
    ([1, 0, 1], [1.0, 1.0, 2.0])
    """
    places = np.asarray(positions, np.float32)
    count = len(places)
    k = max(min(k, count - 1), 0)
    index = np.zeros((count, k), np.int32)
    distance = np.zeros((count, k), np.float32)
    if k == 0:
        return index, distance
    # Of images at one place as many as can be among the nearest: a tree cannot part them.
    kept = first_of_equals(places, k + 1)
    tree = cKDTree(places[kept])
    for start in range(0, count, _SOUGHT):
        part = slice(start, min(start + _SOUGHT, count))
        away, found = tree.query(places[part], k + 1)
        found = kept[found]
        own = found == np.arange(part.start, part.stop)[:, None]
        # Where many lie at one place, the image itself may not be among those that were found.
        own[~own.any(axis=1), k] = True
        index[part], distance[part] = (each[~own].reshape(-1, k) for each in (found, away))
        yield None
    return index, distance


def _checked(positions: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Positions as float32, one an image."""
    places = np.ascontiguousarray(positions, np.float32)
    if places.shape != (count, 2):
        raise ValueError(
            f"expected positions of shape ({count}, 2), one an image of the space, got "
            f"{places.shape}; leave out the same images from both"
        )
    if not np.isfinite(places).all():
        raise ValueError("expected finite positions, got NaN or inf; compute the map again")
    return places


def _unmeasured(count: int) -> MapTrust:
    """What is said of fewer than three images."""
    none = np.full(count, np.nan, np.float32)
    nan = float("nan")
    said = f"Of {count} image{'s' * (count != 1)} nothing can be measured; it takes three."
    return MapTrust(0, nan, nan, nan, none, none.copy(), none.copy(), 0, True, 0.0, said)


def _sentence(k: int, means: list[float], preserved: float, measured: int, count: int) -> str:
    """What was measured, for a person."""
    among = "" if measured == count else f", measured on {measured:,} of {count:,} images"
    of = f"the {k} images" if k > 1 else "the image"
    kept, trustworthy, continuous = (_hundredths(each) for each in (preserved, *means))
    return (
        f"Of {of} most like an image, the map keeps {100 * kept:.0f} % near it "
        f"(trustworthiness {trustworthy:.2f}, continuity {continuous:.2f}{among})."
    )


def _hundredths(share: float) -> float:
    """To be told with two decimals: 1.00 is for what is perfect."""
    return min(share, 0.99) if share < 1 else share


def _blocks(count: int, width: int) -> Iterator[slice]:
    """Slices of rows so that a block of `width` numbers a row stays bounded."""
    step = max(1, _BLOCK // max(width, 1))
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def _square_ways(places: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Squared distances on the map from some to all, float32 (m, n)."""
    square = places[rows, 0, None] - places[:, 0]
    square *= square
    across = places[rows, 1, None] - places[:, 1]
    across *= across
    square += across
    return square


def _beyond(
    square: NDArray[np.float32], k: int, others: NDArray[np.int64], rounding: float
) -> NDArray[np.int64]:
    """Ranks beyond the k-th that others have, summed over each row of squared distances."""
    bounds = np.take_along_axis(square, others, axis=1) - rounding
    nearer = [
        [np.count_nonzero(row < bound) for bound in limits]
        for row, limits in zip(square, bounds, strict=True)
    ]
    return np.asarray(np.maximum(np.asarray(nearer, np.int64) + 1 - k, 0).sum(axis=1))


def _rounding(lengths: torch.Tensor) -> float:
    """How much squared distances may differ that are the same."""
    return _ROUNDING * float(lengths.max())


def _faults(
    features: NDArray[np.float32],
    places: NDArray[np.float32],
    on_map: NDArray[np.int32],
    rows: NDArray[np.int64],
    k: int,
) -> Steps[NDArray[np.float64]]:
    """Ranks beyond the k-th in feature space and on the map, float64 (2, m)."""
    # Centred, as rounding grows with the lengths.
    centred = torch.from_numpy(np.ascontiguousarray(features, np.float32))
    centred = centred - centred.mean(dim=0)
    lengths = centred.square().sum(dim=1)
    faults = np.empty((2, len(rows)))
    for part in _blocks(len(rows), len(features)):
        here = rows[part]
        own = np.arange(len(here)), here
        square = torch.addmm(lengths[here, None] + lengths, centred[here], centred.T, alpha=-2)
        square[own] = torch.inf
        true = torch.topk(square, k, dim=1, largest=False).indices.numpy()
        near = on_map[here].astype(np.int64)
        faults[0, part] = _beyond(square.numpy(), k, near, _rounding(lengths))
        way = _square_ways(places, here)
        way[own] = np.inf
        faults[1, part] = _beyond(way, k, true, 0.0)
        yield None
    return faults


def _preserved(
    features: NDArray[np.float32],
    on_map: NDArray[np.int32],
    neighbours: Neighbours,
    k: int,
) -> Steps[NDArray[np.float32]]:
    """Share of each image's k nearest on the map that are as near as the k nearest there are."""
    table = neighbours.index[:, :k]
    kept = np.zeros(on_map.shape, bool)
    for other in table.T:
        kept |= on_map == other[:, None]
    row, column = np.nonzero(~kept)
    if neighbours.index.shape[1] > k:  # others can be as near only where the next one is
        limit, beyond = neighbours.distance[:, k - 1], neighbours.distance[:, k]
        tied = (beyond <= limit * (1 + _TIE))[row]
        row, column = row[tied], column[tied]
    pairs = np.stack([row, on_map[row, column]], axis=1)
    distance = yield from _distances(features, pairs)
    same = distance <= neighbours.distance[row, k - 1] * (1 + _TIE)
    kept[row[same], column[same]] = True
    return np.asarray(kept.mean(axis=1), np.float32)


def _distances(
    features: NDArray[np.float32], pairs: NDArray[np.int64]
) -> Steps[NDArray[np.float32]]:
    """Euclidean distances of pairs in feature space."""
    distance = np.empty(len(pairs), np.float32)
    for part in _blocks(len(pairs), features.shape[1]):
        step = features[pairs[part, 0]] - features[pairs[part, 1]]
        distance[part] = np.sqrt(np.einsum("ij,ij->i", step, step))
        yield None
    return distance


def _usual_distances(
    features: NDArray[np.float32], neighbours: Neighbours
) -> Steps[tuple[float, float]]:
    """Median distance to true neighbours, and between two images at random."""
    count = len(features)
    if count < 2:
        return 0.0, 0.0
    draw = np.random.default_rng(0)
    first = draw.integers(count, size=_RANDOM_PAIRS)
    second = (first + draw.integers(1, count, size=_RANDOM_PAIRS)) % count
    far = yield from _distances(features, np.stack([first, second], axis=1))
    return float(np.median(neighbours.distance)), float(np.median(far))


def _beside_on_map(places: NDArray[np.float32]) -> Steps[NDArray[np.int64]]:
    """Pairs of images side by side on the map, each once, the smaller first."""
    count = len(places)
    if count < 2:
        return np.zeros((0, 2), np.int64)
    try:
        corners = Delaunay(places.astype(np.float64) - places.mean(axis=0)).simplices
        edges = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])
    except QhullError:  # all on one line, or fewer than three
        along = np.linalg.svd(places - places.mean(axis=0), full_matrices=False)[2][0]
        order = np.argsort(places @ along, kind="stable")
        edges = np.stack([order[:-1], order[1:]], axis=1)
    yield None
    edges = np.sort(edges, axis=1).astype(np.int64)
    edges = np.stack(np.divmod(np.unique(edges @ [count, 1]), count), axis=1)
    reach = (yield from nearest_on_map.steps(places, _SURROUNDINGS))[1][:, -1]
    length = np.linalg.norm(places[edges[:, 0]] - places[edges[:, 1]], axis=1)
    return np.asarray(edges[2 * length <= reach[edges[:, 0]] + reach[edges[:, 1]]])


def _beside_on_grid(grid: GridLayout) -> NDArray[np.int64]:
    """Pairs of images in cells that share a side, each once, the smaller first."""
    cells = np.full((grid.columns + 1, grid.rows + 1), -1, np.int64)
    column, row = np.floor(grid.positions).astype(np.int64).T
    cells[column, row] = np.arange(len(grid.positions))
    right = np.stack([cells[:-1].ravel(), cells[1:].ravel()], axis=1)
    below = np.stack([cells[:, :-1].ravel(), cells[:, 1:].ravel()], axis=1)
    pairs = np.concatenate([right, below])
    pairs = np.sort(pairs[(pairs >= 0).all(axis=1)], axis=1)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
