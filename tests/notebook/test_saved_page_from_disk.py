"""Pages that `nbviz.save_html` wrote, opened from disk with the network cut off."""

from __future__ import annotations

import time

import numpy as np
import pytest
from firefox import firefox_path, running_firefox
from fixtures.numbered_pictures import (
    NumberedPictures,
    classes_of,
    clustered_places,
    hidden_features,
)
from map_sight import CLASSES, Sight, expect_numbers, press
from page_from_disk import PageFromDisk
from playwright.sync_api import expect

import nbviz
from nbviz.widgets import wire

FEW = slice(0, 60)
MAPS = ".center canvas"


@pytest.fixture(scope="module")
def lecture(tmp_path_factory):
    """A page of all views but the map, and the views."""
    demo = nbviz.demos.scenes()
    images, labels = demo.images[FEW], demo.labels[FEW]
    scan = nbviz.scan(
        demo.network,
        images,
        labels=labels,
        classes=demo.classes,
        layers=["relu2", "relu3"],
        progress=False,
    )
    grid = nbviz.FilterGrid(demo.network)
    browser = nbviz.ActivationBrowser(demo.network, images, labels=labels, image=2)
    probe = nbviz.OcclusionProbe(
        demo.network, images, "mushroom", image=16, size=16, stride=4, opacity=0.7
    )
    probe.run_map()
    patches = nbviz.TopPatches(scan, "relu3", patches=5)
    nbviz.link(grid, browser)
    nbviz.link(patches, browser)
    path = tmp_path_factory.mktemp("pages") / "lecture.html"
    views = (grid, browser, probe, patches)
    saved = nbviz.save_html(
        ["Look at the kernels.", *views], path, title="A lecture", images=[2, 5], progress=False
    )
    assert saved.left_out == ()
    return path, views


@pytest.fixture
def open_page(browser, tmp_path):
    opened = []

    def open_(path, **options):
        opened.append(PageFromDisk(browser, path, tmp_path, **options))
        return opened[-1]

    yield open_
    for page in opened:
        page.close()


def test_layers_are_walked_and_links_hold(lecture, open_page):
    page = open_page(lecture[0])
    kernels, maps = page.view(0), page.view(1)
    assert page.page.locator("h1").inner_text() == "A lecture"
    before, before_maps = kernels.pixels(), maps.pixels(MAPS)
    with page.redrawn(kernels, maps):
        kernels.find("select").first.select_option("conv2")
    assert "conv2" in maps.find(".headline").inner_text()
    after, after_maps = kernels.pixels(), maps.pixels(MAPS)
    assert after.shape != before.shape or (after != before).any()
    assert after_maps.shape != before_maps.shape or (after_maps != before_maps).any()
    # Sorting is the view's own.
    sorted_before = kernels.pixels()
    with page.redrawn(kernels):
        kernels.find("select").nth(1).select_option("norm")
    assert (kernels.pixels() != sorted_before).any()
    assert kernels.find(".problem").is_hidden()


