"""The chart beside an OcclusionProbe: the target's confidence along the path of a drag."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import bqplot
import numpy as np

from nbviz.analysis.prediction import class_name
from nbviz.widgets.chart_figure import INK, chart_figure, follow

if TYPE_CHECKING:
    from nbviz.widgets.occlusion_probe import OcclusionProbe

_BEFORE = "#c08552"


def confidence_chart(probe: OcclusionProbe) -> bqplot.Figure:
    """A line of the confidence over the pixels that masks went, and what it was without masks."""
    x, y = bqplot.LinearScale(min=0), bqplot.LinearScale(min=0, max=1)
    scales = {"x": x, "y": y}
    now = bqplot.Lines(scales=scales, colors=[INK], stroke_width=2, labels=["under the masks"])
    before = bqplot.Lines(
        scales=scales, colors=[_BEFORE], line_style="dashed", labels=["without masks"]
    )
    across = bqplot.Axis(scale=x, label="path of the masks in pixels", grid_lines="none")
    up = bqplot.Axis(scale=y, orientation="vertical", label="probability")
    up.tick_values = np.linspace(0, 1, 5)
    for line in (now, before):
        line.display_legend = True
    figure = chart_figure([before, now], across, up, legend_location="top-right")

    def redraw(probe: OcclusionProbe) -> None:
        path = np.array([point["path"] for point in probe.trail])
        values = np.array([float(point["probability"]) for point in probe.trail])
        target = probe.prediction["target"]
        base = float(target["probability"])
        with now.hold_sync():
            now.x, now.y = path, values
        with before.hold_sync():
            before.x = np.array([0.0, max(float(path[-1]) if path.size else 0.0, 1.0)])
            before.y = np.full(2, base)
        lost = sum(not math.isfinite(value) for value in values)
        left_out = f" ({lost} of {len(values)} are no numbers)" if lost else ""
        figure.title = f"{class_name(probe.target, probe.network.classes)}{left_out}"

    follow(probe, figure, ["trail", "prediction"], redraw)
    return figure
