"""A saved notebook turned into HTML shows a picture of every widget, with nothing behind it."""

from __future__ import annotations

import io
import re
from base64 import b64decode

import nbformat
import numpy as np
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from PIL import Image

CELLS = [
    """
    import nbviz
    demo = nbviz.demos.scenes()
    images, labels = demo.images[:30], demo.labels[:30]
    scan = nbviz.scan(demo.network, images, labels=labels, layers="relu3", progress=False)
    """,
    "nbviz.FilterGrid(demo.network)",
    "nbviz.ActivationBrowser(demo.network, images)",
    "nbviz.OcclusionProbe(demo.network, images)",
    "nbviz.TopPatches(scan)",
    "nbviz.ImageMap(scan, method='pca')",
    "nbviz.Explorer(demo.network, images, scan)",
]


def test_every_widget_leaves_a_picture():
    cells = [nbformat.v4.new_code_cell(re.sub(r"(?m)^    ", "", cell).strip()) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=240).execute()
    # GitHub shows pictures and keeps no widget: what is left must do.
    notebook.metadata.pop("widgets", None)
    page, _ = HTMLExporter().from_notebook_node(notebook)
    found = re.findall(r'<img alt="([^"]+)" src="data:image/png;base64,([^"]+)"', page)
    assert len(found) == len(CELLS) - 1
    for caption, data in found:
        picture = np.asarray(Image.open(io.BytesIO(b64decode(data))).convert("L"))
        assert len(caption.split()) > 5, caption
        assert min(picture.shape) > 100
        assert picture.std() > 5, f"nothing to be seen: {caption}"
    for output in (output for cell in notebook.cells for output in cell.outputs):
        assert output.output_type != "display_data" or "image/png" in output.data
