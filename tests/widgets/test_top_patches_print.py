"""A TopPatches on paper and in a chart: the channel that is open, or the first rows."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from nbviz import TopPatches
from nbviz.widgets.printed_page import page_bytes
from nbviz.widgets.top_patches_print import TILE, PrintedRow, patches_page
from tests.fixtures.scanned import arrays_of, digits_scan, scan_of, small_pictures, small_scan


def words(page):
    return [text.text for text in page.texts]


def test_the_first_rows_have_their_activations_below_each_patch():
    view = TopPatches(small_scan(), "0", sort="peak", patches=3)
    page = view._page()
    assert len(page.pictures) == 18
    arrays = arrays_of(view.overview)
    shown = [text.text.removesuffix(" *") for text in page.texts if text.anchor == "middle"]
    order = view.order
    assert shown == [f"{value:.3g}" for value in arrays["value"][order, :3].ravel()]
    assert f"channel {order[0]}" in words(page)


def test_an_open_channel_has_its_three_groups_with_classes():
    view = TopPatches(small_scan(), "0", channel=2)
    page = view._page()
    assert {"strongest", "middle", "weakest"} <= set(words(page))
    assert len(page.pictures) == 21
    assert "Layer '0' of Sequential, channel 2" in words(page)
    assert {"ant", "bee", "cat", "dog"} & set(words(page))


def test_what_differs_from_the_rest_is_marked_and_explained():
    view = TopPatches(digits_scan(), "relu3")
    flags = arrays_of(view.overview)["flags"]
    channel = int(((flags & 3) > 0).sum(1).argmax())
    view.channel = channel
    page = view._page()
    marked = [text for text in words(page) if text.endswith(" *")]
    assert len(marked) == ((flags[channel] & 3) > 0).sum() > 0
    assert any(text.startswith("* differs") for text in words(page))


def test_nothing_of_a_page_lies_outside_it_or_over_another_patch():
    rows = [
        PrintedRow(("a very long heading indeed", "b"), [np.zeros((TILE, TILE, 3), np.uint8)] * n,
                   ["1.25 *\na class whose name is much too long"] * n)
        for n in (1, 13, 0)
    ]  # fmt: skip
    page = patches_page("title " * 40, ["note " * 80], rows)
    corners = [(left, top) for left, top, _ in page.pictures]
    assert len(set(corners)) == 14
    for left, top in corners:
        assert left + TILE <= page.width
        assert top + TILE <= page.height
        assert sum(abs(left - a) < TILE and abs(top - b) < TILE for a, b in corners) == 1
    assert all(0 < text.y < page.height and 0 < text.x < page.width for text in page.texts)
    assert page_bytes(page, "png", 150)[:4] == b"\x89PNG"


def test_a_saved_notebook_has_a_picture_and_a_caption():
    view = TopPatches(small_scan(), "0")
    data, _ = view._repr_mimebundle_()
    assert "image/png" in data
    assert "Strongest patches of the 6 channels" in data["text/html"]


def test_the_picture_that_is_saved_needs_no_forward_passes(monkeypatch):
    view = TopPatches(small_scan(), "0", show="masked", patches=3)
    monkeypatch.setattr(
        "nbviz.widgets.top_patches_pictures.activations", lambda *_: pytest.fail("a forward pass")
    )
    few, all_rows = view.still(), TopPatches(small_scan(), "0", patches=3)._page()
    assert few.shape[0] < all_rows.height


def test_the_chart_follows_the_channel_and_marks_the_samples():
    view = TopPatches(small_scan(), "0", channel=1)
    chart = view.chart()
    bars, top, middle, bottom = chart.marks
    for channel, layer in ((1, "0"), (4, "0"), (5, "3")):
        view.layer = layer
        view.channel = channel
        assert bars.y.sum() == pytest.approx(40)
        for mark, name in ((top, "top"), (middle, "middle"), (bottom, "bottom")):
            np.testing.assert_array_equal(mark.x, view.samples(name)["value"])
        assert f"{layer}, channel {channel}" in chart.title
    assert bars.x.min() <= top.x.max() <= bars.x.max() + np.diff(bars.x)[0]
    view.channel = -1
    assert len(top.x) == 0
    assert "all channels" in chart.title
    assert bars.y.sum() == pytest.approx(40 * 7)


def test_a_chart_keeps_no_view_alive():
    view = TopPatches(scan_of(small_pictures(6)), "0", channel=1)
    chart = view.chart()
    gone = weakref.ref(view)
    view.close()
    del view
    gc.collect()
    assert gone() is None
    assert chart.comm is None
