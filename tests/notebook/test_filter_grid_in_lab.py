"""FilterGrid in a real JupyterLab: what a person sees, and what their hands do."""

from __future__ import annotations

import re

import numpy as np
import pytest
from ipykernels import ANSWERS_DURING_A_CELL
from playwright.sync_api import expect

from nbviz.analysis.colormaps import colormap

MODEL = """
import torch, nbviz
torch.manual_seed(0)
model = torch.nn.Sequential(
    torch.nn.Conv2d(3, 24, 7), torch.nn.ReLU(), torch.nn.Conv2d(24, 32, 3),
    torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(32, 2))
"""
GRID = MODEL + "grid = nbviz.FilterGrid(model)\ngrid"

TRAIN = """
import time, torch
torch.manual_seed(1)
images, labels = torch.randn(8, 3, 16, 16), torch.randint(2, (8,))
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
with grid.watch(every=2):
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        time.sleep(0.05)
"""


def choose(view, label, value):
    view.find(f"label:has(span:text-is('{label}')) select").select_option(value)


def focus(view):
    view.find(".scroller").focus()


def test_it_is_drawn_in_both_themes_and_on_a_phone(open_notebook):
    notebook = open_notebook([GRID])
    notebook.run_all()
    view = notebook.view()
    light = view.pixels(".scroller canvas")
    assert len(np.unique(light.reshape(-1, 4), axis=0)) > 200
    view.screenshot("light")
    with view.redrawn():
        notebook.set_theme("dark")
    dark = view.pixels(".scroller canvas")
    view.screenshot("dark")
    corner = light[-1, -1].astype(int), dark[-1, -1].astype(int)
    assert corner[0][:3].min() > 200
    assert corner[1][:3].max() < 80
    with view.redrawn():
        notebook.fit_output(360)
    view.screenshot("narrow")
    assert view.host.evaluate("h => h.scrollWidth <= h.clientWidth")


