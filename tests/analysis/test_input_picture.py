"""The picture as the network sees it is the one that went in, cropped and resized."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms
from torchvision.models import get_model_weights

import nbviz
from nbviz import Network
from nbviz.analysis.input_picture import input_picture

RNG = np.random.default_rng(0)
PHOTO = np.asarray(
    Image.fromarray(RNG.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((400, 300))
)


def network(*steps, channels=3, side=64):
    model = nn.Sequential(nn.Conv2d(channels, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    transform = transforms.Compose(steps) if steps else None
    return Network(model, transform, input_shape=(channels, side, side))


def off(pixels, expected):
    return np.abs(pixels.astype(int) - np.asarray(expected).reshape(pixels.shape)).max()


RESIZE = (transforms.Resize(72), transforms.CenterCrop(64))
RESIZED = transforms.Compose(RESIZE)(Image.fromarray(PHOTO))


@pytest.mark.parametrize(
    "last",
    [
        (),
        (transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),),
        (transforms.Normalize((0.5,) * 3, (0.5,) * 3),),
        (transforms.Lambda(lambda x: x * 255 - torch.tensor([123, 117, 104]).view(3, 1, 1)),),
        (transforms.Lambda(lambda x: 1 - x),),
    ],
    ids=["[0, 1]", "ImageNet", "[-1, 1]", "levels less the mean", "negative"],
)
def test_any_scaling_at_the_end_of_a_transform_is_undone(last):
    found = network(*RESIZE, transforms.ToTensor(), *last)
    seen = input_picture(found, found.prepare(PHOTO))
    assert seen.pixels.dtype == np.uint8
    assert (seen.exact, seen.note) == (True, "")
    assert off(seen.pixels, RESIZED) <= 1


@pytest.mark.parametrize("name", ["squeezenet1_1", "vit_b_16", "inception_v3"])
def test_the_transforms_of_torchvision_are_undone(name):
    found = Network.from_torchvision(name, weights=None)
    seen = input_picture(found, found.prepare(PHOTO))
    preset = get_model_weights(name).DEFAULT.transforms()
    picture = transforms.functional.resize(
        Image.fromarray(PHOTO), preset.resize_size, preset.interpolation
    )
    picture = transforms.functional.center_crop(picture, preset.crop_size)
    assert seen.exact
    assert off(seen.pixels, picture) <= 1


def test_the_configuration_of_timm_is_undone():
    timm = pytest.importorskip("timm")
    model = timm.create_model("vit_tiny_patch16_224", pretrained=False)
    assert model.pretrained_cfg["mean"] == (0.5, 0.5, 0.5)
    seen = input_picture(Network(model), Network(model).prepare(PHOTO))
    picture = Image.fromarray(PHOTO).resize((224, 224), Image.Resampling.BILINEAR)
    assert seen.exact
    assert off(seen.pixels, picture) <= 1


def test_the_demos_show_their_own_pictures():
    for demo in (nbviz.demos.digits(), nbviz.demos.scenes()):
        for image in demo.images[:3]:
            seen = input_picture(demo.network, demo.network.prepare(image))
            assert seen.exact
            assert seen.pixels.shape[2] == (1 if image.ndim == 2 else 3)
            assert off(seen.pixels, image) <= 1


def test_half_precision_is_within_a_level():
    found = network(*RESIZE, transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.25,) * 3))
    found.model.half()
    seen = input_picture(found, found.prepare(PHOTO))
    assert seen.exact
    assert off(seen.pixels, RESIZED) <= 1


def test_channels_in_another_order_are_put_right():
    swap = transforms.Lambda(lambda x: x[[2, 0, 1]] * 2 - 1)
    found = network(*RESIZE, transforms.ToTensor(), swap)
    seen = input_picture(found, found.prepare(PHOTO))
    assert seen.exact
    assert off(seen.pixels, RESIZED) <= 1


def test_a_colour_network_that_is_given_grey_shows_grey():
    found = network(*RESIZE, transforms.Grayscale(3), transforms.ToTensor())
    seen = input_picture(found, found.prepare(PHOTO))
    assert seen.exact
    assert off(seen.pixels, RESIZED.convert("L").convert("RGB")) <= 1


def test_padding_does_not_hide_the_scale():
    found = network(transforms.Resize((40, 40)), transforms.Pad(12, 90), transforms.ToTensor())
    found.prepare(PHOTO)
    seen = input_picture(found, found.prepare(PHOTO))
    assert (seen.pixels[:12] == 90).all()
    assert off(seen.pixels[12:-12, 12:-12], Image.fromarray(PHOTO).resize((40, 40), 2)) <= 1


def test_brightness_that_is_bent_is_shown_and_said():
    found = network(*RESIZE, transforms.ToTensor(), transforms.Lambda(lambda x: x**2))
    seen = input_picture(found, found.prepare(PHOTO))
    assert not seen.exact
    assert "no plain scaling" in seen.note
    assert off(seen.pixels, (np.asarray(RESIZED) / 255) ** 2 * 255) <= 2


def test_an_input_that_no_picture_gives_is_stretched_and_said():
    found = network(*RESIZE, transforms.ToTensor())
    batch = torch.zeros(1, 3, 4, 5)
    batch[0, 0] = torch.linspace(-30, 50, 20).view(4, 5)
    batch[0, 1] = 7
    batch[0, 2, 0, 0] = 1e-3
    seen = input_picture(found, batch)
    assert not seen.exact
    assert "no picture gives" in seen.note
    expected = np.zeros((4, 5, 3))
    expected[..., 0] = np.linspace(0, 255, 20).reshape(4, 5)
    expected[0, 0, 2] = 255
    assert off(seen.pixels, expected) <= 1


def test_a_little_too_bright_is_white_and_said():
    found = network(*RESIZE, transforms.ToTensor())
    batch = torch.full((1, 3, 4, 5), 0.5)
    batch[0, 0, 0, :2] = torch.tensor([1.1, -0.05])
    seen = input_picture(found, batch)
    assert (seen.exact, seen.pixels[0, 0, 0], seen.pixels[0, 1, 0]) == (False, 255, 0)
    assert seen.note.startswith("2 values")
    assert off(seen.pixels[1:], np.full((3, 5, 3), 127.5)) <= 1


def test_nan_and_infinity_are_black_and_counted():
    found = network(*RESIZE, transforms.ToTensor())
    batch = found.prepare(PHOTO).clone()
    batch[0, 1, 2, 3] = torch.nan
    batch[0, 0, 5, 5] = torch.inf
    seen = input_picture(found, batch)
    assert not seen.exact
    assert seen.note.startswith("2 values that are NaN or infinite")
    assert (seen.pixels[2, 3, 1], seen.pixels[5, 5, 0]) == (0, 0)
    kept = np.asarray(RESIZED).copy()
    kept[2, 3, 1] = kept[5, 5, 0] = 0
    assert off(seen.pixels, kept) <= 1
    everything = input_picture(found, torch.full((1, 3, 4, 4), torch.nan))
    assert (everything.pixels == 0).all()
    with_stretching = torch.full((1, 5, 4, 4), torch.nan)
    assert (input_picture(found, with_stretching).pixels == 0).all()


@pytest.mark.parametrize("channels", [2, 4, 12])
def test_of_other_channels_the_first_is_shown_and_said(channels):
    found = network(channels=channels)
    batch = torch.linspace(-1, 1, channels * 30).view(1, channels, 5, 6)
    seen = input_picture(found, batch)
    assert seen.pixels.shape == (5, 6, 1)
    assert f"the first of {channels} channels" in seen.note
    assert off(seen.pixels, np.linspace(0, 255, 30).reshape(5, 6)) <= 1


def test_a_transform_that_fails_on_plain_pictures_is_no_obstacle():
    def transform(picture):
        if np.asarray(picture).std() == 0:
            raise ZeroDivisionError("no contrast")
        return transforms.functional.to_tensor(picture.resize((8, 8)))

    found = Network(nn.Conv2d(3, 2, 3), transform, input_shape=(3, 8, 8))
    seen = input_picture(found, found.prepare(PHOTO))
    assert not seen.exact
    assert "cannot be undone" in seen.note
    assert (seen.pixels.min((0, 1)) == 0).all()
    assert (seen.pixels.max((0, 1)) == 255).all()


def test_the_transform_is_asked_once_and_again_when_it_changes():
    calls = []

    class Scaled:
        def __init__(self, scale):
            self.scale = scale

        def __call__(self, picture):
            calls.append(self.scale)
            return transforms.functional.to_tensor(picture.resize((8, 8))) * self.scale

    found = Network(nn.Conv2d(3, 2, 3), Scaled(1), input_shape=(3, 8, 8))
    grey = torch.full((1, 3, 8, 8), 0.5)
    for _ in range(3):
        assert input_picture(found, grey).pixels[0, 0, 0] in (127, 128)
    assert calls == [1, 1, 1]
    found.transform = Scaled(2)
    assert input_picture(found, grey).pixels[0, 0, 0] in (63, 64)
    assert calls == [1, 1, 1, 2, 2, 2]


def test_random_transforms_leave_the_persons_random_numbers_alone():
    found = network(*RESIZE, transforms.RandomHorizontalFlip(), transforms.ToTensor())
    batch = found.prepare(PHOTO)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    assert input_picture(found, batch).exact
    assert torch.equal(torch.rand(1), expected)


def test_a_network_is_freed_after_it_was_looked_at():
    found = network(*RESIZE, transforms.ToTensor())
    input_picture(found, found.prepare(PHOTO))
    reference = weakref.ref(found)
    del found
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize("shape", [(3, 8, 8), (0, 3, 8, 8), (1, 10)])
def test_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"expected an input of shape \(1, channels"):
        input_picture(network(), torch.zeros(shape))
