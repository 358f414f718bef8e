"""What keeps choices, passes and the view of an `OcclusionProbe` together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import traitlets
from torch import Tensor

from nbviz.analysis.activations import prepared
from nbviz.analysis.occlusion import OcclusionMap, Replacement, choose_class, occlusion_steps
from nbviz.analysis.prediction import class_name
from nbviz.widgets import occlusion_state as state
from nbviz.widgets import wire
from nbviz.widgets.base import answers
from nbviz.widgets.drag_path import DragPath
from nbviz.widgets.full_map import FullMap
from nbviz.widgets.mask_states import Box, checked_masks
from nbviz.widgets.masked_picture import Covered, MaskedPicture
from nbviz.widgets.occlusion_choices import MapSettings, OcclusionChoices
from nbviz.widgets.sliced_work import SLICE

_FILLED = {"image", "fill", "colour", "fill_image"}
# What the confidence under the masks on show depends on.
_COVERED = {*_FILLED, "masks"}
# In seconds: so long after the last move a hand counts as dragging, and the map waits for it.
_DRAGGING, _SHORT_SLICE = 1.0, 0.03
# Between two partial maps sent in answers.
_PARTIAL = 0.5


class OcclusionAnswers(OcclusionChoices):
    """An `OcclusionProbe` as its view knows it."""

    _boxes: list[list[Box]]

    def _begin_with(self, image: int, max_bytes: int) -> None:
        """What must be there before traits are set and checked."""
        self._max_bytes = max_bytes
        self._map = FullMap()
        self._kept: tuple[OcclusionMap, int] | None = None
        self._release: Callable[[], None] | None = None
        self._path, self._dragged, self._sent = DragPath(), 0.0, 0.0
        self._mean: Replacement | None = None
        self._follows, self._count, self._trained = True, 0, 0
        self._shown = self._picture(self._pictures.picture(image), image)
        self._covered = self._shown.covered([])
        self._gathered = set()

    def _picture(self, picture: Any, image: int, *, hasty: bool = False) -> MaskedPicture:
        """A picture as it is shown next."""
        self._count += 1
        return MaskedPicture.of(
            self.network,
            prepared(self.network, picture, self.network.layers),
            image=image,
            count=self._count,
            hasty=hasty,
            max_bytes=self._max_bytes,
        )

    def _held(self) -> Any:
        path = list(self._path.points)
        return self._shown, self._covered, self._source, self._follows, path

    def _put_back(self, held: Any) -> None:
        self._shown, self._covered, self._source, self._follows, self._path.points = held

    def _bring(self, changed: set[str]) -> None:
        if "image" in changed and self.image not in (-1, self._shown.image):
            self._shown = self._picture(self._pictures.picture(self.image), self.image)
            self._source = "dataset"
        elif self._shown.outdated:
            # one answer never mixes the network as it is with what it was
            self._trained += 1
            self._shown = self._shown.anew()
            changed.add("image")
        if self._follows:
            self.target = choose_class(self.network, None, self._shown.base)
            self._follows = True
            changed.add("target")
        if _FILLED & changed:
            self._shown = self._filled(self._shown)
        if _COVERED & changed:
            self._covered = self._shown.covered(self.masks)
        if {"layer", "channel"} & changed and self.layer:
            channels = self.network.layers[self.layer].channels or 1
            self.channel = min(self.channel, channels - 1)
        self._refresh(changed)

    def _filled(self, shown: MaskedPicture) -> MaskedPicture:
        if self.fill == "picture":
            if self.fill_image < 0:
                self.fill_image = self._other_picture()
            return shown.filled(self._pictures.picture(self.fill_image), None)
        if self.fill == "colour":
            return shown.filled(tuple(self.colour), None)
        if self.fill != "mean" or self.network.transform is not None or len(self._pictures) == 1:
            return shown.filled(self.fill, None)
        # Nothing tells the mean colour but the pictures, and these stay what they are.
        if self._mean is None:
            everything = self._pictures.subset(range(len(self._pictures)))
            self._mean = shown.filled("mean", everything).instead
        return shown.filled(self._mean, None)

    def _other_picture(self) -> int:
        if len(self._pictures) == 1:
            raise traitlets.TraitError(
                "fill 'picture' needs a second picture in the data set; pass several to "
                "OcclusionProbe, or choose another fill"
            )
        return (self.image + 1) % len(self._pictures)

    def _take(self, batch: Tensor, source: str, *, live: bool) -> None:
        with self._all_or_nothing(self._choices()):
            self._shown = self._picture(batch, -1, hasty=live)
            self._source = source
            self.image = -1
            self._bring({"image"})
            self.problem = ""

    def _look_again(self) -> None:
        """Bring all up to date if the network has changed: weights, modules, hooks.

        The map is stale then, and work on it ends.
        """
        if self._shown.outdated:
            with self._all_or_nothing(self._choices()):
                self._bring(set())

    def _refresh(self, changed: set[str]) -> None:
        """Work out all that changed first, then show it at once."""
        shown: dict[str, Any] = {}
        classes, base, target = self.network.classes, self._shown.base, self.target
        if "image" in changed:
            on_show = self._shown
            shown["picture"] = state.picture_state(
                on_show.seen, on_show.count, on_show.image, normalised=on_show.normalised
            )
            shown["inputs"] = self._inputs_state()
        if _FILLED & changed and self._shown.instead is not None:
            note = self._shown.instead.note
            shown["replacement"] = state.replacement_state(self._shown.replaced(), self.fill, note)
        if {"image", "target"} & changed:
            how = {"way": self._shown.inference.way, "reason": self._shown.inference.reason}
            shown["prediction"] = state.prediction_state(
                base, target, classes, follows=self._follows, **how
            )
        if {*_COVERED, "target"} & changed:
            shown["confidence"] = self._confidence(self._covered, 0)
        if {*_FILLED, "target"} & changed:
            self._path.clear()
            shown["trail"] = []
        if {"target", "layer", "channel"} & changed and self._map.result is not None:
            shown["map"] = self._map_state()
        if {"target", "image"} & changed:
            shown["evidence_shown"] = {}
        self._map.stop_unless(self._settings())
        shown["stale"] = self._stale()
        self._show(**shown)

    def _show(self, **shown: Any) -> None:
        with self.hold_sync():
            for name, value in shown.items():
                setattr(self, name, value)

    def _confidence(self, covered: Covered, seq: int) -> dict[str, Any]:
        found = state.confidence_state(
            covered.logits, self._shown.base, self.target, self.network.classes
        )
        return {**found, "covered": covered.share, "seq": seq}

    def _settings(self) -> MapSettings:
        """What a full map would be made of now."""
        of = {"colour": tuple(self.colour), "picture": (self.fill_image,)}
        return MapSettings(
            self._shown.count,
            self._trained,
            self.size,
            self.stride,
            "circle" if self.mask_shape == "circle" else "rectangle",
            (self.fill, *of.get(self.fill, ())),
            self.tolerance,
        )

    def _stale(self) -> str:
        """Why the map is not one of what is set now, in words; empty if it is."""
        result, made = self._map.result, self._map.settings
        if result is None or made is None:
            return ""
        difference = made.difference(self._settings())
        if not difference and self.target not in result.classes:
            difference = f"it keeps {len(result.classes)} classes, and not {self._target_name()}"
        return difference

    def _target_name(self) -> str:
        return class_name(self.target, self.network.classes)

    def _summed(self) -> bool:
        """Whether the map holds the sums of the layer that was chosen."""
        result = self._map.result
        return not self.layer or (result is not None and self.layer in result.sums)

    def _found(self, what: str) -> OcclusionMap:
        if self._map.result is None:
            raise ValueError(f"there is no map {what} yet; make the full map first")
        return self._map.result

    def _begin(self, *, afresh: bool) -> None:
        """Begin the full map, or go on with a partial one."""
        self._look_again()
        watch = (self.layer,) if self.layer else ()
        self._shown = shown = self._shown.watching(watch)
        settings, target = self._settings(), self.target

        def steps(partial: OcclusionMap | None) -> Iterator[OcclusionMap]:
            return occlusion_steps(
                shown.network,
                shown.batch,
                target,
                size=settings.size,
                stride=settings.stride,
                shape=settings.shape,
                fill=shown.instead,
                tolerance=settings.tolerance or None,
                inference=shown.inference,
                resume=partial,
            )

        afresh = afresh or bool(self._stale()) or not self._summed()
        self._map.begin(steps, settings, shown.seen.pixels, afresh=afresh)

    def _work_on(self, seconds: float) -> bool:
        """Go on with the map; whether a finer grid of it is whole. What it has is shown then."""
        grown = True
        try:
            grown = self._map.go_on(seconds)
        finally:
            self._look_again()
            if grown:
                self._show_map()
        return grown

    def _map_state(self) -> dict[str, Any]:
        feature = (self.layer, self.channel) if self.layer else None
        return state.map_state(
            self._found("to show"),
            target=self.target,
            feature=feature,
            picture=self._map_picture(),
            pixels=self._map.picture,
        )

    def _map_picture(self) -> int:
        """How many pictures had been on show with the one that the map is of; -1 for none."""
        return -1 if self._map.settings is None else self._map.settings.picture

    def _show_map(self) -> None:
        if self._map.result is not None:
            self._show(map=self._map_state(), stale=self._stale(), evidence_shown={})

    def _progress(self, *, running: bool) -> dict[str, Any]:
        return state.progress_state(self._map.result, running=running, seconds=self._map.seconds)

    def _keep(
        self,
        found: OcclusionMap,
        target: int,
        picture: int,
        *,
        pixels: np.ndarray | None,
        name: str = "",
    ) -> None:
        self._kept = (found, target)
        self.kept = state.map_state(
            found,
            target=target,
            feature=None,
            picture=picture,
            pixels=pixels,
            send_pixels=True,
            name=name,
        )

    def _let_go(self) -> None:
        """Follow no other probe any more."""
        if self._release is not None:
            self._release()
            self._release = None

    def _known_boxes(self) -> list[Box]:
        return self._boxes[self.image] if self.image >= 0 else []

    @answers("masked")
    def _answer_masked(
        self,
        masks: list[Any],
        seq: int = 0,
        done: bool = True,
        point: Sequence[float] = (),
        **asked: Any,
    ) -> dict[str, Any]:
        """Confidences under masks that are being dragged; shown for good when the drag is done."""
        del asked
        with self.network.lock:
            self._look_again()
            checked = checked_masks(masks, self._input_size()[1:])
            covered = self._shown.covered(checked)
            found = self._confidence(covered, seq)
            self._dragged = time.monotonic()
            if len(point) == 2:
                self._path.add(float(point[0]), float(point[1]), found["target"])
            if done:
                self._path.end()
                self._covered = covered
                with self._gathering():
                    self._show(masks=checked, confidence=found, trail=[*self._path.points])
        return wire.pack({}, **found)

    @answers("map_go_on")
    def _answer_go_on(self, restart: bool = False, **asked: Any) -> dict[str, Any]:
        """A slice of the work on the full map."""
        del asked
        fields: dict[str, Any] | None = None
        arrays: dict[str, np.ndarray] = {}
        with self.network.lock:
            self._look_again()
            now = time.monotonic()
            partial = self._map.result is not None and not self._map.result.complete
            if restart or (not self._map.running and partial and not self._stale()):
                self._begin(afresh=restart)
            if self._map.running:
                seconds = _SHORT_SLICE if now - self._dragged < _DRAGGING else SLICE
                grown = self._work_on(seconds)
                late = time.monotonic() - self._sent > _PARTIAL
                if not grown and late and self._map.result is not None:
                    fields = self._map_state()
                    arrays = wire.unpack(fields)
                    del fields["arrays"], fields["buffers"]
                if grown or fields is not None:
                    self._sent = time.monotonic()
            progress = self._progress(running=self._map.running)
        return wire.pack(arrays, progress=progress, map=fields)

    @answers("map_stop")
    def _answer_stop(self, **asked: Any) -> dict[str, Any]:
        del asked
        with self.network.lock:
            self._map.stop()
            self._show_map()
            return wire.pack({}, progress=self._progress(running=False))

    @answers("drop_map")
    def _answer_drop(self, **asked: Any) -> dict[str, Any]:
        del asked
        self._let_go()
        self._kept, self.kept = None, {}
        return wire.pack({})

    @answers("drop_evidence")
    def _answer_drop_evidence(self, **asked: Any) -> dict[str, Any]:
        del asked
        self.evidence_shown = {}
        return wire.pack({})

    @answers("find_class")
    def _answer_find(self, text: str, **asked: Any) -> dict[str, Any]:
        del asked
        with self.network.lock:
            self._look_again()
        found = state.found_classes(text, self._shown.base, self.network.classes)
        return wire.pack({}, found=[list(each) for each in found])

    @answers("class_map")
    def _answer_class(self, number: int, of: str = "map", **asked: Any) -> dict[str, Any]:
        """Logits of one more class at all positions."""
        del asked
        kept = None if self._kept is None else self._kept[0]
        result = kept if of == "kept" and kept is not None else self._found("to look into")
        return state.class_state(result, number, of)
