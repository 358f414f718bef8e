"""Run a model and leave it exactly as it was.

`undisturbed` is what every use of a user's model goes through: it holds the model's lock, sets
evaluation mode, and afterwards puts back all that a forward pass can change, also when an
exception or an interrupt passes through. One `ModelState` belongs to each model, however many
networks and views look at it, so that they share the lock.
"""

from __future__ import annotations

import operator
import random
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary


@dataclass(eq=False)
class ModelState:
    """What all networks over one model share.

    Attributes
    ----------
    lock : RLock
        Held by whoever runs the model.
    depth : int
        How many `undisturbed` contexts the holder of the lock is in.
    recorded : dict
        What was worked out about the model, by key; holds no reference to the model.
    """

    lock: Any = field(default_factory=threading.RLock)
    depth: int = 0
    recorded: dict[Any, Any] = field(default_factory=dict)


_states: MutableMapping[nn.Module, ModelState] = WeakIdKeyDictionary()
_states_lock = threading.Lock()


def state_of(model: nn.Module) -> ModelState:
    """Give the state that belongs to a model; it is dropped with the model."""
    with _states_lock:
        state = _states.get(model)
        if state is None:
            state = _states[model] = ModelState()
        return state


@contextmanager
def undisturbed(model: nn.Module, *, grad: bool = False) -> Iterator[None]:
    """Run `model` in evaluation mode, and leave it as it was.

    Restored afterwards, whatever happens inside: the training flag of every submodule,
    `requires_grad` of every parameter, buffers (values and objects), attributes and hooks that were
    set or removed on any submodule, the entries of lists, sets and dictionaries among these
    attributes, the random states of torch (CPU, and the model's
    CUDA or MPS device), NumPy and Python, the default dtype and the gradient mode.
    Weights are not copied: code that writes to them is not undone. In a nested context the
    outermost one restores.

    Parameters
    ----------
    model : nn.Module
        Not moved, not copied.
    grad : bool
        Leave autograd on inside (take gradients by `torch.autograd.grad`, which writes to no
        `.grad`).

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 2), nn.Dropout())
    >>> with undisturbed(model):
    ...     model.training, torch.is_grad_enabled()
    (False, False)
    >>> model.training
    True
    """
    state = state_of(model)
    with state.lock:
        state.depth += 1
        try:
            if state.depth > 1:
                with torch.set_grad_enabled(grad):
                    yield
            else:
                with _restored(model), torch.set_grad_enabled(grad):
                    yield
        finally:
            state.depth -= 1


@contextmanager
def _restored(model: nn.Module) -> Iterator[None]:
    snapshot = _Snapshot(model)
    try:
        for module in model.modules():
            module.training = False
        yield
    finally:
        try:
            snapshot.restore()
        except KeyboardInterrupt:  # restoring twice does no harm, stopping half way does
            snapshot.restore()
            raise


class _Snapshot:
    """All that a forward pass may change in a model and around it."""

    def __init__(self, model: nn.Module) -> None:
        self._modules = [(module, dict(vars(module))) for module in model.modules()]
        self._tables: list[tuple[Any, Any]] = [
            (table, kind(table))
            for _, attributes in self._modules
            for table in attributes.values()
            for kind in (dict, set, list)
            if isinstance(table, kind)
        ]
        self._requires_grad = [(p, p.requires_grad) for p in model.parameters()]
        self._buffers = [(b, b.detach().clone()) for b in model.buffers()]
        self._random = RandomState(model)
        self._dtype = torch.get_default_dtype()
        self._grad_enabled = torch.is_grad_enabled()

    def restore(self) -> None:
        torch.set_grad_enabled(self._grad_enabled)
        if torch.get_default_dtype() != self._dtype:
            torch.set_default_dtype(self._dtype)
        for module, attributes in self._modules:
            current = vars(module)
            for key in [key for key in current if key not in attributes]:
                del current[key]
            current.update(attributes)
        for table, entries in self._tables:
            if not _same_entries(table, entries):
                table.clear()
                (table.extend if isinstance(table, list) else table.update)(entries)
        for parameter, flag in self._requires_grad:
            if parameter.requires_grad != flag:
                parameter.requires_grad_(flag)
        with torch.no_grad():
            for buffer, values in self._buffers:
                # by value: batch norm writes its statistics without counting a version; and only
                # where it differs: a write would spoil a graph that still waits for backward
                if not buffer.is_meta and not _equal(buffer, values):
                    buffer.copy_(values)
        self._random.restore()


def _equal(buffer: Tensor, values: Tensor) -> bool:
    try:
        return torch.equal(buffer, values)
    except (NotImplementedError, RuntimeError):  # sparse: not known to be equal
        return False


def _same_entries(table: Any, entries: Any) -> bool:
    """Whether a module's table holds the very same objects in the same order."""
    if isinstance(table, set):
        return bool(table == entries)
    if isinstance(table, list):
        return len(table) == len(entries) and all(map(operator.is_, table, entries))
    return list(table) == list(entries) and all(table[key] is entries[key] for key in entries)


class RandomState:
    """The random generators of torch, NumPy and Python."""

    def __init__(self, model: nn.Module) -> None:
        tensors: list[Tensor] = [*model.parameters(), *model.buffers()]
        devices = {tensor.device for tensor in tensors}
        self._cuda = {d: torch.cuda.get_rng_state(d) for d in devices if d.type == "cuda"}
        mps = any(device.type == "mps" for device in devices)
        self._mps = torch.mps.get_rng_state() if mps else None
        self._cpu = torch.get_rng_state()
        self._numpy = np.random.get_state()  # noqa: NPY002 - the state that a model's code may use
        self._python = random.getstate()

    def restore(self) -> None:
        """Put all generators back to where they stood."""
        torch.set_rng_state(self._cpu)
        for device, state in self._cuda.items():
            torch.cuda.set_rng_state(state, device)
        if self._mps is not None:
            torch.mps.set_rng_state(self._mps)
        np.random.set_state(self._numpy)  # noqa: NPY002
        random.setstate(self._python)
