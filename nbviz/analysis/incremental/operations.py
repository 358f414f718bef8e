"""What one node of a traced network does to windows of its input, and how far a change reaches.

Five kinds: `Windowed` (convolution) and `Pooling` compute each place from a window of places, so a
changed box grows by it; `Placewise` (activation, batch norm, addition, concatenation) keeps the
box; `GlobalMean` updates a sum; `Whole` is everything else, and needs whole maps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nbviz.analysis.incremental.windows import Region

__all__ = ["Affine", "Axis", "GlobalMean", "Operation", "Placewise", "Pooling", "Whole", "Windowed"]


@dataclass(frozen=True)
class Axis:
    """A window that slides along rows or columns.

    Attributes
    ----------
    kernel, stride, dilation : int
    before : int
        Padding before the first place.
    places_in, places_out : int
        Length of the input and of the output.
    """

    kernel: int
    stride: int
    dilation: int
    before: int
    places_in: int
    places_out: int

    @property
    def span(self) -> int:
        """Input places from the first to the last of a window."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def after(self) -> int:
        """Places beyond the input's end that the last window reads; negative if it ends before."""
        return (self.places_out - 1) * self.stride + self.span - self.before - self.places_in

    def reached(self, start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The half-open range of output places that see any of the input places [start, stop)."""
        first = -((-(start + self.before - self.span + 1)) // self.stride)
        last = (stop - 1 + self.before) // self.stride
        return np.maximum(first, 0), np.minimum(last + 1, self.places_out)

    def needed(self, start: np.ndarray) -> np.ndarray:
        """The first input place that the output place at `start` reads; may be negative."""
        return start * self.stride - self.before

    def needed_length(self, length: int) -> int:
        """How many input places so many neighbouring output places read."""
        return (length - 1) * self.stride + self.span


@dataclass(frozen=True, eq=False, kw_only=True)
class Operation:
    """Base of the five kinds.

    Attributes
    ----------
    macs : int
        Multiplications with a weight for each place of the output; of a `Whole`, for all of it.
    """

    macs: int = 0


@dataclass(frozen=True, eq=False, kw_only=True)
class Windowed(Operation):
    """A convolution, with the batch norm and the clamp behind it.

    Attributes
    ----------
    rows, cols : Axis
    weight : Tensor
        Lies channels last.
    bias : Tensor or None
    groups : int
    low, high : float or None
        Ends of the clamp (0 and None for a ReLU).
    """

    rows: Axis
    cols: Axis
    weight: Tensor
    bias: Tensor | None
    groups: int
    low: float | None = None
    high: float | None = None

    @property
    def is_placewise(self) -> bool:
        """Whether each place of the output reads the one place of the input that it stands at."""
        return all(
            (axis.span, axis.stride, axis.before) == (1, 1, 0) for axis in (self.rows, self.cols)
        )

    def on_window(self, region: Region, tops: np.ndarray, lefts: np.ndarray, size: Any) -> Tensor:
        """Output windows at these places, shape (B, C, *size)."""
        wanted = (self.rows.needed_length(size[0]), self.cols.needed_length(size[1]))
        found = region.window(self.rows.needed(tops), self.cols.needed(lefts), wanted)
        return self._convolved(found, (0, 0))

    def on_whole(self, maps: Tensor) -> Tensor:
        """The output for whole maps."""
        ends = (self.cols.before, self.cols.after, self.rows.before, self.rows.after)
        if min(ends) < 0 or ends[0] != ends[1] or ends[2] != ends[3]:
            maps = F.pad(maps, ends)
            ends = (0, 0, 0, 0)
        return self._convolved(maps, (ends[2], ends[0]))

    def _convolved(self, maps: Tensor, padding: tuple[int, int]) -> Tensor:
        out = F.conv2d(
            maps,
            self.weight,
            self.bias,
            (self.rows.stride, self.cols.stride),
            padding,
            (self.rows.dilation, self.cols.dilation),
            self.groups,
        )
        return clamped(out, self.low, self.high)

    def scaled(self, affine: Affine) -> Windowed:
        """The convolution with a batch norm behind it folded into its weights."""
        weight = self.weight.double() * affine.scale.view(-1, 1, 1, 1)
        old = 0.0 if self.bias is None else self.bias.double()
        bias = old * affine.scale + affine.shift
        dtype = self.weight.dtype
        laid = weight.to(dtype).contiguous(memory_format=torch.channels_last)
        return replace(self, weight=laid, bias=bias.to(dtype))


@dataclass(frozen=True, eq=False, kw_only=True)
class Pooling(Operation):
    """Maximum or average over windows.

    Attributes
    ----------
    rows, cols : Axis
    maximum : bool
    counts : pair of ndarray, or None
        Of an average whose windows do not all count the same number of places: how many rows and
        how many columns each counts.
    divisor : int or None
        Of an average, in place of the number of places.
    """

    rows: Axis
    cols: Axis
    maximum: bool
    counts: tuple[np.ndarray, np.ndarray] | None = None
    divisor: int | None = None

    def on_window(self, region: Region, tops: np.ndarray, lefts: np.ndarray, size: Any) -> Tensor:
        """Output windows at these places, shape (B, C, *size)."""
        wanted = (self.rows.needed_length(size[0]), self.cols.needed_length(size[1]))
        found = region.window(
            self.rows.needed(tops), self.cols.needed(lefts), wanted, lowest=self.maximum
        )
        return self._pooled(found, tops, lefts, size)

    def on_whole(self, maps: Tensor) -> Tensor:
        """The output for whole maps."""
        ends = (self.cols.before, self.cols.after, self.rows.before, self.rows.after)
        if any(ends):
            maps = F.pad(maps, ends, value=-torch.inf if self.maximum else 0.0)
        start = np.zeros(len(maps), np.int64)
        return self._pooled(maps, start, start, (self.rows.places_out, self.cols.places_out))

    def _pooled(self, maps: Tensor, tops: np.ndarray, lefts: np.ndarray, size: Any) -> Tensor:
        kernel = (self.rows.kernel, self.cols.kernel)
        stride = (self.rows.stride, self.cols.stride)
        if self.maximum:
            dilation = (self.rows.dilation, self.cols.dilation)
            if stride == (1, 1):
                return _running_maximum(maps, kernel, dilation)
            return F.max_pool2d(maps, kernel, stride, 0, dilation)
        if self.divisor is not None:
            return F.avg_pool2d(maps, kernel, stride, divisor_override=self.divisor)
        if self.counts is None:
            return F.avg_pool2d(maps, kernel, stride)
        rows = self.counts[0][tops[:, None] + np.arange(size[0])]
        cols = self.counts[1][lefts[:, None] + np.arange(size[1])]
        number = torch.from_numpy(rows[:, None, :, None] * cols[:, None, None, :])
        sums = F.avg_pool2d(maps, kernel, stride, divisor_override=1)
        return sums / number.to(sums)


@dataclass(frozen=True, eq=False, kw_only=True)
class Placewise(Operation):
    """A function of one or several maps that works at each place alone.

    Attributes
    ----------
    function : callable
        Takes the tensors of all inputs, whole maps or windows alike; changes none of them.
    low, high : float or None
        Ends of a clamp behind it.
    affine : Affine or None
        What a batch norm does, to fold it into a convolution.
    is_identity, is_clamp : bool
        Whether it does nothing, or is nothing but a clamp.
    """

    function: Callable[..., Tensor] | None = None
    low: float | None = None
    high: float | None = None
    affine: Affine | None = None
    is_identity: bool = False
    is_clamp: bool = False

    def __call__(self, *maps: Tensor) -> Tensor:
        """The output for windows that lie at the same places, or for whole maps."""
        if self.function is None:
            return maps[0]
        return clamped(self.function(*maps), self.low, self.high)


@dataclass(frozen=True, eq=False)
class Affine:
    """A batch norm in evaluation mode: ``x * scale + shift``, float64, shape (C,)."""

    scale: Tensor
    shift: Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class GlobalMean(Operation):
    """The mean over all places, shape (B, C, 1, 1) with `keepdim` and (B, C) without."""

    keepdim: bool = True

    def on_region(self, region: Region) -> Tensor:
        """The means of masked maps, from the sums of what changed."""
        kept = region.kept
        assert kept is not None
        if not kept.is_finite:  # nothing can be taken from a sum that is no number
            return self.on_whole(region.whole())
        means = region.sums() / kept.places
        return means[:, :, None, None] if self.keepdim else means

    def on_whole(self, maps: Tensor) -> Tensor:
        """The means of whole maps."""
        return maps.mean((2, 3), keepdim=self.keepdim)


@dataclass(frozen=True, eq=False, kw_only=True)
class Whole(Operation):
    """Anything else: run as the model runs it, on whole maps.

    Attributes
    ----------
    run : callable
        Takes the values of the node's inputs.
    reads_shape : bool
        Whether only the shape of its input matters.
    """

    run: Callable[..., Any]
    reads_shape: bool = False


def _running_maximum(maps: Tensor, kernel: tuple[int, int], dilation: tuple[int, int]) -> Tensor:
    """Max pooling of stride 1, down and then across: quicker, as it notes no places."""
    for dim in (0, 1):
        length = maps.shape[2 + dim] - (kernel[dim] - 1) * dilation[dim]
        highest = maps.narrow(2 + dim, 0, length)
        for k in range(1, kernel[dim]):
            highest = torch.maximum(highest, maps.narrow(2 + dim, k * dilation[dim], length))
        maps = highest
    return maps


def clamped(maps: Tensor, low: float | None, high: float | None) -> Tensor:
    """Clamp a tensor that nobody else holds, in place."""
    if low is None and high is None:
        return maps
    if low == 0 and high is None:
        return maps.relu_()
    return maps.clamp_(low, high)
