"""The directory of a scan: written by many processes, read by this and other programs.

::

    scan.json                          what the scan is of (`Manifest`)
    images/<first>-<end>.parquet       a row an image
    units/<first>-<end>.parquet        a row a channel of a layer, a row group a layer

A pair of files answers for a range of images, and is written whole or not at all
(`nbviz.scanning.range_files`). The images' file is written first, so a range is done when its
units' file is there. Parquet, since a file is one object to write, copy and rename, holds lists
and numbers to the last bit, finds a layer without reading the others, and is read by pandas,
polars, DuckDB and Arrow in any language.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from nbviz.analysis.data_pass import ImageRows
from nbviz.analysis.unit_statistics.statistics import UnitStatistics
from nbviz.scanning.manifest import MANIFEST, Manifest, ScanMismatchError, ScanStoreError
from nbviz.scanning.range_files import (
    RangeFolder,
    Span,
    covering,
    disjoint,
    gaps,
    neighbours_to_merge,
    remove_leftovers,
    write_whole,
)
from nbviz.scanning.tables import (
    image_rows,
    image_table,
    unit_arrays,
    unit_table,
)

__all__ = ["ScanMismatchError", "ScanStoreError", "Store"]

# Images in a merged file, and in a row group of it: what is read at once.
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
        self._units = RangeFolder(path / "units", disjoint)

    @classmethod
    def create(cls, path: str | Path, manifest: Manifest) -> Store:
        """Begin a store, or go on with the one that is there.

        What killed processes left is removed, so no other process may lead a scan into it.

        Raises
        ------
        ScanStoreError
            If there is something else, or a damaged or newer scan.
        ScanMismatchError
            If the scan there is of another network, data set or settings.
        """
        folder = Path(path).expanduser().resolve()
        if folder.exists() and not folder.is_dir():
            raise ScanStoreError(f"expected a directory for the scan, but {folder} is a file")
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / MANIFEST).exists():
            store = cls.open(folder)
            store.manifest.check_same(manifest, folder)
        else:
            foreign = sorted(p.name for p in folder.iterdir() if _is_foreign(p))
            if foreign:
                raise ScanStoreError(
                    f"expected an empty directory or that of a scan, but {folder} holds "
                    f"{', '.join(foreign[:3])}{' and more' if len(foreign) > 3 else ''}; pass a "
                    f"directory of its own as store="
                )
            manifest.write(folder)
            store = cls(folder, manifest)
        for part in (store._images, store._units):
            part.folder.mkdir(exist_ok=True)
            remove_leftovers(part.folder)
            part.remove_uncounted()
        remove_leftovers(folder)
        return store

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
        return self._units.spans() if self._units.folder.is_dir() else []

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
            If images or layers are missing.
        """
        span, names = Span(first, end), self._layer_names
        if span.size < 1 or rows.index.tolist() != list(range(first, end)):
            raise ValueError(
                f"expected a row for each image from {first} to {end - 1}, got "
                f"{len(rows.index)} rows"
            )
        if {*units} != {*names}:
            raise ValueError(f"expected units of the layers {names}, got {[*units]}")
        self._write(self._images, span, [image_table(rows)])
        tables = (unit_table(name, units[name].to_arrays()) for name in names)
        self._write(self._units, span, tables)

    def compact(self, fan_in: int = 32) -> None:
        """Merge files of neighbouring ranges so that few remain. For the leading process.

        Units are merged layer by layer, so that two copies of a layer's statistics are in memory
        at a time. Once all images are done, one file of units is left, and as many of images as it
        takes at 2**20 each.

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
        for part, merged, most in (
            (self._images, self._merged_images, _MOST_IMAGES),
            (self._units, self._merged_units, None),
        ):
            part.remove_uncounted()
            spans = part.spans()
            while group := neighbours_to_merge(spans, fan_in, all_there=finished, most=most):
                whole = Span(group[0].first, group[-1].end)
                with ExitStack() as files:
                    opened = [files.enter_context(self._opened(part, span)) for span in group]
                    self._write(part, whole, merged(opened))
                part.remove(group)
                place = spans.index(group[0])
                spans[place : place + len(group)] = [whole]

    def read_units(self, layer: str) -> UnitStatistics:
        """What a layer's channels answered to the images that are done.

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

    def read_images(self, *, features: bool = True) -> ImageRows:
        """What is known of the images that are done, in order.

        Parameters
        ----------
        features : bool
            Whether to read them too; else they have the shape (n, 0).

        Raises
        ------
        ScanStoreError
            If a file is damaged or missing; the message names it.
        """
        return _retried(lambda: self._read_images(features))

    @property
    def _layer_names(self) -> list[str]:
        return [layer["name"] for layer in self.manifest.layers]

    def _read_units(self, layer: str) -> UnitStatistics:
        row_group = self._layer_names.index(layer)
        settings = self.manifest.pass_settings
        known = self.manifest.layer(layer) or {}
        total = UnitStatistics.empty(known["channels"], settings)
        for span in self.done():
            with self._opened(self._units, span) as file:
                part = UnitStatistics.from_arrays(unit_arrays(file.read(row_group)), settings)
            total = total.merge(part) if total.images else part
        return total

    def _read_images(self, features: bool) -> ImageRows:
        names = ["index", "label", "predicted", "confidence", "reason"]
        done, parts, reached = self.done(), [], 0
        for span in self._images.spans():
            with self._opened(self._images, span) as file:
                table = file.read(None, [*names, "features"] if features else names)
            for wanted in done:
                first, end = max(wanted.first, reached, span.first), min(wanted.end, span.end)
                if first < end:
                    parts.append(image_rows(table.slice(first - span.first, end - first)))
            reached = span.end
        rows = ImageRows.joined(parts)
        expected = sum(span.size for span in done)
        if len(rows.index) != expected:
            raise ScanStoreError(
                f"expected rows of {expected} images in {self._images.folder}, found "
                f"{len(rows.index)}; a file is missing there: put it back, or scan into another "
                f"directory"
            )
        return rows

    def _merged_units(self, files: Sequence[_File]) -> Iterator[pa.Table]:
        settings = self.manifest.pass_settings
        for number, layer in enumerate(self._layer_names):
            total: UnitStatistics | None = None
            for file in files:
                part = UnitStatistics.from_arrays(unit_arrays(file.read(number)), settings)
                total = part if total is None else total.merge(part)
            if total is not None:
                yield unit_table(layer, total.to_arrays())

    def _merged_images(self, files: Sequence[_File]) -> Iterator[pa.Table]:
        waiting: list[pa.Table] = []
        for file in files:
            for group in range(file.groups):
                waiting.append(file.read(group))
                if sum(map(len, waiting)) >= _GROUP_IMAGES:
                    yield pa.concat_tables(waiting).combine_chunks()
                    waiting = []
        if waiting:
            yield pa.concat_tables(waiting).combine_chunks()

    def _write(self, part: RangeFolder, span: Span, tables: Iterable[pa.Table]) -> None:
        note: dict[str, Any] = {"first": span.first, "end": span.end}
        if part is self._units:
            note["layers"] = self._layer_names
        write_whole(part.path(span), lambda file: _write_tables(file, tables, note))

    def _opened(self, part: RangeFolder, span: Span) -> _File:
        layers = self._layer_names if part is self._units else None
        return _File(part.path(span), span, layers)


