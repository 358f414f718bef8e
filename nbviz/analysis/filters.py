"""Kernels of a network as arrays: which layers have them, and their weights laid out as drawn.

`kernel_layers` lists the layers without reading a weight, `kernels` reads one of them
(`nbviz.analysis.kernel_weights` says how, while training goes on). What can be said of kernels is
in `nbviz.analysis.kernel_scores` (numbers, one a kernel) and `nbviz.analysis.kernel_health` (a
sentence, one a layer), and what a browser takes in `nbviz.analysis.quantisation`; their public
names are offered here too.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from nbviz.analysis.calls import kind_of
from nbviz.analysis.kernel_health import KernelHealth, Verdict, health
from nbviz.analysis.kernel_scores import KernelScores, score, similarity_order
from nbviz.analysis.kernel_weights import (
    computed_weight,
    problem_of,
    raw_weight,
    weight_parameters,
)
from nbviz.analysis.quantisation import QuantisedKernels, dequantise, quantise
from nbviz.network import Network

__all__ = [
    "KernelHealth",
    "KernelLayer",
    "KernelScores",
    "Kernels",
    "QuantisedKernels",
    "Verdict",
    "dequantise",
    "health",
    "kernel_layers",
    "kernel_module",
    "kernel_parameters",
    "kernels",
    "quantise",
    "score",
    "similarity_order",
]

# An input of so few channels is a picture (grey, RGB, RGBA), a map of an earlier layer has more.
_PICTURE_CHANNELS = 4

# An order of the outputs goes to the browser in two bytes each.
_MOST_OUTPUTS = 65535


@dataclass(frozen=True, slots=True)
class KernelLayer:
    """A layer that has kernels, known without reading its weights.

    Attributes
    ----------
    name : str
        As `named_modules` names it; a model that is itself one layer is named by its class.
    kind : str
        Class of the module.
    shape : tuple of int
        (outputs, inputs per group, height, width) as drawn: a 1-d kernel has height 1.
    groups : int
        Output ``o`` reads the inputs of group ``o // (outputs // groups)`` only.
    stride, dilation : pair of int
        Down and across.
    on_image : bool
        The kernels read the network's input directly. Where the modules do not show it (several
        have 4 input channels or fewer, say) the network is run once; of a network that cannot
        be run only the first such convolution counts.
    colour : bool
        `on_image`, and a kernel has three inputs: red, green and blue.
    strip : bool
        1-d kernels.
    transposed : bool
        A kernel is what one input value paints, not what an output value reads.
    parameters : int
        Number of weights and biases.
    problem : str or None
        Why the kernels cannot be drawn.
    """

    name: str
    kind: str
    shape: tuple[int, int, int, int]
    groups: int
    stride: tuple[int, int]
    dilation: tuple[int, int]
    on_image: bool
    colour: bool
    strip: bool
    transposed: bool
    parameters: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class Kernels:
    """The kernels of one layer at one moment: a copy, which later training does not change."""

    layer: KernelLayer
    values: np.ndarray
    """float32, C-contiguous, shape (outputs, inputs per group, height, width). Fewer outputs than
    ``layer.shape[0]`` where `kernels` was given a limit."""


@dataclass(frozen=True, slots=True)
class _Readers:
    """Which layers read the image, worked out once a structure: it may take a forward pass."""

    modules: Mapping[str, int]
    """Identity of each module, by name."""
    on_image: frozenset[str]
    image: tuple[int, ...]
    """(channels, height, width) that a Linear layer among them reads, or else empty."""


_readers: WeakKeyDictionary[Network, _Readers] = WeakKeyDictionary()


def kernel_layers(network: Network | nn.Module) -> tuple[KernelLayer, ...]:
    """Every layer that has kernels, in the order in which the model registers them.

    Convolutions of one and two dimensions, plain and transposed, patch embeddings among them; and
    a Linear layer that reads the flattened image. A layer that cannot be drawn (3-d kernels,
    weights on the meta device, complex, quantised or not initialised) is listed with its `problem`.

    Parameters
    ----------
    network : Network or nn.Module

    Returns
    -------
    tuple of KernelLayer

    Raises
    ------
    ValueError
        If there is none; the message says which kinds of modules the model has.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 7), nn.ReLU(), nn.ConvTranspose2d(8, 4, 2, stride=2))
    >>> [(layer.name, layer.shape, layer.colour) for layer in kernel_layers(model)]
    [('0', (8, 3, 7, 7), True), ('2', (4, 8, 2, 2), False)]
    """
    network = Network.of(network)
    found = [layer for layer, _ in _layers_and_modules(network)]
    if not found:
        model = network.model
        kinds = Counter(kind_of(module) for module in model.modules() if module is not model)
        listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(8))
        raise ValueError(
            f"expected a model with kernels (a convolution, or a Linear layer on the flattened "
            f"image of input_shape=(channels, height, width)), but {type(model).__name__} has "
            f"{listed or 'no layers'}"
        )
    return tuple(found)


def kernels(
    network: Network | nn.Module, layer: str | None = None, *, max_bytes: int | None = None
) -> Kernels:
    """The kernels of a layer as an array, copied to the CPU.

    Parameters
    ----------
    network : Network or nn.Module
    layer : str, optional
        Name as in `kernel_layers`. None takes the first that reads the image, or else the first.
    max_bytes : int, optional
        Read the first outputs only, at least one: as many as fit at a byte a weight, and no more
        than 65535. ``layer.shape[0]`` of the result is the number that the layer has.

    Returns
    -------
    Kernels
        A convolution computes a correlation, so a kernel is the pattern that it answers to most. A
        transposed convolution's kernel is the pattern that one input paints. A Linear layer's
        weights are laid out on the image. Any floating dtype becomes float32.

    Raises
    ------
    ValueError
        If the network has no such layer with kernels (nearest names are offered), none at all, or
        the layer cannot be drawn.

    Examples
    --------
    >>> kernels(nn.Sequential(nn.Conv1d(2, 6, 9))).values.shape
    (6, 2, 1, 9)
    """
    network = Network.of(network)
    entry, module = _layer_and_module(network, layer)
    if entry.problem is not None:
        raise ValueError(f"kernels of layer {entry.name!r} cannot be drawn: {entry.problem}")
    outputs = entry.shape[0]
    if max_bytes is not None:
        fitting = max(1, max_bytes // max(1, prod(entry.shape[1:])))
        outputs = min(outputs, fitting, _MOST_OUTPUTS)
    return Kernels(entry, _values(network, entry, module, outputs))


def kernel_module(network: Network | nn.Module, layer: str) -> nn.Module:
    """The module that holds the kernels of a layer, by its name in `kernel_layers`.

    Raises
    ------
    ValueError
        If there is no such layer; nearest names are offered.
    """
    return _layer_and_module(Network.of(network), layer)[1]


def kernel_parameters(network: Network | nn.Module, layer: str) -> tuple[nn.Parameter, ...]:
    """The parameters that make the kernels of a layer: its weight or what it is computed from.

    The bias is not among them. Cheap: the layer is looked up by its name, and nothing is computed.

    Raises
    ------
    ValueError
        If there is no such layer; nearest names are offered.

    Examples
    --------
    >>> conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 8, 5))
    >>> [tuple(parameter.shape) for parameter in kernel_parameters(nn.Sequential(conv), "0")]
    [(8, 1, 1, 1), (8, 3, 5, 5)]
    """
    return weight_parameters(kernel_module(network, layer))


def _layers_and_modules(network: Network) -> list[tuple[KernelLayer, nn.Module]]:
    model = network.model
    named = [(name or type(model).__name__, module) for name, module in model.named_modules()]
    readers = _readers_of(network, named)
    found = ((_entry(*each, readers), each[1]) for each in named)
    return [(entry, module) for entry, module in found if entry is not None]


def _entry(name: str, module: nn.Module, readers: _Readers) -> KernelLayer | None:
    on_image = name in readers.on_image
    if _is_convolution(module):
        return _convolution_layer(name, module, on_image=on_image)
    return _linear_layer(name, module, readers.image) if on_image else None


def _layer_and_module(network: Network, name: str | None) -> tuple[KernelLayer, nn.Module]:
    """One layer; without a look at the others if that module was known by its name before."""
    readers = _readers.get(network)
    if name is not None and readers is not None and name in readers.modules:
        module = _submodule(network.model, name)
        if module is not None and id(module) == readers.modules[name]:
            entry = _entry(name, module, readers)
            if entry is not None:
                return entry, module
    known = {entry.name: (entry, module) for entry, module in _layers_and_modules(network)}
    if not known:
        kernel_layers(network)
    if name is None:
        drawable = [entry for entry, _ in known.values() if entry.problem is None]
        first = [entry for entry in drawable if entry.on_image] or drawable
        name = (first[0] if first else next(iter(known.values()))[0]).name
    if name not in known:
        raise ValueError(_unknown(network.model, name, list(known)))
    return known[name]


def _submodule(model: nn.Module, name: str) -> nn.Module | None:
    try:
        return model.get_submodule(name)
    except AttributeError:  # removed since, or the model itself, which goes by its class
        return model if name == type(model).__name__ else None


def _readers_of(network: Network, named: list[tuple[str, nn.Module]]) -> _Readers:
    modules = {name: id(module) for name, module in named}
    known = _readers.get(network)
    if known is None or list(known.modules.items()) != list(modules.items()):
        linear = _linear_on_image(network, named)
        on_image = frozenset(_convolutions_on_image(network, named) | linear)
        known = _Readers(modules, on_image, network.input_shape if linear else ())
        _readers[network] = known
    return known


def _is_convolution(module: nn.Module) -> bool:
    """Any module with the fields of a convolution; quantised ones share no base class with it."""
    counts = (getattr(module, name, None) for name in ("in_channels", "out_channels", "groups"))
    # Asked of the class: the weight itself may be a property that changes the module when read.
    return (
        all(isinstance(count, int) for count in counts)
        and isinstance(getattr(module, "kernel_size", None), tuple)
        and (hasattr(type(module), "weight") or raw_weight(module) is not None)
    )


def _is_transposed(module: Any) -> bool:
    return bool(getattr(module, "transposed", False))


def _convolutions_on_image(network: Network, named: list[tuple[str, Any]]) -> set[str]:
    plain = [
        (name, module)
        for name, module in named
        if _is_convolution(module) and not _is_transposed(module)
    ]
    if not plain:
        return set()
    # A pointwise convolution of few channels is common deep inside (squeeze and excite).
    few = [
        name
        for name, module in plain
        if 0 < module.in_channels <= _PICTURE_CHANNELS and max(module.kernel_size) > 1
    ]
    if not few or few == [plain[0][0]]:
        return {plain[0][0]}
    try:
        layers = network.layers
    except Exception:  # noqa: BLE001 - a model may fail in any way on an input that was guessed
        return {few[0]}
    spans = {
        name: tuple((k - 1) * d + 1 for k, d in zip(*_window(module), strict=True))
        for name, module in plain
    }
    return {
        layer.module_name
        for layer in layers
        if layer.module_name in spans
        and layer.receptive_field is not None
        and layer.receptive_field.size == spans[layer.module_name]
        and layer.input_shapes[0][:1] == layers.input_shape[:1]
    }


def _linear_on_image(network: Network, named: list[tuple[str, Any]]) -> set[str]:
    """The Linear layer that reads the flattened image, if the first matrix of the model is one."""
    matrices = [(name, module) for name, module in named if _has_matrix(module)]
    if not matrices:
        return set()
    name, first = matrices[0]
    if not hasattr(first, "in_features") or not hasattr(first, "out_features"):
        return set()
    try:
        shape = network.input_shape
    except ValueError:
        return set()
    reads = len(shape) == 3 and max(shape[1:]) > 1 and prod(shape) == first.in_features
    return {name} if reads else set()


def _has_matrix(module: nn.Module) -> bool:
    weight = raw_weight(module)
    if weight is None:
        return _is_convolution(module) or hasattr(module, "in_features")
    return is_lazy(weight) or weight.ndim > 1


def _window(module: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """Height and width of the kernel, and its dilation; the last two dimensions of three."""
    size, dilation = tuple(module.kernel_size), module.dilation
    dilation = dilation if isinstance(dilation, tuple) else (dilation,) * len(size)
    return _pair(size), _pair(dilation)


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    return (values[-2] if len(values) > 1 else 1), values[-1]


def _convolution_layer(name: str, module: Any, *, on_image: bool) -> KernelLayer:
    size, dilation = _window(module)
    stride = module.stride if isinstance(module.stride, tuple) else (module.stride,)
    inputs = module.in_channels // module.groups
    dimensions = len(module.kernel_size)
    problem = problem_of(module)
    if problem is None and dimensions > 2:
        problem = f"its kernels have {dimensions} dimensions; those of one and two can be drawn"
    plain = None if parametrize.is_parametrized(module) else raw_weight(module)
    weights = module.out_channels * inputs * prod(module.kernel_size)
    if problem is None and plain is not None and plain.numel() != weights:
        problem = f"its weights have shape {tuple(plain.shape)}, which is not one kernel an output"
    return KernelLayer(
        name=name,
        kind=kind_of(module),
        shape=(module.out_channels, inputs, *size),
        groups=module.groups,
        stride=_pair(tuple(stride)),
        dilation=dilation,
        on_image=on_image,
        colour=on_image and inputs == 3 and dimensions == 2,
        strip=dimensions == 1,
        transposed=_is_transposed(module),
        parameters=_parameters(module),
        problem=problem,
    )


def _linear_layer(name: str, module: Any, image: tuple[int, ...]) -> KernelLayer:
    channels, height, width = image
    return KernelLayer(
        name=name,
        kind=kind_of(module),
        shape=(module.out_features, channels, height, width),
        groups=1,
        stride=(1, 1),
        dilation=(1, 1),
        on_image=True,
        colour=channels == 3,
        strip=False,
        transposed=False,
        parameters=_parameters(module),
        problem=problem_of(module),
    )


def _parameters(module: nn.Module) -> int:
    return sum(0 if is_lazy(parameter) else parameter.numel() for parameter in module.parameters())


def _values(network: Network, layer: KernelLayer, module: Any, outputs: int) -> np.ndarray:
    """Weights of the first `outputs` of a layer as they are drawn; no others are copied."""
    with network.lock, torch.no_grad():
        weight = computed_weight(module)
        if layer.transposed:
            # torch keeps (inputs, outputs per group, ...), group by group along the inputs.
            each = layer.shape[0] // layer.groups
            grouped = weight.reshape(layer.groups, layer.shape[1], each, *layer.shape[2:])
            some = grouped[: -(-outputs // each), :, : min(each, outputs)].transpose(1, 2)
            weight = some.reshape(-1, *layer.shape[1:])
        else:
            weight = weight.reshape(layer.shape)
        values = torch.empty((outputs, *layer.shape[1:]), dtype=torch.float32)
        values.copy_(weight[:outputs])
    return values.numpy()


def _unknown(model: nn.Module, name: str, known: list[str]) -> str:
    near = list(_nearest(name, known))
    advice = f"did you mean {', '.join(map(repr, near))}?" if near else f"the first is {known[0]!r}"
    modules = dict(model.named_modules())
    got = f"{name!r}, a {kind_of(modules[name])}" if modules.get(name) else repr(name)
    return f"expected one of {len(known)} layers with kernels, got {got}; {advice}"


def _nearest(name: str, known: list[str]) -> Iterator[str]:
    """Up to three names: those inside the module that was named, or else those spelt alike."""
    inside = [other for other in known if name and other.startswith(f"{name}.")]
    yield from inside[:3] or difflib.get_close_matches(name, known, n=3, cutoff=0.4)
