"""What is written comes back, in few files; what is damaged or of something else is told."""

from __future__ import annotations

import json
import multiprocessing
import random
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from nbviz.scanning.manifest import MANIFEST, ScanMismatchError, ScanStoreError
from nbviz.scanning.range_files import RangeFolder, Span
from nbviz.scanning.store import Store
from tests.fixtures import small_scans as small
from tests.fixtures.small_scans import (
    LAYERS,
    answers,
    assert_same_rows,
    assert_same_units,
    assert_whole,
    files,
    filled,
)


def test_a_shard_comes_back_to_the_last_bit(tmp_path):
    store = Store.create(tmp_path / "new" / "scan", small.manifest(20))
    assert (store.done(), store.missing(), store.finished) == ([], [(0, 20)], False)
    assert store.read_units("1").images == 0
    assert len(store.read_images().index) == 0
    store.write_shard(4, 9, *answers(4, 9, 20))
    assert (store.done(), store.missing()) == ([(4, 9)], [(0, 4), (9, 20)])
    rows, units = answers(4, 9, 20)
    again = Store.open(tmp_path / "new" / "scan")
    assert_same_rows(again.read_images(), rows)
    assert rows.reason[2] == "it is damaged"
    for name in LAYERS:
        assert_same_units(again.read_units(name), units[name])
    with pytest.raises(KeyError, match="nothing"):
        again.read_units("nothing")


def test_a_shard_must_be_whole(tmp_path):
    store = Store.create(tmp_path, small.manifest(20))
    rows, units = answers(0, 4, 20)
    with pytest.raises(ValueError, match="a row for each image from 0 to 4, got 4 rows"):
        store.write_shard(0, 5, rows, units)
    with pytest.raises(ValueError, match="expected units of the layers"):
        store.write_shard(0, 4, rows, {"1": units["1"]})
    assert store.done() == []
    assert files(tmp_path) == [MANIFEST]


@pytest.mark.parametrize("seed", range(3))
def test_shards_in_any_order_merge_to_the_same_bits_in_few_files(seed, tmp_path):
    count, dice = 100, random.Random(seed)
    cuts = [0, *sorted(dice.sample(range(1, count), 80)), count]
    spans = [*pairwise(cuts)]
    if seed:
        dice.shuffle(spans)
    store = Store.create(tmp_path, small.manifest(count))
    for number, (first, end) in enumerate(spans):
        store.write_shard(first, end, *answers(first, end, count))
        if number % 10 == 9:
            before = store.done()
            store.compact(fan_in=8)
            assert sum(s.size for s in store.done()) == sum(s.size for s in before)
            if seed == 0:  # in order there are no gaps, which nothing is merged over
                assert len(files(tmp_path / "units")) <= 24
    assert store.finished
    store.compact(fan_in=8)
    whole = f"{0:012d}-{count:012d}.parquet"
    assert files(tmp_path) == [
        f"features/{whole.replace('parquet', 'arrow')}", f"images/{whole}", MANIFEST,
        f"units/{whole}",
    ]  # fmt: skip
    assert_whole(store, count)


def test_two_processes_write_while_another_merges(tmp_path):
    count = 32
    store = Store.create(tmp_path, small.manifest(count))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        # every range is written by both, as when a shard is tried again
        halves = [[*range(0, count, 4)], [*range(0, count, 4)][::-1]]
        running = [pool.submit(write_ranges, str(tmp_path), firsts, count) for firsts in halves]
        while not all(work.done() for work in running):
            store.compact(fan_in=4)
            done = store.read_images()
            assert len({*done.index.tolist()}) == len(done.index)
            time.sleep(0.1)
        for work in running:
            work.result()
    store.compact(fan_in=4)
    assert_whole(store, count)
    assert len(files(tmp_path)) == 4


def write_ranges(folder: str, firsts: list[int], count: int) -> None:
    store = Store.open(folder)
    for first in firsts:
        store.write_shard(first, first + 4, *answers(first, first + 4, count))


