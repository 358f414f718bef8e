"""What masks change of one input, and what a network answers to it: the words all ways share.

A mask changes a box of one input. `Boxes` are many of one size; a way of inference
(`MaskedInference`) answers to all of them. The plain way is `nbviz.analysis.plain_inference`, the
one that computes only what changed `nbviz.analysis.incremental`; `nbviz.analysis.masked_inference`
chooses between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nbviz.analysis.layers import Layer
from nbviz.analysis.map_layout import batch_maps
from nbviz.analysis.receptive_field import Box
from nbviz.model_input import logits_of

__all__ = [
    "Box",
    "Boxes",
    "MaskedBatch",
    "MaskedInference",
    "Way",
    "expect_logits",
    "expect_one_image",
    "masked_inputs",
    "note_on",
    "place_sums",
]

Way = Literal["incremental", "partly incremental", "plain"]


@dataclass(frozen=True, eq=False)
class Boxes:
    """What masks change of one input: boxes of one size, each within the image.

    Attributes
    ----------
    tops, lefts : int64 array, shape (N,)
        First row and column of each box.
    size : pair of int
        Rows and columns of every box.
    pixels : callable
        Takes numbers of boxes, an int64 array (n,), and gives what stands in these boxes now: a
        tensor (n, C, rows, cols) on the network's device and in its dtype.
    """

    tops: NDArray[np.int64]
    lefts: NDArray[np.int64]
    size: tuple[int, int]
    pixels: Callable[[NDArray[np.int64]], Tensor] = field(repr=False)

    def __len__(self) -> int:
        return len(self.tops)


@dataclass(frozen=True, eq=False)
class MaskedBatch:
    """What a network answers to some of the masked inputs.

    Attributes
    ----------
    numbers : int64 array, shape (n,)
        Which boxes these are.
    logits : Tensor, shape (n, classes)
        At least float32, on the network's device.
    sums : mapping of str to Tensor, shape (n, channels)
        Of each watched layer the sums of its maps over all places.
    """

    numbers: NDArray[np.int64]
    logits: Tensor
    sums: Mapping[str, Tensor]


class MaskedInference(Protocol):
    """Answers of one network to one image with different boxes of it changed."""

    @property
    def way(self) -> Way:
        """How the answers are computed."""

    @property
    def reason(self) -> str:
        """Why that way was taken, one sentence for a person."""

    @property
    def logits(self) -> Tensor:
        """Logits of the image with nothing changed, shape (classes,)."""

    @property
    def sums(self) -> Mapping[str, Tensor]:
        """Sums over places of the watched layers' maps for that image, shape (channels,)."""

    def run(self, boxes: Boxes) -> Iterator[MaskedBatch]:
        """Answer to every box exactly once, in any order.

        The model is not held between two batches, so that others can use it.
        """

    def once(self, batch: Tensor, box: Box | None) -> Tensor:
        """Logits (classes,) of one input that differs from the image only within a box.

        `batch` has shape (1, C, H, W); with None for the box it may differ anywhere.
        """


def masked_inputs(batch: Tensor, boxes: Boxes, numbers: NDArray[np.int64]) -> Tensor:
    """The inputs (n, C, H, W) with these boxes changed, written on the image's device."""
    pixels = boxes.pixels(numbers)
    rows, cols = boxes.size
    inputs = batch.repeat(len(numbers), 1, 1, 1)
    down, across = (
        torch.as_tensor(starts[numbers], device=batch.device)[:, None]
        + torch.arange(length, device=batch.device)
        for starts, length in ((boxes.tops, rows), (boxes.lefts, cols))
    )
    each = torch.arange(len(numbers), device=batch.device)[:, None, None]
    inputs.permute(0, 2, 3, 1)[each, down[:, :, None], across[:, None, :]] = pixels.to(
        device=batch.device, dtype=batch.dtype
    ).permute(0, 2, 3, 1)
    return inputs


def expect_one_image(batch: Any) -> None:
    """Raise an error that says what came, unless it is one prepared image (1, C, H, W).

    Raises
    ------
    TypeError, ValueError
    """
    if not isinstance(batch, Tensor):
        msg = (
            f"expected one prepared image, a tensor of shape (1, channels, height, width), got "
            f"{type(batch).__name__}; `network.prepare(image)` makes one"
        )
        raise TypeError(msg)
    if batch.ndim != 4 or len(batch) != 1:
        msg = (
            f"expected one prepared image of shape (1, channels, height, width), got "
            f"{tuple(batch.shape)}; `network.prepare(image)` makes one"
        )
        raise ValueError(msg)


def expect_logits(output: Any) -> Tensor:
    """The logits (N, classes) in what a classifier returned, of at least single precision.

    Of a model that ends in a softmax, its output's logarithms, which are logits of the same
    probabilities.

    Raises
    ------
    TypeError
        If it holds no tensor.
    ValueError
        If its shape is another one, or there are fewer than two classes.
    """
    logits = logits_of(output)
    if logits.ndim != 2 or logits.shape[1] < 2 or not logits.is_floating_point():
        msg = (
            f"expected a classifier that returns logits of shape (N, classes) for at least two "
            f"classes, got {logits.dtype} of shape {tuple(logits.shape)}; wrap the model in a "
            f"module that returns such logits"
        )
        raise ValueError(msg)
    logits = logits.detach().to(torch.promote_types(logits.dtype, torch.float32))
    if are_probabilities(logits):
        return logits.clamp_min(torch.finfo(logits.dtype).tiny).log()
    return logits


# By rounding in half precision the sum of a thousand probabilities is off by so much.
_OFF_ONE = 5e-3


def are_probabilities(output: Tensor) -> bool:
    """Whether rows (N, classes) are what a softmax gives: none negative, with a sum of one."""
    if not output.numel() or not bool((output >= 0).all()):
        return False
    return bool(((output.sum(1) - 1).abs() < _OFF_ONE).all())


def note_on(logits: Tensor) -> str:
    """What a person should know of logits (classes,) that are logarithms of probabilities."""
    if not bool(logits.logsumexp(0).abs() < _OFF_ONE):
        return ""
    return "; the model ends in a softmax, so its logits are logarithms of probabilities"


def place_sums(layer: Layer, value: Tensor) -> Tensor:
    """Each channel's sum over all places of its map, for a batch.

    Parameters
    ----------
    layer : Layer
        Drawable (`nbviz.analysis.activations.drawable`).
    value : Tensor, shape (N, ...)
        What the layer returned. Tokens apart from the grid do not count.

    Returns
    -------
    Tensor, shape (N, channels), of at least single precision.
    """
    maps = batch_maps(layer, value.detach())
    return maps.to(torch.promote_types(maps.dtype, torch.float32)).sum((2, 3))
