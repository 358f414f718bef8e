"""Attention maps of vision transformers: which tokens each token looked at, head by head.

`attention` runs the model once as it is and computes the weights of the chosen layers beside it,
from what each was called with: fused kernels return no weights, and stay in use. Which layers
there are, and where their tokens lie on the image, is `nbviz.analysis.attention_survey`. `rollout`
follows attention through all layers down to the input tokens.
"""

from __future__ import annotations

import difflib
import inspect
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from nbviz.analysis.attention_survey import (
    FUSED,
    WHOLE,
    AttentionLayer,
    argument,
    attention_layers,
    is_attention,
)
from nbviz.analysis.calls import Call, watch_calls
from nbviz.network import Network

__all__ = [
    "AttentionLayer",
    "AttentionMaps",
    "TokenMap",
    "attention",
    "attention_layers",
    "rollout",
]

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TokenMap:
    """Weights laid on the grid of the tokens that they belong to.

    Attributes
    ----------
    grid : float32 array, shape (heads, rows, cols)
        NaN where no token of the query's window lies.
    prefix : float32 array, shape (heads, tokens)
        Weights of the tokens without a place (class and register tokens, padding), in order.
    """

    grid: Floats
    prefix: Floats


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """The weights of one attention layer for one image.

    Attributes
    ----------
    attention : AttentionLayer
        Its heads, tokens and windows, and where the tokens lie.
    weights : float32 array, shape (heads, queries, keys)
        As the model applied them, or as its softmax gave them where `attention.note` says that it
        changed them; before dropout. A row sums to 1 (to 0 if a mask hides every key from it).
        In attention within windows, a query's keys are those of its own window.
    """

    attention: AttentionLayer
    weights: Floats

    @property
    def layer(self) -> str:
        """Name of the layer, as in `network.layers`."""
        return self.attention.name

    @property
    def grid(self) -> tuple[int, int] | None:
        """Rows and columns on which the keys lie, None where they have no place."""
        return self.attention.grid

    @property
    def prefix_tokens(self) -> int:
        """Keys without a place: class and register tokens."""
        return self.attention.prefix_tokens

    def from_token(self, query: int) -> TokenMap:
        """What one query token looked at, by head.

        Parameters
        ----------
        query : int
            From 0 (in most models the class token); `attention.query_at(row, col)` gives the
            number of the token at a place.

        Raises
        ------
        IndexError
            If there is no such query.
        ValueError
            If the keys lie on no grid.
        """
        query = operator.index(query)
        queries = self.attention.queries
        if not 0 <= query < queries:
            msg = (
                f"expected a query token of {self.layer!r} from 0 to {queries - 1}, got {query}; "
                f"attention.query_at(row, col) gives the one at a place"
            )
            raise IndexError(msg)
        return self.on_grid(self.weights[:, query], query)

    def on_grid(self, values: NDArray[Any], query: int = 0) -> TokenMap:
        """Lay one value for each key on the grid, `values` of shape (heads, keys) or (keys,).

        The keys are those of the window that `query` lies in. So a row of `rollout`, or a mean
        over heads, is laid out too; of one row (keys,) the result has one head.

        Raises
        ------
        ValueError
            If the keys lie on no grid, or `values` does not have one value for each.
        """
        layer = self.attention
        if layer.grid is None:
            msg = (
                f"expected an attention layer whose keys lie on a grid, got {self.layer!r} "
                f"({layer.note}); read its `weights` instead"
            )
            raise ValueError(msg)
        lines = np.atleast_2d(np.asarray(values, dtype=np.float32))
        if lines.ndim != 2 or lines.shape[1] != layer.keys:
            msg = (
                f"expected values of shape (heads, {layer.keys}) or ({layer.keys},), one for each "
                f"key of {self.layer!r}, got {np.shape(values)}"
            )
            raise ValueError(msg)
        places = layer.key_places[query * layer.windows // layer.queries]
        placed = places >= 0
        rows, cols = layer.grid
        grid = np.full((len(lines), rows * cols), np.nan, dtype=np.float32)
        grid[:, places[placed]] = lines[:, placed]
        return TokenMap(grid.reshape(-1, rows, cols), lines[:, ~placed])


class _Enough(BaseException):
    """Ends a forward pass of which nothing more is needed."""


def attention(
    network: Network | nn.Module, batch: Tensor, layers: str | Sequence[str] | None = None
) -> dict[str, AttentionMaps]:
    """The attention maps of one image, by layer, in execution order.

    One forward pass, in evaluation mode, that ends behind the last of the chosen layers; the model
    is left as it was and runs with its own kernels. Weights are computed in float32 (float64 for
    a model of that type) from the queries and keys of the call, with its scale and masks, and only
    those of the chosen layers are kept: heads * queries * keys * 4 bytes each.

    Parameters
    ----------
    batch : Tensor, shape (1, C, H, W)
        As `network.prepare` gives it.
    layers : str or sequence of str, optional
        Names out of `attention_layers(network)`; all of them if left out.

    Raises
    ------
    TypeError
        If `batch` is no tensor.
    ValueError
        If it is not one input of the recorded shape, if a layer is no attention layer, or if this
        input took a way on which it was not called.
    KeyError
        If the network has no layer of that name.

    Examples
    --------
    >>> from torchvision.models import vit_b_32
    >>> network = Network(vit_b_32(weights=None))
    >>> name = attention_layers(network)[-1].name
    >>> maps = attention(network, torch.zeros(1, 3, 224, 224), name)[name]
    >>> maps.weights.shape, maps.from_token(0).grid.shape
    ((12, 50, 50), (12, 7, 7))
    """
    network = Network.of(network)
    with network.lock:
        known = {layer.name: layer for layer in attention_layers(network)}
        chosen = _chosen(network, known, layers)
        _check(batch, network.layers.input_shape)
        weights = _captured(network, batch, [known[name] for name in chosen])
    missing = [name for name in chosen if name not in weights]
    if missing:
        msg = (
            f"expected the forward pass to reach {missing[0]!r}, but this input took a way on "
            f"which it is not called; choose layers that every input runs through"
        )
        raise ValueError(msg)
    return {name: AttentionMaps(known[name], values) for name, values in weights.items()}


def _chosen(
    network: Network, known: dict[str, AttentionLayer], layers: str | Sequence[str] | None
) -> list[str]:
    if layers is None:
        return [*known]
    names = [layers] if isinstance(layers, str) else [*layers]
    for name in names:
        if network.layers[name].name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.0)
            advice = (
                f"did you mean {', '.join(map(repr, near))}?" if near else "this network has none"
            )
            msg = f"expected the name of an attention layer, got {name!r}; {advice}"
            raise ValueError(msg)
    return names


