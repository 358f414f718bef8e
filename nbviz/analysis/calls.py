"""The calls of one forward pass that count as layers, in execution order and with stable names.

`watch_calls` hands each call to a visitor while a model runs: leaf modules are seen through
forward hooks, functional operations between them (``F.relu``, ``torch.cat``, ``+``) through a
function mode, and `nbviz.analysis.origins` remembers whose output each tensor holds. The names
depend only on the sequence of calls, so whoever watches a later run of the same network (to record
activations, say) sees the same names as `network.layers` lists.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.hooks import RemovableHandle

from nbviz.analysis.function_names import INDEPENDENT, STRUCTURAL, operation_name
from nbviz.analysis.origins import Constant, Origins, union


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer.

    Attributes
    ----------
    name : str
        As in `Layer.name`.
    kind : str
        Class of the module, or name of the function.
    module_name : str or None
        The module as `named_modules` names it; None for a functional operation.
    inputs : tuple of Tensor
        All tensors among the arguments, in order.
    output : object
        What was returned: a tensor, or a structure that holds some.
    parameters : tuple of str
        Names of the parameters that the call uses, as `named_parameters` names them.
    args : tuple
    kwargs : dict
        As the module or function was called.
    sources : tuple of tuple of str
        For each of `inputs` the layers whose output it holds, seen through functions that only
        place elements (view, permute, split, indexing): ``("",)`` is the network's input, ``()``
        a parameter or a constant. It is ``()``, too, for what came by a way that cannot be watched
        (through NumPy, or a function of TorchScript).
    """

    name: str
    kind: str
    module_name: str | None
    inputs: tuple[Tensor, ...]
    output: Any
    parameters: tuple[str, ...]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    sources: tuple[tuple[str, ...], ...]

    @property
    def tensor(self) -> Tensor:
        """The first tensor of the output."""
        return first_tensor(self.output)  # type: ignore[return-value]


def first_tensor(output: Any) -> Tensor | None:
    """Give the first tensor in a nested structure, None if there is none."""
    if isinstance(output, Tensor):
        return output
    for leaf in _leaves(output):
        if isinstance(leaf, Tensor):
            return leaf
    return None


def _leaves(value: Any) -> list[Any]:
    """Flatten tuples, lists, dictionaries and output objects that are dictionaries."""
    leaves: list[Any] = []
    for leaf in tree_leaves(value):
        if isinstance(leaf, dict):  # an output class that is a dictionary but no registered one
            leaves.extend(inner for item in leaf.values() for inner in _leaves(item))
        else:
            leaves.append(leaf)
    return leaves


# What holds no tensor.
_PLAIN = {
    type(None),
    bool,
    int,
    float,
    str,
    slice,
    type(...),
    torch.Size,
    torch.dtype,
    torch.device,
}


def _tensors(value: Any, kwargs: Any = None) -> tuple[Tensor, ...]:
    """All tensors in a nested structure (or in arguments and keyword arguments), in order."""
    if not kwargs:
        if isinstance(value, Tensor):
            return (value,)
        if type(value) is tuple and len(value) == 1 and isinstance(value[0], Tensor):
            return value
    found: list[Tensor] = []
    _collect(value, found)
    if kwargs:
        _collect(kwargs, found)
    return tuple(found)


def _collect(value: Any, found: list[Tensor]) -> None:
    kind = type(value)
    if isinstance(value, Tensor):
        found.append(value)
    elif kind is tuple or kind is list:
        for item in value:
            _collect(item, found)
    elif kind is dict:
        for item in value.values():
            _collect(item, found)
    elif kind not in _PLAIN:
        found.extend(leaf for leaf in _leaves(value) if isinstance(leaf, Tensor))


def is_leaf(module: nn.Module, *, root: bool = False) -> bool:
    """Whether a module counts as one layer: it has no children, or is an attention of `torch.nn`.

    A whole home-made network without children is no leaf (`root`): its operations are the layers.
    """
    if isinstance(module, nn.MultiheadAttention) or ".quantized" in type(module).__module__:
        return True  # a quantised module keeps its packed weights in a child
    children = {name for name, child in module._modules.items() if child is not None}
    if children and _is_parametrized(module):
        children.discard("parametrizations")
    if children or isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        return False
    return not root or type(module).__module__.startswith("torch.")


def kind_of(module: nn.Module) -> str:
    """Give a module's class name, that of the original class if its weights are parametrized."""
    kind = type(module)
    return kind.__bases__[0].__name__ if _is_parametrized(module) else kind.__name__


def _is_parametrized(module: nn.Module) -> bool:
    # looking for an attribute that is not there is slow on a module
    return "parametrizations" in module._modules and parametrize.is_parametrized(module)


