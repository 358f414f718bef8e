"""Features of images come from mapped files: whole, row by row, and while files come and go."""

from __future__ import annotations

import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from nbviz.scanning import part_files
from nbviz.scanning.manifest import ScanStoreError
from nbviz.scanning.part_files import FeatureFile, write_features
from nbviz.scanning.range_files import write_whole
from nbviz.scanning.store import Store
from tests.fixtures import small_scans as small
from tests.fixtures.small_scans import answers, assert_same_rows, assert_whole, files, filled

NOTE = {"first": 0, "end": 10}
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def matrix(rows: int, width: int = 5) -> np.ndarray:
    values = np.random.default_rng(rows).normal(size=(rows, width)).astype(np.float32)
    values[::3, 0] = np.nan
    return values


def written(path: Path, blocks, note=NOTE) -> Path:
    write_whole(path, lambda file: write_features(file, blocks, note))
    return path


def maps() -> str:
    return Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("batch", [1, 60, 100, 10**6], ids=str)
@pytest.mark.parametrize("cuts", [[], [1], [3, 4, 9]], ids=str)
def test_the_file_depends_on_the_rows_alone_and_any_program_reads_it(
    cuts, batch, tmp_path, monkeypatch
):
    monkeypatch.setattr(part_files, "_BATCH", batch)
    values = matrix(10)
    path = written(tmp_path / "a.arrow", np.split(values, cuts))
    assert path.read_bytes() == written(tmp_path / "b.arrow", [values]).read_bytes()
    with pa.memory_map(str(path)) as source:
        file = pa.ipc.open_file(source)
        table = file.read_all()
    assert table.schema.names == ["features"]
    assert table.schema.types == [pa.list_(pa.float32(), 5)]
    assert table.schema.metadata[b"nbviz-scan"] == b'{"first": 0, "end": 10}'
    rows = max(1, batch // 20)
    assert file.num_record_batches == -(-10 // rows)
    np.testing.assert_array_equal(np.float32(table["features"].to_pylist()), values)
    found = FeatureFile(path, NOTE, 10)
    for blocks in ([*found.blocks], [*found.checked()], [*found.rows(0, 10)]):
        assert np.concatenate(blocks).tobytes() == values.tobytes()
    for first, end in ((0, 1), (2, 9), (5, 6)):
        np.testing.assert_array_equal(np.concatenate([*found.rows(first, end)]), values[first:end])
    assert not [*found.rows(4, 4)]


def test_a_large_file_is_merged_a_batch_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(part_files, "_BATCH", 50_000)
    values = matrix(4000, 250)
    paths = [written(tmp_path / f"{n}.arrow", [part]) for n, part in enumerate(np.split(values, 8))]
    opened = [FeatureFile(path, NOTE, 500) for path in paths]
    taken = pa.total_allocated_bytes()
    tracemalloc.start()
    blocks = (block for file in opened for block in file.checked())
    merged = written(tmp_path / "all.arrow", blocks)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * 50_000 < values.nbytes / 7
    assert pa.total_allocated_bytes() - taken < 10 * 50_000
    assert np.concatenate(FeatureFile(merged, NOTE, 4000).blocks).tobytes() == values.tobytes()


def test_a_merged_store_gives_the_same_bits_in_one_file(tmp_path):
    store = filled(tmp_path, 20, 3)
    expected = answers(0, 20, 20)[0].features
    before = store.read_images().features
    assert np.asarray(before).tobytes() == expected.tobytes()
    store.compact()
    assert files(tmp_path / "features") == [f"{0:012d}-{20:012d}.arrow"]
    after = store.read_images().features
    for features in (before, after):  # what was mapped before stays what it was
        assert features[[19, 6, 0]].tobytes() == expected[[19, 6, 0]].tobytes()
        assert np.isnan(features[6]).all()


def test_without_features_there_are_no_files_of_them(tmp_path):
    store = Store.create(tmp_path, small.manifest(4, features=None))
    rows, units = answers(0, 4, 4)
    with pytest.raises(ValueError, match=r"expected no features .* of shape \(4, 20\)"):
        store.write_shard(0, 4, rows, units)
    rows.features, features = np.zeros((4, 0), np.float32), rows.features
    try:
        store.write_shard(0, 4, rows, units)
        found = store.read_images()
        with pytest.raises(ValueError, match=r"expected features .* of shape \(4, 0\)"):
            Store.create(tmp_path / "b", small.manifest(4)).write_shard(0, 4, rows, units)
    finally:
        rows.features = features
    assert not (tmp_path / "features").exists()
    assert found.features.shape == (4, 0)
    assert found.features[[1, 2]].shape == (2, 0)
    assert (found.index.tolist(), found.reason) == ([0, 1, 2, 3], [""] * 4)


@pytest.mark.parametrize("harm", ["cut", "empty", "foreign", "renamed", "parquet"])
def test_a_damaged_file_is_named_and_can_be_done_anew(harm, tmp_path):
    store = filled(tmp_path, 8, 4)
    path = tmp_path / "features" / f"{4:012d}-{8:012d}.arrow"
    content = {
        "cut": path.read_bytes()[:-100],
        "empty": b"",
        "foreign": b"something else " * 100,
        "renamed": (path.parent / f"{0:012d}-{4:012d}.arrow").read_bytes(),
        "parquet": (tmp_path / "images" / f"{4:012d}-{8:012d}.parquet").read_bytes(),
    }[harm]
    path.write_bytes(content)
    for act in (store.read_images, store.compact):
        with pytest.raises(ScanStoreError, match=f"{path.name}.* remove it and scan again"):
            act()
    assert not [name for name in files(tmp_path) if ".tmp-" in name]
    path.unlink()
    again = Store.create(tmp_path, small.manifest(8))
    assert again.missing() == [(4, 8)]
    again.write_shard(4, 8, *answers(4, 8, 8))
    again.compact()
    assert_whole(again, 8)


@pytest.mark.parametrize(
    "schema",
    [pa.schema([]), pa.schema([("features", pa.list_(pa.float64(), 5))]), [("a", pa.float32())]],
    ids=["no column", "doubles", "no lists"],
)
def test_a_file_of_another_form_is_no_file_of_features(schema, tmp_path):
    schema = pa.schema(schema).with_metadata({"nbviz-scan": '{"first": 0, "end": 10}'})
    with (tmp_path / "a.arrow").open("wb") as file, pa.ipc.new_file(file, schema):
        pass
    with pytest.raises(ScanStoreError, match=r"a\.arrow to hold this scan's images 0 to 9"):
        FeatureFile(tmp_path / "a.arrow", NOTE, 10)
    with pytest.raises(ScanStoreError, match=r"a\.arrow to hold this scan's images 0 to 9"):
        FeatureFile(written(tmp_path / "a.arrow", [matrix(9)]), NOTE, 10)


def test_no_flipped_bit_is_merged_into_other_numbers(tmp_path):
    values = matrix(10)
    path = written(tmp_path / "a.arrow", [values])
    whole, told = path.read_bytes(), 0
    place = whole.index(values.tobytes()[:40])
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        try:
            blocks = [*FeatureFile(path, NOTE, 10).checked()]
        except ScanStoreError:
            told += 1
        else:
            assert not place <= at < place + values.nbytes
            assert np.concatenate(blocks).tobytes() == values.tobytes()
    assert told > values.nbytes


@needs_proc
def test_files_are_open_and_mapped_as_long_as_the_rows_live(tmp_path):
    store = filled(tmp_path, 12, 3)
    before = opened()
    rows = store.read_images()
    assert opened() <= before + 4
    assert maps().count(".arrow") >= 4
    del rows
    assert opened() == before
    assert str(tmp_path) not in maps()


def opened() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def flags(folder: Path) -> list[bool]:
    """Of each file mapped from a folder, whether it is to be read page by page."""
    text = Path("/proc/self/smaps").read_text()
    return [" rr" in part.split("VmFlags:")[1].split("\n")[0]
            for part in text.split(str(folder))[1:]]  # fmt: skip


@needs_proc
def test_a_few_rows_do_not_have_the_rest_read_ahead(tmp_path):
    features = filled(tmp_path, 12, 6).read_images().features
    assert flags(tmp_path) == [True, True]
    np.asarray(features)
    assert flags(tmp_path) == [False, False]
    features[[1, 7]]
    assert flags(tmp_path) == [True, True]
    features[2:9]
    assert flags(tmp_path) == [False, False]


@pytest.fixture
def windows(monkeypatch):
    """A file that is mapped can be neither removed nor replaced."""

    def unlink(self, missing_ok=False):
        if str(self) in maps():
            raise PermissionError(13, "the file is mapped", str(self))
        return plain_unlink(self, missing_ok=missing_ok)

    def replace(self, target):
        if str(target) in maps():
            raise PermissionError(13, "the file is mapped", str(target))
        return plain_replace(self, target)

    plain_unlink, plain_replace = Path.unlink, Path.replace
    monkeypatch.setattr(Path, "unlink", unlink)
    monkeypatch.setattr(Path, "replace", replace)


@needs_proc
def test_nothing_is_left_mapped_of_what_a_merge_removes(windows, tmp_path):
    store = filled(tmp_path, 12, 2)
    store.compact()
    assert len(files(tmp_path)) == 4
    assert_whole(store, 12)


@needs_proc
def test_files_that_a_reader_has_mapped_go_another_time(windows, tmp_path):
    store = filled(tmp_path, 8, 2)
    reader = Store.open(tmp_path).read_images()
    store.compact()
    assert len(files(tmp_path / "features")) == 5
    assert len(files(tmp_path)) == 3 + 5
    assert_same_rows(reader, answers(0, 8, 8)[0])
    assert_whole(Store.open(tmp_path), 8)
    del reader
    Store.create(tmp_path, small.manifest(8))
    assert len(files(tmp_path)) == 4
    assert_whole(store, 8)
