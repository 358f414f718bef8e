"""Files that each hold the results of a range of images, written whole or not at all.

A file ``<first>-<end>`` answers for the images from ``first`` up to before ``end``. Any
number of processes may write at once, as each writes its own file: aside under another name, down
to the disk, then renamed. Neighbours are merged into larger files so that their number stays
small; a merged file is put in place before its parts go, and until they have gone the larger file
counts. So whatever moment a process is killed at, no image is lost or counted twice.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from bisect import bisect
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

__all__ = [
    "RangeFolder",
    "Span",
    "covering",
    "disjoint",
    "gaps",
    "joined",
    "most_neighbours",
    "neighbours_to_merge",
    "remove_leftovers",
    "write_whole",
]

_LEFTOVER = ".tmp-"
_NAME = re.compile(r"(\d{12,})-(\d{12,})(\.\w+)")


class Span(NamedTuple):
    """A range of images, from `first` up to before `end`."""

    first: int
    end: int

    @property
    def size(self) -> int:
        """Number of images."""
        return self.end - self.first


def write_whole(path: Path, content: bytes | Callable[[BinaryIO], None]) -> None:
    """Write a file so that under its name there is the whole of it, or what was there before.

    Parameters
    ----------
    path : Path
        Its directory must exist.
    content : bytes or callable
        Or what writes it to the open file that it is given.
    """
    aside = path.parent / f"{_LEFTOVER}{uuid.uuid4().hex}"
    try:
        with aside.open("xb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _sync_directory(folder: Path) -> None:
    # Without it a power cut can undo the renaming. Windows and some network drives know no such
    # thing, and then there is nothing to be done.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_leftovers(folder: Path) -> None:
    """Remove what processes left aside that were killed while they wrote."""
    for path in folder.glob(f"{_LEFTOVER}*"):
        path.unlink(missing_ok=True)


def disjoint(spans: Iterable[Span]) -> list[Span]:
    """Those that count so that no image is counted twice, in order: of two, the larger one."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda s: (-s.size, s.first)):
        place = bisect(kept, span)
        after_last = place == 0 or kept[place - 1].end <= span.first
        before_next = place == len(kept) or span.end <= kept[place].first
        if after_last and before_next:
            kept.insert(place, span)
    return kept


def covering(spans: Iterable[Span]) -> list[Span]:
    """Those that are needed to have every image at least once, in order."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.first, -s.end)):
        if not kept or span.end > kept[-1].end:
            kept.append(span)
    return kept


def gaps(spans: Sequence[Span], length: int) -> list[Span]:
    """What is missing of the images 0 to `length`; the spans are in order.

    Examples
    --------
    >>> gaps([Span(0, 4), Span(6, 8)], 10)
    [Span(first=4, end=6), Span(first=8, end=10)]
    """
    missing, reached = [], 0
    for span in spans:
        if min(span.first, length) > reached:
            missing.append(Span(reached, min(span.first, length)))
        reached = max(reached, span.end)
    return [*missing, Span(reached, length)] if reached < length else missing


def joined(spans: Iterable[Span]) -> list[Span]:
    """The same images in as few ranges as can be; the spans are in order and apart.

    Examples
    --------
    >>> joined([Span(0, 4), Span(4, 6), Span(8, 10)])
    [Span(first=0, end=6), Span(first=8, end=10)]
    """
    whole: list[Span] = []
    for span in spans:
        if whole and whole[-1].end == span.first:
            span = Span(whole.pop().first, span.end)  # noqa: PLW2901 - it grew
        whole.append(span)
    return whole


def most_neighbours(fan_in: int) -> int:
    """Files without a gap that are not left: as many are merged, whatever their sizes."""
    return max(64, 4 * fan_in)


def neighbours_to_merge(
    spans: Sequence[Span], fan_in: int, *, all_there: bool = False, most: int | None = None
) -> list[Span]:
    """The neighbours that should become one file next, none if all is well.

    As in a log-structured merge tree (O'Neil et al. 1996) files have a level, here the logarithm
    to the base `fan_in` of their size over the smallest, and neighbours up to a level are merged
    once together they reach the next one, or are `most_neighbours`. So what is known of an image
    is written again about log(images) times, and there are fewer than `most_neighbours` without a
    gap.

    Parameters
    ----------
    spans : sequence of Span
        In order, not overlapping.
    fan_in : int
        At least 2.
    all_there : bool
        Whether no more will come: then all become one, `fan_in` at a time.
    most : int, optional
        Images that a merged file may hold.
    """
    sizes = [span.size for span in spans]
    # The last range of a data set is often cut short.
    next_level = fan_in * min(sizes[:-1] or sizes, default=1)
    while next_level <= fan_in * max(sizes, default=0) and (most is None or 2 * next_level <= most):
        group = _reaching(spans, next_level, most_neighbours(fan_in))
        if group:
            return group
        next_level *= fan_in
    if not all_there:
        return []
    groups = [[*spans[start:stop]] for start, stop in _windows(spans, fan_in)]
    totals = [sum(span.size for span in group) for group in groups]
    fitting = [n for n, total in enumerate(totals) if most is None or total <= most]
    return groups[min(fitting, key=totals.__getitem__)] if fitting else []


def _reaching(spans: Sequence[Span], size: int, many: int) -> list[Span]:
    """The first neighbours below a size that reach it together, or are so many."""
    group: list[Span] = []
    total = 0
    for span in spans:
        if span.size >= size or (group and group[-1].end != span.first):
            group, total = [], 0
        if span.size < size:
            group.append(span)
            total += span.size
            if total >= size or len(group) == many:
                return group
    return []


def _windows(spans: Sequence[Span], most: int) -> Iterable[tuple[int, int]]:
    """Starts and stops of `most` neighbours in a row, or of all if there are fewer."""
    start = 0
    for stop in range(1, len(spans) + 1):
        at_end = stop == len(spans) or spans[stop].first != spans[stop - 1].end
        if stop - start == most or (at_end and stop - start > 1):
            yield start, stop
        start = stop if at_end else max(start, stop + 1 - most)


class RangeFolder:
    """A folder of such files.

    Parameters
    ----------
    folder : Path
    choose : callable
        `disjoint` or `covering`: which files count.
    suffix : str
        Of the files.
    """

    def __init__(
        self,
        folder: Path,
        choose: Callable[[Iterable[Span]], list[Span]],
        suffix: str = ".parquet",
    ) -> None:
        self.folder, self._choose, self._suffix = folder, choose, suffix

    def spans(self) -> list[Span]:
        """Ranges of the files that count, in order; none where there is no such folder."""
        return self._choose(self._all()) if self.folder.is_dir() else []

    def path(self, span: Span) -> Path:
        """The file of a range."""
        return self.folder / f"{span.first:012d}-{span.end:012d}{self._suffix}"

    def remove_uncounted(self) -> None:
        """Remove files that do not count."""
        spans = self._all()
        self.remove(set(spans) - set(self._choose(spans)))

    def remove(self, spans: Iterable[Span]) -> None:
        """Remove files that do not count.

        Windows removes none that somebody has open or mapped: such a file stays until another time.
        """
        for span in spans:
            with contextlib.suppress(PermissionError):
                self.path(span).unlink(missing_ok=True)

    def _all(self) -> list[Span]:
        found = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                match = _NAME.fullmatch(entry.name)
                if match and match[3] == self._suffix:
                    found.append(Span(int(match[1]), int(match[2])))
        return [span for span in found if span.size > 0]
