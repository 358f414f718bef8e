"""An ImageMap: what it shows of a scan or of features, and how the map comes about."""

from __future__ import annotations

import gc
import warnings
import weakref

import numpy as np
import pytest
import torch
import traitlets

import nbviz
from nbviz import ImageMap
from nbviz.analysis.embedding import embed
from nbviz.analysis.feature_rows import FeatureRows
from nbviz.analysis.map_trust import map_trust
from nbviz.widgets import image_map_work, wire
from tests.fixtures.mapped import COUNT, NAMES, finished, grouped, plain_pictures, small_map
from tests.fixtures.scanned import arrays_of, asked, scan_of, small_scan


def places_of(view, layout="map"):
    return arrays_of(view.points)[layout]


def test_a_map_of_a_scan_knows_what_the_scan_knows():
    scan = small_scan()
    view = ImageMap(scan)
    rows = scan.images
    facts = arrays_of(view.facts)
    assert view.points["count"] == len(rows.index) == 40
    np.testing.assert_array_equal(facts["label"], rows.label)
    np.testing.assert_array_equal(facts["predicted"], rows.predicted)
    np.testing.assert_allclose(facts["confidence"] / 254, rows.confidence, atol=0.5 / 254 + 1e-6)
    assert view.facts["classes"] == view.facts["outputs"] == list(scan.classes)
    names = [layer["name"] for layer in view.layers]
    assert names == [
        *("none", "class", "prediction", "confidence", "right", "cluster"),
        *("trust", "kept", "outlier"),
    ]
    assert (view.colour, view.border, view.missing, view.no_placing) == ("class", "", "", "")


def test_all_is_there_before_the_map_is_finished():
    view = small_map(method="tsne", images=plain_pictures())
    assert not view.progress["finished"]
    assert [*arrays_of(view.points)] == ["map", "pca"]
    np.testing.assert_array_equal(places_of(view), places_of(view, "pca"))
    assert view.still().shape[2] == 3
    assert "not finished" in view.still_caption()


@pytest.fixture
def in_steps(monkeypatch):
    """One step an answer, however fast the machine."""
    monkeypatch.setattr(image_map_work.MapWork.go_on, "__defaults__", (0.0,))


def test_the_map_comes_step_by_step_as_the_view_asks(frontend, in_steps):
    view = small_map(method="tsne")
    seen, sentences = [], []
    while not view.progress["finished"]:
        answer, arrays = asked(frontend, view, "advance")
        seen.append(arrays["places"])
        sentences.append(answer["sentence"])
        assert arrays["places"].dtype == np.uint16
    assert len({each.tobytes() for each in seen}) > 3
    assert any("steps" in sentence for sentence in sentences)
    np.testing.assert_array_equal(seen[-1], places_of(view))
    assert view.embedding.finished
    assert view.trust["layout"] == "map"
    assert len(view.named["places"]) == 3
    states = [state["finished"] for state in frontend.states("progress")]
    assert states[-1] is True
    assert len(states) <= 2  # answers carry what lies between


def test_places_are_the_positions_drawn_to_scale():
    view = finished(small_map())
    positions, places = view.embedding.positions, places_of(view).astype(float)
    across = np.polyfit(positions[:, 0], places[:, 0], 1)
    down = np.polyfit(positions[:, 1], places[:, 1], 1)
    assert across[0] == pytest.approx(-down[0], rel=1e-3)
    np.testing.assert_allclose(np.polyval(across, positions[:, 0]), places[:, 0], atol=2)
    np.testing.assert_allclose(np.polyval(down, positions[:, 1]), places[:, 1], atol=2)


def test_stop_leaves_the_map_as_it_is_and_resume_goes_on(frontend, in_steps):
    view = small_map(method="tsne")
    asked(frontend, view, "advance")
    answer, _ = asked(frontend, view, "stop")
    assert (answer["stopped"], answer["finished"]) == (True, False)
    assert view.progress["stopped"]
    assert len(view.named["places"]) == 3
    assert np.ptp(places_of(view).astype(int), axis=0).max() > 0.9 * 65535  # it fills its frame
    before = view.embedding.positions.copy()
    answer, arrays = asked(frontend, view, "advance")
    assert answer["stopped"]
    np.testing.assert_array_equal(view.embedding.positions, before)
    np.testing.assert_array_equal(arrays["places"], places_of(view))
    answer, _ = asked(frontend, view, "advance", resume=True)
    assert not answer["stopped"]
    assert (view.named, view.trust, view.seam_lines) == ({}, {}, {})
    view.wait(progress=False)
    assert view.progress["finished"]
    assert not any("Not finished" in note for note in view.notes)


