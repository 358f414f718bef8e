"""The calls of one forward pass that count as layers, in execution order and with stable names.

`watch_calls` hands each call to a visitor while a model runs: leaf modules are seen through
forward hooks, functional operations between them (``F.relu``, ``torch.cat``, ``+``) through a
function mode. The names depend only on the sequence of calls, so whoever watches a later run of
the same network (to record activations, say) sees the same names as `network.layers` lists.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Functions that only place elements, read properties or make constants: no layers.
_STRUCTURAL = _words(
    "view view_as reshape reshape_as flatten unflatten ravel permute transpose swapaxes "
    "swapdims t adjoint movedim moveaxis squeeze unsqueeze expand expand_as broadcast_to "
    "broadcast_tensors repeat repeat_interleave tile chunk split split_with_sizes tensor_split "
    "hsplit vsplit dsplit unbind getitem setitem get select narrow index_select gather take "
    "take_along_dim masked_select slice_scatter unfold as_strided roll flip fliplr flipud "
    "rot90 contiguous clone detach requires_grad to type type_as float half double bfloat16 cpu "
    "cuda copy fill zero pin_memory set resize pixel_shuffle pixel_unshuffle channel_shuffle "
    "native_channel_shuffle view_as_real view_as_complex real imag conj resolve_conj zeros ones "
    "full empty arange linspace logspace eye rand randn randint normal uniform tensor as_tensor "
    "scalar_tensor from_numpy meshgrid zeros_like ones_like full_like empty_like rand_like "
    "randn_like new_zeros new_ones new_full new_empty new_tensor deepcopy reduce_ex len iter "
    "contains hash repr format array bool int index data promote_types result_type diagonal "
    "diag_embed block_diag tril triu atleast_1d atleast_2d atleast_3d hann_window "
    "set_default_dtype is_tensor"
)

# Of these only the shape and type of the argument are used.
_INDEPENDENT = _words(
    "zeros_like ones_like full_like empty_like rand_like randn_like randint_like new_zeros "
    "new_ones new_full new_empty new_tensor"
)

_ALIASES = {"truediv": "div", "rdiv": "div", "rtruediv": "div", "floordiv": "floor_divide"}
_REFLECTED = {"radd": "add", "rsub": "sub", "rmul": "mul", "rmatmul": "matmul", "rpow": "pow"}


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
    """

    name: str
    kind: str
    module_name: str | None
    inputs: tuple[Tensor, ...]
    output: Any
    parameters: tuple[str, ...]

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


def _tensors(value: Any) -> tuple[Tensor, ...]:
    return tuple(leaf for leaf in _leaves(value) if isinstance(leaf, Tensor))


def is_leaf(module: nn.Module, *, root: bool = False) -> bool:
    """Whether a module counts as one layer: it has no children, or is an attention of `torch.nn`.

    A whole home-made network without children is no leaf (`root`): its operations are the layers.
    """
    if isinstance(module, nn.MultiheadAttention) or ".quantized" in type(module).__module__:
        return True  # a quantised module keeps its packed weights in a child
    children = {name for name, _ in module.named_children()}
    if parametrize.is_parametrized(module):
        children.discard("parametrizations")
    if children or isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        return False
    return not root or type(module).__module__.startswith("torch.")


def kind_of(module: nn.Module) -> str:
    """Give a module's class name, that of the original class if its weights are parametrized."""
    kind = type(module)
    return kind.__bases__[0].__name__ if parametrize.is_parametrized(module) else kind.__name__


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
    with ExitStack() as stack:
        for name, module in model.named_modules():
            watcher.attach(stack, name, module)
        stack.enter_context(watcher)
        yield


