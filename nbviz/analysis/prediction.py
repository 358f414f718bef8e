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
    values = np.asarray(logits, dtype=np.float64).ravel()
    if values.size < 2:
        return ()
    order = np.argsort(-values, kind="stable")[:count]  # puts NaN last
    with np.errstate(over="ignore", invalid="ignore"):
        powers = np.exp(values - values.max())
        probabilities = powers / powers.sum()
    names = () if classes is None else classes
    return tuple(
        Guess(
            int(index),
            names[index] if index < len(names) else f"class {index}",
            float(probabilities[index]),
            float(values[index]),
        )
        for index in order
    )
