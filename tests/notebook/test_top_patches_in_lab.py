"""TopPatches in a real JupyterLab: what a person sees, and what their hands do.

What the view should show is worked out here, by torch and numpy alone, from the same pictures.
"""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from fixtures.plain_peaks import answering, digits, preferring, scenes, strongest, window
from notebook_page import CellError
from patch_rows import cells, expect_channels, expect_figures, expect_pictures, row, tiles, values
from PIL import Image
from playwright.sync_api import expect

DIGITS = """
import nbviz
network, images, labels, classes = nbviz.demos.digits()
scan = nbviz.scan(
    network, images, labels=labels, layers=["conv1", "relu2", "flatten"], progress=False)
patches = nbviz.TopPatches(scan, "conv1", size=64)
patches
"""
SCENES = """
import nbviz
network, images, labels, classes = nbviz.demos.scenes()
scan = nbviz.scan(network, images, labels=labels, layers=["conv1", "relu4"], progress=False)
patches = nbviz.TopPatches(scan, "relu4", sort="peak", size=96, patches=8)
patches
"""
FADING = """
import nbviz, torch
network, images, labels, classes = nbviz.demos.digits()

class Fading(torch.utils.data.Dataset):
    lost = set()

    def __len__(self):
        return 60

    def __getitem__(self, number):
        if number in self.lost:
            raise OSError("cannot read <b>the disk</b>")
        return images[number], int(labels[number])

data = Fading()
scan = nbviz.scan(network, data, layers="conv1", progress=False)
data.lost = {int(scan["conv1"].top.image[0, 0])}
patches = nbviz.TopPatches(scan, size=64)
patches
"""
NUMBERS = """
patches_alone = nbviz.TopPatches(nbviz.scanning.Scan.open(scan.path))
patches_alone
"""
PHOTOGRAPHS = """
import nbviz
from pathlib import Path
from safetensors.torch import load_file
shared = Path({folder!r})
network = nbviz.Network.from_torchvision("squeezenet1_0", weights=None)
network.model.load_state_dict(load_file(shared / "squeezenet1_0.safetensors"))
photographs = sorted((shared / "photos").glob("*.jpg"))[::10]
scan = nbviz.scan(
    network, photographs, labels=[int(path.name[:3]) for path in photographs],
    layers="features.7.expand3x3_activation", progress=False)
patches = nbviz.TopPatches(scan, sort="peak", show="masked", size=64)
patches
"""
FIRST_TOP = 16


def opened(open_notebook, *cells, **options):
    notebook = open_notebook(cells, **options)
    notebook.run_all()
    view = notebook.view()
    expect_pictures(view)
    return notebook, view


def choose(view, label, value):
    view.find(f"label:has(span:text-is('{label}')) select").select_option(value)


def press(view, text):
    view.find(f"button:text-is('{text}')").click()


def expect_end_of_a_long_layer(notebook, view):
    press(view, "Patch")
    choose(view, "Layer", "flatten")
    expect(view.find(".headline")).to_contain_text("512 channels")
    view.find(".rows").focus()
    view.press("End")
    expect(view.find(f"{row(511)} .channel")).to_be_visible()
    expect_pictures(view, row(511))
    assert view.find(".row").count() < 40, "only what is in view stands on the page"
    # Every unit sees the whole digit: which one it is can be read off the picture.
    images, *_ = digits()
    numbers = notebook.ask("scan['flatten'].top.image[511, :9].tolist()")
    at = ((np.arange(32) + 0.5) * 2).astype(int)
    for place, tile in enumerate(tiles(view, row(511), 64, 9)):
        assert np.abs(tile[np.ix_(at, at)][..., 0] - images[numbers[place]]).max() <= 1
    view.press("Enter")
    notebook.wait_python("patches.channel == 511")


