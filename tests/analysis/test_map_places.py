"""Places in whole numbers, and which images show, against plain loops."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nbviz.analysis.map_places import LARGEST, MapFrame, images_nearer, priority, thinned

VECTORS = json.loads((Path(__file__).parents[1] / "fixtures" / "priority.json").read_text())


def hashed(row):
    """lowbias32 in whole numbers without a limit."""
    h = row & 0xFFFFFFFF
    h ^= h >> 16
    h = h * 0x7FEB352D & 0xFFFFFFFF
    h ^= h >> 15
    h = h * 0x846CA68B & 0xFFFFFFFF
    return h ^ h >> 16


def test_priority_is_the_hash_that_the_view_has():
    assert priority(VECTORS["rows"]).tolist() == VECTORS["hashes"]
    assert [hashed(row) for row in VECTORS["rows"]] == VECTORS["hashes"]
    assert np.argsort(priority(np.arange(1000)))[:20].tolist() == VECTORS["first_of_1000"]


def test_the_first_by_priority_are_spread_over_the_data():
    first = np.argsort(priority(np.arange(10_000)))[:1000]
    counts = np.histogram(first, 10, (0, 10_000))[0]
    assert (abs(counts - 100) < 40).all()  # 4 standard deviations of a fair draw


@pytest.mark.parametrize("shape", [(200, 50), (3, 900), (1e-6, 1e-6), (1e6, 1)])
def test_all_fit_with_a_margin_and_one_scale_for_both_axes(shape):
    positions = np.random.default_rng(0).random((500, 2)) * shape + [7, -3]
    frame = MapFrame.around(positions)
    places = frame.places(positions).astype(float)
    margin = 0.03 * LARGEST
    ends = np.concatenate([places.min(0), LARGEST - places.max(0)])
    assert ends.min() == pytest.approx(margin, abs=1)
    np.testing.assert_allclose(places.min(0) + places.max(0), LARGEST, atol=1.5)  # centred
    steps = np.diff(positions, axis=0) * [1, -1] * frame.unit
    np.testing.assert_allclose(np.diff(places, axis=0), steps, atol=1.01)  # rounded, y down


@pytest.mark.parametrize("positions", [np.zeros((0, 2)), np.zeros((1, 2)), np.ones((5, 2))])
def test_no_extent_is_no_reason_to_fail(positions):
    places = MapFrame.around(positions).places(positions)
    assert places.shape == positions.shape
    assert (abs(places.astype(int) - LARGEST / 2) <= 1).all()


def test_a_frame_grows_at_once_and_shrinks_slowly():
    rng = np.random.default_rng(1)
    frame = MapFrame.around(rng.normal(0, 1, (100, 2)))
    for size in (5, 100, 1000):
        positions = rng.normal(3 * size, size, (100, 2))
        frame = frame.followed(positions)
        places = frame.places(positions)
        assert places.min() > 0
        assert places.max() < LARGEST
    a_little = frame.followed(0.95 * positions)
    assert a_little.half >= 0.98 * frame.half
    tiny = 1e-4 * positions
    assert frame.followed(tiny) == MapFrame.around(tiny)


@pytest.mark.parametrize("side", [65536.0, 5000.0, 700.5])
def test_of_each_cell_the_first_by_priority_shows(side):
    places = np.random.default_rng(2).integers(0, LARGEST + 1, (400, 2)).astype(np.uint16)
    best = {}
    for row, (x, y) in enumerate(places.tolist()):
        cell = int(x / side), int(y / side)
        if cell not in best or hashed(row) < hashed(best[cell]):
            best[cell] = row
    assert thinned(places, side).tolist() == sorted(best.values())
    assert thinned(places[:0], side).tolist() == []


def test_how_many_lie_nearer_is_counted_by_a_plain_loop():
    positions = np.random.default_rng(3).normal(size=(80, 2)).round(1)  # with ties
    for row in (0, 17, 79):
        others = np.array([n for n in range(80) if n != row])
        expected = [
            sum(
                ((positions[n] - positions[row]) ** 2).sum()
                < ((positions[other] - positions[row]) ** 2).sum()
                for n in range(80)
                if n != row
            )
            for other in others
        ]
        assert images_nearer(positions, row, others).tolist() == expected
