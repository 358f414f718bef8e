"""ImageMap in a real JupyterLab: what a person sees, and what their hands do.

What the view should show is worked out here, by numpy alone, from the same places and pictures.
"""

from __future__ import annotations

import numpy as np
from fixtures.numbered_pictures import classes_of, hidden_features, number_of
from map_sight import (
    CLASSES,
    NUMBERED,
    expect_alike,
    expect_numbers,
    look,
    numbers,
    opened,
    press,
    seen,
    sight,
)
from playwright.sync_api import expect

DIGITS = """
import nbviz
from nbviz.demos.digit_demo import digits_pictures
network, *_ = nbviz.demos.digits()
pictures, labels, held_out = digits_pictures()
scan = nbviz.scan(network, pictures, labels=labels, layers="conv1", progress=False)
shown = nbviz.ImageMap(scan)
shown
"""
COUNT = 600
# Gathers what the canvas showed, frame by frame, small.
_WATCH_FRAMES = """canvas => {
  const small = new OffscreenCanvas(40, 26).getContext('2d', { willReadFrequently: true });
  const pictures = (window.nbvizPictures = new Set());
  requestAnimationFrame(function frame() {
    small.drawImage(canvas, 0, 0, 40, 26);
    pictures.add(String(small.getImageData(0, 0, 40, 26).data));
    if (pictures.size < 5) requestAnimationFrame(frame);
  });
}"""


def nearest(count, row, k=15):
    """True neighbours of a row, nearest first, and how far they are."""
    features = hidden_features(count).astype(np.float64)
    away = np.linalg.norm(features - features[row], axis=1)
    away[row] = np.inf
    order = np.argsort(away, kind="stable")[:k]
    return order, away[order]


def settled_pixels(view):
    """The map once pictures that were on their way have come."""
    for _ in range(60):
        before = view.pixels("canvas.map")
        view.notebook.page.wait_for_timeout(300)
        if np.array_equal(view.pixels("canvas.map"), before):
            return before
    raise AssertionError("the map never stood still")


def test_a_map_is_made_before_ones_eyes_and_may_be_stopped(open_notebook):
    notebook, view = opened(open_notebook, DIGITS, viewport=(1280, 1100))
    progress = view.find(".progress")
    expect(progress).to_contain_text("of 750 steps")
    press(view, "Stop")
    notebook.wait_python("shown.progress['stopped']")
    expect(progress.locator("button")).to_have_text("Go on")
    halted = notebook.ask("shown._progress()['iteration']")
    assert 0 <= halted < 750
    before = settled_pixels(view)
    view.notebook.page.wait_for_timeout(500)
    assert notebook.ask("shown._progress()['iteration']") == halted
    np.testing.assert_array_equal(view.pixels("canvas.map"), before)
    press(view, "Go on")
    notebook.wait_python("shown.progress['finished']", timeout=150)
    expect(progress).to_be_hidden(timeout=60_000)
    expect(view.find(".figures")).to_contain_text("Trustworthiness 0.99", timeout=60_000)
    expect(view.find(".headline")).to_have_text("1,797 images t-SNE, perplexity 30")
    # Digits of a kind lie together: the state says so, and the screen shows what the state says.
    there = sight(notebook, view)
    labels = np.array(notebook.ask("labels[:900].tolist()"))
    places = there.places[:900]
    away = np.linalg.norm(places[:, None] - places, axis=2)
    np.fill_diagonal(away, np.inf)
    assert (labels[away.argmin(1)] == labels).mean() > 0.95
    for number, x, y, count in notebook.ask("shown.named['places']"):
        near = np.linalg.norm(places - (x, y), axis=1).argsort()[:5]
        assert (labels[near] == number).all(), f"the name of {number} stands among others"
        assert count == notebook.ask(f"int((labels == {number}).sum())")
    notebook.screenshot("settled")
    view.find(".figures").click()
    expect(view.find(".explained")).to_contain_text("trustworthiness 0.99")
    assert notebook.ask("shown.problem") == ""


