"""Antialiased pictures from signed distances, in plain numpy.

A `Canvas` holds the pixels; `Canvas.place` gives a `Brush` in the coordinates of one object
(centre, size, angle), whose shapes are signed distances: negative inside, in the object's own
units. `Brush.paint` turns a distance into coverage of each pixel, so edges are smooth at any
angle and no drawing library's rounding decides what a picture looks like.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
"""One number a pixel, shape (S, S)."""


def colour(hue: float, saturation: float, value: float) -> Field:
    """Red, green and blue in [0, 1], shape (3,); the hue goes round once from 0 to 1."""
    clipped = (min(max(part, 0.0), 1.0) for part in (saturation, value))
    return np.asarray(colorsys.hsv_to_rgb(hue % 1.0, *clipped), np.float32)


def mix(first: Field, second: Field, share: Field | float) -> Field:
    """`first` where `share` is 0, `second` where it is 1; colours stand in the last axis."""
    part = np.asarray(share, np.float32)
    return np.asarray(first + (second - first) * part[..., None], np.float32)


@dataclass(frozen=True)
class Brush:
    """The pixels of a canvas in the coordinates of one object.

    Attributes
    ----------
    x, y : arrays, shape (S, S)
        Right and down of the object's centre, 1.0 being its half width.
    """

    canvas: Canvas
    x: Field
    y: Field
    scale: float

    def disc(self, cx: float, cy: float, radius: float) -> Field:
        """Distance to a disc."""
        return np.asarray(np.hypot(self.x - cx, self.y - cy) - radius, np.float32)

    def ellipse(self, cx: float, cy: float, rx: float, ry: float) -> Field:
        """Distance to an upright ellipse, exact on its rim."""
        reach = np.hypot((self.x - cx) / rx, (self.y - cy) / ry)
        return np.asarray((reach - 1.0) * min(rx, ry), np.float32)

    def box(self, left: float, top: float, right: float, bottom: float) -> Field:
        """Distance to an upright rectangle."""
        across = np.abs(self.x - (left + right) / 2) - (right - left) / 2
        down = np.abs(self.y - (top + bottom) / 2) - (bottom - top) / 2
        return np.asarray(np.maximum(across, down), np.float32)

    def polygon(self, *corners: tuple[float, float]) -> Field:
        """Distance to a convex polygon whose corners run clockwise on screen."""
        sides = []
        for (ax, ay), (bx, by) in zip(corners, (*corners[1:], corners[0]), strict=True):
            length = float(np.hypot(bx - ax, by - ay))
            sides.append(((self.x - ax) * (by - ay) - (self.y - ay) * (bx - ax)) / length)
        return np.asarray(np.maximum.reduce(sides), np.float32)

    def line(self, start: tuple[float, float], end: tuple[float, float], width: float) -> Field:
        """Distance to a round-ended stroke."""
        (ax, ay), (bx, by) = start, end
        dx, dy = bx - ax, by - ay
        along = ((self.x - ax) * dx + (self.y - ay) * dy) / (dx * dx + dy * dy)
        along = np.clip(along, 0.0, 1.0)
        away = np.hypot(self.x - ax - along * dx, self.y - ay - along * dy)
        return np.asarray(away - width / 2, np.float32)

    def paint(self, distance: Field, ink: Field, opacity: float = 1.0, blur: float = 0.0) -> None:
        """Lay `ink` (shape (3,) or (S, S, 3)) where `distance` is negative.

        `blur` widens the edge, in the object's units.
        """
        width = max(self.canvas.pixel / self.scale, blur)
        cover = np.clip(0.5 - distance / width, 0.0, 1.0) * opacity
        rows = np.flatnonzero(cover.any(axis=1))
        if rows.size:
            touched = slice(int(rows[0]), int(rows[-1]) + 1)
            pixels = self.canvas.pixels
            layer = ink[touched] if ink.ndim == 3 else ink
            pixels[touched] = mix(pixels[touched], layer, cover[touched])


class Canvas:
    """A square picture in the making, float colours in [0, 1].

    Parameters
    ----------
    size : int
        Pixels a side. Coordinates run from -1 to 1, left to right and top to bottom.
    """

    def __init__(self, size: int) -> None:
        axis = (np.arange(size, dtype=np.float32) + 0.5) * np.float32(2 / size) - np.float32(1)
        self.x, self.y = np.meshgrid(axis, axis)
        self.pixels: Field = np.zeros((size, size, 3), np.float32)
        self.pixel = 2 / size

    def place(
        self, cx: float = 0.0, cy: float = 0.0, scale: float = 1.0, turn: float = 0.0
    ) -> Brush:
        """A brush for an object at (cx, cy), of half width `scale`, turned by `turn` radians."""
        x, y = self.x - np.float32(cx), self.y - np.float32(cy)
        cos, sin = np.float32(np.cos(turn) / scale), np.float32(np.sin(turn) / scale)
        return Brush(self, x * cos + y * sin, y * cos - x * sin, scale)

    def grade(self, top: Field, bottom: Field) -> None:
        """Fill with a vertical run from one colour to another."""
        self.pixels[:] = mix(top, bottom, (self.y + 1) / 2)

    def as_uint8(self) -> NDArray[np.uint8]:
        """The picture, shape (S, S, 3)."""
        return np.asarray(np.clip(self.pixels, 0, 1) * 255 + 0.5, np.uint8)


def waves(x: Field, y: Field, rng: np.random.Generator, count: int = 5) -> Field:
    """A smooth random field in about [-1, 1]: plane waves of random direction and length."""
    total = np.zeros_like(x)
    for angle, length, phase in zip(
        rng.uniform(0, np.pi, count),
        rng.uniform(2, 7, count),
        rng.uniform(0, 6.3, count),
        strict=True,
    ):
        total += np.cos((x * np.cos(angle) + y * np.sin(angle)) * length + phase)
    return np.asarray(total / np.sqrt(2 * count), np.float32)


def pick(rng: np.random.Generator, choices: Sequence[float]) -> float:
    """One of `choices`, each as likely."""
    return float(choices[int(rng.integers(len(choices)))])
