"""What a classifier takes an image for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Guess:
    """One class with how probable the network holds it."""

    index: int
    name: str
    probability: float
    """Softmax over all classes, 0 to 1."""
    logit: float


def guesses(
    logits: np.ndarray, classes: Sequence[str] | None = None, *, count: int = 5
) -> tuple[Guess, ...]:
    """The most probable classes, most probable first, ties by number.

    Parameters
    ----------
    logits : ndarray, shape (classes,)
    classes : sequence of str, optional
        Names in the order of the logits; "class 7" where there is none.
    count : int
        How many at most.

    Returns
    -------
    tuple of Guess
        Empty if there is one logit or none, which is no choice between classes. A logit that is
        NaN stands last, and makes every probability NaN, as it does in the network.

    Examples
    --------
    >>> [(g.name, round(g.probability, 2)) for g in guesses(np.array([0.0, 2.0]), ["cat", "dog"])]
    [('dog', 0.88), ('cat', 0.12)]
    """
    values = np.asarray(logits).ravel()
    if values.size < 2:
        return ()
    order = np.argsort(-values.astype(np.float64), kind="stable")[:count]  # puts NaN last
    return guesses_of(values, [int(index) for index in order], classes)


def guesses_of(
    logits: np.ndarray, numbers: Sequence[int], classes: Sequence[str] | None = None
) -> tuple[Guess, ...]:
    """How probable the network holds some classes, in the order that they were asked for.

    Parameters
    ----------
    logits : ndarray, shape (classes,)
    numbers : sequence of int
        Classes by number.
    classes : sequence of str, optional
        As for `guesses`.

    Examples
    --------
    >>> [round(guess.probability, 2) for guess in guesses_of(np.array([0.0, 2.0]), [0])]
    [0.12]
    """
    values = np.asarray(logits, dtype=np.float64).ravel()
    with np.errstate(over="ignore", invalid="ignore"):
        powers = np.exp(values - values.max())
        probabilities = powers / powers.sum()
    return tuple(
        Guess(index, class_name(index, classes), float(probabilities[index]), float(values[index]))
        for index in numbers
    )


def class_name(index: int, classes: Sequence[str] | None) -> str:
    """The name of a class, "class 7" where it has none."""
    names = () if classes is None else classes
    return names[index] if 0 <= index < len(names) else f"class {index}"
