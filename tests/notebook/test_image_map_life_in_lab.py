"""ImageMap in a real JupyterLab when something is missing: kernel, files, numbers, WebGL, room."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from browser import chromium_path
from map_sight import NUMBERED, expect_numbers, look, numbers, opened, press, sight
from notebook_page import CellError, Notebook
from playwright.sync_api import expect

COUNT = 400
MAP = NUMBERED + f"shown = numbered({COUNT}, names=False)\nshown"
GRID = NUMBERED + f'shown = numbered({COUNT}, names=False, arrangement="grid")\nshown'
SPOILT = (
    NUMBERED
    + """
features = hidden_features(60)
features[7], features[31] = np.nan, np.inf
names = ["<b>bold</b>", "<img src=x onerror=alert(1)>", "plain"]
shown = nbviz.ImageMap(
    features, NumberedPictures(60, broken=[12]), [names[n % 3] for n in range(60)],
    normalise=False, perplexity=30, arrangement="grid", size=64)
shown.wait(progress=False)
shown
"""
)
DOTS = """
dots = nbviz.ImageMap(hidden_features(50), method="pca", colours={"<i>heat</i>": np.arange(50.0)})
dots
"""
_LOSE = """() => {
  const shared = globalThis[Symbol.for('nbviz.webgl2.v1')];
  const found = Object.values(shared).find(value => value instanceof WebGL2RenderingContext);
  window.nbvizLoss = found.getExtension('WEBGL_lose_context');
  window.nbvizLoss.loseContext();
}"""


def settled(notebook):
    notebook.wait_python("shown.progress['finished']")


def test_a_saved_page_and_one_loaded_again_show_the_map(open_notebook):
    notebook, view = opened(open_notebook, MAP, viewport=(1280, 1000))
    settled(notebook)
    notebook.execute("shown.image, shown.selected = 17, [3, 40, 41]")
    whole = sight(notebook, view)
    rows = np.intersect1d(whole.inside(20), np.flatnonzero(whole.alone(8)))
    expect_numbers(view, whole, rows, 32, least=8)
    notebook.wait_python("len(shown.pictures)")
    notebook.reload()
    notebook.page.emulate_media(reduced_motion="reduce")
    view.wait_drawn()
    expect_numbers(view, sight(notebook, view), rows, 32, least=8)
    notebook.reopen()
    notebook.page.emulate_media(reduced_motion="reduce")
    view.wait_drawn()
    expect_numbers(view, whole, rows, 32, least=8)
    title = view.find("section[aria-label='The chosen image'] h3")
    expect(title).to_have_text("image 17")
    expect(view.find("section[aria-label='Selection'] h3")).to_have_text("3 images selected")
    # Without Python there are neighbours, filters, search and layouts all the same.
    x, y = whole.screen[17]
    view.hover(x, y, ".stage")
    expect(view.find(".hover-card")).to_contain_text("in feature space")
    view.find(".category:has-text('kind b') input").uncheck()
    view.find(".toolbar input[type=search]").fill("kind c")
    expect(view.find(".found")).to_contain_text("images found (class kind c)")
    press(view, "PCA")
    expect(view.find("button:text-is('PCA')")).to_have_attribute("aria-pressed", "true")
    press(view, "Grid")
    expect(view.find(".status")).to_contain_text("run the cell", timeout=15_000)
    view.screenshot("no-kernel")


def test_what_is_wrong_is_said_and_names_of_strangers_are_text(open_notebook):
    notebook, view = opened(open_notebook, SPOILT, DOTS, viewport=(1280, 1100))
    settled(notebook)
    notes = view.find(".notes")
    expect(notes).to_contain_text("2 images were left out, as their features are not finite")
    expect(notes).to_contain_text("numbers 7, 31")
    assert "erplexity" in " ".join(notebook.ask("shown.notes"))
    expect(view.find(".headline")).to_contain_text("58 images")
    there = sight(notebook, view, layout="grid")
    # Rows are those that are left: row 7 is image 8. The damaged one is crossed out.
    left = np.delete(np.arange(60), [7, 31])
    damaged = int(np.flatnonzero(left == 12)[0])
    notebook.wait_python("12 in shown.problems")
    assert "picture 12" in notebook.ask("shown.problems")[12]
    read = numbers(view, there, range(58), there.side)
    assert read[damaged] == -1
    told = {row: number for row, number in read.items() if number >= 0}
    assert len(told) > 40
    assert all(number == left[row] for row, number in told.items()), (
        "that of the image, not the row"
    )
    view.hover(*there.screen[damaged], ".stage")
    card = view.find(".hover-card")
    expect(card).to_contain_text("image 12")
    expect(card).to_contain_text("<b>bold</b>")
    view.click(*there.screen[damaged], ".stage")
    panel = view.find("section[aria-label='The chosen image']")
    expect(panel).to_contain_text("cannot read <b>picture 12</b>")
    expect(view.find(".category").first).to_contain_text("<")
    for part in (view, notebook.view(1)):
        assert part.find(".view b, .view img, .view i").count() == 0
    dots = notebook.view(1)
    dots.show()
    expect(dots.find(".notes, .headline").first).to_be_visible()
    assert "images=" in notebook.ask("dots.missing")
    select = dots.find("label:has(span:text-is('Colour')) select")
    select.select_option("<i>heat</i>")
    notebook.wait_python("dots.colour == '<i>heat</i>'")
    expect(dots.find("section[aria-label='Legend and filter'] h3")).to_contain_text("<i>heat</i>")
    for code, words in (
        ("nbviz.ImageMap(hidden_features(9), labels=[1, 2])", "2"),
        ("nbviz.ImageMap(np.zeros((0, 4)))", "at least one"),
        ("shown.image = 7", "7"),
    ):
        with pytest.raises(CellError, match=words):
            notebook.execute(code)


def test_a_lost_context_comes_back_and_without_webgl_there_is_canvas(open_notebook, browser, lab):
    notebook, view = opened(open_notebook, GRID, viewport=(1280, 1000))
    settled(notebook)
    there = sight(notebook, view, layout="grid")
    rows = there.inside(there.side)
    expect_numbers(view, there, rows, there.side)
    canvas = view.find("canvas.map")
    expect(canvas).to_have_attribute("data-painter", "webgl2")
    notebook.page.evaluate(_LOSE)
    expect(canvas).to_have_attribute("data-painter", "canvas")
    expect_numbers(view, there, rows, there.side)
    notebook.page.evaluate("() => window.nbvizLoss.restoreContext()")
    expect(canvas).to_have_attribute("data-painter", "webgl2")
    expect_numbers(view, there, rows, there.side)
    # A browser that has none at all
    kind = browser.browser_type
    flags = ["--no-sandbox", "--disable-gpu", "--disable-software-rasterizer"]
    bare = kind.launch(executable_path=chromium_path(kind), args=flags)
    try:
        plain = Notebook(lab, bare, "no-webgl.ipynb", shots=Path(notebook.shots))
        plain, second = opened(lambda cells, **o: plain.open(cells, **o), GRID)
        expect(second.find("canvas.map")).to_have_attribute("data-painter", "canvas")
        expect(second.find(".stage-note")).to_contain_text("no WebGL2")
        other = sight(plain, second, layout="grid")
        expect_numbers(second, other, other.inside(other.side), other.side)
        second.screenshot("no-webgl")
        plain.close()
        # Chromium says so itself, which is no problem of the view.
        assert [line for line in plain.problems.take() if "WebGL" not in line] == []
    finally:
        bare.close()


def test_it_is_drawn_in_both_themes_and_on_a_phone(open_notebook):
    notebook, view = opened(open_notebook, MAP, viewport=(1280, 900), still=False)
    settled(notebook)
    notebook.screenshot("light")
    for theme in ("dark", "light"):
        with view.redrawn():
            notebook.set_theme(theme)
        background = view.find(".view").evaluate("v => getComputedStyle(v).backgroundColor")
        shade = int(re.search(r"\d+", background)[0])
        assert shade < 80 if theme == "dark" else shade > 200
        notebook.page.wait_for_timeout(300)
        corner = view.find(".stage").screenshot()
        assert len(corner) > 3000
        notebook.screenshot(f"{theme}-map")
        assert not re.search("undefined|NaN", view.text())
    with view.redrawn():
        notebook.fit_output(360)
    view.screenshot("narrow")
    assert view.host.evaluate("h => h.scrollWidth <= h.clientWidth")
    inside = view.find(".view").evaluate(
        "v => [...v.querySelectorAll('button, select, input, h3, canvas.map')].filter(e =>"
        " e.offsetWidth && e.getBoundingClientRect().right >"
        " v.getBoundingClientRect().right + 1).map(e => e.outerHTML)"
    )
    assert inside == []
    look(notebook, view, [30000, 30000, 6])
    there = sight(notebook, view)
    notebook.page.wait_for_timeout(1500)
    assert there.room[0] > 300
    row = int(there.inside(30)[0])
    view.click(*there.screen[row], ".stage")
    notebook.wait_python("shown.image >= 0")
