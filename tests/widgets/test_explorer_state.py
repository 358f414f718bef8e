"""The state of an Explorer: a small dict that reopens the same view, or is refused as a whole."""

from __future__ import annotations

import copy
import json

import pytest
import traitlets
from torch import nn

import nbviz
from nbviz import Explorer
from tests.fixtures.scanned import small_labels, small_pictures, small_scan

ARRIVED = ("panes", "columns", "layer", "channel", "unit", "image", "target")


def explorer_of(**options):
    scan = small_scan()
    given = {"labels": small_labels(), "options": {"map": {"method": "pca"}}, **options}
    return Explorer(scan.network, small_pictures(), scan, **given)


def reopened(state, **options):
    """An explorer of what came through JSON."""
    scan = small_scan()
    given = {"labels": small_labels(), "options": {"map": {"method": "pca"}}, **options}
    return Explorer.from_state(
        json.loads(json.dumps(state)), scan.network, small_pictures(), scan, **given
    )


def worked_with():
    """An explorer after a person was at it."""
    explorer = explorer_of()
    explorer.panes = ["map", "activations", "filters", "patches", "occlusion"]
    explorer.columns = 2
    explorer.layer = "3"
    explorer.channel, explorer.unit, explorer.image = 5, [4, 2], 17
    explorer.filters.sort = "norm"
    explorer.filters.selected = [1, 3]
    explorer.activations.normalise, explorer.activations.compared = "layer", 4
    explorer.activations.pinned = [["0", 2], ["3", 1]]
    explorer.occlusion.masks = [{"top": 2, "left": 3, "height": 5, "width": 4}]
    explorer.occlusion.target, explorer.occlusion.fill = 1, "black"
    explorer.patches.search, explorer.patches.sort = "cat", "index"
    explorer.patches.descending = False
    explorer.map.camera, explorer.map.arrangement = [30000.0, 20000.0, 3.5], "pca"
    explorer.map.colour, explorer.map.hidden = "class", [1, 2]
    return explorer


def own(explorer):
    """All choices of all panes."""
    return {
        name: {
            trait: copy.deepcopy(getattr(view, trait))
            for trait in view.CHOICES
            if trait not in ("origin",)
        }
        for name in ("activations", "occlusion", "patches", "map")
        for view in [getattr(explorer, name)]
    }


def test_a_new_explorer_has_a_state_without_more_than_it_needs():
    state = explorer_of().state
    assert state["views"] == {}
    assert len(json.dumps(state)) < 300
    assert state == json.loads(json.dumps(state))


def test_a_state_reopens_the_same_view():
    explorer = worked_with()
    state = explorer.state
    assert state == json.loads(json.dumps(state))
    assert len(json.dumps(state)) < 1500
    again = reopened(state)
    assert again.state == state
    for name in ARRIVED:
        assert getattr(again, name) == getattr(explorer, name), name
    assert own(again) == own(explorer)
    assert (again.filters.sort, again.filters.selected) == ("norm", [1, 3])
    assert again.map.camera == [30000.0, 20000.0, 3.5]
    again.map.image = 20
    assert again.activations.image == again.image == 20


def test_a_state_is_set_on_an_explorer_that_is_open():
    state = worked_with().state
    explorer = explorer_of(panes=["occlusion"], image=30)
    explorer.occlusion.opacity = 0.3
    explorer.state = state
    assert explorer.state == state
    assert explorer.occlusion.opacity == 0.6  # what a state does not name is as by default
    plain = explorer_of().state
    explorer.state = plain
    assert explorer.state == plain


def test_a_pane_that_is_closed_shows_its_choices_when_it_opens():
    explorer = explorer_of()
    explorer.map.arrangement = "pca"
    explorer.occlusion.target = 2
    explorer.panes = ["filters"]
    state = explorer.state
    assert state["views"]["map"] == {"arrangement": "pca"}
    again = reopened(state)
    assert list(again.children) == ["filters"]
    assert again.state == state
    again.panes = ["map", "occlusion"]
    assert again.map.arrangement == "pca"
    assert again.target == again.occlusion.target == 2


