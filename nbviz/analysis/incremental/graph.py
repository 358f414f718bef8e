"""A network as a program of operations on windows, made from its `torch.fx` graph.

The graph is run once on an unmasked input, which gives every node's shape and, with
`nbviz.analysis.incremental.classify`, its kind; then batch norms are folded into the convolutions
before them, and clamps (ReLU, ReLU6) into whatever comes before.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from nbviz.analysis.function_names import operation_name
from nbviz.analysis.incremental.classify import (
    classify_function,
    classify_module,
    is_in_place,
    out_of_place,
)
from nbviz.analysis.incremental.operations import (
    Operation,
    Placewise,
    Pooling,
    Whole,
    Windowed,
)

__all__ = ["Node", "NotIncremental", "Program", "filled_in", "program_of"]


class NotIncremental(Exception):  # noqa: N818 - it says that another way is to be taken
    """A network of which nothing can be computed incrementally; the message says why."""


@dataclass(frozen=True)
class Ref:
    """Stands for another node's value among the arguments of a `Whole`."""

    number: int


@dataclass(eq=False)
class Node:
    """One step of a program.

    Attributes
    ----------
    name : str
        Of a module as `named_modules` names it, with ``:1`` for a second call; else the graph's.
    operation : Operation or None
        None for the input.
    inputs : tuple of int
        Numbers of the nodes whose values it takes, in order.
    shape : tuple of int
        Of its value for one input; empty where that is no tensor.
    local : bool
        Whether its value can be windows of a map.
    """

    name: str
    operation: Operation | None
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    local: bool


@dataclass(eq=False)
class Program:
    """All steps in order; the first is the input."""

    nodes: list[Node]
    output: Any
    """What the model returns, with `Ref` for the values of nodes."""
    broken_by: str
    """The first operation that needs whole maps though its input is windows; empty if there is
    none before the maps end."""

    def last_uses(self) -> dict[int, int]:
        """For each node the last one that takes its value."""
        last = {number: number for number in range(len(self.nodes))}
        for number, node in enumerate(self.nodes):
            last.update(dict.fromkeys(node.inputs, number))
        last.update(dict.fromkeys(references(self.output), len(self.nodes)))
        return last

    def kept(self, watched: Collection[str]) -> frozenset[int]:
        """The nodes of whose maps more than the changed windows is needed."""
        wanted = {k for k, node in enumerate(self.nodes) if node.name in watched}
        wanted.update(references(self.output))
        for node in self.nodes:
            operation = node.operation
            same_places = (isinstance(operation, Windowed) and operation.is_placewise) or (
                isinstance(operation, Placewise) and len(node.inputs) == 1
            )
            if not same_places:
                wanted.update(node.inputs)
        return frozenset(k for k in wanted if self.nodes[k].local)

    def cut(self) -> int | None:
        """The first node behind which there are only vectors, and which they all come from.

        A classifier's last layers are mostly weights: they run on more masks at once than the
        maps before them.
        """
        last = self.last_uses()
        for number, node in enumerate(self.nodes):
            alive = [k for k in range(number) if last[k] > number]
            if not alive and len(node.shape) == 2 and last[number] > number:
                return number
        return None


def references(tree: Any) -> Iterator[int]:
    """The numbers of the nodes in nested arguments."""
    if isinstance(tree, Ref):
        yield tree.number
    elif isinstance(tree, dict):
        for item in tree.values():
            yield from references(item)
    elif isinstance(tree, list | tuple):
        for item in tree:
            yield from references(item)
    elif isinstance(tree, slice):
        yield from references((tree.start, tree.stop, tree.step))


