"""Pictures of one's own on an `ImageMap`: placed beside the images that they are like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nbviz.analysis.data_pass import DataPass
from nbviz.analysis.input_picture import input_picture, shown_picture
from nbviz.analysis.map_places import MapFrame
from nbviz.analysis.neighbours import neighbours_of
from nbviz.analysis.prediction import class_name
from nbviz.analysis.unit_statistics.settings import PassSettings
from nbviz.network import Network
from nbviz.picture_set import PictureSet
from nbviz.widgets import wire
from nbviz.widgets.image_map_columns import MapColumns
from nbviz.widgets.image_map_tiles import Tile, Tiles, tile_of
from nbviz.widgets.image_map_work import NEAR, MapWork

#: The oldest beyond so many are taken off.
MOST = 24
_SIDE = 64
# Features of the same image, worked out again, differ by no more than this share of their length.
_SAME = 0.05


@dataclass(frozen=True, eq=False)
class Placed:
    """One picture on the map."""

    title: str
    position: np.ndarray
    """Float32 (2,)."""
    rows: np.ndarray
    """int32 (k,), its neighbours, nearest first."""
    distance: np.ndarray
    predicted: int
    """-1 where the network is no classifier."""
    confidence: float
    tile: Tile
    lines: list[str]


class OwnPictures:
    """Pictures that a person brought, on a map of what a network makes of others.

    Parameters
    ----------
    network : Network
    layer : str
        Whose output the features of the map are.
    columns : MapColumns
    """

    def __init__(self, network: Network, layer: str, columns: MapColumns) -> None:
        self._network, self._layer, self._columns = network, layer, columns
        self._placed: list[Placed] = []
        self._checked = False

    def place(self, work: MapWork, picture: Any, title: str) -> Placed:
        """Place a picture, whatever `Network.prepare` takes or the path of a file.

        Raises
        ------
        ValueError
            If the map is not finished, or its features are not those of the network.
        """
        if not work.placed:
            raise ValueError("the map is still moving; place pictures once it is finished")
        given = PictureSet([picture]).picture(0)
        with self._network.lock:
            self._check(work)
            batch = self._network.prepare(given)
            features, predicted, confidence = self._features(batch)
            seen = input_picture(self._network, batch).pixels
        position = work.embedding.place(features)[0]
        near, distance = neighbours_of(work.space, features, NEAR)
        tile = tile_of(shown_picture(np.repeat(seen, 3, 2) if seen.shape[2] == 1 else seen), _SIDE)
        lines = self._lines(predicted, confidence, near[0], distance[0])
        placed = Placed(title, position, near[0], distance[0], predicted, confidence, tile, lines)
        self._placed = [*self._placed, placed][-MOST:]
        return placed

    def clear(self) -> None:
        """Take all off."""
        self._placed = []

    def packed(self, frame: MapFrame) -> dict[str, Any]:
        """As `OwnState` of the view has it."""
        if not self._placed:
            return {}
        tiles = Tiles(_SIDE, range(len(self._placed)), [each.tile for each in self._placed])
        arrays = tiles.arrays()
        return wire.pack(
            {
                "places": frame.places(np.stack([each.position for each in self._placed])),
                "neighbours": np.stack([each.rows for each in self._placed]).astype(np.int32),
                "aspect": arrays["aspect"],
                "sheet": arrays["sheet"],
            },
            tile=_SIDE,
            columns=tiles.columns,
            said=[{"title": each.title, "lines": each.lines} for each in self._placed],
        )

    def _features(self, batch: Any) -> tuple[np.ndarray, int, float]:
        """What a scan keeps of an image: features (1, D), prediction and confidence."""
        data_pass = DataPass(self._network, PassSettings((self._layer,), features=self._layer))
        data_pass.add(batch, [0], [None])
        rows, _ = data_pass.finish()
        return np.asarray(rows.features), int(rows.predicted[0]), float(rows.confidence[0])

    def _check(self, work: MapWork) -> None:
        """Whether the map's features are those of this layer, by its first image."""
        source = self._columns.source
        if self._checked or source is None:
            return
        first = self._network.prepare(source.read(int(self._columns.numbers[0])).picture)
        ours = work.space.place(self._features(first)[0])[0][0]
        theirs = work.space.features[0]
        if np.linalg.norm(ours - theirs) > _SAME * max(float(np.linalg.norm(theirs)), 1e-12):
            raise ValueError(
                f"expected a map of what layer {self._layer!r} of the network gives, but its "
                f"features are others; make the map of a scan, nbviz.scan(network, images)"
            )
        self._checked = True

    def _lines(
        self, predicted: int, confidence: float, rows: np.ndarray, distance: np.ndarray
    ) -> list[str]:
        columns, lines = self._columns, []
        if predicted >= 0:
            name = class_name(predicted, self._network.classes)
            lines.append(f"Taken for: {name}, {100 * confidence:.0f} %")
        if columns.label is not None and len(rows):
            labels = columns.label[rows]
            known = labels[labels >= 0]
            if len(known):
                most = int(np.bincount(known).argmax())
                share = f"{(known == most).sum()} of {len(known)}"
                lines.append(f"Neighbours: {share} are {class_name(most, columns.classes)}")
        if len(rows):
            lines.append(f"Nearest: image {columns.numbers[rows[0]]}, distance {distance[0]:.3g}")
        return lines


def placing(columns: MapColumns, work: MapWork) -> tuple[OwnPictures | None, str]:
    """What places pictures on a map, or why they cannot be placed."""
    method = work.embedding.method
    if method == "given":
        return None, "the positions of the map were given; let ImageMap compute them"
    if method == "tsne-sklearn":
        return None, "scikit-learn's t-SNE cannot place new images; take method='tsne'"
    network, layer = columns.network, columns.layer
    if network is None:
        return None, "pass network=..., the one that the features are of"
    if layer is None:
        return None, "it is not known of which layer of the network the features are"
    width, channels = work.space.features.shape[1], network.layers[layer].channels
    if channels != width:
        return None, (
            f"the features are {width} numbers an image, and layer {layer!r} of the network gives "
            f"{channels}; make the map of a scan"
        )
    return OwnPictures(network, layer, columns), ""
