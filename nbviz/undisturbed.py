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
from collections import defaultdict
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, compress
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
    tables : pair of list
        Types of the attributes of all modules as last seen, and which of them are tables.
    """

    lock: Any = field(default_factory=threading.RLock)
    depth: int = 0
    recorded: dict[Any, Any] = field(default_factory=dict)
    tables: tuple[list[type], list[bool]] = field(default_factory=lambda: ([], []))


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
def undisturbed(model: nn.Module, *, grad: bool = False, generators: bool = True) -> Iterator[None]:
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
    generators : bool
        Restore the random states, too. Without, another thread may draw from them meanwhile (a
        data set that seeds them for every item); whoever says so restores them himself.

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
                with _restored(model, generators), torch.set_grad_enabled(grad):
                    yield
        finally:
            state.depth -= 1


@contextmanager
def _restored(model: nn.Module, generators: bool) -> Iterator[None]:
    snapshot = _Snapshot(model, generators)
    try:
        snapshot.switch_to_evaluation()
        yield
    finally:
        try:
            snapshot.restore()
        except KeyboardInterrupt:  # restoring twice does no harm, stopping half way does
            snapshot.restore()
            raise


def modules_of(model: nn.Module) -> list[nn.Module]:
    """Give the modules of a model, each once: `modules`, but several times as fast."""
    found = [model]
    seen = {id(model)}
    for module in found:  # it grows as we go
        for child in module._modules.values():
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                found.append(child)
    return found


class _Snapshot:
    """All that a forward pass may change in a model and around it.

    It is taken and compared for every pass, so what belongs to all modules lies in one list each,
    which the interpreter goes through without a step of Python per entry.
    """

    def __init__(self, model: nn.Module, generators: bool) -> None:
        self._modules = modules_of(model)
        attributes = list(map(vars, self._modules))
        self._attributes = _Attributes(attributes)
        # where it is no plain attribute, whatever stands for it is asked
        self._training = [a for a in attributes if a.get("training")]
        self._asked = [(m, m.training) for m in self._modules if "training" not in vars(m)]
        self._tables = _Tables(self._attributes.values, state_of(model))
        own = [module._parameters.values() for module in self._modules]
        self._parameters = [p for parameters in own for p in parameters if p is not None]
        self._requires_grad = [p.requires_grad for p in self._parameters]
        self._buffers = _Buffers(self._modules)
        self._random = RandomState(model, self._modules) if generators else None
        self._dtype = torch.get_default_dtype()
        self._grad_enabled = torch.is_grad_enabled()

    def switch_to_evaluation(self) -> None:
        for attributes in self._training:
            attributes["training"] = False
        for module, _ in self._asked:
            module.training = False

    def restore(self) -> None:
        torch.set_grad_enabled(self._grad_enabled)
        if torch.get_default_dtype() != self._dtype:
            torch.set_default_dtype(self._dtype)
        for module, flag in self._asked:
            module.training = flag
        for attributes in self._training:
            attributes["training"] = True
        self._attributes.restore(list(map(vars, self._modules)))
        self._tables.restore()
        if [p.requires_grad for p in self._parameters] != self._requires_grad:
            for parameter, flag in zip(self._parameters, self._requires_grad, strict=True):
                if parameter.requires_grad != flag:
                    parameter.requires_grad_(flag)
        self._buffers.restore()
        if self._random is not None:
            self._random.restore()


def _same(these: Iterable[Any], those: Iterable[Any]) -> bool:
    """Whether two sequences of one length hold the very same objects."""
    return all(map(operator.is_, these, those))


class _Attributes:
    """What every module had as attributes, in one list for all."""

    def __init__(self, attributes: Sequence[dict[str, Any]]) -> None:
        self._counts = list(map(len, attributes))
        self._names = list(chain.from_iterable(attributes))
        self.values: list[Any] = list(chain.from_iterable(map(dict.values, attributes)))

    def restore(self, attributes: Sequence[dict[str, Any]]) -> None:
        if (
            list(map(len, attributes)) == self._counts
            and _same(chain.from_iterable(map(dict.values, attributes)), self.values)
            and list(chain.from_iterable(attributes)) == self._names
        ):
            return
        end = 0
        for current, count in zip(attributes, self._counts, strict=True):
            start, end = end, end + count
            before = dict(zip(self._names[start:end], self.values[start:end], strict=True))
            for key in [key for key in current if key not in before]:
                del current[key]
            current.update(before)


class _Tables:
    """The entries of dictionaries, sets and lists; of most modules nearly all are empty."""

    def __init__(self, values: Sequence[Any], state: ModelState) -> None:
        types: list[type] = list(map(type, values))
        known, are_tables = state.tables
        if types != known:
            kinds = {kind for kind in set(types) if issubclass(kind, dict | set | list)}
            are_tables = list(map(kinds.__contains__, types))
            state.tables = (types, are_tables)
        self._all = list(compress(values, are_tables))
        self._sizes = list(map(len, self._all))
        filled = list(compress(self._all, self._sizes))
        self._dicts = [(table, dict(table)) for table in filled if isinstance(table, dict)]
        self._lists = [(table, list(table)) for table in filled if isinstance(table, list)]
        self._sets = [(table, set(table)) for table in filled if isinstance(table, set)]

    def restore(self) -> None:
        if list(map(len, self._all)) == self._sizes and self._hold_the_same():
            return
        for table, size in zip(self._all, self._sizes, strict=True):
            if not size and len(table):
                table.clear()
        pairs: list[tuple[Any, Any]] = [*self._dicts, *self._lists, *self._sets]
        for table, entries in pairs:
            if not _same_entries(table, entries):
                table.clear()
                (table.extend if isinstance(table, list) else table.update)(entries)

    def _hold_the_same(self) -> bool:
        """Whether nothing was changed; tables have the sizes that they had."""
        keys = zip(*self._dicts, strict=True) if self._dicts else ((), ())
        now, before = map(list, keys)
        return (
            _same(chain.from_iterable(now), chain.from_iterable(before))
            and _same(
                chain.from_iterable(map(dict.values, now)),
                chain.from_iterable(map(dict.values, before)),
            )
            and all(_same(*pair) for pair in self._lists)
            and all(table == entries for table, entries in self._sets)
        )


# Small buffers of these are copied and compared many at once: so many that torch does it on one
# thread, as waking another takes longer.
_PLAIN_DTYPES = {torch.float32, torch.float64, torch.float16, torch.bfloat16}
_PLAIN_DTYPES |= {torch.int64, torch.int32, torch.uint8, torch.bool}
_SMALL = 2048
_TOGETHER = 15


class _Buffers:
    """The values of buffers.

    Compared by value: batch norm writes its statistics without counting a version. Written back
    only where they differ: a write would spoil a graph that still waits for backward.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        own = [module._buffers.values() for module in modules]
        small: dict[Any, list[Tensor]] = defaultdict(list)
        self._single: list[tuple[Tensor, Tensor]] = []
        with torch.no_grad():
            for buffer in (b for buffers in own for b in buffers if b is not None):
                if (
                    type(buffer) is Tensor
                    and buffer.dtype in _PLAIN_DTYPES
                    and buffer.layout is torch.strided
                    and buffer.numel() <= _SMALL
                ):
                    small[buffer.dtype, buffer.device, buffer.ndim == 0].append(buffer)
                elif not buffer.is_meta:
                    self._single.append((buffer, buffer.detach().clone()))
            self._groups = [
                (group, [buffer.shape for buffer in group], _joined(group))
                for (_, device, _), alike in small.items()
                if device.type != "meta"
                for start in range(0, len(alike), _TOGETHER)
                for group in [alike[start : start + _TOGETHER]]
            ]

    def restore(self) -> None:
        with torch.no_grad():
            for group, shapes, values in self._groups:
                if [buffer.shape for buffer in group] != shapes or not _equal(
                    _joined(group), values
                ):
                    parts = torch.split(values, [shape.numel() for shape in shapes])
                    for buffer, shape, part in zip(group, shapes, parts, strict=True):
                        _write_back(buffer, part.view(shape))
            for buffer, values in self._single:
                _write_back(buffer, values)


