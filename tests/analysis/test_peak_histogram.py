"""Histograms of equal bins out of those of any, against counting the values themselves."""

from __future__ import annotations

import numpy as np
import pytest

from nbviz.analysis.peak_histogram import even_histogram
from nbviz.analysis.unit_statistics.bins import BINS, EDGES, bin_of


def counted(values):
    return np.bincount(bin_of(values), minlength=BINS)


@pytest.mark.parametrize("seed", range(5))
def test_no_bin_is_off_by_more_than_what_lies_in_the_bins_at_its_ends(seed):
    rng = np.random.default_rng(seed)
    values = (rng.normal(rng.normal(), 2, 500) * 10.0 ** rng.integers(-2, 3)).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    numbers = counted(values)
    even, edges = even_histogram(numbers, EDGES, low, high, bins=17)
    np.testing.assert_allclose(edges, np.linspace(low, high, 18))
    assert even.sum() == pytest.approx(500)
    for i, edge in enumerate(edges[1:-1], 1):
        around = numbers[(EDGES[:-1] <= edge) & (EDGES[1:] >= edge)].sum()
        assert abs(even[:i].sum() - (values < edge).sum()) <= around + 1e-9


def test_zeros_stay_in_one_bin_and_the_greatest_in_the_last():
    values = np.float32([0, 0, 0, 0, 8, 8])
    even, _ = even_histogram(counted(values), EDGES, 0, 8, bins=4)
    assert even.tolist() == [4, 0, 0, 2]
    even, edges = even_histogram(counted(np.float32([-4, 0, 0, 4])), EDGES, -4, 4, bins=4)
    assert edges.tolist() == [-4, -2, 0, 2, 4]
    assert even.tolist() == [1, 0, 2, 1]


@pytest.mark.parametrize("value", [0.0, 3.7, -1e-9, 1e9])
def test_one_value_lies_in_the_middle(value):
    even, edges = even_histogram(counted(np.float32([value] * 3)), EDGES, value, value, bins=5)
    assert even.tolist() == [0, 0, 3, 0, 0]
    assert edges[2] < value < edges[3]


def test_values_beyond_the_outermost_edges_count_too():
    values = np.float32([1, 1e6])
    even, _ = even_histogram(counted(values), EDGES, 1, 1e6, bins=3)
    assert even.sum() == 2


@pytest.mark.parametrize(
    ("counts", "low", "high", "said"),
    [([1], 0, np.nan, "least and a greatest"), ([1], 2, 1, "least"), ([1, 1], 0, 1, "3 edges")],
)
def test_what_cannot_be_drawn_says_why(counts, low, high, said):
    with pytest.raises(ValueError, match=said):
        even_histogram(counts, [0, 1], low, high)
