"""Explorer in a real JupyterLab: views within a view, that follow one another's clicks."""

from __future__ import annotations

import re

from map_sight import sight
from playwright.sync_api import expect
from view import View

EXPLORER = """
import nbviz
network, images, labels, classes = nbviz.demos.digits()
scan = nbviz.scan(network, images, labels=labels, layers=["conv1", "relu2"], progress=False)
explorer = nbviz.Explorer(
    network, images, labels=labels, options={"map": {"method": "pca"}})
explorer
"""
NAMES = ["filters", "activations", "occlusion", "patches", "map"]
TITLES = ["Filters", "Activations", "Occlusion", "Maximally activating patches", "t-SNE map"]
SCANNED = ["patches", "map"]
DRAWN = re.compile("[1-9]")


class Inner(View):
    """The view in a pane of the explorer."""

    def __init__(self, notebook, name):
        super().__init__(notebook, 0)
        self.name = name

    @property
    def host(self):
        return self.notebook.page.locator(f"section[data-pane='{self.name}'] [data-nbviz-view]")

    def expect_drawn(self):
        expect(self.host).to_have_attribute("data-nbviz-drawn", DRAWN)


def panes(view):
    """Names of the panes on the page, in their order."""
    return view.host.evaluate(
        "h => [...h.shadowRoot.querySelectorAll('section[data-pane]')].map(p => p.dataset.pane)"
    )


def press(view, label):
    view.find(f"button[aria-label='{label}']").click()


def corners(view):
    """Left and top of each pane on the page, by name."""
    found = view.host.evaluate(
        """h => [...h.shadowRoot.querySelectorAll('section[data-pane]')].map(p => {
          const {left, top} = p.getBoundingClientRect();
          return [p.dataset.pane, [Math.round(left), Math.round(top)]]; })"""
    )
    return dict(found)


def expect_columns(view, columns):
    expect(view.find(f".panes[data-columns='{columns}']")).to_be_visible()


def expect_panes(view, names):
    expect(view.find("section[data-pane]")).to_have_count(len(names))
    assert panes(view) == names
    for name in names:
        Inner(view.notebook, name).expect_drawn()


def opened(open_notebook, **options):
    notebook = open_notebook([EXPLORER], **options)
    notebook.run_all()
    return notebook, notebook.view()


def test_a_click_in_one_pane_shows_in_the_others(open_notebook):
    notebook, view = opened(open_notebook, viewport=(1920, 1080))
    assert [chip.inner_text() for chip in view.find(".chip").all()] == TITLES
    # Without a scan two panes say what to write; with it they fill while the page is open.
    for name in SCANNED:
        expect(view.find(f"section[data-pane='{name}'] code")).to_have_text(
            "explorer.scan = nbviz.scan(network, dataset)"
        )
    notebook.execute("explorer.scan = scan")
    expect_panes(view, NAMES)
    expect(view.find(".lacking:visible")).to_have_count(0)
    notebook.wait_python("explorer.map.progress['finished']")
    Inner(notebook, "filters").click(12, 12, ".scroller canvas")
    notebook.wait_python("explorer.filters.selected == [0]")
    assert notebook.ask(
        "(explorer.channel, explorer.activations.channel, explorer.patches.channel)"
    ) == (0, 0, 0)
    expect(Inner(notebook, "patches").find("h3").first).to_contain_text(
        "channel 0", ignore_case=True
    )
    expect(view.find("dl.chosen")).to_contain_text("0 (of ")
    # A place of the map: activations and occlusion show that image.
    pane = Inner(notebook, "map")
    there = sight(notebook, pane, name="explorer.map")
    alone = next(row for row in there.inside(60) if there.alone(25)[row])
    pane.click(*there.screen[alone], ".stage")
    notebook.wait_python(f"explorer.map.image == {alone}")
    notebook.wait_python(f"explorer.activations.image == explorer.occlusion.image == {alone}")
    expect(view.find("dl.chosen")).to_contain_text(f"{alone} (")
    for name in ("activations", "occlusion"):
        shown = Inner(notebook, name).find(f":text('{alone + 1} of')")
        expect(shown.first).to_be_visible()
    assert notebook.ask("explorer.problem") == ""
    for name in NAMES:
        assert notebook.ask(f"explorer.{name}.problem") == ""
    view.find(".bar").first.scroll_into_view_if_needed()
    notebook.screenshot("light")
    with view.redrawn():
        notebook.set_theme("dark")
    view.find(".bar").first.scroll_into_view_if_needed()
    notebook.screenshot("dark")


