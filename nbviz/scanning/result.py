"""A scan as it is read: what every channel answered over a data set, and a row an image."""

from __future__ import annotations

import difflib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from nbviz.analysis.data_pass import ImageRows
from nbviz.analysis.layers import UnknownLayerError
from nbviz.analysis.unit_statistics.settings import PassSettings
from nbviz.analysis.unit_statistics.statistics import UnitStatistics
from nbviz.network import Network
from nbviz.scanning.range_files import Span, gaps, joined
from nbviz.scanning.source import ImageSource
from nbviz.scanning.store import Store

__all__ = ["Scan"]

# Layers kept in memory: some ten megabytes each of a large network.
_KEPT_LAYERS = 4


class Scan:
    """What the channels of a network answered over a data set.

    `nbviz.scan` makes one, `Scan.open` opens one made before. Statistics of a layer are read when
    they are asked for: ``scan["layer4.1.conv2"].peak``. As in a mapping, ``len(scan)``, ``in`` and
    a loop are about layers; `count` says how many images count.

    Of a scan that was interrupted, or is still under way elsewhere, all is as far as it was when
    something was read first. Files of that moment may be gone when another layer is asked for: then
    that layer is read as far as the scan is by then, and so are `images` from there on. So take the
    layer first, then the rows: they are of the same images. `reload` moves on to what is done now.

    Attributes
    ----------
    store : Store
        Where it is kept.
    network : Network or None
        The network that was scanned, once attached.
    dataset : ImageSource or None
        The data set, once attached: what gives the pictures.
    """

    def __init__(self, store: Store, *, keep: Any = None) -> None:
        self.store = store
        self.network: Network | None = None
        self.dataset: ImageSource | None = None
        self._units: OrderedDict[str, UnitStatistics] = OrderedDict()
        # Images that all which was read is of, None if nothing was.
        self._done: list[Span] | None = None
        self._images: ImageRows | None = None
        self._lock = threading.RLock()
        # A temporary directory lives as long as its object. It goes last, after the files mapped
        # from it, as Windows removes none that are.
        self._keep = keep

    @classmethod
    def open(
        cls,
        path: str | Path,
        network: Network | nn.Module | None = None,
        dataset: Any = None,
    ) -> Scan:
        """Open a scan; nothing in it is changed.

        Parameters
        ----------
        path : str or Path
            The directory that was given as ``store=``.
        network, dataset : optional
            As in `attach`.

        Raises
        ------
        ScanStoreError
            If there is no scan, or a damaged or newer one.
        ScanMismatchError
            As in `attach`.
        """
        return cls(Store.open(path)).attach(network, dataset)

    def attach(self, network: Network | nn.Module | None = None, dataset: Any = None) -> Scan:
        """Give the network and the data set that were scanned, for pictures and activations.

        Parameters
        ----------
        network : Network or nn.Module, optional
            Its weights and layers are compared with those that were scanned and, where there is a
            data set, too, what it makes of the first pictures.
        dataset : object, optional
            As for `nbviz.scan`, or an `ImageSource`; its pictures are compared, not its labels.
            Without `transform`, if the network had one.

        Returns
        -------
        Scan
            This one.

        Raises
        ------
        ScanMismatchError
            If they are others; the message says what differs. Then neither is attached.
        """
        manifest = self.store.manifest
        given = None if network is None else Network.of(network)
        if given is not None:
            manifest.check_network(given)
        source = dataset
        if dataset is not None:
            if not isinstance(dataset, ImageSource):
                source = ImageSource(dataset, classes=self.classes, output_names=self.output_names)
            manifest.check_dataset(source)
        given, source = given or self.network, source or self.dataset
        known = (given, source) == (self.network, self.dataset)
        if given is not None and source is not None and not known:
            manifest.check_inputs(given, source)
        self.network, self.dataset = given, source
        return self

    def reload(self) -> Scan:
        """Let go of what was read, so that it is read anew: as far as the scan is by now.

        Returns
        -------
        Scan
            This one.
        """
        with self._lock:
            self.store = Store.open(self.path)
            self._forget(None)
        return self

    @property
    def path(self) -> Path:
        """The directory it is kept in."""
        return self.store.path

    @property
    def finished(self) -> bool:
        """Whether all images of the data set are done."""
        length = self.store.manifest.length
        done = self.store.done() if self._done is None else self._done
        return length is not None and not gaps(done, length)

    @property
    def settings(self) -> PassSettings:
        """What was kept of every channel and image."""
        return self.store.manifest.pass_settings

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers scanned, in execution order."""
        return tuple(layer["name"] for layer in self.store.manifest.layers)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """What the labels 0, 1, ... are called: by the data set, else by the network."""
        manifest = self.store.manifest
        names = manifest.dataset["classes"] or manifest.network["classes"]
        return tuple(names) if names else None

    @property
    def output_names(self) -> tuple[str, ...] | None:
        """What the network calls its outputs, which `ImageRows.predicted` counts."""
        names = self.store.manifest.network["classes"]
        return tuple(names) if names else None

    def layer_info(self, name: str) -> dict[str, Any]:
        """``name``, ``kind``, ``layout``, ``channels``, ``grid`` and ``stride`` of a layer.

        Raises
        ------
        UnknownLayerError
            If it was not scanned; the nearest are named.
        """
        found = self.store.manifest.layer(name)
        if found is None:
            near = difflib.get_close_matches(name, self.layers, n=3, cutoff=0.4)
            offered = near or self.layers[:3]
            raise UnknownLayerError(
                f"expected one of the {len(self.layers)} layers scanned, got {name!r}; there "
                f"{'is' if len(offered) == 1 else 'are'} {', '.join(map(repr, offered))}"
                f"{'' if near else ' and others' if len(self.layers) > 3 else ''} (scan.layers)"
            )
        return dict(found)

    def __getitem__(self, layer: str) -> UnitStatistics:
        """Statistics of the channels of a layer; the last four are kept in memory.

        Raises
        ------
        UnknownLayerError
            As `layer_info` does.
        ScanStoreError
            If a file is damaged.
        """
        self.layer_info(layer)
        with self._lock:
            if layer not in self._units:
                done, units = self.store.read_moment(layer)
                if done != self._done:
                    self._forget(done)
                self._units[layer] = units
            self._units.move_to_end(layer)
            while len(self._units) > _KEPT_LAYERS:
                self._units.popitem(last=False)
            return self._units[layer]

    def __contains__(self, layer: object) -> bool:
        return layer in self.layers

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    @property
    def images(self) -> ImageRows:
        """A row an image.

        Features are not read into memory: of `FeatureRows` those that are asked for come from the
        files, as in ``scan.images.features[[3, 5]]``; ``np.asarray(scan.images.features)`` reads
        all.
        """
        with self._lock:
            if self._images is None:
                if self._done is None:
                    self._done = joined(self.store.done())
                self._images = self.store.read_images(self._done)
            return self._images

    def _forget(self, done: list[Span] | None) -> None:
        self._units.clear()
        self._images, self._done = None, done

    @property
    def skipped(self) -> list[tuple[int, str]]:
        """Number of each image that could not be used, and why.

        The reason begins with the image's path where a folder is attached as data set.
        """
        rows, source = self.images, self.dataset
        found = []
        for number, reason in zip(rows.index.tolist(), rows.reason, strict=True):
            if reason:
                name = None if source is None else source.name(number)
                found.append((number, reason if name is None else f"{name}: {reason}"))
        return found

    @property
    def count(self) -> int:
        """Number of images that count, so without those skipped."""
        return sum(not reason for reason in self.images.reason)

    def __len__(self) -> int:
        """Number of layers."""
        return len(self.layers)

    def __repr__(self) -> str:
        manifest = self.store.manifest
        skipped = len(self.skipped)
        left = f", {skipped:,} skipped" if skipped else ""
        so_far = "" if self.finished else ", not finished"
        layers = f"{len(self)} layer{'' if len(self) == 1 else 's'}"
        return (
            f"Scan({manifest.network['model']}, {layers}, {self.count:,} images{left}{so_far}, "
            f"{str(self.path)!r})"
        )
