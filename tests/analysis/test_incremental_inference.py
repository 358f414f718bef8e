"""What `IncrementalInference` promises besides equal logits, and what it refuses."""

import gc
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from nbviz import Network
from nbviz.analysis.incremental import IncrementalInference, NotIncremental
from nbviz.analysis.masked_boxes import Box, Boxes
from tests.fixtures.masked_references import (
    Head,
    alive,
    boxes_over,
    by_changes,
    by_whole_passes,
    expect_equal,
)
from tests.fixtures.networks import DataDependent, SqueezeExcite


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
        model[4].weight.data = model[4].weight.data * 0.5  # which leaves its version as it was
    found = by_changes(inference, boxes)
    expected = by_whole_passes(model, IMAGE, boxes)
    assert torch.allclose(found, expected, rtol=0, atol=1e-11)


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = 2.0

    def forward(self, x):
        return x * self.factor


def test_changed_modules_and_attributes_are_read_with_the_next_question():
    scaled = Scaled()
    model = small_network(nn.Conv2d(3, 8, 3, padding=1), scaled, nn.LeakyReLU(0.1))
    inference = inference_of(model)
    boxes = boxes_over(IMAGE, (6, 6), (13, 11))

    def expect_current():
        expected = by_whole_passes(model, IMAGE, boxes)
        assert torch.allclose(by_changes(inference, boxes), expected, rtol=0, atol=1e-11)

    expect_current()
    scaled.factor = 3.0
    expect_current()
    model[2].negative_slope = 0.7
    expect_current()
    model[2] = nn.Tanh()
    expect_current()
    model[0].forward = lambda x: x[:, :1].expand(-1, 8, -1, -1)
    with pytest.raises(NotIncremental, match="'0' has been replaced"):
        by_changes(inference, boxes)


class OverView(nn.Module):
    """Writes over a view of a map that is used again; masks change its logits little."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 6)

    def forward(self, x):
        x = self.conv(x)
        x[:, :4].relu_()
        return 1e3 * torch.arange(6) + self.head(x.mean((2, 3)))


class ByKeyword(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.head = nn.Conv2d(3, 8, 3), nn.ReLU(True), nn.Linear(8, 6)

    def forward(self, x):
        x = self.conv(x)
        y = self.relu(input=x)
        return 1e3 * torch.arange(6) + self.head((x + y).mean((2, 3)))


@pytest.mark.parametrize("kind", [OverView, ByKeyword])
def test_memory_that_is_written_over_is_seen_by_whoever_shares_it_or_refused(kind):
    model = alive(kind()).double()
    boxes = boxes_over(IMAGE, (6, 6), (13, 11))
    try:
        inference = inference_of(model)
    except NotIncremental:
        return
    expected = by_whole_passes(model, IMAGE, boxes)
    assert torch.allclose(by_changes(inference, boxes), expected, rtol=0, atol=1e-9)


def test_a_dropout_that_would_write_over_a_view_in_training_is_no_hindrance():
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2, inplace=True), nn.Linear(8, 6))
    model = alive(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), *head)).double()
    expect_equal(model, IMAGE, boxes_over(IMAGE, (6, 6), (13, 11)), inference_of(model))


def test_a_hook_that_comes_later_is_not_passed_over():
    model = small_network()
    inference = inference_of(model)
    handle = model[0].register_forward_hook(lambda _module, _args, output: output * 2)
    boxes = boxes_over(IMAGE, (6, 6), (13, 11))
    with pytest.raises(NotIncremental, match="hook"):
        by_changes(inference, boxes)
    handle.remove()
    found = by_changes(inference, boxes)
    assert torch.allclose(found, by_whole_passes(model, IMAGE, boxes), rtol=0, atol=1e-11)


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
