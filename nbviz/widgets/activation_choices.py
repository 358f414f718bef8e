"""What can be chosen in an `ActivationBrowser`, and what is refused with a reason."""

from __future__ import annotations

from typing import Any

import traitlets

from nbviz.analysis.activations import drawable
from nbviz.analysis.colormaps import COLORMAPS
from nbviz.widgets.base import Choice, nearest
from nbviz.widgets.gathered_choices import GatheredChoices
from nbviz.widgets.picture_view import PictureView

NORMALISE = ("channel", "layer", "symmetric")
SORTS = ("index", "peak", "mean", "sparsity", "difference", "class")

_MOST_PINS = 16


class ActivationChoices(PictureView, GatheredChoices):
    """The traits of an `ActivationBrowser`."""

    CHOICES = ("layer", "channel", "unit", "image", "compared", "show", "query", "pinned", "origin")

    _heads: dict[str, int]

    layer = traitlets.Unicode().tag(sync=True)
    """Layer on show. `str`; setting an unknown one raises and names the nearest."""
    channel = traitlets.Int(-1, min=-1).tag(sync=True)
    """Channel (in attention: head) chosen; -1 (default) none."""
    unit = traitlets.List(traitlets.Int(min=0)).tag(sync=True)
    """Unit chosen, as ``[row, column]`` of the layer's grid; empty (default) for none. It keeps its
    place on the image when the layer changes."""
    compared = traitlets.Int(-1, min=-2).tag(sync=True)
    """Number of the picture to compare with (B); -1 (default) none, -2 one that was kept."""
    side = Choice(("both", "A", "B", "difference"), default_value="both").tag(sync=True)
    """What the maps show when two pictures are compared."""
    show = Choice(("maps", "attention"), default_value="maps").tag(sync=True)
    """``"maps"``, or ``"attention"`` of the nearest attention layer, by head."""
    query = traitlets.Int(-1, min=-1).tag(sync=True)
    """Token whose attention is shown; -1 (default) the first one, mostly the class token."""
    normalise = Choice(NORMALISE, default_value="channel").tag(sync=True)
    """What one colour scale spans: ``"channel"``, ``"layer"``, ``"symmetric"`` about zero."""
    colormap = Choice(("auto", *COLORMAPS), default_value="auto").tag(sync=True)
    """``"auto"`` (diverging where a layer holds negative values, else sequential), or a name."""
    sort = Choice(SORTS, default_value="index").tag(sync=True)
    """``"index"``, ``"peak"``, ``"mean"``, ``"sparsity"`` (most zeros first), ``"difference"``
    (between A and B), ``"class"`` (what answers to the predicted class more than to others)."""
    gamma = traitlets.Float(1.0, min=0.05, max=1.0).tag(sync=True)
    """Exponent on all values after scaling, to lift weak ones; 1 (default) leaves them."""
    boost = traitlets.Float(0.0, min=0.0, max=1.0).tag(sync=True)
    """How far weak channels are lifted where one scale spans the layer: 0 (default) to 1."""
    zoom = traitlets.Int(0, min=0, max=480).tag(sync=True)
    """CSS pixels that a map is wide; 0 (default) fits."""
    hide_dead = traitlets.Bool(False).tag(sync=True)
    """Leave out channels that are the same everywhere."""
    overlay = traitlets.Float(0.0, min=0.0, max=1.0).tag(sync=True)
    """Opacity of the chosen map over the picture."""
    pinned: Any = traitlets.List().tag(sync=True)
    """Channels that stay on show, as ``[layer, channel]`` pairs."""
    origin = traitlets.Dict().tag(sync=True)
    """Unit whose relations are marked on other layers: ``{"layer", "channel", "unit"}`` or {}."""
    trail = traitlets.List(traitlets.Dict()).tag(sync=True)
    """Units that were stepped back from, oldest first."""

    layers = traitlets.List(traitlets.Dict()).tag(sync=True, shown=True)
    """Read-only: the layers, as dicts for the rail."""
    maps = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: feature maps on show, packed for the browser."""
    rail = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: the strongest map of each layer, packed."""
    picture = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: the picture as the network sees it, packed."""
    prediction = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: the most probable classes."""
    pins = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: maps of `pinned`, packed."""
    trace = traitlets.Dict().tag(sync=True, shown=True)
    """Read-only: how the value of `unit` came about, packed."""

    @traitlets.observe(*CHOICES)
    def _chosen(self, change: dict[str, Any]) -> None:
        self._choose(change)

    @traitlets.validate("layer")
    def _check_layer(self, proposal: dict[str, Any]) -> str:
        name: str = proposal["value"]
        self._check_name(name)
        problem = drawable(self.network.layers[name])
        if problem is not None and name not in self._heads:
            raise traitlets.TraitError(f"layer {name!r} cannot be drawn: {problem}")
        return name

    def _check_name(self, name: str) -> None:
        names = list(self.network.layers.names)
        if name not in names:
            raise traitlets.TraitError(
                f"no layer {name!r} in {type(self.network.model).__name__}{nearest(name, names)}; "
                "`browser.network.layers` lists them"
            )

    @traitlets.validate("unit")
    def _check_pair(self, proposal: dict[str, Any]) -> list[int]:
        unit = list(proposal["value"])
        if len(unit) not in (0, 2):
            raise traitlets.TraitError(f"unit must be [row, column] or []; got {unit}")
        return unit

    @traitlets.validate("compared")
    def _check_compared(self, proposal: dict[str, Any]) -> int:
        return self._checked_number(proposal)

    @traitlets.validate("pinned")
    def _check_pinned(self, proposal: dict[str, Any]) -> list[list[Any]]:
        pins: list[tuple[str, int]] = []
        for pin in proposal["value"]:
            if not isinstance(pin, list | tuple) or len(pin) != 2 or not isinstance(pin[1], int):
                raise traitlets.TraitError(f"pinned must hold [layer, channel] pairs; got {pin!r}")
            if tuple(pin) not in pins:
                pins.append((str(pin[0]), pin[1]))
        for layer, channel in pins:
            self._check_name(layer)
            channels = self.network.layers[layer].channels or 0
            if not 0 <= channel < channels:
                raise traitlets.TraitError(
                    f"pinned holds channel {channel}, but layer {layer!r} has {channels} channels"
                )
        if len(pins) > _MOST_PINS:
            raise traitlets.TraitError(f"at most {_MOST_PINS} channels can be pinned")
        return [list(pin) for pin in pins]

    @traitlets.validate("origin")
    def _check_origin(self, proposal: dict[str, Any]) -> dict[str, Any]:
        place: dict[str, Any] = proposal["value"]
        if not place:
            return place
        unit = place.get("unit")
        known = place.get("layer") in self.network.layers.names
        if not known or not isinstance(unit, list | tuple) or len(unit) != 2:
            raise traitlets.TraitError(
                "origin must be {} or {'layer': name, 'channel': number, 'unit': [row, column]}; "
                f"got {place!r}"
            )
        return {**place, "box": self._box_of(place)}

    def _check_unit(self, rows: int, cols: int) -> None:
        if self.unit[0] >= rows or self.unit[1] >= cols:
            raise traitlets.TraitError(
                f"unit must lie within the {rows} rows and {cols} columns of layer "
                f"{self.layer!r}; got {self.unit}"
            )

    def _box_of(self, place: dict[str, Any]) -> list[int]:
        row, col = place["unit"]
        box = self.network.layers[place["layer"]].box(row, col)
        return [box.top, box.left, box.bottom, box.right]
