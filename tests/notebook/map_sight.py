"""Where the images of an `ImageMap` stand on the screen, worked out from its state by numpy."""

from __future__ import annotations

import base64
import io
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fixtures.numbered_pictures import SIDE, number_of, pictures
from PIL import Image

CLASSES = tuple(f"kind {letter}" for letter in "abcdefghij")
_TESTS = str(Path(__file__).parents[1])

#: Code of a first cell: a function that makes a map of numbered pictures at places that are given.
NUMBERED = f"""
import sys
sys.path.insert(0, {_TESTS!r})
import numpy as np, nbviz
from fixtures.numbered_pictures import (
    NumberedPictures, classes_of, clustered_places, hidden_features)

def numbered(count, broken=(), **options):
    return nbviz.ImageMap(
        hidden_features(count), NumberedPictures(count, broken),
        classes_of(np.arange(count)).tolist(), classes={CLASSES!r},
        embedding=clustered_places(count), normalise=False, components=None,
        **options)
"""

SECONDS = 40

# As js/image-map/viewpoint.ts and detail.ts have them.
_MARGIN, _LEAST, _CELL = 12, 2000, 0.94

_PLACES = """(lambda arrays: __import__("base64").b64encode(
    arrays[{layout!r}].astype("<u2").tobytes()).decode())(
    __import__("nbviz").widgets.wire.unpack({name}.points))"""


@dataclass
class Sight:
    """One viewpoint on one layout.

    Attributes
    ----------
    places : float array, shape (n, 2)
        Of all rows, in units of place.
    room : tuple of float
        Width and height of the stage in CSS pixels.
    camera : list of float
        As the trait has it; empty for all.
    cell : int
        Of a grid, in units of place; 0 for other layouts.
    """

    places: np.ndarray
    room: tuple[float, float]
    camera: list
    cell: int

    @property
    def scale(self) -> float:
        """CSS pixels a unit of place."""
        # Of a grid the outermost cells are whole.
        across, down = np.maximum(np.ptp(self.places, axis=0) + self.cell, _LEAST)
        fit = min((self.room[0] - 2 * _MARGIN) / across, (self.room[1] - 2 * _MARGIN) / down)
        return fit * (self.camera[2] if self.camera else 1)

    @property
    def middle(self) -> np.ndarray:
        """What is in the middle, in units of place."""
        whole = (self.places.min(0) + self.places.max(0)) / 2
        return np.array(self.camera[:2]) if self.camera else whole

    @property
    def screen(self) -> np.ndarray:
        """Where each row is, in CSS pixels of the stage: float (n, 2), x and y."""
        return (self.places - self.middle) * self.scale + np.array(self.room) / 2

    @property
    def side(self) -> float:
        """Of a cell's picture, in CSS pixels."""
        return self.cell * self.scale * _CELL

    def inside(self, edge: float = 0) -> np.ndarray:
        """Rows that are in view, and at least `edge` from its border."""
        x, y = self.screen.T
        width, height = self.room
        return np.flatnonzero((x > edge) & (x < width - edge) & (y > edge) & (y < height - edge))

    def alone(self, pixels: float) -> np.ndarray:
        """Of each row, whether no other one is so near."""
        away = np.linalg.norm(self.screen[:, None] - self.screen, axis=2)
        np.fill_diagonal(away, np.inf)
        return away.min(1) > pixels

    def crops(self, pixels, rows, side: float):
        """What stands on the canvas at each row, a square of `side`."""
        for row in rows:
            x, y = self.screen[row]
            left, top = round(x - side / 2), round(y - side / 2)
            yield row, pixels[max(0, top) : round(y + side / 2), max(0, left) : round(x + side / 2)]


def sight(notebook, view, *, layout: str = "map", name: str = "shown") -> Sight:
    """The view as it is now; it must stand still."""
    known = f"__import__('nbviz').widgets.wire.unpack({name}.points)"
    notebook.wait_python(f"{layout!r} in {known}")
    data = base64.b64decode(notebook.ask(_PLACES.format(layout=layout, name=name)))
    places = np.frombuffer(data, "<u2").reshape(-1, 2).astype(float)
    camera, cell = notebook.ask(f"([float(v) for v in {name}.camera], int({name}.points['cell']))")
    box = view.find(".stage").bounding_box()
    return Sight(places, (box["width"], box["height"]), camera, cell if layout == "grid" else 0)


