"""Occlusion maps: what Captum gives, what plain loops give, and whole when interrupted."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from captum.attr import Occlusion
from torch import nn

from nbviz import demos
from nbviz.analysis.capture import capture
from nbviz.analysis.masked_inference import masked_inference
from nbviz.analysis.occlusion import occlusion_map, occlusion_steps, replacement
from nbviz.analysis.occlusion_survey import levels
from nbviz.network import Network
from tests.fixtures.networks import SMALL, Forward, chain, conv, zoo

# Logits in float32, against passes of one image: a batch sums in another order.
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def digits():
    return demos.digits()


@pytest.fixture(scope="module")
def scenes():
    return demos.scenes()


def an_image(shape, seed=1):
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed))


def begins(length, size, stride):
    """Where masks begin along a side, by a loop."""
    found, start = [], 0
    while start + size <= length:
        found.append(start)
        start += stride
    if found[-1] + size < length:
        found.append(length - size)
    return found


def in_mask(shape, row, col, size):
    """Whether a pixel of the mask's box is covered."""
    if shape == "rectangle":
        return True
    down = (row + 0.5 - size[0] / 2) / (size[0] / 2)
    across = (col + 0.5 - size[1] / 2) / (size[1] / 2)
    return down**2 + across**2 <= 1


def masked_by_loops(batch, fill, top, left, shape, size):
    one = batch.clone()
    for row in range(size[0]):
        for col in range(size[1]):
            if in_mask(shape, row, col, size):
                one[0, :, top + row, left + col] = fill[0, :, top + row, left + col]
    return one


def captum(network, batch, target, size, stride, fill, kind="logit"):
    """The map in pixels (H, W) of Captum's `Occlusion`."""

    def forward(x):
        logits = network(x)
        return logits if kind == "logit" else logits.softmax(1)

    channels = batch.shape[1]
    found = Occlusion(forward).attribute(
        batch,
        sliding_window_shapes=(channels, *size),
        strides=(channels, *stride),
        baselines=fill,
        target=target,
        perturbations_per_eval=16,
    )
    return found[0, 0].numpy()


# Sides that masks and strides fill, as Captum cuts off what does not fit.
ZOO = {
    "alexnet": (96, 32, 16),
    "vgg11": (64, 16, 16),
    "resnet18": (96, 32, 16),
    "squeezenet1_0": (96, 24, 12),
    "resnet50": (64, 32, 32),
    "densenet121": (64, 16, 16),
    "mobilenet_v2": (64, 16, 12),
    "convnext_tiny": (64, 32, 16),
    "swin_t": (64, 32, 16),
}


@pytest.mark.parametrize("name", ZOO)
def test_the_map_in_pixels_is_captums(name):
    side, size, stride = ZOO[name]
    network = Network(zoo(name), input_shape=(3, side, side))
    batch = an_image((3, side, side))
    fill = replacement(network, batch, "blur")
    found = occlusion_map(network, batch, 7, size=size, stride=stride, fill=fill)
    for kind in ("logit", "probability"):
        expected = captum(network, batch, 7, (size,) * 2, (stride,) * 2, fill.batch, kind)
        spread = np.abs(expected).max()
        np.testing.assert_allclose(
            found.per_pixel(7, f"{kind} drop"), expected, rtol=0, atol=2e-3 * spread
        )


