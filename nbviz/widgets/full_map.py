"""The full map of an `OcclusionProbe`: while it grows, interrupted, whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from nbviz.analysis.occlusion import OcclusionMap
from nbviz.widgets.occlusion_choices import MapSettings
from nbviz.widgets.occlusion_state import level
from nbviz.widgets.sliced_work import SlicedWork

#: Gives a map's steps, from nothing or from a partial map on.
Steps = Callable[[OcclusionMap | None], Iterator[OcclusionMap]]


class FullMap:
    """A map that works for a moment whenever it is asked to; what it has is always whole.

    Attributes
    ----------
    result : OcclusionMap or None
        What is there so far.
    settings : MapSettings or None
        What `result` is made of.
    picture : uint8 array, shape (H, W, 1) or (H, W, 3), or None
        The picture that it is a map of.
    seconds : float
        Spent on it.
    """

    def __init__(self) -> None:
        self.result: OcclusionMap | None = None
        self.settings: MapSettings | None = None
        self.picture: np.ndarray | None = None
        self.seconds = 0.0
        self._work: SlicedWork[OcclusionMap] | None = None
        self._working_on: MapSettings | None = None
        self._working_picture: np.ndarray | None = None
        self._level = 0

    @property
    def running(self) -> bool:
        """Whether work was begun and not ended."""
        return self._work is not None

    @property
    def complete(self) -> bool:
        """Whether there is a map with an answer at every position."""
        return self.result is not None and self.result.complete

    def begin(
        self, steps: Steps, settings: MapSettings, picture: np.ndarray, *, afresh: bool
    ) -> None:
        """Begin anew, or go on with a partial map of these settings."""
        partial = None
        if not afresh and self.settings == settings:
            partial = self.result
        if partial is None:
            self.seconds = 0.0
        self._level = 0 if partial is None else level(partial.state)
        self._work, self._working_on = SlicedWork(steps(partial)), settings
        self._working_picture = picture

    def go_on(self, seconds: float) -> bool:
        """Work for so long, and one step at least; whether a finer grid is whole now.

        What was computed before an interrupt or an error stays.
        """
        work, made_of = self._work, self._working_on
        if work is None:
            return False
        started = time.monotonic()
        try:
            work.go_on(seconds)
        except BaseException:
            self.stop()
            raise
        finally:
            self.seconds += time.monotonic() - started
            if work.latest is not None:
                self.result, self.settings = work.latest, made_of
                self.picture = self._working_picture
        latest = work.latest
        if latest is None:
            return False
        before, self._level = self._level, level(latest.state)
        if latest.complete:
            self.stop()
        return latest.complete or self._level != before

    def stop_unless(self, settings: MapSettings) -> None:
        """End work on a map of other settings."""
        if self._working_on != settings:
            self.stop()

    def stop(self) -> None:
        """End the work; `result` stays as far as it got."""
        self._work = self._working_on = None
