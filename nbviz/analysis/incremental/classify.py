"""Which kind of operation a node of a traced network is."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nbviz.analysis.function_names import operation_name, words
from nbviz.analysis.incremental.operations import (
    Affine,
    Axis,
    GlobalMean,
    Operation,
    Placewise,
    Pooling,
    Windowed,
)

__all__ = ["Found", "classify_function", "classify_module"]

#: None where only whole maps will do. A `Placewise` without a function runs the node's own.
Found = Operation | None

# Modules that work at each place alone and hold no state that changes.
_PLACEWISE_MODULES: frozenset[type[nn.Module]] = frozenset(
    {
        nn.CELU,
        nn.ELU,
        nn.GELU,
        nn.Hardshrink,
        nn.Hardsigmoid,
        nn.Hardswish,
        nn.LeakyReLU,
        nn.LogSigmoid,
        nn.Mish,
        nn.PReLU,
        nn.SELU,
        nn.Sigmoid,
        nn.SiLU,
        nn.Softplus,
        nn.Softshrink,
        nn.Softsign,
        nn.Softmax2d,
        nn.Tanh,
        nn.Tanhshrink,
        nn.Threshold,
    }
)
_IDENTITY_MODULES: frozenset[type[nn.Module]] = frozenset(
    {nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout}
)
_PLACEWISE_FUNCTIONS = words(
    "add sub mul div neg abs exp log sqrt rsqrt square pow sigmoid tanh silu gelu hardswish "
    "hardsigmoid leaky_relu elu selu celu mish softplus softsign logsigmoid erf prelu clone "
    "contiguous maximum minimum threshold hardshrink softshrink sin cos sign"
)
_CONVOLUTION_LIKE = words("conv2d relu relu6 hardtanh clamp clamp_min batch_norm")
_POOLINGS = words("max_pool2d avg_pool2d adaptive_avg_pool2d mean")
_IDENTITY_FUNCTIONS = words("dropout dropout2d alpha_dropout feature_alpha_dropout")


def classify_module(module: Any, value: Tensor, given: Tensor) -> Found:
    """The operation of a module that was called with one map `given` and returned `value`."""
    kind = type(module)
    if kind is nn.Conv2d:
        return _convolution(
            given, value, module.weight, module.bias, module.stride, module.padding,
            module.dilation, module.groups, module.padding_mode,
        )  # fmt: skip
    if kind is nn.BatchNorm2d or kind is nn.SyncBatchNorm:
        return _batch_norm(
            module.running_mean, module.running_var, module.weight, module.bias, module.eps
        )
    if kind is nn.ReLU:
        return _clamp(0.0, None)
    if kind is nn.ReLU6 or kind is nn.Hardtanh:
        return _clamp(module.min_val, module.max_val)
    if kind in _IDENTITY_MODULES:
        return Placewise(is_identity=True)
    if kind in _PLACEWISE_MODULES:
        return Placewise(function=_out_of_place(module))
    if kind is nn.MaxPool2d and not module.return_indices:
        return _maximum(
            given, value, module.kernel_size, module.stride, module.padding, module.dilation
        )
    if kind is nn.AvgPool2d:
        return _average(
            given, value, module.kernel_size, module.stride, module.padding,
            module.count_include_pad, module.divisor_override,
        )  # fmt: skip
    if kind is nn.AdaptiveAvgPool2d:
        return _adaptive(given, value)
    return None


def _out_of_place(module: nn.Module) -> nn.Module:
    """The module, or a copy over the same parameters that does not write over its input."""
    if getattr(module, "inplace", False):
        module = copy.copy(module)
        module.inplace = False  # type: ignore[assignment]
    return module


def classify_function(
    function: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    value: Any,
    maps: Sequence[Tensor],
) -> Found:
    """The operation of a function (or a method) that was called with these arguments.

    Parameters
    ----------
    args, kwargs
        Values as for the unmasked input; `maps` are those of them that depend on the input.
    value
        What it returned.
    """
    if not isinstance(value, Tensor) or value.ndim not in (3, 4) or not maps:
        return None
    name = operation_name(function)
    first = maps[0]
    alone = len(maps) == 1 and first.ndim == 4
    if name == "batch_norm" and function is not F.batch_norm:
        return None  # torch.batch_norm takes its arguments in another order
    if name in _CONVOLUTION_LIKE:
        return _like_a_module(name, first, value, args, kwargs) if alone else None
    if name in _POOLINGS:
        return _pooling_function(name, first, value, args, kwargs) if alone else None
    if name in _IDENTITY_FUNCTIONS or name == "stochastic_depth":
        return Placewise(is_identity=True) if torch.equal(value, first) else None
    if name in {"cat", "concat", "concatenate"}:
        return _concatenation(first, value, args, kwargs)
    if name == "getitem":
        return _channels(first, args[1])
    if name == "unsqueeze":
        dim = _bound(("input", "dim"), args, kwargs).get("dim")
        return Placewise() if dim == 1 and first.ndim == 3 else None
    if name in _PLACEWISE_FUNCTIONS:
        return Placewise() if _keeps_places(maps, value, args, kwargs) else None
    return None


def _like_a_module(
    name: str, given: Tensor, value: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Found:
    call: dict[str, Any]
    if name == "conv2d":
        names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
        call = {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
        call |= _bound(names, args, kwargs)
        return _convolution(
            given, value, call["weight"], call["bias"], call["stride"], call["padding"],
            call["dilation"], call["groups"], "zeros",
        )  # fmt: skip
    if name == "batch_norm":
        places = ("input", "mean", "var", "weight", "bias", "training", "momentum", "eps")
        aliases = {"running_mean": "mean", "running_var": "var"}
        call = {"weight": None, "bias": None, "training": False, "eps": 1e-5}
        call |= _bound(places, args, {aliases.get(key, key): kwargs[key] for key in kwargs})
        if call["training"]:
            return None
        return _batch_norm(call["mean"], call["var"], call["weight"], call["bias"], call["eps"])
    if name == "relu":
        return _clamp(0.0, None)
    if name == "relu6":
        return _clamp(0.0, 6.0)
    lows, highs = ("min_val", "min"), ("max_val", "max")
    call = _bound(("input", "low", "high"), args, {})
    low = call.get("low", next((kwargs[key] for key in lows if key in kwargs), None))
    high = call.get("high", next((kwargs[key] for key in highs if key in kwargs), None))
    if name == "hardtanh":
        low, high = (-1.0 if low is None else low), (1.0 if high is None else high)
    if any(isinstance(end, Tensor) for end in (low, high)):
        return None
    return _clamp(low, high)


def _pooling_function(
    name: str, given: Tensor, value: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Found:
    call: dict[str, Any]
    if name == "adaptive_avg_pool2d":
        return _adaptive(given, value)
    if name == "mean":
        call = _bound(("input", "dim", "keepdim"), args, kwargs)
        dims = call.get("dim")
        whole = isinstance(dims, list | tuple) and {dim % 4 for dim in dims} == {2, 3}
        return GlobalMean(keepdim=bool(call.get("keepdim", False))) if whole else None
    if name == "max_pool2d":
        names = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode")
        call = {"stride": None, "padding": 0, "dilation": 1} | _bound(names, args, kwargs)
        return _maximum(
            given, value, call["kernel_size"], call["stride"], call["padding"], call["dilation"]
        )
    places = (
        "input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad",
        "divisor_override",
    )  # fmt: skip
    call = {"stride": None, "padding": 0, "count_include_pad": True, "divisor_override": None}
    call |= _bound(places, args, kwargs)
    return _average(
        given, value, call["kernel_size"], call["stride"], call["padding"],
        call["count_include_pad"], call["divisor_override"],
    )  # fmt: skip


def _bound(names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name, as far as they were given."""
    return {**dict(zip(names, args, strict=False)), **kwargs}


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, Sequence):
        return (int(value[0]), int(value[-1]))
    return int(value), int(value)


