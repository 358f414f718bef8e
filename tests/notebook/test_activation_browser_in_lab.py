"""ActivationBrowser in a real JupyterLab: what a person sees, and what their hands do."""

from __future__ import annotations

import re

import numpy as np
from playwright.sync_api import expect

from nbviz.analysis.colormaps import colormap

DIGITS = """
import nbviz
network, images, labels, classes = nbviz.demos.digits()
browser = nbviz.ActivationBrowser(network, images, labels=labels, layer="relu2")
browser
"""
SCENES = """
import nbviz
network, images, labels, classes = nbviz.demos.scenes()
browser = nbviz.ActivationBrowser(network, images, labels=labels)
browser
"""
GRID = ".spacer > canvas"


def opened(open_notebook, *cells, **options):
    notebook = open_notebook(cells, **options)
    notebook.run_all()
    view = notebook.view()
    expect(view.find(".inputs")).to_be_visible()
    return notebook, view


def choose(view, label, value):
    view.find(f"label:has(span:text-is('{label}')) select").select_option(value)


def headline(view):
    return view.find(".headline strong")


def tile(view, item=0):
    """Side of a tile and the corner of one in the first line, in CSS pixels."""
    side = 0
    pixels = view.pixels(GRID)
    filled = pixels[3, 3:, 3] > 0
    side = int(np.flatnonzero(~filled)[0])
    return side, 3 + item * (side + 6), 3


def test_it_is_drawn_in_both_themes_and_on_a_phone(open_notebook):
    notebook, view = opened(open_notebook, SCENES, viewport=(1280, 1400))
    view.click(200, 40, GRID)
    expect(view.find(".trace h3")).to_be_visible()
    assert len(np.unique(view.pixels(GRID).reshape(-1, 4), axis=0)) > 100
    notebook.screenshot("light")
    with view.redrawn():
        notebook.set_theme("dark")
    notebook.screenshot("dark")
    assert "undefined" not in view.text()
    assert "NaN" not in view.text()
    with view.redrawn():
        notebook.fit_output(360)
    view.screenshot("narrow")
    assert view.host.evaluate("h => h.scrollWidth <= h.clientWidth")


def test_maps_have_the_colours_of_their_values(open_notebook):
    notebook, view = opened(open_notebook, DIGITS)
    choose(view, "Colours", "grey")
    with view.redrawn():
        choose(view, "Scale", "layer")
    maps = np.array(notebook.ask("browser.activation.maps[:3].tolist()"))
    top = notebook.ask("float(browser.activation.maps.max())")
    side, _, _ = tile(view)
    pixels = view.pixels(GRID)[..., :3].astype(int)
    for channel in range(3):
        for row in range(16):
            for column in range(16):
                x = 3 + channel * (side + 6) + int((column + 0.5) * side / 16)
                seen = pixels[3 + int((row + 0.5) * side / 16), x]
                expected = colormap("grey")[round(255 * maps[channel, row, column] / top)]
                # a level of the channel, and one of the map
                assert np.abs(seen - expected.astype(int)).max() <= 2, (channel, row, column)


def test_the_rail_walks_the_layers_and_the_unit_keeps_its_place(open_notebook):
    notebook, view = opened(open_notebook, DIGITS)
    side, x, y = tile(view, 2)
    view.click(x + side * 5.5 / 16, y + side * 9.5 / 16, GRID)
    notebook.wait_python("(browser.channel, browser.unit) == (2, [9, 5])")
    view.find(".layer >> text=pool2").click()
    expect(headline(view)).to_have_text("pool2")
    notebook.wait_python("(browser.channel, browser.unit) == (2, [4, 2])")
    view.find(".rail").focus()
    view.press("ArrowUp", "ArrowUp")
    expect(headline(view)).to_have_text("conv2")
    notebook.wait_python("browser.unit == [9, 5]")
    view.press("o")
    expect(headline(view)).to_have_text("relu2")
    view.press("End")
    expect(headline(view)).to_have_text("classifier")
    assert notebook.cells() == 1, "a key reached JupyterLab's own shortcuts"
    view.press("?")
    expect(view.find(".help")).to_contain_text("layer after, same unit")


