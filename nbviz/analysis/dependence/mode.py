"""The dispatch mode that gives every tensor of a forward pass its shadow."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import TensorWeakRef, WeakTensorKeyDictionary

from nbviz.analysis.dependence import layout as _layout
from nbviz.analysis.dependence import rules as _rules
from nbviz.analysis.dependence import windows as _windows
from nbviz.analysis.dependence.operation import RULES, NoRule, Operation
from nbviz.analysis.dependence.shadow import (
    CELL_PLANES,
    NOTHING,
    Shadow,
    everything,
    image_shadow,
    tighten,
)

RULE_MODULES = (_layout, _rules, _windows)  # importing them fills the table


class Dependence(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows which input pixels each tensor depends on, while it is on.

    Attributes
    ----------
    approximated : dict
        The operations without a rule that met a tensor with a shadow, as keys, in order of
        appearance: each output element was taken to depend on everything that any input depends on.

    Examples
    --------
    >>> image = torch.zeros(1, 3, 8, 8)
    >>> with Dependence() as dependence, torch.no_grad():
    ...     dependence.seed(image)
    ...     maps = torch.nn.functional.max_pool2d(image, 2)
    >>> dependence.shadow_of(maps).planes[1][0, 0, :, 0]  # last row that each row depends on
    tensor([1., 3., 5., 7.])
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.approximated: dict[str, None] = {}
        self._shadows: MutableMapping[Tensor, Shadow] = WeakTensorKeyDictionary()
        self._sharing: dict[int, list[TensorWeakRef]] = {}
        self._registered: MutableMapping[Tensor, None] = WeakTensorKeyDictionary()

    def seed(self, image: Tensor) -> None:
        """Let each element of `image` depend on its own pixel."""
        self._register(image)
        shadow = image_shadow(image.shape)
        if shadow is not None:
            self._shadows[image] = shadow

    def shadow_of(self, tensor: Tensor) -> Shadow | None:
        """Give the shadow of a tensor, None if it depends on no pixel."""
        shadow = self._shadows.get(tensor)
        if shadow is not None and shadow.shape != tensor.shape:
            self.approximated["resize"] = None  # its memory was given another shape
            shadow = replace(everything([shadow], tensor.shape), exact=False)
        return shadow

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        del types
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        # the names of layers come from a function mode, which must not see the work on shadows
        with torch._C.DisableTorchFunction():
            self._follow(func, args, kwargs, result)
        return result

    def _follow(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        schema = func._schema
        arguments = _bound(schema, args, kwargs)
        outputs = tuple(leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        for tensor in (*inputs, *outputs):
            self._register(tensor)
        dependent = tuple(
            shadow for tensor in inputs if (shadow := self.shadow_of(tensor)) is not None
        )
        written = {
            id(tensor): tensor
            for argument in schema.arguments
            if argument.alias_info is not None and argument.alias_info.is_write
            for tensor in tree_leaves(arguments[argument.name])
            if isinstance(tensor, Tensor)
        }
        if not dependent or not (outputs or written):
            return
        name = schema.name.split("::")[-1]
        if schema.is_mutable and name.endswith("_"):
            name = name[:-1]
        operation = Operation(name, func, arguments, outputs, self.shadow_of, dependent)
        for tensor, shadow in zip(outputs, self._apply_rule(operation), strict=True):
            if written.pop(id(tensor), None) is not None:
                self._write(tensor, shadow)
            elif shadow is not None:
                self._shadows[tensor] = shadow
        for tensor in written.values():  # written, but not returned
            self._write(tensor, replace(everything(dependent, tensor.shape), exact=False))

    def _apply_rule(self, operation: Operation) -> Sequence[Shadow | None]:
        outputs = operation.outputs
        try:
            return _by_rule(operation)
        except (NoRule, RuntimeError, IndexError, KeyError, TypeError, ValueError):
            # an unforeseen form of the operation is as good as an unknown one: sound, and said
            self.approximated[operation.name] = None
            return [replace(_fallback(operation, output), exact=False) for output in outputs]

    def _register(self, tensor: Tensor) -> None:
        if tensor in self._registered:
            return
        self._registered[tensor] = None
        storage = _storage(tensor)
        if storage is not None:
            self._sharing.setdefault(storage, []).append(TensorWeakRef(tensor))

    def _sharers(self, tensor: Tensor) -> Iterator[Tensor]:
        storage = _storage(tensor)
        if storage is None:
            return
        alive = [(ref, other) for ref in self._sharing[storage] if (other := ref()) is not None]
        self._sharing[storage] = [ref for ref, _ in alive]
        yield from (other for _, other in alive if other is not tensor)

    def _write(self, tensor: Tensor, shadow: Shadow | None) -> None:
        """Give a tensor written in place its new shadow, and all that share its memory."""
        for other in self._sharers(tensor):
            new = _overwritten(tensor, shadow, other, self.shadow_of(other))
            self._store(other, new)
        self._store(tensor, shadow)

    def _store(self, tensor: Tensor, shadow: Shadow | None) -> None:
        if shadow is not None:
            self._shadows[tensor] = shadow
        elif tensor in self._shadows:
            del self._shadows[tensor]


def _by_rule(operation: Operation) -> Sequence[Shadow | None]:
    """Give the shadow of each output by the operation's rule."""
    rule = RULES.get(operation.name)
    if rule is None and torch.Tag.pointwise in operation.function.tags:
        rule = _rules.elementwise
    if rule is None:
        raise NoRule
    outputs = operation.outputs
    found = rule(operation)
    if found is None:
        return [None] * len(outputs)
    if isinstance(found, Shadow):
        found = [found, *(everything(operation.dependent, out.shape) for out in outputs[1:])]
    for shadow, output in zip(found, outputs, strict=True):
        if shadow is not None and shadow.shape != output.shape:
            raise NoRule
    return found


