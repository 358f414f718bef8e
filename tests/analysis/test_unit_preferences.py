"""What channels prefer, against plain loops over classes and images."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fixtures.networks import IMAGE, chain, conv
from torch import nn

from nbviz import Network
from nbviz.analysis.patch_likeness import diversity, false_friends, purity, similarities
from nbviz.analysis.unit_places import sees_padding
from nbviz.analysis.unit_preferences import (
    SEES_PADDING,
    middle,
    positions_of,
    preferences,
    selectivity,
)

NUMBERS = np.array([2, 5, 6, 9])


def plain_selectivity(means, numbers, chosen=None):
    """Class and index of one channel, from the class means that are numbers."""
    known = {int(n): float(m) for n, m in zip(numbers, means, strict=True) if not np.isnan(m)}
    inside = {n: m for n, m in known.items() if chosen is None or n in chosen}
    best = -1
    if inside and max(known.values()) > min(known.values()):
        best = min(n for n in inside if inside[n] == max(inside.values()))
    if chosen is None and known:
        top = min(n for n in known if known[n] == max(known.values()))
        inside = {top: known[top]}
    others = [m for n, m in known.items() if n not in inside]
    if not inside or not others:
        return best, np.nan
    a, b = np.mean(list(inside.values())), np.mean(others)
    lowest = min([0.0, *(float(m) for m in means if not np.isnan(m))])
    return best, (a - b) / (a - lowest + b - lowest) if a != b else 0.0


@pytest.mark.parametrize("offset", [0.0, -0.5, -5.0])
@pytest.mark.parametrize("chosen", [None, [5], [2, 9], [9, 7, 2, 6]])
def test_selectivity_is_the_index_of_each_channel(offset, chosen):
    means = np.random.default_rng(0).random((4, 30)) + offset
    means[:, 0], means[:, 1], means[:, 2] = 0, 3, np.nan
    means[1:, 3] = np.nan
    means[0, 4] = np.nan
    means[:, 5] = [1, 1, 0, 0]
    best, index = selectivity(means, NUMBERS, chosen)
    assert best.dtype == np.int64
    for channel in range(30):
        wanted = plain_selectivity(means[:, channel], NUMBERS, chosen)
        assert best[channel] == wanted[0]
        assert index[channel] == pytest.approx(wanted[1], abs=1e-12, nan_ok=True)


def test_selectivity_is_that_of_the_paper_for_rectified_activations():
    means = np.random.default_rng(1).random((4, 50))
    _, index = selectivity(means, NUMBERS)
    for channel in range(50):
        ordered = np.sort(means[:, channel])
        high, rest = ordered[-1], ordered[:-1].mean()
        assert index[channel] == pytest.approx((high - rest) / (high + rest), abs=1e-12)
    assert selectivity(np.array([[4.0], [0.0]]), np.arange(2))[1].tolist() == [1.0]


def test_unknown_classes_count_nowhere():
    means = np.array([[100.0, 100.0], [1.0, 2.0], [3.0, 1.0]])
    best, index = selectivity(means, np.array([-1, 4, 8]))
    assert best.tolist() == [8, 4]
    assert index == pytest.approx([0.5, 1 / 3])


@pytest.mark.parametrize("numbers", [[], [-1], [3]])
def test_one_class_is_no_preference(numbers):
    best, index = selectivity(np.ones((len(numbers), 2)), np.array(numbers, np.int64))
    assert best.tolist() == [-1, -1]
    assert np.isnan(index).all()


def test_chosen_classes_need_images_on_both_sides():
    means = np.ones((4, 2))
    with pytest.raises(ValueError, match=r"images of these classes, got classes \[1, 3\] of 4"):
        selectivity(means, NUMBERS, [1, 3])
    with pytest.raises(
        ValueError, match=r"some other class too, got classes \[2, 5, 6, 9, 1, \.\.\."
    ):
        selectivity(means, NUMBERS, [2, 5, 6, 9, 1, 3])


def test_positions_are_those_of_equal_numbers():
    index = np.array([3, 4, 8, 11, 20])
    asked = np.random.default_rng(0).integers(-2, 25, (7, 6))
    found = positions_of(index, asked)
    for at in np.ndindex(asked.shape):
        number = int(asked[at])
        assert found[at] == (index.tolist().index(number) if number in index else -1)
    assert (positions_of(index[:0], asked) == -1).all()


def layer_of_channels(channels: int):
    torch.manual_seed(0)
    model = chain(conv((3, 4), padding=1), nn.ReLU(), conv((4, channels), 5, padding=2))
    return Network(model, input_shape=IMAGE).layers["2"]


def statistics_and_images(channels: int, k: int, *, features: int = 6):
    generator = np.random.default_rng(0)
    index = np.sort(generator.choice(500, 80, replace=False))
    image = generator.choice(index, (channels, k))
    image[0, 2:] = -1
    image[1, 1] = 501  # not among the rows
    row, col = generator.integers(0, 24, (channels, k)), generator.integers(0, 20, (channels, k))
    row[0, 2:], col[0, 2:] = 0, 0
    top = SimpleNamespace(value=generator.random((channels, k)), image=image, row=row, col=col)
    statistics = SimpleNamespace(
        top=top, classes=np.arange(5), class_peaks=generator.random((5, channels))
    )
    images = SimpleNamespace(
        index=index,
        label=generator.integers(-1, 5, 80).astype(np.int32),
        features=generator.normal(1, 1, (80, features)).astype(np.float32),
    )
    return statistics, images


@pytest.mark.parametrize("classes", [None, [1, 3]])
def test_preferences_join_all_of_it(classes):
    statistics, images = statistics_and_images(12, 7)
    layer = layer_of_channels(12)
    found = preferences(statistics, images, layer, classes=classes, top=4)
    position = {int(number): at for at, number in enumerate(images.index)}
    at = np.array([[position.get(int(n), -1) for n in row] for row in statistics.top.image])
    labels = np.array([[images.label[n] if n >= 0 else -1 for n in row] for row in at])
    np.testing.assert_array_equal(found.labels, labels)
    best, index = selectivity(statistics.class_peaks, statistics.classes, classes)
    np.testing.assert_array_equal(found.best, best)
    np.testing.assert_allclose(found.selectivity, index, rtol=1e-6)
    alike = similarities(images.features, at)
    np.testing.assert_allclose(found.diversity, diversity(alike, 4), rtol=1e-6)
    np.testing.assert_allclose(found.purity, purity(labels), rtol=1e-6)
    edge = sees_padding(layer, statistics.top.row, statistics.top.col)
    edge &= statistics.top.image >= 0
    assert edge.any()
    assert not edge[0, 2:].any()
    np.testing.assert_array_equal(
        found.flags, false_friends(labels, alike) + SEES_PADDING * edge.astype(int)
    )
    types = [found.best, found.selectivity, found.diversity, found.purity, found.labels]
    assert [str(each.dtype) for each in types] == ["int32", *3 * ["float32"], "int32"]
    assert found.flags.dtype == np.uint8


def test_preferences_do_without_features_labels_and_places():
    statistics, images = statistics_and_images(12, 7, features=0)
    vectors = Network(nn.Linear(4, 12), input_shape=(4,)).layers[0]
    for layer in (None, vectors):
        found = preferences(statistics, images, layer)
        assert np.isnan(found.diversity).all()
        assert (found.flags <= 1).all()
    nothing = SimpleNamespace(
        index=np.zeros(0, np.int64), label=np.zeros(0, np.int32), features=np.zeros((0, 0))
    )
    statistics.classes, statistics.class_peaks = np.zeros(0, np.int64), np.zeros((0, 12))
    found = preferences(statistics, nothing)
    assert (found.labels == -1).all()
    assert (found.best == -1).all()
    for numbers in (found.selectivity, found.diversity, found.purity):
        assert numbers.shape == (12,)
        assert np.isnan(numbers).all()


@pytest.mark.parametrize("count", [1, 3, 50])
def test_the_middle_is_nearest_the_median(count):
    generator = np.random.default_rng(0)
    value = generator.integers(0, 9, (5, 20)).astype(np.float32)  # many are equally near
    image = np.tile(np.sort(generator.choice(400, 20, replace=False)), (5, 1))
    value[1, 4:9] = np.nan
    image[2, 15:], value[2, 15:] = -1, np.nan
    value[3] = np.nan
    medians = generator.random(5) * 8
    sample = SimpleNamespace(value=value, image=image)
    statistics = SimpleNamespace(sample=sample, peak_quantile=lambda q: medians + (q != 0.5))
    for channel in range(5):
        usable = [i for i in range(20) if not np.isnan(value[channel, i])]
        usable.sort(key=lambda i: (abs(float(value[channel, i]) - medians[channel]), i))
        wanted = sorted(usable[:count], key=lambda i: (-value[channel, i], i))
        assert middle(statistics, channel, count).tolist() == wanted


@pytest.mark.parametrize("channel", [-1, 5])
def test_the_middle_is_that_of_a_channel(channel):
    sample = SimpleNamespace(value=np.ones((5, 2)), image=np.ones((5, 2)))
    with pytest.raises(IndexError, match=f"channel from 0 to 4, got {channel}"):
        middle(SimpleNamespace(sample=sample, peak_quantile=lambda q: np.ones(5)), channel, 3)
