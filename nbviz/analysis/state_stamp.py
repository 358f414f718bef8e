"""What tells whether a model still is what earlier answers were computed from.

Answers to many masks take a while, and views keep answers for longer: meanwhile a person trains on,
prunes a kernel, puts a hook on a module or replaces it. `state_stamp` is what views and long
computations compare before they put new answers beside old ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from nbviz.undisturbed import modules_of

__all__ = ["Stamp", "state_stamp"]

Stamp = tuple[Any, ...]

_PLAIN = (bool, int, float, complex, str, type(None))
# Buffers of up to so many values are compared by value.
_SMALL = 65536


def state_stamp(model: nn.Module) -> Stamp:
    """What differs after weights, buffers, modules, their attributes or hooks have changed.

    It is taken in about a millisecond (ResNet-50: 1), as no weight is read. So a write past
    autograd's count of versions (``weight.data.mul_(2)``, or through NumPy) is not noticed; one of
    an optimiser, under ``torch.no_grad()``, or that rebinds ``weight.data`` is. Training mode does
    not count.

    Parameters
    ----------
    model : nn.Module
        Hold its lock (`Network.lock`), as passes that run in other threads set hooks and flags.

    Returns
    -------
    tuple
        To be compared with another one of the same model, while the model lives.

    Examples
    --------
    >>> model = nn.Linear(2, 2)
    >>> before = state_stamp(model)
    >>> before == state_stamp(model)
    True
    >>> _ = nn.init.zeros_(model.weight)
    >>> before == state_stamp(model)
    False
    """
    modules = modules_of(model)
    parameters = (p for module in modules for p in module._parameters.values() if p is not None)
    return (
        *map(_version, parameters),
        *_buffers(modules),
        *map(_attributes, modules),
    )


def _version(tensor: Tensor) -> tuple[int, int]:
    # memory, too, as `weight.data = ...` leaves the version as it was
    return _memory(tensor), -1 if tensor.is_inference() else tensor._version


def _memory(tensor: Tensor) -> int:
    try:
        return tensor.data_ptr()
    except RuntimeError:  # a layout without a single memory
        return id(tensor)


def _buffers(modules: list[nn.Module]) -> Iterator[Any]:
    """By value: batch norm counts no version, and one that a pass wrote back is as it was."""
    alike: dict[Any, list[Tensor]] = defaultdict(list)
    for buffer in (b for module in modules for b in module._buffers.values() if b is not None):
        by_value = (
            type(buffer) is Tensor
            and buffer.layout is torch.strided
            and not (buffer.is_meta or buffer.is_quantized or buffer.is_complex())
            and buffer.numel() <= _SMALL
        )
        if by_value:
            alike[buffer.dtype, buffer.device].append(buffer)
        else:
            yield _version(buffer)
    with torch.no_grad():
        for kind, buffers in alike.items():
            values = torch.cat([buffer.detach().reshape(-1) for buffer in buffers])
            yield kind, hash(values.view(torch.uint8).cpu().numpy().tobytes())


def _attributes(module: nn.Module) -> Stamp:
    hooks = (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    named = (
        (name, value if isinstance(value, _PLAIN) else id(value))
        for name, value in vars(module).items()
        # evaluation mode is set for every pass
        if not name.startswith("_") and name != "training"
    )
    children = ((name, id(child)) for name, child in module._modules.items())
    return id(module), type(module), tuple(map(id, hooks)), *named, *children
