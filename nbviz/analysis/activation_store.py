"""Activations of several images kept within a bound, the rest worked out again when asked for.

`ActivationStore.forward` runs one image and gives a `ForwardPass`: its logits, the strongest map of
every layer, and any layer's maps on demand. What the store holds it drops in the order in which it
was last used, over all images together.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from nbviz.analysis.activations import Activation, prepared
from nbviz.analysis.capture import capture, run_pass
from nbviz.analysis.layers import Layers
from nbviz.analysis.map_layout import drawable, expect_drawable
from nbviz.analysis.overview import OverviewBuilder, Strongest
from nbviz.model_input import logits_of
from nbviz.network import Network
from nbviz.undisturbed import modules_of

__all__ = ["ActivationStore", "ForwardPass", "StalePassError", "Strongest"]


class StalePassError(RuntimeError):
    """The model has changed since the pass ran, so what was not kept of it is lost."""


@dataclass(frozen=True, eq=False)
class ForwardPass:
    """One image's way through a network."""

    batch: Tensor
    """The model's input, shape (1, ...); a copy of what was given."""
    logits: np.ndarray | None
    """float32, shape (classes,); None where the model returns no such thing."""
    overview: Mapping[str, Strongest]
    """By layer name, in the order of execution; empty if it was not asked for. Layers that cannot
    be drawn, that are complex, or did not run for this image, are not in it."""
    _store: ActivationStore = field(repr=False)
    _key: _Key = field(repr=False)

    def activation(self, name: str) -> Activation:
        """The maps of one layer: from the store, or by a pass that ends behind the layer.

        The arrays cannot be written to, as the store holds them too.

        Raises
        ------
        UnknownLayerError
            If there is no such layer; the nearest names are offered.
        ValueError, TypeError
            If it cannot be drawn, or did not run for this image.
        StalePassError
            If the store does not hold it, and the model's weights or layers have changed.
        """
        return self._store._activation(self, name)


class _Key(NamedTuple):
    """What the results of a pass depend on."""

    image: bytes
    weights: int
    layers: Layers

    @classmethod
    def of(cls, network: Network, layers: Layers, batch: Tensor) -> _Key:
        content = batch.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        image = hashlib.blake2b(content.data, digest_size=16).digest()
        return cls(image, _weights(network.model), layers)


def _weights(model: nn.Module) -> int:
    """A number that changes when parameters or buffers are written to, or others take their place.

    Batch norm alone writes its statistics without counting, but counts the batches.
    """
    own = modules_of(model)
    tables = (table for module in own for table in (module._parameters, module._buffers))
    tensors = (tensor for table in tables for tensor in table.values() if tensor is not None)
    return hash(tuple((id(t), -1 if t.is_inference() else t._version) for t in tensors))


@dataclass(frozen=True, eq=False)
class _Summary:
    """What is kept of a pass besides maps."""

    logits: np.ndarray | None
    overview: Mapping[str, Strongest] | None

    @property
    def nbytes(self) -> int:
        thumbnails = sum(s.thumbnail.nbytes for s in (self.overview or {}).values())
        return thumbnails + (0 if self.logits is None else self.logits.nbytes)


# A layer of a pass, by name; None stands for what belongs to the whole pass.
_Place = tuple[_Key, str | None]


