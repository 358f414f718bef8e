"""What a page without Python keeps of each widget, the most important first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial, singledispatch
from typing import Any

import numpy as np

from nbviz.analysis.map_places import priority
from nbviz.widgets import wire
from nbviz.widgets.activation_browser import ActivationBrowser
from nbviz.widgets.base import View
from nbviz.widgets.explorer import Explorer
from nbviz.widgets.filter_grid import FilterGrid
from nbviz.widgets.image_map import ImageMap
from nbviz.widgets.image_map_choices import LAYOUTS
from nbviz.widgets.occlusion_probe import OcclusionProbe
from nbviz.widgets.page_recording import Axis, Plan, Question, Series
from nbviz.widgets.top_patches import TopPatches

__all__ = ["plan_of"]

_NO_MAP = (
    "An OcclusionProbe has no full map of what it shows, so that its mask cannot be moved in the "
    "page; call its run_map() first."
)
_UNFINISHED = "An ImageMap is not finished, and stays as it is in the page; call its wait() first."
# Images to walk, beside the one on show, where none are named.
_FIRST_IMAGES = 8
# Classes that a map is asked about, one by one.
_MOST_CLASSES = 20
# Images of a map whose captions are asked for, one by one.
_MOST_CAPTIONS = 5_000
# Tiles of a map: their sides in pixels, as its view asks for them, and how many are on a sheet.
_TILES = ((32, 256), (128, 64), (256, 16))
# A map of more images gets no grid in a page: it would take minutes to lay out.
_MOST_IN_GRID = 50_000
# Height of a band of a map, in places of 0 to 65535, whose images share sheets.
_BAND = 4096
# Whole images of other channels, each of which takes a forward pass.
_MOST_WHOLE = 600
# Channels whose strips of patches come in one answer.
_ROWS = 8


@singledispatch
def plan_of(widget: View, images: Sequence[int] | None) -> Plan:
    """What to record of a widget; `images` are numbers of pictures to walk, None for the first."""
    del widget, images
    return Plan(silent=("part",))


def _first(current: Any, others: Sequence[Any]) -> list[Any]:
    return [current, *(other for other in others if other != current)]


@plan_of.register
def _(widget: Explorer, images: Sequence[int] | None) -> Plan:
    del images
    chosen = ("layer", "channel", "unit", "image")
    now = tuple(getattr(widget, name) for name in chosen)
    # Elsewhere the view tells the numbers, which is all that it knows.
    return Plan(parts=(Axis(chosen, ("chosen",), [now], "choices", elsewhere={"chosen": []}),))


@plan_of.register
def _(widget: FilterGrid, images: Sequence[int] | None) -> Plan:
    del images
    drawn = [entry["name"] for entry in widget.layers if not entry["problem"]]
    return Plan(
        parts=(
            Axis(
                ("layer",),
                ("kernels", "history", "watching"),
                [(name,) for name in _first(widget.layer, drawn)],
                "layers",
                resets={"layer": ("selected", "channel", "step")},
            ),
        ),
        silent=("part", "kernel"),
    )


@plan_of.register
def _(widget: ActivationBrowser, images: Sequence[int] | None) -> Plan:
    walked = _images_to_walk(widget, images)
    drawn = [entry["name"] for entry in widget.layers if not entry["problem"]]
    if widget.layer not in drawn:
        drawn = [widget.layer]
    inputs = [Series("", [Question("part", {"name": "picture-inputs"})])] if walked[1:] else []
    walk = Axis(
        ("layer", "image"),
        ("maps", "picture", "prediction", "inputs", "rail", "pins"),
        _walk(_first(widget.layer, drawn), walked),
        "layers and pictures",
        resets={"layer": ("channel", "unit")},
    )
    unit = Axis(
        ("layer", "image", "channel", "unit"),
        ("trace",),
        [(widget.layer, widget.image, widget.channel, list(widget.unit))],
        "units",
        elsewhere={"trace": {}},
    )
    return Plan(
        parts=(*inputs, walk, unit),
        fixed=("compared", "show", "query", "pinned"),
        silent=("part", "map"),
    )


def _images_to_walk(widget: ActivationBrowser, images: Sequence[int] | None) -> list[int]:
    """The picture on show first; one that is not of the data set is the only one."""
    if widget.image < 0:
        return [widget.image]
    count = int(widget.inputs["images"])
    chosen = range(min(count, _FIRST_IMAGES)) if images is None else images
    beyond = [number for number in chosen if not 0 <= number < count]
    if beyond:
        raise ValueError(
            f"expected numbers of pictures, 0 to {count - 1}, in images=; got {beyond[0]}"
        )
    return _first(widget.image, [int(number) for number in chosen])


def _walk(layers: Sequence[str], images: Sequence[int]) -> list[tuple[Any, ...]]:
    """All layers for the first picture, then all pictures, then each with each."""
    near = [(layer, images[0]) for layer in layers] + [(layers[0], image) for image in images[1:]]
    return [*near, *((layer, image) for image in images[1:] for layer in layers[1:])]


@plan_of.register
def _(widget: OcclusionProbe, images: Sequence[int] | None) -> Plan:
    del images
    whole = widget.result is not None and widget.result.complete and not widget.stale
    top = [int(guess["number"]) for guess in widget.prediction["top"]]
    return Plan(
        parts=(
            Axis(
                ("target",),
                ("prediction", "confidence", "trail", "map", "stale", "evidence_shown"),
                [(number,) for number in _first(widget.target, top)],
                "classes",
            ),
        ),
        fixed=(
            *("image", "mask_shape", "size", "stride", "fill", "colour", "fill_image"),
            *("layer", "channel", "tolerance"),
        ),
        kept=("evidence_shown", "trail"),
        silent=("part", "masked") if whole else ("part",),
        notes=() if whole else (_NO_MAP,),
    )


@plan_of.register
def _(widget: TopPatches, images: Sequence[int] | None) -> Plan:
    del images
    layers = _first(widget.layer, list(widget.scan.layers))
    walk = Axis(
        ("layer",),
        ("overview", "found"),
        [(layer,) for layer in layers],
        "layers",
        resets={"layer": ("channel", "unit")},
    )
    pictures = (
        series
        for some in (layers[:1], layers[1:])
        for series in (
            Series("strips of patches", _strips(widget, some)),
            Series("whole images", _whole_images(widget, some)),
            Series("opened channels", _opened(widget, some)),
        )
    )
    return Plan(
        parts=(walk, *(() if widget.overview["missing"] else pictures)),
        fixed=("search",),
        kept=("opened", "pictures"),
        silent=("part",),
    )


def _order(widget: TopPatches, layer: str) -> list[int]:
    """Channels as the list has them, the opened one first."""
    if layer == widget.layer:
        order: list[int] = widget.order.tolist()
        return order if widget.channel < 0 else _first(widget.channel, order)
    return list(range(int(widget.scan.layer_info(layer)["channels"])))


def _strips(widget: TopPatches, layers: Sequence[str]) -> Iterator[Question]:
    for layer in layers:
        order = _order(widget, layer)
        for start in range(0, len(order), _ROWS):
            yield Question(
                "rows",
                {"layer": layer, "show": widget.show},
                {"patches": widget.patches, "tile": widget._tile},
                among="channels",
                given=order[start : start + _ROWS],
            )


def _opened(widget: TopPatches, layers: Sequence[str]) -> Iterator[Question]:
    for layer in layers:
        for channel in _order(widget, layer):
            same = {"layer": layer, "channel": channel, "show": widget.show}
            yield Question("channel", same, {"tile": widget._tile})


def _whole_images(widget: TopPatches, layers: Sequence[str]) -> Iterator[Question]:
    """The strongest image of each channel with what it answers there, then the next ones."""
    made = 0
    for rank in range(widget.patches):
        for layer in layers:
            arrays = widget._overview_of(layer).arrays
            for channel in _order(widget, layer):
                if made >= _MOST_WHOLE:
                    return
                if rank < arrays["image"].shape[1] and arrays["image"][channel, rank] >= 0:
                    image = int(arrays["image"][channel, rank])
                    of = {"layer": layer, "channel": channel, "image": image}
                    # With no unit chosen, it is the strongest of the strongest image.
                    units = [[]] * (rank == 0) + [arrays["place"][channel, rank].tolist()]
                    for unit in units:
                        yield Question("image", {**of, "unit": unit})
                    made += 1


@plan_of.register
def _(widget: ImageMap, images: Sequence[int] | None) -> Plan:
    del images
    finished = bool(widget.progress.get("finished"))
    tiles = () if widget.missing else _sheets(widget)
    nothing: dict[str, np.ndarray] = {"rows": np.zeros(0, np.int32), "sheet": np.zeros(0, np.uint8)}
    return Plan(
        parts=(
            *_map_choices(widget, finished=finished),
            Series("", [Question("part", {"name": "map-questions"})]),
            Series("questions", _questions(widget)),
            *tiles,
            Series("captions", _captions(widget)),
        ),
        settle=partial(widget.wait, progress=False) if finished else None,
        silent=("part", "advance", "stop", "card", "neighbours"),
        blank={"tiles": wire.pack(nothing, tile=32, columns=1)},
        notes=() if finished else (_UNFINISHED,),
    )


def _map_choices(widget: ImageMap, *, finished: bool) -> Iterator[Axis]:
    """What images are laid out, coloured and bordered by; of a map that moves only what is set."""
    few = _count(widget) <= _MOST_IN_GRID
    laid = [name for name in LAYOUTS if few or name != "grid"] if finished else []
    layers = [layer["name"] for layer in widget.layers] if finished else []
    layouts, colours = _first(widget.arrangement, laid), _first(widget.colour, layers)
    borders = _first(widget.border, ["", "none", *layers] if finished else [])
    lines = [widget.seams, not widget.seams] if finished else [widget.seams]
    yield Axis(
        ("arrangement", "colour"),
        ("points", "trust", "colour_layer", "named"),
        [(layout, colour) for layout in layouts for colour in colours],
        "layouts and colours",
        resets={"colour": ("hidden", "range")},
    )
    yield Axis(
        ("arrangement", "border"),
        ("border_layer",),
        [(layout, border) for border in borders for layout in layouts],
        "borders",
    )
    yield Axis(
        ("arrangement", "seams"),
        ("seam_lines",),
        [(layout, shown) for shown in lines for layout in layouts],
        "seams",
    )
    # Names of classes the view finds by itself.
    yield Axis(("search",), ("found",), [(widget.search,)], "searches", elsewhere={"found": {}})


def _count(widget: ImageMap) -> int:
    return len(widget._columns.numbers)


def _sheets(widget: ImageMap) -> Iterator[Series]:
    """Small pictures of what is shown first; larger ones of what lies together."""
    ranks = priority(np.arange(_count(widget)))
    by_rank = np.argsort(ranks, kind="stable")
    places = widget._work.places(widget.arrangement)
    by_place = by_rank if places is None else np.lexsort((places[:, 0], places[:, 1] // _BAND))
    for side, many in _TILES:
        rows = by_rank if side == _TILES[0][0] else by_place
        questions = [
            Question("tiles", {"tile": side}, among="rows", given=rows[at : at + many].tolist())
            for at in range(0, len(rows), many)
        ]
        yield Series(f"pictures of {side} px", questions)


def _questions(widget: ImageMap) -> Iterator[Question]:
    for about in ("duplicates", "outliers"):
        yield Question("question", {"about": about, "label": None, "among": None})
    classes = range(min(len(widget.facts["classes"]), _MOST_CLASSES))
    for label in (None, *classes):
        yield Question("question", {"about": "misplaced", "label": label, "among": None})


def _captions(widget: ImageMap) -> Iterator[Question]:
    """Of images in files; of others the view says what it knows."""
    source = widget._columns.source
    if source is not None and source.in_files:
        for row in range(min(_count(widget), _MOST_CAPTIONS)):
            yield Question("card", {"row": row})
