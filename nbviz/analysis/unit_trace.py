"""How the value of one unit came about: the arithmetic that a click on a unit shows.

`unit_trace` runs the network up to the unit's layer and takes its value apart: from the unit back
to the layer that mixed its inputs (a convolution, say), and on through what followed value by value
(batch norm, ReLU). Which steps these are is planned from the recorded layers (`_Plan`); one pass
then visits them (`_Pass`) and has each taken apart by `nbviz.analysis.unit_parts`, while the
tensors that it reads are still there. The idea is that of Harley (An interactive node-link
visualization of convolutional neural networks, ISVC 2015).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nbviz.analysis.calls import Call, watch_calls
from nbviz.analysis.layers import Layer, Layers
from nbviz.analysis.receptive_field import Box
from nbviz.analysis.unit_parts import take_apart
from nbviz.analysis.unit_parts.operations import (
    ARITHMETIC,
    Operation,
    data_slot,
    function_of,
    index_moved,
    is_mover,
    works_by_value,
)
from nbviz.analysis.unit_parts.places import Held, Index, Origin, Places, Unit, same_place
from nbviz.analysis.unit_parts.terms import Others, Parts, Question, Reading, Term
from nbviz.network import Network

__all__ = ["Operation", "Others", "Step", "Term", "Unit", "UnitTrace", "unit_trace"]


@dataclass(frozen=True, eq=False)
class Step:
    """One layer's part in a value.

    Attributes
    ----------
    layer, kind : str
        As in `Layer`.
    operation : str
        What the layer does.
    unit : (channel, row, column)
        The unit of this layer.
    value : float
        Computed from the terms in float64: `bias` plus the sum of all contributions; for a
        multiplication the product of the factors, for an activation the function of its one term.
    captured : float
        What the layer returned there.
    expression : str
        The arithmetic in short, with numbers.
    bias : float
        What is added that depends on no input.
    terms : tuple of Term
        The largest contributions by magnitude, in that order for weighted sums.
    others : Others
        How many contributions are not among the terms, and their sum.
    contributions : float32 ndarray, shape (channels,)
        Of every input channel that is read, from `first_channel` on.
    window, map_size : Box and (rows, columns), or None
        The window in the map that the layer reads, partly outside where it is padded.
    statistics : mapping of str to float
        Of a normalisation: mean, variance, eps, weight, bias.
    sources : tuple of str
        The layers that it reads; "" is the network's input.
    note : str
        Why the value is not taken apart, empty if it is.
    tolerance : float
        How much value and captured may differ by rounding, over the largest number involved.
    """

    layer: str
    kind: str
    operation: Operation
    unit: Unit
    value: float
    captured: float
    expression: str
    bias: float
    terms: tuple[Term, ...]
    others: Others
    contributions: np.ndarray
    first_channel: int
    window: Box | None
    map_size: tuple[int, int] | None
    statistics: Mapping[str, float]
    sources: tuple[str, ...]
    note: str
    tolerance: float

    @property
    def difference(self) -> float:
        """The value computed here less the captured one, over the largest number involved."""
        if self.value == self.captured or (math.isnan(self.value) and math.isnan(self.captured)):
            return 0.0
        largest = [abs(self.value), *(abs(term.contribution) for term in self.terms)]
        return (self.value - self.captured) / max(largest) if max(largest) else math.inf

    @property
    def agrees(self) -> bool:
        """Whether the value computed here is the captured one, but for rounding."""
        return abs(self.difference) <= self.tolerance

    def coarse_terms(self, side: int) -> tuple[tuple[Term, tuple[int, int]], ...]:
        """The terms with at most `side` rows and columns, and how many cells each cell stands for.

        Products are summed, patch and kernel averaged; of a maximum the largest is taken.
        """
        largest = self.operation == "max pooling"
        return tuple(_coarse(term, side, largest=largest) for term in self.terms)

    def coarse_contributions(self, count: int) -> np.ndarray:
        """At most `count` contributions, in order: of neighbours the one of largest magnitude."""
        size = -(-len(self.contributions) // count)
        if size < 2:
            return self.contributions
        padded = np.pad(self.contributions, (0, -len(self.contributions) % size))
        groups = padded.reshape(-1, size)
        largest: np.ndarray = groups[np.arange(len(groups)), np.abs(groups).argmax(1)]
        return largest


def _coarse(term: Term, side: int, *, largest: bool) -> tuple[Term, tuple[int, int]]:
    rows, cols = term.patch.shape
    down, across = (max(1, -(-n // side)) for n in (rows, cols))
    if down == across == 1:
        return term, (1, 1)

    def cells(values: np.ndarray, reduce: Callable[..., Any]) -> np.ndarray:
        by_row = reduce(values, np.arange(0, rows, down), axis=0)
        reduced: np.ndarray = reduce(by_row, np.arange(0, cols, across), axis=1)
        return reduced

    counts = 1 if largest else cells(np.ones_like(term.patch), np.add.reduceat)
    reduce = np.fmax.reduceat if largest else np.add.reduceat
    patch, kernel = (cells(values, reduce) / counts for values in (term.patch, term.kernel))
    products = cells(term.products, np.add.reduceat)  # of a maximum, zero but at the winner
    return replace(term, patch=patch, kernel=kernel, products=products), (down, across)


@dataclass(frozen=True, eq=False)
class UnitTrace:
    """How the value of one unit came about.

    Attributes
    ----------
    layer : str
    unit : (channel, row, column)
    value : float
        As the network computed it.
    steps : tuple of Step
        In execution order: the layer that mixes its inputs, then those that work value by value.
        The chosen layer is `steps[chosen]`.
    """

    layer: str
    unit: Unit
    value: float
    steps: tuple[Step, ...] = field(repr=False)

    @property
    def chosen(self) -> int:
        """Position of the chosen layer among the steps."""
        return [step.layer for step in self.steps].index(self.layer)


def unit_trace(
    network: Network | nn.Module,
    image: Any,
    layer: str,
    unit: Sequence[int],
    *,
    largest: int = 16,
) -> UnitTrace:
    """The arithmetic behind one unit's value, from one forward pass that stops behind it.

    Parameters
    ----------
    network : Network or nn.Module
    image : PIL image, array or tensor
        As `Network.prepare` takes it; a prepared batch of one, too.
    layer : str
        As in `network.layers`.
    unit : (channel, row, column)
        Of the layer's maps; for tokens on a grid the same, (channel, -1, number) for class and
        register tokens before it, (channel, 0, number) without a grid; (channel,) for vectors.
    largest : int
        Most terms of a step; what the others add up to is in `Step.others`.

    Raises
    ------
    UnknownLayerError
        If there is no such layer; the nearest names are offered.
    IndexError
        If the layer has no such unit; the message says which it has.
    ValueError
        If the layer's output has no units with a place (layout "other"), the layer did not run on
        this image, or `largest` is below 1.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    >>> network = Network(model, input_shape=(1, 8, 8))
    >>> trace = unit_trace(network, torch.ones(1, 8, 8), "1", (0, 2, 3))
    >>> [(step.layer, step.operation) for step in trace.steps]
    [('0', 'convolution'), ('1', 'activation')]
    >>> trace.steps[0].terms[0].products.shape, all(step.agrees for step in trace.steps)
    ((3, 3), True)
    """
    network = Network.of(network)
    if largest < 1:
        msg = f"expected `largest` to be 1 or more, got {largest}"
        raise ValueError(msg)
    if network.device.type == "meta":
        msg = "expected a model with values, got one on the meta device; put it on a real device"
        raise ValueError(msg)
    with network.lock:
        plan = _Plan(network.model, network.layers, layer, unit)
        batch = _batch(network, image)
        tracing = _Pass(network.model, plan, batch, largest)
        with network.undisturbed(), watch_calls(network.model, tracing.visit):
            try:
                network.model(batch)
            except _Complete:
                pass
            except Exception:
                if layer not in tracing.steps:  # behind the layer it may fail without harm
                    raise
    if layer not in tracing.steps:
        msg = (
            f"expected layer {layer!r} to run, but on this image the model took another way "
            f"through its layers; choose a layer of that way"
        )
        raise ValueError(msg)
    value = tracing.steps[layer].captured
    return UnitTrace(layer, plan.unit, value, tracing.connected())


def _batch(network: Network, image: Any) -> Tensor:
    """The image prepared; inputs that are no images are taken as prepared if the shape is right."""
    if isinstance(image, Tensor) and image.shape == (1, *network.input_shape):
        return image.detach().to(device=network.device, dtype=network.dtype)
    return network.prepare(image)


class _Complete(Exception):  # noqa: N818 - no error: the pass has seen all that it was for
    """Ends a forward pass behind the last step."""


class _Plan:
    """Which layers are steps, and the index of each step's value, from what was recorded."""

    def __init__(self, model: nn.Module, layers: Layers, name: str, unit: Sequence[int]) -> None:
        self._model, self.layers, self.name = model, layers, name
        chosen = layers[name]
        places = Places.of_layer(chosen)
        if places.layout == "other":
            msg = (
                f"expected a layer whose values have a channel and a place, but the output of "
                f"{name!r} has shape {chosen.output_shape} with neither; choose a layer before or "
                f"behind it"
            )
            raise ValueError(msg)
        self.unit = places.checked(unit, name)
        self.indices: dict[str, Index] = {name: places.index(self.unit)}
        self._go_back(chosen)
        self._go_on(chosen)

    def module(self, layer: Layer) -> nn.Module | None:
        name = layer.module_name
        return None if name is None else self._model.get_submodule(name)

    def _go_back(self, layer: Layer) -> None:
        while (before := self._value_before(layer)) is not None:
            layer, index = before
            self.indices = {layer.name: index, **self.indices}

    def _value_before(self, layer: Layer) -> tuple[Layer, Index] | None:
        """The layer whose value a layer that works by value has taken, and where it lies there."""
        slot, module = data_slot(layer), self.module(layer)
        if slot is None or not works_by_value(layer, module) or len(layer.inputs[slot]) != 1:
            return None
        (source,) = layer.inputs[slot]
        index: Index | None = self.indices[layer.name]
        shape = layer.input_shapes[slot]
        if module is not None and is_mover(layer.kind, module):
            index = index_moved(module.forward, shape, self.indices[layer.name])
        if source == "" or index is None:
            return None
        before = self.layers[source]
        at = same_place(index, shape, before.output_shape)
        if at is None or Places.of_layer(before).unit(at) is None:
            return None
        return before, at

    def _go_on(self, layer: Layer) -> None:
        """Add the layers that follow value by value and are the only ones that read it."""
        while True:
            readers = [
                later for later in self.layers if any(layer.name in one for one in later.inputs)
            ]
            if len(readers) != 1:
                return
            follower, module = readers[0], self.module(readers[0])
            slot = data_slot(follower)
            if (
                slot is None
                or follower.inputs[slot] != (layer.name,)
                or follower.input_shapes[slot] != layer.output_shape
                or follower.layout != layer.layout
                or not works_by_value(follower, module)
                or (module is not None and is_mover(follower.kind, module))
            ):
                return
            self.indices[follower.name] = self.indices[layer.name]
            layer = follower

    def overwrites(self, layer: Layer) -> bool:
        """Whether a layer may write its output over what it reads."""
        module = self.module(layer)
        if module is not None:
            return bool(getattr(module, "inplace", False))
        return function_of(layer.kind, None) in ARITHMETIC or works_by_value(layer, None)

    def geometry(self, layer: Layer) -> tuple[int, int, int] | None:
        """Of the maps whose flattened values a linear layer reads, also through dropout."""
        slot = data_slot(layer)
        if slot is None or len(layer.input_shapes[slot]) != 1:
            return None
        size = layer.input_shapes[slot][0]
        while slot is not None and len(layer.inputs[slot]) == 1 and layer.inputs[slot][0]:
            layer = self.layers[layer.inputs[slot][0]]
            shape = layer.output_shape
            if math.prod(shape) != size:
                return None
            if layer.layout == "maps":
                return (shape[0], shape[1], shape[2]) if shape[1] * shape[2] > 1 else None
            if not works_by_value(layer, self.module(layer)):
                return None
            slot = data_slot(layer)
        return None


