"""The images that are nearest to each image by its features: exact, or nearly so and measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nbviz.analysis.feature_space import FeatureSpace
from nbviz.undisturbed import threads_kept

__all__ = ["NeighbourSearch", "Neighbours", "first_of_equals", "nearest_rows", "neighbours_of"]

# Up to so many rows every distance is computed; up to so many, every one in few dimensions.
_EXACT_ROWS, _BLOCK_ROWS = 20_000, 100_000
# Nearest in the reduced dimensions, among which the nearest in all of them are sought.
_CANDIDATES = 91
# Rows for which the share of true neighbours that were found is measured.
_SAMPLE = 500
# Taken beyond the wanted ones before exact distances decide, as those of the products are rounded.
_SPARE = 8
# Queries with many ties that are done together.
_DOUBTFUL = 32
# Of so few queries the plain distances to all rows are there before a search is set up.
_FEW = 8
# Distances held at once: 32 MiB, and less than 0.1 s of work for two cores.
_AT_ONCE = 8_388_608

Table = tuple[NDArray[np.int32], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest of each image; see `NeighbourSearch`.

    Attributes
    ----------
    index : int32 array, shape (n, k)
        Rows of the space, nearest first; the image itself is not among them.
    distance : float32 array, shape (n, k)
        Euclidean, in `FeatureSpace.features`.
    exact : bool
        Whether every distance was computed.
    recall : float
        Share of the true neighbours that were found, measured on up to 500 images evenly spread
        over the rows; 1 where `exact`.
    notes : tuple of str
        What a person should know of the search.
    """

    index: NDArray[np.int32]
    distance: NDArray[np.float32]
    exact: bool = True
    recall: float = 1.0
    notes: tuple[str, ...] = ()


