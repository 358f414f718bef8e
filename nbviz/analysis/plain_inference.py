"""Answers to masked inputs the plain way: whole forward passes, in batches of a good size.

What is a good size of batch, and whether the memory format ``channels_last`` pays, is measured on
the first batches of a network, which are work to be done anyway, and remembered with its model.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nbviz.analysis.capture import as_input, run_pass
from nbviz.analysis.layers import Layers
from nbviz.analysis.masked_boxes import (
    Box,
    Boxes,
    MaskedBatch,
    Way,
    expect_logits,
    expect_one_image,
    masked_inputs,
    note_on,
    place_sums,
)
from nbviz.network import Network
from nbviz.undisturbed import state_of

MAX_BYTES = 512 * 2**20

# A size of batch counts as better from this share on; less is noise of the clock.
_GAIN = 0.05
# Live at the same time within a block: its input, its output, a branch, an operation's workspace.
_LIVE_OUTPUTS = 4


class PlainInference:
    """Answers of a network to one image with different boxes changed, by whole forward passes.

    Parameters
    ----------
    network : Network or nn.Module
        Left as it was.
    batch : Tensor, shape (1, C, H, W)
        The image, prepared.
    watch : sequence of str
        Layers whose maps are summed over places (Zeiler & Fergus 2014, fig. 6b).
    max_bytes : int
        Bound of what a batch takes on the device, estimated from the layers' sizes. Where memory
        runs out nevertheless, batches are halved.

    Raises
    ------
    ValueError
        If the network is no classifier, or the image is not one of shape (1, C, H, W).
    UnknownLayerError
        If there is no layer of a name in `watch`.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> image = torch.randn(1, 3, 8, 8)
    >>> inference = PlainInference(Network(model, input_shape=(3, 8, 8)), image)
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
        self.way: Way = "plain"
        self.reason = "every masked image goes through the whole network"
        self._watch = tuple(watch)
        with self.network.undisturbed():
            # A copy, as the person may go on with the batch, and the model may write to its input.
            self._image = as_input(self.network, batch.detach()).clone()
            answer = self._answer(self._image.clone())
            self._pace = _pace_of(self.network, self._image, max_bytes)
        self.logits: Tensor = answer[0][0]
        self.reason += note_on(self.logits)
        self.sums: Mapping[str, Tensor] = {name: sums[0] for name, sums in answer[1].items()}

    def run(self, boxes: Boxes) -> Iterator[MaskedBatch]:
        """Answer to every box exactly once, in order."""
        start, count = 0, len(boxes)
        alone = count > 1 and self._answers_alone(boxes)
        while start < count:
            size = 1 if alone else min(self._pace.next_size(), count - start)
            numbers = np.arange(start, start + size)
            try:
                answer = self._timed(boxes, numbers)
            except (RuntimeError, MemoryError) as error:
                if self._pace.channels_last and not is_out_of_memory(error):
                    # it ran in this format with another number of inputs
                    self._pace.channels_last, too_many = False, False
                elif size > 1 and is_out_of_memory(error):
                    too_many = True
                else:
                    raise
                # Kept, the error would hold the tensors of the pass by its traceback.
                answer = None
            if answer is not None:
                yield answer
                start += size
            elif too_many:
                self._pace.halve(size)
                _free_memory(self._image.device)

    def once(self, batch: Tensor, box: Box | None = None) -> Tensor:  # noqa: ARG002 - the plain way needs no box
        """Logits (classes,) of one input, whatever in it was changed."""
        expect_one_image(batch)
        with self.network.undisturbed():
            return self._answer(as_input(self.network, batch.detach()).clone())[0][0]

    def _answers_alone(self, boxes: Boxes) -> bool:
        """Whether inputs have to go one by one, as they would change each other's answer.

        Statistics of the batch do that, in place of running ones. Noted in `reason`, as is a
        network that answers differently each time.
        """
        key = ("answers alone", tuple(self._image.shape), self._image.dtype)
        recorded = state_of(self.network.model).recorded
        if key not in recorded:
            with self.network.undisturbed():
                inputs = masked_inputs(self._image, boxes, np.array([0, len(boxes) - 1]))
                first, again, last = (
                    self._answer(inputs[k : k + 1].clone())[0][0] for k in (0, 0, 1)
                )
                try:
                    both = self._answer(inputs.clone())[0]
                except (RuntimeError, MemoryError) as error:
                    if is_out_of_memory(error):
                        return False  # batches of one come by themselves then
                    raise
            if not _alike(first, again):
                recorded[key] = (False, "; it answers differently each time, by chance")
            elif not (_alike(both[0], first) and _alike(both[1], last)):
                recorded[key] = (True, ", one by one, as others in a batch change its answer")
            else:
                recorded[key] = (False, "")
        alone, note = recorded[key]
        if note and note not in self.reason:
            self.reason += note
        return bool(alone)

    def _timed(self, boxes: Boxes, numbers: NDArray[np.int64]) -> MaskedBatch:
        pace = self._pace
        with self.network.undisturbed():
            inputs = masked_inputs(self._image, boxes, numbers)
            compare = pace.wants_formats(len(numbers))
            given = inputs.clone() if compare else inputs  # a model may write to its input
            if pace.channels_last:
                given = given.contiguous(memory_format=torch.channels_last)
            began = self._now()
            logits, sums = self._answer(given)
            took = self._now() - began
            pace.note(len(numbers), took)
            if compare:
                began = self._now()
                same = self._same_in_channels_last(inputs, logits)
                pace.channels_last = same and self._now() - began < (1 - _GAIN) * took
        return MaskedBatch(numbers, logits, sums)

    def _same_in_channels_last(self, inputs: Tensor, logits: Tensor) -> bool:
        """Whether the model runs in that memory format, and gives the same."""
        try:
            turned = self._answer(inputs.contiguous(memory_format=torch.channels_last))[0]
        except Exception:  # noqa: BLE001 - `view` on a map raises, and a model's own code may raise anything
            return False
        spread = float((logits - logits.mean(1, keepdim=True)).abs().max())
        tolerance = 1e-4 if self._image.dtype in (torch.float32, torch.float64) else 1e-2
        return bool(torch.allclose(turned, logits, rtol=0, atol=tolerance * spread))

    def _answer(self, inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        sums: dict[str, Tensor] = {}
        if not self._watch:
            return expect_logits(self.network.model(inputs)), sums
        layers = self.network.layers

        def take(name: str, value: Tensor, *, owned: bool) -> None:  # noqa: ARG001 - it is summed at once
            sums[name] = place_sums(layers[name], value)

        ended = run_pass(self.network, inputs, self._watch, take, to_the_end=True, layers=layers)
        return expect_logits(ended.output), sums

    def _now(self) -> float:
        if self._image.is_cuda:
            torch.cuda.synchronize(self._image.device)
        return time.perf_counter()


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether logits differ by rounding alone."""
    spread = float(one.nan_to_num(0, 0, 0).max() - one.nan_to_num(0, 0, 0).min())
    return torch.allclose(one, other, rtol=0, atol=2e-5 * spread, equal_nan=True)


@dataclass(eq=False)
class _Pace:
    """How large batches are, found out while they run."""

    most: int
    sizes: tuple[int, ...]
    rates: dict[int, float] = field(default_factory=dict)
    """Seconds an input, by size of batch."""
    settled: int | None = None
    channels_last: bool = False
    formats_compared: bool = False

    def next_size(self) -> int:
        if self.settled is None:
            size = next((size for size in self.sizes if size not in self.rates), self.sizes[-1])
        else:
            size = self.settled
        return max(1, min(size, self.most))

    def note(self, size: int, seconds: float) -> None:
        """Learn from a batch; smaller ones at the end of a run tell nothing new."""
        if self.settled is not None or size != self.next_size():
            return
        self.rates[size] = seconds / size
        best = min(self.rates, key=lambda known: self.rates[known])
        if self.rates[size] > (1 - _GAIN) * self.rates[best] and size != best:
            self.settled = best
        elif size >= min(self.sizes[-1], self.most):
            self.settled = size

    def wants_formats(self, size: int) -> bool:
        """Whether this batch is to run in both memory formats, once the size is settled."""
        if self.formats_compared or size != self.settled or size not in self.rates:
            return False
        self.formats_compared = True
        return True

    def halve(self, size: int) -> None:
        self.most = max(1, size // 2)
        if self.settled is not None:
            self.settled = min(self.settled, self.most)


_SIZES = {"cpu": (8, 16, 32, 64)}
_ACCELERATED = (32, 64, 128, 256, 512)


def _pace_of(network: Network, image: Tensor, max_bytes: int) -> _Pace:
    """The pace of a model for inputs of one kind, kept with the model."""
    most = max(1, max_bytes // _bytes_each(network.layers, image))
    key = ("plain inference", tuple(image.shape), image.device, image.dtype, most)
    recorded = state_of(network.model).recorded
    pace: _Pace = recorded.setdefault(key, _Pace(most, _SIZES.get(image.device.type, _ACCELERATED)))
    return pace


def _bytes_each(layers: Layers, image: Tensor) -> int:
    """About what one input of a batch takes while it runs through the network."""
    largest = max((int(np.prod(layer.output_shape)) for layer in layers), default=0)
    return int((3 * image.numel() + _LIVE_OUTPUTS * largest) * image.element_size()) or 1


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice, on any device."""
    kinds = tuple(
        kind
        for kind in (
            getattr(torch, "OutOfMemoryError", None),
            getattr(torch.cuda, "OutOfMemoryError", None),
        )
        if isinstance(kind, type)
    )
    text = str(error)
    return isinstance(error, (*kinds, MemoryError)) or any(
        words in text for words in ("can't allocate memory", "out of memory", "Cannot allocate")
    )


def _free_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
