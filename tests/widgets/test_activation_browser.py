"""ActivationBrowser: what reaches the browser, what choices do, and what bad input says."""

from __future__ import annotations

import gc
import re
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
import traitlets
from PIL import Image
from torch import nn

import nbviz
from nbviz import ActivationBrowser, FilterGrid, link
from nbviz.widgets import wire
from tests.fixtures.networks import zoo

JS = Path(__file__).parents[2] / "js"
SIDE = 24


def small_network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 5, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 12, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 4),
    )


def pictures(count=6, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)


def browser(model=None, images=None, **traits):
    network = nbviz.Network(model or small_network(), input_shape=(3, SIDE, SIDE))
    return ActivationBrowser(network, pictures() if images is None else images, **traits)


def decoded(there, side="a"):
    """Maps as the view decodes them."""
    arrays = wire.unpack(there.maps)
    low, high = there.maps["low"], there.maps["high"]
    values = arrays[f"values_{side}"].astype(np.float64)
    if "low" not in arrays:
        return low + values / 255 * (high - low)
    ends = [low + arrays[end][:, None, None] / 65535 * (high - low) for end in ("low", "high")]
    return ends[0] + values / 255 * (ends[1] - ends[0])


def reference(there, upto, image=0):
    """Layers one after the other, each output copied."""
    batch = there.network.prepare(pictures()[image])
    with torch.no_grad():
        for layer in there.network.model[: upto + 1]:
            batch = layer(batch).clone()
    return batch[0].numpy()


@pytest.mark.parametrize("layer", ["0", "1", "3", "4"])
def test_the_browser_gets_every_map_to_half_a_level(layer):
    there = browser(layer=layer)
    exact = reference(there, int(layer))
    span = exact.reshape(len(exact), -1)
    step = (span.max(1) - span.min(1))[:, None, None] / 510 + 2 * np.ptp(exact) / 65535
    assert (np.abs(decoded(there) - exact) <= step + 1e-6).all()
    assert there.maps["layer"] == layer


def test_zero_stays_zero_behind_a_relu():
    there = browser(layer="1")
    exact = reference(there, 1)
    assert (decoded(there)[exact == 0] == 0).all()
    assert (exact == 0).any()


def test_bytes_sent_are_at_most_a_tenth_more_than_the_maps():
    for name in ("resnet50", "vgg11"):
        network = nbviz.Network(zoo(name), input_shape=(3, 224, 224))
        there = ActivationBrowser(network, np.zeros((224, 224, 3), np.uint8))
        names = [entry["name"] for entry in there.layers if entry["grid"] not in ([], [1, 1])]
        for layer in names[::12]:
            there.layer = layer
            units = np.prod(wire.unpack(there.maps)["values_a"].shape)
            assert wire.payload_bytes(there.maps) <= 1.1 * units, layer


def test_a_choice_of_layer_is_one_message(frontend):
    there = browser(channel=3, unit=[10, 10])
    frontend.sent.clear()
    frontend.set(there, layer="3")
    updates = [m for m in frontend.sent if "maps" in m["data"].get("state", {})]
    assert len(updates) == 1
    assert there.maps["layer"] == "3"


def test_the_lens_gets_exact_values(frontend):
    there = browser(layer="3")
    answer = frontend.ask(there, kind="map", rid="v-1", channel=7)
    np.testing.assert_array_equal(wire.unpack(answer)["a"], reference(there, 3)[7])
    assert (answer["of"]["layer"], answer["of"]["channel"]) == ("3", 7)


def test_the_unit_keeps_its_place_and_the_channel_its_number_when_the_layer_changes():
    there = browser(layer="0", channel=5, unit=[20, 7])
    there.layer = "2"
    assert there.unit == [10, 3]
    there.layer = "3"
    assert (there.unit, there.channel) == ([8, 3], 5)
    there.layer = "0"
    assert there.unit == [20, 7]
    there.layer, there.channel = "3", 11
    there.layer = "0"
    assert there.channel == 5
    there.layer = "3"
    assert there.channel == 11


def test_what_the_browser_sets_at_once_is_taken_at_once(frontend):
    there = browser(layer="4", channel=11, unit=[9, 9])
    frontend.set(there, layer="0", channel=2, unit=[1, 23])
    assert (there.layer, there.channel, there.unit) == ("0", 2, [1, 23])
    assert there.trace["layer"] == "0"


def test_the_trace_follows_unit_layer_and_picture():
    there = browser(layer="3", channel=2, unit=[4, 5])
    first = there.explain()
    assert first.value == pytest.approx(reference(there, 3)[2, 4, 5], rel=1e-5)
    there.image = 3
    assert there.explain().value == pytest.approx(reference(there, 3, 3)[2, 4, 5], rel=1e-5)
    there.unit = []
    assert there.trace == {}
    with pytest.raises(ValueError, match="no unit is chosen"):
        there.explain()