def test_rows_show_patches_of_the_right_images_with_their_activations(open_notebook):
    images, _, _, maps = digits()
    notebook, view = opened(open_notebook, DIGITS)
    for position in range(4):
        where = row(position)
        expect_pictures(view, where)
        numbers, exact, rows, columns = strongest(maps, position, 9)
        expect(view.find(f"{where} .channel")).to_have_text(str(position))
        expect_figures(values(view, where), exact)
        for place, tile in enumerate(tiles(view, where, 64, 9)):
            seen, inside = window(images[numbers[place]], rows[place], columns[place], 64)
            # the network's input is floats about zero; made bytes again they may round by 1
            assert np.abs(tile - seen[..., None])[inside].max() <= 1, (position, place)
            title = view.find(cells(where)).nth(place).get_attribute("title")
            assert f"image {numbers[place]} " in title
    press(view, "Masked")
    where = row(0)
    expect(view.find("button:text-is('Masked')")).to_have_attribute("aria-pressed", "true")
    expect_pictures(view, where)
    numbers, _, rows, columns = strongest(maps, 0, 9)
    dim = 0
    for place, tile in enumerate(tiles(view, where, 64, 9)):
        seen, inside = window(images[numbers[place]], rows[place], columns[place], 64)
        dimmed = 128 + (seen - 128) / 4
        kept = np.abs(tile[..., 0] - seen) <= 1
        assert (kept | (np.abs(tile[..., 0] - dimmed) <= 1))[inside].all()
        assert kept[36:38, 36:38].all(), "the unit itself is not dimmed"
        dim += (~kept & inside).sum()
    assert dim > 1000
    expect_end_of_a_long_layer(notebook, view)


def expect_scenes(view, position, channel):
    """The row shows the whole images of a channel's strongest units, and no others."""
    images, _, _, maps = scenes()
    where = row(position)
    expect_pictures(view, where)
    numbers, exact, _, _ = strongest(maps, channel, 8)
    expect_figures(values(view, where), exact)
    for place, tile in enumerate(tiles(view, where, 96, 8)):
        # JPEG changes pixels by some levels, and the outline of what the unit sees lies over them.
        apart = np.median(np.abs(images.astype(int) - tile), axis=(1, 2, 3))
        assert apart.argmin() == numbers[place], (position, place)
        assert np.sort(apart)[1] > 2.5 * apart.min()


def test_channels_are_sorted_searched_and_shown_with_whole_images(open_notebook):
    _, labels, _, maps = scenes()
    notebook, view = opened(open_notebook, SCENES, viewport=(1280, 1100))
    peaks = maps.max((2, 3))
    by_peak = np.argsort(-peaks.max(0), kind="stable")
    expect_channels(view, by_peak[:4])
    press(view, "Image")
    for position in range(2):
        expect_scenes(view, position, by_peak[position])
    view.find("button[title='Largest first']").click()
    expect_channels(view, np.argsort(peaks.max(0), kind="stable")[:4])
    notebook.wait_python("not patches.descending")
    choose(view, "Sort", "index")
    expect_channels(view, [0, 1, 2])
    view.find("input[type=search]").fill("bric")
    expect(view.find(".soft:has-text('Selectivity for bricks')")).to_be_visible()
    bricks = preferring(maps, labels, 8)
    expect_channels(view, bricks[:4])
    notebook.wait_python("(patches.search, patches.sort) == ('bric', 'selectivity')")
    expect_scenes(view, 0, bricks[0])
    view.screenshot("searched")
    view.find("input[type=search]").fill("brixs")
    expect(view.find(".soft:has-text('bricks')")).to_contain_text("brixs")
    choose(view, "Layer", "conv1")
    expect(view.find(".headline strong")).to_have_text("conv1")
    notebook.wait_python("patches.layer == 'conv1'")
    assert notebook.ask("patches.problem") == ""


