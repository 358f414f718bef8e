"""The ten kinds of scene: what is painted for each, and before what.

Every painter takes a canvas and a random generator, and varies place, size, angle and colours.
Seven kinds show an object on a backdrop that any of them may have, so that the backdrop alone does
not give the class away; two are textures that fill the picture; one is a night sky.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nbviz.demos.painting import Brush, Canvas, Field, colour, mix, pick, waves

Painter = Callable[[Canvas, np.random.Generator], None]


def _sky(canvas: Canvas, rng: np.random.Generator) -> None:
    hue = rng.uniform(0.53, 0.62)
    canvas.grade(colour(hue, rng.uniform(0.35, 0.75), 0.95), colour(hue, 0.15, 1.0))
    for _ in range(rng.integers(0, 4)):
        cloud = canvas.place(rng.uniform(-1, 1), rng.uniform(-0.9, 0.3), rng.uniform(0.15, 0.35))
        puffs = [cloud.disc(-0.7, 0.1, 0.45), cloud.disc(0, -0.1, 0.65), cloud.disc(0.7, 0.1, 0.4)]
        shape = np.maximum(np.minimum.reduce(puffs), cloud.y - 0.35)
        cloud.paint(shape, colour(0.6, 0.02, 1.0), opacity=0.85, blur=0.25)


def _dusk(canvas: Canvas, rng: np.random.Generator) -> None:
    canvas.grade(
        colour(rng.uniform(0.68, 0.85), 0.45, rng.uniform(0.5, 0.75)),
        colour(rng.uniform(0.04, 0.12), rng.uniform(0.45, 0.7), 1.0),
    )
    sun = canvas.place(rng.uniform(-0.8, 0.8), rng.uniform(-0.2, 0.5), rng.uniform(0.12, 0.25))
    sun.paint(sun.disc(0, 0, 1), colour(0.12, 0.35, 1.0), opacity=0.9, blur=0.2)


def _meadow(canvas: Canvas, rng: np.random.Generator) -> None:
    _sky(canvas, rng)
    ground = canvas.place()
    for level in (rng.uniform(-0.1, 0.25), rng.uniform(0.3, 0.5)):
        swell = 0.12 * np.sin(ground.x * rng.uniform(1.5, 3) + rng.uniform(0, 6.3))
        green = colour(rng.uniform(0.22, 0.36), rng.uniform(0.4, 0.65), rng.uniform(0.55, 0.8))
        ground.paint(level + swell - ground.y, green)


def _sea(canvas: Canvas, rng: np.random.Generator) -> None:
    _sky(canvas, rng)
    water = canvas.place()
    level = rng.uniform(-0.1, 0.3)
    hue = rng.uniform(0.5, 0.6)
    ripple = np.sin(water.y * rng.uniform(18, 30) + 1.5 * np.sin(water.x * 4 + rng.uniform(0, 6)))
    shade = mix(colour(hue, 0.7, 0.6), colour(hue, 0.5, 0.85), 0.5 + 0.35 * ripple)
    water.paint(level - water.y, shade)


def _sand(canvas: Canvas, rng: np.random.Generator) -> None:
    hue = rng.uniform(0.08, 0.13)
    canvas.grade(colour(hue, 0.3, 0.98), colour(hue, 0.45, 0.85))
    ground = canvas.place(turn=rng.uniform(-0.4, 0.4))
    ridges = np.sin(ground.y * rng.uniform(9, 16) + waves(ground.x, ground.y, rng) * 2)
    canvas.pixels *= (1 + 0.06 * ridges)[..., None]


def _deep(canvas: Canvas, rng: np.random.Generator) -> None:
    hue = rng.uniform(0.48, 0.6)
    canvas.grade(colour(hue, 0.55, 0.9), colour(hue + 0.05, 0.8, 0.4))
    water = canvas.place()
    places = rng.uniform(-1, 1, (int(rng.integers(2, 7)), 2))
    bubbles = [np.abs(water.disc(cx, cy, rng.uniform(0.03, 0.08))) - 0.01 for cx, cy in places]
    water.paint(np.minimum.reduce(bubbles), colour(hue, 0.1, 1.0), opacity=0.7)


def _paper(canvas: Canvas, rng: np.random.Generator) -> None:
    tint = colour(rng.uniform(), rng.uniform(0.08, 0.35), rng.uniform(0.8, 1.0))
    canvas.pixels[:] = tint * (1 + 0.05 * waves(canvas.x * 2, canvas.y * 2, rng))[..., None]


def _night(canvas: Canvas, rng: np.random.Generator) -> None:
    hue = rng.uniform(0.6, 0.74)
    canvas.grade(colour(hue, 0.75, rng.uniform(0.15, 0.3)), colour(hue - 0.05, 0.55, 0.5))
    sky = canvas.place()
    places = rng.uniform(-1, 1, (int(rng.integers(6, 16)), 2))
    stars = [sky.disc(cx, cy, rng.uniform(0.012, 0.035)) for cx, cy in places]
    sky.paint(np.minimum.reduce(stars), colour(0.15, 0.1, 1.0), opacity=0.9, blur=0.03)


_BACKDROPS: tuple[Painter, ...] = (_sky, _dusk, _meadow, _sea, _sand, _deep, _paper, _night)


def _backdrop(canvas: Canvas, rng: np.random.Generator, *usual: Painter) -> None:
    """One of the usual backdrops in six of ten pictures, any of all in the others."""
    choices = usual if usual and rng.uniform() < 0.6 else _BACKDROPS
    choices[int(rng.integers(len(choices)))](canvas, rng)


def _object(
    canvas: Canvas,
    rng: np.random.Generator,
    lean: float = 0.25,
    sizes: tuple[float, float] = (0.42, 0.75),
) -> Brush:
    scale = rng.uniform(*sizes)
    room = max(0.0, 0.85 - scale)
    cx, cy = rng.uniform(-room, room, 2)
    return canvas.place(cx, cy, scale, rng.uniform(-lean, lean))


def _apart(rng: np.random.Generator, reach: float) -> tuple[float, float]:
    """A place up to `reach` from the middle each way."""
    return rng.uniform(-reach, reach), rng.uniform(-reach, reach)


def _bright(rng: np.random.Generator) -> Field:
    return colour(rng.uniform(), rng.uniform(0.6, 0.95), rng.uniform(0.75, 1.0))


def _two_bright(rng: np.random.Generator) -> tuple[Field, Field]:
    hue = rng.uniform()
    first = colour(hue, rng.uniform(0.65, 0.95), rng.uniform(0.75, 1.0))
    if rng.uniform() < 0.35:
        return first, colour(0.13, 0.08, 1.0)
    return first, colour(hue + rng.uniform(0.2, 0.8), rng.uniform(0.5, 0.9), rng.uniform(0.7, 1.0))


def _lit(ink: Field, light: NDArray[np.floating]) -> Field:
    """`ink` (shape (3,) or (S, S, 3)) made brighter or darker at each pixel."""
    return np.asarray(ink * light[..., None], np.float32)


def _rounded(brush: Brush, ink: Field, cx: float, cy: float, reach: float) -> Field:
    """`ink` lit from the upper left, as on a ball."""
    light = np.clip(1.12 - 0.45 * np.hypot(brush.x - cx, brush.y - cy) / reach, 0.5, 1.15)
    return _lit(ink, light)


def balloon(canvas: Canvas, rng: np.random.Generator) -> None:
    """A hot-air balloon in stripes, with its basket."""
    _backdrop(canvas, rng, _sky, _dusk, _meadow)
    brush = _object(canvas, rng, 0.2)
    cord = colour(0.08, 0.5, 0.3)
    for side in (-1, 1):
        brush.paint(brush.line((side * 0.3, 0.35), (side * 0.12, 0.8), 0.03), cord)
    brush.paint(brush.box(-0.15, 0.76, 0.15, 1.0), colour(0.08, 0.6, rng.uniform(0.4, 0.65)))
    taper = brush.polygon((-0.66, -0.12), (0.66, -0.12), (0.18, 0.62), (-0.18, 0.62))
    envelope = np.minimum(brush.disc(0, -0.3, 0.7), taper)
    width = np.sqrt(np.clip(1 - ((brush.y + 0.3) / 1.05) ** 2, 0.02, 1)) * 0.72
    meridian = np.arcsin(np.clip(brush.x / width, -1, 1))
    first, second = _two_bright(rng)
    stripes = np.clip(np.sin(meridian * rng.integers(5, 9) + rng.uniform(0, 6)) * 4 + 0.5, 0, 1)
    brush.paint(envelope, _rounded(brush, mix(first, second, stripes), -0.3, -0.5, 1.2))


def sailboat(canvas: Canvas, rng: np.random.Generator) -> None:
    """A boat with two sails on water."""
    _backdrop(canvas, rng, _sea, _sea, _dusk)
    brush = _object(canvas, rng, 0.12)
    brush.paint(brush.line((0, -0.95), (0, 0.5), 0.05), colour(0.08, 0.5, 0.35))
    first, second = _two_bright(rng)
    side = pick(rng, (-1, 1))
    main = [(0.06, -0.9), (0.75, 0.38), (0.06, 0.38)]
    jib = [(-0.06, -0.7), (-0.06, 0.38), (-0.6, 0.38)]
    for corners, ink in ((main, first), (jib, second)):
        turned = [(side * x, y) for x, y in corners]
        sail = brush.polygon(*(turned if side > 0 else turned[::-1]))
        brush.paint(sail, _lit(ink, 1.08 - 0.25 * np.abs(brush.x)))
    hull = brush.polygon((-0.8, 0.45), (0.8, 0.45), (0.5, 0.8), (-0.5, 0.8))
    brush.paint(hull, colour(rng.uniform(), rng.uniform(0.4, 0.9), rng.uniform(0.35, 0.8)))
    crest = 0.72 + 0.04 * np.sin(brush.x * 14 + rng.uniform(0, 6)) - brush.y
    foam = np.maximum(crest, np.maximum(np.abs(brush.x) - 0.95, brush.y - 0.85))
    brush.paint(foam, colour(0.52, rng.uniform(0.2, 0.5), 0.95))


def house(canvas: Canvas, rng: np.random.Generator) -> None:
    """A house with roof, door and windows."""
    _backdrop(canvas, rng, _meadow, _sky, _sand)
    brush = _object(canvas, rng, 0.08)
    half = rng.uniform(0.6, 0.85)
    roof = colour(
        pick(rng, (0.0, 0.03, 0.6, 0.9, 0.33)), rng.uniform(0.5, 0.85), rng.uniform(0.4, 0.8)
    )
    chimney = pick(rng, (-0.45, 0.35))
    brush.paint(brush.box(chimney, -0.8, chimney + 0.16, -0.2), roof * 0.7)
    wall = colour(rng.uniform(), rng.uniform(0.1, 0.45), rng.uniform(0.8, 1.0))
    brush.paint(brush.box(-half, -0.1, half, 0.85), wall)
    tip = rng.uniform(-0.95, -0.7)
    gable = brush.polygon((0, tip), (half + 0.15, -0.08), (-half - 0.15, -0.08))
    tiles = np.clip(np.sin(brush.y * 36) * 2, -1, 1)
    brush.paint(gable, _lit(roof, 1 + 0.12 * tiles))
    pane = colour(pick(rng, (0.14, 0.55)), 0.45, 0.98)
    frame = colour(0.1, 0.05, 1.0)
    for cx in (-half * 0.55, half * 0.55):
        brush.paint(brush.box(cx - 0.17, 0.08, cx + 0.17, 0.42), frame)
        for dx in (-0.075, 0.075):
            brush.paint(brush.box(cx + dx - 0.06, 0.12, cx + dx + 0.06, 0.38), pane)
    brush.paint(brush.box(-0.14, 0.4, 0.14, 0.85), _bright(rng) * 0.7)


def pine(canvas: Canvas, rng: np.random.Generator) -> None:
    """A fir in tiers, sometimes snowy."""
    _backdrop(canvas, rng, _meadow, _sky, _dusk, _night)
    brush = _object(canvas, rng, 0.1)
    brush.paint(brush.box(-0.1, 0.6, 0.1, 1.0), colour(0.07, 0.6, rng.uniform(0.3, 0.5)))
    green = colour(rng.uniform(0.26, 0.45), rng.uniform(0.45, 0.8), rng.uniform(0.35, 0.65))
    tiers = int(rng.integers(3, 5))
    slim = rng.uniform(0.5, 0.75)
    snow = rng.uniform() < 0.3
    for tier in reversed(range(tiers)):
        top = -1 + 1.25 * tier / tiers
        base = top + 1.75 / tiers
        half = slim * (0.45 + 0.55 * (tier + 1) / tiers)
        shape = brush.polygon((0, top), (half, base), (-half, base))
        lit = _lit(green, 1.05 - 0.3 * np.clip(brush.x / half, -1, 1))
        brush.paint(shape, lit * (0.85 + 0.3 * (1 - tier / tiers)))
        if snow:
            cap = np.maximum(shape, brush.y - top - 0.3 / tiers - 0.05 * np.cos(brush.x * 20))
            brush.paint(cap, colour(0.6, 0.05, 1.0))


def flower(canvas: Canvas, rng: np.random.Generator) -> None:
    """A flower with petals round a centre, on a stem with a leaf."""
    _backdrop(canvas, rng, _meadow, _paper, _sky)
    brush = _object(canvas, rng, 0.3)
    green = colour(rng.uniform(0.26, 0.38), rng.uniform(0.5, 0.8), rng.uniform(0.4, 0.7))
    brush.paint(brush.line((0, 0), (0.05, 1.1), 0.09), green)
    side = pick(rng, (-1, 1))
    leaf = np.maximum(brush.disc(side * 0.1, 0.62, 0.32), brush.disc(side * 0.38, 0.9, 0.32))
    brush.paint(leaf, green * 1.15)
    radius = np.hypot(brush.x, brush.y + 0.25)
    angle = np.arctan2(brush.y + 0.25, brush.x) + rng.uniform(0, 6.3)
    petals = int(rng.integers(5, 9))
    rim = 0.46 + 0.2 * np.abs(np.cos(angle * petals / 2)) ** 0.7
    ink = _bright(rng)
    shade = mix(ink * 0.7, ink, np.clip(radius / 0.5, 0, 1))
    brush.paint(np.asarray(radius - rim, np.float32), shade)
    heart = colour(rng.uniform(0.08, 0.16), 0.85, rng.uniform(0.55, 1.0))
    brush.paint(brush.disc(0, -0.25, rng.uniform(0.18, 0.26)), heart)


def fish(canvas: Canvas, rng: np.random.Generator) -> None:
    """A fish with bars across its body."""
    _backdrop(canvas, rng, _deep, _deep, _sea, _paper)
    brush = _object(canvas, rng, 0.35)
    if rng.uniform() < 0.5:
        brush = Brush(canvas, -brush.x, brush.y, brush.scale)
    first, second = _two_bright(rng)
    tail = brush.polygon((0.4, 0), (0.95, -0.45), (0.95, 0.45))
    fork = np.maximum(tail, -brush.disc(1.12, 0, 0.28))
    brush.paint(fork, second * 0.9)
    brush.paint(brush.polygon((-0.3, -0.3), (0.1, -0.68), (0.4, -0.2)), second * 0.9)
    tall = rng.uniform(0.38, 0.52)
    bars = np.clip(np.sin(brush.x * rng.uniform(9, 15) + 0.6 * np.cos(brush.y * 4)) * 4 + 0.5, 0, 1)
    skin = mix(first, second, bars * np.clip((brush.x + 0.45) * 12, 0, 1))
    body = brush.ellipse(-0.1, 0, 0.7, tall)
    brush.paint(body, _lit(skin, np.clip(1.1 - 0.5 * brush.y, 0.7, 1.2)))
    brush.paint(brush.disc(-0.55, -0.1, 0.11), colour(0, 0, 1.0))
    brush.paint(brush.disc(-0.57, -0.1, 0.055), colour(0, 0, 0.05))


def mushroom(canvas: Canvas, rng: np.random.Generator) -> None:
    """One to three toadstools, round, flat or pointed, with spots or rings or plain."""
    _backdrop(canvas, rng)
    brush = _object(canvas, rng, 0.25, (0.24, 0.5))
    for _ in range(rng.integers(0, 3)):
        aside = np.float32(pick(rng, (-1, 1)) * rng.uniform(0.6, 0.9))
        small = rng.uniform(0.45, 0.65)
        beside = Brush(
            canvas, (brush.x - aside) / small, (brush.y - 0.4) / small, brush.scale * small
        )
        _toadstool(beside, rng)
    _toadstool(brush, rng)


def _toadstool(brush: Brush, rng: np.random.Generator) -> None:
    pale = colour(rng.uniform(0.06, 0.16), rng.uniform(0.05, 0.4), rng.uniform(0.7, 1.0))
    slim = rng.uniform(0.1, 0.22)
    stem = np.maximum(np.abs(brush.x) - slim - 0.1 * brush.y**2, np.abs(brush.y - 0.35) - 0.55)
    brush.paint(stem, _lit(pale, 1.0 - 0.35 * np.clip(brush.x / 0.3, -0.3, 1)))
    tall = rng.uniform(0.35, 0.9)
    cap = np.maximum(brush.ellipse(0, 0.08, 0.85, tall), brush.y - 0.12)
    if rng.uniform() < 0.3:
        tall = 0.9
        cap = brush.polygon((0, -0.9), (0.7, 0.12), (-0.7, 0.12))
    ink = colour(rng.uniform(), rng.uniform(0.3, 0.95), rng.uniform(0.45, 1.0))
    brush.paint(cap, _rounded(brush, ink, -0.3, -0.4, 1.2))
    mark = rng.uniform()
    if mark < 0.55:
        spots = [
            (-0.45, -0.15),
            (0, -0.35),
            (0.42, -0.12),
            (-0.1, -0.02),
            (0.62, 0.05),
            (-0.72, 0.03),
        ]
        for sx, sy in spots:
            jx, jy = rng.uniform(-0.06, 0.06, 2)
            dot = brush.disc(sx + jx, (sy + jy) * tall / 0.75, rng.uniform(0.07, 0.13))
            brush.paint(np.maximum(dot, cap), colour(0.12, 0.04, 1.0))
    elif mark < 0.75:
        ring = np.abs(np.sin(brush.ellipse(0, 0.12, 1, tall) / min(1, tall) * 8)) - 0.3
        brush.paint(np.maximum(ring * 0.12, cap), pale)


def moon(canvas: Canvas, rng: np.random.Generator) -> None:
    """A crescent over dark hills."""
    _night(canvas, rng)
    brush = canvas.place(*_apart(rng, 0.5), rng.uniform(0.25, 0.5), rng.uniform(-0.8, 0.8))
    side = pick(rng, (-1, 1))
    brush.paint(brush.disc(0, 0, 0.9), colour(0.15, 0.3, 1.0), opacity=0.25, blur=0.9)
    crescent = np.maximum(
        brush.disc(0, 0, 0.9), -brush.disc(side * rng.uniform(0.35, 0.6), -0.1, 0.78)
    )
    brush.paint(crescent, colour(rng.uniform(0.1, 0.17), rng.uniform(0.1, 0.4), 1.0))
    if rng.uniform() < 0.7:
        ground = canvas.place()
        swell = 0.15 * np.sin(ground.x * rng.uniform(2, 4) + rng.uniform(0, 6))
        ground.paint(
            rng.uniform(0.55, 0.8) + swell - ground.y, colour(rng.uniform(0.4, 0.7), 0.6, 0.12)
        )


def bricks(canvas: Canvas, rng: np.random.Generator) -> None:
    """A wall of bricks, no two of quite the same tint."""
    brush = canvas.place(*_apart(rng, 0.3), rng.uniform(0.8, 1.3), rng.uniform(-0.25, 0.25))
    tall = rng.uniform(0.16, 0.26)
    wide = tall * rng.uniform(2.0, 2.6)
    row = np.floor(brush.y / tall)
    column = np.floor(brush.x / wide + 0.5 * (row % 2))
    tint = np.sin(row * 12.99 + column * 78.23 + rng.uniform(0, 6)) * 43.7
    tint -= np.floor(tint)
    hue = pick(rng, (0.02, 0.04, 0.07, 0.1, 0.6)) + rng.uniform(-0.015, 0.015)
    depth = rng.uniform(0.3, 0.65)
    canvas.pixels[:] = mix(colour(hue, depth, 0.5), colour(hue + 0.02, depth, 0.85), tint)
    joint = rng.uniform(0.02, 0.035)
    across = np.abs((brush.x / wide + 0.5 * (row % 2)) % 1.0 - 0.5) * wide
    down = np.abs((brush.y / tall) % 1.0 - 0.5) * tall
    mortar = np.minimum(wide / 2 - across, tall / 2 - down) - joint
    brush.paint(np.asarray(mortar, np.float32), colour(0.1, 0.08, rng.uniform(0.7, 0.9)))


def plaid(canvas: Canvas, rng: np.random.Generator) -> None:
    """A woven cloth of crossing bands."""
    brush = canvas.place(*_apart(rng, 0.5), rng.uniform(0.7, 1.2), rng.uniform(-0.8, 0.8))
    first, second = _two_bright(rng)
    third = colour(rng.uniform(), 0.3, 1.0)
    pitch = rng.uniform(4.5, 8)
    canvas.pixels[:] = colour(rng.uniform(), rng.uniform(0.05, 0.3), rng.uniform(0.75, 1.0))
    shift = rng.uniform(0, 6)
    for line in (brush.x, brush.y):
        broad = np.cos(line * pitch + shift) - 0.2
        brush.paint(np.asarray(-broad / pitch, np.float32), first, opacity=0.5)
        fine = np.cos(line * pitch * 2 + 2 * shift + 2.2) - 0.75
        brush.paint(np.asarray(-fine / pitch, np.float32), second, opacity=0.6)
        thread = np.cos(line * pitch + shift + np.pi) - 0.94
        brush.paint(np.asarray(-thread / pitch, np.float32), third, opacity=0.8)


PAINTERS: dict[str, Painter] = {
    painter.__name__: painter
    for painter in (balloon, sailboat, house, pine, flower, fish, mushroom, moon, bricks, plaid)
}
"""Class names in the order of their labels, each with its painter."""