def look(notebook, view, camera: list, *, name: str = "shown") -> None:
    """Have Python move the view, and wait until it is drawn there."""
    if notebook.ask(f"{name}.camera == {camera}"):
        return
    before = view.drawn()
    notebook.ask(f"setattr({name}, 'camera', {camera})")
    view.wait_drawn(before + 1)


def numbers(view, there: Sight, rows, side: float) -> dict[int, int]:
    """What each of these rows shows: the number in its picture, -1 where none can be read."""
    crops = there.crops(view.pixels("canvas.map"), rows, side)
    read = {int(row): number_of(crop) for row, crop in crops}
    # A mixture of several may look like a number that there is not.
    return {row: number if number < len(there.places) else -1 for row, number in read.items()}


def expect_numbers(view, there: Sight, rows, side: float, *, least: int | None = None) -> None:
    """These rows, or `least` of them, show pictures of their numbers, and none that of another."""
    deadline, before = time.monotonic() + SECONDS, {}
    least = len(rows) if least is None else least
    while True:
        read = numbers(view, there, rows, side)
        wrong = {row: number for row, number in read.items() if number not in (row, -1)}
        # What is seen once may be the view before, from where it has not moved yet.
        stayed = wrong.items() & before.items()
        assert not stayed, f"rows show the pictures of others: {stayed}"
        found = [row for row, number in read.items() if number == row]
        if len(found) >= least and not wrong:
            return
        missing = sorted(set(read) - set(found))
        assert time.monotonic() < deadline, (
            f"{len(missing)} of {len(rows)} show none: {missing[:9]}"
        )
        before = wrong
        view.notebook.page.wait_for_timeout(700 if wrong else 150)


def expect_alike(view, there: Sight, rows, side: float, most: float) -> None:
    """Pictures on the screen soon differ from their sources by `most` levels; see `difference`."""
    deadline = time.monotonic() + SECONDS
    while True:
        crops = there.crops(view.pixels("canvas.map"), rows, side)
        off = max(difference(crop, row) for row, crop in crops)
        if off <= most:
            return
        assert time.monotonic() < deadline, f"pictures of {side} px are off by {off:.0f} levels"
        view.notebook.page.wait_for_timeout(150)


def difference(crop: np.ndarray, row: int) -> float:
    """Levels by which 4 x 4 blocks of a picture on the screen differ from its source, at most."""
    height, width = crop.shape[:2]
    way = Image.Resampling.NEAREST if width > SIDE else Image.Resampling.BOX
    source = np.asarray(Image.fromarray(pictures(row)[0]).resize((width, height), way), float)
    blocks = [(i, j) for i in range(4) for j in range(4)]
    shown = [_block(crop[..., :3].astype(float), i, j) for i, j in blocks]
    exact = [_block(source, i, j) for i, j in blocks]
    return float(np.abs(np.array(shown) - exact).max())


def _block(picture: np.ndarray, i: int, j: int) -> np.ndarray:
    """Mean of the middle of a block."""
    (height, width) = picture.shape[:2]
    rows = slice(int(np.ceil((i + 0.15) * height / 4)), int((i + 0.85) * height / 4))
    columns = slice(int(np.ceil((j + 0.15) * width / 4)), int((j + 0.85) * width / 4))
    return picture[rows, columns].mean((0, 1))


def opened(open_notebook, *cells, still=True, **options):
    """A notebook whose cells ran, and its first view; nothing flies where it is to stand still."""
    notebook = open_notebook(cells, **options)
    if still:
        notebook.page.emulate_media(reduced_motion="reduce")
    notebook.run_all(timeout=120)
    view = notebook.view()
    view.show()
    return notebook, view


def seen(view, selector: str) -> np.ndarray:
    """What stands on the screen within an element, whatever draws it: uint8 (H, W, 3)."""
    return np.asarray(Image.open(io.BytesIO(view.find(selector).screenshot())).convert("RGB"))


def press(view, text: str) -> None:
    """Press the first button of this text."""
    view.find(f"button:text-is('{text}')").first.click()