def expect_groups(view, maps, channel):
    peaks = np.sort(maps[:, channel].max((1, 2)))
    groups = view.find(".channel-panel .group, .right section .group")
    expect(groups).to_have_count(3)
    top, middle, bottom = (
        values(view, f".group[aria-label='{name} patches']")
        for name in ("Strongest", "About the median", "Weakest")
    )
    expect_figures(top, peaks[::-1][:FIRST_TOP])
    expect_figures(bottom, peaks[: len(bottom)])
    low, high = np.quantile(peaks, [0.35, 0.65])
    assert len(middle) >= 5
    assert ((low <= middle) & (middle <= high)).all()
    bins = view.find(".histogram .bin title").all_text_contents()
    counts = [float(text.split(": ")[1].replace(",", "")) for text in bins]
    assert abs(sum(counts) - len(peaks)) < 0.5


def expect_classes(view, labels, classes, numbers):
    found, counts = np.unique(labels[numbers], return_counts=True)
    shown = view.find(".shares tr").evaluate_all(
        "rows => rows.map(r => [r.querySelector('th')?.innerText, r.lastChild.innerText])"
    )
    told = {name: int(text.split(" ·")[0]) for name, text in shown if name}
    assert (
        told.items()
        <= {
            classes[number]: count for number, count in zip(found, counts.tolist(), strict=True)
        }.items()
    )
    assert len(told) == min(len(found), 8)


def expect_whole_image(view, image, frame):
    """The image itself with no map over it, and a frame about what the unit sees."""
    view.find(".stage input[type=range]").fill("0")
    with view.redrawn():
        view.find(".stage input[type=range]").dispatch_event("input")
    pixels = view.pixels("canvas.whole")[..., 0].astype(int)
    scale = pixels.shape[0] / 32
    top, left, bottom, right = frame
    beside = np.ones((32, 32), bool)
    beside[top:bottom, left:right] = False
    beside[top + 1 : bottom - 1, left + 1 : right - 1] = True
    at = ((np.arange(32) + 0.5) * scale).astype(int)
    assert np.abs(pixels[np.ix_(at, at)] - image)[beside].max() <= 1
    # Where the frame lies, what is seen is not the pixel that is there.
    side = (np.arange(len(pixels)) + 0.5) / scale
    off_border = np.abs(side - np.rint(side)) * scale > 1
    exact = image[np.ix_(side.astype(int), side.astype(int))]
    differs = (np.abs(pixels - exact) > 2) & np.outer(off_border, off_border)
    rows, columns = np.nonzero(differs)
    found = np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1])
    assert np.abs(found - np.array(frame) * scale).max() <= 4, (found / scale, frame)


def expect_downloads(notebook, view):
    """The opened channel as files, with each sample's activation on the page."""
    files = {}
    for kind in ("png", "svg"):
        with notebook.page.expect_download() as download:
            press(view, kind.upper())
        assert download.value.suggested_filename.endswith(f".{kind}")
        files[kind] = download.value.path().read_bytes()
    picture = np.array(Image.open(io.BytesIO(files["png"])).convert("RGB"))
    assert min(picture.shape[:2]) > 300
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20
    text = "".join(ET.fromstring(files["svg"]).itertext())
    assert "channel 0" in text
    for value in notebook.ask("[f'{v:.3g}' for v in patches.samples('top')['value']]"):
        assert value in text