def test_each_place_shows_the_picture_of_its_own_row_across_atlases(open_notebook):
    cell = NUMBERED + 'shown = numbered(9000, arrangement="grid", names=False)\nshown'
    notebook, view = opened(open_notebook, cell, viewport=(1280, 1000))
    whole = sight(notebook, view, layout="grid")
    assert len(np.unique(whole.places, axis=0)) == 9000, "each in a cell of its own"
    fit = whole.cell * whole.scale * 0.94
    # With all in view every tile of 32 pixels is fetched, by priority; 4,096 are an atlas.
    notebook.wait_for(
        "document.querySelector('[data-nbviz-view]').dataset.nbvizDrawn > 0", "the first picture"
    )
    met = np.zeros(9000, bool)
    # Levels that a picture may be off: half a pixel of 20, JPEG, and drawing at fractions of one.
    views = [((i + 0.5) / 3, (j + 0.5) / 3, 20, 30) for i in range(3) for j in range(3)]
    views += [(0.3, 0.5, 60, 15), (0.5, 0.4, 125, 6), (0.7, 0.4, 200, 6)]
    for x, y, side, most in views:
        middle = whole.places.min(0) + np.ptp(whole.places, axis=0) * (x, y)
        look(notebook, view, [*middle.round().tolist(), side / fit])
        there = sight(notebook, view, layout="grid")
        rows = there.inside(0.6 * there.side)
        expect_numbers(view, there, rows, there.side)
        expect_alike(view, there, rows, there.side, most)
        met[rows] = True
    assert met.mean() > 0.9, "so the views cross all atlases"


def expect_card(notebook, view, there, row):
    """The card of a row, with its true neighbours, and a line to each."""
    view.hover(-20, 5, ".stage")
    expect(view.find(".hover-card")).to_be_hidden()
    before = seen(view, ".stage")
    view.hover(*there.screen[row], ".stage")
    card = view.find(".hover-card")
    expect(card).to_contain_text(f"image {row}")
    expect(card).to_contain_text(f"Class: {CLASSES[classes_of(row)]}")
    truly, _ = nearest(COUNT, row)
    expect(card.locator(".strip canvas:not(.waits)")).to_have_count(6, timeout=30_000)
    shown = [number_of(view.pixels(f".hover-card .strip canvas >> nth={i}")) for i in range(6)]
    assert shown == truly[:6].tolist()
    assert number_of(view.pixels(".hover-card > canvas")) == row
    notebook.page.wait_for_timeout(400)
    after = seen(view, ".stage")
    differs = (before.astype(int) != after).any(axis=2)
    joined = 0
    for other in set(truly.tolist()) & set(there.inside(20).tolist()):
        # Two thirds of the way there is neither one picture nor the other.
        x, y = (there.screen[row] + 2 * (there.screen[other] - there.screen[row]) / 3).astype(int)
        assert differs[y - 3 : y + 4, x - 3 : x + 4].any(), f"no line to {other}"
        joined += 1
    assert joined > 5


