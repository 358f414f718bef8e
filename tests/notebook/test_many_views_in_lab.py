"""Many widgets in one notebook, and one kernel behind several pages: what a person sees."""

from __future__ import annotations

import copy
import re

import numpy as np
from browser import Problems
from map_sight import NUMBERED
from patch_rows import expect_pictures
from playwright.sync_api import expect

#: Megabytes that a notebook with fifty small widgets may take on disk, so that it still goes by
#: mail. Of the 0.3 for each, the code of its view takes up to 0.12, and its still picture as much.
MOST_SAVED = 15
CELLS, IN_EACH = 10, 5
#: For what comes from Python while several pages want something of the same two cores.
ANSWER_MS = 20_000
#: Where the picture of each kind of view stands.
PICTURES = {
    "filter-grid": ".scroller canvas",
    "activation-browser": ".center .scroller canvas",
    "occlusion-probe": "canvas.picture",
    "top-patches": ".row canvas",
    "image-map": "canvas.map",
}
MADE = (
    NUMBERED
    + """
import nbviz
network, images, labels, classes = nbviz.demos.digits()
images, labels = images[:60], labels[:60]
scan = nbviz.scan(network, images, labels=labels, layers="conv1", progress=False)
many = []

def five():
    # More maps than a page may have contexts of WebGL.
    last = (nbviz.OcclusionProbe(network, images, labels=labels) if len(many) % 2
            else nbviz.TopPatches(scan, size=64))
    many.extend([nbviz.FilterGrid(network), numbered(60, names=False), last,
                 nbviz.ActivationBrowser(network, images), numbered(80, names=False)])
    display(*many[-5:])
"""
)
TWO = """
import nbviz
network, images, labels, classes = nbviz.demos.digits()
grid = nbviz.FilterGrid(network)
browser = nbviz.ActivationBrowser(network, images, labels=labels)
linked = nbviz.link(grid, browser)
grid
"""
_COUNT_CONTEXTS = """() => {
  window.nbvizContexts = 0;
  for (const kind of [HTMLCanvasElement, OffscreenCanvas]) {
    const plain = kind.prototype.getContext;
    kind.prototype.getContext = function (name, ...more) {
      const made = plain.call(this, name, ...more);
      if (made && /^webgl/.test(name)) window.nbvizContexts += 1;
      return made;
    };
  }
}"""

# How many colours a canvas shows, at 100 x 100 of its pixels.
_COLOURS = """canvas => {
  const small = new OffscreenCanvas(100, 100).getContext('2d');
  small.imageSmoothingEnabled = false;
  small.drawImage(canvas, 0, 0, 100, 100);
  return new Set(new Uint32Array(small.getImageData(0, 0, 100, 100).data.buffer)).size;
}"""


def kind_of(view):
    return view.host.get_attribute("data-nbviz-view")


def picture(view):
    """Pixels of a view's picture."""
    return view.pixels(PICTURES[kind_of(view)])


def expect_picture(view):
    """The view has a picture: many colours, not one paper."""
    view.show()
    canvas, colours = view.find(PICTURES[kind_of(view)]).first, 0
    for _ in range(100):
        colours = canvas.evaluate(_COLOURS)
        if colours >= 12:
            return
        view.notebook.page.wait_for_timeout(100)
    raise AssertionError(f"view {view.index}, a {kind_of(view)}, shows {colours} colours")


def choose(view, label, value):
    view.find(f"label:has(span:text-is('{label}')) select").select_option(value)


def expect_chosen(view, label, value):
    expect(view.find(f"label:has(span:text-is('{label}')) select")).to_have_value(
        value, timeout=ANSWER_MS
    )


def expect_layer(view, layer):
    """The view shows this layer, which Python had to send."""
    if kind_of(view) == "filter-grid":
        label = re.compile(f"kernels of {layer}[.]")
        expect(view.find(".scroller")).to_have_attribute("aria-label", label, timeout=ANSWER_MS)
    else:
        expect(view.find(".headline strong").first).to_have_text(layer, timeout=ANSWER_MS)


def test_fifty_widgets_draw_keep_their_pictures_and_are_saved_small(open_notebook):
    """All fifty show a picture, also when one has scrolled to the last and back.

    The notebook stays small enough to be sent by mail, and widgets that are closed leave the page.
    """
    notebook = open_notebook([MADE, *["five()"] * CELLS])
    notebook.page.emulate_media(reduced_motion="reduce")
    notebook.page.evaluate(_COUNT_CONTEXTS)
    notebook.run_all(timeout=120)
    total = CELLS * IN_EACH
    notebook.wait_views(total)
    views = [notebook.view(index) for index in range(total)]
    kinds = [kind_of(view) for view in views]
    assert set(kinds) == set(PICTURES)
    assert kinds.count("image-map") > 16
    for view in [*views, *views[::-1]]:
        expect_picture(view)
    assert notebook.page.evaluate("nbvizContexts") == 1
    for view in views:
        if kind_of(view) == "image-map":
            expect(view.find("canvas.map")).to_have_attribute("data-painter", "webgl2")
    assert notebook.ask("[w.problem for w in many if w.problem]") == []
    notebook.save()
    megabytes = (notebook.lab.root / notebook.path).stat().st_size / 1e6
    print(f"\na notebook with {total} widgets takes {megabytes:.2f} MB")
    assert 1 < megabytes < MOST_SAVED
    notebook.execute("for widget in many: widget.close()")
    notebook.wait_views(0)
    shared = "globalThis[Symbol.for('nbviz.webgl2.v1')] === undefined"
    notebook.wait_for(shared, "the context of WebGL to be given back")


