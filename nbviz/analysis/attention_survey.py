"""Where a network attends: its attention layers, and where on the image their tokens lie.

`attention_layers` runs the network once on its example input and looks at every call. A fused
kernel or a `MultiheadAttention` is an attention by itself; a softmax is one if a matrix product
applies it to other tokens. The cells of queries and keys are read off their shadows
(`nbviz.analysis.dependence`), so tokens are placed by where they come from and not by how many
they are: windows, shifted windows and pooled keys are laid where they belong, or nowhere. What the
weights of a call are is `nbviz.analysis.attention`.
"""

from __future__ import annotations

import weakref
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from nbviz.analysis.calls import Call, watch_calls
from nbviz.analysis.dependence import Dependence, Shadow
from nbviz.analysis.dependence.shadow import CELL_PLANES, NOTHING, compact, tighten
from nbviz.analysis.layers import Layer, Layers, example_input
from nbviz.network import Network

Places = NDArray[np.int32]

FUSED = "scaled_dot_product_attention"
WHOLE = "multi_head_attention_forward"
_SOFTMAX = frozenset({"softmax", "special_softmax", "Softmax"})
_PRODUCTS = frozenset({"matmul", "bmm", "mm", "einsum", "baddbmm"})
_HEADS = ("num_heads", "heads", "n_heads", "num_attention_heads")
_NO_CHANGE = frozenset({"dropout", "Dropout", "Identity"})
# what may stand between a softmax and the product that applies it: gates, head mixing, masks
_BETWEEN = _NO_CHANGE | frozenset(
    {"mul", "add", "sub", "div", "Linear", "linear", "Conv2d", "conv2d", "masked_fill", "where"}
)


@dataclass(frozen=True, eq=False)
class AttentionLayer:
    """One attention: the layer that computes the weights, and where its tokens lie.

    Attributes
    ----------
    layer : Layer
        The entry of `network.layers`: a `MultiheadAttention`, a fused
        ``scaled_dot_product_attention``, or the softmax where attention is written out.
    block : str
        Name of the module around it (that calls it, for a functional layer).
    number : int
        In execution order, from 0.
    heads : int
    queries, keys : int
        Tokens that attend (of all windows together), and tokens that each of them attends to.
    windows : int
        1 where every query sees every key; in Swin the number of windows. The queries of one
        window follow one another.
    grid, query_grid : pair of int or None
        Rows and columns on which keys and queries lie; None where they have no place on an image
        (`note` says why).
    prefix_tokens, query_prefix_tokens : int
        Keys of a window, and queries, that have no place although others do: class and register
        tokens, padding.
    key_places : int32 array, shape (windows, keys)
    query_places : int32 array, shape (queries,)
        Cell of each token, counted along rows (``row * cols + col``); -1 where it has none.
    across_channels : bool
        The "tokens" are features, each spread over all places (XCiT, DaViT).
    note : str
        What to know before trusting a picture of it; empty for plain attention over a grid.
    """

    layer: Layer
    block: str
    number: int
    heads: int
    queries: int
    keys: int
    windows: int
    grid: tuple[int, int] | None
    prefix_tokens: int
    query_grid: tuple[int, int] | None
    query_prefix_tokens: int
    key_places: Places = field(repr=False)
    query_places: Places = field(repr=False)
    across_channels: bool
    note: str
    # of the dimensions before (queries, keys), those that count windows
    window_dims: tuple[int, ...] = field(repr=False)

    @property
    def name(self) -> str:
        """Name of the layer, as in `network.layers`."""
        return self.layer.name

    @property
    def self_attention(self) -> bool:
        """Whether tokens all attend to one another, so that such layers chain."""
        same = self.queries == self.keys and np.array_equal(self.query_places, self.key_places[0])
        return same and self.windows == 1 and not self.across_channels

    def query_at(self, row: int, col: int) -> int:
        """Give the number of the query that lies at (row, col) of `query_grid`.

        Raises
        ------
        ValueError
            If the queries lie on no grid.
        IndexError
            If the grid has no such cell.
        """
        if self.query_grid is None:
            msg = (
                f"expected an attention layer whose queries lie on a grid, got {self.name!r} "
                f"({self.note}); choose the query by its number"
            )
            raise ValueError(msg)
        rows, cols = self.query_grid
        if not (0 <= row < rows and 0 <= col < cols):
            msg = (
                f"expected a cell of the {rows} x {cols} grid of {self.name!r}, got ({row}, {col})"
            )
            raise IndexError(msg)
        return int(np.flatnonzero(self.query_places == row * cols + col)[0])


_surveys: MutableMapping[Layers, tuple[AttentionLayer, ...]] = weakref.WeakKeyDictionary()