@pytest.mark.parametrize("demo", ["digits", "scenes"])
@pytest.mark.parametrize("fill", ["mean", "black", "blur"])
def test_the_demos_maps_are_captums(demo, fill, request):
    network, images, *_ = request.getfixturevalue(demo)
    size, stride = ((8, 4), (4, 2)) if demo == "digits" else ((16, 24), (8, 12))
    batch = network.prepare(images[4])
    filled = replacement(network, batch, fill)
    found = occlusion_map(network, images[4], size=size, stride=stride, fill=fill)
    expected = captum(network, batch, found.target, size, stride, filled.batch)
    np.testing.assert_allclose(
        found.per_pixel(kind="logit drop"), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.parametrize("shape", ["rectangle", "circle"])
@pytest.mark.parametrize(
    ("size", "stride"), [((7, 5), (4, 6)), ((32, 9), (1, 10)), ((6, 6), (9, 5)), ((1, 3), (13, 11))]
)
@pytest.mark.parametrize("way", ["plain", "auto"])
def test_every_position_has_the_answer_of_a_pass_of_its_own(digits, shape, size, stride, way):
    network, images, *_ = digits
    batch = network.prepare(images[11])
    fill = replacement(network, batch, "noise", seed=3)
    found = occlusion_map(
        network, images[11], 2, size=size, stride=stride, shape=shape, fill=fill, way=way
    )
    tops, lefts = (begins(32, size[k], stride[k]) for k in (0, 1))
    assert found.tops.tolist() == tops
    assert found.lefts.tolist() == lefts
    assert found.complete
    assert found.computed_share == 1
    total, count = np.zeros((2, 32, 32))
    base = network(batch)[0].double()
    for i, top in enumerate(tops):
        for j, left in enumerate(lefts):
            one = masked_by_loops(batch, fill.batch, top, left, shape, size)
            logits = network(one)[0].double()
            np.testing.assert_allclose(found.logits[i, j], logits, rtol=0, atol=TOLERANCE * 50)
            powers = [math.exp(float(logit)) for logit in logits]
            probability = powers[2] / sum(powers)
            assert found.values(2)[i, j] == pytest.approx(probability, abs=1e-4)
            assert found.argmax[i, j] == int(logits.argmax())
            assert found.top_classes[i, j].tolist() == logits.argsort(descending=True)[:5].tolist()
            assert found.top_probabilities[i, j, 0] == pytest.approx(
                max(powers) / sum(powers), abs=1e-4
            )
            drop = float(base[2] - logits[2])
            assert found.values(2, "logit drop")[i, j] == pytest.approx(drop, abs=1e-3)
            for row in range(size[0]):
                for col in range(size[1]):
                    if in_mask(shape, row, col, size):
                        total[top + row, left + col] += drop
                        count[top + row, left + col] += 1
    expected = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    np.testing.assert_allclose(found.per_pixel(2, "logit drop"), expected, rtol=0, atol=1e-3)


def test_probabilities_and_drops_are_those_of_the_softmax_over_all_classes(digits):
    network, images, *_ = digits
    found = occlusion_map(network, images[0], size=8, stride=8, classes=[1, 3], fill="grey")
    base = network(network.prepare(images[0])).softmax(1)[0].numpy()
    assert found.classes.tolist() == [1, 3, 5]
    assert found.base(3, "probability") == pytest.approx(base[3], rel=1e-5)
    np.testing.assert_allclose(
        found.values(3, "probability drop"), base[3] - found.values(3), rtol=0, atol=1e-6
    )
    with pytest.raises(ValueError, match=r"expected one of the \d classes.*classes=\[0"):
        found.values(0)
    with pytest.raises(ValueError, match="'logit drop'"):
        found.values(3, "drop")


def test_many_classes_are_kept_as_long_as_memory_allows(monkeypatch):
    network = Network(zoo("squeezenet1_0"), input_shape=(3, 64, 64))
    batch = an_image((3, 64, 64))
    found = occlusion_map(network, batch, 5, size=32, stride=16)
    assert len(found.classes) == 1000
    monkeypatch.setattr("nbviz.analysis.occlusion_survey._ALL_BYTES", 1000)
    few = occlusion_map(network, batch, int(np.argmin(found.base_logits)), size=32, stride=16)
    assert len(few.classes) == 101
    top = np.argsort(-few.base_logits, kind="stable")[:100]
    assert set(few.classes.tolist()) == {*top.tolist(), few.target}
    place = few.classes.tolist().index(few.target)
    np.testing.assert_allclose(
        few.logits[..., place], found.logits[..., few.target], rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("way", ["plain", "auto"])
def test_sums_of_feature_maps_are_those_under_each_mask(digits, way):
    network, images, *_ = digits
    watch = [network.layers[0].name, network.layers[3].name]
    found = occlusion_map(network, images[5], size=8, stride=12, watch=watch, way=way)
    batch = network.prepare(images[5])
    fill = replacement(network, batch, "mean")
    for name in watch:
        whole = capture(network, batch, [name]).values[name][0].sum((1, 2))
        np.testing.assert_allclose(found.base_sums[name], whole, rtol=1e-4, atol=1e-2)
        for i, top in enumerate(found.tops):
            for j, left in enumerate(found.lefts):
                one = masked_by_loops(batch, fill.batch, top, left, "rectangle", (8, 8))
                value = capture(network, one, [name]).values[name][0]
                expected = [float(channel.sum()) for channel in value]
                np.testing.assert_allclose(found.sums[name][i, j], expected, rtol=1e-4, atol=1e-2)


def test_several_images_give_a_map_each(digits):
    network, images, *_ = digits
    single = occlusion_map(network, images[1], 3, size=8, stride=8)
    tensors = torch.cat([network.prepare(image) for image in images[:2]])
    for several in (list(images[:2]), tensors):
        maps = occlusion_map(network, several, 3, size=8, stride=8)
        assert len(maps) == 2
        np.testing.assert_array_equal(maps[1].logits, single.logits)
    assert not isinstance(single, list)


def test_levels_hold_every_cell_once_and_coarse_ones_reach_the_border():
    for rows, cols in ((1, 1), (2, 3), (9, 9), (13, 22), (53, 8)):
        cells = list(levels(rows, cols, 8))
        assert sorted(np.concatenate(cells).tolist()) == list(range(rows * cols))
        assert {0, cols - 1, (rows - 1) * cols, rows * cols - 1} <= set(cells[0].tolist())
    assert [len(part) for part in levels(17, 17, 8)] == [9, 25 - 9, 81 - 25, 289 - 81]


def test_a_coarse_picture_stands_early_and_each_map_stays_as_it_was(digits):
    network, images, *_ = digits
    seen, copies = [], []
    for so_far in occlusion_steps(network, images[2], size=8, stride=2):
        seen.append(so_far)
        copies.append((so_far.state.copy(), so_far.logits.copy()))
    assert [so_far.computed_share for so_far in seen] == sorted(s.computed_share for s in seen)
    assert seen[0].computed_share < 0.1
    assert not seen[0].complete
    assert seen[-1].complete
    for so_far, (state, logits) in zip(seen, copies, strict=True):
        np.testing.assert_array_equal(so_far.state, state)
        np.testing.assert_array_equal(so_far.logits, logits)
        known = so_far.state == 1
        assert np.isnan(so_far.values()[~known]).all()
        np.testing.assert_array_equal(so_far.values()[known], seen[-1].values()[known])
        assert not np.isnan(so_far.filled()).any()
        assert np.isfinite(so_far.per_pixel()).any()


def test_what_is_not_there_yet_takes_the_nearest_value(digits):
    network, images, *_ = digits
    coarse = next(occlusion_steps(network, images[2], size=8, stride=2))
    filled, values = coarse.filled(kind="logit"), coarse.values(kind="logit")
    known = np.argwhere(coarse.state == 1)
    for row, col in np.ndindex(values.shape):
        apart = ((known - (row, col)) ** 2).sum(1)
        nearest = known[apart == apart.min()]
        assert filled[row, col] in [values[r, c] for r, c in nearest]


class Interrupting(nn.Module):
    """Is interrupted at one pass, as by a person's Ctrl-C."""

    def __init__(self, inner, at):
        super().__init__()
        self.inner, self.counter = inner, iter(range(10**9))
        self.at = at

    def forward(self, x):
        if next(self.counter) == self.at:
            raise KeyboardInterrupt
        return self.inner(x)


def test_an_interrupt_leaves_a_map_to_use_and_to_go_on_with(digits):
    plain, images, *_ = digits
    model = Interrupting(plain.model, at=10**9)
    network = Network(model, plain.transform, plain.classes, input_shape=plain.input_shape)
    batch = network.prepare(images[8])
    fill = replacement(network, batch)
    inference = masked_inference(network, batch, way="plain")
    model.at = next(model.counter) + 12
    latest = None
    with pytest.raises(KeyboardInterrupt):
        for latest in occlusion_steps(  # noqa: B007 - it is what is left
            network, images[8], size=8, stride=1, fill=fill, inference=inference
        ):
            pass
    assert 0 < latest.computed_share < 1
    assert not latest.complete
    assert np.isfinite(latest.filled()).all()
    asked = []
    inference.run, run = lambda boxes: asked.append(len(boxes)) or run(boxes), inference.run
    *_, whole = occlusion_steps(
        network, images[8], size=8, stride=1, fill=fill, inference=inference, resume=latest
    )
    assert sum(asked) == whole.state.size - int((latest.state == 1).sum())
    expected = occlusion_map(plain, images[8], size=8, stride=1, way="plain")
    np.testing.assert_allclose(whole.logits, expected.logits, rtol=0, atol=1e-3)
    done = latest.state == 1
    np.testing.assert_array_equal(whole.logits[done], latest.logits[done])


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("size", {"size": 9}),
        ("stride", {"stride": 5}),
        ("mask_shape", {"shape": "circle"}),
        ("fill_note", {"fill": "black"}),
        ("classes", {"classes": [1]}),
        ("same image", {"image": 3}),
        ("watch", {"watch": ["0"]}),
    ],
)
def test_a_map_of_other_settings_is_not_mixed_in(digits, name, other):
    network, images, *_ = digits
    if "watch" in other:
        other = {"watch": [network.layers[0].name]}
    settings = {"size": 8, "stride": 8, "fill": "blur", "image": 2}
    first = {**settings, **other}
    earlier = occlusion_map(network, images[first.pop("image")], 1, **first)
    settings.pop("image")
    with pytest.raises(ValueError, match=f"{name}.*resume"):
        occlusion_steps(network, images[2], 1, **settings, resume=earlier)


