"""Ways to colour the images of an `ImageMap`: by category, or by a value from low to high."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from nbviz.analysis.prediction import class_name
from nbviz.widgets import wire

#: What stands for no category and no value.
NONE = 65535

Kind = Literal["none", "category", "value"]
Diverging = Literal["sequential", "diverging"]

# Categories that are listed; of more, only the numbers are sent.
_MOST_CATEGORIES = 2000


@dataclass(frozen=True, eq=False)
class Ink:
    """What each image is coloured by."""

    name: str
    label: str
    kind: Kind
    values: np.ndarray
    """uint16 (n,): categories by number, or 0 to 65534 for low to high; 65535 for none."""
    categories: Sequence[tuple[int, str, int]] = ()
    """Number, name and how many images, of those that occur."""
    low: float = 0.0
    high: float = 1.0
    colormap: Diverging = "sequential"
    meaning: str = ""

    def packed(self) -> dict[str, Any]:
        """As `InkState` of the view has it."""
        return wire.pack(
            {"values": self.values},
            name=self.name,
            label=self.label,
            kind=self.kind,
            categories=[
                {"number": number, "name": name, "count": count}
                for number, name, count in self.categories[:_MOST_CATEGORIES]
            ],
            low=self.low,
            high=self.high,
            colormap=self.colormap,
            meaning=self.meaning,
        )

    def numbers(self) -> np.ndarray:
        """Categories as int32 (n,), -1 for none."""
        found = self.values.astype(np.int32)
        found[found == NONE] = -1
        return found


def category_ink(
    name: str, label: str, numbers: np.ndarray, names: Sequence[str] | None, meaning: str = ""
) -> Ink:
    """Colour by categories, int (n,), below 0 for none."""
    there = (numbers >= 0) & (numbers < NONE)
    values = np.where(there, numbers, NONE).astype(np.uint16)
    counts = np.bincount(values, minlength=NONE + 1)[:NONE]
    listed = [(int(n), class_name(int(n), names), int(counts[n])) for n in np.flatnonzero(counts)]
    return Ink(name, label, "category", values, listed, meaning=meaning)


def value_ink(
    name: str,
    label: str,
    numbers: np.ndarray,
    meaning: str = "",
    *,
    bounds: tuple[float, float] | None = None,
    quantile: float = 1.0,
) -> Ink:
    """Colour by values, float (n,), not finite for none.

    Where they are of both signs, zero is in the middle of the colours. What lies above a quantile
    of them has the colour of that.
    """
    finite = np.isfinite(numbers)
    known = numbers[finite]
    signed = bool(known.size and known.min() < 0 < known.max())
    if bounds is not None:
        low, high = bounds
    elif signed:
        high = float(np.abs(known).max())
        low = -high
    else:
        low = float(known.min()) if known.size else 0.0
        high = float(np.quantile(known, quantile)) if known.size else 1.0
    if not high > low:
        high = low + 1.0  # all the same: any width will do
    share = np.zeros(len(numbers))
    np.divide(numbers - low, high - low, out=share, where=finite)
    levels = np.rint(np.clip(share, 0, 1) * (NONE - 1))
    return Ink(
        name,
        label,
        "value",
        np.where(finite, levels, NONE).astype(np.uint16),
        low=low,
        high=high,
        colormap="diverging" if signed and bounds is None else "sequential",
        meaning=meaning,
    )


def users_ink(name: str, values: np.ndarray) -> Ink:
    """Colour by an array of the user's: floats as values, whole numbers and names as categories."""
    kind = values.dtype.kind
    if kind == "O":
        there = np.array([one is not None and one == one for one in values], bool)
        if all(isinstance(one, float | np.floating) for one in values[there]):
            numbers = np.where(there, values, np.nan).astype(np.float64)
            return value_ink(name, name, numbers)
        told = values[there].astype(str)
        told_apart, inverse = np.unique(told, return_inverse=True)
        numbers = np.full(len(values), -1, np.int64)
        numbers[there] = inverse
        return category_ink(name, name, numbers, told_apart.tolist())
    if kind == "f":
        return value_ink(name, name, values.astype(np.float64))
    unique, inverse = np.unique(values, return_inverse=True)
    if len(unique) >= NONE and kind in "iu":
        return value_ink(name, name, values.astype(np.float64))
    names = [("no", "yes")[int(one)] if kind == "b" else str(one) for one in unique.tolist()]
    found = category_ink(name, name, inverse, names)
    if kind in "iu" and unique.min() >= 0 and unique.max() < NONE:
        # A category has its own number's colour, also where not all numbers occur.
        own = [
            (int(n), str(n), count)
            for n, (_, _, count) in zip(unique, found.categories, strict=True)
        ]
        return replace(found, values=values.astype(np.uint16), categories=own)
    return found


def no_ink(count: int) -> Ink:
    """All the same."""
    return Ink("none", "Nothing", "none", np.full(count, NONE, np.uint16))


def waiting_ink(name: str, label: str, kind: Kind, count: int) -> Ink:
    """Of what is not known yet."""
    meaning = "is being worked out"
    return Ink(name, label, kind, np.full(count, NONE, np.uint16), meaning=meaning)
