"""One dispatched operation as the rules see it, and the table that finds a rule by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from nbviz.analysis.dependence.shadow import Shadow


@dataclass(frozen=True, eq=False)
class Operation:
    """An operation that was run, with the shadows of what it read.

    Attributes
    ----------
    name : str
        Without namespace, overload and the underscore of an in-place variant: ``"relu"``.
    function : OpOverload
        What was called.
    arguments : dict
        All arguments by the name that the operation's schema gives them, defaults included.
    outputs : tuple of Tensor
        What it returned.
    shadow_of : callable
        Gives a tensor's shadow, None for a tensor that does not depend on the input.
    dependent : tuple of Shadow
        The shadows of all tensors among the arguments that have one, in order.
    """

    name: str
    function: Any
    arguments: dict[str, Any]
    outputs: tuple[Tensor, ...]
    shadow_of: Callable[[Tensor], Shadow | None]
    dependent: tuple[Shadow, ...]

    def __getitem__(self, argument: str) -> Any:
        return self.arguments[argument]

    def shadow(self, argument: str) -> Shadow | None:
        """Give the shadow of one argument, None if it is no tensor or depends on nothing."""
        value = self.arguments.get(argument)
        return self.shadow_of(value) if isinstance(value, Tensor) else None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first output."""
        return tuple(self.outputs[0].shape)


class NoRule(Exception):  # noqa: N818 - it says that a rule does not cover a case, it is no error
    """Raised by a rule that does not cover a case; every output then depends on every input."""


Rule = Callable[[Operation], "Shadow | Sequence[Shadow | None] | None"]
RuleT = TypeVar("RuleT", bound=Rule)

RULES: dict[str, Rule] = {}


def names(text: str) -> list[str]:
    """Give the words of a long list of operation names."""
    return text.split()


def rule(*operations: str) -> Callable[[RuleT], RuleT]:
    """Enter the decorated function into the table under each of `operations`."""

    def enter(function: RuleT) -> RuleT:
        RULES.update(dict.fromkeys(operations, function))
        return function

    return enter
