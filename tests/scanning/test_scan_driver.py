"""A whole scan gives the same to the last bit, however it is cut, spread or interrupted."""

from __future__ import annotations

import multiprocessing
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
import torch
from fixtures.networks import Forward
from fixtures.whole_scans import (
    NETWORKS,
    Pictures,
    Stream,
    assert_same,
    counting_threads,
    made,
    shard_files,
)
from PIL import Image
from torch import nn
from torchvision.ops import StochasticDepth

import nbviz
from nbviz.scanning import run
from nbviz.scanning.manifest import ScanMismatchError

COUNT, BROKEN = 61, (3, 8, 40)
SETTINGS = {"batch_size": 8, "top_k": 5, "progress": False}


def scan(network=None, dataset=None, **options):
    network = made() if network is None else network
    dataset = Pictures(COUNT, BROKEN) if dataset is None else dataset
    return nbviz.scan(network, dataset, **{**SETTINGS, **options})


@pytest.fixture(scope="module")
def expected():
    """One shard, one process, by network."""
    return {name: scan(made(name)) for name in NETWORKS}


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        yield pool


class Shuffled(Executor):
    """Runs what was submitted when somebody waits for it, in any order."""

    _max_workers = 8

    def __init__(self, seed: int) -> None:
        self._dice, self._waiting = random.Random(seed), []

    def submit(self, call, *args, **named):
        future = Future()
        self._waiting.append((future, call, args, named))
        if len(self._waiting) >= 5 or args[2] >= COUNT:
            self._dice.shuffle(self._waiting)
            for waiting, call_, args_, named_ in self._waiting:
                if waiting.set_running_or_notify_cancel():
                    waiting.set_result(call_(*args_, **named_))
            self._waiting = []
        return future


