"""Pages without Python: what they hold is what Python showed, and the widgets stay as they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import nbviz
from nbviz.analysis.embedding import embed
from nbviz.widgets import saved_page as module
from nbviz.widgets import top_patches_answers
from tests.fixtures.saved_pages import page_of, plain

DIGITS = nbviz.demos.digits()
SCENES = nbviz.demos.scenes()


def scan_of(demo=SCENES, **settings):
    few = slice(0, 40)
    given = {"labels": demo.labels[few], "classes": demo.classes, **settings}
    return nbviz.scan(demo.network, demo.images[few], progress=False, **given)


def saved(tmp_path, *items, **settings):
    path = tmp_path / "page.html"
    made = nbviz.save_html([*items], path, progress=False, **settings)
    return page_of(path), made


def model_of(page, view):
    return page["models"][view.model_id]


def axis_of(page, view, *choices):
    return next(axis for axis in model_of(page, view)["axes"] if axis["choices"] == [*choices])


def asked(page, view, kind):
    return [each for each in model_of(page, view)["answers"] if each["kind"] == kind]


def test_every_layer_is_what_another_grid_shows(tmp_path):
    grid = nbviz.FilterGrid(SCENES.network, sort="noise")
    page, made = saved(tmp_path, grid)
    assert made.nbytes == made.path.stat().st_size
    assert made.left_out == ()
    found = axis_of(page, grid, "layer")["values"]
    assert [values[0] for values, _ in found] == [entry["name"] for entry in grid.layers]
    for (layer,), shown in found:
        twin = nbviz.FilterGrid(SCENES.network, layer)
        assert shown["kernels"] == plain(twin.kernels)
        assert shown["selected"] == []
    assert model_of(page, grid)["state"]["sort"] == "noise"
    assert model_of(page, grid)["module"].decode() == grid._esm


def test_layers_and_pictures_are_walked_together(tmp_path):
    network, images, labels, _ = DIGITS
    browser = nbviz.ActivationBrowser(network, images, labels=labels, image=3)
    page, _ = saved(tmp_path, browser, images=[5, 3, 9])
    found = axis_of(page, browser, "layer", "image")["values"]
    layers = [entry["name"] for entry in browser.layers if not entry["problem"]]
    assert {tuple(values) for values, _ in found} == {(a, b) for a in layers for b in (3, 5, 9)}
    assert [values[1] for values, _ in found[: len(layers)]] == [3] * len(layers)
    for (layer, image), shown in found:
        twin = nbviz.ActivationBrowser(network, images, labels=labels, image=image, layer=layer)
        assert shown["maps"]["layer"] == layer
        assert shown["maps"]["buffers"] == plain(twin.maps["buffers"])
        assert shown["prediction"] == plain(twin.prediction)
        # Maps and picture name the same pass, by which the view knows that they belong together.
        assert shown["maps"]["pictures"] == [shown["picture"]["number"]]


def test_the_classes_of_a_full_map(tmp_path):
    probe = nbviz.OcclusionProbe(SCENES.network, SCENES.images, "mushroom", image=16, stride=8)
    probe.evidence()
    page, made = saved(tmp_path, probe)
    assert made.left_out == ()
    targets = axis_of(page, probe, "target")["values"]
    assert len(targets) > 3
    for (target,), shown in targets:
        assert shown["prediction"]["target"]["number"] == target
        assert shown["map"]["target"]["number"] == target
    assert "size" in model_of(page, probe)["fixed"]
    assert probe.evidence_shown


def test_without_a_full_map_one_is_told_what_to_do(tmp_path):
    probe = nbviz.OcclusionProbe(SCENES.network, SCENES.images)
    page, made = saved(tmp_path, probe)
    assert "run_map()" in made.left_out[0]
    assert page["left_out"] == list(made.left_out)


def test_strips_channels_and_images_are_what_python_answers(tmp_path):
    patches = nbviz.TopPatches(scan_of(layers=["relu2", "relu3"]), "relu3", channel=21, patches=4)
    page, made = saved(tmp_path, patches)
    assert made.left_out == ()
    assert [values for values, _ in axis_of(page, patches, "layer")["values"]] == [
        ["relu3"],
        ["relu2"],
    ]
    strips = asked(page, patches, "rows")
    for layer in ("relu2", "relu3"):
        listed = [c for each in strips if each["same"]["layer"] == layer for c in each["listed"]]
        assert sorted(listed) == list(range(patches.scan[layer].channels))
    for kind, which in (("channel", slice(None, None, 9)), ("image", slice(None, None, 37))):
        for each in asked(page, patches, kind)[which]:
            assert each["answer"] == plain(patches.answer(kind, **each["same"], **each["near"]))
    assert patches.channel == 21


def test_the_pictures_and_layouts_of_a_map(tmp_path):
    network, images, labels, _ = DIGITS
    found = nbviz.scan(network, images, labels=labels, layers="conv1", progress=False)
    quick = embed(found.images.features, iterations=(20, 30), progress=False)
    digits = nbviz.ImageMap(found, embedding=quick, seams=True)
    digits.wait(progress=False)
    page, made = saved(tmp_path, digits)
    assert made.left_out == ()
    places = axis_of(page, digits, "arrangement", "colour")["values"]
    assert {values[0] for values, _ in places} == {"map", "grid", "pca"}
    for (layout, colour), shown in places[::5]:
        twin = nbviz.ImageMap(found, embedding=digits.embedding, arrangement=layout, colour=colour)
        twin.wait(progress=False)
        assert shown["colour_layer"] == plain(twin.colour_layer)
    sheets = asked(page, digits, "tiles")
    for side in (32, 128, 256):
        rows = [row for each in sheets if each["same"]["tile"] == side for row in each["listed"]]
        assert sorted(rows) == list(range(len(images)))
    assert digits.arrangement == "map"
    assert digits.seam_lines


def test_a_map_that_is_not_finished_stays_as_it_is(tmp_path):
    found = nbviz.scan(DIGITS.network, DIGITS.images[:60], layers="conv1", progress=False)
    digits = nbviz.ImageMap(found)
    page, made = saved(tmp_path, digits)
    assert "wait()" in made.left_out[0]
    assert len(axis_of(page, digits, "arrangement", "colour")["values"]) == 1
    assert not digits.progress["finished"]


def test_a_list_that_is_answered_in_pieces_is_there_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(top_patches_answers, "_PATIENCE", 0)
    patches = nbviz.TopPatches(scan_of(layers="relu2"), patches=2)
    page, _ = saved(tmp_path, patches)
    strips = asked(page, patches, "rows")
    assert [each["listed"] for each in strips] == [
        [c] for c in range(patches.scan["relu2"].channels)
    ]
    assert all(each["answer"]["channels"] == each["listed"] for each in strips)


WIDGETS = {
    "filters": lambda: nbviz.FilterGrid(SCENES.network, selected=[2, 1], sort="norm"),
    "activations": lambda: nbviz.ActivationBrowser(
        SCENES.network, SCENES.images, image=2, layer="relu2", channel=9, unit=[8, 17]
    ),
    "occlusion": lambda: nbviz.OcclusionProbe(SCENES.network, SCENES.images, image=1, size=12),
    "patches": lambda: nbviz.TopPatches(scan_of(layers=["relu2", "relu3"]), "relu3", channel=1),
    "map": lambda: nbviz.ImageMap(
        scan_of(layers="relu3"), method="pca", colour="prediction", hidden=[1]
    ),
}


@pytest.mark.parametrize("name", WIDGETS)
def test_a_widget_is_as_it_was_and_nobody_hears_of_it(name, tmp_path, frontend):
    view = WIDGETS[name]()
    if name == "map":
        view.wait(progress=False)
    heard = []
    choices = [n for n in view._public() if not view.trait_metadata(n, "shown")]
    before = {n: plain(getattr(view, n)) for n in choices if n != "selected" or name == "filters"}
    seen = view.still()
    view.observe(heard.append)
    frontend.sent.clear()
    saved(tmp_path, view)
    assert heard == []
    assert {n: plain(getattr(view, n)) for n in before} == before
    assert view.problem == ""
    # What is brought up to date afterwards is what the widget really has.
    for message in frontend.sent:
        for trait, value in message["data"].get("state", {}).items():
            assert value is None or trait in view.keys
    view.unobserve(heard.append)
    np.testing.assert_array_equal(view.still(), seen)


def test_what_does_not_fit_is_left_out_and_named(tmp_path):
    network, images, labels, _ = DIGITS
    grid = nbviz.FilterGrid(SCENES.network)
    browser = nbviz.ActivationBrowser(network, images, labels=labels)
    whole, made = saved(tmp_path, grid, browser)
    limit = made.nbytes - 60_000
    page, made = saved(tmp_path, grid, browser, max_bytes=limit)
    assert made.nbytes <= limit
    left = [said for said in made.left_out if said.startswith("ActivationBrowser: ")]
    count = len(axis_of(whole, browser, "layer", "image")["values"])
    kept = len(axis_of(page, browser, "layer", "image")["values"])
    assert left == [f"ActivationBrowser: {count - kept} of {count} layers and pictures left out."]
    with pytest.raises(ValueError, match=r"views alone take about .* MB, more than max_bytes"):
        saved(tmp_path, grid, browser, max_bytes=50_000)


def test_an_interrupt_keeps_what_was_recorded(tmp_path, monkeypatch):
    grid = nbviz.FilterGrid(SCENES.network)
    real, calls = module._Page.add, []

    def add(self, view, recorded):
        calls.append(recorded)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(self, view, recorded)

    monkeypatch.setattr(module._Page, "add", add)
    page, made = saved(tmp_path, grid)
    assert len(axis_of(page, grid, "layer")["values"]) == 1
    assert "interrupted" in made.left_out[-1]
    assert grid.layer == grid.layers[0]["name"]


def test_linked_views_are_linked_in_the_page(tmp_path):
    grid = nbviz.FilterGrid(SCENES.network)
    browser = nbviz.ActivationBrowser(SCENES.network, SCENES.images)
    alone = nbviz.FilterGrid(SCENES.network)
    nbviz.link(grid, browser)
    page, _ = saved(tmp_path, grid, browser, alone)
    (link,) = page["links"]
    assert set(link["models"]) == {grid.model_id, browser.model_id}
    assert link["shared"] == ["layer", "channel"]
    grid.layer = "conv2"
    assert browser.layer == "conv2"


def test_an_explorer_is_saved_with_its_panes_and_their_links(tmp_path):
    scan = scan_of(layers=["relu2", "relu3"])
    few = SCENES.images[:40]
    explorer = nbviz.Explorer(
        SCENES.network, few, scan, panes=["filters", "activations", "patches"]
    )
    page, _ = saved(tmp_path, explorer)
    assert page["items"] == [{"model": explorer.model_id}]
    inner = {"filters": explorer.filters, "activations": explorer.activations}
    for name, view in inner.items():
        assert model_of(page, explorer)["state"]["children"][name] == f"anywidget:{view.model_id}"
        assert model_of(page, view)["axes"]
    pairs = {frozenset(link["models"]): link["shared"] for link in page["links"]}
    assert "layer" in pairs[frozenset(view.model_id for view in inner.values())]
    assert "image" in pairs[frozenset((explorer.model_id, explorer.activations.model_id))]
    assert (
        explorer.state == nbviz.Explorer.from_state(explorer.state, SCENES.network, few, scan).state
    )


def test_texts_stay_texts(tmp_path):
    grid = nbviz.FilterGrid(SCENES.network)
    hostile = "</script><script>alert(1)</script>"
    page, made = saved(tmp_path, hostile, grid, title=hostile)
    assert page["items"] == [{"text": hostile}, {"model": grid.model_id}]
    assert page["title"] == hostile
    assert "<script>alert" not in made.path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("items", "name", "settings", "message"),
    [
        ([], "a.html", {}, "at least one view"),
        (["only a text"], "a.html", {}, "at least one view"),
        ([3], "a.html", {}, "nbviz views and texts, got a int"),
        ([nbviz.FilterGrid(SCENES.network)], "a.png", {}, r"ends in \.html, got 'a.png'"),
        (
            [nbviz.ActivationBrowser(DIGITS.network, DIGITS.images[:4])],
            "a.html",
            {"images": [4]},
            "0 to 3, in images=; got 4",
        ),
    ],
)
def test_what_cannot_be_saved_is_refused(items, name, settings, message, tmp_path):
    with pytest.raises((TypeError, ValueError), match=message):
        nbviz.save_html(items, tmp_path / name, progress=False, **settings)
    assert not (tmp_path / name).exists()


def test_numbers_that_json_has_not_are_refused_by_none(tmp_path):
    network = nbviz.Network(torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3)), input_shape=(1, 9, 9))
    with torch.no_grad():
        network.model[0].weight[0, 0, 0, 0] = np.nan
    page, _ = saved(tmp_path, nbviz.FilterGrid(network))
    assert page["models"]
