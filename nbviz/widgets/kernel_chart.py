"""The chart beside a FilterGrid: how a score is distributed, linked to the selection both ways."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import bqplot
from bqplot.interacts import BrushIntervalSelector

from nbviz.analysis.distribution import distribution, items_between
from nbviz.widgets.chart_figure import INK, chart_figure, follow

if TYPE_CHECKING:
    from nbviz.widgets.filter_grid import FilterGrid

_LABELS = {
    "noise": "Noise score (0 structured, 1 like random numbers)",
    "norm": "Norm of the kernel",
}
_SELECTED = "#d9661f"


def kernel_chart(grid: FilterGrid, score: str) -> bqplot.Figure:
    """Bars of how many kernels have which score, selected ones apart; see `FilterGrid.chart`."""
    x, y = bqplot.LinearScale(), bqplot.LinearScale(min=0)
    bars = bqplot.Bars(
        scales={"x": x, "y": y}, type="stacked", colors=[INK, _SELECTED], padding=0.1
    )
    across = bqplot.Axis(scale=x, label=_LABELS[score], grid_lines="none", num_ticks=6)
    counts = bqplot.Axis(scale=y, orientation="vertical", label="kernels", tick_format="d")
    if score == "noise":
        x.min, x.max = 0.0, 1.0
        across.tick_values, across.tick_format = [0, 0.25, 0.5, 0.75, 1], ".2f"
    brush = BrushIntervalSelector(scale=x, marks=[bars], color=_SELECTED)
    figure = chart_figure([bars], across, counts, interaction=brush)
    grid_there = weakref.ref(grid)

    def redraw(grid: FilterGrid) -> None:
        scores = getattr(grid.scores, score)
        chosen = [output for output in grid.selected if output < len(scores)]
        counted = distribution(scores, chosen, span=(0, 1) if score == "noise" else None)
        with bars.hold_sync():
            bars.x = (counted.edges[:-1] + counted.edges[1:]) / 2
            bars.y = [counted.others, counted.chosen]
        counts.tick_values = counted.ticks
        if counted.uncounted == len(scores):
            figure.title = "No kernel of this layer can be judged"
        else:
            left_out = f" ({counted.uncounted} cannot be judged)" if counted.uncounted else ""
            figure.title = f"Drag across the bars to select; selected in orange{left_out}"

    def brushed(change: Any) -> None:
        there, span = grid_there(), change["new"]
        if there is not None and span is not None and len(span) == 2:
            low, high = sorted(float(edge) for edge in span)
            there.selected = items_between(getattr(there.scores, score), low, high)

    follow(grid, figure, ["kernels", "selected"], redraw)
    brush.observe(brushed, names="selected")
    return figure
