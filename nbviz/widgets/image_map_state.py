"""How a map of images becomes the traits and answers of an `ImageMap`; no maths here.

``js/image-map/state.ts`` names the same fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nbviz.analysis.map_questions import category_places
from nbviz.analysis.map_trust import MapTrust
from nbviz.analysis.prediction import class_name
from nbviz.widgets import wire
from nbviz.widgets.image_map_columns import MapColumns
from nbviz.widgets.image_map_inks import NONE, Ink
from nbviz.widgets.image_map_work import MapWork

#: Rows up to which neighbours are kept in a saved page.
MOST_SAVED = 20_000
_MOST_CLASSES, _MOST_NAMES = 2000, 200


def points_state(work: MapWork, numbers: np.ndarray) -> dict[str, Any]:
    """Where images stand in each layout that is known."""
    arrays = {}
    for name in ("map", "grid", "pca"):
        places = work.places(name)
        if places is not None:
            arrays[name] = places
    plain = len(numbers) == 0 or (numbers[0] == 0 and numbers[-1] == len(numbers) - 1)
    if not plain:
        arrays["numbers"] = numbers.astype(np.int32)
    cell = work.frame("grid").unit if "grid" in arrays else 0.0
    return wire.pack(arrays, count=len(numbers), cell=cell, method=work.embedding.described)


def facts_state(columns: MapColumns, work: MapWork) -> dict[str, Any]:
    """What is known of each image."""
    arrays: dict[str, np.ndarray] = {}
    for name, column in (("label", columns.label), ("predicted", columns.predicted)):
        if column is not None:
            arrays[name] = np.where((column < 0) | (column >= NONE), NONE, column).astype(np.uint16)
    if columns.confidence is not None:
        known = np.isfinite(columns.confidence)
        levels = np.clip(np.rint(np.where(known, columns.confidence, 0) * 254), 0, 254)
        arrays["confidence"] = np.where(known, levels, 255).astype(np.uint8)
    near = work.known_neighbours if len(columns.numbers) <= MOST_SAVED else None
    if near is not None:
        arrays["neighbours"] = near.index.astype(np.int32)
    return wire.pack(
        arrays, classes=shown_names(columns.classes), outputs=shown_names(columns.outputs)
    )


def shown_names(names: Sequence[str] | None) -> list[str]:
    """As many names as are sent to the view."""
    return list(names or ())[:_MOST_CLASSES]


def named_state(work: MapWork, ink: Ink, layout: str) -> dict[str, Any]:
    """Where names of categories stand: at the densest part of each, the largest first."""
    positions = work.layout(layout)
    if ink.kind != "category" or positions is None:
        return {}
    numbers, positions, counts = category_places(positions, ink.numbers(), most=_MOST_NAMES)
    places = work.frame(layout).places(positions)
    listed = [
        [int(n), int(x), int(y), int(c)]
        for n, (x, y), c in zip(numbers, places, counts, strict=True)
    ]
    names = {number: name for number, name, _ in ink.categories}
    texts = [names[number] for number, *_ in listed]
    return {"layout": layout, "places": listed, "texts": texts, "by": ink.name}


def trust_state(trust: MapTrust, layout: str, *, finished: bool) -> dict[str, Any]:
    """How far a layout, of a map that is finished or not, can be trusted."""
    unfinished = "" if finished or layout == "pca" else "The map is not finished. "
    return {
        "trustworthiness": _plain(trust.trustworthiness),
        "continuity": _plain(trust.continuity),
        "preserved": _plain(trust.preserved),
        "neighbours": trust.k,
        "measured": trust.measured,
        "exact": trust.exact,
        "layout": layout,
        "sentence": unfinished + trust.sentence,
    }


def _plain(value: float) -> float | None:
    """JSON has no NaN."""
    return float(value) if np.isfinite(value) else None


def seam_state(work: MapWork, layout: str) -> dict[str, Any]:
    """Lines where a layout brings together what is far apart for the network."""
    found = work.seams(layout)
    strength: np.ndarray = np.rint(found.strength * 255).astype(np.uint8)
    arrays: dict[str, np.ndarray] = {"pairs": found.pairs.astype(np.int32), "strength": strength}
    return wire.pack(arrays, layout=layout, meaning=found.meaning)


def progress_state(work: MapWork, *, rest: str) -> dict[str, Any]:
    """How far the work is; `rest` is what is done after the map, empty when nothing is left."""
    step, count = work.step, len(work.space.rows)
    images = counted(count, "image")
    iteration, total = (step.iteration, step.total) if step is not None else (1, 1)
    if rest:
        sentence, iteration = rest, total  # images move no more
    elif work.placed:
        sentence = f"{images} placed."
    elif work.stopped:
        sentence = f"Stopped after {iteration:,} of {total:,} steps."
    else:
        sentence = step.sentence if step is not None else ""
    return {
        "finished": work.placed and not rest,
        "stopped": work.stopped and not work.placed and not rest,
        "iteration": iteration,
        "total": total,
        "sentence": sentence,
    }


def card_lines(columns: MapColumns, row: int) -> list[str]:
    """What is to be said of an image, a line each."""
    lines = []
    label = -1 if columns.label is None else int(columns.label[row])
    if label >= 0:
        lines.append(f"Class: {class_name(label, columns.classes)}")
    predicted = -1 if columns.predicted is None else int(columns.predicted[row])
    if predicted >= 0:
        confidence = np.nan if columns.confidence is None else float(columns.confidence[row])
        share = f", {100 * confidence:.0f} %" if np.isfinite(confidence) else ""
        lines.append(f"Taken for: {class_name(predicted, columns.outputs)}{share}")
    return lines


def counted(count: int, noun: str) -> str:
    """How many there are, with one of a noun that takes an s."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
