"""Analyses that are done a moment at a time, so that a kernel stays free in between."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterator
from typing import Generic, ParamSpec, TypeVar

__all__ = ["InSteps", "Steps"]

Found = TypeVar("Found")
Given = ParamSpec("Given")

#: Each step gives the share of the work that is done, 0 to 1, or None where that is not known; what
#: was found is the generator's return value. A step takes less than half a second, unless a single
#: call of a library takes longer.
Steps = Generator[float | None, None, Found]


class InSteps(Generic[Given, Found]):
    """A function that works in steps, called as any other; `steps` of the same gives them.

    Examples
    --------
    >>> @InSteps
    ... def halved(number):
    ...     yield 0.5
    ...     return number / 2
    >>> halved(3), list(halved.steps(3))
    (1.5, [0.5])
    """

    def __init__(self, steps: Callable[Given, Steps[Found]]) -> None:
        self.steps = steps
        functools.update_wrapper(self, steps)

    def __call__(self, *given: Given.args, **named: Given.kwargs) -> Found:
        """What is found, with all steps done at once."""
        results: list[Found] = []
        for _ in self.into(results, *given, **named):
            pass
        return results[0]

    def into(
        self, results: list[Found], *given: Given.args, **named: Given.kwargs
    ) -> Iterator[float | None]:
        """The steps; what is found is added to a list at the end."""
        results.append((yield from self.steps(*given, **named)))
