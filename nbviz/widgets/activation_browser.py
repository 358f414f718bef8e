"""ActivationBrowser: what every layer answers to a picture, live, down to one unit."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets
from torch import Tensor, nn

from nbviz.analysis.activation_store import ActivationStore, ForwardPass
from nbviz.analysis.activations import Activation, drawable
from nbviz.analysis.attention import attention_layers
from nbviz.analysis.class_means import ClassMeans, class_means
from nbviz.analysis.colormaps import COLORMAPS
from nbviz.analysis.head_maps import HeadMaps, head_maps
from nbviz.analysis.input_picture import input_picture
from nbviz.analysis.map_pictures import activation_sheet
from nbviz.analysis.unit_trace import UnitTrace, unit_trace
from nbviz.network import Network
from nbviz.widgets import activation_state as state
from nbviz.widgets import wire
from nbviz.widgets.base import Choice, answers, bundle, message_of, nearest
from nbviz.widgets.picture_view import PictureView
from nbviz.widgets.sliced_work import SlicedWork
from nbviz.widgets.trace_state import trace_state

if TYPE_CHECKING:
    import bqplot

NORMALISE = ("channel", "layer", "symmetric")
SORTS = ("index", "peak", "mean", "sparsity", "difference", "class")

_CHOICES = ("layer", "channel", "unit", "image", "compared", "show", "query", "pinned", "origin")
_MOST_PINS = 16
# Of a camera, what costs more than a frame is made anew so often only, in seconds.
_REST = 1.0


class ActivationBrowser(PictureView):
    """What every layer of a network answers to a picture.

    Parameters
    ----------
    network : Network or nn.Module
    pictures : picture or pictures, optional
        One picture, or a data set of them to slide through; see `nbviz.picture_set.PictureSet`.
        A black picture when None: draw, open a file or use the camera in the view.
    labels : sequence of int or str, optional
        One a picture; class numbers allow sorting by what a class excites.
    max_bytes : int, default 256 MiB
        Most bytes of feature maps that are kept; others are computed again when asked for.
    **traits
        Initial values of `layer`, `sort`, `normalise`, and the other choices.

    Raises
    ------
    ValueError
        If the network has no layer that can be drawn, or `image` holds no picture.
    TypeError
        For an argument that does not exist (the nearest is named).

    Examples
    --------
    >>> import nbviz
    >>> network, images, labels, classes = nbviz.demos.digits()
    >>> browser = nbviz.ActivationBrowser(network, images, labels=labels)
    >>> browser.layer = network.layers.names[1]
    >>> browser.activation.maps.shape[0] == network.layers[1].channels
    True
    >>> browser  # doctest: +SKIP
    """

    _esm = bundle("activation-browser")

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

    def __init__(
        self,
        network: Network | nn.Module,
        pictures: Any = None,
        *,
        labels: Sequence[Any] | None = None,
        max_bytes: int = 256 * 2**20,
        **traits: Any,
    ) -> None:
        if pictures is None and not isinstance(traits.get("image", 0), int):
            pictures = traits.pop("image")
        self._open_pictures(network, pictures, labels)
        with self.network.lock:
            self._store = ActivationStore(self.network, max_bytes=max_bytes)
            self._passes: list[ForwardPass] = []
            self._kept: ForwardPass | None = None
            self._counter = 0
            self._numbers: list[int] = []
            self._place: tuple[float, float] | None = None
            self._wished = -1
            self._rested = 0.0
            self._attended: tuple[tuple[Any, ...], list[HeadMaps]] = ((), [])
            self._class_means: dict[str, SlicedWork[ClassMeans]] = {}
            self._heads = {entry.name: entry.heads for entry in attention_layers(self.network)}
            names = [entry.name for entry in self.network.layers if drawable(entry) is None]
            if not names:
                raise ValueError(
                    f"no layer of {type(self.network.model).__name__} can be drawn; "
                    "`network.layers` lists what it has"
                )
            self._gathered: set[str] | None = set()
            super().__init__(**{"layer": names[0], **traits})
            self._gathered = None
            self.layers = state.layer_table(self.network, self._heads)
            self._update({"image", *_CHOICES})

    @property
    def activation(self) -> Activation:
        """What the layer on show answers to picture A, exactly."""
        with self.network.lock:
            return self._passes[0].activation(self.layer)

    @property
    def logits(self) -> np.ndarray | None:
        """Logits for picture A, float32, shape (classes,); None where the model gives none."""
        return self._passes[0].logits

    def keep(self) -> None:
        """Keep the picture on show as B, to compare with what is shown next."""
        with self.network.lock:
            self._kept = self._passes[0]
            self.compared = self.image if self.image >= 0 else -2

    def explain(self) -> UnitTrace:
        """How the value of the chosen unit came about.

        Raises
        ------
        ValueError
            If no unit is chosen.
        """
        if self.channel < 0 or len(self.unit) != 2:
            raise ValueError("no unit is chosen; set `channel` and `unit` first")
        with self.network.lock:
            place = (self.channel, self.unit[0], self.unit[1])
            return unit_trace(self.network, self._passes[0].batch, self.layer, place)

    def chart(self) -> bqplot.Figure:
        """A bqplot histogram of the values of the chosen channel, which follows every choice.

        Examples
        --------
        >>> ipywidgets.VBox([browser, browser.chart()])  # doctest: +SKIP
        """
        # bqplot takes long to import, and most browsers are shown without a chart.
        from nbviz.widgets.map_chart import map_chart

        return map_chart(self)

    def still(self) -> np.ndarray:
        """The picture beside the maps on show; of many the first 60."""
        with self.network.lock:
            picture = input_picture(self.network, self._passes[0].batch).pixels
            return activation_sheet(self.activation, picture, normalise=self.normalise)

    def still_caption(self) -> str:
        """One sentence: which layer of what answers to what."""
        entry = self.network.layers[self.layer]
        top = self.prediction.get("top") or [[]]
        guess = f", taken for {top[0][0]['name']}" if top[0] else ""
        return (
            f"{entry.channels} feature maps of layer {self.layer!r} of "
            f"{type(self.network.model).__name__} for a picture{guess}."
        )

    # From here on: what keeps choices, passes and the browser together.

    @contextmanager
    def _gathering(self) -> Iterator[set[str]]:
        """Collect the choices that change in the block instead of acting on each."""
        before, self._gathered = self._gathered, set()
        try:
            yield self._gathered
        finally:
            self._gathered = before

    @traitlets.observe(*_CHOICES)
    def _chosen(self, change: dict[str, Any]) -> None:
        if self._gathered is not None:
            self._gathered.add(change["name"])
            return
        try:
            self._update({change["name"]})
        except BaseException:
            # What cannot be shown is not chosen either.
            with self._gathering():
                setattr(self, change["name"], change["old"])
            raise

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take what the browser set, all of it at once; a failure is said in the view."""
        with self.network.lock:
            with self._gathering() as changed:
                super().set_state(sync_data)
            if not changed:
                return
            try:
                self._update(changed)
            except Exception as error:  # noqa: BLE001 - whatever it is, the person shall read it
                self.problem = message_of(error)
            else:
                self.problem = ""

    def _update(self, changed: set[str]) -> None:
        """Bring everything shown in line with what changed; nothing is shown if any of it fails."""
        with self.network.lock, self._gathering():
            self._settle(changed)
            if "image" in changed and self.image >= 0:
                batch = self.network.prepare(self._pictures.picture(self.image))
                self._look(batch, "dataset", overview=True)
            if {"image", "compared"} & changed:
                self._compare()
            self._refresh(changed)

    def _settle(self, changed: set[str]) -> None:
        """Bring channel and unit to what the layer has, at the same place of the image."""
        if {"layer", "show"} & changed and self.show == "attention":
            self.layer = self._attention_layer()
        layer = self.network.layers[self.layer]
        rows, cols = layer.grid or (1, 1)
        if "channel" in changed:
            self._wished = self.channel
        if "unit" in changed and len(self.unit) == 2:
            self._check_unit(rows, cols)
            self._place = ((self.unit[0] + 0.5) / rows, (self.unit[1] + 0.5) / cols)
        elif "unit" in changed:
            self._place = None
        elif "layer" in changed and self._place is not None:
            self.unit = [int(self._place[0] * rows), int(self._place[1] * cols)]
        if {"layer", "channel"} & changed:
            self.channel = min(self._wished, (layer.channels or 1) - 1)

    def _check_unit(self, rows: int, cols: int) -> None:
        if self.unit[0] >= rows or self.unit[1] >= cols:
            raise traitlets.TraitError(
                f"unit must lie within the {rows} rows and {cols} columns of layer "
                f"{self.layer!r}; got {self.unit}"
            )

    def _attention_layer(self) -> str:
        """The layer on show if it attends, else the next that does, else the last before."""
        if not self._heads:
            raise traitlets.TraitError(
                f"show='attention' needs a layer that attends, and "
                f"{type(self.network.model).__name__} has none; use show='maps'"
            )
        names = self.network.layers.names
        here = names.index(self.layer)
        after = [name for name in names[here:] if name in self._heads]
        before = [name for name in names[:here] if name in self._heads]
        return after[0] if after else before[-1]

    def _take(self, batch: Tensor, source: str, *, live: bool) -> None:
        with self._gathering():
            now = time.monotonic()
            rest = live and now - self._rested < _REST
            self._look(batch, source, overview=not rest)
            if not rest:
                self._rested = now
            self.image = -1
            self._refresh({"image"}, rest=rest)
            self.problem = ""

    def _look(self, batch: Tensor, source: str, *, overview: bool) -> None:
        keep = None if overview else [self.layer, *(layer for layer, _ in self.pinned)]
        forward = self._store.forward(batch, keep=keep, overview=overview)
        self._passes[:1] = [forward]
        self._counter += 1
        self._numbers[:1] = [self._counter]
        self._source = source

    def _compare(self) -> None:
        """See to it that B is what `compared` says."""
        del self._passes[1:], self._numbers[1:]
        if self.compared == -1:
            return
        if self.compared == -2:
            if self._kept is None:
                raise traitlets.TraitError("compared=-2 is the picture kept by keep(); none was")
            forward = self._kept
        else:
            batch = self.network.prepare(self._pictures.picture(self.compared))
            forward = self._store.forward(batch, overview=False)
        self._passes.append(forward)
        self._counter += 1
        self._numbers.append(self._counter)

    def _refresh(self, changed: set[str], *, rest: bool = False) -> None:
        """Work out all that changed first, then show it at once."""
        pictures = bool({"image", "compared"} & changed)
        shown: dict[str, Any] = {"maps": self._maps_state()}
        if pictures:
            number = self._numbers[0]
            shown["picture"] = state.picture_state(self.network, self._passes, number)
            shown["prediction"] = state.prediction_state(self.network, self._passes)
            shown["inputs"] = self._inputs_state()
            if self._passes[0].overview:
                shown["rail"] = state.rail_state(self.network, self._passes[0], number)
        if pictures or "pinned" in changed:
            shown["pins"] = self._pins_state()
        if "origin" in changed and self.origin:
            box = self._box_of(self.origin)
            shown["origin"] = {**self.origin, "box": box}
        if not rest and {"layer", "channel", "unit", "image", "show"} & changed:
            shown["trace"] = self._trace_state()
        with self.hold_sync():
            for name, value in shown.items():
                setattr(self, name, value)

    def _maps_state(self) -> dict[str, Any]:
        if self.show == "attention":
            return self._attention_state()
        activations = [forward.activation(self.layer) for forward in self._passes]
        classes = self.network.classes or ()
        last = self.network.layers[-1].name == self.layer
        named = last and len(classes) == activations[0].layer.channels
        return state.maps_state(
            activations,
            labels=classes if named else (),
            pictures=self._numbers,
            related=state.related(self.network, self.layer, self.origin) if self.origin else None,
        )

    def _attention_state(self) -> dict[str, Any]:
        key = (self.layer, *self._numbers)
        if self._attended[0] != key:
            heads = [head_maps(self.network, each.batch, self.layer) for each in self._passes]
            self._attended = (key, heads)
        heads = self._attended[1]
        query = min(max(0, self.query), heads[0].maps.attention.queries - 1)
        return state.attention_state(heads, query, pictures=self._numbers)

    def _trace_state(self) -> dict[str, Any]:
        if self.channel < 0 or len(self.unit) != 2 or self.show == "attention":
            return {}
        return trace_state(self.explain())

    def _pins_state(self) -> dict[str, Any]:
        pins = [(self._passes[0].activation(layer), channel) for layer, channel in self.pinned]
        return state.pins_state(pins)

    def _box_of(self, place: dict[str, Any]) -> list[int]:
        row, col = place["unit"]
        box = self.network.layers[place["layer"]].box(row, col)
        return [box.top, box.left, box.bottom, box.right]

    @traitlets.validate("layer")
    def _check_layer(self, proposal: dict[str, Any]) -> str:
        name: str = proposal["value"]
        names = list(self.network.layers.names)
        if name not in names:
            raise traitlets.TraitError(
                f"no layer {name!r} in {type(self.network.model).__name__}{nearest(name, names)}; "
                "`browser.network.layers` lists them"
            )
        problem = drawable(self.network.layers[name])
        if problem is not None:
            raise traitlets.TraitError(f"layer {name!r} cannot be drawn: {problem}")
        return name

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
        pins: list[tuple[str, int]] = [(str(pin[0]), int(pin[1])) for pin in proposal["value"]]
        for layer, channel in pins:
            channels = self.network.layers[layer].channels or 0
            if not 0 <= channel < channels:
                raise traitlets.TraitError(
                    f"pinned holds channel {channel}, but layer {layer!r} has {channels} channels"
                )
        if len(pins) > _MOST_PINS:
            raise traitlets.TraitError(f"at most {_MOST_PINS} channels can be pinned")
        return [list(pin) for pin in pins]

    @answers("map")
    def _exact_map(self, channel: int, **asked: Any) -> dict[str, Any]:
        """Exact float32 maps of one channel of what is on show, for the lens."""
        del asked
        with self.network.lock:
            shown = {name: self.maps[name] for name in ("layer", "kind", "query", "pictures")}
            if shown["kind"] == "attention":
                laid = [each.of_token(shown["query"])[0] for each in self._attended[1]]
            else:
                laid = [each.activation(shown["layer"]).maps for each in self._passes]
            arrays = {side: each[channel] for side, each in zip("ab", laid, strict=False)}
        return wire.pack(arrays, of={**shown, "channel": channel})

    @answers("keep")
    def _answer_keep(self, **asked: Any) -> dict[str, Any]:
        del asked
        self.keep()
        return wire.pack({})

    @answers("class_difference")
    def _class_difference(self, layer: str, index: int, **asked: Any) -> dict[str, Any]:
        """A slice of the work on how much channels answer to one class more than to others."""
        del asked
        with self.network.lock:
            if layer not in self._class_means:
                self._class_means[layer] = SlicedWork(self._averaging(layer))
            latest = self._class_means[layer].go_on()
        of = int(latest.counts[index])
        return wire.pack(
            {"difference": latest.difference(index)},
            done=latest.done,
            total=latest.total,
            of=of,
            others=int(latest.counts.sum()) - of,
            name=self.network.classes[index] if self.network.classes else f"class {index}",
        )

    def _averaging(self, layer: str) -> Iterator[ClassMeans]:
        numbers, labels = self._pictures.numbers_by_class()
        logits = self.logits
        if logits is None or not numbers:
            raise ValueError(
                "a class difference needs a classifier, and pictures whose labels are class "
                "numbers; pass labels=[...] with one number a picture"
            )
        chosen = self._pictures.subset(numbers)
        return class_means(self.network, layer, chosen, labels, classes=len(logits))
