"""The chart beside an ActivationBrowser: how the values of the chosen channel are distributed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bqplot

from nbviz.analysis.distribution import distribution
from nbviz.widgets.chart_figure import INK, chart_figure, follow

if TYPE_CHECKING:
    from nbviz.widgets.activation_browser import ActivationBrowser


def map_chart(browser: ActivationBrowser) -> bqplot.Figure:
    """Bars of how many units of the chosen channel have which value; see `chart` there."""
    x, y = bqplot.LinearScale(), bqplot.LinearScale(min=0)
    bars = bqplot.Bars(scales={"x": x, "y": y}, colors=[INK], padding=0.05)
    across = bqplot.Axis(scale=x, label="activation", grid_lines="none", num_ticks=6)
    counts = bqplot.Axis(scale=y, orientation="vertical", label="units", tick_format="d")
    figure = chart_figure([bars], across, counts)

    def redraw(browser: ActivationBrowser) -> None:
        activation = browser.activation
        channel = browser.channel
        if channel >= len(activation.maps):
            return  # the view chose layer and channel at once; `maps` comes when they fit
        if channel < 0:
            values, title = activation.maps.ravel(), f"All channels of {browser.layer}"
        else:
            values, title = activation.maps[channel].ravel(), f"{browser.layer}, channel {channel}"
        counted = distribution(values, [])
        with bars.hold_sync():
            bars.x = (counted.edges[:-1] + counted.edges[1:]) / 2
            bars.y = counted.others
        counts.tick_values = counted.ticks
        left_out = f" ({counted.uncounted} are no numbers)" if counted.uncounted else ""
        figure.title = f"{title}: {len(values)} units{left_out}"

    follow(browser, figure, ["maps", "channel"], redraw)
    return figure
