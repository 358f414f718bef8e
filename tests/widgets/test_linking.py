"""Linked views choose alike as far as both can; and pictures that a person sends are shown."""

from __future__ import annotations

import gc
import io
import weakref

import numpy as np
import pytest
import torch
import traitlets
from PIL import Image
from torch import nn

import nbviz
from nbviz import ActivationBrowser, FilterGrid, ImageMap, OcclusionProbe, TopPatches, link
from nbviz.widgets import wire
from tests.fixtures.scanned import small_pictures as scanned_pictures
from tests.fixtures.scanned import small_scan

SIDE = 20


def small_network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 12, 3),
        nn.Flatten(),
        nn.Linear(12 * 64, 4),
    )


def pictures(count=6, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)


def network_of(model=None):
    return nbviz.Network(model or small_network(), input_shape=(3, SIDE, SIDE))


def two_browsers(count=(6, 6), **traits):
    network = network_of()
    first, second = (ActivationBrowser(network, pictures(n), **traits) for n in count)
    return first, second


def record(view, names=("image", "layer", "channel", "unit")):
    """Changes of a view's choices, in order."""
    seen = []
    view.observe(lambda change: seen.append((change["name"], change["new"])), names=names)
    return seen


def choices(view):
    return view.image, view.layer, view.channel, view.unit


def test_every_choice_goes_both_ways():
    a, b = two_browsers()
    linked = link(a, b)
    assert linked.shared == ("image", "layer", "channel", "unit")
    for source, target in ((a, b), (b, a)):
        source.layer = "3" if source is a else "0"
        source.channel = 4 if source is a else 2
        source.unit = [5, 6] if source is a else [19, 0]
        source.image = 3 if source is a else 1
        assert choices(target) == choices(source)
        np.testing.assert_array_equal(target.activation.maps, source.activation.maps)


def test_the_first_view_gives_the_choices_to_begin_with():
    a, b = two_browsers()
    a.layer, a.channel, a.unit, a.image = "3", 7, [4, 5], 2
    b.layer, b.channel, b.unit, b.image = "0", 1, [1, 1], 5
    link(a, b)
    assert choices(a) == choices(b) == (2, "3", 7, [4, 5])


def test_a_change_goes_once_and_does_not_come_back():
    a, b = two_browsers(layer="0", channel=5, unit=[10, 13])
    link(a, b)
    at_a, at_b = record(a), record(b)
    a.image = 4
    assert at_a == at_b == [("image", 4)]
    at_a.clear(), at_b.clear()
    b.layer = "3"
    assert [name for name, _ in at_a].count("layer") == 1
    assert sorted({name for name, _ in at_a}) == sorted({name for name, _ in at_b})
    assert len(at_b) <= 2
    assert choices(a) == choices(b) == (4, "3", 5, [4, 5])


def test_three_views_in_a_ring_come_to_rest():
    network = network_of()
    ring = [ActivationBrowser(network, pictures()) for _ in range(3)]
    for number in range(3):
        link(ring[number], ring[(number + 1) % 3])
    seen = [record(view) for view in ring]
    ring[1].layer = "3"
    ring[2].channel = 8
    ring[0].unit = [3, 2]
    ring[1].image = 5
    assert [choices(view) for view in ring] == [(5, "3", 8, [3, 2])] * 3
    assert max(map(len, seen)) <= 6


def test_what_the_browser_of_one_view_sets_at_once_reaches_the_other(frontend):
    a, b = two_browsers(layer="3", channel=11, unit=[7, 7])
    link(a, b)
    frontend.set(a, layer="0", channel=3, unit=[19, 2], image=2)
    assert (a.problem, b.problem) == ("", "")
    assert choices(a) == choices(b) == (2, "0", 3, [19, 2])
    frontend.set(a, layer="3")
    assert choices(a) == choices(b)
    np.testing.assert_array_equal(a.activation.maps, b.activation.maps)


def test_a_picture_that_the_other_has_not_leaves_it_as_it_is():
    a, b = two_browsers(count=(6, 3))
    link(a, b)
    a.image = 5
    assert (a.image, b.image) == (5, 0)
    a.channel = 3
    assert b.channel == 3
    b.image = 2
    assert a.image == 2


def test_a_picture_of_ones_own_leaves_the_other_as_it_is():
    a, b = two_browsers()
    a.image = 4
    link(a, b)
    a.look_at(pictures(seed=9)[0])
    assert (a.image, b.image, b.inputs["source"]) == (-1, 4, "dataset")
    own, other = ActivationBrowser(a.network, pictures()), b
    own.look_at(pictures(seed=9)[0])
    link(own, other)
    assert b.image == 4
    a.image = 2
    assert b.image == 2


def test_a_layer_that_a_grid_has_not_leaves_it_and_its_selection_as_they_are():
    network = network_of()
    grid, browser = FilterGrid(network, selected=[2, 4]), ActivationBrowser(network, pictures())
    link(grid, browser)
    assert (browser.layer, browser.channel) == ("0", 4)
    before = grid.layer, grid.selected
    browser.layer = "1"
    browser.channel = 1
    browser.unit = [3, 3]
    assert (grid.layer, grid.selected, grid.problem) == (*before, "")
    assert browser.channel == 1
    grid.selected = [5]
    assert (browser.layer, browser.channel) == ("1", 1)
    browser.layer = "0"
    assert grid.selected == [browser.channel]


