"""Sums that come out the same, to the last bit, in whatever order they were added.

Adding floating-point numbers rounds, and rounds differently in another order. Here every number is
cut into three whole numbers of 40 bits, which are added as such.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["ADD_LIMIT", "add_exactly", "exact_total"]

_BITS = 40
_SCALE = 2.0**_BITS
#: Largest size of a number that may be added.
ADD_LIMIT = _SCALE


def add_exactly(
    limbs: NDArray[np.int64], values: NDArray[np.float64] | None = None
) -> NDArray[np.int64]:
    """`limbs` with `values` added, summed over their first axis; in its one form either way.

    Parameters
    ----------
    limbs : ndarray, int64, shape (..., 3)
        A sum, or several sums added up, which are then brought to the form.
    values : ndarray, float64, shape (N, ...), optional
        Of size below `ADD_LIMIT`, each cut at 2**-80; fewer than two million at once.

    Examples
    --------
    >>> zero = np.zeros(3, np.int64)
    >>> float(exact_total(add_exactly(zero, np.array([0.25, 1e9, -1e9]))))
    0.25
    """
    if values is not None:
        limbs = limbs.copy()
        rest = values
        for place in range(3):
            whole = np.trunc(rest)
            limbs[..., place] += whole.astype(np.int64).sum(0)
            rest = (rest - whole) * _SCALE
    high, middle, low = limbs[..., 0], limbs[..., 1], limbs[..., 2]
    middle = middle + (low >> _BITS)
    high = high + (middle >> _BITS)
    mask = (1 << _BITS) - 1
    return np.stack([high, middle & mask, low & mask], -1)


def exact_total(limbs: NDArray[np.int64]) -> NDArray[np.float64]:
    """The sums as float64, shape (...)."""
    high, middle, low = (limbs[..., place].astype(np.float64) for place in range(3))
    result: NDArray[np.float64] = high + (middle + low / _SCALE) / _SCALE
    return result
