"""What chosen layers returned in one forward pass, and no more of the pass than that takes.

`run_pass` is the one way in which activations are read: it hands over what a layer returned at the
moment it returned, before an in-place operation behind it can write over it, and leaves the forward
pass behind the last wanted layer. Layers that are modules are read by hooks on these modules alone;
for the rest all calls are watched (`nbviz.analysis.calls`). `capture` keeps copies of what it gets.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from nbviz.analysis.calls import Call, first_tensor, watch_calls
from nbviz.analysis.layers import Layer, Layers, example_input
from nbviz.model_input import logits_of
from nbviz.network import Network
from nbviz.undisturbed import add_note

__all__ = ["Captured", "Pass", "Take", "capture", "run_pass"]


@dataclass(frozen=True, eq=False)
class Captured:
    """What layers returned in one forward pass."""

    values: Mapping[str, Tensor]
    """By name, in the order asked for: the first tensor that the layer returned, on the model's
    device and in its dtype, shape (N, ...). Nothing that runs later changes it."""
    logits: Tensor | None
    """Shape (N, classes); None if they were not asked for."""


class Take(Protocol):
    """Receives each wanted layer's output as the layer returns it."""

    def __call__(self, name: str, value: Tensor, *, owned: bool) -> None:
        """Keep what is needed of `value`.

        It is the model's own tensor, which in-place operations overwrite as the pass goes on;
        with `owned` the pass ends here, and nobody else holds it.
        """


@dataclass(frozen=True, eq=False)
class Pass:
    """How a forward pass ended."""

    output: Any
    """What the model returned; None if the pass ended behind the last wanted layer."""
    missing: tuple[str, ...]
    """Wanted layers that did not run, as the model took another way with this input."""


def capture(
    network: Network | nn.Module, batch: Tensor, layers: Sequence[str], *, logits: bool = False
) -> Captured:
    """What layers return for a batch of prepared inputs, as tensors.

    One forward pass, which ends behind the last of these layers if logits are not wanted. The
    model is left as it was.

    Parameters
    ----------
    network : Network or nn.Module
    batch : Tensor, shape (N, C, H, W)
        Prepared (`Network.prepare`); moved to the model's device and dtype.
    layers : sequence of str
        Names out of ``network.layers.names``.
    logits : bool
        Run to the end and give the logits too.

    Raises
    ------
    UnknownLayerError
        If there is no layer of a name; the nearest names are offered.
    ValueError
        If the model did not run a layer for this batch (control flow that depends on values).

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten())
    >>> network = Network(model, input_shape=(3, 8, 8))
    >>> got = capture(network, torch.zeros(2, 3, 8, 8), ["0", "1"])
    >>> got.values["0"].shape, bool((got.values["1"] == got.values["0"].relu()).all())
    (torch.Size([2, 4, 6, 6]), True)
    """
    network = Network.of(network)
    names = [layers] if isinstance(layers, str) else list(layers)
    values: dict[str, Tensor] = dict.fromkeys(names, batch)

    def take(name: str, value: Tensor, *, owned: bool) -> None:
        values[name] = value.detach() if owned else value.detach().clone()

    ended = run_pass(network, batch, names, take, to_the_end=logits)
    if ended.missing:
        raise ValueError(not_run(ended.missing[0]))
    return Captured(values, logits_of(ended.output) if logits else None)


def not_run(name: str) -> str:
    """The message for a layer that did not run."""
    return (
        f"expected the model to run layer {name!r}, but for this input it took another way; "
        f"choose a layer that runs for every input"
    )


