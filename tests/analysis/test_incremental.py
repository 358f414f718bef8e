"""What is computed from what masks changed equals whole forward passes.

The reference is the model itself on masked inputs, in float64: both ways differ by at most 1e-9 of
the spread of the logits (in float32 by 2e-5), and masks change them by a thousand times as much.
"""

import gc
import weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from nbviz import Network
from nbviz.analysis.incremental import IncrementalInference, NotIncremental
from nbviz.analysis.masked_boxes import Box, Boxes
from tests.fixtures.networks import SMALL, DataDependent, SqueezeExcite

TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-5}


class Head(nn.Module):
    """Whatever a network returns, as logits."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return torch.flatten(self.body(x), 1)


def alive(model, seed=0):
    """Weights and statistics with which a change of the image reaches the logits."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


def boxes_over(image, size, stride, seed=1):
    """Boxes on a grid whose last ones lie flush with the border, filled with noise."""
    starts = [
        sorted({*range(0, side - length + 1, step), side - length})
        for side, length, step in zip(image.shape[2:], size, stride, strict=True)
    ]
    tops, lefts = (grid.reshape(-1) for grid in np.meshgrid(*starts, indexing="ij"))
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((len(tops), image.shape[1], *size), generator=generator).to(image)
    return Boxes(tops, lefts, size, lambda numbers: noise[torch.from_numpy(numbers)])


def by_whole_passes(model, image, boxes):
    logits = []
    for number in range(len(boxes)):
        masked = image.clone()
        top, left = int(boxes.tops[number]), int(boxes.lefts[number])
        masked[:, :, top : top + boxes.size[0], left : left + boxes.size[1]] = boxes.pixels(
            np.array([number])
        )
        with torch.no_grad():
            logits.append(model(masked)[0])
    return torch.stack(logits)


def by_changes(inference, boxes):
    logits = torch.full((len(boxes), len(inference.logits)), torch.nan, dtype=torch.float64)
    seen = np.zeros(len(boxes), int)
    for answer in inference.run(boxes):
        logits[torch.from_numpy(answer.numbers)] = answer.logits.double()
        np.add.at(seen, answer.numbers, 1)
    assert (seen == 1).all()
    return logits


def expect_equal(model, image, boxes, inference, *, least_effect=1000.0):
    expected = by_whole_passes(model, image, boxes).double()
    found = by_changes(inference, boxes)
    with torch.no_grad():
        unmasked = model(image)[0].double()
    spread = float((unmasked - unmasked.mean()).abs().max())
    tolerance = TOLERANCE[image.dtype] * spread
    assert float((inference.logits.double() - unmasked).abs().max()) <= tolerance
    assert float((found - expected).abs().max()) <= tolerance
    assert float((expected - unmasked).abs().max()) >= least_effect * tolerance
    return expected


NETWORKS = {
    "alexnet": 224,
    "vgg11_bn": 224,
    "squeezenet1_0": 80,
    "squeezenet1_1": 80,
    "resnet18": 72,
    "resnet50": 64,
    "googlenet": 96,
    "densenet121": 64,
    "mobilenet_v2": 80,
    "mnasnet0_5": 80,
}


def torchvision_network(name):
    options = {"init_weights": False} if name == "googlenet" else {}
    model = torchvision.models.get_model(name, weights=None, num_classes=10, **options)
    return alive(model)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("size", "steps"), [((16, 16), (4, 3)), ((7, 20), (2, 3))])
def test_logits_equal_whole_passes_on_the_usual_networks(name, size, steps):
    side = NETWORKS[name]
    model = torchvision_network(name).double()
    # a classifier behind an adaptive pool keeps windows only at the size that it was made for
    image = torch.randn(1, 3, side, side - 8 * (side < 224), dtype=torch.float64)
    inference = IncrementalInference(Network(model, input_shape=image.shape[1:]), image)
    assert inference.way == "incremental"
    stride = tuple(side // step + 3 for step in steps)
    expect_equal(model, image, boxes_over(image, size, stride), inference)


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "alexnet"])
def test_single_precision_differs_by_rounding_alone(name):
    model = torchvision_network(name)
    image = torch.randn(1, 3, 160, 160)
    inference = IncrementalInference(Network(model, input_shape=(3, 160, 160)), image)
    expect_equal(model, image, boxes_over(image, (16, 16), (53, 39)), inference, least_effect=10)


def test_pretrained_style_input_transform_of_googlenet_stays_local():
    model = alive(
        torchvision.models.googlenet(
            weights=None, num_classes=10, init_weights=False, transform_input=True
        )
    ).double()
    image = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    inference = IncrementalInference(Network(model, input_shape=(3, 64, 64)), image)
    assert inference.way == "incremental"
    expect_equal(model, image, boxes_over(image, (9, 9), (30, 30)), inference)