def test_panes_close_open_move_and_fill_the_screen(open_notebook):
    notebook, view = opened(open_notebook, viewport=(1920, 1080))
    three = NAMES[:3]
    notebook.execute("explorer.panes = ['filters', 'activations', 'occlusion']")
    expect_panes(view, three)
    press(view, "2 columns")
    expect_columns(view, 2)
    at = corners(view)
    assert at["filters"][1] == at["activations"][1]
    assert at["filters"][0] == at["occlusion"][0] < at["activations"][0]
    assert at["occlusion"][1] > at["filters"][1]
    # By keys: the button keeps the focus as its pane moves.
    left = view.find("button[aria-label='Move Occlusion to the left, or up']")
    left.focus()
    view.press("Enter")
    expect_panes(view, ["filters", "occlusion", "activations"])
    expect(left).to_be_focused()
    view.press("Enter")
    expect_panes(view, ["occlusion", "filters", "activations"])
    expect(left).to_be_disabled()
    expect(view.find("button[aria-label='Move Occlusion to the right, or down']")).to_be_focused()
    notebook.wait_python("explorer.panes == ['occlusion', 'filters', 'activations']")
    # What is closed is gone from the page, and comes back from its chip as it was.
    notebook.execute("explorer.filters.sort = 'norm'")
    press(view, "Close Filters")
    expect_panes(view, ["occlusion", "activations"])
    chip = view.find(".chip[data-pane='filters']")
    expect(chip).to_be_focused()
    expect(chip).to_have_attribute("aria-pressed", "false")
    view.press("Enter")
    expect_panes(view, ["occlusion", "activations", "filters"])
    expect(chip).to_have_attribute("aria-pressed", "true")
    assert notebook.ask("explorer.filters.sort") == "norm"
    # The whole screen, and back by Escape
    press(view, "Filters in full screen")
    pane = view.find("section[data-pane='filters']")
    expect(pane.locator("button[aria-label^='Leave full screen']")).to_be_visible()
    box = pane.bounding_box()
    assert (box["width"], box["height"]) == (1920, 1080)
    notebook.screenshot("full-screen")
    press(view, "Leave full screen (Esc)")
    expect(view.find("button[aria-label='Filters in full screen']")).to_be_visible()
    # The page loaded again shows the same, and panes follow one another still.
    notebook.reload()
    view = notebook.view()
    expect_panes(view, ["occlusion", "activations", "filters"])
    expect_columns(view, 2)
    Inner(notebook, "filters").click(12, 12, ".scroller canvas")
    notebook.wait_python("explorer.activations.channel >= 0")
    # On a phone: one column, whatever was asked for, and nothing to scroll sideways
    notebook.execute("explorer.scan, explorer.panes = scan, explorer.panes + ['patches', 'map']")
    notebook.fit_output(360)
    expect_columns(view, 1)
    expect_panes(view, ["occlusion", "activations", "filters", "patches", "map"])
    assert view.host.evaluate("h => h.scrollWidth <= h.clientWidth")
    for name in NAMES:
        assert Inner(notebook, name).host.evaluate("h => h.scrollWidth <= h.clientWidth"), name
    view.find(".bar").first.scroll_into_view_if_needed()
    notebook.screenshot("narrow")
    notebook.execute("explorer.close()")
    expect(view.find("section[data-pane] [data-nbviz-view]")).to_have_count(0)


def test_a_notebook_that_was_saved_shows_it_without_python(open_notebook):
    notebook, view = opened(open_notebook)
    expect(view.find("section[data-pane]")).to_have_count(5)
    Inner(notebook, "occlusion").expect_drawn()
    notebook.reopen()
    view = notebook.view()
    for name in NAMES[:3]:
        Inner(notebook, name).expect_drawn()
    expect(view.find("section[data-pane]")).to_have_count(5)
