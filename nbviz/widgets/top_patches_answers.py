"""What a `TopPatches` answers when its view asks for pictures, a channel, an image."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from nbviz.analysis.answering_channels import Answer, answering_channels
from nbviz.analysis.map_statistics import quantise_maps
from nbviz.analysis.prediction import class_name
from nbviz.analysis.receptive_field import Box
from nbviz.analysis.unit_places import cell_edges
from nbviz.network import Network
from nbviz.widgets import top_patches_state as state
from nbviz.widgets import wire
from nbviz.widgets.base import answers
from nbviz.widgets.top_patches_choices import SHOWN, TopPatchesChoices
from nbviz.widgets.top_patches_pictures import PatchPictures, Place, Show

QUANTILE = 0.99

_MOST_ASKED = 8
# Seconds after which strips that are made are sent, and others left for the next question.
_PATIENCE = 1.0
_TILE = (8, 512)
_MOST_ANSWERS = 200
# A saved page has the patches of so many channels, as far as they were seen, and in so many bytes.
_SAVED_ROWS, _SAVED_BYTES = 24, 2_000_000
_STRIP_BYTES = 8_000_000

_StripKey = tuple[str, int, Show, int, int]


class TopPatchesAnswers(TopPatchesChoices):
    """Base of `TopPatches`: its requests. The subclass sets what is declared here."""

    network: Network | None
    _lock: AbstractContextManager[Any]
    _columns: state.ImageColumns
    _names: tuple[str, ...] | None
    _shown: state.LayerOverview
    _order: np.ndarray
    _cut: PatchPictures | None
    _missing: str
    # Strips by what they show, as files; the one used last is last.
    _strips: OrderedDict[_StripKey, bytes]
    _tile: int

    def _overview_of(self, layer: str) -> state.LayerOverview:
        raise NotImplementedError

    def _picking(self) -> tuple[PatchPictures, Network]:
        """What cuts pictures, and the network; or an error that says why there is neither."""
        if self._cut is None or self.network is None:
            raise ValueError(self._missing)
        return self._cut, self.network

    @answers("rows")
    def _answer_rows(
        self, layer: str, channels: list[int], show: Show, patches: int, tile: int, **asked: Any
    ) -> dict[str, Any]:
        """The strongest patches of some channels, a strip each; fewer channels where it is slow."""
        del asked
        if not 0 < len(channels) <= _MOST_ASKED:
            raise ValueError(f"expected 1 to {_MOST_ASKED} channels, got {len(channels)}")
        self._check_picture(show, tile)
        if not 0 < patches <= self.scan.settings.top_k:
            raise ValueError(
                f"expected 1 to {self.scan.settings.top_k} patches, as the scan kept, got {patches}"
            )
        with self._lock:
            overview = self._overview_of(layer)
            checked = [self._checked_channel(overview, channel) for channel in channels]
            files, began = list[bytes](), time.monotonic()
            for channel in checked:
                files.append(self._strip(overview, channel, show, patches, tile))
                if time.monotonic() - began > _PATIENCE:
                    break  # the view asks for the others again, and shows these meanwhile
            self._tile = tile
            if layer == self.layer and {*channels} & {*self._order[:_SAVED_ROWS].tolist()}:
                self._save_pictures()
        done = checked[: len(files)]
        fields = {"channels": done, "show": show, "patches": patches, "tile": tile}
        return _packed_files(files, {}, layer=layer, **fields)

    def _check_picture(self, show: str, tile: int) -> None:
        if show not in SHOWN:
            raise ValueError(f"expected one of {', '.join(SHOWN)}, got {show!r}")
        if not _TILE[0] <= tile <= _TILE[1]:
            raise ValueError(f"expected a tile of {_TILE[0]} to {_TILE[1]} pixels, got {tile}")

    def _checked_channel(self, overview: state.LayerOverview, channel: int) -> int:
        channels = len(overview.arrays["peak"])
        if not 0 <= channel < channels:
            raise ValueError(
                f"expected a channel of the {channels} of layer {overview.name!r}, got {channel}"
            )
        return channel

    def _strip(
        self, overview: state.LayerOverview, channel: int, show: Show, patches: int, tile: int
    ) -> bytes:
        key = (overview.name, channel, show, patches, tile)
        known = self._strips.pop(key, None)
        if known is None:
            cut, _ = self._picking()
            picks = {name: overview.arrays[name][channel, :patches] for name in ("image", "place")}
            known = cut.strip(self._places(overview, channel, picks), show, tile)
            if not cut.problems.keys().isdisjoint(picks["image"].tolist()):
                return known  # what failed may come the next time
        self._strips[key] = known
        while sum(map(len, self._strips.values())) > _STRIP_BYTES and len(self._strips) > 1:
            self._strips.popitem(last=False)
        return known

    def _places(
        self, overview: state.LayerOverview, channel: int, picks: dict[str, np.ndarray]
    ) -> list[Place]:
        layer = overview.layer
        if layer is None:
            raise ValueError(self._missing)
        return [
            Place(layer, channel, int(image), int(row), int(col))
            for image, (row, col) in zip(picks["image"], picks["place"], strict=True)
        ]

    def _save_pictures(self) -> None:
        """Put the strips of the first channels, as far as they were made, into the state."""
        files: dict[int, bytes] = {}
        for channel in self._order[:_SAVED_ROWS].tolist():
            key = (self.layer, channel, self.show, self.patches, self._tile)
            file = self._strips.get(key)
            if file is not None and sum(map(len, files.values())) + len(file) <= _SAVED_BYTES:
                files[channel] = file
        fields = {"show": self.show, "patches": self.patches, "tile": self._tile}
        self.pictures = (
            _packed_files([*files.values()], {}, layer=self.layer, channels=[*files], **fields)
            if files
            else {}
        )

    @answers("channel")
    def _answer_channel(
        self, layer: str, channel: int, show: Show, tile: int, **asked: Any
    ) -> dict[str, Any]:
        """One channel opened: its samples with their patches, its histogram, its classes."""
        del asked
        self._check_picture(show, tile)
        with self._lock:
            overview = self._overview_of(layer)
            picks = state.channel_picks(
                overview, self._columns, self._checked_channel(overview, channel)
            )
            files = []
            if self._cut is not None:
                for group in picks.groups:
                    places = self._places(overview, channel, picks.named(group))
                    files.append(self._cut.strip(places, show, tile) if places else b"")
            purity = float(overview.arrays["purity"][channel])
            packed = _packed_files(
                files,
                state.sent(picks.arrays) | state.histogram_arrays(overview.statistics, channel),
                layer=layer,
                channel=channel,
                show=show,
                tile=tile,
                groups=[{"name": name, "count": n} for name, n in picks.groups.items()],
                title=f"{layer}, channel {channel}",
                sentence=state.channel_sentence(overview, channel, self._names),
                class_shares=state.shares_state(overview.arrays["label"][channel], self._names),
                purity=None if math.isnan(purity) else purity,
            )
            if (layer, channel) == (self.layer, self.channel):
                self.opened = packed
        return dict(packed)

    @answers("image")
    def _answer_image(
        self, layer: str, channel: int, image: int, unit: Sequence[int] = (), **asked: Any
    ) -> dict[str, Any]:
        """An image as the network saw it, and what a channel answers over all of it."""
        del asked
        with self._lock:
            cut, _ = self._picking()
            overview = self._overview_of(layer)
            number = np.array([self._check_image({"value": image})])
            label, predicted = (
                int(column(number)[0]) for column in (self._columns.label, self._columns.predicted)
            )
            confidence = float(self._columns.confidence(number)[0])
            arrays, fields = dict[str, np.ndarray](), dict[str, Any]()
            if channel >= 0:
                arrays, fields = self._answered(overview, channel, image, unit)
            arrays["bytes"] = np.frombuffer(cut.whole(image), np.uint8)
        of_image = {
            "layer": layer,
            "channel": channel,
            "image": image,
            "label": label,
            "predicted": predicted,
            "confidence": None if math.isnan(confidence) else confidence,
            "size": list(cut.picture(image).shape[:2]),
            "name": class_name(label, self._names) if label >= 0 else "",
        }
        nothing: dict[str, Any] = {"box": [], "place": [], "value": None, "low": 0.0, "high": 0.0}
        return wire.pack(arrays, **{**nothing, **fields, **of_image})

    def _answered(
        self, overview: state.LayerOverview, channel: int, image: int, unit: Sequence[int]
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """A channel's map over an image, and the unit that is marked on it."""
        cut, _ = self._picking()
        self._checked_channel(overview, channel)
        if overview.layer is None:
            raise ValueError(self._missing)
        answer = cut.map(overview.layer, image, channel)
        levels = quantise_maps(answer[None])
        fits = len(unit) == 2 and unit[0] < answer.shape[0] and unit[1] < answer.shape[1]
        row, col = unit if fits else _strongest(overview, channel, image, answer)
        value = float(answer[row, col])
        box = overview.layer.box(row, col)
        edges = cell_edges(overview.layer)
        arrays = {
            "map": levels.values[0],
            "rows_edges": edges[0].astype(np.float32),
            "cols_edges": edges[1].astype(np.float32),
        }
        return arrays, {
            "box": [box.top, box.left, box.bottom, box.right],
            "place": [row, col],
            "value": value if math.isfinite(value) else None,
            "low": float(levels.low[0]),
            "high": float(levels.high[0]),
        }

    def _channels_answering(
        self, image: Any, box: Sequence[int] | None, layers: Sequence[str]
    ) -> list[Answer]:
        network = self.network
        if network is None:
            raise ValueError(self._missing)
        with network.lock:
            if isinstance(image, int | np.integer):
                batch = self._picking()[0].prepared(self._check_image({"value": int(image)}))
            else:
                batch = network.prepare(image)
            around = None if not box else Box(*self._check_box({"value": box}))
            return list(
                answering_channels(network, self.scan, batch, around, layers, quantile=QUANTILE)
            )

    @answers("answering")
    def _answer_answering(
        self, image: int, box: list[int] | None = None, scope: str = "layer", **asked: Any
    ) -> dict[str, Any]:
        """Channels that answer in a box of an image more strongly than to most images."""
        del asked
        if scope not in ("layer", "all"):
            raise ValueError(f"expected the scope 'layer' or 'all', got {scope!r}")
        layers = [self.layer] if scope == "layer" else [*self.scan.layers]
        found = self._channels_answering(image, box, layers)
        kept = found[:_MOST_ANSWERS]
        where = "in the box" if box else "anywhere in the image"
        few = self.scan[self.layer].images * (1 - QUANTILE) < 1
        tested = sum(int(self.scan.layer_info(name)["channels"]) for name in layers)
        chance = tested * (1 - QUANTILE)
        about = f"about {chance:.0f}" if chance >= 1 else "fewer than one"
        note = f"By chance {about} would be expected{', in a box fewer' if box else ''}."
        note += f" Stronger {where} than the peak on {QUANTILE:.0%} of the images."
        if few:
            note += f" The scan has only {self.scan[self.layer].images}, which makes this coarse."
        return wire.pack(
            {
                "channel": np.array([each.channel for each in kept], np.int32),
                "value": np.array([each.value for each in kept], np.float32),
                "share": np.array([each.share_above for each in kept], np.float32),
                "place": np.array([(each.row, each.col) for each in kept], np.int16).reshape(-1, 2),
                "layer_index": np.array([layers.index(each.layer) for each in kept], np.int32),
            },
            tested=tested,
            total=len(found),
            layers=layers,
            note=note,
        )


def _packed_files(
    files: Sequence[bytes], arrays: dict[str, np.ndarray], **fields: Any
) -> dict[str, Any]:
    """Files one after the other with their lengths, beside other arrays."""
    lengths = np.array([len(file) for file in files], np.int32)
    joined = np.frombuffer(b"".join(files), np.uint8)
    return wire.pack({**arrays, "lengths": lengths, "bytes": joined}, **fields)


def _strongest(
    overview: state.LayerOverview, channel: int, image: int, answer: np.ndarray
) -> tuple[int, int]:
    """The unit of an image that the scan kept, else where the map is strongest."""
    kept = overview.arrays["image"][channel] == image
    if kept.any():
        row, col = overview.arrays["place"][channel, int(kept.argmax())]
        return int(row), int(col)
    known = np.where(np.isfinite(answer), answer, -np.inf)
    place = np.unravel_index(int(known.argmax()), answer.shape)
    return int(place[0]), int(place[1])
