"""The rows of a TopPatches in a real JupyterLab: how they fill the page, and in what order."""

from __future__ import annotations

from patch_rows import cells, expect_channels, expect_pictures, row
from playwright.sync_api import expect

# Labels that are numbers, and a network that has no names for them.
CELL = """
import nbviz
demo = nbviz.demos.scenes()
network = nbviz.Network(demo.network.model, input_shape=demo.network.input_shape)
scan = nbviz.scan(network, demo.images, labels=demo.labels, layers=["relu3"], progress=False)
patches = nbviz.TopPatches(scan)
patches
"""


def sides(view, where):
    """Left and right ends of the patches of a row and of the list around it, and a patch's side."""
    boxes = view.find(f"{cells(where)} .frame").evaluate_all(
        "frames => frames.map(f => f.getBoundingClientRect()).map(b => [b.left, b.right, b.width])"
    )
    around = view.find(".rows").bounding_box()
    lefts, rights, widths = zip(*boxes, strict=True)
    return lefts, rights, widths, around["x"], around["x"] + around["width"]


def expect_filled(view, count):
    expect(view.find(cells(row(0)))).to_have_count(count)
    lefts, rights, widths, left, right = sides(view, row(0))
    assert left < min(lefts)
    assert max(rights) < right - 2
    side = widths[0]
    assert {*widths} == {side}
    assert 48 <= side <= 80
    # Either they are as large as they may be, or there is no room for a larger row.
    assert side == 80 or right - max(rights) < count + 8
    expect(view.find("label:has(span:text-is('Size')) input")).to_have_value(
        str(int(side / 8 + 0.5) * 8)
    )


def test_patches_fill_the_row_and_none_is_cut(open_notebook):
    notebook = open_notebook([CELL], viewport=(1280, 1000))
    notebook.run_all()
    view = notebook.view()
    expect_pictures(view)
    for width, count in ((1108, 9), (700, 9), (360, 6), (250, 4)):
        with view.redrawn():
            notebook.fit_output(width)
        expect_filled(view, count)
    with view.redrawn():
        notebook.fit_output(1108)
    view.find(cells(row(0))).nth(8).click()
    expect(view.find(".channel-panel h3")).to_have_text("relu3, channel 0")
    expect_filled(view, 9)
    # A size that was chosen is taken as it is.
    notebook.execute("patches.size = 96")
    expect(view.find(cells(row(0)))).to_have_count(4)
    assert sides(view, row(0))[2][0] == 96
    notebook.execute("patches.size = 0")
    expect_filled(view, 9)


def test_the_page_and_python_have_channels_in_the_same_order(open_notebook):
    notebook = open_notebook([CELL])
    notebook.run_all()
    view = notebook.view()
    expect_pictures(view)
    for sort in ("peak", "selectivity", "sparsity", "purity", "diversity"):
        view.find("label:has(span:text-is('Sort')) select").select_option(sort)
        notebook.wait_python(f"patches.sort == {sort!r}")
        for _ in ("largest first", "smallest first"):
            expect_channels(view, notebook.ask("patches.order.tolist()[:4]"))
            before = notebook.ask("patches.descending")
            view.find("button[title$='first']").click()
            notebook.wait_python(f"patches.descending != {before}")
    view.find("input[type=search]").fill("class 3")
    expect(view.find(".soft:has-text('Selectivity for class 3')")).to_be_visible()
    notebook.wait_python("(patches.search, patches.sort) == ('class 3', 'selectivity')")
    expect_channels(view, notebook.ask("patches.order.tolist()[:4]"))
    view.find("input[type=search]").fill("zebra")
    expect(view.find(".soft:has-text('No class is called')")).to_contain_text("'zebra'")


def test_without_labels_nothing_of_classes_is_offered(open_notebook):
    network = 'nbviz.Network(demo.network.model, classes=["a"] * 10, input_shape=(3, 96, 96))'
    start = CELL.index("nbviz.Network(")
    end = CELL.index("\n", start)
    cell = (CELL[:start] + network + CELL[end:]).replace(" labels=demo.labels,", "")
    notebook = open_notebook([cell])
    notebook.run_all()
    view = notebook.view()
    expect_pictures(view)
    expect(view.find("input[type=search]")).to_be_hidden()
    for sort in ("selectivity", "purity"):
        expect(view.find(f"option[value={sort}]")).to_be_disabled()
    expect(view.find("option[value=peak]")).to_be_enabled()
