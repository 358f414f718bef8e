"""What a scan costs above the forward passes it needs, against the usual ways, and how it spreads.

Run it: ``.venv/bin/python benchmarks/bench_scan.py [images]``. Ways to be compared take turns, so
whatever else the machine does meets all of them; what they find is checked to be equal first. Each
peak of memory is that of a process of its own.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from captum.attr import LayerActivation
from tables import table
from torch.utils.data import Dataset
from torchvision.models import resnet18

import nbviz
from nbviz.network import Network
from nbviz.scanning.range_files import Span
from nbviz.scanning.reading import Reader, batch_spans
from nbviz.scanning.source import ImageSource

BATCH, TOP = 32, 16
LAST = "layer4.1.relu:1"
ROUNDS = 2


class Made(Dataset):
    """Prepared inputs made from a few kept ones, so that reading costs next to nothing."""

    def __init__(self, count):
        self.count = count
        self.kept = torch.randn(64, 3, 224, 224, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        strength = 0.5 + (number * 7919) % self.count / self.count  # in no order
        return self.kept[number % 64] * strength, number % 10


def made_network():
    torch.manual_seed(0)
    return Network(resnet18(weights=None).eval(), input_shape=(3, 224, 224))


def seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def bare(network, data):
    """Forward passes alone, with the loader, batches and threads of the scan."""
    reader = Reader.of(network, ImageSource(data))
    with torch.inference_mode(), reader.ahead(batch_spans([Span(0, len(data))], BATCH)) as batches:
        for batch in batches:
            network.model(batch.inputs)
            if batch.span.end >= len(data):
                return


def scanned(network, data, layers, **options):
    return nbviz.scan(
        network, data, layers=layers, top_k=TOP, batch_size=BATCH, progress=False, **options
    )


def overhead(count):
    network, data = made_network(), Made(count)
    ways = {
        "bare forward": lambda: bare(network, data),
        "scan, one layer": lambda: scanned(network, data, LAST),
        "scan, all 68 layers": lambda: scanned(network, data, None),
    }
    bare(network, Made(BATCH))
    times = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, run in ways.items():
            times[name].append(seconds(run))
    base = median(times["bare forward"])
    aims = {"bare forward": "", "scan, one layer": "0.95", "scan, all 68 layers": "0.85"}
    table(
        f"ResNet-18 at 224 px, {count} images, batches of {BATCH}, {torch.get_num_threads()} "
        f"threads, median of {ROUNDS}",
        ["", "images/s", "of the bare forward", "aim"],
        [
            [name, f"{count / median(t):.1f}", f"{base / median(t):.3f}", aims[name]]
            for name, t in times.items()
        ],
    )


def by_captum(network, data, _layer):
    """Captum's `LayerActivation` and a Python loop that keeps the strongest of each channel."""
    ask = LayerActivation(network.model, network.model.get_submodule("layer4.1.bn2"))
    best = None
    with torch.no_grad():
        for start in range(0, len(data), BATCH):
            batch = torch.stack([data[i][0] for i in range(start, min(start + BATCH, len(data)))])
            peaks = torch.relu(ask.attribute(batch)).flatten(2).amax(2)
            numbers = torch.arange(start, start + len(batch))[:, None].expand_as(peaks)
            both = peaks if best is None else torch.cat([best[0], peaks])
            whose = numbers if best is None else torch.cat([best[1], numbers])
            value, at = both.topk(min(TOP, len(both)), dim=0)
            best = value, whose.gather(0, at)
    return best[0].T.numpy()


def by_keeping(network, data, layer):
    """A hook that keeps everything, sorted at the end."""
    kept = []
    module = network.model.get_submodule(layer)
    handle = module.register_forward_hook(lambda _m, _i, output: kept.append(output.clone()))
    with torch.no_grad():
        for start in range(0, len(data), BATCH):
            rows = range(start, min(start + BATCH, len(data)))
            network.model(torch.stack([data[i][0] for i in rows]))
    handle.remove()
    return torch.cat(kept).flatten(2).amax(2).topk(TOP, dim=0).values.T.numpy()


def by_scan(network, data, layer):
    return scanned(network, data, layer)[layer].top.value


WAYS = {
    "nbviz.scan": (by_scan, LAST),
    "Captum LayerActivation": (by_captum, LAST),
    "nbviz.scan, early": (by_scan, "layer1.0.conv1"),
    "hook that keeps all": (by_keeping, "layer1.0.conv1"),
}


