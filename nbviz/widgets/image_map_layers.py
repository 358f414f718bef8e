"""What the images of an `ImageMap` can be coloured by, and the colours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nbviz.widgets.image_map_columns import MapColumns
from nbviz.widgets.image_map_inks import (
    Ink,
    Kind,
    category_ink,
    no_ink,
    users_ink,
    value_ink,
    waiting_ink,
)
from nbviz.widgets.image_map_work import MapWork

#: Layers that go with the layout, those that wait for the neighbours, and all that wait.
OF_LAYOUT = ("trust", "kept")
OF_NEIGHBOURS = (*OF_LAYOUT, "outlier")
WAITING = (*OF_NEIGHBOURS, "cluster")

_LABELS: dict[str, tuple[str, Kind]] = {
    "none": ("Nothing", "none"),
    "class": ("Class", "category"),
    "prediction": ("Prediction", "category"),
    "confidence": ("Confidence", "value"),
    "right": ("Right or wrong", "category"),
    "cluster": ("Cluster", "category"),
    "trust": ("Trust in its place", "value"),
    "kept": ("Neighbours kept", "value"),
    "outlier": ("Loneliness", "value"),
}


def layers_of(columns: MapColumns) -> list[dict[str, str]]:
    """What images can be coloured by, for the menu.

    Raises
    ------
    ValueError
        If one of the user's has a name that is taken.
    """
    there = {
        "class": columns.label is not None,
        "prediction": columns.predicted is not None,
        "confidence": columns.confidence is not None,
        "right": columns.right() is not None,
        **dict.fromkeys(OF_NEIGHBOURS, len(columns.numbers) > 2),
    }
    layers = [
        {"name": name, "label": label, "kind": kind}
        for name, (label, kind) in _LABELS.items()
        if there.get(name, True)
    ]
    for name, values in columns.colours.items():
        if name in _LABELS:
            raise ValueError(
                f"expected names in colours= other than {', '.join(_LABELS)}, got {name!r}"
            )
        layers.append({"name": name, "label": name, "kind": users_ink(name, values).kind})
    return layers


def inked(name: str, columns: MapColumns, work: MapWork, layout: str) -> Ink:
    """What images are coloured by, of a layer that is offered."""
    if name in columns.colours:
        return users_ink(name, columns.colours[name])
    label, kind = _LABELS[name]
    if name in WAITING and not _there(name, work, layout):
        return waiting_ink(name, label, kind, len(columns.numbers))
    make: dict[str, Callable[[], Ink]] = {
        "none": lambda: no_ink(len(columns.numbers)),
        "class": lambda: _categories(name, columns.label, columns.classes),
        "prediction": lambda: _categories(name, columns.predicted, columns.outputs),
        "confidence": lambda: _confidence(columns),
        "right": lambda: _categories(name, columns.right(), ("wrong", "right")),
        "cluster": lambda: _clusters(columns, work),
        "trust": lambda: _trust(work, layout),
        "kept": lambda: _kept(work, layout),
        "outlier": lambda: _outlier(work),
    }
    return make[name]()


def _there(name: str, work: MapWork, layout: str) -> bool:
    """Whether colours that wait can be had now, at once."""
    if name == "cluster":
        return work.few or work.clustered
    if not work.settled or work.known_neighbours is None:
        return False
    return name == "outlier" or work.few or work.known("trust", layout)


def _categories(name: str, numbers: np.ndarray | None, names: tuple[str, ...] | None) -> Ink:
    if numbers is None:
        raise ValueError(f"expected {name} of some images, got none")
    return category_ink(name, _LABELS[name][0], numbers, names)


def _confidence(columns: MapColumns) -> Ink:
    if columns.confidence is None:
        raise ValueError("expected confidence of some images, got none")
    label, meaning = _LABELS["confidence"][0], "probability of what is predicted"
    return value_ink("confidence", label, columns.confidence, meaning, bounds=(0.0, 1.0))


def _clusters(columns: MapColumns, work: MapWork) -> Ink:
    found = work.clusters(columns.groups)
    names = [f"cluster {number}" for number in range(int(found.max(initial=-1)) + 1)]
    meaning = "by k-means on the features, the largest first"
    return category_ink("cluster", _LABELS["cluster"][0], found, names, meaning)


def _trust(work: MapWork, layout: str) -> Ink:
    meaning = "1 where all that are near here are near for the network, too"
    values = work.trust(layout).point_trustworthiness
    return value_ink("trust", _LABELS["trust"][0], values, meaning)


def _kept(work: MapWork, layout: str) -> Ink:
    trust = work.trust(layout)
    meaning = f"share of its {trust.k} nearest for the network that are so here"
    return value_ink("kept", _LABELS["kept"][0], trust.point_preserved, meaning, bounds=(0.0, 1.0))


def _outlier(work: MapWork) -> Ink:
    meaning = "how much sparser it is around it than around its neighbours; 1 is usual"
    label = _LABELS["outlier"][0]
    return value_ink("outlier", label, work.outliers(), meaning, quantile=0.995)
