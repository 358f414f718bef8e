"""Kernels of a network as arrays: which layers have them, and their weights laid out as drawn.

`kernel_layers` lists the layers without reading a weight, `kernels` reads one of them. What can be
said of kernels is in `nbviz.analysis.kernel_scores` (numbers, one a kernel) and
`nbviz.analysis.kernel_health` (a sentence, one a layer); their public names are offered here too.
`quantise` makes of them the bytes that a browser takes.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from nbviz.analysis.calls import kind_of
from nbviz.analysis.kernel_health import KernelHealth, Verdict, health
from nbviz.analysis.kernel_scores import KernelScores, score, similarity_order
from nbviz.network import Network

__all__ = [
    "KernelHealth",
    "KernelLayer",
    "KernelScores",
    "Kernels",
    "QuantisedKernels",
    "Verdict",
    "dequantise",
    "first_outputs",
    "health",
    "kernel_layers",
    "kernel_module",
    "kernels",
    "quantise",
    "score",
    "similarity_order",
]

# An input of so few channels is a picture (grey, RGB, RGBA), a map of an earlier layer has more.
_PICTURE_CHANNELS = 4

# Which layers read the image, by network: finding out may take a forward pass, and kernels are read
# every few steps of a training.
_image_readers: WeakKeyDictionary[Network, tuple[tuple[tuple[str, int], ...], frozenset[str]]] = (
    WeakKeyDictionary()
)


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
    """float32, C-contiguous, shape (outputs, inputs per group, height, width)."""


@dataclass(frozen=True, slots=True)
class QuantisedKernels:
    """Kernels in one byte a weight: about ``values / 127 * scale``, zero exactly zero."""

    values: np.ndarray
    """int8, -127 to 127, shape (outputs, inputs per group, height, width)."""
    scale: np.ndarray
    """float32, shape (outputs,): largest finite magnitude of each kernel."""
    nonfinite: np.ndarray | None
    """Bits (`np.packbits`, little) over ``values.ravel()``, set at NaN or infinity, else None."""


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


def kernels(network: Network | nn.Module, layer: str | None = None) -> Kernels:
    """The kernels of a layer as an array, copied to the CPU.

    Parameters
    ----------
    network : Network or nn.Module
    layer : str, optional
        Name as in `kernel_layers`. None takes the first that reads the image, or else the first.

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
    known = {entry.name: (entry, module) for entry, module in _layers_and_modules(network)}
    if not known:
        kernel_layers(network)
    if layer is None:
        drawable = [entry for entry, _ in known.values() if entry.problem is None]
        first = [entry for entry in drawable if entry.on_image] or drawable
        layer = (first[0] if first else next(iter(known.values()))[0]).name
    if layer not in known:
        raise ValueError(_unknown(network.model, layer, list(known)))
    entry, module = known[layer]
    if entry.problem is not None:
        raise ValueError(f"kernels of layer {layer!r} cannot be drawn: {entry.problem}")
    return Kernels(entry, _values(network, entry, module))


def kernel_module(network: Network | nn.Module, layer: str) -> nn.Module:
    """The module that holds the kernels of a layer, by its name in `kernel_layers`."""
    found = {entry.name: module for entry, module in _layers_and_modules(Network.of(network))}
    return found[layer]