def test_a_channel_of_a_grid_is_the_one_selected_last_and_back():
    network = network_of()
    grid, browser = FilterGrid(network), ActivationBrowser(network, pictures())
    link(browser, grid)
    for selected, channel in (([3], 3), ([3, 0], 0), ([], -1), ([5, 1, 2], 2)):
        grid.selected = selected
        assert (grid.channel, browser.channel) == (channel, channel)
        assert grid.selected == selected
    browser.channel = 4
    assert grid.selected == [4]
    browser.channel = -1
    assert grid.selected == []
    grid.layer = "3"
    assert browser.layer == "3"
    grid.selected = [11]
    assert browser.channel == 11


def test_an_unlinked_view_goes_its_own_way_and_unlinking_twice_does_no_harm():
    a, b = two_browsers()
    linked = link(a, b)
    linked.unlink()
    linked.unlink()
    a.layer, b.image = "3", 2
    assert (b.layer, a.image) == ("0", 0)


@pytest.mark.parametrize("closed", [0, 1])
def test_closing_one_view_ends_the_link_and_frees_it(closed, frontend):
    views = list(two_browsers())
    linked = link(*views)
    gone = weakref.ref(views[closed])
    views[closed].close()
    left = views[1 - closed]
    del views
    left.layer, left.channel = "3", 5
    assert (left.layer, left.channel) == ("3", 5)
    gc.collect()
    assert gone() is None
    linked.unlink()


def test_a_choice_that_fails_is_no_reason_to_stop_sharing():
    a, b = two_browsers()
    link(a, b)
    with pytest.raises(traitlets.TraitError, match="no layer '9'"):
        a.layer = "9"
    with pytest.raises(traitlets.TraitError, match="20 rows"):
        a.unit = [20, 0]
    assert choices(a) == choices(b)
    a.unit = [19, 0]
    assert b.unit == [19, 0]


def test_a_view_is_not_linked_to_itself():
    a, _ = two_browsers()
    with pytest.raises(ValueError, match="the same one twice"):
        link(a, a)


# More than two views at once.


def five_views(scan=None):
    scan = small_scan() if scan is None else scan
    images = scanned_pictures()
    return (
        FilterGrid(scan.network),
        ActivationBrowser(scan.network, images),
        OcclusionProbe(scan.network, images),
        TopPatches(scan),
        ImageMap(scan, method="pca"),
    )


def test_five_views_share_what_each_has():
    views = grid, browser, probe, patches, shown = five_views()
    linked = link(*views)
    assert linked.shared == ("image", "layer", "channel", "unit")
    shown.image = 7
    assert [view.image for view in views[1:]] == [7] * 4
    grid.selected = [2, 4]
    assert (browser.layer, patches.layer, probe.layer) == ("0",) * 3
    assert (browser.channel, patches.channel, probe.channel) == (4, 4, 4)
    patches.layer = "3"
    patches.channel, patches.unit = 5, [2, 3]
    assert (browser.layer, browser.channel, browser.unit) == ("3", 5, [2, 3])
    assert (probe.layer, probe.channel) == ("3", 5)
    assert (grid.layer, grid.selected) == ("0", [2, 4])  # layer "3" has no kernels
    probe.image = 11
    assert [view.image for view in views[1:]] == [11] * 4


def test_a_change_among_five_goes_once_to_each():
    views = five_views()
    link(*views)
    seen = [record(view) for view in views]
    views[4].image = 9
    assert seen == [[], *[[("image", 9)]] * 4]
    for each in seen:
        each.clear()
    views[3].channel = 1
    assert seen == [[("channel", 1)]] * 4 + [[]]


def test_of_several_the_first_that_has_a_choice_gives_it():
    grid, browser, probe, _, _ = five_views()
    grid.selected = [3]
    browser.layer, browser.image, probe.image = "3", 4, 8
    link(grid, browser, probe)
    assert (browser.layer, browser.channel) == ("0", 3)
    assert (browser.image, probe.image) == (4, 4)


def test_one_of_several_that_fails_keeps_the_others_in_line():
    class Broken:
        def __len__(self):
            return 40

        def __getitem__(self, number):
            if number == 6:
                raise OSError("the disk is gone")
            return scanned_pictures()[number]

    scan = small_scan()
    first, last = (ActivationBrowser(scan.network, scanned_pictures()) for _ in range(2))
    broken = ActivationBrowser(scan.network, Broken())
    link(first, broken, last)
    with pytest.raises(OSError, match="the disk is gone"):
        first.image = 6
    assert (first.image, broken.image, last.image) == (6, 0, 6)
    first.image = 7
    assert (broken.image, last.image) == (7, 7)


