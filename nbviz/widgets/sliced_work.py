"""Long work in slices, so that the kernel stays free and the view shows how far it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Generic, TypeVar

Step = TypeVar("Step")

# Between two answers to the browser, in seconds: short beside what a person notices.
SLICE = 0.2


class SlicedWork(Generic[Step]):
    """Work that goes on for a moment whenever the view asks; it stops when nobody asks.

    Parameters
    ----------
    steps : iterator
        Each step gives the result so far.

    Examples
    --------
    >>> SlicedWork(iter([1, 2, 3])).go_on()
    3
    """

    def __init__(self, steps: Iterator[Step]) -> None:
        self._steps = steps
        self._latest: list[Step] = []

    @property
    def latest(self) -> Step | None:
        """The result so far, also after the work was interrupted; None before the first step."""
        return self._latest[0] if self._latest else None

    def go_on(self, seconds: float = SLICE) -> Step:
        """The result after working for so long at most, and one step at least.

        Raises
        ------
        ValueError
            If the work has no step at all.
        """
        end = time.monotonic() + seconds
        for step in self._steps:
            self._latest = [step]
            if time.monotonic() >= end:
                break
        if not self._latest:
            raise ValueError("expected work of at least one step, got none")
        return self._latest[0]