def test_of_overlapping_ranges_each_image_counts_once(tmp_path):
    store = Store.create(tmp_path, small.manifest(12))
    for first, end in ((0, 8), (4, 8), (6, 12), (8, 12)):
        store.write_shard(first, end, *answers(first, end, 12))
    assert store.done() == [(0, 8), (8, 12)]
    assert_whole(store, 12)
    store.compact()
    assert_whole(store, 12)
    again = Store.create(tmp_path / "b", small.manifest(12))
    again.write_shard(3, 6, *answers(3, 6, 12))
    again.write_shard(0, 5, *answers(0, 5, 12))
    assert again.done() == [(0, 5)]
    assert_whole(again, 5)
    assert Store.create(tmp_path / "b", small.manifest(12)).missing() == [(5, 12)]


def test_images_whose_units_are_not_there_yet_do_not_count(tmp_path):
    store = filled(tmp_path, 8, 4)
    next((tmp_path / "units").glob("*4-*8.parquet")).unlink()
    assert store.missing() == [(4, 8)]
    assert_whole(store, 4)
    store.compact()
    assert_whole(store, 4)
    store.write_shard(4, 8, *answers(4, 8, 8))
    store.compact()
    assert_whole(store, 8)


def test_a_reader_does_not_stumble_over_a_merge(tmp_path, monkeypatch):
    store = filled(tmp_path, 6, 2)
    before = store.done()
    writer = Store.open(tmp_path)
    writer.compact()
    spans, asked = RangeFolder.spans, []

    def late(folder):
        asked.append(folder)
        return before if len(asked) <= stale[0] else spans(folder)

    monkeypatch.setattr(RangeFolder, "spans", late)
    stale = [1]
    assert_same_units(store.read_units("1"), answers(0, 6, 6)[1]["1"])
    for stale[0] in (1, 2, 3):
        asked.clear()
        assert_same_rows(store.read_images(), answers(0, 6, 6)[0])
    monkeypatch.setattr(RangeFolder, "spans", lambda folder: before)
    with pytest.raises(FileNotFoundError):
        store.read_units("1")


def changed_labels():
    source = small.ImageSource(small.pictures(8), labels=[0] * 8)
    return small.Manifest.of(small.small_network(), source, small.settings(), batch_size=1)


def changed_network(network):
    return small.Manifest.of(network, small.source(8), small.settings(), batch_size=1)


