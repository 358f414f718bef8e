"""A hash that tells one set of weights from another, the same on every machine and run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["weights_hash"]


def weights_hash(model: nn.Module) -> str:
    """SHA-256 over all that a model's state dict holds.

    Names, dtypes, shapes and bytes count; the device and the order of the names do not. It reads
    every weight once, at about 1 GB/s, on the CPU.

    Parameters
    ----------
    model : nn.Module
        Hold its lock (`Network.lock`) if somebody may train it meanwhile.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    ValueError
        If a weight lies on the meta device, where there are no values.

    Examples
    --------
    >>> model = nn.Linear(2, 2)
    >>> before = weights_hash(model)
    >>> before == weights_hash(model), len(before)
    (True, 64)
    >>> _ = nn.init.zeros_(model.weight)
    >>> before == weights_hash(model)
    False
    """
    found = hashlib.sha256()
    state = model.state_dict()
    for name in sorted(state):
        _add(found, name, state[name])
    return found.hexdigest()


def _add(found: Any, name: str, value: Any) -> None:
    if isinstance(value, Tensor):
        _add_tensor(found, name, value)
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            _add(found, f"{name}.{key}", value[key])
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            _add(found, f"{name}.{number}", part)
    else:
        text = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
        found.update(f"{len(name)}:{name}={type(value).__name__}:{len(text)}:{text}\n".encode())


def _add_tensor(found: Any, name: str, tensor: Tensor) -> None:
    if tensor.is_meta:
        raise ValueError(
            f"expected weights with values, but {name!r} lies on the meta device; load the weights "
            f"first"
        )
    kind = f"{tensor.dtype} {tuple(tensor.shape)}"
    found.update(f"{len(name)}:{name}={len(kind)}:{kind}\n".encode())
    values = tensor.detach()
    if values.is_quantized:
        found.update(repr(values.q_scale()).encode() if _one_scale(values) else b"")
        values = values.int_repr()
    if values.layout != torch.strided:
        values = values.to_dense()
    if values.numel():
        plain = values.resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
        found.update(plain.view(torch.uint8).numpy().data)


def _one_scale(tensor: Tensor) -> bool:
    return tensor.qscheme() in {torch.per_tensor_affine, torch.per_tensor_symmetric}