class _Bounded:
    """Things with `nbytes`, of several passes, of which the ones used last are held.

    A tensor is an output as the model returned it, which nobody else has: the next one of its size
    is written over it, as fresh memory of the system costs more than the copy.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.nbytes = 0
        # the one used last is last
        self._held: OrderedDict[_Place, Any] = OrderedDict()
        self._tensors: dict[tuple[torch.dtype, int], OrderedDict[_Place, None]] = {}

    def __contains__(self, place: _Place) -> bool:
        return place in self._held

    def get(self, place: _Place) -> Any:
        """What is held there, as the one used last; None if nothing is."""
        if place in self._held:
            self._held.move_to_end(place)
        return self._held.get(place)

    def names(self, key: _Key) -> list[str | None]:
        """What is held of a pass."""
        return [name for held, name in self._held if held == key]

    def put(self, place: _Place, thing: Any) -> None:
        """Hold a thing, if it fits."""
        self.drop(place)
        if self._make_room(thing.nbytes, None):
            self._hold(place, thing)

    def put_copy(self, place: _Place, value: Tensor) -> None:
        """Hold a copy of a tensor, if it fits beside the others of the same pass."""
        key, size = place[0], (value.dtype, value.numel())
        if self.nbytes + value.nbytes > self.max_bytes:
            alike = (other for other in self._tensors.get(size, ()) if other[0] != key)
            if (oldest := next(alike, None)) is not None:
                self._hold(place, self.drop(oldest).view(value.shape).copy_(value))
                return
        if not self._make_room(value.nbytes, key):
            return
        if value.is_quantized:
            self._hold(place, value.cpu().clone())
        else:
            self._hold(place, torch.empty(value.shape, dtype=value.dtype).copy_(value))

    def _make_room(self, needed: int, key: _Key | None) -> bool:
        """Drop the oldest until `needed` more bytes fit, but nothing of the pass `key`."""
        if needed > self.max_bytes:
            return False
        while self.nbytes + needed > self.max_bytes:
            oldest = next((place for place in self._held if place[0] != key), None)
            if oldest is None:
                return False
            self.drop(oldest)
        return True

    def _hold(self, place: _Place, thing: Any) -> None:
        self._held[place] = thing
        self.nbytes += thing.nbytes
        if isinstance(thing, Tensor):
            self._tensors.setdefault((thing.dtype, thing.numel()), OrderedDict())[place] = None

    def drop(self, place: _Place) -> Any:
        """Hold what is there no longer, and give it."""
        thing = self._held.pop(place, None)
        if thing is not None:
            self.nbytes -= thing.nbytes
        if isinstance(thing, Tensor):
            del self._tensors[thing.dtype, thing.numel()][place]
        return thing

    def clear(self) -> None:
        """Drop everything."""
        self._held.clear()
        self._tensors.clear()
        self.nbytes = 0


class ActivationStore:
    """Activations of the images that were last looked at, in bounded memory.

    The store holds at most `max_bytes`, counting

    - each kept layer's output, as the model returned it: values x bytes a value; once its maps
      were asked for 4 bytes a value, and 41 a channel for its statistics,
    - each image's logits, and its thumbnails of at most 1024 bytes a layer.

    While a pass runs, the one output that is being copied comes on top, and what the model itself
    needs. A `ForwardPass` has its input, logits and overview for itself.

    Parameters
    ----------
    network : Network or nn.Module
    max_bytes : int

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    >>> store = ActivationStore(Network(model, input_shape=(3, 8, 8)), max_bytes=2**20)
    >>> seen = store.forward(torch.randn(1, 3, 8, 8))
    >>> seen.logits.shape, list(seen.overview), seen.activation("1").maps.shape
    ((5,), ['0', '1', '2', '3'], (4, 6, 6))
    >>> store.nbytes <= store.max_bytes
    True
    """

    def __init__(self, network: Network | nn.Module, *, max_bytes: int = 256 * 2**20) -> None:
        if max_bytes < 0:
            msg = f"expected max_bytes of 0 or more, got {max_bytes}; 0 keeps nothing"
            raise ValueError(msg)
        self.network = Network.of(network)
        self._held = _Bounded(int(max_bytes))

    @property
    def max_bytes(self) -> int:
        """The bound."""
        return self._held.max_bytes

    @property
    def nbytes(self) -> int:
        """Bytes that the store holds now."""
        return self._held.nbytes

    def clear(self) -> None:
        """Drop everything."""
        with self.network.lock:
            self._held.clear()

    def forward(
        self, batch: Tensor, *, keep: Sequence[str] | None = None, overview: bool = True
    ) -> ForwardPass:
        """Run one image through the network, as far as its results are not in the store.

        Parameters
        ----------
        batch : Tensor, shape (1, ...)
            The model's input, as `Network.prepare` gives it.
        keep : sequence of str, optional
            Layers to keep. By default all that fit, those at the end of the network first: they
            take longest to work out again.
        overview : bool
            Whether to look at every layer for its strongest map. Without it, and with few layers
            to keep, a pass costs little more than the model alone: the way for a live camera.

        Raises
        ------
        UnknownLayerError
            If there is no layer of a name; the nearest names are offered.
        TypeError, ValueError
            If `batch` is no tensor or not one input of the shape that layers were recorded with,
            or a layer to keep cannot be drawn.
        Exception
            What the model raises, unchanged, with a note on where. What the store held of earlier
            images it can still give.
        """
        network = self.network
        with network.lock:
            layers = network.layers
            batch = self._checked(batch, layers)
            for name in keep or ():
                expect_drawable(layers[name])
            key = _Key.of(network, layers, batch)
            known: _Summary | None = self._held.get((key, None))
            scan = overview and (known is None or known.overview is None)
            if known is None or scan:
                kept = self._that_fit(layers) if keep is None else keep
                known = self._run(key, batch, kept, known, scan=scan)
            elif missing := [name for name in keep or () if (key, name) not in self._held]:
                self._pass(key, batch, missing, missing, None)
            shown = known.overview if overview and known.overview is not None else {}
            return ForwardPass(batch, known.logits, shown, self, key)

    def _checked(self, batch: Any, layers: Layers) -> Tensor:
        if not isinstance(batch, Tensor):
            msg = (
                f"expected a tensor of shape (1, channels, height, width), got "
                f"{type(batch).__name__}; `network.prepare(image)` makes one from an image"
            )
            raise TypeError(msg)
        if not batch.ndim or len(batch) != 1:
            msg = f"expected a batch of one input, got shape {tuple(batch.shape)}; pass one image"
            raise ValueError(msg)
        return prepared(self.network, batch, layers).clone()

    def _that_fit(self, layers: Layers) -> list[str]:
        """The layers from the end backwards whose outputs fit into the bound together."""
        free, size = self.max_bytes, self.network.dtype.itemsize
        fitting = []
        for layer in reversed(layers):
            needed = prod(layer.output_shape) * size
            if drawable(layer) is None and needed <= free:
                free -= needed
                fitting.append(layer.name)
        return fitting

    def _run(
        self, key: _Key, batch: Tensor, kept: Collection[str], known: _Summary | None, *, scan: bool
    ) -> _Summary:
        """Run to the end: logits, overview if `scan`, and the layers to keep."""
        builder = OverviewBuilder(self.network.model) if scan else None
        wanted = [n.name for n in key.layers if drawable(n) is None] if scan else kept
        output = self._pass(key, batch, wanted, kept, builder, to_the_end=True)
        overview = known.overview if known is not None else None
        summary = _Summary(_logits(output), overview if builder is None else builder.finish())
        self._held.put((key, None), summary)
        return summary

    def _pass(
        self,
        key: _Key,
        batch: Tensor,
        wanted: Collection[str],
        kept: Collection[str],
        builder: OverviewBuilder | None,
        *,
        to_the_end: bool = False,
    ) -> Any:
        before = self._held.names(key)
        kept = set(kept) - set(before)

        def take(name: str, value: Tensor, *, owned: bool) -> None:
            del owned  # a copy lies in memory that is used again, a new tensor would not
            if builder is not None:
                builder.take(key.layers[name], value)
            if name in kept:
                self._held.put_copy((key, name), value.detach())

        try:
            ended = run_pass(
                self.network, batch, wanted, take, to_the_end=to_the_end, layers=key.layers
            )
        except BaseException:
            for name in set(self._held.names(key)) - set(before):
                self._held.drop((key, name))
            raise
        return ended.output

    def _activation(self, seen: ForwardPass, name: str) -> Activation:
        network, key = self.network, seen._key
        with network.lock:
            layer = key.layers[name]
            expect_drawable(layer)
            thing = self._held.get((key, name))
            if isinstance(thing, Activation):
                return thing
            if thing is None:
                if network.layers is not key.layers or _weights(network.model) != key.weights:
                    msg = (
                        f"expected the model as it was when this pass ran, but its weights or "
                        f"layers have changed and layer {name!r} was not kept; call forward again"
                    )
                    raise StalePassError(msg)
                thing = capture(network, seen.batch, [name]).values[name]
            found = Activation.of(layer, thing, copy=False)
            for array in (found.maps, found.prefix, found.suffix):
                array.flags.writeable = False
            self._held.put((key, name), found)
            return found


def _logits(output: Any) -> np.ndarray | None:
    """The logits of one image, None where the model returns no vector."""
    try:
        logits = logits_of(output)
    except TypeError:
        return None
    if logits.ndim != 2 or len(logits) != 1 or logits.is_complex():
        return None
    vector: np.ndarray = logits[0].detach().float().cpu().numpy().copy()
    return vector
