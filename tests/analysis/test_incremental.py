"""What is computed from what masks changed equals whole forward passes, on networks of all kinds.

Tolerances are in `tests.fixtures.masked_references`.
"""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from nbviz import Network
from nbviz.analysis.incremental import IncrementalInference, NotIncremental
from nbviz.analysis.masked_boxes import Boxes
from tests.fixtures.masked_references import Head, alive, boxes_over, expect_equal
from tests.fixtures.networks import SMALL

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
    stride = tuple(side // (2 if side == 224 else step) + 3 for step in steps)
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
