"""Rules for operations that compute: elementwise, reductions, products, attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from nbviz.analysis.dependence.operation import NoRule, Operation, names, rule
from nbviz.analysis.dependence.shadow import (
    BOX_PLANES,
    CELL_PLANES,
    NOTHING,
    Shadow,
    compact,
    everything,
    gathered,
    joined_frame,
    maximum,
    pointwise,
    reshape_plane,
    widened,
)

# Elementwise operations that carry no pointwise tag in some release of torch.
ELEMENTWISE = names(
    "_to_copy clone detach alias lift_fresh lift_fresh_copy contiguous to positive where "
    "masked_fill clamp clamp_min clamp_max lerp addcmul addcdiv add sub rsub mul div pow relu "
    "relu6 hardtanh hardswish hardsigmoid leaky_relu elu celu selu silu mish gelu threshold "
    "softplus softshrink hardshrink log_sigmoid_forward prelu _prelu_kernel rrelu_with_noise "
    "sigmoid tanh native_dropout dropout dequantize quantize_per_tensor quantize_per_channel "
    "_native_batch_norm_legit_no_training batch_norm _batch_norm_no_update "
    "fake_quantize_per_tensor_affine_cachemask complex polar nan_to_num"
)

# Their values come from elsewhere: only the shape of the input is used.
INDEPENDENT = names(
    "zeros_like ones_like full_like empty_like rand_like randn_like randint_like new_zeros "
    "new_ones new_full new_empty new_empty_strided fill zero uniform normal is_same_size"
)


@rule(*ELEMENTWISE)
def elementwise(operation: Operation) -> Shadow:
    """Each element depends on the elements in the same place."""
    return pointwise(operation.dependent, operation.shape)


@rule(*INDEPENDENT)
def independent(operation: Operation) -> None:
    """Nothing of the input's values is in the result."""
    del operation


@rule("copy")
def copied(operation: Operation) -> Shadow | None:
    """The destination holds the source; what it held before is gone."""
    source = operation.shadow("src")
    return None if source is None else pointwise([source], operation.shape)


def mixed(shadow: Shadow, dims: Sequence[int]) -> Shadow:
    """Each element depends on all elements along `dims`, and keeps its own cell."""
    every = widened(gathered(shadow, dims), shadow.shape)
    cells = tuple(shadow.planes[k] for k in CELL_PLANES)
    return replace(every, planes=(*every.planes[:4], *cells))


def _first(operation: Operation) -> Shadow:
    """Give the shadow of the first argument, the only one that such operations read places of."""
    name = next(iter(operation.arguments))
    shadow = operation.shadow(name)
    if shadow is None:
        raise NoRule
    return shadow


def _with_others(shadow: Shadow, operation: Operation) -> Shadow:
    """Add what arguments other than the first depend on (weights computed from the image)."""
    first = operation.shadow(next(iter(operation.arguments)))
    others = [other for other in operation.dependent if other is not first]
    if not others:
        return shadow
    return pointwise([shadow, everything(others, shadow.shape)], shadow.shape)


@rule(
    "sum",
    "mean",
    "amax",
    "amin",
    "max",
    "min",
    "prod",
    "var",
    "std",
    "var_mean",
    "std_mean",
    "linalg_vector_norm",
    "norm",
    "logsumexp",
    "any",
    "all",
    "argmax",
    "argmin",
    "nansum",
    "median",
    "count_nonzero",
    "aminmax",
    "std_mean",
    "logcumsumexp",
    "mode",
)
def reduction(operation: Operation) -> list[Shadow]:
    """Each result depends on all elements along the reduced dimensions."""
    if operation.shadow("other") is not None or "other" in operation.arguments:
        return [elementwise(operation)]
    shadow = _first(operation)
    dims = operation.arguments.get("dim")
    if isinstance(dims, int):
        dims = [dims]
    dims = list(dims) if dims else list(range(len(shadow.shape)))
    result = gathered(shadow, dims)
    if operation.arguments.get("keepdim", False):
        result = _pooled_to_one(result, shadow)
    if result.shape != operation.outputs[0].shape:
        result = result.each(lambda plane: reshape_plane(plane, operation.shape))
    return [result] * len(operation.outputs)