def _check(batch: Any, shape: tuple[int, ...]) -> None:
    if not isinstance(batch, Tensor):
        msg = (
            f"expected a tensor of shape {(1, *shape)}, got {type(batch).__name__}; "
            f"`network.prepare(image)` makes one from an image"
        )
        raise TypeError(msg)
    if tuple(batch.shape) != (1, *shape):
        msg = (
            f"expected one input of shape {(1, *shape)}, as the layers were recorded with, got "
            f"{tuple(batch.shape)}; pass images one by one, or make the Network with another "
            f"input_shape"
        )
        raise ValueError(msg)


def _captured(
    network: Network, batch: Tensor, chosen: Sequence[AttentionLayer]
) -> dict[str, Floats]:
    """Run the model until the weights of the chosen layers are there."""
    weights: dict[str, Floats] = {}
    wanted = {layer.name: layer for layer in chosen}

    def visit(call: Call) -> None:
        if call.name in wanted:
            weights[call.name] = _in_order(wanted[call.name], _weights(call, network.model))
            if len(weights) == len(wanted):
                raise _Enough

    if wanted:
        with network.undisturbed():
            try:
                with watch_calls(network.model, visit):
                    network.model(batch.to(device=network.device, dtype=network.dtype))
            except _Enough:
                pass
    return weights


def _in_order(layer: AttentionLayer, weights: Tensor) -> Floats:
    """Lay weights out as (heads, queries of all windows, keys)."""
    lead = range(weights.ndim - 2)
    heads = [dim for dim in lead if dim not in layer.window_dims]
    ordered = weights.permute(*heads, *layer.window_dims, -2, -1)
    recorded = (layer.heads, layer.queries, layer.keys)
    if weights.shape[-1] != layer.keys or weights.numel() != prod(recorded):
        msg = (
            f"expected {layer.name!r} to have {layer.queries} queries and {layer.keys} keys, as "
            f"recorded, got weights of shape {tuple(weights.shape)}: the model keeps other tokens "
            f"for this input; leave this layer out"
        )
        raise ValueError(msg)
    # a copy: the model may go on to write into its own
    values = ordered.reshape(recorded).to(device="cpu", dtype=torch.float32)
    return np.array(values.numpy())


def _weights(call: Call, model: nn.Module) -> Tensor:
    """Give the weights of a call, shape (..., heads, queries, keys)."""
    if call.kind == FUSED:
        return _fused(call)
    if call.kind == WHOLE:
        return _whole(_arguments(F.multi_head_attention_forward, call.args, call.kwargs))
    if call.module_name is not None:
        module: Any = model.get_submodule(call.module_name)
        if is_attention(module):
            return _whole(_arguments_of_module(module, call))
    return call.tensor


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _fused(call: Call) -> Tensor:
    """Give the softmax that `F.scaled_dot_product_attention` works out inside its kernel."""
    query, key = _wide(argument(call, 0, "query")), _wide(argument(call, 1, "key"))
    mask = argument(call, 3, "attn_mask")
    scale = argument(call, 6, "scale")
    if argument(call, 7, "enable_gqa", default=False):  # each key's head serves several queries'
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if argument(call, 5, "is_causal", default=False):
        past = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~past, float("-inf"))
    if mask is not None:
        if mask.dtype == torch.bool:
            scores = scores.masked_fill(~mask, float("-inf"))
        else:
            scores = scores + mask
    hidden = (scores == float("-inf")).all(-1, keepdim=True)
    weights: Tensor = scores.softmax(-1)
    return weights.masked_fill(hidden, 0.0)


