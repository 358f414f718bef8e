"""What an ImageMap answers: neighbours, cards, questions, selection, search."""

from __future__ import annotations

import numpy as np
import pytest
import traitlets
from PIL import Image

from nbviz import ImageMap
from nbviz.analysis import map_questions
from nbviz.widgets import wire
from tests.fixtures.mapped import COUNT, NAMES, finished, grouped, small_map
from tests.fixtures.scanned import arrays_of, asked, refused, small_scan


def shifted(**options):
    """A map whose rows are not the numbers of its images: two are left out."""
    features, labels = grouped()
    features[[0, 30]] = np.inf
    return finished(small_map(features=features, labels=labels, method="tsne", **options))


def distances(view):
    features = view.embedding.space.features.astype(np.float64)
    return np.linalg.norm(features[:, None] - features[None], axis=2)


def test_neighbours_are_the_true_ones_and_where_the_map_has_them(frontend):
    view = shifted()
    gaps, positions = distances(view), view.embedding.positions
    for row in (0, 29, 57):
        answer, arrays = asked(frontend, view, "neighbours", row=row)
        others = np.delete(np.arange(COUNT - 2), row)
        nearest = others[np.argsort(gaps[row, others], kind="stable")][:15]
        np.testing.assert_array_equal(arrays["rows"], nearest)
        np.testing.assert_allclose(arrays["distance"], gaps[row, nearest], rtol=1e-4)
        away = np.linalg.norm(positions - positions[row], axis=1)
        nearer = [(away[others] < away[one]).sum() for one in nearest]
        np.testing.assert_array_equal(arrays["on_map"], nearer)
        assert answer["row"] == row
        found = view.neighbours(int(view._numbers[row]), 15)
        np.testing.assert_array_equal(found["image"], view._numbers[nearest])


def test_more_neighbours_than_are_kept_can_be_had():
    view = shifted()
    found = view.neighbours(17, 40)
    row = int(np.searchsorted(view._numbers, 17))
    order = np.argsort(distances(view)[row], kind="stable")[1:41]
    np.testing.assert_array_equal(found["image"], view._numbers[order])


def test_neighbours_are_there_before_the_map_is(frontend):
    view = small_map(method="tsne")
    assert view._work.known_neighbours is None
    before = asked(frontend, view, "neighbours", row=4)[1]["rows"]
    assert view._work.known_neighbours is None
    np.testing.assert_array_equal(before, finished(view).neighbours(4)["image"])
    saved = arrays_of(view.facts)["neighbours"]
    np.testing.assert_array_equal(saved[4], before)


def test_a_card_says_what_is_known(frontend):
    view = ImageMap(small_scan(), colours={"weight": np.arange(40) / 4})
    rows = small_scan().images
    answer, _ = asked(frontend, view, "card", row=6)
    said = "\n".join(answer["lines"])
    assert answer["title"] == "image 6"
    assert f"Class: {view.facts['classes'][rows.label[6]]}" in said
    assert f"Taken for: {view.facts['outputs'][rows.predicted[6]]}, " in said
    assert "weight: 1.5" in said


@pytest.mark.parametrize("row", [-1, 58, 2.5, None, "3"])
def test_there_are_answers_for_rows_only(row, frontend):
    view = shifted()
    for kind in ("card", "neighbours"):
        assert "58" in refused(frontend, view, kind, row=row)


