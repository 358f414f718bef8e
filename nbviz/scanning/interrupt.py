"""An interrupt that waits until what is under way is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, TypeVar

__all__ = ["Interrupt"]

_Thing = TypeVar("_Thing")


class Interrupt:
    """A context in which the first interrupt only ends a loop; it is raised when the context ends.

    While the next thing is waited for it comes through, as it may never come. A second interrupt is
    raised at once. Other threads than the main one get no interrupts.

    Examples
    --------
    >>> import signal
    >>> done = []
    >>> try:
    ...     with Interrupt() as interrupt:
    ...         for number in interrupt.before(iter(range(9))):
    ...             if number == 2:
    ...                 signal.raise_signal(signal.SIGINT)
    ...             done.append(number)
    ...         done.append("all kept")
    ... except KeyboardInterrupt:
    ...     print(done)
    [0, 1, 2, 'all kept']
    """

    def __init__(self) -> None:
        self._came, self._waiting = False, False
        self._handler: Any = None

    def before(self, things: Iterator[_Thing]) -> Iterator[_Thing]:
        """These things, up to an interrupt, also one that they raise themselves."""
        while not self._came:
            try:
                self._waiting = True
                thing = next(things)
                self._waiting = False
            except StopIteration:
                self._waiting = False
                return
            except KeyboardInterrupt:
                self._waiting, self._came = False, True
                return
            yield thing

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            handler = signal.getsignal(signal.SIGINT)
            if callable(handler):  # else interrupts are ignored here, or not Python's to handle
                self._handler = handler
                signal.signal(signal.SIGINT, self._hold)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
        if self._came and error is None:
            raise KeyboardInterrupt

    def _hold(self, number: int, frame: FrameType | None) -> None:
        if self._came or self._waiting:
            self._handler(number, frame)
        self._came = True