def test_a_closed_view_leaves_the_others_linked(frontend):
    grid, browser, probe, patches, shown = five_views()
    link(grid, browser, probe, patches, shown)
    gone = weakref.ref(browser)
    browser.close()
    del browser
    patches.image = 5
    assert (probe.image, shown.image) == (5, 5)
    for view in (grid, probe, patches):
        view.close()
    shown.image = 2
    assert probe.image == 5
    gc.collect()
    assert gone() is None


def test_views_that_do_not_fit_are_refused_by_name():
    grid, browser, _, _, shown = five_views()
    with pytest.raises(ValueError, match="a FilterGrid and the other views of different networks"):
        link(browser, shown, FilterGrid(network_of()))
    with pytest.raises(ValueError, match="the same one twice"):
        link(grid, browser, grid)
    with pytest.raises(TypeError, match="expected nbviz views, got a Network"):
        link(grid, browser, grid.network)
    linked = link(browser, shown)
    assert linked.shared == ("image",)


# Files that a person drops on the view, as `js/picture-inputs/picture-files.ts` sends them.


def png(colours) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(colours).save(stream, "PNG")
    return stream.getvalue()


def send_part(frontend, view, data, fields):
    packed = wire.pack({"data": np.frombuffer(data, np.uint8)}, **fields)
    buffers = packed.pop("buffers")
    content = {**packed, "kind": "picture_file", "rid": f"v-{fields['part']}"}
    view.comm.handle_msg(
        {"content": {"data": {"method": "custom", "content": content}}, "buffers": buffers}
    )
    answer = frontend.answers()[-1]
    assert answer["rid"] == f"v-{fields['part']}"
    return answer


def send_file(frontend, view, data, name="a.png", parts=3, upload="1-abc"):
    """Answers to all parts, until one is an error."""
    step = -(-len(data) // parts)
    answers = []
    for part in range(parts):
        chunk = data[part * step : (part + 1) * step]
        fields = {"upload": upload, "name": name, "parts": parts, "size": len(data), "part": part}
        answers.append(send_part(frontend, view, chunk, fields))
        if answers[-1]["kind"] == "error":
            break
    return answers


@pytest.mark.parametrize("parts", [1, 3])
def test_a_file_is_shown_when_its_last_part_has_come(parts, frontend):
    view = ActivationBrowser(network_of(), pictures(), layer="3")
    before = view.picture
    colours = pictures(seed=5)[0]
    answers = send_file(frontend, view, png(colours), parts=parts)
    assert [answer["kind"] for answer in answers] == ["picture_file"] * parts
    assert view.picture is not before
    np.testing.assert_array_equal(wire.unpack(view.picture)["a"], colours)
    assert (view.image, view.inputs["source"], view.problem) == (-1, "own", "")
    with torch.no_grad():
        exact = view.network.model[:4](view.network.prepare(colours))[0].numpy()
    np.testing.assert_allclose(view.activation.maps, exact, atol=1e-5)


def test_nothing_changes_before_the_last_part(frontend):
    view = ActivationBrowser(network_of(), pictures())
    before = view.picture
    data = png(pictures(seed=5)[0])
    fields = {"upload": "1", "name": "a.png", "parts": 2, "size": len(data), "part": 0}
    send_part(frontend, view, data[:100], fields)
    assert view.picture is before
    # Another file of the same name and size, begun meanwhile, does not get the rest of this one.
    send_part(frontend, view, data[:100], {**fields, "upload": "2"})
    late = send_part(frontend, view, data[100:], {**fields, "part": 1})
    assert late["kind"] == "error"
    assert "send it again" in late["message"]
    assert view.picture is before


BROKEN = [
    (png(pictures(seed=5)[0])[:700], "cut.png", "cut short"),
    (b"a list of things to buy\n" * 20, "list.txt", "“list.txt” looks like text; choose a picture"),
    (b"%PDF-1.7 ...", "paper.pdf", "a PDF document"),
]


@pytest.mark.parametrize(("data", "name", "said"), BROKEN, ids=[name for _, name, _ in BROKEN])
def test_a_file_that_is_no_picture_says_why_and_the_last_picture_stays(data, name, said, frontend):
    view = ActivationBrowser(network_of(), pictures(), layer="3")
    good = pictures(seed=5)[0]
    send_file(frontend, view, png(good))
    shown = view.picture, view.maps, view.prediction, choices(view)
    answer = send_file(frontend, view, data, name=name, parts=2, upload="2-xyz")[-1]
    assert answer["kind"] == "error"
    assert said in answer["message"]
    assert (view.picture, view.maps, view.prediction, choices(view)) == shown
    np.testing.assert_array_equal(wire.unpack(view.picture)["a"], good)
    again = send_file(frontend, view, png(pictures(seed=6)[0]), upload="3-uvw")[-1]
    assert again["kind"] == "picture_file"
    np.testing.assert_array_equal(wire.unpack(view.picture)["a"], pictures(seed=6)[0])


def test_an_empty_file_says_so(frontend):
    view = ActivationBrowser(network_of(), pictures())
    fields = {"upload": "1", "name": "empty.png", "parts": 1, "size": 0, "part": 0}
    answer = send_part(frontend, view, b"", fields)
    assert answer["kind"] == "error"
    assert "is empty (0 bytes)" in answer["message"]
