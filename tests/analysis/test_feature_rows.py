"""Rows that lie in several places are indexed like the one matrix they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbviz.analysis.data_pass import ImageRows
from nbviz.analysis.feature_rows import FeatureRows
from nbviz.analysis.patch_likeness import similarities


def cut(lengths, width=3):
    """A matrix, and the same cut into blocks of these lengths."""
    matrix = np.random.default_rng(0).random((sum(lengths), width), np.float32)
    if len(matrix) > 2:
        matrix[2] = np.nan
    return matrix, FeatureRows(np.split(matrix, np.cumsum(lengths)[:-1]))


LENGTHS = st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(any)


@given(LENGTHS, st.data())
def test_numbers_of_rows_in_any_order_and_shape(lengths, data):
    matrix, rows = cut(lengths)
    number = st.integers(-len(matrix), len(matrix) - 1)
    shape = data.draw(st.sampled_from([(), (1,), (4,), (2, 3), (2, 0), (2, 1, 2)]))
    size = int(np.prod(shape))
    at = np.array(data.draw(st.lists(number, min_size=size, max_size=size))).astype(int)
    found = rows[at.reshape(shape)]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, matrix[at.reshape(shape)])
    one = data.draw(number)
    for kind in (int, np.int32, np.uint16) if one >= 0 else (int, np.int32):
        np.testing.assert_array_equal(rows[kind(one)], matrix[one])


@given(LENGTHS, st.data())
def test_slices_and_masks(lengths, data):
    matrix, rows = cut(lengths)
    part = data.draw(st.slices(len(matrix)))
    np.testing.assert_array_equal(rows[part], matrix[part])
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(matrix), max_size=len(matrix))))
    np.testing.assert_array_equal(rows[mask], matrix[mask])
    np.testing.assert_array_equal(rows[[]], matrix[[]])
    np.testing.assert_array_equal([*rows], [*matrix])


@given(LENGTHS)
def test_it_stands_for_the_whole(lengths):
    matrix, rows = cut(lengths)
    assert (rows.shape, rows.dtype, rows.ndim) == (matrix.shape, matrix.dtype, matrix.ndim)
    assert (len(rows), rows.size) == (len(matrix), matrix.size)
    assert np.asarray(rows).tobytes() == matrix.tobytes()
    assert np.asarray(rows, np.float64).dtype == np.float64
    assert np.array(rows).dtype == np.float32


def test_what_is_given_is_a_copy():
    matrix, rows = cut([4])
    for found in (rows[1], rows[:], rows[[0, 1]], np.asarray(rows)):
        found[:] = 7
    assert not (matrix == 7).any()
    with pytest.raises(ValueError, match="may be copied"):
        rows.__array__(copy=False)


def test_reading_ahead_is_for_many_rows():
    told: list[bool] = []
    rows = FeatureRows([np.zeros((12, 2), np.float32)], told.append)
    rows[5], rows[[1, 2, 3]], rows[[1, 2, 3, 4]], rows[:], np.asarray(rows)
    assert told == [False, False, True, True, True]


def test_no_rows_at_all():
    for rows in (FeatureRows([]), FeatureRows([np.zeros((0, 0), np.float32)])):
        assert rows.shape == np.asarray(rows).shape == rows[:].shape == (0, 0)
    assert FeatureRows([np.zeros((3, 0), np.float32)])[[0, 2]].shape == (2, 0)


@pytest.mark.parametrize(
    "index", [5, -6, [0, 5], (0, 1), (slice(None), 0), 1.0, None, [True], "a", ...], ids=str
)
def test_what_is_no_row_is_refused(index):
    _, rows = cut([2, 3])
    with pytest.raises(IndexError, match="expected"):
        rows[index]


def test_blocks_of_several_widths_are_refused():
    with pytest.raises(ValueError, match=r"one width, got \[2, 3\]"):
        FeatureRows([np.zeros((1, 3), np.float32), np.zeros((1, 2), np.float32)])


def test_likeness_reads_only_what_it_needs(monkeypatch):
    matrix, rows = cut([7, 30, 3], width=4)
    at = np.random.default_rng(1).integers(-1, 40, (5, 3))
    asked, plain = [], FeatureRows.__getitem__
    monkeypatch.setattr(
        FeatureRows, "__getitem__", lambda self, key: asked.append(np.size(key)) or plain(self, key)
    )
    monkeypatch.delattr(FeatureRows, "__array__")
    np.testing.assert_array_equal(similarities(rows, at), similarities(matrix, at))
    assert sum(asked) == at.size


def rows_of(numbers) -> ImageRows:
    part = ImageRows.skipped(numbers, [f"reason {number}" for number in numbers], 2)
    part.label[:] = part.index % 3
    part.features = FeatureRows([np.float32([[number, -number] for number in numbers])])
    return part


@pytest.mark.parametrize(
    "parts", [[[0, 1], [2], [5, 6]], [[5, 6], [0, 1], [2]], [[0, 5], [1, 6], [2]]], ids=str
)
def test_joined_rows_are_in_order(parts):
    found = ImageRows.joined([rows_of(numbers) for numbers in parts])
    expected = rows_of([0, 1, 2, 5, 6])
    for name in ("index", "label", "features"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert found.reason == expected.reason


def test_rows_that_are_in_order_are_not_put_in_order(monkeypatch):
    monkeypatch.setattr(ImageRows, "_taken", lambda *_: pytest.fail("they were"))
    assert ImageRows.joined([rows_of([0, 1]), rows_of([4])]).index.tolist() == [0, 1, 4]
