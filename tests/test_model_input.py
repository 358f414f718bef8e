"""What a model takes: every kind of picture prepared, and the shape of its input found."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from fixtures.networks import IMAGE, conv
from PIL import Image
from torch import nn

from nbviz import Network

PICTURE = np.arange(30 * 40 * 3, dtype=np.uint32).reshape(30, 40, 3).astype(np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(PICTURE),
        Image.fromarray(PICTURE).convert("L"),
        Image.fromarray(PICTURE).convert("RGBA"),
        Image.fromarray(PICTURE).convert("P"),
        PICTURE,
        PICTURE[..., 0],
        np.concatenate([PICTURE, PICTURE[..., :1]], 2),
        PICTURE[::-1, ::2],
        torch.from_numpy(PICTURE).permute(2, 0, 1),
        torch.zeros(3, 24, 20),
        torch.zeros(1, 3, 24, 20, dtype=torch.float64),
    ],
    ids=[
        "PIL", "grey PIL", "RGBA PIL", "palette PIL", "array", "grey array", "RGBA array",
        "array of odd strides", "uint8 tensor", "float tensor", "batch of one",
    ],
)  # fmt: skip
def test_every_kind_of_image_is_prepared(image):
    for channels in (3, 1):
        if isinstance(image, torch.Tensor) and image.is_floating_point() and channels == 1:
            continue
        prepared = Network(conv((channels, 2)), input_shape=(channels, 24, 20)).prepare(image)
        assert prepared.shape == (1, channels, 24, 20)
        assert prepared.dtype == torch.float32
        assert 0 <= prepared.min() <= prepared.max() <= 1


def test_pixels_of_the_right_size_are_kept_and_transparency_is_white():
    network = Network(conv(), input_shape=(3, 30, 40))
    expected = torch.from_numpy(PICTURE).permute(2, 0, 1)[None] / 255
    assert torch.equal(network.prepare(PICTURE), expected)
    clear = np.zeros((30, 40, 4), np.uint8)
    assert network.prepare(clear).min() == 1


def test_a_transform_gets_a_picture_and_is_used_as_it_is():
    seen = []

    def transform(picture):
        seen.append((type(picture), picture.mode))
        return torch.full((3, 24, 20), 0.25)

    network = Network(conv(), transform, input_shape=IMAGE)
    assert network.prepare(PICTURE).unique().tolist() == [0.25]
    assert network.prepare(PICTURE[..., 0]).shape == (1, *IMAGE)
    assert seen == [(Image.Image, "RGB"), (Image.Image, "RGB")]
    processor = Network(conv(), lambda picture: {"pixel_values": [np.ones(IMAGE, np.float32)]})
    assert processor.prepare(PICTURE).shape == (1, *IMAGE)


@pytest.mark.parametrize(
    ("image", "error", "advice"),
    [
        ("cat.jpg", TypeError, "PIL.Image.open"),
        (PICTURE / 255, TypeError, "uint8.*float64"),
        (PICTURE.transpose(2, 0, 1), ValueError, "colour comes last"),
        (torch.zeros(2, 3, 24, 20), ValueError, "one by one"),
        (torch.zeros(24, 20), ValueError, "channels, height, width"),
    ],
    ids=["path", "float array", "channels first", "batch", "no channels"],
)
def test_what_is_no_image_is_refused_with_advice(image, error, advice):
    with pytest.raises(error, match=advice):
        Network(conv(), input_shape=IMAGE).prepare(image)


def test_a_transform_that_gives_no_tensor_is_named():
    with pytest.raises(TypeError, match="ToTensor"):
        Network(conv(), lambda picture: picture).prepare(PICTURE)
    with pytest.raises(TypeError, match="sequence of names"):
        Network(conv(), classes="cat")


RAMP = np.linspace(0, 65535, 30 * 40).reshape(30, 40)


def opened(values, mode):
    """A picture as Pillow opens it from a file of 16 bits."""
    file = io.BytesIO()
    Image.fromarray(values.astype(np.uint16)).save(file, "PNG")
    return Image.open(file) if mode == "file" else Image.open(file).convert(mode)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "picture",
    [
        opened(RAMP, "file"),
        opened(RAMP, "I"),
        Image.frombytes("I;16B", (40, 30), RAMP.astype(">u2").tobytes()),
        Image.frombytes("I;16", (40, 30), RAMP.astype("<u2").tobytes()),
    ],
    ids=["file", "I", "I;16B", "I;16"],
)
def test_sixteen_bits_span_the_range_from_black_to_white(picture, channels):
    network = Network(conv((channels, 2)), input_shape=(channels, 30, 40))
    prepared = network.prepare(picture)
    for plane in prepared[0]:
        # Half a level of 8 bits.
        np.testing.assert_allclose(plane, RAMP / 65535, rtol=0, atol=0.5 / 255 + 1e-4)


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (Image.fromarray(np.float32(RAMP / 65535)), "mode 'F'.*0 to 1;.*uint8.*float tensor"),
        (Image.fromarray(np.int32(RAMP * 2)), "mode 'I'.*131070"),
        (Image.fromarray(np.int32(RAMP - 1)), "mode 'I'.*-1"),
    ],
    ids=["float", "more than 16 bits", "negative"],
)
def test_a_picture_of_unknown_range_is_refused_with_advice(picture, said):
    for transform in (None, lambda picture: torch.zeros(3, 24, 20)):
        with pytest.raises(ValueError, match=said):
            Network(conv(), transform, input_shape=IMAGE).prepare(picture)


class Failing(nn.Module):
    """A perceptron whose forward pass fails, always in the same words or not."""

    def __init__(self, say, tally):
        super().__init__()
        self.first, self.say, self.tally = nn.Linear(784, 10), say, tally

    def forward(self, x):
        self.tally(x)
        raise self.say(x)


@pytest.mark.parametrize(
    ("say", "most"),
    [
        (lambda x: TypeError("forward() takes 3 images"), 3),
        (lambda x: NotImplementedError(), 3),
        (lambda x: RuntimeError(f"cannot multiply {tuple(x.shape)}"), 100),
        (lambda x: AssertionError("wrong size"), 100),
    ],
    ids=["signature", "not written", "sizes", "a check"],
)
def test_a_model_that_fails_for_another_reason_is_not_run_on_every_shape(say, most):
    runs = []
    model = Failing(say, runs.append)
    with pytest.raises(ValueError, match="pass input_shape"):
        _ = Network(model).input_shape
    assert len(runs) == most if most == 3 else len(runs) > 20