def run_pass(
    network: Network,
    batch: Tensor,
    names: Iterable[str],
    take: Take,
    *,
    to_the_end: bool,
    layers: Layers | None = None,
) -> Pass:
    """Run the model on a batch, and hand what the wanted layers return to `take`.

    A model that catches the exception by which the pass is left runs once more, to its end; `take`
    then receives every layer again.

    Parameters
    ----------
    names : iterable of str
        Out of ``network.layers.names``.
    to_the_end : bool
        Whether to go on behind the last of them, for the output.
    layers : Layers, optional
        ``network.layers``, where they have just been asked for.

    Raises
    ------
    UnknownLayerError
        If there is no layer of a name.
    Exception
        What the model raises, unchanged, with a note (PEP 678) on where that was.
    """
    with network.undisturbed():
        layers = network.layers if layers is None else layers
        wanted = {name: layers[name] for name in names}
        batch = as_input(network, batch)
        if not wanted and not to_the_end:
            return Pass(None, ())
        facts = _facts(network, layers)
        reading = _Reading(network.model, batch, tuple(wanted), take, facts.buffer_sizes)
        if (calls := facts.calls_of(wanted.values())) is not None:
            ended = reading.run(lambda: _hooked(reading, calls), leave=not to_the_end)
            if not ended.missing:
                return ended
        return reading.run(lambda: watch_calls(network.model, reading.called), leave=not to_the_end)


def as_input(network: Network, batch: Any) -> Tensor:
    """A batch on the model's device and in its dtype, as `Network.__call__` moves it.

    Raises
    ------
    TypeError
        If it is no tensor.
    """
    if not isinstance(batch, Tensor):
        msg = (
            f"expected a tensor of shape (N, channels, height, width), got "
            f"{type(batch).__name__}; `network.prepare(image)` makes one from an image"
        )
        raise TypeError(msg)
    first = next(network.model.parameters(), None)
    if first is not None and first.is_floating_point():
        return batch.to(device=first.device, dtype=first.dtype)
    return batch.to(device=network.device, dtype=network.dtype)


class _Leave(Exception):  # noqa: N818 - no error, but the way out of a forward pass
    """All wanted layers have returned."""


class _Reading:
    """Reads wanted layers off forward passes of one model on one batch."""

    def __init__(
        self,
        model: nn.Module,
        batch: Tensor,
        wanted: tuple[str, ...],
        take: Take,
        buffer_sizes: frozenset[int],
    ) -> None:
        self.model = model
        self._batch = batch
        self._wanted = wanted
        self._take = take
        self._buffer_sizes = buffer_sizes
        self._begin(leave=False)

    def run(self, watching: Callable[[], AbstractContextManager[None]], *, leave: bool) -> Pass:
        """Run once; `watching` sees to it that `returned` or `called` hears of the layers."""
        self._begin(leave=leave)
        try:
            with watching():
                output = self.model(self._batch)
        except _Leave as way_out:
            if way_out is self._way_out:
                return Pass(None, ())
            raise
        except Exception as error:
            if self._way_out is None:
                if self._in_model:
                    _annotate(error, self.model, self._latest)
                raise
        if self._way_out is not None:  # the model caught the way out, and may have gone on
            return self.run(watching, leave=False)
        return Pass(output, tuple(self.left))

    def _begin(self, *, leave: bool) -> None:
        self.left = dict.fromkeys(self._wanted)
        self._leave = leave
        self._way_out: _Leave | None = None
        self._latest: str | None = None
        self._in_model = True

    def called(self, call: Call) -> None:
        """Hear of any call of a layer."""
        self._latest = call.name
        if call.name in self.left:
            self.returned(call.name, call.tensor)

    def returned(self, name: str, value: Tensor) -> None:
        """Hear of a call of a wanted layer."""
        if self._way_out is not None:
            return
        self._latest = name
        del self.left[name]
        last = self._leave and not self.left
        self._in_model = False
        self._take(name, value, owned=last and self._is_new(value))
        self._in_model = True
        if last:
            self._way_out = _Leave()
            raise self._way_out

    def _is_new(self, value: Tensor) -> bool:
        """Whether a tensor shares no memory with the batch or with a buffer of the model.

        A buffer is known by its size alone; what has the size of one counts as shared.
        """
        try:
            memory, given = value.untyped_storage(), self._batch.untyped_storage()
        except (NotImplementedError, RuntimeError):  # a layout without storage
            return False
        return memory.data_ptr() != given.data_ptr() and memory.nbytes() not in self._buffer_sizes


