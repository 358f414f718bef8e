"""The weight of one layer as its next forward pass uses it, read without touching the layer.

A weight may be a plain parameter, a parametrisation (`torch.nn.utils.parametrize`), or what an
old-style hook (`weight_norm`, `spectral_norm`, pruning) makes before each call. Training may go on
in another thread meanwhile, so nothing here changes a flag, a buffer or a cache of the model.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import TorchDispatchMode

from nbviz.undisturbed import RandomState


def weight_parameters(module: nn.Module) -> tuple[nn.Parameter, ...]:
    """The parameters that make the weight of a layer, its bias not among them.

    Where the layer computes the weight in a way that cannot be seen (a property), all parameters
    but the bias.
    """
    if parametrize.is_parametrized(module, "weight"):
        parametrized: Any = module.parametrizations
        return tuple(parametrized["weight"].parameters())
    own = module._parameters
    kept = [own.get(name) for name in ("weight", "weight_orig", "weight_g", "weight_v")]
    if found := tuple(parameter for parameter in kept if parameter is not None):
        return found
    return tuple(p for name, p in module.named_parameters() if name != "bias")


def computed_weight(module: nn.Module) -> Tensor:
    """The weight as the next forward pass in evaluation mode makes it, detached; not a copy."""
    with torch.no_grad():
        if parametrize.is_parametrized(module, "weight"):
            return _parametrised_weight(module)
        return _recomputed_weight(module).detach()


def _parametrised_weight(module: Any) -> Tensor:
    """Work the weight out on a copy: the original iterates (spectral norm) and may be cached.

    A weight without a graph in the cache of `parametrize.cached` would take the gradient away
    from training.
    """
    chain = module.parametrizations.weight
    # What a parametrisation keeps of its last pass may hang on a graph, which cannot be copied.
    kept = {
        id(value): value.detach().clone()
        for part in chain.modules()
        for value in vars(part).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    chain = copy.deepcopy(chain, kept).eval()
    before = RandomState(chain)
    with _Draws() as draws:
        weight: Tensor = chain().detach()
    if draws.drawn:
        before.restore()
    return weight


class _Draws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notices random numbers being drawn.

    Putting the random state back when none were drawn would repeat those that training drew
    meanwhile in another thread.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.drawn = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        self.drawn = self.drawn or torch.Tag.nondeterministic_seeded in func.tags
        return func(*args, **(kwargs or {}))


def _recomputed_weight(module: Any) -> Tensor:
    """The weight as the next forward pass makes it; old-style hooks leave a stale one between."""
    for hook in module._forward_pre_hooks.values():
        name = getattr(hook, "name", getattr(hook, "_tensor_name", None))
        if name != "weight":
            continue
        kind = type(hook).__name__
        if kind == "WeightNorm":
            return hook.compute_weight(module)  # type: ignore[no-any-return]
        if kind == "SpectralNorm":
            return hook.compute_weight(module, do_power_iteration=False)  # type: ignore[no-any-return]
        if hasattr(hook, "apply_mask"):
            return hook.apply_mask(module)  # type: ignore[no-any-return]
    return module.weight  # type: ignore[no-any-return]


def raw_weight(module: nn.Module) -> Tensor | None:
    """A tensor with the dtype and device of the weight; no parametrisation is worked out for it."""
    if parametrize.is_parametrized(module, "weight"):
        parametrized: Any = module.parametrizations
        return next(iter(parametrized["weight"].parameters()), None)
    weight = getattr(module, "weight", None)
    return weight if isinstance(weight, Tensor) else None


def problem_of(module: Any) -> str | None:
    """Why the weights of a layer cannot be drawn, None if they can."""
    weight = raw_weight(module)
    if weight is None:
        return "its weights are quantised; look at the model as it was before quantisation"
    if is_lazy(weight):
        return "its weights are not initialised yet; run the model once on an input"
    if weight.is_complex():
        return f"its weights are complex ({weight.dtype}), and a weight has one brightness only"
    if weight.is_quantized or not weight.is_floating_point():
        return (
            f"its weights are quantised ({weight.dtype}); look at the model as it was before "
            f"quantisation"
        )
    if weight.device.type == "meta":
        return "its weights lie on the meta device, which holds no values; load them first"
    if weight.numel() == 0:
        return "it has no weights (no input or no output channels)"
    return None