def test_new_weights_are_not_mixed_with_a_map_of_old_ones(digits):
    _, images, *_ = digits
    network = demos.digits().network
    earlier = occlusion_map(network, images[2], 1, size=8, stride=8)
    with torch.no_grad():
        next(network.model.parameters()).mul_(1.5)
    with pytest.raises(ValueError, match="weights"):
        occlusion_steps(network, images[2], 1, size=8, stride=8, resume=earlier)


def test_logits_that_are_no_numbers_stay_and_are_counted():
    def forward(net, x):
        # NaN as soon as the upper left corner is covered
        logits = net.last(net.conv(x).mean((2, 3)))
        return torch.where(x[:, :1, 0, 0] == 0, torch.nan, logits)

    torch.manual_seed(0)
    model = Forward(forward, conv=conv((3, 4)), last=nn.Linear(4, 7))
    network = Network(model, input_shape=(3, 24, 20))
    batch = an_image((3, 24, 20)).abs() + 1
    found = occlusion_map(network, batch, 1, size=4, stride=4, fill="black")
    assert found.not_numbers == 1
    assert np.isnan(found.values()).sum() == np.isnan(found.logits[0, 0]).all() == 1
    assert found.complete
    assert (found.top_classes[0, 0] == -1).all()
    assert (found.top_classes[1:] >= 0).all()


