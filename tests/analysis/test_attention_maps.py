"""Attention maps as they are read: laid on the grid, followed by rollout; and the model kept."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from fixtures.attention import image, patches, sharpened, small_vit
from fixtures.networks import Attention, Forward
from torch import nn
from torchvision.models.swin_transformer import SwinTransformer

from nbviz import Network
from nbviz.analysis.attention import AttentionMaps, attention, attention_layers, rollout
from nbviz.analysis.layers import UnknownLayerError

LAST = "encoder.layers.encoder_layer_2.self_attention"


@pytest.fixture(scope="module")
def maps() -> dict[str, AttentionMaps]:
    return attention(small_vit(), image(3, 32, 32))


def test_a_row_is_laid_out_by_rows_with_class_and_registers_apart():
    model = sharpened(Attention(registers=2))
    (found,) = attention(Network(model, input_shape=(3, 24, 20)), image(3, 24, 20)).values()
    assert (found.grid, found.prefix_tokens, found.weights.shape) == ((6, 5), 3, (2, 33, 33))
    for query in (0, 2, 3, 32):
        laid = found.from_token(query)
        assert laid.grid.dtype == laid.prefix.dtype == np.float32
        for head in range(2):
            assert [*laid.prefix[head]] == [*found.weights[head, query, :3]]
            for row in range(6):
                for col in range(5):
                    key = 3 + row * 5 + col
                    assert laid.grid[head, row, col] == found.weights[head, query, key]
    assert found.attention.query_at(1, 2) == 3 + 7


def test_a_mean_over_heads_is_laid_out_too(maps):
    found = maps[LAST]
    laid = found.on_grid(found.weights.mean(0)[5])
    assert (laid.grid.shape, laid.prefix.shape) == ((1, 4, 4), (1, 1))
    np.testing.assert_allclose(laid.grid[0], found.from_token(5).grid.mean(0), atol=1e-6)


@pytest.mark.parametrize("residual", [0.0, 0.5, 0.8])
def test_rollout_is_that_of_a_plain_loop(maps, residual):
    tokens = 17
    flow = np.eye(tokens)
    for found in maps.values():
        mixed = np.zeros((tokens, tokens))
        for i in range(tokens):
            for j in range(tokens):
                mean = sum(float(head[i, j]) for head in found.weights) / 4
                mixed[i, j] = residual * (i == j) + (1 - residual) * mean
            mixed[i] /= mixed[i].sum()
        flow = np.array(
            [
                [sum(mixed[i, k] * flow[k, j] for k in range(tokens)) for j in range(tokens)]
                for i in range(tokens)
            ]
        )
    ours = rollout(maps.values(), residual=residual)
    np.testing.assert_allclose(ours, flow, atol=1e-6)
    np.testing.assert_allclose(ours.sum(-1), 1, atol=1e-6)
    assert ours.dtype == np.float32


def test_rollout_through_residuals_alone_stays_in_place(maps):
    np.testing.assert_array_equal(rollout(maps.values(), residual=1), np.eye(17))


def test_rollout_says_which_layers_do_not_chain(maps):
    swin = sharpened(
        SwinTransformer([2, 2], 16, [2], [2], [4, 4], num_classes=5),
    )
    windowed = attention(Network(swin, input_shape=(3, 32, 32)), image(3, 32, 32))
    with pytest.raises(ValueError, match=r"attn\.softmax.*within 16 windows.*layers that chain"):
        rollout(windowed.values())
    smaller = attention(Network(sharpened(Attention()), input_shape=(3, 24, 20)), image(3, 24, 20))
    with pytest.raises(ValueError, match=r"17 tokens.*'attention'.*31 tokens.*layers that chain"):
        rollout([*maps.values(), *smaller.values()])
    with pytest.raises(ValueError, match=r"at least one layer, got none.*\.values"):
        rollout([])
    with pytest.raises(ValueError, match="maps of at least one layer, got str"):
        rollout(maps)
    with pytest.raises(ValueError, match="from 0 to 1, got 50"):
        rollout(maps.values(), residual=50)


def traces(model: nn.Module) -> tuple:
    hooks = [
        len(h)
        for m in model.modules()
        for h in (m._forward_hooks, m._forward_pre_hooks, m._forward_hooks_with_kwargs)
    ]
    flags = [m.training for m in model.modules()] + [p.requires_grad for p in model.parameters()]
    return hooks, flags, [*vars(model)]


@pytest.mark.parametrize(
    "layers", [None, [], LAST, "encoder.layers.encoder_layer_0.self_attention"]
)
def test_the_model_stays_as_it_was(layers):
    model = small_vit().train()
    model.encoder.ln.eval()
    model.conv_proj.requires_grad_(False)
    before, state, known = traces(model), copy.deepcopy(model.state_dict()), copy.deepcopy(model)
    torch.manual_seed(7)
    random = torch.get_rng_state()
    attention(model, image(3, 32, 32), layers)
    assert traces(model) == before
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    torch.testing.assert_close(model.eval()(image(3, 32, 32)), known.eval()(image(3, 32, 32)))


def test_the_model_stays_as_it_was_when_it_raises():
    model = small_vit().train()
    before, network = traces(model), Network.of(model)
    attention_layers(network)
    broken = model.heads.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        network(image(3, 32, 32))
    attention(network, image(3, 32, 32))  # needs no more than the last attention
    broken.remove()
    broken = model.conv_proj.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        attention(network, image(3, 32, 32))
    broken.remove()
    assert traces(model) == before


def test_only_chosen_layers_are_kept_and_nothing_runs_behind_them(maps):
    model, second = small_vit(), LAST.replace("2", "1")
    network, ran = Network.of(model), []
    attention_layers(network)
    for name, module in model.named_modules():
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
    found = attention(network, image(3, 32, 32), [second, LAST.replace("2", "0")])
    assert [*found] == [LAST.replace("2", "0"), second]  # in execution order
    np.testing.assert_array_equal(found[second].weights, maps[second].weights)
    assert second.replace("self_attention", "ln_1") in ran
    assert not [name for name in ran if "encoder_layer_2" in name]
    assert "heads.head" not in ran


def test_weights_are_the_callers_own(maps):
    found = maps[LAST].weights
    assert found.flags.owndata
    assert found.flags.writeable


def test_names_that_are_no_attention_are_refused():
    network = Network.of(small_vit())
    x = image(3, 32, 32)
    with pytest.raises(ValueError, match=r"attention layer, got 'conv_proj'.*encoder_layer"):
        attention(network, x, "conv_proj")
    with pytest.raises(UnknownLayerError, match="encoder_layer_2"):
        attention(network, x, "encoder.layers.encoder_layer_2.self_atention")
    plain = Network(Forward(lambda net, x: net.conv(x), conv=patches()), input_shape=(3, 8, 8))
    with pytest.raises(ValueError, match="got 'conv'; this network has none"):
        attention(plain, image(3, 8, 8), ["conv"])


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (3, 32, 32), (1, 3, 40, 32)])
def test_a_batch_that_is_no_one_input_is_refused(shape):
    with pytest.raises(ValueError, match=r"\(1, 3, 32, 32\).*got .*one by one"):
        attention(small_vit(), torch.zeros(shape))


def test_a_picture_is_refused_with_advice():
    with pytest.raises(TypeError, match=r"got ndarray; `network\.prepare"):
        attention(small_vit(), np.zeros((1, 3, 32, 32)))


def test_queries_and_cells_out_of_range_are_refused(maps):
    found = maps[LAST]
    for query in (-1, 17):
        with pytest.raises(IndexError, match=f"from 0 to 16, got {query}"):
            found.from_token(query)
    with pytest.raises(IndexError, match=r"4 x 4 grid .* got \(0, 4\)"):
        found.attention.query_at(0, 4)
    with pytest.raises(ValueError, match=r"\(heads, 17\).*got \(4, 16\)"):
        found.on_grid(np.zeros((4, 16)))


def test_a_layer_that_this_input_does_not_reach_is_named():
    def forward(net, x):
        return net.whole(x) if x[0, 0, 0, 0] < 3 else net.patches(x)

    model = Forward(forward, whole=Attention(), patches=patches())
    network = Network(model, input_shape=(3, 24, 20))
    bright = image(3, 24, 20).fill_(5)
    with pytest.raises(ValueError, match=r"to reach 'whole.attention'.*every input runs through"):
        attention(network, bright)


def test_other_tokens_for_another_input_are_named():
    def forward(net, x):
        tokens = net.patches(x).flatten(2).transpose(1, 2)
        tokens = tokens[:, : 12 + int(x.mean() > 1)]
        return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)

    network = Network(Forward(forward, patches=patches()), input_shape=(3, 24, 20))
    with pytest.raises(ValueError, match=r"as recorded, got weights of shape .* leave this layer"):
        attention(network, image(3, 24, 20).fill_(5))
