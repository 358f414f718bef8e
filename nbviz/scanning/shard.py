"""One shard of a scan: some images through the network, and what was kept of them into the store.

`scan_shard` is what an executor runs. It takes and gives next to nothing, as pictures come from
the worker's own copy of the data set, and results go straight into the store.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from nbviz.analysis.data_pass import DataPass, ImageRows
from nbviz.analysis.unit_statistics.settings import PassSettings
from nbviz.analysis.unit_statistics.statistics import UnitStatistics
from nbviz.network import Network
from nbviz.scanning.payload import Payload, load_payload
from nbviz.scanning.range_files import Span
from nbviz.scanning.reading import Batch, Entry, Reader, batch_spans, read_ahead
from nbviz.scanning.store import Store
from nbviz.undisturbed import RandomState, threads_kept

__all__ = [
    "Report",
    "Rules",
    "Ticket",
    "one_at_a_time",
    "pass_over",
    "scan_shard",
    "steady",
]

#: Called after each batch with the images that count, and those that were skipped.
Told = Callable[[int, int], None]


@dataclass(frozen=True)
class Rules:
    """What decides the result, besides network and data set."""

    settings: PassSettings
    batch_size: int
    threads: int


@dataclass(frozen=True)
class Ticket:
    """All that a worker needs to know of a scan."""

    store: str
    payload: Payload
    rules: Rules
    loader_workers: int
    attempt: int = 0


@dataclass(frozen=True)
class Report:
    """What came of a shard."""

    span: Span
    images: int
    skipped: int


# A process scans one shard at a time: the network is one, the data set stands one reader, and the
# number of torch's threads belongs to the process.
one_at_a_time = threading.Lock()


def scan_shard(ticket: Ticket, first: int, end: int, entries: list[Entry] | None = None) -> Report:
    """Scan the images from `first` up to before `end`, and write them into the store.

    Parameters
    ----------
    ticket : Ticket
    first, end : int
        `first` is where a batch starts.
    entries : list of Entry, optional
        The items, for a data set without numbers.
    """
    span, size = Span(first, end), ticket.rules.batch_size
    with one_at_a_time:
        work = load_payload(ticket.payload)
        reader = Reader.of(work.network, work.source)
        with steady(work.network, ticket.rules.threads):
            if entries is None:
                ahead = reader.ahead(batch_spans([span], size), ticket.loader_workers)
            else:
                ahead = read_ahead(_given(reader, entries, span, size), pinned=reader.pinned)
            with ahead as batches:
                rows, units = pass_over(work.network, ticket.rules.settings, span, batches)
    Store.open(Path(ticket.store)).write_shard(first, end, rows, units)
    skipped = sum(map(bool, rows.reason))
    return Report(span, len(rows.index) - skipped, skipped)


def _given(reader: Reader, entries: list[Entry], span: Span, size: int) -> Iterator[Batch]:
    for part in batch_spans([span], size):
        yield reader.batch(part, entries[part.first - span.first : part.end - span.first])


@contextmanager
def steady(network: Network, threads: int) -> Iterator[None]:
    """Fix the number of torch's threads, and put it and all random states back afterwards."""
    random_state = RandomState(network.model)
    with threads_kept():
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            random_state.restore()


def pass_over(
    network: Network,
    settings: PassSettings,
    span: Span,
    batches: Iterator[Batch],
    told: Told | None = None,
) -> tuple[ImageRows, dict[str, UnitStatistics]]:
    """Take the batches of one shard from `batches`, which may go on with the next.

    The model's lock is held for a batch at a time. Random states are not restored in between, as
    the thread that reads ahead may draw from them; `steady` restores them.
    """
    with network.undisturbed(generators=False):
        data_pass = DataPass(network, settings)
    for batch in batches:
        data_pass.skip([number for number, _ in batch.skipped], [why for _, why in batch.skipped])
        if batch.inputs is not None:
            with network.undisturbed(generators=False):
                inputs = batch.inputs.to(network.device, non_blocking=True)
                data_pass.add(inputs, batch.images, batch.labels)
        if told is not None:
            told(len(batch.images), len(batch.skipped))
        if batch.span.end >= span.end:
            break
    with network.undisturbed(generators=False):
        return data_pass.finish()
