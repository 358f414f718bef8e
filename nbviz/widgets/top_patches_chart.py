"""The chart beside a TopPatches: how strongly the images excite the channel, samples marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bqplot
import numpy as np

from nbviz.widgets.chart_figure import INK, chart_figure, follow
from nbviz.widgets.top_patches_state import Group, counted, peak_histogram

if TYPE_CHECKING:
    from nbviz.widgets.top_patches import TopPatches

# Beside their colours the marks have shapes of their own.
_MARKS: dict[Group, tuple[str, str, str]] = {
    "top": ("triangle-up", "#c08552", "strongest"),
    "middle": ("circle", "#3d7f8f", "middle"),
    "bottom": ("triangle-down", "#8f6bb3", "weakest"),
}


def samples_chart(view: TopPatches) -> bqplot.Figure:
    """Bars of how many images have their peak where, and the samples on the axis below."""
    x, y = bqplot.LinearScale(), bqplot.LinearScale(min=0)
    scales = {"x": x, "y": y}
    bars = bqplot.Bars(scales=scales, colors=[INK], padding=0.05)
    marks = {
        name: bqplot.Scatter(
            scales=scales, marker=shape, colors=[colour], default_size=56, labels=[said]
        )
        for name, (shape, colour, said) in _MARKS.items()
    }
    for mark in marks.values():
        mark.display_legend = True
    across = bqplot.Axis(scale=x, label="strongest activation of an image", grid_lines="none")
    counts = bqplot.Axis(scale=y, orientation="vertical", label="images", tick_format="d")
    figure = chart_figure([bars, *marks.values()], across, counts, legend_location="top-right")

    def redraw(view: TopPatches) -> None:
        if view.channel >= view.statistics.channels:
            return  # layer and channel were chosen at once; `overview` comes when they fit
        numbers, edges = peak_histogram(view.statistics, view.channel)
        with bars.hold_sync():
            bars.x, bars.y = (edges[:-1] + edges[1:]) / 2, numbers
        for name, mark in marks.items():
            values = view.samples(name)["value"] if view.channel >= 0 else np.zeros(0)
            with mark.hold_sync():
                mark.x, mark.y = values, np.zeros(len(values))
        which = f"channel {view.channel}" if view.channel >= 0 else "all channels"
        images = counted(view.statistics.images, "image")
        figure.title = f"{view.layer}, {which}: peaks of {images}"

    follow(view, figure, ["overview", "channel"], redraw)
    return figure
