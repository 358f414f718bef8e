"""What a scan refuses, with words that say what to do."""

from __future__ import annotations

import ast
import os
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures.networks import Forward
from fixtures.whole_scans import SHAPE, Pictures, Stream, assert_same, made, shard_files
from torch import nn

import nbviz
from nbviz.analysis.layers import UnknownLayerError
from nbviz.scanning.manifest import ScanMismatchError, ScanStoreError
from nbviz.scanning.payload import Work, forget_payload, load_payload, save_payload
from nbviz.scanning.source import ImageSource
from nbviz.scanning.spreading import ExecutorLostError
from nbviz.scanning.store_lock import leading


def scan(network=None, dataset=None, **options):
    network = made() if network is None else network
    dataset = Pictures(40) if dataset is None else dataset
    return nbviz.scan(
        network, dataset, **{"batch_size": 8, "top_k": 5, "progress": False, **options}
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"top_k": 6}, "top_k was 5, now 6"),
        ({"layers": ["0"]}, "layers was"),
        ({"batch_size": 16}, "batch_size was 8, now 16"),
        ({"features": None}, "features was"),
        ({"dataset": Pictures(41)}, "length was 40, now 41"),
        ({"dataset": Pictures(40, (0,))}, "fingerprint was"),
        ({"labels": [1] * 40}, "labels was"),
        ({"network": made("residual")}, "weights was"),
    ],
)
def test_a_store_of_something_else(changes, message, tmp_path):
    scan(store=tmp_path)
    before = shard_files(tmp_path)
    with pytest.raises(ScanMismatchError, match=message):
        scan(store=tmp_path, **changes)
    assert shard_files(tmp_path) == before


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size as a whole number of 1 or more, got 0"),
        ({"shard_images": 2.5}, ValueError, "shard_images as a whole number"),
        ({"loader_workers": -1}, ValueError, "loader_workers as a whole number of 0 or more"),
        ({"threads": True}, ValueError, "threads as a whole number of 1 or more, got True"),
        ({"top_k": 0}, ValueError, "top_k"),
        ({"per_image": "2"}, ValueError, "per_image"),
        ({"layers": 0}, TypeError, "expected layers as a name or names out of .*, got 0"),
        ({"layers": [0]}, TypeError, r"expected layers as a name or names out of .*, got \[0\]"),
        ({"layers": iter(["0", None])}, TypeError, "expected layers as a name or names"),
        ({"layers": []}, ValueError, r"at least one layer .* none; pass layers= out of the 8"),
        ({"dataset": "/does/not/exist"}, FileNotFoundError, "no such file or folder: '/does/not/"),
        ({"dataset": Path("gone.png")}, FileNotFoundError, "no such file or folder: 'gone.png'"),
        ({"layers": "3.conv"}, UnknownLayerError, "got '3.conv'"),
        ({"features": "nothing"}, UnknownLayerError, "nothing"),
        ({"executor": 4}, TypeError, r"client.get_executor\(\)"),
        ({"labels": [0, 1]}, ValueError, "2 labels for 40 pictures"),
        ({"dataset": []}, ValueError, "at least one picture"),
        ({"dataset": iter(())}, ValueError, "at least one image, got none"),
        ({"network": "resnet18"}, TypeError, "from_torchvision"),
    ],
)
def test_wrong_arguments(changes, error, message, tmp_path):
    with pytest.raises(error, match=message):
        scan(store=tmp_path / "new", **changes)
    assert not (tmp_path / "new" / "scan.json").exists()


@pytest.mark.parametrize("stream", [False, True])
def test_a_data_set_whose_first_images_all_fail(stream, tmp_path):
    broken = tuple(range(100))
    dataset = Stream(150, broken) if stream else Pictures(150, broken)
    with pytest.raises(ValueError, match=r"but the first 100 all failed:\n- .*picture"):
        scan(dataset=dataset, store=tmp_path / "new")
    assert not (tmp_path / "new" / "scan.json").exists()
    dataset = Stream(150, broken[:-1]) if stream else Pictures(150, broken[:-1])
    assert scan(dataset=dataset, store=tmp_path / "new").count == 51


def test_inputs_that_the_network_does_not_take():
    with pytest.raises(ValueError, match=r"the first 5 all\s+failed[\s\S]*shape \(3, 24, 20\)"):
        scan(dataset=torch.rand(5, 3, 20, 24))