def _bound(schema: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Give all arguments by name, in the schema's order, defaults included."""
    arguments = {}
    for number, argument in enumerate(schema.arguments):
        if number < len(args):
            arguments[argument.name] = args[number]
        elif argument.name in kwargs:
            arguments[argument.name] = kwargs[argument.name]
        elif argument.has_default_value():
            arguments[argument.name] = argument.default_value
    return arguments


def _fallback(operation: Operation, output: Tensor) -> Shadow:
    """Let every element depend on everything; cells are kept where the shape is the same."""
    shadow = everything(operation.dependent, output.shape)
    for source in operation.dependent:
        if source.shape == output.shape and source.frame is not None:
            planes = (*shadow.planes[:4], *(source.planes[k] for k in CELL_PLANES))
            return replace(shadow, planes=planes, frame=source.frame.lost())
    return shadow


def _storage(tensor: Tensor) -> int | None:
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):  # sparse and other tensors without one storage
        return None


def _overwritten(
    tensor: Tensor, shadow: Shadow | None, other: Tensor, old: Shadow | None
) -> Shadow | None:
    """Give the shadow of `other` after `tensor`, which may share elements, was written."""
    if shadow is None and old is None:
        return None
    geometry = (tensor.shape, tensor.stride(), tensor.storage_offset())
    if geometry == (other.shape, other.stride(), other.storage_offset()):
        return shadow
    present = [known for known in (old, shadow) if known is not None]
    if tensor.dtype != other.dtype:
        return everything(present, other.shape)
    length = tensor.untyped_storage().nbytes() // tensor.element_size()
    places = torch.arange(length)
    mine = places.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).flatten()
    theirs = places.as_strided(other.shape, other.stride(), other.storage_offset())
    hit = torch.zeros(length, dtype=torch.bool).index_fill_(0, mine, 1)[theirs]
    if not bool(hit.any()):
        return old
    planes = []
    for k in range(6):
        flat = torch.full((length,), NOTHING, dtype=torch.float32)
        if shadow is not None:
            flat[mine] = shadow.planes[k].flatten()
        before = torch.tensor(NOTHING, dtype=torch.float32) if old is None else old.planes[k]
        planes.append(tighten(torch.where(hit, flat[theirs], before)))
    frames = {known.frame for known in present}
    frame = present[0].frame
    if len(frames) > 1 and frame is not None:
        frame = frame.lost()
    return Shadow(tuple(planes), frame, all(known.exact for known in present))
