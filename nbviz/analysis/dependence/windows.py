"""Rules for operations that read windows: convolution, pooling, upsampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from nbviz.analysis.dependence.layout import padded
from nbviz.analysis.dependence.operation import NoRule, Operation, rule
from nbviz.analysis.dependence.shadow import (
    BOX_PLANES,
    CELL_PLANES,
    NOTHING,
    Shadow,
    compact,
    everything,
    gathered,
    pointwise,
    reshape_plane,
    widened,
)
from nbviz.analysis.receptive_field import Axis, Frame


@dataclass(frozen=True)
class Taps:
    """Which places of one dimension each result reads.

    `places` has shape (results, taps): the index of each tap in the input, -1 for none. Without the
    edge, result j reads ``first + j * step .. last + j * step``; `first` None where no such rule
    holds (adaptive pooling to a size that does not divide).
    """

    places: Tensor
    first: Fraction | None
    last: Fraction
    step: Fraction
    aligned: bool = True

    @classmethod
    def sliding(
        cls, length: int, results: int, kernel: int, stride: int, padding: int, dilation: int
    ) -> Taps:
        """Taps of a kernel that slides over `length` places."""
        starts = torch.arange(results)[:, None] * stride - padding
        places = starts + torch.arange(kernel) * dilation
        places = torch.where((places >= 0) & (places < length), places, -1)
        first = Fraction(-padding)
        return cls(places, first, first + (kernel - 1) * dilation, Fraction(stride))

    @classmethod
    def transposed(
        cls, length: int, results: int, kernel: int, stride: int, padding: int, dilation: int
    ) -> Taps:
        """Taps of a transposed convolution: place i adds to ``i * stride - padding + tap``."""
        reached = torch.arange(results)[:, None] + padding - torch.arange(kernel) * dilation
        places = torch.div(reached, stride, rounding_mode="floor")
        good = (reached % stride == 0) & (places >= 0) & (places < length)
        first = Fraction(padding - (kernel - 1) * dilation, stride)
        last = Fraction(padding, stride)
        step = Fraction(1, stride)
        return cls(torch.where(good, places, -1), first, last, step, aligned=stride == 1)

    @classmethod
    def measured(cls, reads: Tensor) -> Taps:
        """Taps from a matrix ``reads[place, result]`` of what is read, without gaps."""
        length, results = reads.shape
        index = torch.arange(length)[:, None]
        low = torch.where(reads, index, length).amin(0)
        high = torch.where(reads, index, -1).amax(0)
        span = max(int((high - low).amax()) + 1, 1)
        places = low[:, None] + torch.arange(span)
        places = torch.where(places <= high[:, None], places, -1)
        step = Fraction(length, results)
        firsts = [int(value) - j * step for j, value in enumerate(low)]
        lasts = [int(value) - j * step for j, value in enumerate(high)]
        aligned = len(set(firsts)) == 1 and len(set(lasts)) == 1
        return cls(places, min(firsts), max(lasts), step, aligned)

    def read(self, plane: Tensor, dim: int) -> Tensor:
        """Give, for each result, the maximum over its taps along `dim` of a box plane."""
        small = compact(plane)
        shape = list(plane.shape)
        shape[dim] = len(self.places)
        if small.shape[dim] == 1:
            has = (self.places >= 0).any(1)
            if bool(has.all()):
                return small.expand(shape)
            mask = has.view([-1 if axis == dim else 1 for axis in range(small.ndim)])
            return torch.where(mask, small, NOTHING).expand(shape)
        result: Tensor | None = None
        for tap in self.places.unbind(1):
            good = (tap >= 0).view([-1 if axis == dim else 1 for axis in range(small.ndim)])
            piece = torch.where(good, small.index_select(dim, tap.clamp(min=0)), NOTHING)
            result = piece if result is None else torch.maximum(result, piece)
        if result is None:
            raise NoRule
        return result.expand(
            [shape[axis] if size == 1 else size for axis, size in enumerate(result.shape)]
        )


def _windowed(shadow: Shadow, taps: Sequence[Taps], shape: Sequence[int]) -> Shadow:
    """Let each place read its taps along the last dimensions; its cell is its place."""
    boxes = []
    first_dim = len(shadow.shape) - len(taps)
    for k in BOX_PLANES:
        plane = shadow.planes[k]
        for offset, along in enumerate(taps):
            plane = along.read(plane, first_dim + offset)
        boxes.append(plane.expand(tuple(shape)))
    cells, frame = _recounted(shadow, taps, shape)
    return Shadow((*boxes, *cells), frame, shadow.exact)


def _recounted(
    shadow: Shadow, taps: Sequence[Taps], shape: Sequence[int]
) -> tuple[list[Tensor], Frame | None]:
    """Give the cells of the result, which count along its last dimensions, and their frame."""
    none = torch.tensor(NOTHING, dtype=torch.float32).expand(tuple(shape))
    across = torch.arange(shape[-1], dtype=torch.float32).expand(tuple(shape))
    if len(taps) == 1:
        row = compact(shadow.planes[4])
        if row.numel() > 1:  # a one-dimensional window over tokens of a two-dimensional map
            return [none, none], None
        cells = [row.reshape(()).expand(tuple(shape)), across]
    else:
        down = torch.arange(shape[-2], dtype=torch.float32)[:, None].expand(tuple(shape))
        cells = [down, across]
    if shadow.frame is None:
        return cells, None
    rows, cols = (
        # rows are the last dimension but one; a one-dimensional window leaves them alone
        _through(axis, shadow, 2 - back, -back, taps[-back]) if back <= len(taps) else axis
        for axis, back in ((shadow.frame.rows, 2), (shadow.frame.cols, 1))
    )
    if rows is None or cols is None:
        return cells, None
    frame = Frame(rows, cols)
    return cells, frame if shape[0] == 1 else frame.lost()


def _through(axis: Axis, shadow: Shadow, number: int, dim: int, taps: Taps) -> Axis | None:
    """Give the axis behind a window operation along `dim`, None if places have no order."""
    offset, regular = _cell_of_place_0(shadow, number, dim)
    if offset is None:
        return None
    if taps.first is None:
        return axis.lost().window(0, 0, taps.step)
    moved = axis.window(taps.first + offset, taps.last + offset, taps.step, aligned=taps.aligned)
    return moved if regular else moved.lost()


def _cell_of_place_0(shadow: Shadow, number: int, dim: int) -> tuple[int | None, bool]:
    """Give the cell at index 0 along `dim`, and whether all cells follow in order.

    Where only most do (circular padding, a roll), the stride still means something; where they
    do not (a flip, interleaved maps), there is no such cell.
    """
    cells = shadow.planes[CELL_PLANES[number]]
    small = compact(cells)
    dim = dim % small.ndim
    line = small.amax([axis for axis in range(small.ndim) if axis != dim], keepdim=True)
    same = bool(((small == NOTHING) | (small == line)).all())
    line = line.flatten().expand(cells.shape[dim])
    known = (line != NOTHING).nonzero().flatten()
    if not len(known):
        return None, False
    offsets = line[known] - known
    offset = offsets.mode().values
    count = int((offsets == offset).sum())
    if count * 2 <= len(known):
        return None, False
    return int(offset), same and count == len(known)


def _per_dimension(value: Any, count: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * count if len(values) == 1 else values


def _input(operation: Operation, name: str) -> Shadow:
    shadow = operation.shadow(name)
    if shadow is None:
        raise NoRule
    return shadow


@rule(
    "convolution",
    "_convolution",
    "convolution_overrideable",
    "cudnn_convolution",
    "mkldnn_convolution",
    "conv1d",
    "conv2d",
    "conv3d",
    "_slow_conv2d_forward",
    "conv_depthwise3d",
    "_conv_depthwise2d",
    "thnn_conv2d",
    "slow_conv3d",
    "miopen_convolution",
    "cudnn_convolution_relu",
)
def convolution(operation: Operation) -> Shadow:
    """Each place reads its taps, in all channels of its group."""
    weight = operation["weight"]
    image: Tensor = operation[next(iter(operation.arguments))]
    shadow = operation.shadow_of(image)
    shape = operation.shape
    if shadow is None:  # a kernel computed from the image, over a constant
        return everything(operation.dependent, shape)
    count = weight.ndim - 2
    if len(shadow.shape) == count + 1:
        raise NoRule  # without a batch dimension
    transposed = operation.arguments.get("transposed", False)
    stride, padding, dilation = (
        _per_dimension(operation.arguments.get(name, default), count)
        for name, default in (("stride", 1), ("padding", 0), ("dilation", 1))
    )
    make = Taps.transposed if transposed else Taps.sliding
    taps = [
        make(
            image.shape[2 + d],
            shape[2 + d],
            weight.shape[2 + d],
            stride[d],
            padding[d],
            dilation[d],
        )
        for d in range(count)
    ]
    channels = _over_channels(shadow, operation.arguments.get("groups", 1), shape[1])
    unmoved = all(n == 1 for n in (*weight.shape[2:], *stride)) and not any(padding)
    if unmoved and channels.shape == shape:  # keeps the cells of tokens, too
        return _and_kernel(channels, operation, image)
    wide = shape[:2] + channels.shape[2:]
    return _and_kernel(_windowed(widened(channels, wide), taps, shape), operation, image)


def _over_channels(shadow: Shadow, groups: int, outputs: int) -> Shadow:
    """Give each output channel the union over the input channels of its group."""
    shape = shadow.shape
    if groups == 1 or all(compact(plane).shape[1] == 1 for plane in shadow.planes):
        one = gathered(shadow, [1])
        return widened(one, (shape[0], outputs, *shape[2:]))
    inside = (shape[0], groups, shape[1] // groups, *shape[2:])
    grouped = gathered(shadow.each(lambda plane: reshape_plane(plane, inside)), [2])
    spread = (shape[0], groups, outputs // groups, *shape[2:])
    return widened(grouped, spread).each(
        lambda plane: reshape_plane(plane, (shape[0], outputs, *shape[2:]))
    )


def _and_kernel(result: Shadow, operation: Operation, image: Tensor) -> Shadow:
    """Add what the kernel itself depends on, where it was computed from the image."""
    others = [
        shadow
        for name in ("weight", "bias")
        if (shadow := operation.shadow(name)) is not None and operation[name] is not image
    ]
    if not others:
        return result
    return pointwise([result, everything(others, result.shape)], result.shape)


POOLS = [
    f"{kind}_pool{n}d{ending}"
    for kind in ("max", "avg", "mkldnn_max", "quantized_max")
    for n in (1, 2, 3)
    for ending in ("", "_with_indices")
]


@rule(*POOLS)
def pool(operation: Operation) -> list[Shadow]:
    """Each place reads its window, channel by channel."""
    shadow = _input(operation, "self")
    shape = operation.shape
    count = int(operation.name.split("pool")[1][0])
    if len(shape) != count + 2:
        raise NoRule
    kernel = _per_dimension(operation["kernel_size"], count)
    stride = _per_dimension(operation.arguments.get("stride") or kernel, count)
    padding = _per_dimension(operation.arguments.get("padding", 0), count)
    dilation = _per_dimension(operation.arguments.get("dilation", 1), count)
    taps = [
        Taps.sliding(
            shadow.shape[2 + d], shape[2 + d], kernel[d], stride[d], padding[d], dilation[d]
        )
        for d in range(count)
    ]
    return [_windowed(shadow, taps, shape)] * len(operation.outputs)


@rule(
    *[
        f"{under}adaptive_{kind}_pool{n}d"
        for under in ("", "_")
        for kind in ("avg", "max")
        for n in (1, 2, 3)
    ]
)
def adaptive_pool(operation: Operation) -> list[Shadow]:
    """Each place reads its share of the map; a pool to one place is global."""
    shadow = _input(operation, "self")
    shape = operation.shape
    count = int(operation.name.split("pool")[1][0])
    if len(shape) != count + 2:
        raise NoRule
    taps = [_adaptive_taps(shadow.shape[2 + d], shape[2 + d]) for d in range(count)]
    result = _windowed(shadow, taps, shape)
    return [result] * len(operation.outputs)


def _adaptive_taps(length: int, results: int) -> Taps:
    starts = [j * length // results for j in range(results)]
    ends = [math.ceil((j + 1) * length / results) for j in range(results)]
    index = torch.arange(length)[:, None]
    reads = (index >= torch.tensor(starts)) & (index < torch.tensor(ends))
    taps = Taps.measured(reads)
    # to one place, or with shares of several sizes, the window is the image's own, not a fixed one
    return replace(taps, first=None) if results == 1 or length % results else taps


@rule(
    "upsample_nearest1d",
    "upsample_nearest2d",
    "upsample_nearest3d",
    "upsample_linear1d",
    "upsample_bilinear2d",
    "upsample_trilinear3d",
    "upsample_bicubic2d",
    "_upsample_nearest_exact1d",
    "_upsample_nearest_exact2d",
    "_upsample_nearest_exact3d",
    "_upsample_bilinear2d_aa",
    "_upsample_bicubic2d_aa",
)
def upsample(operation: Operation) -> Shadow:
    """Each place reads the places it is interpolated from, measured with the operation."""
    shadow = operation.dependent[0]
    count = len(shadow.shape) - 2
    taps = [
        Taps.measured(_reads(operation, shadow.shape[2:], operation.shape[2:], axis))
        for axis in range(count)
    ]
    return _windowed(shadow, taps, operation.shape)


def _reads(operation: Operation, before: Sequence[int], after: Sequence[int], axis: int) -> Tensor:
    """Put NaN into one place after another along `axis` and see where the result is NaN."""
    length = before[axis]
    # torch's antialiased kernels go wrong along an axis where the map is one place wide.
    other = [min(2, n) if operation.name.endswith("_aa") else 1 for n in before]
    other[axis] = length
    arguments = dict(operation.arguments)
    image = next(iter(arguments))
    # Which taps an antialiased window has at its ends is a matter of rounding.
    double = arguments[image].dtype == torch.float64
    probe = torch.zeros(length, 1, *other, dtype=torch.float64 if double else torch.float32)
    lines = probe.movedim(2 + axis, 1).view(length, length, -1)
    lines[torch.arange(length), torch.arange(length)] = float("nan")
    arguments[image] = probe
    size = [n if d == axis else other[d] for d, n in enumerate(after)]
    if arguments.get("output_size") is not None:
        arguments["output_size"] = size
    for name in ("scale_factors", "scales", "scales_d", "scales_h", "scales_w"):
        arguments[name] = _scale_of(arguments.get(name), name, axis, len(before))
    names = [argument.name for argument in operation.function._schema.arguments]
    result = operation.function(*[arguments[name] for name in names if name != "out"])
    lines = result.isnan().movedim(2 + axis, 1).reshape(length, after[axis], -1)
    reads: Tensor = lines.any(2)
    return reads


def _scale_of(value: Any, name: str, axis: int, count: int) -> Any:
    if isinstance(value, list | tuple):
        return [scale if d == axis else 1.0 for d, scale in enumerate(value)]
    if value is None or name == "scales":
        return value
    mine = ("scales_d", "scales_h", "scales_w")[3 - count :][axis]
    return value if name == mine else 1.0


@rule("im2col")
def patches(operation: Operation) -> Shadow:
    """Windows laid out as columns; taps in the padding depend on nothing."""
    shadow = _input(operation, "self")
    vertical, horizontal = _per_dimension(operation["padding"], 2)
    pad = [horizontal, horizontal, vertical, vertical]
    arguments = [operation["kernel_size"], operation["dilation"], [0, 0], operation["stride"]]
    planes = [
        torch.ops.aten.im2col(padded(plane, pad).contiguous(), *arguments)
        for plane in shadow.planes
    ]
    frame = shadow.frame and shadow.frame.lost()
    return Shadow(tuple(planes), frame, shadow.exact)


@rule("col2im")
def folded(operation: Operation) -> Shadow:
    """Columns added up where their windows overlap."""
    shadow = _input(operation, "self")
    height, width = operation["output_size"]
    window = [operation[name] for name in ("kernel_size", "dilation", "padding", "stride")]
    index = torch.arange(1.0, height * width + 1, dtype=torch.float64).view(1, 1, height, width)
    target = torch.ops.aten.im2col(index, *window).long().flatten()
    batch, channels = operation.shape[:2]
    planes = []
    for plane in shadow.planes:
        flat = reshape_plane(plane, (batch, channels, -1))
        out = torch.full((batch, channels, height * width + 1), NOTHING, dtype=flat.dtype)
        out.scatter_reduce_(2, target.expand(flat.shape), flat, "amax")
        planes.append(out[..., 1:].reshape(operation.shape))
    cells, frame = _recounted(shadow.lost(), [Taps.sliding(1, 1, 1, 1, 0, 1)] * 2, operation.shape)
    return Shadow((*planes[:4], *cells), frame and frame.lost(), shadow.exact)
