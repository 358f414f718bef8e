"""OcclusionProbe: targets, what is refused, views together, pictures, charts and files."""

from __future__ import annotations

import gc
import re
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
import traitlets
from torch import nn

import nbviz
from nbviz import OcclusionProbe, link
from nbviz.widgets import wire
from tests.fixtures.probes import (
    CLASSES,
    SIDE,
    decoded,
    drag,
    logits_of,
    pictures,
    probabilities,
    probe,
    rectangle,
    small_network,
)

JS = Path(__file__).parents[2] / "js"

# Targets.


def test_the_target_follows_the_prediction_until_it_is_chosen(frontend):
    # Each class is how red a quarter of the picture is.
    model = nn.Sequential(nn.AvgPool2d(SIDE // 2), nn.Flatten(), nn.Linear(12, 5))
    with torch.no_grad():
        model[2].weight.copy_(torch.eye(5, 12))
        model[2].bias.zero_()
    images = np.zeros((4, SIDE, SIDE, 3), np.uint8)
    for number, image in enumerate(images):
        row, col = number // 2 * 12, number % 2 * 12
        image[row : row + 12, col : col + 12, 0] = 255
    there = probe(model, images)
    for image in range(4):
        there.image = image
        assert (there.target, there.prediction["follows"]) == (image, True)
    there.target = "boletus"
    there.image = 0
    assert (there.target, there.prediction["follows"]) == (2, False)
    frontend.set(there, target=-1)
    assert (there.target, there.prediction["follows"]) == (0, True)
    there.target = 2
    there.target = None
    assert (there.target, there.prediction["follows"]) == (0, True)


def test_an_unknown_class_offers_the_nearest_names(frontend):
    there = probe()
    before = there.target
    with pytest.raises(traitlets.TraitError, match="did you mean 'mushroom'"):
        there.target = "musroom"
    with pytest.raises(traitlets.TraitError, match="from 0 to 4, got 5"):
        there.target = 5
    frontend.set(there, target="musroom")
    assert "'mushroom'" in there.problem
    assert there.target == before
    assert there.prediction["follows"]
    with pytest.raises(traitlets.TraitError, match="did you mean 'mushroom'"):
        probe(target="musroom")


def test_classes_are_found_by_number_and_by_name(frontend):
    there = probe()
    found = frontend.ask(there, kind="find_class", rid="v-1", text="bo")["found"]
    assert found[0] == [2, "boletus"]
    assert frontend.ask(there, kind="find_class", rid="v-1", text="3")["found"][0] == [3, "fern"]
    first = frontend.ask(there, kind="find_class", rid="v-1", text="")["found"]
    assert [number for number, _ in first] == [e["number"] for e in there.prediction["top"]]
    nameless = probe(classes=None)
    found = frontend.ask(nameless, kind="find_class", rid="v-1", text="3")["found"]
    assert found == [[3, "class 3"]]


# What is refused, and what odd models do.

REFUSED = [
    ({"size": 25}, "larger than the picture of 24×24"),
    ({"size": 0}, "at least 1 pixel"),
    ({"stride": 0}, "at least 1 pixel"),
    ({"fill": "gray"}, "did you mean 'grey'"),
    ({"scale": "probabilty"}, "did you mean 'probability'"),
    ({"colour": [300, 0, 0]}, "colour"),
    ({"fill_image": 4}, "at most 3"),
    ({"image": 4}, "at most 3"),
    ({"layer": "33"}, "no layer '33'"),
    ({"tolerance": -0.1}, "tolerance"),
    ({"masks": [rectangle(30, 0)]}, "outside the picture"),
    ({"masks": [{"shape": "star", "top": 0}]}, "use one of 'rectangle', 'circle', 'brush'"),
    ({"masks": [rectangle(0, 0, 0, 5)]}, "at least 1 pixel"),
    ({"masks": [{"shape": "brush", "runs": [[3, 5, 5]]}]}, "start < stop"),
    ({"masks": [{"top": "a", "left": 0, "height": 2, "width": 2}]}, "as numbers of pixels"),
    ({"masks": [rectangle(0, 0)] * 65}, "at most 64"),
]


@pytest.mark.parametrize(("change", "said"), REFUSED)
def test_what_cannot_be_is_refused_with_a_reason_and_nothing_changes(change, said, frontend):
    there = probe(masks=[rectangle(1, 1)])
    ((name, value),) = change.items()
    before = getattr(there, name), there.confidence
    with pytest.raises(traitlets.TraitError, match=said):
        setattr(there, name, value)
    assert (getattr(there, name), there.confidence) == before
    frontend.set(there, **change)
    assert re.search(said, there.problem)
    assert (getattr(there, name), there.confidence) == before
    frontend.set(there, size=5)
    assert there.problem == ""


def test_a_drag_of_what_is_no_mask_answers_an_error(frontend):
    there = probe()
    answer = drag(frontend, there, {"shape": "rectangle", "top": 0})
    assert answer["kind"] == "error"
    assert "masks[0]" in answer["message"]
    with pytest.raises(AttributeError, match="did you mean 'stride'"):
        there.strid = 3
    with pytest.raises(TypeError, match="did you mean 'size'"):
        probe(sise=3)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3)), "expected a classifier"),
        (nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 1)), "at least two classes"),
    ],
)
def test_a_network_that_is_no_classifier_says_so(model, said):
    with pytest.raises(ValueError, match=said):
        probe(model, classes=None)


