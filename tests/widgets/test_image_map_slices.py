"""What an ImageMap works out after the map of many images: a moment at a time, told beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from nbviz import ImageMap
from nbviz.analysis.image_grid import grid_layout
from nbviz.analysis.map_questions import clusters
from nbviz.analysis.map_trust import map_trust, seams
from nbviz.widgets import image_map, image_map_work
from nbviz.widgets.image_map_work import MapWork
from tests.fixtures.mapped import finished, grouped, small_map
from tests.fixtures.scanned import arrays_of, asked


@pytest.fixture(autouse=True)
def many(monkeypatch):
    """Small sets are treated as large ones, one step an answer."""
    monkeypatch.setattr(image_map_work, "FEW", 0)
    for name in ("go_on", "seek", "work_on"):
        method = getattr(MapWork, name)
        defaults = [*method.__defaults__[:-1], 0.0]
        monkeypatch.setattr(method, "__defaults__", tuple(defaults))


def done_by_answers(frontend, view):
    """Sentences that a view reads, the first one before anything is done."""
    told = [view.progress["sentence"]]
    while not view.progress["finished"]:
        answer, _ = asked(frontend, view, "advance")
        told.append(answer["sentence"])
        assert len(told) < 500
    return told


def first_told(told, beginning):
    return next(at for at, sentence in enumerate(told) if sentence.startswith(beginning))


def test_what_takes_long_is_told_before_it_begins(frontend, monkeypatch):
    begun = []
    weigh, trust = image_map_work.EmbeddingRun._next_of_tsne, map_trust.steps
    view = small_map(method="tsne", colour="trust")

    def weighing(run, positions):
        begun.append(("Weighing", view.progress["sentence"], told[-1]))
        return weigh(run, positions)

    def measuring(*given, **named):
        begun.append(("Measuring", told[-1]))
        return trust(*given, **named)

    monkeypatch.setattr(image_map_work.EmbeddingRun, "_next_of_tsne", weighing)
    monkeypatch.setattr(map_trust, "steps", measuring)
    told = [view.progress["sentence"]]
    assert set(arrays_of(view.colour_layer)["values"]) == {65535}
    while not view.progress["finished"]:
        told.append(asked(frontend, view, "advance")[0]["sentence"])
    assert begun[0][2] == "Weighing the neighbours of 60 images"
    assert begun[-1] == ("Measuring", "Measuring how far the map can be trusted")
    assert len(set(arrays_of(view.colour_layer)["values"])) > 3


def test_a_lengthy_step_ends_the_slice():
    work, told = small_map(method="tsne")._work, []
    while not work.placed:
        work.go_on(60.0)
        told.append(work.step.sentence)
    assert told == [
        "Weighing the neighbours of 60 images",
        "60 images placed by t-SNE, perplexity 19.7",
    ]


def test_a_grid_comes_in_steps(frontend):
    features, labels = grouped(2100)
    view = finished(ImageMap(features, labels=labels, method="pca"))
    view.arrangement = "grid"
    assert (view.progress["finished"], view.progress["stopped"]) == (False, False)
    assert view.progress["iteration"] == view.progress["total"]
    assert "grid" not in arrays_of(view.points)
    assert view.named == {}
    assert view.trust == {}
    told = done_by_answers(frontend, view)
    shares = [one for one in told if one.startswith("Giving each image a cell of its own: ")]
    assert shares[0].endswith(": 0%")
    assert len(set(shares)) > 10
    expected = grid_layout(view.embedding.positions)
    np.testing.assert_array_equal(view._work.layout("grid"), expected.positions)
    assert len(arrays_of(view.points)["grid"]) == 2100
    assert view.named["layout"] == view.trust["layout"] == "grid"


def test_colours_and_seams_wait_their_turn(frontend):
    view = finished(small_map())
    view.arrangement, view.border, view.seams = "pca", "cluster", True
    view.colour = "kept"
    for layer in (view.colour_layer, view.border_layer):
        assert set(arrays_of(layer)["values"]) == {65535}
        assert layer["meaning"] == "is being worked out"
    assert view.seam_lines == {}
    told = done_by_answers(frontend, view)
    order = [first_told(told, name) for name in ("Grouping", "Measuring", "Looking for", "60 im")]
    assert order == sorted(order)
    work, space = view._work, view.embedding.space
    np.testing.assert_array_equal(
        arrays_of(view.border_layer)["values"], clusters(space.reduced, 3, 0)
    )
    kept = map_trust(space, space.plane, work.neighbours).point_preserved
    np.testing.assert_allclose(arrays_of(view.colour_layer)["values"] / 65534, kept, atol=1e-4)
    found = seams(space, space.plane, work.neighbours)
    np.testing.assert_array_equal(arrays_of(view.seam_lines)["pairs"], found.pairs)


def test_a_stopped_map_is_measured_and_that_it_is_not_finished_is_said(frontend):
    view = small_map(method="tsne")
    while not asked(frontend, view, "advance")[0]["iteration"]:
        pass
    answer, _ = asked(frontend, view, "stop")
    assert (answer["finished"], answer["stopped"]) == (False, False)
    assert answer["sentence"] == "Measuring how far the map can be trusted"
    assert answer["iteration"] == answer["total"]  # images move no more
    before = view.embedding.positions.copy()
    for _ in range(20):
        answer, _ = asked(frontend, view, "advance")
    assert answer["stopped"]
    assert answer["sentence"].startswith("Stopped after")
    np.testing.assert_array_equal(view.embedding.positions, before)
    assert view.trust["sentence"].startswith("The map is not finished. Of the 10 images")
    assert "not finished." in view.still_caption()
    view.wait(progress=False)
    assert "not finished" not in view.trust["sentence"] + view.still_caption()


def test_what_fails_is_said_once_and_tried_again_with_the_next_choice(frontend, monkeypatch):
    view = small_map()
    with monkeypatch.context() as patch:
        patch.setattr(map_trust, "steps", lambda *given, **named: iter([1 / 0]))
        answers = [frontend.ask(view, kind="advance", rid=str(at)) for at in range(9)]
    assert [answer["kind"] for answer in answers].count("error") == 1
    assert view.trust == {}
    assert frontend.ask(view, kind="advance", rid="2")["finished"]
    view.arrangement = "pca"
    assert not view.progress["finished"]
    done_by_answers(frontend, view)
    assert view.trust["layout"] == "pca"


def test_a_person_may_leave_the_rest(frontend):
    view = small_map()
    while "Measuring" not in asked(frontend, view, "advance")[0]["sentence"]:
        pass
    answer, _ = asked(frontend, view, "stop")
    assert answer["finished"]
    assert view.trust == {}
    asked(frontend, view, "advance", resume=True)
    done_by_answers(frontend, view)
    assert view.trust["layout"] == "map"


def test_questions_wait_for_the_neighbours(frontend, monkeypatch):
    view = small_map()
    answer = frontend.ask(view, kind="question", rid="1", about="outliers")
    assert "are being found; ask again" in answer["message"]
    finished(view)
    assert len(asked(frontend, view, "question", about="outliers")[1]["rows"]) == 60
    for module in (image_map_work, "nbviz.widgets.image_map_answers"):
        where = module if isinstance(module, str) else module.__name__
        monkeypatch.setattr(f"{where}.MANY", 10)
    view = finished(small_map())
    assert view._work.known_neighbours is None
    answer = frontend.ask(view, kind="question", rid="1", about="duplicates")
    assert "colour by Loneliness" in answer["message"]
    frontend.set(view, colour="outlier")
    done_by_answers(frontend, view)
    assert len(set(arrays_of(view.colour_layer)["values"])) > 3
    assert len(asked(frontend, view, "question", about="duplicates")[1]["rows"])


def test_a_grid_of_very_many_is_refused(frontend, monkeypatch):
    monkeypatch.setattr(image_map, "MOST_IN_GRID", 59)
    view = finished(small_map())
    frontend.set(view, arrangement="grid")
    assert view.arrangement == "map"
    assert "59 images at most, got 60, which would take minutes" in view.problem
    frontend.set(view, arrangement="pca")
    assert (view.arrangement, view.problem) == ("pca", "")


def test_what_was_found_says_for_which_search():
    view = small_map(search=" 7")
    assert view.found["search"] == " 7"
    assert arrays_of(view.found)["rows"].tolist() == [7]
    view.search = ""
    assert view.found == {}
