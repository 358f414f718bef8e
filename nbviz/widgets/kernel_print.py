"""A sheet of kernels on paper: PNG and SVG with title, numbers, marks and scale."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nbviz.analysis.colormaps import Colormap, colormap
from nbviz.analysis.filters import Kernels, KernelScores
from nbviz.analysis.kernel_pictures import (
    GALLERY_PANELS,
    KernelSheet,
    Normalise,
    kernel_sheet,
    weight_range,
)
from nbviz.widgets.printed_page import SMALL, Layout, Text, suffixes, write_page

_MARGIN = 48
_TITLE = 26
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
    suffixes(path)  # before the work: an ending that cannot be written is said at once
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
    return write_page(laid, path, page.dpi)


def _lay_out(
    kernels: Kernels,
    sheet: KernelSheet,
    page: Page,
    normalise: Normalise,
    map_name: Colormap | None,
) -> Layout:
    matrix = map_name is not None and kernels.values.shape[1] > GALLERY_PANELS
    tall, wide = sheet.picture.shape[:2]
    left = _MARGIN + (_GUTTER if matrix else 0)
    width = left + max(wide, 1300) + _MARGIN
    chars = (width - 2 * _MARGIN) * 2 // _TITLE
    lines = textwrap.wrap(" ".join([page.caption, *_omitted(kernels, sheet)]), chars)
    texts = [
        Text(_MARGIN, _MARGIN + _TITLE + i * _LINE, line, _TITLE, colour="black")
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
    texts.append(Text(left, baseline, low))
    texts.append(Text(ends + _BAR[0] + 16, baseline, f"{high}   {meaning}"))
    pictures = [(left, top, sheet.picture), (ends, bar_top, bar)]
    return Layout(width, bar_top + _BAR[1] + _MARGIN, pictures, texts)


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


def _captions(sheet: KernelSheet, scores: KernelScores, left: int, top: int) -> list[Text]:
    return [
        Text(
            left + placed.left,
            top + placed.top + placed.height + 4 + SMALL - 3,
            f"{placed.output} {_marks(scores, placed.output)}".strip(),
        )
        for placed in sheet.placed
    ]


def _numbers(
    sheet: KernelSheet, scores: KernelScores, kernels: Kernels, left: int, top: int
) -> list[Text]:
    """Channel numbers beside and above a matrix, as many as there is room for."""
    first = sheet.placed[0]
    pitch = sheet.placed[1].top - first.top if len(sheet.placed) > 1 else first.height
    every = -(-(SMALL + 2) // pitch)
    texts = [
        Text(left - 10, top + p.top + p.height // 2 + 7, str(p.output), anchor="right")
        for p in sheet.placed[::every]
    ]
    inputs = kernels.values.shape[1] - sheet.omitted_inputs
    step = (first.width + 1) / inputs
    texts += [
        Text(round(left + panel * step + step / 2), top - 8, str(panel), anchor="middle")
        for panel in range(0, inputs, -(-60 // max(1, round(step))))
    ]
    marked = [p.output for p in sheet.placed if _marks(scores, p.output)]
    note = f"   marked: {', '.join(f'{o} {_marks(scores, o)}' for o in marked[:12])}"
    words = "output channels down, input channels across" + (note if marked else "")
    return [*texts, Text(left, top - 8 - _LINE, words)]
