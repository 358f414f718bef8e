"""How arrays travel between kernel and browser: the one place in Python that packs them.

A packed group of arrays is a plain dict: ``arrays`` describes them in order by name, dtype and
shape, ``buffers`` holds their bytes in the same order. The same dict serves as the value of a
synced trait and, with its buffers taken out, as a custom message; a question of the browser that
carries arrays (a drawing, a frame of a camera) has the same form. ``js/shared/wire.ts`` is the
other half; both are tested against ``tests/fixtures/wire.json``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

#: What a browser has a typed array for. Anything else is refused, never converted on the quiet.
DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")


def pack(arrays: Mapping[str, np.ndarray], **fields: Any) -> dict[str, Any]:
    """Describe and flatten `arrays` for the browser; `fields` ride along as JSON.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Each of a dtype in `DTYPES`; made C-contiguous and little-endian, otherwise sent as it is.
    **fields
        Further JSON values, kept beside ``arrays`` and ``buffers``.

    Raises
    ------
    TypeError
        For a dtype that browsers have no typed array for.

    Examples
    --------
    >>> packed = pack({"norm": np.ones(3, np.float32)}, layer="conv1")
    >>> packed["arrays"], len(packed["buffers"][0])
    ([{'name': 'norm', 'dtype': 'float32', 'shape': [3]}], 12)
    """
    described: list[dict[str, Any]] = []
    buffers: list[memoryview] = []
    for name, array in arrays.items():
        if array.dtype.name not in DTYPES:
            raise TypeError(
                f"array {name!r} has dtype {array.dtype}; convert it to one of {', '.join(DTYPES)}"
            )
        described.append(
            {"name": name, "dtype": array.dtype.name, "shape": [int(n) for n in array.shape]}
        )
        buffers.append(_little_endian(array).reshape(-1).view(np.uint8).data)
    return {**fields, "arrays": described, "buffers": buffers}


def unpack(packed: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Arrays by name from what `pack` made, or the browser (bytes, bytearray, memoryview buffers).

    Raises
    ------
    ValueError
        If descriptions and buffers do not fit together, in number, dtype, shape or bytes.
    """
    entries, buffers = packed["arrays"], packed["buffers"]
    if not isinstance(entries, list) or len(entries) != len(buffers):
        count = len(entries) if isinstance(entries, list) else repr(entries)
        raise ValueError(
            f"expected one buffer an array, got {count} arrays, {len(buffers)} buffers"
        )
    arrays: dict[str, np.ndarray] = {}
    for entry, buffer in zip(entries, buffers, strict=True):
        name, dtype, shape = _described(entry)
        needed = math.prod(shape) * dtype.itemsize
        came = memoryview(buffer).nbytes
        if needed != came:
            raise ValueError(
                f"array {name!r}: shape {shape} of {dtype.name} needs {needed} bytes, {came} came"
            )
        little = np.frombuffer(buffer, dtype.newbyteorder("<"))
        arrays[name] = little.astype(dtype, copy=False).reshape(shape)
    return arrays


def _described(entry: Any) -> tuple[str, np.dtype[Any], tuple[int, ...]]:
    """Name, dtype and shape of an array, if its description is one."""
    fields = entry if isinstance(entry, Mapping) else {}
    name, dtype, shape = (fields.get(key) for key in ("name", "dtype", "shape"))
    sized = isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)
    if not isinstance(name, str) or dtype not in DTYPES or not sized:
        raise ValueError(
            f"expected an array as name, dtype (one of {', '.join(DTYPES)}) and shape, got "
            f"{entry!r:.200}"
        )
    return name, np.dtype(dtype), tuple(shape or ())


def payload_bytes(packed: Mapping[str, Any]) -> int:
    """Bytes of all buffers of a packed group."""
    return sum(len(buffer) for buffer in packed["buffers"])


def _little_endian(array: np.ndarray) -> np.ndarray:
    contiguous = np.ascontiguousarray(array)
    swapped = contiguous.dtype.byteorder == ">" or (
        contiguous.dtype.byteorder == "=" and sys.byteorder == "big"
    )
    return contiguous.astype(contiguous.dtype.newbyteorder("<")) if swapped else contiguous
