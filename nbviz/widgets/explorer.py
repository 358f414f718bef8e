"""Explorer: filters, activations, occlusion, patches and map as panes of one instrument."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from nbviz.network import Network
from nbviz.scanning.result import Scan
from nbviz.widgets import explorer_state as states
from nbviz.widgets.base import View, bundle
from nbviz.widgets.explorer_arrangement import FOLLOWS, SHARED_BY_ALL, ArrangedPanes
from nbviz.widgets.explorer_panes import PANES, Pictures, first_layer, split_options
from nbviz.widgets.explorer_print import PrintedPane, explorer_page
from nbviz.widgets.printed_page import Layout, PrintedView


class Explorer(ArrangedPanes, PrintedView):
    """All views of a network in one cell, as panes that show the same layer, channel and image.

    What is clicked in one pane all others show: a point of the map, its activations and occlusion;
    a channel, its kernel, its maps and its patches. Panes can be moved, closed, opened again and
    made as large as the screen.

    Parameters
    ----------
    network : Network or nn.Module
    dataset : picture or pictures, optional
        See `nbviz.picture_set.PictureSet`. That of the scan when None; without one, pictures of
        one's own can be looked at.
    scan : Scan, optional
        What `nbviz.scan(network, dataset)` gave, for patches and map. It can be given later, by
        setting `scan`.
    labels : sequence of int or str, optional
        One a picture; else taken from the data set.
    boxes : array of int or sequence, optional
        As for `OcclusionProbe`.
    target : int or str, optional
        Class whose confidence occlusion shows; by default what the network takes the picture for.
    options : mapping of str to mapping, optional
        Arguments of single panes, as in ``{"map": {"perplexity": 50}, "filters": {"sort":
        "noise"}}``.
    **traits
        Initial values of `panes`, `columns`, `layer`, `channel`, `unit`, `image`.

    Raises
    ------
    TypeError
        For an argument that does not exist (the nearest is named), or a `scan` that is none.
    ValueError
        If `dataset` holds no picture.
    ScanMismatchError
        If `scan` is of another network or data set.
    TraitError
        For a value that cannot be.

    Notes
    -----
    A pane is made when it is first open. One that is closed follows no choices until it is opened
    again. `filters`, `activations`, `occlusion`, `patches` and `map` are the views themselves.

    Examples
    --------
    >>> import nbviz
    >>> network, images, labels, classes = nbviz.demos.digits()
    >>> explorer = nbviz.Explorer(network, images, labels=labels)
    >>> explorer.image = 5
    >>> explorer.activations.image
    5
    >>> explorer.scan = nbviz.scan(network, images, labels=labels, progress=False)
    >>> again = nbviz.Explorer.from_state(explorer.state, network, images, explorer.scan)
    >>> again.image
    5
    >>> explorer  # doctest: +SKIP
    """

    _esm = bundle("explorer")
    _printed_name = "explorer"

    def __init__(
        self,
        network: Network | nn.Module,
        dataset: Any = None,
        scan: Scan | None = None,
        *,
        labels: Sequence[Any] | None = None,
        boxes: Any = None,
        target: int | str | None = None,
        options: Mapping[str, Mapping[str, Any]] | None = None,
        **traits: Any,
    ) -> None:
        self.network = Network.of(network)
        self._views = {}
        self._defaults = {}
        self._arguments, self._pending = split_options(options)
        self._link = None
        self._adopting = False
        self._strict = True
        self._given, self._boxes = dataset, boxes
        self._target = target
        self._pictures = None if dataset is None else Pictures(dataset, labels)
        self._scan = None
        with self.network.lock:
            if scan is not None:
                self._take_scan(scan)
            panes = traits.pop("panes", [*PANES])
            first = {"layer": first_layer(self._material()), "image": 0 if self._pictures else -1}
            shared = {name: traits.pop(name) for name in SHARED_BY_ALL if name in traits}
            super().__init__(panes=[], **traits)
            self.titles = {name: pane.title for name, pane in PANES.items()}
            # One by one: a channel is one of a layer.
            for name, value in {**first, **shared}.items():
                setattr(self, name, value)
            self._settled = True
            try:
                self.panes = panes
                self._arrange()
                self._strict = False
            except BaseException:
                self.close()
                raise

    @classmethod
    def from_state(
        cls,
        state: Mapping[str, Any],
        network: Network | nn.Module,
        dataset: Any = None,
        scan: Scan | None = None,
        **more: Any,
    ) -> Explorer:
        """An explorer that shows what another one showed when its `state` was taken.

        Parameters
        ----------
        state : mapping
            As `state` gives it.
        network, dataset, scan, **more
            As for `Explorer`.

        Raises
        ------
        TypeError, ValueError, TraitError
            If `state` is none, or of a layer, a channel or an image that are not there; the message
            names it.
        """
        states.checked(state)
        made = cls(network, dataset, scan, **{**more, "panes": []})
        try:
            made.state = state
        except BaseException:
            made.close()
            raise
        return made

    @property
    def dataset(self) -> Any:
        """The data set as it was given; that of the scan when none was."""
        return self._given if self._given is not None or self._scan is None else self._scan.dataset

    @property
    def scan(self) -> Scan | None:
        """The scan that patches and map show; settable, None for none."""
        return self._scan

    @scan.setter
    def scan(self, scan: Scan | None) -> None:
        with self.network.lock:
            kept = self._own_states()
            self._take_scan(scan)
            # Without a data set of its own it shows the scan's.
            pictured = () if self._given is not None else ("activations", "occlusion")
            for name in [n for n in self._views if PANES[n].scanned or n in pictured]:
                # What was chosen in it the next one shall show, as far as it can.
                self._pending[name] = kept.get(name, {})
                self._drop(name)
            count = 0 if self._pictures is None else len(self._pictures)
            if self.image < 0 or self.image >= count:
                self.image = min(0, count - 1)
            self._arrange()

    @property
    def target(self) -> int | str | None:
        """Class whose confidence occlusion shows, by number or name; settable.

        None for what the network takes the picture for.
        """
        probe = self._views.get("occlusion")
        if probe is None:
            return self._target
        return None if probe._follows else int(probe.target)

    @target.setter
    def target(self, target: int | str | None) -> None:
        self.occlusion.target = FOLLOWS if target is None else target
        self._target = target
        self._say()

    @property
    def filters(self) -> Any:
        """The `FilterGrid`."""
        return self._view("filters")

    @property
    def activations(self) -> Any:
        """The `ActivationBrowser`."""
        return self._view("activations")

    @property
    def occlusion(self) -> Any:
        """The `OcclusionProbe`."""
        return self._view("occlusion")

    @property
    def patches(self) -> Any:
        """The `TopPatches`."""
        return self._view("patches")

    @property
    def map(self) -> Any:
        """The `ImageMap`."""
        return self._view("map")

    @property
    def state(self) -> dict[str, Any]:
        """All that was chosen, as a small dict that JSON can hold; settable.

        ``panes`` and ``columns``, what panes share (``layer``, ``channel``, ``unit``, ``image``,
        ``target``), and in ``views`` what each pane shows otherwise than by default. Setting it
        takes all of it or, with an error that says what cannot be, nothing. What it does not name
        is as by default.
        """
        return {
            "version": states.VERSION,
            "panes": list(self.panes),
            "columns": self.columns,
            **{name: _plain(getattr(self, name)) for name in SHARED_BY_ALL},
            "target": self.target,
            "views": self._own_states(),
        }

    @state.setter
    def state(self, state: Mapping[str, Any]) -> None:
        wanted = states.checked(state)
        with self.network.lock:
            before = self.state
            try:
                self._show(wanted)
            except BaseException:
                self._show(before)
                raise

    def inner_views(self) -> tuple[View, ...]:
        """The views of all panes that were made, open or not."""
        return tuple(self._views.values())

    def close(self) -> None:
        """Close it and the views in its panes."""
        for name in [*getattr(self, "_views", ())]:
            self._drop(name)
        super().close()

    def still_caption(self) -> str:
        """What is chosen, and what each open pane shows."""
        chosen = ", ".join(f"{what.lower()} {which}" for what, which in self.chosen)
        model = type(self.network.model).__name__
        panes = [f"{pane.title}: {pane.caption}" for pane in self._printed()]
        return " ".join([f"{model}, {chosen}.", *panes])

    def _page(self) -> Layout:
        chosen = " · ".join(f"{what} {which}" for what, which in self.chosen)
        return explorer_page(
            type(self.network.model).__name__, chosen, self._printed(pictures=True)
        )

    def _printed(self, *, pictures: bool = False) -> list[PrintedPane]:
        with self.network.lock:
            found = []
            for name in self.panes:
                view, why = self._views.get(name), self.lacking.get(name, {})
                still = view.still() if view and pictures else None
                if view is None:
                    caption = f"{why.get('text', '')} {why.get('code', '')}".strip()
                else:  # what a page of its own says need not stand twice
                    said = still is not None and isinstance(view, PrintedView)
                    caption = "" if said else view.still_caption()
                found.append(PrintedPane(PANES[name].title, caption, still))
            return found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list) else value
