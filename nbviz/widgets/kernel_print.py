"""A sheet of kernels on paper: PNG and SVG with title, numbers, marks and scale."""

from __future__ import annotations

import textwrap
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nbviz.analysis.colormaps import Colormap, colormap
from nbviz.analysis.filters import Kernels, KernelScores
from nbviz.analysis.kernel_pictures import (
    GALLERY_PANELS,
    KernelSheet,
    Normalise,
    kernel_sheet,
    weight_range,
)
from nbviz.widgets.base import png_bytes

_MARGIN = 48
_TITLE, _SMALL = 26, 20
_LINE = 36
_BAR = (360, 24)
_GUTTER = 76
# A picture of more is slow to write and larger than a poster at 300 dots an inch.
_MOST_PIXELS = 6000


@dataclass(frozen=True, slots=True)
class Page:
    """What stands around the kernels."""

    caption: str
    scores: KernelScores
    dpi: int


@dataclass(frozen=True, slots=True)
class _Text:
    x: int
    y: int
    text: str
    size: int = _SMALL
    anchor: Literal["left", "middle", "right"] = "left"
    colour: str = "#444"


@dataclass(frozen=True, slots=True)
class _Layout:
    """Everything that both formats draw: pictures at their corners, and text at its baseline."""

    width: int
    height: int
    pictures: list[tuple[int, int, np.ndarray]]
    texts: list[_Text]