def test_what_was_not_saved_says_so_in_its_place(lecture, open_page):
    page = open_page(lecture[0])
    maps = page.view(1)
    slider = maps.find("input[type=range]").first
    slider.evaluate(
        "e => { e.value = 5; e.dispatchEvent(new Event('change', {bubbles: true})); "
        "e.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    page.page.wait_for_timeout(300)
    assert maps.find(".problem").is_hidden()
    slider.evaluate(
        "e => { e.value = 7; e.dispatchEvent(new Event('input', {bubbles: true})); "
        "e.dispatchEvent(new Event('change', {bubbles: true})); }"
    )
    maps.find(".problem").wait_for()
    assert "image 7 is not among" in maps.find(".problem").inner_text()


def test_the_mask_drags_over_the_map(lecture, open_page):
    path, (_, _, probe, _) = lecture
    page = open_page(path)
    view = page.view(2)
    said = lambda: view.find(".bars, .right").first.inner_text()  # noqa: E731 - read again and again
    clear = said()
    canvas = view.find("canvas").first.bounding_box()
    scale = canvas["width"] / probe.inputs["width"]
    values = probe.result.values(kind="probability")
    row, column = np.unravel_index(values.argmin(), values.shape)
    worst = probe.result.tops[row] + 8, probe.result.lefts[column] + 8
    view.drag((20 * scale, 20 * scale), (worst[1] * scale, worst[0] * scale), steps=12)
    page.page.wait_for_function(
        "([selector, before]) => document.querySelector(selector).shadowRoot.textContent"
        ".includes('Without Python') ",
        arg=["[data-nbviz-view=occlusion-probe]", clear],
    )
    assert f"{100 * values.min():.1f}" in said().replace(" ", "")


def test_patches_browse(lecture, open_page):
    path, (_, _, _, patches) = lecture
    page = open_page(path)
    view = page.view(3)
    view.show()
    view.find(".rows").focus()
    view.press("ArrowDown", "ArrowDown", "Enter")
    expect(view.find(".body")).to_contain_text("relu3, channel 2")
    expect(view.find(".body")).to_contain_text("Strongest")
    expect(view.find(".body")).not_to_contain_text("comes from Python")
    assert view.find(".problem").is_hidden()
    view.find("select").first.select_option("relu2")
    expect(view.find(".headline")).to_contain_text("relu2")
    assert view.find(".problem").is_hidden()
    view.find("input[type=search]").fill("fish")
    expect(view.find(".problem")).to_contain_text("search stays as it was saved")
    assert patches.layer == "relu3"


def test_a_map_pans_with_its_own_pictures(tmp_path, open_page):
    count = 400
    numbered = nbviz.ImageMap(
        hidden_features(count),
        NumberedPictures(count),
        classes_of(np.arange(count)).tolist(),
        classes=CLASSES,
        embedding=clustered_places(count),
        normalise=False,
        components=None,
        arrangement="grid",
        image=5,
    )
    numbered.wait(progress=False)
    path = tmp_path / "map.html"
    assert nbviz.save_html(numbered, path, progress=False).left_out == ()
    page = open_page(path)
    page.page.emulate_media(reduced_motion="reduce")
    view = page.view()
    box = view.find(".stage").bounding_box()
    places = wire.unpack(numbered.points)["grid"].astype(float)
    there = Sight(places, (box["width"], box["height"]), [], int(numbered.points["cell"]))
    # Lines to the neighbours of the chosen image lie over a few.
    expect_numbers(view, there, there.inside(20), there.side, least=count - 40)

    before = view.pixels("canvas.map")
    middle = box["width"] / 2, box["height"] / 2
    view.drag(middle, (middle[0] + 60, middle[1] + 20), ".stage", steps=6)
    deadline = time.monotonic() + 20
    while True:
        after = view.pixels("canvas.map")
        moved, stood = after[100:400, 200:600, :3], before[80:380, 140:540, :3]
        off = np.abs(moved.astype(float) - stood).mean()
        if off < 12:
            break
        assert time.monotonic() < deadline, f"off by {off:.0f} levels"
        page.page.wait_for_timeout(200)
    for layout in ("Map", "PCA"):
        press(view, layout)
        page.page.wait_for_timeout(300)
        assert view.find(".problem").is_hidden()
    press(view, "Outliers")
    view.find(".questions li, .found li, [data-row]").first.wait_for()


def test_an_explorer_shows_all_its_panes(tmp_path, open_page):
    demo = nbviz.demos.scenes()
    images = demo.images[FEW]
    scan = nbviz.scan(demo.network, images, layers=["relu2", "relu3"], progress=False)
    explorer = nbviz.Explorer(demo.network, images, scan, image=2)
    explorer.map.wait(progress=False)
    explorer.occlusion.run_map()
    path = tmp_path / "explorer.html"
    nbviz.save_html(explorer, path, images=[2], progress=False)
    page = open_page(path, viewport=(1600, 1000))
    page.view()
    views = page.page.locator("[data-nbviz-view]")
    expect(views).to_have_count(6)
    chosen = page.page.get_by_label("Chosen in all panes")
    expect(chosen).to_contain_text("Image2")
    page.page.locator("[data-nbviz-view=filter-grid] select").first.select_option("conv2")
    expect(page.page.locator("[data-nbviz-view=activation-browser] .headline")).to_contain_text(
        "conv2"
    )
    expect(chosen).to_contain_text("conv2")
    page.page.locator("[data-pane=map]").first.click()
    expect(views).to_have_count(5)
    page.page.locator("[data-pane=map]").first.click()
    expect(views).to_have_count(6)


@pytest.mark.parametrize(
    ("theme", "viewport"), [("light", (360, 740)), ("dark", (1920, 1080)), ("light", (1024, 768))]
)
def test_it_fits_every_screen(lecture, open_page, theme, viewport):
    page = open_page(lecture[0], theme=theme, viewport=viewport)
    for index in range(4):
        page.view(index)
    across = page.page.evaluate("document.documentElement.scrollWidth")
    assert across <= viewport[0]
    paper = page.page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = sum(int(part) for part in paper.strip("rgb()").split(",")) > 380
    assert light == (theme == "light")
    page.page.get_by_role("button", name="Change to").click()
    after = page.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert after != paper


@pytest.mark.skipif(firefox_path() is None, reason="no Firefox on this machine")
def test_it_works_in_firefox(lecture):
    with running_firefox() as firefox:
        firefox.open(lecture[0])
        firefox.wait_for("document.querySelectorAll('[data-nbviz-drawn]').length === 4")
        probe = "document.querySelector('[data-nbviz-view=occlusion-probe]')"
        firefox.value(f"({probe}.scrollIntoView(), 1)")
        box = firefox.value(f"{probe}.shadowRoot.querySelector('canvas').getBoundingClientRect()")
        corner = box["x"] + 30, box["y"] + 30
        firefox.drag(corner, (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2))
        firefox.wait_for(f"{probe}.shadowRoot.textContent.includes('Without Python')")
        assert firefox.errors == []
        asked = [
            one for one in firefox.requested if not one.startswith(("file:", "blob:", "data:"))
        ]
        assert asked == []
