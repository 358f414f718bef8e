"""One JupyterLab and one Chromium for all notebook tests, and a notebook for each.

A test asks for `open_notebook`; `ipykernel` runs it once on each version. After the test
every problem that its pages recorded fails it, and a failure leaves a picture of each page
in `test-results/<test>/`.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from browser import running_browser
from ipykernels import VERSIONS, add_ipykernel
from lab import running_lab
from notebook_page import Notebook
from playwright.sync_api import Error as PlaywrightError

_HERE = Path(__file__).parent
_RESULTS = _HERE.parents[1] / "test-results"
_failed = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items):
    """Mark what opens a real notebook, and run it last.

    Playwright leaves its event loop running in the thread, so no other test (nbclient's,
    say) could start one after it.
    """
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.notebook)
    items.sort(key=lambda item: _HERE in item.path.parents)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Remember whether the test itself failed, for its fixtures."""
    report = yield
    item.stash[_failed] = item.stash.get(_failed, False) or report.failed
    return report


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """The JupyterLab server that the notebook tests share."""
    with running_lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="session")
def browser():
    """The Chromium that the notebook tests share."""
    with running_browser() as browser:
        yield browser


@pytest.fixture(params=VERSIONS)
def ipykernel(request, lab):
    """Version of ipykernel; its kernel is named `ipykernel-<version>`."""
    add_ipykernel(lab, request.param)
    return request.param


@pytest.fixture
def open_notebook(lab, browser, request):
    """Open a notebook of given cells; takes what `Notebook.open` takes, and a view `selector`."""
    name = re.sub(r"[^\w.-]+", "-", request.node.name).strip("-")
    shots = _RESULTS / name
    shutil.rmtree(shots, ignore_errors=True)
    notebooks = []

    def open_(cells, *, selector=None, **options):
        more = {} if selector is None else {"selector": selector}
        path = f"{name}-{len(notebooks)}.ipynb"
        notebooks.append(Notebook(lab, browser, path, shots=shots, **more))
        return notebooks[-1].open(cells, **options)

    yield open_
    try:
        for number, notebook in enumerate(notebooks):
            if request.node.stash.get(_failed, False) or notebook.problems.lines:
                _picture(notebook, f"failed-{number}")
            notebook.close()
        for notebook in notebooks:
            notebook.problems.check()
    finally:
        lab.shutdown_kernels()


def _picture(notebook, name):
    try:
        print(f"picture: {notebook.screenshot(name)}")
    except (PlaywrightError, AttributeError) as error:
        print(f"no picture of {notebook.path}: {error}")