def first_outputs(kernels: Kernels, max_bytes: int) -> Kernels:
    """The kernels of the first output channels, as many as fit into `max_bytes` at a byte a weight.

    At least one is given; all of them if they fit.
    """
    outputs = max(1, max_bytes // max(1, prod(kernels.values.shape[1:])))
    if outputs >= len(kernels.values):
        return kernels
    return replace(kernels, values=kernels.values[:outputs])


def quantise(values: np.ndarray) -> QuantisedKernels:
    """Kernels in one byte a weight, off by at most ``scale / 254`` (and float32 rounding).

    Parameters
    ----------
    values : ndarray, shape (outputs, inputs per group, height, width)
        NaN and infinity become zero and are marked.

    Examples
    --------
    >>> small = quantise(np.float32([[[[0.5, -1.0]]], [[[0.0, np.nan]]]]))
    >>> small.values.ravel().tolist(), small.scale.tolist(), small.nonfinite.tolist()
    ([64, -127, 0, 0], [1.0, 0.0], [8])
    """
    values = np.ascontiguousarray(values, np.float32)
    scale = np.abs(values).reshape(len(values), -1).max(axis=1, initial=0)
    mask = None
    if not np.isfinite(scale).all():
        finite = np.isfinite(values)
        values = np.where(finite, values, np.float32(0))
        scale = np.abs(values).reshape(len(values), -1).max(axis=1, initial=0)
        mask = np.packbits(~finite.ravel(), bitorder="little")
    # Divided before it is multiplied: 127 / scale overflows where a kernel is next to zero.
    each = scale.reshape(-1, *[1] * (values.ndim - 1))
    levels = np.divide(values, each, out=np.zeros_like(values), where=each > 0)
    levels *= 127
    return QuantisedKernels(np.rint(levels, out=levels).astype(np.int8), scale, mask)


def dequantise(quantised: QuantisedKernels) -> np.ndarray:
    """Kernels out of their bytes: float32, NaN where a weight was not finite."""
    scale = quantised.scale.reshape(-1, *[1] * (quantised.values.ndim - 1))
    values: np.ndarray = quantised.values.astype(np.float32) / np.float32(127) * scale
    if quantised.nonfinite is not None:
        bits = np.unpackbits(quantised.nonfinite, count=values.size, bitorder="little")
        values[bits.reshape(values.shape).astype(bool)] = np.nan
    return values


def _layers_and_modules(network: Network) -> list[tuple[KernelLayer, nn.Module]]:
    model = network.model
    named = [(name or type(model).__name__, module) for name, module in model.named_modules()]
    on_image = _on_image(network, named)
    found: list[tuple[KernelLayer, nn.Module]] = []
    for name, module in named:
        if _is_convolution(module):
            found.append((_convolution_layer(name, module, on_image=name in on_image), module))
        elif name in on_image:
            found.append((_linear_layer(name, module, network.input_shape), module))
    return found


def _on_image(network: Network, named: list[tuple[str, nn.Module]]) -> frozenset[str]:
    """Names of the layers that read the network's input directly, worked out once a structure."""
    structure = tuple((name, id(module)) for name, module in named)
    known = _image_readers.get(network)
    if known is None or known[0] != structure:
        names = _convolutions_on_image(network, named) | _linear_on_image(network, named)
        known = _image_readers[network] = (structure, frozenset(names))
    return known[1]


def _is_convolution(module: nn.Module) -> bool:
    """Any module with the fields of a convolution; quantised ones share no base class with it."""
    counts = (getattr(module, name, None) for name in ("in_channels", "out_channels", "groups"))
    # Asked of the class: the weight itself may be a property that changes the module when read.
    return (
        all(isinstance(count, int) for count in counts)
        and isinstance(getattr(module, "kernel_size", None), tuple)
        and (hasattr(type(module), "weight") or _raw_weight(module) is not None)
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
    weight = _raw_weight(module)
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
    problem = _problem(module)
    if problem is None and dimensions > 2:
        problem = f"its kernels have {dimensions} dimensions; those of one and two can be drawn"
    plain = None if parametrize.is_parametrized(module) else _raw_weight(module)
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
        problem=_problem(module),
    )


def _parameters(module: nn.Module) -> int:
    return sum(0 if is_lazy(parameter) else parameter.numel() for parameter in module.parameters())


def _raw_weight(module: nn.Module) -> Tensor | None:
    """A tensor with the dtype and device of the weight; no parametrisation is worked out for it."""
    if parametrize.is_parametrized(module, "weight"):
        parametrized: Any = module.parametrizations
        return next(iter(parametrized["weight"].parameters()), None)
    weight = getattr(module, "weight", None)
    return weight if isinstance(weight, Tensor) else None


def _problem(module: Any) -> str | None:
    """Why the weights of a layer cannot be drawn, None if they can."""
    weight = _raw_weight(module)
    if weight is None:
        return "its weights are quantised; look at the model as it was before quantisation"
    if is_lazy(weight):
        return "its weights are not initialised yet; run the model once on an input"
    if weight.is_complex():
        return f"its weights are complex ({weight.dtype}), and a weight has one brightness only"
    if weight.is_quantized or not weight.is_floating_point():
        return (
            f"its weights are quantised ({weight.dtype}); look at the model as it was before "
            f"quantisation"
        )
    if weight.device.type == "meta":
        return "its weights lie on the meta device, which holds no values; load them first"
    if weight.numel() == 0:
        return "it has no weights (no input or no output channels)"
    return None


def _values(network: Network, layer: KernelLayer, module: Any) -> np.ndarray:
    """Weights of a layer as they are drawn."""
    # Reading a parametrised weight in training mode would advance spectral norm's iteration.
    if parametrize.is_parametrized(module, "weight"):
        with network.undisturbed():
            weight: Tensor = module.weight.detach()
    else:
        with network.lock, torch.no_grad():
            weight = _recomputed_weight(module).detach()
    copied = weight.to(device="cpu", dtype=torch.float32, copy=True).numpy()
    outputs, inputs, height, width = layer.shape
    if layer.transposed:
        # torch keeps (inputs, outputs per group, ...), group by group along the inputs.
        grouped = copied.reshape(layer.groups, inputs, outputs // layer.groups, height, width)
        copied = grouped.transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(copied.reshape(layer.shape))


def _recomputed_weight(module: Any) -> Tensor:
    """The weight as the next forward pass makes it; old-style hooks leave a stale one between."""
    for hook in module._forward_pre_hooks.values():
        name = getattr(hook, "name", getattr(hook, "_tensor_name", None))
        if name != "weight":
            continue
        kind = type(hook).__name__
        if kind == "WeightNorm":
            return hook.compute_weight(module)  # type: ignore[no-any-return]
        if kind == "SpectralNorm":
            return hook.compute_weight(module, do_power_iteration=False)  # type: ignore[no-any-return]
        if hasattr(hook, "apply_mask"):
            return hook.apply_mask(module)  # type: ignore[no-any-return]
    return module.weight  # type: ignore[no-any-return]


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
