"""A scan that is killed at any moment goes on, and ends as if nothing had happened."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from fixtures.killed_scan import scan
from fixtures.whole_scans import assert_same, shard_files

import nbviz

TESTS = Path(__file__).parents[1]
KILLS = 20


class Runs:
    """Scans in a process that can be killed, into one store after the other."""

    def __init__(self) -> None:
        paths = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "fixtures.killed_scan"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )

    def run(
        self, store: Path, *, after: int = -1, seconds: float = 0, loader_workers: int = 0
    ) -> bool:
        """Scan; whether it was killed before its end.

        It is killed so many seconds after it has changed the files of units so many times, and
        not at all after -1 times.
        """
        assert self._parent.stdin
        assert self._parent.stdout
        before = shard_files(store)
        print(store, loader_workers, file=self._parent.stdin, flush=True)
        child = int(self._parent.stdout.readline())
        if after >= 0:
            while after and not select.select([self._parent.stdout], [], [], 0.001)[0]:
                now = shard_files(store)
                before, after = now, after - (now != before)
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)
        assert self._parent.stdout.readline() == "ended\n"
        print(file=self._parent.stdin, flush=True)
        status = int(self._parent.stdout.readline())
        assert status in (0, signal.SIGKILL)
        return status != 0

    def close(self) -> None:
        self._parent.kill()
        self._parent.wait()


def test_a_scan_killed_at_random_moments_ends_like_an_undisturbed_one(tmp_path):
    dice, runs = random.Random(0), Runs()
    expected = scan(None)
    kills, images = 0, set()
    try:
        for number in range(KILLS):
            store = tmp_path / f"{number}"
            while kills < KILLS and runs.run(
                store,
                after=dice.choice([0, 1, 2, 3]),
                seconds=dice.uniform(0, 0.3),
                loader_workers=2 if kills % 5 == 4 else 0,
            ):
                kills += 1
                if (store / "scan.json").exists():
                    images.add(len(nbviz.Scan.open(store).images.index))
            if kills == KILLS:
                assert not runs.run(store)
            assert_same(nbviz.Scan.open(store), expected)
            if kills == KILLS:
                break
    finally:
        runs.close()
    assert kills == KILLS
    assert len(images) > KILLS // 3  # it was killed on the way
