"""A scan over a real Dask cluster, one of whose workers is killed on the way."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pytest
from fixtures.whole_scans import Pictures, Stream, assert_same, made, shard_files

import nbviz

distributed = pytest.importorskip("distributed")

COUNT, BROKEN = 160, (3, 70, 71)


class Slow(Pictures):
    """Long enough for a worker to be killed within a shard."""

    def __getitem__(self, number: int):
        time.sleep(0.01)
        return super().__getitem__(number)


def scan(dataset, **options):
    return nbviz.scan(
        made(), dataset, batch_size=4, shard_images=8, top_k=5, progress=False, **options
    )


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with (
        distributed.LocalCluster(
            n_workers=3,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            local_directory=str(tmp_path_factory.mktemp("dask")),
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


class Killing(threading.Thread):
    """Kills a worker once so many shards are there."""

    def __init__(self, worker: int, store, shards: int) -> None:
        super().__init__(daemon=True)
        self.worker, self.store, self.shards = worker, store, shards
        self.seen = 0

    def run(self) -> None:
        while self.seen < self.shards:
            time.sleep(0.01)
            self.seen = len(shard_files(self.store))
        os.kill(self.worker, signal.SIGKILL)


def test_a_killed_worker_loses_nothing(client, tmp_path):
    before = client.run(os.getpid)
    killing = Killing(next(iter(before.values())), tmp_path, 5)
    killing.start()
    dataset = Slow(COUNT, BROKEN)
    found = scan(dataset, store=tmp_path, executor=client.get_executor())
    killing.join(10)
    assert 5 <= killing.seen < COUNT // 8
    client.wait_for_workers(3)
    assert killing.worker not in client.run(os.getpid).values()
    assert_same(found, scan(dataset))
    assert found["0"].images == COUNT - len(BROKEN)
    assert [number for number, _ in found.skipped] == [*BROKEN]
    np.testing.assert_array_equal(found.images.index, range(COUNT))
    assert not list(tmp_path.glob(".payload*"))


def test_an_iterable_over_a_cluster(client, tmp_path):
    found = scan(Stream(60, (9,)), store=tmp_path, executor=client.get_executor())
    assert_same(found, scan(Stream(60, (9,))))