def test_pointing_at_a_unit_reads_its_value_and_cuts_out_what_it_saw(open_notebook):
    notebook, view = opened(open_notebook, DIGITS)
    side, x, y = tile(view, 1)
    view.hover(x + side * 6.5 / 16, y + side * 4.5 / 16, GRID)
    value = notebook.ask("float(browser.activation.maps[1, 4, 6])")
    readout = view.find(".readout")
    expect(readout).to_contain_text("row 4, column 6")
    expect(readout).not_to_contain_text("≈")
    number = float(re.search(r": (-?[\d.e-]+)", readout.inner_text())[1])
    assert abs(number - value) <= 1e-5 * abs(value)
    box = notebook.ask("vars(network.layers['relu2'].box(4, 6))")
    patch = view.pixels(".patch canvas")
    seen = np.array(notebook.ask("images[0].tolist()"))
    cut = seen[box["top"] : box["bottom"], box["left"] : box["right"]]
    scale = patch.shape[0] / cut.shape[0]
    rows = ((np.arange(cut.shape[0]) + 0.5) * scale).astype(int)
    columns = ((np.arange(cut.shape[1]) + 0.5) * scale).astype(int)
    assert np.abs(patch[rows][:, columns, 0].astype(int) - cut).max() <= 1


def test_a_value_is_explained_and_one_can_step_back_and_return(open_notebook):
    notebook, view = opened(open_notebook, DIGITS)
    side, x, y = tile(view, 3)
    view.click(x + side / 2, y + side / 2, GRID)
    trace = view.find(".trace")
    expect(trace).to_contain_text("Convolution")
    expect(trace).to_contain_text("equals what the network computed")
    expect(trace).to_contain_text("max(0,")
    view.find(".trace button:has-text('pool1, channel')").first.click()
    expect(headline(view)).to_have_text("pool1")
    expect(trace).to_contain_text("Max pooling")
    view.screenshot("stepped-back")
    view.find(".trail button").click()
    expect(headline(view)).to_have_text("relu2")
    notebook.wait_python("browser.trail == []")
    expect(trace).to_contain_text("relu2, channel 3")


def test_the_slider_changes_picture_and_prediction(open_notebook):
    notebook, view = opened(open_notebook, DIGITS)
    slider = view.find(".inputs input[type=range]").first
    for number in (7, 120):
        slider.fill(str(number))
        notebook.wait_python(f"browser.image == {number}")
        expect(view.find(".inputs .label")).to_have_text(notebook.ask(f"str(labels[{number}])"))
        top = notebook.ask("browser.prediction['top'][0][0]['name']")
        expect(view.find(".predictions th").first).to_have_text(top)


def test_a_drawing_is_answered_while_one_draws(open_notebook):
    notebook, view = opened(open_notebook, DIGITS)
    view.find("button:text-is('Draw')").click()
    pad = view.find(".inputs canvas").first
    box = pad.bounding_box()
    mouse = notebook.page.mouse

    def to(across, down, steps=6):
        at = box["x"] + box["width"] * across, box["y"] + box["height"] * down
        mouse.move(*at, steps=steps)

    to(0.5, 0.12)
    mouse.down()
    to(0.5, 0.9, 12)
    notebook.wait_python("browser.inputs['source'] == 'drawing'")
    mouse.up()
    notebook.wait_python("browser.prediction['top'][0][0]['name'] == '1'")
    expect(view.find(".predictions th").first).to_have_text("1")
    expect(view.find(".inputs .label")).to_have_text("your drawing")
    view.screenshot("drawing")
    view.find("button:text-is('Clear')").click()
    notebook.wait_python("nbviz.widgets.wire.unpack(browser.picture)['a'].max() == 0")
    view.find("button:text-is('Data set')").click()
    notebook.wait_python("browser.image == 0")


def test_a_file_is_dropped_and_a_wrong_one_says_why(open_notebook, tmp_path):
    from PIL import Image

    notebook, view = opened(open_notebook, SCENES)
    picture = tmp_path / "red.png"
    Image.new("RGBA", (300, 200), (255, 0, 0, 255)).save(picture)
    view.drop_file(picture, ".toolbar")
    notebook.wait_python("browser.inputs['source'] == 'own'")
    red = notebook.ask("nbviz.widgets.wire.unpack(browser.picture)['a'][5, 5].tolist()")
    assert red == [255, 0, 0]
    view.drop_file(b"%PDF-1.7 <img src=x onerror=alert(1)>", ".toolbar", name="<b>report<b>.pdf")
    expect(view.find(".problem")).to_contain_text("PDF")
    assert view.find(".problem b").count() == 0
    view.drop_file(picture.read_bytes()[:80], ".toolbar", name="cut.png")
    expect(view.find(".problem")).to_contain_text("cut.png")
    assert notebook.ask("browser.inputs['source']") == "own"
    view.drop_file(picture, ".toolbar")
    expect(view.find(".problem")).to_be_hidden()


