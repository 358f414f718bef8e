"""t-SNE by openTSNE in short steps, and new points placed on a map that stays as it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

__all__ = ["NEEDED", "TSNEOptimisation", "first_places", "placed_by_tsne"]

# Attraction between neighbours at first, and the divisor of the learning rate for as long.
_EXAGGERATION = 12.0
# Neighbours for each unit of perplexity: those farther away have next to no weight.
NEEDED = 3
_MOMENTUM = 0.8
# Standard deviation of the first places, small so that all are nearly at one point.
_START = 1e-4
# Points from which several threads pay: below, waiting for one another takes longer than the work.
_THREADED = 4_000
# Points from which repulsion is interpolated on a grid, not summed over a tree.
_INTERPOLATED = 10_000
_GRID_TO_PLACE = 1_000
_PLACING_PERPLEXITY, _PLACING_ITERATIONS = 5, 250
# openTSNE's own: angle of the tree; nodes in a cell of the grid, fewest cells, width of a cell.
_SETTINGS: dict[str, Any] = {
    "dof": 1,
    "bh_params": {"theta": 0.5},
    "fft_params": {"n_interpolation_points": 3, "min_num_intervals": 50, "ints_in_interval": 1},
}


class TSNEOptimisation:
    """A t-SNE whose places move a few iterations at a time.

    Attraction is that of van der Maaten and Hinton 2008 ("Visualizing Data using t-SNE"), between
    neighbours only; repulsion is summed over a tree (van der Maaten 2014, "Accelerating t-SNE using
    Tree-Based Algorithms") below 10,000 points, and interpolated by FFT from there on (Linderman et
    al. 2019, "Fast interpolation-based t-SNE for improved visualization of single-cell RNA-seq
    data"), both as openTSNE has them (Poličar, Stražar and Zupan 2024, "openTSNE: A Modular Python
    Library for t-SNE Dimensionality Reduction and Embedding").

    The learning rate is n / exaggeration (Belkina et al. 2019, "Automated optimized parameters for
    t-distributed stochastic neighbor embedding"): n / 12 while attraction is 12 times stronger, and
    n afterwards. That and a momentum of 0.8 throughout are openTSNE's own defaults.

    How many iterations are done at once does not change the result. Nor do threads: of 20,000
    points, whose repulsion is interpolated, all places were the same with one thread and with two.

    Parameters
    ----------
    start : float32 array, shape (n, 2)
        Principal components: the first is scaled to a standard deviation of 0.0001 (Kobak and
        Berens 2019, "The art of using t-SNE for single-cell transcriptomics").
    index : int32 array, shape (n, c)
        Nearest neighbours of each point; 3 x perplexity are usual.
    distance : float32 array, shape (n, c)
    perplexity : float
        At most a third of n - 1.
    iterations : tuple of int
        With exaggeration, and then without.
    seed : int
        Of a jitter of 0.000001, that takes equal points apart.
    """

    def __init__(
        self,
        start: NDArray[np.float32],
        index: NDArray[np.int32],
        distance: NDArray[np.float32],
        perplexity: float,
        iterations: tuple[int, int],
        seed: int,
    ) -> None:
        from openTSNE import TSNEEmbedding  # takes a second
        from openTSNE.affinity import PerplexityBasedNN
        from openTSNE.nearest_neighbors import PrecomputedNeighbors

        self.iteration, self.total = 0, sum(iterations)
        self._exaggerated, self._jobs = iterations[0], _threads(len(start))
        affinities = PerplexityBasedNN(
            knn_index=PrecomputedNeighbors(index, distance),
            perplexity=perplexity,
            n_jobs=self._jobs,
        )
        self._affinities = affinities
        self._plain = affinities.P
        # Multiplied once, as openTSNE would at each call, whose roundings would add up.
        affinities.P = self._plain * _EXAGGERATION
        self._embedding = TSNEEmbedding(
            first_places(start, _START, seed), affinities, random_state=seed
        )
        self._gradient = _gradient_only(len(start))
        self._seconds = 0.0

    @property
    def exaggerated(self) -> bool:
        """Whether the next iteration has exaggeration."""
        return self.iteration < self._exaggerated

    @property
    def seconds_left(self) -> float:
        """Until the last iteration, by what iterations took so far."""
        return self._seconds * (self.total - self.iteration)

    @property
    def positions(self) -> NDArray[np.float32]:
        """Where the points are, float32 (n, 2)."""
        return np.asarray(self._embedding, np.float32)

    def advance(self, seconds: float) -> None:
        """Go on for so long, by what iterations took so far; one iteration at least."""
        first = self.exaggerated
        left = (self._exaggerated if first else self.total) - self.iteration
        steps = 1 if not self._seconds else min(left, max(1, int(seconds / self._seconds)))
        if not first:
            self._affinities.P = self._plain
        begun = time.perf_counter()
        self._embedding.optimize(
            steps,
            inplace=True,
            momentum=_MOMENTUM,
            learning_rate=len(self._embedding) / (_EXAGGERATION if first else 1),
            negative_gradient_method=self._gradient,
            n_jobs=self._jobs,
        )
        self._seconds = (time.perf_counter() - begun) / steps
        self.iteration += steps

    def divergence(self) -> float:
        """Kullback-Leibler divergence of the map from the neighbourhoods, in nats."""
        error, _ = _method(len(self._embedding))(
            self._embedding, self._plain, should_eval_error=True, n_jobs=self._jobs, **_SETTINGS
        )
        return float(error)


def first_places(start: NDArray[np.float32], deviation: float, seed: int) -> NDArray[np.float64]:
    """Places scaled to a standard deviation along x, with a jitter that takes equal ones apart."""
    jitter = np.random.default_rng(seed).normal(size=start.shape)
    wide = float(start[:, 0].std(dtype=np.float64))
    places = start.astype(np.float64) / wide if wide > 0 else jitter
    return deviation * (places + 0.01 * jitter)


def placed_by_tsne(
    positions: NDArray[np.float32], index: NDArray[np.int32], distance: NDArray[np.float32]
) -> NDArray[np.float32]:
    """New points among those of a map, which does not change.

    Each starts at the median of its nearest 25 neighbours, and is then moved by t-SNE with
    perplexity 5 against the map alone (Poličar, Stražar and Zupan 2023, "Embedding to reference
    t-SNE space addresses batch effects in single-cell classification"; openTSNE's `transform`).

    Parameters
    ----------
    positions : float32 array, shape (n, 2)
        The map.
    index : int32 array, shape (m, c)
        Points of the map that are nearest to each new one, nearest first; c of 25 is meant.
    distance : float32 array, shape (m, c)

    Returns
    -------
    float32 array, shape (m, 2)

    Examples
    --------
    >>> corners = np.array([[0, 0], [0, 9], [9, 0], [9, 9]], np.float32)
    >>> near = np.zeros((1, 1), np.int32)
    >>> float(np.abs(placed_by_tsne(corners, near, np.ones((1, 1), np.float32))).max()) < 3
    True
    """
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PrecomputedAffinities, joint_probabilities_nn
    from openTSNE.tsne import PartialTSNEEmbedding

    count = len(positions)
    jobs = _threads(len(index))
    if not len(index):
        return np.zeros((0, 2), np.float32)
    # openTSNE wants it in the middle, and moves its own copy there.
    middle = (positions.max(0) + positions.min(0)).astype(np.float64) / 2
    nothing = PrecomputedAffinities(csr_matrix((count, count)), normalize=False)
    reference = TSNEEmbedding(positions - middle, nothing)
    used = min(_PLACING_PERPLEXITY * NEEDED, index.shape[1])
    attraction = joint_probabilities_nn(
        index[:, :used],
        distance[:, :used],
        [max(1.0, used / NEEDED)],
        symmetrize=False,
        normalization="point-wise",
        n_reference_samples=count,
        n_jobs=jobs,
    )
    start = np.median(np.asarray(reference)[index], axis=1)
    placed = PartialTSNEEmbedding(start, reference, attraction)
    placed.optimize(
        _PLACING_ITERATIONS,
        inplace=True,
        learning_rate=0.1,
        exaggeration=1.5,
        momentum=0.8,
        max_grad_norm=0.25,
        max_step_norm=None,
        # Of a tree, all of it would be built again at each iteration.
        negative_gradient_method="fft" if count >= _GRID_TO_PLACE else "bh",
        n_jobs=jobs,
    )
    result: NDArray[np.float32] = (np.asarray(placed) + middle).astype(np.float32)
    return result


def _threads(count: int) -> int:
    return torch.get_num_threads() if count >= _THREADED else 1


def _method(count: int) -> Callable[..., tuple[float, NDArray[np.float64]]]:
    """How the gradient and the divergence are computed."""
    from openTSNE.tsne import kl_divergence_bh, kl_divergence_fft

    method: Callable[..., tuple[float, NDArray[np.float64]]]
    method = kl_divergence_fft if count >= _INTERPOLATED else kl_divergence_bh
    return method


def _gradient_only(count: int) -> Callable[..., tuple[float, NDArray[np.float64] | None]]:
    """The same without the divergence, for which openTSNE asks at the end of each call."""
    method = _method(count)

    def gradient(
        *places: Any, should_eval_error: bool, **settings: Any
    ) -> tuple[float, NDArray[np.float64] | None]:
        if should_eval_error:
            return float("nan"), None
        return method(*places, should_eval_error=False, **settings)

    return gradient
