"""The layers of a network, recorded: shapes and receptive fields in execution order.

`record_layers` runs the model once on a deterministic input of batch 1 and notes every call that
counts as a layer (`nbviz.analysis.calls` finds and names them) while the dependence on input
pixels is followed underneath (`nbviz.analysis.dependence`). Recording, unlike symbolic tracing,
works for any model that runs; `Layers.traced` says whether the list can differ from input to
input.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any, overload

import torch
from torch import Tensor, nn

from nbviz.analysis.calls import Call, watch_calls
from nbviz.analysis.dependence import Dependence, Shadow
from nbviz.analysis.placement import Layout, placement
from nbviz.analysis.receptive_field import Box, ReceptiveField

__all__ = ["Layer", "Layers", "Layout", "UnknownLayerError", "example_input", "record_layers"]


@dataclass(frozen=True)
class Layer:
    """One layer: a module without children, or a functional operation between modules.

    Attributes
    ----------
    name : str
        As `named_modules` names it; the second call of the same module is ``name:1``. A functional
        operation is named after the module that calls it: ``layer1.0.add``, ``layer1.0.relu:1``.
        A model that is itself one layer is named by its class.
    kind : str
        Class of the module, or name of the function.
    module_name : str or None
        What `get_submodule` takes; None for a functional operation.
    parameters : int
        Number of values in the parameters that this call uses; `parameter_names` names them.
    input_shapes : tuple of shapes
        Of each tensor among the arguments, without the batch dimension.
    output_shape : tuple of int
        Of the output (its first tensor), without the batch dimension.
    layout : {"maps", "maps_last", "tokens", "signal", "vector", "other"}
        Where places and channels are: (N, C, H, W), (N, H, W, C), (N, T, D), (N, C, L) along a line
        (1-d convolutions), (N, D). "other" where it is none of these, as for (windows, T, D)
        within window attention.
    grid : pair of int or None
        Rows and columns of places, None where there is no grid.
    prefix_tokens : int
        Class and register tokens that stand before the grid's, for "tokens".
    stride : pair of int or Fraction, or None
        Input pixels from one place to the next, down and across.
    receptive_field : ReceptiveField or None
        None where the network's input has no pixels (a vector).
    inputs : tuple of tuple of str
        For each of `input_shapes` the names of the layers whose output it is; ``("",)`` is the
        network's input, ``()`` a parameter, a constant or unknown (see `Call.sources`).
    """

    name: str
    kind: str
    module_name: str | None
    parameters: int
    input_shapes: tuple[tuple[int, ...], ...]
    output_shape: tuple[int, ...]
    layout: Layout
    grid: tuple[int, int] | None
    prefix_tokens: int
    stride: tuple[int | Fraction, int | Fraction] | None
    receptive_field: ReceptiveField | None
    parameter_names: tuple[str, ...] = field(default=(), repr=False)
    inputs: tuple[tuple[str, ...], ...] = field(default=(), repr=False)

    @property
    def functional(self) -> bool:
        """Whether this is an operation in a `forward`, rather than a module."""
        return self.module_name is None

    @property
    def channels(self) -> int | None:
        """Number of channels (of features, for tokens and vectors); None for the layout "other"."""
        if self.layout == "other":
            return None
        return self.output_shape[0 if self.layout in {"maps", "signal"} else -1]

    def box(self, row: int = 0, col: int = 0) -> Box:
        """Give the pixels that the unit at (row, col) of the grid can see, within the image.

        Raises
        ------
        ValueError
            If the network's input has no pixels.
        IndexError
            If the layer has no unit there; the message gives the grid.
        """
        if self.receptive_field is None:
            msg = (
                f"expected a network whose input is an image, but layer {self.name!r} belongs to "
                f"one that takes vectors, so its units see no pixels"
            )
            raise ValueError(msg)
        return self.receptive_field.clipped(row, col)


class UnknownLayerError(KeyError):
    """No layer has the name that was asked for; the message offers the nearest ones."""

    def __str__(self) -> str:
        return str(self.args[0])


class Layers(Sequence[Layer]):
    """The layers of a network in execution order, by number or by name.

    Attributes
    ----------
    approximated : tuple of str
        Operations without a rule for receptive fields; behind them boxes are outer bounds
        (`ReceptiveField.exact` is False). Empty for the usual networks.
    input_shape : tuple of int
        Shape of the recorded input, without the batch dimension.

    Examples
    --------
    >>> from nbviz import Network
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))
    >>> _ = model(torch.zeros(1, 3, 16, 16))
    >>> layers = Network(model, input_shape=(3, 16, 16)).layers
    >>> layers.names, layers["0"].output_shape, layers[-1].kind
    (('0', '1', '2', '3'), (8, 14, 14), 'Linear')
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        input_shape: tuple[int, ...] = (),
        approximated: Sequence[str] = (),
        parameter_sizes: dict[str, int] | None = None,
        why_untraced: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._layers = tuple(layers)
        self._by_name = {layer.name: layer for layer in self._layers}
        self.input_shape = input_shape
        self.approximated = tuple(approximated)
        self._parameter_sizes = parameter_sizes or {}
        self._why_untraced = why_untraced

    @property
    def names(self) -> tuple[str, ...]:
        """The names in execution order."""
        return tuple(layer.name for layer in self._layers)

    @property
    def parameters(self) -> int:
        """Number of values in all parameters that the layers use, each counted once."""
        used = {name for layer in self._layers for name in layer.parameter_names}
        return sum(self._parameter_sizes.get(name, 0) for name in used)

    @property
    def traced(self) -> bool:
        """Whether `torch.fx` can trace the model: the list holds for any input of its shape.

        If not (control flow that depends on values), list and boxes hold for the way that was taken
        with the recorded input, and what the choice itself depended on is in no box.
        """
        return self.untraced_reason is None

    @cached_property
    def untraced_reason(self) -> str | None:
        """Why `torch.fx` cannot trace the model, None if it can."""
        return self._why_untraced()

    @overload
    def __getitem__(self, key: int | str) -> Layer: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[Layer, ...]: ...
    def __getitem__(self, key: int | str | slice) -> Layer | tuple[Layer, ...]:
        if not isinstance(key, str):
            return self._layers[key]
        try:
            return self._by_name[key]
        except KeyError:
            raise UnknownLayerError(self._unknown(key)) from None

    def _unknown(self, name: str) -> str:
        if not self._layers:
            return f"expected the name of a layer, got {name!r}, but this network has no layers"
        inside = [known for known in self.names if known.startswith(f"{name}.")]
        near = inside[:3] or difflib.get_close_matches(name, self.names, n=3, cutoff=0.4)
        advice = f"did you mean {', '.join(map(repr, near))}?" if near else "see `layers.names`"
        return f"expected one of {len(self)} layer names, got {name!r}; {advice}"

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._layers)

    def __contains__(self, item: object) -> bool:
        return item in self._by_name if isinstance(item, str) else item in self._layers

    def __repr__(self) -> str:
        head = ("", "name", "kind", "output", "parameters", "stride", "receptive field")
        rows = [head, *(_table_row(number, layer) for number, layer in enumerate(self._layers))]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return "\n".join([f"{len(self)} layers, {self.parameters:,} parameters", *lines])


