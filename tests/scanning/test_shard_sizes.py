"""Where shards are cut when nobody says: by time in one process, by shares over workers."""

from __future__ import annotations

import inspect
import time
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from types import SimpleNamespace

import pytest
from fixtures.whole_scans import Pictures, Stream, assert_same, made

import nbviz
from nbviz.scanning import run
from nbviz.scanning.spreading import workers_of
from nbviz.scanning.store import Store
from nbviz.scanning.work_list import share

COUNT, BROKEN = 61, (3, 8, 40, 41)


def scan(dataset=None, **options):
    dataset = Pictures(COUNT, BROKEN) if dataset is None else dataset
    settings = {"batch_size": 4, "layers": ["0", "4"], "progress": False}
    return nbviz.scan(made(), dataset, **{**settings, **options})


class Clock:
    """Goes on by so many seconds with each batch that is done."""

    def __init__(self, monkeypatch, seconds: float) -> None:
        self.now, self.batches, self.shards = 1000.0, 0, list[tuple[int, int]]()
        plain_pass, write = run.pass_over, Store.write_shard

        def timed(network, settings, span, batches, told):
            def tick(images, skipped):
                told(images, skipped)
                self.now += seconds
                self.batches += 1
                self.after_batch()

            return plain_pass(network, settings, span, batches, tick)

        def noted(store, first, end, *content):
            write(store, first, end, *content)
            self.shards.append((first, end))
            self.now += 1000  # writing is not counted

        monkeypatch.setattr(run, "monotonic", lambda: self.now)
        monkeypatch.setattr(run, "pass_over", timed)
        monkeypatch.setattr(Store, "write_shard", noted)

    def after_batch(self) -> None: ...


def assert_in_a_row(shards, end: int) -> None:
    assert shards[0][0] == 0
    assert shards[-1][1] == end
    assert all(a == b for (_, a), (b, _) in pairwise(shards))


@pytest.fixture(scope="module")
def expected():
    return {kind: scan(kind(COUNT, BROKEN), shard_images=1000) for kind in (Pictures, Stream)}


@pytest.mark.parametrize("kind", [Pictures, Stream])
@pytest.mark.parametrize(
    ("seconds", "images"), [(0.5, 64), (4, 60), (15, 16), (20, 12), (29, 12), (60, 4), (61, 4)]
)
def test_a_shard_ends_after_a_minute(kind, seconds, images, expected, monkeypatch):
    clock = Clock(monkeypatch, seconds)
    found = scan(kind(COUNT, BROKEN))
    assert_in_a_row(clock.shards, COUNT)
    assert {end - first for first, end in clock.shards[:-1]} <= {images}
    assert len(clock.shards) == -(-COUNT // images)
    assert_same(found, expected[kind])


@pytest.mark.parametrize("loader_workers", [0, 2])
def test_a_shard_cut_by_time_is_cut_by_images_too(loader_workers, expected, monkeypatch):
    monkeypatch.setattr(run, "MOST_IMAGES", 18)  # 20 in whole batches
    clock = Clock(monkeypatch, 22)
    found = scan(loader_workers=loader_workers)
    assert clock.shards == [(0, 12), (12, 20), (20, 32), (32, 40), (40, 52), (52, 60), (60, 61)]
    assert_same(found, expected[Pictures])


@pytest.mark.parametrize("shard_images", [8, 10, 100])
def test_a_given_size_is_kept_whatever_the_time(shard_images, expected, monkeypatch):
    clock = Clock(monkeypatch, 1000)
    found = scan(shard_images=shard_images)
    size = -(-shard_images // 4) * 4
    assert clock.shards == [(n, min(COUNT, n + size)) for n in range(0, COUNT, size)]
    assert_same(found, expected[Pictures])


@pytest.mark.parametrize("kind", [Pictures, Stream])
@pytest.mark.parametrize("last", [1, 3, 4, 11, 15])
def test_an_interrupt_loses_no_shard_that_was_written(kind, last, expected, monkeypatch, tmp_path):
    def interrupt():
        if clock.batches == last:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        clock = Clock(patch, 20)
        clock.after_batch = interrupt
        with pytest.raises(KeyboardInterrupt, match="run the same call again, and it goes on"):
            scan(kind(COUNT, BROKEN), store=tmp_path)
    assert clock.shards == [(n, n + 12) for n in range(0, 4 * last - 4, 12)][: (last - 1) // 3]
    assert [tuple(span) for span in Store.open(tmp_path).done()] == clock.shards
    done = nbviz.Scan.open(tmp_path).images
    assert done.index.tolist() == [*range(12 * len(clock.shards))]
    clock = Clock(monkeypatch, 30)
    found = scan(kind(COUNT, BROKEN), store=tmp_path)
    assert clock.shards[0][0] == len(done.index)
    assert_same(found, expected[kind])


class Spans:
    """An executor that notes what it is given."""

    def __init__(self, pool, **workers) -> None:
        self.pool, self.spans = pool, []
        vars(self).update(workers)

    def submit(self, call, ticket, first, end, entries=None) -> Future:
        self.spans.append((first, end))
        return self.pool.submit(call, ticket, first, end, entries)


@pytest.mark.parametrize(
    ("workers", "images"), [({"_max_workers": 1}, 280), ({"_max_workers": 2}, 256), ({}, 256)]
)
def test_workers_get_shares(workers, images, monkeypatch):
    monkeypatch.setattr("nbviz.scanning.driver.Executor", Spans)
    with ThreadPoolExecutor(1) as pool:
        executor = Spans(pool, **workers)
        dataset = Pictures(2200)
        found = scan(dataset, batch_size=20, executor=executor)
        size = -(-images // 20) * 20
        assert sorted(executor.spans) == [(n, min(2200, n + size)) for n in range(0, 2200, size)]
        assert found.finished
        executor.spans.clear()
        scan(Stream(1100), batch_size=100, executor=executor)
        assert executor.spans == [(0, 1100)]


@pytest.mark.parametrize(
    ("length", "workers", "images"),
    [
        (10, 4, 256), (8 * 4 * 256, 4, 256), (8 * 4 * 257, 4, 257), (8 * 4 * 257 + 1, 4, 258),
        (50_000, 8, 782), (1_281_167, 16, 8192), (1_281_167, 64, 2503), (None, 64, 1024),
    ],
)  # fmt: skip
def test_a_share_lies_between_bounds(length, workers, images):
    assert share(length, workers) == images


def test_workers_are_counted_as_far_as_executors_tell():
    with ThreadPoolExecutor(5) as pool:
        assert workers_of(pool) == 5
    client = SimpleNamespace(nthreads=lambda: {"a": 2, "b": 4})
    assert workers_of(SimpleNamespace(_client=client)) == 6
    assert workers_of(SimpleNamespace(num_workers=3)) == 3
    assert workers_of(SimpleNamespace(_max_workers=None)) == 8


def test_the_clock_is_one_that_nobody_sets():
    assert run.monotonic is time.monotonic
    assert inspect.signature(nbviz.scan).parameters["shard_images"].default is None
