"""What a layer does with its values: which work value by value, and the settings of the others.

A layer is a module or a function; both are brought to one form here, so that the arithmetic is
written once. Whether a layer works value by value is known before the network runs, from its kind
and shapes alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nbviz.analysis.calls import Call
from nbviz.analysis.function_names import words
from nbviz.analysis.kernel_weights import computed_weight
from nbviz.analysis.layers import Layer
from nbviz.analysis.unit_parts.places import Index

Operation = Literal[
    "convolution",
    "linear",
    "max pooling",
    "average pooling",
    "normalisation",
    "addition",
    "multiplication",
    "concatenation",
    "activation",
    "identity",
    "other",
]


#: Functions of one value. Written as `operation_name` gives them.
_VALUE_FUNCTIONS = words(
    "relu relu6 leaky_relu elu celu selu rrelu prelu gelu silu mish hardswish hardsigmoid hardtanh "
    "sigmoid tanh softplus softsign logsigmoid tanhshrink hardshrink softshrink threshold exp "
    "expm1 log log1p log2 sqrt rsqrt square abs neg sin cos erf clamp clamp_min clamp_max pow "
    "reciprocal"
)
_DROPOUTS = words(
    "dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout feature_alpha_dropout "
    "stochastic_depth drop_path"
)
#: Modules that give back their input when not training.
_IDENTITIES = words(
    "Identity Dropout Dropout1d Dropout2d Dropout3d AlphaDropout FeatureAlphaDropout "
    "StochasticDepth DropPath DropBlock2d DropBlock3d"
)
#: Modules that only move values, or put a constant around them.
_MOVERS = words(
    "Flatten Unflatten Permute PixelShuffle PixelUnshuffle ChannelShuffle ZeroPad1d ZeroPad2d "
    "ConstantPad1d ConstantPad2d ReflectionPad1d ReflectionPad2d ReplicationPad1d ReplicationPad2d "
    "CircularPad1d CircularPad2d UpsamplingNearest2d"
)
_ACTIVATION_NAME = re.compile(r"(relu\d?|elu|silu|swish|mish|sigmoid|tanh|activation)$", re.I)
_MIXING_ACTIVATIONS = (nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin, nn.GLU)

ARITHMETIC = frozenset({"add", "sub", "mul", "div"})
CONCATENATIONS = frozenset({"cat", "concat", "concatenate"})

_SIGNATURES = {
    "conv1d": "input weight bias stride padding dilation groups",
    "conv2d": "input weight bias stride padding dilation groups",
    "conv_transpose1d": "input weight bias stride padding output_padding groups dilation",
    "conv_transpose2d": "input weight bias stride padding output_padding groups dilation",
    "linear": "input weight bias",
    "max_pool1d": "input kernel_size stride padding dilation ceil_mode",
    "max_pool2d": "input kernel_size stride padding dilation ceil_mode",
    "avg_pool1d": "input kernel_size stride padding ceil_mode count_include_pad",
    "avg_pool2d": "input kernel_size stride padding ceil_mode count_include_pad divisor_override",
    "adaptive_max_pool1d": "input output_size",
    "adaptive_max_pool2d": "input output_size",
    "adaptive_avg_pool1d": "input output_size",
    "adaptive_avg_pool2d": "input output_size",
    "mean": "input dim keepdim",
    "batch_norm": "input running_mean running_var weight bias training momentum eps",
    "instance_norm": "input running_mean running_var weight bias use_input_stats momentum eps",
    "layer_norm": "input normalized_shape weight bias eps",
    "group_norm": "input num_groups weight bias eps",
    "rms_norm": "input normalized_shape weight eps",
    "add": "input other alpha",
    "sub": "input other alpha",
    "mul": "input other",
    "div": "input other rounding_mode",
}

_RMS_NORM: Any = getattr(nn, "RMSNorm", ())

_MODULES: dict[str, Any] = {
    "conv1d": nn.Conv1d,
    "conv2d": nn.Conv2d,
    "conv_transpose1d": nn.ConvTranspose1d,
    "conv_transpose2d": nn.ConvTranspose2d,
    "linear": nn.Linear,
    "max_pool1d": nn.MaxPool1d,
    "max_pool2d": nn.MaxPool2d,
    "avg_pool1d": nn.AvgPool1d,
    "avg_pool2d": nn.AvgPool2d,
    "adaptive_max_pool1d": nn.AdaptiveMaxPool1d,
    "adaptive_max_pool2d": nn.AdaptiveMaxPool2d,
    "adaptive_avg_pool1d": nn.AdaptiveAvgPool1d,
    "adaptive_avg_pool2d": nn.AdaptiveAvgPool2d,
    "batch_norm": nn.modules.batchnorm._BatchNorm,
    "instance_norm": nn.modules.instancenorm._InstanceNorm,
    "layer_norm": nn.LayerNorm,
    "group_norm": nn.GroupNorm,
    "rms_norm": _RMS_NORM,
}


def function_of(kind: str, module: nn.Module | None) -> str:
    """The function that a layer computes, by its name in `torch.nn.functional`."""
    if module is None:
        return kind
    if type(module).__name__ == "FrozenBatchNorm2d":
        return "batch_norm"
    if type(module).__name__ == "LayerScale" and isinstance(
        getattr(module, "gamma", getattr(module, "lambda1", None)), Tensor
    ):
        return "mul"
    for function, kinds in _MODULES.items():
        if isinstance(module, kinds):
            return function
    return type(module).__name__


def is_activation(kind: str, module: nn.Module | None) -> bool:
    """Whether a layer is a function of one value."""
    if module is None:
        return kind in _VALUE_FUNCTIONS
    if isinstance(module, (*_MIXING_ACTIVATIONS, nn.MultiheadAttention)):
        return False
    if type(module).__module__ == "torch.nn.modules.activation":
        return True
    known = any(True for _ in module.parameters())
    return not known and _ACTIVATION_NAME.search(type(module).__name__) is not None


def is_identity(kind: str, module: nn.Module | None) -> bool:
    """Whether a layer gives back its input when the network is not trained."""
    return kind in _DROPOUTS if module is None else type(module).__name__ in _IDENTITIES


def is_mover(kind: str, module: nn.Module | None) -> bool:
    """Whether a layer only moves values, or puts a constant around them."""
    if module is None:
        return kind == "pad"
    if isinstance(module, nn.Upsample):
        return module.mode == "nearest"
    return type(module).__name__ in _MOVERS


def _has_running_statistics(module: nn.Module | None) -> bool:
    return module is None or getattr(module, "running_mean", None) is not None


def data_slot(layer: Layer) -> int | None:
    """Which of a layer's inputs is the one that is no constant; None if several are, or none is."""
    slots = [slot for slot, sources in enumerate(layer.inputs) if sources]
    return slots[0] if len(slots) == 1 else None


