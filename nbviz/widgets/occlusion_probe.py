"""OcclusionProbe: cover a part of the picture, and see what the network takes it for then."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from nbviz.analysis import receptive_field
from nbviz.analysis.masked_inference import MAX_BYTES
from nbviz.analysis.occlusion import OcclusionMap
from nbviz.analysis.occlusion_evidence import Evidence, evidence
from nbviz.network import Network
from nbviz.widgets import occlusion_state as state
from nbviz.widgets import wire
from nbviz.widgets.base import answers, bundle
from nbviz.widgets.mask_states import Box, boxes_of, known_boxes
from nbviz.widgets.occlusion_answers import OcclusionAnswers
from nbviz.widgets.occlusion_print import ProbePrint, probe_page
from nbviz.widgets.printed_page import Layout, PrintedView
from nbviz.widgets.sliced_work import SLICE

if TYPE_CHECKING:
    import bqplot

_REGIONS = 5


class OcclusionProbe(OcclusionAnswers, PrintedView):
    """Masks that are dragged over a picture, and the network's confidence, at once.

    Parameters
    ----------
    network : Network or nn.Module
        A classifier whose input is an image: (channels, height, width).
    pictures : picture or pictures, optional
        One picture, or a data set of them to slide through; see `nbviz.picture_set.PictureSet`.
        A black picture when None: draw, open a file or use the camera in the view.
    target : int or str, optional
        Class whose confidence is looked at, by number or name; by default what the network takes
        the picture for.
    labels : sequence of int or str, optional
        One a picture.
    boxes : array of int or sequence, optional
        Known boxes, (left, top, right, bottom) in pixels of the network's input, as
        `nbviz.demos.Demo.badges` has them: one a picture, four times -1 (or None) for none.
    max_bytes : int
        Bound of the memory for a batch of masked pictures and for what is kept of the unmasked one.
    **traits
        Initial values of `masks`, `size`, `stride`, `fill`, and the other choices.

    Raises
    ------
    ValueError
        If the network is no classifier, or `pictures` holds no picture.
    TraitError
        If there is no class `target` (the nearest are named), or another value cannot be.
    TypeError
        For an argument that does not exist (the nearest is named).

    Examples
    --------
    >>> import nbviz
    >>> network, images, labels, classes = nbviz.demos.digits()
    >>> probe = nbviz.OcclusionProbe(network, images, labels=labels)
    >>> probe.masks = [{"top": 4, "left": 10, "height": 8, "width": 8}]
    >>> probe.confidence["target"]["probability"] <= 1
    True
    >>> probe  # doctest: +SKIP
    """

    _esm = bundle("occlusion-probe")
    _printed_name = "occlusion"

    def __init__(
        self,
        network: Network | nn.Module,
        pictures: Any = None,
        target: int | str | None = None,
        *,
        labels: Sequence[Any] | None = None,
        boxes: Any = None,
        max_bytes: int = MAX_BYTES,
        **traits: Any,
    ) -> None:
        if pictures is None and not isinstance(traits.get("image", 0), int):
            pictures = traits.pop("image")
        self._open_pictures(network, pictures, labels)
        with self.network.lock:
            self._boxes = known_boxes(boxes, len(self._pictures))
            self._begin_with(max(0, traits.get("image", 0)), max_bytes)
            side = max(1, min(self._input_size()[1:]) // 14 * 2)
            size = traits.setdefault("size", side)
            traits.setdefault("stride", max(1, size // 4) if isinstance(size, int) else 1)
            super().__init__(target=-1 if target is None else target, **traits)
            self._gathered = None
            self.layers = state.layer_table(self.network)
            self._update({*self.CHOICES}, {})
            self.observe(_closed, names="comm")

    @property
    def result(self) -> OcclusionMap | None:
        """The full map so far, None before the first; see `stale` for whether it is up to date."""
        return self._map.result

    def run_map(self) -> OcclusionMap:
        """The full map for what is set now, whole; the view shows it while it grows.

        A partial map of these settings is gone on with. An interrupt keeps what was computed.

        Raises
        ------
        RuntimeError
            If the network changes meanwhile (in another thread); what was computed stays, as stale.

        Examples
        --------
        >>> probe.run_map().values(probe.target, "probability drop")  # doctest: +SKIP
        """
        with self.network.lock:
            self._look_again()
            made = self._map.complete and not self._stale() and self._summed()
            if not self._map.running and not made:
                self._begin(afresh=False)
        try:
            while self._map.running:
                with self.network.lock:
                    self._work_on(SLICE)
                    self.progress = self._progress(running=True)
        finally:
            self.progress = self._progress(running=False)
            self._show_map()
        found = self._map.result
        if found is None:
            raise RuntimeError("the map was stopped before it had a position; run it again")
        if not found.complete and self._stale():
            raise RuntimeError(f"the map was stopped, as {self._stale()}; run it again")
        return found

    def keep(self) -> None:
        """Keep the map, with its target, as A to compare the next one with.

        Raises
        ------
        ValueError
            If there is no map.
        """
        with self.network.lock:
            found = self._found("to keep")
            self._let_go()
            self._keep(found, self.target, self._map_picture(), pixels=self._map.picture)

    def compare_with(self, other: OcclusionProbe, *, name: str = "") -> None:
        """Show the map of another probe, of any network, as A beside this one's.

        It follows the other's map and target until another is kept, or either view is closed.

        Parameters
        ----------
        other : OcclusionProbe
        name : str
            What the other's network is called in the view; by default its class, or "another" of
            this class.

        Raises
        ------
        TypeError
            If it is no `OcclusionProbe`.
        ValueError
            If it is this one, or has no map.

        Examples
        --------
        >>> biased.compare_with(unbiased, name="unbiased")  # doctest: +SKIP
        """
        if not isinstance(other, OcclusionProbe):
            raise TypeError(f"expected another OcclusionProbe, got a {type(other).__name__}")
        if other is self:
            raise ValueError("expected another OcclusionProbe, got this one; use keep()")
        if other.result is None:
            raise ValueError("the other probe has no map yet; call its run_map() first")
        self._let_go()
        kind, model = type(other.network.model).__name__, self.network.model
        alike = type(model).__name__ == kind and model is not other.network.model
        self._release = _follow(self, other, name or (f"another {kind}" if alike else kind))
        if self.side == "B":
            self.side = "both"

    def evidence(self, boxes: Any = None, *, regions: int = _REGIONS) -> Evidence:
        """Regions of the picture by confidence in `target` lost when they are covered.

        Parameters
        ----------
        boxes : sequence, optional
            Known boxes to measure against, (left, top, right, bottom) in input pixels: one, or
            several; by default those given for this picture.
        regions : int
            How many regions at most.

        Returns
        -------
        Evidence
            Of the full map, which is made if it is not there. The view shows it too.

        Raises
        ------
        ValueError
            If a box is none.
        """
        self._look_again()
        if not self._map.complete or self._stale():
            self.run_map()
        return self._judge(self._known_boxes() if boxes is None else boxes_of(boxes), regions)

    def _judge(self, boxes: list[Box], regions: int) -> Evidence:
        with self.network.lock:
            known = [receptive_field.Box(*box) for box in boxes]
            found = evidence(
                self._found("to judge"), target=self.target, boxes=known, regions=regions
            )
            classes = self.network.classes
            self.evidence_shown = state.evidence_state(found, boxes, classes)
        return found

    def chart(self) -> bqplot.Figure:
        """A bqplot chart of the target's confidence along the path of the last drag.

        Examples
        --------
        >>> ipywidgets.VBox([probe, probe.chart()])  # doctest: +SKIP
        """
        # bqplot takes long to import, and most probes are shown without a chart.
        from nbviz.widgets.confidence_chart import confidence_chart

        return confidence_chart(self)

    def still_caption(self) -> str:
        """One sentence: how confident the network is of what, with and without masks."""
        self._look_again()
        target = self.confidence["target"]
        covered = f"{self._covered.share:.0%} of the picture covered"
        where = covered if self.masks else "nothing covered"
        return (
            f"{type(self.network.model).__name__} gives {target['name']} a probability of "
            f"{float(target['probability']):.3g} with {where}, {float(target['before']):.3g} "
            f"without masks{'; a map of it by position' if self._map.result else ''}."
        )

    def _page(self) -> Layout:
        with self.network.lock:
            self._look_again()
            shown = self._shown
            of_this_picture = self._map_picture() == shown.count
            return probe_page(
                ProbePrint(
                    network=type(self.network.model).__name__,
                    masked=shown.pixels(self.masks),
                    picture=shown.seen.pixels,
                    masks=self.masks,
                    confidence=self._confidence(self._covered, 0),
                    fill_note=shown.instead.note if shown.instead else "",
                    result=self._map.result if of_this_picture else None,
                    stale=self._stale(),
                    target=self.target,
                    scale=self.scale,
                    show=self.show,
                    feature=(self.layer, self.channel) if self.layer else None,
                    coverage=self.coverage,
                    opacity=self.opacity,
                    stretch=self.stretch,
                )
            )

    @answers("keep_map")
    def _answer_keep(self, **asked: Any) -> dict[str, Any]:
        del asked
        self.keep()
        return wire.pack({})

    @answers("evidence")
    def _answer_evidence(self, **asked: Any) -> dict[str, Any]:
        del asked
        self._look_again()
        if self._stale():
            raise ValueError(f"the map does not fit: {self._stale()}; make the full map anew")
        self._judge(self._known_boxes(), _REGIONS)
        return wire.pack({})


def _closed(change: dict[str, Any]) -> None:
    """Let go of what a closed probe worked on; a plain function keeps no probe alive."""
    if change["new"] is None:
        probe = change["owner"]
        probe._map.stop()
        probe._let_go()


def _follow(one: OcclusionProbe, other: OcclusionProbe, name: str) -> Callable[[], None]:
    """Keep the other's map as A of `one`, and each that comes; what ends it."""
    here, there = weakref.ref(one), weakref.ref(other)

    def follow(change: Any = None) -> None:
        del change
        probe, source = here(), there()
        if probe is not None and source is not None and source.result is not None:
            pixels = source._map.picture
            probe._keep(source.result, source.target, -1, pixels=pixels, name=name)

    def release() -> None:
        source = there()
        if source is not None:
            source.unobserve(follow, names=["map", "target"])

    other.observe(follow, names=["map", "target"])
    follow()
    return release
