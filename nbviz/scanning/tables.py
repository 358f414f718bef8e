"""What is known of units and images as tables of Arrow, which Parquet files hold.

Of units there is a row a channel of a layer, with the columns ``layer``, ``channel`` and one for
each array of `UnitStatistics.to_arrays`: a number, or a list where the array has a second axis.
``images`` stands in every row; ``classes`` and ``class_images``, which belong to the whole layer,
stand in the row of channel 0 and are null in the others. Of images there is a row each, without
their features, which are kept apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from nbviz.analysis.data_pass import ImageRows

__all__ = ["image_rows", "image_table", "unit_arrays", "unit_table"]

# Arrays without an axis of channels.
_OF_LAYER = ("classes", "class_images")


def unit_table(layer: str, arrays: Mapping[str, NDArray[Any]]) -> pa.Table:
    """A row a channel.

    Parameters
    ----------
    layer : str
    arrays : mapping of str to ndarray
        As `UnitStatistics.to_arrays` gives them: of shape (channels,) or (channels, n), but for
        ``images`` () and ``classes`` and ``class_images`` (n,).

    Raises
    ------
    ValueError
        If an array has another shape.
    """
    channels = len(next(array for name, array in arrays.items() if _has_channels(name, array)))
    columns: dict[str, Any] = {
        "layer": pa.array([layer] * channels, pa.string()),
        "channel": pa.array(np.arange(channels, dtype=np.int32)),
    }
    for name, array in arrays.items():
        if array.ndim == 0:
            columns[name] = pa.array(np.full(channels, array))
        elif name in _OF_LAYER:
            offsets = np.full(channels + 1, len(array), np.int32)
            offsets[0] = 0
            nothing = pa.array(np.arange(channels) > 0)
            columns[name] = pa.ListArray.from_arrays(offsets, pa.array(array), mask=nothing)
        elif len(array) == channels and array.ndim in {1, 2}:
            columns[name] = pa.array(array) if array.ndim == 1 else _lists(array)
        else:
            raise ValueError(
                f"expected arrays of shape ({channels},) or ({channels}, n), got {name} of shape "
                f"{array.shape}"
            )
    return pa.table(columns)


def unit_arrays(table: pa.Table) -> dict[str, NDArray[Any]]:
    """The arrays that `unit_table` was given."""
    arrays: dict[str, NDArray[Any]] = {}
    for name in table.column_names:
        if name in {"layer", "channel"}:
            continue
        column = _one(table[name])
        if name in _OF_LAYER:
            arrays[name] = np.array(column[0].values)
        elif name == "images":
            arrays[name] = np.array(column[0].as_py(), np.int64)
        elif pa.types.is_list(column.type):
            arrays[name] = _rectangle(column)
        else:
            arrays[name] = np.array(column)
    return arrays


def image_table(rows: ImageRows) -> pa.Table:
    """A row an image, without features; `reason` is null for images that count."""
    return pa.table(
        {
            "index": pa.array(rows.index),
            "label": pa.array(rows.label),
            "predicted": pa.array(rows.predicted),
            "confidence": pa.array(rows.confidence),
            "reason": pa.array([reason or None for reason in rows.reason], pa.string()),
        }
    )


def image_rows(table: pa.Table) -> ImageRows:
    """The rows that `image_table` was given, with features of width 0."""
    columns = {name: _one(table[name]) for name in table.column_names}
    features = np.zeros((len(table), 0), np.float32)
    numbers = {
        name: np.array(columns[name]) for name in ("index", "label", "predicted", "confidence")
    }
    reasons = [reason or "" for reason in columns["reason"].to_pylist()]
    return ImageRows(**numbers, features=features, reason=reasons)


def _has_channels(name: str, array: NDArray[Any]) -> bool:
    return array.ndim > 0 and name not in _OF_LAYER


def _lists(array: NDArray[Any]) -> pa.Array:
    """The rows of a matrix as lists."""
    rows, width = array.shape
    offsets = np.arange(rows + 1, dtype=np.int64) * width
    if offsets[-1] < 2**31:
        values = pa.array(np.ascontiguousarray(array).reshape(-1))
        return pa.ListArray.from_arrays(offsets.astype(np.int32), values)
    raise ValueError(f"expected fewer than 2**31 values in a table, got an array of {array.shape}")


def _rectangle(column: pa.Array) -> NDArray[Any]:
    """Lists of one length as the rows of a matrix."""
    values = np.array(column.flatten())
    return values.reshape(len(column), len(values) // max(1, len(column)))


def _one(column: pa.ChunkedArray) -> pa.Array:
    """The column in one piece."""
    if column.num_chunks == 1:
        return column.chunk(0)
    joined = column.combine_chunks()
    return joined.chunk(0) if isinstance(joined, pa.ChunkedArray) else joined
