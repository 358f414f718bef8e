"""Activations in order of strength, with the image and the place of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbviz.analysis.unit_statistics.settings import hashed

__all__ = ["Ranked"]


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

    def joined(self, other: Ranked) -> Ranked:
        """The entries of both, side by side."""
        pairs = zip(self.arrays, other.arrays, strict=True)
        value, image, row, col = (np.concatenate(pair, 1) for pair in pairs)
        return Ranked(value, image, row, col)

    def merged(self, other: Ranked, *, weakest: bool = False) -> Ranked:
        """The first of both, as many as this one holds.

        Of equal activations the one of the lower image number comes first, then of the higher
        row, then of the column more to the left.
        """
        both = self.joined(other)
        key = np.where(both.image < 0, np.float32(np.inf), both.value if weakest else -both.value)
        order = np.lexsort((both.col, both.row, both.image, key), axis=1)
        order = order[:, : self.value.shape[1]]
        value, image, row, col = (np.take_along_axis(array, order, 1) for array in both.arrays)
        return Ranked(value, image, row, col)

    def entered(
        self,
        channel: NDArray[np.int64],
        entries: tuple[NDArray[Any], ...],
        *,
        weakest: bool = False,
    ) -> Ranked:
        """These, with entries that come later: of equal activations they stand behind.

        Parameters
        ----------
        channel : ndarray, int64, shape (n,)
            Channel of each entry.
        entries : tuple of ndarray, each of shape (n,)
            Value (finite), image, row and col, in the order that breaks ties.
        """
        touched, channel = np.unique(channel, return_inverse=True)
        kept = [array[touched] for array in self.arrays]
        count = kept[0].shape[1]
        there = np.flatnonzero(kept[1].reshape(-1) >= 0)
        # All in one list, sorted by channel, activation and number in the list.
        of = np.concatenate([there // count, channel])
        arrays = [
            np.concatenate([old.reshape(-1)[there], new])
            for old, new in zip(kept, entries, strict=True)
        ]
        order = _sorted_by(of, -arrays[0] if not weakest else arrays[0])
        of = of[order]
        nth = np.arange(len(of)) - np.searchsorted(of, np.arange(len(touched)))[of]
        first = nth < count
        result = [array.copy() for array in self.arrays]
        for whole, listed in zip(result, arrays, strict=True):
            whole[touched[of[first]], nth[first]] = listed[order[first]]
        return Ranked(*result)

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


def _sorted_by(group: NDArray[np.int64], key: NDArray[np.float32]) -> NDArray[np.int64]:
    """The order by group, then key; of equal ones the earlier comes first."""
    # A float's bits, made to sort as it does: one sort of whole numbers beats three of a lexsort.
    bits = (key + np.float32(0)).view(np.int32).astype(np.int64)
    ordered = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits) + 2**31
    number = max(len(key) - 1, 1).bit_length()
    groups = int(group.max(initial=0)).bit_length()
    if number + groups > 31:
        return np.lexsort((ordered, group))
    packed = np.sort((group << (32 + number)) | (ordered << number) | np.arange(len(key)))
    result: NDArray[np.int64] = packed & ((1 << number) - 1)
    return result
