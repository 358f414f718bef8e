"""The still picture of a saved notebook has the colours that the maps stand for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from nbviz import Network
from nbviz.analysis.activations import Activation, activations
from nbviz.analysis.colormaps import colormap
from nbviz.analysis.map_pictures import activation_sheet

# The sheet's measures: a square for the picture, and tiles beside it.
SIDE, TILE, GAP, LEFT = 192, 60, 6, 192 + 18
MAGENTA = [255, 0, 200]


def activation_of(maps) -> Activation:
    """An activation with these very maps."""
    maps = np.asarray(maps, np.float32)
    network = Network(nn.Sequential(nn.Identity()), input_shape=maps.shape)
    found = activations(network, torch.from_numpy(maps))["0"]
    np.testing.assert_array_equal(found.maps, maps)
    return found


def sheet_of(maps, **options) -> np.ndarray:
    return activation_sheet(activation_of(maps), np.zeros((4, 4, 3), np.uint8), **options)


def tile(sheet: np.ndarray, number: int) -> np.ndarray:
    top, left = number // 12 * (TILE + GAP), LEFT + number % 12 * (TILE + GAP)
    return sheet[top : top + TILE, left : left + TILE]


def cell(sheet: np.ndarray, number: int, row: int, col: int, across: int = 2) -> list[int]:
    """The colour in the middle of one value of a square map."""
    step = TILE // across
    return tile(sheet, number)[row * step + step // 2, col * step + step // 2].tolist()


# Two maps behind a ReLU, the second a quarter as strong, and a layer with negative values.
POSITIVE = [[[0, 4], [2, 1]], [[0, 1], [0.5, 0.25]]]
SIGNED = [[[-4, 4], [0, 2]], [[0, 1], [-0.5, 1]]]
ABOVE = [[[1, 3], [2, 2]], [[2, 5], [2, 2]]]


@pytest.mark.parametrize(
    ("maps", "normalise", "name", "number", "row", "col", "index"),
    [
        (POSITIVE, "channel", "sequential", 0, 0, 0, 0),
        (POSITIVE, "channel", "sequential", 0, 0, 1, 255),
        (POSITIVE, "channel", "sequential", 0, 1, 1, 64),
        (POSITIVE, "channel", "sequential", 1, 0, 1, 255),
        (POSITIVE, "channel", "sequential", 1, 1, 1, 64),
        (POSITIVE, "layer", "sequential", 0, 0, 1, 255),
        (POSITIVE, "layer", "sequential", 1, 0, 1, 64),
        (POSITIVE, "layer", "sequential", 1, 1, 1, 16),
        (POSITIVE, "symmetric", "sequential", 0, 0, 1, 255),
        (POSITIVE, "symmetric", "sequential", 1, 0, 1, 159),
        (SIGNED, "channel", "diverging", 0, 0, 0, 0),
        (SIGNED, "channel", "diverging", 0, 0, 1, 255),
        (SIGNED, "channel", "diverging", 0, 1, 1, 191),
        (SIGNED, "channel", "diverging", 1, 0, 1, 255),
        (SIGNED, "channel", "diverging", 1, 1, 0, 64),
        (SIGNED, "layer", "diverging", 1, 0, 1, 159),
        (SIGNED, "symmetric", "diverging", 1, 0, 1, 159),
        (ABOVE, "channel", "sequential", 0, 0, 0, 0),
        (ABOVE, "layer", "sequential", 0, 0, 0, 0),
        (ABOVE, "layer", "sequential", 0, 0, 1, 128),
        (ABOVE, "layer", "sequential", 1, 0, 1, 255),
    ],
)
def test_a_value_has_the_colour_of_its_place_on_the_scale(
    maps, normalise, name, number, row, col, index
):
    sheet = sheet_of(maps, normalise=normalise)
    assert cell(sheet, number, row, col) == colormap(name)[index].tolist()


@pytest.mark.parametrize("normalise", ["channel", "layer", "symmetric"])
def test_zero_lies_in_the_middle_where_values_are_negative(normalise):
    sheet = sheet_of(SIGNED, normalise=normalise)
    middle = colormap("diverging")[[127, 128]].tolist()
    assert cell(sheet, 0, 1, 0) in middle
    assert cell(sheet, 1, 0, 0) in middle


def test_the_scale_of_a_layer_spans_maps_that_are_not_drawn_too():
    maps = [[[0, 1], [0, 0]], [[0, 4], [0, 0]], [[0, -8], [0, 0]]]
    few = sheet_of(maps[:2], normalise="layer", most=1)
    assert cell(few, 0, 0, 1) == colormap("sequential")[64].tolist()
    few = sheet_of(maps, normalise="layer", most=1)
    assert cell(few, 0, 0, 1) == colormap("diverging")[143].tolist()


@pytest.mark.parametrize("normalise", ["channel", "layer", "symmetric"])
def test_what_is_no_number_is_magenta_and_leaves_the_scale_as_it_is(normalise):
    sheet = sheet_of(
        [[[0, np.nan], [4, np.inf]], [[np.nan] * 2] * 2, [[-np.inf, 0], [4, 1]]],
        normalise=normalise,
    )
    assert cell(sheet, 0, 0, 1) == cell(sheet, 0, 1, 1) == MAGENTA
    assert cell(sheet, 2, 0, 0) == MAGENTA
    assert (tile(sheet, 1) == MAGENTA).all()
    assert cell(sheet, 0, 1, 0) == cell(sheet, 2, 1, 0) == colormap("sequential")[255].tolist()


def test_a_layer_without_any_number_is_all_magenta():
    for normalise in ("channel", "layer", "symmetric"):
        sheet = sheet_of(np.full((2, 2, 2), np.nan), normalise=normalise)
        assert (tile(sheet, 0) == MAGENTA).all()


@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1e30, 8e37])
def test_the_colours_of_huge_and_tiny_values_differ_as_those_of_others(scale):
    maps = np.float32([[[0, 4], [4, 0]]]) * np.float32(scale)
    sheet = sheet_of(maps)
    assert cell(sheet, 0, 0, 1) == colormap("sequential")[255].tolist()
    sheet = sheet_of(np.float32([[[-4, 4], [4, -4]]]) * np.float32(scale))
    assert cell(sheet, 0, 0, 0) == colormap("diverging")[0].tolist()
    assert cell(sheet, 0, 0, 1) == colormap("diverging")[255].tolist()


def test_a_dead_map_has_the_lowest_colour():
    sheet = sheet_of([[[0, 0], [0, 0]], [[0, 1], [0, 0]]])
    assert (tile(sheet, 0) == colormap("sequential")[0]).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_picture_stands_at_the_left(channels):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (8, 8, channels), np.uint8)
    sheet = activation_sheet(activation_of(POSITIVE), picture)
    shown = sheet[12:SIDE:24, 12:SIDE:24]
    np.testing.assert_array_equal(shown, np.broadcast_to(picture, (8, 8, 3)))
    assert (sheet[:SIDE, SIDE:LEFT] == 255).all()


def test_a_picture_that_is_not_square_keeps_its_shape():
    sheet = activation_sheet(activation_of(POSITIVE), np.zeros((30, 60, 1), np.uint8))
    assert (sheet[:96, :SIDE] == 0).all()
    assert (sheet[96:SIDE, :SIDE] == 255).all()


def test_a_large_picture_is_averaged():
    picture = np.zeros((384, 384, 3), np.uint8)
    picture[::2] = 200
    sheet = activation_sheet(activation_of(POSITIVE), picture)
    assert (sheet[:SIDE, :SIDE] == 100).all()


@pytest.mark.parametrize(
    ("count", "most", "columns", "lines"),
    [
        (1, 60, 1, 1),
        (12, 60, 12, 1),
        (13, 60, 12, 2),
        (60, 60, 12, 5),
        (100, 60, 12, 5),
        (30, 5, 5, 1),
    ],
)
def test_the_sheet_has_room_for_its_maps_and_no_more(count, most, columns, lines):
    maps = np.tile(np.float32([[0, 1], [1, 1]]), (count, 1, 1))
    sheet = sheet_of(maps, most=most)
    height = max(SIDE, lines * (TILE + GAP) - GAP)
    assert sheet.shape == (height, LEFT + columns * (TILE + GAP) - GAP, 3)
    assert sheet.dtype == np.uint8
    shown = min(count, most)
    highest = colormap("sequential")[255].tolist()
    assert [cell(sheet, number, 1, 1) for number in range(shown)] == [highest] * shown
    if shown < columns * lines:
        assert (tile(sheet, shown) == 255).all()


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (1, 500), (3, 2), (500, 20)])
def test_maps_of_any_shape_fit_their_tile(rows, cols):
    maps = np.zeros((3, rows, cols))
    maps[:, 0, 0] = 1
    sheet = sheet_of(maps)
    scale = TILE / max(rows, cols)
    height, width = max(1, round(rows * scale)), max(1, round(cols * scale))
    inside = tile(sheet, 2)
    assert (inside[:height, :width].min(axis=2) < 255).all()
    assert (inside[height:] == 255).all()
    assert (inside[:, width:] == 255).all()
