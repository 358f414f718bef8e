"""Channels that answer to one picture as to few others, against all activations of all pictures."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from fixtures.networks import IMAGE, SMALL, DataDependent, chain, conv
from torch import nn

from nbviz import Network
from nbviz.analysis.activations import activations
from nbviz.analysis.answering_channels import Answer, answering_channels
from nbviz.analysis.data_pass import DataPass
from nbviz.analysis.layers import UnknownLayerError
from nbviz.analysis.map_layout import drawable
from nbviz.analysis.receptive_field import Box
from nbviz.analysis.unit_places import unit_centres
from nbviz.analysis.unit_statistics.settings import PassSettings

IMAGES = 40


class Exact:
    """The peaks of all images, kept."""

    def __init__(self, peaks) -> None:
        self.peaks = np.asarray(peaks, np.float32)  # (images, channels)

    def peak_share_above(self, values):
        return (self.peaks > values).mean(0)


@cache
def scanned(name: str):
    torch.manual_seed(1)
    make, shape = SMALL[name]
    network = Network(make(), input_shape=shape)
    pictures = torch.randn(IMAGES, *shape)
    pictures[::7, :, 8:16, 5:12] *= 6  # an object, for some
    layers = [layer.name for layer in network.layers if drawable(layer) is None]
    maps = [activations(network, picture, layers) for picture in pictures]
    statistics = {
        layer: Exact([found[layer].maps.max((1, 2)) for found in maps]) for layer in layers
    }
    return network, pictures, layers, maps, statistics


def plain_answers(network, found, layers, statistics, box, quantile) -> list[Answer]:
    answers = []
    for number, name in enumerate(layers):
        layer = network.layers[name]
        if box is not None and layer.grid is None:
            continue
        rows, cols = unit_centres(layer)
        for channel, values in enumerate(found[name].maps):
            places = list(np.ndindex(values.shape))
            if box is not None:
                sides = (box.top, box.bottom), (box.left, box.right)
                inside = [
                    chosen(centres, *side)
                    for centres, side in zip((rows, cols), sides, strict=True)
                ]
                places = [at for at in places if at[0] in inside[0] and at[1] in inside[1]]
            row, col = max(places, key=lambda at: (values[at], -at[0], -at[1]))
            peaks = statistics[name].peaks[:, channel]
            # All but a share 1 - quantile of the images answer less.
            if (peaks < values[row, col]).mean() >= quantile - 1e-9:
                share = float((peaks > values[row, col]).mean())
                answer = Answer(name, channel, float(values[row, col]), row, col, share)
                answers.append((share, number, channel, answer))
    return [answer for *_, answer in sorted(answers, key=lambda each: each[:3])]


def chosen(centres, start: int, end: int) -> list[int]:
    inside = [i for i, centre in enumerate(centres) if start <= centre < end]
    middle = (start + end) / 2
    return inside or [min(range(len(centres)), key=lambda i: abs(centres[i] - middle))]


@pytest.mark.parametrize("name", ["plain", "branches", "classifier", "attention", "rolled"])
@pytest.mark.parametrize("box", [None, Box(4, 3, 15, 12), Box(11, 7, 12, 8)])
@pytest.mark.parametrize("quantile", [0.5, 0.9])
def test_answers_are_those_of_all_activations(name, box, quantile):
    network, pictures, layers, maps, statistics = scanned(name)
    total = 0
    for number in range(0, IMAGES, 7):
        found = answering_channels(network, statistics, pictures[number], box, layers, quantile)
        assert found == plain_answers(network, maps[number], layers, statistics, box, quantile)
        total += len(found)
    assert total > 0


def test_a_batch_of_one_is_one_picture():
    network, pictures, layers, _, statistics = scanned("plain")
    one = answering_channels(network, statistics, pictures[0], None, layers, 0.5)
    assert one == answering_channels(network, statistics, pictures[:1], None, layers, 0.5)
    with pytest.raises(ValueError, match="one picture, got a batch of 2"):
        answering_channels(network, statistics, pictures[:2], None, layers)


def test_a_picture_among_a_hundred_can_be_the_one():
    network = Network(chain(nn.Identity()), input_shape=(1, 2, 2))
    statistics = {"0": Exact(np.arange(100)[:, None])}
    for value, answers in ((99, True), (98, False), (98.5, True)):
        picture = torch.full((1, 2, 2), float(value))
        found = answering_channels(network, statistics, picture, None, ["0"])
        assert [answer.share_above for answer in found] == ([float(value == 98.5) / 100] * answers)


def test_silence_is_no_answer():
    """A channel silent for nearly all images is at its usual when it is silent."""
    network = Network(chain(nn.ReLU()), input_shape=(2, 2, 2))
    peaks = np.zeros((1000, 2))
    peaks[:2] = 3
    picture = torch.zeros(2, 2, 2)
    statistics = {"0": Exact(peaks)}
    assert answering_channels(network, statistics, picture, None, ["0"]) == []
    picture[1, 0, 1] = 0.1
    found = answering_channels(network, statistics, picture, None, ["0"])
    assert [(answer.channel, answer.col) for answer in found] == [(1, 1)]


def test_a_channel_that_was_never_above_zero_does_not_answer_with_zero():
    """With the statistics of a scan, which count bins, and not with all peaks kept."""
    network = Network(chain(nn.ReLU()), input_shape=(3, 2, 2))
    data_pass = DataPass(network, PassSettings(("0",), top_k=4, features=None))
    pictures = torch.zeros(200, 3, 2, 2)
    pictures[:, 1] = torch.rand(200, 2, 2)
    pictures[7, 2] = 1.0
    data_pass.add(pictures, range(200), [None] * 200)
    statistics = data_pass.finish()[1]
    picture = torch.zeros(3, 2, 2)
    assert answering_channels(network, statistics, picture, None, ["0"]) == []
    picture[0] = 1e-30
    found = answering_channels(network, statistics, picture, None, ["0"])
    assert [(answer.channel, answer.share_above) for answer in found] == [(0, 0.0)]


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
def test_a_channel_that_is_not_finite_is_not_among_them(broken):
    network = Network(chain(nn.Identity()), input_shape=(2, 4, 4))
    picture = torch.ones(2, 4, 4)
    picture[0, 3, 3] = broken
    for box in (None, Box(0, 0, 2, 2)):
        statistics = {"0": Exact(np.zeros((10, 2)))}
        found = answering_channels(network, statistics, picture, box, ["0"])
        assert [answer.channel for answer in found] == [1]


def test_no_images_no_answers():
    class Nothing:
        def peak_share_above(self, values):
            return np.full(len(values), np.nan)

    network = Network(chain(nn.Identity()), input_shape=(2, 4, 4))
    picture = torch.ones(2, 4, 4)
    assert answering_channels(network, {"0": Nothing()}, picture, None, ["0"]) == []


def test_a_layer_that_does_not_run_answers_nothing():
    network = Network(DataDependent(), input_shape=IMAGE)
    statistics = {name: Exact(np.full((10, 4), -9)) for name in ("dark", "bright")}
    ran = [name for name in ("dark", "bright") if name in network.layers.names]
    for sign in (-1, 1):
        picture = torch.randn(IMAGE) * 0.1 + sign
        found = answering_channels(network, statistics, picture, None, ran)
        runs = (sign > 0) == (ran[0] == "bright")
        assert {answer.layer for answer in found} == (set(ran) if runs else set())


def test_the_model_is_left_as_it_was():
    model = chain(conv(), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
    network = Network(model, input_shape=IMAGE)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    statistics = {"1": Exact(np.full((10, 4), -9))}
    found = answering_channels(network, statistics, torch.ones(IMAGE), Box(0, 0, 9, 9), ["1"])
    assert len(found) == 4
    assert all(module.training for module in model.modules())
    assert torch.equal(state, torch.get_rng_state())
    assert not any(module._forward_hooks for module in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(before[name], value)


def test_errors_say_what_was_expected():
    network = Network(chain(conv()), input_shape=IMAGE)
    statistics = {"0": Exact(np.zeros((10, 4)))}
    picture = torch.zeros(IMAGE)
    with pytest.raises(UnknownLayerError, match="got '1'"):
        answering_channels(network, statistics, picture, None, ["1"])
    with pytest.raises(ValueError, match=r"quantile from 0 to 1, got 99"):
        answering_channels(network, statistics, picture, None, ["0"], 99)
    for box in (Box(0, 0, 25, 5), Box(4, 4, 4, 9), Box(-1, 0, 3, 3)):
        with pytest.raises(ValueError, match="with pixels of the picture of 24 x 20"):
            answering_channels(network, statistics, picture, box, ["0"])
