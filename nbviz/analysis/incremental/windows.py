"""Feature maps that are kept, and the windows of them that masks changed.

A kept map lies as rows of channels, one row a place, so that a window is gathered with one
`index_select`. Behind the places stand two rows for what lies outside the map, and behind these the
changed windows of a batch of masks: one index says for every place of every wanted window whether
it comes from the kept map, from a changed window, or from outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

__all__ = ["KeptMap", "Region"]

_ZERO, _LOWEST, _OUTSIDE_ROWS = 0, 1, 2


class KeptMap:
    """One map of the unmasked input, with room for the windows that a batch of masks changed.

    Parameters
    ----------
    values : Tensor, shape (1, C, H, W) or (1, H, W)
    """

    def __init__(self, values: Tensor) -> None:
        self._flat = values.ndim == 3
        places = values[:, None] if self._flat else values
        _, self.channels, self.height, self.width = places.shape
        self.places = self.height * self.width
        self._rows = places.new_empty((self.places + _OUTSIDE_ROWS, self.channels))
        self._rows[: self.places] = places[0].permute(1, 2, 0).reshape(self.places, -1)
        self._rows[self.places + _ZERO] = 0
        self._rows[self.places + _LOWEST] = -torch.inf

    @property
    def element_bytes(self) -> int:
        """Bytes of all channels of one place."""
        return self.channels * self._rows.element_size()

    @cached_property
    def integral(self) -> Tensor:
        """Sums over all places above and to the left, float64, shape (H + 1, W + 1, C)."""
        kept = self._rows[: self.places].view(self.height, self.width, self.channels).double()
        sums = kept.new_zeros((self.height + 1, self.width + 1, self.channels))
        sums[1:, 1:] = kept.cumsum(0).cumsum(1)
        return sums

    @cached_property
    def is_finite(self) -> bool:
        """Whether the sums over the whole map are numbers."""
        return bool(self.integral[-1, -1].isfinite().all())

    def store(self, changed: Tensor) -> None:
        """Put the changed windows of a batch, (B, C, h, w) or (B, h, w), behind the map."""
        rows = changed[:, None] if self._flat else changed
        rows = rows.permute(0, 2, 3, 1).reshape(-1, self.channels)
        first = self.places + _OUTSIDE_ROWS
        if len(self._rows) < first + len(rows):
            grown = self._rows.new_empty((first + len(rows), self.channels))
            grown[:first] = self._rows[:first]
            self._rows = grown
        self._rows[first : first + len(rows)] = rows

    def select(self, index: np.ndarray) -> Tensor:
        """The rows at these numbers, int32 (B, h, w), as (B, C, h, w) that lies channels last."""
        numbers = torch.from_numpy(index.reshape(-1)).to(self._rows.device)
        rows = torch.index_select(self._rows, 0, numbers)
        maps = rows.view(*index.shape, self.channels)
        return maps[..., 0] if self._flat else maps.permute(0, 3, 1, 2)


@dataclass(eq=False)
class Region:
    """The windows of one map that a batch of masks changed; everything else is as kept.

    Attributes
    ----------
    kept : KeptMap or None
        None where nothing behind needs more than the windows.
    changed : Tensor, shape (B, C, h, w) or (B, h, w)
    tops, lefts : ndarray of int32, shape (B,)
        Where the windows lie in the map.
    """

    kept: KeptMap | None
    changed: Tensor
    tops: np.ndarray
    lefts: np.ndarray
    stored: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the windows."""
        return self.changed.shape[-2], self.changed.shape[-1]

    def window(
        self, tops: np.ndarray, lefts: np.ndarray, size: tuple[int, int], *, lowest: bool = False
    ) -> Tensor:
        """Windows of the masked map, wherever they lie; zero outside of it, -inf if `lowest`.

        Parameters
        ----------
        tops, lefts : ndarray of int32, shape (B,)
            May be negative, and the windows may end outside.
        size : pair of int
        """
        if size == self.size and (tops == self.tops).all() and (lefts == self.lefts).all():
            return self.changed
        if self.kept is None:
            raise RuntimeError("a map that is not kept was asked for more than its changed windows")
        if not self.stored:
            self.kept.store(self.changed)
            self.stored = True
        return self.kept.select(self._index(self.kept, tops, lefts, size, lowest=lowest))

    def whole(self) -> Tensor:
        """The whole masked maps, shape (B, C, H, W)."""
        if self.kept is None:
            raise RuntimeError("a map that is not kept was asked for as a whole")
        start = np.zeros(len(self.tops), np.int32)
        return self.window(start, start, (self.kept.height, self.kept.width))

    def _index(
        self,
        kept: KeptMap,
        tops: np.ndarray,
        lefts: np.ndarray,
        size: tuple[int, int],
        *,
        lowest: bool,
    ) -> np.ndarray:
        rows = _along(tops, size[0], self.tops, self.size[0], kept.height)
        cols = _along(lefts, size[1], self.lefts, self.size[1], kept.width)
        index: np.ndarray = (rows.place * kept.width)[:, :, None] + cols.place[:, None, :]
        batch = np.arange(len(tops), dtype=np.int32) * (self.size[0] * self.size[1])
        first = kept.places + _OUTSIDE_ROWS
        moved = (rows.offset * self.size[1] + first + batch[:, None])[:, :, None]
        moved = moved + cols.offset[:, None, :]
        np.copyto(index, moved, where=rows.changed[:, :, None] & cols.changed[:, None, :])
        if not (rows.all_inside and cols.all_inside):
            outside = kept.places + (_LOWEST if lowest else _ZERO)
            inside = rows.inside[:, :, None] & cols.inside[:, None, :]
            np.copyto(index, np.int32(outside), where=~inside)
        return index

    def sums(self) -> Tensor:
        """Sums over all places of the masked maps, shape (B, C).

        From the kept map's sum, less what the windows held, plus what they hold.
        """
        if self.kept is None:
            raise RuntimeError("a map that is not kept was asked for its sum")
        integral = self.kept.integral
        device = integral.device
        top, left = (torch.from_numpy(start).to(device).long() for start in (self.tops, self.lefts))
        bottom, right = top + self.size[0], left + self.size[1]
        old = (
            integral[bottom, right]
            - integral[top, right]
            - integral[bottom, left]
            + integral[top, left]
        )
        # float64 would be converted to channel by channel, which takes many times as long
        new = self.changed.sum((2, 3), dtype=torch.promote_types(self.changed.dtype, torch.float32))
        return (integral[-1, -1] - old + new).to(self.changed.dtype)


@dataclass(frozen=True, eq=False)
class _Along:
    """For each row (or column) of wanted windows where it comes from; arrays (B, n)."""

    place: np.ndarray
    offset: np.ndarray
    changed: np.ndarray
    inside: np.ndarray
    all_inside: bool


def _along(
    starts: np.ndarray, length: int, changed_starts: np.ndarray, changed_length: int, size: int
) -> _Along:
    place = starts[:, None] + np.arange(length, dtype=np.int32)
    offset = place - changed_starts[:, None]
    changed = (offset >= 0) & (offset < changed_length)
    inside = (place >= 0) & (place < size)
    return _Along(place, offset, changed, inside, bool(inside.all()))