class RandomNetwork(nn.Module):
    """A network of drawn steps; branches are added or concatenated."""

    def __init__(self, steps, head, side):
        super().__init__()
        self.steps, self.head = steps, head
        self.layers = nn.ModuleList()
        channels = 3
        self.kinds = []
        for kind, a, b in steps:
            layer, channels = make_layer(kind, a, b, channels)
            self.layers.append(layer)
            self.kinds.append(kind)
        if head == "flatten":
            with torch.no_grad():
                size = self.maps(torch.zeros(1, 3, *side)).numel()
            self.last = nn.Linear(size, 4)
        else:
            self.last = nn.Linear(channels, 4)

    def maps(self, x):
        for kind, layer in zip(self.kinds, self.layers, strict=True):
            if kind == "add":
                x = x + layer(x)
            elif kind == "cat":
                x = torch.cat([layer[0](x), layer[1](x)], 1)
            else:
                x = layer(x)
        return x

    def forward(self, x):
        x = self.maps(x)
        if self.head == "flatten":
            return self.last(torch.flatten(x, 1))
        if self.head == "mean":
            return self.last(x.mean((2, 3)))
        return self.last(F.adaptive_avg_pool2d(x, 1).flatten(1))


def make_layer(kind, a, b, channels):
    """One drawn layer, and how many channels it gives; `a` and `b` are drawn from 0 to 3."""
    if kind == "conv":
        return nn.Conv2d(channels, 4, a + 1, stride=1 + b % 2, padding=b), 4
    if kind == "dilated":
        return nn.Conv2d(channels, 4, (3, 2), dilation=(1 + a % 3, 1 + b), padding=(2, 4)), 4
    if kind == "same":
        return nn.Conv2d(channels, 4, (a + 1, b + 1), padding="same"), 4
    if kind == "grouped":
        return nn.Conv2d(channels, 2 * channels, 3, padding=a % 2, groups=channels), 2 * channels
    if kind == "skipping":
        return nn.Conv2d(channels, 4, 1 + a % 2, stride=2 + b % 2), 4
    if kind == "norm":
        return nn.BatchNorm2d(channels), channels
    if kind == "activation":
        choice = (nn.ReLU(inplace=bool(b % 2)), nn.ReLU6(), nn.LeakyReLU(0.2, True), nn.SiLU())[a]
        return choice, channels
    if kind == "max":
        return nn.MaxPool2d(2 + a % 2, 1 + b % 3, padding=a % 2, ceil_mode=b > 1), channels
    if kind == "average":
        pool = nn.AvgPool2d(3, 1 + a % 2, padding=b % 2, ceil_mode=a > 1, count_include_pad=b > 1)
        return pool, channels
    if kind == "add":
        return nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)
        ), channels
    large = nn.Sequential(nn.Conv2d(channels, 3, 5, padding=2), nn.ReLU())
    return nn.ModuleList([nn.Conv2d(channels, 2, 1), large]), 5


STEPS = [
    *("conv", "dilated", "same", "grouped", "skipping", "norm", "norm"),
    *("activation", "activation", "max", "average", "add", "cat"),
]


@settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(st.data())
def test_any_network_of_local_operations_gives_what_whole_passes_give(data):
    ends = st.integers(0, 3)
    steps = data.draw(
        st.lists(st.tuples(st.sampled_from(STEPS), ends, ends), min_size=1, max_size=7)
    )
    side = data.draw(st.tuples(st.integers(14, 26), st.integers(14, 26)))
    head = data.draw(st.sampled_from(["flatten", "mean", "pool"]))
    try:
        torch.manual_seed(3)
        model = alive(RandomNetwork(steps, head, side), seed=4).double()
        image = torch.randn(1, 3, *side, dtype=torch.float64)
        with torch.no_grad():
            model(image)
    except RuntimeError:
        return  # the maps have grown too small for a window
    size = tuple(data.draw(st.integers(1, most)) for most in side)
    stride = tuple(data.draw(st.integers(3, 9)) for _ in side)
    try:
        inference = IncrementalInference(Network(model, input_shape=(3, *side)), image)
    except NotIncremental as refusal:
        if "would save" not in str(refusal):
            raise
        return
    boxes = boxes_over(image, size, stride)
    boxes = Boxes(boxes.tops[:25], boxes.lefts[:25], size, boxes.pixels)
    expect_equal(model, image, boxes, inference, least_effect=0)