def test_a_channel_opens_with_its_samples_its_histogram_and_its_image(open_notebook):
    images, labels, classes, maps = digits()
    notebook, view = opened(open_notebook, DIGITS, "patches.chart()", viewport=(1280, 1300))
    numbers, _, rows, columns = strongest(maps, 0, FIRST_TOP)
    view.find(cells(row(0))).nth(2).click()
    at = [int(rows[2]), int(columns[2])]
    notebook.wait_python(
        f"(patches.channel, patches.image, patches.unit) == (0, {numbers[2]}, {at})"
    )
    expect(view.find(".channel-panel h3")).to_have_text("conv1, channel 0")
    expect(view.find(".stage .caption")).to_contain_text(f"Image {numbers[2]} · ")
    expect_groups(view, maps, 0)
    expect_classes(view, labels, classes, numbers)
    expect(view.find(".cell.chosen:visible")).to_have_count(2)
    frame = np.clip([at[0] - 4, at[1] - 4, at[0] + 5, at[1] + 5], 0, 32)
    expect_whole_image(view, images[numbers[2]].astype(int), frame)
    expect(notebook.page.locator(".bqplot")).to_be_visible()
    view.screenshot("opened")
    expect_downloads(notebook, view)
    # The keyboard: close, go on from the third patch to the fourth of another row, open it
    view.press("Escape")
    expect(view.find(".channel-panel")).to_be_hidden()
    notebook.wait_python("patches.channel == -1")
    expect(view.find(".rows")).to_be_focused()
    view.press("ArrowDown", "ArrowDown", "ArrowRight")
    numbers, *_ = strongest(maps, 2, 4)
    expect(view.find(".readout")).to_contain_text(f"image {numbers[3]} ")
    view.press("Enter")
    notebook.wait_python(f"(patches.channel, patches.image) == (2, {numbers[3]})")
    expect(view.find(".channel-panel h3")).to_have_text("conv1, channel 2")
    expect(view.find(".spoken")).to_contain_text("Channel 2 is open")
    # Within the samples, too
    view.find(".group[aria-label='Weakest patches']").focus()
    view.press("Home", "Enter")
    weakest = maps[:, 2].max((1, 2)).argmin()
    notebook.wait_python(f"patches.image == {weakest}")
    expect(view.find(".stage .caption")).to_contain_text(f"Image {weakest} · ")
    view.press("?")
    expect(view.find(".help")).to_contain_text("from channel to channel")
    assert notebook.cells() == 2, "a key reached JupyterLab's own shortcuts"


def test_a_box_on_the_image_finds_the_channels_that_answer_there(open_notebook):
    *_, maps = digits()
    notebook, view = opened(open_notebook, DIGITS, viewport=(1280, 1300))
    numbers, _, rows, columns = strongest(maps, 2, 2)
    view.find(cells(row(2))).first.click()
    notebook.wait_python(f"patches.image == {numbers[0]}")
    expect(view.find(".stage .caption")).to_contain_text(f"Image {numbers[0]} · ")
    scale = view.find("canvas.whole").bounding_box()["width"] / 32
    top, left = max(0, int(rows[0]) - 4), max(0, int(columns[0]) - 3)
    box = [top, left, min(32, top + 9), min(32, left + 10)]
    start, end = ((box[1] + 0.2) * scale, (box[0] + 0.2) * scale), (box[3] - 0.2, box[2] - 0.2)
    view.drag(start, (end[0] * scale, end[1] * scale), "canvas.whole")
    notebook.wait_python(f"patches.box == {box}")
    expected = answering(maps, numbers[0], box)
    hits = view.find(".hit")
    expect(hits).to_have_count(len(expected))
    expect(view.find(".answering")).to_contain_text(f"{len(expected)} of 16 channels")
    assert {int(text) for text in hits.locator("strong").all_inner_texts()} == expected
    assert 2 in expected
    assert expected < answering(maps, numbers[0], [0, 0, 32, 32])
    view.screenshot("answering")
    # The box by keys and by numbers
    view.find("canvas.whole").focus()
    view.press("Delete")
    notebook.wait_python("patches.box == []")
    view.press("Enter", "ArrowRight")
    notebook.wait_python("patches.box == [8, 9, 24, 25]")
    view.find("input[aria-label=bottom]").fill("20")
    view.press("Tab")
    notebook.wait_python("patches.box == [8, 9, 20, 25]")
    # All of the image and all layers: one of another layer is opened by a click
    view.find("canvas.whole").focus()
    view.press("Delete")
    choose(view, "in", "all")
    press(view, "Which channels answer to this image?")
    other = view.find(".hit:has(.hit-layer:text-is('flatten'))").first
    channel = int(other.locator("strong").inner_text())
    view.screenshot("answering-in-all-layers")
    other.click()
    notebook.wait_python(f"(patches.layer, patches.channel) == ('flatten', {channel})")
    expect(view.find(".channel-panel h3")).to_have_text(f"flatten, channel {channel}")
    assert notebook.ask("patches.image") == numbers[0]
    expect(view.find(".headline strong")).to_have_text("flatten")


