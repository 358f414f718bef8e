"""The arithmetic shown for units of whole networks adds up to what plain hooks see."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch

from nbviz.analysis.unit_trace import unit_trace
from nbviz.network import Network
from tests.fixtures.networks import SMALL, ZOO, zoo
from tests.fixtures.unit_traces import close, filled, outputs, places_of, some_units


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def value_at(network: Network, kept: dict, name: str, unit) -> float:
    return float(kept[name][(0, *places_of(network, name).index(unit))])


def check_trace(network: Network, batch: torch.Tensor, kept: dict, name: str, unit) -> set[str]:
    """Hold a trace to what the layers returned; the operations it shows."""
    trace = unit_trace(network, batch, name, unit)
    assert trace.value == value_at(network, kept, name, unit)
    assert trace.steps[trace.chosen].unit == unit
    for step in trace.steps:
        assert step.captured == value_at(network, kept, step.layer, step.unit)
        scale = max([0, *(abs(term.contribution) for term in step.terms)])
        assert close(step.value, step.captured, scale), (step.layer, step.value, step.captured)
        assert step.agrees
        if step.operation == "other":
            assert step.note
            continue
        if step.operation not in {"multiplication", "activation"}:
            total = math.fsum(term.contribution for term in step.terms) + step.others.sum
            assert close(total + step.bias, step.value, max(scale, abs(step.bias)))
        for term in step.terms:
            check_term(network, kept, step, term)
    for before, step in zip(trace.steps, trace.steps[1:], strict=False):
        assert any(t.source == before.layer and t.from_unit == before.unit for t in step.terms)
    return {step.operation for step in trace.steps}


def check_term(network: Network, kept: dict, step, term) -> None:
    """The patch is what stands in the source's map, and its unit has the largest product."""
    if step.operation not in {"multiplication", "activation"}:
        assert close(float(term.products.sum()), term.contribution, np.abs(term.products).sum())
    if term.source is None or term.from_unit is None:
        return
    places = places_of(network, term.source)
    largest = np.abs(term.products if term.products.any() else term.kernel)
    there = value_at(network, kept, term.source, term.from_unit)
    ties = term.patch[largest >= largest.max() * (1 - 1e-6)]
    assert np.float32(there) in ties
    if term.box is None or places.layout != "maps" or term.patch.size == 1:
        return
    box, source = term.box, kept[term.source][0, term.from_unit[0]].numpy()
    rows = np.linspace(box.top, box.bottom - 1, len(term.patch)).round().astype(int)
    cols = np.linspace(box.left, box.right - 1, term.patch.shape[1]).round().astype(int)
    for i, row in enumerate(rows):
        for j, col in enumerate(cols):
            if 0 <= row < source.shape[0] and 0 <= col < source.shape[1]:
                assert term.patch[i, j] == source[row, col]


@pytest.mark.parametrize("name", SMALL)
def test_the_sum_shown_is_the_value_of_the_unit(name):
    make, shape = SMALL[name]
    network = Network(filled(make()), input_shape=shape)
    batch = torch.randn(1, *shape)
    kept, rng = outputs(network, batch), random.Random(0)
    for layer in network.layers:
        if layer.layout != "other":
            for unit in some_units(network, layer.name, 5, rng):
                check_trace(network, batch, kept, layer.name, unit)


ANY = {"convolution"}
EXPECTED = {
    "alexnet": {"linear", "max pooling", "activation", "identity"},
    "vgg11": {"linear", "max pooling", "activation"},
    "resnet18": {"addition", "normalisation", "activation"},
    "squeezenet1_0": {"concatenation", "activation"},
    "googlenet": {"concatenation", "normalisation", "activation"},
    "densenet121": {"concatenation", "normalisation", "activation"},
    "mobilenet_v2": {"addition", "normalisation"},
    "mobilenet_v3_small": {"multiplication", "average pooling", "activation"},
    "efficientnet_b0": {"multiplication", "average pooling"},
    "convnext_tiny": {"multiplication", "linear", "normalisation"},
    "vit_b_32": {"linear", "normalisation", "addition", "concatenation", "other"},
    "swin_t": {"linear", "normalisation", "addition", "concatenation"},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_sum_shown_is_the_value_in_networks_that_people_use(name):
    network = Network(filled(zoo(name)), input_shape=(3, ZOO.get(name, 64), ZOO.get(name, 64)))
    batch = torch.randn(1, *network.input_shape)
    kept, rng = outputs(network, batch), random.Random(1)
    kinds: dict[str, list[str]] = {}
    for layer in network.layers:
        if layer.layout != "other":
            kinds.setdefault(layer.kind, []).append(layer.name)
    chosen = [n for names in kinds.values() for n in rng.sample(names, min(2, len(names)))]
    seen = set()
    for layer in chosen:
        for unit in some_units(network, layer, 2, rng):
            seen |= check_trace(network, batch, kept, layer, unit)
    assert seen >= ANY | EXPECTED[name]