def test_the_camera_runs_pauses_and_is_released(open_notebook):
    notebook, view = opened(open_notebook, SCENES)
    view.find("button:text-is('Camera')").click()
    camera = view.find(".camera")
    expect(camera).to_have_attribute("data-frames", re.compile(r"^\d{2,}$"), timeout=30000)
    expect(view.find(".fps")).to_contain_text("frames/s")
    view.screenshot("camera")
    notebook.page.evaluate(
        """() => { window.nbvizTracks = [...document.querySelectorAll('[data-nbviz-view]')]
          .flatMap(host => [...host.shadowRoot.querySelectorAll('video')])
          .flatMap(video => video.srcObject?.getTracks() ?? []); }"""
    )
    assert notebook.page.evaluate("nbvizTracks.map(t => t.readyState)") == ["live"]
    view.press("Escape")
    view.find("button:text-is('Pause')").click()
    expect(camera).to_have_attribute("data-camera", "paused")
    notebook.wait_python("browser.rail['number'] == browser.picture['number']")
    notebook.clear(0)
    notebook.wait_views(0)
    notebook.wait_for("nbvizTracks.every(t => t.readyState === 'ended')", "the camera's release")


def test_a_camera_that_may_not_be_used_says_what_to_do(open_notebook):
    _, view = opened(open_notebook, SCENES, camera=False)
    view.find("button:text-is('Camera')").click()
    expect(view.find(".problem")).to_contain_text(re.compile("permi|allow", re.IGNORECASE))


def test_two_pictures_stand_side_by_side(open_notebook):
    notebook, view = opened(open_notebook, DIGITS, viewport=(1280, 1200))
    view.find("button:text-is('Keep as B')").click()
    notebook.wait_python("browser.compared == 0")
    view.find(".inputs input[type=range]").first.fill("3")
    notebook.wait_python("browser.image == 3")
    view.click(100, 40, GRID)
    expect(view.find(".readout")).to_contain_text("A − B")
    expect(view.find(".predictions table")).to_have_count(2)
    view.screenshot("compared")
    choose(view, "Sort", "difference")
    notebook.wait_python("browser.sort == 'difference'")
    view.find("button:text-is('No B')").click()
    expect(view.find(".predictions table")).to_have_count(1)


def test_channels_are_pinned_and_an_origin_marked(open_notebook):
    notebook, view = opened(open_notebook, DIGITS)
    side, x, y = tile(view, 2)
    view.click(x + side / 2, y + side / 2, GRID)
    view.find("button:text-is('Pin channel')").click()
    view.find("button:text-is('Keep as origin')").click()
    expect(view.find(".note")).to_contain_text("the origin")
    view.find(".layer >> text=pool1").click()
    expect(view.find(".pins")).to_contain_text("relu2 2")
    expect(view.find(".note")).to_contain_text("may feed the origin")
    view.find("button:has-text('Origin: relu2 2')").click()
    expect(headline(view)).to_have_text("relu2")
    view.find("button:text-is('Let go of origin')").click()
    notebook.wait_python("browser.origin == {}")


def test_channels_are_sorted_by_what_a_class_excites(open_notebook):
    notebook, view = opened(open_notebook, DIGITS)
    choose(view, "Sort", "class")
    expect(view.find(".note")).to_contain_text("By mean over", timeout=60000)
    before = view.find(".note").inner_text()
    assert notebook.ask("browser.prediction['top'][0][0]['name']") in before
    with view.redrawn():
        choose(view, "Sort", "peak")


def test_a_filter_grid_and_the_browser_choose_together(open_notebook):
    notebook = open_notebook(
        [DIGITS, "grid = nbviz.FilterGrid(network)\nnbviz.link(grid, browser)\ngrid"]
    )
    notebook.run_all()
    browser, grid = notebook.view(0), notebook.view(1)
    grid.click(60, 40, ".scroller canvas")
    notebook.wait_python("(browser.layer, browser.channel) == ('conv1', grid.selected[-1])")
    expect(headline(browser)).to_have_text("conv1")
    notebook.execute("browser.channel = 5")
    expect(grid.find(".selection")).to_contain_text("1 selected: 5")