class NeighbourSearch:
    """A search for the nearest of all images, block by block, that may be stopped and gone on with.

    Two tables come of it: the true neighbours, by all features; and candidates, the nearest by the
    reduced features, which t-SNE takes. Up to `exact_up_to` rows both are exact. Beyond, the true
    ones are sought among the candidates only; these are exact up to `blocks_up_to` rows, and found
    by nearest-neighbour descent beyond (Dong, Moses and Li 2011, "Efficient k-nearest neighbor
    graph construction for generic similarity measures"), where pynndescent is installed.

    Ties go to the smaller row, and the result depends neither on blocks nor on threads.

    Parameters
    ----------
    space : FeatureSpace
    k : int
        How many neighbours; n - 1 at most are there.
    candidates : int
        How many candidates t-SNE needs; 0 for none.
    device : torch.device or str, optional
        Where to compute; the CPU by default.
    exact_up_to, blocks_up_to : int
        Rows, see above.
    seed : int
        Of the descent.

    Raises
    ------
    ValueError
        If `k` is below 1.

    Examples
    --------
    >>> from nbviz.analysis.feature_space import feature_space
    >>> search = NeighbourSearch(feature_space([[0.0], [1.0], [3.0]], normalise=False), k=1)
    >>> while search.done < 1:
    ...     search.advance()
    >>> search.neighbours.index.tolist(), search.neighbours.distance.tolist()
    ([[1], [0], [1]], [[1.0], [1.0], [2.0]])
    """

    def __init__(
        self,
        space: FeatureSpace,
        k: int = 15,
        *,
        candidates: int = 0,
        device: torch.device | str | None = None,
        exact_up_to: int = _EXACT_ROWS,
        blocks_up_to: int = _BLOCK_ROWS,
        seed: int = 0,
    ) -> None:
        if k < 1:
            raise ValueError(f"expected k, the number of neighbours, of at least 1, got {k}")
        features, reduced, count = space.features, space.reduced, len(space)
        chosen, k = torch.device(device or "cpu"), min(k, count - 1)
        # As many components as features are but a rotation, and distances stay.
        one_space = features.shape[1] == reduced.shape[1]
        self.exact = count <= exact_up_to or (one_space and count <= blocks_up_to)
        self._k, self._candidates = k, min(candidates, count - 1)
        self.notes: tuple[str, ...] = ()
        self._near: _Pass
        self._found: _Pass
        self._sample: _Blocks | None = None
        self._passes: list[_Pass]
        if self.exact:
            together = one_space or not candidates
            self._found = _Blocks(features, max(k, self._candidates if together else 0), chosen)
            self._near = self._found if together else _Blocks(reduced, self._candidates, chosen)
            self._passes = [self._found] if together else [self._near, self._found]
        else:
            wanted = min(max(candidates, _CANDIDATES), count - 1)
            self._near = self._candidate_pass(reduced, wanted, chosen, count > blocks_up_to, seed)
            self._found = _Reranking(features, self._near, k, chosen)
            sample = np.unique(np.linspace(0, count - 1, _SAMPLE).astype(np.int64))
            self._sample = _Blocks(features, k, chosen, sample)
            self._passes = [self._near, self._found, self._sample]

    @property
    def done(self) -> float:
        """The share of the work that is done, 0 to 1."""
        whole = sum(each.cost for each in self._passes)
        return sum(each.cost * each.done for each in self._passes) / whole

    @property
    def lengthy(self) -> bool:
        """Whether `advance` is now a descent, in one go."""
        return isinstance(self._near, _Descent) and self._near.done < 1

    def advance(self) -> None:
        """Do the next block, some 0.1 s of work; nothing where all is done.

        After an interrupt the same block is done again.
        """
        for each in self._passes:
            if each.done < 1:
                each.advance()
                return

    @property
    def neighbours(self) -> Neighbours:
        """The true neighbours; what is left of the search is done first."""
        while self.done < 1:
            self.advance()
        index, distance = self._found.index[:, : self._k], self._found.distance[:, : self._k]
        recall, exact = 1.0, self.exact
        if self._sample is not None:
            ours, true = distance[self._sample.rows], self._sample.distance
            # A tie with the last true one is as good as it.
            recall = float((ours <= true[:, -1:] * (1 + 1e-6)).mean())
        return Neighbours(index, distance, exact, recall, self.notes)

    @property
    def candidates(self) -> Table:
        """Index, int32 (n, c), and distance, float32 (n, c), of the nearest by `reduced`."""
        while self._near.done < 1:
            self.advance()
        count = self._candidates
        return self._near.index[:, :count], self._near.distance[:, :count]

    def _candidate_pass(
        self,
        reduced: NDArray[np.float32],
        wanted: int,
        device: torch.device,
        descend: bool,
        seed: int,
    ) -> _Pass:
        """Blocks, or a descent where rows are too many for them and it is installed."""
        if descend and find_spec("pynndescent") is not None:
            return _Descent(reduced, wanted, device, seed)
        if descend:
            said = f"All distances among {len(reduced):,} images are computed, which takes long: "
            self.notes = (said + 'pip install "nbviz[large]" has a faster search.',)
        return _Blocks(reduced, wanted, device)


def neighbours_of(
    space: FeatureSpace, new: Any, k: int = 15, *, device: torch.device | str | None = None
) -> Table:
    """The nearest images of a space to others that are not in it; always exact.

    Parameters
    ----------
    space : FeatureSpace
    new : array, tensor or FeatureRows, shape (m, D)
        Features as those that the space was made of.
    k : int
        How many; fewer where the space has not so many.
    device : torch.device or str, optional
        Where to compute; the CPU by default.

    Returns
    -------
    tuple of int32 array, shape (m, k), and float32 array, shape (m, k)
        Rows of the space, nearest first, and their distances in `space.features`.

    Raises
    ------
    ValueError
        If `k` is below 1, or the features are of another width or not finite.

    Examples
    --------
    >>> from nbviz.analysis.feature_space import feature_space
    >>> space = feature_space([[0.0], [1.0], [3.0]], normalise=False)
    >>> [found.tolist() for found in neighbours_of(space, [[2.9]], 1)]
    [[[2]], [[0.09999990463256836]]]
    """
    if k < 1:
        raise ValueError(f"expected k, the number of neighbours, of at least 1, got {k}")
    return nearest_rows(space.features, space.place(new)[0], k, device=device)


