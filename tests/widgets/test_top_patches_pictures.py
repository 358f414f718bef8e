"""Patches show what the network saw; what is kept of them is bounded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms import v2

import nbviz
from nbviz.analysis.activations import activations
from nbviz.analysis.patch_pictures import masked_by_activation, patch
from nbviz.analysis.receptive_field import Box
from nbviz.scanning.source import ImageSource
from nbviz.widgets.top_patches_pictures import PatchPictures, Place

HEIGHT, WIDTH = 24, 36


def cropping():
    """A transform that shrinks, cuts out the middle and normalises, as torchvision's do."""
    return v2.Compose(
        [
            v2.ToImage(),
            v2.Resize((HEIGHT + 6, WIDTH + 6), antialias=True),
            v2.CenterCrop((HEIGHT, WIDTH)),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )


def network():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.Flatten(),
    )  # fmt: skip
    return nbviz.Network(model, cropping(), input_shape=(3, HEIGHT, WIDTH))


def photographs(count=6):
    """Smooth pictures of another size and shape than the input's."""
    rng = np.random.default_rng(0)
    small = torch.tensor(rng.integers(0, 256, (count, 3, 5, 7)), dtype=torch.float32)
    large = nn.functional.interpolate(small, (60, 80), mode="bilinear")
    return large.permute(0, 2, 3, 1).round().to(torch.uint8).numpy()


def cutter(max_bytes=2**20):
    return PatchPictures(network(), ImageSource(photographs()), max_bytes=max_bytes)


class Counting(ImageSource):
    """Counts how often each image is read."""

    def __init__(self):
        super().__init__(photographs())
        self.reads = []

    def read(self, number):
        self.reads.append(number)
        return super().read(number)


def test_a_patch_is_the_part_of_the_input_that_the_unit_sees():
    cut = cutter()
    layer = cut.network.layers["2"]
    batch = cut.network.prepare(photographs()[3])[0].permute(1, 2, 0).numpy()
    seen = (batch * [0.229, 0.224, 0.225] + [0.485, 0.456, 0.406]) * 255
    field = layer.receptive_field.size
    assert field == (7, 7)
    for row, col in ((1, 1), (4, 9), (8, 14)):
        box = layer.box(row, col)
        expected = seen[box.top : box.bottom, box.left : box.right].repeat(5, 0).repeat(5, 1)
        tile = cut.tile(Place(layer, 0, 3, row, col), "patch", 35)
        np.testing.assert_allclose(tile, expected, atol=0.51)


def test_a_patch_at_the_edge_is_striped_beyond_it():
    cut = cutter()
    layer = cut.network.layers["0"]
    tile = cut.tile(Place(layer, 0, 1, 0, 0), "patch", 30)
    inner = cut.picture(1)[:2, :2].repeat(10, 0).repeat(10, 1)
    np.testing.assert_array_equal(tile[10:, 10:], inner)
    assert set(np.unique(tile[:10])) <= {112, 160}


def test_the_whole_image_has_the_box_drawn_on_it():
    cut = cutter()
    layer = cut.network.layers["2"]
    place = Place(layer, 0, 2, 4, 9)
    tile = cut.tile(place, "image", 72)
    plain = patch(cut.picture(2), Box(0, 0, HEIGHT, WIDTH), None, 72)
    changed = np.argwhere((tile != plain).any(-1))
    box, offset = place.box, (WIDTH - HEIGHT) // 2
    ends = [2 * (box.top + offset), 2 * box.left, 2 * (box.bottom + offset), 2 * box.right]
    np.testing.assert_array_equal(changed.min(0), ends[:2])
    np.testing.assert_array_equal(changed.max(0), [ends[2] - 1, ends[3] - 1])
    inside = tile[ends[0] + 2 : ends[2] - 2, ends[1] + 2 : ends[3] - 2]
    np.testing.assert_array_equal(
        inside, plain[ends[0] + 2 : ends[2] - 2, ends[1] + 2 : ends[3] - 2]
    )


def test_a_masked_patch_is_dimmed_by_the_channels_own_map():
    cut = cutter()
    layer = cut.network.layers["2"]
    place = Place(layer, 3, 5, 4, 6)
    answer = activations(cut.network, photographs()[5], "2")["2"].maps[3]
    np.testing.assert_array_equal(cut.map(layer, 5, 3), answer)
    dimmed = masked_by_activation(cut.picture(5), answer, layer, place.box)
    expected = patch(dimmed, place.box, place.beyond, 40)
    np.testing.assert_array_equal(cut.tile(place, "masked", 40), expected)


def test_an_image_that_serves_many_channels_is_read_once():
    source = Counting()
    cut = PatchPictures(network(), source)
    layer = cut.network.layers["2"]
    for channel in range(5):
        cut.strip([Place(layer, channel, image, 2, 2) for image in (4, 1, 4)], "patch", 16)
    assert source.reads == [4, 1]
    cut.strip([Place(layer, 0, 4, 2, 2)], "masked", 16)
    cut.strip([Place(layer, 0, 4, 3, 2)], "masked", 16)
    assert source.reads == [4, 1, 4]


@pytest.mark.parametrize("max_bytes", [2**20, 2**14])
def test_maps_of_all_channels_of_an_image_come_by_one_pass_where_they_are_small(max_bytes):
    source = Counting()
    cut = PatchPictures(network(), source, max_bytes=max_bytes)
    layer = cut.network.layers["2"]
    exact = activations(cut.network, photographs()[4], "2")["2"].maps
    for channel in (3, 0, 3):
        np.testing.assert_array_equal(cut.map(layer, 4, channel), exact[channel])
    assert len(source.reads) == (1 if max_bytes == 2**20 else 2)


def test_what_is_kept_stays_within_its_bound_and_the_oldest_goes():
    source = Counting()
    one = HEIGHT * WIDTH * 3
    cut = PatchPictures(network(), source, max_bytes=3 * one)
    for number in (0, 1, 2, 0, 3, 0, 1):
        cut.picture(number)
        assert cut.nbytes <= 3 * one
    assert source.reads == [0, 1, 2, 3, 1]
    small = PatchPictures(network(), Counting(), max_bytes=10)
    assert small.picture(0).shape == (HEIGHT, WIDTH, 3)
    assert small.nbytes == 0


def test_no_image_is_an_empty_tile_and_a_failing_one_is_crossed_out():
    cut = cutter()
    layer = cut.network.layers["2"]
    empty = cut.tile(Place(layer, 0, -1, 0, 0), "patch", 24)
    assert len(np.unique(empty)) == 1
    crossed = cut.tile(Place(layer, 0, 77, 0, 0), "patch", 24)
    assert len(np.unique(crossed)) == 2
    assert "77" in cut.problems[77]
    assert cut.strip([], "patch", 24)[:4] == b"\x89PNG"


@pytest.mark.parametrize("channels", [1, 5])
def test_an_input_that_is_no_colour_picture_is_shown_too(channels):
    torch.manual_seed(0)
    plain = nbviz.Network(nn.Conv2d(channels, 2, 3), input_shape=(channels, 9, 9))
    cut = PatchPictures(plain, ImageSource(torch.rand(3, channels, 9, 9)))
    tile = cut.tile(Place(plain.layers[0], 0, 1, 2, 3), "patch", 12)
    assert cut.problems == {}
    assert tile.shape == (12, 12, 3)
    assert (tile[..., 0] == tile[..., 2]).all()
