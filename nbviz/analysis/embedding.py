"""A map of images: their features in two dimensions, step by step."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from nbviz.analysis.feature_space import FeatureSpace, feature_space, in_plane
from nbviz.analysis.neighbours import Neighbours, NeighbourSearch, nearest_rows
from nbviz.analysis.tsne import NEEDED, TSNEOptimisation, first_places, placed_by_tsne
from nbviz.undisturbed import threads_kept

__all__ = ["METHODS", "Embedding", "EmbeddingRun", "Step", "embed"]

METHODS = ("tsne", "tsne-sklearn", "umap", "pca")
Stage = Literal["features", "neighbours", "exaggeration", "optimisation", "done"]

# Neighbours of each image that are found on the way, for people to look at.
_SHOWN = 15
# Seconds that a step should take.
_SLICE = 0.1
# Below it, no image has the three neighbours that perplexity 1 needs.
_FEWEST = 4
_NAMES = {"tsne": "t-SNE", "tsne-sklearn": "t-SNE (scikit-learn)", "umap": "UMAP", "pca": "PCA"}
# Neighbours among which a new image starts.
_PLACING = 25


@dataclass(frozen=True, eq=False)
class Step:
    """How far a map is.

    Attributes
    ----------
    positions : float32 array, shape (n, 2)
        Places so far, x to the right and y up.
    stage : str
        "features", "neighbours", "exaggeration", "optimisation" or "done".
    iteration, total : int
        Iterations done, of how many; 0 before they begin.
    sentence : str
        The same for a person; and what comes next where that is `lengthy`.
    lengthy : bool
        Whether the next step is one call of a library that may take more than half a second.
    """

    positions: NDArray[np.float32]
    stage: Stage
    iteration: int
    total: int
    sentence: str
    lengthy: bool = False


@dataclass(frozen=True, eq=False)
class Embedding:
    """A map of images; see `embed`.

    Attributes
    ----------
    positions : float32 array, shape (n, 2)
        A place for each row of `space`.
    space : FeatureSpace
        The features that were used; `space.rows` says which images these are.
    method : str
        One of `METHODS`.
    perplexity : float or None
        What was used, which is less than was asked for where images are few; for UMAP the number
        of neighbours; None for a PCA.
    seed : int
    kl : float or None
        Kullback-Leibler divergence of a finished t-SNE from the neighbourhoods, in nats.
    finished : bool
        Whether all steps were done.
    notes : tuple of str
        What a person should know.
    described : str
        What the map is: "t-SNE, perplexity 30".
    search : NeighbourSearch
        What finds the neighbours.
    model : object or None
        A fitted UMAP.
    """

    positions: NDArray[np.float32]
    space: FeatureSpace
    method: str
    perplexity: float | None
    seed: int
    kl: float | None
    finished: bool
    notes: tuple[str, ...]
    described: str
    search: NeighbourSearch = field(repr=False)
    model: Any = field(default=None, repr=False)

    @property
    def neighbours(self) -> Neighbours:
        """The 15 true neighbours of each image; sought now where that was not done yet."""
        return self.search.neighbours

    def place(self, new_features: Any) -> NDArray[np.float32]:
        """Places of further images on this map, which does not move.

        For t-SNE see `nbviz.analysis.tsne.placed_by_tsne`; a PCA projects, UMAP transforms.

        Parameters
        ----------
        new_features : array, tensor or FeatureRows, shape (m, D)
            From the same layer of the same network.

        Returns
        -------
        float32 array, shape (m, 2)

        Raises
        ------
        ValueError
            If they have another width, or are not finite.
        NotImplementedError
            For a t-SNE by scikit-learn, which cannot place new images.

        Examples
        --------
        >>> map_ = embed([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], "pca", progress=False)
        >>> bool(np.allclose(map_.place([[0.0, 3.0]]), map_.positions[:1]))
        True
        """
        if self.method == "tsne-sklearn":
            raise NotImplementedError(
                "scikit-learn's t-SNE cannot place new images on a finished map; "
                'method="tsne" and method="umap" can'
            )
        features, reduced = self.space.place(new_features)
        if self.method == "pca":
            return in_plane(self.space.project(features))
        if self.model is not None:
            with threads_kept():
                return np.asarray(self.model.transform(reduced), np.float32)
        index, distance = nearest_rows(self.space.reduced, reduced, _PLACING)
        return placed_by_tsne(self.positions, index, distance)


class EmbeddingRun:
    """A map that is made while one watches: iterate over its steps, and stop when you like.

    Between two steps everything may be left, also for good; `embedding` is the map so far. A step
    that was interrupted is done again.

    Parameters
    ----------
    features, method, perplexity, seed, normalise, components, iterations, device
        As `embed` has them.

    Attributes
    ----------
    space : FeatureSpace
        There from the beginning.

    Raises
    ------
    ValueError, ImportError
        As `embed`.

    Examples
    --------
    >>> run = EmbeddingRun([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], "pca")
    >>> [step.stage for step in run]
    ['features', 'done']
    >>> run.embedding.described
    'PCA'
    """

    def __init__(
        self,
        features: Any,
        method: str = "tsne",
        *,
        perplexity: float = 30.0,
        seed: int = 0,
        normalise: bool = True,
        components: int | None = 50,
        iterations: tuple[int, int] = (250, 500),
        device: torch.device | str | None = None,
    ) -> None:
        _check(method, perplexity, iterations)
        self.space = (
            features
            if isinstance(features, FeatureSpace)
            else feature_space(features, normalise=normalise, components=components)
        )
        count = len(self.space)
        self._method = method if count >= _FEWEST else "pca"
        self._seed, self._iterations = seed, iterations
        most = count - 1 if method == "umap" else (count - 1) / NEEDED
        self._perplexity = min(float(perplexity), most)
        self._notes = self.space.notes + _few_notes(method, count, perplexity, most)
        wanted = int(NEEDED * self._perplexity) if self._method == "tsne" else 0
        self._search = NeighbourSearch(
            self.space, _SHOWN, candidates=wanted, device=device, seed=seed
        )
        self._start: NDArray[np.float32] | None = None
        self._optimisation: TSNEOptimisation | None = None
        self._model: Any = None
        self._kl: float | None = None
        self._step: Step | None = None

    def __iter__(self) -> EmbeddingRun:
        return self

    def __next__(self) -> Step:
        if self._step is not None and self._step.stage == "done":
            raise StopIteration
        self._step = self._next(self._step)
        return self._step

    @property
    def neighbours(self) -> Neighbours:
        """The 15 true neighbours of each image; what is left of the search is done first."""
        return self._search.neighbours

    @property
    def embedding(self) -> Embedding:
        """The map as of the last step; before the first one, a principal component analysis."""
        step = self._step
        if step is None:
            step = self._first()
        finished = step.stage == "done"
        stopped = f"Not finished: {step.iteration:,} of {step.total:,} steps were done."
        notes = self._notes + (self._search.notes if self._method != "pca" else ())
        return Embedding(
            step.positions,
            self.space,
            self._method,
            None if self._method == "pca" else self._used_perplexity(),
            self._seed,
            self._kl,
            finished,
            notes if finished else (*notes, stopped),
            self._described(),
            self._search,
            self._model,
        )

    def _used_perplexity(self) -> float:
        """Of UMAP, a whole number of neighbours."""
        if self._method == "umap":
            return float(max(2, round(self._perplexity)))
        return self._perplexity

    def _described(self) -> str:
        """The method and what it was told."""
        name, used = _NAMES[self._method], self._used_perplexity()
        if self._method == "pca":
            return name
        return (
            f"{name}, {used:g} neighbours"
            if self._method == "umap"
            else (f"{name}, perplexity {round(used, 1):g}")
        )

    def _first(self) -> Step:
        """Principal components, that are there at once."""
        images, lengthy = _images(len(self.space)), self._method != "pca" and self._search.lengthy
        said = f"{images}: PCA so far" + (", now finding the neighbours" if lengthy else "")
        return Step(self.space.plane, "features", 0, self._total, said, lengthy)

    @property
    def _total(self) -> int:
        return sum(self._iterations) if self._method == "tsne" else 1

    def _next(self, last: Step | None) -> Step:
        """The step after the last one."""
        if last is None:
            return self._first()
        images, total = _images(len(self.space)), self._total
        if self._method == "pca":
            return Step(last.positions, "done", total, total, f"{images} placed by PCA")
        if self._search.done < 1:
            self._search.advance()
            said = f"Finding the neighbours of {images}: {self._search.done:.0%}"
            if weighing := self._search.done == 1 and self._method == "tsne":
                said = f"Weighing the neighbours of {images}"
            return Step(last.positions, "neighbours", 0, total, said, weighing)
        if self._method == "tsne":
            return self._next_of_tsne(last.positions)
        if last.stage != "optimisation":
            said = f"Placing {images} by {_NAMES[self._method]}, in one go"
            return Step(last.positions, "optimisation", 0, total, said, lengthy=True)
        placed = self._by_umap if self._method == "umap" else self._by_sklearn
        said = f"{images} placed by {self._described()}"
        return Step(placed(last.positions), "done", total, total, said)

    def _next_of_tsne(self, positions: NDArray[np.float32]) -> Step:
        """Neighbours weighed, then some iterations."""
        images, total, run = _images(len(self.space)), self._total, self._optimisation
        if run is None:
            index, distance = self._search.candidates
            self._optimisation = TSNEOptimisation(
                positions, index, distance, self._perplexity, self._iterations, self._seed
            )
            return Step(
                positions, "neighbours", 0, total, f"Placing {images}: 0 of {total:,} steps"
            )
        stage: Stage = "exaggeration" if run.exaggerated else "optimisation"
        run.advance(_SLICE)
        if run.iteration < total:
            left = f"{run.seconds_left:,.0f} s left" if run.seconds_left >= 1 else "done soon"
            said = f"Placing {images}: {run.iteration:,} of {total:,} steps, {left}"
            return Step(run.positions, stage, run.iteration, total, said)
        self._kl = run.divergence()
        self._optimisation = None
        said = f"{images} placed by {self._described()}"
        return Step(run.positions, "done", total, total, said)

    def _by_umap(self, start: NDArray[np.float32]) -> NDArray[np.float32]:
        """Places by UMAP, which keeps the model for further images."""
        from umap import UMAP  # compiles for a while

        with threads_kept(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="umap")
            self._model = UMAP(
                n_neighbors=int(self._used_perplexity()),
                init=first_places(start, 10.0 / 3, self._seed),
                random_state=self._seed,
                transform_seed=self._seed,
                n_jobs=1,
            )
            return np.asarray(self._model.fit_transform(self.space.reduced), np.float32)

    def _by_sklearn(self, start: NDArray[np.float32]) -> NDArray[np.float32]:
        """Places by scikit-learn's t-SNE, which has 250 iterations with exaggeration."""
        from sklearn.manifold import TSNE

        model = TSNE(
            perplexity=self._perplexity,
            init=first_places(start, 1e-4, self._seed).astype(np.float32),
            max_iter=max(250, sum(self._iterations)),
            random_state=self._seed,
        )
        placed = model.fit_transform(self.space.reduced)
        self._kl = float(model.kl_divergence_)
        return np.asarray(placed, np.float32)


