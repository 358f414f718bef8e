"""Explorer: panes that share what is chosen, made when they are open and freed when closed."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
import traitlets
from torch import nn

import nbviz
from nbviz import Explorer
from nbviz.scanning.manifest import ScanMismatchError
from tests.fixtures.scanned import (
    CLASSES,
    SIDE,
    scan_of,
    small_labels,
    small_model,
    small_pictures,
    small_scan,
)

ALL = ["filters", "activations", "occlusion", "patches", "map"]
PICTURED = {"map": {"method": "pca"}}


def network_of(seed=0):
    return nbviz.Network(small_model(seed), classes=CLASSES, input_shape=(3, SIDE, SIDE))


def explorer_of(scan=None, **options):
    scan = small_scan() if scan is None else scan
    given = {"labels": small_labels(), "options": PICTURED, **options}
    return Explorer(scan.network, small_pictures(), scan, **given)


def test_all_panes_are_there_and_show_the_same():
    explorer = explorer_of(image=3, layer="3", channel=2)
    assert explorer.panes == ALL
    assert sorted(explorer.children) == sorted(ALL)
    assert explorer.lacking == {}
    for name, reference in explorer.children.items():
        assert reference == f"anywidget:{getattr(explorer, name).model_id}"
    browser, probe, patches = explorer.activations, explorer.occlusion, explorer.patches
    assert [v.image for v in (browser, probe, patches, explorer.map)] == [3] * 4
    assert [v.layer for v in (browser, probe, patches)] == ["3"] * 3
    assert [v.channel for v in (browser, probe, patches)] == [2] * 3


def test_a_click_in_one_pane_reaches_all_others(frontend):
    explorer = explorer_of()
    frontend.set(explorer.map, image=12)
    assert explorer.image == explorer.activations.image == explorer.occlusion.image == 12
    frontend.set(explorer.filters, selected=[1, 4])
    assert explorer.channel == explorer.activations.channel == explorer.patches.channel == 4
    top = explorer.scan["3"].top
    image, row, col = (int(each[5, 0]) for each in (top.image, top.row, top.col))
    frontend.set(explorer.patches, layer="3", channel=5, image=image, unit=[row, col])
    browser = explorer.activations
    assert (browser.layer, browser.channel, browser.image) == ("3", 5, image)
    assert browser.unit == explorer.unit == [row, col]
    assert explorer.map.image == image
    explorer.layer = "0"
    assert explorer.filters.layer == browser.layer == explorer.patches.layer == "0"
    said = dict(explorer.chosen)
    assert said["Layer"] == "0"
    assert said["Channel"] == "5 (of 6)"
    assert said["Image"] == f"{image} ({CLASSES[small_labels()[image]]})"
    assert said["Class"].endswith("(most probable)")


def test_a_channel_clicked_in_a_pane_with_another_layer_brings_that_layer(frontend):
    explorer = explorer_of()
    explorer.layer = "1"
    assert (explorer.filters.layer, explorer.activations.layer) == ("0", "1")
    frontend.set(explorer.filters, selected=[2])
    assert (explorer.layer, explorer.channel) == ("0", 2)
    assert (explorer.activations.layer, explorer.activations.channel) == ("0", 2)
    explorer.layer = "1"
    assert explorer.patches.layer == "0"
    top = explorer.scan["3"].top
    image, row, col = (int(each[4, 1]) for each in (top.image, top.row, top.col))
    frontend.set(explorer.patches, layer="3", channel=4, image=image, unit=[row, col], box=[])
    for view in (explorer, explorer.activations, explorer.patches):
        assert (view.layer, view.channel, view.image) == ("3", 4, image)
        assert view.unit == [row, col]


def test_a_unit_keeps_its_place_when_the_layer_changes():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 9, 3))
    network = nbviz.Network(model, input_shape=(3, 20, 20))
    explorer = Explorer(network, small_pictures(), panes=[], channel=3, unit=[10, 18])
    explorer.layer = "1"
    assert (explorer.channel, explorer.unit) == (3, [5, 9])
    explorer.layer = "2"
    explorer.channel = 8
    explorer.layer = "0"
    assert explorer.channel == -1


def test_a_target_that_is_chosen_is_said_and_kept(frontend):
    explorer = explorer_of(target="cat")
    assert (explorer.target, explorer.occlusion.target) == (2, 2)
    assert dict(explorer.chosen)["Class"] == "cat"
    frontend.set(explorer.occlusion, target=1)
    assert explorer.target == 1
    assert dict(explorer.chosen)["Class"] == "bee"
    explorer.image = 9
    assert explorer.target == 1
    explorer.target = None
    assert explorer.target is None
    logits = explorer.activations.logits
    assert explorer.occlusion.target == int(logits.argmax())


def test_a_pane_is_made_when_it_is_first_open(frontend):
    explorer = explorer_of(panes=["filters"])
    assert list(explorer.children) == ["filters"]
    explorer.image, explorer.layer, explorer.channel = 8, "3", 1
    frontend.set(explorer, panes=["filters", "activations"])
    browser = explorer.activations
    assert (browser.image, browser.layer, browser.channel) == (8, "3", 1)
    made = browser
    frontend.set(explorer, panes=["filters"])
    explorer.image = 2
    assert browser.image == 8  # what is closed follows nothing
    frontend.set(explorer, panes=["activations", "filters"])
    assert explorer.activations is made
    assert made.image == 2
    made.image = 4
    assert explorer.image == 4


def test_opening_it_computes_no_map():
    explorer = explorer_of(options={}, panes=["filters", "map"])
    assert not explorer.map.progress["finished"]
    assert explorer.map.progress["iteration"] == 0


def test_what_cannot_be_says_what_to_write():
    network = network_of()
    alone = Explorer(network)
    assert sorted(alone.children) == ["activations", "filters", "occlusion"]
    assert "data set" in alone.lacking["map"]["text"]
    assert "nbviz.Explorer(network, dataset" in alone.lacking["map"]["code"]
    assert alone.image == -1
    unscanned = Explorer(network, small_pictures(7))
    assert set(unscanned.lacking) == {"patches", "map"}
    assert "7 images" in unscanned.lacking["patches"]["text"]
    assert "explorer.scan = nbviz.scan(network, dataset)" in unscanned.lacking["patches"]["code"]
    with pytest.raises(ValueError, match="needs a scan"):
        _ = unscanned.patches


def test_a_pane_that_a_network_cannot_have_says_why_and_the_others_are_there():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    explorer = Explorer(nbviz.Network(model, input_shape=(3, 12, 12)), small_pictures(3))
    assert sorted(explorer.children) == ["activations", "filters"]
    assert "classifier" in explorer.lacking["occlusion"]["text"]


def test_a_scan_that_comes_later_fills_the_panes():
    scan = scan_of()
    explorer = Explorer(scan.network, small_pictures(), options=PICTURED)
    browser = explorer.activations
    explorer.image, explorer.channel = 6, 3
    explorer.scan = scan
    assert explorer.lacking == {}
    assert explorer.activations is browser
    assert (explorer.patches.channel, explorer.map.image) == (3, 6)
    explorer.patches.sort = "peak"
    first = explorer.patches
    explorer.scan = scan_of(top_k=7)
    assert explorer.patches is not first
    assert first.comm is None
    assert explorer.patches.sort == "peak"
    assert explorer.patches.scan.settings.top_k == 7
    explorer.scan = None
    assert set(explorer.lacking) == {"patches", "map"}


def test_the_data_set_of_a_scan_serves_all_panes():
    scan = scan_of()
    explorer = Explorer(scan.network, scan=scan, options=PICTURED, image=5)
    np.testing.assert_array_equal(
        explorer.activations.picture["buffers"][0],
        Explorer(scan.network, small_pictures(), image=5).activations.picture["buffers"][0],
    )
    assert dict(explorer.chosen)["Image"] == f"5 ({CLASSES[small_labels()[5]]})"
    explorer.map.image = 31
    assert explorer.occlusion.image == 31


def test_a_number_means_the_same_image_in_the_map_when_a_scan_skipped_some():
    class Holes(torch.utils.data.Dataset):
        def __len__(self):
            return 40

        def __getitem__(self, number):
            if number in (4, 11):
                raise OSError("cut short")
            return small_pictures()[number], small_labels()[number]

    data = Holes()
    scan = nbviz.scan(network_of(), data, layers=["0"], progress=False)
    explorer = Explorer(scan.network, data, scan, options=PICTURED)
    explorer.map.image = 12  # in the eleventh row of the map
    assert explorer.activations.image == explorer.patches.image == 12
    shown = nbviz.ActivationBrowser(scan.network, small_pictures(), image=12).logits
    np.testing.assert_array_equal(explorer.activations.logits, shown)


def test_another_network_or_data_set_than_was_scanned_is_refused():
    scan = scan_of()
    with pytest.raises(ScanMismatchError, match="network"):
        Explorer(network_of(seed=5), small_pictures(), scan)
    with pytest.raises(ScanMismatchError, match="data set"):
        Explorer(network_of(), small_pictures(seed=9), scan)
    with pytest.raises(TypeError, match="expected a scan"):
        Explorer(network_of(), small_pictures(), "scan")
    explorer = Explorer(network_of(), small_pictures(), scan, options=PICTURED)
    kept = explorer.patches
    with pytest.raises(ScanMismatchError, match="network"):
        explorer.scan = nbviz.scan(network_of(5), small_pictures(), layers="0", progress=False)
    assert explorer.patches is kept


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("layer", "conv", "no layer 'conv' in Sequential"),
        ("channel", 6, "below 6 for layer '0'; got 6"),
        ("unit", [10, 3], "10 rows and 10 columns of layer '0'"),
        ("image", 40, "at most 39; got 40"),
        ("panes", ["filter"], "got 'filter'; did you mean 'filters'"),
        ("panes", ["map", "map"], "'map' twice"),
        ("columns", 4, "4"),
    ],
)
def test_what_cannot_be_chosen_is_refused_and_changes_nothing(name, value, said):
    explorer = explorer_of(panes=["filters"])
    before = explorer.state
    with pytest.raises(traitlets.TraitError, match=said):
        setattr(explorer, name, value)
    assert explorer.state == before


def test_wrong_arguments_are_named():
    network = network_of()
    with pytest.raises(TypeError, match="no argument 'pane'; did you mean 'panes'"):
        Explorer(network, pane=[])
    with pytest.raises(TypeError, match="got 'filter'; did you mean 'filters'"):
        Explorer(network, options={"filter": {}})
    with pytest.raises(TypeError, match="max_byte"):
        Explorer(network, options={"filters": {"max_byte": 1}})
    with pytest.raises(traitlets.TraitError, match="did you mean 'noise'"):
        Explorer(network, options={"filters": {"sort": "noize"}})
    with pytest.raises(TypeError, match="no argument 'lacking'"):
        Explorer(network, lacking={})


def test_what_the_browser_may_not_set_is_said_and_set_back(frontend):
    explorer = explorer_of(panes=["filters"])
    frontend.set(explorer, panes=["filters", "holes"])
    assert "got 'holes'" in explorer.problem
    assert explorer.panes == ["filters"]
    frontend.set(explorer, panes=[])
    assert (explorer.problem, explorer.panes) == ("", [])


def test_closing_it_closes_and_frees_its_panes_and_the_model(frontend):
    scan = scan_of()
    explorer = Explorer(scan.network, small_pictures(), scan, options=PICTURED)
    explorer.image, explorer.channel = 3, 2
    explorer.panes = ["map", "activations"]
    views = [getattr(explorer, name) for name in ALL]
    gone = [weakref.ref(each) for each in (explorer, scan.network.model, *views)]
    explorer.close()
    assert [view.comm for view in views] == [None] * 5
    del explorer, scan, views
    frontend.sent.clear()
    gc.collect()
    assert [each() for each in gone] == [None] * 7


def test_a_pane_that_is_closed_by_hand_in_python_leaves_the_others():
    explorer = explorer_of()
    explorer.occlusion.close()
    explorer.map.image = 9
    assert explorer.activations.image == 9


def test_its_still_holds_the_stills_of_open_panes():
    explorer = explorer_of(panes=["activations", "filters"], image=2)
    page = explorer._page()
    assert [picture.shape for *_, picture in page.pictures] == [
        shrunk(explorer.activations.still().shape),
        shrunk(explorer.filters.still().shape),
    ]
    assert [text.text for text in page.texts if text.text in ("Activations", "Filters")] == [
        "Activations",
        "Filters",
    ]
    assert page.pictures[0][0] < page.pictures[1][0]
    still = explorer.still()
    assert still.dtype == np.uint8
    assert still.shape == (page.height, page.width, 3)
    left, top, picture = page.pictures[1]
    inside = still[top : top + len(picture), left : left + picture.shape[1]]
    np.testing.assert_array_equal(inside, picture)
    assert "layer 0" in explorer.still_caption()
    assert "kernels" in explorer.still_caption()


def shrunk(shape):
    scale = min(1, 640 / shape[1], 900 / shape[0])
    return round(shape[0] * scale), round(shape[1] * scale), 3


def test_a_still_of_what_is_missing_says_so(tmp_path):
    explorer = Explorer(network_of(), small_pictures(4), panes=["patches"])
    said = " ".join(text.text for text in explorer._page().texts)
    assert "needs a scan" in said
    (written,) = explorer.save(tmp_path / "explorer.svg")
    assert "Maximally activating patches" in written.read_text()
