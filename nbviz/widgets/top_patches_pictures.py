"""The pictures of a `TopPatches`: patches cut out of the data set, side by side, as files.

One image serves many channels, so images as the network saw them are kept, up to a bound.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image
from torch import Tensor

from nbviz.analysis.activations import activations
from nbviz.analysis.input_picture import NO_PICTURE, crossed_out, input_picture
from nbviz.analysis.layers import Layer
from nbviz.analysis.patch_pictures import masked_by_activation, patch
from nbviz.analysis.receptive_field import Box
from nbviz.network import Network
from nbviz.widgets.base import message_of, png_bytes

if TYPE_CHECKING:
    from nbviz.scanning.source import ImageSource

Show = Literal["patch", "image", "masked"]

MAX_BYTES = 64 * 2**20

# What has no more is enlarged without smoothing: few bytes as PNG, and JPEG would blur its colours.
_FEW_PIXELS = 40
_QUALITY = 85
# Maps of all channels are kept where those of so many images fit.
_ALL_CHANNELS = 16


class UnreadableImageError(ValueError):
    """An image of the data set could be read once, and cannot be now."""

    def __init__(self, number: int, name: str | None, error: Exception) -> None:
        told, file = message_of(error), name
        if isinstance(error, OSError) and error.strerror:
            told, file = error.strerror, name or error.filename
        which = f"Image {number}{f' ({file})' if file else ''}"
        super().__init__(f"{which} could not be read: {told}. The other images are not affected.")


@dataclass(frozen=True)
class Place:
    """A unit of one channel, in one image."""

    layer: Layer
    channel: int
    image: int
    """-1 for none."""
    row: int
    col: int

    @property
    def box(self) -> Box:
        """What the unit sees, within the image."""
        return self.layer.box(self.row, self.col)

    @property
    def beyond(self) -> Box | None:
        """The same as if the image went on beyond its edge; None where nothing such is known."""
        field = self.layer.receptive_field
        return None if field is None else field.unclipped(self.row, self.col)


class PatchPictures:
    """Pictures of units in the images of a data set.

    Parameters
    ----------
    network : Network
    source : ImageSource
        Its images are read by number.
    max_bytes : int
        Most bytes of images and maps that are kept.
    """

    def __init__(
        self, network: Network, source: ImageSource, *, max_bytes: int = MAX_BYTES
    ) -> None:
        self.network = network
        self._source = source
        self._max_bytes = max_bytes
        self._kept: OrderedDict[tuple[str, str, int, int], np.ndarray] = OrderedDict()
        self._bytes = 0
        self.problems: dict[int, str] = {}
        """Why images could not be shown, by their number."""

    def prepared(self, number: int) -> Tensor:
        """The network's input for an image of the data set, shape (1, C, H, W).

        Raises
        ------
        UnreadableImageError
            If it cannot be read or prepared any more, whatever the reason.
        """
        try:
            return self.network.prepare(self._source.read(number).picture)
        except Exception as error:
            raise UnreadableImageError(number, self._source.name(number), error) from error

    def picture(self, number: int) -> np.ndarray:
        """An image as the network saw it, uint8 (H, W, 3)."""
        return self._keep(("picture", "", number, -1), lambda: self._seen(number))

    def map(self, layer: Layer, number: int, channel: int) -> np.ndarray:
        """What a channel answers to an image, float32 (rows, columns), by a forward pass."""
        rows, cols = layer.grid or (1, 1)
        small = 4 * rows * cols * (layer.channels or 1) <= self._max_bytes // _ALL_CHANNELS
        # An image that excites one channel mostly excites others, which are asked for next.
        kept = slice(None) if small else slice(channel, channel + 1)
        maps = self._keep(
            ("map", layer.name, number, -1 if small else channel),
            lambda: self._answered(layer, number, kept),
        )
        answer: np.ndarray = maps[channel if small else 0]
        return answer

    def tile(self, place: Place, show: Show, side: int) -> np.ndarray:
        """A picture of a unit in its image, uint8 (side, side, 3).

        One that cannot be made is crossed out, and `problems` says why.
        """
        if place.image < 0:
            return np.full((side, side, 3), NO_PICTURE, np.uint8)
        try:
            made = self._drawn(place, show, side)
        except Exception as error:  # noqa: BLE001 - one image of many: the others are shown
            self.problems[place.image] = message_of(error)
            return crossed_out(side)
        self.problems.pop(place.image, None)
        return made

    def strip(self, places: Sequence[Place], show: Show, side: int) -> bytes:
        """Tiles side by side as a file: PNG of few pixels enlarged, JPEG of many."""
        tiles = [self.tile(place, show, side) for place in places]
        joined = np.concatenate(tiles, axis=1) if tiles else crossed_out(side)
        return _file(joined, max((_pixels(place, show) for place in places), default=0))

    def whole(self, number: int) -> bytes:
        """An image as the network saw it, as a file."""
        picture = self.picture(number)
        return _file(picture, max(picture.shape[:2]))

    def _drawn(self, place: Place, show: Show, side: int) -> np.ndarray:
        picture = self.picture(place.image)
        box, beyond = place.box, place.beyond
        height, width = picture.shape[:2]
        field = place.layer.receptive_field
        if field is not None and field.image != (height, width):
            raise ValueError(
                f"expected an input of {field.image[0]}×{field.image[1]} pixels, with which the "
                f"layers were recorded, got {height}×{width}"
            )
        if show == "image":
            return _with_outline(patch(picture, Box(0, 0, height, width), None, side), box, picture)
        if show == "masked":
            answer = self.map(place.layer, place.image, place.channel)
            picture = masked_by_activation(picture, answer, place.layer, box)
        return patch(picture, box, beyond, side)

    def _seen(self, number: int) -> np.ndarray:
        pixels = input_picture(self.network, self.prepared(number)).pixels
        return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels

    def _answered(self, layer: Layer, number: int, channels: slice) -> np.ndarray:
        found = activations(self.network, self.prepared(number), layer.name)[layer.name]
        answer: np.ndarray = found.maps[channels].copy()
        return answer

    def _keep(self, key: tuple[str, str, int, int], make: Callable[[], np.ndarray]) -> np.ndarray:
        """What is kept under a key, as the one used last; made where it is not there."""
        with self.network.lock:
            known = self._kept.pop(key, None)
            if known is None:
                known = make()
                self._bytes += known.nbytes
            self._kept[key] = known
            while self._bytes > self._max_bytes and self._kept:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
            return known

    @property
    def nbytes(self) -> int:
        """Bytes of all that is kept."""
        return self._bytes


def _pixels(place: Place, show: Show) -> int:
    """The longer side of what is shown, in pixels of the input."""
    field = place.layer.receptive_field
    if show == "image" and field is not None:
        return max(field.image)
    return max(place.box.height, place.box.width)


def _file(picture: np.ndarray, pixels: int) -> bytes:
    """A uint8 picture (H, W, 3) that shows so many pixels: PNG of few, JPEG of many."""
    if pixels <= _FEW_PIXELS:
        return png_bytes(picture)
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()


def _with_outline(tile: np.ndarray, box: Box, picture: np.ndarray) -> np.ndarray:
    """The box on a tile that shows the whole picture, dark beside light."""
    height, width = picture.shape[:2]
    side, longer = len(tile), max(height, width)
    scale = side / longer
    down, across = (longer - height) // 2, (longer - width) // 2
    ends = (box.top + down, box.left + across, box.bottom + down, box.right + across)
    top, left, bottom, right = (round(end * scale) for end in ends)
    drawn: np.ndarray = tile.copy()
    for inset, shade in ((0, 0), (1, 255)):
        rows = slice(max(0, top + inset), max(top + inset + 1, bottom - inset))
        cols = slice(max(0, left + inset), max(left + inset + 1, right - inset))
        drawn[rows, [cols.start, min(cols.stop, side) - 1]] = shade
        drawn[[rows.start, min(rows.stop, side) - 1], cols] = shade
    return drawn
