"""Whenever a process is killed, nothing of a store is lost, half there or counted twice."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nbviz.scanning.store import Store
from tests.fixtures import small_scans as small
from tests.fixtures.small_scans import answers, assert_whole, files, filled


class Killed(BaseException):
    """The process ends here: nothing that follows is done, not even what cleans up."""


class Fuse:
    """Kills at the n-th step that changes what is on the disk; from then on each step fails."""

    def __init__(self, monkeypatch, steps: int) -> None:
        self.left = steps
        for owner, name in (
            (os, "fsync"), (Path, "replace"), (Path, "unlink"), (Path, "mkdir"),
            (Path, "open"), (pq.ParquetWriter, "write_table"),
            (pa.ipc.RecordBatchFileWriter, "write_batch"),
        ):  # fmt: skip
            monkeypatch.setattr(owner, name, self._fused(getattr(owner, name)))

    def _fused(self, step):
        def fused(*arguments, **options):
            self.left -= 1
            if self.left < 0:
                raise Killed
            return step(*arguments, **options)

        return fused


def kill_at_every_step(monkeypatch, folder: Path, work, check) -> int:
    """How many steps `work` takes; after a kill at each of them `check` must hold."""
    for steps in range(1000):
        place = folder / str(steps)
        with monkeypatch.context() as patch:
            prepared = work(place)
            Fuse(patch, steps)
            try:
                prepared()
            except Killed:
                killed = True
            else:
                killed = False
        check(place, killed)
        if not killed:
            return steps
    raise AssertionError("it never came to an end")


def test_a_kill_while_a_shard_is_written_leaves_it_undone_or_whole(tmp_path, monkeypatch):
    def work(place):
        store = filled(place, 4)
        store.manifest.dataset["length"] = 8
        store.manifest.write(place)
        rows, units = answers(4, 8, 8)
        return lambda: store.write_shard(4, 8, rows, units)

    outcomes = set()

    def check(place, killed):
        store = Store.open(place)
        done = sum(span.size for span in store.done())
        outcomes.add((killed, done))
        assert_whole(store, done)
        store = Store.create(place, store.manifest)
        assert not [name for name in files(place) if ".tmp-" in name]
        store.write_shard(4, 8, *answers(4, 8, 8))
        store.compact()
        assert_whole(store, 8)
        assert len(files(place)) == 4

    assert kill_at_every_step(monkeypatch, tmp_path, work, check) > 8
    assert {(True, 4), (True, 8), (False, 8)} <= outcomes


def test_a_kill_while_files_are_merged_loses_and_doubles_nothing(tmp_path, monkeypatch):
    def work(place):
        store = filled(place, 6, 2)
        return store.compact

    leftovers = set()

    def check(place, killed):
        store = Store.open(place)
        leftovers.add(len(files(place / "units")))
        assert len(files(place / "features")) in {1, 2, 3, 4}
        assert store.done()[0].first == 0
        assert_whole(store, 6)
        store = Store.create(place, store.manifest)
        assert_whole(store, 6)
        store.compact()
        assert_whole(store, 6)
        assert len(files(place)) == 4

    assert kill_at_every_step(monkeypatch, tmp_path, work, check) > 12
    # before; the merged one in place beside 3, 2, 1 and none of its parts
    assert leftovers >= {3, 4, 2, 1}


def test_a_kill_while_a_store_is_begun_leaves_nothing_in_the_way(tmp_path, monkeypatch):
    wanted = small.manifest(8)

    def check(place, killed):
        store = Store.create(place, wanted)
        store.write_shard(0, 8, *answers(0, 8, 8))
        assert_whole(Store.open(place), 8)
        assert len(files(place)) == 4

    steps = kill_at_every_step(
        monkeypatch, tmp_path, lambda place: lambda: Store.create(place, wanted), check
    )
    assert steps >= 5
