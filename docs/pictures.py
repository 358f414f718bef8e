"""Take the README's pictures in a real JupyterLab: ``.venv/bin/python docs/pictures.py``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "notebook"))

from browser import running_browser
from lab import running_lab
from notebook_page import Notebook

CELL = """import nbviz
network, images, labels, classes = nbviz.demos.scenes()
nbviz.FilterGrid(network, sort="similarity")"""


def main() -> None:
    """Write `filter-grid.png` beside this script."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_browser() as browser,
        running_lab(Path(folder) / "lab") as lab,
    ):
        notebook = Notebook(lab, browser, "nbviz.ipynb", shots=Path(__file__).parent)
        notebook.open([CELL], viewport=(1260, 780), scale=2)
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
        print(notebook.screenshot("filter-grid"))


if __name__ == "__main__":
    main()