def test_a_pane_that_shows_another_layer_than_the_rest_does_so_again():
    explorer = explorer_of()
    explorer.filters.selected = [4]
    explorer.layer = "3"
    explorer.channel = 2
    assert (explorer.filters.layer, explorer.filters.selected) == ("0", [4])
    again = reopened(explorer.state)
    assert (again.filters.layer, again.filters.selected) == ("0", [4])
    assert (again.layer, again.channel, again.activations.channel) == ("3", 2, 2)


def test_an_unfinished_state_is_completed_by_defaults():
    again = reopened({"version": 1, "image": 4})
    assert (again.image, again.channel) == (4, -1)
    assert again.panes == ["filters", "activations", "occlusion", "patches", "map"]


BAD = [
    ("x", TypeError, "expected a state as explorer.state gives it, got a str"),
    ({}, ValueError, "state of version 1, .* got version None"),
    ({"version": 2}, ValueError, "version 1, .* got version 2"),
    ({"version": 1, "pane": []}, ValueError, "got 'pane'; did you mean 'panes'"),
    ({"version": 1, "panes": ["maps"]}, traitlets.TraitError, "got 'maps'; did you mean 'map'"),
    ({"version": 1, "columns": 9}, traitlets.TraitError, "9"),
    ({"version": 1, "layer": "conv7"}, traitlets.TraitError, "no layer 'conv7' in Sequential"),
    ({"version": 1, "image": 40}, traitlets.TraitError, "at most 39; got 40"),
    ({"version": 1, "channel": 6}, traitlets.TraitError, "below 6 for layer '0'; got 6"),
    ({"version": 1, "target": 4}, ValueError, "class number below 4, a name or None, got 4"),
    ({"version": 1, "target": "cap"}, ValueError, "got 'cap'; did you mean 'cat'"),
    ({"version": 1, "views": []}, TypeError, "expected views of a state as a dict"),
    ({"version": 1, "views": {"maps": {}}}, ValueError, "got 'maps'; did you mean 'map'"),
    ({"version": 1, "views": {"map": {"colour_layer": {}}}}, ValueError, "a choice of 'map'"),
    ({"version": 1, "views": {"filters": {"sort": "size"}}}, traitlets.TraitError, "'size'"),
    ({"version": 1, "views": {"patches": {"layer": "1"}}}, traitlets.TraitError, "not scanned"),
    ({"version": 1, "views": {"map": {"camera": [1.0]}}}, traitlets.TraitError, "camera"),
]


@pytest.mark.parametrize(("state", "error", "said"), BAD, ids=[said for *_, said in BAD])
def test_a_state_that_cannot_be_changes_nothing(state, error, said):
    explorer = worked_with()
    before, chosen = explorer.state, own(explorer)
    if isinstance(state, dict) and "views" in state:
        state = {"image": 3, "columns": 1, "panes": ["filters", "patches", "map"], **state}
    with pytest.raises(error, match=said):
        explorer.state = state
    assert explorer.state == before
    assert own(explorer) == chosen
    explorer.map.image = 2
    assert explorer.activations.image == 2
    with pytest.raises(error, match=said):
        reopened(state)


def test_a_state_of_one_network_on_another_is_refused_by_what_is_not_there():
    explorer = explorer_of(layer="3", channel=6)
    torso = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(648, 4))
    other = nbviz.Network(torso, input_shape=(3, 20, 20))
    with pytest.raises(traitlets.TraitError, match="no layer '3' in Sequential"):
        Explorer.from_state(explorer.state, other, small_pictures())
    few = nbviz.Explorer(explorer.network, small_pictures(10))
    explorer.image = 22
    with pytest.raises(traitlets.TraitError, match="at most 9; got 22"):
        few.state = explorer.state
    assert few.image == 0


def test_a_picture_of_ones_own_is_not_in_a_state():
    explorer = explorer_of(image=3)
    explorer.activations.look_at(small_pictures(seed=8)[0])
    explorer.occlusion.look_at(small_pictures(seed=8)[0])
    assert explorer.state["views"] == {}
    assert reopened(explorer.state).activations.image == 3


def test_what_was_given_as_options_is_in_a_state():
    explorer = explorer_of(options={"filters": {"sort": "noise"}, "map": {"method": "pca"}})
    assert explorer.state["views"] == {"filters": {"sort": "noise"}}
    assert reopened(explorer.state).filters.sort == "noise"
