"""Network: a model with its transform, class names and device. The one door to a model.

Every view and every analysis takes a `Network`, or a bare module that `Network.of` wraps. It
prepares images, runs the model without disturbing it (`nbviz.undisturbed`), and knows its layers
(`nbviz.analysis.layers`). What a model takes and gives is worked out in `nbviz.model_input`.
"""

from __future__ import annotations

import copy
import difflib
import threading
import weakref
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.utils.weak import WeakIdKeyDictionary

from nbviz import model_input
from nbviz.analysis.layers import Layers, example_input, record_layers, why_untraced
from nbviz.undisturbed import add_note, modules_of, state_of, undisturbed

Transform = Callable[[Any], Any]

# Weak on both sides: a network holds its model, so a strong value would keep its own key alive.
_networks: MutableMapping[nn.Module, weakref.ref[Network]] = WeakIdKeyDictionary()
_networks_lock = threading.Lock()


class Network:
    """A model with its transform, class names and device.

    Parameters
    ----------
    model : nn.Module
        An image classifier of torchvision, timm or transformers, a `Sequential`, or your own. A
        `DataParallel` or compiled module is looked through to the plain module inside it.
    transform : callable, optional
        Takes a PIL image (RGB; grey for a network of one channel) and gives the model's input, a
        float tensor (C, H, W). Without one, `prepare` scales to [0, 1] and resizes.
    classes : sequence of str, optional
        Names of the outputs in order. Taken from a transformers model's configuration if it has
        them.
    device : str or torch.device, optional
        Where to run. By default where the model lies. For another device the network holds a
        copy of the model there and leaves yours in place, so later training of yours does not show.
    input_shape : tuple of int, optional
        (channels, height, width) of the model's input; worked out on first use if left out.

    Raises
    ------
    TypeError
        If `model` is no module; the message says what to pass instead.
    ValueError
        If its lazy parameters are not initialised yet.

    Examples
    --------
    >>> network = Network(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), input_shape=(3, 8, 8))
    >>> network(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 144])
    >>> network.layers.names
    ('0', '1')
    """

    def __init__(
        self,
        model: nn.Module,
        transform: Transform | None = None,
        classes: Sequence[str] | None = None,
        device: str | torch.device | None = None,
        *,
        input_shape: Sequence[int] | None = None,
    ) -> None:
        self.model = _on_device(_plain_module(model), device)
        self.transform = transform
        self._classes = None if classes is None else tuple(_class_names(classes))
        self._given_shape = None if input_shape is None else _checked_shape(input_shape)

    @classmethod
    def of(cls, network: Network | nn.Module) -> Network:
        """Give the network for a bare module, the same one each time, or the `Network` passed in.

        It lives as long as somebody holds it, and does not keep the module alive.
        """
        if isinstance(network, Network):
            return network
        model = _plain_module(network)
        with _networks_lock:
            reference = _networks.get(model)
            known: Network | None = None if reference is None else reference()
            if known is None:
                known = cls(model)
                _networks[model] = weakref.ref(known)
            return known

    @classmethod
    def from_torchvision(
        cls,
        name: str,
        weights: Any = "DEFAULT",
        device: str | torch.device | None = None,
        **model_options: Any,
    ) -> Network:
        """Build a classifier of torchvision, with the transform and class names of its weights.

        Parameters
        ----------
        name : str
            As in `torchvision.models.list_models()`: ``"alexnet"``, ``"resnet50"``.
        weights : str, weights entry or None
            ``"DEFAULT"`` downloads the best weights once. None gives random weights, needs no
            network, and still takes transform and class names from the default weights'
            description.
        device : str or torch.device, optional
            Where to put the model; the CPU by default.
        **model_options
            Passed to the model's constructor.

        Raises
        ------
        ValueError
            If there is no such classifier or weights; nearest names are offered.

        Examples
        --------
        >>> network = Network.from_torchvision("alexnet", weights=None)
        >>> network.classes[:2], network.input_shape
        (('tench', 'goldfish'), (3, 224, 224))
        """
        from torchvision import models

        known = models.list_models(module=models)
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
            advice = (
                f"did you mean {', '.join(map(repr, near))}?" if near else f"{len(known)} exist"
            )
            msg = (
                f"expected the name of a torchvision classifier, got {name!r}; {advice} "
                f"(torchvision.models.list_models() lists them)"
            )
            raise ValueError(msg)
        entries = models.get_model_weights(name)
        if isinstance(weights, str):
            names = [*entries.__members__]
            if weights.rsplit(".", 1)[-1] not in names:
                msg = f"expected weights of {name} out of {names} or None, got {weights!r}"
                raise ValueError(msg)
            weights = entries[weights.rsplit(".", 1)[-1]]
        described = entries.DEFAULT if weights is None else weights
        model = models.get_model(name, weights=weights, **model_options)
        if device is not None:
            model = model.to(device)
        return cls(
            model.eval(), transform=described.transforms(), classes=described.meta.get("categories")
        )

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the outputs in order, None if they are not known."""
        if self._classes is not None:
            return self._classes
        names = getattr(getattr(self.model, "config", None), "id2label", None)
        if not isinstance(names, dict) or not names:
            return None
        return tuple(str(names[index]) for index in sorted(names, key=int))

    @property
    def device(self) -> torch.device:
        """Where the model's parameters lie."""
        return model_input.model_device(self.model)

    @property
    def dtype(self) -> torch.dtype:
        """What the model computes in."""
        return model_input.model_dtype(self.model)

    @property
    def lock(self) -> Any:
        """The re-entrant lock to hold while using the model; one for all networks over a model."""
        return state_of(self.model).lock

    def undisturbed(
        self, *, grad: bool = False, generators: bool = True
    ) -> AbstractContextManager[None]:
        """Hold the lock and set evaluation mode; everything is put back afterwards.

        See `nbviz.undisturbed.undisturbed` for what is restored. With `grad`, autograd stays on;
        without `generators`, the random states are not restored.
        """
        return undisturbed(self.model, grad=grad, generators=generators)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the model's input without the batch dimension.

        As given, or else what the transform crops to, what a timm or transformers configuration
        says, or the first of the usual shapes that runs (see
        `nbviz.model_input.infer_input_shape`).

        Raises
        ------
        ValueError
            If none of the usual shapes runs; pass `input_shape` then.
        """
        if self._given_shape is not None:
            return self._given_shape
        with self.lock:
            recorded = state_of(self.model).recorded
            declared = model_input.declared_shape(self.model, self.transform)
            key = ("input_shape", declared, _structure(self.model))
            if key not in recorded:
                recorded[key] = model_input.infer_input_shape(
                    self.model, self.transform, self._accepts
                )
            shape: tuple[int, ...] = recorded[key]
            return shape

    def _accepts(self, shape: tuple[int, ...]) -> None:
        with self.undisturbed():
            self.model(self._example(shape))

    def _example(self, shape: tuple[int, ...]) -> Tensor:
        return example_input(shape, device=self.device, dtype=self.dtype)

    def prepare(self, image: Any) -> Tensor:
        """Give the model's input for one image, on the model's device.

        Parameters
        ----------
        image : PIL image, array or tensor
            A PIL image, a uint8 array (H, W), (H, W, 3) or (H, W, 4) or a uint8 tensor (C, H, W)
            goes through `transform`; without one it is scaled to [0, 1], resized to `input_shape`
            (aspect not kept), and standardised if a timm configuration says how. Transparency is
            laid over white. A float tensor (C, H, W) or (1, C, H, W) is taken as already prepared.

        Returns
        -------
        Tensor, shape (1, C, H, W), of the model's dtype.

        Raises
        ------
        TypeError
            If it is none of these, or the transform returns no float tensor.
        ValueError
            If the shape is none of these.
        """
        if isinstance(image, Tensor) and image.is_floating_point():
            batch = model_input.batch_of_one(image)
        else:
            batch = self.preparation()(image)
        return batch.to(device=self.device, dtype=self.dtype)

    def preparation(self) -> model_input.Preparation:
        """Give what `prepare` does, without the model: for other threads and processes.

        Its result stays on the CPU.

        Raises
        ------
        ValueError
            If there is no transform, and no input shape is known.
        """
        channels, shape = model_input.input_channels(self.model), None
        if self.transform is None or (channels is None and self._given_shape):
            shape = self.input_shape
            channels = shape[0] if channels is None else channels
        return model_input.Preparation(
            transform=self.transform,
            channels=channels,
            shape=shape,
            config=dict(model_input.timm_config(self.model)),
            dtype=self.dtype,
        )

    def __call__(self, batch: Any) -> Tensor:
        """Give the logits for a batch of prepared inputs; the model is left as it was.

        Parameters
        ----------
        batch : Tensor, shape (N, C, H, W)
            Moved to the model's device and dtype.

        Returns
        -------
        Tensor, shape (N, classes)
            Of an output that holds more, its ``logits``; see `nbviz.model_input.logits_of`.
        """
        if not isinstance(batch, Tensor):
            msg = (
                f"expected a tensor of shape (N, channels, height, width), got "
                f"{type(batch).__name__}; `network.prepare(image)` makes one from an image"
            )
            raise TypeError(msg)
        with self.undisturbed():
            output = self.model(batch.to(device=self.device, dtype=self.dtype))
            return model_input.logits_of(output)

    @property
    def layers(self) -> Layers:
        """The layers in execution order, recorded on first use by one forward pass.

        They are recorded again when submodules were added, removed or replaced, or a parameter's
        shape changed; call `forget_layers` after a change that shows in none of these.

        Raises
        ------
        ValueError
            If no input shape is known, or on the meta device the model reads values.
        """
        with self.lock:
            shape = self.input_shape
            recorded = state_of(self.model).recorded
            structure = _structure(self.model)
            known = recorded.get(("layers", shape))
            if known is None or known[0] != structure:
                known = recorded["layers", shape] = (structure, self._record(shape))
            layers: Layers = known[1]
            return layers

    def _record(self, shape: tuple[int, ...]) -> Layers:
        reference = weakref.ref(self.model)

        def reason() -> str | None:
            model = reference()
            if model is None:
                msg = (
                    "expected the model to be alive, but it was freed; keep its Network to trace it"
                )
                raise ReferenceError(msg)
            with undisturbed(model):
                return why_untraced(model)

        with self.undisturbed():
            try:
                return record_layers(self.model, self._example(shape), why_untraced=reason)
            except Exception as error:
                if self.device.type != "meta":
                    asked = "as input_shape= says" if self._given_shape else "worked out from it"
                    note = (
                        f"It was run on an input of shape {shape}, {asked}; pass "
                        "Network(model, input_shape=(channels, height, width)) for another."
                    )
                    add_note(error, note)
                    raise
                msg = (
                    f"expected a model that runs without values, as it lies on the meta device, "
                    f"but its forward pass failed ({type(error).__name__}: {error}); put it on a "
                    f"real device"
                )
                raise ValueError(msg) from error

    def forget_layers(self) -> None:
        """Record the layers, and work out the input shape, anew on next use."""
        with self.lock:
            state_of(self.model).recorded.clear()

    def __repr__(self) -> str:
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        named = f", {len(self.classes)} classes" if self.classes else ""
        return (
            f"Network({type(self.model).__name__}, {parameters:,} parameters{named}, {self.device})"
        )


def _structure(model: nn.Module) -> tuple[Any, ...]:
    """Give what identifies a model's structure: its modules, and the shapes of its parameters."""
    modules = modules_of(model)
    names = tuple((id(part), tuple(part._modules.keys())) for part in modules)
    return names, tuple(parameter.shape for parameter in model.parameters())


