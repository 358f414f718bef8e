"""Diversity, purity and false friends against plain loops and scikit-learn."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.stats import median_abs_deviation
from sklearn.metrics.pairwise import cosine_distances, cosine_similarity

from nbviz.analysis.patch_likeness import (
    BESIDE_THE_CLASS,
    BESIDE_THE_LOOK,
    ClassShare,
    class_shares,
    diversity,
    false_friends,
    purity,
    similarities,
)

# Cosines of float32 vectors.
TOLERANCE = 2e-6


def features_and_places(seed: int, channels=40, k=9, n=60, size=17):
    """Random features, some unknown, and places of which some are missing."""
    generator = np.random.default_rng(seed)
    features = generator.normal(1, 1, (n, size)).astype(np.float32)
    features[3] = np.nan
    features[5, 2] = np.inf
    features[7] = 0
    features[11] *= 1e20  # its square is beyond float32
    places = generator.integers(0, n, (channels, k))
    places[0] = -1
    places[1, 1:] = -1
    places[2, 3:] = -1
    places[3] = 9
    return features, places


UNKNOWN = {3, 5, 7, 11}


def known_columns(places: np.ndarray) -> list[int]:
    return [i for i, at in enumerate(places) if at >= 0 and at not in UNKNOWN]


@pytest.mark.parametrize("block", [1, 5000, 1 << 22])
def test_similarity_is_the_cosine(block, monkeypatch):
    monkeypatch.setattr("nbviz.analysis.patch_likeness._BLOCK", block)
    features, places = features_and_places(0)
    alike = similarities(features, places)
    assert alike.shape == (40, 9, 9)
    assert alike.dtype == np.float32
    for channel, row in enumerate(places):
        known = known_columns(row)
        wanted = np.full((9, 9), np.nan)
        if known:
            wanted[np.ix_(known, known)] = cosine_similarity(features[row[known]])
        np.testing.assert_allclose(alike[channel], wanted, atol=TOLERANCE)


def test_without_features_nothing_is_alike():
    places = np.zeros((3, 6), np.int64)
    for features in (np.zeros((0, 4), np.float32), np.zeros((5, 0), np.float32)):
        alike = similarities(features, places)
        assert alike.shape == (3, 6, 6)
        assert np.isnan(alike).all()
        assert np.isnan(diversity(alike)).all()
        assert (false_friends(np.full((3, 6), -1), alike) == 0).all()
    assert similarities(np.ones((5, 2)), np.zeros((3, 0), np.int64)).shape == (3, 0, 0)


@pytest.mark.parametrize("top", [1, 2, 5, 9, 30])
def test_diversity_is_the_mean_over_all_pairs(top):
    features, places = features_and_places(1)
    found = diversity(similarities(features, places), top)
    for channel, row in enumerate(places):
        known = [i for i in known_columns(row) if i < top]
        pairs = [(i, j) for i in known for j in known if i < j]
        if not pairs:
            assert np.isnan(found[channel])
            continue
        distances = [cosine_distances(features[row[[i, j]]])[0, 1] for i, j in pairs]
        assert found[channel] == pytest.approx(np.mean(distances), abs=TOLERANCE)


@pytest.mark.parametrize("seed", range(3))
def test_purity_counts_the_most_frequent_class(seed):
    labels = np.random.default_rng(seed).integers(-1, 4, (60, 7))
    labels[0], labels[1] = -1, [2, -1, -1, -1, -1, -1, -1]
    found = purity(labels)
    for channel, row in enumerate(labels):
        counts = Counter(int(label) for label in row if label >= 0)
        if counts:
            assert found[channel] == max(counts.values()) / sum(counts.values())
        else:
            assert np.isnan(found[channel])
        shares = class_shares(row)
        assert {share.number: share.count for share in shares} == dict(counts)
        assert [share.count for share in shares] == sorted(counts.values(), reverse=True)
        assert sum(share.share for share in shares) == pytest.approx(1 if counts else 0)


def test_of_equally_frequent_classes_the_stronger_comes_first():
    assert class_shares(np.array([9, 4, 4, 9, 1])) == (
        ClassShare(9, 2, 0.4),
        ClassShare(4, 2, 0.4),
        ClassShare(1, 1, 0.2),
    )


def plainly_beside_the_class(row: np.ndarray) -> list[bool]:
    counts = Counter(int(label) for label in row if label >= 0).most_common()
    if not counts or 2 * counts[0][1] < sum(count for _, count in counts):
        return [False] * len(row)
    if len(counts) > 1 and counts[1][1] == counts[0][1]:
        return [False] * len(row)
    return [bool(label >= 0 and label != counts[0][0]) for label in row]


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_a_class_differs_from_a_majority(classes):
    labels = np.random.default_rng(classes).integers(-1, classes, (200, 6))
    nothing = np.full((200, 6, 6), np.nan)
    found = false_friends(labels, nothing)
    assert found.dtype == np.uint8
    for channel, row in enumerate(labels):
        wanted = plainly_beside_the_class(row)
        assert found[channel].tolist() == [BESIDE_THE_CLASS * flag for flag in wanted]
    assert found.any()


@pytest.mark.parametrize(
    ("labels", "flags"),
    [
        ([1, 1, 1, 2], [0, 0, 0, 1]),
        ([1, 1, 2, 3], [0, 0, 1, 1]),  # half is enough
        ([1, 1, 2, 2], [0, 0, 0, 0]),  # but not of two classes
        ([1, 2, 3, -1], [0, 0, 0, 0]),
        ([-1, -1, 4, -1], [0, 0, 0, 0]),
        ([1, 2, 3, 1], [0, 1, 1, 0]),
        ([1, 1, 2, -1], [0, 0, 1, 0]),
    ],
)
def test_what_is_a_majority(labels, flags):
    nothing = np.full((1, 4, 4), np.nan)
    assert false_friends(np.array([labels]), nothing)[0].tolist() == flags


def plainly_beside_the_look(vectors: np.ndarray) -> list[bool]:
    if len(vectors) < 5:
        return [False] * len(vectors)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    distances = [
        cosine_distances(unit[[i]], np.delete(unit, i, 0).mean(0, keepdims=True))[0, 0]
        for i in range(len(unit))
    ]
    spread = median_abs_deviation(distances, scale=1 / 1.4826)
    return [distance > np.median(distances) + 3 * spread for distance in distances]


@pytest.mark.parametrize("seed", range(3))
def test_a_look_differs_from_the_rest(seed):
    generator = np.random.default_rng(seed)
    features, places = features_and_places(seed, channels=200)
    features[20:30] *= -1  # another look altogether
    places[4, :4], places[4, 4:] = range(12, 16), -1
    places[5, :5], places[5, 5:] = range(12, 17), -1
    labels = generator.integers(-1, 3, places.shape)
    found = false_friends(labels, similarities(features, places))
    outliers = 0
    for channel, row in enumerate(places):
        known = known_columns(row)
        flags = plainly_beside_the_look(features[row[known]].astype(np.float64))
        wanted = np.zeros(9, bool)
        wanted[known] = flags
        outliers += sum(flags)
        assert ((found[channel] & BESIDE_THE_LOOK) > 0).tolist() == wanted.tolist()
        by_class = ((found[channel] & BESIDE_THE_CLASS) > 0).tolist()
        assert by_class == plainly_beside_the_class(labels[channel])
    assert outliers > 20


def test_four_patches_have_no_outlier_and_five_do():
    features = np.array([[1, 0], [1, 0.1], [1, 0.2], [1, -0.1], [-1, 0.5]], np.float32)
    labels = np.full((1, 5), -1)
    assert false_friends(labels, similarities(features, np.arange(5)[None]))[0].tolist() == [
        *[0] * 4,
        BESIDE_THE_LOOK,
    ]
    without = np.array([[0, 1, 2, -1, 4]])
    assert (false_friends(labels, similarities(features, without)) == 0).all()


def test_rounding_makes_no_false_friend():
    # One direction at many lengths: cosines differ from 1 by rounding alone.
    one = np.random.default_rng(0).normal(size=300)
    features = np.outer(np.geomspace(1e-3, 1e3, 16), one).astype(np.float32)
    alike = similarities(features, np.tile(np.arange(16), (20, 1)))
    assert (false_friends(np.full((20, 16), -1), alike) == 0).all()
    assert (diversity(alike) < TOLERANCE).all()
    assert (diversity(alike) >= 0).all()
