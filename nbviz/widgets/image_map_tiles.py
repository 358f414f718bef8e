"""The pictures of an `ImageMap`: small square tiles of the images of a data set, many in a file.

An image fills its tile whatever its shape; the view draws it with the shape that it has. So no
part of a sheet is empty, and the picture of one image ends where that of the next begins.
"""

from __future__ import annotations

import io
import math
import os
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from nbviz.analysis.input_picture import NO_PICTURE, crossed_out, shown_picture
from nbviz.widgets import wire
from nbviz.widgets.base import message_of

if TYPE_CHECKING:
    from nbviz.network import Network
    from nbviz.scanning.source import ImageSource

MAX_BYTES = 64 * 2**20
#: A side that JPEG's blocks of 8 pixels fill, so that no tile bleeds into the next.
STEP, LARGEST = 8, 256
#: Side of a sheet in pixels, as large as any browser decodes and any WebGL takes.
SHEET = 2048

_QUALITY = 85
# A file that is read at a fraction of its size keeps so many pixels, for its shape to stay.
_FINE = 64
_THREADS = min(4, os.cpu_count() or 1)
# Files that are read at once between two looks at the clock.
_AT_ONCE = 4 * _THREADS


@dataclass(frozen=True, eq=False)
class Tile:
    """One image as a square, or a crossed square."""

    pixels: np.ndarray
    """uint8 (side, side, 3)."""
    aspect: float
    """Width over height of the image."""
    broken: bool = False


@dataclass(frozen=True, eq=False)
class Tiles:
    """Tiles of some rows, in their order."""

    side: int
    rows: Sequence[int]
    tiles: Sequence[Tile]

    @property
    def columns(self) -> int:
        """How many stand side by side on the sheet."""
        return max(1, math.ceil(math.sqrt(len(self.tiles))))

    def sheet(self) -> bytes:
        """All of them as one JPEG, row by row; what is left of the last row is grey."""
        across, side = self.columns, self.side
        down = max(1, -(-len(self.tiles) // across))
        sheet = np.full((down * side, across * side, 3), NO_PICTURE, np.uint8)
        for number, tile in enumerate(self.tiles):
            top, left = number // across * side, number % across * side
            sheet[top : top + side, left : left + side] = tile.pixels
        stream = io.BytesIO()
        Image.fromarray(sheet).save(stream, "JPEG", quality=_QUALITY, subsampling=0)
        return stream.getvalue()

    def arrays(self) -> dict[str, np.ndarray]:
        """What is sent of them."""
        return {
            "rows": np.array(self.rows, np.int32),
            "aspect": np.array([tile.aspect for tile in self.tiles], np.float32),
            "broken": np.array([tile.broken for tile in self.tiles], np.uint8),
            "sheet": np.frombuffer(self.sheet(), np.uint8),
        }

    def packed(self) -> dict[str, Any]:
        """As `TilesState` of the view has it."""
        return wire.pack(self.arrays(), tile=self.side, columns=self.columns)


class ImageTiles:
    """Tiles of the images of a data set, by number.

    Parameters
    ----------
    source : ImageSource
        Read by number.
    network : Network, optional
        Images that are inputs of it already are shown as pictures.
    max_bytes : int
        Most bytes of tiles that are kept.
    """

    def __init__(
        self, source: ImageSource, network: Network | None = None, *, max_bytes: int = MAX_BYTES
    ) -> None:
        self._source, self._network, self._max_bytes = source, network, max_bytes
        self._kept: OrderedDict[tuple[int, int], Tile] = OrderedDict()
        self.nbytes = 0
        """Bytes of all that is kept."""
        self.problems: dict[int, str] = {}
        """Why images could not be shown, by their number."""

    def made(self, numbers: Sequence[int], side: int, seconds: float) -> list[Tile]:
        """Tiles of the first of these images: as many as are done in so long, and one at least."""
        end = time.monotonic() + seconds
        found: list[Tile] = []
        for tile in self._each(numbers, side):
            found.append(tile)
            if time.monotonic() >= end:
                break
        return found

    def _each(self, numbers: Sequence[int], side: int) -> Iterator[Tile]:
        if not self._source.in_files or len(numbers) < 2:
            for number in numbers:
                yield self._kept_or_made(number, side)
            return
        with ThreadPoolExecutor(_THREADS, "nbviz-tiles") as pool:
            for first in range(0, len(numbers), _AT_ONCE):
                some = numbers[first : first + _AT_ONCE]
                missing = [number for number in some if (side, number) not in self._kept]
                made = dict(
                    zip(missing, pool.map(lambda n: self._read(n, side), missing), strict=True)
                )
                for number in some:
                    yield (
                        self._keep(number, side, made[number])
                        if number in made
                        else (self._kept_or_made(number, side))
                    )

    def _kept_or_made(self, number: int, side: int) -> Tile:
        known = self._kept.get((side, number))
        if known is None:
            return self._keep(number, side, self._read(number, side))
        self._kept.move_to_end((side, number))
        return known

    def _read(self, number: int, side: int) -> Tile | str:
        """The tile, or why there is none."""
        try:
            seen = self._source.glance(number, max(side, _FINE))
            picture = shown_picture(seen, self._network)
        except Exception as error:  # noqa: BLE001 - one image of many: the others are shown
            name = self._source.file_name(number)
            return f"{name}: {message_of(error)}" if name else message_of(error)
        return tile_of(picture, side)

    def _keep(self, number: int, side: int, made: Tile | str) -> Tile:
        if isinstance(made, str):  # it is not kept: what failed may come the next time
            self.problems[number] = made
            return Tile(crossed_out(side), 1.0, broken=True)
        self.problems.pop(number, None)
        self._kept[side, number] = made
        self.nbytes += made.pixels.nbytes
        while self.nbytes > self._max_bytes and len(self._kept) > 1:
            self.nbytes -= self._kept.popitem(last=False)[1].pixels.nbytes
        return made


def tile_of(picture: Image.Image, side: int) -> Tile:
    """The whole picture squeezed into a square: smoothly where it is larger, else in blocks."""
    width, height = picture.size
    smaller = min(width, side), min(height, side)
    if smaller != picture.size:
        picture = picture.resize(smaller, Image.Resampling.LANCZOS, reducing_gap=3.0)
    if picture.size != (side, side):
        picture = picture.resize((side, side), Image.Resampling.NEAREST)
    return Tile(np.asarray(picture), width / height)
