"""Features of many images that lie in several places, such as mapped files, read row by row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FeatureRows"]

# One row out of so many is often enough that those between may be read, too.
_DENSE = 4


class FeatureRows:
    """A float32 matrix of which only those rows are read that are asked for.

    Indexed along its rows, by a number, a slice, numbers in an array of any shape, or a mask, it
    gives a new array; ``np.asarray(rows)`` reads all of it.

    Parameters
    ----------
    blocks : sequence of float32 arrays, shape (n, D)
        The rows in order. They are kept, not copied, and with them the files they may be mapped
        from.
    read_ahead : callable, optional
        Told before rows are read whether they are many, so that reading files ahead pays.

    Raises
    ------
    ValueError
        If they are of different widths.

    Examples
    --------
    >>> rows = FeatureRows([np.zeros((2, 3), np.float32), np.ones((4, 3), np.float32)])
    >>> rows, len(rows), rows[[0, 5]].tolist()
    (FeatureRows(6 images, 3 features), 6, [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    """

    dtype = np.dtype(np.float32)
    ndim = 2

    def __init__(
        self,
        blocks: Sequence[NDArray[np.float32]],
        read_ahead: Callable[[bool], None] = lambda _: None,
    ) -> None:
        widths = sorted({block.shape[1] for block in blocks})
        if len(widths) > 1:
            raise ValueError(f"expected features of one width, got {widths}")
        self._blocks, self._read_ahead = list(blocks), read_ahead
        self._starts = np.cumsum([0, *map(len, blocks)])
        self.shape = int(self._starts[-1]), widths[0] if widths else 0

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return self.shape[0] * self.shape[1]

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"FeatureRows({self.shape[0]} images, {self.shape[1]} features)"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("expected that features may be copied, as they lie in several places")
        self._read_ahead(True)
        nothing = np.zeros((0, self.shape[1]), np.float32)
        return np.concatenate([nothing, *self._blocks]).astype(dtype or np.float32, copy=False)

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        """The features of some images.

        Parameters
        ----------
        rows : int, slice, int array of any shape, or bool array of shape (n,)

        Returns
        -------
        float32 array, shape (*rows.shape, D)

        Raises
        ------
        IndexError
            If there is no such row, or it is another kind of index.
        """
        wanted = self._numbers(rows)
        flat = wanted.reshape(-1)
        self._read_ahead(_DENSE * len(flat) > len(self))
        order = np.argsort(flat, kind="stable")  # a file is read from its start to its end
        ascending = flat[order]
        bounds = np.searchsorted(ascending, self._starts).tolist()
        found = np.empty((len(flat), self.shape[1]), np.float32)
        for number, block in enumerate(self._blocks):
            here = slice(bounds[number], bounds[number + 1])
            if here.start < here.stop:
                found[order[here]] = block[ascending[here] - self._starts[number]]
        return found.reshape(*wanted.shape, self.shape[1])

    def _numbers(self, rows: Any) -> NDArray[np.int64]:
        """Numbers of rows, from 0 on."""
        count = len(self)
        if isinstance(rows, slice):
            return np.arange(*rows.indices(count))
        wanted = np.asarray(rows)
        if wanted.dtype == bool and wanted.shape == (count,):
            return np.flatnonzero(wanted)
        if isinstance(rows, tuple) or (wanted.size and wanted.dtype.kind not in "iu"):
            raise IndexError(
                "expected a row, a slice, numbers of rows or a mask of all; for other ways read "
                "all features first, with np.asarray"
            )
        wanted = wanted.astype(np.int64)
        if wanted.size and (wanted.min() < -count or wanted.max() >= count):
            raise IndexError(f"expected rows below {count}, got {wanted.min()} to {wanted.max()}")
        return np.where(wanted < 0, wanted + count, wanted)
