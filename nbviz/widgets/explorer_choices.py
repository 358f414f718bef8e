"""What can be chosen in an `Explorer`, and what is refused with a reason."""

from __future__ import annotations

from typing import Any

import traitlets

from nbviz.network import Network
from nbviz.widgets.base import View, nearest
from nbviz.widgets.explorer_panes import PANES, Pictures

MOST_COLUMNS = 3


class ExplorerChoices(View):
    """The traits of an `Explorer`."""

    network: Network
    _pictures: Pictures | None
    _adopting: bool
    # Whether layer, channel and unit come together, and fit.

    panes: Any = traitlets.List(traitlets.Unicode(), [*PANES]).tag(sync=True)
    """Panes that are open, in order: ``"filters"``, ``"activations"``, ``"occlusion"``,
    ``"patches"``, ``"map"``. All by default."""
    columns = traitlets.Int(0, min=0, max=MOST_COLUMNS).tag(sync=True)
    """Columns that panes stand in, 1 to 3; 0 (default) as many as fit. Fewer where there is no
    room."""
    layer = traitlets.Unicode().tag(sync=True)
    """Layer that all panes show which have it. `str`; setting an unknown one raises and names the
    nearest."""
    channel = traitlets.Int(-1, min=-1).tag(sync=True)
    """Channel of `layer`; -1 (default) for none."""
    unit = traitlets.List(traitlets.Int(min=0)).tag(sync=True)
    """Unit of `channel`, as ``[row, column]``; empty (default) for none. It keeps its place on the
    image when the layer changes."""
    image = traitlets.Int(0, min=-1).tag(sync=True)
    """Number of the image in the data set; -1 for none."""

    titles = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: headings of all panes, by name."""
    children = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: views of the panes that were made, as references for the browser."""
    lacking = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: why a pane cannot be, and the line of Python that helps."""
    chosen: Any = traitlets.List().tag(sync=True, shown=True)
    """Read-only: what is chosen in all panes, in words, as ``[what, which]``."""

    @traitlets.validate("panes")
    def _check_panes(self, proposal: dict[str, Any]) -> list[str]:
        names: list[str] = list(proposal["value"])
        for place, name in enumerate(names):
            if name not in PANES:
                raise traitlets.TraitError(
                    f"panes must be of {', '.join(map(repr, PANES))}; got {name!r}"
                    f"{nearest(name, [*PANES])}"
                )
            if name in names[:place]:
                raise traitlets.TraitError(f"panes must name each once; got {name!r} twice")
        return names

    @traitlets.validate("layer")
    def _check_layer(self, proposal: dict[str, Any]) -> str:
        name: str = proposal["value"]
        names = list(self.network.layers.names)
        if name not in names:
            raise traitlets.TraitError(
                f"no layer {name!r} in {type(self.network.model).__name__}{nearest(name, names)}; "
                "`explorer.network.layers` lists them"
            )
        return name

    @traitlets.validate("channel")
    def _check_channel(self, proposal: dict[str, Any]) -> int:
        channel: int = proposal["value"]
        channels = self._channels()
        if channel >= channels:
            raise traitlets.TraitError(
                f"channel must be below {channels} for layer {self.layer!r}; got {channel}"
            )
        return channel

    def _channels(self) -> int:
        if self.layer not in self.network.layers.names:
            return 0  # of choices that come at once, the layer may be about to be refused
        return self.network.layers[self.layer].channels or 1

    def _grid(self, layer: str) -> tuple[int, int]:
        if layer not in self.network.layers.names:
            return 1, 1
        return self.network.layers[layer].grid or (1, 1)

    @traitlets.validate("unit")
    def _check_unit(self, proposal: dict[str, Any]) -> list[int]:
        unit: list[int] = list(proposal["value"])
        rows, cols = self._grid(self.layer)
        if unit and (len(unit) != 2 or unit[0] >= rows or unit[1] >= cols):
            raise traitlets.TraitError(
                f"unit must be [row, column] within the {rows} rows and {cols} columns of layer "
                f"{self.layer!r}, or []; got {unit}"
            )
        return unit

    @traitlets.validate("image")
    def _check_image(self, proposal: dict[str, Any]) -> int:
        number: int = proposal["value"]
        count = 0 if self._pictures is None else len(self._pictures)
        if number >= count:
            there = f"at most {count - 1}" if count else "but there is no data set: image is -1"
            raise traitlets.TraitError(
                f"image must be the number of a picture, {there}; got {number}"
            )
        return number

    @traitlets.observe("layer")
    def _keep_place(self, change: dict[str, Any]) -> None:
        """Keep channel and unit where the new layer has them too."""
        if self._adopting:
            return
        if self.channel >= self._channels():
            self.channel = -1
        if len(self.unit) == 2:
            (rows, cols), (before_rows, before_cols) = map(
                self._grid, (change["new"], change["old"])
            )
            row, col = self.unit
            place = (
                min(rows - 1, int((row + 0.5) / before_rows * rows)),
                min(cols - 1, int((col + 0.5) / before_cols * cols)),
            )
            if row >= rows or col >= cols or (rows, cols) != (before_rows, before_cols):
                self.unit = list(place)
