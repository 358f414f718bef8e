"""The chart beside an OcclusionProbe: the target's confidence along the path of a drag."""

from __future__ import annotations

import math
import weakref
from typing import TYPE_CHECKING, Any

import bqplot
import numpy as np

from nbviz.analysis.prediction import class_name

if TYPE_CHECKING:
    from nbviz.widgets.occlusion_probe import OcclusionProbe

_INK = "#7a8aa0"
_BEFORE = "#c08552"


def confidence_chart(probe: OcclusionProbe) -> bqplot.Figure:
    """A line of the confidence over the pixels that masks went, and what it was without masks."""
    x, y = bqplot.LinearScale(min=0), bqplot.LinearScale(min=0, max=1)
    scales = {"x": x, "y": y}
    now = bqplot.Lines(scales=scales, colors=[_INK], stroke_width=2, labels=["under the masks"])
    before = bqplot.Lines(
        scales=scales, colors=[_BEFORE], line_style="dashed", labels=["without masks"]
    )
    across = bqplot.Axis(scale=x, label="path of the masks in pixels", grid_lines="none")
    up = bqplot.Axis(scale=y, orientation="vertical", label="probability")
    up.tick_values = np.linspace(0, 1, 5)
    for axis in (across, up):
        axis.color = axis.label_color = _INK
    for line in (now, before):
        line.display_legend = True
    figure = bqplot.Figure(
        marks=[before, now],
        axes=[across, up],
        legend_location="top-right",
        title_style={"font-size": "13px", "fill": _INK},
        fig_margin={"top": 36, "bottom": 48, "left": 64, "right": 16},
        layout={"width": "100%", "height": "240px", "min_width": "280px"},
    )
    # bqplot's parts live until they are closed, and must not keep probe and model so long.
    probe_there = weakref.ref(probe)

    def redraw(change: Any = None) -> None:
        del change
        there = probe_there()
        if there is None:
            return
        path = np.array([point["path"] for point in there.trail])
        values = np.array([float(point["probability"]) for point in there.trail])
        target = there.prediction["target"]
        base = float(target["probability"])
        with now.hold_sync():
            now.x, now.y = path, values
        with before.hold_sync():
            before.x = np.array([0.0, max(float(path[-1]) if path.size else 0.0, 1.0)])
            before.y = np.full(2, base)
        lost = sum(not math.isfinite(value) for value in values)
        left_out = f" ({lost} of {len(values)} are no numbers)" if lost else ""
        figure.title = f"{class_name(there.target, there.network.classes)}{left_out}"

    def closed(change: Any) -> None:
        if change["new"] is None:
            for part in (figure, now, before, across, up, x, y):
                part.close()

    redraw()
    probe.observe(redraw, names=["trail", "prediction"])
    probe.observe(closed, names="comm")
    return figure
