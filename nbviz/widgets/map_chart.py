"""The chart beside an ActivationBrowser: how the values of the chosen channel are distributed."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import bqplot

from nbviz.analysis.distribution import distribution

if TYPE_CHECKING:
    from nbviz.widgets.activation_browser import ActivationBrowser

_INK = "#7a8aa0"


def map_chart(browser: ActivationBrowser) -> bqplot.Figure:
    """Bars of how many units of the chosen channel have which value; see `chart` there."""
    x, y = bqplot.LinearScale(), bqplot.LinearScale(min=0)
    bars = bqplot.Bars(scales={"x": x, "y": y}, colors=[_INK], padding=0.05)
    across = bqplot.Axis(scale=x, label="activation", grid_lines="none", num_ticks=6)
    counts = bqplot.Axis(scale=y, orientation="vertical", label="units", tick_format="d")
    for axis in (across, counts):
        axis.color = axis.label_color = _INK
    figure = bqplot.Figure(
        marks=[bars],
        axes=[across, counts],
        title_style={"font-size": "13px", "fill": _INK},
        fig_margin={"top": 36, "bottom": 48, "left": 64, "right": 16},
        layout={"width": "100%", "height": "240px", "min_width": "280px"},
    )
    # bqplot's parts live until they are closed, and must not keep browser and model so long.
    browser_there = weakref.ref(browser)

    def redraw(change: Any = None) -> None:
        del change
        there = browser_there()
        if there is None:
            return
        activation = there.activation
        channel = there.channel
        if channel >= len(activation.maps):
            return  # the view chose layer and channel at once; `maps` comes when they fit
        if channel < 0:
            values, title = activation.maps.ravel(), f"All channels of {there.layer}"
        else:
            values, title = activation.maps[channel].ravel(), f"{there.layer}, channel {channel}"
        counted = distribution(values, [])
        with bars.hold_sync():
            bars.x = (counted.edges[:-1] + counted.edges[1:]) / 2
            bars.y = counted.others
        counts.tick_values = counted.ticks
        left_out = f" ({counted.uncounted} are no numbers)" if counted.uncounted else ""
        figure.title = f"{title}: {len(values)} units{left_out}"

    def closed(change: Any) -> None:
        if change["new"] is None:
            for part in (figure, bars, across, counts, x, y):
                part.close()

    redraw()
    browser.observe(redraw, names=["maps", "channel"])
    browser.observe(closed, names="comm")
    return figure
