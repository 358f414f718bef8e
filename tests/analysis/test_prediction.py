"""The classes shown are those that the network itself holds most probable."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nbviz.analysis.prediction import guesses

ODD = st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1.0])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.floats(-1e4, 1e4, width=32), ODD), min_size=2, max_size=12))
def test_probabilities_are_those_of_torch_and_the_order_is_by_logit(values):
    logits = np.array(values, np.float32)
    found = guesses(logits, count=20)
    assert sorted(guess.index for guess in found) == list(range(len(values)))
    expected = torch.tensor(values, dtype=torch.float64).softmax(0).numpy()
    for guess in found:
        np.testing.assert_allclose(guess.probability, expected[guess.index], rtol=1e-9, atol=0)
        np.testing.assert_array_equal(guess.logit, logits[guess.index])
    place = [(math.isnan(g.logit), -g.logit if g.logit == g.logit else 0, g.index) for g in found]
    assert place == sorted(place)


@pytest.mark.parametrize("classes", [2, 5, 6, 1000])
def test_the_top_five_are_those_of_topk(classes):
    logits = torch.randn(classes, generator=torch.Generator().manual_seed(0))
    top = logits.softmax(0).topk(min(5, classes))
    found = guesses(logits.numpy())
    assert [guess.index for guess in found] == top.indices.tolist()
    np.testing.assert_allclose([guess.probability for guess in found], top.values, rtol=1e-5)


def test_equal_logits_come_by_number():
    assert [guess.index for guess in guesses(np.float32([1, 3, 3, 1, 3]))] == [1, 2, 4, 0, 3]


def test_a_logit_that_is_nan_stands_last_and_spoils_every_probability():
    found = guesses(np.float32([np.nan, -np.inf, 2]))
    assert [guess.index for guess in found] == [2, 1, 0]
    assert all(math.isnan(guess.probability) for guess in found)


def test_large_logits_do_not_overflow():
    found = guesses(np.float32([3e38, -3e38, 3e38]))
    assert [guess.probability for guess in found] == [0.5, 0.5, 0]


@pytest.mark.parametrize("logits", [[], [0.3], [[0.3]], 0.3])
def test_one_logit_is_no_choice_between_classes(logits):
    assert guesses(np.array(logits)) == ()


@pytest.mark.parametrize("names", [["cat", "dog"], ("cat", "dog"), np.array(["cat", "dog"])])
def test_classes_without_a_name_are_called_by_number(names):
    found = guesses(np.float32([1, 3, 2]), names)
    assert [guess.name for guess in found] == ["dog", "class 2", "cat"]
    assert [guess.name for guess in guesses(np.float32([1, 3]))] == ["class 1", "class 0"]


def test_names_beyond_the_logits_are_not_used():
    assert [guess.name for guess in guesses(np.float32([1, 3]), list("abcdef"))] == ["b", "a"]


def test_guesses_hold_plain_numbers():
    (guess, _) = guesses(np.float16([1, 3]))
    assert [type(value) for value in (guess.index, guess.probability, guess.logit)] == [
        int,
        float,
        float,
    ]


def test_a_batch_of_one_is_taken_for_its_logits():
    assert guesses(np.float32([[1, 3]])) == guesses(np.float32([1, 3]))
