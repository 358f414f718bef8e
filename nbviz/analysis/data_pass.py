"""One forward pass an image, and all that is kept of it: statistics of units, and a row an image.

`DataPass` takes prepared batches in the order of their images; what it gives for two sets of
images merges exactly into what it gives for both (`UnitStatistics.merge`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nbviz.analysis.capture import not_run, run_pass
from nbviz.analysis.feature_rows import FeatureRows
from nbviz.analysis.layers import Layer, Layers
from nbviz.analysis.map_layout import batch_maps, drawable, expect_drawable
from nbviz.analysis.masked_boxes import expect_logits
from nbviz.analysis.unit_statistics.bins import BINS
from nbviz.analysis.unit_statistics.layer_pass import Answers, LayerPass
from nbviz.analysis.unit_statistics.settings import ImageNumbers, PassSettings
from nbviz.analysis.unit_statistics.statistics import UnitStatistics
from nbviz.network import Network

__all__ = [
    "DataPass",
    "ImageRows",
    "channel_bytes",
    "feature_layer",
    "resolve_layers",
    "scan_batch",
]

# In evaluation mode they return what they got (torch, torchvision's StochasticDepth, timm's
# DropPath), as modules or as functions; their names in lower case and without "_".
_PASSING_ON = frozenset({
    "dropout", "dropout1d", "dropout2d", "dropout3d", "alphadropout", "featurealphadropout",
    "featuredropout", "stochasticdepth", "droppath", "patchdropout", "identity",
})  # fmt: skip


@dataclass(eq=False)
class ImageRows:
    """What is kept of every image, a row each, in order of number."""

    index: NDArray[np.int64]
    """(n,): number of the image in the data set."""
    label: NDArray[np.int32]
    """(n,): class number, -1 if unknown."""
    predicted: NDArray[np.int32]
    """(n,): the most probable class, -1 if the network is no classifier or gave NaN."""
    confidence: NDArray[np.float32]
    """(n,): its probability by softmax; NaN where there is none."""
    features: NDArray[np.float32] | FeatureRows
    """(n, D) float32: a layer's output averaged over places, with the tokens apart left out; NaN
    for images that were skipped; D = 0 if none was asked for. Of a scan, `FeatureRows`."""
    reason: list[str]
    """Why an image was skipped, "" for the others."""

    @classmethod
    def empty(cls, width: int = 0) -> ImageRows:
        """No rows, with features of this width."""
        return cls(
            np.zeros(0, np.int64),
            np.zeros(0, np.int32),
            np.zeros(0, np.int32),
            np.zeros(0, np.float32),
            np.zeros((0, width), np.float32),
            [],
        )

    @classmethod
    def joined(cls, parts: Sequence[ImageRows]) -> ImageRows:
        """All rows, in order of number."""
        width = max((part.features.shape[1] for part in parts), default=0)
        parts = [part for part in parts if len(part.index)] or [cls.empty(width)]
        index = np.concatenate([part.index for part in parts])
        rows = cls(
            index,
            np.concatenate([part.label for part in parts]),
            np.concatenate([part.predicted for part in parts]),
            np.concatenate([part.confidence for part in parts]),
            np.concatenate([np.asarray(part.features) for part in parts]),
            [reason for part in parts for reason in part.reason],
        )
        in_order = bool((np.diff(index) >= 0).all())  # nearly always, and then features stay put
        return rows if in_order else rows._taken(np.argsort(index, kind="stable"))

    def _taken(self, order: NDArray[np.int64]) -> ImageRows:
        """Some rows, in this order."""
        return ImageRows(
            self.index[order],
            self.label[order],
            self.predicted[order],
            self.confidence[order],
            self.features[order],
            [self.reason[number] for number in order],
        )

    @classmethod
    def skipped(cls, images: Sequence[int], reasons: Sequence[str], width: int) -> ImageRows:
        """Rows of images that could not be read, with the reason of each."""
        count = len(images)
        return cls(
            np.array(images, np.int64).reshape(count),
            np.full(count, -1, np.int32),
            np.full(count, -1, np.int32),
            np.full(count, np.nan, np.float32),
            np.full((count, width), np.nan, np.float32),
            list(reasons),
        )


def resolve_layers(network: Network, layers: str | Sequence[str] | None) -> tuple[str, ...]:
    """Names of layers to take statistics of, in execution order.

    Parameters
    ----------
    layers : str or sequence of str, optional
        None for every layer that has maps, tokens or a vector of each image, but those that return
        what they got in evaluation mode (dropout, stochastic depth, identity).

    Raises
    ------
    TypeError
        If they are no names.
    UnknownLayerError
        For a name that no layer has; the nearest are named.
    ValueError
        For a layer without channels, and for none at all.

    Examples
    --------
    >>> resolve_layers(Network(nn.Conv2d(3, 2, 3), input_shape=(3, 8, 8)), None)
    ('Conv2d',)
    """
    known = network.layers
    if layers is None:
        names = [layer.name for layer in known if drawable(layer) is None and not _passes_on(layer)]
    else:
        single = isinstance(layers, str) or not isinstance(layers, Iterable)
        wanted: list[Any] = [layers] if single else [*layers]
        if not all(isinstance(name, str) for name in wanted):
            raise TypeError(
                f"expected layers as a name or names out of network.layers.names, or None for "
                f"all, got {layers!r:.80}"
            )
        for name in wanted:
            expect_drawable(known[name])
        names = [name for name in known.names if name in set(wanted)]
    if not names:
        raise ValueError(
            f"expected at least one layer to take statistics of, got none; pass layers= out of "
            f"the {len(known)} in network.layers.names"
        )
    return tuple(names)


def _passes_on(layer: Layer) -> bool:
    return layer.kind.lower().replace("_", "") in _PASSING_ON


def channel_bytes(settings: PassSettings, classes: int) -> tuple[int, int]:
    """Memory that each channel takes: what is kept of it, and what of it waits to be ranked.

    Examples
    --------
    >>> channel_bytes(PassSettings(("0",)), classes=0)
    (10344, 4608)
    """
    ranked = settings.top_k + settings.bottom_k + settings.samples
    kept = 20 * ranked + 16 * BINS + 56 + 16 * classes
    return kept, 128 * (12 * settings.per_image + 24)


def feature_layer(network: Network) -> str | None:
    """The layer whose output describes a whole image: what the last linear layer reads.

    None where the network has no vector before its last linear layer, nor any.
    """
    known = network.layers
    last = next((layer for layer in reversed(known) if layer.kind == "Linear"), None)
    if last is not None and last.inputs and len(last.inputs[0]) == 1:
        name = last.inputs[0][0]
        if name and drawable(known[name]) is None:
            return name
    vectors = [layer.name for layer in known if drawable(layer) is None]
    return vectors[-2] if len(vectors) > 1 else None


class DataPass:
    """Statistics of layers, and a row an image, from batches in the order of their images.

    Parameters
    ----------
    network : Network
    settings : PassSettings

    Examples
    --------
    >>> network = Network(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), input_shape=(3, 8, 8))
    >>> data_pass = DataPass(network, PassSettings(("0", "1"), top_k=3))
    >>> data_pass.add(torch.rand(6, 3, 8, 8), images=range(6), labels=[None] * 6)
    >>> rows, units = data_pass.finish()
    >>> rows.index.tolist(), units["1"].top.value.shape
    ([0, 1, 2, 3, 4, 5], (4, 3))
    """

    def __init__(self, network: Network, settings: PassSettings) -> None:
        self._network, self._settings = network, settings
        self._layers: Layers = network.layers
        self._passes = {name: LayerPass(self._layers[name], settings) for name in settings.layers}
        self._features: Layer | None = None
        if settings.features is not None:
            self._features = self._layers[settings.features]
            expect_drawable(self._features)
        self._rows: list[ImageRows] = []
        self._last = -1

    @property
    def feature_width(self) -> int:
        """Numbers kept of every image."""
        return 0 if self._features is None else self._features.channels or 0

    def add(self, batch: Tensor, images: Sequence[int], labels: Sequence[int | None]) -> None:
        """Run the network on a batch, and keep what it answers.

        Parameters
        ----------
        batch : Tensor, shape (N, C, H, W)
            Prepared.
        images : sequence of int
            Their numbers, ascending, and above those of the batches before.
        labels : sequence of int or None
            Their class numbers.

        Raises
        ------
        ValueError
            If numbers do not ascend, or the model did not run a layer for this batch.
        """
        numbers = np.array(images, np.int64).reshape(len(batch))
        if len(numbers) == 0:
            return
        if numbers[0] <= self._last or (np.diff(numbers) <= 0).any():
            raise ValueError(f"expected images in ascending order, got {numbers.tolist()}")
        classes = np.array([-1 if n is None or n < 0 else n for n in labels], np.int64)
        answers, rows = self._run(batch, numbers, classes)
        self._last = int(numbers[-1])
        for name, found in answers.items():
            self._passes[name].keep(numbers, classes, found)
        self._rows.append(rows)

    def _run(
        self, batch: Tensor, numbers: NDArray[np.int64], classes: NDArray[np.int64]
    ) -> tuple[dict[str, Answers], ImageRows]:
        answers: dict[str, Answers] = {}
        images = ImageNumbers(numbers, self._settings.places)
        features: list[NDArray[np.float32]] = []
        wanted = dict.fromkeys(self._settings.layers)
        if self._features is not None:
            wanted[self._features.name] = None

        def take(name: str, value: Tensor, *, owned: bool) -> None:
            del owned  # what is kept is new in any case
            if name in self._passes:
                answers[name] = self._passes[name].read(value, images)
            if self._features is not None and name == self._features.name:
                maps = batch_maps(self._features, value.detach()).float()
                features[:] = [maps.mean((2, 3)).cpu().numpy().copy()]

        ended = run_pass(self._network, batch, wanted, take, to_the_end=True, layers=self._layers)
        if ended.missing:
            raise ValueError(self._without(ended.missing))
        predicted, confidence = _prediction(ended.output, len(numbers))
        vectors = features[0] if features else np.zeros((len(numbers), 0), np.float32)
        rows = ImageRows(
            numbers, classes.astype(np.int32), predicted, confidence, vectors, [""] * len(numbers)
        )
        return answers, rows

    def _without(self, missing: Sequence[str]) -> str:
        """What to do about layers that did not run."""
        others = [name for name in self._settings.layers if name not in missing]
        if not others:
            return not_run(missing[0])
        shown = ", ".join(map(repr, others[:4])) + (", ..." if len(others) > 4 else "")
        rest = "" if self._settings.features not in missing else ", and another one as features="
        return (
            f"{not_run(missing[0])}: scan without {', '.join(map(repr, missing[:4]))}"
            f"{' and more' if len(missing) > 4 else ''}, as with layers=[{shown}] (the other "
            f"{len(others)}){rest}, into another store="
        )

    def skip(self, images: Sequence[int], reasons: Sequence[str]) -> None:
        """Note images that could not be read, each with the reason."""
        self._rows.append(ImageRows.skipped(images, reasons, self.feature_width))

    def finish(self) -> tuple[ImageRows, dict[str, UnitStatistics]]:
        """What was kept of all batches; nothing can be added afterwards."""
        rows = ImageRows.joined(self._rows or [ImageRows.empty(self.feature_width)])
        # What waits of a layer is let go of before the next one's statistics are made.
        return rows, {name: self._passes.pop(name).statistics() for name in [*self._passes]}


def scan_batch(
    network: Network | nn.Module,
    batch: Tensor,
    layers: str | Sequence[str] | None = None,
    *,
    images: Sequence[int] | None = None,
    labels: Sequence[int | None] | None = None,
    top_k: int = 16,
) -> dict[str, UnitStatistics]:
    """Statistics of layers over one batch of prepared inputs.

    Parameters
    ----------
    network : Network or nn.Module
    batch : Tensor, shape (N, C, H, W)
    layers : str or sequence of str, optional
        See `resolve_layers`.
    images : sequence of int, optional
        Numbers of the images; from 0 on when None.
    labels : sequence of int, optional
        Their class numbers.
    top_k : int
        Strongest activations kept of each channel.
    """
    network = Network.of(network)
    data_pass = DataPass(network, PassSettings(resolve_layers(network, layers), top_k=top_k))
    count = len(batch)
    data_pass.add(batch, range(count) if images is None else images, labels or [None] * count)
    return data_pass.finish()[1]


def _prediction(output: object, count: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    try:
        logits = expect_logits(output)
    except (TypeError, ValueError):  # no classifier
        return np.full(count, -1, np.int32), np.full(count, np.nan, np.float32)
    probabilities = torch.softmax(logits, 1)
    confidence, predicted = probabilities.max(1)
    known = torch.isfinite(confidence)
    predicted = torch.where(known, predicted, -1)
    return (
        predicted.cpu().numpy().astype(np.int32),
        confidence.float().cpu().numpy().astype(np.float32),
    )