def save_kernels(
    kernels: Kernels,
    path: Path,
    page: Page,
    *,
    order: np.ndarray,
    normalise: Normalise,
    map_name: Colormap | None,
) -> list[Path]:
    """Write `kernels` as a page; see `FilterGrid.save`."""
    wanted = {"": [".png", ".svg"], ".png": [".png"], ".svg": [".svg"]}.get(path.suffix.lower())
    if wanted is None:
        raise ValueError(
            f"cannot write {path.suffix!r}; name the file .png or .svg, or give no suffix for both"
        )
    outputs, inputs, height, width = kernels.values.shape
    matrix = map_name is not None and inputs > GALLERY_PANELS
    if matrix:
        room = min(_MOST_PIXELS // (inputs * width), _MOST_PIXELS // (outputs * height)) - 1
        scale = max(1, min(24 // max(height, width), room))
    else:
        scale = max(2, 120 // max(height, width))
    sheet = kernel_sheet(
        kernels,
        order=order,
        normalise=normalise,
        map_name=map_name,
        scale=scale,
        width=1900,
        caption=0 if matrix else 30,
        max_outputs=_MOST_PIXELS // (height * scale + 1) if matrix else 4096,
        max_inputs=_MOST_PIXELS // (width * scale + 1),
    )
    laid = _lay_out(kernels, sheet, page, normalise, map_name)
    written = []
    for suffix in wanted:
        target = path.with_suffix(suffix)
        if suffix == ".png":
            target.write_bytes(png_bytes(_draw(laid), print_dpi=page.dpi))
        else:
            target.write_text(_svg(laid, page.dpi), encoding="utf-8")
        written.append(target)
    return written


def _lay_out(
    kernels: Kernels,
    sheet: KernelSheet,
    page: Page,
    normalise: Normalise,
    map_name: Colormap | None,
) -> _Layout:
    matrix = map_name is not None and kernels.values.shape[1] > GALLERY_PANELS
    tall, wide = sheet.picture.shape[:2]
    left = _MARGIN + (_GUTTER if matrix else 0)
    width = left + max(wide, 1300) + _MARGIN
    chars = (width - 2 * _MARGIN) * 2 // _TITLE
    lines = textwrap.wrap(" ".join([page.caption, *_omitted(kernels, sheet)]), chars)
    texts = [
        _Text(_MARGIN, _MARGIN + _TITLE + i * _LINE, line, _TITLE, colour="black")
        for i, line in enumerate(lines)
    ]
    top = _MARGIN + _LINE * len(lines) + (_LINE * 2 if matrix else _LINE // 2)
    texts += _numbers(sheet, page.scores, kernels, left, top) if matrix else []
    texts += [] if matrix else _captions(sheet, page.scores, left, top)
    bar_top = top + tall + (_LINE if matrix else 2 * _LINE)
    columns = np.linspace(0, 255, _BAR[0]).astype(int)
    bar = np.repeat(colormap(map_name or "grey")[columns][None], _BAR[1], axis=0)
    low, high, meaning = _scale_words(kernels, normalise, map_name)
    ends = left + 12 * len(low)
    baseline = bar_top + _BAR[1] - 5
    texts.append(_Text(left, baseline, low))
    texts.append(_Text(ends + _BAR[0] + 16, baseline, f"{high}   {meaning}"))
    pictures = [(left, top, sheet.picture), (ends, bar_top, bar)]
    return _Layout(width, bar_top + _BAR[1] + _MARGIN, pictures, texts)


def _omitted(kernels: Kernels, sheet: KernelSheet) -> list[str]:
    outputs = kernels.layer.shape[0] - len(sheet.placed)
    said = []
    if outputs:
        said.append(f"{outputs} output channels are left out for their number.")
    if sheet.omitted_inputs:
        said.append(f"{sheet.omitted_inputs} input channels are left out for their number.")
    return said


def _scale_words(
    kernels: Kernels, normalise: Normalise, map_name: Colormap | None
) -> tuple[str, str, str]:
    """Text at the two ends of the bar, and what they belong to."""
    centred = map_name == "diverging"
    middle = "; zero in the middle" if centred or normalise == "symmetric" else ""
    channels = "; a kernel's three inputs are red, green and blue" if map_name is None else ""
    if normalise == "kernel":
        ends = ("-max", "+max") if centred else ("least", "largest")
        return *ends, f"weight of each kernel on its own{middle}{channels}"
    flat = kernels.values.reshape(len(kernels.values), -1)
    low, high = weight_range(flat, normalise, centred=centred)
    return f"{low[0]:.3g}", f"{high[0]:.3g}", f"weight, one scale for the layer{middle}{channels}"


def _marks(scores: KernelScores, output: int) -> str:
    twin = int(scores.duplicate_of[output])
    marks = [
        "noisy" if scores.noisy[output] else "",
        "dead" if scores.dead[output] else "",
        "NaN" if scores.nonfinite[output] else "",
        f"= {twin}" if twin >= 0 else "",
    ]
    return " ".join(mark for mark in marks if mark)


def _captions(sheet: KernelSheet, scores: KernelScores, left: int, top: int) -> list[_Text]:
    return [
        _Text(
            left + placed.left,
            top + placed.top + placed.height + 4 + _SMALL - 3,
            f"{placed.output} {_marks(scores, placed.output)}".strip(),
        )
        for placed in sheet.placed
    ]


def _numbers(
    sheet: KernelSheet, scores: KernelScores, kernels: Kernels, left: int, top: int
) -> list[_Text]:
    """Channel numbers beside and above a matrix, as many as there is room for."""
    first = sheet.placed[0]
    pitch = sheet.placed[1].top - first.top if len(sheet.placed) > 1 else first.height
    every = -(-(_SMALL + 2) // pitch)
    texts = [
        _Text(left - 10, top + p.top + p.height // 2 + 7, str(p.output), anchor="right")
        for p in sheet.placed[::every]
    ]
    inputs = kernels.values.shape[1] - sheet.omitted_inputs
    step = (first.width + 1) / inputs
    texts += [
        _Text(round(left + panel * step + step / 2), top - 8, str(panel), anchor="middle")
        for panel in range(0, inputs, -(-60 // max(1, round(step))))
    ]
    marked = [p.output for p in sheet.placed if _marks(scores, p.output)]
    note = f"   marked: {', '.join(f'{o} {_marks(scores, o)}' for o in marked[:12])}"
    words = "output channels down, input channels across" + (note if marked else "")
    return [*texts, _Text(left, top - 8 - _LINE, words)]


def _draw(laid: _Layout) -> np.ndarray:
    image = Image.new("RGB", (laid.width, laid.height), "white")
    draw = ImageDraw.Draw(image)
    for left, top, picture in laid.pictures:
        image.paste(Image.fromarray(picture), (left, top))
    anchors = {"left": "ls", "middle": "ms", "right": "rs"}
    for text in laid.texts:
        font = ImageFont.load_default(text.size)
        draw.text((text.x, text.y), text.text, text.colour, font, anchor=anchors[text.anchor])
    return np.asarray(image)


def _svg(laid: _Layout, dpi: int) -> str:
    width, height = laid.width, laid.height
    inches = f'width="{width / dpi:.3f}in" height="{height / dpi:.3f}in"'
    family = 'font-family="Helvetica, Arial, sans-serif"'
    anchors = {"left": "start", "middle": "middle", "right": "end"}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {inches} viewBox="0 0 {width} {height}">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for left, top, picture in laid.pictures:
        data = b64encode(png_bytes(picture, print_dpi=dpi)).decode()
        parts.append(
            f'<image x="{left}" y="{top}" width="{picture.shape[1]}" height="{picture.shape[0]}" '
            f'style="image-rendering: pixelated" href="data:image/png;base64,{data}"/>'
        )
    parts += [
        f'<text x="{text.x}" y="{text.y}" font-size="{text.size}" fill="{text.colour}" '
        f'text-anchor="{anchors[text.anchor]}" {family}>{escape(text.text)}</text>'
        for text in laid.texts
    ]
    return "\n".join([*parts, "</svg>\n"])
