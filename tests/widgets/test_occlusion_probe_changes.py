"""OcclusionProbe: networks that change or are compared, and maps that are interrupted."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from nbviz.analysis.state_stamp import state_stamp
from nbviz.widgets import wire
from tests.fixtures.probes import (
    decoded,
    drag,
    logits_of,
    probabilities,
    probe,
    rectangle,
    small_network,
    whole_map,
)


def trained(model):
    with torch.no_grad():
        model[0].weight.mul_(-3)


def another_module(model):
    model[1] = nn.Tanh()


def rebound(model):
    model[0].bias.data = model[0].bias.data + 2


def another_attribute(model):
    model[3].stride = (2, 2)
    model[7].in_features = 300
    model[7].weight = nn.Parameter(model[7].weight.detach()[:, :300] * 3)


def hooked(model):
    model[3].register_forward_hook(lambda module, given, maps: maps * -2)


def cleared_masks(frontend, there):
    """The answer when masks are cleared and set in the view, not dragged."""
    frontend.set(there, masks=[])
    frontend.set(there, masks=[rectangle(3, 5)])
    return there.confidence


def set_from_python(frontend, there):
    there.masks = []
    there.masks = [rectangle(3, 5)]
    return there.confidence


def dragged(frontend, there):
    return drag(frontend, there, rectangle(3, 5))


@pytest.mark.parametrize("ask", [dragged, cleared_masks, set_from_python])
@pytest.mark.parametrize("change", [trained, another_module, rebound, another_attribute, hooked])
def test_an_answer_never_mixes_the_network_as_it_is_with_what_it_was(change, ask, frontend):
    there = probe(fill="black", target="fern", size=6, stride=6)
    before = probabilities(logits_of(there))
    there.run_map()
    change(there.network.model)
    answer = ask(frontend, there)
    assert there.problem == ""
    base = probabilities(logits_of(there))
    covered = probabilities(logits_of(there, 0, 0.0, (3, 5, 9, 11)))
    assert abs(base - before).max() > 1e-3
    for entry in [*answer["top"], answer["target"]]:
        assert entry["probability"] == pytest.approx(covered[entry["number"]], abs=1e-5)
        assert entry["before"] == pytest.approx(base[entry["number"]], abs=1e-5)
    for entry in there.prediction["top"]:
        assert entry["probability"] == pytest.approx(base[entry["number"]], abs=1e-5)
    assert "weights have changed" in there.stale
    assert there.run_map().complete
    assert there.stale == ""
    expected = probabilities(logits_of(there, 0, 0.0, (6, 6, 12, 12)))
    assert decoded(there, 3)[1, 1] == pytest.approx(expected[3], abs=1e-5)


def test_evidence_classes_and_saved_pictures_are_of_the_network_as_it_is(frontend):
    there = probe(size=6, stride=6, fill="black")
    there.run_map()
    before = there.still()
    trained(there.network.model)
    answer = frontend.ask(there, kind="evidence", rid="v-1")
    assert "weights have changed" in answer["message"]
    there.run_map()
    trained(there.network.model)
    best = int(probabilities(logits_of(there)).argmax())
    found = frontend.ask(there, kind="find_class", rid="v-1", text="")["found"]
    assert found[0][0] == best
    there.run_map()
    trained(there.network.model)
    assert not np.array_equal(there.still(), before)
    assert "weights have changed" in there.stale


def test_a_network_at_rest_costs_no_pass_to_look_again(frontend):
    """Also one that counts its passes and keeps what went through."""

    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("passes", torch.zeros(1))
            self.calls, self.latest = 0, None

        def forward(self, x):
            self.passes += 1
            self.calls += 1
            self.latest = x
            return x

    there = probe(nn.Sequential(Counts(), *small_network()), size=6, stride=6)
    there.run_map()
    shown = there.picture
    for col in range(5):
        drag(frontend, there, rectangle(0, col), done=True)
    there.target = "bark"
    assert there.picture is shown
    assert there.stale == ""


def test_statistics_of_batch_norm_count_as_weights():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    before = state_stamp(model)
    model(torch.randn(2, 3, 8, 8))
    assert state_stamp(model) != before
    model.eval()
    before = state_stamp(model)
    model(torch.randn(2, 3, 8, 8))
    assert state_stamp(model) == before


def test_a_hook_in_place_of_another_is_noticed():
    model = nn.Linear(2, 2)
    handle = model.register_forward_hook(lambda *_: None)
    before = state_stamp(model)
    model.register_forward_hook(lambda *_: 1)
    handle.remove()
    assert state_stamp(model) != before


def test_the_map_ends_when_the_network_changes_between_two_slices(frontend, monkeypatch):
    monkeypatch.setattr("nbviz.widgets.occlusion_answers.SLICE", 0.0)
    there = probe(size=4, stride=1)
    assert frontend.ask(there, kind="map_go_on", rid="v-1", restart=True)["progress"]["running"]
    trained(there.network.model)
    answer = frontend.ask(there, kind="map_go_on", rid="v-1", restart=False)
    assert not answer["progress"]["running"]
    assert "weights have changed" in there.stale
    assert not there.map["complete"]
    whole_map(frontend, there)
    assert (there.map["complete"], there.stale) == (True, "")


def test_a_run_during_which_the_network_changes_says_so(monkeypatch):
    monkeypatch.setattr("nbviz.widgets.occlusion_probe.SLICE", 0.0)
    there = probe(size=4, stride=1)
    changed = []

    def change(_):
        if not changed:
            changed.append(1)
            trained(there.network.model)

    there.observe(change, names="progress")
    with pytest.raises(RuntimeError, match="changed"):
        there.run_map()
    assert "weights have changed" in there.stale
    assert not there.result.complete
    assert there.run_map().complete
    assert there.stale == ""


class Interrupted(nn.Module):
    """Raises in the middle of a pass, once, and counts the inputs that came through."""

    def __init__(self, error):
        super().__init__()
        # an object of one's own is not put back after a pass
        self.noted = SimpleNamespace(seen=0, after=None, error=error)

    def forward(self, x):
        noted = self.noted
        if noted.after is not None and noted.seen >= noted.after:
            noted.after = None
            raise noted.error
        noted.seen += len(x)
        return x


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("the model fails")])
def test_an_interrupt_in_a_pass_keeps_the_map_current_and_only_the_rest_is_asked(
    error, monkeypatch
):
    guard = Interrupted(error)
    there = probe(nn.Sequential(guard, *small_network()), size=4, stride=1, fill="black")
    there.network.model.register_forward_hook(lambda *_: None)  # whole passes, which are counted
    monkeypatch.setattr("nbviz.analysis.occlusion_survey._SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr("nbviz.widgets.occlusion_probe.SLICE", 0.0)
    there._look_again()
    guard.noted.seen, guard.noted.after = 0, 150
    with pytest.raises(type(error)):
        there.run_map()
    done = int((there.result.state == 1).sum())
    assert 0 < done < 21 * 21
    # As the view takes them: the map is of the picture on show, and to be gone on with.
    assert there.map["picture"] == there.picture["number"]
    assert (there.map["complete"], there.stale) == (False, "")
    assert (there.map["computed"], there.progress["running"]) == (done, False)
    assert (wire.unpack(there.map)["state"] == 1).sum() == done
    there.size = 5
    assert "4 px wide, not 5" in there.stale
    there.size = 4
    guard.noted.seen = 0
    assert there.run_map().complete
    assert guard.noted.seen <= 21 * 21 - done + 2
    assert there.map["complete"]


UNNORMALISED = "The network gets pixels from 0 to 1: no normalisation was given."


def test_pixels_that_nobody_normalised_are_said():
    assert probe().picture["note"] == UNNORMALISED
    there = probe()
    there.network.transform = lambda picture: torch.from_numpy(
        np.asarray(picture, np.float32).transpose(2, 0, 1) / 127.5 - 1
    )
    there.image = 1
    assert UNNORMALISED not in there.picture["note"]
    there.network.transform = lambda picture: torch.from_numpy(
        np.asarray(picture, np.float32).transpose(2, 0, 1) / 255
    )
    there.image = 2  # the person gave a transform, and may want just this
    assert UNNORMALISED not in there.picture["note"]
    own = probe()
    own.look_at(torch.randn(3, 24, 24))
    assert UNNORMALISED not in own.picture["note"]


def test_the_view_is_told_that_a_compared_map_is_of_another_picture():
    a, b = probe(small_network(0), size=8, stride=8), probe(small_network(1), size=8, stride=8)
    a.run_map(), b.run_map()
    a.compare_with(b)
    assert a.side == "both"
    assert a.kept["picture_id"] == a.map["picture_id"] == b.map["picture_id"] != ""
    assert a.kept["title"].endswith("another Sequential")
    b.image = 2
    # until the other has its new map, A is what it was
    assert a.kept["picture_id"] == a.map["picture_id"]
    b.run_map()
    assert a.kept["picture_id"] != a.map["picture_id"]
    shown = wire.unpack(a.kept)["pixels"]
    np.testing.assert_array_equal(shown, wire.unpack(b.picture)["pixels"])
    a.side = "difference"
    a.compare_with(b, name="the twin")
    assert (a.side, a.kept["network"]) == ("difference", "the twin")
    a.keep()
    assert a.kept["picture_id"] == a.map["picture_id"]
    assert a.kept["title"] == a.map["title"]