def embed(
    features: Any,
    method: str = "tsne",
    *,
    perplexity: float = 30.0,
    seed: int = 0,
    normalise: bool = True,
    components: int | None = 50,
    iterations: tuple[int, int] = (250, 500),
    device: torch.device | str | None = None,
    progress: bool = True,
) -> Embedding:
    """A map of images, on which those with like features lie near each other.

    The defaults of t-SNE are those of Kobak and Berens 2019 ("The art of using t-SNE for
    single-cell transcriptomics"): principal components as first places, attraction 12 times
    stronger for the first 250 iterations, and a learning rate of n / 12; only that the rate is n
    once attraction is plain, n / exaggeration as in openTSNE (see
    `nbviz.analysis.tsne.TSNEOptimisation`). Perplexity 30 is within what van der Maaten and
    Hinton 2008 advise, 5 to 50. Distances on a t-SNE or UMAP, and sizes of its clusters, mean
    little.

    Parameters
    ----------
    features : FeatureSpace, array, tensor or FeatureRows, shape (n, D)
        A row for each image; rows with NaN or infinite numbers are left out, and noted.
    method : str
        "tsne": t-SNE by openTSNE; "tsne-sklearn": by scikit-learn, as a reference; "umap": UMAP
        (McInnes, Healy and Melville 2018), with the package umap-learn; "pca": the first two
        principal components.
    perplexity : float
        How many neighbours count, roughly; at least 1. Lowered to a third of n - 1 where images
        are fewer, and that is noted. For UMAP the number of neighbours.
    seed : int
        The same seed gives the same map on the same machine.
    normalise, components
        As `nbviz.analysis.feature_space.feature_space` has them; of no effect on a
        FeatureSpace.
    iterations : tuple of int
        Of t-SNE, with exaggeration and without.
    device : torch.device or str, optional
        Where neighbours are sought; the CPU by default.
    progress : bool
        Whether to show a bar.

    Returns
    -------
    Embedding
        Where a person interrupts, the map so far with `finished` False, and a warning.

    Raises
    ------
    ValueError
        If the features are none, or not finite, or a setting is out of range.
    ImportError
        If `method` is "umap" and the package umap-learn is not installed.

    Examples
    --------
    >>> features = np.random.default_rng(0).normal(size=(20, 8))
    >>> found = embed(features, perplexity=5, progress=False)
    >>> found.positions.shape, found.described, found.finished
    ((20, 2), 't-SNE, perplexity 5', True)
    """
    run = EmbeddingRun(
        features,
        method,
        perplexity=perplexity,
        seed=seed,
        normalise=normalise,
        components=components,
        iterations=iterations,
        device=device,
    )
    try:
        with tqdm(desc="placing images", unit="step", disable=not progress) as bar:
            for step in run:
                bar.total = step.total
                bar.set_postfix_str(step.sentence, refresh=False)
                bar.update(step.iteration - bar.n)
    except KeyboardInterrupt:
        warnings.warn(f"stopped by hand. {run.embedding.notes[-1]}", stacklevel=2)
    return run.embedding


