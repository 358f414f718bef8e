"""What shows where a mask covers: for every kind of fill a whole picture to take it from.

A masked input is the image outside the mask, and this picture, the replacement, inside. What a
number in a network's input looks like depends on its normalisation (zero is mostly the mean colour,
not black), so each replacement says in a note what it is in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn import functional

from nbviz.analysis.capture import as_input
from nbviz.analysis.input_picture import input_picture
from nbviz.analysis.masked_boxes import expect_one_image
from nbviz.network import Network

__all__ = ["Fill", "Replacement", "replacement"]

NamedFill = Literal["mean", "grey", "black", "blur", "noise"]
# A colour is three levels of 0 to 255; anything else is a picture or the path of one.
Fill = NamedFill | tuple[int, int, int] | Any

# The share of the picture's longer side that is the standard deviation of the blur.
_BLUR = 1 / 20
# So many pictures of a data set tell its mean colour.
_MOST_PICTURES = 200


@dataclass(frozen=True, eq=False)
class Replacement:
    """What shows where a mask covers.

    Attributes
    ----------
    batch : Tensor, shape (1, C, H, W)
        Prepared, of the image's size.
    name : str
        The kind of fill: "mean", "grey", "black", "blur", "noise", "colour" or "picture".
    note : str
        What it is in pixels, in words for a person.
    """

    batch: Tensor = field(repr=False)
    name: str
    note: str


def replacement(
    network: Network | nn.Module,
    batch: Tensor,
    fill: Fill = "mean",
    *,
    pictures: Sequence[Any] | None = None,
    seed: int = 0,
) -> Replacement:
    """What masks are filled with, as a whole picture of the network's input.

    Parameters
    ----------
    network : Network or nn.Module
    batch : Tensor, shape (1, C, H, W)
        The image that is masked, prepared.
    fill : str, three ints or picture
        "mean": the mean colour of `pictures` if given; else what zero is after the network's
        normalisation; where it has none, the mean colour of the image itself. "grey": (128, 128,
        128). "black". "blur": the image under a Gaussian of a twentieth of its longer side.
        "noise": drawn for each pixel from the normal distribution of the image's values. Three
        ints: a colour, 0 to 255. Anything else: another picture as `Network.prepare` takes it, or
        the path of one, which shows through the mask.
    pictures : sequence, optional
        Of what `Network.prepare` takes, such as a `PictureSet`; at most 200 are read, evenly
        spread.
    seed : int
        Of the noise; the random generators of the process are not touched.

    Raises
    ------
    ValueError, TypeError
        If `fill` is none of these, or a picture gives an input of another shape.

    Examples
    --------
    >>> network = Network(nn.Conv2d(3, 4, 3), input_shape=(3, 8, 8))
    >>> black = replacement(network, torch.rand(1, 3, 8, 8), "black")
    >>> black.note, float(black.batch.abs().max())
    ('black, (0, 0, 0) in pixels', 0.0)
    """
    network = Network.of(network)
    expect_one_image(batch)
    batch = as_input(network, batch.detach())
    if isinstance(fill, str) and fill in get_args(NamedFill):
        if fill == "mean":
            return _mean(network, batch, pictures)
        if fill == "blur":
            return _blurred(batch)
        if fill == "noise":
            return _noise(batch, seed)
        return _plain(network, batch, (0, 0, 0) if fill == "black" else (128, 128, 128), fill)
    if isinstance(fill, tuple | list):
        return _plain(network, batch, _colour(fill), "colour")
    return _picture(network, batch, fill)


def _mean(network: Network, batch: Tensor, pictures: Sequence[Any] | None) -> Replacement:
    if pictures is not None:
        step = -(-len(pictures) // _MOST_PICTURES)
        numbers = range(0, len(pictures), step)
        total = torch.zeros(batch.shape[1], dtype=torch.float64)
        for number in numbers:
            values = network.prepare(pictures[number])[0]
            total += values.cpu().double().mean((1, 2))
        values = total / len(numbers)
        what = f"mean colour of {len(numbers)} pictures of the data set"
    elif (levels := _levels_of_zero(network, batch.shape[1])) is not None:
        colour = tuple(int(level) for level in np.rint(levels))
        shown = colour if len(colour) > 1 else colour[0]
        note = f"mean colour of the normalisation: zero after it, {shown} in pixels"
        return Replacement(torch.zeros_like(batch), "mean", note)
    else:
        values = batch[0].cpu().double().mean((1, 2))
        what = "mean colour of the picture itself"
    whole = values.to(batch).view(1, -1, 1, 1).expand_as(batch).contiguous()
    return Replacement(whole, "mean", f"{what}{_in_pixels(network, whole)}")


def _levels_of_zero(network: Network, channels: int) -> NDArray[np.float64] | None:
    """The levels, 0 to 255, that the network's normalisation turns to zero; None without one."""
    try:
        black, white = (
            _values_of(network, (level,) * 3, channels).cpu().double().numpy() for level in (0, 255)
        )
    except (ValueError, TypeError):
        return None  # the network takes no pictures, so there is nothing between black and white
    if np.any(black * white >= 0):  # zero is black, white, or no colour at all
        return None
    return np.asarray(255 * black / (black - white))


