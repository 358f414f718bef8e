"""An ImageMap on paper and in a saved notebook."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from nbviz import ImageMap
from nbviz.analysis.colormaps import category_colour, colormap
from nbviz.analysis.map_places import LARGEST, thinned
from nbviz.widgets import image_map_print
from nbviz.widgets.image_map_print import SIDE, THUMB
from tests.fixtures.mapped import COUNT, NAMES, finished, grouped, plain_pictures, small_map
from tests.fixtures.scanned import arrays_of, asked


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    monkeypatch.setattr(image_map_print, "_PATIENCE", float("inf"))


def canvas_of(view):
    """The map on the page as it is before what is empty of it is cut off."""
    page = view._page()
    return max((picture for _, _, picture in page.pictures), key=np.size)


def places_on(view, canvas, layout="map"):
    places = arrays_of(view.points)[layout].astype(np.float64)
    at = np.rint(places / LARGEST * (SIDE - 1)).astype(int)
    above = max(0, int(places[:, 1].min()) * SIDE // LARGEST - THUMB)
    assert len(canvas) <= SIDE
    return at - [0, above]


def test_dots_stand_in_their_colours_where_images_do():
    view = finished(small_map(names=False))
    canvas = canvas_of(view)
    labels = grouped()[1]
    right = 0
    for (x, y), label in zip(places_on(view, canvas), labels, strict=True):
        right += tuple(canvas[y, x].tolist()) == category_colour(int(label))
    assert right >= 0.9 * COUNT  # some lie under others
    view.colour = "trust"
    shown = {tuple(each) for each in canvas_of(view).reshape(-1, 3).tolist()} - {(255,) * 3}
    assert shown - {(150,) * 3} <= {tuple(each) for each in colormap("sequential").tolist()}


def test_pictures_stand_where_images_do_with_an_edge_in_their_colour():
    view = finished(small_map(images=plain_pictures(), names=False))
    canvas = canvas_of(view)
    places = arrays_of(view.points)["map"]
    rows = thinned(places, THUMB * LARGEST / SIDE)
    at = places_on(view, canvas)
    found = 0
    for row in rows.tolist():
        x, y = np.clip(at[row], THUMB // 2, SIDE - THUMB // 2 - 1)
        exact = np.abs(canvas[y, x].astype(int) - plain_pictures()[row, 0, 0]).max() <= 3
        edge = tuple(canvas[y, x - THUMB // 2].tolist()) == category_colour(row % 3)
        found += exact and edge
    assert found >= 0.7 * len(rows)  # some lie under others
    assert 1 < len(rows) <= COUNT


def test_on_the_grid_every_image_has_its_picture():
    view = finished(small_map(images=plain_pictures(), arrangement="grid", names=False))
    canvas = canvas_of(view)
    for row, (x, y) in enumerate(places_on(view, canvas, "grid")):
        assert np.abs(canvas[y, x].astype(int) - plain_pictures()[row, 0, 0]).max() <= 3


def test_the_page_says_what_it_shows():
    view = finished(small_map(images=plain_pictures(), method="tsne"))
    said = [text.text for text in view._page().texts]
    assert said[0] == "60 images by t-SNE, perplexity 19.7"
    assert view.trust["sentence"].split()[0] in " ".join(said)
    assert {*NAMES} <= {*said}
    assert "ant (20)" in said
    view.colour = "kept"
    said = [text.text for text in view._page().texts]
    assert any(text.startswith("Colour: Neighbours kept") for text in said)
    assert {"0", "1"} <= {*said}
    view.names = False
    assert not {*NAMES} & {text.text for text in view._page().texts}


def test_many_categories_are_counted():
    view = small_map(colours={"number": np.arange(COUNT)}, colour="number")
    assert "and 40 more" in [text.text for text in view._page().texts]


def test_it_is_saved_and_exported(tmp_path, frontend):
    view = finished(small_map(images=plain_pictures()))
    written = view.save(tmp_path / "map")
    assert [path.suffix for path in written] == [".png", ".svg"]
    still = view.still()
    np.testing.assert_array_equal(np.asarray(Image.open(written[0])), still)
    answer, arrays = asked(frontend, view, "export", format="png")
    assert answer["name"] == "image-map.png"
    picture = np.asarray(Image.open(io.BytesIO(arrays["data"].tobytes())))
    np.testing.assert_array_equal(picture, still)


def test_dots_only_where_they_are_wanted():
    with_pictures = finished(small_map(images=plain_pictures(), names=False))
    dots = finished(small_map(images=plain_pictures(), names=False, thumbnails="dots"))
    plain = finished(small_map(names=False))
    np.testing.assert_array_equal(canvas_of(dots), canvas_of(plain))
    assert (canvas_of(with_pictures) != canvas_of(plain)).mean() > 0.01


def test_a_page_of_many_dots_is_there():
    view = ImageMap(np.random.default_rng(0).random((30_000, 3), np.float32), method="pca")
    assert view.still().shape[1] == SIDE + 48