def _axes(
    given: Tensor, value: Tensor, kernel: Any, stride: Any, dilation: Any, before: Any
) -> list[Axis]:
    kernels, strides, dilations, starts = map(_pair, (kernel, stride, dilation, before))
    return [
        Axis(
            kernels[k],
            strides[k],
            dilations[k],
            starts[k],
            given.shape[2 + k],
            value.shape[2 + k],
        )
        for k in range(2)
    ]


def _convolution(
    given: Tensor, value: Tensor, weight: Any, bias: Any, stride: Any, padding: Any,
    dilation: Any, groups: int, padding_mode: str,
) -> Found:  # fmt: skip
    if padding_mode != "zeros" or not isinstance(weight, Tensor) or given.ndim != 4:
        return None
    kernel = tuple(weight.shape[2:])
    if padding == "same":
        # an odd one of the places that are added stands behind
        dilations = _pair(dilation)
        padding = [(dilations[k] * (kernel[k] - 1)) // 2 for k in range(2)]
    elif padding == "valid":
        padding = 0
    rows, cols = _axes(given, value, kernel, stride, dilation, padding)
    return Windowed(
        macs=weight.numel(),
        rows=rows,
        cols=cols,
        weight=weight.detach().contiguous(memory_format=torch.channels_last),
        bias=None if bias is None else bias.detach(),
        groups=groups,
    )


def _batch_norm(mean: Any, var: Any, weight: Any, bias: Any, eps: float) -> Found:
    if mean is None or var is None:  # it takes the statistics of the batch
        return None
    scale = (var.double() + eps).rsqrt()
    if weight is not None:
        scale = scale * weight.double()
    shift = -mean.double() * scale
    if bias is not None:
        shift = shift + bias.double()

    def function(maps: Tensor) -> Tensor:
        return F.batch_norm(maps, mean, var, weight, bias, False, 0.0, eps)

    return Placewise(function=function, affine=Affine(scale.detach(), shift.detach()))


def _clamp(low: float | None, high: float | None) -> Found:
    def function(maps: Tensor) -> Tensor:
        return maps.relu() if low == 0 and high is None else maps.clamp(low, high)

    return Placewise(function=function, low=low, high=high, is_clamp=True)


def _maximum(
    given: Tensor, value: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any
) -> Found:
    if given.ndim != 4:
        return None
    rows, cols = _axes(given, value, kernel, stride or kernel, dilation, padding)
    return Pooling(rows=rows, cols=cols, maximum=True)


def _average(
    given: Tensor,
    value: Tensor,
    kernel: Any,
    stride: Any,
    padding: Any,
    include: bool,
    divisor: Any,
) -> Found:
    if given.ndim != 4:
        return None
    rows, cols = _axes(given, value, kernel, stride or kernel, 1, padding)
    counts = None
    if divisor is None:
        counts = (_counts(rows, include), _counts(cols, include))
        if (counts[0] == rows.kernel).all() and (counts[1] == cols.kernel).all():
            counts = None
    return Pooling(rows=rows, cols=cols, maximum=False, counts=counts, divisor=divisor)


def _counts(axis: Axis, include_padding: bool) -> np.ndarray:
    """How many places along an axis each output place of an average counts."""
    start = np.arange(axis.places_out) * axis.stride - axis.before
    edge = axis.before if include_padding else 0
    stop = np.minimum(start + axis.kernel, axis.places_in + edge)
    return stop - np.maximum(start, -edge)


def _adaptive(given: Tensor, value: Tensor) -> Found:
    if given.ndim != 4:
        return None
    into, out = given.shape[2:], value.shape[2:]
    if into == out:
        return Placewise(is_identity=True)
    if tuple(out) == (1, 1):
        return GlobalMean()
    if all(many % few == 0 for many, few in zip(into, out, strict=True)):
        kernel = [many // few for many, few in zip(into, out, strict=True)]
        rows, cols = _axes(given, value, kernel, kernel, 1, 0)
        return Pooling(rows=rows, cols=cols, maximum=False)
    return None


def _concatenation(
    first: Tensor, value: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Found:
    call = {"dim": 0} | _bound(("tensors", "dim"), args, kwargs)
    parts = call["tensors"]
    same = all(part.ndim == 4 and part.shape[2:] == first.shape[2:] for part in parts)
    return Placewise() if same and call["dim"] in (1, -3) and value.ndim == 4 else None


def _channels(given: Tensor, index: Any) -> Found:
    """Indexing that takes channels and leaves batch and places, as ``x[:, 0]``."""
    if given.ndim != 4 or not isinstance(index, tuple) or len(index) < 2 or Ellipsis in index:
        return None
    everything = all(part == slice(None) for part in (index[0], *index[2:]))
    return Placewise() if everything and isinstance(index[1], int | slice) else None


def _keeps_places(
    maps: Sequence[Tensor], value: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> bool:
    """Whether all maps have the places of the result, and nothing else has any."""
    places = value.shape[-2:]
    if not all(given.ndim == value.ndim and given.shape[-2:] == places for given in maps):
        return False
    others = [part for part in (*args, *kwargs.values()) if isinstance(part, Tensor)]
    others = [part for part in others if not any(part is given for given in maps)]
    return all(part.numel() == 1 or tuple(part.shape[-2:]) == (1, 1) for part in others)


def is_in_place(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a function or method writes over its first argument."""
    name = target if isinstance(target, str) else str(getattr(target, "__name__", ""))
    if name.startswith("i") and getattr(target, "__module__", "") == "_operator":
        return name in {"iadd", "isub", "imul", "itruediv", "ipow"}
    if name.endswith("_") and not name.startswith("__"):
        return True
    return bool(_inplace_argument(target, args, kwargs))


def _inplace_argument(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    if "inplace" in kwargs:
        return bool(kwargs["inplace"])
    if not inspect.isfunction(target):
        return False
    names = list(inspect.signature(target).parameters)
    return "inplace" in names and len(args) > (at := names.index("inplace")) and bool(args[at])


def out_of_place(target: Any, name: str) -> Callable[..., Any]:
    """A function that gives what `target` gives, and writes over nothing.

    Parameters
    ----------
    target : callable or str
        As in a traced graph: a function, or the name of a tensor's method.
    name : str
        Its plain name (`operation_name`).
    """
    plain = getattr(torch, name, None) if is_in_place(target, (), {}) else None
    if plain is not None:
        return plain  # type: ignore[no-any-return]
    if isinstance(target, str):
        return getattr(Tensor, target)  # type: ignore[no-any-return]
    return target  # type: ignore[no-any-return]