@contextmanager
def watch_calls(model: nn.Module, visit: Callable[[Call], None]) -> Iterator[None]:
    """Hand every call of a layer of `model` to `visit`, as it returns, while the context lasts.

    The tensors are the model's own: an in-place operation that follows overwrites them, so a
    visitor copies what it keeps. Only calls on this thread are seen. All hooks are gone
    afterwards.

    Parameters
    ----------
    model : nn.Module
        Its forward pass is run by the caller, in the context.
    visit : callable
        Takes a `Call`.

    Examples
    --------
    >>> names = []
    >>> model = nn.Sequential(nn.Linear(4, 2), nn.ReLU())
    >>> with watch_calls(model, lambda call: names.append(call.name)):
    ...     _ = model(torch.zeros(1, 4))
    >>> names
    ['0', '1']
    """
    watcher = _Watcher(model, visit)
    try:
        watcher.attach()
        with watcher:
            yield
    finally:
        watcher.detach()


@dataclass(slots=True)
class _Site:
    """What is known of a module before it runs: how it is called, and whether it is a layer.

    `opaque` says that nothing of what runs inside the layer matters outside.
    """

    name: str
    leaf: bool = False
    kind: str = ""
    used: tuple[str, ...] = ()
    opaque: bool = False


class _Watcher(TorchFunctionMode):
    """Names the calls: hooks tell which module runs, the mode what happens in between."""

    def __init__(self, model: nn.Module, visit: Callable[[Call], None]) -> None:
        super().__init__()
        self._visit = visit
        self._thread = threading.get_ident()
        self._modules = dict(model.named_modules())
        self._sites: dict[nn.Module, _Site] = {}
        self._parameter_names: dict[int, str] = {}
        self._owners: list[str] = []
        self._leaf_depth = 0
        self._asleep = False
        self._given: tuple[tuple[Tensor, ...], tuple[tuple[str, ...], ...]] = (), ()
        self._named_plainly: set[str] = set()
        self._repeats: Counter[str] = Counter()
        self._operations: dict[Any, str] = {}
        self._handles: list[RemovableHandle] = []
        self._origins = Origins()
        for name, module in self._modules.items():
            for key, parameter in module._parameters.items():
                if parameter is not None and id(parameter) not in self._parameter_names:
                    full = self._parameter_names[id(parameter)] = f"{name}.{key}" if name else key
                    self._origins.keep(parameter, (full,))
            for buffer in module._buffers.values():
                if buffer is not None:
                    self._origins.keep(buffer, ())

    def attach(self) -> None:
        """Put two hooks on each module of which there is something to learn."""
        enter, leave = self._enter, self._leave
        for name, module in self._modules.items():
            if (site := self._site(name, module)) is not None:
                self._sites[module] = site
                self._handles += (
                    module.register_forward_pre_hook(enter, with_kwargs=True),
                    module.register_forward_hook(leave, with_kwargs=True, always_call=True),
                )

    def _site(self, name: str, module: nn.Module) -> _Site | None:
        if isinstance(module, torch.jit.ScriptModule):
            msg = (
                f"expected modules of Python code, got a module of TorchScript at {name!r}, which "
                f"cannot be watched; put the module that it was made from in its place"
            )
            raise TypeError(msg)
        plain = _is_plain(module)
        if name and plain and type(module).forward in _NO_OPERATIONS:
            return None
        if not is_leaf(module, root=not name):
            return _Site(name)
        own = module.parameters() if module._modules else module._parameters.values()
        used = tuple([self._parameter_names[id(p)] for p in own if p is not None])
        opaque = plain and _uses_what_it_is_given(module)
        return _Site(name, True, kind_of(module), used, opaque)

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if threading.get_ident() != self._thread:
            return
        site = self._sites[module]
        if not self._owners:  # whatever the model is given is no constant
            for tensor in _tensors(args, kwargs):
                self._origins.hold(tensor, ("",))
        self._owners.append(site.name)
        if site.leaf:
            self._leaf_depth += 1
            if self._leaf_depth == 1:
                self._leaf_entered(site, _tensors(args, kwargs))

    def _leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if threading.get_ident() != self._thread:
            return
        site = self._sites[module]
        self._owners.pop()
        if site.leaf:
            self._leaf_depth -= 1
            if self._leaf_depth == 0:
                if self._asleep:
                    self._wake()
                with torch._C.DisableTorchFunction():
                    self._leaf_returned(site, args, kwargs, output)

    def detach(self) -> None:
        """Take all hooks off."""
        for handle in self._handles:
            handle.remove()
        self._origins.clear()

    def _leaf_entered(self, leaf: _Site, inputs: tuple[Tensor, ...]) -> None:
        """Note what a layer is given, and see nothing of what runs inside a layer of torch.

        That would cost most of the time. A layer that is given nothing but constants is watched,
        as what it makes of them is one.
        """
        origins = [self._origins.of(tensor) for tensor in inputs]
        self._given = inputs, tuple([_layers(origin) for origin in origins])
        constant = set(map(type, origins)) <= {Constant}
        if leaf.opaque and not constant and self._is_innermost():
            torch._C._pop_torch_function_stack()
            self._asleep = True

    def _is_innermost(self) -> bool:
        depth = torch._C._len_torch_function_stack()
        return depth > 0 and torch._C._get_function_stack_at(depth - 1) is self

    def _wake(self) -> None:
        self._asleep = False
        torch._C._push_on_torch_function_stack(self)

    def __exit__(self, *raised: object) -> None:
        if self._is_innermost():  # else an interrupt came inside a layer, where no hook wakes it
            super().__exit__(*raised)  # type: ignore[no-untyped-call]

    def _leaf_returned(self, leaf: _Site, args: Any, kwargs: Any, output: Any) -> None:
        inputs, sources = self._given
        self._given = (), ()
        outputs = _tensors(output)
        if not outputs or type(self._origins.of(outputs[0])) is Constant:
            return
        label = self._named(leaf.name or leaf.kind, is_module=True)
        self._relabel(outputs, inputs, (label,))
        self._visit(
            Call(label, leaf.kind, leaf.name, inputs, output, leaf.used, args, kwargs, sources)
        )

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        del types
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if type(result) in _PLAIN and result is not None:
            return result
        name = self._operations.get(func)
        if name is None:
            name = self._operations[func] = operation_name(func)
        if isinstance(result, Tensor) or name != "get":
            with torch._C.DisableTorchFunction():
                self._function_returned(name, args, kwargs, result)
        return result

    def _function_returned(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        inputs = _tensors(args, kwargs)
        outputs = _tensors(result)
        origins = [self._origins.of(tensor) for tensor in inputs]
        constants = [origin for origin in origins if type(origin) is Constant]
        if name in INDEPENDENT or len(constants) == len(inputs):
            for tensor in outputs:
                if type(self._origins.of(tensor)) is not Constant:
                    self._origins.fix(tensor, union(constants))
            return
        if name == "setitem":
            outputs = (args[0],)
        for tensor in outputs:  # a constant that was written in place is one no longer
            self._origins.unfix(tensor)
            if tensor._base is not None:
                self._origins.unfix(tensor._base)
        if self._leaf_depth or not self._owners or not outputs:
            return
        sources = tuple([_layers(origin) for origin in origins])
        if name in STRUCTURAL or not _holds_activations(outputs[0]):
            self._relabel(outputs, inputs, union(sources))
            return
        owner = self._owners[-1]
        label = self._named(f"{owner}.{name}" if owner else name, is_module=False)
        self._relabel(outputs, inputs, (label,))
        self._visit(
            Call(label, name, None, inputs, result, union(constants), args, kwargs, sources)
        )

    def _relabel(
        self, outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], layers: tuple[str, ...]
    ) -> None:
        """Let outputs hold what `layers` gave, and their aliases if they were written in place."""
        for tensor in outputs:
            before = self._origins.of(tensor)
            if type(before) is Constant or before == layers:
                continue
            for given in inputs:
                if given is tensor:
                    self._origins.write(tensor, layers)
                    break
            else:
                self._origins.hold(tensor, layers)

    def _named(self, base: str, *, is_module: bool) -> str:
        """Give the name of the next call: plain for the first, then numbered.

        The plain name of a module is kept for the module.
        """
        if base not in self._named_plainly and (is_module or base not in self._modules):
            self._named_plainly.add(base)
            return base
        self._repeats[base] += 1
        return f"{base}:{self._repeats[base]}"


def _layers(origin: tuple[str, ...] | None) -> tuple[str, ...]:
    return () if origin is None or type(origin) is Constant else origin


# Modules with one of these run no function of their own.
_NO_OPERATIONS = {nn.Sequential.forward, nn.Module.forward}


def _is_plain(module: nn.Module) -> bool:
    """Whether a module runs nothing but the `forward` of its class: no hooks, nothing patched."""
    return not (
        module._forward_hooks
        or module._forward_pre_hooks
        or "forward" in vars(module)
        or _is_parametrized(module)
    )


def _uses_what_it_is_given(module: nn.Module) -> bool:
    """Whether the output surely depends on the inputs, as in any layer of `torch.nn`.

    Not so where attention takes another way if nobody watches: that may be one operation, which
    the receptive fields do not see into.
    """
    origin = str(type(module).forward.__module__)
    return origin.startswith("torch.nn.modules.") and not isinstance(module, nn.MultiheadAttention)


def _holds_activations(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex() or tensor.is_quantized