def test_the_prediction_is_the_networks_own():
    there = browser()
    logits = torch.tensor(reference(there, 7))
    top = there.prediction["top"][0]
    assert [guess["index"] for guess in top] == logits.argsort(descending=True).tolist()
    torch.testing.assert_close(
        torch.tensor([guess["probability"] for guess in top]),
        logits.softmax(0).sort(descending=True).values,
    )


def test_two_pictures_share_the_scale_of_each_channel():
    there = browser(layer="3")
    there.compared = 4
    for side, image in (("a", 0), ("b", 4)):
        exact = reference(there, 3, image)
        assert np.abs(decoded(there, side) - exact).max() <= np.ptp(decoded(there)) / 200
    assert len(there.prediction["top"]) == 2
    there.compared = -1
    assert "values_b" not in wire.unpack(there.maps)


def test_a_picture_kept_as_b_stays_when_another_comes(frontend):
    there = browser(layer="3")
    there.look_at(pictures(seed=9)[0])
    frontend.ask(there, kind="keep", rid="v-1")
    kept = decoded(there, "b")
    frontend.set(there, image=2)
    assert np.abs(decoded(there, "a") - reference(there, 3, 2)).max() < 0.02
    np.testing.assert_allclose(decoded(there, "b"), kept, atol=0.02)


def test_pinned_channels_stay_when_layer_and_picture_change():
    there = browser(layer="4", pinned=[["1", 3]])
    there.layer = "0"
    there.image = 2
    (pin,) = there.pins["pins"]
    values = next(iter(wire.unpack(there.pins).values()))[0]
    exact = reference(there, 1, 2)[3]
    shown = pin["low"] + values / 255 * (pin["high"] - pin["low"])
    assert np.abs(shown - exact).max() <= np.ptp(exact) / 500
    with pytest.raises(traitlets.TraitError, match="channel 6, but layer '1' has 6"):
        there.pinned = [["1", 6]]


def test_units_below_and_above_the_origin_are_marked():
    there = browser(layer="3", channel=0, unit=[4, 5])
    there.origin = {"layer": "3", "channel": 0, "unit": [4, 5]}
    assert there.maps["related"] == {"to": "is", "units": [4, 5, 5, 6]}
    there.layer = "2"
    assert there.maps["related"]["to"] == "feeds"
    top, left, bottom, right = there.maps["related"]["units"]
    assert (top, left, bottom, right) == (4, 5, 7, 8)
    there.layer = "7"
    assert there.maps["related"]["to"] in {"fed by", ""}


def test_drawings_and_frames_are_shown(frontend):
    there = browser(layer="3", unit=[2, 2], channel=1)
    pixels = pictures(seed=5)[0]
    packed = wire.pack({"pixels": pixels}, source="drawing", done=True, width=SIDE, height=SIDE)
    buffers = packed.pop("buffers")
    content = {"method": "custom", "content": {**packed, "kind": "pixels", "rid": "v-1"}}
    there.comm.handle_msg({"content": {"data": content}, "buffers": buffers})
    assert frontend.answers()[-1]["kind"] == "pixels"
    assert there.image == -1
    assert there.inputs["source"] == "drawing"
    np.testing.assert_array_equal(wire.unpack(there.picture)["a"], pixels)
    with torch.no_grad():
        exact = there.network.model[:4](there.network.prepare(pixels))[0].numpy()
    assert np.abs(decoded(there) - exact).max() <= np.ptp(exact) / 250


def test_a_network_without_attention_says_so(frontend):
    there = browser()
    with pytest.raises(traitlets.TraitError, match="needs a layer that attends"):
        there.show = "attention"
    assert there.show == "maps"
    frontend.set(there, show="attention")
    assert "needs a layer that attends" in there.problem


def test_attention_is_laid_out_by_head_for_the_query_chosen():
    network = nbviz.Network(zoo("vit_b_32"))
    there = ActivationBrowser(network, np.zeros((224, 224, 3), np.uint8), show="attention")
    assert there.maps["kind"] == "attention"
    assert there.maps["labels"] == [*(f"head {i}" for i in range(12)), "rollout"]
    shown = decoded(there)
    prefix = wire.unpack(there.maps)["prefix_a"]
    np.testing.assert_allclose(shown.sum((1, 2)) + prefix.sum(0), 1, atol=0.01)
    first = there.maps["query"]
    there.query = 20
    assert (first, there.maps["query"]) == (0, 20)
    assert np.abs(decoded(there) - shown).max() > 1e-4


