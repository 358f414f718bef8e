"""TopPatches: what the overview says of every channel, against plain loops over all activations."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from types import SimpleNamespace

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
    asked,
    digits_scan,
    scan_of,
    small_labels,
    small_model,
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
    pictures[3] = 3e38  # of which a convolution makes infinity
    scan = scan_of(pictures, labels=small_labels(12))
    view = TopPatches(scan, "0", channel=0)
    assert (overview(view)["state"] & state.NONFINITE).all()
    left_out = "NaN, infinity or numbers beyond a million for 1 image, which is left out."
    assert left_out in view.still_caption()
    assert 3 not in overview(view)["image"]


def test_numbers_beyond_a_million_are_left_out_and_it_is_said():
    pictures = torch.rand(6, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    pictures[2:4] *= 1e9
    view = TopPatches(scan_of(pictures, labels=small_labels(6)), "0", channel=0)
    assert "a million for 2 images, which are left out." in view.still_caption()
    pictures[:] = 1e9
    alone = TopPatches(scan_of(pictures[:1], labels=[0]), "0", channel=0)
    assert alone.still_caption().endswith(
        "out of 1 image. No image counts: it gave NaN, infinity or numbers beyond a million for "
        "1 image."
    )


def test_the_sentence_counts_all_patches_that_excite_the_channel():
    labels = [0, -1, 1, -1, 1, 1, -1, -1]
    view = TopPatches(scan_of(small_pictures(8), labels=labels, top_k=7), "0", channel=3)
    shown = view.samples("top")
    known = shown["label"][shown["label"] >= 0]
    names, counts = np.unique(known, return_counts=True)
    assert (len(shown["label"]), len(names)) == (7, 2)
    most = f"Of its 7 strongest patches {counts.max()} are of “{CLASSES[names[counts.argmax()]]}”"
    assert f"{most}, 2 classes in all, {7 - len(known)} without a label." in view.still_caption()
    one = TopPatches(scan_of(small_pictures(1), labels=[2]), "0", channel=3)
    assert "out of 1 image. " in one.still_caption()
    assert "Its only strongest patch is of “cat”." in one.still_caption()
    assert one.chart().title == "0, channel 3: peaks of 1 image"
    unknown = TopPatches(scan_of(small_pictures(3), labels=[-1] * 3), "0", channel=3)
    assert "strongest patches" not in unknown.still_caption()


def test_images_are_counted_beyond_what_32_bits_hold(frontend):
    scan, far = scan_of(small_pictures(8), labels=small_labels(8)), 2**33 + 5
    before = TopPatches(scan, "0", channel=3)
    near = {group: before.samples(group) for group in ("top", "middle", "bottom")}
    scan.images.index = scan.images.index + far
    for name in scan.layers:
        there = scan[name]
        moved = {
            group: replace(ranked, image=np.where(ranked.image < 0, -1, ranked.image + far))
            for group in near
            for ranked in [getattr(there, "sample" if group == "middle" else group)]
        }
        moved["sample"] = moved.pop("middle")
        scan._units[name] = replace(there, **moved)
    view = TopPatches(scan, "0", channel=3)
    read = view._cut._source.read
    view._cut._source = SimpleNamespace(read=lambda number: read(number - far))
    assert overview(view)["image"].dtype == np.float64
    assert overview(before)["image"].dtype == np.int32
    for group, samples in near.items():
        np.testing.assert_array_equal(view.samples(group)["image"], samples["image"] + far)
        np.testing.assert_array_equal(view.samples(group)["label"], samples["label"])
    answer, arrays = asked(frontend, view, "channel", layer="0", channel=3, show="patch", tile=20)
    everything = np.concatenate([samples["image"] for samples in near.values()])
    np.testing.assert_array_equal(arrays["image"], everything + far)
    image = int(arrays["image"][0])
    frontend.set(view, image=image)
    assert (view.image, view.problem) == (image, "")
    answer, _ = asked(frontend, view, "image", layer="0", channel=3, image=image)
    assert answer["value"] == pytest.approx(near["top"]["value"][0], rel=1e-5)
    assert answer["place"] == near["top"]["place"][0].tolist()


@pytest.mark.parametrize("sort", ["peak", "selectivity", "sparsity", "diversity", "purity"])
@pytest.mark.parametrize("descending", [True, False])
def test_channels_are_sorted_with_ties_by_number_and_nothing_last(sort, descending):
    view = TopPatches(small_scan(), "3", sort=sort, descending=descending)
    arrays = overview(view)
    values, order = arrays[sort], view.order.tolist()
    known = [c for c in range(len(values)) if not np.isnan(values[c])]
    expected = sorted(known, key=lambda c: (-values[c] if descending else values[c], c))
    assert order == expected + [c for c in range(len(values)) if c not in known]


def test_sorting_sends_no_numbers_again(frontend):
    view = TopPatches(small_scan(), "3")
    frontend.sent.clear()
    frontend.set(view, sort="peak", descending=True)
    view.descending = False
    peaks = overview(view)["peak"]
    np.testing.assert_array_equal(view.order, np.lexsort((np.arange(7), peaks)))
    assert [row.heading[0] for row in view._printed_rows(7, "patch")[0]] == [
        f"channel {channel}" for channel in view.order
    ]
    assert frontend.states("overview") == []
    view.search = "bee"
    assert len(frontend.states("overview")) == 1
    view.order[:] = 0
    assert sorted(view.order.tolist()) == [*range(7)]


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
    assert TopPatches(small_scan()).order.tolist() == [0, 1, 2, 3, 4, 5]
    turned = TopPatches(small_scan(), descending=True)
    assert turned.order.tolist() == [5, 4, 3, 2, 1, 0]


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
    assert view.order[0] == expected.argmax()
    assert view.overview["search"] == "bee, cat"
    view.search = ""
    assert view.found == {}
    np.testing.assert_array_equal(overview(view)["selectivity"], before)


def test_a_search_that_finds_nothing_says_what_is_near_and_changes_nothing():
    view = TopPatches(small_scan(), "3")
    order = view.order
    view.search = "bea"
    assert view.found["classes"] == []
    assert view.found["note"] == "No class is called 'bea'; did you mean 'bee'?"
    assert (view.sort, view.problem) == ("index", "")
    np.testing.assert_array_equal(view.order, order)


def test_classes_without_names_are_found_by_their_numbers():
    made = small_scan()
    network = nbviz.Network(made.network.model, input_shape=made.network.input_shape)
    labels = [2 * label for label in small_labels()]
    scan = nbviz.scan(network, small_pictures(), labels=labels, layers=["3"], progress=False)
    view = TopPatches(scan)
    assert (view.overview["classes_known"], view.classes) == (True, [])
    assert not np.isnan(overview(view)["selectivity"]).any()
    named = TopPatches(made, "3", search="cat")
    for text in ("class 4", "4"):
        view.search = text
        assert view.found == {"classes": [{"number": 4, "name": "class 4"}], "note": ""}
        found = overview(view)["selectivity"]
        np.testing.assert_allclose(found, overview(named)["selectivity"], atol=1e-6)
        view.search = ""
    view.search = "cat"
    assert view.found["note"].startswith("No class is called 'cat'; ")
    view.search = "3"
    assert view.found["note"].startswith("No class is called '3'; ")


def test_without_labels_no_class_is_offered_though_the_network_has_names():
    network = nbviz.Network(small_model(), classes=CLASSES, input_shape=(3, 20, 20))
    scan = nbviz.scan(network, small_pictures(6), layers=["0"], progress=False)
    view = TopPatches(scan, search="bee")
    assert not view.overview["classes_known"]
    assert view.found == {
        "classes": [],
        "note": "This scan has no labels; pass labels= to nbviz.scan.",
    }
    assert view.outputs == list(CLASSES)


def test_a_class_that_no_image_is_of_is_told_from_one_that_does_not_exist():
    view = TopPatches(scan_of(small_pictures(6), labels=[0, 1, 0, 1, 3, 0]), search="cat")
    assert view.found["note"] == "The scan has no image of 'cat'; choose other classes"


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


def test_a_choice_that_cannot_be_shown_is_not_made(frontend, monkeypatch):
    scan = scan_of(small_pictures(8))
    view = TopPatches(scan, "0", channel=2)
    shown = view.overview
    with monkeypatch.context() as patched:
        gone = OSError("the disk is gone")
        patched.setattr(nbviz.Scan, "__getitem__", lambda *_: (_ for _ in ()).throw(gone))
        with pytest.raises(OSError, match="the disk is gone"):
            view.layer = "3"
        frontend.set(view, layer="3", channel=1)
    assert view.problem == "the disk is gone"
    assert (view.layer, view.channel) == ("0", 2)
    assert view.overview is shown
    frontend.set(view, layer="3")
    assert (view.layer, view.problem) == ("3", "")
