"""Where the tensors of a forward pass come from: constants, or the layers whose output they hold.

`nbviz.analysis.calls` keeps one `Origins` a run and asks it at each call. Tensors are known by
identity and held weakly, so a model frees its maps as it does when nobody looks.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor

Names = tuple[str, ...]


class _Entry(weakref.ref[Tensor]):
    """A weak reference to a tensor, with what is known of it.

    A plain dictionary of these by identity takes a fifth of the time of torch's
    `WeakTensorKeyDictionary`, which counts as every layer of a run is looked up.
    """

    __slots__ = ("key", "memory", "names")
    key: int
    names: Names
    memory: int | None  # which storage; 0 if not looked up yet


def _forgetting(entries: dict[int, _Entry]) -> Callable[[_Entry], None]:
    def forget(entry: _Entry) -> None:
        if entries.get(entry.key) is entry:
            del entries[entry.key]

    return forget


def _note(
    entries: dict[int, _Entry], tensor: Tensor, names: Names, forget: Callable[[_Entry], None]
) -> _Entry:
    entry = entries.get(id(tensor))
    if entry is None or entry() is not tensor:
        entry = _Entry(tensor, forget)
        entry.key = id(tensor)
        entry.memory = 0
        entries[entry.key] = entry
    entry.names = names
    return entry


class Constant(tuple[str, ...]):
    """The names of the parameters that a constant comes from, none for a buffer."""

    __slots__ = ()


class Origins:
    """For each tensor of a run, what it is made of.

    A tensor is a `Constant` (it does not depend on the network's input), or it holds the output of
    some layers, given by a plain tuple of their names; the network's input holds ``""``. Nothing
    is known of tensors that were never met.

    Examples
    --------
    >>> import torch
    >>> origins, maps = Origins(), torch.zeros(3)
    >>> origins.hold(maps, ("conv1",))
    >>> origins.of(maps), origins.of(torch.zeros(3))
    (('conv1',), None)
    >>> del maps
    >>> len(origins)
    0
    """

    def __init__(self) -> None:
        self._constants: dict[int, _Entry] = {}
        self._held: dict[int, _Entry] = {}
        self._kept: dict[int, tuple[Tensor, Constant]] = {}
        self._forget_constant = _forgetting(self._constants)
        self._forget_held = _forgetting(self._held)

    def __len__(self) -> int:
        return len(self._constants) + len(self._held) + len(self._kept)

    def of(self, tensor: Tensor) -> Names | None:
        """What a tensor is made of, None if nothing is known."""
        key = id(tensor)
        entry = self._held.get(key) or self._constants.get(key)
        if entry is not None and entry() is tensor:
            return entry.names
        kept = self._kept.get(key)
        return kept and kept[1]

    def keep(self, tensor: Tensor, parameters: Names) -> None:
        """Let a tensor, which is held until `clear`, be a constant that comes from parameters."""
        self._kept[id(tensor)] = (tensor, Constant(parameters))

    def fix(self, tensor: Tensor, parameters: Names) -> None:
        """Let a tensor be a constant that comes from parameters."""
        self._held.pop(id(tensor), None)
        _note(self._constants, tensor, Constant(parameters), self._forget_constant)

    def unfix(self, tensor: Tensor) -> None:
        """Let a tensor be no constant, as something was written into it."""
        self._constants.pop(id(tensor), None)
        self._kept.pop(id(tensor), None)

    def hold(self, tensor: Tensor, layers: Names) -> None:
        """Let a tensor hold the output of layers."""
        if id(tensor) not in self._held:
            self.unfix(tensor)
        _note(self._held, tensor, layers, self._forget_held)

    def write(self, tensor: Tensor, layers: Names) -> None:
        """Let a tensor that was written in place hold the output of layers.

        What shares its memory holds them too: instead of what it held before if all of it was
        written, besides that if a part was.
        """
        base = tensor._base
        if base is not None and self.of(base) is None:
            self.hold(base, self.of(tensor) or ())
        mine = _note(self._held, tensor, layers, self._forget_held)
        memory = _memory(mine)
        for entry in list(self._held.values()):
            if entry is mine or memory is None or _memory(entry) != memory:
                continue
            if (other := entry()) is not None and (written := _overlap(tensor, other)) != "none":
                entry.names = layers if written == "all" else union((entry.names, layers))

    def clear(self) -> None:
        """Forget all tensors."""
        self._constants.clear()
        self._held.clear()
        self._kept.clear()


def union(names: Iterable[Names]) -> Names:
    """All names, each once, in order of first appearance.

    Examples
    --------
    >>> union([("conv1", "conv2"), (), ("conv2", "pool")])
    ('conv1', 'conv2', 'pool')
    """
    return tuple(dict.fromkeys(name for some in names for name in some))


def _memory(entry: _Entry) -> int | None:
    """Which memory a tensor lies in, None for sparse and other tensors without one memory."""
    if entry.memory == 0:
        entry.memory = None
        tensor = entry()
        if tensor is not None:
            if hasattr(tensor, "_fix_weakref"):  # only C++ may have held it until now
                tensor._fix_weakref()
            with suppress(NotImplementedError, RuntimeError):
                entry.memory = tensor.untyped_storage()._cdata
    return entry.memory


def _overlap(written: Tensor, other: Tensor) -> Literal["all", "some", "none"]:
    """How much of `other` was overwritten: "all", "some" or "none" of its elements."""
    length = written.untyped_storage().nbytes() // written.element_size()
    if written.dtype != other.dtype:
        return "some"
    if written.numel() >= length or _geometry(written) == _geometry(other):
        return "all"
    places = np.zeros(length, dtype=bool)
    _elements(places, written)[...] = True
    hit = _elements(places, other)
    return "all" if hit.all() else "some" if hit.any() else "none"


def _geometry(tensor: Tensor) -> tuple[object, ...]:
    return tensor.shape, tensor.stride(), tensor.storage_offset()


def _elements(places: npt.NDArray[np.bool_], tensor: Tensor) -> npt.NDArray[np.bool_]:
    """Those of `places`, one for each element in a memory, that a tensor lies on."""
    offset = places[tensor.storage_offset() :]
    return np.lib.stride_tricks.as_strided(offset, tensor.shape, tensor.stride())
