"""What keeps the panes of an `Explorer` together: made when they are open, linked, and told of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import traitlets

from nbviz.analysis.prediction import class_name
from nbviz.scanning.result import Scan
from nbviz.widgets import explorer_state as states
from nbviz.widgets.base import View, message_of
from nbviz.widgets.explorer_choices import ExplorerChoices
from nbviz.widgets.explorer_panes import PANES, Material, Pictures, first_layer, lacking
from nbviz.widgets.linking import SHARED, Link

# As the browser looks up a widget in another (anywidget's composition).
_REFERENCE = "anywidget:"

#: A probe's target that is what the network takes the picture for.
FOLLOWS = -1

#: What the explorer has itself; a target is the probe's.
SHARED_BY_ALL = tuple(name for name in SHARED if name != "target")


class ArrangedPanes(ExplorerChoices):
    """An `Explorer` as its panes know it."""

    target: Any
    _views: dict[str, View]
    # Of each view its own choices as it was made.
    _defaults: dict[str, dict[str, Any]]
    # What views are made with, and what is set in them once they are there.
    _arguments: dict[str, dict[str, Any]]
    _pending: dict[str, dict[str, Any]]
    _link: Link | None
    # As given; pictures may be those of the scan.
    _given: Any
    _boxes: Any
    _scan: Scan | None
    # As long as there is no probe to ask.
    _target: int | str | None
    # Whether a choice that cannot be is an error, or said in its pane.
    _strict: bool

    def _material(self) -> Material:
        return Material(self.network, self._pictures, self._boxes, self._scan)

    def _take_scan(self, scan: Any) -> None:
        if scan is not None:
            if not isinstance(scan, Scan):
                raise TypeError(
                    "expected a scan, as nbviz.scan(network, dataset) gives it, got a "
                    f"{type(scan).__name__}"
                )
            scan.attach(self.network, self._given)
        self._scan = scan
        if self._given is None:
            self._pictures = None if scan is None else Pictures.of_scan(scan)

    def _view(self, name: str) -> View:
        """The view of a pane; it is made if it can be."""
        with self.network.lock:
            if name not in self._views:
                why = lacking(name, self._material())
                if why:
                    raise ValueError(f"{why['text']} {why['code']}")
                self._make(name)
                self._arrange()
            return self._views[name]

    def _make(self, name: str) -> None:
        """Make the view of a pane; what was chosen in it before comes once it is linked."""
        view = PANES[name].make(self._material(), self.image, **self._arguments.get(name, {}))
        self._views[name], self._defaults[name] = view, states.defaults_of(view)
        if name == "occlusion":
            target = FOLLOWS if self._target is None else self._target
            self._pending[name] = {"target": target, **self._pending.get(name, {})}
        view.observe(self._say, names="target")
        view.observe(self._adopt, names="channel")

    def _tried(self, name: str) -> dict[str, str]:
        """Make the view of a pane; why it cannot be, which the pane says while others are there."""
        try:
            self._make(name)
        except Exception as error:
            if name in self._arguments:
                raise
            return {"text": message_of(error), "code": ""}
        return {}

    def _drop(self, name: str) -> None:
        """Close the view of a pane."""
        if name == "occlusion":
            self._target = self.target
        view = self._views.pop(name)
        view.unobserve(self._say, names="target")
        view.unobserve(self._adopt, names="channel")
        view.close()

    def _arrange(self) -> None:
        """Make what is open, link it, and tell the browser where to find it."""
        problems = {name: lacking(name, self._material()) for name in PANES}
        for name in [n for n in self.panes if n not in self._views and not problems[n]]:
            problems[name] = self._tried(name)
        self._relink(hand_on=True)
        if any(name in self._views for name in self._pending):
            self._unlink()
            self._take_pending()
            self._relink(hand_on=False)
        self.lacking = {name: why for name, why in problems.items() if why}
        self.children = {n: f"{_REFERENCE}{v.model_id}" for n, v in self._views.items()}
        self._say()

    def _take_pending(self) -> None:
        """Show in views that are new what was chosen in them before they were there."""
        for name in [name for name in self._pending if name in self._views]:
            view, choices = self._views[name], self._pending.pop(name)
            try:
                states.choose(view, {**self._defaults[name], **choices})
            except Exception as error:
                if self._strict:
                    raise
                view.problem = message_of(error)

    def _unlink(self) -> None:
        if self._link is not None:
            self._link.unlink()
            self._link = None

    def _relink(self, *, hand_on: bool) -> None:
        self._unlink()
        opened = [self._views[name] for name in self.panes if name in self._views]
        if opened:
            self._link = Link(self, *opened)
            if hand_on:
                self._link.hand_on_all()

    def _adopt(self, change: dict[str, Any]) -> None:
        """Take over a channel that was chosen in a pane which shows a layer of its own.

        A pane that has not the layer of the others stays with its own; what is clicked there all
        show.
        """
        view, channel = change["owner"], change["new"]
        if self._link is None or self._link.passing or channel < 0 or view.layer == self.layer:
            return
        self._adopting = True
        try:
            with self.hold_trait_notifications():
                self.layer, self.channel = view.layer, channel
                self.unit = list(view.unit) if view.has_trait("unit") else []
        finally:
            self._adopting = False

    def _own_states(self) -> dict[str, Any]:
        shared = {name: getattr(self, name) for name in SHARED_BY_ALL}
        found = {name: dict(choices) for name, choices in self._pending.items()}
        for name, view in self._views.items():
            found[name] = states.differing(view, self._defaults[name], shared)
        return {name: found[name] for name in PANES if found.get(name)}

    def _show(self, state: Mapping[str, Any]) -> None:
        """Bring all in line with a state whose names were checked; raise if it cannot be."""
        first = {"layer": first_layer(self._material()), "channel": -1, "unit": []}
        first["image"] = 0 if self._pictures is not None else -1
        views, target = state.get("views", {}), state.get("target")
        states.check_target(target, self.network.classes)
        self._unlink()
        # What is shared is handed on below: to open panes, once all of it is set.
        for name in ("layer", "channel", "unit", "image"):
            setattr(self, name, state.get(name, first[name]))
        self.columns = state.get("columns", 0)
        self._target = target
        self._pending = {name: {**views[name]} for name in views if name not in self._views}
        for name in self._views:
            self._pending[name] = {**views.get(name, {})}
        if "occlusion" in self._views:
            self._pending["occlusion"]["target"] = FOLLOWS if target is None else target
        self._strict = True
        try:
            self.panes = state.get("panes", [*PANES])
            self._arrange()
        finally:
            self._strict = False

    @traitlets.observe("panes")
    def _open_and_close(self, change: dict[str, Any]) -> None:
        del change
        if getattr(self, "_settled", False):
            self._arrange()

    @traitlets.observe(*SHARED_BY_ALL)
    def _shared_changed(self, change: dict[str, Any]) -> None:
        del change
        if getattr(self, "_settled", False):
            self._say()

    def _say(self, change: Any = None) -> None:
        """Tell what is chosen, in words."""
        del change
        channels = self._channels()
        chosen = [
            ["Layer", self.layer],
            ["Channel", f"{self.channel} (of {channels})" if self.channel >= 0 else "none"],
        ]
        if self.unit:
            chosen.append(["Unit", f"{self.unit[0]}, {self.unit[1]}"])
        if self._pictures is not None and self.image >= 0:
            label = self._pictures.label(self.image)
            names = self._pictures.classes or self.network.classes
            known = class_name(label, names) if isinstance(label, int) else label
            chosen.append(["Image", f"{self.image}{f' ({known})' if known else ''}"])
        probe = self._views.get("occlusion")
        if probe is not None and "occlusion" in self.panes:
            follows = " (most probable)" if probe._follows else ""
            chosen.append(
                ["Class", f"{class_name(int(probe.target), self.network.classes)}{follows}"]
            )
        self.chosen = chosen

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take what the browser set, not while a pane works with the network."""
        with self.network.lock:
            super().set_state(sync_data)
