"""The picture as a network sees it: cropped, resized, and turned back from its numbers to pixels.

A transform ends in a scale and an offset for each channel (mean and standard deviation, [0, 1],
[-1, 1], ...), which no network states in one way. They are found by preparing a black, a white and
a coloured picture, once for each network.
"""

from __future__ import annotations

import weakref
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nbviz.model_input import as_picture, picture_with_channels
from nbviz.network import Network

#: Level of a tile that has no picture.
NO_PICTURE = 205
_CROSS = 120
_PROBE = (64, 128, 192)
# Rounding of half-precision inputs and of a transform's own arithmetic stays below this.
_LEVELS = 1.0


@dataclass(frozen=True)
class InputPicture:
    """What a network was given, as a picture.

    Attributes
    ----------
    pixels : uint8 array, shape (H, W, 3) or (H, W, 1)
        In colour for inputs of three channels, grey otherwise.
    exact : bool
        Whether each value is what the network got, to within one level of 255.
    note : str
        Why it is not, in words for the person; empty if it is.
    """

    pixels: NDArray[np.uint8]
    exact: bool
    note: str

    @property
    def dark(self) -> bool:
        """Whether most of it is darker than the middle grey, as ink on a drawing must know."""
        return bool(np.median(self.pixels) < 128)


@dataclass(frozen=True)
class _Scale:
    """How a transform writes levels 0..255: ``low + (high - low) * level / 255``, by channel."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    order: tuple[int, ...]
    problem: str


# What was found for a network, beside the transform and input shape that it holds for.
_known: MutableMapping[Network, tuple[weakref.ref[Any] | None, Any, _Scale | None]] = (
    weakref.WeakKeyDictionary()
)


def input_picture(network: Network, batch: Tensor) -> InputPicture:
    """The picture in a prepared input, undoing the network's own normalisation.

    Parameters
    ----------
    network : Network
        Its transform is applied to three plain pictures on first use.
    batch : Tensor, shape (1, C, H, W)
        As `network.prepare` gives it, or any input of that shape. Of more images, the first.

    Returns
    -------
    InputPicture
        Not ``exact`` where the input is no picture that the transform could have made (values far
        beyond it, or a number of channels other than 1 and 3): then each channel is stretched from
        its least to its largest value, and of several channels the first is shown. Values that are
        NaN or infinite are black.

    Raises
    ------
    ValueError
        If `batch` has another number of dimensions.

    Examples
    --------
    >>> from torch import nn
    >>> network = Network(nn.Conv2d(3, 4, 3), input_shape=(3, 8, 8))
    >>> grey = np.full((8, 8, 3), 100, np.uint8)
    >>> seen = input_picture(network, network.prepare(grey))
    >>> seen.exact, int(seen.pixels[0, 0, 0])
    (True, 100)
    """
    if batch.ndim != 4 or len(batch) < 1:
        raise ValueError(
            f"expected an input of shape (1, channels, height, width), got {tuple(batch.shape)}; "
            f"network.prepare(image) makes one"
        )
    values = batch[0].detach().cpu().double().permute(1, 2, 0).numpy()
    finite = np.isfinite(values)
    lost = int(values.size - finite.sum())
    notes = [f"{lost} values that are NaN or infinite are shown black"] if lost else []
    if values.shape[2] not in (1, 3):
        notes.append(
            f"the first of {values.shape[2]} channels, from its least value to its largest"
        )
        return _result(_stretched(values[..., :1]), notes)
    scale = _scale_of(network, values.shape[2])
    if scale is None:
        notes.append(
            "the network's transform cannot be undone for this input, so each channel is shown "
            "from its least value to its largest"
        )
        return _result(_stretched(values), notes)
    with np.errstate(invalid="ignore", over="ignore"):
        levels = (values - scale.low) / (scale.high - scale.low) * 255
    kept = levels[finite]
    beyond = kept[(kept < -_LEVELS) | (kept > 255 + _LEVELS)]
    if beyond.size and (beyond.min() < -64 or beyond.max() > 320):
        notes.append(
            "the input holds values that no picture gives, so each channel is shown from its least "
            "value to its largest"
        )
        return _result(_stretched(values)[..., list(scale.order)], notes)
    if beyond.size:
        notes.append(f"{beyond.size} values a little beyond black or white are shown as these")
    if scale.problem:
        notes.append(scale.problem)
    return _result(levels[..., list(scale.order)], notes)


def shown_picture(image: Any, network: Network | None = None) -> Image.Image:
    """A picture of a data set as it may be shown, whatever it is: PIL, RGB.

    Parameters
    ----------
    image : picture
        A PIL image of any mode, an array (H, W), (H, W, 3) or (H, W, 4) of any numbers, or a
        tensor (C, H, W).
    network : Network, optional
        A float tensor is an input of it: its normalisation is undone.

    Returns
    -------
    PIL image
        Of uint8 and images of 8 and 16 bits the levels as they are, transparency over white. Of
        float the range from 0 to 1 is shown, and if there are values beyond, from the least to the
        largest; NaN and infinity are black. Of other than 1 or 3 channels the first.

    Raises
    ------
    TypeError, ValueError
        If it is no picture.

    Examples
    --------
    >>> shown_picture(np.full((2, 3), 0.5)).getpixel((0, 0))
    (128, 128, 128)
    """
    if isinstance(image, Tensor) and image.is_floating_point():
        batch = image[None] if image.ndim == 3 else image
        if network is not None:
            return _in_colour(input_picture(network, network.prepare(batch)).pixels)
        if batch.ndim != 4 or len(batch) != 1:
            raise ValueError(f"expected a picture (C, H, W), got a tensor {tuple(image.shape)}")
        values = batch[0].detach().cpu().double().permute(1, 2, 0).numpy()
        return _in_colour(_as_levels(values))
    if isinstance(image, np.ndarray) and image.dtype != np.uint8 and image.ndim in (2, 3):
        return _in_colour(_as_levels(image if image.ndim == 3 else image[..., None]))
    picture = as_picture(image)
    if picture.mode == "F":
        return _in_colour(_as_levels(np.asarray(picture)[..., None]))
    return picture_with_channels(picture, 3)


def crossed_out(side: int) -> NDArray[np.uint8]:
    """A tile for a picture that cannot be shown, uint8 (side, side, 3): grey, with a cross.

    Examples
    --------
    >>> crossed_out(3)[..., 0].tolist()
    [[120, 205, 120], [205, 120, 205], [120, 205, 120]]
    """
    tile = np.full((side, side, 3), NO_PICTURE, np.uint8)
    rows, cols = np.indices((side, side))
    thick = max(1, side // 24)
    tile[(abs(rows - cols) < thick) | (abs(rows + cols - side + 1) < thick)] = _CROSS
    return tile


def _in_colour(pixels: NDArray[np.uint8]) -> Image.Image:
    three = pixels if pixels.shape[2] == 3 else np.repeat(pixels[..., :1], 3, axis=2)
    return Image.fromarray(np.ascontiguousarray(three))


def _as_levels(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Numbers (H, W, C) of any type as levels."""
    if values.dtype == np.uint16:
        return np.rint(values / 257).astype(np.uint8)
    numbers = values.astype(np.float64)
    finite = np.where(np.isfinite(numbers), numbers, 0)
    whole = values.dtype.kind in "iu" and finite.max(initial=0) > 1
    low, high = finite.min(initial=0), finite.max(initial=0)
    if whole and low >= 0 and high <= 255:
        return finite.astype(np.uint8)
    low, high = min(0.0, low), max(1.0, high)
    levels: NDArray[np.uint8] = np.rint((finite - low) / (high - low) * 255).astype(np.uint8)
    return levels