def _check(method: str, perplexity: float, iterations: tuple[int, int]) -> None:
    """Raise where a setting makes no sense."""
    if method not in METHODS:
        raise ValueError(f"expected method to be one of {', '.join(METHODS)}, got {method!r}")
    if not 1 <= perplexity < np.inf:
        raise ValueError(f"expected a perplexity of at least 1, such as 30, got {perplexity}")
    if len(iterations) != 2 or min(iterations) < 0 or not sum(iterations):
        raise ValueError(
            "expected two numbers of iterations, with exaggeration and without, such as "
            f"(250, 500), got {iterations}"
        )
    if method == "umap" and find_spec("umap") is None:
        raise ImportError('UMAP needs the package umap-learn: pip install "nbviz[umap]"')


def _few_notes(method: str, count: int, perplexity: float, most: float) -> tuple[str, ...]:
    """Says what was done about few images."""
    if method == "pca":
        return ()
    if count < _FEWEST:
        return (f"{_images(count)} are too few for {_NAMES[method]}: this is a PCA.",)
    if perplexity > most:
        what = "number of neighbours" if method == "umap" else "perplexity"
        lowered = f"{what} was lowered from {perplexity:g} to {round(most, 1):g}"
        return (f"The {lowered}, as there are only {_images(count)}.",)
    return ()


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"