def test_a_picture_of_another_size_says_what_is_expected():
    there = probe()
    with pytest.raises(ValueError, match=r"\(3, 24, 24\)"):
        there.look_at(torch.zeros(3, 20, 20))
    assert there.image == 0
    there.masks = [rectangle(0, 0)]


def test_probabilities_that_are_no_numbers_are_shown_as_such_and_counted():
    model = small_network()
    with torch.no_grad():
        model[7].bias[1] = float("nan")
    there = probe(model, target="moss", masks=[rectangle(2, 2)], size=8, stride=8)
    assert there.confidence["target"]["probability"] == "NaN"
    assert np.isfinite(there.confidence["target"]["logit"])
    there.run_map()
    assert there.map["nonfinite"] == 9
    assert "9 positions gave no numbers" in there.map["settings"]
    assert there.still().ndim == 3


def test_a_model_that_raises_half_way_leaves_picture_and_map(frontend):
    class Fails(nn.Module):
        def forward(self, x):
            if x.max() > 50:
                raise RuntimeError("too bright for me")
            return x

    model = nn.Sequential(Fails(), *small_network())
    there = probe(model, size=8, stride=8, masks=[rectangle(0, 0)])
    there.run_map()
    before = there.picture, there.map, there.confidence, there.image
    with pytest.raises(RuntimeError, match="too bright"):
        there.look_at(torch.full((3, SIDE, SIDE), 1e4))
    there.network.transform = lambda _: torch.full((3, SIDE, SIDE), 1e4)
    frontend.set(there, image=2)
    assert "too bright for me" in there.problem
    assert (there.picture, there.map, there.confidence, there.image) == before
    there.network.transform = None
    drag(frontend, there, rectangle(4, 4), done=True)
    expected = probabilities(logits_of(there, 0, 0.0))
    found = there.confidence["target"]
    assert found["before"] == pytest.approx(expected[found["number"]], abs=1e-5)
    assert there.stale == ""


def test_a_pass_that_fails_under_the_masks_leaves_the_picture_before(frontend, monkeypatch):
    there = probe(masks=[rectangle(0, 0)], target="moss")
    before = there.picture, there.confidence, there.fill

    def fails(*given):
        raise MemoryError("no room for masks")

    with monkeypatch.context() as broken:
        broken.setattr("nbviz.widgets.masked_picture.MaskedPicture.covered", fails)
        frontend.set(there, image=2, fill="black")
        assert "no room for masks" in there.problem
        with pytest.raises(MemoryError):
            there.look_at(pictures()[3])
    assert (there.picture, there.confidence, there.fill, there.image) == (*before, 0)
    answer = drag(frontend, there, rectangle(0, 0))
    assert answer["target"] == there.confidence["target"]
    np.testing.assert_array_equal(there.still(), probe(masks=there.masks, target="moss").still())


