"""An `Explorer` on paper: the stills of its open panes under one another, in columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from nbviz.widgets.printed_page import Layout, Text

#: Width of a column in pixels, and how high a pane's picture is at most.
COLUMN, TALLEST = 640, 900

_MARGIN, _GAP, _LINE = 24, 16, 20
_TITLE, _HEADING, _SMALL = 20, 17, 14
# Lines said of a pane; a picture says the rest.
_MOST_LINES = 3


@dataclass(frozen=True, eq=False)
class PrintedPane:
    """One pane: its heading, what is to be said, and its picture; None where it cannot be."""

    title: str
    caption: str
    picture: np.ndarray | None


def explorer_page(title: str, chosen: str, panes: Sequence[PrintedPane]) -> Layout:
    """The page: title, what is chosen, and the panes in up to two columns, in reading order."""
    columns = min(2, max(1, len(panes)))
    width = 2 * _MARGIN + columns * COLUMN + (columns - 1) * _GAP
    top = _MARGIN + _TITLE
    texts = [Text(_MARGIN, top, title, _TITLE, colour="black")]
    for line in textwrap.wrap(chosen, (width - 2 * _MARGIN) * 2 // _SMALL):
        top += _LINE
        texts.append(Text(_MARGIN, top, line, _SMALL))
    ends = [top + _GAP] * columns
    pictures: list[tuple[int, int, np.ndarray]] = []
    for place, pane in enumerate(panes):
        column = place % columns
        left = _MARGIN + column * (COLUMN + _GAP)
        ends[column] = _pane(pane, left, ends[column], pictures, texts)
    return Layout(width, max(ends) + _MARGIN - _GAP, pictures, texts)


def _pane(
    pane: PrintedPane,
    left: int,
    top: int,
    pictures: list[tuple[int, int, np.ndarray]],
    texts: list[Text],
) -> int:
    """Lay a pane out; where the next one may begin."""
    top += _HEADING + 8
    texts.append(Text(left, top - 4, pane.title, _HEADING, colour="black"))
    lines = textwrap.wrap(
        pane.caption, COLUMN * 2 // _SMALL, max_lines=_MOST_LINES, placeholder=" …"
    )
    for line in lines:
        top += _LINE
        texts.append(Text(left, top - 4, line, _SMALL))
    if pane.picture is not None:
        fitted = _fitted(pane.picture)
        pictures.append((left, top + 4, fitted))
        top += 4 + len(fitted)
    return top + _GAP


def _fitted(picture: np.ndarray) -> np.ndarray:
    """The picture, smaller where it is larger than its place."""
    height, width = picture.shape[:2]
    scale = min(1.0, COLUMN / width, TALLEST / height)
    if scale == 1.0:
        return picture
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))
