"""OcclusionProbe: what a drag and the full map answer, and how maps are compared."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
import traitlets

import nbviz
from nbviz import OcclusionProbe
from nbviz.analysis.masked_inference import masked_inference
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
    whole_map,
)

# The drag.


def test_a_drag_answers_what_the_network_gives_with_these_pixels_painted_over(frontend):
    there = probe(fill="black", target="fern")
    answer = drag(frontend, there, rectangle(3, 5), rectangle(-2, 20, 8, 9), seq=7)
    expected = probabilities(logits_of(there, 0, 0.0, (3, 5, 9, 11), (-2, 20, 6, 29)))
    before = probabilities(logits_of(there))
    assert [entry["number"] for entry in answer["top"]] == (-expected).argsort().tolist()
    for entry in [*answer["top"], answer["target"]]:
        assert entry["probability"] == pytest.approx(expected[entry["number"]], abs=1e-5)
        assert entry["before"] == pytest.approx(before[entry["number"]], abs=1e-5)
        assert entry["name"] == CLASSES[entry["number"]]
    assert answer["target"]["number"] == 3
    assert (answer["seq"], answer["source"]) == (7, "network")
    assert answer["covered"] == pytest.approx((36 + 6 * 4) / SIDE**2)


def test_nothing_is_sent_but_the_answer_while_the_hand_moves(frontend):
    there = probe()
    frontend.sent.clear()
    for column in range(5):
        drag(frontend, there, rectangle(3, column))
    assert len(frontend.sent) == 5
    assert there.masks == []
    drag(frontend, there, rectangle(3, 9), done=True)
    assert there.masks == [rectangle(3, 9)]
    assert there.confidence["target"] == frontend.answers()[-1]["target"]


def test_masks_set_from_python_show_the_same_as_a_drag(frontend):
    there = probe()
    shapes = [
        {"shape": "circle", "top": 2, "left": 3, "height": 9, "width": 7},
        {"shape": "brush", "runs": [[20, 3, 8], [21, 2, 9]]},
    ]
    there.masks = shapes
    answer = drag(frontend, there, *shapes)
    assert {**there.confidence, "seq": 1} == {name: answer[name] for name in there.confidence}
    assert there.masks[1]["top"] == 20
    assert (there.masks[1]["left"], there.masks[1]["width"]) == (2, 7)


def test_the_trail_follows_the_hand_and_begins_anew_with_the_next_drag(frontend):
    there = probe(target=2)
    for row in range(0, 12, 4):
        drag(frontend, there, rectangle(row, 0), point=(row + 3, 3), done=row == 8)
    assert [(p["row"], p["col"], p["path"]) for p in there.trail] == [
        (3, 3, 0),
        (7, 3, 4),
        (11, 3, 8),
    ]
    assert there.trail[-1]["probability"] == there.confidence["target"]["probability"]
    drag(frontend, there, rectangle(0, 5), point=(3, 8), done=True)
    assert [p["col"] for p in there.trail] == [8]
    there.target = 1
    assert there.trail == []


def test_a_long_drag_keeps_at_most_400_points(frontend):
    there = probe()
    for step in range(900):
        there._path.add(step, 0, there.confidence["target"])
    drag(frontend, there, rectangle(0, 5), point=(900, 0), done=True)
    assert len(there.trail) <= 400
    assert there.trail[-1]["path"] == 900


FILLS = ["mean", "grey", "black", "colour", "blur", "noise", "picture"]


@pytest.mark.parametrize("fill", FILLS)
def test_every_fill_shows_in_the_view_what_the_network_gets(fill):
    there = probe(fill=fill, masks=[rectangle(4, 4, 10, 10)])
    pixels = wire.unpack(there.replacement)["pixels"]
    assert (there.replacement["fill"], pixels.shape) == (fill, (SIDE, SIDE, 3))
    shown = pictures()[0].copy()
    shown[4:14, 4:14] = pixels[4:14, 4:14]
    expected = probabilities(there.network(there.network.prepare(shown))[0])
    # The pixels are whole levels, what the network gets is not.
    found = there.confidence["target"]
    assert found["probability"] == pytest.approx(expected[found["number"]], abs=5e-3)
    assert there.replacement["note"]


def test_the_mean_colour_of_a_data_set_without_normalisation_is_that_of_its_pictures():
    there = probe()
    mean = pictures().reshape(-1, 3).mean(0)
    pixels = wire.unpack(there.replacement)["pixels"]
    np.testing.assert_allclose(pixels[0, 0], mean, atol=0.51)


def test_a_patch_of_another_picture_is_taken_from_the_next_one_until_chosen():
    there = probe(fill="picture", image=3)
    assert there.fill_image == 0
    np.testing.assert_array_equal(wire.unpack(there.replacement)["pixels"], pictures()[0])
    there.fill_image = 2
    np.testing.assert_array_equal(wire.unpack(there.replacement)["pixels"], pictures()[2])
    alone = probe(images=pictures()[0])
    with pytest.raises(traitlets.TraitError, match="second picture"):
        alone.fill = "picture"
    assert alone.fill == "mean"


# The full map.


def test_every_cell_of_the_map_is_the_probability_with_its_mask(frontend):
    there = probe(fill="black", size=7, stride=5, target=4)
    answers = whole_map(frontend, there)
    assert there.map["complete"]
    assert there.stale == ""
    assert not answers[-1]["progress"]["running"]
    arrays = wire.unpack(there.map)
    assert arrays["tops"].tolist() == arrays["lefts"].tolist() == [0, 5, 10, 15, 17]
    for number in range(5):
        shown = decoded(there, number)
        for i, top in enumerate(arrays["tops"]):
            for j, left in enumerate(arrays["lefts"]):
                expected = probabilities(logits_of(there, 0, 0.0, (top, left, top + 7, left + 7)))
                assert shown[i, j] == pytest.approx(expected[number], abs=1e-5)
                assert arrays["top_classes"][i, j, 0] == expected.argmax()
    base = there.map["base"]["4"]["probability"]
    assert base == pytest.approx(probabilities(logits_of(there))[4], abs=1e-6)


def test_python_makes_the_same_map_as_the_view(frontend):
    there, other = probe(size=6, stride=3), probe(size=6, stride=3)
    whole_map(frontend, there)
    result = other.run_map()
    assert result is other.result
    for name, array in wire.unpack(there.map).items():
        np.testing.assert_allclose(wire.unpack(other.map)[name], array, atol=1e-5)
    assert (other.progress["running"], other.progress["done"]) == (False, result.state.size)
    assert other.run_map() is result


def test_another_target_needs_no_pass(frontend):
    passes = []
    model = small_network()
    model.register_forward_pre_hook(lambda *_: passes.append(1))
    there = probe(model, size=6, stride=3)
    there.run_map()
    there.masks = [rectangle(0, 0)]
    assert passes
    passes.clear()
    for name in CLASSES:
        there.target = name
        assert there.confidence["target"]["name"] == name
        assert there.stale == ""
        assert decoded(there, there.target).shape == (7, 7)
    assert passes == []


def test_of_many_classes_those_sent_include_the_target_and_name_all_on_top():
    there = probe(small_network(classes=40), classes=None, size=6, stride=6)
    there.run_map()
    for target in (int(there.result.base_logits.argmin()), 0, 39):
        there.target = target
        np.testing.assert_allclose(
            decoded(there, target), there.result.values(target, "probability"), rtol=1e-5
        )
        assert len(there.map["classes"]) <= 13
    on_top = set(np.unique(wire.unpack(there.map)["top_classes"]).tolist())
    assert on_top <= {int(number) for number in there.map["names"]}
    assert set(there.map["names"]) == set(there.map["base"])


def test_stopping_keeps_what_was_computed_and_going_on_completes_it(frontend, monkeypatch):
    whole = probe(size=4, stride=1).run_map()
    there = probe(size=4, stride=1)
    monkeypatch.setattr("nbviz.widgets.occlusion_answers.SLICE", 0.0)
    monkeypatch.setattr("nbviz.analysis.occlusion_survey._SECONDS_BETWEEN", 0.0)
    first = frontend.ask(there, kind="map_go_on", rid="v-1", restart=True)
    assert first["progress"]["running"]
    stopped = frontend.ask(there, kind="map_stop", rid="v-1")
    assert not stopped["progress"]["running"]
    assert not there.map["complete"]
    assert "a partial map" in there.map["settings"]
    state = wire.unpack(there.map)["state"]
    assert 0 < (state == 1).sum() == there.map["computed"] < state.size
    resumed = frontend.ask(there, kind="map_go_on", rid="v-1", restart=False)
    assert resumed["progress"]["done"] > stopped["progress"]["done"]
    whole_map(frontend, there, restart=False)
    assert there.map["complete"]
    np.testing.assert_allclose(there.result.logits, whole.logits, atol=1e-5)


def test_an_interrupt_keeps_the_partial_map_and_the_next_run_completes_it(monkeypatch):
    there = probe(size=4, stride=1)
    whole = probe(size=4, stride=1).run_map()
    monkeypatch.setattr("nbviz.analysis.occlusion_survey._SECONDS_BETWEEN", 0.0)
    seen = []

    def interrupt(change):
        seen.append(change["new"]["done"])
        if len(seen) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("nbviz.widgets.occlusion_probe.SLICE", 0.0)
    there.observe(interrupt, names="progress")
    with pytest.raises(KeyboardInterrupt):
        there.run_map()
    there.unobserve(interrupt, names="progress")
    assert not there.result.complete
    assert not there.map["complete"]
    done = (there.result.state == 1).sum()
    assert done >= seen[1] > 0
    assert there.run_map().complete
    np.testing.assert_allclose(there.result.logits, whole.logits, atol=1e-5)


def test_no_work_goes_on_when_nobody_asks(frontend):
    passes = []
    model = small_network()
    there = probe(model, size=4, stride=1)
    frontend.ask(there, kind="map_go_on", rid="v-1", restart=True)
    model.register_forward_pre_hook(lambda *_: passes.append(1))
    there.scale, there.opacity = "logit", 0.3
    there.close()
    gc.collect()
    assert passes == []


CHANGES = [
    ({"image": 1}, "another picture"),
    ({"size": 5}, "6 px wide, not 5"),
    ({"stride": 4}, "3 px, not 4"),
    ({"fill": "black"}, "filled otherwise"),
    ({"mask_shape": "circle"}, "rectangle"),
]


@pytest.mark.parametrize(("change", "said"), CHANGES, ids=[next(iter(c)) for c, _ in CHANGES])
def test_a_map_that_is_not_of_what_is_set_says_so_and_goes_back(change, said):
    there = probe(size=6, stride=3)
    there.run_map()
    ((name, value),) = change.items()
    before = getattr(there, name)
    setattr(there, name, value)
    assert said in there.stale
    if name != "image":
        setattr(there, name, before)
        assert there.stale == ""
    there.run_map()
    assert there.stale == ""


def test_a_change_in_the_middle_ends_the_work(frontend, monkeypatch):
    monkeypatch.setattr("nbviz.widgets.occlusion_answers.SLICE", 0.0)
    there = probe(size=4, stride=1)
    assert frontend.ask(there, kind="map_go_on", rid="v-1", restart=True)["progress"]["running"]
    there.image = 2
    answer = frontend.ask(there, kind="map_go_on", rid="v-1", restart=False)
    assert not answer["progress"]["running"]
    assert whole_map(frontend, there)[-1]["progress"]["done"] == 21 * 21
    assert there.map["picture"] == there.picture["number"]


@pytest.mark.parametrize("way", ["incremental", "plain"])
def test_weights_that_changed_are_what_is_probed_from_then_on(way, frontend, monkeypatch):
    def this_way(*given, **options):
        return masked_inference(*given, **{**options, "way": way})

    monkeypatch.setattr("nbviz.widgets.masked_picture.masked_inference", this_way)
    model = small_network()
    there = probe(model, fill="black", size=6, stride=6)
    there.run_map()
    with torch.no_grad():
        model[7].weight.mul_(5)
        model[0].bias.add_(0.5)
    answer = drag(frontend, there, rectangle(6, 6))
    expected = probabilities(logits_of(there, 0, 0.0, (6, 6, 12, 12)))
    before = probabilities(logits_of(there))
    for entry in answer["top"]:
        assert entry["probability"] == pytest.approx(expected[entry["number"]], abs=1e-4)
        assert entry["before"] == pytest.approx(before[entry["number"]], abs=1e-4)
    first = there.prediction["top"][0]
    assert first["probability"] == pytest.approx(before.max(), abs=1e-4)
    assert "weights have changed" in there.stale
    there.run_map()
    assert there.stale == ""
    assert decoded(there, there.target)[1, 1] == pytest.approx(expected[there.target], abs=1e-4)


def test_a_class_that_a_map_does_not_keep_is_said_and_the_next_map_has_it(monkeypatch):
    monkeypatch.setattr("nbviz.analysis.occlusion_survey._ALL_CLASSES", 2)
    monkeypatch.setattr("nbviz.analysis.occlusion_survey._KEPT_CLASSES", 2)
    there = probe(size=8, stride=8)
    there.run_map()
    kept = there.result.classes.tolist()
    assert len(kept) < 5
    there.target = next(number for number in range(5) if number not in kept)
    assert f"keeps {len(kept)} classes, and not {CLASSES[there.target]}" in there.stale
    assert there.still().ndim == 3
    there.run_map()
    assert there.stale == ""
    assert decoded(there, there.target).shape == (3, 3)


def test_sums_of_a_feature_map_come_with_the_map():
    there = probe(size=6, stride=6, fill="black", layer="1", channel=2)
    there.run_map()
    batch = torch.tensor(pictures()[0]).permute(2, 0, 1)[None].float() / 255
    batch[:, :, 6:12, 12:18] = 0
    with torch.no_grad():
        maps = there.network.model[:2](batch)[0]
    sums = wire.unpack(there.map)["sums"]
    assert sums[1, 2] == pytest.approx(float(maps[2].sum()), rel=1e-4)
    there.channel = -1
    sums = wire.unpack(there.map)["sums"]
    assert sums[1, 2] == pytest.approx(float(maps.sum()), rel=1e-4)
    there.layer = "3"
    assert there.map["feature"] is None
    there.run_map()
    assert there.map["feature"]["layer"] == "3"


# Comparing.


def test_a_map_kept_as_a_stays_with_its_target_when_another_is_made(frontend):
    there = probe(size=8, stride=4, target="moss")
    there.run_map()
    frontend.ask(there, kind="keep_map", rid="v-1")
    kept = wire.unpack(there.kept)
    there.size, there.target = 4, "bark"
    there.run_map()
    assert there.kept["size"] == [8, 8]
    assert there.kept["target"] == {"number": 0, "name": "moss"}
    assert there.map["size"] == [4, 4]
    assert 0 in [number for number, _ in there.kept["classes"]]
    np.testing.assert_array_equal(wire.unpack(there.kept)["logits"], kept["logits"])
    answer = frontend.ask(there, kind="class_map", rid="v-1", number=3, of="kept")
    assert wire.unpack(answer)["logits"].shape == kept["state"].shape
    frontend.ask(there, kind="drop_map", rid="v-1")
    assert there.kept == {}


def test_the_map_of_another_network_is_followed_until_let_go():
    a, b = probe(small_network(0), size=8, stride=8), probe(small_network(1), size=8, stride=8)
    with pytest.raises(ValueError, match="no map yet"):
        a.compare_with(b)
    a.run_map(), b.run_map()
    a.compare_with(b)
    np.testing.assert_array_equal(wire.unpack(a.kept)["logits"], wire.unpack(b.map)["logits"])
    b.target = "fern"
    assert a.kept["target"]["name"] == "fern"
    b.image = 2
    b.run_map()
    np.testing.assert_array_equal(wire.unpack(a.kept)["state"], wire.unpack(b.map)["state"])
    held = a.kept["buffers"]
    a.keep()
    b.target = "moss"
    assert a.kept["target"]["number"] == a.target
    assert a.kept["buffers"] is not held
    a.compare_with(b)
    a.close()
    held = a.kept
    b.target = "bark"
    assert a.kept is held
    with pytest.raises(ValueError, match="this one"):
        a.compare_with(a)
    with pytest.raises(TypeError, match="OcclusionProbe"):
        a.compare_with("b")


# Evidence.


def test_the_planted_badge_is_found_in_the_biased_network_and_not_in_its_twin(frontend):
    shares = {}
    for biased in (True, False):
        demo = nbviz.demos.scenes(biased=biased)
        chosen = [
            i
            for i, box in enumerate(demo.badges)
            if box[0] >= 0 and demo.labels[i] == demo.badge_class
        ]
        there = OcclusionProbe(
            demo.network,
            demo.images,
            demo.badge_class,
            boxes=demo.badges,
            image=chosen[0],
            size=12,
            stride=6,
        )
        found = there.evidence()
        left, top, right, bottom = demo.badges[chosen[0]].tolist()
        assert there.evidence_shown["boxes"] == [[top, left, bottom, right]]
        assert there.evidence_shown["verdict"] == found.verdict
        assert there.evidence_shown["target"]["number"] == demo.badge_class
        shares[biased] = found.concentration
        there.image = next(i for i, box in enumerate(demo.badges) if box[0] < 0)
        assert there.evidence_shown == {}
        assert there.evidence().inside is None
    assert shares[True] > 8 > shares[False]


def test_evidence_of_boxes_of_ones_own_and_its_end(frontend):
    there = probe(size=6, stride=6, fill="black", target=1)
    answer = frontend.ask(there, kind="evidence", rid="v-1")
    assert answer["kind"] == "error"
    assert "make the full map first" in answer["message"]
    there.run_map()
    frontend.ask(there, kind="evidence", rid="v-1")
    assert there.evidence_shown["boxes"] == []
    there.evidence([(2, 3, 8, 12), (15, 15, 20, 20)])
    assert there.evidence_shown["boxes"] == [[3, 2, 12, 8], [15, 15, 20, 20]]
    area = (6 * 9 + 25) / SIDE**2
    assert there.evidence_shown["area"] == pytest.approx(area)
    frontend.ask(there, kind="drop_evidence", rid="v-1")
    assert there.evidence_shown == {}
    there.size = 5
    assert "does not fit" in frontend.ask(there, kind="evidence", rid="v-1")["message"]
    with pytest.raises(ValueError, match="left < right"):
        there.evidence((5, 5, 5, 9))


BOXES = [
    (np.array([[1, 2, 3, 4]] * 3), "each of 4 pictures"),
    ([(1, 2, 3)] * 4, r"as \(left, top, right, bottom\)"),
    ([(9, 2, 3, 4)] * 4, "left < right"),
]


@pytest.mark.parametrize(("boxes", "said"), BOXES)
def test_known_boxes_that_are_none_say_what_is_expected(boxes, said):
    with pytest.raises(ValueError, match=said):
        probe(boxes=boxes)


def test_known_boxes_are_taken_in_every_form():
    one = [(2, 1, 4, 3)]
    for boxes in ((1, 2, 3, 4), [(1, 2, 3, 4)], np.array([1, 2, 3, 4]), [[(1, 2, 3, 4)]]):
        assert probe(images=pictures()[0], boxes=boxes)._known_boxes() == one
    there = probe(boxes=[None, (1, 2, 3, 4), (-1, -1, -1, -1), [(1, 2, 3, 4), (0, 0, 5, 5)]])
    found = []
    for image in range(4):
        there.image = image
        found.append(there._known_boxes())
    assert found == [[], one, [], [*one, (0, 0, 5, 5)]]
