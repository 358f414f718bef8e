"""Every item is counted once, also where the scores leave hardly a span to count in."""

from __future__ import annotations

import numpy as np
import pytest

from nbviz.analysis.distribution import distribution, items_between


def test_counts_are_those_of_plain_loops():
    scores = np.random.default_rng(0).standard_normal(200).astype(np.float32)
    scores[[3, 50]] = np.nan, np.inf
    chosen = list(range(0, 200, 3))
    found = distribution(scores, chosen, bins=10)
    assert found.uncounted == 2
    last = len(found.edges) - 2
    for number in range(10):
        low, high = found.edges[number : number + 2]
        inside = [
            i
            for i, value in enumerate(scores)
            if low <= value and (value < high or (number == last and value <= high))
        ]
        assert found.chosen[number] == len([i for i in inside if i in chosen])
        assert found.others[number] == len([i for i in inside if i not in chosen])
    finite = scores[np.isfinite(scores)]
    assert found.edges[0] == finite.min()
    assert found.edges[-1] == finite.max()


ONE = np.float32(5)
ULP = np.nextafter(ONE, np.float32(6))


@pytest.mark.parametrize(
    "scores",
    [
        [ONE, ONE, ULP, ULP],
        [ONE, ONE],
        [1e-45, 4e-45, 3e-44],
        [1e-45, 1e-45],
        [0, 1e-45],
        [0, 0],
        [3e38, 3.4e38],
        [3.4e38, 3.4e38],
        [-ONE, -ULP],
        [np.nan, np.nan],
    ],
    ids=str,
)
def test_equal_and_extreme_scores_are_counted_all_the_same(scores):
    scores = np.array(scores, np.float32)
    found = distribution(scores, [0])
    assert np.isfinite(found.edges).all()
    assert (np.diff(found.edges) > 0).all()
    assert (found.chosen + found.others).sum() + found.uncounted == len(scores)
    if np.isfinite(scores).all() and np.ptp(scores) <= 1e-6 * np.abs(scores).max():
        assert (found.chosen + found.others > 0).sum() <= 2
        assert found.edges[0] < scores.min() <= scores.max() < found.edges[-1]


def test_items_of_a_span_are_found_with_its_ends():
    assert items_between(np.array([1.0, 2.0, np.nan, 3.0]), 2, 3) == [1, 3]