class _Watcher(TorchFunctionMode):
    """Names the calls: hooks tell which module runs, the mode what happens in between."""

    def __init__(self, model: nn.Module, visit: Callable[[Call], None]) -> None:
        super().__init__()
        self._visit = visit
        self._thread = threading.get_ident()
        self._module_names = {name for name, _ in model.named_modules()}
        self._parameter_names = {id(p): name for name, p in model.named_parameters()}
        self._owners: list[str] = []
        self._leaf_depth = 0
        self._named_plainly: set[str] = set()
        self._repeats: Counter[str] = Counter()
        # tensors that do not depend on the input, with the parameters they come from
        self._constant: MutableMapping[Tensor, tuple[str, ...]] = WeakTensorKeyDictionary()
        for name, parameter in model.named_parameters():
            self._constant[parameter] = (name,)
        for buffer in model.buffers():
            self._constant[buffer] = ()

    def attach(self, stack: ExitStack, name: str, module: nn.Module) -> None:
        """Put the two hooks on one module, and their removal on `stack`."""
        leaf = is_leaf(module, root=not name)
        if isinstance(module, torch.jit.ScriptModule):
            msg = (
                f"expected modules of Python code, got a module of TorchScript at {name!r}, which "
                f"cannot be watched; put the module that it was made from in its place"
            )
            raise TypeError(msg)

        def enter(_module: nn.Module, args: Any, kwargs: Any) -> None:
            if threading.get_ident() != self._thread:
                return
            if not self._owners:  # whatever the model is given is no constant
                for tensor in _tensors((args, kwargs)):
                    self._constant.pop(tensor, None)
            self._owners.append(name)
            self._leaf_depth += leaf

        def leave(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if threading.get_ident() != self._thread:
                return
            self._owners.pop()
            self._leaf_depth -= leaf
            if leaf and self._leaf_depth == 0:
                with torch._C.DisableTorchFunction():
                    self._module_returned(name, module, (args, kwargs), output)

        handle = module.register_forward_pre_hook(enter, with_kwargs=True)
        stack.callback(handle.remove)
        late = module.register_forward_hook(leave, with_kwargs=True, always_call=True)
        stack.callback(late.remove)

    def _module_returned(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        tensor = first_tensor(output)
        if tensor is None or tensor in self._constant:
            return
        kind = kind_of(module)
        label = self._named(name or kind, is_module=True)
        used = tuple(self._parameter_names[id(p)] for p in module.parameters())
        self._visit(Call(label, kind, name, _tensors(inputs), output, used))

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
        name = operation_name(func)
        if name != "get" or isinstance(result, Tensor):
            with torch._C.DisableTorchFunction():
                self._function_returned(name, args, kwargs, result)
        return result

    def _function_returned(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        inputs = _tensors((args, kwargs))
        sources = [self._constant.get(tensor) for tensor in inputs]
        credit = tuple(dict.fromkeys(p for source in sources for p in source or ()))
        outputs = list(_tensors(result))
        if name in _INDEPENDENT or all(source is not None for source in sources):
            for tensor in outputs:
                self._constant.setdefault(tensor, credit)
            return
        if name == "setitem":
            outputs = [args[0]]
        for tensor in outputs:  # a constant that was written in place is one no longer
            for written in (tensor, tensor._base):
                if written is not None and written in self._constant:
                    del self._constant[written]
        if self._leaf_depth or not self._owners or name in _STRUCTURAL:
            return
        if outputs and _holds_activations(outputs[0]):
            owner = self._owners[-1]
            label = self._named(f"{owner}.{name}" if owner else name, is_module=False)
            self._visit(Call(label, name, None, inputs, result, credit))

    def _named(self, base: str, *, is_module: bool) -> str:
        """Give the name of the next call: plain for the first, then numbered.

        The plain name of a module is kept for the module.
        """
        if base not in self._named_plainly and (is_module or base not in self._module_names):
            self._named_plainly.add(base)
            return base
        self._repeats[base] += 1
        return f"{base}:{self._repeats[base]}"


def _holds_activations(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex() or tensor.is_quantized


def operation_name(function: Any) -> str:
    """Give the plain name of a torch function: ``add`` for ``+``, ``+=``, ``Tensor.add_``.

    Examples
    --------
    >>> operation_name(torch.Tensor.__iadd__), operation_name(torch.nn.functional.relu_)
    ('add', 'relu')
    """
    name = str(getattr(function, "__name__", type(function).__name__))
    name = name.strip("_")
    if name.startswith("i") and name[1:] in {
        "add",
        "sub",
        "mul",
        "truediv",
        "div",
        "pow",
        "matmul",
    }:
        name = name[1:]
    name = _REFLECTED.get(name, name)
    return _ALIASES.get(name, name)
