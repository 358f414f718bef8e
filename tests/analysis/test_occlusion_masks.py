"""Masks cover what they say, and what they are filled with is what the note says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import nn

from nbviz import demos
from nbviz.analysis.occlusion import Mask, mask_plane, masked_input, replacement
from nbviz.analysis.occlusion_masks import mask_positions
from nbviz.analysis.receptive_field import Box
from nbviz.network import Network

SIZE = (20, 30)


def plane_by_loops(masks, size):
    """Which pixels masks (shape, top, left, height, width, bits) cover, pixel by pixel."""
    plane = np.zeros(size, bool)
    for shape, top, left, height, width, bits in masks:
        for row in range(size[0]):
            for col in range(size[1]):
                inside = top <= row < top + height and left <= col < left + width
                if shape == "circle":
                    down = (row + 0.5 - (top + height / 2)) / (height / 2)
                    across = (col + 0.5 - (left + width / 2)) / (width / 2)
                    inside = inside and down * down + across * across <= 1
                if shape == "brush":
                    inside = inside and bits[row - top, col - left]
                plane[row, col] |= inside
    return plane


@pytest.mark.parametrize("seed", range(30))
def test_masks_cover_what_loops_cover_over_borders_too(seed):
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(rng.integers(1, 4)):
        shape = ["rectangle", "circle", "brush"][rng.integers(3)]
        top, left = rng.integers(-15, 25), rng.integers(-15, 35)
        height, width = rng.integers(1, 25, 2)
        bits = rng.random((height, width)) < 0.5
        masks.append((shape, top, left, height, width, bits))
    plane = mask_plane([Mask(*mask) for mask in masks], SIZE)
    np.testing.assert_array_equal(plane, plane_by_loops(masks, SIZE))


def test_numbers_of_a_hand_are_rounded_halves_upwards():
    mask = Mask("rectangle", 2.5, -0.5, 3.4, 2.6)
    assert (mask.top, mask.left, mask.height, mask.width) == (3, 0, 3, 3)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (("star", 0, 0, 2, 2), "'brush', got 'star'"),
        (("circle", 0, float("nan"), 2, 2), "finite"),
        (("rectangle", 0, 0, 0.4, 5), "at least one pixel"),
        (("brush", 0, 0, 2, 3), r"\(2, 3\), got none"),
        (("brush", 0, 0, 2, 3, np.ones((3, 2), bool)), r"got \(3, 2\)"),
    ],
)
def test_a_mask_that_cannot_be_is_refused(mask, said):
    with pytest.raises(ValueError, match=said):
        Mask(*mask)


def test_a_masked_input_is_the_replacement_inside_and_the_image_outside():
    image, fill = torch.rand(1, 3, *SIZE), torch.rand(1, 3, *SIZE)
    plane = mask_plane([Mask("circle", 3, 4, 6, 9), Mask("rectangle", 15, 25, 9, 9)], SIZE)
    given = image.clone()
    masked, box = masked_input(image, fill, plane)
    for row, col in np.ndindex(*SIZE):
        source = fill if plane[row, col] else image
        assert torch.equal(masked[..., row, col], source[..., row, col])
        if plane[row, col]:
            assert box.top <= row < box.bottom
            assert box.left <= col < box.right
    assert box == Box(3, 4, 20, 30)
    assert torch.equal(image, given)
    untouched, nothing = masked_input(image, fill, np.zeros(SIZE, bool))
    assert nothing is None
    assert torch.equal(untouched, image)
    with pytest.raises(ValueError, match=r"\(20, 30\), got \(30, 20\)"):
        masked_input(image, fill, plane.T)


@pytest.mark.parametrize("length", [7, 8, 224])
@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("stride", [1, 2, 3, 50])
def test_positions_reach_from_border_to_border(length, size, stride):
    found = mask_positions(length, size, stride).tolist()
    assert found[0] == 0
    assert found[-1] == length - size
    assert all(start % stride == 0 for start in found[:-1])
    assert found[:-1] == list(range(0, length - size, stride))


@pytest.fixture(scope="module")
def scenes():
    return demos.scenes()


@pytest.mark.parametrize(
    ("fill", "colour"),
    [("black", (0, 0, 0)), ("grey", (128, 128, 128)), ((12, 250, 99), (12, 250, 99))],
)
def test_colours_are_those_of_a_prepared_picture(scenes, fill, colour):
    network, images, *_ = scenes
    batch = network.prepare(images[0])
    found = replacement(network, batch, fill)
    painted = network.prepare(np.full((96, 96, 3), colour, np.uint8))
    torch.testing.assert_close(found.batch, painted, rtol=0, atol=1e-6)
    assert str(colour) in found.note
    assert found.name == (fill if isinstance(fill, str) else "colour")


def test_zero_is_the_mean_colour_only_where_a_normalisation_makes_it_so(scenes):
    network, images, *_ = scenes
    batch = network.prepare(images[0])
    zero = replacement(network, batch)
    assert float(zero.batch.abs().max()) == 0
    assert "zero after it, (128, 128, 128) in pixels" in zero.note

    real = Network.from_torchvision("squeezenet1_0", weights=None)
    batch = real.prepare(images[0])
    assert "(124, 116, 104) in pixels" in replacement(real, batch).note

    plain = Network(nn.Conv2d(3, 4, 3), input_shape=(3, 20, 30))
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    own = replacement(plain, plain.prepare(picture))
    expected = picture.mean((0, 1)) / 255
    np.testing.assert_allclose(own.batch[0, :, 7, 9], expected, rtol=0, atol=1e-6)
    assert "mean colour of the picture itself" in own.note
    levels = [round(255 * level) for level in expected]
    assert str(tuple(levels)) in own.note


def test_with_pictures_of_a_data_set_mean_is_theirs(scenes):
    network, images, *_ = scenes
    some = images[:5]
    found = replacement(network, network.prepare(images[9]), "mean", pictures=some)
    expected = torch.cat([network.prepare(image) for image in some]).mean((0, 2, 3))
    torch.testing.assert_close(found.batch[0, :, 3, 3], expected, rtol=0, atol=1e-5)
    colour = np.rint(some.astype(float).mean((0, 1, 2))).astype(int)
    assert f"mean colour of 5 pictures of the data set, {tuple(colour.tolist())}" in found.note
    many = replacement(network, network.prepare(images[9]), "mean", pictures=images)
    assert "mean colour of 150 pictures" in many.note  # every second of 300


def test_a_grey_network_is_filled_in_grey():
    network, images, *_ = demos.digits()
    batch = network.prepare(images[0])
    found = replacement(network, batch, (255, 255, 255))
    torch.testing.assert_close(
        found.batch, network.prepare(np.full((32, 32), 255, np.uint8)), rtol=0, atol=1e-6
    )
    assert "zero after it, 128 in pixels" in replacement(network, batch).note


def test_blur_is_a_gaussian_of_the_picture():
    image = torch.randn(1, 2, 30, 40, generator=torch.Generator().manual_seed(0))
    network = Network(nn.Conv2d(2, 4, 3), input_shape=(2, 30, 40))
    found = replacement(network, image, "blur")
    assert "standard deviation 2 pixels" in found.note
    # scipy names "mirror" what torch names "reflect"; both cut at three standard deviations
    for channel in (0, 1):
        expected = gaussian_filter(image[0, channel].double().numpy(), 2, mode="mirror", truncate=3)
        np.testing.assert_allclose(found.batch[0, channel], expected, rtol=0, atol=1e-5)


def test_noise_looks_like_the_picture_in_mean_and_spread_and_comes_again(scenes):
    network, images, *_ = scenes
    batch = network.prepare(images[0])
    state = torch.get_rng_state()
    found = replacement(network, batch, "noise", seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(found.batch, replacement(network, batch, "noise", seed=4).batch)
    assert not torch.equal(found.batch, replacement(network, batch, "noise", seed=5).batch)
    for channel in range(3):
        values, noise = batch[0, channel], found.batch[0, channel]
        assert float(noise.mean()) == pytest.approx(float(values.mean()), abs=0.1)
        assert float(noise.std()) == pytest.approx(float(values.std()), rel=0.15)
        assert values.min() <= noise.min()
        assert noise.max() <= values.max()


def test_another_picture_shows_through(scenes, tmp_path):
    network, images, *_ = scenes
    batch = network.prepare(images[0])
    other = network.prepare(images[1])
    assert torch.equal(replacement(network, batch, images[1]).batch, other)
    assert torch.equal(replacement(network, batch, other).batch, other)
    path = tmp_path / "other.png"
    Image.fromarray(images[1]).save(path)
    found = replacement(network, batch, path)
    assert torch.equal(found.batch, other)
    assert found.name == "picture"
    assert "other.png" in found.note
    assert torch.equal(replacement(network, batch, str(path)).batch, other)


@pytest.mark.parametrize(
    ("fill", "kind", "said"),
    [
        ("meen", ValueError, "'meen' is no file"),
        ((1, 2), ValueError, "three whole numbers"),
        ((1, 2, 256), ValueError, "from 0 to 255"),
        ((0.5, 0.5, 0.5), ValueError, "three whole numbers"),
        (torch.zeros(1, 3, 8, 8), ValueError, r"\(3, 96, 96\) to fill masks with, got \(3, 8, 8\)"),
        (7, TypeError, "got int"),
    ],
)
def test_a_fill_that_is_none_is_told(scenes, fill, kind, said):
    network, images, *_ = scenes
    with pytest.raises(kind, match=said):
        replacement(network, network.prepare(images[0]), fill)


def test_colours_need_a_network_of_pictures():
    network = Network(nn.Conv2d(5, 4, 3), input_shape=(5, 12, 12))
    batch = torch.randn(1, 5, 12, 12)
    with pytest.raises(ValueError, match="take fill='mean', 'blur' or 'noise'"):
        replacement(network, batch, "grey")
    found = replacement(network, batch, "mean")
    torch.testing.assert_close(found.batch[0, :, 0, 0], batch[0].mean((1, 2)))
    assert found.note == "mean colour of the picture itself"
