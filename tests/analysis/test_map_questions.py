"""Questions of a map against plain loops and scikit-learn."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import LocalOutlierFactor

from nbviz.analysis import map_questions as module
from nbviz.analysis.feature_space import feature_space
from nbviz.analysis.map_questions import (
    category_places,
    clusters,
    misplaced,
    near_duplicates,
    outliers,
)
from nbviz.analysis.neighbours import NeighbourSearch


def table(features, k=15, normalise=False):
    space = feature_space(np.asarray(features, np.float32), normalise=normalise)
    return space, NeighbourSearch(space, k=k).neighbours


def misplaced_by_loops(index, labels, label=None, among=None):
    found = []
    for row, own in enumerate(labels):
        votes = Counter(int(labels[j]) for j in index[row] if labels[j] >= 0)
        others = [(-n, other) for other, n in votes.items() if other != own]
        if own < 0 or not others or (label is not None and own != label):
            continue
        n, other = min(others)
        total = sum(votes.values())
        if -n > votes[own] and (among is None or other == among):
            found.append((votes[own] / total, n / total, row, other))
    return sorted(found)


@pytest.mark.parametrize(
    ("label", "among"), [(None, None), (2, None), (None, 1), (0, 3), (9, None)]
)
@pytest.mark.parametrize("block", [7, 16_384])
def test_misplaced_images_are_those_of_a_plain_count(label, among, block, monkeypatch):
    monkeypatch.setattr(module, "_VOTERS", block)
    generator = np.random.default_rng(0)
    labels = generator.integers(-1, 4, 150)
    _, neighbours = table(generator.normal(size=(150, 3)) + labels[:, None] / 2, k=6)
    found = misplaced(neighbours.index, labels, label=label, among=among)
    wanted = misplaced_by_loops(neighbours.index, labels, label, among)
    assert wanted or label == 9
    assert found.rows.tolist() == [row for *_, row, _ in wanted]
    assert found.among.tolist() == [other for *_, other in wanted]
    np.testing.assert_allclose(found.own_share, [own for own, *_ in wanted], atol=1e-6)
    np.testing.assert_allclose(found.among_share, [-share for _, share, *_ in wanted], atol=1e-6)
    assert found.rows.dtype == found.among.dtype == np.int32


def test_unknown_labels_neither_vote_nor_show():
    index = np.int32([[1, 2, 3], [0, 2, 3], [1, 0, 3], [0, 1, 2]])
    found = misplaced(index, [5, -1, 7, -1])
    assert found.rows.tolist() == [0, 2]
    assert found.among_share.tolist() == [1, 1]
    assert len(misplaced(index, [-1] * 4).rows) == 0
    assert len(misplaced(index, [-1] * 4, label=-1).rows) == 0
    assert len(misplaced(np.zeros((1, 0), np.int32), [3]).rows) == 0
    with pytest.raises(ValueError, match=r"shape \(4,\), got \(3,\)"):
        misplaced(index, [0, 1, 2])


@pytest.mark.parametrize("most", [1, 30, 10_000])
@pytest.mark.parametrize("ties", [False, True])
def test_near_duplicates_are_the_closest_pairs(most, ties):
    generator = np.random.default_rng(1)
    features = generator.integers(0, 4, (40, 3)) if ties else generator.normal(size=(40, 3))
    _, neighbours = table(features, k=39)
    pairs, distance = near_duplicates(neighbours, most=most)
    wanted = sorted(
        (float(np.linalg.norm(features[i] - features[j])), i, j)
        for i, j in combinations(range(40), 2)
    )[:most]
    if ties:  # equal up to float32 before they are compared
        wanted.sort(key=lambda entry: (round(entry[0], 5), *entry[1:]))
    assert pairs.tolist() == [[i, j] for _, i, j in wanted]
    np.testing.assert_allclose(distance, [d for d, *_ in wanted], rtol=1e-5, atol=1e-6)


def test_near_duplicates_of_a_table_of_few_columns_are_once_each():
    _, neighbours = table(load_digits().data[:300], k=2, normalise=True)
    pairs, distance = near_duplicates(neighbours, most=600)
    wanted = {tuple(sorted((row, int(j)))) for row in range(300) for j in neighbours.index[row]}
    assert sorted(map(tuple, pairs.tolist())) == sorted(wanted)
    assert (np.diff(distance) >= 0).all()
    assert len(near_duplicates(table(np.eye(3)[:1])[1])[0]) == 0
    assert len(near_duplicates(neighbours, most=0)[0]) == 0


def test_of_many_copies_the_first_pairs_are_told():
    features = np.ones((500, 3), np.float32)
    features[::7] += np.arange(72)[:, None]
    _, neighbours = table(features, k=15)
    pairs, distance = near_duplicates(neighbours, most=40)
    table_ = {
        (min(row, j), max(row, j))
        for row, (near, away) in enumerate(
            zip(neighbours.index.tolist(), neighbours.distance, strict=True)
        )
        for j, far in zip(near, away, strict=True)
        if far == 0
    }
    assert not distance.any()
    assert [tuple(pair) for pair in pairs.tolist()] == sorted(table_)[:40]


@pytest.mark.parametrize("k", [5, 15])
@pytest.mark.parametrize("shape", ["one", "groups", "digits"])
def test_outliers_are_scikit_learns(k, shape):
    generator = np.random.default_rng(2)
    features = {
        "one": generator.standard_t(2, (200, 4)),
        "groups": make_blobs(300, 5, centers=4, cluster_std=[0.2, 1, 2, 4], random_state=0)[0],
        "digits": load_digits().data[:400],
    }[shape]
    # Unit lengths: whole numbers have ties at the k-th neighbour, which may go either way.
    space, neighbours = table(features, normalise=shape == "digits")
    model = LocalOutlierFactor(n_neighbors=k).fit(space.features)
    # Distances are float32.
    np.testing.assert_allclose(
        outliers(neighbours, k=k), -model.negative_outlier_factor_, rtol=1e-4
    )
    assert (outliers(neighbours) == outliers(neighbours, k=15)).all()


def test_outliers_beside_duplicates_stay_finite():
    features = np.concatenate([np.ones((30, 3)), np.random.default_rng(0).normal(size=(60, 3))])
    factor = outliers(table(features, k=10)[1])
    np.testing.assert_allclose(factor[:30], 1)
    assert 1 < factor.max() <= 200
    assert (outliers(table(np.ones((40, 3)))[1]) == 1).all()
    assert outliers(table(np.ones((1, 3)))[1]).tolist() == [1]
    with pytest.raises(ValueError, match="k of 1 to 10, as many as the table has, got 11"):
        outliers(table(features, k=10)[1], k=11)


@pytest.mark.parametrize("many", [100, 20_000])
def test_clusters_find_groups_and_order_them_by_size(many, monkeypatch):
    monkeypatch.setattr(module, "_MANY", many)
    sizes = [40, 200, 90, 70]
    rows, truth = make_blobs(sizes, 6, cluster_std=0.4, random_state=3)
    np.random.seed(5)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    found = clusters(rows, 4, seed=0)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    assert adjusted_rand_score(truth, found) == 1
    assert np.bincount(found).tolist() == sorted(sizes, reverse=True)
    assert found.dtype == np.int32
    assert (clusters(rows, 4, seed=0) == found).all()


def test_clusters_are_those_of_k_means():
    rows = load_digits().data[:500].astype(np.float32)
    wanted = KMeans(10, n_init=4, random_state=1).fit_predict(rows)
    assert adjusted_rand_score(wanted, clusters(rows, 10, seed=1)) == 1


@pytest.mark.filterwarnings("error")
def test_clusters_of_few_images():
    assert clusters(np.zeros((5, 3)), 3).tolist() == [0] * 5
    assert sorted(clusters(np.eye(3), 8).tolist()) == [0, 1, 2]
    assert clusters(np.zeros((0, 3)), 2).shape == (0,)
    with pytest.raises(ValueError, match="at least 1 group, got 0"):
        clusters(np.eye(3), 0)


def test_a_name_stands_in_the_middle_of_a_group():
    generator = np.random.default_rng(0)
    categories = generator.integers(0, 5, 2000) * 10
    centres = generator.normal(0, 40, (41, 2))
    positions = (centres[categories] + generator.normal(size=(2000, 2))).astype(np.float32)
    categories[:100] = -1
    positions[100:160] = generator.normal(0, 300, (60, 2))  # strays
    numbers, places, counts = category_places(positions, categories)
    assert sorted(numbers.tolist()) == [0, 10, 20, 30, 40]
    assert (np.diff(counts) <= 0).all()
    largest = category_places(positions, categories, most=2)
    assert [each.tolist() for each in largest] == [
        each[:2].tolist() for each in (numbers, places, counts)
    ]
    assert counts.tolist() == [int((categories == n).sum()) for n in numbers]
    for number, place in zip(numbers, places, strict=True):
        assert np.linalg.norm(place - centres[number]) < 1.5
        own = positions[categories == number]
        assert (own == place).all(axis=1).any()


@pytest.mark.parametrize("larger", [0, 1])
@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_of_a_split_category_the_larger_part_counts_however_dense(larger, spread):
    generator = np.random.default_rng(larger)
    sizes = (350, 200) if larger == 0 else (200, 350)
    widths = (spread, 1.0) if larger == 0 else (1.0, spread)
    parts = [
        generator.normal(centre, width, (size, 2))
        for centre, width, size in zip((-12, 12), widths, sizes, strict=True)
    ]
    positions = np.concatenate(parts).astype(np.float32)
    place = category_places(positions, np.zeros(550, int))[1][0]
    assert np.linalg.norm(place - (-12, 12)[larger]) < 1.2 * max(spread, 1)


def test_strays_between_two_parts_do_not_join_them():
    generator = np.random.default_rng(0)
    bridge = np.linspace(-12, 12, 50)[:, None] * [1, 1]
    loose, dense = generator.normal(-12, 3, (500, 2)), generator.normal(12, 0.3, (300, 2))
    positions = np.concatenate([loose, dense, bridge]).astype(np.float32)
    place = category_places(positions, np.zeros(len(positions), int))[1][0]
    assert np.linalg.norm(place + 12) < 4


def test_a_ring_has_its_name_on_the_ring():
    angle = np.random.default_rng(0).random(800) * 2 * np.pi
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    assert np.linalg.norm(category_places(ring, np.zeros(800, int))[1]) == pytest.approx(1)


def test_names_of_few_images():
    assert category_places(np.float32([[3, 4]]), [7])[1].tolist() == [[3, 4]]
    same = category_places(np.full((9, 2), 5, np.float32), [0] * 9)
    assert same[1].tolist() == [[5, 5]]
    numbers, places, counts = category_places(np.zeros((3, 2), np.float32), [-1] * 3)
    assert (numbers.shape, places.shape, counts.shape) == ((0,), (0, 2), (0,))
    with pytest.raises(ValueError, match=r"shape \(3,\), got \(2,\)"):
        category_places(np.zeros((3, 2), np.float32), [0, 1])
