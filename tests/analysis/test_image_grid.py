"""Grids against all permutations, and the approximate against the exact."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from nbviz.analysis import image_grid as module
from nbviz.analysis.image_grid import grid_layout


def shapes(n):
    """Maps of several shapes: even, with groups, hollow, with stragglers, with copies."""
    generator = np.random.default_rng(n)
    normal, angle = generator.normal(size=(n, 2)), generator.random(n) * 2 * np.pi
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return {
        "even": generator.random((n, 2)),
        "one group": normal,
        "groups": generator.normal(0, 6, (8, 2))[generator.integers(8, size=n)] + normal / 2,
        "ring": ring + normal / 30,
        "stragglers": np.exp(1.5 * normal),
        "copies": np.round(normal),
    }


def stretched(positions, grid):
    low, high = positions.min(axis=0), positions.max(axis=0)
    extent = np.where(high > low, high - low, 1)
    share = np.where(high > low, (positions - low) / extent, 0.5)
    return share * [grid.columns, grid.rows]


def check_cells(grid, n):
    """Every image stands in the middle of a cell of its own, and no row or column is spare."""
    cell = grid.positions - 0.5
    assert grid.positions.shape == (n, 2)
    assert grid.positions.dtype == np.float32
    assert (cell == np.round(cell)).all()
    assert len(np.unique(cell, axis=0)) == n
    assert (cell >= 0).all()
    assert (cell < [grid.columns, grid.rows]).all()
    assert n <= grid.columns * grid.rows < n + grid.columns


@pytest.mark.parametrize("n", [2, 3, 5, 6])
@pytest.mark.parametrize("aspect", [0.4, 1.0, 1.5])
def test_small_grids_have_the_least_sum_of_squared_ways(n, aspect):
    for name, positions in shapes(n).items():
        grid = grid_layout(positions, aspect=aspect)
        check_cells(grid, n)
        goal = stretched(positions, grid)
        y, x = np.divmod(np.arange(grid.columns * grid.rows), grid.columns)
        middles = np.stack([x, y], axis=1) + 0.5
        wanted = min(
            np.square(middles[list(p)] - goal).sum() for p in permutations(range(len(x)), n)
        )
        # Positions are float32.
        assert np.square(grid.positions - goal).sum() == pytest.approx(wanted, abs=1e-4), name
        assert grid.exact


@pytest.mark.parametrize("n", [130, 900])
def test_the_approximate_grid_is_nearly_as_near_as_the_exact_one(n):
    for name, positions in shapes(n).items():
        exact, nearly = grid_layout(positions), grid_layout(positions, exact_up_to=n - 1)
        check_cells(nearly, n)
        assert (exact.exact, nearly.exact) == (True, False)
        ways = [np.square(g.positions - stretched(positions, g)).sum() for g in (exact, nearly)]
        assert ways[1] >= ways[0] - 1e-3
        assert nearly.moved <= exact.moved * (1.12 if name == "even" else 1.02), name
        side = np.hypot(exact.columns, exact.rows)
        assert (nearly.moved - exact.moved) * side < 0.2, name


@pytest.mark.parametrize("exact_up_to", [0, 100])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 10, 65])
@pytest.mark.parametrize("aspect", [0.01, 1, 1.5, 40])
def test_every_image_has_a_cell_whatever_the_map(n, aspect, exact_up_to):
    for positions in (
        np.zeros((n, 2)),
        np.stack([np.arange(n), np.zeros(n)], axis=1),
        np.random.default_rng(n).normal(size=(n, 2)),
    ):
        grid = grid_layout(positions, aspect=aspect, exact_up_to=exact_up_to)
        check_cells(grid, n)
        assert 0 <= grid.moved < 1


def test_large_maps_fill_a_grid_of_the_wanted_shape():
    positions = shapes(6000)["groups"]
    grid = grid_layout(positions)
    check_cells(grid, 6000)
    assert grid.columns / grid.rows == pytest.approx(1.5, rel=0.03)
    assert not grid.exact
    assert "10%" in grid.note
    # As far as the exact grid of a fifth of the same map: a coarser picture of the same thing.
    coarse = grid_layout(positions[::5])
    assert grid.moved == pytest.approx(coarse.moved, rel=0.08)


def test_steps_tell_how_much_is_done():
    results = []
    shares = [*grid_layout.into(results, shapes(900)["groups"], exact_up_to=0)]
    assert len({*shares}) > 3
    assert (np.diff(shares) >= 0).all()
    assert 0 == shares[0] < shares[-1] <= 1
    check_cells(results[0], 900)


def test_moved_is_the_mean_way_in_shares_of_the_diagonal():
    positions = shapes(60)["groups"]
    grid = grid_layout(positions)
    goal = stretched(positions, grid)
    ways = [np.hypot(*(a - b)) for a, b in zip(grid.positions, goal, strict=True)]
    assert grid.moved == pytest.approx(np.mean(ways) / np.hypot(grid.columns, grid.rows), rel=1e-5)


@pytest.mark.parametrize("exact_up_to", [0, 1000])
def test_a_map_already_on_its_grid_stays(exact_up_to):
    y, x = np.divmod(np.arange(150), 15)
    there = np.stack([x, y], axis=1).astype(np.float32)
    order = np.random.default_rng(0).permutation(150)
    grid = grid_layout(there[order] * 3 - 7, exact_up_to=exact_up_to)
    assert (grid.columns, grid.rows) == (15, 10)
    assert (grid.positions == there[order] + 0.5).all()


@pytest.mark.parametrize("exact_up_to", [0, 1000])
def test_neither_unit_nor_repetition_changes_the_grid(exact_up_to):
    positions = shapes(300)["one group"].astype(np.float32)
    first, again, scaled = (
        grid_layout(p, exact_up_to=exact_up_to) for p in (positions, positions, positions * 4)
    )
    assert (first.positions == again.positions).all()
    assert (first.positions == scaled.positions).all()


def test_the_split_wide_windows_and_late_ones_all_matter(monkeypatch):
    """Or they would be there for nothing: without one, the grid is further from the map."""
    positions = shapes(900)
    with_all = {name: grid_layout(p, exact_up_to=0).moved for name, p in positions.items()}
    monkeypatch.setattr(module, "_LAST_SHIFTS", ())
    assert grid_layout(positions["even"], exact_up_to=0).moved > 1.05 * with_all["even"]
    monkeypatch.undo()
    monkeypatch.setattr(module, "_SHIFTS", ())
    assert grid_layout(positions["groups"], exact_up_to=0).moved > 1.02 * with_all["groups"]
    monkeypatch.setattr(module, "_LAST_SHIFTS", ())
    monkeypatch.setattr(module, "_SIDE", 1)
    for name, shape in positions.items():  # the split alone is a start, far nearer than chance
        assert grid_layout(shape, exact_up_to=0).moved < 2 * with_all[name], name


def test_what_is_no_map_is_refused():
    with pytest.raises(ValueError, match=r"n at least 1, got \(0, 2\)"):
        grid_layout(np.zeros((0, 2)))
    with pytest.raises(ValueError, match=r"shape \(n, 2\).*got \(4, 3\)"):
        grid_layout(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="finite"):
        grid_layout(np.full((4, 2), np.nan))
    with pytest.raises(ValueError, match=r"aspect above 0, such as 1\.5, got 0"):
        grid_layout(np.zeros((4, 2)), aspect=0)