def _values_of(network: Network, colour: Sequence[int], channels: int) -> Tensor:
    """The numbers (C,) of one colour in the network's input.

    Raises
    ------
    ValueError
        If the network takes no pictures.
    """
    side = network.input_shape[-2:] if len(network.input_shape) == 3 else (64, 64)
    pixels = np.empty((*side, 3), np.uint8)
    pixels[:] = colour
    # A transform may draw random numbers; the person's are left as they are.
    with network.undisturbed():
        # What a transform pads with is not the colour; the middle of the values is.
        values = network.prepare(pixels)[0].flatten(1).median(1).values
    if len(values) != channels:
        msg = f"expected the transform to give {channels} channels, got {len(values)}"
        raise ValueError(msg)
    return values


def _plain(network: Network, batch: Tensor, colour: tuple[int, int, int], name: str) -> Replacement:
    try:
        values = _values_of(network, colour, batch.shape[1])
    except (ValueError, TypeError) as error:
        msg = (
            f"expected a network whose input is a grey or RGB picture for a fill in colours "
            f"({error}); take fill='mean', 'blur' or 'noise', or pass a float tensor as the fill"
        )
        raise ValueError(msg) from error
    whole = values.to(batch).view(1, -1, 1, 1).expand_as(batch).contiguous()
    return Replacement(whole, name, f"{name}, {colour} in pixels")


def _colour(fill: Sequence[Any]) -> tuple[int, int, int]:
    whole = [isinstance(level, int | np.integer) and 0 <= level <= 255 for level in fill]
    if len(fill) != 3 or not all(whole):
        msg = (
            f"expected a colour as three whole numbers from 0 to 255 (red, green, blue), got "
            f"{fill!r:.80}; or name one of {', '.join(map(repr, get_args(NamedFill)))}"
        )
        raise ValueError(msg)
    red, green, blue = (int(level) for level in fill)
    return red, green, blue


def _blurred(batch: Tensor) -> Replacement:
    height, width = batch.shape[2:]
    deviation = max(height, width) * _BLUR
    result = batch.double() if batch.device.type != "mps" else batch.float()
    for axis, length in ((2, height), (3, width)):
        reach = min(int(np.ceil(3 * deviation)), length - 1)
        places = torch.arange(-reach, reach + 1, device=batch.device, dtype=result.dtype)
        weights = torch.exp(-0.5 * (places / deviation) ** 2)
        weights = (weights / weights.sum()).view(1, 1, *((-1, 1) if axis == 2 else (1, -1)))
        padding = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        padded = functional.pad(result, padding, mode="reflect")
        kernel = weights.expand(batch.shape[1], 1, *weights.shape[2:])
        result = functional.conv2d(padded, kernel, groups=batch.shape[1])
    note = f"the picture itself, blurred (Gaussian, standard deviation {deviation:.3g} pixels)"
    return Replacement(result.to(batch.dtype), "blur", note)


def _noise(batch: Tensor, seed: int) -> Replacement:
    values = batch[0].cpu().double()
    deviations, means = torch.std_mean(values, dim=(1, 2), correction=0, keepdim=True)
    low, high = values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True)
    drawn = torch.randn(values.shape, generator=torch.Generator().manual_seed(seed))
    noise = (drawn * deviations + means).clamp(low, high)
    note = "noise: each pixel drawn from the normal distribution of the picture's values"
    return Replacement(noise[None].to(batch), "noise", note)


def _picture(network: Network, batch: Tensor, fill: Any) -> Replacement:
    shown = ""
    if isinstance(fill, str | Path):
        path = Path(fill).expanduser()
        if not path.is_file():
            named = ", ".join(map(repr, get_args(NamedFill)))
            msg = (
                f"expected a fill out of {named}, a colour, a picture, or the path of one, but "
                f"{str(fill)!r:.80} is no file"
            )
            raise ValueError(msg)
        with Image.open(path) as opened:
            fill = ImageOps.exif_transpose(opened)
        shown = f" {path.name}"
    values = network.prepare(fill)
    if values.shape != batch.shape:
        msg = (
            f"expected a picture that gives an input of shape {tuple(batch.shape[1:])} to fill "
            f"masks with, got {tuple(values.shape[1:])}; resize it to the image that is masked"
        )
        raise ValueError(msg)
    return Replacement(values, "picture", f"another picture{shown}, at the same place")


def _in_pixels(network: Network, whole: Tensor) -> str:
    """What one colour is in pixels, as the end of a note; nothing where that is not known."""
    seen = input_picture(network, whole[:, :, :1, :1])
    if not seen.exact:
        return ""
    levels = [int(level) for level in seen.pixels[0, 0]]
    return f", {tuple(levels) if len(levels) > 1 else levels[0]} in pixels"
