"""Still pictures of kernels show every weight in its place and colour."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from nbviz.analysis.colormaps import colormap
from nbviz.analysis.distribution import distribution, items_between
from nbviz.analysis.filters import kernels
from nbviz.analysis.kernel_pictures import kernel_colours, kernel_sheet, weight_range
from nbviz.network import Network


def kernels_of(*shape, seed=0):
    torch.manual_seed(seed)
    conv = nn.Conv2d(shape[1], shape[0], shape[2:])
    return kernels(Network(nn.Sequential(conv), input_shape=(shape[1], 32, 32)))


def index_of(value, low, high):
    return int(min(255, max(0, np.floor(255 * (value - low) / (high - low) + 0.5))))


@pytest.mark.parametrize("normalise", ["kernel", "layer", "symmetric"])
@pytest.mark.parametrize("map_name", ["diverging", "sequential", "grey"])
def test_each_weight_has_the_colour_of_its_place_in_the_range(normalise, map_name):
    given = kernels_of(5, 2, 3, 4)
    colours = kernel_colours(given, normalise=normalise, map_name=map_name)
    for output in range(5):
        for panel in range(2):
            kernel = given.values[output, panel]
            scope = given.values[output] if normalise == "kernel" else given.values
            low, high = scope.min(), scope.max()
            if normalise == "symmetric" or map_name == "diverging":
                high = max(-low, high)
                low = -high
            for (row, column), value in np.ndenumerate(kernel):
                expected = colormap(map_name)[index_of(value, low, high)].astype(int)
                assert np.abs(colours[output, panel, row, column] - expected).max() <= 2


def test_three_inputs_share_one_scale_as_red_green_and_blue():
    given = kernels_of(4, 3, 5, 5)
    colours = kernel_colours(given, normalise="kernel")
    assert colours.shape == (4, 1, 5, 5, 3)
    for output in range(4):
        kernel = given.values[output]
        for (channel, row, column), value in np.ndenumerate(kernel):
            expected = index_of(value, kernel.min(), kernel.max())
            assert abs(int(colours[output, 0, row, column, channel]) - expected) <= 1


def test_zero_is_the_middle_of_a_diverging_map():
    given = kernels_of(3, 1, 3, 3)
    given.values[:, :, 1, 1] = 0
    colours = kernel_colours(given, map_name="diverging")
    np.testing.assert_array_equal(
        colours[:, 0, 1, 1], np.repeat(colormap("diverging")[128][None], 3, 0)
    )


def test_not_a_number_does_not_spoil_the_other_weights():
    given, broken = kernels_of(3, 1, 3, 3), kernels_of(3, 1, 3, 3)
    broken.values[1, 0, 0, 0] = np.nan
    broken.values[1, 0, 2, 2] = np.inf
    clean = kernel_colours(given, map_name="grey")
    colours = kernel_colours(broken, map_name="grey")
    np.testing.assert_array_equal(colours[[0, 2]], clean[[0, 2]])
    assert {tuple(c) for c in colours[1, 0, [0, 2], [0, 2]]} <= {(255, 0, 200), (40, 40, 40)}
    assert np.ptp(colours[1, 0, 0, 1:].astype(int)) > 0


@pytest.mark.parametrize("shape", [(7, 3, 5, 5), (6, 8, 3, 3), (5, 2, 3, 3)])
def test_a_sheet_holds_every_kernel_where_it_says(shape):
    given = kernels_of(*shape)
    order = np.random.default_rng(0).permutation(shape[0])
    sheet = kernel_sheet(given, order=order, map_name="grey", scale=4)
    colours = kernel_colours(given, map_name="grey")
    assert [p.output for p in sheet.placed] == order.tolist()
    for placed in sheet.placed:
        block = sheet.picture[
            placed.top : placed.top + placed.height, placed.left : placed.left + placed.width
        ]
        first = block[::4, : 4 * shape[3] : 4]
        np.testing.assert_array_equal(first, colours[placed.output, 0])
        last = block[::4, -4 * shape[3] :: 4]
        np.testing.assert_array_equal(last, colours[placed.output, -1])


def test_channels_left_out_are_counted():
    sheet = kernel_sheet(kernels_of(20, 9, 3, 3), map_name="grey", max_outputs=8, max_inputs=5)
    assert (sheet.omitted_outputs, sheet.omitted_inputs) == (12, 4)
    assert len(sheet.placed) == 8


def test_two_inputs_are_no_colour():
    with pytest.raises(ValueError, match="2 inputs cannot be drawn in red, green and blue"):
        kernel_colours(kernels_of(2, 2, 3, 3))


def test_a_constant_panel_has_a_range_that_divides_nothing_by_zero():
    low, high = weight_range(np.full((1, 4), 2.0), "kernel", centred=True)
    assert (low.item(), high.item()) == (-2.0, 2.0)


def test_a_distribution_counts_every_score_once():
    scores = np.array([0.0, 0.2, 0.21, 0.9, 1.0, np.nan])
    counted = distribution(scores, [1, 4], bins=5)
    assert counted.chosen.tolist() == [0, 1, 0, 0, 1]
    assert counted.others.tolist() == [1, 1, 0, 0, 1]
    assert counted.uncounted == 1
    assert counted.ticks.tolist() == [0, 1, 2]
    assert distribution(np.zeros(100), []).ticks.tolist() == [0, 25, 50, 75, 100]
    assert items_between(scores, 0.2, 0.9) == [1, 2, 3]
    assert distribution(np.full(3, np.nan), []).others.sum() == 0