def _pooled_to_one(result: Shadow, source: Shadow) -> Shadow:
    """Let a map pooled over all its places be a map of one place."""
    planes = list(result.planes)
    frame = result.frame
    for k in CELL_PLANES:
        small = compact(planes[k])
        had = compact(source.planes[k])
        if bool((small == NOTHING).all()) and bool((had != NOTHING).all()):
            planes[k] = torch.zeros((), dtype=torch.float32).expand(result.shape)
            frame = None
    return replace(result, planes=tuple(planes), frame=frame)


@rule("_softmax", "_log_softmax", "softmax", "log_softmax", "sort", "argsort", "_safe_softmax")
def along_one_dimension(operation: Operation) -> list[Shadow]:
    """Each element depends on its whole line along one dimension."""
    result = mixed(_first(operation), [operation["dim"]])
    return [result] * len(operation.outputs)


@rule("topk", "kthvalue")
def selected_by_value(operation: Operation) -> list[Shadow]:
    """What is kept of a line depends on the whole line."""
    dim = operation["dim"]
    line = gathered(_first(operation), [dim])
    if operation.name == "kthvalue" and not operation["keepdim"]:
        line = line.each(lambda plane: plane.squeeze(dim))
    return [widened(line, out.shape) for out in operation.outputs]


@rule("cumsum", "cumprod", "cummax", "cummin")
def cumulative(operation: Operation) -> list[Shadow]:
    """Each element depends on those before it along one dimension."""
    shadow, dim = _first(operation), operation["dim"]
    boxes = tuple(shadow.planes[k].cummax(dim).values for k in BOX_PLANES)
    result = replace(shadow.lost(), planes=(*boxes, *(shadow.planes[k] for k in CELL_PLANES)))
    return [result] * len(operation.outputs)


@rule("native_layer_norm", "layer_norm", "rms_norm", "_fused_rms_norm")
def layer_norm(operation: Operation) -> Shadow:
    """Each element depends on all elements that it is normalised with."""
    count = len(operation["normalized_shape"])
    return _with_others(mixed(_first(operation), range(-count, 0)), operation)


