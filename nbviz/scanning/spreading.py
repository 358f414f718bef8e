"""Shards spread over the workers of an executor."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    wait,
)
from dataclasses import dataclass, replace
from typing import Any

from nbviz.scanning.range_files import Span
from nbviz.scanning.reading import Entry
from nbviz.scanning.shard import Report, Ticket, scan_shard

__all__ = ["ExecutorLostError", "Job", "spread", "workers_of"]

_RETRIES = 3
# Where an executor does not tell.
_WORKERS = 8


class ExecutorLostError(RuntimeError):
    """The workers are gone; the same call with a new executor goes on."""


@dataclass(frozen=True)
class Job:
    """One shard to be done."""

    span: Span
    entries: list[Entry] | None = None
    failures: int = 0


def spread(
    executor: Executor, ticket: Ticket, jobs: Iterable[Job], finished: Callable[[Report], None]
) -> None:
    """Have shards done, two a worker under way at most.

    A shard that fails is tried three times more, as its worker may have been lost.

    Parameters
    ----------
    executor : Executor
        It stays open.
    ticket : Ticket
    jobs : iterable of Job
        Drawn one by one as workers become free.
    finished : callable
        Told of each shard in the order in which they end.

    Raises
    ------
    ExecutorLostError
        If the executor has broken down, was shut down or has cancelled a shard.
    RuntimeError
        If a shard failed four times.
    """
    waiting: dict[Future[Report], Job] = {}
    again: list[Job] = []
    coming = iter(jobs)
    try:
        while True:
            free = 2 * workers_of(executor) - len(waiting)
            while free > 0 and (job := again.pop() if again else next(coming, None)) is not None:
                waiting[_submitted(executor, ticket, job)] = job
                free -= 1
            if not waiting:
                return
            # without a limit, Windows would not let an interrupt through
            ended, _ = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
            for future in ended:
                job = waiting.pop(future)
                report = _report(future, job)
                if report is None:
                    again.append(replace(job, failures=job.failures + 1))
                else:
                    finished(report)
    finally:
        for future in waiting:
            future.cancel()


def _submitted(executor: Executor, ticket: Ticket, job: Job) -> Future[Report]:
    # Dask takes a call with the same arguments as the same, whose failure it already knows.
    ticket = replace(ticket, attempt=job.failures)
    try:
        return executor.submit(scan_shard, ticket, job.span.first, job.span.end, job.entries)
    except RuntimeError as error:  # BrokenExecutor is one
        raise _lost(error) from error


def _report(future: Future[Report], job: Job) -> Report | None:
    """What came of a shard, None if it is to be tried again."""
    try:
        return future.result()
    except (BrokenExecutor, CancelledError) as error:
        raise _lost(error) from error
    except Exception as error:
        if job.failures < _RETRIES:
            return None
        raise RuntimeError(
            f"expected images {job.span.first} to {job.span.end - 1} to be scanned, but that "
            f"failed {_RETRIES + 1} times, at last with {type(error).__name__}: {error}; what is "
            f"done is kept, and the same call goes on"
        ) from error


def _lost(error: Exception) -> ExecutorLostError:
    return ExecutorLostError(
        f"expected the executor to work to the end, but it gave up ({type(error).__name__}: "
        f"{error}), as when a worker ran out of memory; what is done is kept: make a new executor "
        f"and run the same call again, and it goes on"
    )


def workers_of(executor: Any) -> int:
    """How many workers there are now, as far as executors of different makers tell."""
    client: Any = getattr(executor, "_client", None)  # dask's may get and lose workers on the way
    if hasattr(client, "nthreads"):
        return max(1, sum(map(int, client.nthreads().values())))
    for name in ("_max_workers", "num_workers"):
        count = getattr(executor, name, None)
        if isinstance(count, int) and count > 0:
            return count
    return _WORKERS
