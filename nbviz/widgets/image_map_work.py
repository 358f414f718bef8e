"""What an `ImageMap` works out of features: the map in slices, then what is asked about it.

All is kept that a person may come back to, and let go of when the map moves on.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from nbviz.analysis import map_questions
from nbviz.analysis.embedding import Embedding, Step, embedding_steps
from nbviz.analysis.feature_space import FeatureSpace, feature_space, principal_axes
from nbviz.analysis.image_grid import GridLayout, grid_layout
from nbviz.analysis.map_places import MapFrame
from nbviz.analysis.map_trust import MapTrust, Seams, map_trust, seams
from nbviz.analysis.neighbours import Neighbours, NeighbourSearch, neighbours_of
from nbviz.widgets.sliced_work import SLICE, SlicedWork

#: Neighbours of each image that are kept.
NEAR = 15

# Of larger sets the table of neighbours is not worked out unless somebody asks for it.
_MANY = 100_000
_CLUSTERS = 10


class MapWork:
    """A map that is being computed, or was, and what is known of it.

    Parameters
    ----------
    features : array, tensor or FeatureRows, shape (n, D)
        None where there is an embedding.
    embedding : Embedding or array of shape (n, 2), optional
        Already computed.
    **options
        Of `embedding_steps`.

    Raises
    ------
    ValueError
        If there is not one position an image, or some are not finite.
    """

    def __init__(self, features: Any, embedding: Any, **options: Any) -> None:
        self._seed: int = options["seed"]
        if embedding is not None and not isinstance(embedding, Embedding):
            reduction = {name: options[name] for name in ("normalise", "components")}
            embedding = _given_positions(feature_space(features, **reduction), embedding)
        self._given: Embedding | None = embedding
        self.stopped = False
        """Whether a person stopped it; it goes on when this is set back."""
        if embedding is None:
            self._run = embedding_steps(features, **options)
            self._work: SlicedWork[Step] = SlicedWork(self._run)
            self._step = self._work.go_on(0)
        self._pca = _first_two(self.space)
        self._frame = MapFrame.around(self.positions)
        self._neighbours: Neighbours | None = None
        self._clusters: np.ndarray | None = None
        self._lof: np.ndarray | None = None
        self._forget()

    def _forget(self) -> None:
        """Let go of what was worked out of positions that are no longer."""
        self._grid: GridLayout | None = None
        self._trust: dict[str, MapTrust] = {}
        self._seams: dict[str, Seams] = {}

    @property
    def embedding(self) -> Embedding:
        """The map as far as it is."""
        return self._run.embedding if self._given is None else self._given

    @property
    def space(self) -> FeatureSpace:
        """The features that it is made of."""
        return self._run.space if self._given is None else self._given.space

    @property
    def step(self) -> Step | None:
        """How far it is; None where it came computed."""
        return self._step if self._given is None else None

    @property
    def placed(self) -> bool:
        """Whether the map is finished."""
        return self._given is not None or self._step.stage == "done"

    @property
    def settled(self) -> bool:
        """Whether images stay where they are for now."""
        return self.placed or self.stopped

    @property
    def positions(self) -> np.ndarray:
        """Float32 (n, 2), on the layout "map"."""
        return self._step.positions if self._given is None else self._given.positions

    def go_on(self, seconds: float = SLICE) -> bool:
        """Work on a map that is not finished for a while; whether it is now."""
        self._step = self._work.go_on(seconds)
        self._frame = (
            MapFrame.around(self.positions) if self.placed else self._frame.followed(self.positions)
        )
        self._forget()
        return self.placed

    def layout(self, name: str) -> np.ndarray | None:
        """Positions, float32 (n, 2), in a layout; None for a grid that was not laid out."""
        if name == "grid":
            return None if self._grid is None else self._grid.positions
        return self._pca if name == "pca" else self.positions

    def frame(self, name: str) -> MapFrame:
        """What of the plane of a layout is shown."""
        if name == "map":
            return self._frame
        positions = self.layout(name)
        if positions is None:
            raise ValueError(f"expected a layout that is there, got {name!r}")
        return MapFrame.around(positions, border=0.5 if name == "grid" else 0.0)

    def places(self, name: str) -> np.ndarray | None:
        """Where images stand in a layout, uint16 (n, 2)."""
        positions = self.layout(name)
        return None if positions is None else self.frame(name).places(positions)

    def grid(self) -> GridLayout:
        """The grid of the map as it is."""
        if self._grid is None:
            self._grid = grid_layout(self.positions)
        return self._grid

    @property
    def neighbours(self) -> Neighbours:
        """The true neighbours of all images; sought now where they are not there yet."""
        if self._neighbours is None:
            self._neighbours = self.embedding.neighbours
        return self._neighbours

    @property
    def known_neighbours(self) -> Neighbours | None:
        """The same, None where they are not there yet."""
        if self._neighbours is None and self.embedding.search.done < 1:
            return None
        return self.neighbours

    @property
    def seeking(self) -> bool:
        """Whether neighbours are still to be sought, of a set that is not very large."""
        return self.known_neighbours is None and len(self.space) <= _MANY

    def seek(self, seconds: float = SLICE) -> None:
        """Work on the neighbours for a while."""
        search, end = self.embedding.search, time.monotonic() + seconds
        while search.done < 1:
            search.advance()
            if time.monotonic() >= end:
                break

    def near(self, row: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The nearest images of one, int32 (k,), and how far they are, float32 (k,)."""
        known = self.known_neighbours
        if known is not None and count <= known.index.shape[1]:
            return known.index[row, :count], known.distance[row, :count]
        index, distance = neighbours_of(self.space, self.space.features[row : row + 1], count + 1)
        others = np.flatnonzero(index[0] != row)[:count]
        return index[0][others], distance[0][others]

    def known_trust(self, name: str) -> MapTrust | None:
        """How far a layout can be trusted, if that was measured."""
        return self._trust.get(name)

    def trust(self, name: str) -> MapTrust:
        """How far a layout can be trusted."""
        if name not in self._trust:
            self._trust[name] = map_trust(self.space, self._laid(name), self.neighbours)
        return self._trust[name]

    def seams(self, name: str) -> Seams:
        """Where a layout brings together what is far apart for the network."""
        if name not in self._seams:
            positions = self._laid(name)
            grid = self._grid if name == "grid" else None
            self._seams[name] = seams(self.space, positions, self.neighbours, grid=grid)
        return self._seams[name]

    def _laid(self, name: str) -> np.ndarray:
        if name == "grid":
            return self.grid().positions
        return self._pca if name == "pca" else self.positions

    def outliers(self) -> np.ndarray:
        """Local outlier factor of each image, float32 (n,)."""
        if self._lof is None:
            self._lof = map_questions.outliers(self.neighbours)
        return self._lof

    def duplicates(self, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of rows that are nearest to each other, int32 (m, 2), and how far, float32 (m,)."""
        return map_questions.near_duplicates(self.neighbours, most=most)

    def clusters(self, count: int | None) -> np.ndarray:
        """The cluster of each image, int32 (n,)."""
        if self._clusters is None:
            found = map_questions.clusters(self.space.reduced, count or _CLUSTERS, self._seed)
            self._clusters = found
        return self._clusters


def _first_two(space: FeatureSpace) -> np.ndarray:
    """The first two principal components, float32 (n, 2)."""
    found = space.reduced[:, :2]
    if space.principal is None:
        found = principal_axes(space.features, 2).project(space.features)
    if found.shape[1] < 2:
        found = np.concatenate([found, np.zeros((len(found), 2 - found.shape[1]))], axis=1)
    return np.ascontiguousarray(found, np.float32)


def _given_positions(space: FeatureSpace, positions: Any) -> Embedding:
    """Positions that a person has from elsewhere, a row for each that features were given of."""
    found = np.asarray(positions, np.float32)
    count = len(space.rows) + len(space.left_out)
    if found.shape != (count, 2):
        raise ValueError(
            f"expected an embedding, or positions of shape ({count}, 2), one an image, got an "
            f"array of shape {found.shape}"
        )
    found = found[space.rows]
    if not np.isfinite(found).all():
        raise ValueError("expected finite positions, got NaN or infinity; leave these images out")
    return Embedding(
        found,
        space,
        method="given",
        perplexity=None,
        seed=0,
        kl=None,
        finished=True,
        notes=space.notes,
        described="positions that were given",
        search=NeighbourSearch(space, NEAR),
    )
