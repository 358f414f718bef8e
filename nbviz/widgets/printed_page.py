"""A page of pictures and text, written the same as PNG and as SVG, and what views print it."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nbviz.widgets import wire
from nbviz.widgets.base import View, answers, png_bytes

SMALL = 20
_DPI = 150


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text, by its baseline."""

    x: int
    y: int
    text: str
    size: int = SMALL
    anchor: Literal["left", "middle", "right"] = "left"
    colour: str = "#444"


@dataclass(frozen=True, slots=True)
class Outline:
    """A rectangle or the ellipse within it, drawn as a line, dark beside light."""

    x: float
    y: float
    width: float
    height: float
    round: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything that both formats draw: pictures at their corners, outlines, and text."""

    width: int
    height: int
    pictures: list[tuple[int, int, np.ndarray]]
    texts: list[Text]
    outlines: list[Outline] = field(default_factory=list)


class PrintedView(View):
    """Base of views that print a page: for `save`, as their still, and for the browser."""

    _printed_name = "view"
    # Of the file that a browser saves, without its ending.

    def _page(self) -> Layout:
        raise NotImplementedError

    def save(self, path: str | Path, *, dpi: int = _DPI) -> list[Path]:
        """Write what is on show as PNG, SVG, or both, for print.

        Parameters
        ----------
        path : str or Path
            Ends in ``.png`` or ``.svg``; with no suffix both are written.
        dpi : int
            Dots an inch.

        Returns
        -------
        list of Path
            What was written.

        Raises
        ------
        ValueError
            For any other suffix.
        """
        suffixes(Path(path))  # before the work: an ending that cannot be written is said at once
        return write_page(self._page(), Path(path), dpi)

    def still(self) -> np.ndarray:
        """What `save` writes, as a picture: uint8 (H, W, 3)."""
        return drawn(self._page())

    @answers("export")
    def _answer_export(self, format: str, **asked: Any) -> dict[str, Any]:  # noqa: A002 - the name that the view sends
        del asked
        if format not in ("png", "svg"):
            raise ValueError(f"expected the format 'png' or 'svg', got {format!r}")
        made = page_bytes(self._page(), "png" if format == "png" else "svg", _DPI)
        kind = "image/png" if format == "png" else "image/svg+xml"
        data = np.frombuffer(made, np.uint8)
        return wire.pack({"data": data}, name=f"{self._printed_name}.{format}", type=kind)


def suffixes(path: Path) -> list[str]:
    """The formats that a path asks for: its own, or both where it has none.

    Raises
    ------
    ValueError
        If it is neither ``.png`` nor ``.svg``.
    """
    wanted = {"": [".png", ".svg"], ".png": [".png"], ".svg": [".svg"]}.get(path.suffix.lower())
    if wanted is None:
        raise ValueError(
            f"cannot write {path.suffix!r}; name the file .png or .svg, or give no suffix for both"
        )
    return wanted


def write_page(laid: Layout, path: Path, dpi: int) -> list[Path]:
    """Write a page; what was written, see `suffixes`."""
    written = []
    for suffix in suffixes(path):
        target = path.with_suffix(suffix)
        target.write_bytes(page_bytes(laid, "png" if suffix == ".png" else "svg", dpi))
        written.append(target)
    return written


def page_bytes(laid: Layout, file_format: Literal["png", "svg"], dpi: int) -> bytes:
    """A page as the bytes of a file."""
    if file_format == "png":
        return png_bytes(drawn(laid), print_dpi=dpi)
    return _svg(laid, dpi).encode()


def drawn(laid: Layout) -> np.ndarray:
    """A page as pixels, uint8 (height, width, 3)."""
    image = Image.new("RGB", (laid.width, laid.height), "white")
    draw = ImageDraw.Draw(image)
    for left, top, picture in laid.pictures:
        image.paste(Image.fromarray(picture), (left, top))
    for shape in laid.outlines:
        corners = (shape.x, shape.y, shape.x + shape.width, shape.y + shape.height)
        for colour, thickness in (("black", 3), ("white", 1)):
            line = draw.ellipse if shape.round else draw.rectangle
            line(corners, outline=colour, width=thickness)
    anchors = {"left": "ls", "middle": "ms", "right": "rs"}
    for text in laid.texts:
        font = ImageFont.load_default(text.size)
        words = text.text.replace("×", "x")  # the font has no such sign
        draw.text((text.x, text.y), words, text.colour, font, anchor=anchors[text.anchor])
    return np.asarray(image)


def _svg(laid: Layout, dpi: int) -> str:
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
    for shape in laid.outlines:
        for colour, thickness in (("black", 3), ("white", 1)):
            parts.append(
                f'{_shape(shape)} fill="none" stroke="{colour}" stroke-width="{thickness}"/>'
            )
    parts += [
        f'<text x="{text.x}" y="{text.y}" font-size="{text.size}" fill="{text.colour}" '
        f'text-anchor="{anchors[text.anchor]}" {family}>{escape(text.text)}</text>'
        for text in laid.texts
    ]
    return "\n".join([*parts, "</svg>\n"])


def _shape(shape: Outline) -> str:
    if shape.round:
        across, down = shape.width / 2, shape.height / 2
        return f'<ellipse cx="{shape.x + across}" cy="{shape.y + down}" rx="{across}" ry="{down}"'
    return f'<rect x="{shape.x}" y="{shape.y}" width="{shape.width}" height="{shape.height}"'