@pytest.mark.parametrize("name", SMALL)
def test_a_network_of_any_kind_is_computed_rightly_or_refused(name):
    make, shape = SMALL[name]
    if len(shape) != 3:
        pytest.skip("its input has no pixels")
    torch.manual_seed(0)
    model = Head(make()).eval().double()
    image = torch.randn(1, *shape, dtype=torch.float64)
    try:
        inference = IncrementalInference(Network(model, input_shape=shape), image)
    except (NotIncremental, ValueError):
        return
    expect_equal(model, image, boxes_over(image, (5, 4), (7, 6)), inference, least_effect=10)


def test_of_the_small_networks_most_are_computed_incrementally():
    taken = []
    for name, (make, shape) in SMALL.items():
        if len(shape) == 3:
            try:
                IncrementalInference(
                    Network(Head(make()).eval(), input_shape=shape), torch.randn(1, *shape)
                )
                taken.append(name)
            except (NotIncremental, ValueError):
                pass
    assert {"plain", "dilated", "skipping stride", "uneven", "grouped", "in place"} <= {*taken}


def small_network(*layers, classes=6):
    body = layers or (
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
    )
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))
    return alive(nn.Sequential(*body, *head)).double()


IMAGE = torch.randn(1, 3, 40, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def inference_of(model, **options):
    return IncrementalInference(Network(model, input_shape=(3, 40, 32)), IMAGE, **options)


def test_one_mask_of_any_form_is_answered_by_its_box():
    model = small_network()
    inference = inference_of(model)
    masked = IMAGE.clone()
    rows, cols = np.ogrid[:40, :32]
    masked[:, :, torch.from_numpy((rows - 12) ** 2 + (cols - 30) ** 2 < 30)] = 0.7
    with torch.no_grad():
        expected = model(masked)[0]
    found = inference.once(masked, Box(6, 24, 19, 40))
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)
    assert torch.allclose(inference.once(masked, None), expected, rtol=0, atol=1e-12)
    assert not torch.allclose(inference.logits, expected, rtol=0, atol=1e-6)
    assert torch.equal(inference.once(IMAGE, Box(3, 3, 3, 8)), inference.logits)


def test_sums_of_watched_maps_equal_those_of_whole_passes():
    model = small_network()
    watch = ["0", "2", "4"]
    inference = inference_of(model, watch=watch)
    boxes = boxes_over(IMAGE, (6, 6), (11, 9))
    seen = {}

    def note(name):
        def hook(_module, _args, output):  # a copy, since the ReLU behind writes over it
            seen[name] = output.detach().sum((2, 3))

        return hook

    answers = list(inference.run(boxes))
    handles = [model[int(name)].register_forward_hook(note(name)) for name in watch]
    masked = IMAGE.repeat(len(boxes), 1, 1, 1)
    for k in range(len(boxes)):
        top, left = int(boxes.tops[k]), int(boxes.lefts[k])
        masked[k, :, top : top + 6, left : left + 6] = boxes.pixels(np.array([k]))[0]
    with torch.no_grad():
        model(masked)
    for handle in handles:
        handle.remove()
    for name in watch:
        found = torch.zeros_like(seen[name])
        for answer in answers:
            found[torch.from_numpy(answer.numbers)] = answer.sums[name]
        assert torch.allclose(found, seen[name], rtol=0, atol=1e-9), name
        assert float((found - inference.sums[name]).abs().max()) > 1e-3


@pytest.mark.parametrize("max_bytes", [1, 100_000, 2**30])
def test_a_batch_stays_within_the_bound_of_memory(max_bytes, monkeypatch):
    from nbviz.analysis.incremental.execution import Execution

    inference = inference_of(small_network(), max_bytes=max_bytes)
    boxes = boxes_over(IMAGE, (6, 6), (3, 3))
    taken = []
    original = Execution.to_cut

    def noting(self, pixels, numbers, rows, cols):
        taken.append(len(numbers) * self.bytes_each(rows, cols, 8))
        return original(self, pixels, numbers, rows, cols)

    monkeypatch.setattr(Execution, "to_cut", noting)
    by_changes(inference, boxes)
    single = max(taken) if max_bytes == 1 else 0
    assert max(taken) <= max(max_bytes, single)
    assert len(taken) == len(boxes) if max_bytes == 1 else len(taken) < len(boxes)


def test_the_bytes_that_are_counted_for_a_box_bound_what_its_windows_hold():
    inference = inference_of(small_network())
    boxes = boxes_over(IMAGE, (6, 6), (9, 9))
    execution = inference._execution
    rows, cols = inference._reach(boxes)
    numbers = np.arange(len(boxes))
    execution.to_cut(boxes.pixels(numbers), numbers, rows, cols)
    behind = sum(
        (len(kept._rows) - kept.places - 2) * kept.element_bytes for kept in execution.kept.values()
    )
    assert 0 < behind <= execution.bytes_each(rows, cols, 8) * len(boxes)


