"""Feature maps of chosen layers for one image, as arrays.

`activations` is the way in: one forward pass, which ends behind the last layer that was asked for
(`nbviz.analysis.capture`), its outputs laid out as maps (`nbviz.analysis.map_layout`). Who asks
again and again for layers of a few images, as a browser of activations does, keeps an
`ActivationStore`. Numbers on maps, and maps in bytes, come from `nbviz.analysis.map_statistics`.
The public names of all of these are offered here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor, nn

from nbviz.analysis.capture import Captured, as_input, capture, not_run, run_pass
from nbviz.analysis.layers import Layer, Layers
from nbviz.analysis.map_layout import drawable, expect_drawable, lay_out
from nbviz.analysis.map_statistics import (
    ChannelStatistics,
    QuantisedMaps,
    channel_statistics,
    quantise_maps,
)
from nbviz.network import Network

__all__ = [
    "Activation",
    "Captured",
    "ChannelStatistics",
    "QuantisedMaps",
    "activations",
    "capture",
    "channel_statistics",
    "drawable",
    "quantise_maps",
]


@dataclass(frozen=True, eq=False)
class Activation:
    """What one layer answers to one image.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    >>> network = Network(model, input_shape=(3, 8, 8))
    >>> answer = activations(network, torch.zeros(3, 8, 8), "1")["1"]
    >>> answer.maps.shape, answer.statistics.peak.shape
    ((4, 6, 6), (4,))
    """

    layer: Layer
    maps: np.ndarray = field(repr=False)
    """float32, C-contiguous, shape (channels, rows, cols). Tokens lie on their grid; where there is
    none, tokens and signals have one row, and a vector one place a channel."""
    prefix: np.ndarray = field(repr=False)
    """float32, shape (prefix tokens, channels): class and register tokens before the grid."""
    suffix: np.ndarray = field(repr=False)
    """float32, shape (tokens, channels): what stands behind the grid, in few networks."""

    @classmethod
    def of(cls, layer: Layer, value: Tensor, *, copy: bool = True) -> Activation:
        """Lay out what a layer returned, of shape (1, ...).

        Without `copy` it shares the memory of `value` where that is float32 as laid out.

        Raises
        ------
        TypeError, ValueError
            As `nbviz.analysis.map_layout.lay_out`.
        """
        laid = lay_out(layer, value.detach())
        parts = (laid.maps, laid.prefix, laid.suffix)
        return cls(layer, *(_array(part, copy=copy) for part in parts))

    @cached_property
    def statistics(self) -> ChannelStatistics:
        """Numbers on the maps, one a channel; the tokens apart do not count."""
        return channel_statistics(self.maps)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, those of the statistics among them."""
        arrays = self.maps.nbytes + self.prefix.nbytes + self.suffix.nbytes
        return arrays + len(self.maps) * ChannelStatistics.BYTES


def _array(values: Tensor, *, copy: bool) -> np.ndarray:
    result = values.float().contiguous().cpu()
    if copy and result.data_ptr() == values.data_ptr():
        result = result.clone()
    array: np.ndarray = result.numpy()
    return array


def activations(
    network: Network | nn.Module, image: Any, layers: str | Sequence[str] | None = None
) -> Mapping[str, Activation]:
    """The feature maps of chosen layers for one image, by the layer's name.

    One forward pass, which ends behind the last of these layers. What a layer returned is given:
    an in-place operation behind it does not show. The model is left as it was.

    Parameters
    ----------
    network : Network or nn.Module
    image : PIL image, array or tensor
        As `Network.prepare` takes it; or already the model's input, a float tensor of shape
        ``network.input_shape`` with or without a batch dimension of 1.
    layers : str or sequence of str, optional
        Names out of ``network.layers.names``. By default all that can be drawn, which for large
        networks is hundreds of megabytes; left out are those that do not run for this image, or
        whose values are complex.

    Returns
    -------
    mapping of str to Activation
        In the order asked for. Values are float32, whatever the model computes in; NaN and
        infinity stay.

    Raises
    ------
    UnknownLayerError
        If there is no layer of a name (a KeyError); the nearest names are offered.
    ValueError
        If a layer cannot be drawn (`drawable` says why) or does not run for this image, or the
        image has not the shape that the layers were recorded with.
    TypeError
        If a layer's values are complex, or the image is none of the above.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten())
    >>> network = Network(model, input_shape=(3, 8, 8))
    >>> answers = activations(network, torch.randn(3, 8, 8), ["0", "1"])
    >>> answers["0"].maps.shape, bool((answers["1"].maps == answers["0"].maps.clip(0)).all())
    ((4, 6, 6), True)
    """
    network = Network.of(network)
    with network.lock:
        known = network.layers
        batch = prepared(network, image, known)
        if layers is None:
            names = [layer.name for layer in known if drawable(layer) is None]
        else:
            names = [layers] if isinstance(layers, str) else list(layers)
        for name in names:
            expect_drawable(known[name])
        found: dict[str, Activation] = {}

        def take(name: str, value: Tensor, *, owned: bool) -> None:
            if layers is None and value.is_complex():
                return
            found[name] = Activation.of(known[name], value, copy=not owned)

        ended = run_pass(network, batch, names, take, to_the_end=False, layers=known)
        if ended.missing and layers is not None:
            raise ValueError(not_run(ended.missing[0]))
        return {name: found[name] for name in names if name in found}


def prepared(network: Network, image: Any, layers: Layers) -> Tensor:
    """The model's input for one image, of the shape that `layers` were recorded with.

    Raises
    ------
    TypeError, ValueError
        As `Network.prepare`; and if the shape is another one.
    """
    shape = layers.input_shape
    given = isinstance(image, Tensor) and image.is_floating_point()
    if given and tuple(image.shape) in {shape, (1, *shape)}:
        return as_input(network, image.detach().reshape(1, *shape))
    batch = network.prepare(image)
    if tuple(batch.shape) != (1, *shape):
        msg = (
            f"expected an input of shape {shape}, with which the layers were recorded, got "
            f"{tuple(batch.shape[1:])}; resize it, or make the network with "
            f"Network(model, input_shape={tuple(batch.shape[1:])})"
        )
        raise ValueError(msg)
    return batch
