"""An occlusion map is printed where its masks lie, in the colours that its legend gives."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from nbviz import Network
from nbviz.analysis.colormaps import colormap
from nbviz.analysis.map_overlay import class_overlay, confidence_overlay, sum_overlay
from nbviz.analysis.occlusion import occlusion_map

SIDE = 23


@pytest.fixture(scope="module")
def made():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 19**2, 3))
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    network = Network(model, input_shape=(3, SIDE, SIDE))
    options = {"size": 6, "stride": 4, "fill": "black", "watch": ("1",)}
    return occlusion_map(network, picture, 1, **options), picture


def cell_of(starts, size, pixel):
    """The position whose mask's centre is nearest to a pixel's middle; None beyond the outermost.

    A place half way between two belongs to the later one; borders are rounded to whole pixels.
    """
    centres = [start + size / 2 for start in starts]
    first = centres[0] - (centres[1] - centres[0]) / 2
    last = centres[-1] + (centres[-1] - centres[-2]) / 2
    if pixel < int(first + 0.5) or pixel >= int(last + 0.5):
        return None
    borders = [int((a + b) / 2 + 0.5) for a, b in itertools.pairwise(centres)]
    return sum(pixel >= border for border in borders)


def expected_pixels(result, picture, values, low, high, name, opacity):
    shown = picture.astype(float).copy()
    for row in range(SIDE):
        for col in range(SIDE):
            i = cell_of(result.tops, result.size[0], row)
            j = cell_of(result.lefts, result.size[1], col)
            if i is None or j is None:
                continue
            level = round(float(np.clip((values[i, j] - low) / (high - low), 0, 1)) * 255)
            colour = colormap(name)[level].astype(float)
            shown[row, col] = shown[row, col] * (1 - opacity) + colour * opacity
    return shown


@pytest.mark.parametrize("kind", ["probability", "logit", "probability drop", "logit drop"])
def test_each_pixel_has_the_colour_of_the_nearest_position(made, kind):
    result, picture = made
    over = confidence_overlay(result, picture, 1, kind, opacity=0.7)
    name = "diverging" if kind.endswith("drop") else "sequential"
    values = result.values(1, kind)
    assert over.colours == name
    wanted = expected_pixels(result, picture, values, over.low, over.high, name, 0.7)
    np.testing.assert_allclose(over.pixels, wanted, atol=1.5)


def test_a_flat_map_looks_flat_unless_stretched(made):
    result, picture = made
    values, base = result.values(1, "probability"), result.base(1, "probability")
    over = confidence_overlay(result, picture, 1)
    assert (over.low, over.high) == (0, pytest.approx(max(values.max(), base)))
    drop = confidence_overlay(result, picture, 1, "probability drop")
    assert (drop.low, drop.high) == (pytest.approx(-base), pytest.approx(base))
    own = confidence_overlay(result, picture, 1, stretch=True)
    assert (own.low, own.high) == (pytest.approx(values.min()), pytest.approx(values.max()))


def test_the_overlap_average_is_coloured_as_it_is_worked_out(made):
    result, picture = made
    over = confidence_overlay(result, picture, 1, "logit", coverage="overlap average", opacity=1)
    values = result.per_pixel(1, "logit")
    levels = np.rint((values - over.low) / (over.high - over.low) * 255).astype(int)
    np.testing.assert_allclose(over.pixels, colormap("sequential")[levels], atol=3)


def test_positions_without_a_number_are_hatched_and_the_picture_shows(made):
    result, picture = made
    state, logits = result.state.copy(), result.logits.copy()
    state[0], logits[0] = 0, np.nan
    logits[2, 1] = np.nan
    partial = dataclasses.replace(result, state=state, logits=logits)
    over = confidence_overlay(partial, picture, 1, opacity=1).pixels
    whole = confidence_overlay(result, picture, 1, opacity=1).pixels
    own = [cell_of(result.tops, 6, row) for row in range(SIDE)]
    across = [cell_of(result.lefts, 6, col) for col in range(SIDE)]
    for row in range(SIDE):
        for col in range(SIDE):
            odd = across[col] is not None and (own[row] == 0 or (own[row], across[col]) == (2, 1))
            if odd:
                hatch = (row + col) % 6 < 2
                wanted = [128, 128, 128] if hatch else picture[row, col].tolist()
                assert over[row, col].tolist() == wanted
            else:
                assert over[row, col].tolist() == whole[row, col].tolist()


def test_the_most_probable_class_has_the_colour_of_the_legend_and_the_target_the_first(made):
    result, picture = made
    top = result.top_classes.copy()
    top[..., 0] = 0
    top[0, 0, 0], top[1, :2, 0] = 1, 2
    named = dataclasses.replace(result, top_classes=top)
    over = class_overlay(named, picture, 1, opacity=1)
    assert [number for _, number in over.classes] == [1, 0, 2]
    colours = {number: list(colour) for colour, number in over.classes}
    middle = [int(result.tops[i]) + 3 for i in range(2)]
    assert over.pixels[middle[0], middle[0]].tolist() == colours[1]
    assert over.pixels[middle[1], middle[0]].tolist() == colours[2]
    assert over.pixels[middle[0], middle[1]].tolist() == colours[0]


def test_sums_of_a_feature_map_are_on_a_scale_from_zero(made):
    result, picture = made
    over = sum_overlay(result, picture, "1", 2, opacity=0.5)
    values = result.sums["1"][..., 2]
    assert over.low == 0
    assert over.high == pytest.approx(max(values.max(), result.base_sums["1"][2]), rel=1e-5)
    wanted = expected_pixels(result, picture, values, over.low, over.high, "sequential", 0.5)
    np.testing.assert_allclose(over.pixels, wanted, atol=1.5)
    every = sum_overlay(result, picture, "1")
    most = max(result.sums["1"].sum(-1).max(), result.base_sums["1"].sum())
    assert every.high == pytest.approx(most, rel=1e-5)


def test_a_grey_picture_is_drawn_in_colours(made):
    result, picture = made
    over = confidence_overlay(result, picture[..., :1], 1, opacity=0.0)
    np.testing.assert_array_equal(over.pixels, picture[..., :1].repeat(3, axis=2))
