"""What an `ImageMap` works out of features: the map in slices, then what is asked about it.

All is kept that a person may come back to, and let go of when the map moves on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from nbviz.analysis import map_questions
from nbviz.analysis.embedding import Embedding, EmbeddingRun, Step
from nbviz.analysis.feature_space import FeatureSpace, feature_space
from nbviz.analysis.image_grid import GridLayout, grid_layout
from nbviz.analysis.map_places import MapFrame
from nbviz.analysis.map_trust import MapTrust, Seams, map_trust, seams
from nbviz.analysis.neighbours import Neighbours, NeighbourSearch, neighbours_of
from nbviz.widgets.sliced_work import SLICE

#: Neighbours of each image that are kept.
NEAR = 15

#: What is asked of so few is worked out in no time.
FEW = 2_000
#: Of larger sets the table of neighbours is not worked out unless somebody asks for it.
MANY = 100_000

_CLUSTERS = 10
# What is worked out of a layout; of one that is no longer, it is let go of.
_Key = tuple[str, str]


class MapWork:
    """A map that is being computed, or was, and what is known of it.

    Parameters
    ----------
    features : array, tensor or FeatureRows, shape (n, D)
        None where there is an embedding.
    embedding : Embedding or array of shape (n, 2), optional
        Already computed.
    **options
        Of `EmbeddingRun`.

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
            self._run = EmbeddingRun(features, **options)
            self._step = next(self._run)
        self._frame = MapFrame.around(self.positions)
        self._neighbours: Neighbours | None = None
        self._clusters: np.ndarray | None = None
        self._lof: np.ndarray | None = None
        self._found: dict[_Key, Any] = {}
        self._begun: dict[_Key, tuple[list[Any], Iterator[float | None]]] = {}

    @property
    def few(self) -> bool:
        """Whether images are so few that nothing takes longer than a moment."""
        return len(self.space) <= FEW

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
        end = time.monotonic() + seconds
        for step in self._run:
            self._step = step
            # What takes long is told before it begins.
            if step.lengthy or time.monotonic() >= end:
                break
        self._frame = (
            MapFrame.around(self.positions) if self.placed else self._frame.followed(self.positions)
        )
        # They were of positions that are no longer.
        self._found, self._begun = {}, {}
        return self.placed

    def known(self, what: str, layout: str = "") -> bool:
        """Whether a "grid", or "trust" or "seams" of a layout, is there."""
        return (what, layout) in self._found

    def work_on(self, what: str, layout: str = "", seconds: float = SLICE) -> float | None:
        """Work for a while on one of these; how much is done of it, 0 to 1, None if unknown."""
        key, end = (what, layout), time.monotonic() + seconds
        if key in self._found:
            return 1.0
        if key not in self._begun:
            results: list[Any] = []
            self._begun[key] = results, self._begin(results, what, layout)
        results, steps = self._begun[key]
        try:
            for share in steps:
                if time.monotonic() >= end:
                    return share
        except BaseException:
            del self._begun[key]
            raise
        del self._begun[key]
        self._found[key] = results[0]
        return 1.0

    def _begin(self, results: list[Any], what: str, layout: str) -> Iterator[float | None]:
        if what == "grid":
            return grid_layout.into(results, self.positions)
        grid = self.grid() if layout == "grid" else None
        laid = self.space.plane if layout == "pca" else self.positions
        if what == "trust":
            laid = laid if grid is None else grid.positions
            return map_trust.into(results, self.space, laid, self.neighbours)
        return seams.into(results, self.space, laid, self.neighbours, grid=grid)

    def _all_of(self, what: str, layout: str = "") -> Any:
        self.work_on(what, layout, np.inf)
        return self._found[what, layout]

    def layout(self, name: str) -> np.ndarray | None:
        """Positions, float32 (n, 2), in a layout; None for a grid that was not laid out."""
        if name == "grid":
            grid = self._found.get(("grid", ""))
            return None if grid is None else grid.positions
        return self.space.plane if name == "pca" else self.positions

    def frame(self, name: str) -> MapFrame:
        """What of the plane of a layout is shown."""
        if name == "map" and not self.settled:
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
        grid: GridLayout = self._all_of("grid")
        return grid

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

    def seek(self, seconds: float = SLICE) -> float:
        """Work on the neighbours for a while; how much is done."""
        search, end = self.embedding.search, time.monotonic() + seconds
        while search.done < 1:
            search.advance()
            if time.monotonic() >= end:
                break
        return search.done

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
        return self._found.get(("trust", name))

    def trust(self, name: str) -> MapTrust:
        """How far a layout can be trusted."""
        trust: MapTrust = self._all_of("trust", name)
        return trust

    def seams(self, name: str) -> Seams:
        """Where a layout brings together what is far apart for the network."""
        found: Seams = self._all_of("seams", name)
        return found

    def outliers(self) -> np.ndarray:
        """Local outlier factor of each image, float32 (n,)."""
        if self._lof is None:
            self._lof = map_questions.outliers(self.neighbours)
        return self._lof

    def duplicates(self, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of rows that are nearest to each other, int32 (m, 2), and how far, float32 (m,)."""
        return map_questions.near_duplicates(self.neighbours, most=most)

    @property
    def clustered(self) -> bool:
        """Whether clusters are there."""
        return self._clusters is not None

    def clusters(self, count: int | None) -> np.ndarray:
        """The cluster of each image, int32 (n,)."""
        if self._clusters is None:
            found = map_questions.clusters(self.space.reduced, count or _CLUSTERS, self._seed)
            self._clusters = found
        return self._clusters


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
