"""Pictures of a data set as they may be shown, whatever they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from nbviz.analysis.input_picture import shown_picture
from nbviz.network import Network

GREY = np.array([[0, 51, 102], [153, 204, 255]], np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=2)


def shown(image, network=None):
    picture = shown_picture(image, network)
    assert picture.mode == "RGB"
    return np.asarray(picture)


@pytest.mark.parametrize(
    "image",
    [
        GREY,
        Image.fromarray(GREY),
        Image.fromarray(GREY.astype(np.uint16) * 257),
        GREY.astype(np.uint16) * 257,
        GREY.astype(np.int64),
        GREY / 255,
        (GREY / 255)[..., None],
        torch.tensor(GREY / 255)[None],
        torch.tensor(GREY / 255)[None, None],
        torch.tensor(GREY)[None],
        Image.fromarray(GREY / np.float32(255)),
        GREY.astype(np.float64) / 16 * 16,
    ],
    ids=lambda image: f"{type(image).__name__} {getattr(image, 'dtype', '')}",
)
def test_grey_of_any_kind_has_its_levels(image):
    np.testing.assert_array_equal(shown(image), np.repeat(GREY[..., None], 3, axis=2))


@pytest.mark.parametrize(
    "image",
    [
        COLOUR,
        Image.fromarray(COLOUR),
        Image.fromarray(COLOUR).convert("RGBA"),
        Image.fromarray(COLOUR).quantize(6),
        COLOUR / 255,
        torch.tensor(COLOUR / 255).permute(2, 0, 1),
        torch.tensor(COLOUR).permute(2, 0, 1),
    ],
    ids=lambda image: f"{type(image).__name__} {getattr(image, 'mode', '')}",
)
def test_colour_of_any_kind_has_its_levels(image):
    np.testing.assert_array_equal(shown(image), COLOUR)


def test_what_is_clear_shows_white():
    clear = np.dstack([COLOUR, np.array([[0, 255, 255], [255, 255, 0]], np.uint8)])
    found = shown(clear)
    np.testing.assert_array_equal(found[0, 0], [255, 255, 255])
    np.testing.assert_array_equal(found[0, 1], COLOUR[0, 1])


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "HSV", "1", "LA", "PA"])
def test_every_mode_has_a_picture(mode):
    if mode == "LAB":
        image = Image.new("LAB", (4, 3), (128, 128, 128))
    else:
        image = Image.fromarray(COLOUR).convert("LA" if mode == "PA" else mode)
        image = image.convert(mode)
    assert shown(image).shape[2] == 3


def test_numbers_beyond_are_stretched_and_nan_is_black():
    found = shown(np.array([[0.0, 8.0], [16.0, np.nan]]))
    np.testing.assert_array_equal(found[..., 0], [[0, 128], [255, 0]])


def test_inputs_of_a_network_lose_its_normalisation():
    def normalised(picture):
        values = torch.tensor(np.asarray(picture, np.float32) / 255).permute(2, 0, 1)
        return (values - 0.5) / 0.25

    network = Network(nn.Conv2d(3, 2, 1), normalised, input_shape=(3, 2, 3))
    faint = COLOUR // 4 + 80
    batch = normalised(Image.fromarray(faint))
    np.testing.assert_array_equal(shown(batch, network), faint)
    assert np.abs(shown(batch).astype(int) - faint).max() > 50


@pytest.mark.parametrize("image", ["text", None, np.zeros((2, 3, 4, 5)), torch.zeros(2, 3, 4, 4)])
def test_what_is_no_picture_is_refused(image):
    with pytest.raises((TypeError, ValueError), match="expected"):
        shown_picture(image)
