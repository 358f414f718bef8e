"""Following a training: counts steps, takes snapshots, and keeps the screen at its pace."""

from __future__ import annotations

import time
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from torch.optim import Optimizer
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from nbviz.analysis.filters import kernel_parameters

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

    from nbviz.widgets.filter_grid import FilterGrid

#: Seconds between two updates of the screen: a Jupyter server drops messages of a faster stream.
SCREEN_SECONDS = 0.25


class TrainingWatch:
    """What `FilterGrid.watch` returns: a context manager, or a callback to call once a step.

    A grid follows one training at a time: a new watch ends the one before it.

    Attributes
    ----------
    step : int
        Steps seen so far.
    every : int
        Steps between two snapshots.
    """

    def __init__(self, grid: FilterGrid, every: int) -> None:
        if not isinstance(every, int) or isinstance(every, bool):
            raise TypeError(f"every must be a whole number of steps; got {every!r}")
        if every < 1:
            raise ValueError(f"every must be 1 step or more; got {every}")
        self.step = 0
        self.every = every
        self._grid = grid
        self._shown_at = float("-inf")
        self._hooks: list[RemovableHandle] = []
        self._stepping: list[int] = []
        self._started = False

    def __enter__(self) -> TrainingWatch:
        self._start()
        self._hooks = [
            register_optimizer_step_pre_hook(self._before_step),
            register_optimizer_step_post_hook(self._after_step),
        ]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        try:
            self.finish()
        except Exception as failed:
            if error is None:
                raise
            # The training's own error is the one to see; this one is said in the view.
            self._grid.problem = f"the last kernels could not be shown: {failed}"
            return
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
        if self._grid.training is not self:
            return
        self.step += 1
        if self.step % self.every == 0:
            on_screen = time.monotonic() - self._shown_at >= SCREEN_SECONDS
            self.record(show=on_screen)

    def finish(self) -> None:
        """Take the last snapshot and hand the history to the view, to replay with no kernel."""
        self._start()
        if self._grid.training is not self:
            return
        try:
            self.record(show=True, last=True)
        finally:
            self._grid.training = None
            self._grid.show_history()

    def record(self, *, show: bool, last: bool = False) -> None:
        """Take a snapshot of the layer on show as of now."""
        self._grid.record(self.step, show=show, last=last)
        if show:
            self._shown_at = time.monotonic()

    def _start(self) -> None:
        if self._started:
            return
        self._started = True
        self._grid.begin_training(self)
        try:
            self.record(show=True)
        except BaseException:
            self._grid.training = None
            self._grid.show_history()
            raise

    # A compiled optimiser step would otherwise trace into the hooks.
    @torch.compiler.disable  # type: ignore[untyped-decorator, unused-ignore]
    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        del args, kwargs
        if id(optimizer) in self._stepping:  # its last step ended by an exception
            del self._stepping[self._stepping.index(id(optimizer)) :]
        self._stepping.append(id(optimizer))

    @torch.compiler.disable  # type: ignore[untyped-decorator, unused-ignore]
    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        del args, kwargs
        if id(optimizer) in self._stepping:
            del self._stepping[self._stepping.index(id(optimizer)) :]
        if self._stepping:  # a step within the step of an optimiser that wraps this one
            return
        watched = {id(p) for p in kernel_parameters(self._grid.network, self._grid.layer)}
        if any(id(p) in watched for group in optimizer.param_groups for p in group["params"]):
            self()
