"""Colour maps, each 256 sRGB colours, computed in a perceptual space rather than stored.

``sequential`` and the two arms of ``diverging`` run through OKLab (Ottosson 2020, "A perceptual
color space for image processing") with lightness in equal steps, so equal steps of a value look
like equal steps. ``js/shared/colormaps.ts`` computes the same maps; both are tested against
``tests/fixtures/colormaps.json``.
"""

from __future__ import annotations

from functools import cache
from typing import Literal, get_args

import numpy as np

Colormap = Literal["diverging", "sequential", "grey"]
COLORMAPS: tuple[Colormap, ...] = get_args(Colormap)

# Ottosson's matrix from the cube roots of the cone responses to linear sRGB, in two steps.
_LAB_TO_CONES = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_CONES_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


@cache
def colormap(name: Colormap) -> np.ndarray:
    """The 256 colours of a map, from its lowest to its highest value.

    ``sequential`` goes from dark violet through teal to pale yellow; ``diverging`` from
    blue through a light neutral (index 127.5, the value zero) to orange; ``grey`` from black to
    white.

    Returns
    -------
    ndarray, shape (256, 3), uint8
        Read-only.

    Raises
    ------
    ValueError
        For an unknown name.

    Examples
    --------
    >>> colormap("grey")[[0, 128, 255]].tolist()
    [[0, 0, 0], [128, 128, 128], [255, 255, 255]]
    """
    t = np.linspace(0.0, 1.0, 256)
    if name == "grey":
        rgb = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    elif name == "sequential":
        lightness = 0.18 + 0.78 * t
        hue = np.deg2rad(300.0 - 192.0 * t)
        chroma = 0.08 + 0.01 * np.sin(np.pi * t)  # as much as sRGB holds at every step
        rgb = _oklch_to_srgb(lightness, chroma, hue)
    elif name == "diverging":
        arm = np.abs(2.0 * t - 1.0)
        lightness = 0.97 - 0.55 * arm
        hue = np.deg2rad(np.where(t < 0.5, 255.0, 45.0))
        chroma = 0.130 * np.sin(0.5 * np.pi * arm)
        rgb = _oklch_to_srgb(lightness, chroma, hue)
    else:
        raise ValueError(f"unknown colour map {name!r}; use one of {', '.join(COLORMAPS)}")
    rgb.setflags(write=False)
    return rgb


# Lightness, chroma and hue of categories; js/image-map/palette.ts says how they were found.
_CATEGORIES = (
    *((0.62, 0.12, 240), (0.68, 0.12, 84), (0.83, 0.1, 342), (0.74, 0.12, 168), (0.74, 0.18, 312)),
    *((0.8, 0.18, 120), (0.5, 0.18, 264), (0.53, 0.14, 348), (0.5, 0.06, 78), (0.62, 0.04, 348)),
)
_SHIFTS, _SHIFTS_OF_DARK = (0.0, -0.13, 0.1), (0.0, 0.13, 0.24)


@cache
def category_colour(number: int) -> tuple[int, int, int]:
    """The sRGB colour of a category: ten that are told apart by all eyes, then darker and lighter.

    Examples
    --------
    >>> category_colour(0)
    (51, 143, 199)
    """
    lightness, chroma, hue = _CATEGORIES[number % len(_CATEGORIES)]
    shifts = _SHIFTS_OF_DARK if lightness < 0.6 else _SHIFTS
    shift = shifts[number // len(_CATEGORIES) % len(shifts)]
    values = min(0.9, lightness + shift), 0.8 * chroma if shift else chroma, np.deg2rad(hue)
    red, green, blue = _oklch_to_srgb(*(np.array(value) for value in values)).tolist()
    return red, green, blue


def _oklch_to_srgb(lightness: np.ndarray, chroma: np.ndarray, hue: np.ndarray) -> np.ndarray:
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)
    linear = np.clip((lab @ _LAB_TO_CONES.T) ** 3 @ _CONES_TO_RGB.T, 0.0, 1.0)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.power(linear, 1 / 2.4) - 0.055)
    rgb: np.ndarray = np.floor(255.0 * srgb + 0.5).astype(np.uint8)
    return rgb
