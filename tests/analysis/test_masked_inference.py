"""Masked inputs the plain way: the answers of one pass each, whatever the network and memory."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch import nn

from nbviz.analysis.capture import capture
from nbviz.analysis.layers import UnknownLayerError
from nbviz.analysis.masked_boxes import place_sums
from nbviz.analysis.masked_inference import Boxes, PlainInference, masked_inference
from nbviz.network import Network
from tests.fixtures.networks import SMALL, ZOO, Forward, chain, conv, zoo

CLASSIFIERS = {name: SMALL[name] for name in ("classifier", "flattened")}
# Float32: a batch of another size sums in another order.
TOLERANCE = 1e-5


def boxes_in(image, count, size=(5, 4), seed=0):
    """Boxes at random places and what stands in them, as boxes and as whole inputs."""
    rng = np.random.default_rng(seed)
    _, channels, height, width = image.shape
    tops = rng.integers(0, height - size[0] + 1, count)
    lefts = rng.integers(0, width - size[1] + 1, count)
    filling = torch.from_numpy(rng.normal(size=(count, channels, *size)).astype(np.float32))
    whole = []
    for top, left, pixels in zip(tops, lefts, filling, strict=True):
        one = image.clone()
        for channel in range(channels):
            for row in range(size[0]):
                for col in range(size[1]):
                    one[0, channel, top + row, left + col] = pixels[channel, row, col]
        whole.append(one)
    return Boxes(tops, lefts, size, lambda numbers: filling[numbers]), whole


def classifier():
    torch.manual_seed(0)
    layers = [conv((3, 6), padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return chain(*layers, nn.Linear(6, 4)).eval()


def an_image(shape=(3, 24, 20), seed=1):
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed))


def answers_of(inference, boxes):
    """Logits and sums in the order of the boxes, and that each came once."""
    batches = list(inference.run(boxes))
    numbers = np.concatenate([batch.numbers for batch in batches])
    assert sorted(numbers.tolist()) == list(range(len(boxes)))
    order = np.argsort(numbers)
    sums = {
        name: torch.cat([batch.sums[name] for batch in batches])[order] for name in inference.sums
    }
    return torch.cat([batch.logits for batch in batches])[order], sums


@pytest.mark.parametrize("name", [*CLASSIFIERS, *ZOO])
def test_answers_are_those_of_one_pass_each(name):
    if name in ZOO:
        model, shape = zoo(name), (3, ZOO[name], ZOO[name])
    else:
        torch.manual_seed(0)
        model, shape = CLASSIFIERS[name][0](), CLASSIFIERS[name][1]
    network, image = Network(model.eval(), input_shape=shape), an_image(shape)
    layers = network.layers
    watch = [layers[0].name, layers[len(layers) // 2].name, layers[-1].name]
    watch = [layer for layer in dict.fromkeys(watch) if layers[layer].layout != "other"]
    boxes, whole = boxes_in(image, 5, size=(9, 7))
    inference = PlainInference(network, image, watch=watch)
    logits, sums = answers_of(inference, boxes)
    for number, one in enumerate(whole):
        expected = network(one)[0]
        spread = float((expected - expected.mean()).abs().max())
        torch.testing.assert_close(logits[number], expected, rtol=0, atol=TOLERANCE * spread)
        torch.testing.assert_close(
            inference.once(one, None), expected, rtol=0, atol=TOLERANCE * spread
        )
        values = capture(network, one, watch).values
        for layer in watch:
            expected = place_sums(layers[layer], values[layer])[0]
            scale = float(values[layer].abs().sum()) / len(expected)
            torch.testing.assert_close(sums[layer][number], expected, rtol=1e-4, atol=1e-5 * scale)
    torch.testing.assert_close(inference.logits, network(image)[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["attention", "registers", "channels last", "signal"])
def test_sums_over_places_count_each_place_of_the_grid_once(name):
    make, shape = SMALL[name]
    torch.manual_seed(0)
    network = Network(make().eval(), input_shape=shape)
    image = an_image(shape)
    for layer in network.layers:
        if layer.layout == "other":
            continue
        value = capture(network, image, [layer.name]).values[layer.name]
        total = place_sums(layer, value)[0]
        if layer.layout == "maps":
            expected = [sum(row.sum() for row in channel) for channel in value[0]]
        elif layer.layout == "maps_last":
            expected = [value[0, :, :, k].sum() for k in range(value.shape[3])]
        elif layer.layout == "signal":
            expected = [channel.sum() for channel in value[0]]
        elif layer.layout == "vector":
            expected = list(value[0])
        else:
            places = range(layer.prefix_tokens, layer.prefix_tokens + np.prod(layer.grid or (0,)))
            places = places if layer.grid else range(value.shape[1])
            expected = [sum(value[0, t, k] for t in places) for k in range(value.shape[2])]
        torch.testing.assert_close(total, torch.stack(expected), rtol=1e-4, atol=1e-4)


def test_batches_keep_to_the_memory_that_was_given():
    network, image = Network(classifier(), input_shape=(3, 24, 20)), an_image()
    boxes, _ = boxes_in(image, 60)
    each = 4 * 4 * 6 * 24 * 20  # four outputs of the first layer in float32
    small = PlainInference(network, image, max_bytes=5 * each)
    assert max(len(batch.numbers) for batch in small.run(boxes)) <= 5
    assert max(len(batch.numbers) for batch in PlainInference(network, image).run(boxes)) > 5


class Hungry(nn.Module):
    """Runs out of memory above a size of batch."""

    def __init__(self, most, error, note=lambda size: None):
        super().__init__()
        self.inner, self.most, self.error, self.note = classifier(), most, error, note

    def forward(self, x):
        self.note(len(x))
        if len(x) > self.most:
            raise self.error
        return self.inner(x)


OUT_OF_MEMORY = [
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda e: str(e)[:20] or "MemoryError")
def test_without_memory_batches_are_halved_and_the_work_goes_on(error):
    sizes = []  # not the model's own, which is put back after each pass
    model = Hungry(3, error, lambda size: sizes.append(size))
    network, image = Network(model, input_shape=(3, 24, 20)), an_image()
    boxes, whole = boxes_in(image, 30)
    inference = PlainInference(network, image)
    logits, _ = answers_of(inference, boxes)
    expected = torch.stack([model.inner(one)[0] for one in whole])
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    assert [size for size in sizes if size > 3] == [8, 4]  # tried once, and not again
    sizes.clear()
    answers_of(inference, boxes)
    assert max(sizes) <= 3


def test_a_single_input_too_large_and_other_errors_are_told():
    sizes = []
    model = Hungry(1, OUT_OF_MEMORY[1], lambda size: sizes.append(size))
    network, image = Network(model, input_shape=(3, 24, 20)), an_image()
    boxes, _ = boxes_in(image, 3)
    inference = PlainInference(network, image)
    model.most = 0
    with pytest.raises(RuntimeError, match="allocate memory"):
        list(inference.run(boxes))
    model = Hungry(1, RuntimeError("expected scalar type Half"), lambda size: sizes.append(size))
    inference = PlainInference(Network(model, input_shape=(3, 24, 20)), image)
    sizes.clear()
    with pytest.raises(RuntimeError, match="scalar type Half"):
        list(inference.run(boxes))
    assert sizes == [1, 1, 1, 2]  # not tried again with fewer


@pytest.mark.parametrize("way", ["view of a map", "other numbers"])
def test_a_network_that_cannot_do_with_channels_last_is_asked_without(way, monkeypatch):
    def forward(net, x):
        x = net.conv(x)
        if way == "view of a map":
            x = x.view(len(x), -1)  # raises unless channels come first in memory
        elif not x.is_contiguous():
            x = x + 1e-2 * torch.arange(6).view(6, 1, 1)
        return net.last(x.reshape(len(x), 6, -1).mean(2))

    torch.manual_seed(0)
    model = Forward(forward, conv=conv((3, 6)), last=nn.Linear(6, 4))
    network, image = Network(model.eval(), input_shape=(3, 24, 20)), an_image()
    boxes, whole = boxes_in(image, 300)
    inference = PlainInference(network, image)
    calls = iter(range(1, 10**6))  # each batch takes less time than the one before
    monkeypatch.setattr(inference, "_now", lambda: -1 / next(calls))
    logits, _ = answers_of(inference, boxes)
    assert inference._pace.formats_compared
    assert not inference._pace.channels_last
    expected = torch.stack([network(one)[0] for one in whole])
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)


def test_channels_last_where_it_pays_gives_the_same(monkeypatch):
    network, image = Network(classifier(), input_shape=(3, 24, 20)), an_image()
    boxes, whole = boxes_in(image, 300)
    inference = PlainInference(network, image)
    seen = []
    hook = network.model[0].register_forward_hook(
        lambda _m, args, _o: seen.append(args[0].is_contiguous(memory_format=torch.channels_last))
    )
    ticks = iter(range(10**6))

    def now():
        # contiguous batches take ten seconds, others none
        return 10.0 * sum(not last for last in seen) + 1e-6 * next(ticks)

    monkeypatch.setattr(inference, "_now", now)
    logits, _ = answers_of(inference, boxes)
    hook.remove()
    assert inference._pace.channels_last
    assert seen[-1]
    expected = torch.stack([network(one)[0] for one in whole])
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)


def test_a_network_that_writes_to_its_input_answers_the_same():
    def forward(net, x):
        return net.conv(x.mul_(-2).add_(1)).mean((2, 3))

    torch.manual_seed(0)
    network = Network(Forward(forward, conv=conv((3, 6))), input_shape=(3, 24, 20))
    image = an_image()
    before = image.clone()
    boxes, whole = boxes_in(image, 200)
    expected = torch.stack([network(one.clone())[0] for one in whole])
    inference = PlainInference(network, image)
    torch.testing.assert_close(inference.logits, network(image.clone())[0], rtol=0, atol=1e-5)
    assert torch.equal(inference.once(image, None), inference.once(image, None))
    assert torch.equal(image, before)
    logits, _ = answers_of(inference, boxes)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    again, _ = answers_of(inference, boxes)
    torch.testing.assert_close(again, expected, rtol=0, atol=1e-5)
    assert torch.equal(image, before)


def state_of(model):
    flags = {name: module.training for name, module in model.named_modules()}
    values = {name: value.clone() for name, value in model.state_dict().items()}
    hooks = [len(module._forward_hooks) for module in model.modules()]
    return flags, values, hooks, torch.get_rng_state()


def expect_same_state(model, before):
    flags, values, hooks, generator = state_of(model)
    assert flags == before[0]
    assert all(torch.equal(values[name], before[1][name]) for name in values)
    assert hooks == before[2]
    assert torch.equal(generator, before[3])


@pytest.mark.parametrize("way", ["plain", "auto"])
@pytest.mark.parametrize("stop", [None, ValueError, KeyboardInterrupt])
def test_a_network_in_training_answers_as_in_evaluation_and_stays_as_it_was(way, stop):
    torch.manual_seed(0)
    model = chain(
        conv((3, 6)), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Dropout(0.5), nn.Linear(24, 4),
    )  # fmt: skip
    model.train()
    model[1].eval()
    before = state_of(model)
    network, image = Network(model, input_shape=(3, 24, 20)), an_image()
    boxes, whole = boxes_in(image, 20)
    inference = masked_inference(network, image, way=way)
    if stop is None:
        logits, _ = answers_of(inference, boxes)
        expected = torch.stack([network(one)[0] for one in whole])
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    else:

        def pixels(numbers):
            raise stop("in the middle")

        with pytest.raises(stop):
            list(inference.run(Boxes(boxes.tops, boxes.lefts, boxes.size, pixels)))
    expect_same_state(model, before)


def test_the_model_is_free_between_two_batches():
    network, image = Network(classifier(), input_shape=(3, 24, 20)), an_image()
    boxes, _ = boxes_in(image, 40)
    running = PlainInference(network, image).run(boxes)
    next(running)
    got = []
    other = threading.Thread(target=lambda: got.append(network(image)))
    other.start()
    other.join(timeout=20)
    assert got, "a second thread waits for the model while nobody computes"
    running.close()


def test_the_way_says_itself_and_why():
    image = an_image()
    plain = masked_inference(Network(classifier(), input_shape=(3, 24, 20)), image, way="plain")
    assert plain.way == "plain"
    assert "whole network" in plain.reason
    small = Network(classifier(), input_shape=(3, 24, 20))
    assert masked_inference(small, image).way in ("incremental", "partly incremental")

    vector = Forward(lambda net, x: net.last(x.flatten(1)), last=nn.Linear(3 * 24 * 20, 4))
    network = Network(vector, input_shape=(3, 24, 20))
    fallen = masked_inference(network, image)
    assert fallen.way == "plain"
    assert ", as " in fallen.reason
    with pytest.raises(ValueError, match="leave way='auto'"):
        masked_inference(network, image, way="incremental")
    with pytest.raises(ValueError, match="'auto', 'plain', 'incremental'"):
        masked_inference(network, image, way="quick")


@pytest.mark.parametrize("way", ["plain", "auto"])
def test_what_is_no_classifier_or_no_image_is_refused(way):
    image = an_image()
    with pytest.raises(ValueError, match=r"at least two.*\d, 4, 22, 18\)"):
        masked_inference(Network(conv(), input_shape=(3, 24, 20)), image, way=way)
    one = Network(
        chain(conv((3, 1)), nn.AdaptiveAvgPool2d(1), nn.Flatten()), input_shape=(3, 24, 20)
    )
    with pytest.raises(ValueError, match=r"at least two.*\d, 1\)"):
        masked_inference(one, image, way=way)
    network = Network(classifier(), input_shape=(3, 24, 20))
    with pytest.raises(ValueError, match=r"\(2, 3, 24, 20\)"):
        masked_inference(network, torch.cat([image, image]), way=way)
    with pytest.raises(TypeError, match="prepare"):
        masked_inference(network, np.zeros((24, 20, 3)), way=way)
    with pytest.raises(UnknownLayerError, match="got 'conv9'"):
        masked_inference(network, image, watch=["conv9"], way=way)


def test_half_precision_answers_in_single():
    network = Network(classifier().to(torch.bfloat16), input_shape=(3, 24, 20))
    image = an_image()
    boxes, whole = boxes_in(image, 6)
    inference = PlainInference(network, image, watch=["0"])
    logits, sums = answers_of(inference, boxes)
    assert logits.dtype == sums["0"].dtype == torch.float32
    expected = torch.stack([network(one)[0] for one in whole]).float()
    torch.testing.assert_close(logits, expected, rtol=0, atol=2e-2)


class ByBatch(nn.Module):
    """Subtracts the batch's mean: what else is in a batch changes each answer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        x = self.conv(x).mean((2, 3))
        return x - x.mean(0)[None] / 2