def page_beside(notebook, context):
    """The same notebook on another page, with the same kernel behind it."""
    other = copy.copy(notebook)
    other.problems, other.page = Problems(), context.new_page()
    other.problems.listen(other.page)
    other.page.goto(other.lab.page_url(other.path))
    other._wait_ready()
    return other


def test_every_page_on_one_kernel_shows_one_state(open_notebook, browser):
    """A second tab, and a browser elsewhere, show what the first shows, and follow one another.

    What is chosen in one, or in Python, is chosen in all; the notebook has to have been saved, as
    a page takes from it which widgets there are.
    """
    notebook = open_notebook([TWO, "browser"])
    notebook.run_all()
    choose(notebook.view(0), "Sort", "norm")
    notebook.wait_python("grid.sort == 'norm'")
    notebook.save()
    size = notebook.page.viewport_size
    elsewhere = browser.new_context(viewport=size)
    try:
        pages = [
            notebook,
            page_beside(notebook, notebook.page.context),
            page_beside(notebook, elsewhere),
        ]
        grids = [page.view(0) for page in pages]
        browsers = [page.view(1) for page in pages]
        for grid in grids:
            expect_chosen(grid, "Sort", "norm")
            expect_picture(grid)
        # From each page in turn, and from Python
        for page, layer in zip(pages, ("conv2", "conv3", "conv1"), strict=True):
            choose(page.view(0), "Layer", layer)
            for grid, maps in zip(grids, browsers, strict=True):
                expect_layer(grid, layer)
                expect_layer(maps, layer)
        notebook.ask("setattr(browser, 'layer', 'conv2')")
        for view in [*grids, *browsers]:
            expect_layer(view, "conv2")
        first = picture(grids[0])
        for grid in grids[1:]:
            np.testing.assert_array_equal(picture(grid), first)
        for page in pages[1:]:
            page.problems.check()
            page.page.close()
        # Pages that close leave the others be.
        choose(grids[0], "Layer", "conv1")
        expect_layer(browsers[0], "conv1")
    finally:
        elsewhere.close()


THREE = """
import nbviz
network, images, labels, classes = nbviz.demos.digits()
scan = nbviz.scan(
    network, images[:60], labels=labels[:60], layers=["conv1", "conv2"], progress=False)
patches, old = nbviz.TopPatches(scan), globals().get("grid")
grid = nbviz.FilterGrid(network)
display(grid, patches)
"""
LINKED = """
browser = nbviz.ActivationBrowser(network, images)
linked = nbviz.link(grid, browser)
browser
"""


def test_a_cell_run_again_a_closed_widget_and_a_kernel_started_anew(open_notebook):
    """What becomes of a view when what it shows is made again, closed, or lost.

    A cell that is run again shows a new widget with its first choices. The old one goes on where
    else it is shown, and with what it is linked to, until it is closed: then its views leave the
    page, and the others answer as before. After a restart the last pictures stay and what needs no
    Python still works; what does says that the cell has to be run, and after that all is new.
    """
    notebook = open_notebook([THREE, LINKED, "grid"])
    notebook.run_all()
    notebook.wait_views(4)
    first, rows, maps, twin = (notebook.view(index) for index in range(4))
    choose(first, "Sort", "norm")
    expect_chosen(twin, "Sort", "norm")
    # Run again
    notebook.run(0)
    notebook.wait_views(4)
    expect_chosen(first, "Sort", "index")
    expect_chosen(twin, "Sort", "norm")
    choose(twin, "Layer", "conv2")
    expect_layer(twin, "conv2")
    expect_layer(maps, "conv2")
    expect_layer(first, "conv1")
    # Closed
    notebook.ask("old.close()")
    notebook.wait_views(3)
    for view in (first, rows, maps):
        expect_picture(view)
    maps.find("[data-layer='conv3']").click()
    expect_layer(maps, "conv3")
    choose(first, "Layer", "conv2")
    expect_layer(first, "conv2")
    choose(rows, "Layer", "conv2")
    expect_layer(rows, "conv2")
    expect_pictures(rows)
    # Started anew
    before = picture(first)
    notebook.restart_kernel()
    notebook.wait_views(3)
    np.testing.assert_array_equal(picture(first), before)
    with first.redrawn():
        choose(first, "Sort", "norm")
    assert (picture(first) != before).any()
    choose(first, "Layer", "conv3")
    maps.find("[data-layer='conv1']").click()
    for view in (first, maps):
        expect(view.find(".waiting")).to_contain_text("run the cell again", timeout=ANSWER_MS)
        expect_picture(view)
    notebook.run(0)
    notebook.run(1)
    notebook.wait_views(3)
    for view in (first, rows, maps):
        expect_picture(view)
        expect(view.find(".waiting")).to_be_hidden()
    choose(first, "Layer", "conv3")
    expect_layer(first, "conv3")
    expect_layer(maps, "conv3")