def _plain_module(model: Any) -> nn.Module:
    """Give the module inside `DataParallel`, `DistributedDataParallel` or `torch.compile`."""
    if not isinstance(model, nn.Module):
        raise TypeError(_advice(model))
    if isinstance(model, torch.jit.ScriptModule):
        msg = (
            f"expected a module of Python code, got a {type(model).__name__} of TorchScript, whose "
            f"layers cannot be watched; pass the module that it was made from"
        )
        raise TypeError(msg)
    parallel = isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel)
    inner: Any = model._modules.get("module" if parallel else "_orig_mod")
    if inner is not None:
        return _plain_module(inner)
    lazy = [n for n, p in model.named_parameters() if isinstance(p, UninitializedParameter)]
    if lazy:
        msg = (
            f"expected a model with all parameters in place, but {lazy[0]!r} is lazy; run the "
            f"model once on a batch of real inputs first"
        )
        raise ValueError(msg)
    return model


def _advice(model: Any) -> str:
    wanted = "expected an nn.Module or a Network"
    if isinstance(model, str):
        return (
            f"{wanted}, got the string {model!r}; for a model of torchvision use "
            f"Network.from_torchvision({model!r}), for a file load the model first"
        )
    if isinstance(model, type) and issubclass(model, nn.Module):
        return f"{wanted}, got the class {model.__name__}; pass an instance, {model.__name__}(...)"
    if isinstance(model, dict):
        return (
            f"{wanted}, got a dictionary (a state dict?); build the model and call "
            f"model.load_state_dict(...) with it"
        )
    if callable(model) and not isinstance(model, type):
        name = getattr(model, "__name__", type(model).__name__)
        return f"{wanted}, got the function {name}; pass the module that it builds or calls"
    return f"{wanted}, got {type(model).__name__}; pass the model itself"


def _on_device(model: nn.Module, device: str | torch.device | None) -> nn.Module:
    if device is None:
        return model
    wanted, present = torch.device(device), model_input.model_device(model)
    if wanted == present or (wanted.type == present.type and wanted.index is None):
        return model
    return copy.deepcopy(model).to(wanted)


def _class_names(classes: Any) -> list[str]:
    if isinstance(classes, str) or not all(isinstance(name, str) for name in classes):
        msg = (
            f"expected classes as a sequence of names in the order of the outputs, got "
            f"{classes!r:.60}; for a dictionary pass [names[i] for i in range(len(names))]"
        )
        raise TypeError(msg)
    return list(classes)


def _checked_shape(shape: Any) -> tuple[int, ...]:
    if isinstance(shape, Sequence) and shape and all(isinstance(n, int) and n > 0 for n in shape):
        return tuple(shape)
    msg = f"expected input_shape=(channels, height, width) of positive integers, got {shape!r}"
    raise ValueError(msg)