@contextmanager
def _hooked(reading: _Reading, calls: Mapping[str, Sequence[str]]) -> Iterator[None]:
    """Hooks on modules alone: `calls` has the names of each module's calls, in order."""
    thread = threading.get_ident()
    with ExitStack() as stack:
        for path, names in calls.items():
            ahead = iter(names)

            def hook(
                _module: nn.Module, _args: Any, output: Any, ahead: Iterator[str] = ahead
            ) -> None:
                if threading.get_ident() != thread:
                    return
                name = next(ahead, None)
                value = first_tensor(output)
                if name in reading.left and value is not None:
                    reading.returned(name, value)

            stack.callback(reading.model.get_submodule(path).register_forward_hook(hook).remove)
        yield


@dataclass(frozen=True, eq=False)
class _Facts:
    """What is worked out once about the layers of a network."""

    calls: Mapping[str, Sequence[str]]
    """Of each module whose calls are all layers their names, in order."""
    buffer_sizes: frozenset[int]
    """Bytes of the memory of each buffer."""

    def calls_of(self, layers: Iterable[Layer]) -> dict[str, Sequence[str]] | None:
        """The names of all calls of the modules behind these layers; None if hooks cannot tell."""
        found: dict[str, Sequence[str]] = {}
        for layer in layers:
            path = layer.module_name
            if path is None or path not in self.calls:
                return None
            found[path] = self.calls[path]
        return found


_known: WeakKeyDictionary[Layers, _Facts] = WeakKeyDictionary()


def _facts(network: Network, layers: Layers) -> _Facts:
    facts = _known.get(layers)
    if facts is None:
        sizes = _buffer_sizes(network.model)
        try:
            facts = _known[layers] = _Facts(_plain_calls(network, layers), sizes)
        except Exception:  # noqa: BLE001 - the pass that was asked for will tell
            return _Facts({}, sizes)
    return facts


def _plain_calls(network: Network, layers: Layers) -> dict[str, Sequence[str]]:
    """Find the modules whose calls, counted by plain hooks, are layers numbered in order.

    The list of layers leaves out a call whose output is constant, or that lies within another
    layer, so the calls are counted, once, on the input that the list was recorded with. And it
    numbers functions of the same name along, which need not all run for another input.
    """
    named: dict[str, list[str]] = defaultdict(list)
    for layer in layers:
        if layer.module_name is not None:
            named[layer.module_name].append(layer.name)
    count: Counter[str] = Counter()
    with ExitStack() as stack:
        for path in named:

            def hook(_module: nn.Module, _args: Any, _output: Any, path: str = path) -> None:
                count[path] += 1

            module = network.model.get_submodule(path)
            stack.callback(module.register_forward_hook(hook).remove)
        shape = layers.input_shape
        network.model(example_input(shape, device=network.device, dtype=network.dtype))
    return {
        path: names
        for path, names in named.items()
        if len(names) == count[path]
        and names == [names[0], *(f"{names[0]}:{k}" for k in range(1, len(names)))]
    }


def _buffer_sizes(model: nn.Module) -> frozenset[int]:
    dense = (buffer for buffer in model.buffers() if buffer.layout is torch.strided)
    return frozenset(buffer.untyped_storage().nbytes() for buffer in dense)


def _annotate(error: Exception, model: nn.Module, latest: str | None) -> None:
    """Note on an error of the model where it was raised, and which layer returned last."""
    where = _innermost_module(error.__traceback__, model)
    after = "before any layer that was watched" if latest is None else f"after layer {latest!r}"
    inside = f" in module {where!r}" if where else ""
    add_note(error, f"The model raised this{inside}, {after} had returned.")


def _innermost_module(trace: TracebackType | None, model: nn.Module) -> str | None:
    names = {id(module): name for name, module in model.named_modules()}
    found = None
    while trace is not None:
        found = names.get(id(trace.tb_frame.f_locals.get("self")), found)
        trace = trace.tb_next
    return found
