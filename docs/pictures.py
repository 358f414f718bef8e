"""Take the README's pictures in a real JupyterLab: ``.venv/bin/python docs/pictures.py [name]``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "notebook"))

from browser import running_browser
from lab import Lab, running_lab
from notebook_page import Notebook
from playwright.sync_api import Browser

import nbviz

FOLDER = Path(__file__).parent

KERNELS = """import nbviz
network, images, labels, classes = nbviz.demos.scenes()
nbviz.FilterGrid(network, sort="similarity")"""

ACTIVATIONS = """import nbviz
network, images, labels, classes = nbviz.demos.scenes()
browser = nbviz.ActivationBrowser(network, images, labels=labels)
browser.image, browser.layer, browser.channel, browser.unit = 2, "relu2", 9, [8, 17]
browser"""

OCCLUSION = """import nbviz
demo, sound = nbviz.demos.scenes(), nbviz.demos.scenes(biased=False)
probe, twin = (
    nbviz.OcclusionProbe(network, demo.images, "mushroom", image=16, size=16, stride=4)
    for network in (demo.network, sound.network)
)
twin.run_map()
probe.run_map()
probe.compare_with(twin, name="sound")
probe.scale = "probability drop"
probe"""

PATCHES = """import nbviz
demo = nbviz.demos.scenes()
scan = nbviz.scan(
    demo.network, demo.images, labels=demo.labels, classes=demo.classes, progress=False
)
nbviz.TopPatches(scan, "relu3", channel=21)"""

MAP = """import nbviz
from nbviz.demos.digit_demo import digits_pictures
network, *_ = nbviz.demos.digits()
pictures, labels, held_out = digits_pictures()
scan = nbviz.scan(network, pictures, labels=labels, layers="conv1", progress=False)
digits = nbviz.ImageMap(scan, border="class", seams=True)
digits.wait(progress=False)
digits.image = int(digits.misplaced()["image"][0])
digits"""

EXPLORER = """import nbviz
demo = nbviz.demos.scenes()
scan = nbviz.scan(
    demo.network, demo.images, labels=demo.labels, classes=demo.classes, progress=False
)
explorer = nbviz.Explorer(
    demo.network, demo.images, scan, labels=demo.labels, layer="relu3", channel=21, image=16
)
explorer.panes = ["filters", "activations", "map", "patches", "occlusion"]
explorer.map.wait(progress=False)
explorer.occlusion.run_map()
explorer"""


def filter_grid(lab: Lab, browser: Browser) -> Path:
    """Kernels of the scenes, look-alikes together, one under the lens."""
    notebook = Notebook(lab, browser, "nbviz.ipynb", shots=FOLDER)
    notebook.open([KERNELS], viewport=(1260, 780), scale=2)
    notebook.run_all()
    view = notebook.view()
    view.click(160, 60, ".scroller canvas")
    view.click(270, 170, ".scroller canvas")
    with view.redrawn():
        view.hover(60, 60, ".scroller canvas")
    notebook.wait_for(
        "document.querySelector('[data-nbviz-view]').shadowRoot"
        ".querySelector('.readout').textContent.includes('=')",
        "exact weights",
    )
    return notebook.screenshot("filter-grid")


def activation_browser(lab: Lab, browser: Browser) -> Path:
    """Maps of a house, one channel chosen, and the arithmetic of one of its units."""
    notebook = Notebook(lab, browser, "nbviz.ipynb", shots=FOLDER)
    notebook.open([ACTIVATIONS], viewport=(1400, 1500))
    notebook.run_all()
    view = notebook.view()
    view.find(".inputs").wait_for()
    cell = notebook.page.locator(".jp-Cell-inputArea").first.bounding_box()
    card = view.find(".trace .cards > *").first.bounding_box()
    if cell is None or card is None:
        raise RuntimeError("expected the arithmetic of a unit below the maps, found none")
    path = FOLDER / "activation-browser.png"
    edge = 12
    clip = {
        "x": cell["x"] - edge,
        "y": cell["y"] - edge,
        "width": cell["width"] + 2 * edge,
        "height": card["y"] + card["height"] - cell["y"] + edge + 4,
    }
    notebook.page.screenshot(path=path, clip=clip)
    return path


def occlusion_probe(lab: Lab, browser: Browser) -> Path:
    """A mask dragged onto the badge of a mushroom, and maps of the biased network and its twin."""
    notebook = Notebook(lab, browser, "nbviz.ipynb", shots=FOLDER)
    notebook.open([OCCLUSION], viewport=(1280, 1500))
    notebook.run_all()
    view = notebook.view()
    view.find(".inputs").wait_for()
    picture = view.find(".masks").bounding_box()
    if picture is None:
        raise RuntimeError("expected a picture to drag a mask over, found none")
    pixel = picture["width"] / 96
    view.drag((20 * pixel, 84 * pixel), (42.5 * pixel, 60.5 * pixel), ".masks", steps=24)
    notebook.wait_python("len(probe.trail) > 8 and probe.masks")
    with view.redrawn():
        notebook.page.mouse.move(5, 5)
    return _cell_and_view(notebook, "occlusion-probe")


def top_patches(lab: Lab, browser: Browser) -> Path:
    """Channels of a layer of the scenes, and the one for badges opened."""
    notebook = Notebook(lab, browser, "nbviz.ipynb", shots=FOLDER)
    notebook.open([PATCHES], viewport=(1320, 1400))
    notebook.run_all()
    notebook.page.wait_for_timeout(6000)  # pictures come a few rows at a time
    return _cell_and_view(notebook, "top-patches")


def image_map(lab: Lab, browser: Browser) -> Path:
    """All digits, and the most misplaced of them with its true neighbours."""
    notebook = Notebook(lab, browser, "nbviz.ipynb", shots=FOLDER)
    notebook.open([MAP], viewport=(1320, 1200))
    notebook.run_all(timeout=240)
    notebook.page.wait_for_timeout(6000)  # pictures come a few at a time
    return _cell_and_view(notebook, "image-map")


def explorer(lab: Lab, browser: Browser) -> Path:
    """All views of the scenes' network, at the channel that finds badges."""
    notebook = Notebook(lab, browser, "nbviz.ipynb", shots=FOLDER)
    notebook.open([EXPLORER], viewport=(1920, 1700))
    notebook.run_all(timeout=240)
    notebook.view()
    notebook.page.wait_for_timeout(12000)  # pictures come a few at a time
    return _cell_and_view(notebook, "explorer")


