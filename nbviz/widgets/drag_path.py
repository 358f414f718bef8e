"""The target's confidence along the path of a drag."""

from __future__ import annotations

from math import hypot
from typing import Any

# Of a longer drag every second point is left out.
_MOST = 400


class DragPath:
    """Points of one drag at a time; the first point after `end` begins the next."""

    def __init__(self) -> None:
        self.points: list[dict[str, Any]] = []
        self._ended = False

    def add(self, row: float, col: float, target: dict[str, Any]) -> None:
        """Add where the hand is now, with the target's confidence there."""
        if self._ended:
            self.clear()
        length = 0.0
        if self.points:
            last = self.points[-1]
            length = last["path"] + hypot(row - last["row"], col - last["col"])
        if len(self.points) >= _MOST:
            self.points = self.points[::2]
        self.points.append(
            {
                "row": row,
                "col": col,
                "probability": target["probability"],
                "logit": target["logit"],
                "path": length,
            }
        )

    def end(self) -> None:
        """End the drag; its points stay until the next one begins."""
        self._ended = True

    def clear(self) -> None:
        """Forget all points."""
        self.points, self._ended = [], False
