"""Heads and rollout of one layer are those of the analysis, and the note reads well."""

from __future__ import annotations

import re

import numpy as np
import pytest
import timm
import torch
from fixtures.attention import image, sharpened, small_swin, small_vit
from torchvision.models.vision_transformer import vit_b_32

from nbviz import Network
from nbviz.analysis import head_maps as module
from nbviz.analysis.attention import attention, attention_layers, rollout
from nbviz.analysis.head_maps import head_maps


def registers() -> Network:
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_small_patch14_reg4_dinov2", pretrained=False, img_size=56, depth=3
    )
    return Network(sharpened(model), input_shape=(3, 56, 56))


def torchvision_vit() -> Network:
    torch.manual_seed(0)
    return Network(sharpened(vit_b_32(weights=None)))


def swin() -> Network:
    return Network(small_swin(), input_shape=(3, 20, 20))


@pytest.mark.parametrize(
    ("make", "prefix", "grid"),
    [(torchvision_vit, 1, (7, 7)), (registers, 5, (4, 4))],
    ids=["torchvision", "timm with registers"],
)
def test_heads_and_rollout_are_those_of_the_analysis(make, prefix, grid):
    network = make()
    batch = image(*network.input_shape)
    layers = attention_layers(network)
    every = attention(network, batch)
    for number in (0, len(layers) - 1):
        found = head_maps(network, batch, layers[number].name)
        heads = layers[number].heads
        assert found.note == ""
        assert found.labels == (*(f"head {head}" for head in range(heads)), "rollout")
        flow = rollout(list(every.values())[: number + 1])
        for query in (0, prefix, prefix + 3):
            maps, tokens = found.of_token(query)
            assert maps.dtype == tokens.dtype == np.float32
            assert maps.shape == (heads + 1, *grid)
            assert tokens.shape == (heads + 1, prefix)
            laid = every[layers[number].name].from_token(query)
            np.testing.assert_allclose(maps[:-1], laid.grid, rtol=0, atol=1e-6)
            np.testing.assert_allclose(tokens[:-1], laid.prefix, rtol=0, atol=1e-6)
            np.testing.assert_allclose(maps[-1].ravel(), flow[query, prefix:], rtol=0, atol=1e-6)
            np.testing.assert_allclose(tokens[-1], flow[query, :prefix], rtol=0, atol=1e-6)
        assert np.ptp(maps[-1]) > 1e-3


def test_windows_have_no_rollout_and_the_note_says_why():
    network = swin()
    for layer in attention_layers(network):
        found = head_maps(network, image(3, 20, 20), layer.name)
        assert found.through is None
        assert found.labels == ("head 0", "head 1")
        assert found.note.startswith("Attention within 4 windows of 16 queries and 16 keys")
        assert "No rollout: " in found.note
        assert "stay within windows" in found.note
        laid = attention(network, image(3, 20, 20), layer.name)[layer.name].from_token(2)
        maps, prefix = found.of_token(2)
        np.testing.assert_array_equal(maps, laid.grid)
        np.testing.assert_array_equal(prefix, laid.prefix)


def notes():
    yield head_maps(swin(), image(3, 20, 20), attention_layers(swin())[0].name).note
    torch.manual_seed(0)
    pooled = timm.create_model("cait_xxs24_224", pretrained=False, img_size=32, depth=1)
    network = Network(pooled.eval(), input_shape=(3, 32, 32))
    for layer in attention_layers(network):
        yield head_maps(network, image(3, 32, 32), layer.name).note


def test_notes_are_whole_sentences():
    found = [note for note in notes() if note]
    assert len(found) >= 3
    for note in found:
        for sentence in re.split(r"(?<=\.) ", note):
            assert re.fullmatch(r"[A-Z0-9][^.]*\.", sentence), note


def test_a_rollout_that_would_take_too_much_memory_is_left_out_and_said(monkeypatch):
    network = Network(small_vit(), input_shape=(3, 32, 32))
    monkeypatch.setattr(module, "_MOST_BYTES", 3 * 4 * 4 * 17 * 17)
    last = attention_layers(network)[-1].name
    assert head_maps(network, image(3, 32, 32), last).note == ""
    monkeypatch.setattr(module, "_MOST_BYTES", 3 * 4 * 4 * 17 * 17 - 1)
    found = head_maps(network, image(3, 32, 32), last)
    assert found.through is None
    assert re.fullmatch(r"No rollout: the weights of all layers .* MB\.", found.note)


def test_what_does_not_attend_is_answered_with_what_does():
    network = Network(small_vit(), input_shape=(3, 32, 32))
    with pytest.raises(ValueError, match=r"did you mean 'encoder\.layers"):
        head_maps(network, image(3, 32, 32), "conv_proj")
    with pytest.raises(IndexError, match="from 0 to 16"):
        head_maps(network, image(3, 32, 32), attention_layers(network)[0].name).of_token(17)
