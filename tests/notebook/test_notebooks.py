"""Every notebook runs from a clean kernel and shows the views that it promises."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
VIEWS = {"activations": 6, "cluster": 1, "map": 6, "occlusion": 6, "patches": 4, "tour": 7}


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
