"""The arithmetic shown for a unit is the network's own, against plain loops and plain hooks."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nbviz.analysis.layers import UnknownLayerError
from nbviz.analysis.unit_trace import unit_trace
from nbviz.network import Network
from tests.fixtures.networks import SMALL, Forward, chain, conv
from tests.fixtures.unit_traces import close, filled, outputs, some_units


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def loop_convolution(x, weight, bias, unit, stride, padding, dilation, groups):
    """One output value by six plain loops; contributions by input channel."""
    out, row, col = unit
    each = weight.shape[1]
    first = out // (weight.shape[0] // groups) * each
    sums = np.zeros(each)
    for c in range(each):
        for i in range(weight.shape[2]):
            for j in range(weight.shape[3]):
                y = row * stride[0] - padding[0] + i * dilation[0]
                z = col * stride[1] - padding[1] + j * dilation[1]
                if 0 <= y < x.shape[1] and 0 <= z < x.shape[2]:
                    sums[c] += float(x[first + c, y, z]) * float(weight[out, c, i, j].detach())
    return sums.sum() + float(bias[out].detach()), first, sums


CONVOLUTIONS = {
    "plain": {},
    "strided and padded": {"stride": (2, 3), "padding": (1, 2)},
    "dilated": {"dilation": (2, 1), "padding": 2},
    "grouped": {"groups": 2, "padding": 1},
    "depthwise": {"groups": 4, "padding": 1},
    "same": {"padding": "same", "kernel_size": (4, 3)},
    "valid": {"padding": "valid"},
}


@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
@pytest.mark.parametrize("functional", [False, True])
def test_every_input_channel_of_a_convolution_gives_what_loops_give(options, functional):
    layer = nn.Conv2d(4, 8, **{"kernel_size": 3, **options})
    model: nn.Module = layer
    if functional:
        model = Forward(
            lambda net, x: F.conv2d(
                x,
                net.a.weight,
                net.a.bias,
                layer.stride,
                layer.padding,
                dilation=layer.dilation,
                groups=layer.groups,
            ),
            a=layer,
        )
    network = Network(model, input_shape=(4, 9, 10))
    name = network.layers[0].name
    x = torch.randn(1, 4, 9, 10)
    padding = layer.padding
    if isinstance(padding, str):
        sides = [d * (k - 1) // 2 for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        padding = sides if padding == "same" else (0, 0)
    for unit in some_units(network, name, 12, random.Random(0)):
        (step,) = unit_trace(network, x, name, unit, largest=2).steps
        value, first, sums = loop_convolution(
            x[0], layer.weight, layer.bias, unit, layer.stride, padding, layer.dilation,
            layer.groups,
        )  # fmt: skip
        assert step.value == pytest.approx(value, rel=1e-12, abs=1e-12)
        assert step.first_channel == first
        np.testing.assert_allclose(step.contributions, sums, rtol=1e-6, atol=1e-9)
        order = sorted(range(len(sums)), key=lambda c: -abs(sums[c]))
        assert [term.channel - first for term in step.terms] == order[:2]
        assert step.others.count == len(sums) - len(step.terms)
        left = sum(sums[c] for c in order[2:])
        assert step.others.sum == pytest.approx(left, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_that_repeats_the_map_shows_what_was_read(mode):
    layer = nn.Conv2d(2, 3, 3, padding=(2, 1), padding_mode=mode)
    network, x = Network(layer, input_shape=(2, 6, 7)), torch.randn(1, 2, 6, 7)
    wide = F.pad(x, (1, 1, 2, 2), mode=mode)[0]
    for row, col in [(0, 0), (3, 3), (7, 6)]:
        (step,) = unit_trace(network, x, "Conv2d", (1, row, col)).steps
        for term in step.terms:
            expected = wide[term.channel, row : row + 3, col : col + 3]
            np.testing.assert_array_equal(term.patch, expected.numpy())
        assert (step.window.top, step.window.left) == (row - 2, col - 1)
        assert step.map_size == (6, 7)


@pytest.mark.parametrize("size", [8, 9, 10])
def test_padding_that_follows_the_size_of_the_map_shows_what_was_read(size):
    layers = pytest.importorskip("timm.layers")
    network = Network(
        chain(layers.Conv2dSame(2, 3, 3, stride=(2, 3), dilation=1)), input_shape=(2, size, 10)
    )
    x = torch.randn(1, 2, size, 10)
    _, rows, cols = network.layers["0"].output_shape
    for row, col in np.ndindex(rows, cols):
        (step,) = unit_trace(network, x, "0", (1, row, col)).steps
        assert step.operation == "convolution"
        assert close(step.value, step.captured, abs(step.terms[0].contribution))


def test_a_transposed_convolution_is_taken_apart_as_its_input_spreads():
    layer = nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, dilation=2)
    network, x = Network(layer, input_shape=(4, 5, 4)), torch.randn(1, 4, 5, 4)
    shape = network.layers[0].output_shape
    spread = np.zeros((4, *shape))  # what each input channel adds to each output value
    for c in range(4):
        for out in range(3):
            for y in range(5):
                for z in range(4):
                    for i in range(3):
                        for j in range(3):
                            row, col = y * 2 - 1 + 2 * i, z * 2 - 1 + 2 * j
                            if 0 <= row < shape[1] and 0 <= col < shape[2]:
                                value = float(x[0, c, y, z]) * float(
                                    layer.weight[c, out, i, j].detach()
                                )
                                spread[c, c // 2 * 3 + out, row, col] += value
    name = network.layers[0].name
    for unit in some_units(network, name, 20, random.Random(0)):
        (step,) = unit_trace(network, x, name, unit).steps
        first = step.first_channel
        assert first == unit[0] // 3 * 2
        for term in step.terms if step.window else ():
            box = step.window
            seen = x[0, term.channel, box.top : box.bottom, box.left : box.right]
            np.testing.assert_array_equal(term.patch, seen.numpy())
        np.testing.assert_allclose(step.contributions, spread[(slice(first, first + 2), *unit)],
                                   rtol=1e-6, atol=1e-9)  # fmt: skip
        assert step.value == pytest.approx(
            spread[(slice(None), *unit)].sum() + float(layer.bias[unit[0]].detach()), rel=1e-12
        )


POOLS = {
    "max": nn.MaxPool2d(3, 2, padding=1),
    "max, dilated, ceil": nn.MaxPool2d(2, 2, dilation=2, ceil_mode=True),
    "average": nn.AvgPool2d(3, 2, padding=1),
    "average without padding": nn.AvgPool2d(3, 2, padding=1, count_include_pad=False),
    "average, ceil": nn.AvgPool2d(3, 2, padding=1, ceil_mode=True),
    "average with a divisor": nn.AvgPool2d(2, divisor_override=3),
    "adaptive average": nn.AdaptiveAvgPool2d((3, 4)),
    "adaptive max": nn.AdaptiveMaxPool2d((4, 3)),
}


@pytest.mark.parametrize("layer", POOLS.values(), ids=POOLS.keys())
def test_a_pooled_value_is_traced_to_the_values_it_is_pooled_from(layer):
    network, x = Network(layer, input_shape=(2, 8, 9)), torch.randn(1, 2, 8, 9)
    x = x - 1  # so that a zero of padding would win, if it were counted
    name = network.layers[0].name
    grad_of = x.clone().requires_grad_()
    out = layer(grad_of)
    _, channels, rows, cols = out.shape
    for unit in np.ndindex(channels, rows, cols):
        (step,) = unit_trace(network, x, name, unit).steps
        (gradient,) = torch.autograd.grad(out[(0, *unit)], grad_of, retain_graph=True)
        (term,) = step.terms
        box = step.window
        seen = torch.zeros_like(x)
        for i, j in np.ndindex(*term.patch.shape):
            height, width = term.patch.shape
            row = box.top + (i * (box.height - 1)) // max(1, height - 1)
            col = box.left + (j * (box.width - 1)) // max(1, width - 1)
            if 0 <= row < 8 and 0 <= col < 9:
                seen[0, unit[0], row, col] = float(term.kernel[i, j])
                assert term.patch[i, j] == x[0, unit[0], row, col]
        torch.testing.assert_close(seen, gradient, rtol=1e-6, atol=1e-7)
        assert step.value == pytest.approx(float(out[(0, *unit)].detach()), rel=1e-6)


def test_a_mean_over_places_is_an_average_pooling():
    model = Forward(lambda net, x: net.head(net.a(x).mean((2, 3))), a=conv(), head=nn.Linear(4, 2))
    network = Network(model, input_shape=(3, 6, 6))
    x = torch.randn(1, 3, 6, 6)
    (step,) = unit_trace(network, x, "mean", (2,)).steps
    assert step.operation == "average pooling"
    assert step.value == pytest.approx(float(model.a(x)[0, 2].double().mean().detach()), rel=1e-9)
    assert (step.terms[0].source, step.terms[0].from_unit[0]) == ("a", 2)


NORMS = {
    "batch": (nn.BatchNorm2d(6), (6, 5, 4)),
    "batch without running statistics": (nn.BatchNorm2d(6, track_running_stats=False), (6, 5, 4)),
    "group": (nn.GroupNorm(2, 6, eps=1e-3), (6, 5, 4)),
    "instance": (nn.InstanceNorm2d(6, affine=True), (6, 5, 4)),
    "layer over all": (nn.LayerNorm((6, 5, 4)), (6, 5, 4)),
    "root mean square": (getattr(nn, "RMSNorm", nn.LayerNorm)((6, 5, 4)), (6, 5, 4)),
}


@pytest.mark.parametrize(("layer", "shape"), NORMS.values(), ids=NORMS.keys())
def test_a_normalised_value_shows_the_statistics_that_made_it(layer, shape):
    network, x = Network(filled(layer), input_shape=shape), torch.randn(1, *shape) * 2 + 1
    name, exact = network.layers[0].name, layer.double()(x.double())
    layer.float()
    for unit in some_units(network, name, 8, random.Random(0)):
        (step,) = unit_trace(network, x, name, unit).steps
        assert step.operation == "normalisation"
        assert step.value == pytest.approx(float(exact[(0, *unit)].detach()), rel=1e-6, abs=1e-6)
        s, value = step.statistics, float(x[(0, *unit)])
        by_hand = (value - s["mean"]) / math.sqrt(s["variance"] + s["eps"]) * s["weight"] + s[
            "bias"
        ]
        assert step.value == pytest.approx(by_hand, rel=1e-9, abs=1e-12)


def test_a_click_on_an_activation_shows_the_convolution_it_came_from_and_the_other_way():
    model = filled(
        chain(conv(), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(), conv((4, 2)))
    )
    network, x = Network(model, input_shape=(3, 8, 8)), torch.randn(1, 3, 8, 8)
    for name in ("0", "1", "2", "3"):
        trace = unit_trace(network, x, name, (1, 2, 3))
        assert [step.layer for step in trace.steps] == ["0", "1", "2", "3"]
        assert trace.steps[trace.chosen].layer == name
        assert trace.value == trace.steps[trace.chosen].captured
    pre = float(model[1](model[0](x))[0, 1, 2, 3])
    assert trace.steps[1].captured == pre
    assert trace.steps[2].captured == max(0, pre)


def test_a_value_that_two_layers_read_is_followed_by_neither():
    model = Forward(lambda net, x: net.a(x).relu() + net.b(net.a(x)), a=conv(), b=nn.ReLU())
    twice = Forward(lambda net, x: (y := net.a(x)).relu() + y.sigmoid(), a=conv())
    x = torch.randn(1, 3, 8, 8)
    once = unit_trace(Network(model, input_shape=(3, 8, 8)), x, "a", (1, 2, 3))
    assert [step.layer for step in once.steps] == ["a", "relu"]
    both = unit_trace(Network(twice, input_shape=(3, 8, 8)), x, "a", (1, 2, 3))
    assert [step.layer for step in both.steps] == ["a"]


def test_a_map_that_is_turned_on_the_way_is_not_taken_for_the_same_place():
    model = Forward(lambda net, x: net.b(net.a(x).flip(2)), a=conv(), b=nn.ReLU())
    x = torch.randn(1, 3, 8, 8)
    network = Network(model, input_shape=(3, 8, 8))
    (step,) = unit_trace(network, x, "b", (1, 2, 3)).steps
    assert (step.terms[0].source, step.terms[0].from_unit) == ("a", None)
    assert step.terms[0].contribution == float(model.a(x)[0, 1, 3, 3].detach())
    assert [s.layer for s in unit_trace(network, x, "a", (1, 2, 3)).steps] == ["a"]


def test_values_added_in_place_are_those_from_before():
    def run(net, x):
        x = net.a(x)
        y = net.b(x)
        y += x
        return y.mul_(2).relu_()

    network = Network(Forward(run, a=conv(), b=conv((4, 4), padding=1)), input_shape=(3, 8, 8))
    x = torch.randn(1, 3, 8, 8)
    kept = outputs(network, x)
    trace = unit_trace(network, x, "relu", (1, 2, 3))
    assert [step.operation for step in trace.steps] == ["addition", "multiplication", "activation"]
    read = {term.source: term.contribution for term in trace.steps[0].terms}
    assert read == {name: float(kept[name][0, 1, 2, 3]) for name in ("a", "b")}


def test_a_flattened_map_is_shown_by_channel_and_leads_back_to_the_map():
    model = chain(conv(stride=2), nn.Flatten(), nn.Dropout(), nn.Linear(4 * 9, 5))
    network, x = Network(model, input_shape=(3, 8, 8)), torch.randn(1, 3, 8, 8)
    maps = model[0](x)[0].detach().numpy()
    (step,) = unit_trace(network, x, "3", (2,)).steps
    assert len(step.contributions) == 4
    for term in step.terms:
        np.testing.assert_array_equal(term.patch, maps[term.channel])
        weight = model[3].weight[2].reshape(4, 3, 3)[term.channel].detach().numpy()
        np.testing.assert_array_equal(term.kernel, weight)
        back = unit_trace(network, x, term.source, term.from_unit)
        assert back.steps[0].layer == "0"
        _, row, col = back.steps[0].unit
        assert (row, col) == np.unravel_index(np.abs(term.products).argmax(), (3, 3))


def test_what_cannot_be_taken_apart_says_so():
    make, shape = SMALL["attention"]
    network = Network(make().eval(), input_shape=shape)
    (step, *_) = unit_trace(network, torch.randn(1, *shape), "attention", (3, 1, 1)).steps
    assert (step.operation, step.terms, step.sources) == ("other", (), ("norm",))
    assert "MultiheadAttention" in step.note
    assert step.value == step.captured


def test_a_layer_with_a_way_of_its_own_is_not_explained_wrongly():
    class Squared(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) ** 2

    network = Network(chain(Squared(3, 4, 3)), input_shape=(3, 8, 8))
    (step,) = unit_trace(network, torch.randn(1, 3, 8, 8), "0", (0, 0, 0)).steps
    assert step.operation == "other"
    assert "way of its own" in step.note


def test_class_tokens_have_units_too():
    make, shape = SMALL["registers"]
    network, x = Network(make().eval(), input_shape=shape), torch.randn(1, *shape)
    kept = outputs(network, x)
    assert unit_trace(network, x, "norm", (3, -1, 2)).value == float(kept["norm"][0, 2, 3])
    assert unit_trace(network, x, "norm", (3, 0, 0)).value == float(kept["norm"][0, 3, 3])


def test_nan_is_shown_with_where_it_came_from():
    network = Network(chain(conv((8, 4)), nn.ReLU()), input_shape=(8, 6, 6))
    x = torch.randn(1, 8, 6, 6)
    x[0, 5, 2, 3] = math.nan
    step, after = unit_trace(network, x, "1", (1, 1, 2), largest=2).steps
    assert math.isnan(step.value)
    assert math.isnan(after.captured)
    assert step.agrees
    assert after.agrees
    assert (step.terms[0].channel, step.terms[0].from_unit) == (5, (5, 2, 3))


def test_the_pass_stops_behind_the_last_step():
    ran = []

    class Noting(nn.Conv2d):
        def forward(self, x):
            ran.append(self)
            return super().forward(x)

    first, second = Noting(3, 4, 3), Noting(4, 4, 3)
    network = Network(chain(first, nn.ReLU(), second), input_shape=(3, 8, 8))
    assert len(network.layers) == 3
    ran.clear()
    unit_trace(network, torch.randn(1, 3, 8, 8), "0", (0, 1, 1))
    assert ran == [first]


def test_the_model_is_left_as_it_was():
    model = chain(conv(), nn.BatchNorm2d(4), nn.ReLU(inplace=True)).train()
    model[0].weight.requires_grad_(False)
    state = {name: values.clone() for name, values in model.state_dict().items()}
    hooks = [dict(vars(m)["_forward_hooks"]) for m in model.modules()]
    random_state = torch.get_rng_state()
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    before = x.clone()
    unit_trace(Network(model, input_shape=(3, 8, 8)), x, "0", (0, 1, 1))
    assert model.training
    assert model[1].training
    assert not model[0].weight.requires_grad
    assert all(torch.equal(values, state[name]) for name, values in model.state_dict().items())
    assert [dict(vars(m)["_forward_hooks"]) for m in model.modules()] == hooks
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.equal(x, before)


def test_a_misspelled_layer_is_answered_with_the_nearest():
    network = Network(Forward(lambda net, x: net.first(x), first=conv()), input_shape=(3, 8, 8))
    with pytest.raises(UnknownLayerError, match="did you mean 'first'"):
        unit_trace(network, torch.zeros(3, 8, 8), "frist", (0, 0, 0))


@pytest.mark.parametrize(
    ("unit", "error"),
    [
        ((4, 0, 0), IndexError),
        ((0, 6, 0), IndexError),
        ((0, 0, -1), IndexError),
        ((0, -1, 0), IndexError),
        ((0,), IndexError),
        ((0, 0), IndexError),
        ((0.5, 0, 0), TypeError),
        (3, TypeError),
    ],
)
def test_a_unit_that_is_not_there_is_refused_with_those_that_are(unit, error):
    network = Network(conv(), input_shape=(3, 8, 8))
    pattern = "channels 0 to 3, rows 0 to 5" if error is IndexError else "of integers"
    with pytest.raises(error, match=pattern):
        unit_trace(network, torch.zeros(3, 8, 8), "Conv2d", unit)


def test_layers_without_places_are_refused():
    make, shape = SMALL["windows"]
    network = Network(make().eval(), input_shape=shape)
    names = [layer.name for layer in network.layers if layer.layout == "other"]
    with pytest.raises(ValueError, match="neither"):
        unit_trace(network, torch.zeros(*shape), names[0], (0, 0, 0))


def test_a_layer_that_another_way_left_out_is_named():
    class Either(nn.Module):
        def __init__(self):
            super().__init__()
            self.dark, self.bright = conv(), conv()

        def forward(self, x):
            return self.bright(x) if x.mean() > 0 else self.dark(x)

    network = Network(Either(), input_shape=(3, 8, 8))
    taken = network.layers.names[-1]
    sign = -1.0 if taken == "bright" else 1.0
    with pytest.raises(ValueError, match="another way"):
        unit_trace(network, torch.full((3, 8, 8), sign), taken, (0, 0, 0))


def test_a_failure_behind_the_layer_does_not_matter_and_one_before_it_does():
    def broken(net, x):
        y = net.a(x)
        if net.fails:
            msg = "half way"
            raise RuntimeError(msg)
        return net.b(y)

    model = Forward(broken, a=conv(), b=conv((4, 4)))
    model.fails = False
    network = Network(model, input_shape=(3, 8, 8))
    assert network.layers.names == ("a", "b")
    model.fails = True
    assert unit_trace(network, torch.zeros(3, 8, 8), "a", (0, 0, 0)).layer == "a"
    with pytest.raises(RuntimeError, match="half way"):
        unit_trace(network, torch.zeros(3, 8, 8), "b", (0, 0, 0))


def test_coarse_cells_add_up_to_the_same():
    network = Network(chain(nn.AdaptiveAvgPool2d(1)), input_shape=(2, 50, 31))
    x = torch.randn(1, 2, 50, 31)
    (step,) = unit_trace(network, x, "0", (1, 0, 0)).steps
    ((coarse, cell),) = step.coarse_terms(24)
    assert cell == (3, 2)
    assert coarse.patch.shape == (17, 16)
    assert coarse.products.sum() == pytest.approx(step.value, rel=1e-4)
    assert coarse.patch[0, 0] == pytest.approx(float(x[0, 1, :3, :2].mean()), rel=1e-4)
    assert coarse.patch[-1, -1] == pytest.approx(float(x[0, 1, 48:, 30:].mean()), rel=1e-4)


def test_a_long_row_of_contributions_keeps_its_extremes():
    network = Network(nn.Linear(1000, 3), input_shape=(1000,))
    (step,) = unit_trace(network, torch.randn(1, 1000), "Linear", (1,)).steps
    few = step.coarse_contributions(64)
    assert len(few) == 63
    for i, value in enumerate(few):
        group = step.contributions[16 * i : 16 * i + 16]
        assert value == group[np.abs(group).argmax()]
    assert len(step.coarse_contributions(1000)) == 1000