def attention_layers(network: Network | nn.Module) -> tuple[AttentionLayer, ...]:
    """The attention layers of a network in execution order; none for a convolutional network.

    Found are `nn.MultiheadAttention`, `F.multi_head_attention_forward`,
    `F.scaled_dot_product_attention`, and a softmax over the last dimension that a matrix product
    applies. Kernels that torch cannot watch (flash-attn's own, `flex_attention`) are not.

    Examples
    --------
    >>> from torchvision.models import vit_b_32
    >>> first, *_ = attention_layers(Network(vit_b_32(weights=None)))
    >>> first.name, first.heads, first.queries, first.grid, first.prefix_tokens
    ('encoder.layers.encoder_layer_0.self_attention', 12, 50, (7, 7), 1)
    """
    network = Network.of(network)
    with network.lock:
        layers = network.layers
        if layers not in _surveys:
            _surveys[layers] = _survey(network, layers)
        return _surveys[layers]


def is_attention(module: nn.Module) -> bool:
    """Whether a module is torch's own multi-head attention, its forward pass unchanged."""
    return isinstance(module, nn.MultiheadAttention) and (
        type(module).forward is nn.MultiheadAttention.forward
    )


def argument(call: Call, position: int, name: str, default: Any = None) -> Any:
    """Give an argument of a call, however it was passed."""
    return call.args[position] if len(call.args) > position else call.kwargs.get(name, default)


def _may_attend(network: Network, layer: Layer) -> bool:
    if layer.module_name is not None and is_attention(
        network.model.get_submodule(layer.module_name)
    ):
        return True
    return layer.kind in {FUSED, WHOLE} | _SOFTMAX


def _survey(network: Network, layers: Layers) -> tuple[AttentionLayer, ...]:
    # a network without any candidate is spared the pass, which follows every operation
    if not any(_may_attend(network, layer) for layer in layers):
        return ()
    watcher = _Watcher(network.model)
    example = example_input(layers.input_shape, device=network.device, dtype=network.dtype)
    with network.undisturbed(), Dependence() as dependence:
        watcher.shadow_of = dependence.shadow_of
        dependence.seed(example)
        with watch_calls(network.model, watcher):
            network.model(example)
    found = [note for note in watcher.notes.values() if note.applied]
    return tuple(_placed(note, layers[note.name], n) for n, note in enumerate(found))


@dataclass(eq=False)
class _Note:
    """What is kept of a candidate while the model runs."""

    name: str
    lead: tuple[int, ...]  # sizes before (queries, keys)
    queries: int
    keys: int
    query: _Line
    heads: int | None  # as the module around it says, if it does
    key: tuple[_Line, ...] = ()  # one of them
    applied: bool = True
    changes: tuple[str, ...] = ()  # layers between the softmax and the product


@dataclass(frozen=True, eq=False)
class _Line:
    """A shadow with the dimension that counts tokens and those that come before in the weights."""

    shadow: Shadow | None
    token_dim: int
    lead_dims: tuple[int | None, ...]  # None for a dimension that the tensor lacks