def test_a_patch_moves_a_linked_browser_to_its_image_and_unit(open_notebook):
    linked = (
        "browser = nbviz.ActivationBrowser(network, images, labels=labels)\n"
        "link = nbviz.link(patches, browser)\nbrowser"
    )
    *_, maps = digits()
    notebook, view = opened(open_notebook, DIGITS, linked, viewport=(1280, 1000))
    browser = notebook.view(1)
    numbers, _, rows, columns = strongest(maps, 2, 2)
    view.find(cells(row(2))).nth(1).click()
    notebook.wait_python(
        "(browser.layer, browser.channel, browser.image, browser.unit) == "
        f"('conv1', 2, {numbers[1]}, [{rows[1]}, {columns[1]}])"
    )
    expect(browser.find(".headline strong")).to_have_text("conv1")
    label = notebook.ask(f"str(labels[{numbers[1]}])")
    expect(browser.find(".inputs .label")).to_have_text(label)
    expect(browser.find(".trace h3")).to_contain_text("conv1, channel 2")
    notebook.execute("browser.channel = 5")
    expect(view.find(".row.open:not([hidden]) .channel")).to_have_text("5")
    expect(view.find(".channel-panel h3")).to_have_text("conv1, channel 5")


def test_what_cannot_be_is_said_in_the_view(open_notebook):
    notebook, view = opened(open_notebook, FADING, NUMBERS)
    expect_pictures(view)
    crossed, other = tiles(view, row(0), 64, 2)
    assert (crossed[2:20, 30] == crossed[2, 30]).all(), "one shade beside the cross"
    assert (crossed[32, 32] != crossed[2, 30]).any()
    assert len(np.unique(other)) > 5
    assert "disk" in notebook.ask("patches.problems")[notebook.ask("[*data.lost][0]")]
    view.find(cells(row(0))).first.click()
    problem = view.find(".problem")
    expect(problem).to_contain_text("cannot read <b>the disk</b>")
    assert problem.locator("b").count() == 0
    # The next one is there, and nothing is wrong any more.
    view.find(cells(row(0))).nth(1).click()
    expect(problem).to_be_hidden()
    view.find(".stage label:has(span:text-is('Image')) input").fill("4000")
    view.press("Tab")
    expect(problem).to_contain_text("at most 59")
    with pytest.raises(CellError, match="below 16"):
        notebook.execute("patches.channel = 99")
    with pytest.raises(CellError, match="'conv1'"):
        notebook.execute("patches.layer = 'conv11'")
    assert notebook.ask("(patches.layer, patches.channel)") == ("conv1", 0)
    notebook.execute("patches.problem = '<i>told</i> by Python'")
    expect(problem).to_contain_text("<i>told</i> by Python")
    alone = notebook.view(1)
    alone.show()
    expect(alone.find(".head + .soft")).to_contain_text("pass network=... and dataset=...")
    numbers = notebook.ask("scan['conv1'].top.image[0, :9].tolist()")
    shown = alone.find(f"{cells(row(0))} .image-number")
    expect(shown).to_have_text([f"#{number}" for number in numbers])


