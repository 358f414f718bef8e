"""Batches of prepared images, read ahead while the network is busy with the one before.

An image that cannot be read or prepared, or has an odd shape, is left out with its reason. One
thread reads ahead, as most data sets stand no more than one; or, for a data set with numbers,
loader processes do, as in training. Neither touches the random state of the caller.
"""

from __future__ import annotations

import multiprocessing
import queue
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import cloudpickle
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nbviz.model_input import Preparation
from nbviz.network import Network
from nbviz.scanning.range_files import Span
from nbviz.scanning.source import ImageSource, Item

__all__ = ["Batch", "Entry", "Reader", "batch_spans", "reason_of"]

#: What came of one image: an item, or what went wrong.
Entry = tuple[int, Item | Exception]

_AHEAD = 2
_LONGEST_REASON = 300


@dataclass(frozen=True, eq=False)
class Batch:
    """Images of a range, prepared, and those that were skipped."""

    span: Span
    images: list[int]
    labels: list[int | None]
    inputs: Tensor | None
    """Shape (len(images), C, H, W), on the CPU; None where there is no image."""
    skipped: list[tuple[int, str]]

    def pin_memory(self) -> Batch:
        """The same in memory that a GPU reads at full speed; PyTorch's loader calls this, too."""
        return self if self.inputs is None else replace(self, inputs=self.inputs.pin_memory())


def batch_spans(spans: Iterable[Span], size: int) -> Iterator[Span]:
    """Cut ranges into batches: image i is in batch i // size, whatever the range."""
    for first, end in spans:
        start = first
        while start < end:
            stop = min(end, (start // size + 1) * size)
            yield Span(start, stop)
            start = stop


def reason_of(error: Exception) -> str:
    """What went wrong, in one short line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= _LONGEST_REASON else f"{text[: _LONGEST_REASON - 1]}…"


@dataclass(frozen=True, eq=False)
class Reader:
    """Reads and prepares the images of a source.

    Parameters
    ----------
    source : ImageSource or None
        None where the items are given.
    preparation : Preparation
    shape : tuple of int
        (C, H, W) that each image must have in the end.
    pinned : bool
        Whether batches go to a GPU.
    """

    source: ImageSource | None
    preparation: Preparation
    shape: tuple[int, ...]
    pinned: bool = False

    @classmethod
    def of(cls, network: Network, source: ImageSource | None) -> Reader:
        """The reader that prepares images for a network."""
        pinned = network.device.type == "cuda"
        return cls(source, network.preparation(), network.input_shape, pinned)

    def read(self, number: int) -> Entry:
        """One item of the source."""
        if self.source is None:
            raise ValueError("expected a source to read from, but the items were to be given")
        try:
            return number, self.source.read(number)
        except Exception as error:  # noqa: BLE001 - a data set may fail in any way; it is recorded
            return number, error

    def prepared(self, item: Item) -> Tensor:
        """The network's input for one item, shape (C, H, W), on the CPU."""
        values = self.preparation(item.picture)[0].cpu()
        if not torch.isfinite(values).all():
            raise ValueError("expected finite input, got NaN or infinity")
        if tuple(values.shape) != self.shape:
            raise ValueError(
                f"expected an input of shape {self.shape} as the network takes it, got "
                f"{tuple(values.shape)}"
            )
        return values

    def batch(self, span: Span, entries: Iterable[Entry]) -> Batch:
        """Prepare the items of one batch."""
        images, labels, inputs = list[int](), list[int | None](), list[Tensor]()
        skipped = []
        for number, item in entries:
            try:
                if isinstance(item, Exception):
                    raise item  # noqa: TRY301 - read elsewhere, and recorded here with the others
                inputs.append(self.prepared(item))
            except Exception as error:  # noqa: BLE001, PERF203 - a transform may fail in any way
                skipped.append((number, reason_of(error)))
            else:
                images.append(number)
                labels.append(item.label)
        return Batch(span, images, labels, torch.stack(inputs) if inputs else None, skipped)

    def numbered(self, spans: Iterable[Span]) -> Iterator[Batch]:
        """The batches of a source with numbers."""
        for span in spans:
            yield self.batch(span, map(self.read, range(*span)))

    @contextmanager
    def ahead(self, spans: Iterable[Span], loader_workers: int = 0) -> Iterator[Iterator[Batch]]:
        """The batches of a source with numbers, read ahead; closed when the context ends."""
        if loader_workers and not multiprocessing.current_process().daemon:
            with closing(_loaded(self, list(spans), loader_workers)) as loaded:
                yield loaded
        else:
            with read_ahead(self.numbered(spans), pinned=self.pinned) as batches:
                yield batches


@contextmanager
def read_ahead(batches: Iterator[Batch], *, pinned: bool = False) -> Iterator[Iterator[Batch]]:
    """Draw batches in one other thread, at most two ahead; it has ended when the context ends."""
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(_AHEAD)
    stop = threading.Event()

    def put(thing: Batch | BaseException | None) -> None:
        while not stop.is_set():
            try:
                ready.put(thing, timeout=0.1)
            except queue.Full:
                continue
            return

    def draw() -> None:
        try:
            for batch in batches:
                put(batch.pin_memory() if pinned else batch)
                if stop.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - raised again where the batch is taken
            put(error)
        put(None)

    def taken() -> Iterator[Batch]:
        while True:
            try:  # without a limit, Windows would not let an interrupt through
                thing = ready.get(timeout=0.5)
            except queue.Empty:
                continue
            if isinstance(thing, BaseException):
                raise thing
            if thing is None:
                return
            yield thing

    thread = threading.Thread(target=draw, name="nbviz-read-ahead", daemon=True)
    try:
        thread.start()  # within, as an interrupt may come before it returns
        yield taken()
    finally:
        stop.set()
        if thread.ident is not None:
            thread.join()


class _Batches(Dataset[Batch]):
    """Batches by number, for loader processes; a notebook's own classes can be pickled, too."""

    def __init__(self, reader: Reader, spans: Sequence[Span]) -> None:
        self._reader, self._spans = reader, spans

    def __len__(self) -> int:
        return len(self._spans)

    def __getitem__(self, number: int) -> Batch:
        span = self._spans[number]
        return self._reader.batch(span, map(self._reader.read, range(*span)))

    def __reduce__(self) -> Any:
        return _unpickled, (cloudpickle.dumps((self._reader, self._spans)),)


def _unpickled(content: bytes) -> _Batches:
    return _Batches(*cloudpickle.loads(content))


def _loaded(reader: Reader, spans: list[Span], workers: int) -> Generator[Batch, None, None]:
    loader = DataLoader(
        _Batches(reader, spans),
        batch_size=None,
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=reader.pinned,
        generator=torch.Generator(),  # else the seeds of the workers come from the global one
    )
    yield from loader


def _as_it_is(batch: Any) -> Any:
    return batch
