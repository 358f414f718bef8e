"""Nearest neighbours, against a plain sort of all distances and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

from nbviz.analysis import neighbours as module
from nbviz.analysis.feature_space import feature_space
from nbviz.analysis.neighbours import (
    NeighbourSearch,
    first_of_equals,
    nearest_rows,
    neighbours_of,
)

NUMBERS = np.random.default_rng(0)
# Where distances tie in truth, they tie as float32 numbers, too: all are sums of few whole numbers.
SETS = {
    "spread": NUMBERS.normal(size=(500, 30)),
    "far from zero": 1000 + NUMBERS.normal(size=(200, 40)),
    "whole numbers": NUMBERS.integers(0, 3, (600, 6)),
    "all equally far": np.eye(150),
    "all the same": np.ones((120, 5)),
    "half the same": np.where(np.arange(300)[:, None] < 150, 0, NUMBERS.normal(size=(300, 20))),
    "each twice": np.repeat(NUMBERS.normal(size=(80, 10)), 2, axis=0),
    "wide": NUMBERS.normal(size=(40, 3000)),
    "digits": load_digits().data[:400],
    "one": np.ones((1, 3)),
    "two": NUMBERS.normal(size=(2, 3)),
    "minus zero": np.array([[0.0, 1.0], [-0.0, 1.0], [0.0, 2.0]] * 9),
}


def sorted_distances(matrix, k):
    """By a plain sort; ties by row number."""
    wide = matrix.astype(np.float64)
    index = np.zeros((len(wide), k), int)
    distance = np.zeros((len(wide), k))
    for row in range(len(wide)):
        all_ = np.sqrt(((wide - wide[row]) ** 2).sum(1))
        all_[row] = np.inf
        index[row] = np.lexsort((np.arange(len(wide)), all_))[:k]
        distance[row] = all_[index[row]]
    return index, distance


@pytest.mark.parametrize("name", SETS)
def test_against_a_plain_sort(name):
    space = feature_space(SETS[name], normalise=False)
    found = NeighbourSearch(space, 15).neighbours
    index, distance = sorted_distances(space.features, min(15, len(space) - 1))
    assert found.exact
    assert found.recall == 1
    assert (found.index.dtype, found.distance.dtype) == (np.int32, np.float32)
    np.testing.assert_array_equal(found.index, index)
    np.testing.assert_allclose(found.distance, distance, rtol=2e-6, atol=1e-30)


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_coarse_products_change_nothing(precision, monkeypatch):
    space = feature_space(SETS["spread"], normalise=False)
    before = torch.get_float32_matmul_precision()
    exact = torch.addmm

    def coarse(*args, **settings):
        result = exact(*args, **settings)
        # Of size 4, as two vectors have at most: rounded as that precision may round it.
        step = {"highest": 1e-6, "high": 2.0**-11, "medium": 2.0**-8}[precision] * 60
        return (result / step).round() * step

    monkeypatch.setattr(torch, "addmm", coarse)
    monkeypatch.setattr(module, "_SPARE", 0)
    try:
        torch.set_float32_matmul_precision(precision)
        found = NeighbourSearch(space, 15).neighbours
    finally:
        torch.set_float32_matmul_precision(before)
    np.testing.assert_array_equal(found.index, sorted_distances(space.features, 15)[0])


def test_against_scikit_learn():
    space = feature_space(load_digits().data)
    found = NeighbourSearch(space, 10).neighbours
    distance, _ = (
        NearestNeighbors(n_neighbors=10, algorithm="kd_tree")
        .fit(space.features.astype(np.float64))
        .kneighbors()
    )
    np.testing.assert_allclose(found.distance, distance, rtol=1e-6)


@pytest.mark.parametrize("at_once", [1, 1000, 7777])
def test_blocks_change_nothing(at_once, monkeypatch):
    space = feature_space(SETS["half the same"], components=4)
    whole = NeighbourSearch(space, 7, candidates=20)
    expected = whole.neighbours, whole.candidates
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    search = NeighbourSearch(space, 7, candidates=20)
    shares = [search.done]
    while search.done < 1:
        search.advance()
        shares.append(search.done)
    assert len(shares) > 4
    assert (np.diff(shares) > 0).all()
    search.advance()
    np.testing.assert_array_equal(search.neighbours.index, expected[0].index)
    np.testing.assert_array_equal(search.candidates[0], expected[1][0])


@pytest.mark.parametrize("components", [None, 6, 50])
def test_candidates_are_the_nearest_in_few_dimensions(components):
    space = feature_space(SETS["spread"], components=components)
    search = NeighbourSearch(space, 5, candidates=40)
    index, distance = search.candidates
    np.testing.assert_allclose(distance, sorted_distances(space.reduced, 40)[1], rtol=1e-5)
    assert index.shape == (500, 40)
    np.testing.assert_array_equal(search.neighbours.index, sorted_distances(space.features, 5)[0])


@pytest.mark.parametrize("components", [2, 20])
def test_beyond_the_exact_recall_is_what_was_found(components):
    """With up to 500 rows all are in the sample, and the share is the true one."""
    space = feature_space(SETS["spread"], components=components)
    search = NeighbourSearch(space, 8, exact_up_to=100)
    found = search.neighbours
    index, distance = sorted_distances(space.features, 8)
    share = np.mean([len(set(a) & set(b)) / 8 for a, b in zip(found.index, index, strict=True)])
    assert not found.exact
    assert found.recall == pytest.approx(share, abs=1e-6)
    assert (found.recall > 0.99) == (components == 20)
    assert (np.diff(found.distance, axis=1) >= 0).all()
    right = found.index == index
    np.testing.assert_allclose(found.distance[right], distance[right], rtol=1e-6)


def test_as_many_components_as_features_need_no_second_look():
    space = feature_space(SETS["whole numbers"], normalise=False)
    found = NeighbourSearch(space, 8, exact_up_to=100).neighbours
    assert found.exact
    np.testing.assert_array_equal(found.index, sorted_distances(space.features, 8)[0])


def test_descent_finds_nearly_all():
    pytest.importorskip("pynndescent")
    given = np.concatenate([SETS["spread"], np.zeros((100, 30))])
    space = feature_space(given, components=20)
    search = NeighbourSearch(space, 8, candidates=30, exact_up_to=100, blocks_up_to=100)
    assert search.lengthy
    search.advance()
    assert not search.lengthy
    found = search.neighbours
    assert found.recall > 0.95
    assert found.notes == ()
    assert (found.index != np.arange(600)[:, None]).all()
    assert (found.index >= 0).all()
    index, distance = search.candidates
    expected = np.linalg.norm(space.reduced[:, None] - space.reduced[index], axis=2)
    np.testing.assert_allclose(distance, expected, atol=1e-5)
    assert all(len(set(row)) == 30 for row in index.tolist())


def test_without_descent_every_distance_is_computed_and_that_is_said(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    space = feature_space(SETS["spread"], components=20)
    found = NeighbourSearch(space, 8, exact_up_to=100, blocks_up_to=100).neighbours
    assert 'pip install "nbviz[large]"' in found.notes[0]
    expected = NeighbourSearch(space, 8, exact_up_to=100).neighbours
    np.testing.assert_array_equal(found.index, expected.index)


def test_an_interrupted_search_goes_on(monkeypatch):
    monkeypatch.setattr(module, "_AT_ONCE", 20_000)
    space = feature_space(SETS["spread"])
    search = NeighbourSearch(space, 5)
    search.advance()
    whole = module._distances

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_distances", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search.advance()
    monkeypatch.setattr(module, "_distances", whole)
    np.testing.assert_array_equal(search.neighbours.index, sorted_distances(space.features, 5)[0])


@pytest.mark.parametrize("name", SETS)
def test_few_queries_are_answered_as_many_are(name):
    space = feature_space(SETS[name], normalise=False)
    queries = space.features[:20]
    index, distance = nearest_rows(space.features, queries, 9)
    few = [nearest_rows(space.features, query[None], 9) for query in queries]
    np.testing.assert_array_equal(np.concatenate([found[0] for found in few]), index)
    np.testing.assert_allclose(np.concatenate([found[1] for found in few]), distance, rtol=2e-6)


def test_of_equal_rows_the_first_are_kept():
    """By a plain count; and none is lost where the hash takes rows for equal that are not."""
    given = NUMBERS.integers(0, 2, (400, 3)).astype(np.float32)
    given[:50, 0], given[50:60, 0] = 0.0, -0.0
    seen: dict[bytes, int] = {}
    kept = []
    for number, row in enumerate(given):
        seen[row.tobytes()] = seen.get(row.tobytes(), 0) + 1
        if seen[row.tobytes()] <= 5:
            kept.append(number)
    assert first_of_equals(given, 5).tolist() == kept
    # Two rows of one hash.
    halves = np.random.default_rng(0).integers(0, 2**32, 2, np.uint32) | np.uint32(1)
    same = pow(int(halves[0]), -1, 2**32) * int(halves[1]) % 2**32
    rows = np.zeros((12, 2), np.uint32)
    rows[::2, 0], rows[1::2, 1] = same, 1
    assert first_of_equals(rows.view(np.float32), 3).tolist() == [0, 1, 2, 3, 4, *range(5, 12, 2)]


def test_neighbours_of_others():
    space = feature_space(SETS["whole numbers"], components=3)
    new = np.concatenate([SETS["whole numbers"][:3], NUMBERS.normal(size=(4, 6))])
    index, distance = neighbours_of(space, new, 9)
    placed = space.place(new)[0].astype(np.float64)
    for row in range(7):
        all_ = np.sqrt(((space.features - placed[row]) ** 2).sum(1))
        np.testing.assert_allclose(distance[row], np.sort(all_)[:9], atol=1e-6)
        np.testing.assert_allclose(all_[index[row]], distance[row], atol=1e-6)
    assert neighbours_of(space, new[:1], 9999)[0].shape == (1, 600)


@pytest.mark.parametrize("k", [0, -1])
def test_bad_k(k):
    space = feature_space(SETS["two"])
    for call in (
        lambda: NeighbourSearch(space, k).neighbours,
        lambda: neighbours_of(space, SETS["two"], k),
    ):
        with pytest.raises(ValueError, match=f"at least 1, got {k}"):
            call()
