"""All views in hosts other than JupyterLab: drawn, and answered by Python.

``pip install "nbviz[hosts]"`` brings these hosts; a test whose host is missing is skipped.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest
from browser import Problems
from hosts.servers import running_marimo, running_notebook
from playwright.sync_api import Page, expect
from view import View

SHOTS = Path(__file__).parents[2] / "test-results"
SECONDS = 60

HARMLESS: dict[str, list[str]] = {
    # Notebook 7.6 listens to a setting before it has the setting's schema, with no cell run yet.
    "notebook": [r"Cannot read properties of undefined \(reading 'schema'\)"],
    "marimo": [],
}
"""What a host itself reports though nothing is wrong."""


@dataclass(frozen=True)
class HostPage:
    """What `View` asks of a notebook: a page, where the view is in it, and where pictures go."""

    page: Page
    selector: str
    shots: Path


class Shown(View):
    """A view in any host, also within a shadow root of the host's."""

    def wait_drawn(self, times: int = 1, *, timeout: float = SECONDS) -> None:
        drawn = re.compile(rf"^(?:{'|'.join(map(str, range(times, times + 400)))})$")
        expect(self.host).to_have_attribute("data-nbviz-drawn", drawn, timeout=timeout * 1000)


@contextmanager
def opened(browser, address, folder):
    """A page of a host, and the problems that it reports."""
    context = browser.new_context(viewport={"width": 1280, "height": 1400})
    context.set_default_timeout(SECONDS * 1000)
    expect.set_options(timeout=SECONDS * 1000)
    page, problems = context.new_page(), Problems()
    problems.listen(page)
    try:
        page.goto(address)
        yield page, problems
    except BaseException:
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / "failed.png", full_page=True)
        print(f"picture: {folder / 'failed.png'}; problems: {problems.lines[:9]}")
        raise
    finally:
        context.close()


def shown(page, name, folder):
    view = Shown(HostPage(page, f"[data-nbviz-view='{name}']", folder), 0)
    view.wait_drawn()
    view.show()
    return view


def choose(view, label, value):
    view.find(f"label:has(span:text-is('{label}')) select").select_option(value)


def expect_picture(view, canvas):
    """Something is painted, in more than one colour, and no problem is said."""
    expect(view.find(canvas).first).to_be_visible()
    assert len(np.unique(view.pixels(canvas).reshape(-1, 4), axis=0)) > 2
    expect(view.find(".problem")).to_be_hidden()


def expect_kernels(page, folder):
    view = shown(page, "filter-grid", folder)
    expect_picture(view, ".scroller canvas")
    view.hover(8, 8, ".scroller canvas")
    expect(view.find(".readout")).to_contain_text("row 0, column 0 =")
    choose(view, "Layer", "conv2")
    expect(view.find(".scroller")).to_have_attribute(
        "aria-label", re.compile("32 kernels of conv2")
    )
    expect_picture(view, ".scroller canvas")
    view.screenshot("filter-grid")


def expect_activations(page, folder):
    view = shown(page, "activation-browser", folder)
    # Comes in a part that the view fetches from Python.
    expect(view.find(".inputs")).to_be_visible()
    view.find(".layer >> text=pool2").click()
    expect(view.find(".headline strong")).to_have_text("pool2")
    expect_picture(view, ".spacer > canvas")
    view.click(30, 30, ".spacer > canvas")
    expect(view.find(".trace h3")).to_be_visible()
    view.screenshot("activation-browser")


def expect_occlusion(page, folder):
    view = shown(page, "occlusion-probe", folder)
    shares = view.find(".bars .percent")
    before = shares.all_inner_texts()
    view.find("button:text-is('+ Mask')").click()
    expect(shares.first).not_to_have_text(before[0])
    view.find("button:text-is('Full map')").click()
    expect(view.find(":text('64 of 64 positions')").first).to_be_visible()
    expect_picture(view, "canvas.picture")
    expect_picture(view, ".over[role]")
    view.screenshot("occlusion-probe")


def expect_patches(page, folder):
    view = shown(page, "top-patches", folder)
    expect(view.find(".headline")).to_contain_text("16 channels")
    choose(view, "Layer", "relu2")
    expect(view.find(".headline")).to_contain_text("32 channels")
    first = ".row[aria-rowindex='1']:not([hidden])"
    expect(view.find(f"{first} .cell:not([hidden])").first).to_be_visible()
    expect(view.find(f"{first} .cell.empty:not([hidden])")).to_have_count(0)
    expect_picture(view, f"{first} canvas")
    view.screenshot("top-patches")


def expect_map(page, folder):
    view = shown(page, "image-map", folder)
    expect(view.find(".progress")).to_be_hidden()
    expect(view.find(".figures")).to_contain_text("Trustworthiness")
    expect_picture(view, "canvas.map")
    view.find("button:text-is('Misplaced')").first.click()
    expect(view.find(".questions .answer").first).to_be_visible()
    view.screenshot("image-map")


CHECKS = (expect_kernels, expect_activations, expect_occlusion, expect_patches, expect_map)


def expect_all(page, problems, folder, host):
    for check in CHECKS:
        check(page, folder)
    page.screenshot(path=folder / "page.png")
    expected = re.compile("|".join(HARMLESS[host]) or "$^")
    assert [line for line in problems.take() if not expected.search(line)] == []


def need(package):
    # Not by its import: these tests lie in a folder of the same name as one of them.
    try:
        version(package)
    except PackageNotFoundError:
        pytest.skip(f"{package} is not installed: pip install 'nbviz[hosts]'")


def test_jupyter_notebook_7(browser, tmp_path):
    need("notebook")
    folder = SHOTS / "host-notebook"
    with (
        running_notebook(tmp_path / "notebook") as address,
        opened(browser, address, folder) as (page, problems),
    ):
        wait_for_kernel(page, address)
        page.locator(".lm-MenuBar-itemLabel:text-is('Run')").click()
        page.locator(".lm-Menu-itemLabel:text-is('Run All Cells')").click()
        expect_all(page, problems, folder, "notebook")


def wait_for_kernel(page, address):
    """Wait until the page is connected to an idle kernel; a cell run before may be forgotten."""
    sessions = address.replace("/notebooks/views.ipynb", "/api/sessions")
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        kernels = [each["kernel"] for each in page.request.get(sessions).json()]
        if any(each["connections"] and each["execution_state"] == "idle" for each in kernels):
            return
        page.wait_for_timeout(100)
    raise TimeoutError(f"waited {SECONDS} s for the notebook's kernel; there are {kernels}")


@pytest.mark.parametrize("mode", ["run", "edit"])
def test_marimo(browser, tmp_path, mode):
    need("marimo")
    folder = SHOTS / f"host-marimo-{mode}"
    with (
        running_marimo(tmp_path / "marimo", mode) as address,
        opened(browser, address, folder) as (page, problems),
    ):
        expect_all(page, problems, folder, "marimo")
