"""Which attention a network has, and where its tokens lie: held against grids cut up plainly."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from fixtures.attention import close, image, patches, sharpened, tokens_of
from fixtures.networks import Forward
from torch import nn
from torchvision.models import resnet18
from torchvision.models.swin_transformer import SwinTransformer
from transformers import SwinConfig, SwinForImageClassification

from nbviz import Network
from nbviz.analysis.attention import attention, attention_layers


def scores(net, x):
    tokens = tokens_of(net, x)
    q, k, v = net.qkv(tokens).chunk(3, -1)
    return q @ k.transpose(1, 2), v


def by_module(net, x):
    products, v = scores(net, x)
    return torch.bmm(net.drop(net.soft(products)), v)


def by_einsum(net, x):
    products, v = scores(net, x)
    return torch.einsum("bqk,bkd->bqd", F.softmax(products, 2), v)


def transposed(net, x):
    products, v = scores(net, x)
    return v.transpose(1, 2) @ products.softmax(-1).transpose(1, 2)


def gated(net, x):
    products, v = scores(net, x)
    return (products.softmax(-1) * products.sigmoid()) @ v


WRITTEN = {by_module: "", by_einsum: "", transposed: "", gated: "changes these weights (mul)"}


@pytest.mark.parametrize("forward", WRITTEN, ids=lambda f: f.__name__)
def test_home_made_attention_is_found(forward):
    parts = {"qkv": nn.Linear(8, 24), "soft": nn.Softmax(-1), "drop": nn.Dropout(0.5)}
    model = Forward(forward, patches=patches(), **parts).eval()
    network, x = Network(model, input_shape=(3, 12, 8)), image(3, 12, 8)
    (layer,) = attention_layers(network)
    assert (layer.heads, layer.grid, layer.query_grid) == (1, (3, 2), (3, 2))
    assert WRITTEN[forward] in layer.note
    assert bool(layer.note) == bool(WRITTEN[forward])
    with torch.no_grad():
        products = scores(model, x)[0]
    close(attention(network, x)[layer.name].weights, products.softmax(-1))


def classes(net, x):
    return net.head(net.patches(x).mean((2, 3))).softmax(-1) @ net.head.weight


def gate(net, x):
    maps = net.patches(x)
    return (maps * maps.softmax(-1)).mean((2, 3))


@pytest.mark.parametrize("forward", [classes, gate])
def test_a_softmax_that_weighs_no_tokens_is_no_attention(forward):
    model = Forward(forward, patches=patches(), head=nn.Linear(8, 5)).eval()
    network = Network(model, input_shape=(3, 12, 8))
    assert "softmax" in {layer.kind for layer in network.layers}
    assert attention_layers(network) == ()
    assert attention(network, image(3, 12, 8)) == {}


def test_a_convolutional_network_has_no_attention():
    assert attention_layers(Network(resnet18(weights=None), input_shape=(3, 32, 32))) == ()


def windows_of(rows: int, cols: int, side: int, shift: int) -> np.ndarray:
    """Cells of the tokens of each window, by cutting up a numbered grid."""
    cells = np.roll(np.arange(rows * cols).reshape(rows, cols), (-shift, -shift), (0, 1))
    cut = cells.reshape(rows // side, side, cols // side, side).transpose(0, 2, 1, 3)
    return cut.reshape(-1, side * side)


def small_swin() -> SwinTransformer:
    torch.manual_seed(0)
    stages = {"depths": [2, 2], "num_heads": [2, 4], "embed_dim": 16, "num_classes": 5}
    return sharpened(SwinTransformer([2, 2], window_size=[4, 4], **stages))


def test_swin_tokens_lie_where_their_shifted_windows_are(monkeypatch):
    model = small_swin()
    network = Network(model, input_shape=(3, 32, 48))
    x = image(3, 32, 48)
    layers, maps = attention_layers(network), attention(network, x)
    recorded, softmax = [], F.softmax

    def recording(*args, **options):
        recorded.append(softmax(*args, **options))
        return recorded[-1]

    monkeypatch.setattr(F, "softmax", recording)
    with torch.no_grad():
        model(x)
    grids = [(16, 24)] * 2 + [(8, 12)] * 2
    assert [layer.grid for layer in layers] == grids
    for layer, reference, grid, shift in zip(layers, recorded, grids, [0, 2] * 2, strict=True):
        cells = windows_of(*grid, 4, shift)
        assert (layer.windows, layer.queries, layer.keys) == (len(cells), cells.size, 16)
        np.testing.assert_array_equal(layer.key_places, cells)
        np.testing.assert_array_equal(layer.query_places, cells.ravel())
        assert f"{len(cells)} windows" in layer.note
        found = maps[layer.name]
        close(found.weights, reference.transpose(0, 1).flatten(1, 2))
        query = layer.query_at(5, 7)
        window = query // 16
        laid = found.from_token(query).grid.reshape(layer.heads, -1)
        np.testing.assert_array_equal(laid[:, cells[window]], found.weights[:, query])
        assert 5 * grid[1] + 7 == cells[window][query % 16]
        assert np.isnan(laid).sum() == layer.heads * (grid[0] * grid[1] - 16)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_swin_of_transformers_shows_its_own_weights(implementation):
    def make(kind):
        torch.manual_seed(0)
        config = SwinConfig(
            image_size=32,
            patch_size=2,
            embed_dim=16,
            depths=[2, 2],
            num_heads=[2, 4],
            window_size=4,
            attn_implementation=kind,
        )
        return sharpened(SwinForImageClassification(config))

    x = image(3, 32, 32)
    with torch.no_grad():
        output = make("eager")(x, output_attentions=True)
    maps = attention(Network(make(implementation)), x)
    places = [windows_of(16, 16, 4, s) for s in (0, 2)] + [windows_of(8, 8, 4, s) for s in (0, 2)]
    assert len(maps) == 4
    for found, cells in zip(maps.values(), places, strict=True):
        np.testing.assert_array_equal(found.attention.key_places, cells)
    # it returns those of the last block of each stage
    for found, reference in zip([*maps.values()][1::2], output.attentions, strict=True):
        close(found.weights, reference.transpose(0, 1).flatten(1, 2))


def columns_first(net, x):
    tokens = net.patches(x).transpose(2, 3).flatten(2).transpose(1, 2)
    return F.scaled_dot_product_attention(*[tokens[:, None]] * 3)


def across_channels(net, x):
    channels = net.patches(x).flatten(2)  # six channels of six places
    return F.scaled_dot_product_attention(*[channels[:, None]] * 3)


def pooled_keys(net, x):
    maps = net.patches(x)
    q, k = (m.flatten(2).transpose(1, 2)[:, None] for m in (maps, F.avg_pool2d(maps, (3, 1))))
    return F.scaled_dot_product_attention(q, k, k)


def asked_by_one(net, x):
    tokens = tokens_of(net, x)
    return F.scaled_dot_product_attention(net.asks.weight[None], tokens, tokens)


def placed_layer(forward):
    model = Forward(forward, patches=patches(6), asks=nn.Linear(6, 1)).eval()
    (layer,) = attention_layers(Network(model, input_shape=(3, 12, 8)))
    return layer


def test_tokens_are_laid_where_they_come_from_whatever_their_order():
    layer = placed_layer(columns_first)
    assert (layer.grid, layer.query_grid) == ((3, 2), (3, 2))
    np.testing.assert_array_equal(layer.key_places, [[0, 2, 4, 1, 3, 5]])
    assert [layer.query_at(row, 1) for row in range(3)] == [3, 4, 5]


def test_channels_are_not_laid_on_a_grid_of_as_many_places():
    layer = placed_layer(across_channels)
    assert (layer.queries, layer.keys, layer.grid, layer.query_grid) == (6, 6, None, None)
    assert "across channels" in layer.note
    assert not layer.self_attention


def test_queries_and_keys_each_have_their_own_grid():
    layer = placed_layer(pooled_keys)
    assert (layer.query_grid, layer.grid) == ((3, 2), (1, 2))
    assert "6 queries attend to 2 keys" in layer.note
    layer = placed_layer(asked_by_one)
    assert (layer.query_grid, layer.grid, layer.queries) == (None, (3, 2), 1)
    assert "queries cannot be placed" in layer.note
    with pytest.raises(ValueError, match=r"lie on a grid.*by its number"):
        layer.query_at(0, 0)


def behind_their_mean(net, x):
    tokens = tokens_of(net, x)
    tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1)[:, None]
    return F.scaled_dot_product_attention(tokens, tokens, tokens)


def test_a_mean_over_all_tokens_is_not_taken_for_the_first_place():
    layer = placed_layer(behind_their_mean)
    assert (layer.grid, layer.prefix_tokens, layer.query_prefix_tokens) == ((3, 2), 1, 1)
    np.testing.assert_array_equal(layer.query_places, [-1, 0, 1, 2, 3, 4, 5])


MIXED = "changes these weights (Linear)"
FAMILIES = {
    # name: size and options, number of the layer, heads, windows, queries, keys, grid, note
    "cait_xxs24_224": (64, {"depth": 1}, 0, 4, 1, 16, 16, (4, 4), MIXED),
    "xcit_nano_12_p16_224": (64, {"depth": 1}, 0, 4, 1, 32, 32, None, "across channels"),
    "tnt_s_patch16_224": (64, {"depth": 1}, 0, 4, 16, 256, 16, None, "cannot be placed"),
    "hiera_tiny_224": (128, {}, 2, 2, 16, 256, 16, None, "cannot be placed"),
    "halonet26t": (256, {"img_size": None}, 0, 8, 4, 256, 144, (16, 16), "within 4 windows"),
    "pvt_v2_b0": (64, {"img_size": None}, 0, 1, 1, 256, 4, (2, 2), "256 queries attend"),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_less_usual_attention_is_told_for_what_it_is(name):
    side, options, number, heads, windows, queries, keys, grid, note = FAMILIES[name]
    options = {key: v for key, v in ({"img_size": (side, side)} | options).items() if v}
    network = Network(timm.create_model(name, **options), input_shape=(3, side, side))
    layer = attention_layers(network)[number]
    assert (layer.heads, layer.windows, layer.queries, layer.keys) == (
        heads,
        windows,
        queries,
        keys,
    )
    assert layer.grid == grid
    assert note in layer.note


def test_windows_that_cannot_be_placed_are_counted_all_the_same():
    def forward(net, x):
        maps = net.patches(x) @ net.mixed.weight  # each column of all columns
        parts = maps.unflatten(2, (2, 2)).unflatten(4, (2, 2)).permute(0, 2, 4, 1, 3, 5)
        tokens = parts.flatten(4).flatten(1, 2)[0].transpose(1, 2)  # (windows, places, channels)
        heads = tokens.unflatten(2, (2, -1)).transpose(1, 2)
        return F.scaled_dot_product_attention(heads, heads, heads)

    model = Forward(forward, patches=patches(6), mixed=nn.Linear(4, 4)).eval()
    (layer,) = attention_layers(Network(model, input_shape=(3, 16, 16)))
    assert (layer.heads, layer.windows, layer.queries, layer.keys) == (2, 4, 16, 4)
    assert layer.grid is None
    assert "cannot be placed" in layer.note


def test_tokens_that_cover_only_part_of_a_grid_are_not_laid_out():
    def first_half(net, x):
        tokens = tokens_of(net, x)[:, :5]
        return F.scaled_dot_product_attention(tokens, tokens, tokens)

    layer = placed_layer(first_half)
    assert (layer.queries, layer.grid, layer.query_grid) == (5, None, None)
    assert "cannot be placed" in layer.note


def test_heads_in_groups_are_heads_and_no_windows():
    def grouped(net, x):
        groups = tokens_of(net, x).unflatten(-1, (2, 2, 2)).permute(0, 2, 3, 1, 4)
        return F.scaled_dot_product_attention(groups, groups, groups)

    model = Forward(grouped, patches=patches()).eval()
    model.num_heads = 4
    (layer,) = attention_layers(Network(model, input_shape=(3, 12, 8)))
    assert (layer.heads, layer.windows, layer.queries, layer.grid) == (4, 1, 6, (3, 2))