def works_by_value(layer: Layer, module: nn.Module | None) -> bool:
    """Whether each value of a layer's output comes from one value of its one input."""
    slot = data_slot(layer)
    if slot is None:
        return False
    if module is not None and is_mover(layer.kind, module):
        return True
    if layer.input_shapes[slot] != layer.output_shape:
        return False
    function = function_of(layer.kind, module)
    if function == "batch_norm" and module is None:
        return len(layer.input_shapes) >= 3  # running statistics are among the arguments
    if function in {"batch_norm", "instance_norm"}:
        return module is not None and _has_running_statistics(module)
    return (
        function in ARITHMETIC
        or is_activation(layer.kind, module)
        or is_identity(layer.kind, module)
    )


def settings_of(call: Call, module: nn.Module | None) -> dict[str, Any]:
    """The arguments of a layer by the names of its function; what a call leaves out is absent."""
    if module is None:
        names = _SIGNATURES.get(call.kind, "input").split()
        return {**dict(zip(names, call.args, strict=False)), **call.kwargs}
    function = function_of(call.kind, module)
    names = _SIGNATURES.get(function, "input").split()[1:]
    settings = {name: getattr(module, name) for name in names if hasattr(module, name)}
    settings["input"] = call.args[0] if call.args else next(iter(call.inputs), None)
    if function == "mul":
        settings["other"] = getattr(module, "gamma", getattr(module, "lambda1", None))
    elif function.startswith("conv"):
        settings["padding_mode"] = module.padding_mode
        if type(module).__name__ == "Conv2dSame":
            settings["padding"] = "same as TensorFlow"
    if function.startswith("conv") or function == "linear":
        settings["weight"] = computed_weight(module)
    return settings


def function_of_one_value(call: Call, module: nn.Module | None, index: Index) -> Any:
    """A layer's function of one value, as a callable from float to float, in float64.

    Parameters
    ----------
    index : tuple of int
        Of the value in the output, without batch: parameters of a channel are taken there.

    Returns
    -------
    callable or None
        None if the function cannot be called by itself.
    """
    name = call.kind
    plain: Any = (
        module.forward
        if module is not None
        else getattr(F, name, getattr(torch, name, getattr(Tensor, name, None)))
    )
    if plain is None:
        return None
    slope = getattr(module, "weight", None)
    if isinstance(module, nn.PReLU) and isinstance(slope, Tensor):
        at = slope.reshape(-1)[0 if slope.numel() == 1 else index[0]]
        return lambda x: x if x >= 0 else x * float(at)
    data = settings_of(call, module)["input"]
    shape = call.tensor.shape

    def element(value: Any) -> Any:
        if value is data or not isinstance(value, Tensor):
            return value
        return value.detach().broadcast_to(shape)[0][index].cpu().double().reshape(1)

    rest = () if module is not None else tuple(element(value) for value in call.args[1:])
    named = (
        {}
        if module is not None
        else {k: element(v) for k, v in call.kwargs.items() if k not in {"input", "inplace", "out"}}
    )
    if name in {"relu", "relu6", "elu", "selu", "celu", "silu", "mish", "hardswish", "hardsigmoid"}:
        rest = tuple(value for value in rest if not isinstance(value, bool))

    def one(x: float) -> float:
        value = torch.tensor([x], dtype=torch.float64)
        return float(plain(value, *rest, **named))

    return one


def index_moved(
    move: Callable[[Tensor], Tensor], shape: Sequence[int], index: Index
) -> Index | None:
    """The index in the input (of `shape`, without batch) of what a mover puts at `index`.

    None where it puts a constant. The mover is shown numbers that count up, once with something
    added: what grows by that was moved.
    """
    count = torch.arange(int(torch.Size(shape).numel()), dtype=torch.float64)
    numbers = count.reshape(1, *shape)
    first = move(numbers.clone())[0][index]
    second = move(numbers + 1)[0][index]
    if second - first != 1:
        return None
    at = int(first)
    where = []
    for size in reversed(shape):
        at, place = divmod(at, size)
        where.append(place)
    return tuple(reversed(where))


def mover_of(call: Call, module: nn.Module | None) -> Callable[[Tensor], Tensor]:
    """What a mover does, as a callable for tensors of its input's shape."""
    if module is not None:
        return module.forward  # without the user's hooks
    return lambda tensor: F.pad(tensor, *call.args[1:], **call.kwargs)
