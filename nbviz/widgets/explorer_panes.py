"""The panes of an `Explorer`: what each is called, what it is made of, and what it lacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nbviz.analysis.activations import drawable
from nbviz.analysis.filters import kernel_layers
from nbviz.network import Network
from nbviz.picture_set import PictureSet
from nbviz.scanning.result import Scan
from nbviz.widgets.activation_browser import ActivationBrowser
from nbviz.widgets.base import View, nearest
from nbviz.widgets.filter_grid import FilterGrid
from nbviz.widgets.image_map import ImageMap
from nbviz.widgets.occlusion_probe import OcclusionProbe
from nbviz.widgets.top_patches import TopPatches


class Pictures(Sequence[Any]):
    """The pictures of a data set with their labels, each read when it is asked for.

    All panes get the same, so that a number means the same picture in each.
    """

    def __init__(self, given: Any, labels: Sequence[Any] | None) -> None:
        self._set = PictureSet(given, labels)
        self.classes = self._set.classes
        self.labels = self._set.known_labels
        """One a picture, where they are known without reading it."""
        # Other data sets tell a label only with its picture: the last one is kept.
        self._labelled: tuple[int, int | str | None] = -1, None

    @classmethod
    def of_scan(cls, scan: Scan) -> Pictures | None:
        """The data set of a scan; None where it is not at hand, or has no numbers."""
        source = scan.dataset
        if source is None or source.length is None:
            return None
        found = cls(_Read(source, source.length), None)
        found.classes = scan.classes
        return found

    def __len__(self) -> int:
        return len(self._set)

    def __getitem__(self, number: Any) -> Any:
        return self._set.item(number)

    def label(self, number: int) -> int | str | None:
        """The label of a picture, None if it has none."""
        if self._labelled[0] != number:
            try:
                self._labelled = number, self._set.label(number)
            except Exception:  # noqa: BLE001 - what it is the panes say that show the picture
                self._labelled = number, None
        return self._labelled[1]


class _Read(Sequence[Any]):
    """Pairs of picture and label out of the data set of a scan."""

    def __init__(self, source: Any, length: int) -> None:
        self._source, self._length = source, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, number: Any) -> Any:
        item = self._source.read(number)
        return item.picture, item.label


@dataclass(frozen=True, eq=False)
class Material:
    """What panes are made of."""

    network: Network
    pictures: Pictures | None
    boxes: Any
    scan: Scan | None


@dataclass(frozen=True)
class Pane:
    """One pane: its heading, the view in it, and how that is made."""

    title: str
    view: type[View]
    make: Callable[..., View]
    scanned: bool
    """Whether it shows a scan."""


def _filters(material: Material, image: int, **options: Any) -> FilterGrid:
    del image
    return FilterGrid(material.network, **options)


def _activations(material: Material, image: int, **options: Any) -> ActivationBrowser:
    return ActivationBrowser(material.network, **_looked_at(material, image), **options)


def _occlusion(material: Material, image: int, **options: Any) -> OcclusionProbe:
    pictures = _looked_at(material, image)
    return OcclusionProbe(material.network, boxes=material.boxes, **pictures, **options)


def _looked_at(material: Material, image: int) -> dict[str, Any]:
    pictures = material.pictures
    if pictures is None:
        return {}
    return {"pictures": pictures, "labels": pictures.labels, "image": max(image, 0)}


def _patches(material: Material, image: int, **options: Any) -> TopPatches:
    del image
    return TopPatches(_scan_of(material), **options)


def _map(material: Material, image: int, **options: Any) -> ImageMap:
    del image
    return ImageMap(_scan_of(material), **options)


def _scan_of(material: Material) -> Scan:
    if material.scan is None:
        raise ValueError("expected a scan, got None")
    return material.scan


#: In the order of the lecture.
PANES = {
    "filters": Pane("Filters", FilterGrid, _filters, scanned=False),
    "activations": Pane("Activations", ActivationBrowser, _activations, scanned=False),
    "occlusion": Pane("Occlusion", OcclusionProbe, _occlusion, scanned=False),
    "patches": Pane("Maximally activating patches", TopPatches, _patches, scanned=True),
    "map": Pane("t-SNE map", ImageMap, _map, scanned=True),
}


def lacking(name: str, material: Material) -> dict[str, str]:
    """What a pane needs before it can be made, with the line of Python that gives it; {} if none.

    ``text`` is the sentence, ``code`` the line.
    """
    if not PANES[name].scanned or material.scan is not None:
        return {}
    if material.pictures is None:
        return {
            "text": "This pane needs a data set, and a scan of it.",
            "code": "nbviz.Explorer(network, dataset, nbviz.scan(network, dataset))",
        }
    count = len(material.pictures)
    images = f"{count:,} image{'' if count == 1 else 's'}"
    return {
        "text": f"This pane needs a scan: one pass over the {images}. Run in a cell:",
        "code": "explorer.scan = nbviz.scan(network, dataset)",
    }


def first_layer(material: Material) -> str:
    """The first layer that most panes can show."""
    network, scan = material.network, material.scan
    drawn = [layer.name for layer in network.layers if drawable(layer) is None]
    with_kernels = {entry.name for entry in kernel_layers(network) if entry.problem is None}
    scanned = set(drawn) if scan is None else set(scan.layers)
    for wanted in (with_kernels & scanned, scanned, set(drawn)):
        for name in drawn:
            if name in wanted:
                return name
    return network.layers.names[0]


def split_options(
    options: Mapping[str, Mapping[str, Any]] | None,
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Options of panes as arguments that views are made with, and choices that are set in them.

    Raises
    ------
    TypeError
        For a pane that is none.
    """
    arguments: dict[str, dict[str, Any]] = {}
    choices: dict[str, dict[str, Any]] = {}
    for name, given in (options or {}).items():
        if name not in PANES:
            raise TypeError(
                f"expected options of {', '.join(map(repr, PANES))}, got {name!r}"
                f"{nearest(name, [*PANES])}"
            )
        for option, value in given.items():
            traited = option in PANES[name].view.class_trait_names()
            (choices if traited else arguments).setdefault(name, {})[option] = value
    return arguments, choices