def test_the_arithmetic_equals_counting_what_nan_reaches():
    """A NaN in the box reaches exactly the places that have to be computed."""
    model = small_network(
        nn.Conv2d(3, 8, 5, stride=2, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(8, 8, (3, 1), dilation=2, padding=(1, 0)),
    )
    inference = inference_of(model)
    boxes = boxes_over(IMAGE, (5, 4), (7, 7))
    counted = inference.arithmetic(boxes)
    full = changed = 0
    for k in range(len(boxes)):
        masked = IMAGE.clone()
        top, left = int(boxes.tops[k]), int(boxes.lefts[k])
        masked[:, :, top : top + 5, left : left + 4] = torch.nan
        x = masked
        for layer in model:
            x = layer(x)
            if isinstance(layer, nn.Conv2d):
                each = layer.weight.numel()
                changed += each * int(x[0, 0].isnan().sum())
                full += each * x[0, 0].numel()
            if isinstance(layer, nn.Linear):
                changed += layer.weight.numel()
                full += layer.weight.numel()
    assert counted.full == full / len(boxes)
    assert counted.changed == pytest.approx(changed / len(boxes), rel=1e-12)


def test_gates_computed_from_everything_end_the_windows_and_the_reason_names_them():
    body = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 3, 3), SqueezeExcite(), nn.ReLU()
    )
    model = alive(nn.Sequential(body, nn.Flatten(), nn.Linear(4 * 34 * 26, 4))).double()
    inference = inference_of(model)
    assert inference.way == "partly incremental"
    assert "mul" in inference.reason
    expect_equal(model, IMAGE, boxes_over(IMAGE, (6, 6), (13, 11)), inference)


def test_what_cannot_be_computed_so_is_refused_with_its_cause():
    untraced = Head(DataDependent())
    gate = nn.Sequential(nn.Conv2d(3, 2, 1), SqueezeGate(), nn.Conv2d(2, 9, 5), nn.Flatten())
    hooked = small_network()
    hooked[0].register_forward_hook(lambda *_: None)
    cases = [
        (untraced, (3, 24, 20), "cannot trace"),
        (gate, (3, 24, 20), "needs whole maps"),
        (hooked.float(), (3, 24, 20), "'0' has a hook"),
    ]
    for model, shape, words in cases:
        with pytest.raises(NotIncremental, match=words):
            IncrementalInference(Network(model.eval(), input_shape=shape), torch.randn(1, *shape))


class SqueezeGate(nn.Module):
    def forward(self, x):
        return x * x.mean((2, 3), keepdim=True).sigmoid()


class OneImage(nn.Module):
    """Right for one image alone."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x).view(1, -1)[:, :7]


def test_a_graph_that_holds_for_one_image_alone_is_refused():
    model = alive(OneImage())
    with pytest.raises(NotIncremental):
        IncrementalInference(Network(model, input_shape=(3, 24, 20)), torch.randn(1, 3, 24, 20))


def test_new_weights_are_read_with_the_next_question():
    model = small_network()
    inference = inference_of(model)
    boxes = boxes_over(IMAGE, (6, 6), (13, 11))
    with torch.no_grad():
        model[0].weight.mul_(1.5)
        model[1].running_mean.add_(0.3)
    found = by_changes(inference, boxes)
    expected = by_whole_passes(model, IMAGE, boxes)
    assert torch.allclose(found, expected, rtol=0, atol=1e-11)


def test_a_mask_over_nan_takes_it_away_and_one_beside_it_does_not():
    model = small_network()
    image = IMAGE.clone()
    image[0, 0, 3, 3] = torch.nan
    network = Network(model, input_shape=(3, 40, 32))
    inference = IncrementalInference(network, image)
    boxes = Boxes(
        np.array([0, 20]), np.array([0, 20]), (6, 6), lambda n: torch.zeros(len(n), 3, 6, 6)
    )
    expected = by_whole_passes(model, image, boxes)
    assert expected[0].isfinite().all()
    assert expected[1].isnan().any()
    assert torch.allclose(by_changes(inference, boxes), expected, atol=1e-11, equal_nan=True)


def test_the_model_is_left_as_it_was_and_freed():
    model = small_network()
    model.train()
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [module.training for module in model.modules()]
    generator = torch.get_rng_state()
    inference = inference_of(model)
    by_changes(inference, boxes_over(IMAGE, (6, 6), (13, 11)))
    assert [module.training for module in model.modules()] == flags
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert not any(module._forward_hooks for module in model.modules())
    watched = weakref.ref(model)
    del model, inference
    gc.collect()
    assert watched() is None