def test_a_model_in_training_is_probed_in_evaluation_and_left_as_it_was(frontend):
    model = small_network().train()
    model[3].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    there = probe(model, fill="black", size=8, stride=8)
    first = drag(frontend, there, rectangle(3, 3), done=True)
    there.run_map()
    assert drag(frontend, there, rectangle(3, 3))["top"] == first["top"]
    expected = probabilities(logits_of(there, 0, 0.0, (3, 3, 9, 9)))
    assert first["target"]["probability"] == pytest.approx(
        expected[first["target"]["number"]], abs=1e-5
    )
    assert all(module.training for module in model.modules())
    assert not model[3].weight.requires_grad
    assert model[0].weight.requires_grad
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all((model.state_dict()[name] == value).all() for name, value in before.items())
    assert (torch.get_rng_state() == random).all()


# Together with others.


def test_a_closed_probe_and_its_model_are_freed():
    model = small_network()
    there = probe(model, size=8, stride=8, layer="1")
    other = probe(small_network(1), size=8, stride=8)
    figure = there.chart()
    there.run_map(), other.run_map()
    there.compare_with(other)
    other.compare_with(there)
    there.masks = [rectangle(0, 0)]
    gone = weakref.ref(model), weakref.ref(there)
    there.close()
    del there, model, figure
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
    other.target = 1


def test_linked_views_share_picture_and_target():
    network = nbviz.Network(small_network(), classes=CLASSES, input_shape=(3, SIDE, SIDE))
    a, b = OcclusionProbe(network, pictures()), OcclusionProbe(network, pictures(), "bark")
    browser = nbviz.ActivationBrowser(network, pictures())
    assert set(link(a, b).shared) == {"image", "target", "layer", "channel"}
    assert a.target == b.target
    b.target = "fern"
    assert a.target == 3
    a.image = 2
    assert b.image == 2
    link(browser, a)
    browser.image = 1
    assert (a.image, b.image) == (1, 1)
    browser.layer = "3"
    assert a.layer == "3"


def test_probes_of_two_networks_share_the_target_only_where_classes_are_the_same():
    a, b = probe(small_network(0)), probe(small_network(1))
    other = probe(small_network(2), classes=["a", "b", "c", "d", "e"])
    assert set(link(a, b).shared) == {"image", "target"}
    a.target = "mushroom"
    assert b.target == 1
    assert link(a, other).shared == ("image",)


def test_two_views_of_one_model_do_not_disturb_one_another(frontend, monkeypatch):
    monkeypatch.setattr("nbviz.widgets.occlusion_answers.SLICE", 0.0)
    model = small_network()
    network = nbviz.Network(model, classes=CLASSES, input_shape=(3, SIDE, SIDE))
    a = OcclusionProbe(network, pictures(), 0, size=6, stride=3, fill="black")
    b = OcclusionProbe(network, pictures(), 1, size=6, stride=3, fill="black", image=1)
    running = True
    while running:
        answers = [
            frontend.ask(view, kind="map_go_on", rid="v-1", restart=not view.map)["progress"]
            for view in (a, b)
        ]
        drag(frontend, a, rectangle(2, 2))
        running = any(answer["running"] for answer in answers)
        assert answers[0]["done"] > 0
    for view, image in ((a, 0), (b, 1)):
        assert view.map["complete"]
        expected = probabilities(logits_of(view, image, 0.0, (6, 3, 12, 9)))
        assert decoded(view, view.target)[2, 1] == pytest.approx(expected[view.target], abs=1e-5)


# Pictures, charts and files.


