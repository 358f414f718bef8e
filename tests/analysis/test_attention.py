"""Attention maps, held against plain formulas, the models' own written-out attention, and outputs.

Weights agree within 1e-5 of references in float32. Random networks attend almost evenly, where any
weights would do, so their queries and keys are made larger first (`sharpened`).
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from fixtures.attention import (
    CLOSE,
    close,
    image,
    patches,
    sharpened,
    small_vit,
    split_heads,
    tokens_of,
)
from fixtures.networks import Forward
from torch import nn
from torchvision.models import vit_b_32
from transformers import (
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

from nbviz import Network
from nbviz.analysis.attention import attention, attention_layers

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
TINY |= {"intermediate_size": 64, "image_size": (32, 24), "patch_size": 8}


def inputs_of(model: nn.Module, names: list[str], x: torch.Tensor) -> list[torch.Tensor]:
    """What modules are called with, by plain hooks."""
    seen: dict[str, torch.Tensor] = {}

    def note(name):
        def hook(module, args):
            seen[name] = args[0].clone()

        return model.get_submodule(name).register_forward_pre_hook(hook)

    handles = [note(name) for name in names]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return [seen[name] for name in names]


def plain_weights(q, k, *, scale=None, bias=None):
    """Softmax of scaled products, one query of one head at a time, in float64."""
    q, k = (t.detach().double().numpy() for t in (q, k))
    weights = np.zeros((*q.shape[:-1], k.shape[-2]))
    for place in np.ndindex(q.shape[:-1]):
        scores = k[place[:-1]] @ q[place] * (q.shape[-1] ** -0.5 if scale is None else scale)
        if bias is not None:
            scores = scores + np.broadcast_to(bias, weights.shape)[place]
        weights[place] = np.exp(scores - scores.max())
        weights[place] /= weights[place].sum()
    return weights


@pytest.mark.parametrize("make", [lambda: sharpened(vit_b_32(weights=None)), small_vit])
def test_torchvision_weights_are_those_of_a_plain_formula(make):
    model = make()
    network = Network(model)
    x = image(*network.input_shape)
    names = [n for n, m in model.named_modules() if isinstance(m, nn.MultiheadAttention)]
    maps = attention(network, x)
    assert [*maps] == names
    for name, tokens in zip(names, inputs_of(model, names, x), strict=True):
        module = model.get_submodule(name)
        projected = F.linear(tokens[0], module.in_proj_weight, module.in_proj_bias)
        q, k, _ = (split_heads(part, module.num_heads) for part in projected.chunk(3, -1))
        close(maps[name].weights, plain_weights(q, k))


TIMM = {
    "vit_tiny_patch16_224": ({"img_size": (64, 48)}, (4, 3), 1),
    "deit_tiny_distilled_patch16_224": ({"img_size": (64, 48)}, (4, 3), 2),
    "vit_little_patch16_reg4_gap_256": ({"img_size": 64}, (4, 4), 4),
    "eva02_tiny_patch14_224": ({"img_size": 56}, (4, 4), 1),
}


@pytest.mark.parametrize("name", TIMM)
def test_timm_weights_are_those_that_its_unfused_attention_shows(name):
    options, grid, prefix = TIMM[name]
    torch.manual_seed(0)
    fused = sharpened(timm.create_model(name, **options))
    written = copy.deepcopy(fused)
    drops = [n for n, m in written.named_modules() if n.endswith("attn_drop")]
    for part in written.modules():
        if hasattr(part, "fused_attn"):
            part.fused_attn = False
    shape = fused.patch_embed.img_size
    networks = [Network(model, input_shape=(3, *shape)) for model in (fused, written)]
    x = image(3, *shape)
    references = inputs_of(written, drops, x)
    for network, kind in zip(networks, ("scaled_dot_product_attention", "softmax"), strict=True):
        layers = attention_layers(network)
        maps = attention(network, x)
        assert [layer.layer.kind for layer in layers] == [kind] * len(drops)
        assert [layer.block for layer in layers] == [drop.rpartition(".")[0] for drop in drops]
        assert [layer.number for layer in layers] == [*range(len(drops))]
        for layer, reference in zip(layers, references, strict=True):
            assert (layer.grid, layer.prefix_tokens, layer.note) == (grid, prefix, "")
            assert (layer.query_grid, layer.query_prefix_tokens) == (grid, prefix)
            close(maps[layer.name].weights, reference[0])


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_little_patch16_reg4_gap_256"])
def test_weights_times_values_give_what_a_timm_layer_hands_on(name):
    model = sharpened(timm.create_model(name, img_size=64))
    network = Network(model, input_shape=(3, 64, 64))
    x = image(3, 64, 64)
    for number, maps in enumerate(attention(network, x).values()):
        block = model.blocks[number].attn
        names = [f"blocks.{number}.attn.{part}" for part in ("qkv", "proj")]
        tokens, handed_on = inputs_of(model, names, x)
        heads = split_heads(block.qkv(tokens[0]).chunk(3, -1)[2], block.num_heads)
        mixed = torch.from_numpy(maps.weights) @ heads
        torch.testing.assert_close(mixed.transpose(0, 1).flatten(1), handed_on[0], **CLOSE)


FACES = {
    "vit": (ViTForImageClassification, ViTConfig, {}, (4, 3), 1),
    "vit without head": (ViTModel, ViTConfig, {}, (4, 3), 1),
    "dinov2": (
        Dinov2WithRegistersForImageClassification,
        Dinov2WithRegistersConfig,
        {"image_size": 32},
        (4, 4),
        5,
    ),
}


def of_transformers(name: str, implementation: str) -> nn.Module:
    model, config, options, *_ = FACES[name]
    torch.manual_seed(0)
    return sharpened(model(config(**TINY | options, attn_implementation=implementation)))


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("name", FACES)
def test_transformers_weights_are_those_that_eager_attention_returns(name, implementation):
    *_, grid, prefix = FACES[name]
    x = image(3, 8 * grid[0], 8 * grid[1])
    with torch.no_grad():
        references = of_transformers(name, "eager")(x, output_attentions=True).attentions
    network = Network(of_transformers(name, implementation), input_shape=x.shape[1:])
    kind = {"sdpa": "scaled_dot_product_attention", "eager": "softmax"}[implementation]
    layers, maps = attention_layers(network), attention(network, x)
    assert [layer.layer.kind for layer in layers] == [kind] * len(references)
    for layer, reference in zip(layers, references, strict=True):
        assert (layer.grid, layer.prefix_tokens, layer.heads) == (grid, prefix, 4)
        close(maps[layer.name].weights, reference[0])


class Cross(nn.Module):
    """Tokens of an image through one `nn.MultiheadAttention`, called as a test wants."""

    def __init__(self, *, own_sizes: bool = False, options: dict, call: dict) -> None:
        super().__init__()
        sizes = {"kdim": 6, "vdim": 10} if own_sizes else {}
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.key, self.value = (nn.Linear(8, sizes.get(d, 8)) for d in ("kdim", "vdim"))
        self.attention = nn.MultiheadAttention(8, 2, **sizes, **options)
        self.options = call

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        parts = tokens, self.key(tokens), self.value(tokens)
        if not self.attention.batch_first:
            parts = [part.transpose(0, 1) for part in parts]
        mixed, _ = self.attention(parts[0], parts[1], value=parts[2], **self.options)
        return mixed if self.attention.batch_first else mixed.transpose(0, 1)


N = 6  # tokens of a 12 x 8 image
PADDED = torch.zeros(1, N, dtype=torch.bool)
PADDED[0, 4:] = True
HIDDEN = torch.zeros(N, N, dtype=torch.bool)
HIDDEN[2, :3] = HIDDEN[5, 1] = True
FLOATS = torch.randn(2, N, N, generator=torch.Generator().manual_seed(1))
LATER = torch.ones(N, N, dtype=torch.bool).triu(1)
QUIET = {"need_weights": False}
WAYS = {
    "plain": ({}, QUIET, None),
    "batch first": ({"batch_first": True}, QUIET, None),
    "weights asked for": ({"batch_first": True}, {}, None),
    "no bias": ({"bias": False}, QUIET, None),
    "padding": ({}, QUIET | {"key_padding_mask": PADDED}, np.where(PADDED, -np.inf, 0.0)[None]),
    "hidden": ({}, QUIET | {"attn_mask": HIDDEN}, np.where(HIDDEN, -np.inf, 0.0)),
    "float mask by head": ({}, QUIET | {"attn_mask": FLOATS}, FLOATS.double().numpy()),
    "causal": (
        {"batch_first": True},
        QUIET | {"attn_mask": LATER, "is_causal": True},
        np.where(LATER, -np.inf, 0.0),
    ),
}


@pytest.mark.parametrize("own_sizes", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_multihead_attention_however_it_is_called(way, own_sizes):
    options, call, bias = WAYS[way]
    model = sharpened(Cross(own_sizes=own_sizes, options=options, call=call), 2)
    module, x = model.attention, image(3, 12, 8)
    found = attention(Network(model, input_shape=(3, 12, 8)), x)["attention"]
    with torch.no_grad():
        tokens = model.patches(x)[0].flatten(1).T
        matrices = (
            (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
            if own_sizes
            else module.in_proj_weight.chunk(3)
        )
        biases = [None] * 3 if module.in_proj_bias is None else module.in_proj_bias.chunk(3)
        parts = tokens, model.key(tokens), model.value(tokens)
        q, k, v = (
            split_heads(F.linear(part, matrix, b), 2)
            for part, matrix, b in zip(parts, matrices, biases, strict=True)
        )
        close(found.weights, plain_weights(q, k, bias=bias))
        mixed = (torch.from_numpy(found.weights) @ v).transpose(0, 1).flatten(1)
        torch.testing.assert_close(module.out_proj(mixed), model(x)[0], **CLOSE)
    assert (found.grid, found.prefix_tokens, found.attention.heads) == ((3, 2), 0, 2)


def test_keys_that_a_layer_adds_itself_stand_apart():
    options = {"add_bias_kv": True, "add_zero_attn": True, "batch_first": True}
    model = sharpened(Cross(options=options, call=QUIET), 2)
    module, x = model.attention, image(3, 12, 8)
    found = attention(Network(model, input_shape=(3, 12, 8)), x)["attention"]
    with torch.no_grad():
        tokens = model.patches(x)[0].flatten(1).T
        parts = tokens, model.key(tokens), model.value(tokens)
        projected = [
            F.linear(part, matrix, bias)
            for part, matrix, bias in zip(
                parts, module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3), strict=True
            )
        ]
        k = torch.cat([projected[1], module.bias_k[0], torch.zeros(1, 8)])
        close(found.weights, plain_weights(split_heads(projected[0], 2), split_heads(k, 2)))
    laid = found.from_token(3)
    assert (laid.grid.shape, laid.prefix.shape) == ((2, 3, 2), (2, 2))
    np.testing.assert_array_equal(laid.prefix, found.weights[:, 3, -2:])


def fused(**options):
    """A network of one fused attention of two heads, and its queries, keys and values."""

    def parts(net, x):
        return (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in net.qkv(x).chunk(3, -1))

    def forward(net, x):
        heads = F.scaled_dot_product_attention(*parts(net, tokens_of(net, x)), **options)
        return heads.transpose(1, 2).flatten(2)

    return Forward(forward, patches=patches(), qkv=nn.Linear(8, 24)).eval(), parts


PLACES = torch.randn(1, 1, N, N, generator=torch.Generator().manual_seed(2))
SEEN = PLACES > -1
SEEN[..., 3, :] = False  # one query sees nothing
KERNEL = {
    "plain": {},
    "scale": {"scale": 1.7},
    "added mask": {"attn_mask": PLACES[0, 0]},
    "hiding mask": {"attn_mask": SEEN},
    "causal": {"is_causal": True},
    "dropout": {"dropout_p": 0.0, "scale": 0.5},
}


@pytest.mark.parametrize("way", KERNEL)
def test_fused_weights_reproduce_what_the_kernel_gave(way):
    model, parts = fused(**KERNEL[way])
    x = image(3, 12, 8)
    (found,) = attention(Network(model, input_shape=(3, 12, 8)), x).values()
    with torch.no_grad():
        q, k, v = parts(model, tokens_of(model, x))
        mixed = (torch.from_numpy(found.weights) @ v[0]).transpose(0, 1).flatten(1)
        torch.testing.assert_close(mixed, model(x)[0].nan_to_num(0.0), **CLOSE)
    hides = way == "hiding mask"
    assert np.allclose(np.delete(found.weights.sum(-1), [3] if hides else [], 1), 1, atol=1e-6)
    if hides:
        assert (found.weights[:, 3] == 0).all()
    elif way in {"plain", "scale"}:
        close(found.weights, plain_weights(q[0], k[0], scale=KERNEL[way].get("scale")))


def test_heads_that_share_a_key():
    if "enable_gqa" not in F.scaled_dot_product_attention.__doc__:
        pytest.skip("grouped queries came with torch 2.5")

    def forward(net, x):
        x = tokens_of(net, x)
        q = net.q(x).unflatten(-1, (4, 4)).transpose(1, 2)
        k, v = (p.unflatten(-1, (2, 4)).transpose(1, 2) for p in net.kv(x).chunk(2, -1))
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=True).transpose(1, 2).flatten(2)

    model = Forward(forward, patches=patches(), q=nn.Linear(8, 16), kv=nn.Linear(8, 16)).eval()
    x = image(3, 12, 8)
    (found,) = attention(Network(model, input_shape=(3, 12, 8)), x).values()
    with torch.no_grad():
        tokens = tokens_of(model, x)[0]
        q, k = split_heads(model.q(tokens), 4), split_heads(model.kv(tokens)[:, :8], 2)
        close(found.weights, plain_weights(q, k[[0, 0, 1, 1]]))
    assert found.grid == (3, 2)


def whole(net, x):
    tokens = net.patches(x).flatten(2).permute(2, 0, 1)
    part = net.part
    weights = part.in_proj_weight, part.in_proj_bias, None, None, False, 0.0
    out = part.out_proj.weight, part.out_proj.bias
    mixed, _ = F.multi_head_attention_forward(
        tokens, tokens, tokens, 8, 2, *weights, *out, training=False, need_weights=False
    )
    return mixed.transpose(0, 1)


def fast(net, x):
    return net.part(tokens_of(net, x))


LIBRARY = {
    whole: (lambda: nn.MultiheadAttention(8, 2), "multi_head_attention_forward", lambda p: p),
    fast: (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        "part.self_attn",
        lambda p: p.self_attn,
    ),
}


@pytest.mark.parametrize("forward", LIBRARY, ids=lambda f: f.__name__)
def test_attention_inside_the_functions_of_torch(forward):
    make, name, inner = LIBRARY[forward]
    model = sharpened(Forward(forward, patches=patches(), part=make()), 2)
    network, x = Network(model, input_shape=(3, 12, 8)), image(3, 12, 8)
    (found,) = attention(network, x).values()
    assert (found.layer, found.attention.heads, found.grid) == (name, 2, (3, 2))
    with torch.no_grad():
        tokens, module = tokens_of(model, x)[0], inner(model.part)
        q, k, _ = F.linear(tokens, module.in_proj_weight, module.in_proj_bias).chunk(3, -1)
    close(found.weights, plain_weights(split_heads(q, 2), split_heads(k, 2)))


def test_half_precision_gives_whole_weights():
    model = sharpened(timm.create_model("vit_tiny_patch16_224", img_size=64)).half()
    for maps in attention(Network(model, input_shape=(3, 64, 64)), image(3, 64, 64)).values():
        assert maps.weights.dtype == np.float32
        np.testing.assert_allclose(maps.weights.sum(-1), 1, atol=1e-6)