def filled_in(tree: Any, values: Callable[[int], Any]) -> Any:
    """Nested arguments with the values of nodes in place of `Ref`."""
    if isinstance(tree, Ref):
        return values(tree.number)
    if isinstance(tree, dict):
        return {key: filled_in(item, values) for key, item in tree.items()}
    if isinstance(tree, slice):
        return slice(*(filled_in(end, values) for end in (tree.start, tree.stop, tree.step)))
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(filled_in(item, values) for item in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(filled_in(item, values) for item in tree)
    return tree


def program_of(model: nn.Module, batch: Tensor, watched: Sequence[str] = ()) -> Program:
    """Trace `model`, run it on one input, and say what each of its nodes does.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode, without gradients; its caller sees to that.
    batch : Tensor, shape (1, C, H, W)
    watched : sequence of str
        Names of modules whose maps are wanted, so that nothing is folded over them.

    Raises
    ------
    NotIncremental
        If the model cannot be traced, or has hooks that its windows would not run.
    """
    _refuse_what_a_trace_passes_over(model)
    try:
        graph = fx.Tracer().trace(model)
    except Exception as error:  # any model code may run and fail here
        lines = str(error).strip().splitlines() or [type(error).__name__]
        cause = lines[0].split(". ")[0]  # what follows is advice to who writes the model
        raise NotIncremental(f"torch.fx cannot trace the model: {cause}") from error
    building = _Building(model, batch)
    try:
        for node in graph.nodes:
            building.add(node)
    except NotIncremental:
        raise
    except Exception as error:
        raise NotIncremental(f"the graph of torch.fx does not run: {error}") from error
    program = building.program
    missing = [name for name in watched if name not in {node.name for node in program.nodes}]
    if missing:
        raise NotIncremental(f"layer {missing[0]!r} is not a module that the traced graph has")
    _fold(program, {*watched, *_names_of(program.output, program)})
    return program


def _refuse_what_a_trace_passes_over(model: nn.Module) -> None:
    """Hooks have to see whole maps, and a `forward` of an instance is not its class's."""
    shared = vars(torch.nn.modules.module)
    if shared.get("_global_forward_hooks") or shared.get("_global_forward_pre_hooks"):
        raise NotIncremental("a hook on all modules has to see whole maps")
    for name, module in model.named_modules():
        if module._forward_hooks or module._forward_pre_hooks:
            raise NotIncremental(f"module {name!r} has a hook, which has to see whole maps")
        if "forward" in vars(module):
            raise NotIncremental(f"the forward of module {name!r} has been replaced")


def _names_of(output: Any, program: Program) -> set[str]:
    return {program.nodes[number].name for number in references(output)}


class _Building:
    """Turns the nodes of a graph into steps, while it runs them."""

    def __init__(self, model: nn.Module, batch: Tensor) -> None:
        self._model = model
        self._batch = batch
        self._modules = dict(model.named_modules(remove_duplicate=False))
        self._calls: Counter[str] = Counter()
        self._refs: dict[fx.Node, Any] = {}
        self._nodes: list[Node] = []
        self._values: dict[int, Any] = {}
        self._broken_by = ""
        self._output: Any = None

    @property
    def program(self) -> Program:
        return Program(self._nodes, self._output, self._broken_by)

    def add(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            if not self._nodes:
                self._refs[node] = self._step("input", None, (), self._batch, local=True)
            else:
                self._refs[node] = node.args[0] if node.args else None
        elif node.op == "get_attr":
            self._refs[node] = operator.attrgetter(str(node.target))(self._model)
        elif node.op == "output":
            self._output = self._argument(node.args[0])
        else:
            args, kwargs = self._argument(node.args), self._argument(dict(node.kwargs))
            self._refs[node] = self._call(node, args, kwargs)

    def _argument(self, tree: Any) -> Any:
        return fx.node.map_arg(tree, lambda node: self._refs[node])

    def _step(
        self, name: str, operation: Operation | None, inputs: Any, value: Any, *, local: bool
    ) -> Ref:
        shape = tuple(value.shape) if isinstance(value, Tensor) else ()
        self._nodes.append(Node(name, operation, tuple(inputs), shape, local))
        self._values[len(self._nodes) - 1] = value
        return Ref(len(self._nodes) - 1)

    def _call(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        inputs = list(dict.fromkeys(references((args, kwargs))))
        run, label = self._runner(node)
        actual = filled_in((args, kwargs), self._values.__getitem__)
        value = run(*actual[0], **actual[1])
        if not inputs:
            return value  # a constant
        given = [self._values[number] for number in inputs]
        operation = None
        if all(self._nodes[number].local for number in inputs):
            operation = self._classified(node, actual, given, value)
        if isinstance(operation, Placewise):
            if operation.is_identity:
                return Ref(inputs[0])
            if operation.function is None:
                operation = replace(operation, function=_bound(run, args, kwargs, inputs))
        name = self._name(node)
        local = isinstance(operation, Placewise | Windowed | Pooling)
        if operation is None:
            operation = Whole(
                macs=self._macs(node, value),
                run=_bound(run, args, kwargs, inputs),
                reads_shape=_reads_shape(node),
            )
            self._note_break(label, inputs, value)
        ref = self._step(name, operation, inputs, value, local=local)
        self._write_over(node, (args, kwargs), ref)
        return ref

    def _note_break(self, label: str, inputs: Sequence[int], value: Any) -> None:
        maps = any(self._nodes[number].local for number in inputs)
        if not self._broken_by and maps and isinstance(value, Tensor) and value.ndim > 2:
            self._broken_by = label

    def _write_over(self, node: fx.Node, given: Any, ref: Ref) -> None:
        """From an in-place operation on, whoever held its argument sees its result."""
        if node.op == "call_module":
            module = self._modules[str(node.target)]
            idle = isinstance(module, nn.modules.dropout._DropoutNd)  # in evaluation mode
            in_place = getattr(module, "inplace", False) is True and not idle
        else:
            in_place = is_in_place(node.target, node.args, node.kwargs)
        written = next(references(given), None)
        if not in_place or written is None:
            return
        self._refuse_views_of(written)
        for known, held in self._refs.items():
            if isinstance(held, Ref) and held.number == written:
                self._refs[known] = ref

    def _refuse_views_of(self, written: int) -> None:
        """Who holds a part of what is written over sees it change, which no window would."""
        memory = self._values[written].untyped_storage().data_ptr()
        for number, value in self._values.items():
            if number == written or not isinstance(value, Tensor):
                continue
            if value.untyped_storage().data_ptr() == memory:
                name = self._nodes[number].name
                raise NotIncremental(f"an operation writes over memory that {name!r} shares")

    def _runner(self, node: fx.Node) -> tuple[Callable[..., Any], str]:
        if node.op == "call_module":
            module = self._modules[str(node.target)]
            return _cloning(module), f"{type(module).__name__} {str(node.target)!r}"
        name = operation_name(node.target) if callable(node.target) else str(node.target).strip("_")
        run = out_of_place(node.target, name)
        return (run if run is not node.target else _cloning(run)), name

    def _classified(self, node: fx.Node, actual: Any, given: Sequence[Any], value: Any) -> Any:
        maps = [part for part in given if isinstance(part, Tensor)]
        if len(maps) != len(given) or not isinstance(value, Tensor):
            return None
        if node.op == "call_module":
            if len(maps) != 1 or len(actual[0]) != 1 or actual[1]:
                return None
            return classify_module(self._modules[str(node.target)], value, maps[0])
        target = node.target
        if isinstance(target, str):
            target = getattr(Tensor, target)
        return classify_function(target, actual[0], actual[1], value, maps)

    def _macs(self, node: fx.Node, value: Any) -> int:
        """Multiplications of a module's weights for one input."""
        module = self._modules[str(node.target)] if node.op == "call_module" else None
        if isinstance(value, Tensor) and isinstance(module, nn.Linear):
            return value.numel() * module.in_features
        if isinstance(value, Tensor) and isinstance(module, nn.Conv2d):
            return module.weight[0].numel() * value.numel()
        return 0

    def _name(self, node: fx.Node) -> str:
        if node.op != "call_module":
            return f"{node.name} (function)"
        name = str(node.target)
        self._calls[name] += 1
        return name if self._calls[name] == 1 else f"{name}:{self._calls[name] - 1}"


def _reads_shape(node: fx.Node) -> bool:
    """Whether a node asks for nothing of its tensor but the shape."""
    if node.op == "call_function" and node.target is getattr:
        return node.args[1] in {"shape", "ndim"}
    return node.op == "call_method" and node.target in {"size", "dim", "ndimension"}


def _cloning(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function on copies of its tensors where it may write over them."""
    if isinstance(function, nn.Module) and not _may_write(function):
        return function

    def call(*args: Any, **kwargs: Any) -> Any:
        if isinstance(function, nn.Module) or is_in_place(function, args, kwargs):
            args = tuple(a.clone() if isinstance(a, Tensor) else a for a in args)
        return function(*args, **kwargs)

    return call


def _may_write(module: nn.Module) -> bool:
    return any(getattr(part, "inplace", False) is True for part in module.modules())


def _bound(
    run: Callable[..., Any], args: Any, kwargs: Any, inputs: Sequence[int]
) -> Callable[..., Any]:
    """A function of the values of `inputs` alone."""
    order = {number: position for position, number in enumerate(inputs)}

    def call(*given: Any) -> Any:
        actual = filled_in((args, kwargs), lambda number: given[order[number]])
        return run(*actual[0], **actual[1])

    return call


def _fold(program: Program, watched: set[str]) -> None:
    """Fold batch norms and clamps into what alone feeds them."""
    users = Counter(number for node in program.nodes for number in node.inputs)
    users.update(references(program.output))
    merged: dict[int, int] = {}
    for number, node in enumerate(program.nodes):
        node.inputs = tuple(merged.get(k, k) for k in node.inputs)
        if not isinstance(node.operation, Placewise) or len(node.inputs) != 1:
            continue
        source = node.inputs[0]
        before = program.nodes[source]
        if before.name in watched or users[source] != 1:
            continue
        folded = _folded(before.operation, node.operation)
        if folded is not None:
            before.operation, before.name = folded, node.name
            users[source] = users[number]
            merged[number] = source
    _drop(program, merged)


def _folded(before: Operation | None, then: Placewise) -> Operation | None:
    if not isinstance(before, Windowed | Placewise) or (before.low, before.high) != (None, None):
        return None
    if then.affine is not None and isinstance(before, Windowed):
        return before.scaled(then.affine)
    if then.is_clamp:
        return replace(before, low=then.low, high=then.high)
    return None


def _drop(program: Program, merged: Mapping[int, int]) -> None:
    """Take out the nodes that were folded into others, and number the rest anew."""
    kept = [number for number in range(len(program.nodes)) if number not in merged]
    new = {number: position for position, number in enumerate(kept)}

    def target(number: int) -> int:
        while number in merged:
            number = merged[number]
        return new[number]

    program.output = filled_in(program.output, lambda number: Ref(target(number)))
    for number in kept:
        node = program.nodes[number]
        node.inputs = tuple(target(k) for k in node.inputs)
    program.nodes = [program.nodes[number] for number in kept]