def test_an_interrupt_keeps_the_positions(monkeypatch, in_steps):
    view = small_map(method="tsne")
    go_on = image_map_work.MapWork.go_on
    calls = []

    def interrupted(work, seconds=0.0):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return go_on(work, seconds)

    monkeypatch.setattr(image_map_work.MapWork, "go_on", interrupted)
    with pytest.warns(UserWarning, match="interrupted"):
        found = view.wait(progress=False)
    assert not found.finished
    assert found.positions.shape == (COUNT, 2)
    assert view.progress["stopped"]
    assert view.wait(progress=False).finished


def test_an_error_is_said_once_and_not_asked_for_again(frontend, monkeypatch):
    view = small_map(method="tsne")

    def broken(work, seconds=0.0):
        raise RuntimeError("the sky fell")

    monkeypatch.setattr(image_map_work.MapWork, "go_on", broken)
    answer = frontend.ask(view, kind="advance", rid="1")
    assert (answer["kind"], answer["message"]) == ("error", "the sky fell")
    assert view.progress["stopped"]


@pytest.mark.parametrize(
    "bring", [np.asarray, torch.tensor, lambda f: f.astype(np.float64), lambda f: FeatureRows([f])]
)
def test_features_come_in_any_form(bring):
    features, labels = grouped()
    view = finished(ImageMap(bring(features), labels=labels, method="pca"))
    expected = embed(features, "pca", progress=False).positions
    np.testing.assert_allclose(view.embedding.positions, expected, atol=1e-5)


def test_an_embedding_that_is_there_is_not_computed_again():
    features, labels = grouped()
    made = embed(features, "tsne", progress=False)
    for view in (ImageMap(made, labels=labels), ImageMap(features, labels=labels, embedding=made)):
        assert view.embedding is made
        assert view.points["method"] == "t-SNE, perplexity 19.7"
        assert len(view.named["places"]) == 3
        assert finished(view).trust["trustworthiness"] > 0.5


def test_positions_from_elsewhere_make_a_map():
    features, _ = grouped()
    positions = np.random.default_rng(0).random((COUNT, 2)) * 9
    view = ImageMap(features, embedding=positions)
    np.testing.assert_allclose(view.embedding.positions, positions, rtol=1e-6)
    assert "given" in view.no_placing
    assert finished(view).trust["preserved"] < 0.5
    with pytest.raises(ValueError, match=r"\(60, 2\).*\(60, 3\)"):
        ImageMap(features, embedding=np.zeros((COUNT, 3)))


def test_images_that_are_left_out_are_told_and_have_no_row():
    features, labels = grouped()
    features[[4, 50]] = np.nan
    names = np.array(NAMES)[labels]
    view = finished(small_map(features=features, labels=names, classes=None))
    arrays = arrays_of(view.points)
    kept = np.delete(np.arange(COUNT), [4, 50])
    np.testing.assert_array_equal(arrays["numbers"], kept)
    np.testing.assert_array_equal(arrays_of(view.facts)["label"], labels[kept])
    assert any("4, 50" in note for note in view.notes)
    near = view.neighbours(5)["image"]
    gaps = np.linalg.norm(view.embedding.space.features - view.embedding.space.features[4], axis=1)
    assert near[0] == kept[np.argsort(gaps)[1]]
    for number in (4, 60):
        with pytest.raises(traitlets.TraitError, match=f"got {number}"):
            view.image = number
    view.image = 59