def _result(levels: NDArray[np.float64], notes: list[str]) -> InputPicture:
    shown = np.rint(np.clip(np.where(np.isfinite(levels), levels, 0), 0, 255)).astype(np.uint8)
    return InputPicture(shown, exact=not notes, note="; ".join(notes))


def _stretched(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each channel's finite values from 0 to 255; a channel of one value stays at 0."""
    finite = np.isfinite(values)
    low = np.where(finite, values, np.inf).min((0, 1), initial=np.inf)
    high = np.where(finite, values, -np.inf).max((0, 1), initial=-np.inf)
    width = np.where(high > low, high - low, 1)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray((values - low) / width * 255)


def _scale_of(network: Network, channels: int) -> _Scale | None:
    """The scale of the network's transform; None if it has none for so many channels."""
    try:
        transform = None if network.transform is None else weakref.ref(network.transform)
        cacheable = True
    except TypeError:  # an object without weak references; held strongly it could hold the network
        transform, cacheable = None, False
    held = _known.get(network) if cacheable else None
    if held is None or held[:2] != (transform, network.input_shape):
        held = (transform, network.input_shape, _measured_safely(network))
        if cacheable:
            _known[network] = held
    scale = held[2]
    return scale if scale is not None and len(scale.low) == channels else None


def _measured_safely(network: Network) -> _Scale | None:
    try:
        # A transform may draw random numbers; the person's are left as they are.
        with network.undisturbed():
            return _measured(network)
    except Exception:  # noqa: BLE001 - a transform of one's own may fail on plain pictures in any way
        return None


def _measured(network: Network) -> _Scale:
    height, width = network.input_shape[-2:]
    black, white, colour = (
        _prepared(network, level, height, width) for level in ((0, 0, 0), (255, 255, 255), _PROBE)
    )
    # What a transform pads with is the same in all; the middle of the values is the picture's.
    low, high, middle = (np.median(values, axis=(1, 2)) for values in (black, white, colour))
    if not np.all(np.isfinite(low) & np.isfinite(high)) or np.any(low == high):
        raise ValueError("expected black and white to differ after the transform")
    levels = (middle - low) / (high - low) * 255
    channels = len(low)
    order = tuple(range(channels))
    if channels == 3:
        nearest = [int(np.abs(levels[c] - _PROBE).argmin()) for c in range(3)]
        off = max(abs(levels[c] - _PROBE[nearest[c]]) for c in range(3))
        if off <= _LEVELS and sorted(nearest) == [0, 1, 2]:
            return _Scale(low, high, tuple(nearest.index(c) for c in range(3)), "")
    grey = np.dot(_PROBE, (0.299, 0.587, 0.114))
    if np.abs(levels - grey).max() <= 2 * _LEVELS:
        return _Scale(low, high, order, "")
    return _Scale(
        low, high, order, "the network's transform is no plain scaling, so brightness is not exact"
    )


def _prepared(
    network: Network, colour: tuple[int, int, int], height: int, width: int
) -> NDArray[np.float64]:
    pixels = np.full((height, width, 3), colour, np.uint8)
    return np.asarray(network.prepare(pixels)[0].double().cpu().numpy())
