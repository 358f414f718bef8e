"""The figure of a bqplot chart beside a view: its looks, and how it follows the view and ends."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import bqplot

from nbviz.widgets.base import View

INK = "#7a8aa0"

ViewT = TypeVar("ViewT", bound=View)


def chart_figure(
    marks: Sequence[bqplot.Mark], across: bqplot.Axis, up: bqplot.Axis, **options: Any
) -> bqplot.Figure:
    """Marks over two axes, as wide as there is room for."""
    for axis in (across, up):
        axis.color = axis.label_color = INK
    return bqplot.Figure(
        marks=[*marks],
        axes=[across, up],
        title_style={"font-size": "13px", "fill": INK},
        fig_margin={"top": 36, "bottom": 48, "left": 64, "right": 16},
        layout={"width": "100%", "height": "240px", "min_width": "280px"},
        **options,
    )


def follow(
    view: ViewT, figure: bqplot.Figure, names: Sequence[str], redraw: Callable[[ViewT], None]
) -> None:
    """Redraw now and when traits of the view change; close the figure's parts with the view.

    They live until they are closed, and must not keep view and model so long: `redraw` is given the
    view and must not hold it.
    """
    there = weakref.ref(view)

    def changed(change: Any = None) -> None:
        del change
        shown = there()
        if shown is not None:
            redraw(shown)

    def closed(change: Any) -> None:
        if change["new"] is None:
            scales = [scale for mark in figure.marks for scale in mark.scales.values()]
            extra = [] if figure.interaction is None else [figure.interaction]
            for part in (figure, *figure.marks, *figure.axes, *scales, *extra):
                part.close()

    changed()
    view.observe(changed, names=[*names])
    view.observe(closed, names="comm")