def _table_row(number: int, layer: Layer) -> tuple[str, ...]:
    shape = " x ".join(map(str, layer.output_shape))
    stride = " x ".join(map(str, layer.stride)) if layer.stride else ""
    seen = layer.receptive_field
    if seen is None:
        window = ""
    elif seen.size is not None:
        window = " x ".join(map(str, seen.size)) + ("" if seen.aligned else " at most")
    else:
        window = "global" if seen.is_global else "no fixed window"
    return str(number), layer.name, layer.kind, shape, f"{layer.parameters:,}", stride, window


def example_input(
    shape: Sequence[int], *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Tensor:
    """Give the input that layers are recorded with: standard normal, the same every time.

    Parameters
    ----------
    shape : sequence of int
        Without the batch dimension; the result has shape (1, *shape).
    """
    generator = torch.Generator().manual_seed(0)
    values = torch.randn((1, *shape), generator=generator, dtype=torch.float32)
    return values.to(device=device, dtype=dtype)


def record_layers(
    model: nn.Module, example: Tensor, *, why_untraced: Callable[[], str | None] = lambda: None
) -> Layers:
    """Run `model` once on `example` and give its layers.

    The model is run as it is; `Network.layers` sees to it that this is evaluation mode, without
    gradients, and that nothing of it changes.

    Parameters
    ----------
    model : nn.Module
        Takes `example` as its one argument.
    example : Tensor, shape (1, C, H, W), (1, C, L) or (1, D)
        A batch of one.
    why_untraced : callable
        Gives the reason why the model cannot be traced, or None (`Layers.untraced_reason`).

    Raises
    ------
    ValueError
        If the batch is not 1.
    """
    if example.shape[0] != 1:
        msg = f"expected a batch of one input, got shape {tuple(example.shape)}; pass one image"
        raise ValueError(msg)
    image = (example.shape[-2] if example.ndim > 3 else 1, example.shape[-1])
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    notes: list[_Note] = []
    with Dependence() as dependence:

        def visit(call: Call) -> None:
            notes.append(_Note.of(call, dependence.shadow_of(call.tensor)))

        dependence.seed(example)
        with watch_calls(model, visit):
            model(example)
    # read off the shadows only now, so that the modes do not follow that work
    layers = [_layer(note, sizes, image) for note in notes]
    return Layers(
        layers,
        input_shape=tuple(example.shape[1:]),
        approximated=tuple(dependence.approximated),
        parameter_sizes=sizes,
        why_untraced=why_untraced,
    )


@dataclass(frozen=True, eq=False)
class _Note:
    """What is kept of a call while the model runs: its shapes and its shadow, not its tensors."""

    name: str
    kind: str
    module_name: str | None
    parameters: tuple[str, ...]
    input_shapes: tuple[tuple[int, ...], ...]
    output_shape: tuple[int, ...]
    inputs: tuple[tuple[str, ...], ...]
    shadow: Shadow | None

    @classmethod
    def of(cls, call: Call, shadow: Shadow | None) -> _Note:
        return cls(
            call.name,
            call.kind,
            call.module_name,
            call.parameters,
            tuple(tuple(tensor.shape[1:]) for tensor in call.inputs),
            tuple(call.tensor.shape),
            call.sources,
            shadow,
        )


def _layer(note: _Note, sizes: dict[str, int], image: tuple[int, int]) -> Layer:
    place = placement(note.shadow, note.output_shape, image)
    return Layer(
        name=note.name,
        kind=note.kind,
        module_name=note.module_name,
        parameters=sum(sizes[name] for name in note.parameters),
        input_shapes=note.input_shapes,
        output_shape=note.output_shape[1:],
        layout=place.layout,
        grid=place.grid,
        prefix_tokens=place.prefix,
        stride=place.stride,
        receptive_field=place.receptive_field,
        parameter_names=note.parameters,
        inputs=note.inputs,
    )


def why_untraced(model: Any) -> str | None:
    """Say why `torch.fx` cannot trace `model`, None if it can."""
    try:
        torch.fx.Tracer().trace(model)
    except Exception as error:  # noqa: BLE001 - any model code may run and fail here
        return f"{type(error).__name__}: {error}"
    return None