def test_attention_of_a_query_is_shown_by_head(open_notebook):
    vit = """
import nbviz, torch, torchvision, numpy as np
torch.manual_seed(0)
model = torchvision.models.VisionTransformer(
    image_size=64, patch_size=8, num_layers=3, num_heads=4, hidden_dim=32, mlp_dim=64)
picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
browser = nbviz.ActivationBrowser(nbviz.Network(model), picture)
browser
"""
    notebook, view = opened(open_notebook, vit)
    choose(view, "Show", "attention")
    expect(view.find(".headline")).to_contain_text("attention from the class token")
    view.click(60, 60, ".pictures canvas")
    expect(view.find(".headline")).to_contain_text("attention from the patch in row")
    view.screenshot("attention")
    query = notebook.ask("browser.query")
    assert query > 0
    view.find("button:text-is('from class token')").click()
    notebook.wait_python("browser.query == -1")
    choose(view, "Show", "maps")
    notebook.wait_python("browser.maps['kind'] == 'maps'")


def test_two_views_a_reload_and_a_reopened_notebook_show_the_last_state(open_notebook):
    notebook, view = opened(open_notebook, DIGITS, "browser")
    side, x, y = tile(view, 3)
    view.click(x + side / 2, y + side / 2, GRID)
    second = notebook.view(1)
    expect(second.find(".trace h3")).to_contain_text("relu2, channel 3")
    view.find(".layer >> text=conv3").click()
    expect(headline(second)).to_have_text("conv3")
    notebook.wait_python("browser.maps['layer'] == 'conv3'")
    notebook.reload()
    view = notebook.view()
    expect(headline(view)).to_have_text("conv3")
    expect(view.find(".trace h3")).to_contain_text("conv3, channel 3")
    pixels = view.pixels(GRID)
    notebook.reopen()
    view = notebook.view()
    expect(headline(view)).to_have_text("conv3")
    np.testing.assert_array_equal(view.pixels(GRID), pixels)
    expect(view.find(".trace")).to_contain_text("equals what the network computed")
    with view.redrawn():
        choose(view, "Colours", "grey")


def test_a_restarted_kernel_is_said_and_the_last_maps_stay(open_notebook):
    notebook, view = opened(open_notebook, DIGITS)
    before = view.pixels(GRID)
    notebook.restart_kernel()
    view.find(".layer >> text=pool1").click()
    expect(view.find(".waiting")).to_contain_text("run the cell again", timeout=15000)
    expect(view.find(".main")).to_have_class(re.compile("stale"))
    np.testing.assert_array_equal(view.pixels(GRID), before)


def test_a_model_that_fails_half_way_says_so_beside_the_last_picture(open_notebook):
    failing = """
import nbviz, numpy as np, torch
class Picky(torch.nn.Module):
    def forward(self, x):
        if x.mean() > 0.7:
            raise RuntimeError("too bright <b>for me</b>")
        return x
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), Picky(), torch.nn.AdaptiveAvgPool2d(1),
                            torch.nn.Flatten(), torch.nn.Linear(8, 3))
model[0].weight.data.fill_(0.05); model[0].bias.data.zero_()
pictures = np.stack([np.full((16, 16, 3), v, np.uint8) for v in (40, 250, 60)])
browser = nbviz.ActivationBrowser(nbviz.Network(model, input_shape=(3, 16, 16)), pictures)
browser
"""
    notebook, view = opened(open_notebook, failing)
    slider = view.find(".inputs input[type=range]").first
    slider.fill("1")
    expect(view.find(".problem")).to_contain_text("too bright <b>for me</b>")
    assert notebook.ask("int(nbviz.widgets.wire.unpack(browser.picture)['a'].max())") == 40
    slider.fill("2")
    expect(view.find(".problem")).to_be_hidden()


def test_a_choice_is_answered_on_every_ipykernel(open_notebook, ipykernel):
    _, view = opened(open_notebook, DIGITS, kernel=f"ipykernel-{ipykernel}")
    view.find(".layer >> text=pool3").click()
    expect(headline(view)).to_have_text("pool3")
    expect(view.find(".main")).not_to_have_class(re.compile("stale"))
