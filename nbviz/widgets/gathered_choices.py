"""Choices that are acted on together, and go back together when that fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

from nbviz.widgets.base import View, message_of


class GatheredChoices(View):
    """Base of views whose choices depend on one another.

    A subclass names its choices in `CHOICES`, and brings in `_bring` what is shown in line with
    those that changed. If that fails, choices and what `_held` gave are as before.
    """

    CHOICES: ClassVar[tuple[str, ...]] = ()

    _gathered: set[str] | None
    # Choices that changed while they are gathered; None while each is acted on. A subclass sets it
    # to an empty set before its traits are set, and to None when all is in place.

    def _exclusive(self) -> AbstractContextManager[Any]:
        """A re-entrant lock on what is chosen, and on what `_bring` works with."""
        raise NotImplementedError

    def _bring(self, changed: set[str]) -> None:
        """Work out what depends on the choices that changed, and show it."""
        raise NotImplementedError

    def _held(self) -> Any:
        """What `_bring` changes beside traits, for `_put_back`."""
        raise NotImplementedError

    def _put_back(self, held: Any) -> None:
        raise NotImplementedError

    @contextmanager
    def _gathering(self) -> Iterator[set[str]]:
        """Collect the choices that change in the block instead of acting on each."""
        before, self._gathered = self._gathered, set()
        try:
            yield self._gathered
        finally:
            self._gathered = before

    def _choose(self, change: dict[str, Any]) -> None:
        """Act on a choice; the subclass observes `CHOICES` with it, before anything else does."""
        name = change["name"]
        if self._gathered is not None:
            self._gathered.add(name)
            return
        self._update({name}, {**self._choices(), name: change["old"]})

    def _choices(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.CHOICES}

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take what the browser set, all of it at once; a failure is said in the view."""
        with self._exclusive():
            before = self._choices()
            with self._gathering() as changed:
                super().set_state(sync_data)
            if not changed:
                return
            try:
                self._update(changed, before)
            except Exception as error:  # noqa: BLE001 - whatever it is, the person shall read it
                self.problem = message_of(error)
                self.send_state([*self.CHOICES])
            else:
                self.problem = ""

    def _update(self, changed: set[str], before: dict[str, Any]) -> None:
        """Bring everything shown in line with what changed.

        What cannot be shown is not chosen either: choices go back to `before`.
        """
        with self._all_or_nothing(before):
            self._bring(changed)

    @contextmanager
    def _all_or_nothing(self, before: dict[str, Any]) -> Iterator[None]:
        """Act in the block; if any of it fails, all stays as it was and choices are `before`."""
        with self._exclusive(), self._gathering():
            held = self._held()
            try:
                yield
            except BaseException:
                for name, value in before.items():
                    setattr(self, name, value)
                self._put_back(held)
                raise