def test_a_scan_finds_what_a_plain_loop_finds():
    network, dataset = made(), Pictures(COUNT, BROKEN)
    found = scan(network, dataset, layers=["0", "4"], features="4")
    seen: dict[str, list[tuple[int, np.ndarray]]] = {"0": [], "4": []}
    outputs, labels = {}, {}
    for start in range(0, COUNT, 8):
        numbers = [n for n in range(start, min(COUNT, start + 8)) if n not in BROKEN]
        items = [dataset[number] for number in numbers]
        batch = torch.cat([network.prepare(picture) for picture, _ in items])
        labels |= {n: label for n, (_, label) in zip(numbers, items, strict=True)}
        with network.undisturbed():
            first = network.model[0](batch)
            second = network.model[1:5](first.clone())
            logits = network(batch)
        outputs |= dict(zip(numbers, logits.softmax(1).numpy(), strict=True))
        for layer, maps in (("0", first), ("4", second)):
            seen[layer] += zip(numbers, maps.numpy(), strict=True)
    for layer, maps in seen.items():
        for channel in range(found[layer].top.value.shape[0]):
            ranked = sorted((-values[channel].max(), n) for n, values in maps)[:5]
            assert found[layer].top.image[channel].tolist() == [n for _, n in ranked]
            assert found[layer].top.value[channel].tolist() == [-v for v, _ in ranked]
    rows = found.images
    assert rows.index.tolist() == [*range(COUNT)]
    for number, values in outputs.items():
        assert rows.label[number] == labels[number]
        assert rows.predicted[number] == values.argmax()
        assert rows.confidence[number] == values.max()
    for number, values in seen["4"]:
        np.testing.assert_allclose(rows.features[number], values.mean((1, 2)), rtol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shard_images", [8, 20, 1000])
def test_shards_of_any_size_give_the_same(name, shard_images, expected, tmp_path):
    found = scan(made(name), store=tmp_path, shard_images=shard_images)
    assert_same(found, expected[name])
    assert [n for n, _ in found.skipped] == [*BROKEN]


@pytest.mark.parametrize("seed", range(3))
def test_shards_in_any_order_give_the_same(seed, expected, tmp_path):
    found = scan(store=tmp_path, shard_images=8, executor=Shuffled(seed))
    assert_same(found, expected["plain"])
    assert not list(tmp_path.glob(".payload*"))


@pytest.mark.parametrize("name", NETWORKS)
def test_processes_give_the_same(name, expected, processes):
    assert_same(scan(made(name), shard_images=16, executor=processes), expected[name])


@pytest.mark.parametrize("loader_workers", [0, 1])
def test_threads_give_the_same(loader_workers, expected):
    with ThreadPoolExecutor(3) as pool:
        found = scan(shard_images=8, executor=pool, loader_workers=loader_workers)
    assert_same(found, expected["plain"])


def test_loader_processes_give_the_same(expected):
    assert_same(scan(shard_images=16, loader_workers=2), expected["plain"])


def test_a_notebooks_own_data_set_reaches_worker_processes(processes):
    class Mine:
        def __len__(self):
            return 20

        def __getitem__(self, number):
            if number == 7:
                raise KeyError("gone")
            return Pictures(20)[number]

    here = scan(dataset=Mine())
    assert_same(scan(dataset=Mine(), executor=processes, shard_images=8), here)
    assert here.skipped == [(7, "KeyError: 'gone'")]


@pytest.mark.parametrize("loader_workers", [0, 2])
@pytest.mark.parametrize("executor", [False, True])
def test_an_iterable_gives_the_same(executor, loader_workers, processes, expected, tmp_path):
    found = scan(
        dataset=Stream(COUNT, BROKEN),
        store=tmp_path,
        shard_images=16,
        executor=processes if executor else None,
        loader_workers=loader_workers,
    )
    for layer in found.layers:
        assert found[layer].top.image.tobytes() == expected["plain"][layer].top.image.tobytes()
        assert found[layer].top.value.tobytes() == expected["plain"][layer].top.value.tobytes()
    np.testing.assert_array_equal(found.images.features, expected["plain"].images.features)
    assert [n for n, _ in found.skipped] == [*BROKEN]
    assert found.finished


def test_a_generator_is_read_once_from_its_start(expected):
    found = scan(dataset=(item for item in Stream(COUNT, BROKEN)), shard_images=8)
    assert_same(found, scan(dataset=Stream(COUNT, BROKEN)))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("shards", [0, 1, 3])
def test_an_interrupted_scan_goes_on(shards, stream, monkeypatch, tmp_path):
    dataset = Stream(COUNT, BROKEN) if stream else Pictures(COUNT, BROKEN)
    passed: list[int] = []
    plain_pass = run.pass_over

    def interrupted(network, settings, span, batches, told=None):
        def stop(images, skipped):
            if len(passed) == shards:
                raise KeyboardInterrupt

        found = plain_pass(network, settings, span, batches, stop)
        passed.append(span.first)
        return found

    with monkeypatch.context() as changed:
        changed.setattr(run, "pass_over", interrupted)
        with pytest.raises(KeyboardInterrupt, match="run the same call again, and it goes on"):
            scan(dataset=dataset, store=tmp_path, shard_images=16)
    assert passed == [16 * number for number in range(shards)]
    assert len(shard_files(tmp_path)) == shards
    assert_no_reader_is_left()
    assert_same(scan(dataset=dataset, store=tmp_path, shard_images=24), scan(dataset=dataset))


@pytest.mark.parametrize("number", [1, 9, 24, 37])
def test_a_real_interrupt_while_an_image_is_read(number, expected, tmp_path):
    class Interrupting(Pictures):
        armed = False

        def __getitem__(self, number_):
            if number_ == number and Interrupting.armed and threading.current_thread().daemon:
                signal.raise_signal(signal.SIGINT)  # which reaches the main thread, wherever it is
                Interrupting.armed = False
            return super().__getitem__(number_)

    dataset = Interrupting(COUNT, BROKEN)
    Interrupting.armed = True
    with pytest.raises(KeyboardInterrupt):
        scan(dataset=dataset, store=tmp_path, shard_images=8)
    assert not Interrupting.armed
    assert_no_reader_is_left()
    assert_same(scan(dataset=dataset, store=tmp_path, shard_images=8), expected["plain"])


@pytest.mark.parametrize("loader_workers", [0, 2])
@pytest.mark.parametrize("last", [1, 2, 7])
def test_a_real_interrupt_while_the_network_runs(last, loader_workers, expected, tmp_path):
    network, passes = warm(), []

    def interrupt(module, inputs):
        passes.append(len(inputs[0]))
        if len(passes) == last:
            signal.raise_signal(signal.SIGINT)

    options = {"store": tmp_path, "shard_images": 16, "loader_workers": loader_workers}
    with network.model.register_forward_pre_hook(interrupt), pytest.raises(KeyboardInterrupt):
        scan(network, **options)
    assert len(nbviz.Scan.open(tmp_path).images.index) == min(8 * last, COUNT)  # batch by batch
    assert len(shard_files(tmp_path)) == -(-last // 2)
    assert_no_reader_is_left()
    assert_same(scan(network, **options), expected["plain"])


def warm():
    """A network of which all is known that single passes find out."""
    network = made()
    scan(network, Pictures(8))
    return network


def assert_no_reader_is_left() -> None:
    assert not [thread for thread in threading.enumerate() if thread.name == "nbviz-read-ahead"]


def test_reading_goes_on_while_the_network_computes_but_not_far_ahead():
    read, reached, ahead = threading.Event(), [0], []

    class Watched(Pictures):
        def __getitem__(self, number):
            reached[0] = number
            if number == 3 * 8 and passes:
                read.set()
            return super().__getitem__(number)

    network, passes = warm(), []

    def wait(module, inputs):
        passes.append(len(inputs[0]))
        if len(passes) == 2:
            assert read.wait(60), "the fourth batch was not begun"
        ahead.append(reached[0] + 1 - sum(passes[:-1]))

    with network.model.register_forward_pre_hook(wait):
        scan(network, Watched(400))
    assert len(passes) == 50
    assert max(ahead) <= 4 * 8


@pytest.mark.parametrize("threads", [0, 3])
def test_a_data_set_is_read_by_one_thread_at_a_time(threads):
    class Alone(Pictures):
        def __init__(self, count):
            super().__init__(count)
            self.inside, self.met = 0, []

        def __getitem__(self, number):
            self.inside += 1
            time.sleep(0.001)  # others get their turn
            self.met.append(self.inside)
            self.inside -= 1
            return super().__getitem__(number)

    dataset = Alone(60)
    with ThreadPoolExecutor(threads or 1) as pool:
        scan(dataset=dataset, shard_images=8, executor=pool if threads else None)
    assert len(dataset.met) >= 60
    assert {*dataset.met} == {1}


def test_what_is_done_is_not_read_again(tmp_path):
    class Counting(Pictures):
        def __init__(self, count):
            super().__init__(count)
            self.read, self.interrupt = [], True

        def __getitem__(self, number):
            self.read.append(number)
            if number == 1000 and self.interrupt:
                self.interrupt = False
                raise KeyboardInterrupt
            return super().__getitem__(number)

    dataset = Counting(1300)
    with pytest.raises(KeyboardInterrupt, match="1,000 images are done and kept"):
        scan(dataset=dataset, store=tmp_path, layers="0", shard_images=32)
    dataset.read.clear()
    found = scan(dataset=dataset, store=tmp_path, layers="0", shard_images=64)
    assert {*range(1000, 1300)} <= {*dataset.read}
    assert len([number for number in dataset.read if number < 1000]) < 100  # the fingerprint's
    dataset.read.clear()
    assert scan(dataset=dataset, store=tmp_path, layers="0").count == found.count == 1300
    assert len(dataset.read) < 100


def test_pictures_that_cannot_be_used_are_skipped_and_listed(tmp_path):
    folder = tmp_path / "pictures"
    for kind in ("cat", "dog"):
        (folder / kind).mkdir(parents=True)
        for number in range(4):
            values = np.random.default_rng(number).integers(0, 256, (9, 11, 3), np.uint8)
            Image.fromarray(values).save(folder / kind / f"{number}.png")
    whole = (folder / "cat" / "1.png").read_bytes()
    (folder / "cat" / "1.png").write_bytes(whole[: len(whole) // 2])
    (folder / "dog" / "0.png").write_bytes(b"")
    (folder / "dog" / "3.png").write_text("<html>not found</html>")
    found = scan(dataset=folder)
    assert [number for number, _ in found.skipped] == [1, 4, 7]
    for (_, reason), name in zip(found.skipped, ("cat/1", "dog/0", "dog/3"), strict=True):
        assert reason.startswith(f"{name}.png: ")
    found.dataset = None
    assert not any("cat/" in reason for _, reason in found.skipped)
    assert found.count == 5
    assert found["0"].images == 5
    assert found.images.label.tolist() == [0, -1, 0, 0, -1, 1, 1, -1]
    assert found.classes == ("cat", "dog")


def test_inputs_of_an_odd_shape_are_skipped():
    good, odd = torch.rand(3, 24, 20), torch.rand(3, 20, 24)
    found = scan(dataset=[good, odd, good, torch.rand(24, 20), good])
    (first, why), (second, _) = found.skipped
    assert (first, second) == (1, 3)
    assert "expected an input of shape (3, 24, 20)" in why
    assert "got (3, 20, 24)" in why


def test_inputs_that_are_not_finite_are_skipped():
    values = torch.rand(6, 3, 24, 20)
    values[1, 2, 20, 7], values[4, 0, 0, 0] = torch.nan, -torch.inf
    found = scan(dataset=values)
    why = "ValueError: expected finite input, got NaN or infinity"
    assert found.skipped == [(1, why), (4, why)]
    assert {int(found[layer].images) for layer in found} == {4}
    assert not any(found[layer].nonfinite.any() for layer in found)


def test_layers_that_only_pass_on_are_left_out_unless_they_are_named():
    def forward(self, x):
        return self.drop(nn.functional.dropout(self.first(x), training=self.training)).mean((2, 3))

    kinds = {"first": nn.Conv2d(3, 3, 3), "drop": nn.Sequential(nn.Dropout2d(), nn.Identity())}
    model = nn.Sequential(Forward(forward, **kinds), StochasticDepth(0.5, "row"), nn.ReLU())
    network = nbviz.Network(model, input_shape=(3, 24, 20))
    assert network.layers.names == (
        "0.first", "0.dropout", "0.drop.0", "0.drop.1", "0.mean", "1", "2",
    )  # fmt: skip
    assert scan(network, Pictures(9)).layers == ("0.first", "0.mean", "2")
    named = ["1", "0.drop.0", "0.dropout"]
    assert scan(network, Pictures(9), layers=named).layers == ("0.dropout", "0.drop.0", "1")


def test_a_batch_without_any_good_picture_is_skipped(expected):
    broken = tuple(range(8, 24))
    found = scan(dataset=Pictures(40, broken), shard_images=8)
    assert_same(found, scan(dataset=Pictures(40, broken)))
    assert found["0"].images == 24


@pytest.mark.parametrize("loader_workers", [0, 2])
def test_the_model_is_left_as_it_was(loader_workers):
    network = made("residual")
    network.model.norm.eval()
    network.model.head.weight.requires_grad_(False)
    network.layers  # noqa: B018 - recorded before
    flags = [module.training for module in network.model.modules()]
    weights = {name: value.clone() for name, value in network.model.state_dict().items()}
    hooks = [dict(vars(module)) for module in network.model.modules()]
    torch.manual_seed(5), np.random.seed(5), random.seed(5)  # noqa: NPY002
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    threads = torch.get_num_threads()
    scan(network, threads=2, loader_workers=loader_workers)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert random.getstate() == states[2]
    assert torch.get_num_threads() == threads
    assert [module.training for module in network.model.modules()] == flags
    assert [dict(vars(module)) for module in network.model.modules()] == hooks
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.model.modules())
    for name, value in network.model.state_dict().items():
        assert torch.equal(value, weights[name]), name
    assert [p.requires_grad for p in network.model.head.parameters()] == [False, True]
    assert all(parameter.grad is None for parameter in network.model.parameters())


def test_an_error_of_the_model_leaves_no_reader_behind(tmp_path):
    network = made()
    scan(network, store=tmp_path / "good")
    network.model[6].register_forward_hook(_fails)
    with pytest.raises(RuntimeError, match="fails on purpose"):
        scan(network, store=tmp_path / "bad")
    assert_no_reader_is_left()
    network.model[6]._forward_hooks.clear()
    assert scan(network, store=tmp_path / "bad").count == COUNT - len(BROKEN)


def _fails(module, inputs, output):
    if len(output) > 1:
        raise RuntimeError("it fails on purpose")


def test_the_threads_of_a_store_are_kept(tmp_path):
    scan(store=tmp_path, threads=2)
    assert torch.get_num_threads() == 1
    scan(store=tmp_path)
    with pytest.raises(ScanMismatchError, match="threads was 2, now 1"):
        scan(store=tmp_path, threads=1)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_network_runs_with_so_many_threads_everywhere(threads, processes):
    network = counting_threads()
    with ThreadPoolExecutor(2) as pool:
        for executor in (None, pool, processes):
            found = scan(network, Pictures(20), threads=threads, executor=executor)
            assert found["0"].peak.tolist() == [threads] * 3
    here = scan(network, Pictures(20))
    assert here["0"].peak.tolist() == [torch.get_num_threads()] * 3
    assert scan(network, Pictures(20), executor=processes)["0"].peak.tolist() == [1] * 3


THREADS_SEEN = []  # not on the model, whose lists are put back


class CountsThreads(nn.Module):
    """Notes with how many threads it runs."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        THREADS_SEEN.append(torch.get_num_threads())
        return self.inner(x)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_network_runs_with_the_threads_that_were_asked_for(threads):
    model, before = CountsThreads(), torch.get_num_threads()
    network = nbviz.Network(model, input_shape=(3, 16, 16))
    assert network.layers
    THREADS_SEEN.clear()
    pictures = np.random.default_rng(0).integers(0, 255, (40, 16, 16, 3), dtype=np.uint8)
    nbviz.scan(network, pictures, layers="inner", batch_size=4, threads=threads, progress=False)
    assert len(THREADS_SEEN) >= 10
    assert set(THREADS_SEEN) == {threads}
    assert torch.get_num_threads() == before


def test_the_thread_that_reads_ahead_takes_no_threads_away():
    # In a new process, where what one thread sets still holds for the others.
    code = """
import torch
torch.set_num_threads(2)
from nbviz.scanning.reading import read_ahead
with read_ahead(iter([])) as batches:
    list(batches)
print(torch.get_num_threads())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2"]
