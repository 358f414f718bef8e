"""What of a data set is still to be scanned, cut into shards of whole batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice

import numpy as np

from nbviz.scanning.range_files import Span
from nbviz.scanning.reading import Entry, Reader, reason_of

__all__ = ["MOST_IMAGES", "Stream", "shards", "share", "started"]

#: Images of a shard, unless it is said how many.
MOST_IMAGES = 8192
_FEWEST_IMAGES = 256
# Of a data set without length, whose images are sent to the workers and wait in memory.
_SENT_IMAGES = 1024
# So that workers end at about the same time.
_SHARDS_A_WORKER = 8

# A data set whose first images all fail is taken as the wrong one, rather than skipped to its end.
_FAILURES = 100


def shards(missing: Iterable[Span], images: int, batch_size: int) -> Iterator[Span]:
    """Cut what is missing into shards of `images`, rounded up to whole batches."""
    size = -(-images // batch_size) * batch_size
    for first, end in missing:
        start = first
        while start < end:
            stop = min(end, (start // size + 1) * size)
            yield Span(start, stop)
            start = stop


def share(length: int | None, workers: int) -> int:
    """Images of a shard, so that of a data set of this length each worker gets several.

    Examples
    --------
    >>> share(50_000, 4), share(10**6, 4), share(1000, 4)
    (1563, 8192, 256)
    """
    if length is None:
        return _SENT_IMAGES
    return min(MOST_IMAGES, max(_FEWEST_IMAGES, -(-length // (_SHARDS_A_WORKER * workers))))


class Stream:
    """The items of a data set without length, of which some are done.

    Parameters
    ----------
    entries : iterator of Entry
        From number 0 on.
    batch_size : int
    known : int
        How many there were the last time, at least.
    """

    def __init__(self, entries: Iterator[Entry], batch_size: int, known: int) -> None:
        self._entries, self._batch_size, self._known = entries, batch_size, known
        self._reached = 0

    def take(self, span: Span) -> list[Entry]:
        """The items of a range, fewer at the end; those before it are drawn and dropped.

        Raises
        ------
        ValueError
            If there are fewer or more items than the last time.
        """
        for _ in islice(self._entries, span.first - self._reached):
            self._reached += 1
        taken = list(islice(self._entries, span.size))
        self._reached += len(taken)
        if self._reached < min(span.end, self._known):
            raise ValueError(
                f"expected at least {self._known} images as in the scan so far, got "
                f"{self._reached}; pass the data set from its start (a generator gives its items "
                f"only once)"
            )
        if taken and span.first % self._batch_size:
            raise ValueError(
                f"expected {span.first} images as in the scan so far, got more; pass the same "
                f"data set, or scan into another store"
            )
        return taken


def started(reader: Reader, entries: Iterator[Entry]) -> Iterator[Entry]:
    """The same entries, the first of them tried out.

    Raises
    ------
    ValueError
        If there is none, if the first 100 (or all) fail, or if the network's transform gives
        another input the second time.
    """
    tried, reasons = list[Entry](), list[str]()
    for entry in islice(entries, _FAILURES):
        tried.append(entry)
        _, item = entry
        try:
            if isinstance(item, Exception):
                raise item  # noqa: TRY301 - read elsewhere, and told here with the others
            first, again = (reader.prepared(item).float().numpy() for _ in range(2))
        except Exception as error:  # noqa: BLE001 - a data set or transform may fail in any way
            reasons.append(reason_of(error))
            continue
        if not np.array_equal(first, again):
            raise ValueError(
                "expected the same input each time an image is prepared, but the network's "
                "transform gave another one the second time; pass the transform for evaluation, "
                "without random cropping, flipping or colours"
            )
        return chain(tried, entries)
    if not reasons:
        raise ValueError("expected a data set with at least one image, got none")
    some = "\n".join(f"- {reason}" for reason in dict.fromkeys(reasons[:5]))
    raise ValueError(
        f"expected images that can be read and prepared, but the first {len(reasons)} all "
        f"failed:\n{some}"
    )
