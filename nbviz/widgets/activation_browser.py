"""ActivationBrowser: what every layer answers to a picture, live, down to one unit."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets
from torch import Tensor, nn

from nbviz.analysis.activation_store import ActivationStore, ForwardPass
from nbviz.analysis.activations import Activation, drawable
from nbviz.analysis.attention import attention_layers
from nbviz.analysis.class_means import ClassMeans, class_means
from nbviz.analysis.head_maps import HeadMaps, head_maps
from nbviz.analysis.input_picture import input_picture
from nbviz.analysis.map_pictures import activation_sheet
from nbviz.analysis.unit_trace import UnitTrace, unit_trace
from nbviz.network import Network
from nbviz.widgets import activation_state as state
from nbviz.widgets import wire
from nbviz.widgets.activation_choices import ActivationChoices
from nbviz.widgets.base import answers, bundle
from nbviz.widgets.sliced_work import SlicedWork
from nbviz.widgets.trace_state import trace_state

if TYPE_CHECKING:
    import bqplot


_AVERAGES_KEPT = 8
# A channel or a unit is chosen among the maps that are there.
_MAPS_DEPEND_ON = {"layer", "image", "compared", "show", "query", "origin"}
# Of a camera, what costs more than a frame is made anew so often only, in seconds.
_REST = 1.0


class ActivationBrowser(ActivationChoices):
    """What every layer of a network answers to a picture.

    Parameters
    ----------
    network : Network or nn.Module
        Its input is an image: (channels, height, width).
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
            self._wished = {"maps": -1, "attention": -1}
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
            self._update({*self.CHOICES}, {})

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

    def _held(self) -> Any:
        return [*self._passes], [*self._numbers], self._place, dict(self._wished), self._source

    def _put_back(self, held: Any) -> None:
        self._passes, self._numbers, self._place, self._wished, self._source = held

    def _bring(self, changed: set[str]) -> None:
        self._settle(changed)
        if "image" in changed and self.image >= 0:
            batch = self.network.prepare(self._pictures.picture(self.image))
            self._look(batch, "dataset", overview=True)
        if {"image", "compared"} & changed:
            self._compare()
        self._refresh(changed)

    def _settle(self, changed: set[str]) -> None:
        """Bring layer, channel and unit to what can be shown, at the same place of the image."""
        layer = self._layer_to_show(changed)
        if layer != self.layer:
            self.layer = layer
            changed.add("layer")
        entry = self.network.layers[layer]
        rows, cols = entry.grid or (1, 1)
        attending = self.show == "attention"
        if "channel" in changed:
            self._wished[self.show] = self.channel
        if "unit" in changed and len(self.unit) == 2:
            self._check_unit(rows, cols)
            self._place = ((self.unit[0] + 0.5) / rows, (self.unit[1] + 0.5) / cols)
        elif "unit" in changed:
            self._place = None
        elif {"layer", "show"} & changed and self._place is not None and not attending:
            self.unit = [int(self._place[0] * rows), int(self._place[1] * cols)]
        if {"layer", "channel", "show"} & changed:
            # a rollout follows the heads
            most = self._heads[layer] + 1 if attending else entry.channels or 1
            if self.channel >= most and not {"layer", "show"} & changed:
                raise traitlets.TraitError(
                    f"channel must be below {most} for layer {layer!r}; got {self.channel}"
                )
            self.channel = min(self._wished[self.show], most - 1)

    def _layer_to_show(self, changed: set[str]) -> str:
        """The layer on show, or the nearest that has what is to be shown."""
        layers = self.network.layers  # once: each look at it checks the model's structure
        names = layers.names
        here = names.index(self.layer)
        drawn = [drawable(entry) is None for entry in layers]
        if self.show == "maps" and not drawn[here] and "show" not in changed:
            self.show = "attention"  # all that such a layer has
            changed.add("show")
        maps = self.show == "maps"
        near = [i for i, name in enumerate(names) if (drawn[i] if maps else name in self._heads)]
        if not near:
            raise traitlets.TraitError(
                f"show='attention' needs a layer that attends, and "
                f"{type(self.network.model).__name__} has none; use show='maps'"
            )
        if here in near:
            return self.layer
        backwards = bool(self.maps) and here < names.index(self.maps["layer"])
        sides = [i for i in near if i < here][::-1], [i for i in near if i > here]
        first, second = sides if backwards else sides[::-1]
        return names[(first or second)[0]]

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
        if self.compared == -1:
            del self._passes[1:], self._numbers[1:]
            return
        if self.compared == -2:
            if self._kept is None:
                raise traitlets.TraitError("compared=-2 is the picture kept by keep(); none was")
            forward = self._kept
        else:
            batch = self.network.prepare(self._pictures.picture(self.compared))
            forward = self._store.forward(batch, overview=False)
        self._counter += 1
        self._passes[1:], self._numbers[1:] = [forward], [self._counter]

    def _refresh(self, changed: set[str], *, rest: bool = False) -> None:
        """Work out all that changed first, then show it at once."""
        pictures = bool({"image", "compared"} & changed)
        shown: dict[str, Any] = {}
        if _MAPS_DEPEND_ON & changed:
            shown["maps"] = self._maps_state()
        if pictures:
            number = self._numbers[0]
            shown["picture"] = state.picture_state(self.network, self._passes, number)
            shown["prediction"] = state.prediction_state(self.network, self._passes)
            shown["inputs"] = self._inputs_state()
            if self._passes[0].overview:
                shown["rail"] = state.rail_state(self.network, self._passes[0], number)
        if pictures or "pinned" in changed:
            shown["pins"] = self._pins_state()
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
            asked=self._asked(),
            related=state.related(self.network, self.layer, self.origin) if self.origin else None,
        )

    def _asked(self) -> dict[str, int]:
        """The choices that the maps answer to, so that a view sees which it still waits for."""
        return {"image": self.image, "compared": self.compared, "asked": self.query}

    def _attention_state(self) -> dict[str, Any]:
        key = (self.layer, *self._numbers)
        if self._attended[0] != key:
            heads = [head_maps(self.network, each.batch, self.layer) for each in self._passes]
            self._attended = (key, heads)
        heads = self._attended[1]
        query, queries = max(0, self.query), heads[0].maps.attention.queries
        if query >= queries:
            raise traitlets.TraitError(
                f"query must be below {queries}, the tokens of layer {self.layer!r}; got {query}"
            )
        return state.attention_state(heads, query, pictures=self._numbers, asked=self._asked())

    def _trace_state(self) -> dict[str, Any]:
        if self.channel < 0 or len(self.unit) != 2 or self.show == "attention":
            return {}
        return trace_state(self.explain())

    def _pins_state(self) -> dict[str, Any]:
        pins = [(self._passes[0].activation(layer), channel) for layer, channel in self.pinned]
        return state.pins_state(pins)

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
            # A channel of a layer that is no longer on show: nothing of it is left to tell.
            known = channel < len(laid[0])
            pairs = zip("ab", laid, strict=False)
            arrays = {side: each[channel] for side, each in pairs if known}
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
                while len(self._class_means) >= _AVERAGES_KEPT:
                    del self._class_means[next(iter(self._class_means))]
                self._class_means[layer] = SlicedWork(self._averaging(layer))
            try:
                latest = self._class_means[layer].go_on()
            except BaseException:
                del self._class_means[layer]
                raise
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
        logits = self.logits
        count = 0 if logits is None else len(logits)
        found = zip(*self._pictures.numbers_by_class(), strict=True)
        known = [(number, label) for number, label in found if 0 <= label < count]
        if not known:
            raise ValueError(
                "a class difference needs a classifier, and pictures whose labels are class "
                "numbers; pass labels=[...] with one number a picture"
            )
        numbers, labels = zip(*known, strict=True)
        chosen = self._pictures.subset(numbers)
        return class_means(self.network, layer, chosen, labels, classes=count)
