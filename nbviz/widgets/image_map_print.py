"""An `ImageMap` on paper: thumbnails where there is room, dots elsewhere, class names, legend."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np

from nbviz.analysis.colormaps import category_colour, colormap
from nbviz.analysis.map_places import LARGEST, thinned
from nbviz.widgets.image_map_inks import NONE, Ink
from nbviz.widgets.image_map_tiles import ImageTiles
from nbviz.widgets.image_map_work import MapWork
from nbviz.widgets.printed_page import Layout, Text

#: Side of the map and of a thumbnail in pixels.
SIDE, THUMB = 840, 32

_MARGIN, _GAP, _LINE = 24, 8, 20
_TITLE, _SMALL = 18, 14
_GREY = (150, 150, 150)
# A view shows up only once its still is drawn: seconds for its pictures.
_PATIENCE = 1.0
_MOST_NAMES, _MOST_LISTED, _LISTED = 24, 20, 150
_BAR = (200, 12)


def map_page(
    work: MapWork,
    ink: Ink,
    tiles: ImageTiles | None,
    numbers: np.ndarray,
    *,
    layout: str,
    caption: str,
    named: dict[str, Any],
) -> Layout:
    """The page: title, what is to be said, the map, and what colours mean."""
    chars = SIDE * 2 // _SMALL
    title, _, rest = caption.partition(". ")
    top = _MARGIN + _TITLE
    heading = textwrap.shorten(title.rstrip("."), SIDE * 2 // _TITLE, placeholder="…")
    texts = [Text(_MARGIN, top - 4, heading, _TITLE, colour="black")]
    for line in textwrap.wrap(rest, chars):
        top += _LINE
        texts.append(Text(_MARGIN, top, line, _SMALL))
    top += 2 * _GAP
    shown = layout if work.layout(layout) is not None else "map"
    places = work.places(shown)
    canvas = np.full((SIDE, SIDE, 3), 255, np.uint8)
    above, below = 0, SIDE
    if places is not None and len(places):
        side = THUMB
        if shown == "grid":
            side = int(np.clip(work.frame("grid").unit / LARGEST * SIDE, 2, 128))
        _draw(canvas, places, ink, tiles, numbers, side)
        # The rest of the square is empty where the map is much wider than high.
        low, high = int(places[:, 1].min()), int(places[:, 1].max())
        above = max(0, low * SIDE // LARGEST - THUMB)
        below = min(SIDE, high * SIDE // LARGEST + THUMB)
    texts += _names(canvas, named if shown == layout else {}, top - above)
    pictures = [(_MARGIN, top, canvas[above:below])]
    top += below - above + _GAP
    more_pictures, more_texts, height = _legend(ink, top)
    return Layout(
        SIDE + 2 * _MARGIN, top + height + _MARGIN, pictures + more_pictures, texts + more_texts
    )


def colours_of(ink: Ink) -> np.ndarray:
    """Colours of images, uint8 (n, 3)."""
    table = np.full((NONE + 1, 3), _GREY, np.uint8)
    if ink.kind == "category":
        for number, _, _ in ink.categories:
            table[number] = category_colour(number)
    elif ink.kind == "value":
        levels = np.rint(np.linspace(0, 255, NONE)).astype(np.int64)
        table[:NONE] = colormap(ink.colormap)[levels]
    colours: np.ndarray = table[ink.values]
    return colours


def _draw(
    canvas: np.ndarray,
    places: np.ndarray,
    ink: Ink,
    tiles: ImageTiles | None,
    numbers: np.ndarray,
    side: int,
) -> None:
    """Dots of all images, and above them pictures of those that have room, with a coloured edge."""
    colours = colours_of(ink)
    at = np.rint(places.astype(np.float64) / LARGEST * (SIDE - 1)).astype(np.int64)
    dot = 1 if len(places) > 20_000 else 2
    for down in range(-dot, dot + 1):
        for across in range(-dot, dot + 1):
            if down * down + across * across <= dot * dot:
                y, x = (
                    np.clip(at[:, 1] + down, 0, SIDE - 1),
                    np.clip(at[:, 0] + across, 0, SIDE - 1),
                )
                canvas[y, x] = colours
    if tiles is None or side < 8:
        return
    rows = thinned(places, side * LARGEST / SIDE) if side == THUMB else np.arange(len(places))
    inner = max(2, side - 4)
    square = -(-inner // 8) * 8
    made = tiles.made(numbers[rows].tolist(), square, _PATIENCE)
    for row, tile in zip(rows.tolist(), made, strict=False):
        left, top = (np.clip(at[row] - side // 2, 0, SIDE - side)).tolist()
        canvas[top : top + side, left : left + side] = colours[row]
        # The nearest pixel of each: a tile is hardly larger than what it fills.
        pick = (np.arange(inner) * square // inner).astype(np.int64)
        canvas[top + 2 : top + 2 + inner, left + 2 : left + 2 + inner] = tile.pixels[pick][:, pick]


def _names(canvas: np.ndarray, named: dict[str, Any], top: int) -> list[Text]:
    """Names of categories where they stand, on a light ground."""
    found: list[Text] = []
    taken: list[tuple[int, int, int, int]] = []
    pairs = zip(named.get("places", []), named.get("texts", []), strict=True)
    for (_, x, y, _), name in [*pairs][:_MOST_NAMES]:
        said = textwrap.shorten(name, 24, placeholder="…")
        half = round(len(said) * _SMALL * 0.3) + 4
        across = int(np.clip(round(x / LARGEST * SIDE), half, SIDE - half))
        down = int(np.clip(round(y / LARGEST * SIDE), _SMALL, SIDE - _SMALL))
        box = across - half, down - _SMALL // 2 - 4, across + half, down + _SMALL // 2 + 2
        if any(b[0] < box[2] and box[0] < b[2] and b[1] < box[3] and box[1] < b[3] for b in taken):
            continue
        taken.append(box)
        ground = canvas[box[1] : box[3], box[0] : box[2]]
        ground[:] = np.rint(0.15 * ground + 0.85 * 255).astype(np.uint8)
        baseline = top + down + _SMALL // 2 - 3
        found.append(Text(_MARGIN + across, baseline, said, _SMALL, "middle", "black"))
    return found


def _legend(ink: Ink, top: int) -> tuple[list[tuple[int, int, np.ndarray]], list[Text], int]:
    """What colours mean, and how high that is."""
    if ink.kind == "none":
        return [], [], 0
    said = f"Colour: {ink.label}{f', {ink.meaning}' if ink.meaning else ''}"
    line = textwrap.shorten(said, SIDE * 2 // _SMALL, placeholder="…")
    texts = [Text(_MARGIN, top + 16, line, _SMALL)]
    if ink.kind == "value":
        ramp = np.repeat(colormap(ink.colormap)[None], _BAR[1], axis=0)
        ramp = ramp[:, np.linspace(0, 255, _BAR[0]).astype(int)]
        below = top + _LINE + 4
        ends = ((_MARGIN + 60, ink.low, "right"), (_MARGIN + 76 + _BAR[0], ink.high, "left"))
        low, high = (
            Text(x, below + 12, f"{value:.3g}", _SMALL, "right" if end == "right" else "left")
            for x, value, end in ends
        )
        return [(_MARGIN + 68, below, ramp)], [*texts, low, high], 2 * _LINE
    pictures = []
    across = max(1, SIDE // _LISTED)
    listed = ink.categories[:_MOST_LISTED]
    for place, (number, name, count) in enumerate(listed):
        left = _MARGIN + place % across * _LISTED
        upper = top + _LINE + 4 + place // across * _LINE
        swatch = np.full((12, 12, 3), category_colour(number), np.uint8)
        pictures.append((left, upper, swatch))
        told = textwrap.shorten(f"{name} ({count:,})", _LISTED * 2 // _SMALL - 3, placeholder="…")
        texts.append(Text(left + 18, upper + 11, told, _SMALL))
    lines = -(-len(listed) // across)
    if len(ink.categories) > len(listed):
        more = f"and {len(ink.categories) - len(listed)} more"
        lines += 1
        texts.append(Text(_MARGIN, top + _LINE * lines + 15, more, _SMALL))
    return pictures, texts, _LINE * (lines + 1)
