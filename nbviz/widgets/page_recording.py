"""What a view may be asked when no Python is behind it any more, asked beforehand.

A `Plan` says which choices and questions of a widget Python answers, `recordings` asks them as a
browser would, one at a time, so that a file with a size to keep to can take the most important
ones. The widget is as it was afterwards, and neither its views nor those who observe it hear of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from traitlets import ObserveHandler

from nbviz.widgets import wire
from nbviz.widgets.base import View

__all__ = ["Axis", "Plan", "Question", "Recorded", "Series", "apart", "recordings"]


@dataclass(frozen=True)
class Question:
    """A request that a view may make.

    Attributes
    ----------
    kind : str
    same : dict
        Fields of the request that have to be these.
    near : dict
        Further fields, numbers, of which the nearest that was recorded will do.
    among : str
        A field that lists what is asked for, most wanted first: the answer whose array, or field,
        of this name has the first of them will do.
    given : dict
        The value of that field here.
    """

    kind: str
    same: Mapping[str, Any] = field(default_factory=dict)
    near: Mapping[str, float] = field(default_factory=dict)
    among: str = ""
    given: Sequence[Any] = ()

    @property
    def fields(self) -> dict[str, Any]:
        """The request as it is asked."""
        listed = {self.among: list(self.given)} if self.among else {}
        return {**self.same, **self.near, **listed}


@dataclass(frozen=True)
class Axis:
    """Choices that Python answers together, by showing other values of some traits.

    Attributes
    ----------
    choices : tuple of str
    shows : tuple of str
        Traits that Python brings in line with them.
    values : iterable of tuple
        The values of `choices` to record, the most important first.
    names : str
        What these are called, in the plural: "layers".
    resets : dict
        Choice -> traits that go back to what they were when it was recorded, once it is made.
    elsewhere : dict, optional
        What traits are where nothing was recorded; None if such a choice cannot be made.
    """

    choices: tuple[str, ...]
    shows: tuple[str, ...]
    values: Iterable[tuple[Any, ...]]
    names: str
    resets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    elsewhere: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Series:
    """Questions of one sort, the most important first; `names` says what they ask for."""

    names: str
    questions: Iterable[Question]


@dataclass(frozen=True)
class Plan:
    """What to record of a widget.

    Attributes
    ----------
    parts : tuple of Axis and Series
        The most important first.
    fixed : tuple of str
        Choices that need Python whatever they are: they stay as they are.
    settle : callable, optional
        Called once a choice was made, to finish what it began.
    kept : tuple of str
        Traits that recording would take away, and that the widget gets back.
    silent : tuple of str
        Kinds of requests that a view does without when nothing comes back.
    blank : dict
        Kinds of requests that are answered so where nothing was recorded.
    notes : tuple of str
        What whoever saves the page should know, a sentence each.
    """

    parts: tuple[Axis | Series, ...] = ()
    fixed: tuple[str, ...] = ()
    settle: Callable[[], Any] | None = None
    kept: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    blank: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recorded:
    """One answer: of traits to a value of an axis, or to a question; which of how many."""

    part: Axis | Series
    number: int
    count: int
    of: tuple[Any, ...] | Question
    answer: dict[str, Any]


class RefusedError(ValueError):
    """The widget cannot show this; the message is its own."""


@contextmanager
def apart(widget: View, kept: Iterable[str] = ()) -> Iterator[None]:
    """Let only the widget itself hear of its changes; then bring its choices back.

    Parameters
    ----------
    widget : View
    kept : iterable of str
        Further traits to bring back, as they are.
    """
    before = {name: getattr(widget, name) for name in widget.keys}
    heard = widget._trait_notifiers
    widget._trait_notifiers = {
        name: {kind: [one for one in them if _own(one, widget)] for kind, them in kinds.items()}
        for name, kinds in heard.items()
    }
    widget._apart = True
    try:
        yield
    finally:
        try:
            _bring_back(widget, before)
            for name in kept:
                setattr(widget, name, before[name])
        finally:
            widget._trait_notifiers = heard
            widget._apart = False
    changed = [name for name, value in before.items() if getattr(widget, name) is not value]
    if changed:
        widget.send_state(changed)


def _own(handler: Any, widget: View) -> bool:
    """Whether a handler is the widget's own: one of its class, or a method of it."""
    return isinstance(handler, ObserveHandler) or getattr(handler, "__self__", None) is widget


def _bring_back(widget: View, before: Mapping[str, Any]) -> None:
    names = [n for n in widget._public() if n in before and not widget.trait_metadata(n, "shown")]
    for _ in range(2):  # one choice may take back another
        apart = {name: before[name] for name in names if getattr(widget, name) != before[name]}
        if apart:
            widget.set_state(apart)
    widget.problem = before["problem"]


def recordings(
    widget: View, plan: Plan, closed: Callable[[Axis | Series], bool]
) -> Iterator[Recorded]:
    """Answers to all that a plan names, one at a time, most important first.

    Parameters
    ----------
    widget : View
        Within `apart`.
    plan : Plan
    closed : callable
        Called before each: whether the rest of a part is left out.
    """
    for part in plan.parts:
        each = list[Any](part.values if isinstance(part, Axis) else part.questions)
        for number, of in enumerate(each):
            if closed(part):
                break
            try:
                if isinstance(part, Axis):
                    yield Recorded(part, number, len(each), of, _shown(widget, plan, part, of))
                else:
                    for question, answer in _answered(widget, of):
                        yield Recorded(part, number, len(each), question, answer)
            except RefusedError:
                continue  # the view would be told the same


def _answered(widget: View, question: Question) -> Iterator[tuple[Question, dict[str, Any]]]:
    """The answer to a question; of a list that is answered in pieces, all of them."""
    rest = list(question.given)
    while True:
        asked = replace(question, given=rest)
        answer = _asked(widget, asked)
        if not question.among:
            yield asked, answer
            return
        came = answer.get(question.among)
        if came is None:
            came = wire.unpack(answer)[question.among].tolist()
        yield replace(question, given=came), answer
        rest = [one for one in rest if one not in came]
        if not rest or not came:
            return


def _shown(widget: View, plan: Plan, axis: Axis, values: tuple[Any, ...]) -> dict[str, Any]:
    widget.problem = ""
    widget.set_state(dict(zip(axis.choices, values, strict=True)))
    if widget.problem:
        raise RefusedError(widget.problem)
    if plan.settle is not None:
        plan.settle()
    resets = (name for names in axis.resets.values() for name in names)
    shown: dict[str, Any] = widget.get_state({*axis.shows, *resets})
    return shown


def _asked(widget: View, question: Question) -> dict[str, Any]:
    try:
        return widget.answer(question.kind, **question.fields)
    except Exception as error:
        raise RefusedError(str(error)) from error
