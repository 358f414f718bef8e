"""Maps that reach the browser in one byte a value are those of the network, as near as is said."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbviz.analysis.map_levels import MapLevels, map_levels

LARGEST = float(np.finfo(np.float32).max)
# A value can be no nearer than float32 has numbers: half the step at its size.
ROUNDING = 2.0**-24
SMALLEST = float(np.finfo(np.float32).smallest_subnormal)


def ends(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest finite value of each channel by plain loops, NaN where there is none."""
    low, high = [], []
    for channel in maps:
        finite = [float(value) for value in channel.ravel() if math.isfinite(value)]
        low.append(min(finite, default=math.nan))
        high.append(max(finite, default=math.nan))
    return np.array(low, np.float32), np.array(high, np.float32)


def levels_of(*maps: np.ndarray) -> MapLevels:
    return map_levels(maps, [ends(each) for each in maps])


def shown(levels: MapLevels, side: int, channel: int, value: int) -> float:
    """One value as the view decodes it."""
    low, high = levels.layer_low, levels.layer_high
    if levels.low is not None and levels.high is not None:
        span = levels.layer_high - levels.layer_low
        low, high = (
            levels.layer_low + int(end[channel]) / 65535 * span
            if end.dtype == np.uint16
            else float(end[channel])
            for end in (levels.low, levels.high)
        )
    return low + int(levels.values[side][channel].ravel()[value]) / 255 * (high - low)