def measured(name, count):
    """Seconds, peak of memory above that before, in MB, and what was found; in a new process."""
    torch.set_num_threads(2)
    way, layer = WAYS[name]
    network, data = made_network(), Made(count)
    way(network, Made(BATCH), layer)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = []
    took = seconds(lambda: found.append(way(network, data, layer)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return took, (peak - before) / 1024, found[0]


def peers(count):
    results = {name: [] for name in WAYS}
    context = multiprocessing.get_context("spawn")
    for _ in range(ROUNDS):
        for name in WAYS:
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                results[name].append(pool.submit(measured, name, count).result())
    for ours, other in (
        ("nbviz.scan", "Captum LayerActivation"),
        ("nbviz.scan, early", "hook that keeps all"),
    ):
        a, b = results[ours][0][2], results[other][0][2]
        if not np.allclose(a, b, rtol=1e-4, atol=1e-5) and ours != "nbviz.scan":
            raise SystemExit(f"{ours} and {other} do not agree: {abs(a - b).max()}")
    rows = []
    for ours, other in (
        ("nbviz.scan", "Captum LayerActivation"),
        ("nbviz.scan, early", "hook that keeps all"),
    ):
        base = median(r[0] for r in results[ours])
        for name in (ours, other):
            took, memory = (median(r[i] for r in results[name]) for i in (0, 1))
            rows.append([name, WAYS[name][1], f"{took:.1f}", f"{took / base:.2f}", f"{memory:.0f}"])
    table(
        f"The strongest {TOP} of each channel, one layer, {count} images, 2 threads, "
        f"median of {ROUNDS}",
        ["", "layer", "seconds", "ratio to the scan", "memory added, MB"],
        rows,
    )


def scaling(count):
    network, data = made_network(), Made(count)
    context = multiprocessing.get_context("spawn")
    rows, first = [], None
    for workers in (1, 2):
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            options = {"executor": pool, "shard_images": 128}
            scanned(network, Made(128 * workers), LAST, **options)  # starts and imports
            took = median(seconds(partial(scanned, network, data, LAST, **options)) for _ in "abc")
        first = first or took
        rows.append([workers, f"{count / took:.1f}", f"{first / took:.2f}"])
    took = seconds(lambda: scanned(network, data, LAST, threads=1, shard_images=128))
    rows.append(["here", f"{count / took:.1f}", f"{first / took:.2f}"])
    table(
        f"Processes of one thread each, {count} images, one layer",
        ["processes", "images/s", "speed-up"],
        rows,
    )


def merging(channels=512, images=2):
    """Many small shards into one store, merged as they come."""
    network = Network(torch.nn.Conv2d(3, channels, 1), input_shape=(3, 4, 4))
    rows = [simulated(network, shards, images) for shards in (100, 1000, 10_000)]
    table(
        f"Merging simulated shards of one layer of {channels} channels",
        ["shards", "writing, s", "merging, s", "ms a shard", "files left", "MB left", "MB/shard"],
        rows,
    )


def simulated(network, shards, images):
    from nbviz.analysis.data_pass import DataPass
    from nbviz.analysis.unit_statistics.settings import PassSettings
    from nbviz.scanning.manifest import Manifest
    from nbviz.scanning.store import Store

    settings = PassSettings(("Conv2d",), top_k=TOP, length=shards * images)
    generator = torch.Generator().manual_seed(0)
    batch = torch.randn(images, 3, 4, 4, generator=generator)
    with tempfile.TemporaryDirectory() as folder:
        data = np.zeros((shards * images, 4, 4, 3), np.uint8)
        manifest = Manifest.of(network, ImageSource(data), settings, batch_size=images, threads=1)
        store = Store.create(Path(folder) / "scan", manifest)
        writing = merging = 0.0
        for shard in range(shards):
            first = shard * images
            data_pass = DataPass(network, settings)
            data_pass.add(batch * (1 + shard % 17), range(first, first + images), [0] * images)
            parts = data_pass.finish()
            began = time.perf_counter()
            store.write_shard(first, first + images, *parts)
            writing += time.perf_counter() - began
            if shard % 32 == 31 or shard == shards - 1:
                merging += seconds(store.compact)
            if shard == 0:
                one = bytes_of(store.path)
        files = len(list(store.path.rglob("*.parquet")))
        left = bytes_of(store.path)
    return [
        shards,
        f"{writing:.1f}",
        f"{merging:.1f}",
        f"{1000 * merging / shards:.1f}",
        files,
        f"{left / 2**20:.2f}",
        f"{one / 2**20:.2f}",
    ]


def bytes_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main(count):
    torch.set_num_threads(2)
    overhead(count)
    peers(count // 4)
    scaling(count // 4)
    merging()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2048)
