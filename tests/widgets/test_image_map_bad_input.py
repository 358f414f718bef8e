"""What an ImageMap says of what does not fit together."""

from __future__ import annotations

import numpy as np
import pytest
import traitlets
from PIL import Image

import nbviz
from nbviz import ImageMap
from nbviz.analysis.embedding import embed
from tests.fixtures.mapped import COUNT, NAMES, grouped, plain_pictures, small_map
from tests.fixtures.scanned import scan_of, small_model, small_pictures, small_scan

FEATURES = grouped()[0]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"labels": [0] * 59}, ValueError, "59 labels for 60 images"),
        ({"labels": "ant"}, TypeError, "list or array"),
        ({"labels": np.full(COUNT, 0.5)}, TypeError, "fractions"),
        ({"labels": np.zeros((COUNT, 2), int)}, ValueError, r"\(60, 2\)"),
        ({"labels": ["bea"] * COUNT}, ValueError, "did you mean 'bee'"),
        ({"images": plain_pictures(59)}, ValueError, "59 images and 60 rows"),
        ({"images": "/no/such/folder"}, FileNotFoundError, "no such"),
        ({"colours": {"age": [1] * 61}}, ValueError, "61 for 60 images"),
        ({"colours": {"class": [1] * 60}}, ValueError, "'class'"),
        ({"features": 5}, TypeError, "int"),
        ({"features": np.zeros((0, 4)), "labels": None}, ValueError, "none"),
        ({"features": np.zeros(60)}, ValueError, r"\(60,\)"),
        ({"features": np.full((60, 4), np.nan)}, ValueError, "NaN"),
        ({"method": "tnse"}, ValueError, "'tnse'"),
        ({"perplexity": 0.5, "method": "tsne"}, ValueError, "perplexity"),
        ({"size": 3}, Exception, "8"),
    ],
)
def test_it_is_said_what_does_not_fit(options, error, message):
    with pytest.raises(error, match=message):
        small_map(**options)


def test_an_embedding_of_other_images_is_refused():
    made = embed(FEATURES[:50], "pca", progress=False)
    with pytest.raises(ValueError, match="60 images that were given, got one of 50"):
        ImageMap(FEATURES, embedding=made)
    with pytest.raises(ValueError, match="40 images that were given, got one of 50"):
        ImageMap(small_scan(), embedding=made)
    with pytest.raises(TypeError, match="got two"):
        ImageMap(made, embedding=made)
    with pytest.raises(TypeError, match="got None"):
        ImageMap(None)


def test_a_scan_without_features_says_how_to_scan():
    with pytest.raises(ValueError, match="features='auto'"):
        ImageMap(scan_of(features=None))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_images_that_could_not_be_scanned_are_named_and_have_no_place(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, pixels in enumerate(small_pictures(12)):
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    (folder / "05.png").write_bytes(b"no picture at all")
    scan = scan_of(folder, labels=[0] * 12)
    view = ImageMap(scan, method="pca", colours={"place": np.arange(12)}, colour="place")
    assert view.points["count"] == 11
    (note,) = view.notes
    assert note.startswith("1 image is not on the map")
    assert "05.png" in note
    assert 5 not in view.neighbours(4, 10)["image"]
    assert view.neighbours(11, 10)["image"].max() == 10
    with pytest.raises(traitlets.TraitError, match="; got 5"):
        view.neighbours(5)
    given = ImageMap(scan, method="pca", embedding=np.arange(24.0).reshape(12, 2))
    assert given.embedding.positions[5].tolist() == [12, 13]


def test_another_data_set_than_the_scanned_one_is_refused():
    with pytest.raises(ValueError, match="expected"):
        ImageMap(small_scan(), small_pictures(seed=5))


def test_images_that_come_one_after_the_other_are_missing():
    view = ImageMap(FEATURES, (picture for picture in plain_pictures()), method="pca")
    assert "from their beginning" in view.missing


def test_lower_perplexity_is_said():
    view = small_map(method="tsne", perplexity=50)
    assert any("lowered from 50 to 19.7" in note for note in view.notes)


def test_where_pictures_cannot_be_placed_it_says_why():
    network = nbviz.Network(small_model(), input_shape=(3, 20, 20))
    for options, reason in (
        ({}, "network="),
        ({"network": network}, "7"),
        ({"method": "tsne-sklearn", "network": network}, "scikit-learn"),
    ):
        view = small_map(**options)
        assert reason in view.no_placing
        with pytest.raises(ValueError, match="no picture can be placed"):
            view.place(np.zeros((20, 20, 3), np.uint8))


def test_names_of_strangers_stay_text():
    name = '<img src=x onerror="alert(1)">'
    view = small_map(labels=[name] * COUNT, classes=None)
    view.colour = "class"
    data = view._repr_mimebundle_()[0]
    assert "<img src=x" not in data["text/html"]
    page = view._page()
    assert any(name[:8] in text.text for text in page.texts)


def test_names_that_are_no_labels_do_not_disturb():
    view = small_map(labels=None)
    assert view.facts["classes"] == list(NAMES)
