"""Numbers on maps and maps in bytes, against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbviz.analysis.map_statistics import ChannelStatistics, channel_statistics, quantise_maps

LARGEST = float(np.finfo(np.float32).max)
VALUES = st.one_of(
    st.floats(-4, 4, width=32),
    st.sampled_from([0.0, -0.0, 1e-40, -1e-38, LARGEST, -LARGEST, np.inf, -np.inf, np.nan]),
)


@st.composite
def some_maps(draw):
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 4)))
    count = math.prod(shape)
    values = draw(st.lists(VALUES, min_size=count, max_size=count))
    return np.array(values, np.float32).reshape(shape)


def by_loops(channel):
    """Peak, low, mean, zeros, non-finite values and place of one map, one value at a time."""
    finite = [float(v) for v in channel.ravel() if math.isfinite(v)]
    zeros = sum(float(v) == 0 for v in channel.ravel())
    bad = channel.size - len(finite)
    if not finite:
        return math.nan, math.nan, math.nan, zeros, bad, (-1, -1)
    peak = max(finite)
    places = [(r, c) for r in range(channel.shape[0]) for c in range(channel.shape[1])]
    place = next(p for p in places if channel[p] == peak)
    return peak, min(finite), math.fsum(finite) / len(finite), zeros, bad, place


@settings(max_examples=200, deadline=None)
@given(some_maps())
def test_statistics_are_those_of_plain_loops(maps):
    numbers = channel_statistics(maps)
    for channel, values in enumerate(maps):
        peak, low, mean, zeros, bad, place = by_loops(values)
        np.testing.assert_array_equal(numbers.peak[channel], np.float32(peak))
        np.testing.assert_array_equal(numbers.low[channel], np.float32(low))
        # float32 rounds each partial sum
        largest = max([abs(float(v)) for v in values.ravel() if math.isfinite(v)], default=0)
        assert numbers.mean[channel] == pytest.approx(
            mean, rel=1e-5, abs=1e-6 * largest, nan_ok=True
        )
        assert numbers.sparsity[channel] == np.float32(zeros / values.size)
        assert numbers.nonfinite[channel] == bad
        assert tuple(numbers.place[channel]) == place
        same = len({float(v) for v in values.ravel()}) == 1 and bad == 0
        assert numbers.dead[channel] == (same and (values.size > 1 or peak == 0))


@settings(max_examples=200, deadline=None)
@given(some_maps())
def test_bytes_are_the_nearest_step_between_the_finite_extremes(maps):
    small = quantise_maps(maps)
    marked = np.zeros(maps.size, bool)
    if small.nonfinite is not None:
        marked = np.unpackbits(small.nonfinite, count=maps.size, bitorder="little").astype(bool)
    assert marked.tolist() == (~np.isfinite(maps)).ravel().tolist()
    for channel, values in enumerate(maps):
        finite = np.isfinite(values)
        kept = values[finite].astype(np.float64)
        low, high = (kept.min(), kept.max()) if len(kept) else (0.0, 0.0)
        assert (small.low[channel], small.high[channel]) == (low, high)
        step = (high - low) / 255
        shown = low + small.values[channel] * step
        assert (np.abs(shown[finite] - kept) <= step * 0.501).all()
        assert (small.values[channel][~finite] == 0).all()


def test_zero_and_the_extremes_are_exact_and_a_constant_map_is_zero():
    maps = np.float32([[[0, 0.3, 0], [2.5, 0, 1]], [[7, 7, 7], [7, 7, 7]]])
    small = quantise_maps(maps)
    assert (small.values[0][maps[0] == 0] == 0).all()
    assert small.low[0] == 0
    assert small.values[0].max() == 255
    assert (small.values[1] == 0).all()
    assert small.low[1] == small.high[1] == 7
    assert small.nonfinite is None


def test_a_common_scale_cuts_off_what_lies_beyond():
    maps = np.float32([[[-1, 0, 0.5, 1, 3]], [[0, 0, 0, 0, 0]]])
    small = quantise_maps(maps, 0, 1)
    assert small.values.tolist() == [[[0, 0, 128, 255, 255]], [[0, 0, 0, 0, 0]]]
    assert small.low.tolist() == [0, 0]
    assert small.high.tolist() == [1, 1]
    each = quantise_maps(maps, np.float32([-1, 0]), np.float32([3, 4]))
    assert each.values[0, 0, [0, 4]].tolist() == [0, 255]
    assert each.high.tolist() == [3, 4]


def test_maps_that_are_not_contiguous_or_large_come_out_the_same():
    rng = np.random.default_rng(4)
    maps = rng.standard_normal((40, 120, 90)).astype(np.float32)
    turned = np.ascontiguousarray(maps.transpose(1, 2, 0)).transpose(2, 0, 1)
    for made in (quantise_maps(turned), quantise_maps(maps)):
        one_by_one = np.concatenate([quantise_maps(m[None]).values for m in maps])
        np.testing.assert_array_equal(made.values, one_by_one)
    np.testing.assert_array_equal(channel_statistics(turned).place, channel_statistics(maps).place)


@pytest.mark.parametrize(
    ("low", "high", "advice"),
    [
        (2, 1, "low <= high"),
        (np.nan, 1, "finite low"),
        (0, np.inf, "finite high"),
        (np.zeros(3), 1, "one number or 2"),
    ],
)
def test_a_scale_that_is_none_is_refused(low, high, advice):
    with pytest.raises(ValueError, match=advice):
        quantise_maps(np.zeros((2, 3, 3), np.float32), low, high)


@pytest.mark.parametrize("shape", [(3, 3), (2, 0, 3), (0, 3, 3)])
def test_what_is_no_stack_of_maps_is_refused(shape):
    for function in (channel_statistics, quantise_maps):
        with pytest.raises(ValueError, match="at least one value"):
            function(np.zeros(shape, np.float32))


def test_the_memory_of_statistics_is_as_stated():
    numbers = channel_statistics(np.zeros((10, 4, 4), np.float32))
    assert sum(array.nbytes for array in vars(numbers).values()) == 10 * ChannelStatistics.BYTES