def test_without_a_kernel_the_rows_stay_and_it_says_what_is_missing(open_notebook):
    notebook, view = opened(open_notebook, DIGITS, "patches", viewport=(1280, 1200))
    view.find(cells(row(1))).first.click()
    notebook.wait_python("patches.opened and patches.pictures")
    title = view.find(".channel-panel h3")
    expect(title).to_have_text("conv1, channel 1")
    expect(view.find(".stage .caption")).to_contain_text("Image ")
    second = notebook.view(1)
    expect(second.find(".channel-panel h3")).to_have_text("conv1, channel 1")
    notebook.clear(1)
    notebook.wait_views(1)
    before = view.pixels(f"{row(0)} canvas")
    group = view.pixels(".channel-panel canvas")
    notebook.reload()
    expect(title).to_have_text("conv1, channel 1")
    notebook.reopen()
    view = notebook.view()
    expect_pictures(view)
    np.testing.assert_array_equal(view.pixels(f"{row(0)} canvas"), before)
    np.testing.assert_array_equal(view.pixels(".channel-panel canvas"), group)
    expect(view.find(".shares tr").first).to_be_visible()
    choose(view, "Sort", "peak")
    *_, maps = digits()
    expect_channels(view, np.argsort(-maps.max((0, 2, 3)), kind="stable")[:3])
    choose(view, "Layer", "flatten")
    expect(view.find(".status")).to_contain_text("run the cell", timeout=15000)
    view.screenshot("no-kernel")
    choose(view, "Layer", "conv1")
    view.find(cells(row(0))).first.click()
    expect(view.find(".right")).to_contain_text("comes from Python")


def test_it_is_drawn_in_both_themes_on_a_phone_and_in_a_lecture(open_notebook):
    notebook, view = opened(open_notebook, SCENES, viewport=(1280, 800))
    notebook.screenshot("list")
    view.find(cells(row(0))).nth(1).click()
    expect(view.find(".stage .caption")).to_contain_text("Image ")
    expect_pictures(view, ".right section")
    view.screenshot("light")
    for theme in ("dark", "light"):
        with view.redrawn():
            notebook.set_theme(theme)
        expect(notebook.page.locator("#jupyterlab-splash")).to_have_count(0)
        background = view.find(".view").evaluate("v => getComputedStyle(v).backgroundColor")
        shade = int(re.search(r"\d+", background)[0])
        assert shade < 80 if theme == "dark" else shade > 200
        notebook.resize(1920, 1080)
        view.host.evaluate("host => host.scrollIntoView()")
        notebook.screenshot(f"{theme}-full-hd")
        assert not re.search("undefined|NaN", view.text())
        # List and opened channel stand side by side.
        left, right = (view.find(part).bounding_box() for part in (".left", ".right"))
        assert left["x"] + left["width"] <= right["x"]
    with view.redrawn():
        notebook.fit_output(360)
    view.screenshot("narrow")
    assert view.host.evaluate("h => h.scrollWidth <= h.clientWidth")
    inside = view.find(".view").evaluate(
        "v => [...v.querySelectorAll('button, select, input, h3')].filter(e => e.offsetWidth &&"
        " e.getBoundingClientRect().right > v.getBoundingClientRect().right + 1)"
        ".map(e => e.outerHTML)"
    )
    assert inside == []
    view.find(cells(row(0))).first.click()
    notebook.wait_python("patches.image == patches.samples()['image'][0]")


def test_photographs_are_shown_by_what_excites_a_real_network(open_notebook, shared_data):
    cell = PHOTOGRAPHS.format(folder=str(shared_data))
    notebook, view = opened(open_notebook, cell, viewport=(1280, 1000))
    notebook.screenshot("list")
    view.find(cells(row(0))).first.click()
    expect(view.find(".stage .caption")).to_contain_text("taken for")
    expect_pictures(view, ".right section")
    view.screenshot("opened")
    exact = notebook.ask("scan[patches.layer].top.value[patches.channel].tolist()")
    expect_figures(values(view, ".group[aria-label='Strongest patches']"), np.array(exact))
    with view.redrawn():
        notebook.fit_output(360)
    view.screenshot("narrow")
    assert view.host.evaluate("h => h.scrollWidth <= h.clientWidth")


def test_a_channel_is_answered_on_every_ipykernel(open_notebook, ipykernel):
    _, view = opened(open_notebook, DIGITS, kernel=f"ipykernel-{ipykernel}")
    view.find(cells(row(1))).first.click()
    expect(view.find(".channel-panel h3")).to_have_text("conv1, channel 1")
    expect(view.find(".stage .caption")).to_contain_text("Image ")
    choose(view, "Layer", "relu2")
    expect(view.find(".headline strong")).to_have_text("relu2")
    expect_pictures(view)
