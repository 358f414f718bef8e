"""The strongest map of every layer, small, gathered while a forward pass runs.

While the pass runs each layer costs one reduction over its output and a copy of one map; the maps
are made small afterwards, all of one size at once.
"""

from __future__ import annotations

import math
import weakref
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from nbviz.analysis.layers import Layer
from nbviz.analysis.map_layout import maps_of

# Pixels on the longer side of a thumbnail.
SIDE = 32


# Values of which the reduction gains by several threads.
_MANY = 2**18


@dataclass(frozen=True, eq=False)
class Strongest:
    """The channel of a layer that holds its largest finite value."""

    channel: int
    value: float
    """NaN where the layer has no finite value; `channel` is 0 then."""
    thumbnail: np.ndarray
    """uint8, at most 32 x 32: the channel's map, averaged down, from its smallest (0) to its
    largest value (255). Of a layer with one place the strip of all its channels. Places that are
    not finite do not count, and are 0 where there are no others."""


class OverviewBuilder:
    """Takes the outputs of layers one by one, and gives the `Strongest` of each.

    Parameters
    ----------
    model : nn.Module
        Whose layers they are.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._strongest: dict[str, tuple[int, float]] = {}
        self._maps: dict[str, np.ndarray] = {}
        # what was taken last: the tensor, how often it had been written to, and its strongest
        self._latest: tuple[weakref.ref[Tensor], int, tuple[int, float]] | None = None

    def take(self, layer: Layer, value: Tensor) -> None:
        """Note the strongest channel of a drawable layer that returned `value`, (1, ...)."""
        if value.is_complex():
            return
        maps = maps_of(layer, value.detach())
        found = self._rectified(layer, value) or strongest_channel(maps)
        if not value.is_inference():
            self._latest = weakref.ref(value), value._version, found
        self._strongest[layer.name] = found
        one_place = maps.shape[1] == maps.shape[2] == 1
        chosen = maps[:, 0].T if one_place else maps[found[0]]
        self._maps[layer.name] = np.array(chosen.float().cpu().numpy(), order="C")

    def _rectified(self, layer: Layer, value: Tensor) -> tuple[int, float] | None:
        """The strongest channel, if this is the tensor taken last after a ReLU in place."""
        if self._latest is None or layer.kind not in {"ReLU", "relu"}:
            return None
        before, version, (channel, peak) = self._latest
        if before() is not value or value._version != version + 1 or not math.isfinite(peak):
            return None
        if layer.module_name is not None:
            module = self._model.get_submodule(layer.module_name)
            if type(module) is not nn.ReLU or "forward" in vars(module):
                return None
        return (channel, peak) if peak > 0 else (0, 0.0)

    def finish(self) -> dict[str, Strongest]:
        """The overview, in the order in which layers were taken."""
        alike: dict[tuple[int, ...], list[str]] = defaultdict(list)
        for name, values in self._maps.items():
            alike[values.shape].append(name)
        small: dict[str, np.ndarray] = {}
        for names in alike.values():
            pictures = thumbnails(torch.from_numpy(np.stack([self._maps[name] for name in names])))
            small.update(zip(names, pictures, strict=True))
        return {
            name: Strongest(channel, value, small[name])
            for name, (channel, value) in self._strongest.items()
        }


def strongest_channel(maps: Tensor) -> tuple[int, float]:
    """The channel that holds the largest finite value, and the value.

    Of equal ones the first in memory.

    Parameters
    ----------
    maps : Tensor, shape (channels, rows, cols)

    Returns
    -------
    channel, value : int, float
        0 and NaN where no value is finite.
    """
    channel, value = _largest(maps)
    if not math.isfinite(value):  # a NaN counts as the largest of all
        channel, value = _largest(torch.where(maps.isfinite(), maps, -torch.inf))
    return (channel, value) if math.isfinite(value) else (0, math.nan)


def _largest(maps: Tensor) -> tuple[int, float]:
    threads = maps.numel() >= _MANY and torch.get_num_threads() > 1
    if maps.device.type == "cpu" and maps.dtype == torch.float32 and not threads:
        # along memory NumPy is several times as fast as a reduction by channel, on one thread
        if maps.is_contiguous():
            flat = maps.numpy().reshape(-1)
            index = int(flat.argmax())
            return index // (maps.shape[1] * maps.shape[2]), float(flat[index])
        if (turned := maps.permute(1, 2, 0)).is_contiguous():
            flat = turned.numpy().reshape(-1)
            index = int(flat.argmax())
            return index % len(maps), float(flat[index])
    peaks = maps.amax((1, 2))
    channel = int(peaks.argmax())
    return channel, float(peaks[channel])


@lru_cache(maxsize=256)
def _means(length: int, pixels: int) -> Tensor:
    """A matrix that averages `length` values to `pixels`, each over all that it covers."""
    matrix = torch.zeros(pixels, length)
    for pixel in range(pixels):
        covered = slice(pixel * length // pixels, -(-(pixel + 1) * length // pixels))
        matrix[pixel, covered] = 1 / len(range(length)[covered])
    return matrix


def thumbnails(maps: Tensor) -> np.ndarray:
    """Maps of one size averaged down to at most 32 pixels a side, in bytes.

    A pixel is the mean of all values that it covers, wholly or in part.

    Parameters
    ----------
    maps : Tensor, shape (n, rows, cols)

    Returns
    -------
    ndarray of uint8, shape (n, rows, cols) with at most 32 rows and cols
        Each scaled from its smallest to its largest pixel; a constant one is 0.
    """
    longer = max(maps.shape[1:])
    rows, cols = (
        side if longer <= SIDE else max(1, round(side * SIDE / longer)) for side in maps.shape[1:]
    )
    down, across = _means(maps.shape[1], rows), _means(maps.shape[2], cols).T
    maps = maps.float().cpu()
    pixels = (down @ maps @ across).flatten(1).numpy()
    holes = None
    if not np.isfinite(pixels).all():
        finite = maps.isfinite()
        inside = down @ torch.where(finite, maps, 0) @ across
        pixels = (inside / (down @ finite.float() @ across)).flatten(1).numpy()
        holes = ~np.isfinite(pixels)
        lowest = np.where(holes, np.inf, pixels).min(axis=1, keepdims=True)
        pixels = np.where(holes, lowest, pixels)
        pixels[holes.all(axis=1)] = 0
    low = pixels.min(axis=1, keepdims=True).astype(np.float64)
    span = pixels.max(axis=1, keepdims=True) - low
    scaled = (pixels - low) * np.divide(255, span, out=np.zeros_like(span), where=span > 0)
    result: np.ndarray = np.rint(scaled).astype(np.uint8).reshape(-1, rows, cols)
    if holes is not None:
        result[holes.reshape(result.shape)] = 0
    return result