def test_a_model_that_raises_half_way_says_so_and_the_last_picture_stays(frontend):
    class Fails(nn.Module):
        def forward(self, x):
            if x.max() > 50:
                raise RuntimeError("too bright for me")
            return x

    model = nn.Sequential(nn.Conv2d(3, 4, 3), Fails(), nn.Flatten(), nn.LazyLinear(3))
    model(torch.zeros(1, 3, SIDE, SIDE))
    there = ActivationBrowser(nbviz.Network(model, input_shape=(3, SIDE, SIDE)), pictures())
    before = there.maps
    with pytest.raises(RuntimeError, match="too bright"):
        there.look_at(torch.full((3, SIDE, SIDE), 1e4))
    assert there.maps is before
    bright = nbviz.Network(
        model, lambda _: torch.full((3, SIDE, SIDE), 1e4), input_shape=(3, SIDE, SIDE)
    )
    with pytest.raises(RuntimeError, match="too bright"):
        ActivationBrowser(bright, pictures())
    frontend.sent.clear()
    there.network.transform = lambda _: torch.full((3, SIDE, SIDE), 1e4)
    frontend.set(there, image=2)
    assert "too bright for me" in there.problem
    assert there.maps is before
    there.network.transform = None
    frontend.set(there, image=3)
    assert there.problem == ""


def test_values_that_are_no_numbers_are_counted_and_marked():
    model = small_network()
    with torch.no_grad():
        model[0].bias[2] = float("nan")
    there = browser(model)
    assert there.maps["nonfinite"] == SIDE * SIDE
    bits = np.unpackbits(wire.unpack(there.maps)["nonfinite_a"], bitorder="little")
    marked = bits[: 6 * SIDE * SIDE].reshape(6, -1)
    assert marked[2].all()
    assert not marked[[0, 1, 3, 4, 5]].any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layer": "33"}, "no layer '33'"),
        ({"unit": [24, 0]}, "24 rows and 24 columns"),
        ({"unit": [1]}, r"\[row, column\]"),
        ({"image": 6}, "at most 5"),
        ({"compared": -2}, "none was"),
        ({"sort": "peek"}, "did you mean 'peak'"),
        ({"normalise": "kernel"}, "must be one of"),
    ],
)
def test_a_bad_choice_says_what_to_choose_and_changes_nothing(change, said):
    there = browser()
    ((name, value),) = change.items()
    before = getattr(there, name)
    with pytest.raises(traitlets.TraitError, match=said):
        setattr(there, name, value)
    assert getattr(there, name) == before


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16", "1", "LA"])
def test_pictures_of_any_mode_are_taken(mode):
    image = Image.fromarray(pictures()[0])
    image = Image.new("I;16", image.size, 40000) if mode == "I;16" else image.convert(mode)
    there = browser(images=image)
    assert wire.unpack(there.picture)["a"].shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((4, 4, 3)), "uint8"),
        (torch.zeros(5, SIDE, SIDE), "expected"),
        ([], "at least one picture"),
        (3.5, "float"),
    ],
)
def test_what_is_no_picture_says_so(image, said):
    with pytest.raises((ValueError, TypeError, RuntimeError), match=said):
        browser(images=image)


def test_the_class_difference_is_that_of_plain_means(frontend):
    labels = [0, 1, 0, 1, 2, 2]
    there = browser(layer="3", labels=labels, sort="class")
    answer = {"done": 0, "total": 1}
    while answer["done"] < answer["total"]:
        answer = frontend.ask(there, kind="class_difference", rid="v", layer="3", index=1)
    means = np.array([reference(there, 3, i).mean((1, 2)) for i in range(6)])
    of = np.array(labels) == 1
    expected = means[of].mean(0) - means[~of].mean(0)
    np.testing.assert_allclose(wire.unpack(answer)["difference"], expected, atol=1e-5)
    assert (answer["of"], answer["others"]) == (2, 4)


def test_the_model_is_left_as_it_was():
    model = small_network().train()
    model[3].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    there = browser(model, layer="3", channel=1, unit=[2, 2], compared=1)
    there.look_at(pictures(seed=3)[0])
    assert all(module.training for module in model.modules())
    assert not model[3].weight.requires_grad
    assert model[0].weight.requires_grad
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all((model.state_dict()[name] == value).all() for name, value in before.items())


def test_a_closed_browser_and_its_model_are_freed():
    model = small_network()
    there = browser(model, layer="3", channel=1, unit=[2, 2])
    figure = there.chart()
    gone = weakref.ref(model), weakref.ref(there)
    there.close()
    del there, model, figure
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


def test_a_saved_notebook_shows_a_picture():
    there = browser(layer="3")
    data, _ = there._repr_mimebundle_()
    assert {"image/png", "text/html"} <= set(data)
    assert "layer &#x27;3&#x27;" in data["text/html"]
    assert there.still().shape[2] == 3