def test_questions_are_answered_with_images_and_lines(frontend):
    view = shifted()
    work, labels = view._work, arrays_of(view.facts)["label"].astype(int)
    answer, arrays = asked(frontend, view, "question", about="misplaced", label=None, among=None)
    found = map_questions.misplaced(work.neighbours.index, labels)
    np.testing.assert_array_equal(arrays["rows"], found.rows)
    np.testing.assert_array_equal(arrays["value"], found.own_share)
    assert len(answer["said"]) == len(found.rows) > 3
    assert NAMES[labels[found.rows[0]]] in answer["said"][0]
    some, one_class = asked(frontend, view, "question", about="misplaced", label=2, among="ant")
    assert 0 < len(one_class["rows"]) < len(found.rows)
    assert (labels[one_class["rows"]] == 2).all()
    assert "cat" in some["sentence"]
    assert "ant" in some["sentence"]
    public = view.misplaced("cat", 0)
    np.testing.assert_array_equal(public["image"], view._numbers[one_class["rows"]])

    answer, arrays = asked(frontend, view, "question", about="duplicates")
    gaps = distances(view)
    upper = np.triu_indices(len(gaps), 1)
    assert gaps[arrays["rows"][0], arrays["partners"][0]] == pytest.approx(gaps[upper].min())
    np.testing.assert_array_equal(
        view.near_duplicates()["image"], view._numbers[np.stack([*arrays.values()][:2], 1)]
    )
    answer, arrays = asked(frontend, view, "question", about="outliers")
    scores = map_questions.outliers(work.neighbours)
    assert arrays["rows"][0] == scores.argmax()
    np.testing.assert_allclose(arrays["value"], np.sort(scores)[::-1])
    assert view.outliers()["image"][0] == view._numbers[scores.argmax()]


def test_questions_that_make_no_sense_are_refused(frontend):
    view = finished(small_map(labels=None, classes=None))
    assert "labels=" in refused(frontend, view, "question", about="misplaced")
    assert "misplaced" in refused(frontend, view, "question", about="best")
    named = finished(small_map())
    message = refused(frontend, named, "question", about="misplaced", label="cut")
    assert "did you mean 'cat'" in message


def test_what_is_selected_in_the_browser_is_selected_in_python(frontend):
    view, seen = shifted(), []
    view.observe(lambda change: seen.append(change["new"].tolist()), "selected")
    frontend.set(view, _selected=wire.pack({"rows": np.array([2, 29], np.int32)}))
    assert view.selected.tolist() == [3, 31]
    assert view.selected.dtype == np.int64
    frontend.set(view, _selected={})
    assert view.selected.tolist() == []
    assert seen == [[3, 31], []]


def test_what_is_selected_in_python_is_selected_in_the_browser(frontend):
    view, seen = shifted(), []
    view.observe(lambda change: seen.append(change["new"].tolist()), "selected")
    view.selected = [31, 3, 31]
    assert len(frontend.states("_selected")) == 1
    assert arrays_of(view._selected)["rows"].tolist() == [2, 29]
    view.selected = np.array([3, 31])
    assert seen == [[3, 31]]
    view.selected = view._numbers % 20 == 5
    assert view.selected.tolist() == [5, 25, 45]
    view.selected = ()
    assert view._selected == {}
    with pytest.raises(ValueError, match="read-only"):
        view.selected[...] = 1


@pytest.mark.parametrize("numbers", [[60], [-1], [0], [30, 31], [1.5], "all", [[1, 2]], [True]])
def test_only_images_on_the_map_can_be_selected(numbers):
    view = shifted(selected=[4])
    with pytest.raises(traitlets.TraitError, match=r"selected"):
        view.selected = numbers
    assert view.selected.tolist() == [4]


def test_rows_that_are_none_are_said_and_put_back(frontend):
    view = shifted(selected=[4])
    frontend.set(view, _selected=wire.pack({"rows": np.array([58], np.int32)}))
    assert "58" in view.problem
    assert view.selected.tolist() == [4]


def test_search_finds_numbers_and_files(tmp_path):
    names = ["ant/red.png", "ant/blue.png", "bee/Red hair.png", "bee/7.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (9, 9)).save(tmp_path / name)
    features = grouped(4)[0]
    view = ImageMap(features, tmp_path, method="pca", search="red")
    order = view._columns.source
    assert [order.file_name(n) for n in arrays_of(view.found)["rows"]] == [
        "ant/red.png", "bee/Red hair.png",
    ]  # fmt: skip
    assert view.found["note"] == "2 files found."
    view.search = "  "
    assert view.found == {}
    assert view.facts["classes"] == ["ant", "bee"]  # labels come from the folder
    assert arrays_of(view.facts)["label"].tolist() == [0, 0, 1, 1]
    plain = shifted(search="31")
    assert arrays_of(plain.found)["rows"].tolist() == [29]
    assert "no file names" in plain.found["note"]
