"""TopPatches with what is no scan, no choice, no picture: a clear error, or a marked tile."""

from __future__ import annotations

import io

import numpy as np
import pytest
import traitlets
from PIL import Image
from torch import nn

import nbviz
from nbviz import TopPatches
from nbviz.analysis.input_picture import crossed_out
from tests.fixtures.scanned import (
    SIDE,
    arrays_of,
    asked,
    files_of,
    scan_of,
    small_labels,
    small_model,
    small_pictures,
    small_scan,
)


def test_a_setting_that_cannot_be_is_refused_with_a_reason():
    view = TopPatches(small_scan(), "0")
    for name, value, said in (
        ("layer", "9", "was not scanned"),
        ("channel", 6, "below 6"),
        ("image", 40, "at most 39"),
        ("unit", [10, 0], "10 rows and 10 columns"),
        ("unit", [1], r"\[row, column\]"),
        ("box", [4, 4, 4, 8], "top < bottom"),
        ("patches", 6, "scan again with a larger top_k"),
        ("size", 12, "32 to 128 CSS pixels; got 12"),
        ("sort", "peek", "did you mean 'peak'"),
        ("show", "whole", "'patch', 'image', 'masked'"),
    ):
        before = getattr(view, name)
        with pytest.raises(traitlets.TraitError, match=said):
            setattr(view, name, value)
        assert getattr(view, name) == before


def test_what_is_no_scan_says_what_to_pass():
    with pytest.raises(TypeError, match=r"expected a scan, .* got a Sequential"):
        TopPatches(small_model())
    with pytest.raises(TypeError, match="did you mean 'channel'"):
        TopPatches(small_scan(), chanel=3)
    with pytest.raises(traitlets.TraitError, match="layer 'conv1' was not scanned"):
        TopPatches(small_scan(), "conv1")
    with pytest.raises(AttributeError, match="did you mean 'channel'"):
        TopPatches(small_scan()).chanel = 3


def test_another_network_or_data_set_is_refused():
    scan = nbviz.Scan.open(small_scan().path)
    other = nbviz.Network(small_model(seed=1), classes=["a"] * 4, input_shape=(3, SIDE, SIDE))
    with pytest.raises(ValueError, match="weights"):
        TopPatches(scan, network=other)
    with pytest.raises(ValueError, match="data set"):
        TopPatches(scan, dataset=small_pictures(seed=5))
    assert scan.network is None


def test_samples_need_a_channel_and_a_group():
    view = TopPatches(small_scan())
    with pytest.raises(ValueError, match="no channel is opened"):
        view.samples("top")
    view.channel = 0
    with pytest.raises(ValueError, match="top, middle, bottom, got 'best'"):
        view.samples("best")


def test_a_layer_or_a_box_that_cannot_be_asked_is_refused():
    view = TopPatches(small_scan())
    with pytest.raises(traitlets.TraitError, match="layer '9' was not scanned"):
        view.answering(0, layers="9")
    with pytest.raises(traitlets.TraitError, match="top < bottom"):
        view.answering(0, box=[5, 5, 5, 5])


def test_another_ending_is_refused_before_anything_is_drawn(tmp_path):
    with pytest.raises(ValueError, match=r"\.png or \.svg"):
        TopPatches(small_scan()).save(tmp_path / "row.pdf")