def test_a_channel_chosen_in_a_filter_grid_is_chosen_here_and_back():
    network = nbviz.Network(small_network(), input_shape=(3, SIDE, SIDE))
    grid, there = FilterGrid(network), ActivationBrowser(network, pictures())
    linked = link(grid, there)
    grid.selected = [1, 4]
    assert (there.layer, there.channel) == ("0", 4)
    there.channel = 2
    assert grid.selected == [2]
    there.layer = "3"
    assert (grid.layer, there.channel, grid.selected) == ("3", 2, [2])
    there.layer = "1"
    assert grid.layer == "3"
    there.channel = 5
    assert grid.selected == [2]
    linked.unlink()
    grid.selected = [7]
    assert there.channel == 5


def test_views_of_different_networks_share_the_picture_only():
    a, b = browser(small_network(0)), browser(small_network(1))
    link(a, b)
    a.image, a.layer = 3, "3"
    assert (b.image, b.layer) == (3, "0")
    with pytest.raises(ValueError, match="nothing to share"):
        link(a, FilterGrid(small_network(2)))
    with pytest.raises(TypeError, match="expected nbviz views, got a str"):
        link(a, "grid")


def test_the_traits_are_those_that_the_view_reads():
    source = (JS / "activation-browser" / "state.ts").read_text()
    body = source.split("export interface State {")[1].split("\n}")[0]
    names = set(re.findall(r"^  (\w+):", body, re.MULTILINE))
    own = {n for n in ActivationBrowser.class_trait_names(sync=True) if not n.startswith("_")}
    own -= {"comm", "layout", "keys", "tabbable", "tooltip"}
    assert names == own


@pytest.mark.parametrize("kind", ["timm", "transformers", "swin"])
def test_attention_of_any_library_is_shown_and_left_again(kind):
    torch.manual_seed(0)
    if kind == "timm":
        import timm

        model = timm.create_model("vit_tiny_patch16_224", depth=2)
    elif kind == "transformers":
        from transformers import ViTConfig, ViTForImageClassification

        model = ViTForImageClassification(
            ViTConfig(
                hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
            )
        )
    else:
        model = zoo("swin_t")
    there = ActivationBrowser(nbviz.Network(model.eval()), np.zeros((224, 224, 3), np.uint8))
    first = there.layer
    there.channel, there.unit = there.network.layers[first].channels - 1, [1, 1]
    there.show = "attention"
    assert there.maps["kind"] == "attention"
    assert there.channel <= len(there.maps["labels"])
    there.layer = there.network.layers.names[-1]
    assert (there.show, there.maps["kind"]) == ("attention", "attention")
    there.show = "maps"
    assert there.maps["kind"] == "maps"
    there.layer = first
    assert there.unit == [1, 1]
    assert there.channel == there.network.layers[first].channels - 1


def test_a_choice_that_fails_is_taken_back_with_all_that_hung_on_it(frontend):
    there = browser(layer="3", compared=1)
    with pytest.raises(traitlets.TraitError, match="none was"):
        there.compared = -2
    assert there.compared == 1
    there.channel = 2
    assert "values_b" in wire.unpack(there.maps)
    frontend.set(there, unit=[900, 0])
    assert "rows" in there.problem
    assert there.unit == []
    assert frontend.states("unit")[-1] == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"origin": {"layer": "0"}}, "unit"),
        ({"origin": {"layer": "x", "unit": [0, 0]}}, "origin must be"),
        ({"pinned": [["0"]]}, "pairs"),
        ({"pinned": ["ab"]}, "pairs"),
    ],
)
def test_what_is_no_place_in_the_network_says_so(change, said):
    there = browser()
    ((name, value),) = change.items()
    with pytest.raises(traitlets.TraitError, match=said):
        setattr(there, name, value)
    assert not getattr(there, name)


def test_a_query_beyond_the_tokens_says_so():
    network = nbviz.Network(zoo("vit_b_32"))
    there = ActivationBrowser(network, np.zeros((224, 224, 3), np.uint8), show="attention")
    with pytest.raises(traitlets.TraitError, match="below 50"):
        there.query = 50
    assert there.query == -1


def test_a_channel_that_is_not_there_says_so_and_a_path_is_looked_at(tmp_path):
    there = browser(layer="3")
    with pytest.raises(traitlets.TraitError, match="below 12"):
        there.channel = 12
    with pytest.raises(traitlets.TraitError, match="look_at"):
        there.image = -1
    with pytest.raises(traitlets.TraitError, match="did you mean"):
        there.pinned = [["33", 0]]
    assert (there.channel, there.image, there.pinned) == (-1, 0, [])
    path = tmp_path / "green.png"
    Image.new("RGB", (SIDE, SIDE), (0, 255, 0)).save(path)
    there.look_at(path)
    assert wire.unpack(there.picture)["a"][0, 0].tolist() == [0, 255, 0]
