"""Answers to masked inputs by computing only what the masks changed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nbviz.analysis.capture import as_input
from nbviz.analysis.incremental.execution import Execution, Part
from nbviz.analysis.incremental.graph import NotIncremental, Program, program_of
from nbviz.analysis.incremental.reach import Arithmetic, Reach, arithmetic, grouped, reach_of
from nbviz.analysis.masked_boxes import (
    Box,
    Boxes,
    MaskedBatch,
    Way,
    expect_logits,
    expect_one_image,
    masked_inputs,
    note_on,
)
from nbviz.analysis.plain_inference import MAX_BYTES
from nbviz.analysis.state_stamp import Stamp, state_stamp
from nbviz.network import Network

# Masks in a batch of windows, and in a batch of the vectors behind the maps.
_TOGETHER = 64
_VECTORS_TOGETHER = 256
# A batch takes about so many seconds at most: whoever else wants the network waits for it.
_LONGEST = 0.35
_FEWEST = 8
# Seconds between two answers of `run`, and between two batches of vectors.
_BREATH = 0.2
_VECTORS_WAIT = 1.5
# Where fewer multiplications than this are saved for small masks, gathering windows costs more.
_LEAST_RATIO = 1.15


class IncrementalInference:
    """Answers of a network to one image with different boxes changed, computed from what changed.

    The same logits as whole forward passes within float error. Memory is bounded by `max_bytes`
    beside the kept maps of one image, not by the number of masks. Weights that change meanwhile
    are read anew with the next question, as are changed modules and their attributes (it raises
    `NotIncremental` if a module has got a hook).

    Parameters
    ----------
    network : Network or nn.Module
        Left as it was.
    batch : Tensor, shape (1, C, H, W)
        The image, prepared.
    watch : sequence of str
        Layers (modules) whose maps are summed over places.
    max_bytes : int
        Bound of what the windows of one batch take.

    Raises
    ------
    NotIncremental
        If little could be saved, or the network cannot be traced; the message says why.
    ValueError
        If the network is no classifier, or the image is not one of shape (1, C, H, W).

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> image = torch.randn(1, 3, 32, 32)
    >>> inference = IncrementalInference(Network(model, input_shape=(3, 32, 32)), image)
    >>> tops, lefts = np.array([0, 4]), np.array([0, 4])
    >>> boxes = Boxes(tops, lefts, (4, 4), lambda numbers: torch.zeros(len(numbers), 3, 4, 4))
    >>> [tuple(answer.logits.shape) for answer in inference.run(boxes)]
    [(2, 4)]
    """

    def __init__(
        self,
        network: Network | nn.Module,
        batch: Tensor,
        *,
        watch: Sequence[str] = (),
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.network = Network.of(network)
        expect_one_image(batch)
        self._max_bytes = max_bytes
        layers = self.network.layers if watch else None
        self._watched = {} if layers is None else {name: layers[name] for name in watch}
        with self.network.undisturbed():
            image = as_input(self.network, batch.detach())
            self._image = image.clone(memory_format=torch.channels_last)
            self._read_weights()

    def _read_weights(self) -> None:
        """Fold the weights as they are now, and keep the maps that they give for the image."""
        self._stamp = state_stamp(self.network.model)
        program = _program(self.network, self._image, tuple(self._watched), self._stamp)
        self._execution = Execution(program, self._image, self._watched)
        self.logits = self._execution.logits
        self.sums: Mapping[str, Tensor] = self._execution.sums
        broken = program.broken_by
        self.way: Way = "partly incremental" if broken else "incremental"
        self.reason = (
            f"only what a mask changed is computed, up to {broken}, which needs whole maps"
            if broken
            else "only what a mask changed is computed, in every layer that has places"
        ) + note_on(self.logits)

    def arithmetic(self, boxes: Boxes) -> Arithmetic:
        """How many multiplications these boxes take, and how many whole passes would."""
        return arithmetic(self._execution.program, *self._reach(boxes))

    def _reach(self, boxes: Boxes) -> tuple[Reach, Reach]:
        return _reach(self._execution.program, boxes)

    def run(self, boxes: Boxes) -> Iterator[MaskedBatch]:
        """Answer to every box exactly once.

        In between come answers without any box, so that whoever waits can show that work goes on.
        """
        if not len(boxes):
            return
        with self.network.undisturbed():
            self._up_to_date()
        rows, cols = self._reach(boxes)
        bytes_each = self._execution.bytes_each(rows, cols, self._image.element_size())
        most = max(1, min(_TOGETHER, self._max_bytes // bytes_each))
        pending: list[Part] = []
        breath = flushed = time.monotonic()
        size = most
        for group in grouped(self._execution.program, rows, cols, most):
            done = 0
            while done < len(group):
                numbers = group[done : done + size]
                done += len(numbers)
                began = time.monotonic()
                with self.network.undisturbed():
                    pixels = boxes.pixels(numbers).to(self._image)
                    pending.append(self._execution.to_cut(pixels, numbers, rows, cols))
                now = time.monotonic()
                each = (now - began) / len(numbers)
                size = min(most, max(_FEWEST, int(_LONGEST / max(each, 1e-9))))
                waiting = sum(len(part.numbers) for part in pending)
                if waiting >= _VECTORS_TOGETHER or now - flushed > _VECTORS_WAIT:
                    yield self._answered(pending)
                    pending = []
                    breath = flushed = time.monotonic()
                elif now - breath > _BREATH:
                    yield self._nothing(numbers[:0])
                    breath = time.monotonic()
        if pending:
            yield self._answered(pending)

    def _answered(self, parts: Sequence[Part]) -> MaskedBatch:
        with self.network.undisturbed():
            return self._execution.behind_cut(parts)

    def _nothing(self, numbers: NDArray[np.int64]) -> MaskedBatch:
        sums = {name: value.new_zeros((0, len(value))) for name, value in self.sums.items()}
        return MaskedBatch(numbers, self.logits.new_zeros((0, len(self.logits))), sums)

    def once(self, batch: Tensor, box: Box | None = None) -> Tensor:
        """Logits (classes,) of one input that differs from the image only within a box."""
        expect_one_image(batch)
        height, width = self._image.shape[2:]
        box = Box(0, 0, height, width) if box is None else box
        top, left = max(box.top, 0), max(box.left, 0)
        size = (min(box.bottom, height) - top, min(box.right, width) - left)
        with self.network.undisturbed():
            self._up_to_date()
            if min(size) <= 0:
                return self.logits
            pixels = as_input(self.network, batch)
            pixels = pixels[:, :, top : top + size[0], left : left + size[1]]
            boxes = Boxes(np.array([top]), np.array([left]), size, lambda _: pixels)
            part = self._execution.to_cut(pixels, np.array([0]), *self._reach(boxes))
            return self._execution.behind_cut([part]).logits[0]

    def _up_to_date(self) -> None:
        if self._stamp != state_stamp(self.network.model):
            self._read_weights()


def _reach(program: Program, boxes: Boxes) -> tuple[Reach, Reach]:
    return (
        reach_of(program, boxes.tops, boxes.size[0], "rows"),
        reach_of(program, boxes.lefts, boxes.size[1], "cols"),
    )


_known: WeakKeyDictionary[Network, dict[Any, tuple[Stamp, Program | NotIncremental]]]
_known = WeakKeyDictionary()


def _program(network: Network, image: Tensor, watched: tuple[str, ...], stamp: Stamp) -> Program:
    """The program of a network for images of one shape, made once for its weights as they are.

    Raises
    ------
    NotIncremental
        If it cannot be traced, saves little, or does not give what the model gives.
    """
    key = (watched, tuple(image.shape), image.dtype, image.device)
    programs = _known.setdefault(network, {})
    known = programs.get(key)
    if known is None or known[0] != stamp:
        made: Program | NotIncremental
        try:
            made = program_of(network.model, image, watched)
            _expect_worth(made, image)
            _expect_same(network, made, image)
        except NotIncremental as refusal:
            made = refusal.with_traceback(None)
        known = programs[key] = (stamp, made)
    if isinstance(known[1], NotIncremental):
        raise NotIncremental(*known[1].args)
    return known[1]


def _small_boxes(image: Tensor, number: int) -> Boxes:
    """Boxes of a fourteenth of the image's sides, so many down and across, evenly over it."""
    height, width = image.shape[2:]
    size = (max(1, height // 14), max(1, width // 14))
    tops = np.linspace(0, height - size[0], number).astype(np.int64)
    lefts = np.linspace(0, width - size[1], number).astype(np.int64)
    down, across = (grid.reshape(-1) for grid in np.meshgrid(tops, lefts, indexing="ij"))

    def pixels(numbers: NDArray[np.int64]) -> Tensor:
        line = torch.linspace(-2, 2, len(numbers) * image.shape[1] * size[0] * size[1])
        return line.view(len(numbers), -1, *size).to(image)

    return Boxes(down, across, size, pixels)


def _expect_worth(program: Program, image: Tensor) -> None:
    """Small masks save something, or gathering windows costs more than it gives."""
    counted = arithmetic(program, *_reach(program, _small_boxes(image, 14)))
    if counted.ratio < _LEAST_RATIO:
        cause = f": {program.broken_by} needs whole maps" if program.broken_by else ""
        saved = 1 - 1 / counted.ratio
        raise NotIncremental(f"computing only what a mask changed would save {saved:.0%}{cause}")


# What rounding may come to, as a share of the spread of the logits.
_ROUNDING = {torch.float64: 1e-9, torch.float32: 2e-5}
_ROUNDING_OF_HALF = 2e-2


def _expect_same(network: Network, program: Program, image: Tensor) -> None:
    """The program gives what the model gives for several masks at once, or is not to be trusted.

    It is held to what the masks change, which may be little beside the logits.
    """
    boxes = _small_boxes(image, 3)
    numbers = np.arange(len(boxes))
    unmasked = expect_logits(network.model(image.clone()))
    expected = expect_logits(network.model(masked_inputs(image, boxes, numbers)))
    try:
        execution = Execution(program, image, {})
        part = execution.to_cut(boxes.pixels(numbers), numbers, *_reach(program, boxes))
        found = execution.behind_cut([part]).logits
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise NotIncremental(f"the traced graph does not run on several images: {error}") from error
    finite = expected[expected.isfinite()]
    spread = float(finite.max() - finite.min()) if len(finite) else 0.0
    effect = float((expected - unmasked).abs().nan_to_num(0, 0, 0).max())
    tolerance = _ROUNDING.get(image.dtype, _ROUNDING_OF_HALF) * spread + 1e-3 * effect
    same = found.shape == expected.shape
    if not same or not torch.allclose(found, expected, rtol=0, atol=tolerance, equal_nan=True):
        raise NotIncremental("the traced graph does not give what the model gives")
