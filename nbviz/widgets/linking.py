"""link: what is chosen in one view is chosen in the others."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import traitlets

from nbviz.widgets.base import View

#: What views have in common, in the order in which it is handed on: a channel is one of a layer.
SHARED = ("image", "layer", "channel", "unit", "target")


class Link:
    """Views that share their choices until `unlink` is called; one that is closed leaves.

    A change is handed on once to each view that shares it with the one it was made in; what the
    others make of it is not handed back.
    """

    def __init__(self, *views: View) -> None:
        self._views = views
        self._between = {
            frozenset(map(id, pair)): _common(*pair) for pair in combinations(views, 2)
        }
        found = {name for names in self._between.values() for name in names}
        self.shared = tuple(name for name in SHARED if name in found)
        """Names of the traits that at least two of the views share."""
        for view in views:
            others = [other for other in views if other is not view]
            if not any(self._both(view, other) for other in others):
                _refuse(view, others)
        self.passing = False
        """Whether a change is being handed on: what changes meanwhile nobody has chosen."""
        for view in views:
            view.observe(self._changed, names=self.shared)
            view.observe(self._closed, names="comm")

    def unlink(self) -> None:
        """Let go: from now on each view goes its own way."""
        for view in self._views:
            self._let_go(view)
        self._views = ()

    def between(self, one: View, other: View) -> tuple[str, ...]:
        """Names of the traits that two views share by this link; none if it has not both."""
        return self._between.get(frozenset((id(one), id(other))), ())

    def hand_on_all(self) -> None:
        """Bring all in line: what is chosen in the first view that has it."""
        for name in self.shared:
            first = next((view for view in self._views if view.has_trait(name)), None)
            if first is not None:
                self._changed({"owner": first, "name": name})

    def _let_go(self, view: View) -> None:
        # What a view has not, it was not observed for.
        view.unobserve(self._changed, names=self.shared)
        view.unobserve(self._closed, names="comm")

    def _both(self, one: View, other: View) -> tuple[str, ...]:
        return self._between[frozenset((id(one), id(other)))]

    def _changed(self, change: dict[str, Any]) -> None:
        if self.passing:
            return
        self.passing = True
        failed: list[Exception] = []
        try:
            for target in self._views:
                if target is not change["owner"]:
                    try:
                        self._hand_on(change["owner"], target, change["name"])
                    except Exception as error:  # noqa: BLE001 - the others shall have it all the same
                        failed.append(error)
        finally:
            self.passing = False
        if failed:
            raise failed[0]

    def _hand_on(self, source: View, target: View, changed: str) -> None:
        shared = self._both(source, target)
        if changed not in shared:
            return
        names = shared[shared.index(changed) :] if changed == "layer" else (changed,)
        for name in names:
            apart = "layer" in shared and source.layer != target.layer
            if name in {"channel", "unit"} and apart:
                return
            if name == "image" and getattr(source, name) < 0:
                # A picture of one's own has no number that would mean anything elsewhere.
                return
            try:
                setattr(target, name, getattr(source, name))
            except traitlets.TraitError:
                # The other has no such layer, or picture: it stays with what it shows.
                return

    def _closed(self, change: dict[str, Any]) -> None:
        if change["new"] is not None or not self._views:
            return
        if len(self._views) <= 2:
            self.unlink()
            return
        self._let_go(change["owner"])
        self._views = tuple(view for view in self._views if view is not change["owner"])


def _common(a: View, b: View) -> tuple[str, ...]:
    """What two views share, in the order in which it is handed on."""
    one, other = (getattr(view, "network", None) for view in (a, b))
    of_one_model = _of_one_model(a, b)
    names, other_names = (getattr(network, "classes", None) for network in (one, other))
    common = {"image"}
    if names is not None and names == other_names:
        common.add("target")  # a class number means the same in both
    both = set(a.trait_names()) & set(b.trait_names())
    return tuple(n for n in SHARED if n in both and (of_one_model or n in common))


def _of_one_model(a: View, b: View) -> bool:
    one, other = (getattr(view, "network", None) for view in (a, b))
    return one is not None and other is not None and one.model is other.model


def _refuse(view: View, others: list[View]) -> None:
    kinds = " and ".join(f"a {type(each).__name__}" for each in (view, *others[:1]))
    if len(others) > 1:
        kinds = f"a {type(view).__name__} and the other views"
    apart = "" if any(_of_one_model(view, other) for other in others) else " of different networks"
    raise ValueError(
        f"{kinds}{apart} have nothing to share; link views of one network that have one of "
        f"{', '.join(SHARED)}"
    )


def link(a: View, b: View, *more: View) -> Link:
    """Make views share picture, layer, channel, unit and target, as far as they have them.

    What another cannot show (a layer without kernels, in a `FilterGrid`) it leaves as it is; a
    channel is handed on where both show the same layer. Views of different networks share the
    picture only, and the target where their classes have the same names. A picture that is not of
    the data set (`look_at`, a file, a drawing) is not handed on.

    Parameters
    ----------
    a, b, *more : View
        The first that has a choice gives it to begin with.

    Returns
    -------
    Link
        Its `unlink` ends it. A view that is closed leaves it, and of two that ends it.

    Raises
    ------
    TypeError
        If one of them is no nbviz view.
    ValueError
        If one comes twice, or has nothing to share with any other.

    Examples
    --------
    >>> import nbviz
    >>> network, images, *_ = nbviz.demos.digits()
    >>> grid, browser = nbviz.FilterGrid(network), nbviz.ActivationBrowser(network, images)
    >>> probe = nbviz.OcclusionProbe(network, images)
    >>> linked = nbviz.link(grid, browser, probe)
    >>> grid.selected = [3]
    >>> browser.layer == grid.layer, browser.channel
    (True, 3)
    >>> browser.image = 5
    >>> probe.image
    5
    """
    views = (a, b, *more)
    for view in views:
        if not isinstance(view, View):
            raise TypeError(f"expected nbviz views, got a {type(view).__name__}")
    if len(set(map(id, views))) < len(views):
        which = "two views" if len(views) == 2 else "different views"
        raise ValueError(f"expected {which}, got the same one twice")
    made = Link(*views)
    made.hand_on_all()
    return made
