"""A class is found by what a person types, and what is not found is told with what is near."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from nbviz.analysis.class_choice import choose_class, nearest_classes, search_classes
from nbviz.network import Network

NAMES = ["tench, Tinca tinca", "crane", "Newfoundland", "crane", "7", "tabby cat"]
LOGITS = np.array([0.1, 0.2, 0.9, 0.3, 0.0, -1.0], np.float32)


@pytest.fixture(scope="module")
def network():
    return Network(nn.Linear(4, 6), classes=NAMES)


@pytest.mark.parametrize(
    ("target", "number"),
    [
        (None, 2),
        (4, 4),
        (np.int64(5), 5),
        ("Newfoundland", 2),
        ("newfoundland ", 2),
        ("tinca tinca", 0),
        ("TENCH, tinca tinca", 0),
        ("crane", 3),  # of two of that name the more probable one
        ("7", 4),
    ],
)
def test_number_and_name_mean_the_same_class(network, target, number):
    assert choose_class(network, target, LOGITS) == number
    assert choose_class(network, target, torch.from_numpy(LOGITS)) == number


@pytest.mark.parametrize(
    ("target", "kind", "said"),
    [
        (6, IndexError, "from 0 to 5, got 6"),
        (-1, IndexError, "got -1"),
        ("new foundland", ValueError, "did you mean 'Newfoundland'"),
        ("zebra", ValueError, "network.classes"),
        (1.0, TypeError, "of type float"),
        (True, TypeError, "of type bool"),
    ],
)
def test_no_such_class_is_told_with_the_nearest(network, target, kind, said):
    with pytest.raises(kind, match=said):
        choose_class(network, target, LOGITS)


def test_without_names_or_numbers_it_says_what_is_missing(network):
    with pytest.raises(ValueError, match=r"pass classes=\[...\]"):
        choose_class(Network(nn.Linear(4, 6)), "crane", LOGITS)
    with pytest.raises(ValueError, match="all of them are NaN"):
        choose_class(network, None, np.full(6, np.nan))
    assert choose_class(network, None, np.array([np.nan, 1, 0, 0, 0, 0])) == 1


def test_a_search_puts_the_likeliest_first():
    names = ["catamaran", "Egyptian cat", "bobcat", "dog", "tiger cat", "cot"]
    found = [one.name for one in nearest_classes(names, "CAT")]
    assert found[:4] == ["catamaran", "Egyptian cat", "tiger cat", "bobcat"]
    assert "dog" not in found
    assert [one.number for one in nearest_classes(names, "3")] == [3]
    assert len(nearest_classes(names, "cat", count=2)) == 2
    assert nearest_classes(names, "  ") == ()
    assert nearest_classes(None, "cat") == ()
    assert nearest_classes(names, "egyptain cat")[0].name == "Egyptian cat"


DOGS = [
    "golden retriever",
    "tabby cat",
    "Labrador retriever",
    "wild cat",
    "7",
    "dog, hot dog",
    "wild",
]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("RETRIEVER", (0, 2)),
        ("cat", (1, 3)),
        ("cat wild", (3,)),
        ("  tabby,  labrador ", (1, 2)),
        ("dog, hot dog", (5,)),
        ("Wild ", (6,)),  # a whole name, not what holds it
        ("7", (4,)),
        ("2", (2,)),
        ("2, tabby", (1, 2)),
        (", cat,", (1, 3)),
        ("a", (1, 2, 3)),
    ],
)
def test_words_find_all_classes_that_hold_them(text, numbers):
    assert search_classes(DOGS, text) == numbers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("retreiver", "did you mean 'golden retriever', 'Labrador retriever'"),
        ("tabby dog", "No class is called 'tabby dog'; did you mean"),
        ("cat, zzzzz", "No class is called 'zzzzz'; type a part of a class's name"),
        ("99", "No class is called '99'; type a part"),
        (" , ", "got an empty text"),
        ("", "got an empty text"),
    ],
)
def test_words_that_are_in_no_name_are_told(text, message):
    with pytest.raises(ValueError, match=message):
        search_classes(DOGS, text)


@pytest.mark.parametrize("names", [None, []])
def test_words_need_classes(names):
    with pytest.raises(ValueError, match=r"knows classes, got none, .* pass labels="):
        search_classes(names, "dog", [-1])


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("class 1", (1,)),
        ("Class 1, 12", (1, 12)),
        ("1", (1,)),
        ("0", (0,)),  # it has a name, and this number is in none
        ("13", (13,)),
        ("class", (1, 3, 12, 13, 31)),
        ("cat 1", ()),
        ("7", ()),
        ("-1", ()),
    ],
)
def test_a_class_without_a_name_is_found_by_its_number(text, numbers):
    known = [-1, 0, 1, 3, 12, 13, 31]
    if numbers:
        assert search_classes(["cat"], text, known) == numbers
    else:
        with pytest.raises(ValueError, match="No class is called"):
            search_classes(["cat"], text, known)


def test_a_whole_name_among_others_finds_that_class_alone():
    assert search_classes(DOGS, "wild, tabby") == (1, 6)
