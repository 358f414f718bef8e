"""The chart beside a FilterGrid: how a score is distributed, linked to the selection both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bqplot
from bqplot.interacts import BrushIntervalSelector

from nbviz.analysis.distribution import distribution, items_between

if TYPE_CHECKING:
    from nbviz.widgets.filter_grid import FilterGrid

_TITLES = {
    "noise": "Noise score (0 structured, 1 like random numbers)",
    "norm": "Norm of the kernel",
}


def kernel_chart(grid: FilterGrid, score: str) -> bqplot.Figure:
    """Bars of how many kernels have which score, selected ones apart; see `FilterGrid.chart`."""
    x, y = bqplot.LinearScale(), bqplot.LinearScale(min=0)
    bars = bqplot.Bars(
        scales={"x": x, "y": y},
        type="stacked",
        colors=["#7a8aa0", "#d9661f"],
        labels=["other kernels", "selected"],
        display_legend=True,
        padding=0.1,
    )
    counts = bqplot.Axis(scale=y, orientation="vertical", label="kernels", tick_format="d")
    brush = BrushIntervalSelector(scale=x, marks=[bars], color="#d9661f")
    figure = bqplot.Figure(
        marks=[bars],
        axes=[
            bqplot.Axis(scale=x, label=_TITLES[score], grid_lines="none", num_ticks=6),
            counts,
        ],
        interaction=brush,
        legend_location="top-right",
        title="Drag across the bars to select",
        title_style={"font-size": "13px"},
        fig_margin={"top": 36, "bottom": 48, "left": 56, "right": 16},
        layout={"width": "100%", "height": "240px", "min_width": "280px"},
    )

    def redraw(change: Any = None) -> None:
        del change
        scores = getattr(grid.scores, score)
        chosen = [output for output in grid.selected if output < len(scores)]
        counted = distribution(scores, chosen)
        with bars.hold_sync():
            bars.x = (counted.edges[:-1] + counted.edges[1:]) / 2
            bars.y = [counted.others, counted.chosen]
        counts.tick_values = counted.ticks

    def brushed(change: Any) -> None:
        span = change["new"]
        if span is not None and len(span) == 2:
            low, high = sorted(float(edge) for edge in span)
            grid.selected = items_between(getattr(grid.scores, score), low, high)

    redraw()
    grid.observe(redraw, names=["kernels", "selected"])
    brush.observe(brushed, names="selected")
    return figure
