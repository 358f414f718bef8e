"""Activations in order of strength, with the image and the place of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nbviz.analysis.unit_statistics.settings import hashed

__all__ = ["Ranked"]

Order = Literal["strongest", "weakest"]


@dataclass(frozen=True, eq=False)
class Ranked:
    """For each channel some activations, each the one of a unit for an image."""

    value: NDArray[np.float32]
    """Shape (channels, k); NaN where there is none."""
    image: NDArray[np.int64]
    """Shape (channels, k), number of the image; -1 where there is none."""
    row: NDArray[np.int32]
    """Shape (channels, k), place of the unit on the layer's grid; 0 for vectors."""
    col: NDArray[np.int32]
    """Shape (channels, k)."""

    @classmethod
    def none(cls, channels: int, count: int = 0) -> Ranked:
        """No activation yet."""
        shape = (channels, count)
        zeros = np.zeros(shape, np.int32)
        return cls(np.full(shape, np.nan, np.float32), np.full(shape, -1, np.int64), zeros, zeros)

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Value, image, row and col."""
        return self.value, self.image, self.row, self.col

    def taken(self, order: NDArray[np.int64]) -> Ranked:
        """The entries of these columns, shape (channels, n), in this order."""
        value, image, row, col = (np.take_along_axis(array, order, 1) for array in self.arrays)
        return Ranked(value, image, row, col)

    def joined(self, other: Ranked) -> Ranked:
        """The entries of both, side by side."""
        pairs = zip(self.arrays, other.arrays, strict=True)
        value, image, row, col = (np.concatenate(pair, 1) for pair in pairs)
        return Ranked(value, image, row, col)

    def best(self, count: int, order: Order) -> Ranked:
        """The first `count` in order, padded where there are fewer.

        Of equal activations the one of the lower image number comes first, then of the higher
        row, then of the column more to the left.
        """
        key = -self.value if order == "strongest" else self.value
        key = np.where(self.image < 0, np.float32(np.inf), key)
        # Entries without an image go last whatever their key: infinity is no activation.
        by = np.lexsort((self.col, self.row, self.image, key), axis=1)[:, :count]
        found = self.taken(by)
        missing = count - found.value.shape[1]
        return found.joined(Ranked.none(len(self.value), missing)) if missing > 0 else found

    def merged(self, other: Ranked, count: int, order: Order) -> Ranked:
        """The first `count` of both, each of which is in order."""
        limit, first = self.value[:, -1], other.value[:, 0]
        beats = first >= limit if order == "strongest" else first <= limit
        rows = (other.image[:, 0] >= 0) & (beats | (self.image[:, -1] < 0))
        if not rows.any():
            return self
        both = self._rows(rows).joined(other._rows(rows)).best(count, order)
        if rows.all():
            return both
        arrays = tuple(array.copy() for array in self.arrays)
        for array, part in zip(arrays, both.arrays, strict=True):
            array[rows] = part
        return Ranked(*arrays)

    def drawn(self, samples: int) -> Ranked:
        """Of entries for the same images in every channel, those of the images drawn.

        Drawn are the images whose numbers have the smallest hashes, in order of number.
        """
        if self.image.size == 0:
            return self
        images = self.image[0]
        chosen = np.argsort(hashed(images), kind="stable")[:samples]
        chosen = chosen[np.argsort(images[chosen], kind="stable")]
        value, image, row, col = (array[:, chosen] for array in self.arrays)
        return Ranked(value, image, row, col)

    def _rows(self, rows: NDArray[np.bool_]) -> Ranked:
        value, image, row, col = (array[rows] for array in self.arrays)
        return Ranked(value, image, row, col)
