"""The directory of a scan: written by many processes, read by this and other programs.

::

    scan.json                          what the scan is of (`Manifest`)
    images/<first>-<end>.parquet       a row an image
    features/<first>-<end>.arrow       a row of features an image, if there are any
    units/<first>-<end>.parquet        a row a channel of a layer, a row group a layer

Files of a range of images are each written whole or not at all (`nbviz.scanning.range_files`). The
units' file is written last, so a range is done when that is there. Parquet, since a file is one
object to write, copy and rename, holds lists and numbers to the last bit, finds a layer without
reading the others, and is read by pandas, polars, DuckDB and Arrow in any language. Features, which
are most of what is known of an image and of which few are needed at a time, are in Arrow's format,
which polars, DuckDB and others read, too, and which can be mapped into memory
(`nbviz.scanning.part_files`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from errno import EACCES, ENOTDIR
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from nbviz.analysis.data_pass import ImageRows
from nbviz.analysis.feature_rows import FeatureRows
from nbviz.analysis.unit_statistics.statistics import UnitStatistics
from nbviz.scanning.manifest import MANIFEST, Manifest, ScanMismatchError, ScanStoreError
from nbviz.scanning.part_files import FeatureFile, TableFile, write_features, write_tables
from nbviz.scanning.range_files import (
    RangeFolder,
    Span,
    covering,
    disjoint,
    gaps,
    joined,
    neighbours_to_merge,
    remove_leftovers,
    write_whole,
)
from nbviz.scanning.store_lock import writable
from nbviz.scanning.tables import (
    image_rows,
    image_table,
    unit_arrays,
    unit_table,
)

__all__ = ["ScanMismatchError", "ScanStoreError", "Store"]

# Images in a merged file, and in a row group of tables: what is read at once.
_MOST_IMAGES, _GROUP_IMAGES = 2**20, 8192
_Read = TypeVar("_Read")


class Store:
    """The directory of a scan.

    `create` is for the one process that leads the scan, `open` for all others: those that work on
    ranges, and those that read.

    Examples
    --------
    >>> import tempfile
    >>> from nbviz import Network
    >>> from nbviz.analysis.unit_statistics.settings import PassSettings
    >>> from nbviz.scanning.source import ImageSource
    >>> network = Network(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), input_shape=(3, 8, 8))
    >>> pictures = ImageSource(np.zeros((20, 8, 8, 3), np.uint8))
    >>> manifest = Manifest.of(network, pictures, PassSettings(("1",)), batch_size=4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = Store.create(folder, manifest)
    ...     store.done(), store.missing(), store.finished
    ([], [Span(first=0, end=20)], False)
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest
        self._images = RangeFolder(path / "images", covering)
        self._features = RangeFolder(path / "features", covering, ".arrow")
        self._units = RangeFolder(path / "units", disjoint)
        self._has_features = manifest.pass_settings.features is not None
        # In the order in which they are written.
        rows = [self._images, self._features] if self._has_features else [self._images]
        self._parts = [*rows, self._units]

    @classmethod
    def create(cls, path: str | Path, manifest: Manifest) -> Store:
        """Begin a store, or go on with the one that is there.

        What killed processes left is removed, so no other process may lead a scan into it. A range
        whose images or features somebody has removed is done anew.

        Raises
        ------
        ScanStoreError
            If there is something else, or a damaged or newer scan.
        ScanMismatchError
            If the scan there is of another network, data set or settings.
        """
        folder = Path(path).expanduser().resolve()
        known = cls.found_at(folder)
        if known is None:
            folder.mkdir(parents=True, exist_ok=True)
            manifest.write(folder)
        else:
            known.check_same(manifest, folder)
        store = cls(folder, known or manifest)
        for part in store._parts:
            part.folder.mkdir(exist_ok=True)
            remove_leftovers(part.folder)
            part.remove_uncounted()
        store._units.remove(store._incomplete())
        remove_leftovers(folder)
        return store

    @classmethod
    def found_at(cls, path: str | Path) -> Manifest | None:
        """What the scan in a directory is of, None where one may be begun; nothing is changed.

        Raises
        ------
        ScanStoreError
            If there is something else, or a damaged or newer scan, or nothing can be written.
        """
        folder = Path(path).expanduser().resolve()
        with writable(folder):
            there = next(place for place in (folder, *folder.parents) if place.exists())
            if not there.is_dir():
                raise NotADirectoryError(ENOTDIR, f"{there} is a file")
            if not os.access(there, os.W_OK | os.X_OK):
                raise PermissionError(EACCES, f"{there} does not let this user write")
            if (folder / MANIFEST).exists():
                return Manifest.read(folder)
            foreign = sorted(p.name for p in folder.glob("*") if _is_foreign(p))
        if foreign:
            raise ScanStoreError(
                f"expected an empty directory or that of a scan, but {folder} holds "
                f"{', '.join(foreign[:3])}{' and more' if len(foreign) > 3 else ''}; pass a "
                f"directory of its own as store="
            )
        return None

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """Open a store; nothing in it is changed.

        Raises
        ------
        ScanStoreError
            If it is no scan, or a damaged or newer one.
        """
        folder = Path(path).expanduser().resolve()
        if not folder.is_dir():
            raise ScanStoreError(
                f"expected the directory of a scan, but {folder} "
                f"{'is a file' if folder.exists() else 'does not exist'}"
            )
        return cls(folder, Manifest.read(folder))

    def done(self) -> list[Span]:
        """Ranges (first, end) of images that are done, in order."""
        return self._units.spans()

    def _incomplete(self) -> list[Span]:
        """Ranges of which there are units, but not all images or features."""
        done = self._units.spans()
        lost = [
            g for part in self._parts[:-1] for g in gaps(part.spans(), done[-1].end if done else 0)
        ]
        return [d for d in done if any(g.first < d.end and d.first < g.end for g in lost)]

    def missing(self) -> list[Span]:
        """Ranges of images that are not done; of a data set of unknown length those between."""
        done = self.done()
        length = self.manifest.length
        return gaps(done, length if length is not None else done[-1].end if done else 0)

    @property
    def finished(self) -> bool:
        """Whether all images of the data set are done."""
        return self.manifest.length is not None and not self.missing()

    def mark_end(self, end: int) -> None:
        """Note how many images a data set has that did not say so. For the leading process."""
        self.manifest = replace(self.manifest, end=end)
        self.manifest.write(self.path)

    def write_shard(
        self, first: int, end: int, rows: ImageRows, units: Mapping[str, UnitStatistics]
    ) -> None:
        """Write what is known of the images from `first` up to before `end`.

        Processes may do so at the same time; of a range written twice the last one stays.

        Parameters
        ----------
        first, end : int
        rows : ImageRows
            One row for each of these images, in order.
        units : mapping of str to UnitStatistics
            One for each layer of the manifest.

        Raises
        ------
        ValueError
            If images, features or layers are missing.
        """
        span, names = Span(first, end), self._layer_names
        if span.size < 1 or rows.index.tolist() != list(range(first, end)):
            raise ValueError(
                f"expected a row for each image from {first} to {end - 1}, got "
                f"{len(rows.index)} rows"
            )
        if {*units} != {*names}:
            raise ValueError(f"expected units of the layers {names}, got {[*units]}")
        features = np.asarray(rows.features, np.float32)
        if len(features) != span.size or (features.shape[1] > 0) != self._has_features:
            raise ValueError(
                f"expected {'' if self._has_features else 'no '}features of each image, got them "
                f"of shape {features.shape}"
            )
        self._write_tables(self._images, span, [image_table(rows)])
        if self._has_features:
            self._write_features(span, [features])
        tables = (unit_table(name, units[name].to_arrays()) for name in names)
        self._write_tables(self._units, span, tables)

    def compact(self, fan_in: int = 32) -> None:
        """Merge files of neighbouring ranges so that few remain. For the leading process.

        Units are merged layer by layer, so that two copies of a layer's statistics are in memory
        at a time. Once all images are done, one file of units is left, and as many of images and
        features as it takes at 2**20 images each.

        Parameters
        ----------
        fan_in : int
            How many files are merged at once; see `neighbours_to_merge`.

        Raises
        ------
        ScanStoreError
            If a file is damaged; the message names it.
        """
        if fan_in < 2:
            raise ValueError(f"expected fan_in of 2 or more, got {fan_in}")
        finished = self.finished
        for part in self._parts:
            part.remove_uncounted()
            spans = part.spans()
            most = None if part is self._units else _MOST_IMAGES
            while group := neighbours_to_merge(spans, fan_in, all_there=finished, most=most):
                whole = Span(group[0].first, group[-1].end)
                self._merge(part, group, whole)
                part.remove(group)
                place = spans.index(group[0])
                spans[place : place + len(group)] = [whole]

    def read_units(self, layer: str) -> UnitStatistics:
        """What a layer's channels answered to the images that are done: see `read_moment`."""
        return self.read_moment(layer)[1]

    def read_moment(self, layer: str) -> tuple[list[Span], UnitStatistics]:
        """What a layer's channels answered to the images that are done, and which these are.

        Only this layer's part of the files is read.

        Raises
        ------
        KeyError
            If the layer was not scanned.
        ScanStoreError
            If a file is damaged; the message names it.
        """
        if layer not in self._layer_names:
            raise KeyError(layer)
        return _retried(lambda: self._read_units(layer))

    def read_images(self, done: Sequence[Span] | None = None) -> ImageRows:
        """What is known of the images that are done, or of those that were, in order.

        Features are not read yet: their files are mapped into memory, and stay so as long as the
        `FeatureRows` live, also when files are merged meanwhile.

        Raises
        ------
        ScanStoreError
            If a file is damaged or missing; the message names it.
        """
        return _retried(lambda: self._read_images(self.done() if done is None else done))

    @property
    def _layer_names(self) -> list[str]:
        return [layer["name"] for layer in self.manifest.layers]

    def _read_units(self, layer: str) -> tuple[list[Span], UnitStatistics]:
        row_group = self._layer_names.index(layer)
        settings = self.manifest.pass_settings
        known = self.manifest.layer(layer) or {}
        total = UnitStatistics.empty(known["channels"], settings)
        done = self.done()
        for span in done:
            with self._table_file(self._units, span) as file:
                part = UnitStatistics.from_arrays(unit_arrays(file.read(row_group)), settings)
            total = total.merge(part) if total.images else part
        return joined(done), total

    def _read_images(self, done: Sequence[Span]) -> ImageRows:
        parts = list[ImageRows]()
        for span, ranges in _needed(done, self._images):
            with self._table_file(self._images, span) as file:
                table = file.read()
            parts += [image_rows(table.slice(r.first - span.first, r.size)) for r in ranges]
        rows = ImageRows.joined(parts)
        _expect_all(done, len(rows.index), self._images)
        if not self._has_features:
            return replace(rows, features=FeatureRows([np.asarray(rows.features)]))
        features = self._mapped_features(done)
        _expect_all(done, len(features), self._features)
        return replace(rows, features=features)

    def _mapped_features(self, done: Sequence[Span]) -> FeatureRows:
        files, blocks = list[FeatureFile](), list[NDArray[np.float32]]()
        for span, ranges in _needed(done, self._features):
            files.append(self._feature_file(span))
            for first, end in ranges:
                blocks += files[-1].rows(first - span.first, end - span.first)

        def read_ahead(wanted: bool) -> None:
            for file in files:
                file.read_ahead(wanted)

        return FeatureRows(blocks, read_ahead)

    def _merge(self, part: RangeFolder, group: Sequence[Span], whole: Span) -> None:
        """Write the file of a range that files of ranges in it are merged into."""
        if part is self._features:
            mapped = map(self._feature_file, group)
            self._write_features(whole, chain.from_iterable(file.checked() for file in mapped))
            return
        merged = self._merged_units if part is self._units else self._merged_images
        with ExitStack() as opened:
            files = [opened.enter_context(self._table_file(part, span)) for span in group]
            self._write_tables(part, whole, merged(files))

    def _merged_units(self, files: Sequence[TableFile]) -> Iterator[pa.Table]:
        settings = self.manifest.pass_settings
        for number, layer in enumerate(self._layer_names):
            total: UnitStatistics | None = None
            for file in files:
                part = UnitStatistics.from_arrays(unit_arrays(file.read(number)), settings)
                total = part if total is None else total.merge(part)
            if total is not None:
                yield unit_table(layer, total.to_arrays())

    def _merged_images(self, files: Sequence[TableFile]) -> Iterator[pa.Table]:
        waiting: list[pa.Table] = []
        for file in files:
            for group in range(file.groups):
                waiting.append(file.read(group))
                if sum(map(len, waiting)) >= _GROUP_IMAGES:
                    yield pa.concat_tables(waiting).combine_chunks()
                    waiting = []
        if waiting:
            yield pa.concat_tables(waiting).combine_chunks()

    def _note(self, part: RangeFolder, span: Span) -> dict[str, Any]:
        """What a file says of itself."""
        layers = {"layers": self._layer_names} if part is self._units else {}
        return {"first": span.first, "end": span.end, **layers}

    def _write_tables(self, part: RangeFolder, span: Span, tables: Iterable[pa.Table]) -> None:
        note = self._note(part, span)
        write_whole(part.path(span), lambda file: write_tables(file, tables, note))

    def _write_features(self, span: Span, blocks: Iterable[NDArray[np.float32]]) -> None:
        note = self._note(self._features, span)
        write_whole(self._features.path(span), lambda file: write_features(file, blocks, note))

    def _table_file(self, part: RangeFolder, span: Span) -> TableFile:
        rows = None if part is self._units else span.size
        return TableFile(part.path(span), self._note(part, span), rows)

    def _feature_file(self, span: Span) -> FeatureFile:
        return FeatureFile(self._features.path(span), self._note(self._features, span), span.size)


def _needed(done: Sequence[Span], part: RangeFolder) -> Iterator[tuple[Span, list[Span]]]:
    """The files that have images which are done, and which of these to take from each."""
    reached = 0
    for span in part.spans():
        pairs = [(max(d.first, span.first, reached), min(d.end, span.end)) for d in done]
        ranges = [Span(first, end) for first, end in pairs if first < end]
        if ranges:
            yield span, ranges
        reached = span.end


def _expect_all(done: Sequence[Span], found: int, part: RangeFolder) -> None:
    expected = sum(span.size for span in done)
    if found != expected:
        raise ScanStoreError(
            f"expected rows of {expected} images in {part.folder}, found {found}; a file is "
            f"missing there: put it back, or scan again: only its images are done anew"
        )


def _retried(read: Callable[[], _Read], attempts: int = 5) -> _Read:
    """What is read. Merging may take a file away meanwhile; then a larger one is there."""
    try:
        return read()
    except FileNotFoundError:
        if attempts == 1:
            raise
        return _retried(read, attempts - 1)


def _is_foreign(path: Path) -> bool:
    """Whether a file is neither hidden nor what a killed process left of a store just begun."""
    if path.name.startswith("."):
        return False
    return (
        path.name not in {"images", "features", "units"} or not path.is_dir() or any(path.iterdir())
    )