def nearest_rows(
    matrix: NDArray[np.float32],
    queries: NDArray[np.float32],
    k: int,
    *,
    device: torch.device | str | None = None,
) -> Table:
    """Of each query, the nearest rows of a matrix: index and distance, (m, k), nearest first."""
    k = min(k, len(matrix))
    if len(queries) <= _FEW:
        found = [_nearest_of_all(matrix, query, k) for query in queries]
    else:
        exact = _ExactSearch(matrix, k, torch.device(device or "cpu"))
        found = [exact.nearest(queries[block]) for block in exact.blocks(len(queries))]
    empty = (np.zeros((0, k), np.int32), np.zeros((0, k), np.float32))
    index, distance = zip(empty, *found, strict=True)
    return np.concatenate(index), np.concatenate(distance)


def _nearest_of_all(matrix: NDArray[np.float32], query: NDArray[np.float32], k: int) -> Table:
    """Of one query, (1, k) each; ties by row."""
    away = torch.cdist(
        torch.from_numpy(query[None]),
        torch.from_numpy(matrix),
        compute_mode="donot_use_mm_for_euclid_dist",
    )[0].numpy()
    limit = np.partition(away, k - 1)[k - 1]
    near = np.flatnonzero(away <= limit)
    near = near[np.argsort(away[near], kind="stable")[:k]][None]
    return near.astype(np.int32), away[near]


class _Pass(ABC):
    """A part of the search, that fills one table block by block."""

    def __init__(self, rows: int, k: int, cost: float) -> None:
        self.index = np.zeros((rows, k), np.int32)
        self.distance = np.zeros((rows, k), np.float32)
        self.cost = cost
        self._at = 0

    @property
    def done(self) -> float:
        return self._at / len(self.index) if len(self.index) else 1.0

    @abstractmethod
    def advance(self) -> None:
        """Do the next block."""

    def _fill(self, block: slice, found: Table) -> None:
        self.index[block], self.distance[block] = found
        self._at = min(block.stop, len(self.index))