@pytest.fixture
def files(tmp_path):
    """Pictures in files, as a data set that can lose one."""
    paths = []
    for number, pixels in enumerate(small_pictures(12)):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def test_a_picture_that_is_gone_is_a_crossed_tile_among_the_others(files, frontend):
    scan = scan_of(files, labels=small_labels(12))
    view = TopPatches(scan, "0")
    images = arrays_of(view.overview)["image"][3]
    files[int(images[1])].unlink()
    _, arrays = asked(
        frontend, view, "rows", layer="0", channels=[3], show="patch", patches=5, tile=30
    )
    strip = np.asarray(Image.open(io.BytesIO(files_of(arrays)[0])))
    tiles = strip.reshape(30, 5, 30, 3).transpose(1, 0, 2, 3)
    marked = [bool((tile == crossed_out(30)).all()) for tile in tiles]
    assert marked == [False, True, False, False, False]
    gone = int(images[1])
    said = (
        f"Image {gone} ({files[gone]}) could not be read: No such file or directory. The other "
        "images are not affected."
    )
    assert view.problems == {gone: said}
    answer = frontend.ask(view, kind="image", rid="1", layer="0", channel=3, image=gone)
    assert (answer["kind"], answer["message"]) == ("error", said)
    assert view.still().size
    Image.fromarray(small_pictures()[images[1]]).save(files[int(images[1])])
    _, arrays = asked(
        frontend, view, "rows", layer="0", channels=[3], show="patch", patches=5, tile=30
    )
    again = np.asarray(Image.open(io.BytesIO(files_of(arrays)[0])))
    assert not (again[:, 30:60] == crossed_out(30)).all()
    assert view.problems == {}


def test_a_picture_that_is_gone_from_a_folder_is_named_as_there(files, frontend):
    view = TopPatches(scan_of(files[0].parent, labels=small_labels(12)), "0")
    (files[0].parent / view.scan.dataset.name(3)).unlink()
    said = f"Image 3 ({view.scan.dataset.name(3)}) could not be read: No such file or directory."
    answer = frontend.ask(view, kind="answering", rid="1", image=3)
    assert answer["message"].startswith(said)


def test_a_scan_with_skipped_pictures_shows_the_others(files):
    files[4].write_bytes(b"no picture at all")
    scan = scan_of(files, labels=small_labels(12))
    assert [number for number, _ in scan.skipped] == [4]
    view = TopPatches(scan, "0", channel=1)
    assert view.overview["images"] == 11
    assert 4 not in arrays_of(view.overview)["image"]
    view.image = 4
    assert view.image == 4


def test_an_image_that_is_not_done_yet_is_refused():
    scan = scan_of(small_pictures(8))
    scan.images.index = np.array([0, 1, 2, 5, 6, 7, 8, 9])
    view = TopPatches(scan)
    view.image = 5
    with pytest.raises(traitlets.TraitError, match="an image that was scanned"):
        view.image = 4
    assert view.image == 5


def test_fewer_pictures_than_are_kept_leave_tiles_empty(frontend):
    scan = scan_of(small_pictures(2))
    view = TopPatches(scan, "3", channel=3)
    assert len(view.samples("top")["value"]) == 2
    answer, arrays = asked(frontend, view, "channel", layer="3", channel=3, show="patch", tile=20)
    assert [group["count"] for group in answer["groups"]] == [2, 2, 2]
    _, arrays = asked(
        frontend, view, "rows", layer="3", channels=[3], show="patch", patches=5, tile=20
    )
    assert len(files_of(arrays)) == 1
    assert view.still().size


def test_without_labels_classes_and_features_there_are_still_patches():
    network = nbviz.Network(nn.Conv2d(3, 4, 3), input_shape=(3, SIDE, SIDE))
    scan = nbviz.scan(network, small_pictures(6), top_k=3, features=None, progress=False)
    view = TopPatches(scan, sort="diversity", channel=2)
    arrays = arrays_of(view.overview)
    assert np.isnan(arrays["diversity"]).all()
    assert np.isnan(arrays["purity"]).all()
    assert (arrays["predicted"] == -1).all()
    assert not view.overview["classes_known"]
    view.search = "dog"
    assert "no labels" in view.found["note"]
    assert view.still().size


def test_a_data_set_without_numbers_gives_numbers_and_no_pictures():
    pictures = small_pictures(6)

    def items():
        yield from pictures

    network = nbviz.Network(small_model(), input_shape=(3, SIDE, SIDE))
    scan = nbviz.scan(network, items(), layers=["0"], top_k=3, progress=False)
    view = TopPatches(scan)
    assert "only be read from its beginning" in view.overview["missing"]
    assert view.still().size
