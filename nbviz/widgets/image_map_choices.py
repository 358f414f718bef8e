"""What can be chosen in an `ImageMap`, and what is refused with a reason."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import traitlets

from nbviz.widgets import wire
from nbviz.widgets.base import Choice, nearest
from nbviz.widgets.gathered_choices import GatheredChoices

LAYOUTS = ("map", "grid", "pca")
PICTURES = ("thinned", "all", "dots")
SMALLEST, LARGEST = 8, 128


class Numbers(traitlets.TraitType):  # type: ignore[type-arg]
    """Whole numbers in ascending order, each once: an int64 array that cannot be written to."""

    info_text = "whole numbers: an array, a list, or a mask of all images"

    def validate(self, obj: Any, value: Any) -> np.ndarray:
        """The array."""
        found = np.asarray(value)
        if found.size == 0:
            found = np.zeros(0, np.int64)
        if found.ndim != 1 or found.dtype.kind not in "iub":
            self.error(obj, value)
        if found.dtype.kind == "b":
            if len(found) != len(obj._numbers):
                self.error(obj, value)
            found = obj._numbers[found]
        found = np.unique(found).astype(np.int64)
        found.setflags(write=False)
        return found

    def set(self, obj: Any, value: Any) -> None:
        """Set it; arrays that are equal are no change."""
        new: Any = self._validate(obj, value)
        name: Any = self.name
        old: Any = getattr(obj, name)
        obj._trait_values[name] = new
        if not np.array_equal(old, new):
            obj._notify_trait(name, old, new)


class ImageMapChoices(GatheredChoices):
    """The traits of an `ImageMap`."""

    CHOICES = (
        *("arrangement", "colour", "border", "hidden", "range", "search", "thumbnails"),
        *("size", "seams", "names", "image"),
    )

    # int64 (n,), ascending: numbers of the images on the map.
    _numbers: np.ndarray

    arrangement = Choice(LAYOUTS, default_value="map").tag(sync=True)
    """``"map"``, ``"grid"`` (each image in a cell of its own, near its place on the map), or
    ``"pca"`` (the first two principal components)."""
    colour = traitlets.Unicode().tag(sync=True)
    """What images are coloured by: the name of one of `layers`."""
    border = traitlets.Unicode().tag(sync=True)
    """What borders of pictures are coloured by: one of `layers`, ``""`` (default) for the same as
    `colour`, ``"none"`` for no borders."""
    hidden = traitlets.List(traitlets.Int()).tag(sync=True)
    """Categories of `colour` that are filtered away, by number; -1 for images without one."""
    range = traitlets.List(traitlets.Float()).tag(sync=True)
    """Of a `colour` by value, what is kept: ``[low, high]``; empty (default) for all."""
    search = traitlets.Unicode().tag(sync=True)
    """Part of a class's or a file's name, or the number of an image: what is found stands out."""
    thumbnails = Choice(PICTURES, default_value="thinned").tag(sync=True)
    """``"thinned"`` (pictures where there is room for them), ``"all"``, or ``"dots"``."""
    size = traitlets.Int(32, min=SMALLEST, max=LARGEST).tag(sync=True)
    """Side of a thumbnail in CSS pixels, 8 to 128."""
    seams = traitlets.Bool(False).tag(sync=True)
    """Whether lines show where neighbours on the map are far apart for the network."""
    names = traitlets.Bool(True).tag(sync=True)
    """Whether names of classes stand on the map."""
    image = traitlets.Int(-1, min=-1).tag(sync=True)
    """Number of the image that is chosen; -1 (default) for none."""
    camera = traitlets.List(traitlets.Float()).tag(sync=True)
    """What is in view: x and y of the middle, 0 to 65535 with y down, and zoom, 1 for all; empty
    (default) shows all."""
    height = traitlets.Int(560, min=200, max=2000).tag(sync=True)
    """Height of the map in CSS pixels."""
    selected = Numbers(())
    """Numbers of the images that are selected, int64 array, ascending; settable, observable."""

    _selected = traitlets.Dict().tag(sync=True)
    # The same as rows, packed.

    points = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: where images stand in each layout, packed."""
    progress = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: how far the map is."""
    facts = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: label, prediction, confidence and neighbours of each image, packed."""
    layers = traitlets.List(traitlets.Dict()).tag(sync=True, shown=True)
    """Read-only: what images can be coloured by, as dicts for the menu."""
    colour_layer = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: values of `colour`, packed."""
    border_layer = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: values of `border`, packed."""
    named = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: where names of categories stand."""
    trust = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: how far the layout can be trusted; empty until it was measured."""
    seam_lines = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: the lines of `seams`, packed."""
    pictures = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: pictures of some images, for a saved page, packed."""
    own = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: pictures of one's own on the map, packed."""
    found = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: the images whose names `search` found, packed."""
    notes = traitlets.List(traitlets.Unicode()).tag(sync=True, shown=True)
    """Read-only: what was done to the data."""
    missing = traitlets.Unicode().tag(sync=True, shown=True)
    """Read-only: why there are no pictures; empty where there are."""
    no_placing = traitlets.Unicode().tag(sync=True, shown=True)
    """Read-only: why no picture of one's own can be placed; empty where it can."""

    @traitlets.observe(*CHOICES)
    def _chosen(self, change: dict[str, Any]) -> None:
        self._choose(change)

    def _layer_names(self) -> list[str]:
        return [layer["name"] for layer in self.layers]

    @traitlets.validate("colour", "border")
    def _check_layer(self, proposal: dict[str, Any]) -> str:
        name: str = proposal["value"]
        known = self._layer_names()
        if name not in known and not (name == "" and proposal["trait"].name == "border"):
            raise traitlets.TraitError(
                f"{proposal['trait'].name} must be one of {', '.join(map(repr, known))}; got "
                f"{name!r}{nearest(name, known)}"
            )
        return name

    @traitlets.validate("range")
    def _check_range(self, proposal: dict[str, Any]) -> list[float]:
        ends: list[float] = list(proposal["value"])
        if ends and not (len(ends) == 2 and ends[0] <= ends[1]):
            raise traitlets.TraitError(f"range must be [low, high] with low <= high; got {ends}")
        return ends

    @traitlets.validate("camera")
    def _check_camera(self, proposal: dict[str, Any]) -> list[float]:
        camera: list[float] = list(proposal["value"])
        fits = len(camera) == 3 and all(map(math.isfinite, camera)) and camera[2] > 0
        if camera and not fits:
            raise traitlets.TraitError(
                f"camera must be [x, y, zoom] with zoom above 0, or []; got {camera}"
            )
        return camera

    @traitlets.validate("image")
    def _check_image(self, proposal: dict[str, Any]) -> int:
        number: int = proposal["value"]
        if number >= 0:
            self._rows_of(np.array([number]), "image")
        return number

    @traitlets.validate("selected")
    def _check_selected(self, proposal: dict[str, Any]) -> np.ndarray:
        numbers: np.ndarray = proposal["value"]
        self._rows_of(numbers, "selected")
        return numbers

    @traitlets.validate("_selected")
    def _check_rows(self, proposal: dict[str, Any]) -> dict[str, Any]:
        packed: dict[str, Any] = proposal["value"]
        if packed:
            rows = wire.unpack(packed).get("rows", np.zeros(0, np.int32))
            count = len(self._numbers)
            if rows.ndim != 1 or (rows.size and not 0 <= rows.min() <= rows.max() < count):
                raise traitlets.TraitError(f"_selected must be rows below {count}")
        return packed

    def _rows_of(self, numbers: np.ndarray, name: str) -> np.ndarray:
        """Rows of images by their numbers, or what is wrong with them."""
        known = self._numbers
        at = np.searchsorted(known, numbers)
        wrong = np.ones(len(numbers), bool)
        inside = at < len(known)
        wrong[inside] = known[at[inside]] != numbers[inside]
        if wrong.any():
            last = int(known[-1]) if len(known) else -1
            raise traitlets.TraitError(
                f"{name} must be of images on the map, whose numbers go up to {last}; got "
                f"{int(numbers[wrong][0])}"
            )
        return at

    @traitlets.observe("selected")
    def _show_selected(self, change: dict[str, Any]) -> None:
        rows = self._rows_of(change["new"], "selected").astype(np.int32)
        if not np.array_equal(self._selected_rows(), rows):
            self._selected = wire.pack({"rows": rows}) if len(rows) else {}

    @traitlets.observe("_selected")
    def _take_selected(self, change: dict[str, Any]) -> None:
        del change
        self.selected = self._numbers[self._selected_rows()]

    def _selected_rows(self) -> np.ndarray:
        packed = self._selected
        found = wire.unpack(packed)["rows"] if packed else np.zeros(0, np.int32)
        return np.unique(found)
