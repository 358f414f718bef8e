"""What reaches the browser of a trace: every number, small, and nothing that JSON cannot hold."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from nbviz.analysis.unit_trace import UnitTrace, unit_trace
from nbviz.network import Network
from nbviz.widgets import wire
from nbviz.widgets.trace_state import STATISTICS, trace_state
from tests.fixtures.networks import zoo


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def trace_of(model: nn.Module, shape: tuple[int, ...], layer: str, unit) -> UnitTrace:
    return unit_trace(Network(model.eval(), input_shape=shape), torch.randn(1, *shape), layer, unit)


def fields_of(packed: dict) -> dict:
    return {name: value for name, value in packed.items() if name != "buffers"}


@pytest.fixture
def trace() -> UnitTrace:
    model = nn.Sequential(nn.Conv2d(20, 4, (2, 3), padding=1), nn.BatchNorm2d(4), nn.ReLU())
    return trace_of(model, (20, 6, 7), "1", (2, 0, 3))


def test_every_number_of_a_trace_arrives(trace):
    packed = trace_state(trace)
    arrays = wire.unpack(packed)
    assert (packed["layer"], packed["unit"], packed["chosen"]) == ("1", [2, 0, 3], 1)
    cells, contributions = arrays["cells"], list(arrays["contributions"])
    channels = arrays["channels"]
    for i, (step, sent) in enumerate(zip(trace.steps, packed["steps"], strict=True)):
        expected = step.value, step.captured, step.bias, step.others.sum, step.difference
        assert tuple(arrays["numbers"][i]) == expected
        assert sent["operation"] == step.operation
        assert sent["others"] == step.others.count
        assert sent["inputs"] == sent["bars"] == len(step.contributions)
        np.testing.assert_array_equal(channels[: sent["bars"]], step.contributions)
        channels = channels[sent["bars"] :]
        for term, one in zip(step.terms, sent["terms"], strict=True):
            assert contributions.pop(0) == term.contribution
            for values in (term.patch, term.kernel, term.products):
                np.testing.assert_array_equal(cells[: values.size], values.ravel())
                cells = cells[values.size :]
            assert tuple(one["shape"]) == term.patch.shape
            assert (one["source"], one["channel"]) == (term.source, term.channel)
            assert tuple(one["fromUnit"]) == term.from_unit
            assert one["box"] == [term.box.top, term.box.left, term.box.bottom, term.box.right]
    assert cells.size == channels.size == len(contributions) == 0
    assert packed["steps"][0]["window"] == [-1, 2, 1, 5]
    assert packed["steps"][0]["mapSize"] == [6, 7]


def test_statistics_of_a_normalisation_arrive_and_other_steps_have_none(trace):
    statistics = wire.unpack(trace_state(trace))["statistics"]
    assert np.isnan(statistics[[0, 2]]).all()
    named = dict(zip(STATISTICS, statistics[1], strict=True))
    assert named == dict(trace.steps[1].statistics)


def test_nan_never_reaches_json():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(3, padding=1), nn.ReLU())
    with torch.no_grad():
        model[0].bias[1] = math.nan
    packed = trace_state(trace_of(model, (3, 8, 8), "1", (1, 0, 0)))
    json.dumps(fields_of(packed), allow_nan=False)
    assert np.isnan(wire.unpack(packed)["numbers"][0, 0])


@pytest.mark.parametrize(
    ("name", "layer", "unit"),
    [
        ("vgg11", "classifier.0", (3,)),  # 25088 features
        ("vgg11", "features.18", (3, 0, 0)),
        ("alexnet", "features.0", (3, 4, 5)),  # 11 x 11 kernels
        ("alexnet", "classifier.1", (3,)),
        ("mobilenet_v3_small", "features.1.block.1.avgpool", (3, 0, 0)),  # 56 x 56 values
    ],
)
def test_a_trace_is_a_few_tens_of_kilobytes(name, layer, unit):
    packed = trace_state(trace_of(zoo(name), (3, 224, 224), layer, unit))
    assert wire.payload_bytes(packed) + len(json.dumps(fields_of(packed))) < 40_000


def test_what_cannot_be_taken_apart_arrives_with_its_reason():
    packed = trace_state(trace_of(nn.Sequential(nn.LPPool2d(2, 2)), (3, 8, 8), "0", (1, 1, 1)))
    (step,) = packed["steps"]
    assert (step["operation"], step["terms"]) == ("other", [])
    assert "LPPool2d" in step["note"]
    assert step["sources"] == [""]
