"""The state of an `Explorer` as a small dict for JSON, and how a view is brought to it."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

import anywidget

from nbviz.widgets.base import View, nearest
from nbviz.widgets.explorer_panes import PANES
from nbviz.widgets.gathered_choices import GatheredChoices
from nbviz.widgets.linking import SHARED
from nbviz.widgets.picture_view import PictureView

VERSION = 1
KEYS = ("version", "panes", "columns", "layer", "channel", "unit", "image", "target", "views")

# What no other kernel could bring back: the picture that `keep` kept.
_KEPT_PICTURE = -2


def checked(state: Any) -> dict[str, Any]:
    """A state whose parts are there and have names that are known; values are checked when set.

    Raises
    ------
    TypeError, ValueError
        The message says what was expected and what came.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"expected a state as explorer.state gives it, got a {_kind(state)}")
    if state.get("version") != VERSION:
        raise ValueError(
            f"expected a state of version {VERSION}, as explorer.state of this nbviz gives it, "
            f"got version {state.get('version')!r}"
        )
    _check_names(state, KEYS, "a key of a state")
    views = state.get("views", {})
    if not isinstance(views, Mapping):
        raise TypeError(f"expected views of a state as a dict by pane, got a {_kind(views)}")
    _check_names(views, [*PANES], "a pane")
    for name, choices in views.items():
        if not isinstance(choices, Mapping):
            raise TypeError(f"expected choices of {name!r} as a dict, got a {_kind(choices)}")
        of_view = PANES[name].view
        shared = [each for each in SHARED if each in of_view.class_trait_names()]
        _check_names(choices, [*shared, *own_choices(of_view)], f"a choice of {name!r}")
    return copy.deepcopy(dict(state))


def check_target(target: Any, classes: Sequence[str] | None) -> None:
    """Refuse a class that the network does not have, as far as that is known.

    Raises
    ------
    ValueError
        The message says what there is.
    """
    if target is None or not classes:
        return
    if isinstance(target, str):
        if target not in classes:
            raise ValueError(
                f"expected target as one of {len(classes)} classes, got {target!r}"
                f"{nearest(target, list(classes))}"
            )
    elif type(target) is not int or not 0 <= target < len(classes):
        raise ValueError(
            f"expected target as a class number below {len(classes)}, a name or None, got "
            f"{target!r}"
        )


def _check_names(found: Mapping[str, Any], known: Any, what: str) -> None:
    for name in found:
        if name not in known:
            raise ValueError(
                f"expected {what}: {', '.join(map(repr, known))}; got {name!r}"
                f"{nearest(name, list(known))}"
            )


def _kind(value: Any) -> str:
    return type(value).__name__


def own_choices(view: type[View]) -> tuple[str, ...]:
    """Names of the choices that a view has for itself: synced, settable, not shared with others."""
    known = set(anywidget.AnyWidget.class_trait_names())
    return tuple(
        name
        for name, trait in sorted(view.class_traits(sync=True).items())
        if not name.startswith("_")
        and name not in known
        and name not in SHARED
        and not trait.metadata.get("shown")
    )


def defaults_of(view: View) -> dict[str, Any]:
    """A view's own choices as it was made, to tell later which a person changed."""
    return {name: getattr(view, name) for name in own_choices(type(view)) if name != "selected"}


def differing(view: View, defaults: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """What a view shows otherwise than by default, or than the other panes do."""
    found = {}
    for name, value in shared.items():
        own = getattr(view, name) if view.has_trait(name) else value
        # A picture of one's own, or the one that stands where there is no data set, has no number.
        pictured = name == "image" and isinstance(view, PictureView)
        if own != value and not (pictured and min(own, value) < 0):
            found[name] = own
    for name, value in defaults.items():
        own = getattr(view, name)
        if own != value and not (name == "compared" and own == _KEPT_PICTURE):
            found[name] = own
    if "selected" in own_choices(type(view)):
        channel = view.channel
        if view.selected != ([channel] if channel >= 0 else []):
            found["selected"] = view.selected
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def choose(view: View, choices: Mapping[str, Any]) -> None:
    """Set choices of a view that belong together: all of them, or none if one cannot be.

    Raises
    ------
    TraitError
        As the view does.
    """
    order = sorted(choices, key=lambda name: SHARED.index(name) if name in SHARED else len(SHARED))
    wanted = {name: choices[name] for name in order}
    if not isinstance(view, GatheredChoices):
        _one_by_one(view, wanted)
        return
    with view._exclusive():
        before = view._choices()
        with view._gathering() as changed, view.hold_trait_notifications():
            for name, value in wanted.items():
                setattr(view, name, value)
        if changed:
            view._update(changed, before)
        # One choice may have brought another along, as a search brings a sort.
        _one_by_one(view, {n: v for n, v in wanted.items() if getattr(view, n) != v})


def _one_by_one(view: View, choices: Mapping[str, Any]) -> None:
    before = {name: getattr(view, name) for name in choices}
    try:
        for name, value in choices.items():
            setattr(view, name, value)
    except BaseException:
        for name, value in before.items():
            setattr(view, name, value)
        raise
