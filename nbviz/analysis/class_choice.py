"""A class by its number or name, classes by words, and names near to what was typed."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from nbviz.analysis.prediction import class_name
from nbviz.network import Network

__all__ = ["ClassFound", "choose_class", "nearest_classes", "search_classes"]


@dataclass(frozen=True)
class ClassFound:
    """A class that a text may mean."""

    number: int
    name: str


def choose_class(
    network: Network | nn.Module,
    target: int | str | None,
    logits: Tensor | NDArray[np.floating[Any]],
) -> int:
    """The number of a class that was given by number, by name, or not at all.

    Parameters
    ----------
    network : Network or nn.Module
        Its `classes` are the names.
    target : int, str or None
        A name is looked for as it is, then in any case, then as one of several names of a class
        ("tench" of "tench, Tinca tinca"). None is the most probable class.
    logits : Tensor or array, shape (classes,)
        What the network answers to the image. Of several classes of one name the most probable is
        taken.

    Raises
    ------
    IndexError
        If there is no class of that number.
    ValueError
        If there is no class of that name (the nearest are offered), the names are not known, or
        all logits are NaN where the most probable was asked for.
    TypeError
        If it is neither number nor name.

    Examples
    --------
    >>> network = Network(nn.Linear(4, 3), classes=["cat", "dog", "Newfoundland"])
    >>> logits = np.array([0.1, 0.7, 0.2])
    >>> choose_class(network, None, logits), choose_class(network, "newfoundland", logits)
    (1, 2)
    """
    values = logits.detach().cpu().numpy() if isinstance(logits, Tensor) else np.asarray(logits)
    count = len(values)
    if target is None:
        if np.isnan(values).all():
            msg = (
                "expected a network with numbers as logits, but all of them are NaN for this "
                "image; check weights and input, or name the class"
            )
            raise ValueError(msg)
        return int(np.nanargmax(values))
    if isinstance(target, str):
        return _named(Network.of(network).classes, target, values)
    try:
        number = operator.index(target)
    except TypeError:
        number = None
    if number is None or isinstance(target, bool | np.bool_):
        msg = (
            f"expected a class by number or name, got {target!r:.60} of type "
            f"{type(target).__name__}"
        )
        raise TypeError(msg)
    if not 0 <= number < count:
        msg = f"expected the number of a class from 0 to {count - 1}, got {number}"
        raise IndexError(msg)
    return number


def _named(names: Sequence[str] | None, target: str, logits: NDArray[np.generic]) -> int:
    if names is None:
        msg = (
            f"expected the number of a class from 0 to {len(logits) - 1}, got the name {target!r}, "
            f"but the network's class names are not known; pass classes=[...] to Network"
        )
        raise ValueError(msg)
    names = names[: len(logits)]
    wanted = target.strip().casefold()
    ways = (
        [number for number, name in enumerate(names) if name == target],
        [number for number, name in enumerate(names) if name.casefold() == wanted],
        [n for n, name in enumerate(names) if wanted in _synonyms(name)],
    )
    found = next((numbers for numbers in ways if numbers), None)
    if found is None:
        near = [repr(one.name) for one in nearest_classes(names, target, count=3)]
        advice = f"did you mean {', '.join(near)}?" if near else "see `network.classes`"
        msg = f"expected the name of one of {len(names)} classes, got {target!r}; {advice}"
        raise ValueError(msg)
    return max(found, key=lambda number: np.nan_to_num(logits[number], nan=-np.inf))


def _synonyms(name: str) -> list[str]:
    return [part.strip().casefold() for part in name.split(",")]


def nearest_classes(
    names: Sequence[str] | None, text: str, *, count: int = 20
) -> tuple[ClassFound, ...]:
    """Classes that a text may mean, the likeliest first.

    Names that begin with it, then names in which a word does, then those that contain it, then
    those that are spelled much like it; a number finds the class of that number, before all others.

    Parameters
    ----------
    names : sequence of str or None
        In the order of the classes; without names nothing is found.
    text : str
        In any case.
    count : int
        How many at most.

    Examples
    --------
    >>> [found.name for found in nearest_classes(["tabby", "Egyptian cat", "catamaran"], "cat")]
    ['catamaran', 'Egyptian cat']
    """
    wanted = text.strip().casefold()
    if not names or not wanted:
        return ()
    folded = [name.casefold() for name in names]
    order: dict[int, None] = {}
    if wanted.isdecimal() and int(wanted) < len(names):
        order[int(wanted)] = None
    order |= dict.fromkeys(n for n, name in enumerate(folded) if name.startswith(wanted))
    order |= dict.fromkeys(n for n, name in enumerate(folded) if f" {wanted}" in name)
    order |= dict.fromkeys(n for n, name in enumerate(folded) if wanted in name)
    if len(order) < count:
        near = difflib.get_close_matches(wanted, folded, n=count, cutoff=0.6)
        order |= {n: None for one in near for n, name in enumerate(folded) if name == one}
    return tuple(ClassFound(number, names[number]) for number in list(order)[:count])


def search_classes(
    classes: Sequence[str] | None, text: str, numbers: Sequence[int] = ()
) -> tuple[int, ...]:
    """The classes that a text asks for: "retriever", "fire truck, ambulance" or a number.

    Each part between commas finds the classes whose name holds all of its words, in any case; a
    class's whole name finds this class alone. A number that is in no name finds the class of that
    number.

    Parameters
    ----------
    classes : sequence of str or None
        Names in the order of the classes.
    text : str
    numbers : sequence of int
        Classes to search beside those with a name, as those that were seen. They are called
        "class 7", and are found by this or by the number alone.

    Returns
    -------
    tuple of int
        Class numbers, ascending.

    Raises
    ------
    ValueError
        If the text is empty, a part finds nothing (the nearest names are offered), or there are
        no classes.

    Examples
    --------
    >>> names = ["golden retriever", "tabby cat", "Labrador retriever", "wild cat"]
    >>> search_classes(names, "Retriever"), search_classes(names, "cat wild, golden")
    ((0, 2), (0, 3))
    >>> search_classes(None, "class 1, 12", numbers=range(20))
    (1, 12)
    """
    names = dict(enumerate(classes or ()))
    unnamed = {n for n in numbers if n >= 0 and n not in names}
    names |= {n: class_name(n, None) for n in sorted(unnamed)}
    if not names:
        msg = (
            f"expected a scan that knows classes, got none, so {text!r:.60} cannot be looked for; "
            f"pass labels= to nbviz.scan"
        )
        raise ValueError(msg)
    folded = {n: name.casefold() for n, name in names.items()}
    whole = tuple(n for n, name in folded.items() if name == text.strip().casefold())
    if whole:
        return whole
    parts = [part.split() for part in text.casefold().split(",") if part.strip()]
    if not parts:
        msg = "expected words of class names, got an empty text; type a part of a name"
        raise ValueError(msg)
    found: set[int] = set()
    for words in parts:
        here = _holding(folded, unnamed, words)
        if not here:
            raise ValueError(_not_found([*names.values()], " ".join(words)))
        found |= here
    return tuple(sorted(found))


def _holding(names: dict[int, str], unnamed: set[int], words: list[str]) -> set[int]:
    """Classes that some words ask for; the names are in lower case."""
    number = int(words[0]) if len(words) == 1 and words[0].isdecimal() else -1
    whole = {n for n, name in names.items() if name == " ".join(words)}
    if whole or number in unnamed:
        return whole or {number}
    here = {n for n, name in names.items() if all(word in name for word in words)}
    return here or ({number} & names.keys())


def _not_found(classes: Sequence[str], text: str) -> str:
    near = dict.fromkeys(one.name for one in nearest_classes(classes, text, count=3))
    names_of: dict[str, list[str]] = {}
    for name in classes:
        for word in re.findall(r"\w+", name.casefold()):
            names_of.setdefault(word, []).append(name)
    for word in text.split():
        for close in difflib.get_close_matches(word, names_of, n=3, cutoff=0.7):
            near |= dict.fromkeys(names_of[close])
    offered = ", ".join(repr(name) for name in list(near)[:3])
    advice = f"did you mean {offered}?" if near else "type a part of a class's name"
    return f"No class is called {text!r:.60}; {advice}"
