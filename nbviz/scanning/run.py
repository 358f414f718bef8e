"""What is missing in a store, shard by shard: in this process, or by an executor's workers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from time import monotonic

from nbviz.network import Network
from nbviz.scanning.interrupt import Interrupt
from nbviz.scanning.payload import Work, forget_payload, save_payload
from nbviz.scanning.progress import Progress
from nbviz.scanning.range_files import Span, gaps
from nbviz.scanning.reading import Batch, Entry, Reader, batch_spans, read_ahead
from nbviz.scanning.shard import Report, Rules, Ticket, one_at_a_time, pass_over
from nbviz.scanning.source import ImageSource
from nbviz.scanning.spreading import Job, spread, workers_of
from nbviz.scanning.store import Store
from nbviz.scanning.work_list import MOST_IMAGES, Stream, shards, share

__all__ = ["Run", "Scanned", "entries_of"]

# Files of a store are merged whenever so many shards were added.
_SHARDS_ADDED = 32
_ENDLESS = 2**62
# A shard ends after so many seconds of work, unless it is said how many images it has.
_SECONDS = 60.0


@dataclass(frozen=True, eq=False)
class Scanned:
    """What is scanned, and how the work is cut: by time or workers, where not by images."""

    network: Network
    source: ImageSource
    rules: Rules
    shard_images: int | None
    loader_workers: int


def entries_of(reader: Reader, source: ImageSource) -> Iterator[Entry]:
    """All items of a source, one by one, here."""
    return source.items() if source.length is None else map(reader.read, range(source.length))


class Run:
    """Does what is missing.

    Parameters
    ----------
    scanned : Scanned
    store : Store
        Led by this process.
    reader : Reader
    entries : iterator of Entry
        All items, for a data set without length.
    bar : Progress
    """

    def __init__(
        self,
        scanned: Scanned,
        store: Store,
        reader: Reader,
        entries: Iterator[Entry],
        bar: Progress,
    ) -> None:
        self._scanned, self._store, self._reader, self._bar = scanned, store, reader, bar
        self._size = scanned.rules.batch_size
        done, length = store.done(), store.manifest.length
        # Of a data set without length there is always more to come, until it ends.
        self._missing = gaps(done, _ENDLESS if length is None else length)
        self._stream: Stream | None = None
        if scanned.source.length is None:
            self._stream = Stream(entries, self._size, done[-1].end if done else 0)
        self._added = 0

    def here(self) -> None:
        """In this process."""
        if self._stream is None:
            spans = batch_spans(self._missing, self._size)
            ahead = self._reader.ahead(spans, self._scanned.loader_workers)
        else:
            ahead = read_ahead(self._streamed(self._stream), pinned=self._reader.pinned)
        with one_at_a_time, ahead as batches:
            for first, end in self._shards(self._scanned.shard_images or MOST_IMAGES):
                reached = first
                while reached < end:
                    count = self._shard(Span(reached, end), batches)
                    if not count:  # no more images, of a data set without length
                        self._store.mark_end(reached)
                        return
                    reached += count

    def _shard(self, span: Span, batches: Iterator[Batch]) -> int:
        """Do a range or, where it is cut by time or the data set ends, its start: how many."""
        scanned = self._scanned
        deadline = monotonic() + _SECONDS if scanned.shard_images is None else math.inf
        with Interrupt() as interrupt:
            rows, units = pass_over(
                scanned.network,
                scanned.rules.settings,
                span,
                _until(deadline, interrupt.before(batches)),
                self._bar.add,
            )
            count = len(rows.index)
            if count:
                self._store.write_shard(span.first, span.first + count, rows, units)
        if count:
            self._note_shard()
        return count

    def spread_over(self, executor: Executor) -> None:
        """By the workers of an executor, of which this process is none."""
        scanned, stream = self._scanned, self._stream
        work = Work(scanned.network, scanned.source if stream is None else None)
        payload = save_payload(self._store.path, work)
        ticket = Ticket(str(self._store.path), payload, scanned.rules, scanned.loader_workers)
        ends: list[int] = []
        images = scanned.shard_images or share(scanned.source.length, workers_of(executor))

        def jobs() -> Iterator[Job]:
            for span in self._shards(images):
                entries = None if stream is None else stream.take(span)
                end = span.end if entries is None else span.first + len(entries)
                if end > span.first:
                    yield Job(Span(span.first, end), entries)
                if end < span.end:
                    ends.append(end)
                    return

        def finished(report: Report) -> None:
            self._bar.add(report.images, report.skipped)
            self._note_shard()

        try:
            spread(executor, ticket, jobs(), finished)
        finally:
            forget_payload(payload)
        for end in ends:
            self._store.mark_end(end)

    def _shards(self, images: int) -> Iterator[Span]:
        return shards(self._missing, images, self._size)

    def _streamed(self, stream: Stream) -> Iterator[Batch]:
        for span in batch_spans(self._missing, self._size):
            entries = stream.take(span)
            end = span.first + len(entries)
            if entries:
                yield self._reader.batch(Span(span.first, end), entries)
            if end < span.end:
                return

    def _note_shard(self) -> None:
        self._added += 1
        if self._added % _SHARDS_ADDED == 0:
            self._store.compact()


def _until(deadline: float, batches: Iterator[Batch]) -> Iterator[Batch]:
    """The next batches, none once time is up when one has been dealt with."""
    for batch in batches:
        yield batch
        if monotonic() >= deadline:
            return