def test_skipped_images_of_a_scan_are_left_out():
    pictures = [*np.random.default_rng(0).integers(0, 255, (12, 20, 20, 3), np.uint8)]
    pictures[5] = "no such file"
    view = finished(ImageMap(scan_of(pictures, labels=[0, 1] * 6)))
    assert 5 not in arrays_of(view.points)["numbers"]
    assert view.points["count"] == 11


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_few_images_have_a_map(count):
    features = grouped(max(count, 3))[0][:count]
    view = finished(ImageMap(features, plain_pictures(count), labels=[0] * count))
    view.arrangement = "grid"
    view.seams = True
    finished(view)
    assert view.points["count"] == count
    assert np.isfinite(view.embedding.positions).all()
    assert len({tuple(place) for place in places_of(view, "grid").tolist()}) == count
    assert view.still().shape[2] == 3


def test_identical_features_have_a_map():
    view = finished(ImageMap(np.ones((12, 4), np.float32)))
    assert any("identical" in note for note in view.notes)
    for colour in ("cluster", "trust", "kept", "outlier"):
        view.colour = colour
    assert view.still().shape[2] == 3


def test_trust_is_that_of_the_layout_on_show():
    view = finished(small_map(method="tsne"))
    work = view._work
    for layout in ("map", "pca", "grid"):
        view.arrangement = layout
        expected = map_trust(work.space, work.layout(layout), work.neighbours)
        assert view.trust["layout"] == layout
        assert view.trust["trustworthiness"] == pytest.approx(expected.trustworthiness)
        assert view.trust["continuity"] == pytest.approx(expected.continuity)
        assert view.trust["sentence"] in view.still_caption()
        assert view.measure_trust().preserved == pytest.approx(expected.preserved)
    view.arrangement = "map"
    assert view.trust["layout"] == "map"
    assert view.progress["finished"]


def test_the_grid_is_laid_out_when_it_is_wanted():
    view = small_map(method="tsne", arrangement="grid")
    assert "grid" not in arrays_of(view.points)
    finished(view)
    places, cell = places_of(view, "grid").astype(float), view.points["cell"]
    assert cell > 1000
    steps = (places - places.min(0)) / cell
    np.testing.assert_allclose(steps, np.rint(steps), atol=0.01)
    assert len({tuple(step) for step in np.rint(steps).tolist()}) == COUNT
    assert view.named["layout"] == "grid"


def test_seams_show_when_they_are_wanted():
    view = small_map(seams=True, method="tsne")
    assert view.seam_lines == {}
    finished(view)
    expected = view._work.seams("map")
    arrays = arrays_of(view.seam_lines)
    np.testing.assert_array_equal(arrays["pairs"], expected.pairs)
    np.testing.assert_allclose(arrays["strength"] / 255, expected.strength, atol=0.5 / 255 + 1e-6)
    view.arrangement = "pca"
    assert view.seam_lines["layout"] == "pca"
    view.seams = False
    assert view.seam_lines == {}


def test_a_view_shares_its_image():
    scan = small_scan()
    view, patches = ImageMap(scan), nbviz.TopPatches(scan)
    nbviz.link(view, patches)
    view.image = 7
    assert patches.image == 7
    patches.image = 3
    assert view.image == 3


def test_it_is_freed_when_it_is_closed():
    view = finished(ImageMap(scan_of()))
    view.still()
    gone = [weakref.ref(view), weakref.ref(view.network.model), weakref.ref(view._work)]
    view.close()
    del view
    gc.collect()
    assert [each() for each in gone] == [None] * 3


def test_nothing_of_the_user_is_disturbed():
    scan = scan_of()
    model = scan.network.model.train()
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - the user's own
    view = finished(ImageMap(scan))
    view.colour = "cluster"
    view.place(np.zeros((20, 20, 3), np.uint8))
    assert model.training
    assert torch.equal(torch.get_rng_state(), states[0])
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002 - as above


def test_a_million_images_have_a_map_without_neighbours():
    features = np.random.default_rng(0).random((200_000, 3), np.float32)
    view = ImageMap(features, method="pca", components=2, labels=np.arange(200_000) % 70)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        view.wait(progress=False)
    assert view.progress["finished"]
    assert view.trust == {}
    assert wire.payload_bytes(view.points) == 2 * 4 * 200_000
    near = view.neighbours(17, 3)
    gaps = np.linalg.norm(view.embedding.space.features - view.embedding.space.features[17], axis=1)
    np.testing.assert_array_equal(near["image"], np.argsort(gaps, kind="stable")[1:4])
