"""Following a training: counts steps, takes snapshots, and keeps the screen at its pace."""

from __future__ import annotations

import time
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Any

from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from nbviz.analysis.filters import kernel_module

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

    from nbviz.widgets.filter_grid import FilterGrid

#: Seconds between two updates of the screen: a Jupyter server drops messages of a faster stream.
SCREEN_SECONDS = 0.25


class TrainingWatch:
    """What `FilterGrid.watch` returns: a context manager, or a callback to call once a step.

    Attributes
    ----------
    step : int
        Steps seen so far.
    """

    def __init__(self, grid: FilterGrid, every: int) -> None:
        if every < 1:
            raise ValueError(f"every must be 1 step or more; got {every}")
        self.step = 0
        self._grid = grid
        self._every = every
        self._recorded = -1
        self._shown_at = float("-inf")
        self._hook: RemovableHandle | None = None
        self._started = False
        self._watched: tuple[str, set[int]] | None = None

    def __enter__(self) -> TrainingWatch:
        self._start()
        self._hook = register_optimizer_step_post_hook(self._after_step)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        self.finish()
        if self.step == 0 and error is None:
            message = (
                f"no optimiser that holds weights of layer {self._grid.layer!r} made a step while "
                "it was watched; if yours is not a torch.optim one, use "
                "`on_step = grid.watch(...)` and call `on_step()` after each step"
            )
            self._grid.problem = message
            warnings.warn(message, stacklevel=2)

    def __call__(self) -> None:
        """Count a step; every so many, take a snapshot."""
        self._start()
        self.step += 1
        if self.step % self._every == 0:
            self._record()

    def finish(self) -> None:
        """Take the last snapshot and hand the history to the view, to replay with no kernel."""
        self._start()
        if self._recorded != self.step or self._shown_at < self._recorded_at:
            self._record(show=True)
        self._grid.show_watching(self._every, active=False)

    def _start(self) -> None:
        if self._started:
            return
        self._started = True
        self._grid.problem = ""
        self._grid.step = -1
        self._grid.show_watching(self._every, active=True)
        self._record(show=True)

    def _record(self, *, show: bool | None = None) -> None:
        now = time.monotonic()
        on_screen = now - self._shown_at >= SCREEN_SECONDS if show is None else show
        self._grid.record(self.step, show=on_screen)
        self._recorded, self._recorded_at = self.step, now
        if on_screen:
            self._shown_at = now

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        del args, kwargs
        watched = self._watched_parameters()
        if any(id(p) in watched for group in optimizer.param_groups for p in group["params"]):
            self()

    def _watched_parameters(self) -> set[int]:
        """Identities of the parameters of the layer on show, looked up once a layer."""
        layer = self._grid.layer
        if self._watched is None or self._watched[0] != layer:
            module = kernel_module(self._grid.network, layer)
            self._watched = layer, {id(p) for p in module.parameters()}
        return self._watched[1]
