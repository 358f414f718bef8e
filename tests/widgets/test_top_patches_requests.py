"""What a TopPatches answers when its view asks, and what stays in the state for a saved page."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

import nbviz
from nbviz import ActivationBrowser, TopPatches
from nbviz.analysis.answering_channels import answering_channels
from nbviz.analysis.receptive_field import Box
from nbviz.demos import digits
from nbviz.widgets import top_patches_answers
from tests.fixtures.scanned import (
    SIDE,
    arrays_of,
    asked,
    digits_scan,
    files_of,
    photographs_scan,
    refused,
    scan_of,
    scenes_scan,
    small_pictures,
    small_scan,
)

ROWS = {"layer": "0", "show": "patch", "patches": 4, "tile": 30}


def picture_of(file):
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))


def test_rows_are_strips_of_the_asked_channels_in_their_order(frontend):
    view = TopPatches(small_scan())
    answer, arrays = asked(frontend, view, "rows", **ROWS, channels=[4, 1])
    assert (answer["channels"], answer["tile"], answer["layer"]) == ([4, 1], 30, "0")
    files = files_of(arrays)
    assert [file[:4] for file in files] == [b"\x89PNG"] * 2
    for channel, file in zip([4, 1], files, strict=True):
        strip = picture_of(file)
        assert strip.shape == (30, 120, 3)
        for number, (image, box, flag) in enumerate(
            zip(
                *(arrays_of(view.overview)[n][channel] for n in ("image", "boxes", "flags")),
                strict=True,
            )
        ):
            top, left, bottom, right = box
            if number < 4 and not flag & 4:
                cut = small_pictures()[image][top:bottom, left:right]
                exact = cut.repeat(6, 0).repeat(6, 1)
                np.testing.assert_array_equal(strip[:, 30 * number : 30 * number + 30], exact)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """However slow the machine, all that is asked is answered at once."""
    monkeypatch.setattr(top_patches_answers, "_PATIENCE", float("inf"))


def test_where_pictures_are_slow_those_that_are_there_come_first(frontend, monkeypatch):
    monkeypatch.setattr(top_patches_answers, "_PATIENCE", -1.0)
    view = TopPatches(small_scan())
    answer, arrays = asked(frontend, view, "rows", **ROWS, channels=[4, 1, 2])
    assert answer["channels"] == [4]
    assert len(files_of(arrays)) == 1


def test_large_patches_travel_as_jpeg(frontend, shared_data):
    view = TopPatches(photographs_scan(shared_data))
    fields = {**ROWS, "layer": "features.7.expand3x3_activation", "channels": [0]}
    _, arrays = asked(frontend, view, "rows", **fields)
    assert files_of(arrays)[0][:2] == b"\xff\xd8"
    assert picture_of(files_of(arrays)[0]).shape == (30, 120, 3)


@pytest.mark.parametrize("show", ["patch", "image", "masked"])
def test_each_way_to_show_a_patch_has_its_own_picture(show, frontend):
    view = TopPatches(small_scan(), "3", show=show)
    fields = {**ROWS, "layer": "3", "channels": [3]}
    shown = picture_of(files_of(asked(frontend, view, "rows", **{**fields, "show": show})[1])[0])
    others = {"patch", "image", "masked"} - {show}
    for other in others:
        answer = asked(frontend, view, "rows", **{**fields, "show": other})[1]
        assert np.abs(picture_of(files_of(answer)[0]).astype(int) - shown).max() > 60


def test_what_was_seen_of_the_first_rows_stays_for_a_saved_page(frontend):
    view = TopPatches(small_scan(), patches=4)
    assert view.pictures == {}
    files = files_of(asked(frontend, view, "rows", **ROWS, channels=[0, 2])[1])
    asked(frontend, view, "rows", **ROWS, channels=[5])
    assert (view.pictures["channels"], view.pictures["layer"]) == ([0, 2, 5], "0")
    assert files_of(arrays_of(view.pictures))[:2] == files
    view.sort, view.descending = "index", True
    assert view.pictures["channels"] == [5, 2, 0]
    view.show = "image"
    assert view.pictures == {}
    view.show = "patch"
    assert view.pictures["channels"] == [5, 2, 0]
    view.layer = "3"
    assert view.pictures == {}


def test_a_channel_is_answered_with_its_groups_and_stays_in_the_state(frontend):
    view = TopPatches(small_scan(), "0", channel=3)
    answer, arrays = asked(frontend, view, "channel", layer="0", channel=3, show="patch", tile=20)
    counts = {group["name"]: group["count"] for group in answer["groups"]}
    assert counts == {"top": 5, "middle": 8, "bottom": 8}
    expected = np.concatenate([view.samples(name)["value"] for name in counts])
    np.testing.assert_array_equal(arrays["value"], expected)
    assert arrays["boxes"].shape == (21, 4)
    widths = [picture_of(file).shape[1] for file in files_of(arrays)]
    assert widths == [100, 160, 160]
    assert arrays["counts"].sum() == pytest.approx(40)
    assert len(arrays["edges"]) == len(arrays["counts"]) + 1 <= 61
    np.testing.assert_allclose(
        arrays["quantiles"], [view.statistics.peak_quantile(q)[3] for q in (0.5, 0.9, 0.99, 0.999)]
    )
    labels = arrays["label"][:5]
    shares = answer["class_shares"]
    assert sum(each["count"] for each in shares) == 5
    assert all(each["count"] == (labels == each["number"]).sum() for each in shares)
    assert answer["purity"] == pytest.approx(shares[0]["share"])
    assert view.opened["channel"] == 3
    np.testing.assert_array_equal(arrays_of(view.opened)["bytes"], arrays["bytes"])
    view.channel = 4
    assert view.opened == {}
    asked(frontend, view, "channel", layer="0", channel=3, show="patch", tile=20)
    assert view.opened == {}


def scans(name, shared):
    made = {"small": small_scan, "digits": digits_scan, "scenes": scenes_scan}
    return (
        photographs_scan(shared.getfixturevalue("shared_data"))
        if name == "photos"
        else made[name]()
    )


@pytest.mark.parametrize("name", ["small", "digits", "scenes", "photos"])
def test_the_map_over_an_image_has_the_scans_value_at_its_place(name, frontend, request):
    scan = scans(name, request)
    view = TopPatches(scan)
    for layer in scan.layers:
        top = scan[layer].top
        for channel in {0, len(top.value) // 2, len(top.value) - 1}:
            for rank in (0, -1):
                image = int(top.image[channel, rank])
                fields = {"layer": layer, "channel": channel, "image": image}
                answer, arrays = asked(frontend, view, "image", **fields)
                place = [int(top.row[channel, rank]), int(top.col[channel, rank])]
                assert answer["place"] == place
                value = float(top.value[channel, rank])
                assert answer["value"] == pytest.approx(value, rel=1e-5, abs=1e-5)
                box = scan.network.layers[layer].box(*place)
                assert answer["box"] == [box.top, box.left, box.bottom, box.right]
                level = arrays["map"][tuple(place)] / 255
                span = answer["high"] - answer["low"]
                assert answer["low"] + level * span == pytest.approx(value, abs=span / 500 + 1e-5)
                assert len(arrays["rows_edges"]) == arrays["map"].shape[0] + 1
                assert picture_of(arrays["bytes"].tobytes()).shape[:2] == tuple(answer["size"])


def test_the_map_is_what_an_activation_browser_shows(frontend):
    scan = digits_scan()
    view = TopPatches(scan, "relu3")
    _, images, *_ = digits()
    browser = ActivationBrowser(scan.network, images, layer="relu3", image=17)
    answer, arrays = asked(frontend, view, "image", layer="relu3", channel=9, image=17, unit=[2, 3])
    exact = browser.activation.maps[9]
    assert answer["place"] == [2, 3]
    assert answer["value"] == pytest.approx(float(exact[2, 3]), rel=1e-5, abs=1e-5)
    shown = answer["low"] + arrays["map"] / 255 * (answer["high"] - answer["low"])
    np.testing.assert_allclose(shown, exact, atol=(exact.max() - exact.min()) / 500 + 1e-5)


def test_an_image_without_a_channel_is_shown_alone(frontend):
    view = TopPatches(small_scan())
    answer, arrays = asked(frontend, view, "image", layer="0", channel=-1, image=4)
    assert (answer["box"], answer["value"], answer["size"]) == ([], None, [SIDE, SIDE])
    assert set(arrays) == {"bytes"}
    np.testing.assert_array_equal(picture_of(arrays["bytes"].tobytes()), small_pictures()[4])


@pytest.mark.parametrize("box", [None, [4, 6, 14, 16]])
def test_channels_that_answer_in_a_box_are_those_of_the_analysis(box, frontend):
    scan = small_scan()
    view = TopPatches(scan, "0")
    found, tested = {}, {"layer": 6, "all": 17}
    for scope, layers in (("layer", ["0"]), ("all", [*scan.layers])):
        answer, arrays = asked(frontend, view, "answering", image=7, box=box, scope=scope)
        batch = scan.network.prepare(small_pictures()[7])
        around = None if box is None else Box(*box)
        expected = answering_channels(scan.network, scan, batch, around, layers)
        assert arrays["channel"].tolist() == [each.channel for each in expected]
        assert [answer["layers"][i] for i in arrays["layer_index"]] == [e.layer for e in expected]
        assert (answer["total"], answer["tested"]) == (len(expected), tested[scope])
        chance = "By chance fewer than one would be expected"
        assert answer["note"].startswith(f"{chance}{', in a box fewer' if box else ''}. Stronger")
        found[scope] = expected
    assert view.answering(7, box) == found["layer"]
    assert view.answering(small_pictures()[7], box, scan.layers) == found["all"]


def test_how_many_channels_are_expected_by_chance_is_told(frontend):
    network = nbviz.Network(torch.nn.Conv2d(3, 300, 3), input_shape=(3, SIDE, SIDE))
    view = TopPatches(nbviz.scan(network, small_pictures(4), progress=False))
    answer, _ = asked(frontend, view, "answering", image=1)
    assert answer["tested"] == 300
    assert answer["note"].startswith("By chance about 3 would be expected. ")


def test_the_strongest_image_of_a_channel_is_found_the_other_way_round():
    scan = digits_scan()
    view = TopPatches(scan, "relu3")
    top = scan["relu3"].top
    for channel in (0, 5, 9):
        if top.value[channel, 0] > 0:
            image = int(top.image[channel, 0])
            found = {each.channel: each for each in view.answering(image)}
            assert found[channel].share_above <= 0.01
            assert found[channel].value == pytest.approx(float(top.value[channel, 0]), rel=1e-5)


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_an_export_has_the_open_channels_row(kind, frontend, tmp_path):
    view = TopPatches(small_scan(), "0", channel=2)
    answer, arrays = asked(frontend, view, "export", format=kind)
    data = arrays["data"].tobytes()
    assert answer["name"] == f"patches.{kind}"
    assert answer["type"] == {"png": "image/png", "svg": "image/svg+xml"}[kind]
    (saved,) = view.save(tmp_path / f"row.{kind}")
    assert saved.read_bytes() == data
    value = f"{view.samples('top')['value'][0]:.3g}"
    if kind == "png":
        np.testing.assert_array_equal(picture_of(data), view.still())
    else:
        assert f">{value}<" in data.decode() or f">{value} *<" in data.decode()
        assert data.count(b"<image") == 21


def test_names_of_classes_are_text_in_an_svg(tmp_path):
    names = ["<script>alert(1)</script>", "b&b", "c", "d"]
    scan = scan_of(small_pictures(8), classes=names)
    view = TopPatches(scan, "0", channel=0)
    (saved,) = view.save(tmp_path / "row.svg")
    text = saved.read_text()
    assert "<script" not in text
    assert "b&amp;b" in text or "&lt;script" in text


def test_questions_that_make_no_sense_are_refused_with_a_reason(frontend):
    view = TopPatches(small_scan())
    for kind, fields, said in (
        ("rows", {**ROWS, "channels": []}, "1 to 8 channels"),
        ("rows", {**ROWS, "channels": [*range(9)]}, "got 9"),
        ("rows", {**ROWS, "channels": [6]}, "channel of the 6 of layer '0'"),
        ("rows", {**ROWS, "channels": [0], "patches": 6}, "1 to 5 patches"),
        ("rows", {**ROWS, "channels": [0], "tile": 4000}, "8 to 512 pixels"),
        ("rows", {**ROWS, "channels": [0], "show": "whole"}, "patch, image, masked"),
        ("rows", {**ROWS, "channels": [0], "layer": "33"}, "was not scanned"),
        ("channel", {"layer": "0", "channel": -1, "show": "patch", "tile": 20}, "got -1"),
        ("image", {"layer": "0", "channel": 0, "image": 40}, "at most 39"),
        ("answering", {"image": 40}, "at most 39"),
        ("answering", {"image": 4, "scope": "both"}, "'layer' or 'all'"),
        ("answering", {"image": 4, "box": [0, 0, 30, 30]}, "20 x 20"),
        ("export", {"format": "pdf"}, "'png' or 'svg'"),
    ):
        assert said in refused(frontend, view, kind, **fields)


def test_a_seed_of_the_person_is_left_alone_by_pictures(frontend):
    view = TopPatches(small_scan(), "3")
    state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    asked(frontend, view, "rows", **{**ROWS, "layer": "3", "show": "masked", "channels": [0, 3]})
    assert torch.equal(torch.random.get_rng_state(), state[0])
    np.testing.assert_array_equal(np.random.get_state()[1], state[1])  # noqa: NPY002