_PASSED_ON = ("key_padding_mask", "attn_mask", "need_weights", "is_causal")


def _arguments(function: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.arguments


def _arguments_of_module(module: Any, call: Call) -> dict[str, Any]:
    """Give what an `nn.MultiheadAttention` hands to `F.multi_head_attention_forward`."""
    given = _arguments(type(module).forward, (module, *call.args), call.kwargs)
    tokens = {name: given[name] for name in ("query", "key", "value")}
    if module.batch_first and given["query"].ndim == 3:
        tokens = {name: tensor.transpose(0, 1) for name, tensor in tokens.items()}
    separate = not module._qkv_same_embed_dim
    return {
        **tokens,
        "embed_dim_to_check": module.embed_dim,
        "num_heads": module.num_heads,
        "in_proj_weight": module.in_proj_weight,
        "in_proj_bias": module.in_proj_bias,
        "bias_k": module.bias_k,
        "bias_v": module.bias_v,
        "add_zero_attn": module.add_zero_attn,
        "dropout_p": 0.0,
        "out_proj_weight": module.out_proj.weight,
        "out_proj_bias": module.out_proj.bias,
        **{name: given[name] for name in _PASSED_ON},
        "use_separate_proj_weight": separate,
        "q_proj_weight": module.q_proj_weight,
        "k_proj_weight": module.k_proj_weight,
        "v_proj_weight": module.v_proj_weight,
    }


def _whole(arguments: dict[str, Any]) -> Tensor:
    """Run a multi-head attention once more, this time for its weights: the fused way has none."""
    wide: dict[str, Any] = {
        name: _wide(value) if isinstance(value, Tensor) and value.is_floating_point() else value
        for name, value in arguments.items()
    }
    hinted = arguments["is_causal"] and not arguments["need_weights"]
    if hinted and arguments["key_padding_mask"] is None:  # the kernel then reads no mask
        sizes = (arguments["query"].shape[0], arguments["key"].shape[0])
        wide["attn_mask"] = torch.ones(sizes, dtype=torch.bool, device=wide["query"].device).triu(1)
    wide.update(training=False, need_weights=True, average_attn_weights=False, is_causal=False)
    _, weights = F.multi_head_attention_forward(**wide)
    if weights is None:
        msg = "expected torch to return attention weights, got none; report this with its version"
        raise RuntimeError(msg)
    return weights if arguments["query"].ndim == 3 else weights[None]


def rollout(maps: Iterable[AttentionMaps], *, residual: float = 0.5) -> Floats:
    """How much of each input token reaches each token of the last layer, through all layers.

    Attention rollout (Abnar & Zuidema 2020, "Quantifying Attention Flow in Transformers",
    sec. 3): heads are averaged, the residual connection is taken as a share of the identity, rows
    are made to sum to 1, and the layers are multiplied. It follows weights alone: what values and
    MLPs do to a token it does not see.

    Parameters
    ----------
    maps : iterable of AttentionMaps
        Of consecutive layers in execution order: ``attention(network, batch).values()``.
    residual : float
        Share of the identity, from 0 to 1; a half in the paper.

    Returns
    -------
    float32 array, shape (tokens, tokens)
        Row i holds the shares of the input tokens in token i. `AttentionMaps.on_grid` lays a row
        on the image.

    Raises
    ------
    ValueError
        If there are no maps, if the layers do not chain (their tokens differ, or attention stays
        within windows), or if `residual` is no share.

    Examples
    --------
    >>> from torchvision.models import vit_b_32
    >>> maps = attention(vit_b_32(weights=None), torch.zeros(1, 3, 224, 224))
    >>> rollout(maps.values()).shape
    (50, 50)
    """
    if not 0 <= residual <= 1:
        msg = f"expected a residual share from 0 to 1, got {residual}; the paper takes 0.5"
        raise ValueError(msg)
    chain = [*maps]
    if not chain or not all(isinstance(part, AttentionMaps) for part in chain):
        got = type(chain[0]).__name__ if chain else "none"
        msg = (
            f"expected the maps of at least one layer, got {got}; pass "
            f"attention(network, batch).values()"
        )
        raise ValueError(msg)
    tokens = chain[0].attention.keys
    identity = np.eye(tokens)
    flow = identity
    for part in chain:
        layer = part.attention
        if not layer.self_attention or layer.keys != tokens:
            msg = (
                f"expected layers in which the same {tokens} tokens attend to each other, got "
                f"{part.layer!r} ({layer.note or f'{layer.keys} tokens'}); pass only maps of "
                f"layers that chain"
            )
            raise ValueError(msg)
        mixed = residual * identity + (1 - residual) * part.weights.mean(0, dtype=np.float64)
        flow = mixed / mixed.sum(-1, keepdims=True) @ flow
    return flow.astype(np.float32)
