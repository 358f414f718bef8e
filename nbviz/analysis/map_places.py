"""Where images stand on a map in whole numbers, and which of them show where room is short."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["MapFrame", "images_nearer", "priority", "thinned"]

#: Places run from 0 to this, x to the right and y down.
LARGEST = 65535
_MARGIN = 0.03
# Of its size, what a frame that follows a moving map loses a step at most, as long as it is no more
# than so many times as large as the map needs.
_SHRINKS = 0.02
_ROOMY = 2.0
_MOVES = 0.2


@dataclass(frozen=True)
class MapFrame:
    """The square part of a plane that whole numbers from 0 to 65535 cover.

    Positions on the plane have y up, as in a scatter plot; places have it down, as on a screen.

    Parameters
    ----------
    x, y : float
        Its middle.
    half : float
        Half of its side, above 0.
    """

    x: float
    y: float
    half: float

    @classmethod
    def around(cls, positions: NDArray[np.floating], *, border: float = 0.0) -> MapFrame:
        """The frame of all positions, float (n, 2), with a margin of 3 % of it at each side.

        Parameters
        ----------
        border : float
            How far what stands at a position reaches around it.

        Examples
        --------
        >>> MapFrame.around(np.array([[0.0, 0.0], [2.0, 1.0]])).places(np.array([[1.0, 0.5]]))
        array([[32768, 32768]], dtype=uint16)
        """
        if not len(positions):
            return cls(0.0, 0.0, 1.0)
        low, high = positions.min(0).astype(float), positions.max(0).astype(float)
        half = float((high - low).max()) / 2 + border
        middle = (low + high) / 2
        return cls(float(middle[0]), float(middle[1]), _with_margin(half))

    def followed(self, positions: NDArray[np.floating]) -> MapFrame:
        """The next frame of a map that moves: it grows at once and shrinks slowly.

        Unless it is far too large: t-SNE begins with the picture of PCA, much smaller.
        """
        now = MapFrame.around(positions)
        if self.half > _ROOMY * now.half:
            return now
        x, y = self.x + _MOVES * (now.x - self.x), self.y + _MOVES * (now.y - self.y)
        reach = float(np.abs(positions - np.array([x, y])).max()) if len(positions) else 0.0
        return MapFrame(x, y, max(_with_margin(reach), (1 - _SHRINKS) * self.half))

    def places(self, positions: NDArray[np.floating]) -> NDArray[np.uint16]:
        """Positions, float (n, 2), as places, uint16 (n, 2); what is beyond stands at the edge."""
        across = (positions[:, 0] - self.x) / self.half
        down = (self.y - positions[:, 1]) / self.half
        scaled = (np.stack([across, down], axis=1) + 1) * (LARGEST / 2)
        return np.clip(np.rint(scaled), 0, LARGEST).astype(np.uint16)

    @property
    def unit(self) -> float:
        """How many places a step of 1 on the plane is."""
        return LARGEST / (2 * self.half)


def _with_margin(half: float) -> float:
    # Where all stand at one point any frame does.
    return max(half, 1e-9) / (1 - 2 * _MARGIN)


def priority(rows: ArrayLike) -> NDArray[np.uint32]:
    """A number for each row, smallest first, by which images are kept where room is short.

    It is a hash with no pattern in the rows, so that any number of the first are spread evenly
    over the data: lowbias32 (Wellons 2018, "Prospecting for Hash Functions"). The view has the
    same; ``tests/fixtures/priority.json`` holds both to it.

    Examples
    --------
    >>> priority([0, 1, 2])
    array([         0, 1753845952, 3507691905], dtype=uint32)
    """
    found = np.asarray(rows).astype(np.uint32)
    found ^= found >> np.uint32(16)
    found *= np.uint32(0x7FEB352D)
    found ^= found >> np.uint32(15)
    found *= np.uint32(0x846CA68B)
    found ^= found >> np.uint32(16)
    return found


def thinned(
    places: NDArray[np.uint16], side: float, ranks: NDArray[np.uint32] | None = None
) -> NDArray[np.int64]:
    """Rows that show as pictures: in each cell of a grid the one of first `priority`.

    Parameters
    ----------
    places : uint16 array, shape (n, 2)
    side : float
        Side of a cell in places.
    ranks : uint32 array, shape (n,), optional
        `priority` of the rows, if it is there already.

    Returns
    -------
    int64 array
        Ascending.
    """
    if not len(places):
        return np.zeros(0, np.int64)
    cells = (places / side).astype(np.int64)
    numbers = cells[:, 1] * (int(LARGEST / side) + 1) + cells[:, 0]
    order = np.lexsort((priority(np.arange(len(places))) if ranks is None else ranks, numbers))
    first = np.concatenate([[True], np.diff(numbers[order]) != 0])
    found: NDArray[np.int64] = np.sort(order[first])
    return found


def images_nearer(
    positions: NDArray[np.floating], row: int, others: NDArray[np.integer]
) -> NDArray[np.int32]:
    """For each of some images, how many lie nearer to one image on the map than it does.

    Parameters
    ----------
    positions : float array, shape (n, 2)
    row : int
        Of the image that is looked from.
    others : int array, shape (k,)

    Returns
    -------
    int32 array, shape (k,)
        0 for the nearest; the image itself does not count.

    Examples
    --------
    >>> images_nearer(np.array([[0.0, 0], [1, 0], [5, 0], [2, 0]]), 0, np.array([2, 1]))
    array([2, 0], dtype=int32)
    """
    away = ((positions - positions[row]) ** 2).sum(1)
    limits = away[others]
    away[row] = np.inf
    return np.array([np.count_nonzero(away < limit) for limit in limits], np.int32)
