"""TopPatches: what the overview says of every channel, against plain loops over all activations."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch

import nbviz
from nbviz import TopPatches
from nbviz.analysis.prediction import guesses
from nbviz.widgets import top_patches_state as state
from tests.fixtures.scanned import (
    CLASSES,
    arrays_of,
    digits_scan,
    scan_of,
    small_labels,
    small_pictures,
    small_scan,
)


def overview(view):
    return arrays_of(view.overview)


def answers_of(scan, layer, count=40):
    """What a layer answers to every image, run one by one: (images, channels, rows, cols)."""
    found = [
        nbviz.analysis.activations.activations(scan.network, small_pictures()[n], layer)[layer].maps
        for n in range(count)
    ]
    return np.stack(found)


@pytest.mark.parametrize("layer", ["0", "3", "6"])
def test_patches_are_the_strongest_places_of_all_images(layer):
    scan = small_scan()
    there = overview(TopPatches(scan, layer))
    maps = answers_of(scan, layer)
    peaks = maps.max((2, 3))
    for channel in range(maps.shape[1]):
        expected = np.sort(peaks[:, channel])[::-1][:5]
        expected = np.where(expected == 0, np.nan, expected)  # zero excites nothing
        np.testing.assert_allclose(there["value"][channel], expected, rtol=1e-5, atol=1e-6)
        assert ((there["image"][channel] < 0) == np.isnan(expected)).all()
        for value, image, (row, col) in zip(
            *(there[name][channel] for name in ("value", "image", "place")), strict=True
        ):
            if image < 0:
                continue
            assert maps[image, channel, row, col] == pytest.approx(value, rel=1e-5, abs=1e-6)
    np.testing.assert_allclose(there["peak"], peaks.max(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(there["mean"], maps.mean((0, 2, 3)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("layer", ["0", "3", "6"])
def test_boxes_labels_and_predictions_are_those_of_the_images(layer):
    scan = small_scan()
    there, labels = overview(TopPatches(scan, layer)), small_labels()
    entry, field = scan.network.layers[layer], scan.network.layers[layer].receptive_field
    for at in np.ndindex(there["image"].shape):
        image, (row, col) = there["image"][at], there["place"][at]
        if image < 0:
            continue
        box = entry.box(row, col)
        assert there["boxes"][at].tolist() == [box.top, box.left, box.bottom, box.right]
        around = field.unclipped(row, col)
        assert bool(there["flags"][at] & 4) == (around is not None and around != box)
        assert there["label"][at] == labels[image]
        logits = scan.network(scan.network.prepare(small_pictures()[image]))[0].numpy()
        best = guesses(logits)[0]
        assert there["predicted"][at] == best.index
        assert there["confidence"][at] == pytest.approx(best.probability, abs=1e-5)


def test_what_is_wrong_with_a_channel_is_marked():
    view = TopPatches(small_scan(), "3")
    marks = overview(view)["state"]
    assert (marks[1], marks[2]) == (state.DEAD | state.CONSTANT, state.CONSTANT)
    assert not marks[[0, 3, 4, 5, 6]].any()
    view.channel = 2
    assert "the same peak, 0.5, for every image" in view.still_caption()
    view.channel = 1
    assert "the same peak, 0, for every image" in view.still_caption()


def test_a_channel_that_gives_nan_says_for_how_many_images():
    pictures = torch.rand(12, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    pictures[3, 0, 4, 4] = float("nan")
    scan = scan_of(pictures, labels=small_labels(12))
    view = TopPatches(scan, "0", channel=0)
    assert (overview(view)["state"] & state.NONFINITE).all()
    assert "NaN or infinity for 1 images" in view.still_caption()
    assert 3 not in overview(view)["image"]


@pytest.mark.parametrize("sort", ["peak", "selectivity", "sparsity", "diversity", "purity"])
@pytest.mark.parametrize("descending", [True, False])
def test_channels_are_sorted_with_ties_by_number_and_nothing_last(sort, descending):
    view = TopPatches(small_scan(), "3", sort=sort, descending=descending)
    arrays = overview(view)
    values, order = arrays[sort], arrays["order"].tolist()
    known = [c for c in range(len(values)) if not np.isnan(values[c])]
    expected = sorted(known, key=lambda c: (-values[c] if descending else values[c], c))
    assert order == expected + [c for c in range(len(values)) if c not in known]
    assert (view.overview["sort"], view.overview["descending"]) == (sort, descending)


@pytest.mark.parametrize(
    ("descending", "expected"), [(True, [3, 0, 4, 1, 2, 5]), (False, [1, 0, 4, 3, 2, 5])]
)
def test_channels_without_a_value_stand_last(descending, expected):
    values = np.array([2.0, 1.0, np.nan, 5.0, 2.0, np.nan], np.float32)
    arrays = {"peak": values, "purity": values}
    shown = state.LayerOverview("", None, small_scan()["0"], arrays, whole=False)
    assert shown.order("purity", descending=descending).tolist() == expected


def test_a_view_begins_with_the_largest_of_a_sort_and_with_the_first_channel():
    assert TopPatches(small_scan(), sort="peak").descending
    assert overview(TopPatches(small_scan()))["order"].tolist() == [0, 1, 2, 3, 4, 5]
    turned = TopPatches(small_scan(), descending=True)
    assert overview(turned)["order"].tolist() == [5, 4, 3, 2, 1, 0]


def test_a_search_sorts_by_how_much_channels_prefer_these_classes():
    scan = small_scan()
    view = TopPatches(scan, "3")
    before = overview(view)["selectivity"]
    view.search = "bee, cat"
    assert view.found["classes"] == [{"number": 1, "name": "bee"}, {"number": 2, "name": "cat"}]
    assert (view.sort, view.descending) == ("selectivity", True)
    peaks, labels = answers_of(scan, "3").max((2, 3)), np.array(small_labels())
    by_class = np.stack([peaks[labels == c].mean(0) for c in range(4)])
    chosen, rest = by_class[[1, 2]].mean(0), by_class[[0, 3]].mean(0)
    with np.errstate(invalid="ignore"):
        expected = np.where(chosen + rest == 0, 0, (chosen - rest) / (chosen + rest))
    np.testing.assert_allclose(overview(view)["selectivity"], expected, atol=1e-4)
    assert overview(view)["order"][0] == expected.argmax()
    view.search = ""
    assert view.found == {}
    np.testing.assert_array_equal(overview(view)["selectivity"], before)


def test_a_search_that_finds_nothing_says_what_is_near_and_changes_nothing():
    view = TopPatches(small_scan(), "3")
    order = overview(view)["order"]
    view.search = "bea"
    assert view.found["classes"] == []
    assert "did you mean 'bee'" in view.found["note"]
    assert (view.sort, view.problem) == ("index", "")
    np.testing.assert_array_equal(overview(view)["order"], order)


def test_another_layer_closes_the_channel_unless_one_comes_with_it(frontend):
    view = TopPatches(small_scan(), "0", channel=5, unit=[9, 9], image=3)
    view.layer = "3"
    assert (view.channel, view.unit, view.image) == (-1, [], 3)
    frontend.set(view, layer="0", channel=4, unit=[2, 3], image=7)
    assert (view.layer, view.channel, view.unit, view.image) == ("0", 4, [2, 3], 7)
    assert view.overview["layer"] == "0"


def test_layers_classes_and_input_are_told():
    view = TopPatches(small_scan())
    assert view.layers[0] == {
        "name": "0", "kind": "Conv2d", "channels": 6, "grid": [10, 10], "rf": "5×5 px",
    }  # fmt: skip
    assert [entry["rf"] for entry in view.layers[1:]] == ["9×9 px", "the whole image"]
    assert tuple(view.classes) == tuple(view.outputs) == CLASSES
    assert view.overview["input"] == [20, 20]
    whole = {}
    for layer in ("0", "6"):
        view.layer = layer
        whole[layer] = view.overview["whole"]
    assert whole == {"0": False, "6": True}


def test_samples_are_the_strongest_the_middle_and_the_weakest():
    scan = small_scan()
    view = TopPatches(scan, "0", channel=3)
    peaks = answers_of(scan, "0")[:, 3].max((1, 2))
    np.testing.assert_allclose(view.samples("top")["value"], np.sort(peaks)[::-1][:5], rtol=1e-5)
    np.testing.assert_allclose(view.samples("bottom")["value"], np.sort(peaks)[:8], rtol=1e-5)
    median = np.median(peaks)
    middle = view.samples("middle")
    off = np.abs(middle["value"] - median).max()
    assert len(middle["value"]) == 8
    assert (np.abs(np.delete(peaks, middle["image"]) - median) >= off - 0.02).all()


def test_the_histogram_counts_every_image_where_its_peak_is():
    scan = small_scan()
    peaks = answers_of(scan, "0")[:, 3].max((1, 2))
    counts, edges = state.peak_histogram(scan["0"], 3)
    assert counts.sum() == pytest.approx(40)
    np.testing.assert_allclose(edges[[0, -1]], [peaks.min(), peaks.max()], rtol=1e-5)
    widest = peaks.max() / 8
    for edge, below in zip(edges, np.concatenate([[0], counts.cumsum()]), strict=True):
        assert (peaks < edge - widest).sum() - 1e-9 <= below <= (peaks < edge + widest).sum() + 1e-9


def test_a_model_is_freed_when_its_view_and_scan_are():
    scan = scan_of(small_pictures(8), layers=["0"])
    view = TopPatches(scan, channel=1)
    view.still()
    gone = [weakref.ref(view), weakref.ref(scan.network.model)]
    view.close()
    del view, scan
    gc.collect()
    assert [each() for each in gone] == [None, None]


def test_a_scan_without_network_and_data_shows_its_numbers(frontend):
    made = digits_scan()
    scan = nbviz.Scan.open(made.path)
    view = TopPatches(scan, "conv1", channel=2)
    np.testing.assert_array_equal(overview(view)["value"], made["conv1"].top.value)
    assert "pass network=... and dataset=..." in view.overview["missing"]
    assert view.still().shape[2] == 3
    assert view.network is None
    for kind, fields in (
        ("rows", {"channels": [0], "show": "patch", "patches": 3, "tile": 32}),
        ("image", {"channel": 0, "image": 3}),
    ):
        answer = frontend.ask(view, kind=kind, rid="1", layer="conv1", **fields)
        assert "pass network=... and dataset=..." in answer["message"]
    network, images, *_ = nbviz.demos.digits()
    whole = TopPatches(scan, network=network, dataset=images)
    assert whole.overview["missing"] == ""
    assert whole.network is network


def test_the_model_is_left_as_it_was():
    scan = scan_of(small_pictures(8))
    model = scan.network.model.train()
    random = torch.random.get_rng_state()
    view = TopPatches(scan, "3", channel=0, show="masked")
    view.still()
    view.answering(2)
    assert model.training
    assert all(not part._forward_hooks for part in model.modules())
    assert torch.equal(torch.random.get_rng_state(), random)


def test_a_choice_that_cannot_be_shown_is_not_made(frontend):
    scan = scan_of(small_pictures(8))
    view = TopPatches(scan, "0", channel=2)
    shown = view.overview
    broken = scan.store.read_units
    scan.store.read_units = lambda layer: (_ for _ in ()).throw(OSError("the disk is gone"))
    with pytest.raises(OSError, match="the disk is gone"):
        view.layer = "3"
    frontend.set(view, layer="3", channel=1)
    assert view.problem == "the disk is gone"
    assert (view.layer, view.channel) == ("0", 2)
    assert view.overview is shown
    scan.store.read_units = broken
    frontend.set(view, layer="3")
    assert (view.layer, view.problem) == ("3", "")
