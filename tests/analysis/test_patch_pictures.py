"""Patches and masked pictures against plain loops over pixels."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fixtures.networks import IMAGE, SMALL, chain, conv
from torch import nn

from nbviz import Network
from nbviz.analysis.patch_pictures import masked_by_activation, patch, upsampled
from nbviz.analysis.receptive_field import Box
from nbviz.analysis.unit_places import unit_centres

HEIGHT, WIDTH = 24, 20
PICTURE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def stripe(row: int, col: int) -> list[int]:
    return [112 if (row + col) % 6 < 2 else 160] * 3


def plain_patch(picture, window: Box, side: int) -> np.ndarray:
    """Pixel by pixel: the nearest when enlarged, area by area when reduced."""
    scale = side / max(window.height, window.width)
    count = [max(1, int(length * scale + 0.5)) for length in (window.height, window.width)]
    # Fractions: the middle of a drawn pixel can lie between two of the picture.
    steps = Fraction(window.height, count[0]), Fraction(window.width, count[1])
    offset = [(side - n) // 2 for n in count]
    drawn = np.array([[stripe(r, c) for c in range(side)] for r in range(side)], float)
    for r in range(count[0]):
        for c in range(count[1]):
            top, left = window.top + r * steps[0], window.left + c * steps[1]
            weights = [
                weights_of(start, step, length)
                for start, step, length in zip((top, left), steps, picture.shape[:2], strict=True)
            ]
            if not all(weights):
                continue
            total, area = np.zeros(picture.shape[2]), Fraction(0)
            for row, down in weights[0].items():
                for col, across in weights[1].items():
                    total += picture[row, col] * float(down * across)
                    area += down * across
            drawn[offset[0] + r, offset[1] + c] = total / float(area)
    return drawn


def weights_of(start: Fraction, step: Fraction, length: int) -> dict[int, Fraction]:
    """How much of each pixel lies in a span; nothing if less than half of it is picture."""
    if step <= 1:
        at = math.floor(start + step / 2)
        return {at: Fraction(1)} if 0 <= at < length else {}
    found = {}
    for pixel in range(length):
        shared = min(start + step, pixel + 1) - max(start, pixel)
        if shared > 0:
            found[pixel] = shared
    return found if sum(found.values()) >= step / 2 else {}


def clipped(box: Box) -> Box:
    return Box(max(box.top, 0), max(box.left, 0), min(box.bottom, HEIGHT), min(box.right, WIDTH))


WINDOWS = [
    Box(3, 4, 10, 11),
    Box(-3, 4, 4, 11),
    Box(20, 15, 27, 22),
    Box(-2, -5, 14, 11),
    Box(2, 3, 5, 12),
    Box(0, 0, HEIGHT, WIDTH),
    Box(7, 8, 8, 9),
]


@pytest.mark.parametrize("side", [3, 7, 8, 16, 21, 48])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_patch_is_what_the_plain_loop_gives(window, side, channels):
    picture = PICTURE[..., :channels]
    cut = patch(picture, clipped(window), window, side)
    assert cut.shape == (side, side, 3)
    assert cut.dtype == np.uint8
    wanted = np.broadcast_to(plain_patch(picture, window, side), (side, side, 3))
    # Within the rounding to whole levels.
    np.testing.assert_allclose(cut, wanted, atol=0.5 + 1e-6)


def test_at_its_own_size_a_patch_is_the_picture():
    cut = patch(PICTURE, Box(3, 4, 10, 11), Box(3, 4, 10, 11), 7)
    np.testing.assert_array_equal(cut, PICTURE[3:10, 4:11])
    twice = patch(PICTURE, Box(3, 4, 10, 11), None, 14)
    np.testing.assert_array_equal(twice, PICTURE[3:10, 4:11].repeat(2, 0).repeat(2, 1))


def test_beyond_the_edge_it_is_striped():
    cut = patch(np.zeros((24, 20, 3), np.uint8), Box(0, 0, 3, 3), Box(-3, -3, 3, 3), 12)
    for row, col in np.ndindex(12, 12):
        there = row >= 6 and col >= 6
        assert cut[row, col].tolist() == ([0, 0, 0] if there else stripe(row, col))


def test_a_window_larger_than_the_picture_is_cut_at_its_edge():
    large = patch(PICTURE, Box(0, 0, 24, 20), Box(-30, -30, 40, 40), 24)
    np.testing.assert_array_equal(large[:, 2:22], PICTURE)
    assert large[5, 0].tolist() == stripe(5, 0)
    # Higher than the picture, not wider: rows are cut, columns reach over the edge.
    high = patch(PICTURE, Box(0, 0, 24, 10), Box(-5, -6, 30, 10), 24)
    np.testing.assert_array_equal(high[:, 4 + 6 : 4 + 16], PICTURE[:, :10])
    assert high[3, 9].tolist() == stripe(3, 9)


def test_a_box_that_padding_mirrors_is_shown_itself():
    cut = patch(PICTURE, Box(0, 1, 4, 5), Box(-4, 1, 0, 5), 4)
    np.testing.assert_array_equal(cut, PICTURE[0:4, 1:5])


def test_a_unit_that_sees_nothing_has_stripes_alone():
    cut = patch(PICTURE, Box(0, 0, 0, 0), Box(-9, -9, -6, -6), 8)
    assert all(cut[at].tolist() == stripe(*at) for at in np.ndindex(8, 8))


def test_a_patch_needs_a_picture_a_side_and_a_box_within():
    box = Box(0, 0, 4, 4)
    with pytest.raises(ValueError, match=r"uint8 picture .* got float64 of shape \(24, 20, 3\)"):
        patch(PICTURE / 255, box, None, 8)
    with pytest.raises(ValueError, match=r"shape \(24, 20\)"):
        patch(PICTURE[..., 0], box, None, 8)
    with pytest.raises(ValueError, match="at least 1 pixel, got 0"):
        patch(PICTURE, box, None, 0)
    with pytest.raises(ValueError, match="within the picture of 24 x 20"):
        patch(PICTURE, Box(0, 0, 4, 21), None, 8)


def layer_of(model: nn.Module, number: int = -1, shape=IMAGE):
    return Network(model, input_shape=shape).layers[number]


@pytest.mark.parametrize("size", [2, 4])
def test_windows_side_by_side_are_upsampled_as_torch_does(size):
    layer = layer_of(chain(nn.MaxPool2d(size)))
    values = np.random.default_rng(1).normal(size=layer.grid)
    tensor = torch.from_numpy(values)[None, None]
    wanted = F.interpolate(tensor, scale_factor=size, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(upsampled(values, layer), wanted[0, 0].numpy(), atol=1e-12)


def plain_upsampled(values: np.ndarray, layer) -> np.ndarray:
    rows, cols = (list(part) for part in unit_centres(layer))
    result = np.empty((HEIGHT, WIDTH))
    for y in range(HEIGHT):
        for x in range(WIDTH):
            result[y, x] = sum(
                values[r, c] * down * across
                for r, down in between(rows, y + 0.5)
                for c, across in between(cols, x + 0.5)
            )
    return result


def between(centres: list[float], at: float) -> list[tuple[int, float]]:
    low = [i for i, centre in enumerate(centres) if centre <= at]
    high = [i for i, centre in enumerate(centres) if centre > at]
    if not low or not high:
        return [(high[0] if not low else low[-1], 1.0)]
    a, b = low[-1], high[0]
    part = (at - centres[a]) / (centres[b] - centres[a])
    return [(a, 1 - part), (b, part)]


@pytest.mark.parametrize("name", ["plain", "dilated", "skipping stride", "uneven", "attention"])
def test_a_map_is_anchored_at_the_centres_of_its_units(name):
    torch.manual_seed(0)
    for layer in Network(SMALL[name][0](), input_shape=IMAGE).layers:
        if layer.grid is None:
            continue
        values = np.random.default_rng(2).normal(size=layer.grid)
        wanted = plain_upsampled(values, layer)
        np.testing.assert_allclose(upsampled(values, layer), wanted, atol=1e-12)


def test_what_is_not_finite_counts_as_least():
    layer = layer_of(chain(nn.MaxPool2d(4)))
    values = np.arange(30.0).reshape(6, 5)
    values[0, 1], values[3, 3], values[5, 4] = np.nan, np.inf, -np.inf
    plain = values.copy()
    plain[0, 1] = plain[3, 3] = plain[5, 4] = 0
    np.testing.assert_array_equal(upsampled(values, layer), upsampled(plain, layer))
    assert (upsampled(np.full((6, 5), np.nan), layer) == 0).all()


@pytest.mark.parametrize("threshold", [None, 0.2, 10.0])
@pytest.mark.parametrize("box", [None, Box(2, 3, 15, 18)])
@pytest.mark.parametrize("low", [0.0, -2.0, -9.0])
def test_low_places_lose_contrast(threshold, box, low):
    layer = layer_of(chain(conv(stride=2), conv((4, 4), padding=1)))
    values = np.random.default_rng(3).random(layer.grid) * 4 + low
    drawn = masked_by_activation(PICTURE, values, layer, box, threshold=threshold)
    field = plain_upsampled(values, layer)
    most, least = values.max(), values.min()
    limit = (most / 2 if most > 0 else (most + least) / 2) if threshold is None else threshold
    kept = 0
    for y, x in np.ndindex(HEIGHT, WIDTH):
        inside = box is None or (box.top <= y < box.bottom and box.left <= x < box.right)
        if inside and field[y, x] >= limit:
            kept += 1
            assert (drawn[y, x] == PICTURE[y, x]).all()
        else:
            # Within the rounding to whole levels.
            assert np.abs(drawn[y, x] - (96 + PICTURE[y, x] / 4)).max() <= 0.5
    assert kept < HEIGHT * WIDTH
    assert (kept > 0) == (threshold is None or most > threshold)


def test_black_and_white_both_show_what_is_dimmed():
    layer = layer_of(chain(nn.MaxPool2d(4)), shape=(1, 24, 20))
    values = np.zeros((6, 5))
    values[2, 2] = 1
    for level, dimmed in ((0, 96), (255, 160)):
        picture = np.full((24, 20, 1), level, np.uint8)
        drawn = masked_by_activation(picture, values, layer)
        assert drawn.shape == (24, 20, 3)
        assert sorted(np.unique(drawn)) == sorted({level, dimmed})
        assert (drawn[9:11, 9:11] == level).all()


def test_a_vector_dims_nothing():
    layer = layer_of(SMALL["classifier"][0]())
    assert layer.grid is None
    for values in (np.array([[3.0]]), np.array([[np.nan, 3.0, 1.0]])):
        drawn = masked_by_activation(PICTURE, values, layer)
        np.testing.assert_array_equal(drawn, PICTURE)


def test_a_mask_needs_the_layers_own_map_and_picture():
    layer = layer_of(chain(nn.MaxPool2d(4)))
    with pytest.raises(ValueError, match=r"one map of 6 x 5 of layer '0', got shape \(5, 6\)"):
        upsampled(np.zeros((5, 6)), layer)
    with pytest.raises(ValueError, match="the network's input, 24 x 20, got 20 x 24"):
        masked_by_activation(PICTURE.swapaxes(0, 1), np.zeros((6, 5)), layer)
