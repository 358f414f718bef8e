"""Which files count, and which become one."""

from __future__ import annotations

import math
import os
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbviz.scanning.range_files import (
    RangeFolder,
    Span,
    covering,
    disjoint,
    gaps,
    most_neighbours,
    neighbours_to_merge,
    write_whole,
)

SPANS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 25)).map(lambda p: Span(p[0], p[0] + p[1])),
    max_size=20,
    unique=True,
)


def images(spans) -> list[int]:
    return [image for span in spans for image in range(*span)]


@given(SPANS)
def test_ranges_that_count_share_no_image_and_none_larger_is_left_out_for_a_smaller(spans):
    kept = disjoint(spans)
    assert kept == sorted(kept)
    assert len(images(kept)) == len({*images(kept)})
    for span in {*spans} - {*kept}:
        assert any(k.size >= span.size and k.first < span.end and span.first < k.end for k in kept)


@given(SPANS)
def test_ranges_that_cover_have_every_image(spans):
    kept = covering(spans)
    assert kept == sorted(kept)
    assert {*images(kept)} == {*images(spans)}
    assert all(a.end < b.end for a, b in pairwise(kept))


@given(SPANS, st.integers(0, 100))
def test_gaps_are_what_is_missing(spans, length):
    kept = disjoint(spans)
    missing = gaps(kept, length)
    assert images(missing) == sorted({*range(length)} - {*images(kept)})
    assert all(a.end < b.first for a, b in pairwise(missing))


def merged_all(spans: list[Span], fan_in: int, **options) -> int:
    """Merge until all is well; images written again on the way."""
    written = 0
    while group := neighbours_to_merge(spans, fan_in, **options):
        assert 2 <= len(group) <= most_neighbours(fan_in)
        assert all(a.end == b.first for a, b in pairwise(group))
        place = spans.index(group[0])
        whole = Span(group[0].first, group[-1].end)
        spans[place : place + len(group)] = [whole]
        written += whole.size
    return written


@pytest.mark.parametrize("fan_in", [2, 5, 32])
@pytest.mark.parametrize("size", [1, 1000], ids=str)
@pytest.mark.parametrize("ahead", [1, 40], ids=["in order", "nearly in order"])
def test_ten_thousand_shards_stay_few_files_and_are_written_few_times(fan_in, ahead, size):
    count, dice = 10_000, random.Random(0)
    waiting, spans = [*range(count)], list[Span]()
    most = written = 0
    while waiting:
        number = waiting.pop(dice.randrange(min(ahead, len(waiting))))
        spans = sorted([*spans, Span(size * number, size * (number + 1))])
        written += merged_all(spans, fan_in)
        borders = pairwise(spans)
        chains = 1 + sum(a.end != b.first for a, b in borders)
        assert len(spans) < most_neighbours(fan_in) * chains
        most = max(most, len(spans))
    levels = math.log(count) / math.log(fan_in)
    assert most <= fan_in * (levels + 1) + 10 * (ahead - 1)  # nothing is merged over the gaps
    assert written <= 1.5 * size * count * (levels + 1)
    assert merged_all(spans, fan_in, all_there=True) <= 3 * size * count
    assert spans == [Span(0, size * count)]


def test_nothing_is_merged_over_a_gap():
    spans = [Span(2 * n, 2 * n + 1) for n in range(50)]
    assert neighbours_to_merge(spans, 2) == neighbours_to_merge(spans, 2, all_there=True) == []


def test_a_merged_file_holds_no_more_than_it_may():
    spans = [Span(n, n + 1) for n in range(100)]
    merged_all(spans, 4, all_there=True, most=30)
    assert max(span.size for span in spans) <= 30
    assert len(spans) <= 7
    assert spans[0].first == 0
    assert spans[-1].end == 100


def test_under_its_name_a_file_is_whole_from_the_first_moment(tmp_path):
    path, seen = tmp_path / "a.txt", []

    def write(file):
        file.write(b"all")
        seen.append((path.exists(), os.fstat(file.fileno()).st_ino))

    write_whole(path, write)
    # The very file that was written aside, and not a copy.
    assert seen == [(False, path.stat().st_ino)]
    assert path.read_bytes() == b"all"


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    write_whole(path, lambda file: file.write(b"old") and None)

    def broken(file):
        file.write(b"half of the ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(path, broken)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_other_names_in_the_folder_are_no_ranges(tmp_path):
    folder = RangeFolder(tmp_path, disjoint)
    for name in ("1-2.parquet", "copy of 000000000000-000000000004.parquet", ".tmp-1"):
        (tmp_path / name).touch()
    for span in (Span(4, 4), Span(5, 4)):
        folder.path(span).touch()
    assert folder.spans() == []
    far = Span(10**13, 10**13 + 1)
    folder.path(far).touch()
    assert folder.spans() == [far]
