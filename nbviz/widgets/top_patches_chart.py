"""The chart beside a TopPatches: how strongly the images excite the channel, samples marked."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import bqplot
import numpy as np

from nbviz.widgets.top_patches_state import Group, peak_histogram

if TYPE_CHECKING:
    from nbviz.widgets.top_patches import TopPatches

_INK = "#7a8aa0"
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
    bars = bqplot.Bars(scales=scales, colors=[_INK], padding=0.05)
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
    for axis in (across, counts):
        axis.color = axis.label_color = _INK
    figure = bqplot.Figure(
        marks=[bars, *marks.values()],
        axes=[across, counts],
        legend_location="top-right",
        title_style={"font-size": "13px", "fill": _INK},
        fig_margin={"top": 36, "bottom": 48, "left": 64, "right": 16},
        layout={"width": "100%", "height": "240px", "min_width": "280px"},
    )
    # bqplot's parts live until they are closed, and must not keep view and model so long.
    view_there = weakref.ref(view)

    def redraw(change: Any = None) -> None:
        del change
        there = view_there()
        if there is None or there.channel >= there.statistics.channels:
            return  # layer and channel were chosen at once; `overview` comes when they fit
        numbers, edges = peak_histogram(there.statistics, there.channel)
        with bars.hold_sync():
            bars.x, bars.y = (edges[:-1] + edges[1:]) / 2, numbers
        for name, mark in marks.items():
            values = there.samples(name)["value"] if there.channel >= 0 else np.zeros(0)
            with mark.hold_sync():
                mark.x, mark.y = values, np.zeros(len(values))
        which = f"channel {there.channel}" if there.channel >= 0 else "all channels"
        figure.title = f"{there.layer}, {which}: peaks of {there.statistics.images} images"

    def closed(change: Any) -> None:
        if change["new"] is None:
            for part in (figure, bars, *marks.values(), across, counts, x, y):
                part.close()

    redraw()
    view.observe(redraw, names=["overview", "channel"])
    view.observe(closed, names="comm")
    return figure
