"""Cells that show the same points, or the same pictures at them, with nbviz and with its peers.

Each is at its defaults, but for: a height of 600 px; a drag that pans and a wheel that zooms
(plotly); embedding-atlas without labels, table and charts, so that its plot has the whole width.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gestures import HEIGHT

SETUP = """
import sys, warnings
sys.path.insert(0, {tests!r})
warnings.simplefilter("ignore")
import numpy as np, pandas as pd, nbviz
from fixtures.numbered_pictures import (
    CLASSES, NumberedPictures, classes_of, clustered_places, pictures)

count = {count}
places = clustered_places(count)
kind = classes_of(np.arange(count))
frame = pd.DataFrame(
    {{"x": places[:, 0], "y": places[:, 1], "kind": pd.Categorical(kind.astype(str))}})
"""

# Counts the tiles that a map is asked for: answers, all their bytes, and those of the JPEG in them.
COUNTED = """
import base64, json
from nbviz.widgets import wire
from nbviz.widgets.base import answers
asked_tiles = {{"answers": 0, "sent": 0, "jpeg": 0}}
plain_answer = nbviz.ImageMap._answer_tiles

@answers("tiles")
def counted_answer(self, **asked):
    packed = plain_answer(self, **asked)
    asked_tiles["answers"] += 1
    described = {{name: value for name, value in packed.items() if name != "buffers"}}
    asked_tiles["sent"] += wire.payload_bytes(packed) + len(json.dumps(described))
    asked_tiles["jpeg"] += wire.unpack(packed)["sheet"].nbytes
    return packed

class Counted(nbviz.ImageMap):
    _answer_tiles = counted_answer

def parts_sent(shown):
    states = (getattr(shown, name) for name in shown.keys)
    packed = [s for s in states if isinstance(s, dict) and "buffers" in s]
    data, _ = shown._repr_mimebundle_()
    still = sum(len(value) for kind, value in data.items() if kind in ("image/png", "text/html"))
    return sum(map(wire.payload_bytes, packed)), len(shown._esm), still
"""
# Places that are given, as the peers get them; the two columns are the features, too.
NBVIZ = """
shown = Counted(
    places, NumberedPictures(count), labels=kind, embedding=places, normalise=False,
    components=None, colour="class", thumbnails={thumbnails!r}, height={height})
shown
"""
JUPYTER_SCATTER = """
import jscatter
scatter = jscatter.Scatter(data=frame, x="x", y="y", color_by="kind", height={height})
scatter.show()
"""
EMBEDDING_ATLAS = """
from importlib.metadata import version
from embedding_atlas.widget import EmbeddingAtlasWidget
charts = {{"1": {{"type": "embedding", "title": "Embedding",
    "data": {{"x": "x", "y": "y", "category": "kind"}}}}}}
layout = {{"type": "list", "name": "Plot", "chartIds": ["1"], "showTable": False,
    "showCharts": False}}
EmbeddingAtlasWidget(
    frame.astype({{"kind": str}}), x="x", y="y", labels="disabled",
    initial_state={{"version": version("embedding-atlas"), "charts": charts, "chartStates": {{}},
        "layouts": {{"1": layout}}, "layoutOrder": ["1"], "currentLayout": "1"}})
"""
# As its documentation shows pictures: layout images, placed in units of the axes so that they move
# with the points; 32 px wide where all is in view.
PLOTLY = """
import base64, io
import plotly.graph_objects as go
from PIL import Image

def source(picture):
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=85, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()

wide, high = 32 * np.ptp(places, axis=0) / (1000, 420)
figure = go.Figure(go.Scattergl(x=places[:, 0], y=places[:, 1], mode="markers", marker_opacity=0))
figure.update_layout(height={height}, dragmode="pan", images=[
    dict(source=source(picture), xref="x", yref="y", x=x, y=y, sizex=wide, sizey=high,
         xanchor="center", yanchor="middle")
    for picture, (x, y) in zip(pictures(np.arange(count)), places.tolist())])
figure.show(config={{"scrollZoom": True}})
"""


@dataclass(frozen=True)
class Plot:
    """A plot to be measured.

    Attributes
    ----------
    name : str
    cell : str
        Code that shows it, after `SETUP` of the same count.
    at : str
        CSS selector of what it is drawn in.
    drawing : bool
        Whether it draws in a way that `gestures` can count.
    ours : bool
        Whether it is an `nbviz.ImageMap`, which `COUNTED` has to go before.
    """

    name: str
    cell: str
    at: str
    drawing: bool = True
    ours: bool = False


def setup(count, plot):
    """Code that goes before a plot."""
    tests = str(Path(__file__).parents[1] / "tests")
    code = SETUP.format(tests=tests, count=count)
    return code + COUNTED.format() if plot.ours else code


def nbviz_map(thumbnails):
    cell = NBVIZ.format(thumbnails=thumbnails, height=HEIGHT)
    at = "[data-nbviz-view] .stage canvas >> nth=0"
    return Plot(f"nbviz, {thumbnails}", cell, at, ours=True)


SCATTER = Plot(
    "jupyter-scatter",
    JUPYTER_SCATTER.format(height=HEIGHT),
    ".jp-OutputArea canvas[style*='100%'] >> nth=0",
)
ATLAS = Plot("embedding-atlas", EMBEDDING_ATLAS.format(), ".jp-OutputArea canvas >> nth=0")
IMAGES = Plot(
    "plotly, layout images",
    PLOTLY.format(height=HEIGHT),
    ".plot-container .nsewdrag >> nth=0",
    drawing=False,
)