def _joined(buffers: list[Tensor]) -> Tensor:
    """The values of buffers, all of them with or all without dimensions, in one line."""
    if not buffers[0].ndim:
        return torch.stack(buffers)
    return torch.cat([buffer if buffer.ndim == 1 else buffer.reshape(-1) for buffer in buffers])


def _write_back(buffer: Tensor, values: Tensor) -> None:
    if buffer.shape != values.shape or buffer.dtype != values.dtype:
        buffer.data = values.clone()
    elif not _equal(buffer, values):
        buffer.copy_(values)


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


def _devices(modules: Sequence[nn.Module]) -> set[torch.device]:
    """Give the devices of parameters and buffers, besides the CPU."""
    cuda: Any = torch.cuda
    if not cuda.is_initialized() and not torch.backends.mps.is_available():
        return set()
    tables = (table for module in modules for table in (module._parameters, module._buffers))
    return {tensor.device for table in tables for tensor in table.values() if tensor is not None}


def add_note(error: BaseException, note: str) -> None:
    """Say more of an error, as its own `add_note` does from Python 3.11 on."""
    vars(error)["__notes__"] = [*getattr(error, "__notes__", ()), note]


@contextmanager
def threads_kept() -> Iterator[None]:
    """Give torch back its number of threads, which numba resets where it starts its own."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class RandomState:
    """The random generators of torch, NumPy and Python.

    Parameters
    ----------
    model : nn.Module
        Says which devices have generators of their own.
    modules : sequence of nn.Module, optional
        All modules of `model`, where they are known already.
    """

    def __init__(self, model: nn.Module, modules: Sequence[nn.Module] | None = None) -> None:
        devices = _devices(modules_of(model) if modules is None else modules)
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