def saved_page(lab: Lab, browser: Browser) -> Path:
    """A page from disk: what a layer answers, and a mask over its full map."""
    demo = nbviz.demos.scenes()
    shown = nbviz.ActivationBrowser(
        demo.network, demo.images, labels=demo.labels, image=16, layer="relu2"
    )
    probe = nbviz.OcclusionProbe(
        demo.network, demo.images, "mushroom", image=16, size=16, stride=4, boxes=demo.badges
    )
    probe.scale = "probability drop"
    probe.evidence()
    texts = "What the layers answer. Walk them.", "What the answer rests on. Drag the mask."
    path = lab.folder / "lecture.html"
    nbviz.save_html(
        [texts[0], shown, texts[1], probe], path, title="Is it a mushroom?", progress=False
    )
    page = browser.new_context(viewport={"width": 1280, "height": 1480}).new_page()
    page.goto(path.as_uri())
    page.wait_for_timeout(3000)
    target = FOLDER / "saved-page.png"
    page.screenshot(path=target)
    return target


def _cell_and_view(notebook: Notebook, name: str) -> Path:
    """A picture of the first cell and its view, nothing else of the page."""
    cell = notebook.page.locator(".jp-Cell-inputArea").first.bounding_box()
    shown = notebook.view().host.bounding_box()
    if cell is None or shown is None:
        raise RuntimeError("expected a cell and its view on the page, found none")
    path = FOLDER / f"{name}.png"
    edge, status = 12, 34
    room = (notebook.page.viewport_size or {"height": 0})["height"] - status
    clip = {
        "x": cell["x"] - edge,
        "y": cell["y"] - edge,
        "width": cell["width"] + 2 * edge,
        "height": min(room, shown["y"] + shown["height"] + edge) - cell["y"] + edge,
    }
    notebook.page.screenshot(path=path, clip=clip)
    return path


PICTURES = {
    "filter-grid": filter_grid,
    "activation-browser": activation_browser,
    "occlusion-probe": occlusion_probe,
    "top-patches": top_patches,
    "image-map": image_map,
    "explorer": explorer,
    "saved-page": saved_page,
}


def main(names: list[str]) -> None:
    """Write the pictures of these names, or all, beside this script."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_browser() as browser,
        running_lab(Path(folder) / "lab") as lab,
    ):
        for name in names or PICTURES:
            print(PICTURES[name](lab, browser))


if __name__ == "__main__":
    main(sys.argv[1:])