class ByChance(ByBatch):
    def forward(self, x):
        return nn.functional.dropout(self.conv(x).mean((2, 3)), training=True)


def test_a_network_whose_answers_depend_on_the_batch_is_asked_one_by_one():
    torch.manual_seed(0)
    model = ByBatch().eval()
    image = torch.randn(1, 3, 12, 12)
    plain = masked_inference(Network(model, input_shape=(3, 12, 12)), image, way="plain")
    tops, lefts = (grid.reshape(-1) for grid in np.meshgrid([0, 3, 7], [0, 4, 8]))
    boxes = Boxes(tops, lefts, (4, 4), lambda numbers: torch.zeros(len(numbers), 3, 4, 4))
    for answer in plain.run(boxes):
        for number, logits in zip(answer.numbers, answer.logits, strict=True):
            masked = image.clone()
            masked[:, :, tops[number] : tops[number] + 4, lefts[number] : lefts[number] + 4] = 0
            with torch.no_grad():
                expected = model(masked)[0]
            assert torch.allclose(logits, expected, rtol=0, atol=1e-6)
    assert "one by one" in plain.reason


def test_a_network_that_answers_by_chance_is_said_to():
    network = Network(ByChance().eval(), input_shape=(3, 12, 12))
    plain = masked_inference(network, torch.randn(1, 3, 12, 12))
    boxes = Boxes(
        np.array([0, 4]), np.array([0, 4]), (4, 4), lambda n: torch.zeros(len(n), 3, 4, 4)
    )
    assert sum(len(answer.numbers) for answer in plain.run(boxes)) == 2
    assert "differently each time" in plain.reason


@pytest.mark.parametrize("way", ["plain", "incremental"])
def test_a_softmax_at_the_end_of_a_model_is_not_taken_twice(way):
    torch.manual_seed(0)
    bare = chain(conv((3, 6)), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)).eval()
    ended = nn.Sequential(bare, nn.Softmax(1))
    image = an_image()
    boxes, whole = boxes_in(image, 4)
    inference = masked_inference(Network(ended, input_shape=(3, 24, 20)), image, way=way)
    logits, _ = answers_of(inference, boxes)
    with torch.no_grad():
        expected = torch.cat([bare(one) for one in whole]).softmax(1)
    torch.testing.assert_close(logits.softmax(1), expected, rtol=0, atol=1e-6)
    assert "softmax" in inference.reason
    plain = masked_inference(Network(bare, input_shape=(3, 24, 20)), image, way=way)
    assert "softmax" not in plain.reason