@rule("native_group_norm", "group_norm")
def group_norm(operation: Operation) -> Shadow:
    """Each element depends on all places and all channels of its group."""
    shadow = _first(operation)
    groups = operation.arguments.get("group") or operation["num_groups"]
    shape = shadow.shape
    grouped = shadow.each(
        lambda plane: reshape_plane(plane, (shape[0], groups, shape[1] // groups, *shape[2:]))
    )
    result = mixed(grouped, range(2, len(shape) + 1))
    return _with_others(result.each(lambda plane: reshape_plane(plane, shape)), operation)


@rule(
    "native_batch_norm",
    "_native_batch_norm_legit",
    "cudnn_batch_norm",
    "miopen_batch_norm",
    "_batch_norm_with_update",
    "_native_batch_norm_legit_functional",
)
def batch_norm(operation: Operation) -> Shadow:
    """Elementwise with stored statistics; with the batch's own, all places of a channel."""
    shadow = _first(operation)
    training = operation.arguments.get("training", operation.name == "_batch_norm_with_update")
    if training:
        shadow = mixed(shadow, [dim for dim in range(len(shadow.shape)) if dim != 1])
    return _with_others(shadow, operation)


def _product(left: Shadow | None, right: Shadow | None, shape: tuple[int, ...]) -> Shadow:
    """Give the shadow of ``left @ right``: rows of one, columns of the other."""
    ends = []
    if left is not None:
        ends.append(gathered(left, [-1]))
    if right is not None:
        ends.append(gathered(right, [-2]))
    leader = ends[0]
    boxes = [maximum([end.planes[k] for end in ends], shape) for k in BOX_PLANES]
    cells = [leader.planes[k].expand(shape) for k in CELL_PLANES]
    exact = all(end.exact for end in ends)
    return Shadow((*boxes, *cells), joined_frame(leader, ends[1:]), exact)


@rule("mm", "bmm", "matmul", "mv", "dot")
def matrix_product(operation: Operation) -> Shadow:
    """Each element depends on a row of one factor and a column of the other."""
    left_name, right_name, *_ = operation.arguments
    left, right = operation.shadow(left_name), operation.shadow(right_name)
    shape = list(operation.shape)
    flat_left = operation[left_name].ndim == 1
    flat_right = operation[right_name].ndim == 1
    if flat_left:
        left = left and left.each(lambda plane: plane[None])
        shape.insert(len(shape) - (0 if flat_right else 1), 1)
    if flat_right:
        right = right and right.each(lambda plane: plane[:, None])
        shape.append(1)
    result = _product(left, right, tuple(shape))
    return result.each(lambda plane: reshape_plane(plane, operation.shape))


@rule("addmm", "baddbmm", "addmv", "_addmm_activation")
def matrix_product_and_sum(operation: Operation) -> Shadow:
    """A matrix product, plus an addend in the same place."""
    addend_name, left_name, right_name, *_ = operation.arguments
    left, right = operation.shadow(left_name), operation.shadow(right_name)
    if operation[right_name].ndim == 1:
        right = right and right.each(lambda plane: plane[:, None])
    parts = []
    if left is not None or right is not None:
        shape = operation.shape if operation[right_name].ndim > 1 else (*operation.shape, 1)
        product = _product(left, right, shape)
        parts.append(product.each(lambda plane: reshape_plane(plane, operation.shape)))
    addend = operation.shadow(addend_name)
    if addend is not None:
        parts.append(addend)
    return pointwise(parts, operation.shape)


@rule("linear", "mkldnn_linear", "_mkldnn_linear")
def linear(operation: Operation) -> Shadow:
    """Each element depends on all features in its place."""
    shadow = operation.shadow("input") or operation.shadow("self")
    if shadow is None:
        raise NoRule
    return _with_others(widened(gathered(shadow, [-1]), operation.shape), operation)


@rule(
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
    "_scaled_dot_product_attention_math",
    "_scaled_dot_product_attention_math_for_mps",
    "scaled_dot_product_attention",
)
def attention(operation: Operation) -> Shadow:
    """Each query depends on itself and on every key and value of its head.

    A causal mask is not followed, so its boxes are outer bounds.
    """
    shape = operation.shape
    ends = []
    query = operation.shadow("query")
    if query is not None:
        ends.append(gathered(query, [-1]))
    for name in ("key", "value"):
        shadow = operation.shadow(name)
        if shadow is not None:
            heads = shadow.shape[-3] == shape[-3]
            ends.append(gathered(shadow, [-1, -2] if heads else [-1, -2, -3]).lost())
    mask = operation.shadow("attn_mask") or operation.shadow("attn_bias")
    if mask is not None:
        ends.append(everything([mask], ()))
    if not ends or operation.arguments.get("is_causal"):
        raise NoRule
    result = pointwise([widened(end, _broadcast(end, shape)) for end in ends], shape)
    return replace(result, frame=result.frame and result.frame.lost())


def _broadcast(shadow: Shadow, shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape if len(shadow.shape) == len(shape) else tuple(shadow.shape)


@rule("_fft_r2c", "_fft_c2r", "_fft_c2c")
def fourier(operation: Operation) -> Shadow:
    """Each frequency depends on all elements along the transformed dimensions."""
    return widened(gathered(_first(operation), operation["dim"]), operation.shape)