def test_a_picture_of_ones_own_is_probed(frontend):
    there = probe(fill="black")
    own = pictures(seed=7)[0]
    there.look_at(own)
    assert (there.image, there.inputs["source"]) == (-1, "own")
    np.testing.assert_array_equal(wire.unpack(there.picture)["pixels"], own)
    packed = wire.pack({"pixels": own}, source="camera", done=False)
    buffers = packed.pop("buffers")
    content = {"method": "custom", "content": {**packed, "kind": "pixels", "rid": "v-1"}}
    there.comm.handle_msg({"content": {"data": content}, "buffers": buffers})
    answer = drag(frontend, there, rectangle(0, 0, SIDE, SIDE))
    black = np.zeros_like(own)
    expected = probabilities(there.network(there.network.prepare(black))[0])
    assert answer["target"]["probability"] == pytest.approx(
        expected[answer["target"]["number"]], abs=1e-5
    )
    there.size = there.stride = 8
    assert there.run_map().complete


def test_a_saved_notebook_shows_masks_map_and_words():
    there = probe(target="fern", size=8, stride=4, masks=[rectangle(2, 2)])
    before = there.still()
    there.run_map()
    after = there.still()
    assert after.shape[1] > before.shape[1] or after.shape[0] > before.shape[0]
    data, _ = there._repr_mimebundle_()
    assert {"image/png", "text/html"} <= set(data)
    assert "gives fern a probability of" in data["text/html"]
    stills = []
    for show in ("confidence", "most probable"):
        for scale in ("probability", "logit drop"):
            there.show, there.scale = show, scale
            stills.append(there.still().tobytes())
    assert len(set(stills)) == 3


def test_png_and_svg_carry_picture_map_numbers_and_escaped_names(tmp_path, frontend):
    there = probe(
        classes=["<script>alert(1)</script>", *CLASSES[1:]],
        target=0,
        size=8,
        stride=4,
        masks=[rectangle(2, 2), {"shape": "circle", "top": 9, "left": 9, "height": 5, "width": 7}],
    )
    there.run_map()
    png, svg = there.save(tmp_path / "probe")
    assert png.read_bytes().startswith(b"\x89PNG")
    text = svg.read_text(encoding="utf-8")
    assert text.count("<image") == 3
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "<rect" in text
    assert "<ellipse" in text
    assert "flush with the border" in text
    assert f"{float(there.confidence['target']['probability']):.3f}" in text
    answer = frontend.ask(there, kind="export", rid="v-1", format="svg")
    assert wire.unpack(answer)["data"].tobytes().decode() == text
    assert (answer["name"], answer["type"]) == ("occlusion.svg", "image/svg+xml")
    with pytest.raises(ValueError, match=r"name the file \.png or \.svg"):
        there.save(tmp_path / "probe.jpg")


def test_the_chart_follows_the_trail_and_closes_with_the_probe(frontend):
    there = probe(target="moss")
    figure = there.chart()
    before, now = figure.marks
    for row in (0, 4, 8):
        drag(frontend, there, rectangle(row, 0), point=(row, 0), done=row == 8)
    np.testing.assert_allclose(now.x, [0, 4, 8])
    np.testing.assert_allclose(now.y, [p["probability"] for p in there.trail])
    np.testing.assert_allclose(before.y, there.prediction["target"]["probability"])
    assert figure.title == "moss"
    there.target = "fern"
    assert (len(now.x), figure.title) == (0, "fern")
    there.close()
    assert now.comm is None


def test_python_and_the_view_name_the_same_traits():
    text = (JS / "occlusion-probe" / "state.ts").read_text(encoding="utf-8")
    state = text[text.index("export interface State {") :]
    named = set(re.findall(r"^  (\w+):", state[: state.index("\n}")], re.M))
    traits = {n for n in OcclusionProbe.class_trait_names(sync=True) if not n.startswith("_")}
    own = traits - {"comm", "layout", "tabbable", "tooltip"}
    assert named <= own
    assert own - named <= {"problem", "inputs"}