def test_a_transform_that_changes_at_random():
    network = nbviz.Network(made().model, input_shape=(3, 24, 20), transform=_random)
    with pytest.raises(ValueError, match="transform for evaluation"):
        scan(network)


def _random(picture):
    return torch.rand(3, 24, 20)


def test_a_data_set_that_changes_at_random():
    class Restless(Pictures):
        def __getitem__(self, number):
            return np.random.default_rng().integers(0, 256, (24, 20, 3), np.uint8), 0

    with pytest.raises(ValueError, match="random augmentation"):
        scan(dataset=Restless(20))


def test_a_stream_that_got_shorter(tmp_path):
    scan(dataset=Stream(40), store=tmp_path)
    manifest = tmp_path / "scan.json"
    manifest.write_text(manifest.read_text().replace('"end": 40', '"end": null'))
    with pytest.raises(ValueError, match="at least 40 images as in the scan so far, got 30"):
        scan(dataset=Stream(30), store=tmp_path)
    with pytest.raises(ValueError, match="at least 40 images"):
        scan(dataset=Stream(30), store=tmp_path, executor=ThreadPoolExecutor(1))
    assert scan(dataset=Stream(40), store=tmp_path).finished


def test_a_stream_that_got_longer(tmp_path):
    scan(dataset=Stream(37), store=tmp_path)
    manifest = tmp_path / "scan.json"
    manifest.write_text(manifest.read_text().replace('"end": 37', '"end": null'))
    with pytest.raises(ValueError, match="expected 37 images as in the scan so far, got more"):
        scan(dataset=Stream(40), store=tmp_path)


