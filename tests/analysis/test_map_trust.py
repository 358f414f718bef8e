"""How far a map is trusted against scikit-learn and plain loops; seams against loops."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors

from nbviz.analysis import map_trust as module
from nbviz.analysis.feature_space import feature_space
from nbviz.analysis.image_grid import grid_layout
from nbviz.analysis.map_trust import map_trust, nearest_on_map, seams
from nbviz.analysis.neighbours import NeighbourSearch

# Ranks of near-ties may differ between float32 and scikit-learn's float64.
TOLERANCE = 1e-5


def groups(n=300, width=24, seed=0):
    generator = np.random.default_rng(seed)
    centres = generator.normal(0, 2, (5, width))
    features = centres[generator.integers(5, size=n)] + generator.normal(size=(n, width))
    return features.astype(np.float32)


def far_off(n=200, width=8):
    """Features whose squares swamp their differences."""
    return (np.random.default_rng(4).normal(size=(n, width)) + 200).astype(np.float32)


FEATURES = {
    "groups": (groups(), True),
    "not normalised": (groups(211, 3, 1), False),
    "far off": (far_off(), False),
    "digits": (load_digits().data[:500].astype(np.float32), True),
    "few": (groups(23, 5, 2), True),
}


def measured(features, normalise=True, k=15):
    space = feature_space(features, normalise=normalise)
    return space, NeighbourSearch(space, k=k).neighbours


def maps(space, seed=3):
    generator = np.random.default_rng(seed)
    yield np.ascontiguousarray(space.reduced[:, :2])
    yield generator.normal(size=(len(space.features), 2)).astype(np.float32)


def squares(rows):
    """Squared distances in float64, inf to itself."""
    rows = np.asarray(rows, np.float64)
    found = np.square(rows[:, None] - rows[None]).sum(axis=2)
    np.fill_diagonal(found, np.inf)
    return found


def points_by_loops(chosen, square, k):
    """The measure of Venna & Kaski image by image, ties at their best rank."""
    n, found = len(square), []
    for i in range(n):
        ranks = [1 + sum(square[i] < square[i, j] - 1e-9) for j in chosen[i]]
        found.append(1 - 2 / (k * (2 * n - 3 * k - 1)) * sum(max(r - k, 0) for r in ranks))
    return found


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("k", [1, 5, 10])
def test_trustworthiness_and_continuity_are_scikit_learns(name, k):
    space, neighbours = measured(*FEATURES[name])
    for positions in maps(space):
        trust = map_trust(space, positions, neighbours, k=k)
        assert (trust.k, trust.exact, trust.measured, trust.error) == (k, True, len(positions), 0)
        wanted = trustworthiness(space.features, positions, n_neighbors=k)
        assert trust.trustworthiness == pytest.approx(wanted, abs=TOLERANCE)
        wanted = trustworthiness(positions, space.features, n_neighbors=k)
        assert trust.continuity == pytest.approx(wanted, abs=TOLERANCE)


@pytest.mark.parametrize("name", FEATURES)
def test_preserved_neighbours_are_the_share_that_both_have(name):
    space, neighbours = measured(*FEATURES[name])
    for positions in maps(space):
        trust = map_trust(space, positions, neighbours, k=7)
        here, there = (
            NearestNeighbors(n_neighbors=7).fit(rows).kneighbors(return_distance=False)
            for rows in (space.features, positions)
        )
        wanted = [len(set(a) & set(b)) / 7 for a, b in zip(here, there, strict=True)]
        np.testing.assert_allclose(trust.point_preserved, wanted, atol=1e-6)
        assert trust.preserved == pytest.approx(np.mean(wanted), abs=1e-6)


@pytest.mark.parametrize("block", [1, 1000, 1 << 24])
def test_points_are_those_of_plain_loops(block, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", block)
    space, neighbours = measured(groups(60))
    positions = next(maps(space))
    trust = map_trust(space, positions, neighbours, k=6)
    in_space, on_map = squares(space.features), squares(positions)
    near_map, near_space = np.argsort(on_map)[:, :6], np.argsort(in_space)[:, :6]
    wanted = points_by_loops(near_map, in_space, 6)
    np.testing.assert_allclose(trust.point_trustworthiness, wanted, atol=1e-6)
    wanted = points_by_loops(near_space, on_map, 6)
    np.testing.assert_allclose(trust.point_continuity, wanted, atol=1e-6)
    assert trust.point_trustworthiness.dtype == trust.point_preserved.dtype == np.float32


@pytest.mark.parametrize("seed", range(4))
def test_ties_are_no_fault(seed):
    generator = np.random.default_rng(seed)
    features = generator.integers(0, 3, (70, 3)).astype(np.float32)
    space, neighbours = measured(features, normalise=False)
    positions = generator.normal(size=(70, 2)).astype(np.float32)
    trust = map_trust(space, positions, neighbours, k=5)
    square, near = squares(features), np.argsort(squares(positions))[:, :5]
    wanted = points_by_loops(near, square, 5)
    np.testing.assert_allclose(trust.point_trustworthiness, wanted, atol=1e-6)
    limit = np.sort(square)[:, 4]
    wanted = [(square[i, near[i]] <= limit[i]).mean() for i in range(70)]
    np.testing.assert_allclose(trust.point_preserved, wanted, atol=1e-6)


def test_identical_images_are_kept_wherever_they_lie():
    space, neighbours = measured(np.full((50, 9), 0.3, np.float32))
    positions = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    trust = map_trust(space, positions, neighbours)
    assert trust.trustworthiness == trust.preserved == 1
    assert len(seams(space, positions, neighbours).pairs) == 0


def test_a_map_that_is_one_point_tears_nothing_apart_and_cannot_be_trusted():
    space, neighbours = measured(groups())
    trust = map_trust(space, np.zeros((300, 2), np.float32), neighbours)
    assert trust.continuity == 1
    assert trust.trustworthiness < 0.7


def test_a_sample_measures_some_and_estimates_all():
    space, neighbours = measured(groups(1200))
    positions = next(maps(space))
    whole = map_trust(space, positions, neighbours)
    np.random.seed(5)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    part = map_trust(space, positions, neighbours, exact_up_to=1199, sample=300, seed=1)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    known = ~np.isnan(part.point_trustworthiness)
    assert (known.sum(), part.measured, part.exact) == (300, 300, False)
    assert (known == ~np.isnan(part.point_continuity)).all()
    for name in ("point_trustworthiness", "point_continuity"):
        np.testing.assert_allclose(getattr(part, name)[known], getattr(whole, name)[known])
    assert part.preserved == whole.preserved
    assert part.trustworthiness != whole.trustworthiness
    assert 0 < part.error < 0.02
    assert abs(part.trustworthiness - whole.trustworthiness) < 4 * part.error
    assert abs(part.continuity - whole.continuity) < 4 * part.error
    again = map_trust(space, positions, neighbours, exact_up_to=1199, sample=300, seed=1)
    other = map_trust(space, positions, neighbours, exact_up_to=1199, sample=300, seed=2)
    assert again.trustworthiness == part.trustworthiness != other.trustworthiness
    assert "measured on 300 of 1,200 images" in part.sentence
    assert "measured" not in whole.sentence


def test_the_standard_error_is_about_the_spread_of_samples():
    space, neighbours = measured(groups(600))
    positions = next(maps(space))
    runs = [
        map_trust(space, positions, neighbours, exact_up_to=1, sample=150, seed=s)
        for s in range(40)
    ]
    spread = max(np.std([r.trustworthiness for r in runs]), np.std([r.continuity for r in runs]))
    assert spread == pytest.approx(np.mean([r.error for r in runs]), rel=0.4)


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_than_three_images_cannot_be_measured(n):
    space, neighbours = measured(np.eye(3, dtype=np.float32)[:n])
    positions = np.eye(2, dtype=np.float32)[:n]
    trust = map_trust(space, positions, neighbours)
    assert trust.measured == 0
    assert np.isnan([trust.trustworthiness, trust.continuity, trust.preserved]).all()
    assert trust.point_preserved.shape == (n,)
    assert trust.sentence.startswith(f"Of {n} image")
    assert len(seams(space, positions, neighbours).pairs) == 0


def test_k_is_lowered_to_what_the_measure_and_the_table_allow():
    space, neighbours = measured(groups(9, 4))
    positions = next(maps(space))
    assert map_trust(space, positions, neighbours).k == 4
    three = map_trust(space, positions, measured(groups(9, 4), k=3)[1])
    assert three.k == 3
    wanted = trustworthiness(space.features, positions, n_neighbors=3)
    assert three.trustworthiness == pytest.approx(wanted, abs=TOLERANCE)
    smallest, table = measured(np.eye(3, dtype=np.float32))
    assert map_trust(smallest, positions[:3], table).k == 1


def test_what_cannot_be_measured_is_refused():
    space, neighbours = measured(groups(20))
    positions = next(maps(space))
    with pytest.raises(ValueError, match=r"expected positions of shape \(20, 2\).*got \(19, 2\)"):
        map_trust(space, positions[1:], neighbours)
    with pytest.raises(ValueError, match="finite positions"):
        seams(space, np.where(positions > 0, positions, np.nan), neighbours)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        map_trust(space, positions, neighbours, k=0)


def test_nearest_on_map_leaves_the_image_out_even_among_copies():
    positions = np.random.default_rng(0).integers(0, 3, (80, 2)).astype(np.float32)
    index, distance = nearest_on_map(positions, 6)
    square = squares(positions)
    for row in range(80):
        assert row not in index[row]
        assert len(set(index[row])) == 6
        np.testing.assert_allclose(distance[row] ** 2, np.sort(square[row])[:6], atol=1e-5)
        np.testing.assert_allclose(distance[row] ** 2, square[row, index[row]], atol=1e-5)


def delaunay_by_hand(points):
    """Edges of all triangles whose circumcircle holds no other point."""
    points = np.asarray(points, np.float64)
    edges = set()
    for corners in combinations(range(len(points)), 3):
        a, b, c = points[list(corners)]
        twice = 2 * np.array([b - a, c - a])
        offset = np.linalg.solve(twice, [(b - a) @ (b - a), (c - a) @ (c - a)])
        away = np.linalg.norm(points - a - offset, axis=1)
        if (np.delete(away, corners) > np.linalg.norm(offset)).all():
            edges |= set(combinations(corners, 2))
    return edges


def strengths(space, neighbours, pairs):
    """Strength of each pair by the definition, random pairs replaced by all."""
    distance = np.sqrt(squares(space.features))
    near = np.median(neighbours.distance)
    far = np.median(distance[np.triu_indices(len(distance), 1)])
    return {(i, j): min((distance[i, j] - near) / (far - near), 1) for i, j in pairs}


def check_seams(found, wanted):
    """All pairs above 0, the strongest first; 20,000 random pairs give the scale within 2 %."""
    pairs = [tuple(pair) for pair in found.pairs.tolist()]
    assert set(pairs) == {pair for pair, strength in wanted.items() if strength > 0}
    assert len(pairs) > 10
    np.testing.assert_allclose(found.strength, [wanted[pair] for pair in pairs], atol=0.02)
    assert (np.diff(found.strength) <= 0).all()
    assert found.pairs.dtype == np.int32


@pytest.mark.parametrize("seed", range(3))
def test_seams_are_delaunay_edges_between_unlike_images(seed):
    space, neighbours = measured(groups(32, 6, seed), k=4)
    positions = np.random.default_rng(seed).normal(size=(32, 2)).astype(np.float32) ** 3
    edges = delaunay_by_hand(positions)
    way = np.sqrt(squares(positions))
    reach = np.sort(way)[:, 9]
    short = {(i, j) for i, j in edges if way[i, j] <= (reach[i] + reach[j]) / 2}
    assert short < edges  # some are left out, or nothing was tested
    check_seams(seams(space, positions, neighbours), strengths(space, neighbours, short))


def test_seams_of_a_grid_are_between_cells_that_share_a_side():
    space, neighbours = measured(groups(47), k=4)
    grid = grid_layout(next(maps(space)))
    cell = np.round(grid.positions - 0.5).astype(int)
    beside = {(i, j) for i, j in combinations(range(47), 2) if np.abs(cell[i] - cell[j]).sum() == 1}
    found = seams(space, next(maps(space)), neighbours, grid=grid)
    check_seams(found, strengths(space, neighbours, beside))


def test_only_the_strongest_seams_are_kept():
    space, neighbours = measured(groups())
    positions = next(maps(space))
    every, some = (seams(space, positions, neighbours, most=most) for most in (4000, 12))
    assert len(some.pairs) == 12 < len(every.pairs)
    assert (some.pairs == every.pairs[:12]).all()
    near = np.median(neighbours.distance)
    assert f"usually are ({near:.3g})" in every.meaning


@pytest.mark.parametrize("kind", ["line", "slanted line", "two", "copies", "one point"])
def test_seams_where_there_are_no_triangles(kind):
    n = 2 if kind == "two" else 40
    features = np.repeat(np.eye(2, dtype=np.float32), n // 2, axis=0)
    features += np.linspace(0, 0.05, n, dtype=np.float32)[:, None] ** 2
    space, neighbours = measured(features)
    along = np.arange(n, dtype=np.float32)
    positions = {
        "line": np.stack([along, along * 0], axis=1),
        "slanted line": np.stack([along * 3, along * 7], axis=1),
        "two": np.stack([along, along], axis=1),
        "copies": np.stack([along // 10, (along // 10) ** 2], axis=1),
        "one point": np.zeros((n, 2), np.float32),
    }[kind]
    found = seams(space, positions, neighbours)
    assert (found.strength > 0).all()
    if "line" in kind:
        assert found.pairs[0].tolist() == [19, 20]
