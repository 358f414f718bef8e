"""Pictures of one's own on an ImageMap: placed as the data's own images are."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import nbviz
from nbviz import ImageMap
from nbviz.widgets import image_map_own
from tests.fixtures.mapped import finished
from tests.fixtures.scanned import CLASSES, SIDE, arrays_of, asked, scan_of, small_model
from tests.fixtures.scanned import small_pictures as pictures


@pytest.fixture
def view():
    return finished(ImageMap(scan_of()))


def png(picture):
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return stream.getvalue()


def sent(frontend, view, data, name="mine.png"):
    content = {"kind": "picture_file", "rid": "f", "name": name, "part": 0, "parts": 1}
    entry = {"name": "data", "dtype": "uint8", "shape": [len(data)]}
    content |= {"size": len(data), "upload": "u1", "arrays": [entry]}
    view.comm.handle_msg(
        {"content": {"data": {"method": "custom", "content": content}}, "buffers": [data]}
    )
    return frontend.answers()[-1]


def test_an_image_of_the_data_lands_where_it_is(view):
    before = view.embedding.positions.copy()
    reach = np.ptp(before, axis=0).max()
    for number in (3, 21):
        placed = view.place(pictures()[number])
        assert placed["image"][0] == number
        assert placed["distance"][0] < 1e-3
        assert placed["predicted"] == view.scan_row(number) if hasattr(view, "scan_row") else True
        away = np.linalg.norm(placed["position"] - before[number])
        assert away < 0.1 * reach
    np.testing.assert_array_equal(view.embedding.positions, before)
    own, arrays = view.own, arrays_of(view.own)
    places = arrays_of(view.points)["map"].astype(float)
    assert np.abs(arrays["places"][1] - places[21]).max() < 0.1 * 65535
    assert arrays["neighbours"].shape == (2, 15)
    assert [each["title"] for each in own["said"]] == ["your picture"] * 2


def test_a_file_of_the_browser_is_placed_with_what_is_said_of_it(frontend):
    view = finished(ImageMap(scan_of()))
    answer = sent(frontend, view, png(pictures()[8]))
    assert answer["kind"] == "picture_file", answer.get("message")
    said = view.own["said"][0]
    assert said["title"] == "mine.png"
    assert any(line.startswith("Taken for: ") and line[11:14] in CLASSES for line in said["lines"])
    assert any("Nearest: image 8" in line for line in said["lines"])
    sheet = Image.open(io.BytesIO(arrays_of(view.own)["sheet"].tobytes()))
    assert sheet.size == (64, 64)
    expected = Image.fromarray(pictures()[8]).resize((64, 64), Image.Resampling.NEAREST)
    assert np.abs(np.asarray(sheet).astype(int) - np.asarray(expected)).mean() < 12
    asked(frontend, view, "drop_own")
    assert view.own == {}


def test_a_file_that_is_no_picture_is_said(frontend):
    view = finished(ImageMap(scan_of()))
    answer = sent(frontend, view, b"%PDF-1.7", "talk.pdf")
    assert answer["kind"] == "error"
    assert "PDF" in answer["message"]
    assert view.own == {}


def test_the_oldest_goes_when_there_are_many(view, monkeypatch):
    monkeypatch.setattr(image_map_own, "MOST", 3)
    for number in range(5):
        view.place(pictures()[number])
    assert arrays_of(view.own)["neighbours"][:, 0].tolist() == [2, 3, 4]
    view.drop_own()
    assert view.own == {}


def test_it_waits_for_the_map():
    view = ImageMap(scan_of())
    with pytest.raises(ValueError, match="still moving"):
        view.place(pictures()[0])


def test_features_of_another_network_are_noticed():
    rows = scan_of().images
    network = nbviz.Network(small_model(seed=3), input_shape=(3, SIDE, SIDE))
    features = np.asarray(rows.features)
    view = finished(ImageMap(features, pictures(), network=network, method="pca"))
    assert view.no_placing == ""
    with pytest.raises(ValueError, match="features are others"):
        view.place(pictures()[0])
    same = nbviz.Network(small_model(), input_shape=(3, SIDE, SIDE))
    view = finished(ImageMap(features, pictures(), network=same, method="pca"))
    assert view.place(pictures()[5])["image"][0] == 5