def test_kernels_have_the_colours_of_their_weights(open_notebook):
    notebook = open_notebook([GRID])
    notebook.run_all()
    view = notebook.view()
    choose(view, "Colours", "grey")
    with view.redrawn():
        choose(view, "Scale", "layer")
    weights = np.array(notebook.ask("model[0].weight.tolist()"), np.float32)
    low, high = weights.min(), weights.max()
    index = np.floor(255 * (weights - low) / (high - low) + 0.5)
    pixels = view.pixels(".scroller canvas")[..., :3].astype(int)
    # The gallery begins behind a margin of 3 px; blocks of one colour are the weights.
    first = pixels[3:, 3:]
    side = next(s for s in range(1, 40) if (first[0, s] != first[0, 0]).any())
    for row in range(7):
        for column in range(7):
            expected = colormap("grey")[int(index[0, 0, row, column])].astype(int)
            seen = first[row * side + side // 2, column * side + side // 2]
            # Half a level of 127 is 1 in 255; the range itself is as coarse.
            assert np.abs(seen - expected).max() <= 3, (row, column)


def test_sorting_and_layers_reach_python_and_come_back(open_notebook):
    notebook = open_notebook([GRID])
    notebook.run_all()
    view = notebook.view()
    before = view.pixels(".scroller canvas")
    with view.redrawn():
        choose(view, "Sort", "norm")
    assert (view.pixels(".scroller canvas") != before).any()
    notebook.wait_python("grid.sort == 'norm'")
    with view.redrawn():
        notebook.execute("grid.sort = 'index'")
    np.testing.assert_array_equal(view.pixels(".scroller canvas"), before)
    choose(view, "Layer", "2")
    expect(view.find(".scroller")).to_have_attribute("aria-label", re.compile("32 kernels of 2"))
    notebook.wait_python("grid.layer == '2'")


def test_keys_move_select_and_zoom(open_notebook):
    notebook = open_notebook([GRID])
    notebook.run_all()
    view = notebook.view()
    focus(view)
    view.press("ArrowRight", "ArrowRight", "Enter")
    expect(view.find(".selection")).to_contain_text("1 selected: 2")
    view.press("ArrowRight", "ArrowRight", "Shift+Enter")
    expect(view.find(".selection")).to_contain_text("3 selected: 2, 3, 4")
    expect(view.find(".lens h3")).to_contain_text("Kernel 4")
    expect(view.find(".spoken")).to_contain_text("3 kernels selected")
    assert notebook.cells() == 1, "a key reached JupyterLab's own shortcuts"
    notebook.wait_python("grid.selected == [2, 3, 4]")
    focus(view)
    view.press("+", "Escape")
    notebook.wait_python("(grid.zoom > 0, grid.selected) == (True, [])")


def test_click_and_shift_click_select(open_notebook):
    notebook = open_notebook([GRID])
    notebook.run_all()
    view = notebook.view()
    view.click(10, 10, ".scroller canvas")
    expect(view.find(".selection")).to_contain_text("1 selected: 0")
    notebook.page.keyboard.down("Shift")
    view.click(10 + 3 * 111, 10, ".scroller canvas")
    notebook.page.keyboard.up("Shift")
    expect(view.find(".selection")).to_contain_text("4 selected: 0, 1, 2, 3")
    view.find(".selection button").click()
    expect(view.find(".selection")).to_be_hidden()


def test_the_lens_reads_exact_weights(open_notebook):
    notebook = open_notebook([GRID])
    notebook.run_all()
    view = notebook.view()
    view.hover(4, 4, ".scroller canvas")
    expect(view.find(".readout")).to_contain_text("row 0, column 0 =", timeout=15_000)
    text = view.find(".readout").inner_text()
    exact = notebook.ask("model[0].weight[0, :, 0, 0].tolist()")
    # The lens shows the whole kernel: its corners have the colours of the kernel's corners.
    grid, lens = view.pixels(".scroller canvas"), view.pixels(".lens canvas")
    corner = lens[2, -3], lens[-3, 2], lens[-3, -3]
    small = grid[3:108, 3:108]
    np.testing.assert_array_equal(corner, (small[2, -3], small[-3, 2], small[-3, -3]))
    for name, value in zip("RGB", exact, strict=True):
        assert f"{name} {value:.6g}"[:7] in text


def test_an_error_is_shown_and_the_picture_stays(open_notebook):
    notebook = open_notebook([GRID])
    notebook.run_all()
    view = notebook.view()
    before = view.pixels(".scroller canvas")
    notebook.execute("grid.problem = '<img src=x onerror=alert(1)> went wrong'")
    expect(view.find(".problem")).to_contain_text("<img src=x onerror=alert(1)> went wrong")
    np.testing.assert_array_equal(view.pixels(".scroller canvas"), before)


def test_two_views_show_one_state(open_notebook):
    notebook = open_notebook([GRID, "grid"])
    notebook.run_all()
    first, second = notebook.view(0), notebook.view(1)
    with second.redrawn():
        choose(first, "Sort", "similarity")
    np.testing.assert_array_equal(
        first.pixels(".scroller canvas"), second.pixels(".scroller canvas")
    )
    notebook.clear(1)
    notebook.wait_views(1)
    with first.redrawn():
        choose(first, "Sort", "index")


def test_reloaded_and_reopened_without_a_kernel_it_shows_the_last_state(open_notebook):
    notebook = open_notebook([GRID])
    notebook.run_all()
    view = notebook.view()
    choose(view, "Sort", "norm")
    with view.redrawn():
        choose(view, "Scale", "symmetric")
    before = view.pixels(".scroller canvas")
    notebook.reload()
    np.testing.assert_array_equal(notebook.view().pixels(".scroller canvas"), before)
    notebook.reopen()
    view = notebook.view()
    np.testing.assert_array_equal(view.pixels(".scroller canvas"), before)
    choose(view, "Sort", "index")
    view.hover(4, 4, ".scroller canvas")
    expect(view.find(".readout")).to_contain_text("row 0, column 0 ≈")


def test_somebody_elses_notebook_shows_the_picture(open_notebook):
    notebook = open_notebook([GRID])
    notebook.run_all()
    notebook.view()
    notebook.reopen(trusted=False)
    picture = notebook.page.locator(".jp-OutputArea-output img")
    expect(picture).to_have_count(1)
    assert picture.evaluate("img => img.naturalWidth") > 200


def test_kernels_form_on_screen_while_the_cell_trains(open_notebook, ipykernel):
    notebook = open_notebook([GRID, TRAIN], kernel=f"ipykernel-{ipykernel}")
    notebook.run(0)
    view = notebook.view()
    before = view.pixels(".scroller canvas")
    notebook.start(1)
    view.wait_drawn(view.drawn() + 4)
    during = view.pixels(".scroller canvas")
    assert not notebook.page.evaluate("nbvizRuns[1].done"), "the training was over too early"
    assert (during != before).any()
    expect(view.find(".step")).to_contain_text("training ·")
    # A choice that the view makes alone works while the kernel is busy.
    with view.redrawn():
        choose(view, "Colours", "grey")
    choose(view, "Layer", "2")
    if ANSWERS_DURING_A_CELL[ipykernel]:
        expect(view.find(".scroller")).to_have_attribute("aria-label", re.compile("kernels of 2"))
    else:
        expect(view.find(".waiting")).to_contain_text("Fetching layer 2")
    choose(view, "Layer", "0")
    choose(view, "Colours", "auto")
    notebook.finish(1)
    expect(view.find(".step")).to_contain_text("training ended")
    after = view.pixels(".scroller canvas")
    with view.redrawn():
        view.find(".playback input").fill("0")
    assert (view.pixels(".scroller canvas") != after).any()


def test_a_training_replays_with_no_kernel(open_notebook):
    notebook = open_notebook([GRID, TRAIN.replace("0.05", "0.0")])
    notebook.run_all()
    view = notebook.view()
    expect(view.find(".step")).to_contain_text("step 60 of 60")
    notebook.reopen()
    view = notebook.view()
    newest = view.pixels(".scroller canvas")
    with view.redrawn():
        view.find(".playback input").fill("0")
    expect(view.find(".step")).to_contain_text("step 0 of 60")
    assert (view.pixels(".scroller canvas") != newest).any()
    view.find("button[title='Play the training']").click()
    expect(view.find(".step")).to_contain_text("step 60 of 60", timeout=30_000)
    np.testing.assert_array_equal(view.pixels(".scroller canvas"), newest)


def test_a_large_layer_scrolls_to_its_last_kernel(open_notebook):
    large = "import torch, nbviz\ngrid = nbviz.FilterGrid(torch.nn.Conv2d(512, 512, 3))\ngrid"
    notebook = open_notebook([large])
    notebook.run_all()
    view = notebook.view()
    first = view.pixels(".scroller canvas")
    with view.redrawn():
        view.find(".scroller").evaluate("s => s.scrollTo(s.scrollWidth, s.scrollHeight)")
    last = view.pixels(".scroller canvas")
    assert (first != last).any()
    assert len(np.unique(last.reshape(-1, 4), axis=0)) > 100
    focus(view)
    view.press("End", "Enter")
    expect(view.find(".selection")).to_contain_text("1 selected: 511")
    # The last line is in view whole: a line of kernels is 15 px, and 2 px are between two.
    seen = view.pixels(".scroller canvas")[-17:-2, 60:]
    assert (seen[1:] != seen[:-1]).any(axis=(1, 2)).sum() >= 2, "the last line is cut off"
    assert len(np.unique(seen.reshape(-1, 4), axis=0)) > 50


def kernel_under(view, x, y):
    view.hover(x, y, ".scroller canvas")
    return view.find(".lens h3").inner_text()


def test_zooming_keeps_the_kernel_under_the_pointer(open_notebook):
    cell = (
        "import torch, nbviz\ntorch.manual_seed(0)\nnbviz.FilterGrid(torch.nn.Conv2d(256, 256, 3))"
    )
    notebook = open_notebook([cell])
    notebook.run_all()
    view = notebook.view()
    with view.redrawn():
        view.find(".scroller").evaluate("s => s.scrollTo(1500, 1500)")
    before = kernel_under(view, 300, 200)
    for direction in (-100, -100, 100):
        with view.redrawn():
            view.wheel(300, 200, direction, ".scroller canvas", key="Control")
        assert kernel_under(view, 300, 200) == before


def test_sorting_does_not_move_the_cursor_to_another_kernel(open_notebook):
    notebook = open_notebook([GRID])
    notebook.run_all()
    view = notebook.view()
    focus(view)
    view.press("End")
    expect(view.find(".lens h3")).to_have_text("Kernel 23")
    with view.redrawn():
        choose(view, "Sort", "norm")
    focus(view)
    view.press("Enter")
    expect(view.find(".selection")).to_contain_text("1 selected: 23")


def test_weights_can_be_read_with_the_keyboard(open_notebook):
    notebook = open_notebook([GRID])
    notebook.run_all()
    view = notebook.view()
    focus(view)
    view.press("ArrowRight")
    expect(view.find(".lens canvas")).to_be_visible()
    view.find(".lens canvas").focus()
    view.press("ArrowDown", "ArrowDown", "ArrowRight")
    expect(view.find(".readout")).to_contain_text("row 1, column 1 =")
    expect(view.find(".spoken")).to_contain_text("row 1, column 1")


def test_a_button_that_was_pressed_keeps_the_focus(open_notebook):
    notebook = open_notebook([GRID])
    notebook.run_all()
    view = notebook.view()
    chip = view.find(".chip").first
    chip.focus()
    with view.redrawn():
        view.press("Enter")
    expect(chip).to_be_focused()
    expect(view.find(".selection")).to_contain_text("24 selected")


@pytest.mark.parametrize("score", ["noise", "norm"])
def test_the_chart_and_the_grid_select_for_each_other(open_notebook, score):
    cell = MODEL + f"grid = nbviz.FilterGrid(model)\nchart = grid.chart({score!r})\n"
    cell += "import ipywidgets\nipywidgets.VBox([grid, chart])"
    notebook = open_notebook([cell])
    notebook.run_all()
    view = notebook.view()
    expect(notebook.page.locator(".bqplot").get_by_text("Drag across the bars")).to_be_visible()
    notebook.page.locator(".bqplot").scroll_into_view_if_needed()
    box = notebook.page.locator(".bqplot").bounding_box()
    mouse = notebook.page.mouse
    mouse.move(box["x"] + 70, box["y"] + 100)
    mouse.down()
    mouse.move(box["x"] + box["width"] - 30, box["y"] + 100, steps=8)
    mouse.up()
    expect(view.find(".selection")).to_contain_text("selected")
    assert len(notebook.ask("grid.selected")) > 5
    view.screenshot(f"with-chart-{score}")