class _File:
    """A Parquet file of the store, opened and checked, read a row group at a time."""

    def __init__(self, path: Path, span: Span, layers: list[str] | None) -> None:
        self.path = path
        self._file = self._tried(lambda: pq.ParquetFile(path, page_checksum_verification=True))
        try:
            self._check(span, layers)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def groups(self) -> int:
        """Number of row groups."""
        return int(self._file.num_row_groups)

    def read(self, group: int | None, columns: list[str] | None = None) -> pa.Table:
        """A row group, or all of them."""
        if group is None:
            return self._tried(lambda: self._file.read(columns=columns, use_threads=False))
        return self._tried(
            lambda: self._file.read_row_group(group, columns=columns, use_threads=False)
        )

    def _check(self, span: Span, layers: list[str] | None) -> None:
        text = (self._file.schema_arrow.metadata or {}).get(b"nbviz-scan", b"{}")
        note = json.loads(text)
        wanted: dict[str, Any] = {"first": span.first, "end": span.end}
        if layers is not None:
            wanted["layers"] = layers
        rows = span.size if layers is None else None
        if note != wanted or (rows is not None and self._file.metadata.num_rows != rows):
            raise ScanStoreError(
                f"expected {self.path} to hold this scan's images {span.first} to {span.end - 1}, "
                f"but it is of another one or was renamed; remove it and scan again: only its "
                f"images are done anew"
            )

    def _tried(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError, EOFError) as error:
            raise ScanStoreError(
                f"expected {self.path} to be a whole Parquet file, but it is damaged ({error}); "
                f"remove it and scan again: only its images are done anew"
            ) from error


def _retried(read: Callable[[], _Read], attempts: int = 5) -> _Read:
    """What is read. Merging may take a file away meanwhile; then a larger one is there."""
    try:
        return read()
    except FileNotFoundError:
        if attempts == 1:
            raise
        return _retried(read, attempts - 1)


def _write_tables(file: BinaryIO, tables: Iterable[pa.Table], note: Mapping[str, Any]) -> None:
    """Each table as a row group."""
    waiting = iter(tables)
    first = next(waiting)
    schema = first.schema.with_metadata({"nbviz-scan": json.dumps(note)})
    # Dictionaries are tried for nothing on numbers that hardly repeat; the other two columns are
    # those that readers pick rows by.
    with pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        use_dictionary=["layer", "reason"],
        write_statistics=["layer", "channel", "index"],
        write_page_checksum=True,
    ) as writer:
        for table in chain([first], waiting):
            writer.write_table(table.cast(schema), row_group_size=len(table))


def _is_foreign(path: Path) -> bool:
    """Whether a file is neither hidden nor what a killed process left of a store just begun."""
    if path.name.startswith("."):
        return False
    return path.name not in {"images", "units"} or not path.is_dir() or any(path.iterdir())
