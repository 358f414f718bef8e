"""The histogram beside an ActivationBrowser counts the channel on show, whatever is chosen."""

from __future__ import annotations

import gc
import weakref

import bqplot
import numpy as np
import pytest
import torch
from torch import nn

import nbviz
from nbviz import ActivationBrowser
from nbviz.widgets import wire

SIDE = 16
SENT = {"Figure", "Bars", "Axis", "LinearScale"}


def small_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 12, 3), nn.Flatten())


def browser(model=None, **traits):
    pictures = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), np.uint8)
    network = nbviz.Network(model or small_network(), input_shape=(3, SIDE, SIDE))
    return ActivationBrowser(network, pictures, **traits)


def values_of(there, layer, channel, image):
    """Values of a channel, or all, by running the layers one by one."""
    batch = there.network.prepare(there._pictures.picture(image))
    with torch.no_grad():
        for module in there.network.model[: int(layer) + 1]:
            batch = module(batch)
    maps = batch[0].reshape(len(batch[0]), -1).double().numpy()
    return maps.ravel() if channel < 0 else maps[channel]


def check(there, figure, layer, channel, image):
    values = values_of(there, layer, channel, image)
    (bars,) = figure.marks
    counts, edges = np.histogram(values, bins=len(bars.y))
    np.testing.assert_array_equal(bars.y, counts)
    np.testing.assert_allclose(bars.x, (edges[:-1] + edges[1:]) / 2, rtol=1e-5, atol=1e-7)
    assert sum(bars.y) == len(values)
    which = f"All channels of {layer}" if channel < 0 else f"{layer}, channel {channel}"
    assert figure.title == f"{which}: {len(values)} units"
    ticks = figure.axes[1].tick_values
    assert ticks[0] == 0
    assert ticks[-1] <= max(counts)


def test_the_chart_counts_the_values_on_show_and_follows_every_choice():
    there = browser(layer="0")
    figure = there.chart()
    check(there, figure, "0", -1, 0)
    there.channel = 4
    check(there, figure, "0", 4, 0)
    there.image = 2
    check(there, figure, "0", 4, 2)
    there.layer = "2"
    check(there, figure, "2", 4, 2)
    there.channel = 11
    there.layer = "1"
    check(there, figure, "1", 5, 2)
    there.channel = -1
    check(there, figure, "1", -1, 2)


def test_the_chart_follows_a_picture_of_ones_own():
    there = browser(layer="2", channel=3)
    figure = there.chart()
    there.look_at(there._pictures.picture(3))
    check(there, figure, "2", 3, 3)


def test_the_chart_follows_what_the_view_chooses_at_once(frontend):
    there = browser(layer="2", channel=11)
    figure = there.chart()
    frontend.set(there, layer="0", channel=1, image=1)
    check(there, figure, "0", 1, 1)
    frontend.set(there, layer="2", channel=9)
    check(there, figure, "2", 9, 1)
    frontend.set(there, layer="0", channel=11, image=3)
    assert there.problem == ""
    check(there, figure, "0", 5, 3)
    shown = there.activation.maps[5].ravel()
    np.testing.assert_allclose(shown, values_of(there, "0", 5, 3), atol=1e-5)


def test_values_that_are_no_numbers_are_left_out_and_said():
    model = small_network()
    with torch.no_grad():
        model[0].bias[2] = float("nan")
    there = browser(model, layer="0", channel=2)
    figure = there.chart()
    units = (SIDE - 2) ** 2
    assert sum(figure.marks[0].y) == 0
    assert figure.title == f"0, channel 2: {units} units ({units} are no numbers)"
    there.channel = 1
    check(there, figure, "0", 1, 0)


def test_a_channel_that_is_the_same_everywhere_has_one_bar():
    model = small_network()
    with torch.no_grad():
        model[0].weight[2] = 0
        model[0].bias[2] = 3
    figure = browser(model, layer="0", channel=2).chart()
    counts = np.array(figure.marks[0].y)
    assert (counts > 0).sum() == 1
    assert counts.sum() == (SIDE - 2) ** 2
    assert figure.marks[0].x[counts.argmax()] == pytest.approx(3, abs=0.05)


def test_the_browser_gets_the_chart_in_one_message_a_choice(frontend):
    there = browser(layer="0", channel=1)
    there.chart()
    frontend.sent.clear()
    there.channel = 2
    updates = [m["data"]["state"] for m in frontend.sent if "x" in m["data"].get("state", {})]
    assert len(updates) == 1
    assert "y" in updates[0]


def test_a_chart_is_gone_with_its_browser_and_not_before(frontend):
    there, other = browser(layer="0"), browser(layer="0")
    figure, kept, stays = there.chart(), there.chart(), other.chart()
    parts = [figure, *figure.marks, *figure.axes, *figure.marks[0].scales.values()]
    assert {type(part).__name__ for part in parts} == SENT
    there.close()
    assert all(part.comm is None for part in parts)
    assert kept.comm is None
    assert stays.comm is not None
    other.channel = 3
    check(other, stays, "0", 3, 0)


def test_a_chart_does_not_keep_the_browser_or_its_maps():
    there = browser(layer="0")
    figure = there.chart()
    gone = weakref.ref(there), weakref.ref(there.network.model)
    there.close()
    del there
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
    assert isinstance(figure, bqplot.Figure)


def test_a_closed_chart_does_not_disturb_its_browser():
    there = browser(layer="0")
    figure = there.chart()
    figure.close()
    there.layer, there.channel = "2", 7
    assert wire.unpack(there.maps)["values_a"].shape[0] == 12
