"""Centres, cells and boxes of many units agree with what one unit's receptive field says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fixtures.networks import IMAGE, SMALL, Forward, chain, conv
from torch import nn

from nbviz import Network
from nbviz.analysis.receptive_field import Box
from nbviz.analysis.unit_places import (
    cell_edges,
    sees_padding,
    unit_boxes,
    unit_centres,
    units_centred_in,
)

NAMES = [name for name, (_, shape) in SMALL.items() if len(shape) == 3]


def network_of(name: str) -> Network:
    torch.manual_seed(0)
    make, shape = SMALL[name]
    return Network(make(), input_shape=shape)


@pytest.mark.parametrize("name", NAMES)
def test_boxes_are_those_of_single_units(name):
    for layer in network_of(name).layers:
        rows, cols = np.indices(layer.grid or (1, 1))
        boxes = unit_boxes(layer, rows, cols)
        for row, col in np.ndindex(rows.shape):
            one = layer.box(row, col)
            assert boxes[row, col].tolist() == [one.top, one.left, one.bottom, one.right]


@pytest.mark.parametrize("name", NAMES)
def test_a_centre_is_the_middle_of_the_unclipped_box(name):
    counted = 0
    for layer in network_of(name).layers:
        field = layer.receptive_field
        if (
            layer.grid is None
            or field.size is None
            or not all(
                isinstance(part, int) for part in (*field.size, *field.padding, *field.stride)
            )
        ):
            continue
        counted += 1
        rows, cols = unit_centres(layer)
        assert (len(rows), len(cols)) == layer.grid
        for row, col in np.ndindex(layer.grid):
            box = field.unclipped(row, col)
            assert rows[row] == (box.top + box.bottom) / 2
            assert cols[col] == (box.left + box.right) / 2
    assert counted or name in {"rolled", "running sum", "row softmax", "rows by rows", "norms"}


def test_places_without_a_size_share_the_picture():
    layer = network_of("squeeze-excite").layers["mul"]
    assert layer.receptive_field.size is None
    rows, cols = unit_centres(layer)
    assert np.allclose(rows, [(i + 0.5) * 24 / 22 for i in range(22)], atol=1e-12)
    assert np.allclose(cols, [(i + 0.5) * 20 / 18 for i in range(18)], atol=1e-12)


def test_behind_a_flip_places_run_backwards():
    model = Forward(lambda net, x: net.last(net.conv(x).flip(3)), conv=conv(), last=conv((4, 2), 1))
    layer = Network(model, input_shape=IMAGE).layers["last"]
    rows, cols = unit_centres(layer)
    assert rows.tolist() == [i + 1.5 for i in range(22)]
    assert cols.tolist() == [20 - 1.5 - i for i in range(18)]
    assert cell_edges(layer)[1].tolist() == [19 - i for i in range(19)]
    assert units_centred_in(layer, Box(0, 0, 24, 4)) == Box(0, 15, 22, 18)


def test_a_vector_has_one_place():
    layer = network_of("classifier").layers[-1]
    height, width = IMAGE[1:]
    assert [part.tolist() for part in unit_centres(layer)] == [[height / 2], [width / 2]]
    assert [part.tolist() for part in cell_edges(layer)] == [[0, height], [0, width]]
    boxes = unit_boxes(layer, [0, 4, -1], [0, 3, -1]).tolist()
    box = layer.box()
    assert boxes == 2 * [[box.top, box.left, box.bottom, box.right]] + [[0, 0, 0, 0]]


@pytest.mark.parametrize("name", ["plain", "dilated", "skipping stride", "uneven", "pools"])
def test_cells_meet_half_way(name):
    for layer in network_of(name).layers:
        for edges, centres in zip(cell_edges(layer), unit_centres(layer), strict=True):
            assert len(edges) == len(centres) + 1
            for i in range(1, len(centres)):
                assert edges[i] == (centres[i - 1] + centres[i]) / 2
            if len(centres) > 1:
                assert centres[0] - edges[0] == edges[1] - centres[0]
                assert edges[-1] - centres[-1] == centres[-1] - edges[-2]


@pytest.mark.parametrize("name", ["plain", "dilated", "skipping stride", "attention", "rolled"])
def test_units_in_a_box_are_those_centred_there(name):
    generator = np.random.default_rng(0)
    for layer in network_of(name).layers:
        rows, cols = unit_centres(layer)
        for _ in range(20):
            top, left = (int(generator.integers(0, side)) for side in IMAGE[1:])
            box = Box(
                top,
                left,
                int(generator.integers(top + 1, 25)),
                int(generator.integers(left + 1, 21)),
            )
            found = units_centred_in(layer, box)
            for centres, ends, pixels in (
                (rows, (found.top, found.bottom), (box.top, box.bottom)),
                (cols, (found.left, found.right), (box.left, box.right)),
            ):
                inside = [i for i, c in enumerate(centres) if pixels[0] <= c < pixels[1]]
                middle = sum(pixels) / 2
                nearest = min(range(len(centres)), key=lambda i: abs(centres[i] - middle))
                assert list(range(*ends)) == (inside or [nearest])


def same_with_other_padding(mode: str) -> tuple[nn.Module, nn.Module]:
    """One network with zeros at the edge, and one that differs by its padding alone."""
    models = []
    for padding in ("zeros", mode):
        torch.manual_seed(0)
        models.append(
            chain(
                conv((3, 8), padding=1, padding_mode=padding),
                nn.Tanh(),
                conv((8, 8), 5, stride=2, padding=2, padding_mode=padding),
                nn.Tanh(),
                conv((8, 8), padding=2, dilation=2, padding_mode=padding),
            ).double()
        )
    return models[0], models[1]


@pytest.mark.parametrize("number", range(5))
def test_padding_counts_where_another_padding_changes_the_answer(number):
    zeros, other = same_with_other_padding("replicate")
    network = Network(zeros, input_shape=IMAGE)
    layer = network.layers[number]
    batch = torch.randn(4, *IMAGE, dtype=torch.float64)
    with torch.no_grad():
        ways = [model[: number + 1](batch) for model in (zeros, other)]
    changed = (ways[0] - ways[1]).abs().amax((0, 1)).numpy() > 1e-9
    assert changed.any()
    assert not changed.all()
    found = sees_padding(layer, *np.indices(layer.grid))
    np.testing.assert_array_equal(found, changed)


def test_a_unit_that_sees_everything_has_no_edge_to_tell():
    wide = Network(chain(conv(size=49, padding=24)), input_shape=IMAGE).layers[0]
    assert not sees_padding(wide, *np.indices(wide.grid)).any()
    # Half as wide, the middle of the rows sees all of them, but no unit sees all of the picture.
    some = Network(chain(conv(size=(47, 3), padding=(23, 1))), input_shape=IMAGE).layers[0]
    assert sees_padding(some, *np.indices(some.grid)).all()


def test_without_a_size_the_box_must_touch_the_edge():
    layer = network_of("windows").layers["last"]
    assert layer.receptive_field.size is None
    found = sees_padding(layer, *np.indices(layer.grid))
    for row, col in np.ndindex(layer.grid):
        box = layer.box(row, col)
        touches = 0 in (box.top, box.left) or box.bottom == 24 or box.right == 20
        assert found[row, col] == touches
    assert found.any()
    assert not found.all()


def test_no_unit_has_no_padding_and_no_box():
    layer = network_of("plain").layers[0]
    assert not sees_padding(layer, [-1], [0])[0]
    assert unit_boxes(layer, [[-1]], [[2]]).tolist() == [[[0, 0, 0, 0]]]


def test_errors_say_what_was_expected():
    layer = network_of("plain").layers[0]
    with pytest.raises(IndexError, match=r"grid of 22 x 18 of layer '0', got row 22"):
        unit_boxes(layer, [0, 22], [0, 0])
    with pytest.raises(ValueError, match="at least one pixel"):
        units_centred_in(layer, Box(3, 3, 3, 8))
    vectors = Network(nn.Linear(4, 2), input_shape=(4,)).layers[0]
    for ask in (unit_centres, cell_edges, lambda one: unit_boxes(one, 0, 0)):
        with pytest.raises(ValueError, match="whose input is a picture"):
            ask(vectors)
