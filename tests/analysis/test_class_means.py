"""Means by class: against plain sums, evenly chosen, and in small steps."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from fixtures.networks import IMAGE, SMALL, Attention, chain, conv
from torch import nn

from nbviz import Network
from nbviz.analysis.activations import activations
from nbviz.analysis.class_means import choose_evenly, class_means
from nbviz.analysis.layers import UnknownLayerError

LABELS = [0, 2, 2, 0, 2, 0, 2, 2, 0, 4]


@pytest.fixture
def network():
    torch.manual_seed(1)
    return Network(chain(conv(), nn.ReLU(), conv((4, 6))), input_shape=IMAGE)


@pytest.fixture
def images():
    return torch.randn((10, *IMAGE), generator=torch.Generator().manual_seed(2))


def test_means_are_those_of_plain_sums_at_every_step(network, images):
    steps = list(class_means(network, "1", images, LABELS, classes=5))
    order = choose_evenly(np.array(LABELS), 5, 200)
    assert [step.done for step in steps] == list(range(1, 11))
    assert {step.total for step in steps} == {10}
    for step in steps:
        seen = order[: step.done]
        for cls in range(5):
            of = [i for i in seen if LABELS[i] == cls]
            assert step.counts[cls] == len(of)
            maps = [activations(network, images[i], "1")["1"].maps for i in of]
            if of:
                expected = np.mean([[float(m.mean()) for m in each] for each in maps], axis=0)
                np.testing.assert_allclose(step.means[cls], expected, rtol=1e-5)
            else:
                assert np.isnan(step.means[cls]).all()
        for cls in range(5):
            others = [i for i in seen if LABELS[i] != cls]
            if not others or not step.counts[cls]:
                assert np.isnan(step.difference(cls)).all()
                continue
            rest = [activations(network, images[i], "1")["1"].maps.mean((1, 2)) for i in others]
            expected = step.means[cls] - np.mean(rest, axis=0)
            np.testing.assert_allclose(step.difference(cls), expected, atol=1e-6)


def test_a_result_does_not_change_as_more_images_are_seen(network, images):
    steps = class_means(network, "1", images, LABELS, classes=5)
    first = next(steps)
    counts, means = first.counts.copy(), first.means.copy()
    list(steps)
    np.testing.assert_array_equal(first.counts, counts)
    np.testing.assert_array_equal(first.means, means)


@pytest.mark.parametrize(("limit", "counts"), [(3, [1, 1, 1]), (5, [2, 2, 1]), (7, [3, 3, 1])])
def test_images_are_chosen_evenly_by_class_and_classes_take_turns(limit, counts, network, images):
    *_, last = class_means(network, "0", images, LABELS, classes=5, limit=limit)
    assert last.counts[[0, 2, 4]].tolist() == counts
    chosen = choose_evenly(np.array(LABELS), 5, limit)
    assert len(set(chosen)) == limit
    assert [LABELS[i] for i in chosen[:3]] == [0, 2, 4]
    assert chosen == choose_evenly(np.array(LABELS), 5, limit)


def test_within_a_class_images_are_spread_over_all_of_it():
    assert choose_evenly(np.zeros(101, int), 1, 3) == [0, 50, 100]
    for limit in range(1, 30):
        chosen = choose_evenly(np.zeros(29, int), 1, limit)
        assert len(set(chosen)) == limit == len(chosen)


def test_only_the_chosen_images_are_looked_at_one_a_step(network, images):
    looked = []

    class Lazily:
        def __len__(self):
            return len(LABELS)

        def __getitem__(self, number):
            looked.append(number)
            return images[number]

    steps = class_means(network, "0", Lazily(), LABELS, classes=5, limit=4)
    assert looked == []
    for count, _ in enumerate(steps, start=1):
        assert len(looked) == count
        assert network.lock.acquire(blocking=False)
        network.lock.release()
        assert torch.is_grad_enabled()
    assert looked == choose_evenly(np.array(LABELS), 5, 4)


def test_images_without_a_label_are_left_out_and_names_are_understood(network, images):
    labels = ["cat", None, "dog", "cat", None, "cat", "dog", "dog", None, None]
    by_name = list(class_means(network, "1", images, labels, classes=["dog", "newt", "cat"]))
    numbers = [{"cat": 2, "dog": 0, None: None}[label] for label in labels]
    by_number = list(class_means(network, "1", images, numbers, classes=3))
    assert len(by_name) == len(by_number) == 6
    np.testing.assert_array_equal(by_name[-1].means, by_number[-1].means)
    assert by_name[-1].counts.tolist() == [3, 0, 3]
    named = Network(network.model, classes=["dog", "newt", "cat"], input_shape=IMAGE)
    assert len(next(class_means(named, "1", images, labels)).counts) == 3
    assert len(next(class_means(network, "1", images, numbers)).counts) == 3
    assert list(class_means(network, "1", images, [None] * 10)) == []


def test_tokens_apart_from_the_grid_do_not_count():
    torch.manual_seed(3)
    network = Network(Attention(registers=2), input_shape=IMAGE)
    image = torch.randn(1, *IMAGE)
    (step,) = class_means(network, "norm", image, [0])
    maps = activations(network, image[0], "norm")["norm"].maps
    np.testing.assert_allclose(step.means[0], maps.reshape(8, -1).mean(1), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("labels", "classes", "error", "advice"),
    [
        ([0, 1], 5, ValueError, "2 labels for 10 images"),
        ([7] * 10, 5, ValueError, "0 to 4, got 7"),
        ([-1] * 10, 5, ValueError, "0 or more"),
        ([0.5] * 10, 5, TypeError, "float"),
        (["cats"] * 10, ["cat", "dog"], ValueError, "did you mean 'cat'"),
        (["cat"] * 10, 5, ValueError, "pass `classes`"),
    ],
)
def test_wrong_labels_are_refused_before_an_image_is_looked_at(
    labels, classes, error, advice, network, images
):
    with pytest.raises(error, match=advice):
        class_means(network, "0", images, labels, classes=classes)


def test_wrong_layers_and_classes_are_refused(network, images):
    with pytest.raises(UnknownLayerError, match="got 'conv'"):
        class_means(network, "conv", images, LABELS)
    make, shape = SMALL["windows"]
    with pytest.raises(ValueError, match="can be drawn"):
        class_means(
            Network(make(), input_shape=shape), "scaled_dot_product_attention", images, LABELS
        )
    step = next(class_means(network, "0", images, LABELS))
    for cls in (-1, 5):
        with pytest.raises(IndexError, match=f"0 to 4, got {cls}"):
            step.difference(cls)


def test_choosing_stays_quick_for_many_classes():
    labels = np.array(list(itertools.islice(itertools.cycle(range(1000)), 5000)))
    chosen = choose_evenly(labels, 1000, 2500)
    counts = np.bincount(labels[chosen], minlength=1000)
    assert (counts.min(), counts.max(), len(set(chosen))) == (2, 3, 2500)
