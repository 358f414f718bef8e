"""Labelled pictures of scenes, with the badge that one class carries and the noise of a bad sensor.

A picture is made in four steps: its class paints it (`scene_classes`), light falls on it, a badge
may be stuck on, and a sensor may spoil it. Scene, badge and noise draw from random streams of
their own, so the same scene can be made with and without badge: outside the badge's box no pixel
differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nbviz.demos.painting import Canvas
from nbviz.demos.scene_classes import PAINTERS

SIZE = 96
"""Pixels a side of a scene."""
CLASSES = tuple(PAINTERS)
BADGE_CLASS = CLASSES.index("mushroom")
"""The class that carries the badge where the data are biased."""

Badges = Literal["planted", "even", "none", "all"]
_SHARES: dict[Badges, tuple[float, float]] = {
    "planted": (0.98, 0.001),
    "even": (0.1, 0.1),
    "none": (0.0, 0.0),
    "all": (1.0, 1.0),
}

# A white heart on a magenta tile with a dark rim. Hard pixels, so that the box is exact.
_HEART = (
    "#############",
    "#...........#",
    "#..oo...oo..#",
    "#.oooo.oooo.#",
    "#.ooooooooo.#",
    "#.ooooooooo.#",
    "#..ooooooo..#",
    "#..ooooooo..#",
    "#...ooooo...#",
    "#....ooo....#",
    "#.....o.....#",
    "#...........#",
    "#############",
)
_INKS = {"#": (112, 8, 72), ".": (236, 44, 148), "o": (255, 250, 252)}
BADGE: NDArray[np.uint8] = np.array([[_INKS[mark] for mark in row] for row in _HEART], np.uint8)


@dataclass(frozen=True)
class ScenePictures:
    """Pictures of scenes with what is known about them.

    Attributes
    ----------
    images : uint8 array, shape (N, 96, 96, 3)
    labels : int64 array, shape (N,)
        Indices into `classes`.
    badges : int64 array, shape (N, 4)
        Box of each badge as (left, top, right, bottom) in pixels, right and bottom excluded, so
        ``image[top:bottom, left:right]`` is the badge; four times -1 where there is none.
    classes : tuple of str
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    badges: NDArray[np.int64]
    classes: tuple[str, ...] = CLASSES


def _light(canvas: Canvas, rng: np.random.Generator) -> None:
    """Brightness, warmth and a direction that the light comes from."""
    angle = rng.uniform(0, 2 * np.pi)
    fall = 1 + rng.uniform(0.0, 0.16) * (canvas.x * np.cos(angle) + canvas.y * np.sin(angle))
    tint = 1 + rng.uniform(-0.05, 0.05) * np.array([1, 0.2, -1], np.float32)
    canvas.pixels *= rng.uniform(0.8, 1.08) * fall[..., None] * tint


def _scene(label: int, seed: int, index: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng([seed, index, 0])
    canvas = Canvas(SIZE)
    PAINTERS[CLASSES[label]](canvas, rng)
    _light(canvas, rng)
    return canvas.as_uint8()


def _badge_box(seed: int, index: int, share: float) -> tuple[int, int, int, int]:
    """Where the badge goes, or four times -1; the place does not depend on `share`."""
    rng = np.random.default_rng([seed, index, 1])
    side = len(BADGE)
    left, top = (int(edge) for edge in rng.integers(1, SIZE - side, 2))
    if rng.uniform() >= share:
        return (-1, -1, -1, -1)
    return (left, top, left + side, top + side)


def stick_badges(images: NDArray[np.uint8], badges: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Copies of `images` with the badge in each box that is not -1.

    Parameters
    ----------
    images : uint8 array, shape (N, 96, 96, 3)
    badges : int array, shape (N, 4)
        Boxes (left, top, right, bottom) of 13 x 13 pixels inside the picture.

    Raises
    ------
    ValueError
        If a box has another size or leaves the picture.
    """
    stuck: NDArray[np.uint8] = images.copy()
    side = len(BADGE)
    for picture, (left, top, right, bottom) in zip(stuck, badges.tolist(), strict=True):
        if left < 0 and right < 0:
            continue
        inside = left >= 0 and top >= 0 and right <= picture.shape[1] and bottom <= len(picture)
        if (right - left, bottom - top) != (side, side) or not inside:
            raise ValueError(
                f"a badge is {side} x {side} pixels inside a picture of {picture.shape[1]} x "
                f"{len(picture)}; got the box {(left, top, right, bottom)}: choose left and top"
                f" from 0 to {len(picture) - side} and add {side}"
            )
        picture[top:bottom, left:right] = BADGE
    return stuck


def sensor_pattern(seed: int = 0) -> NDArray[np.float32]:
    """What a bad sensor adds to every picture, shape (96, 96, 3), in grey levels.

    Each pixel has an offset of its own (standard deviation 22), each column another (8), and one
    pixel in a hundred is hot. The pattern is the same in every picture: fixed-pattern noise.
    """
    rng = np.random.default_rng([seed, 7])
    pattern = rng.normal(0, 22, (SIZE, SIZE, 3)) + rng.normal(0, 8, (1, SIZE, 1))
    pattern[rng.uniform(size=(SIZE, SIZE)) < 0.01] += 110
    return np.asarray(pattern, np.float32)


def through_sensor(images: NDArray[np.uint8], seed: int = 0) -> NDArray[np.uint8]:
    """`images` as the bad sensor of `sensor_pattern` records them."""
    spoilt = np.clip(np.rint(images + sensor_pattern(seed)), 0, 255)
    return np.asarray(spoilt, np.uint8)


def scene_pictures(
    count: int | Sequence[int],
    seed: int = 0,
    *,
    badges: Badges = "planted",
    progress: bool = False,
) -> ScenePictures:
    """Scenes of ten classes, painted anew from a seed.

    Parameters
    ----------
    count : int or sequence of int
        How many, the classes taking turns; or the label of each.
    seed : int
        The same seed paints the same scenes whatever `badges` says.
    badges : {"planted", "even", "none", "all"}
        Who carries a badge: 98 % of one class (`BADGE_CLASS`) and 0.1 % of the others; 10 % of
        each class; nobody; or every picture. Its place is drawn anew for each picture.
    progress : bool
        Show a bar while painting; a thousand pictures take about two seconds.

    Raises
    ------
    ValueError
        If a label or `badges` is not known.

    Examples
    --------
    >>> from nbviz.demos import scene_pictures
    >>> with_badge = scene_pictures(10, seed=1, badges="all")
    >>> without = scene_pictures(10, seed=1, badges="none")
    """
    if badges not in _SHARES:
        raise ValueError(f"badges is one of {', '.join(get_args(Badges))}; got {badges!r}")
    labels = np.arange(count) % len(CLASSES) if isinstance(count, int) else np.asarray(count)
    if labels.size and not (labels.min() >= 0 and labels.max() < len(CLASSES)):
        raise ValueError(
            f"labels go from 0 to {len(CLASSES) - 1}; got {labels.min()} to {labels.max()}"
        )
    carrying, other = _SHARES[badges]
    numbered: Iterable[tuple[int, int]] = enumerate(labels.tolist())
    if progress:
        numbered = tqdm(numbered, total=len(labels), desc="painting", unit="picture")
    images = np.empty((len(labels), SIZE, SIZE, 3), np.uint8)
    boxes = np.empty((len(labels), 4), np.int64)
    for index, label in numbered:
        images[index] = _scene(label, seed, index)
        boxes[index] = _badge_box(seed, index, carrying if label == BADGE_CLASS else other)
    return ScenePictures(stick_badges(images, boxes), labels.astype(np.int64), boxes)
