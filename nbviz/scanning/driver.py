"""A whole scan: what is missing in the store, done here or by an executor's workers."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nbviz.analysis.data_pass import channel_bytes, feature_layer, resolve_layers
from nbviz.analysis.unit_statistics.settings import PassSettings
from nbviz.network import Network
from nbviz.scanning.manifest import Manifest
from nbviz.scanning.progress import Progress
from nbviz.scanning.reading import Reader
from nbviz.scanning.result import Scan
from nbviz.scanning.run import Run, Scanned, entries_of
from nbviz.scanning.shard import Rules, steady
from nbviz.scanning.source import ImageSource
from nbviz.scanning.store import Store
from nbviz.scanning.store_lock import leading
from nbviz.scanning.work_list import started

__all__ = ["scan"]

# Bytes of statistics above which one is warned.
_MUCH = 10**9


def scan(
    network: Network | nn.Module,
    dataset: Any,
    *,
    store: str | Path | None = None,
    layers: str | Sequence[str] | None = None,
    top_k: int = 16,
    per_image: int = 1,
    labels: Sequence[Any] | None = None,
    classes: Sequence[str] | None = None,
    features: str | None = "auto",
    batch_size: int = 32,
    shard_images: int | None = None,
    executor: Executor | None = None,
    loader_workers: int = 0,
    threads: int | None = None,
    progress: bool = True,
) -> Scan:
    """One pass over a data set: what excites every unit most, and what each prefers.

    Every image goes through the network once. Kept are, for every channel of the chosen layers,
    the strongest and weakest images with the places where, histograms, means, and means by class;
    and for every image its prediction, confidence and features. The idea is that of Girshick et
    al. 2014 (arXiv 1311.2524, sec. 3.1) and Zeiler & Fergus 2014 (arXiv 1311.2901, sec. 4).

    A scan that was interrupted or killed goes on when it is called again with the same `store`:
    what was written, shard by shard, is not done again.

    Parameters
    ----------
    network : Network or nn.Module
        Left as it is.
    dataset : object
        A folder of images (a subfolder a class), a torch `Dataset` with or without length, a
        Hugging Face data set, a uint8 array (N, H, W, 3), a float tensor (N, C, H, W) already
        prepared, or a sequence of images. The same number must give the same image each time.
        Of a generator or another iterable without length, pictures cannot be shown afterwards,
        as they cannot be had by number.
    store : path, optional
        Directory to keep the result in; it is made. Without one, the result is gone with the
        `Scan`.
    layers : str or sequence of str, optional
        Names out of ``network.layers.names``; when None all that can be drawn, but those that
        only pass on what they get (dropout, identity). See below what they take.
    top_k : int
        Strongest activations to keep of each channel.
    per_image : int
        At most so many of one image among them.
    labels : sequence of int or str, optional
        One an image; else taken from the data set.
    classes : sequence of str, optional
        Names of the labels; else taken from the data set.
    features : str or None
        Layer whose output, averaged over places, is kept of every image. "auto" takes what the
        last linear layer reads.
    batch_size : int
        Images a forward pass. Image i is always in batch ``i // batch_size``.
    shard_images : int, optional
        Images that are written together, rounded up to whole batches: what is lost at most, a
        worker, when a scan is killed. (An interrupt waits for the batch under way and, without
        executor, loses none.) By default what a minute's work comes to, up to 8192; with an
        executor an eighth of a worker's part of the data set, from 256 to 8192 (1024 of a data set
        without length).
    executor : concurrent.futures.Executor, optional
        Runs shards in other processes: a `ProcessPoolExecutor` (with the "spawn" context) or
        ``Client.get_executor()`` of dask.distributed. These and thread pools are tested; others
        with the same interface, as of MPI or Ray, are not. Its workers must see `store` under the
        same path.
    loader_workers : int
        Processes that read images ahead; 0 for one thread. Not used for a data set without length,
        nor within worker processes that may have no children (dask's).
    threads : int, optional
        Of torch, for each process that runs the network. By default as the store was begun with;
        else ``torch.get_num_threads()``, or 1 with an executor.
    progress : bool
        Show a bar with images a second, time left and images skipped.

    Returns
    -------
    Scan
        ``scan[layer]`` has the statistics of a layer, ``scan.images`` a row an image,
        ``scan.skipped`` what could not be read, and why.

    Raises
    ------
    ValueError
        If the first 100 images all fail, or the same number gives another image when read again.
    ScanMismatchError
        If the store is of another network, transform, data set or settings; the message says what
        differs.
    ScanStoreError
        If the directory holds something else or cannot be written, or another process scans into
        it.
    FileNotFoundError
        If `dataset` is a path where there is nothing.
    UnknownLayerError
        For a layer that the network does not have.

    Notes
    -----
    *The same, bit for bit*, whatever the shards, their order, the number and kind of workers, the
    interruptions: statistics are exact sums and total orders, and batches are fixed. What a forward
    pass gives depends, in the last bit, on the batch, on the number of torch's threads and on the
    kind of device, so these three are settings of the store. Between other machines or versions
    of torch the last bit may differ.

    *Memory* does not grow with the data set. Besides network and data set a process holds the
    input of up to 4 batches (with loader processes of 2 each, and 1), the activations of one, the
    rows of one shard (25 bytes and 4 a feature an image), and of every channel so many bytes::

        kept = 20 * (top_k + bottom_k + samples) + 16 * 533 + 56 + 16 * classes
        waiting = 128 * (12 * per_image + 24)

    with ``bottom_k`` 8, ``samples`` 64, 533 bins and 128 images that wait to be ranked: 15 kB by
    default, and 16 bytes a class of the data set. Above 1 GB for all channels there is a warning.
    Files are merged layer by layer, with three times one layer in memory. With an executor, the
    leading process holds no pictures, but for a data set without length those of two shards a
    worker.

    Examples
    --------
    >>> network = Network(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), input_shape=(3, 8, 8))
    >>> pictures = np.random.default_rng(0).integers(0, 255, (20, 8, 8, 3), dtype=np.uint8)
    >>> found = scan(network, pictures, layers="1", top_k=3, progress=False)
    >>> found["1"].top.image.shape, found.count
    ((4, 3), 20)
    """
    network = Network.of(network)
    _expect_whole("batch_size", batch_size, 1)
    _expect_whole("loader_workers", loader_workers, 0)
    for name, value in (("shard_images", shard_images), ("threads", threads)):
        if value is not None:
            _expect_whole(name, value, 1)
    if executor is not None and not isinstance(executor, Executor):
        raise TypeError(
            f"expected a concurrent.futures.Executor, got {type(executor).__name__}; of a Dask "
            f"client pass client.get_executor()"
        )
    source = ImageSource(dataset, labels, classes, output_names=network.classes)
    if features == "auto":
        features = feature_layer(network)
    elif features is not None:
        (features,) = resolve_layers(network, features)
    settings = PassSettings(
        layers=resolve_layers(network, layers),
        top_k=top_k,
        per_image=per_image,
        features=features,
        length=source.length,
    )
    _warn_of_memory(network, settings, len(source.classes or ()))
    temporary = None
    if store is None:  # on Windows a file that somebody has still mapped cannot be removed
        temporary = tempfile.TemporaryDirectory(prefix="nbviz-scan-", ignore_cleanup_errors=True)
    folder = Path(temporary.name if temporary else store or "").expanduser()
    known = Store.found_at(folder)
    if threads is None:
        before = None if known is None else known.settings.get("threads")
        threads = before or (1 if executor else torch.get_num_threads())
    rules = Rules(settings, batch_size, threads)
    scanned = Scanned(network, source, rules, shard_images, loader_workers)
    with steady(network, threads):
        kept = _brought_to_the_end(
            scanned, folder, executor, lasting=temporary is None, progress=progress
        )
    found = Scan(kept, keep=temporary)
    found.network, found.dataset = network, source
    return found


def _expect_whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"expected {name} as a whole number of {least} or more, got {value!r}")


def _warn_of_memory(network: Network, settings: PassSettings, classes: int) -> None:
    channels = sum(network.layers[name].channels or 0 for name in settings.layers)
    total = channels * sum(channel_bytes(settings, classes))
    if total > _MUCH:
        warnings.warn(
            f"the statistics of {len(settings.layers)} layers with {channels:,} channels take "
            f"about {total / 1e9:.1f} GB of memory in every process that scans; pass layers= with "
            f"those that you will look at",
            stacklevel=3,
        )


def _brought_to_the_end(
    scanned: Scanned, folder: Path, executor: Executor | None, *, lasting: bool, progress: bool
) -> Store:
    """Do what is missing in the store of a folder."""
    rules = scanned.rules
    manifest = Manifest.of(
        scanned.network,
        scanned.source,
        rules.settings,
        batch_size=rules.batch_size,
        threads=rules.threads,
        device=scanned.network.device.type,
    )
    reader = Reader.of(scanned.network, scanned.source)
    # Before anything is written, so that a data set that cannot be read leaves no directory.
    entries = started(reader, entries_of(reader, scanned.source))
    with leading(folder):
        store = Store.create(folder, manifest)
        if not store.finished:
            done = sum(span.size for span in store.done())
            with Progress(store.manifest.length, done, shown=progress) as bar:
                run = Run(scanned, store, reader, entries, bar)
                try:
                    run.here() if executor is None else run.spread_over(executor)
                except KeyboardInterrupt:
                    raise KeyboardInterrupt(_interrupted(store, lasting=lasting)) from None
        store.compact()
    return store


def _interrupted(store: Store, *, lasting: bool) -> str:
    if not lasting:
        return "the scan was interrupted; with store=<directory> it would keep what is done"
    done = sum(span.size for span in store.done())
    return (
        f"the scan was interrupted; {done:,} images are done and kept in {store.path}: run the "
        f"same call again, and it goes on"
    )
