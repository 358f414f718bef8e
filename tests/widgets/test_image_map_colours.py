"""What the images of an ImageMap are coloured by."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import traitlets

from nbviz import ImageMap
from nbviz.analysis.colormaps import category_colour
from nbviz.widgets.image_map_inks import NONE, value_ink
from tests.fixtures.mapped import COUNT, NAMES, finished, grouped, small_map
from tests.fixtures.scanned import arrays_of, scan_of, small_labels, small_scan


def values_of(view, layer="colour_layer"):
    return arrays_of(getattr(view, layer))["values"].astype(int)


def back(view):
    """Values as they were before they were sent."""
    layer, levels = view.colour_layer, values_of(view).astype(float)
    found = layer["low"] + levels / (NONE - 1) * (layer["high"] - layer["low"])
    return np.where(levels == NONE, np.nan, found)


def test_classes_come_with_names_and_counts():
    _, labels = grouped()
    given = [None if n == 4 else NAMES[label] for n, label in enumerate(labels)]
    view = small_map(labels=given)
    expected = labels.copy()
    expected[4] = NONE
    np.testing.assert_array_equal(values_of(view), expected)
    assert view.colour_layer["kind"] == "category"
    counts = np.bincount(np.delete(labels, 4))
    assert view.colour_layer["categories"] == [
        {"number": n, "name": NAMES[n], "count": counts[n]} for n in range(3)
    ]


@pytest.mark.parametrize(
    "labels",
    [
        lambda n: n.tolist(),
        lambda n: n.astype(np.uint8),
        lambda n: n.astype(float),
        lambda n: [*map(int, n[:-1]), None],
        lambda n: np.array(NAMES)[n],
        lambda n: np.array([NAMES[i] for i in n], object),
    ],
    ids=["list", "uint8", "float", "None", "names", "objects"],
)
def test_labels_come_in_any_form(labels):
    numbers = grouped()[1]
    view = small_map(labels=labels(numbers))
    shown = values_of(view)
    np.testing.assert_array_equal(shown[:-1], numbers[:-1])
    assert shown[-1] in (numbers[-1], NONE)
    assert [each["name"] for each in view.colour_layer["categories"]] == list(NAMES)


def test_without_names_of_classes_names_sort():
    view = small_map(labels=[["z", "a"][n % 2] for n in range(COUNT)], classes=None)
    assert view.facts["classes"] == ["a", "z"]
    assert values_of(view)[:2].tolist() == [1, 0]


def test_right_and_wrong_go_by_names_where_numbers_differ():
    scan = small_scan()
    rows = scan.images
    view = ImageMap(scan, colour="right")
    np.testing.assert_array_equal(values_of(view), rows.label == rows.predicted)
    turned = tuple(reversed(scan.classes))
    others = ImageMap(scan, labels=3 - rows.label, classes=turned, colour="right")
    np.testing.assert_array_equal(values_of(others), values_of(view))
    assert [each["name"] for each in view.colour_layer["categories"]] == ["wrong", "right"]


def test_where_nothing_is_known_it_is_not_offered():
    names = [layer["name"] for layer in small_map(labels=None, classes=None).layers]
    assert names == ["none", "cluster", "trust", "kept", "outlier"]
    scan = scan_of(labels=[None] * 40)
    assert "right" not in [layer["name"] for layer in ImageMap(scan).layers]
    assert ImageMap(scan).colour == "prediction"


def test_measures_are_those_of_the_analysis_and_wait_for_the_map():
    view = small_map(method="tsne", colour="trust", border="kept")
    assert (values_of(view) == NONE).all()
    assert view.colour_layer["meaning"]
    finished(view)
    trust = view._work.trust("map")
    np.testing.assert_allclose(back(view), trust.point_trustworthiness, atol=1e-5)
    levels = values_of(view, "border_layer") / (NONE - 1)
    np.testing.assert_allclose(levels, trust.point_preserved, atol=1e-5)
    view.colour = "outlier"
    capped = np.minimum(view._work.outliers(), view.colour_layer["high"])
    np.testing.assert_allclose(back(view), capped, atol=1e-4)
    view.colour = "trust"
    view.arrangement = "pca"
    expected = view._work.trust("pca").point_trustworthiness
    np.testing.assert_allclose(back(view), expected, atol=1e-5)


def test_ones_own_colours():
    rng = np.random.default_rng(0)
    numbers = rng.normal(0, 3, COUNT)
    numbers[7] = np.nan
    colours = {
        "depth": numbers,
        "age": np.abs(numbers),
        "camera": ["A", "B", None] * 20,
        "night": np.arange(COUNT) % 2 == 0,
        "year": np.arange(COUNT) % 4 + 2000,
        "code": np.arange(COUNT) % 2 * 90_000 - 5,
    }
    view = small_map(colours=colours)
    kinds = {layer["name"]: layer["kind"] for layer in view.layers}
    assert [kinds[name] for name in colours] == ["value", "value", *["category"] * 4]
    view.colour = "depth"
    assert view.colour_layer["colormap"] == "diverging"
    assert view.colour_layer["low"] == -view.colour_layer["high"] == -np.nanmax(np.abs(numbers))
    np.testing.assert_allclose(back(view), numbers, atol=1e-3)
    view.colour = "age"
    assert view.colour_layer["colormap"] == "sequential"
    named = {}
    for name in ("camera", "night", "year", "code"):
        view.colour = name
        named[name] = {
            e["number"]: (e["name"], e["count"]) for e in view.colour_layer["categories"]
        }
    assert named["camera"] == {0: ("A", 20), 1: ("B", 20)}
    assert named["night"] == {0: ("no", 30), 1: ("yes", 30)}
    assert named["year"] == {2000 + n: (str(2000 + n), 15) for n in range(4)}
    assert named["code"] == {0: ("-5", 30), 1: ("89995", 30)}


def test_a_filter_goes_with_its_colour():
    view = small_map(hidden=[1], colours={"x": np.arange(COUNT) / 7})
    assert view.hidden == [1]
    view.colour = "x"
    assert view.hidden == []
    view.range = [1, 3]
    view.colour = "class"
    assert view.range == []


def test_names_of_classes_stand_also_where_colours_are_values():
    view = finished(small_map(method="tsne", colour="kept"))
    assert view.named["by"] == "class"
    assert sorted(view.named["texts"]) == list(NAMES)
    view.colour = "cluster"
    assert view.named["by"] == "cluster"
    places = arrays_of(view.points)["map"]
    for number, x, y, count in view.named["places"]:
        members = values_of(view) == number
        assert count == members.sum()
        assert [x, y] in places[members].tolist()  # at an image's own place


@pytest.mark.parametrize("numbers", [[5.0, 5.0], [np.nan, np.nan], [np.inf, 1.0], []])
def test_values_that_do_not_differ_have_a_scale(numbers):
    ink = value_ink("x", "x", np.array(numbers))
    assert ink.high > ink.low
    assert ((ink.values == NONE) == ~np.isfinite(numbers)).all()


def test_choices_that_cannot_be_are_refused_with_the_nearest():
    view = small_map()
    for name, value, message in (
        ("colour", "clas", "did you mean 'class'"),
        ("border", "prediction", "one of"),
        ("arrangement", "gird", "did you mean 'grid'"),
        ("range", [3, 1], "low <= high"),
        ("camera", [1, 2], "zoom"),
        ("size", 4, "8"),
        ("image", 60, "up to 59"),
    ):
        before = getattr(view, name)
        with pytest.raises(traitlets.TraitError, match=message):
            setattr(view, name, value)
        assert getattr(view, name) == before
    with pytest.raises(TypeError, match="did you mean 'colour'"):
        small_map(color="class")


def test_a_layer_that_fails_leaves_the_view_as_it_was(frontend, monkeypatch):
    view = finished(small_map())
    before = view.colour_layer

    def broken(work, count):
        raise RuntimeError("no clusters today")

    monkeypatch.setattr("nbviz.widgets.image_map_work.MapWork.clusters", broken)
    frontend.set(view, colour="cluster")
    assert (view.problem, view.colour) == ("no clusters today", "class")
    assert view.colour_layer == before


def test_labels_of_scans_without_numbers_beyond_the_names():
    view = ImageMap(scan_of(labels=[9, *small_labels()[1:]]))
    assert "class 9" in [each["name"] for each in view.colour_layer["categories"]]


def test_colours_of_categories_are_those_of_the_view():
    path = Path(__file__).parents[1] / "fixtures" / "category_colours.json"
    assert [[*category_colour(n)] for n in range(40)] == json.loads(path.read_text())
