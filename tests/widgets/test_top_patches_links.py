"""A TopPatches linked with other views: a patch that is chosen is shown there, and back."""

from __future__ import annotations

import numpy as np
import pytest

from nbviz import ActivationBrowser, FilterGrid, Network, OcclusionProbe, TopPatches, link
from tests.fixtures.scanned import (
    SIDE,
    scan_of,
    small_labels,
    small_model,
    small_pictures,
    small_scan,
)


def browser_of(scan, **traits):
    return ActivationBrowser(scan.network, small_pictures(), labels=small_labels(), **traits)


def click(frontend, view, layer, channel, rank=0):
    """Choose a patch as the view does; its image, place and value."""
    top = view.scan[layer].top
    image, row, col = (int(each[channel, rank]) for each in (top.image, top.row, top.col))
    frontend.set(view, layer=layer, channel=channel, image=image, unit=[row, col], box=[])
    return image, [row, col], float(top.value[channel, rank])


def test_a_clicked_patch_arrives_in_an_activation_browser_with_its_value(frontend):
    scan = small_scan()
    view, browser = TopPatches(scan), browser_of(scan)
    linked = link(view, browser)
    assert linked.shared == ("image", "layer", "channel", "unit")
    for layer, channel in (("0", 4), ("3", 5), ("6", 2), ("0", 1), ("0", 2), ("3", 0)):
        image, unit, value = click(frontend, view, layer, channel)
        shown = browser.image, browser.layer, browser.channel, browser.unit
        assert shown == (image, layer, channel, unit)
        row, col = unit
        exact = float(browser.activation.maps[channel, row, col])
        assert exact == pytest.approx(value, rel=1e-5, abs=1e-6)
        assert (view.problem, browser.problem) == ("", "")
        assert (view.layer, view.channel, view.image, view.unit) == (layer, channel, image, unit)


def test_what_a_browser_shows_is_opened_here(frontend):
    scan = small_scan()
    view, browser = TopPatches(scan), browser_of(scan)
    link(browser, view)
    assert (view.image, view.layer) == (0, "0")
    frontend.set(browser, layer="3", channel=6, unit=[3, 9], image=11)
    assert (view.layer, view.channel, view.unit, view.image) == ("3", 6, [3, 9], 11)
    browser.layer = "1"
    assert (view.layer, view.channel) == ("3", 6)
    browser.layer = "0"
    assert (view.layer, view.channel, view.unit) == ("0", browser.channel, browser.unit)
    view.channel = -1
    assert browser.channel == -1
    browser.look_at(small_pictures(seed=8)[0])
    assert view.image == 11


def test_an_image_that_only_the_browser_has_leaves_this_view_as_it_is():
    scan = scan_of(small_pictures(8))
    view, browser = TopPatches(scan, image=2), browser_of(scan)
    link(view, browser)
    browser.image = 30
    assert (view.image, browser.image) == (2, 30)
    browser.image = 5
    assert view.image == 5


def test_a_filter_grid_selects_the_channel_that_is_opened():
    scan = small_scan()
    view, grid = TopPatches(scan), FilterGrid(scan.network)
    assert link(view, grid).shared == ("layer", "channel")
    view.channel = 3
    assert grid.selected == [3]
    grid.selected = [1, 5]
    assert view.channel == 5
    view.layer = "3"
    assert grid.layer == "0"
    view.layer = "0"
    grid.selected = [2]
    assert view.channel == 2


def test_an_occlusion_probe_covers_the_image_that_is_looked_at(frontend):
    scan = small_scan()
    view = TopPatches(scan)
    probe = OcclusionProbe(scan.network, small_pictures())
    assert "image" in link(view, probe).shared
    image, _, _ = click(frontend, view, "3", 4)
    assert (probe.image, probe.problem) == (image, "")
    probe.image = 9
    assert view.image == 9


def test_views_of_different_networks_share_the_image_alone(frontend):
    scan = small_scan()
    view = TopPatches(scan, "0")
    other = Network(small_model(seed=3), input_shape=(3, SIDE, SIDE))
    browser = ActivationBrowser(other, small_pictures(), layer="0")
    assert link(view, browser).shared == ("image",)
    image, _, _ = click(frontend, view, "0", 3)
    assert (browser.image, browser.channel) == (image, -1)


def test_two_views_of_one_scan_go_together():
    scan = small_scan()
    one, two = TopPatches(scan, "3", channel=4), TopPatches(scan)
    link(one, two)
    assert (two.layer, two.channel) == ("3", 4)
    two.layer = "0"
    assert (one.layer, one.channel) == ("0", -1)
    np.testing.assert_array_equal(one.still(), two.still())
