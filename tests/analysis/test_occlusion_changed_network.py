"""An occlusion map is of one network: one that changes between two steps is told, not mixed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from nbviz.analysis.masked_inference import masked_inference
from nbviz.analysis.occlusion import evidence, occlusion_map, occlusion_steps
from nbviz.network import Network

SIDE = 32


@pytest.fixture
def network():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(96, 4),
    )
    return Network(model, input_shape=(3, SIDE, SIDE))


@pytest.fixture(autouse=True)
def every_batch(monkeypatch):
    monkeypatch.setattr("nbviz.analysis.occlusion_survey._SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr("nbviz.analysis.occlusion_survey._COPYING", 0)


def trained_on(model):
    with torch.no_grad():
        model[0].weight.mul_(2)


def replaced(model):
    model[1] = nn.Tanh()


def hooked(model):
    model[2].register_forward_hook(lambda module, given, maps: maps + 1)


def rebound(model):
    model[6].bias.data = model[6].bias.data.flip(0)


@pytest.mark.parametrize("way", ["plain", "incremental"])
@pytest.mark.parametrize("change", [trained_on, replaced, hooked, rebound])
def test_a_network_that_changes_between_two_steps_ends_the_map(network, change, way):
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    settings = {"size": 6, "stride": 2, "fill": "black", "way": way}
    whole = occlusion_map(network, image, **settings)
    assert whole.way.endswith(way)
    steps = occlusion_steps(network, image, **settings)
    latest = next(steps)
    change(network.model)
    with pytest.raises(RuntimeError, match=r"changed; start anew"):
        for _ in steps:
            pass
    there = latest.state == 1
    assert 0 < there.sum() < there.size
    np.testing.assert_allclose(latest.logits[there], whole.logits[there], atol=1e-5)
    assert "of the positions have been asked" in evidence(latest).verdict
    # anew, it is of the network as it is
    anew = occlusion_map(network, image, 0, **{**settings, "way": "plain"})
    masked = network.prepare(image)
    masked[:, :, 4:10, 8:14] = 0
    assert anew.complete
    np.testing.assert_allclose(anew.logits[2, 4], network(masked)[0], atol=1e-4)


def test_no_answer_of_the_changed_network_gets_in(network, monkeypatch):
    """The change comes while a batch is under way."""
    batch = network.prepare(np.zeros((SIDE, SIDE, 3), np.uint8) + 90)
    inference = masked_inference(network, batch, way="plain")
    run, asked = inference.run, []

    def changing(boxes):
        for answers in run(boxes):
            asked.append(len(answers.numbers))
            if len(asked) == 2:
                trained_on(network.model)
            yield answers

    monkeypatch.setattr(inference, "run", changing)
    steps = occlusion_steps(network, batch, size=6, stride=2, fill="grey", inference=inference)
    computed = []
    with pytest.raises(RuntimeError, match="network"):
        computed.extend(int((one.state == 1).sum()) for one in steps)
    assert computed[-1] == asked[0]


def test_passes_of_others_between_two_steps_change_nothing(network):
    image = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    steps = occlusion_steps(network, image, size=8, stride=4)
    for _ in steps:
        network(network.prepare(image))
        network.model.train(not network.model.training)
        network.model(network.prepare(image)).sum().backward()
        latest = occlusion_map(network, image, size=16, stride=16)
    assert latest.complete
