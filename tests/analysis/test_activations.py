"""Feature maps as arrays: how outputs are laid out, what is refused, and that the copy is one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fixtures.networks import IMAGE, SMALL, Attention, DataDependent, Forward, chain, conv, zoo
from PIL import Image
from torch import nn

from nbviz import Network
from nbviz.analysis.activations import Activation, activations, drawable
from nbviz.analysis.capture import capture
from nbviz.analysis.layers import UnknownLayerError


def image(shape=IMAGE, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def laid_out_plainly(layer, value):
    """Maps, channel by channel and place by place."""
    raw = value[0].float().numpy()
    channels = layer.channels
    if layer.layout == "vector":
        return raw.reshape(channels, 1, 1)
    if layer.layout == "signal":
        return raw.reshape(channels, 1, -1)
    if layer.layout == "maps":
        return raw
    if layer.layout == "tokens" and layer.grid is None:
        return np.stack([raw[:, c] for c in range(channels)])[:, None]
    rows, cols = layer.grid
    maps = np.empty((channels, rows, cols), np.float32)
    for c in range(channels):
        for r in range(rows):
            for k in range(cols):
                if layer.layout == "maps_last":
                    maps[c, r, k] = raw[r, k, c]
                else:
                    maps[c, r, k] = raw[layer.prefix_tokens + r * cols + k, c]
    return maps


@pytest.mark.parametrize("name", SMALL)
def test_every_layout_is_laid_out_place_by_place(name):
    make, shape = SMALL[name]
    torch.manual_seed(1)
    network = Network(make().eval(), input_shape=shape)
    given = image(shape)
    answers = activations(network, given)
    drawn = [layer for layer in network.layers if drawable(layer) is None]
    assert list(answers) == [layer.name for layer in drawn]
    raw = capture(network, given[None], list(answers)).values
    for layer in drawn:
        answer = answers[layer.name]
        assert answer.layer is layer
        assert answer.maps.dtype == np.float32
        assert answer.maps.flags.c_contiguous
        np.testing.assert_array_equal(answer.maps, laid_out_plainly(layer, raw[layer.name]))
        assert answer.prefix.shape == (layer.prefix_tokens, layer.channels)
        assert answer.suffix.shape == (0, layer.channels)


@pytest.mark.parametrize("registers", [0, 3])
def test_class_and_register_tokens_lie_apart(registers):
    network = Network(Attention(registers=registers), input_shape=IMAGE)
    answer = activations(network, image(), "norm")["norm"]
    raw = capture(network, image()[None], ["norm"]).values["norm"][0].numpy()
    assert answer.maps.shape == (8, 6, 5)
    np.testing.assert_array_equal(answer.prefix, raw[: 1 + registers])


def _tokens_behind(net, x):
    tokens = net.patches(x).flatten(2).transpose(1, 2)
    tokens = torch.cat([tokens, net.extra.expand(len(x), -1, -1)], 1)
    return net.norm(tokens).mean(1)


def test_tokens_behind_the_grid_are_not_lost():
    model = Forward(_tokens_behind, patches=nn.Conv2d(3, 8, 4, 4), norm=nn.LayerNorm(8))
    model.extra = nn.Parameter(torch.randn(1, 2, 8))
    network = Network(model, input_shape=IMAGE)
    answer = activations(network, image(), "norm")["norm"]
    raw = capture(network, image()[None], ["norm"]).values["norm"][0].numpy()
    if answer.layer.grid is not None:
        np.testing.assert_array_equal(answer.suffix, raw[30:])
    assert answer.maps.size + answer.suffix.size == raw.size


def test_a_window_transformer_has_its_channels_first():
    network = Network(zoo("swin_t"), input_shape=(3, 64, 64))
    answer = activations(network, image((3, 64, 64)), "features.0.2")["features.0.2"]
    assert answer.layer.layout == "maps_last"
    assert answer.maps.shape == (96, 16, 16)


def test_a_layer_that_cannot_be_drawn_says_why():
    make, shape = SMALL["windows"]
    network = Network(make(), input_shape=shape)
    layer = network.layers["scaled_dot_product_attention"]
    assert "no maps, tokens or vector" in drawable(layer)
    with pytest.raises(ValueError, match=r"'scaled_dot_product_attention': its output .* x 4"):
        activations(network, image(shape), layer.name)
    assert layer.name not in activations(network, image(shape))


def test_what_is_given_is_a_copy():
    network = Network(chain(nn.Identity(), conv(), nn.ReLU(inplace=True)), input_shape=IMAGE)
    given = image()
    answers = activations(network, given)
    kept = {name: answer.maps.copy() for name, answer in answers.items()}
    given.zero_()
    activations(network, image(seed=1))
    for name, answer in answers.items():
        np.testing.assert_array_equal(answer.maps, kept[name])
        answer.maps[:] = 0
    np.testing.assert_array_equal(answers["1"].maps.clip(0), answers["2"].maps)
    assert activations(network, image(), ["1"])["1"].maps.min() < 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_come_as_float32(dtype):
    torch.manual_seed(2)
    model = chain(conv(), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 22 * 18, 3))
    exact = activations(Network(model, input_shape=IMAGE), image(), "3")["3"].maps
    network = Network(model.to(dtype), input_shape=IMAGE)
    answer = activations(network, image(), ["0", "3"])
    assert answer["0"].maps.dtype == np.float32
    # a sum over 1584 values at about 3 digits (bfloat16)
    tolerance = 0.05 if dtype == torch.bfloat16 else 5e-3
    np.testing.assert_allclose(answer["3"].maps, exact, atol=tolerance)


class Broken(nn.Module):
    def forward(self, x):
        x = x.clone()
        x[:, 0, 1, 2], x[:, 1, 0, 0], x[:, 1, 0, 1] = torch.nan, torch.inf, -torch.inf
        return x


def test_what_is_not_finite_stays_and_is_counted():
    network = Network(chain(conv(), Broken(), nn.Sigmoid()), input_shape=IMAGE)
    layer = network.layers.names[-1]
    before = [name for name in network.layers.names if name != layer][-1]
    numbers = activations(network, image(), before)[before].statistics
    answer = activations(network, image(), layer)[layer]
    assert answer.statistics.nonfinite.tolist() == [1, 0, 0, 0]
    assert np.isnan(answer.maps[0, 1, 2])
    assert answer.maps[1, 0, :2].tolist() == [1, 0]
    assert np.isfinite(answer.statistics.peak).all()
    assert numbers is not answer.statistics
    assert answer.statistics is answer.statistics


def test_complex_values_are_refused_with_advice_and_left_out_of_all():
    model = Forward(lambda net, x: torch.complex(net.conv(x), net.conv(x)).abs(), conv=conv())
    network = Network(model, input_shape=IMAGE)
    with pytest.raises(TypeError, match=r"'complex' returns complex.*magnitude"):
        activations(network, image(), "complex")
    assert list(activations(network, image())) == ["conv", "conv:1", "abs"]


def test_images_are_taken_as_the_network_takes_them():
    network = Network(chain(conv(), nn.ReLU()), input_shape=IMAGE)
    picture = Image.fromarray(np.random.default_rng(3).integers(0, 255, (24, 20, 3), np.uint8))
    prepared = network.prepare(picture)
    expected = activations(network, prepared, "1")["1"].maps
    for given in (picture, np.asarray(picture), prepared[0], prepared):
        np.testing.assert_array_equal(activations(network, given, "1")["1"].maps, expected)
    np.testing.assert_array_equal(activations(network, prepared)["1"].maps, expected)


@pytest.mark.parametrize("shape", [(2, 30), (7,)])
def test_signals_and_vectors_are_taken_with_and_without_a_batch(shape):
    model = nn.Conv1d(2, 3, 3) if len(shape) == 2 else nn.Linear(7, 3)
    network = Network(chain(model), input_shape=shape)
    one, batch = (activations(network, given, "0") for given in (image(shape), image(shape)[None]))
    np.testing.assert_array_equal(one["0"].maps, batch["0"].maps)
    assert one["0"].maps.shape == ((3, 1, 28) if len(shape) == 2 else (3, 1, 1))


@pytest.mark.parametrize(
    ("given", "error", "advice"),
    [
        (torch.zeros(3, 30, 20), ValueError, r"expected an input of shape \(3, 24, 20\).*\(3, 30"),
        (torch.zeros(2, *IMAGE), ValueError, "one image"),
        (torch.zeros(24, 20), ValueError, "one image"),
        ("cat.png", TypeError, "PIL"),
        (np.zeros(IMAGE, np.float32), TypeError, "uint8"),
    ],
)
def test_what_is_no_image_for_the_network_is_refused(given, error, advice):
    network = Network(chain(conv()), input_shape=IMAGE)
    with pytest.raises(error, match=advice):
        activations(network, given)


def test_a_wrong_layer_offers_the_nearest():
    network = Network(chain(conv(), nn.ReLU()), input_shape=IMAGE)
    with pytest.raises(UnknownLayerError, match="got '2'"):
        activations(network, image(), ["0", "2"])


def test_layers_of_another_way_are_left_out_of_all_and_refused_by_name():
    torch.manual_seed(4)
    network = Network(DataDependent(), input_shape=IMAGE)
    (taken,) = {"dark", "bright"} & {*network.layers.names}
    other = torch.full(IMAGE, -1.0 if taken == "bright" else 1.0)
    assert taken not in activations(network, other)
    with pytest.raises(ValueError, match="another way"):
        activations(network, other, taken)


def test_a_bare_module_will_do_and_bytes_are_counted():
    model = chain(conv(), nn.ReLU())
    answer = activations(Network(model, input_shape=IMAGE), image(), "0")["0"]
    assert isinstance(answer, Activation)
    assert answer.nbytes == 4 * 4 * 22 * 18 + 4 * 41
    assert activations(model, torch.zeros(3, 224, 224), "0")["0"].maps.shape == (4, 222, 222)