def below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("thesis", r"thesis holds chapter\.txt; pass a directory of its own"),
        ("thesis/chapter.txt", r"chapter\.txt is a file; pass another one"),
        ("thesis/chapter.txt/scan/1", r"chapter\.txt is a file; pass another one"),
        ("x" * 300, "too long; pass another one"),
    ],
)
def test_a_place_that_is_no_store_is_left_as_it_was(place, message, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("mine")
    with pytest.raises(ScanStoreError, match=message):
        scan(store=tmp_path / place)
    with pytest.raises(ScanStoreError, match=message):
        scan(store=tmp_path / place, threads=1)
    assert below(tmp_path) == ["thesis", "thesis/chapter.txt"]


def test_a_place_that_cannot_be_written(tmp_path, monkeypatch):
    with monkeypatch.context() as changed:  # as root may write anywhere
        changed.setattr(os, "access", lambda path, mode: False)
        with pytest.raises(ScanStoreError, match="does not let this user write; pass another one"):
            scan(store=tmp_path / "new")

    def refuse(self, *args, **named):
        raise OSError(30, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ScanStoreError, match="Read-only file system; pass another one"):
        scan(store=tmp_path / "new")
    assert below(tmp_path) == []


@pytest.mark.parametrize("dataset", [[], iter(()), Pictures(150, tuple(range(100))), "/nowhere"])
def test_a_data_set_that_is_refused_leaves_no_directory(dataset, tmp_path):
    with pytest.raises((ValueError, OSError)):
        scan(dataset=dataset, store=tmp_path / "a" / "b")
    assert below(tmp_path) == []


def test_a_layer_that_one_batch_goes_without(tmp_path):
    def forward(self, x):
        return self.head(x.mean((2, 3)) if x.amin() > 0.05 else self.first(x).mean((2, 3)))

    model = Forward(forward, first=nn.Conv2d(3, 3, 3), head=nn.Linear(3, 4))
    dark, bright = torch.zeros(8, *SHAPE), torch.ones(8, *SHAPE)
    dataset = torch.cat([dark, bright])
    network = nbviz.Network(model, input_shape=SHAPE)
    message = r"to run layer 'first'.*scan without 'first', as with"
    with pytest.raises(ValueError, match=message) as caught:
        scan(network, dataset, store=tmp_path / "a", features=None)
    words = str(caught.value)
    passed = ast.literal_eval(words[words.index("[") : words.index("]") + 1])
    assert passed == ["mean", "head"]
    assert scan(network, dataset, store=tmp_path / "b", layers=passed, features=None).count == 16


def test_one_scan_a_store(tmp_path):
    with (
        leading(tmp_path),
        pytest.raises(ScanStoreError, match="this process does; wait until it has ended"),
    ):
        scan(store=tmp_path)
    read, write = os.pipe()
    child = os.fork()
    if not child:
        with leading(tmp_path):
            os.write(write, b".")
            threading.Event().wait(60)
        os._exit(0)
    try:
        os.read(read, 1)
        with pytest.raises(ScanStoreError, match=f"process {child} on"):
            scan(store=tmp_path)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert scan(store=tmp_path).count == 40


class Failing(Executor):
    """Loses the first shards it is given."""

    _max_workers = 2

    def __init__(self, losses: int, error: Exception) -> None:
        self.losses, self.error, self.attempts = losses, error, []

    def submit(self, call, ticket, first, end, entries=None):
        future = Future()
        self.attempts.append((first, ticket.attempt))
        if self.losses and first == 8:
            self.losses -= 1
            future.set_exception(self.error)
        else:
            future.set_result(call(ticket, first, end, entries))
        return future


@pytest.mark.parametrize("dataset", [Pictures(40), Stream(40)])
def test_a_lost_shard_is_tried_again(dataset, tmp_path):
    executor = Failing(3, OSError("the worker was lost"))
    found = scan(dataset=dataset, shard_images=8, executor=executor)
    assert_same(found, scan(dataset=dataset))
    assert [attempt for first, attempt in executor.attempts if first == 8] == [0, 1, 2, 3]


def test_a_shard_that_always_fails(tmp_path):
    with pytest.raises(RuntimeError, match=r"images 8 to 15 .* failed 4 times.*was lost"):
        scan(shard_images=8, executor=Failing(9, OSError("the worker was lost")), store=tmp_path)
    assert not list(tmp_path.glob(".payload*"))
    assert_same(scan(store=tmp_path, shard_images=8), scan())


def test_an_executor_that_breaks_down(tmp_path):
    executor = Failing(1, BrokenProcessPool("a process died"))
    with pytest.raises(ExecutorLostError, match="make a new executor"):
        scan(shard_images=8, executor=executor, store=tmp_path)
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(ExecutorLostError, match="after shutdown"):
        scan(shard_images=8, executor=pool, store=tmp_path)
    assert len(shard_files(tmp_path)) >= 1
    assert_same(scan(store=tmp_path), scan())


def test_an_interrupt_with_an_executor_keeps_what_is_done(tmp_path):
    executor = Failing(1, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt, match=r"\d images are done and kept"):
        scan(shard_images=8, executor=executor, store=tmp_path)
    assert_same(scan(store=tmp_path), scan())


def test_what_cannot_be_pickled():
    class Held(Pictures):
        def __init__(self, count):
            super().__init__(count)
            self.lock = threading.Lock()

    with ThreadPoolExecutor(1) as pool, pytest.raises(TypeError, match="data set that can be pick"):
        scan(dataset=Held(20), executor=pool)
    network = made()
    network.model.lock = threading.Lock()
    with ThreadPoolExecutor(1) as pool, pytest.raises(TypeError, match="network that can be pick"):
        scan(network, executor=pool)


def test_a_payload_that_a_worker_cannot_use(tmp_path):
    payload = save_payload(tmp_path, Work(made(), ImageSource(Pictures(3))))
    content = (path := Path(payload.path)).read_bytes()
    forget_payload(payload)  # of this process; another has not seen it either
    with pytest.raises(FileNotFoundError, match="on a disk that every worker sees"):
        load_payload(payload)
    path.write_bytes(content[:-1])
    with pytest.raises(ValueError, match="its content is another"):
        load_payload(payload)
    path.write_bytes(content)
    work = load_payload(payload)
    assert load_payload(payload) is work
    assert work.source is not None
    assert work.source.length == 3
    forget_payload(payload)


def test_progress_tells_images_rate_and_skipped_or_nothing(capsys, tmp_path):
    scan(dataset=Pictures(40, (3, 9)), store=tmp_path, progress=True)
    _, err = capsys.readouterr()
    assert "40/40" in err
    assert "images/s" in err
    assert "2 skipped" in err
    scan(dataset=Pictures(40, (3, 9)), progress=False)
    assert capsys.readouterr() == ("", "")
    scan(dataset=Pictures(40, (3, 9)), store=tmp_path, progress=True)
    assert capsys.readouterr() == ("", "")  # all was done
