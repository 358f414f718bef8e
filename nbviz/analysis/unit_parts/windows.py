"""Layers that read a window or all features: convolution, linear, pooling.

Each function takes a `Question` and the layer's settings, and works out patch, kernel and places
for one value; the sums are `nbviz.analysis.unit_parts.terms`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from nbviz.analysis.unit_parts.places import Index
from nbviz.analysis.unit_parts.terms import (
    Opaque,
    Parts,
    Question,
    Term,
    ToIndex,
    Weighted,
    Window,
    as_it_is,
    float64,
    number,
    placed,
    single,
    weighted_sum,
)

Settings = dict[str, Any]


def _lengths(setting: Any, default: int, dims: int) -> tuple[int, ...]:
    """A kernel size, stride or so for rows and columns; for a line, rows get the default."""
    if setting is None or setting == []:
        setting = default
    numbers = tuple(setting) if isinstance(setting, Sequence) else (setting,) * dims
    numbers = numbers * dims if len(numbers) == 1 else numbers
    return (default, *numbers) if dims == 1 else numbers


def _as_maps(tensor: Tensor) -> Tensor:
    """The one input of a batch as (channels, rows, columns)."""
    if tensor.ndim not in {3, 4} or tensor.shape[0] != 1:
        msg = f"its input has shape {tuple(tensor.shape)}, which is not one input with channels"
        raise Opaque(msg)
    return tensor[0] if tensor.ndim == 4 else tensor[0][:, None]


def _line_index(channel: int, row: int, col: int) -> Index:
    del row
    return channel, col


def _window(
    x: Tensor, starts: Sequence[int], sizes: Any, dilation: Any = (1, 1), padding: str = "zeros"
) -> Window:
    rows, cols = (
        start + step * np.arange(size)
        for start, size, step in zip(starts, sizes, dilation, strict=True)
    )
    return Window.of(rows, cols, _map_size(x), padding=padding, index=_index_of(x))


def _map_size(x: Tensor) -> tuple[int, int]:
    return (1 if x.ndim == 3 else x.shape[-2], x.shape[-1])


def _index_of(x: Tensor) -> ToIndex:
    return _line_index if x.ndim == 3 else as_it_is


def _position(question: Question) -> tuple[int, int, int]:
    """Channel, row and column of a value on maps or on a line."""
    index = question.index
    return (index[0], 0, index[1]) if len(index) == 2 else (index[0], index[1], index[2])


def _bias(settings: Settings, channel: int) -> float:
    bias = settings.get("bias")
    return 0.0 if bias is None else float(bias[channel])


def convolution(question: Question, settings: Settings) -> Parts:
    """Kernel times patch, summed over the input channels of the unit's group."""
    x, weight = settings["input"], settings["weight"]
    reading, dims = question.reading(x), x.ndim - 2
    channel, *place = _position(question)
    sizes = (1, *weight.shape[2:]) if dims == 1 else tuple(weight.shape[2:])
    dilation = _lengths(settings.get("dilation"), 1, dims)
    stride = _lengths(settings.get("stride"), 1, dims)
    padding: Any = settings.get("padding")
    reach = [d * (n - 1) for d, n in zip(dilation, sizes, strict=True)]
    if padding == "same":
        edges: Sequence[int] = [n // 2 for n in reach]
    elif padding == "same as TensorFlow":  # by the size of the map: a last window may end beyond it
        edges = [
            max((n - 1) // step * step + more + 1 - n, 0) // 2
            for n, step, more in zip(_map_size(x), stride, reach, strict=True)
        ]
    else:
        edges = _lengths(0 if padding == "valid" else padding, 0, dims)
    starts = [at * step - edge for at, step, edge in zip(place, stride, edges, strict=True)]
    mode = settings.get("padding_mode", "zeros")
    window = _window(x, starts, sizes, dilation, mode)
    group_in = weight.shape[1]
    first = channel // (len(weight) // settings.get("groups", 1)) * group_in
    maps = _as_maps(reading.tensor)[first : first + group_in]
    kernels = float64(weight[channel]).reshape(group_in, *sizes)
    bias = _bias(settings, channel)
    weighted = Weighted(window.read(maps), kernels, window, first, bias)
    return weighted_sum("convolution", reading, weighted, question.largest)


def transposed_convolution(question: Question, settings: Settings) -> Parts:
    """Each input place is spread by the kernel; here, what reached this one."""
    x, weight = settings["input"], settings["weight"]
    reading, dims = question.reading(x), x.ndim - 2
    channel, *place = _position(question)
    sizes = (1, *weight.shape[2:]) if dims == 1 else tuple(weight.shape[2:])
    dilation = _lengths(settings.get("dilation"), 1, dims)
    stride = _lengths(settings.get("stride"), 1, dims)
    edges = _lengths(settings.get("padding"), 0, dims)
    maps = _as_maps(reading.tensor)
    taps, lines = [], []
    for axis in (0, 1):
        tap = np.arange(sizes[axis])[::-1]  # later taps come from earlier places
        spread = place[axis] + edges[axis] - tap * dilation[axis]
        at = spread // stride[axis]
        hits = (spread % stride[axis] == 0) & (at >= 0) & (at < maps.shape[1 + axis])
        taps.append(tap[hits])
        lines.append(at[hits])
    groups = settings.get("groups", 1)
    group_in, group_out = len(weight) // groups, weight.shape[1]
    first = channel // group_out * group_in
    kernels = float64(weight[first : first + group_in, channel % group_out])
    kernels = kernels.reshape(group_in, *sizes)[:, taps[0][:, None], taps[1][None]]
    window = Window.of(lines[0], lines[1], _map_size(x), index=_index_of(x))
    patches = window.read(maps[first : first + group_in])
    weighted = Weighted(patches, kernels, window, first, _bias(settings, channel))
    return weighted_sum("convolution", reading, weighted, question.largest)


def linear(question: Question, settings: Settings) -> Parts:
    """Weight times feature; features that are flattened maps are kept together by channel."""
    x, weight = settings["input"], settings["weight"]
    reading = question.reading(x)
    *lead, output = question.index
    features = float64(reading.tensor[0][tuple(lead)])
    kernels = float64(weight[output])
    shape = question.geometry or (len(features), 1, 1)
    _, rows, cols = shape

    def index(channel: int, row: int, col: int) -> Index:
        return (*lead, (channel * rows + row) * cols + col)

    window = Window.whole((rows, cols), index)
    weighted = Weighted(
        features.reshape(shape),
        kernels.reshape(shape),
        window,
        bias=_bias(settings, output),
        shows_window=question.geometry is not None,
    )
    return weighted_sum("linear", reading, weighted, question.largest)


def max_pool(question: Question, settings: Settings) -> Parts:
    """The largest value of the window; padding never wins."""
    x = settings["input"]
    dims = x.ndim - 2
    sizes = _lengths(settings["kernel_size"], 1, dims)
    stride = settings.get("stride")
    stride = sizes if stride in (None, []) else _lengths(stride, 1, dims)
    dilation = _lengths(settings.get("dilation"), 1, dims)
    edges = _lengths(settings.get("padding"), 0, dims)
    _, *place = _position(question)
    starts = [at * step - edge for at, step, edge in zip(place, stride, edges, strict=True)]
    return _maximum(question, x, _window(x, starts, sizes, dilation))


def adaptive_max_pool(question: Question, settings: Settings) -> Parts:
    """The largest value of the window, which the output's size decides."""
    x = settings["input"]
    return _maximum(question, x, _adaptive_window(question, x))


def _adaptive_window(question: Question, x: Tensor) -> Window:
    _, *place = _position(question)
    counts = _map_size(question.call.tensor)
    starts, lengths = [], []
    for at, size, count in zip(place, _map_size(x), counts, strict=True):
        starts.append(at * size // count)
        lengths.append(-(-(at + 1) * size // count) - starts[-1])
    return _window(x, starts, lengths)


def _maximum(question: Question, x: Tensor, window: Window) -> Parts:
    reading, channel = question.reading(x), question.index[0]
    patch = window.read(_as_maps(reading.tensor)[channel : channel + 1], outside=np.nan)[0]
    known = np.where(window.inside, np.where(np.isnan(patch), np.inf, patch), -np.inf)
    winner = np.zeros(window.shape)
    winner.flat[int(known.argmax())] = 1
    value = float(patch.flat[int(known.argmax())])
    products = np.where(winner > 0, patch, 0)
    term = Term(
        None,
        channel,
        value,
        patch.astype(np.float32),
        winner.astype(np.float32),
        products.astype(np.float32),
    )
    term = placed(term, reading, window, winner)
    count = int(window.inside.sum())
    parts = single("max pooling", value, f"largest of {count} values = {number(value)}", [term])
    return replace(parts, window=window.box, map_size=window.size)


def average_pool(question: Question, settings: Settings) -> Parts:
    """Equal weights; what is outside counts as the layer says."""
    x = settings["input"]
    dims = x.ndim - 2
    sizes = _lengths(settings["kernel_size"], 1, dims)
    stride = settings.get("stride")
    stride = sizes if stride in (None, []) else _lengths(stride, 1, dims)
    edges = _lengths(settings.get("padding"), 0, dims)
    _, *place = _position(question)
    starts = [at * step - edge for at, step, edge in zip(place, stride, edges, strict=True)]
    # a window of ceil_mode that reaches past the padding is cut off there
    lengths = [
        min(n, whole + edge - start)
        for n, whole, edge, start in zip(sizes, _map_size(x), edges, starts, strict=True)
    ]
    window = _window(x, starts, lengths)
    counted = int(window.inside.sum())
    if settings.get("count_include_pad", True):
        counted = lengths[0] * lengths[1]
    return _average(question, x, window, settings.get("divisor_override") or counted)


def adaptive_average_pool(question: Question, settings: Settings) -> Parts:
    """Equal weights over the window, which the output's size decides."""
    window = _adaptive_window(question, settings["input"])
    return _average(question, settings["input"], window, window.shape[0] * window.shape[1])


def _average(question: Question, x: Tensor, window: Window, divisor: int) -> Parts:
    reading, channel = question.reading(x), question.index[0]
    patch = window.read(_as_maps(reading.tensor)[channel : channel + 1])
    kernel = np.where(window.inside, 1 / divisor, 0.0)[None]
    parts = weighted_sum(
        "average pooling", reading, Weighted(patch, kernel, window, channel), question.largest
    )
    total = number(float(patch.sum()))
    return replace(parts, expression=f"sum {total} / {divisor} = {number(parts.value)}")


def mean(question: Question, settings: Settings) -> Parts:
    """Equal weights over all places."""
    x, dims = settings["input"], settings.get("dim")
    dims = (dims,) if isinstance(dims, int) else tuple(dims or ())
    dims = tuple(dim % x.ndim for dim in dims)
    if x.ndim != 4 or dims not in {(2, 3), (1, 2)}:
        msg = "it is a mean over something else than places"
        raise Opaque(msg)
    reading = question.reading(x)
    last = dims == (1, 2)
    channel = question.index[-1] if last or len(question.index) == 1 else question.index[0]
    maps = reading.tensor[0].permute(2, 0, 1) if last else reading.tensor[0]
    size = (maps.shape[1], maps.shape[2])
    window = Window.whole(size, (lambda c, row, col: (row, col, c)) if last else as_it_is)
    patch = window.read(maps[channel : channel + 1])
    kernel = np.full_like(patch, 1 / patch.size)
    weighted = Weighted(patch, kernel, window, channel)
    parts = weighted_sum("average pooling", reading, weighted, question.largest)
    total = number(float(patch.sum()))
    return replace(parts, expression=f"sum {total} / {patch.size} = {number(parts.value)}")