def other_transform():
    network = small.small_network()
    network.transform = lambda picture: picture
    return network


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (lambda: changed_network(small.small_network(1)), ["network: weights was"]),
        (
            lambda: changed_network(other_transform()),
            ["network: transform was none, now <function"],
        ),
        (
            lambda: small.manifest(9),
            ["data set: fingerprint was", "data set: labels", "data set: length was 8, now 9"],
        ),
        (changed_labels, ["data set: labels was"]),
        (lambda: small.manifest(8, top_k=5), ["settings: top_k was 4, now 5"]),
        (
            lambda: small.Manifest.of(
                small.small_network(1), small.source(8), small.settings(), batch_size=2
            ),
            ["network: weights was", "settings: batch_size was 1, now 2"],
        ),
    ],
    ids=["weights", "transform", "pictures", "labels", "settings", "two of them"],
)
def test_a_scan_of_something_else_is_not_mixed_in(wanted, said, tmp_path):
    filled(tmp_path, 8, 4)
    before = files(tmp_path)
    Store.create(tmp_path, small.manifest(8))
    with pytest.raises(ScanMismatchError, match="another store= for a new scan") as caught:
        Store.create(tmp_path, wanted())
    lines = [line for line in str(caught.value).splitlines() if line.startswith("- ")]
    assert len(lines) == len(said)
    for line, part in zip(lines, said, strict=True):
        assert line.startswith(f"- {part}")
    assert files(tmp_path) == before


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ScanStoreError, match=r"holds thesis\.txt; pass a directory of its own"):
        Store.create(tmp_path, small.manifest(4))
    assert files(tmp_path) == ["thesis.txt"]
    with pytest.raises(ScanStoreError, match=r"is a file"):
        Store.create(tmp_path / "thesis.txt", small.manifest(4))
    with pytest.raises(ScanStoreError, match=r"is a file"):
        Store.open(tmp_path / "thesis.txt")
    with pytest.raises(ScanStoreError, match=r"has no scan\.json"):
        Store.open(tmp_path)
    with pytest.raises(ScanStoreError, match=r"does not exist"):
        Store.open(tmp_path / "nowhere")
    (tmp_path / "b" / "images").mkdir(parents=True)
    (tmp_path / "b" / "images" / "holiday.jpg").touch()
    with pytest.raises(ScanStoreError, match="holds images;"):
        Store.create(tmp_path / "b", small.manifest(4))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / ".DS_Store").touch()
    assert Store.create(tmp_path / "c", small.manifest(4)).missing() == [(0, 4)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "to be JSON, but it is damaged"),
        (b"\xff\xfe\x00", "to be JSON, but it is damaged"),
        ("[]", "of something else"),
        ('{"format": "other"}', "of something else"),
        ('{"format": "nbviz-scan"}', "of version None"),
        ('{"format": "nbviz-scan", "version": 2, "nbviz": "9.1"}', r"version 2 \(nbviz '9.1'\)"),
        ('{"format": "nbviz-scan", "version": 1}', "to describe a scan, but it is damaged"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_said_to_be_so(content, said, tmp_path):
    filled(tmp_path, 4)
    (tmp_path / MANIFEST).write_bytes(content if isinstance(content, bytes) else content.encode())
    for act in (lambda: Store.open(tmp_path), lambda: Store.create(tmp_path, small.manifest(4))):
        with pytest.raises(ScanStoreError, match=said):
            act()


def test_a_manifest_of_the_same_version_with_more_in_it_is_read(tmp_path):
    filled(tmp_path, 4)
    content = json.loads((tmp_path / MANIFEST).read_text())
    assert (content["format"], content["version"]) == ("nbviz-scan", 1)
    (tmp_path / MANIFEST).write_text(json.dumps({**content, "remark": "by hand"}))
    assert_whole(Store.open(tmp_path), 4)


def damage(path: Path, start: float, length: int) -> None:
    data = bytearray(path.read_bytes())
    place = int(len(data) * start)
    data[place : place + length] = bytes(b ^ 0xFF for b in data[place : place + length])
    path.write_bytes(data)


@pytest.mark.parametrize("folder", ["units", "images"])
@pytest.mark.parametrize("harm", ["cut", "empty", "flipped", "renamed"])
def test_a_damaged_file_is_named(folder, harm, tmp_path):
    store = filled(tmp_path, 8, 4)
    path = tmp_path / folder / f"{4:012d}-{8:012d}.parquet"
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "flipped":
        damage(path, 0.02, max(40, int(path.stat().st_size * 0.6)))
    else:
        other = tmp_path / folder / f"{0:012d}-{4:012d}.parquet"
        path.write_bytes(other.read_bytes())
    read = store.read_images if folder == "images" else lambda: store.read_units("0")
    for act in (read, store.compact):
        with pytest.raises(ScanStoreError, match=path.name):
            act()
    assert not [name for name in files(tmp_path) if ".tmp-" in name]
    if folder == "units":  # as the message says
        path.unlink()
        assert store.missing() == [(4, 8)]
        store.write_shard(4, 8, *answers(4, 8, 8))
        assert_whole(store, 8)


def test_no_flipped_bit_gives_other_numbers(tmp_path):
    store = filled(tmp_path, 8, 8)
    path = next((tmp_path / "units").iterdir())
    whole, expected = path.read_bytes(), answers(0, 8, 8)[1]["0"]
    raised = 0
    for place in range(4, len(whole) // 3, 211):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        try:
            found = store.read_units("0")
        except ScanStoreError:
            raised += 1
        else:
            assert_same_units(found, expected)
    assert raised > 10


@pytest.mark.parametrize("folder", ["images", "features"])
def test_missing_rows_of_images_are_noticed_and_can_be_done_anew(folder, tmp_path):
    store = filled(tmp_path, 12, 4)
    next((tmp_path / folder).glob("*4-*8.*")).unlink()
    with pytest.raises(ScanStoreError, match=f"expected rows of 12 images in .*{folder}, found 8"):
        store.read_images()
    assert store.missing() == []
    again = Store.create(tmp_path, small.manifest(12))  # as the message says
    assert again.missing() == [(4, 8)]
    assert len(again.read_images().index) == 8
    again.write_shard(4, 8, *answers(4, 8, 12))
    again.compact()
    assert_whole(again, 12)


def test_a_layer_is_read_without_the_others(tmp_path):
    store = filled(tmp_path, 8, 8)
    path = next((tmp_path / "units").iterdir())
    file = pq.ParquetFile(path)
    group = file.metadata.row_group(1)
    first = group.column(0).dictionary_page_offset or group.column(0).data_page_offset
    end = first + sum(group.column(n).total_compressed_size for n in range(group.num_columns))
    data = path.read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    kept = bytearray(len(data))
    for start, stop in ((0, 4), (first, end), (footer, len(data))):
        kept[start:stop] = data[start:stop]
    path.write_bytes(kept)
    assert_same_units(store.read_units("1"), answers(0, 8, 8)[1]["1"])
    with pytest.raises(ScanStoreError, match=path.name):
        store.read_units("0")


def test_other_programs_read_it(tmp_path):
    store = filled(tmp_path, 30, 10)
    store.compact()
    rows, units = answers(0, 30, 30)
    table = pq.read_table(tmp_path / "units", filters=[("layer", "==", "1")]).to_pydict()
    assert table["channel"] == [0, 1, 2, 3, 4]
    assert table["images"] == [units["1"].images] * 5
    np.testing.assert_array_equal(np.float32(table["top_value"]), units["1"].top.value)
    np.testing.assert_array_equal(table["top_image"], units["1"].top.image)
    np.testing.assert_array_equal(table["class_sum"], units["1"].class_sum)
    assert table["classes"] == [[0, 1, 2], *[None] * 4]
    assert sum(table["class_images"][0]) == units["1"].images == 26
    images = pq.read_table(tmp_path / "images")
    assert images.column_names == [
        "index", "label", "predicted", "confidence", "reason",
    ]  # fmt: skip
    assert images["index"].to_pylist() == [*range(30)]
    assert [n for n, r in enumerate(images["reason"].to_pylist()) if r] == [6, 13, 20, 27]
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(tmp_path / "images")
    counted = frame[frame.reason.isna()]
    assert len(counted) == 26
    np.testing.assert_array_equal(frame.predicted, rows.predicted)
    layers = pandas.read_parquet(tmp_path / "units").groupby("layer").size()
    assert dict(layers) == {"0": 5, "1": 5, "4": 4}


def test_the_end_of_a_data_set_without_length_is_noted(tmp_path):
    def begun():
        stream = small.ImageSource(iter([*small.pictures(6)]))
        return small.Manifest.of(small.small_network(), stream, small.settings(), batch_size=1)

    store = Store.create(tmp_path, begun())
    assert (store.manifest.length, store.missing(), store.finished) == (None, [], False)
    store.write_shard(0, 2, *answers(0, 2, 6))
    store.write_shard(4, 6, *answers(4, 6, 6))
    assert (store.missing(), store.finished) == ([(2, 4)], False)
    store.write_shard(2, 4, *answers(2, 4, 6))
    assert not store.finished
    store.mark_end(6)
    assert store.finished
    again = Store.create(tmp_path, begun())
    assert (again.finished, again.manifest.length, again.done()[-1]) == (True, 6, Span(4, 6))
    again.compact()
    assert again.done() == [(0, 6)]


def test_merging_needs_two(tmp_path):
    with pytest.raises(ValueError, match="fan_in of 2 or more, got 1"):
        filled(tmp_path, 4).compact(fan_in=1)
