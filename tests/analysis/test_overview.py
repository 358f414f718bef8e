"""The strongest map of every layer, against loops over all channels and all pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fixtures.networks import IMAGE, Attention, Forward, chain, conv
from torch import nn

from nbviz import Network
from nbviz.analysis.activation_store import ActivationStore
from nbviz.analysis.activations import activations, drawable
from nbviz.analysis.overview import thumbnails


def batch(seed=0, shape=IMAGE):
    return torch.randn((1, *shape), generator=torch.Generator().manual_seed(seed))


def by_loops(answer):
    """Channel and value of the largest finite value, one channel at a time."""
    best = (0, float("nan"))
    for channel, values in enumerate(answer.maps):
        finite = values[np.isfinite(values)]
        if len(finite) and not finite.max() <= best[1]:
            best = channel, float(finite.max())
    return best


def reduced_by_loops(values):
    """A map averaged down to 32 pixels a side, and in bytes, one pixel at a time."""
    longer = max(values.shape)
    shape = [n if longer <= 32 else max(1, round(n * 32 / longer)) for n in values.shape]
    small = np.empty(shape)
    for i in range(shape[0]):
        for j in range(shape[1]):
            top, left = i * values.shape[0] // shape[0], j * values.shape[1] // shape[1]
            bottom = -(-(i + 1) * values.shape[0] // shape[0])
            right = -(-(j + 1) * values.shape[1] // shape[1])
            part = values[top:bottom, left:right].astype(np.float64)
            part = part[np.isfinite(part)]
            small[i, j] = part.mean() if part.size else np.nan
    low, high = np.nanmin(small, initial=np.inf), np.nanmax(small, initial=-np.inf)
    scaled = (small - low) / (high - low) * 255 if high > low else np.zeros_like(small)
    return np.nan_to_num(scaled)


def check_overview(network, seen, answers):
    assert list(seen.overview) == list(answers)
    for name, strongest in seen.overview.items():
        channel, value = by_loops(answers[name])
        assert strongest.value == pytest.approx(value, rel=1e-5, abs=1e-6, nan_ok=True)
        maps = answers[name].maps
        peak = maps[strongest.channel][np.isfinite(maps[strongest.channel])].max(initial=-np.inf)
        if np.isfinite(value):
            assert peak == pytest.approx(value, rel=1e-5, abs=1e-6)
            assert strongest.channel == channel or maps[channel].max() <= peak * (1 + 1e-5)
        one_place = maps.shape[1:] == (1, 1)
        picture = maps[:, :, 0].T if one_place else maps[strongest.channel]
        expected = reduced_by_loops(picture)
        assert strongest.thumbnail.dtype == np.uint8
        assert strongest.thumbnail.shape == expected.shape
        assert max(strongest.thumbnail.shape) <= 32
        # one level: averages in float32 may round to the other side
        np.testing.assert_allclose(strongest.thumbnail, expected, atol=1)


def test_the_strongest_channel_leaves_out_tokens_before_the_grid():
    torch.manual_seed(7)
    model = Attention()
    model.extra.data.fill_(100.0)  # the class token would win in every layer
    model.extra.data[..., 3] = 1000.0
    network = Network(model, input_shape=IMAGE)
    check_overview(
        network, ActivationStore(network).forward(batch()), activations(network, batch())
    )


class Spoiled(nn.Module):
    """Puts values that are not finite in the way of the strongest."""

    def __init__(self, channels, value) -> None:
        super().__init__()
        self.channels, self.value = channels, value

    def forward(self, x):
        x = x.clone()
        x[:, self.channels, 2, 3] = self.value
        return x


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("after", [nn.ReLU(), nn.ReLU(inplace=True), nn.Identity()])
def test_values_that_are_not_finite_do_not_count_as_strongest(value, after):
    torch.manual_seed(8)
    model = chain(conv(), Spoiled([0, 1, 2, 3], value), after, nn.MaxPool2d(2))
    network = Network(model, input_shape=IMAGE)
    check_overview(
        network, ActivationStore(network).forward(batch()), activations(network, batch())
    )


@pytest.mark.parametrize("pool", [nn.Identity(), nn.AdaptiveAvgPool2d(1)])
def test_a_layer_without_a_finite_value_has_no_strongest(pool):
    model = Forward(lambda net, x: net.pool(net.conv(x)) * np.nan, conv=conv(), pool=pool)
    network = Network(model, input_shape=IMAGE)
    last = ActivationStore(network).forward(batch()).overview["mul"]
    assert (last.channel, np.isnan(last.value), last.thumbnail.max()) == (0, True, 0)
    assert last.thumbnail.shape == ((1, 4) if isinstance(pool, nn.AdaptiveAvgPool2d) else (22, 18))


class NotARelu(nn.ReLU):
    """Named and built like one, and does something else."""

    def forward(self, x):
        return x.neg_()


NotARelu.__name__ = "ReLU"


def _written_between(net, x):
    x = net.conv(x)
    x[:, 2].fill_(50)  # no layer
    return net.relu(x)


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: net.relu(net.conv(x)),
        lambda net, x: F.relu_(net.conv(x)),
        lambda net, x: net.relu(net.conv(x) - 100),
        lambda net, x: net.odd(net.conv(x)),
        lambda net, x: net.relu(net.conv(x).neg_()),
        lambda net, x: F.relu_(net.conv(x)[:, 1:3]),
        _written_between,
    ],
)
def test_a_relu_in_place_has_its_own_strongest_channel(forward):
    torch.manual_seed(9)
    model = Forward(forward, conv=conv(), relu=nn.ReLU(inplace=True), odd=NotARelu())
    network = Network(model, input_shape=IMAGE)
    assert drawable(network.layers[-1]) is None
    check_overview(
        network, ActivationStore(network).forward(batch()), activations(network, batch())
    )


@pytest.mark.parametrize(
    "shape", [(70, 33), (33, 70), (32, 32), (64, 64), (5, 200), (1, 90), (1, 1)]
)
def test_thumbnails_are_averages_over_what_they_cover(shape):
    maps = torch.randn((3, *shape), generator=torch.Generator().manual_seed(10))
    for made, values in zip(thumbnails(maps), maps.numpy(), strict=True):
        np.testing.assert_allclose(made, reduced_by_loops(values), atol=1)
    maps[1, 0, 0] = torch.nan
    np.testing.assert_allclose(thumbnails(maps)[1], reduced_by_loops(maps[1].numpy()), atol=1)