def test_the_card_shows_true_neighbours_and_how_the_map_tore_them(open_notebook):
    cell = NUMBERED + f'shown = numbered({COUNT}, arrangement="grid", names=False)\nshown'
    notebook, view = opened(open_notebook, cell, viewport=(1280, 1000))
    notebook.wait_python("shown.progress['finished']")
    there = sight(notebook, view, layout="grid")
    rows = there.inside(40)
    for row in rows[:: len(rows) // 4]:
        expect_card(notebook, view, there, int(row))
    away = np.linalg.norm(there.places - there.places[row], axis=1)
    truly, distance = nearest(COUNT, row)
    answer = notebook.ask(f"[v.tolist() for v in shown.neighbours({row}).values()]")
    assert answer[0] == truly.tolist()
    np.testing.assert_allclose(answer[1], distance, rtol=1e-4)
    ranks = (away[None] < away[truly][:, None]).sum(1) - 1
    np.testing.assert_allclose(answer[2], ranks, atol=0.02 * COUNT)
    # A click chooses it: the panel has all fifteen, in Python it is `image`.
    view.click(*there.screen[row], ".stage")
    notebook.wait_python(f"shown.image == {row}")
    panel = view.find("section[aria-label='The chosen image']")
    expect(panel.locator("h3")).to_have_text(f"image {row}")
    expect(panel.locator(".strip .pick")).to_have_count(15)
    torn = panel.locator(".strip .pick.torn").count()
    assert 0 < torn < 15
    expect(panel.locator("p.soft")).to_contain_text(
        f"Of its 15 nearest in feature space {torn} lie"
    )
    view.screenshot("chosen")
    panel.locator(".strip .pick").nth(3).click()
    notebook.wait_python(f"shown.image == {truly[3]}")


def test_layouts_legend_and_search_show_what_they_say(open_notebook):
    cell = NUMBERED + f"shown = numbered({COUNT}, names=False)\nshown"
    notebook, view = opened(open_notebook, cell, viewport=(1280, 1000))
    notebook.wait_python("shown.progress['finished']")
    notebook.page.emulate_media(reduced_motion="no-preference")
    view.find("canvas.map").evaluate(_WATCH_FRAMES)
    press(view, "Grid")
    notebook.wait_for("window.nbvizPictures.size > 4", "pictures on the way to the grid")
    notebook.page.emulate_media(reduced_motion="reduce")
    notebook.wait_python("shown.arrangement == 'grid'")
    there = sight(notebook, view, layout="grid")
    kind = classes_of(np.arange(COUNT))
    expect_numbers(view, there, range(COUNT), there.side)
    expect_filter(notebook, view, there, kind)
    expect_found(notebook, view, kind)
    for layout in ("pca", "map"):
        press(view, {"pca": "PCA", "map": "Map"}[layout])
        notebook.wait_python(f"shown.arrangement == {layout!r}")
        there = sight(notebook, view, layout=layout)
        # Thinned, some are dots; but one that lies upon another may be taken for it.
        rows = np.intersect1d(there.inside(16), np.flatnonzero(there.alone(8)))
        expect_numbers(view, there, rows, 32, least=10)


def expect_filter(notebook, view, there, kind):
    view.find(".category:has-text('kind b') input").uncheck()
    notebook.wait_python("shown.hidden == [1]")
    # Under the pointer a category stands out, so that the others fade.
    notebook.page.mouse.move(5, 5)
    notebook.page.wait_for_timeout(500)
    read = np.array([*numbers(view, there, range(COUNT), there.side).values()])
    assert (read[kind == 1] == -1).all()
    assert (read[kind != 1] == np.flatnonzero(kind != 1)).all()
    view.find(".category:has-text('kind c')").hover()
    view.find(".category:has-text('kind c') .only").click()
    notebook.wait_python("len(shown.hidden) == 9 and 2 not in shown.hidden")
    view.find("section[aria-label='Legend and filter'] button:text-is('All')").click()
    notebook.wait_python("shown.hidden == []")
    # By value: only those of little trust
    view.find("label:has(span:text-is('Colour')) select").select_option("trust")
    notebook.wait_python("shown.colour == 'trust' and shown.colour_layer['name'] == 'trust'")
    high = view.find("input[aria-label='Highest that is shown']")
    high.fill("500")
    notebook.wait_python("len(shown.range) == 2")
    low, top = notebook.ask("[float(v) for v in shown.range]")
    values = np.array(notebook.ask("shown.measure_trust().point_trustworthiness.tolist()"))
    inside = int(((values >= low) & (values <= top)).sum())
    note = view.find("section[aria-label='Legend and filter'] p.soft").first
    expect(note).to_contain_text(f"of {COUNT} images shown")
    told = int(note.inner_text().split()[0])
    assert abs(told - inside) <= 3, "values are sent in 65,535 steps"
    view.find("label:has(span:text-is('Colour')) select").select_option("class")
    notebook.wait_python("shown.colour == 'class' and shown.range == []")


def expect_found(notebook, view, kind):
    view.find(".toolbar input[type=search]").fill("kind j")
    expect(view.find(".found")).to_contain_text(f"{(kind == 9).sum()} images found (class kind j)")
    view.find(".found button:text-is('Select')").click()
    notebook.wait_python(f"shown.selected.tolist() == {np.flatnonzero(kind == 9).tolist()}")
    view.find(".toolbar input[type=search]").fill("17")
    expect(view.find(".found")).to_contain_text("1 image found")
    view.find(".toolbar input[type=search]").fill("")
    expect(view.find(".found")).to_be_hidden()
    notebook.execute("shown.selected = []")
    expect(view.find("section[aria-label='Selection']")).to_be_hidden()