def marked(levels: MapLevels, side: int, count: int) -> list[bool]:
    bits = levels.nonfinite[side]
    if bits is None:
        return [False] * count
    return [bool(bits[i // 8] >> (i % 8) & 1) for i in range(count)]


def check(*maps: np.ndarray) -> MapLevels:
    """Hold levels to what `map_levels` promises, value by value."""
    levels = levels_of(*maps)
    finite = [float(v) for each in maps for v in each.ravel() if math.isfinite(v)]
    least, most = min(finite, default=0.0), max(finite, default=0.0)
    assert (levels.layer_low, levels.layer_high) == (least, most)
    one_each = maps[0][0].size == 1
    for side, each in enumerate(maps):
        odd = [not math.isfinite(value) for value in each.ravel()]
        assert marked(levels, side, each.size) == odd
        assert levels.values[side].shape == each.shape
    for channel in range(len(maps[0])):
        own = [
            float(v) for each in maps for v in each[channel].ravel().tolist() if math.isfinite(v)
        ]
        span = max(own, default=0.0) - min(own, default=0.0)
        if one_each:
            span = most - least
        elif own and span == 0:
            assert levels.low[channel] == levels.high[channel]
        size = max([0.0, *map(abs, own), *([abs(least), abs(most)] if one_each else [])])
        bound = span / 510 + (most - least) / 131070 + 2 * ROUNDING * size + SMALLEST
        for side, each in enumerate(maps):
            for i, value in enumerate(each[channel].ravel().tolist()):
                if not math.isfinite(value):
                    continue
                found = shown(levels, side, channel, i)
                # Divided in float32, off by a 1000th of a level at most.
                assert abs(found - value) <= bound * 1.001, (channel, value, found)
                if least >= 0 and value == 0:
                    assert found == 0
    return levels


@st.composite
def some_layers(draw):
    inputs, channels = draw(st.integers(1, 2)), draw(st.integers(1, 4))
    shape = (channels, draw(st.integers(1, 3)), draw(st.integers(1, 4)))
    lowest = draw(st.sampled_from([0.0, -10.0, -LARGEST]))
    values = st.one_of(
        st.floats(lowest, 10.0, width=32),
        st.floats(lowest, LARGEST, width=32),
        st.floats(max(lowest, -(2.0**-126)), 2.0**-126, width=32),
        st.sampled_from([0.0, 1.0, 1.0, math.nan, math.inf, -math.inf]),
    )
    size = math.prod(shape)
    return [
        np.array(draw(st.lists(values, min_size=size, max_size=size)), np.float32).reshape(shape)
        for _ in range(inputs)
    ]


@settings(max_examples=300, deadline=None)
@given(some_layers())
def test_every_value_is_as_near_as_is_said(maps):
    check(*maps)


@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1e-3, 1.0, 1e8, 3e37])
@pytest.mark.parametrize("offset", [0.0, 0.7, -3.0])
def test_channels_of_very_different_ranges_keep_their_detail(scale, offset):
    rng = np.random.default_rng(0)
    ranges = np.float32([1, 0.5, 0.1, 0.03])[:, None, None]
    maps = (rng.standard_normal((4, 5, 6)) * ranges + offset).astype(np.float32)
    check(maps * np.float32(scale))


def test_both_largest_numbers_fit_in_one_layer():
    maps = np.float32([[[-LARGEST, LARGEST]], [[0, 1]]])
    with np.errstate(over="raise", invalid="raise"):
        levels = check(maps)
    assert levels.values[0][0].tolist() == [[0, 255]]


def test_the_ends_of_a_scale_leave_no_value_out():
    maps = np.random.default_rng(5).standard_normal((50, 6, 6)).astype(np.float32)
    levels = check(maps)
    span = levels.layer_high - levels.layer_low
    assert (levels.layer_low + levels.low / 65535 * span <= maps.min((1, 2)) + 1e-12).all()
    assert (levels.layer_low + levels.high / 65535 * span >= maps.max((1, 2)) - 1e-12).all()


def test_zero_stays_zero_behind_a_relu():
    rng = np.random.default_rng(1)
    maps = rng.standard_normal((40, 6, 7)).clip(0).astype(np.float32)
    maps *= np.logspace(-6, 3, 40, dtype=np.float32)[:, None, None]
    levels = check(maps)
    zeros = [
        shown(levels, 0, c, i) for c in range(40) for i in range(42) if maps[c].ravel()[i] == 0
    ]
    assert len(zeros) > 500
    assert set(zeros) == {0.0}


def test_a_channel_that_is_the_same_everywhere_stays_so():
    maps = np.float32([[[-1, 3]], [[0.3, 0.3]], [[3, 3]], [[-1, -1]], [[1e-9, 2e-9]]])
    levels = check(maps)
    assert (levels.low == levels.high).tolist() == [False, True, True, True, False]
    assert [shown(levels, 0, channel, 0) for channel in (2, 3)] == [3, -1]


def test_two_inputs_share_the_scale_of_each_channel():
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    b *= 4
    levels = check(a, b)
    both = np.concatenate(levels.values, axis=2).reshape(3, -1)
    assert (both.min(1) <= 1).all()
    assert (both.max(1) >= 254).all()
    assert np.ptp(levels.values[0]) < np.ptp(levels.values[1])
    equal, alone = check(a, a), check(a)
    np.testing.assert_array_equal(equal.values[0], equal.values[1])
    np.testing.assert_array_equal(equal.values[0], alone.values[0])


def test_a_map_is_seen_also_where_the_other_input_has_no_finite_value():
    a = np.float32([[[0, 2], [1, 4]], [[0, 1], [2, 3]]])
    b = a.copy()
    b[0] = np.nan
    for levels, side in ((check(a, b), 0), (check(b, a), 1)):
        assert levels.values[side][0].ravel().tolist() == [0, 128, 64, 255]
        assert marked(levels, 1 - side, 8) == [True] * 4 + [False] * 4


def test_what_is_no_number_is_marked_and_leaves_the_others_as_they_are():
    maps = np.float32([[[0, np.nan, 1]], [[np.inf, -2, -np.inf]], [[np.nan] * 3]])
    levels = check(maps)
    assert levels.values[0][0, 0, [0, 2]].tolist() == [0, 255]
    assert (levels.layer_low, levels.layer_high) == (-2, 1)


def test_a_layer_without_any_number_has_an_empty_scale():
    levels = check(np.full((2, 2, 2), np.nan, np.float32))
    assert (levels.layer_low, levels.layer_high) == (0, 0)


@pytest.mark.parametrize("values", [[-1, 0, 4, 1.5], [2, 2, 2, 2], [0, 5, np.nan, np.inf]])
def test_single_values_share_the_scale_of_the_layer(values):
    levels = check(np.float32(values)[:, None, None])
    assert levels.low is None
    assert levels.high is None


def test_maps_of_7_by_7_travel_in_a_tenth_more_than_their_number():
    maps = np.random.default_rng(3).standard_normal((2048, 7, 7)).astype(np.float32)
    levels = levels_of(maps)
    sent = levels.values[0].nbytes + levels.low.nbytes + levels.high.nbytes
    assert sent <= 1.1 * maps.size


def test_a_weak_channel_beside_a_huge_one_keeps_its_values():
    maps = np.float32([[[0, 1e6]], [[0.25, 0.75]], [[0, 1]]])
    levels = check(maps)
    assert shown(levels, 0, 1, 0) == pytest.approx(0.25)
    assert shown(levels, 0, 1, 1) == pytest.approx(0.75)
    assert levels.low.dtype == np.float32
    assert check(maps[1:]).low.dtype == np.uint16