def test_a_class_at_minus_infinity_is_no_reason_for_nan():
    class Barred(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = SMALL["classifier"][0]()

        def forward(self, x):
            return self.inner(x).index_fill(1, torch.tensor([2]), -torch.inf)

    torch.manual_seed(0)
    found = occlusion_map(
        Network(Barred().eval(), input_shape=(3, 24, 20)),
        an_image((3, 24, 20)),
        1,
        size=8,
        stride=8,
    )
    assert found.not_numbers == 0
    assert np.isfinite(found.values()).all()
    assert (found.values(2) == 0).all()


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"size": 33}, ValueError, "no larger than the image, got 33 pixels for an image of 32"),
        ({"size": (8, 40)}, ValueError, "got 40 pixels"),
        ({"size": 0}, ValueError, "at least 1 pixel, got size 0"),
        ({"stride": 0}, ValueError, "stride 0"),
        ({"stride": -4}, ValueError, "stride -4"),
        ({"size": 2.5}, TypeError, "whole number of pixels"),
        ({"size": (4, 4, 4)}, TypeError, "rows, columns"),
        ({"stride": True}, TypeError, "whole number"),
        ({"shape": "star"}, ValueError, "'rectangle' or 'circle'"),
        ({"target": 10}, IndexError, "from 0 to 9, got 10"),
        ({"target": "sevn"}, ValueError, "expected the name of one of 10 classes"),
        ({"classes": [3, "x"]}, ValueError, "got 'x'"),
        ({"fill": "gray"}, ValueError, "'grey'"),
        ({"tolerance": -1}, ValueError, "such as 0.05"),
        ({"tolerance": float("nan")}, ValueError, "such as 0.05"),
        ({"way": "fast"}, ValueError, "'incremental'"),
        ({"watch": ["nothing"]}, KeyError, "layer names, got 'nothing'"),
    ],
)
def test_what_cannot_be_is_said_before_any_work(digits, settings, kind, said):
    network, images, *_ = digits
    with pytest.raises(kind, match=said):
        occlusion_steps(network, images[0], **settings)


def test_an_image_of_another_size_and_a_network_without_classes_are_refused(digits):
    network = digits.network
    with pytest.raises(ValueError, match=r"\(1, 32, 32\).*\(1, 40, 40\)"):
        occlusion_map(network, torch.zeros(1, 40, 40))
    maps = Network(chain(conv()), input_shape=(3, 24, 20))
    with pytest.raises(ValueError, match="classifier"):
        occlusion_map(maps, an_image((3, 24, 20)), size=4, stride=4)


def test_the_model_is_left_in_training_with_its_dropout(digits):
    _, images, *_ = digits
    network = demos.digits().network
    network.model.append(nn.Dropout(0.9))
    network.model.train()
    modes = {name: module.training for name, module in network.model.named_modules()}
    state = torch.get_rng_state()
    found = occlusion_map(network, images[0], size=8, stride=8)
    again = occlusion_map(network, images[0], size=8, stride=8)
    np.testing.assert_array_equal(found.logits, again.logits)
    np.testing.assert_array_equal(
        found.logits, occlusion_map(digits.network, images[0], size=8, stride=8).logits
    )
    assert {name: module.training for name, module in network.model.named_modules()} == modes
    assert torch.equal(torch.get_rng_state(), state)


def test_the_map_says_what_it_was_made_with(scenes):
    network, images, *_, classes = tuple(scenes)
    found = occlusion_map(network, images[3], "mushroom", size=24, stride=24, fill=(10, 200, 30))
    assert found.class_name(found.target) == "mushroom"
    assert found.class_names == classes
    assert found.fill == "colour"
    assert found.fill_note == "colour, (10, 200, 30) in pixels"
    assert found.image_shape == (3, 96, 96)
    assert found.way in ("incremental", "partly incremental")
    assert found.tolerance is None
