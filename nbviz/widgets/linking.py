"""link: what is chosen in one view is chosen in the other."""

from __future__ import annotations

from typing import Any

import traitlets

from nbviz.widgets.base import View

#: What views have in common, in the order in which it is handed on: a channel is one of a layer.
SHARED = ("image", "layer", "channel", "unit", "target")


class Link:
    """Two views that share their choices until `unlink` is called or one of them is closed."""

    def __init__(self, a: View, b: View) -> None:
        self._views: tuple[View, ...] = (a, b)
        one, other_one = (getattr(view, "network", None) for view in (a, b))
        of_one_model = one is not None and other_one is not None and one.model is other_one.model
        names, other_names = (getattr(network, "classes", None) for network in (one, other_one))
        common = {"image"}
        if names is not None and names == other_names:
            common.add("target")  # a class number means the same in both
        both = set(a.trait_names()) & set(b.trait_names())
        self.shared = tuple(n for n in SHARED if n in both and (of_one_model or n in common))
        """Names of the traits that are shared."""
        if not self.shared:
            other = "" if of_one_model else " of different networks"
            raise ValueError(
                f"a {type(a).__name__} and a {type(b).__name__}{other} have nothing to share; "
                f"link views of one network that have one of {', '.join(SHARED)}"
            )
        self._passing = False
        for view in self._views:
            view.observe(self._changed, names=self.shared)
            view.observe(self._closed, names="comm")

    def unlink(self) -> None:
        """Let go: from now on each view goes its own way."""
        for view in self._views:
            view.unobserve(self._changed, names=self.shared)
            view.unobserve(self._closed, names="comm")
        self._views = ()

    def _changed(self, change: dict[str, Any]) -> None:
        if self._passing:
            return
        self._passing = True
        try:
            self._hand_on(change["owner"], change["name"])
        finally:
            self._passing = False

    def _hand_on(self, source: View, changed: str) -> None:
        target = next(view for view in self._views if view is not source)
        names = self.shared[self.shared.index(changed) :] if changed == "layer" else (changed,)
        for name in names:
            apart = "layer" in self.shared and source.layer != target.layer
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
        if change["new"] is None and self._views:
            self.unlink()


def link(a: View, b: View) -> Link:
    """Make two views share picture, layer, channel, unit and target, as far as both have them.

    What the other cannot show (a layer without kernels, in a `FilterGrid`) it leaves as it is; a
    channel is handed on where both show the same layer. Views of different networks share the
    picture only, and the target where their classes have the same names. A picture that is not of
    the data set (`look_at`, a file, a drawing) is not handed on.

    Parameters
    ----------
    a, b : View
        `a` gives the choices to begin with.

    Returns
    -------
    Link
        Its `unlink` ends it; so does closing a view.

    Raises
    ------
    TypeError
        If one of them is no nbviz view.
    ValueError
        If they have nothing to share.

    Examples
    --------
    >>> import nbviz
    >>> network, images, *_ = nbviz.demos.digits()
    >>> grid, browser = nbviz.FilterGrid(network), nbviz.ActivationBrowser(network, images)
    >>> linked = nbviz.link(grid, browser)
    >>> grid.selected = [3]
    >>> browser.layer == grid.layer, browser.channel
    (True, 3)
    """
    for view in (a, b):
        if not isinstance(view, View):
            raise TypeError(f"expected two nbviz views, got a {type(view).__name__}")
    if a is b:
        raise ValueError("expected two views, got the same one twice")
    made = Link(a, b)
    first = made.shared[0]
    made._changed({"owner": a, "name": first})
    for name in made.shared[1:]:
        made._changed({"owner": a, "name": name})
    return made