class _Pass:
    """Visits the calls of one forward pass and takes the steps of a plan apart."""

    def __init__(self, model: nn.Module, plan: _Plan, batch: Tensor, largest: int) -> None:
        self._modules = dict(model.named_modules())
        self._plan, self._largest = plan, largest
        self._left = set(plan.indices)
        self.steps: dict[str, Step] = {}
        steps = [plan.layers[name] for name in plan.indices]
        self._sources = {
            source for layer in steps for sources in layer.inputs for source in sources
        }
        # the values of these are read once something may have been written over them
        self._copied = {
            source
            for layer in steps
            if plan.overwrites(layer)
            for sources in layer.inputs
            for source in sources
            if source not in plan.indices
        }
        self._held: dict[str, Held] = {}
        if "" in self._sources:
            self._hold("", Places.of_input(tuple(batch.shape[1:])), batch)

    def _hold(self, name: str, places: Places, tensor: Tensor) -> None:
        copy = tensor.detach().clone() if name in self._copied else None
        step = self.steps.get(name)
        known = {} if step is None else {self._plan.indices[name]: step.captured}
        self._held[name] = Held(name, places, tensor.detach(), copy, known)

    def visit(self, call: Call) -> None:
        """Take the call apart if it is a step; keep its output if a step reads it."""
        if not self._left:
            return
        if call.name in self._left:
            self._left.remove(call.name)
            self.steps[call.name] = self._step(call)
        if call.name in self._sources:
            layer = self._plan.layers[call.name]
            self._hold(call.name, Places.of_layer(layer), call.tensor)
        if not self._left:
            raise _Complete

    def _step(self, call: Call) -> Step:
        layer = self._plan.layers[call.name]
        places, index = Places.of_layer(layer), self._plan.indices[call.name]
        unit = places.unit(index)
        if unit is None or tuple(call.tensor.shape[1:]) != layer.output_shape:
            msg = (
                f"expected the output of layer {call.name!r} to have the recorded shape "
                f"{layer.output_shape}, got {tuple(call.tensor.shape[1:])}; pass an image of the "
                f"network's input shape {self._plan.layers.input_shape}"
            )
            raise ValueError(msg)
        captured = float(call.tensor[0][index])
        question = Question(
            call,
            None if call.module_name is None else self._modules[call.module_name],
            index,
            places,
            captured,
            self._reader(call),
            self._largest,
            self._plan.geometry(layer),
        )
        parts = take_apart(question)
        return Step(
            layer=call.name,
            kind=call.kind,
            unit=unit,
            captured=captured,
            sources=tuple(dict.fromkeys(name for names in call.sources for name in names)),
            tolerance=_tolerance(call.tensor),
            **{one.name: getattr(parts, one.name) for one in fields(Parts)},
        )

    def _reader(self, call: Call) -> Callable[[Tensor], Reading]:
        written = call.tensor.untyped_storage().data_ptr()
        overwrites = self._plan.overwrites(self._plan.layers[call.name])

        def read(tensor: Tensor) -> Reading:
            names = next(
                (s for t, s in zip(call.inputs, call.sources, strict=True) if t is tensor), ()
            )
            # the latest first: it may have written over a part of what an earlier one returned
            held = [self._held[name] for name in reversed(self._held) if name in names]
            over = overwrites and tensor.untyped_storage().data_ptr() == written
            return Reading(tensor, Origin(tensor, held), overwritten=over)

        return read

    def connected(self) -> tuple[Step, ...]:
        """The steps around the chosen one, each of which took the value of the one before.

        The plan goes by sizes alone, so that a value may come from elsewhere after all.
        """
        steps = [self.steps[name] for name in self._plan.indices if name in self.steps]
        chosen = [step.layer for step in steps].index(self._plan.name)
        cuts = [i for i in range(1, len(steps)) if not _same(steps[i], steps[i - 1])]
        first = max((i for i in cuts if i <= chosen), default=0)
        end = min((i for i in cuts if i > chosen), default=len(steps))
        return tuple(steps[first:end])


def _same(step: Step, before: Step) -> bool:
    """Whether a value that a step is made of is the value of the step before."""
    return any(
        term.source == before.layer
        and term.from_unit == before.unit
        and np.array_equal(term.patch, np.full((1, 1), before.captured, np.float32), equal_nan=True)
        for term in step.terms
    )


def _tolerance(tensor: Tensor) -> float:
    """Rounding to be expected of sums, by the number format; GPUs may multiply in fewer bits."""
    if tensor.dtype in {torch.float16, torch.bfloat16}:
        return 32 * float(torch.finfo(tensor.dtype).eps)
    return 1e-5 if tensor.device.type == "cpu" else 5e-3
