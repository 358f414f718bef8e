"""A `TopPatches` on paper: the samples of the open channel, or the first rows of the layer."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nbviz.widgets.printed_page import Layout, Text

#: Side of a printed patch in pixels.
TILE = 96

_MARGIN, _GAP = 24, 8
_TITLE, _SMALL, _LINE = 18, 14, 20
_FACTS = 128
_ACROSS = 10


@dataclass(frozen=True, eq=False)
class PrintedRow:
    """Patches in a row, with what is said of them."""

    heading: tuple[str, ...]
    """Lines at the left."""
    tiles: Sequence[np.ndarray]
    """uint8, (TILE, TILE, 3) each; none where there are no pictures."""
    captions: Sequence[str]
    """Lines below each patch, divided by a line break."""


def patches_page(title: str, notes: Sequence[str], rows: Sequence[PrintedRow]) -> Layout:
    """The page: title, what is to be said, and rows of patches with their activations."""
    across = max([1, *(min(_ACROSS, len(row.captions)) for row in rows)])
    width = max(2 * _MARGIN + _FACTS + across * (TILE + _GAP), 560)
    chars = (width - 2 * _MARGIN) * 2 // _SMALL
    top = _MARGIN + _TITLE
    name = textwrap.shorten(title, (width - 2 * _MARGIN) * 2 // _TITLE, placeholder="…")
    texts = [Text(_MARGIN, top - 4, name, _TITLE, colour="black")]
    for line in [line for note in notes for line in textwrap.wrap(note, chars)]:
        top += _LINE
        texts.append(Text(_MARGIN, top, line, _SMALL))
    top += _GAP * 2
    pictures: list[tuple[int, int, np.ndarray]] = []
    for row in rows:
        top += _row(row, top, across, pictures, texts)
    return Layout(width, top + _MARGIN, pictures, texts)


def _row(
    row: PrintedRow,
    top: int,
    across: int,
    pictures: list[tuple[int, int, np.ndarray]],
    texts: list[Text],
) -> int:
    """Lay a row out, on more than one line if need be; how high it is."""
    for line, heading in enumerate(row.heading):
        said = textwrap.shorten(heading, _FACTS * 2 // _SMALL, placeholder="…")
        colour = "#444" if line else "black"
        texts.append(Text(_MARGIN, top + _LINE * (line + 1), said, _SMALL, colour=colour))
    lines = max([1, *(caption.count("\n") + 1 for caption in row.captions)])
    tall = (TILE if row.tiles else 0) + lines * _LINE + _GAP
    for number, caption in enumerate(row.captions):
        left = _MARGIN + _FACTS + number % across * (TILE + _GAP)
        upper = top + number // across * tall
        if row.tiles:
            pictures.append((left, upper, row.tiles[number]))
        below = upper + (TILE if row.tiles else 0)
        for line, part in enumerate(caption.split("\n")):
            said = textwrap.shorten(part, TILE * 2 // _SMALL, placeholder="…")
            middle = left + TILE // 2
            texts.append(Text(middle, below + 16 + line * _LINE, said, _SMALL, anchor="middle"))
    needed = len(row.heading) * _LINE + _GAP
    return max(needed, -(-len(row.captions) // across) * tall) + _GAP
