"""TopPatches: the patches of the data that excite every channel most, and what each prefers."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from nbviz.analysis.answering_channels import Answer
from nbviz.analysis.class_choice import search_classes
from nbviz.analysis.patch_likeness import BESIDE_THE_CLASS, BESIDE_THE_LOOK
from nbviz.analysis.prediction import class_name
from nbviz.analysis.unit_statistics.statistics import UnitStatistics
from nbviz.network import Network
from nbviz.scanning.result import Scan
from nbviz.widgets import top_patches_state as state
from nbviz.widgets import wire
from nbviz.widgets.base import bundle
from nbviz.widgets.printed_page import Layout, PrintedView, drawn
from nbviz.widgets.top_patches_answers import TopPatchesAnswers
from nbviz.widgets.top_patches_choices import PATCHES
from nbviz.widgets.top_patches_pictures import PatchPictures, Show
from nbviz.widgets.top_patches_print import TILE, PrintedRow, patches_page

if TYPE_CHECKING:
    import bqplot

# A view shows up only once its still is drawn: fewer rows there, and none that need forward passes.
_PRINTED_ROWS, _STILL_ROWS = 8, 4
_OVERVIEWS_KEPT = 4
_GROUPS: dict[state.Group, str] = {"top": "strongest", "middle": "middle", "bottom": "weakest"}


class TopPatches(TopPatchesAnswers, PrintedView):
    """The strongest patches of every channel of a layer, out of a scan of a data set.

    Parameters
    ----------
    scan : Scan
        What `nbviz.scan` gave, or `nbviz.scanning.Scan.open`.
    layer : str, optional
        Layer to begin with; the first that was scanned when None.
    network : Network or nn.Module, optional
        The one that was scanned, where the scan does not hold it (it was opened from a file).
        Without it there are numbers, and no patches.
    dataset : object, optional
        The data set that was scanned, likewise.
    **traits
        Initial values of `channel`, `sort`, `search`, `show`, and the other choices.

    Raises
    ------
    TypeError
        If `scan` is none, or for an argument that does not exist (the nearest is named).
    ScanMismatchError
        If `network` or `dataset` is not the one that was scanned.
    TraitError
        For a layer that was not scanned, or another value that cannot be.

    Notes
    -----
    A patch shows what the unit can see: its receptive field in the network's input, with stripes
    where that reaches over the edge (Girshick et al. 2014, arXiv 1311.2524, sec. 3.1). Images as
    the network saw them are kept in at most 64 MiB.

    Examples
    --------
    >>> import nbviz
    >>> network, images, labels, classes = nbviz.demos.digits()
    >>> scan = nbviz.scan(network, images, labels=labels, layers="conv1", progress=False)
    >>> patches = nbviz.TopPatches(scan, sort="peak")
    >>> patches.channel = int(scan["conv1"].peak.argmax())
    >>> bool(patches.samples("top")["value"][0] == scan["conv1"].peak.max())
    True
    >>> patches  # doctest: +SKIP
    """

    _esm = bundle("top-patches")
    _printed_name = "patches"

    def __init__(
        self,
        scan: Scan,
        layer: str | None = None,
        *,
        network: Network | nn.Module | None = None,
        dataset: Any = None,
        **traits: Any,
    ) -> None:
        if not isinstance(scan, Scan):
            raise TypeError(
                f"expected a scan, as nbviz.scan(network, dataset) gives it, got a "
                f"{type(scan).__name__}"
            )
        if network is not None or dataset is not None:
            scan.attach(None if network is None else Network.of(network), dataset)
        self.scan = scan
        self.network = scan.network
        self._lock = threading.RLock() if self.network is None else self.network.lock
        self._names = scan.classes
        self._columns = state.ImageColumns(scan)
        self._cut, self._missing = _pictures_of(scan)
        self._overviews: OrderedDict[str, state.LayerOverview] = OrderedDict()
        self._strips = OrderedDict()
        self._tile = TILE
        self._gathered = set()
        traits.setdefault("patches", min(PATCHES, scan.settings.top_k))
        traits.setdefault("descending", traits.get("sort", "index") != "index")
        with self._lock:
            super().__init__(layer=scan.layers[0] if layer is None else layer, **traits)
            self._gathered = None
            self.layers = state.layer_table(scan, self.network)
            self.classes = state.shown_names(scan.classes)
            self.outputs = state.shown_names(scan.output_names)
            self._update({*self.CHOICES}, {})

    @property
    def statistics(self) -> UnitStatistics:
        """What the scan holds of the layer on show."""
        return self._shown.statistics

    @property
    def order(self) -> np.ndarray:
        """Channels in the order that `sort` puts them in, int32 (channels,).

        What has no value stands last either way, ties by number.
        """
        order: np.ndarray = self._order.copy()
        return order

    @property
    def problems(self) -> dict[int, str]:
        """Why images could not be shown, by number; a crossed tile stands for each."""
        return {} if self._cut is None else dict(self._cut.problems)

    def samples(self, group: state.Group = "top") -> dict[str, np.ndarray]:
        """Places where the opened channel answers strongest, as to most images, or weakest.

        Returns
        -------
        dict of str to array, the first axis the samples
            ``value``, ``image`` (number), ``label`` and ``predicted`` (class numbers, -1 if
            unknown), ``confidence``, ``boxes`` (top, left, bottom, right in pixels of the input),
            ``place`` (row, column on the layer's grid), ``flags``: sum of 1 (another class than
            most of the top), 2 (another look) and 4 (the box reaches over the edge).

        Raises
        ------
        ValueError
            If no channel is opened, or there is no such group.
        """
        if group not in _GROUPS:
            raise ValueError(f"expected one of {', '.join(_GROUPS)}, got {group!r}")
        if self.channel < 0:
            raise ValueError("no channel is opened; set `channel` first")
        with self._lock:
            return state.channel_picks(self._shown, self._columns, self.channel).named(group)

    def answering(
        self,
        image: Any,
        box: Sequence[int] | None = None,
        layers: str | Sequence[str] | None = None,
    ) -> list[Answer]:
        """Channels that answer to an image more strongly than to 99 % of the data.

        Parameters
        ----------
        image : int or picture
            Number of an image of the data set, or whatever `Network.prepare` takes.
        box : sequence of int, optional
            Top, left, bottom and right in pixels of the network's input: only units centred in it
            count.
        layers : str or sequence of str, optional
            Layers that were scanned; the one on show when None.

        Returns
        -------
        list of Answer
            The rarest first; see `nbviz.analysis.answering_channels`.

        Raises
        ------
        ValueError
            If there is no network, or no data set to take an image's number from.
        TraitError
            If there is no such image, layer or box.
        """
        names = [self.layer] if layers is None else [layers] if isinstance(layers, str) else layers
        for name in names:
            self._check_scanned(name)
        return self._channels_answering(image, box, names)

    def chart(self) -> bqplot.Figure:
        """A bqplot histogram of how strongly images excite the opened channel, samples marked.

        Examples
        --------
        >>> ipywidgets.VBox([patches, patches.chart()])  # doctest: +SKIP
        """
        # bqplot takes long to import, and most views are shown without a chart.
        from nbviz.widgets.top_patches_chart import samples_chart

        return samples_chart(self)

    def still_caption(self) -> str:
        """One sentence or more: whose patches, of how many images, and what was found."""
        images = state.counted(self.statistics.images, "image")
        if self.channel < 0:
            channels = state.counted(self.statistics.channels, "channel")
            return f"Strongest patches of the {channels} of {self._described()}, out of {images}."
        said = state.channel_sentence(self._shown, self.channel, self._names)
        return f"Patches of channel {self.channel} of {self._described()}, out of {images}. {said}"

    # From here on: what keeps choices, overview and the browser together.

    def _exclusive(self) -> AbstractContextManager[Any]:
        return self._lock

    def _held(self) -> Any:
        return getattr(self, "_shown", None), getattr(self, "_order", None)

    def _put_back(self, held: Any) -> None:
        self._shown, self._order = held

    def _bring(self, changed: set[str]) -> None:
        first = not self.overview
        shown: dict[str, Any] = {}
        if "layer" in changed and not first:
            # A channel, and a place, of another layer mean nothing here.
            for name, none in (("channel", -1), ("unit", [])):
                if name not in changed:
                    setattr(self, name, none)
        if {"layer", "search"} & changed:
            self._shown = self._overview_of(self.layer)
            shown["found"] = self._search(sorting="search" in changed and "sort" not in changed)
            shown["overview"] = self._overview_state()
        if {"layer", "search", "sort", "descending"} & changed:
            # The browser sorts by itself, from the same numbers.
            self._order = self._shown.order(self.sort, descending=self.descending)
        if {"layer", "channel"} & changed:
            shown["opened"] = {}
        with self.hold_sync():
            for name, value in shown.items():
                setattr(self, name, value)
            if {"layer", "search", "sort", "descending", "show", "patches"} & changed:
                self._save_pictures()

    def _search(self, *, sorting: bool) -> dict[str, Any]:
        """Put selectivity for the classes that are searched in; what is to be said of them."""
        if not self.search.strip():
            return {}
        seen = self._shown.classes.tolist()
        if not seen:
            return {"classes": [], "note": "This scan has no labels; pass labels= to nbviz.scan."}
        try:
            numbers = search_classes(self._names, self.search, seen)
            self._shown = state.preferring(self._shown, numbers, self._names)
        except ValueError as error:  # what was typed so far may be half a word
            return {"classes": [], "note": str(error)}
        if sorting:
            self.sort, self.descending = "selectivity", True
        return {
            "classes": [{"number": n, "name": class_name(n, self._names)} for n in numbers],
            "note": "",
        }

    def _overview_of(self, layer: str) -> state.LayerOverview:
        """A layer's overview, out of the few that are kept."""
        known = self._overviews.pop(layer, None)
        if known is None:
            self._check_scanned(layer)
            known = state.layer_overview(self.scan, self._columns, self.network, layer)
        self._overviews[layer] = known
        while len(self._overviews) > _OVERVIEWS_KEPT:
            self._overviews.popitem(last=False)
        return known

    def _overview_state(self) -> dict[str, Any]:
        return wire.pack(
            state.sent(self._shown.arrays),
            layer=self.layer,
            images=self.statistics.images,
            classes_known=len(self._shown.classes) > 0,
            input=[] if self.network is None else list(self.network.input_shape[-2:]),
            whole=self._shown.whole,
            missing=self._missing,
            search=self.search,
        )

    def _described(self) -> str:
        model = self.scan.store.manifest.network["model"]
        return f"layer {self.layer!r} of {model}"

    def still(self) -> np.ndarray:
        """The page as a picture: of the list the first rows, with patches for masked ones."""
        return drawn(self._page(_STILL_ROWS, "patch" if self.show == "masked" else self.show))

    def _page(self, most: int = _PRINTED_ROWS, show: Show | None = None) -> Layout:
        show = self.show if show is None else show
        with self._lock:
            if self.channel < 0:
                rows, apart = self._printed_rows(most, show)
            else:
                rows, apart = self._printed_groups(show)
            which = "" if self.channel < 0 else f", channel {self.channel}"
            notes = [self.still_caption()]
            if apart:
                notes.append("* differs from the rest of the strongest in class or in look.")
            if self._missing:
                notes.append(f"No pictures: {self._missing}.")
            described = self._described()
            return patches_page(f"{described[0].upper()}{described[1:]}{which}", notes, rows)

    def _printed_rows(self, most: int, show: Show) -> tuple[list[PrintedRow], bool]:
        rows, apart = [], False
        for channel in self._order[:most].tolist():
            arrays = self._shown.arrays
            there = np.flatnonzero(arrays["image"][channel, : self.patches] >= 0)
            picks = {name: arrays[name][channel, there] for name in _PRINTED}
            score = "" if self.sort in ("index", "peak") else self.sort
            fact = f"{score} {arrays[score][channel]:.2f}" if score else ""
            heading = (f"channel {channel}", f"peak {arrays['peak'][channel]:.3g}", fact)
            made, differ = self._printed(channel, heading, picks, show, named=False)
            rows.append(made)
            apart |= differ
        return rows, apart

    def _printed_groups(self, show: Show) -> tuple[list[PrintedRow], bool]:
        made = [
            self._printed(self.channel, (said,), self.samples(group), show, named=True)
            for group, said in _GROUPS.items()
        ]
        return [row for row, _ in made], any(differ for _, differ in made)

    def _printed(
        self,
        channel: int,
        heading: tuple[str, ...],
        picks: dict[str, np.ndarray],
        show: Show,
        *,
        named: bool,
    ) -> tuple[PrintedRow, bool]:
        apart = (picks["flags"] & (BESIDE_THE_CLASS | BESIDE_THE_LOOK)) > 0
        captions = []
        for value, label, differs in zip(picks["value"], picks["label"], apart, strict=True):
            of_class = f"\n{class_name(int(label), self._names)}" if named and label >= 0 else ""
            captions.append(f"{value:.3g}{' *' if differs else ''}{of_class}")
        tiles = []
        if self._cut is not None:
            places = self._places(self._shown, channel, picks)
            tiles = [self._cut.tile(place, show, TILE) for place in places]
        return PrintedRow(heading, tiles, captions), bool(apart.any())


_PRINTED = ("value", "image", "label", "flags", "place")


def _pictures_of(scan: Scan) -> tuple[PatchPictures | None, str]:
    """What cuts patches, or why there are none to be had."""
    if scan.network is None or scan.dataset is None:
        missing = [
            f"{name}=..."
            for name, there in (("network", scan.network), ("dataset", scan.dataset))
            if there is None
        ]
        return None, f"pass {' and '.join(missing)} to TopPatches, as they were scanned"
    if scan.dataset.length is None:
        return None, "the data set can only be read from its beginning, not by number"
    return PatchPictures(scan.network, scan.dataset), ""
