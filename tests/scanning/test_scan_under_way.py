"""What is read of a scan that goes on meanwhile; and what an interrupt leaves of one."""

from __future__ import annotations

import signal
import threading

import numpy as np
import pytest
from fixtures.small_scans import LAYERS, answers, assert_same_rows, assert_same_units
from fixtures.whole_scans import Pictures, Stream, assert_same, made, shard_files

import nbviz
from nbviz import Scan
from nbviz.scanning import store as store_module
from nbviz.scanning.range_files import write_whole
from nbviz.scanning.store import Store
from tests.fixtures import small_scans as small

COUNT = 20


def written(store, first, end) -> None:
    store.write_shard(first, end, *answers(first, end, COUNT))


@pytest.mark.parametrize("merged", [False, True])
def test_rows_and_units_are_of_the_same_images(merged, tmp_path):
    store = Store.create(tmp_path, small.manifest(COUNT))
    written(store, 0, 5)
    scan = Scan.open(tmp_path)
    assert_same_rows(scan.images, answers(0, 5, COUNT)[0])
    assert_same_units(scan["0"], answers(0, 5, COUNT)[1]["0"])
    written(store, 5, 9)
    if merged:
        store.compact(fan_in=2)
    assert_same_units(scan["0"], answers(0, 5, COUNT)[1]["0"])
    assert_same_rows(scan.images, answers(0, 5, COUNT)[0])
    units = scan["1"]  # which can only be had of all that is done
    written(store, 9, 20)
    if merged:
        store.compact(fan_in=2)
    assert not scan.finished
    assert_same_units(units, answers(0, 9, COUNT)[1]["1"])
    assert_same_rows(scan.images, answers(0, 9, COUNT)[0])
    assert "8 images, 1 skipped, not finished" in repr(scan)
    assert scan.reload() is scan
    assert scan.finished
    for layer in LAYERS:
        assert_same_units(scan[layer], answers(0, 20, COUNT)[1][layer])
    assert_same_rows(scan.images, answers(0, 20, COUNT)[0])


def test_a_merge_alone_changes_nothing_that_was_read(tmp_path):
    store = small.filled(tmp_path, COUNT, 5)
    scan = Scan.open(tmp_path)
    rows, units = scan.images, scan["0"]
    store.compact(fan_in=2)
    assert scan["1"].images == units.images
    assert scan["0"] is units
    assert scan.images is rows


def test_the_end_of_a_stream_is_seen_after_reloading(tmp_path):
    stream = small.ImageSource(iter([*small.pictures(6)]))
    manifest = small.Manifest.of(small.small_network(), stream, small.settings(), batch_size=1)
    store = Store.create(tmp_path, manifest)
    written(store, 0, 6)
    scan = Scan.open(tmp_path)
    store.mark_end(6)
    assert not scan.finished
    assert scan.reload().finished


def scanned(network=None, dataset=None, **options):
    network = made() if network is None else network
    dataset = Pictures(61, (3, 40)) if dataset is None else dataset
    return nbviz.scan(network, dataset, batch_size=8, progress=False, **options)


@pytest.mark.parametrize("kind", [Pictures, Stream])
@pytest.mark.parametrize("shard_images", [None, 24])
def test_the_batches_that_went_through_are_kept(kind, shard_images, tmp_path):
    network, passes = made(), []
    dataset = kind(61, (3, 40))
    expected = scanned(network, dataset)

    def interrupt(module, inputs):
        passes.append(len(inputs[0]))
        if len(passes) == 5:
            signal.raise_signal(signal.SIGINT)

    options = {"store": tmp_path, "shard_images": shard_images}
    handler = signal.getsignal(signal.SIGINT)
    with network.model.register_forward_pre_hook(interrupt):
        with pytest.raises(KeyboardInterrupt, match="40 images are done and kept"):
            scanned(network, dataset, **options)
        ends = [name[13:25].lstrip("0") for name in shard_files(tmp_path)]
        assert ends == (["40"] if shard_images is None else ["24", "40"])
        assert len(passes) == 5
        assert_same(scanned(network, dataset, **options), expected)
    assert len(passes) == 8
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize("part", ["images", "units"])
def test_a_second_interrupt_comes_at_once_and_leaves_a_sound_store(part, tmp_path, monkeypatch):
    network, passes = made(), []
    expected = scanned(network)

    def interrupt(module, inputs):
        passes.append(len(inputs[0]))
        if len(passes) == 3:
            signal.raise_signal(signal.SIGINT)

    def again(path, content):
        def half(file):
            file.write(b"PAR1")
            signal.raise_signal(signal.SIGINT)

        write_whole(path, half if path.parent.name == part else content)

    with network.model.register_forward_pre_hook(interrupt), monkeypatch.context() as changed:
        changed.setattr(store_module, "write_whole", again)
        with pytest.raises(KeyboardInterrupt, match="; 0 images are done and kept"):
            scanned(network, store=tmp_path)
    assert len(passes) == 3
    assert shard_files(tmp_path) == []
    assert not list(tmp_path.rglob(".tmp-*"))
    assert_same(scanned(network, store=tmp_path), expected)


def test_an_interrupt_while_a_picture_is_waited_for_comes_at_once(tmp_path):
    class Stuck(Pictures):
        go_on = threading.Event()
        stuck = False

        def __getitem__(self, number):
            if number == 20 and threading.current_thread().daemon and not self.go_on.is_set():
                self.stuck = True
                threading.Timer(1.0, signal.raise_signal, [signal.SIGINT]).start()
                threading.Timer(3.0, self.go_on.set).start()
                assert self.go_on.wait(60)
            return super().__getitem__(number)

    dataset = Stuck(61)
    with pytest.raises(KeyboardInterrupt, match="16 images are done and kept"):
        scanned(dataset=dataset, store=tmp_path)
    assert dataset.stuck
    assert_same(scanned(dataset=dataset, store=tmp_path), scanned(dataset=Pictures(61)))


def test_interrupts_that_are_ignored_stay_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        network = made()
        with network.model.register_forward_pre_hook(lambda *_: signal.raise_signal(signal.SIGINT)):
            assert scanned(network).finished
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_scan_in_another_thread_works():
    found = []
    thread = threading.Thread(target=lambda: found.append(scanned()))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(found[0].images.index, np.arange(61))
