"""Every notebook runs from a clean kernel and shows the views that it promises."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
VIEWS = {
    "activations": 6,
    "large-data": 2,
    "map": 6,
    "occlusion": 6,
    "patches": 4,
    "tour": 7,
    "train-live": 4,
    "your-own-model": 4,
}


def texts(path):
    cells = nbformat.read(path, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.ipynb")))
def test_a_notebook_runs_and_draws_its_views(open_notebook, name):
    cells = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4).cells
    notebook = open_notebook([cell.source for cell in cells if cell.cell_type == "code"])
    notebook.run_all(timeout=240)
    assert notebook.count_views() == VIEWS[name]
    for index in range(VIEWS[name]):
        view = notebook.view(index)
        view.show()
        assert "undefined" not in view.text()
        view.screenshot(f"view-{index}")


def test_notebooks_are_kept_without_output():
    for path in FOLDER.glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            assert not cell.get("outputs"), f"{path.name} holds output; clear it"


@pytest.mark.parametrize("name", ["tour", "activations", "occlusion", "patches", "map"])
def test_each_part_of_the_lecture_shows_asks_and_tries(name):
    text = texts(FOLDER / f"{name}.ipynb")
    for part in ("*What to look at:*", "*Question:*", "*Experiment:*", "## To read"):
        assert part in text, f"{name} has no {part}"


def test_links_between_notebooks_lead_somewhere():
    for path in FOLDER.glob("*.ipynb"):
        for link in re.findall(r"\]\(([^)#:]+)\)", texts(path)):
            assert (FOLDER / link).is_file(), f"{path.name} links to {link}"
