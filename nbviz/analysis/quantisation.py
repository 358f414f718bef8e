"""Kernels in one byte a weight, which is what a browser takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class QuantisedKernels:
    """Kernels in one byte a weight: about ``values / 127 * scale``, zero exactly zero."""

    values: np.ndarray
    """int8, -127 to 127, shape (outputs, inputs per group, height, width)."""
    scale: np.ndarray
    """float32, shape (outputs,): largest finite magnitude of each kernel."""
    nonfinite: np.ndarray | None
    """Bits (`np.packbits`, little) over ``values.ravel()``, set at NaN or infinity, else None."""


def quantise(values: np.ndarray) -> QuantisedKernels:
    """Kernels in one byte a weight, off by at most ``scale / 254`` (and float32 rounding).

    Parameters
    ----------
    values : ndarray, shape (outputs, inputs per group, height, width)
        NaN and infinity become zero and are marked.

    Examples
    --------
    >>> small = quantise(np.float32([[[[0.5, -1.0]]], [[[0.0, np.nan]]]]))
    >>> small.values.ravel().tolist(), small.scale.tolist(), small.nonfinite.tolist()
    ([64, -127, 0, 0], [1.0, 0.0], [8])
    """
    values = np.ascontiguousarray(values, np.float32)
    scale = np.abs(values).reshape(len(values), -1).max(axis=1, initial=0)
    mask = None
    if not np.isfinite(scale).all():
        finite = np.isfinite(values)
        values = np.where(finite, values, np.float32(0))
        scale = np.abs(values).reshape(len(values), -1).max(axis=1, initial=0)
        mask = np.packbits(~finite.ravel(), bitorder="little")
    # Divided before it is multiplied: 127 / scale overflows where a kernel is next to zero.
    each = scale.reshape(-1, *[1] * (values.ndim - 1))
    levels = np.divide(values, each, out=np.zeros_like(values), where=each > 0)
    levels *= 127
    return QuantisedKernels(np.rint(levels, out=levels).astype(np.int8), scale, mask)


def dequantise(quantised: QuantisedKernels) -> np.ndarray:
    """Kernels out of their bytes: float32, NaN where a weight was not finite."""
    scale = quantised.scale.reshape(-1, *[1] * (quantised.values.ndim - 1))
    values: np.ndarray = quantised.values.astype(np.float32) / np.float32(127) * scale
    if quantised.nonfinite is not None:
        bits = np.unpackbits(quantised.nonfinite, count=values.size, bitorder="little")
        values[bits.reshape(values.shape).astype(bool)] = np.nan
    return values