class _Blocks(_Pass):
    """Every distance, for all rows or some."""

    def __init__(
        self,
        matrix: NDArray[np.float32],
        k: int,
        device: torch.device,
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        self.rows = np.arange(len(matrix)) if rows is None else rows
        super().__init__(len(self.rows), k, len(self.rows) * len(matrix) * (60.0 + matrix.shape[1]))
        self._matrix, self._device = matrix, device
        self._search: _ExactSearch | None = None

    def advance(self) -> None:
        if self._search is None:
            self._search = _ExactSearch(self._matrix, self.index.shape[1], self._device)
        block = self._search.blocks(len(self.index) - self._at)[0]
        block = slice(self._at, self._at + block.stop)
        own = self.rows[block]
        self._fill(block, self._search.nearest(self._matrix[own], own))
        if self.done == 1:
            self._search = None  # what it holds on the device is free again


class _Descent(_Pass):
    """The nearest by nearest-neighbour descent, in one go."""

    def __init__(
        self, matrix: NDArray[np.float32], k: int, device: torch.device, seed: int
    ) -> None:
        super().__init__(len(matrix), k, len(matrix) * 1e6)
        self._matrix, self._device, self._seed = matrix, device, seed

    def advance(self) -> None:
        from pynndescent import NNDescent  # compiles for half a minute

        rows, k = self.index.shape
        with threads_kept():
            descent = NNDescent(self._matrix, n_neighbors=k + 1, random_state=self._seed)
            found = descent.neighbor_graph[0].astype(np.int64)
        # Itself is mostly the first, but a duplicate may have taken its place.
        other = found != np.arange(rows)[:, None]
        other[other.all(1), -1] = False
        index = found[other].reshape(rows, k)
        found_none = np.flatnonzero((index < 0).any(1))
        index[found_none] = 0
        for start in range(0, rows, 8192):
            block = slice(start, start + 8192)
            self._fill(block, _nearest_of(self._matrix, index[block], self._matrix[block], k))
        if len(found_none):
            exact = _ExactSearch(self._matrix, k, self._device)
            for part in exact.blocks(len(found_none)):
                own = found_none[part]
                self.index[own], self.distance[own] = exact.nearest(self._matrix[own], own)


class _Reranking(_Pass):
    """The nearest by all features among candidates."""

    def __init__(
        self, matrix: NDArray[np.float32], near: _Pass, k: int, device: torch.device
    ) -> None:
        width = near.index.shape[1]
        super().__init__(len(matrix), k, 30.0 * len(matrix) * width * matrix.shape[1])
        self._matrix, self._near, self._device = matrix, near, device

    def advance(self) -> None:
        rows = max(1, _AT_ONCE // (self._near.index.shape[1] * self._matrix.shape[1]))
        block = slice(self._at, self._at + rows)
        index = self._near.index[block].astype(np.int64)
        self._fill(
            block, _nearest_of(self._matrix, index, self._matrix[block], self.index.shape[1])
        )


def _nearest_of(
    matrix: NDArray[np.float32], index: NDArray[np.int64], queries: NDArray[np.float32], k: int
) -> Table:
    """The nearest `k` among the rows that `index` (m, c) names for each query."""
    columns, among = torch.from_numpy(matrix), torch.from_numpy(np.sort(index, axis=1))
    found, distance = _nearest_first(among, _distances(columns, among, torch.from_numpy(queries)))
    return found[:, :k].numpy().astype(np.int32), distance[:, :k].numpy()


def _nearest_first(
    index: torch.Tensor, distance: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both sorted by distance; rows come ascending, and a stable sort leaves ties in that order."""
    distance, order = distance.sort(dim=1, stable=True)
    return index.gather(1, order), distance


def _distances(columns: torch.Tensor, index: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
    """Distances (m, c) of each query to its rows, from differences, so that none cancel."""
    result = torch.empty(index.shape, device=columns.device)
    rows = max(1, _AT_ONCE // 2 // max(1, index.shape[1] * columns.shape[1]))
    for start in range(0, len(index), rows):
        part = slice(start, start + rows)
        difference = columns[index[part]].sub_(queries[part, None])
        torch.linalg.vector_norm(difference, dim=2, out=result[part])
    return result


class _ExactSearch:
    """The nearest rows of a matrix to queries: products find few, their exact distances decide."""

    def __init__(self, matrix: NDArray[np.float32], k: int, device: torch.device) -> None:
        self._k = k
        # Of equal rows, no more than k + 1 can be among the nearest k of any other or of their own.
        self._numbers = first_of_equals(matrix, k + 1)
        self._position = np.full(len(matrix), -1)
        self._position[self._numbers] = np.arange(len(self._numbers))
        whole = len(self._numbers) == len(matrix)
        columns = torch.from_numpy(matrix if whole else matrix[self._numbers]).to(device)
        # Around their mean they are small, and so is the rounding of their products.
        self._mean = columns.mean(0)
        self._columns, self._centred = columns, columns - self._mean
        self._norms = self._centred.square().sum(1)
        self._largest = float(self._norms.max()) ** 0.5
        self._far = float(columns.abs().max()) * columns.shape[1] ** 0.5

    def blocks(self, count: int) -> list[slice]:
        """Queries that are done at once."""
        at_once = _AT_ONCE * (1 if self._columns.device.type == "cpu" else 16)
        rows = max(1, at_once // len(self._columns))
        return [slice(start, min(start + rows, count)) for start in range(0, count, rows)]

    def nearest(self, queries: NDArray[np.float32], own: NDArray[np.int64] | None = None) -> Table:
        """Index and distance of the nearest; `own` are the queries' own rows, to be left out."""
        columns, k = self._columns, self._k
        here = torch.from_numpy(queries).to(columns.device)
        centred = here - self._mean
        lengths = centred.square().sum(1)
        about = torch.addmm(self._norms, centred, self._centred.T, alpha=-2).add_(lengths[:, None])
        if own is not None:
            position = self._position[own]
            itself = np.flatnonzero(position >= 0)
            about[itself, position[itself]] = torch.inf
        taken = min(k + _SPARE, len(columns))
        index, distance, border = self._decided(about, taken, here)
        if taken < len(columns) and k:
            size = self._largest + float(lengths.max()) ** 0.5
            error = _product_error(columns.shape[1]) * size * size + 1e-6 * size * self._far
            reach = distance[:, -1].square() + error
            # Where the last one taken is not clearly farther, those left behind may be as near.
            doubtful = torch.nonzero(reach >= border)[:, 0]
            counts = (about[doubtful] <= reach[doubtful, None]).sum(1)
            for part in counts.argsort().split(_DOUBTFUL) if len(counts) else ():
                rows, most = doubtful[part], max(k, int(counts[part].max()))
                index[rows], distance[rows], _ = self._decided(about[rows], most, here[rows])
        numbers = self._numbers[index.cpu().numpy()]
        return numbers.astype(np.int32), distance.cpu().numpy()

    def _decided(
        self, about: torch.Tensor, taken: int, queries: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Columns and distances of the nearest of those taken, and about how far the last is."""
        about, index = about.topk(taken, dim=1, largest=False)
        distance = _distances(self._columns, index, queries)
        distance[about.isinf()] = torch.inf  # the query itself
        index, order = index.sort(dim=1)
        index, distance = _nearest_first(index, distance.gather(1, order))
        return index[:, : self._k], distance[:, : self._k], about[:, -1]


def _product_error(width: int) -> float:
    """How far rounding may take a squared distance from products of vectors of length 1."""
    try:
        setting = torch.get_float32_matmul_precision()
    except RuntimeError:  # set by newer means that the older question does not know
        setting = "medium"
    inputs = {"highest": 0.0, "high": 2.0**-10, "medium": 2.0**-7}[setting]
    return 2 * inputs + 4 * (width + 8) * 2.0**-24


def first_of_equals(matrix: NDArray[np.float32], most: int) -> NDArray[np.int64]:
    """Numbers of rows, ascending, of which no more than `most` are equal, bit by bit.

    Rows are sorted by a hash, as they are long; where that takes different rows for equal, all that
    differ from the first of them are kept.
    """
    bits = matrix.view(np.uint32)
    odd = np.random.default_rng(0).integers(0, 2**32, bits.shape[1], np.uint32) | np.uint32(1)
    blocks = range(0, len(bits), max(1, _AT_ONCE // bits.shape[1]))
    hashes = [(bits[start : start + blocks.step] * odd).sum(1, dtype=np.uint64) for start in blocks]
    _, first, group, counts = np.unique(
        np.concatenate(hashes), return_index=True, return_inverse=True, return_counts=True
    )
    many = np.flatnonzero(counts[group] > most)
    like, same = first[group[many]], np.zeros(len(many), bool)
    for start in range(0, len(many), blocks.step):
        part = slice(start, start + blocks.step)
        same[part] = (bits[many[part]] == bits[like[part]]).all(1)
    many, like = many[same], like[same]
    many, like = many[order := np.argsort(like, kind="stable")], like[order]
    place = np.arange(len(many)) - np.searchsorted(like, like)
    return np.delete(np.arange(len(matrix)), many[place >= most])
