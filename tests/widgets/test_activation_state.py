"""What reaches the view of an ActivationBrowser is what the analysis found, in valid JSON."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
from fixtures.attention import image, sharpened, small_swin
from fixtures.networks import Attention
from torch import nn

from nbviz import ActivationBrowser, Network
from nbviz.analysis.attention import attention_layers
from nbviz.analysis.head_maps import head_maps
from nbviz.widgets import wire
from nbviz.widgets.activation_state import attention_state


@pytest.mark.parametrize(
    ("value", "logit", "top"),
    [(np.nan, "NaN", "NaN"), (np.inf, "Infinity", "NaN"), (-np.inf, "-Infinity", 0.0)],
)
def test_logits_that_are_no_numbers_travel_as_json(value, logit, top):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 3))
    with torch.no_grad():
        model[2].bias[1] = float(value)
    there = ActivationBrowser(Network(model, input_shape=(3, 8, 8)), np.zeros((8, 8, 3), np.uint8))
    text = json.dumps(there.prediction, allow_nan=False)
    (found,) = json.loads(text)["top"]
    (odd,) = [guess for guess in found if guess["index"] == 1]
    assert (odd["logit"], odd["probability"]) == (logit, top)
    assert odd["name"] == "class 1"


def decoded(packed, side="a") -> np.ndarray:
    arrays = wire.unpack(packed)
    span = packed["high"] - packed["low"]
    low, high = (
        packed["low"] + arrays[end][:, None, None] / 65535 * span for end in ("low", "high")
    )
    return low + arrays[f"values_{side}"].astype(np.float64) / 255 * (high - low)


def test_places_outside_the_window_are_marked_in_the_view_and_counted_as_nothing():
    network = Network(small_swin(), input_shape=(3, 20, 20))
    name = attention_layers(network)[0].name
    found = head_maps(network, image(3, 20, 20), name)
    for query in range(found.maps.attention.queries):
        maps, _ = found.of_token(query)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            packed = attention_state([found], query, pictures=[0], asked={})
        assert packed["nonfinite"] == 0
        bits = np.unpackbits(wire.unpack(packed)["nonfinite_a"], count=maps.size, bitorder="little")
        outside = np.isnan(maps)
        np.testing.assert_array_equal(bits.reshape(maps.shape), outside)
        assert outside.any()
        assert np.abs(decoded(packed) - maps)[~outside].max(initial=0) <= 1 / 510 + 1 / 65535


def test_a_query_that_sees_no_place_at_all_is_shown_as_such():
    torch.manual_seed(0)
    network = Network(sharpened(Attention()), input_shape=(3, 24, 20))
    with torch.no_grad():
        for parameter in network.model.parameters():
            parameter.fill_(float("nan"))
    (layer,) = attention_layers(network)
    found = head_maps(network, image(3, 24, 20), layer.name)
    assert np.isnan(found.of_token(3)[0]).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        packed = attention_state([found], 3, pictures=[0], asked={})
    assert (packed["low"], packed["high"], packed["nonfinite"]) == (0, 0, 0)
    assert np.unpackbits(wire.unpack(packed)["nonfinite_a"]).any()