class _Watcher:
    """Notes each call that computes attention weights, and the product that applies a softmax."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.shadow_of: Any = None
        self.notes: dict[str, _Note] = {}
        # of the layers that carry the weights of a softmax on: its name, and what lies between
        self._carried: dict[str, tuple[str, tuple[str, ...], int]] = {}

    def __call__(self, call: Call) -> None:
        if call.module_name is not None:
            module = self._model.get_submodule(call.module_name)
            if is_attention(module):
                self._whole(call, module)
                return
        if call.kind == WHOLE:
            self._whole(call, None)
        elif call.kind == FUSED:
            self._fused(call)
        elif call.kind in _PRODUCTS:
            self._product(call)
        else:
            if call.kind in _SOFTMAX and self._is_over_keys(call):
                self._softmax(call)
            elif call.kind in _BETWEEN:
                self._carry(call)

    def _whole(self, call: Call, module: Any) -> None:
        query, key = argument(call, 0, "query"), argument(call, 1, "key")
        if module is None:
            heads, first = argument(call, 4, "num_heads"), False
            extra = (argument(call, 7, "bias_k") is not None) + bool(
                argument(call, 9, "add_zero_attn")
            )
        else:
            heads, first = module.num_heads, module.batch_first
            extra = (module.bias_k is not None) + bool(module.add_zero_attn)
        batched = query.ndim == 3
        token, batch = (1, 0) if batched and first else (0, 1)
        lead_dims = (batch if batched else None, None)
        self.notes[call.name] = _Note(
            call.name,
            (query.shape[batch] if batched else 1, heads),
            query.shape[token],
            key.shape[token] + extra,
            _Line(self.shadow_of(query), token, lead_dims),
            heads,
            (_Line(self.shadow_of(key), token, lead_dims),),
        )

    def _fused(self, call: Call) -> None:
        query, key = argument(call, 0, "query"), argument(call, 1, "key")
        lead = tuple(query.shape[:-2])
        self.notes[call.name] = _Note(
            call.name,
            lead,
            query.shape[-2],
            key.shape[-2],
            _trailing(self.shadow_of(query), query, query.ndim - 2, len(lead)),
            self._heads(call),
            (_trailing(self.shadow_of(key), key, key.ndim - 2, len(lead)),),
        )

    def _heads(self, call: Call) -> int | None:
        block = self._model.get_submodule(call.name.rpartition(".")[0])
        counts = (getattr(block, name, None) for name in _HEADS)
        return next((count for count in counts if isinstance(count, int)), None)

    def _is_over_keys(self, call: Call) -> bool:
        tensor = call.tensor
        if call.module_name is not None:
            dim = getattr(self._model.get_submodule(call.module_name), "dim", None)
        else:
            dim = argument(call, 1, "dim")
        if dim not in {-1, tensor.ndim - 1}:
            return False
        # one row for the one image is a softmax over classes
        return tensor.ndim > 2 or (tensor.ndim == 2 and tensor.shape[0] > 1)

    def _softmax(self, call: Call) -> None:
        weights = call.tensor
        lead = tuple(weights.shape[:-2])
        line = _trailing(self.shadow_of(weights), weights, len(lead), len(lead))
        queries, keys = weights.shape[-2:]
        self.notes[call.name] = _Note(
            call.name, lead, queries, keys, line, self._heads(call), applied=False
        )
        self._carried[call.name] = (call.name, (), weights.numel())

    def _carry(self, call: Call) -> None:
        for names in call.sources:
            for name in names:
                if name in self._carried:
                    softmax, kinds, count = self._carried[name]
                    if call.tensor.numel() == count:
                        changed = () if call.kind in _NO_CHANGE else (call.kind,)
                        self._carried[call.name] = (softmax, (*kinds, *changed), count)

    def _product(self, call: Call) -> None:
        for position, names in enumerate(call.sources):
            for name in names:
                if name not in self._carried:
                    continue
                softmax, kinds, count = self._carried[name]
                note = self.notes[softmax]
                if note.applied or call.inputs[position].numel() != count:
                    continue
                values = [t for n, t in enumerate(call.inputs) if n != position]
                note.applied, note.changes = True, kinds
                note.key = self._lines(values[-1], note) if values else ()

    def _lines(self, values: Tensor, note: _Note) -> tuple[_Line, ...]:
        """Give the ways to see keys in the tensor that the weights are applied to."""
        shadow, lead = self.shadow_of(values), len(note.lead)
        lines = [
            _trailing(shadow, values, dim, lead)
            if dim >= values.ndim - 2
            else _Line(shadow, dim, (None,) * lead)
            for dim in reversed(range(values.ndim))
            if values.shape[dim] == note.keys
        ]
        # in (..., tokens, features) of as many features as tokens, tokens come first
        return tuple(sorted(lines, key=lambda line: line.token_dim != values.ndim - 2))


def _trailing(shadow: Shadow | None, tensor: Tensor, token_dim: int, lead: int) -> _Line:
    """Give the line of a tensor (..., tokens, features), the dimensions before aligned."""
    own = tensor.ndim - 2
    dims = tuple(dim - (lead - own) if dim >= lead - own else None for dim in range(lead))
    return _Line(shadow, token_dim, dims)


def _cells(line: _Line, lead: tuple[int, ...], tokens: int) -> NDArray[np.int64] | None:
    """Give row and column of each token, shape (2, *lead, tokens) with size 1 where they agree.

    -1 where a token has no cell; None if the cells are not those of tokens.
    """
    if line.shadow is None:
        return None
    kept = [dim for dim in line.lead_dims if dim is not None]
    absent = [position for position, dim in enumerate(line.lead_dims) if dim is None]
    own = line.shadow.shape[line.token_dim]
    found = []
    for k in CELL_PLANES:
        plane = compact(tighten(line.shadow.planes[k])).numpy()
        plane = np.moveaxis(plane, [*kept, line.token_dim], range(len(kept) + 1))
        if plane.size != prod(plane.shape[: len(kept) + 1]):
            return None  # cells differ within what should be one token
        plane = plane.reshape(plane.shape[: len(kept) + 1])
        for position in absent:
            plane = np.expand_dims(plane, position)
        if any(have not in {1, size} for have, size in zip(plane.shape, lead, strict=False)):
            return None
        found.append(np.broadcast_to(plane, (*plane.shape[:-1], own)))
    cells = np.stack(np.broadcast_arrays(*found))
    cells = np.where((cells == NOTHING).any(0), -1, cells).astype(np.int64)
    # keys that the layer itself adds come last
    added = np.full((*cells.shape[:-1], tokens - own), -1)
    return np.concatenate([cells, added], axis=-1)


def _placed(note: _Note, layer: Layer, number: int) -> AttentionLayer:
    query = _cells(note.query, note.lead, note.queries)
    choices = (_cells(line, note.lead, note.keys) for line in note.key)
    key = next((cells for cells in choices if cells is not None), None)
    across = key is None and any(line.shadow is not None for line in note.key)
    window_dims = _window_dims(note, query, key)
    windows = prod(note.lead[dim] for dim in window_dims)
    key_places, grid = _places(key, note.lead, window_dims, note.keys)
    query_places, query_grid = _places(query, note.lead, window_dims, note.queries)
    return AttentionLayer(
        layer=layer,
        block=layer.name.rpartition(".")[0],
        number=number,
        heads=prod(note.lead) // windows,
        queries=windows * note.queries,
        keys=note.keys,
        windows=windows,
        grid=grid,
        prefix_tokens=int((key_places < 0).sum(1).max()) if grid else 0,
        query_grid=query_grid,
        query_prefix_tokens=int((query_places < 0).sum()) if query_grid else 0,
        key_places=key_places,
        query_places=query_places.reshape(-1),
        across_channels=across,
        note=_explained(note, windows, grid, query_grid, across=across),
        window_dims=window_dims,
    )


def _window_dims(
    note: _Note, query: NDArray[np.int64] | None, key: NDArray[np.int64] | None
) -> tuple[int, ...]:
    """Give the dimensions along which other tokens attend; along the others only heads differ."""
    dims = range(len(note.lead))
    known = [cells for cells in (query, key) if cells is not None and (cells >= 0).any()]
    differ = {dim for dim in dims if any(cells.shape[1 + dim] > 1 for cells in known)}
    rest = [dim for dim in dims if dim not in differ and note.lead[dim] > 1]
    named = [dim for dim in rest if note.lead[dim] == note.heads]
    if prod(note.lead[dim] for dim in rest) == note.heads:
        return tuple(sorted(differ))
    if named:
        differ |= {*rest} - {named[-1]}
    elif len(dims) > 1 and (not known or len(rest) > 1):
        # nothing tells windows from heads but custom: the batch, of one image, stands first
        differ |= {*rest[:-1], *({0} & {*rest})}
    return tuple(sorted(differ))


def _places(
    cells: NDArray[np.int64] | None,
    lead: tuple[int, ...],
    window_dims: tuple[int, ...],
    tokens: int,
) -> tuple[Places, tuple[int, int] | None]:
    """Give the cell of each token of each window, and the grid that they cover."""
    sizes = tuple(lead[dim] for dim in window_dims)
    nowhere = np.full((prod(sizes), tokens), -1, np.int32)
    if cells is None or not (cells >= 0).any():
        return nowhere, None
    heads = tuple(1 + dim for dim in range(len(lead)) if dim not in window_dims)
    cells = np.squeeze(cells, axis=heads)
    rows, cols = np.broadcast_to(cells, (2, *sizes, tokens)).reshape(2, -1, tokens)
    grid = (int(rows.max()) + 1, int(cols.max()) + 1)
    places = np.where(rows < 0, -1, rows * grid[1] + cols).astype(np.int32)
    area = grid[0] * grid[1]
    if len(places) == 1 and np.array_equal(places[0, -area:], np.arange(area)):
        places[0, :-area] = -1  # a mean over all tokens before them counts as the first cell
    each_once = all(len(np.unique(line[line >= 0])) == (line >= 0).sum() for line in places)
    apart = len(np.unique(places, axis=0)) == len(places)  # no two windows over the same cells
    if not (each_once and apart) or len(np.unique(places[places >= 0])) != area:
        return nowhere, None
    return places, grid


def _explained(
    note: _Note,
    windows: int,
    grid: tuple[int, int] | None,
    query_grid: tuple[int, int] | None,
    *,
    across: bool,
) -> str:
    parts = []
    if windows > 1:
        parts.append(
            f"attention within {windows} windows of {note.queries} queries and {note.keys} keys"
        )
    elif note.queries != note.keys:
        queries = "1 query attends" if note.queries == 1 else f"{note.queries} queries attend"
        parts.append(f"{queries} to {note.keys} keys")
    if across:
        parts.append("it attends across channels, not places")
    elif grid is None and query_grid is None:
        parts.append("its tokens cannot be placed on the image")
    elif grid is None or query_grid is None:
        which = "keys" if grid is None else "queries"
        parts.append(f"its {which} cannot be placed on the image")
    if note.changes:
        changes = ", ".join(note.changes)
        parts.append(f"the model changes these weights ({changes}) before it applies them")
    return "; ".join(parts)
