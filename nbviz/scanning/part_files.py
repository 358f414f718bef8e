"""The files of a store, each of a range of images: how they are written, opened and checked.

Tables are in Parquet. Features of images are in Arrow's file format (IPC), uncompressed: one column
of fixed-size lists of float32, which lies in the file as in memory, so that of a mapped file only
those rows are read that are asked for. Every file says of which images it is. Parquet has a
checksum of each page; of features each batch carries its CRC-32, which is checked when files are
merged, as else all would have to be read.
"""

from __future__ import annotations

import json
import mmap
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nbviz.scanning.manifest import ScanStoreError

__all__ = ["FeatureFile", "TableFile", "write_features", "write_tables"]

#: What a file says of itself: the images, and of units the layers.
Note = Mapping[str, Any]

# Bytes of features in a batch of a file, which are joined in memory.
_BATCH = 16 << 20


def write_tables(file: BinaryIO, tables: Iterable[pa.Table], note: Note) -> None:
    """Write tables as Parquet, each as a row group."""
    waiting = iter(tables)
    first = next(waiting)
    schema = first.schema.with_metadata(_metadata(note))
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


def write_features(file: BinaryIO, blocks: Iterable[NDArray[np.float32]], note: Note) -> None:
    """Write features, given in blocks of shape (n, D) with D above 0; one is held at a time."""
    waiting = iter(blocks)
    first = next(waiting)
    width = first.shape[1]
    schema = _feature_schema(width, note)
    with pa.ipc.new_file(file, schema) as writer:
        for block in _regrouped(chain([first], waiting), max(1, _BATCH // (4 * width))):
            column = pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), width)
            batch = pa.record_batch([column], schema=schema)
            writer.write_batch(batch, custom_metadata={"crc32": _checksum(block)})


def _regrouped(blocks: Iterable[NDArray[np.float32]], rows: int) -> Iterator[NDArray[np.float32]]:
    """The same in blocks of so many rows, the last one of fewer."""
    waiting: list[NDArray[np.float32]] = []
    missing = rows
    for block in blocks:
        rest = block
        while len(rest):
            piece, rest = rest[:missing], rest[missing:]
            waiting.append(piece)
            missing -= len(piece)
            if not missing:
                yield np.concatenate(waiting)
                waiting, missing = [], rows
    if waiting:
        yield np.concatenate(waiting)


class TableFile:
    """A Parquet file, opened and checked, read a row group at a time.

    Parameters
    ----------
    path : Path
    note : mapping
        What it must say of itself.
    rows : int, optional
        How many it must have.
    """

    def __init__(self, path: Path, note: Note, rows: int | None = None) -> None:
        self.path = path
        with _whole(path, "Parquet"):
            self._file = pq.ParquetFile(path, page_checksum_verification=True)
        count = self._file.metadata.num_rows
        says = self._file.schema_arrow.metadata or {}
        if not (_metadata(note).items() <= says.items() and rows in {None, count}):
            self._file.close()
            raise _foreign(path, note)

    def __enter__(self) -> TableFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def groups(self) -> int:
        """Number of row groups."""
        return int(self._file.num_row_groups)

    def read(self, group: int | None = None) -> pa.Table:
        """A row group, or all of them."""
        with _whole(self.path, "Parquet"):
            if group is None:
                return self._file.read(use_threads=False)
            return self._file.read_row_group(group, use_threads=False)


class FeatureFile:
    """A file of features, mapped into memory and checked.

    It stays mapped, and on Windows cannot be removed, as long as this or a block of it lives.

    Parameters
    ----------
    path : Path
    note : mapping
        What it must say of itself.
    rows : int
        How many it must have.
    """

    def __init__(self, path: Path, note: Note, rows: int) -> None:
        self.path = path
        self.blocks: list[NDArray[np.float32]] = []
        self._checksums: list[bytes | None] = []
        with _whole(path, "Arrow"):
            self._map = _mapped(path)
            self.read_ahead(False)
            file = pa.ipc.open_file(pa.py_buffer(self._map))
            width = _width(file.schema)
            if not file.schema.equals(_feature_schema(width, note), check_metadata=True):
                raise _foreign(path, note)
            for number in range(file.num_record_batches):
                batch, remarks = file.get_batch_with_custom_metadata(number)
                batch.validate()  # else a damaged length could lead out of the file
                values = batch.column(0).values.to_numpy(zero_copy_only=True)
                self.blocks.append(values.reshape(-1, width))
                self._checksums.append((remarks or {}).get(b"crc32"))
        if sum(map(len, self.blocks)) != rows:
            raise _foreign(path, note)

    def read_ahead(self, wanted: bool) -> None:
        """Whether what follows is read from the disk, too, where a row is; at first it is not."""
        if hasattr(mmap, "MADV_RANDOM"):
            self._map.madvise(mmap.MADV_NORMAL if wanted else mmap.MADV_RANDOM)

    def checked(self) -> Iterator[NDArray[np.float32]]:
        """Its blocks, each read whole and compared with its checksum.

        Raises
        ------
        ScanStoreError
            If one is damaged.
        """
        self.read_ahead(True)
        for block, checksum in zip(self.blocks, self._checksums, strict=True):
            if _checksum(block) != checksum:
                raise _damaged(self.path, "Arrow", "its content is another than was written")
            yield block

    def rows(self, first: int, end: int) -> Iterator[NDArray[np.float32]]:
        """The rows from `first` up to before `end`, in blocks."""
        start = 0
        for block in self.blocks:
            piece = block[max(first - start, 0) : max(end - start, 0)]
            if len(piece):
                yield piece
            start += len(block)


def _mapped(path: Path) -> mmap.mmap:
    # Arrow's own way of mapping has the system read all of it in advance.
    with path.open("rb") as file:
        if sys.version_info >= (3, 13) and sys.platform != "win32":
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ, trackfd=False)
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _checksum(block: NDArray[np.float32]) -> bytes:
    return str(zlib.crc32(block.data)).encode()


def _feature_schema(width: int, note: Note) -> pa.Schema:
    column = pa.field("features", pa.list_(pa.float32(), width))
    return pa.schema([column], metadata=_metadata(note))


def _width(schema: pa.Schema) -> int:
    """Of the lists in a file of features; 1 for what is none."""
    lists = [int(kind.list_size) for kind in schema.types if pa.types.is_fixed_size_list(kind)]
    return max([1, *lists])


def _metadata(note: Note) -> dict[bytes, bytes]:
    return {b"nbviz-scan": json.dumps(note).encode()}


def _foreign(path: Path, note: Note) -> ScanStoreError:
    return ScanStoreError(
        f"expected {path} to hold this scan's images {note['first']} to {note['end'] - 1}, but it "
        f"is of another one or was renamed; remove it and scan again: only its images are done anew"
    )


def _damaged(path: Path, kind: str, why: object) -> ScanStoreError:
    return ScanStoreError(
        f"expected {path} to be a whole {kind} file, but it is damaged ({why}); remove it and scan "
        f"again: only its images are done anew"
    )


@contextmanager
def _whole(path: Path, kind: str) -> Iterator[None]:
    """Tell of a damaged file by its name, in one way."""
    try:
        yield
    except (FileNotFoundError, ScanStoreError):
        raise
    except (pa.ArrowException, OSError, EOFError, ValueError) as error:
        raise _damaged(path, kind, error) from error
