"""A sheet of kernels on paper: PNG and SVG with title, numbers and scale."""

from __future__ import annotations

import textwrap
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nbviz.analysis.colormaps import Colormap, colormap
from nbviz.analysis.filters import Kernels
from nbviz.analysis.kernel_pictures import GALLERY_PANELS, KernelSheet, Normalise, kernel_sheet
from nbviz.widgets.base import png_bytes

_MARGIN = 48
_TEXT = 26
_LINE = 36
_BAR = (360, 24)


@dataclass(frozen=True, slots=True)
class _Page:
    """What both formats draw, in pixels."""

    sheet: KernelSheet
    lines: list[str]
    scale_text: str
    bar: np.ndarray
    numbers_below: bool

    @property
    def top(self) -> int:
        return _MARGIN + _LINE * len(self.lines) + _LINE // 2

    @property
    def bar_top(self) -> int:
        return self.top + int(self.sheet.picture.shape[0]) + _LINE

    @property
    def left(self) -> int:
        return _MARGIN if self.numbers_below else _MARGIN + 60

    @property
    def size(self) -> tuple[int, int]:
        width = self.left + max(self.sheet.picture.shape[1], 1300) + _MARGIN
        return width, self.bar_top + _BAR[1] + _MARGIN


def save_kernels(
    kernels: Kernels,
    path: Path,
    *,
    caption: str,
    dpi: int,
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
    inputs, height, width = kernels.values.shape[1:]
    matrix = map_name is not None and inputs > GALLERY_PANELS
    scale = max(2, round((24 if matrix else 120) / max(height, width)))
    sheet = kernel_sheet(
        kernels,
        order=order,
        normalise=normalise,
        map_name=map_name,
        scale=scale,
        width=1900,
        caption=0 if matrix else 30,
        max_outputs=4096,
        max_inputs=4096,
    )
    page = _page(sheet, caption, normalise, map_name, numbers_below=not matrix)
    written = []
    for suffix in wanted:
        target = path.with_suffix(suffix)
        if suffix == ".png":
            target.write_bytes(png_bytes(_draw(page), dpi))
        else:
            target.write_text(_svg(page, dpi), encoding="utf-8")
        written.append(target)
    return written


def _page(
    sheet: KernelSheet,
    caption: str,
    normalise: Normalise,
    map_name: Colormap | None,
    *,
    numbers_below: bool,
) -> _Page:
    spans = {
        "kernel": "each kernel on its own scale",
        "layer": "one scale for the whole layer",
        "symmetric": "one scale for the whole layer, zero in the middle",
    }
    zero = ", zero in the middle" if map_name == "diverging" and normalise != "symmetric" else ""
    colours = "red, green and blue inputs" if map_name is None else "weight"
    chars = max(70, (max(sheet.picture.shape[1], 1300)) * 2 // _TEXT)
    return _Page(
        sheet=sheet,
        lines=textwrap.wrap(caption, chars),
        scale_text=f"lowest to highest {colours}; {spans[normalise]}{zero}",
        bar=colormap(map_name or "grey"),
        numbers_below=numbers_below,
    )


def _bar_pixels(page: _Page) -> np.ndarray:
    columns = np.linspace(0, 255, _BAR[0]).astype(int)
    return np.repeat(page.bar[columns][None], _BAR[1], axis=0)


def _draw(page: _Page) -> np.ndarray:
    width, height = page.size
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(_TEXT)
    small = ImageFont.load_default(_TEXT - 6)
    for i, line in enumerate(page.lines):
        draw.text((_MARGIN, _MARGIN + i * _LINE), line, "black", font)
    image.paste(Image.fromarray(page.sheet.picture), (page.left, page.top))
    for x, y, anchor, text in _numbers(page):
        draw.text((x, y), text, "#444", small, anchor="lt" if anchor == "start" else "rm")
    image.paste(Image.fromarray(_bar_pixels(page)), (page.left, page.bar_top))
    draw.text(
        (page.left + _BAR[0] + 16, page.bar_top + _BAR[1] // 2),
        page.scale_text,
        "#444",
        small,
        anchor="lm",
    )
    return np.asarray(image)


def _numbers(page: _Page) -> list[tuple[int, int, str, str]]:
    """Place, anchor and text of each output channel's number; of every eighth if lines are low."""
    placed = page.sheet.placed
    every = 1 if page.numbers_below or placed[0].height >= _TEXT else 8
    if page.numbers_below:
        return [
            (page.left + p.left, page.top + p.top + p.height + 4, "start", str(p.output))
            for p in placed
        ]
    return [
        (page.left - 10, page.top + p.top + p.height // 2, "end", str(p.output))
        for p in placed[::every]
    ]


def _svg(page: _Page, dpi: int) -> str:
    width, height = page.size
    inches = f'width="{width / dpi:.3f}in" height="{height / dpi:.3f}in"'
    style = 'font-family="Helvetica, Arial, sans-serif"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {inches} viewBox="0 0 {width} {height}">',
        f"<title>{escape(' '.join(page.lines))}</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    parts += [
        f'<text x="{_MARGIN}" y="{_MARGIN + _TEXT + i * _LINE}" font-size="{_TEXT}" {style}>'
        f"{escape(line)}</text>"
        for i, line in enumerate(page.lines)
    ]
    parts.append(_svg_image(page.sheet.picture, page.left, page.top))
    size = _TEXT - 6
    for x, y, anchor, text in _numbers(page):
        drop = size if anchor == "start" else size // 3
        parts.append(
            f'<text x="{x}" y="{y + drop}" font-size="{size}" fill="#444" '
            f'text-anchor="{anchor}" {style}>{escape(text)}</text>'
        )
    parts.append(_svg_image(_bar_pixels(page), page.left, page.bar_top))
    parts.append(
        f'<text x="{page.left + _BAR[0] + 16}" y="{page.bar_top + _BAR[1] - 5}" '
        f'font-size="{size}" fill="#444" {style}>{escape(page.scale_text)}</text>'
    )
    return "\n".join([*parts, "</svg>\n"])


def _svg_image(picture: np.ndarray, left: int, top: int) -> str:
    height, width = picture.shape[:2]
    data = b64encode(png_bytes(picture)).decode()
    return (
        f'<image x="{left}" y="{top}" width="{width}" height="{height}" '
        f'style="image-rendering: pixelated" href="data:image/png;base64,{data}"/>'
    )
