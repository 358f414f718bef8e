"""ImageMap: a data set laid out by what a network sees in it, thousands of images to fly over."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from tqdm.auto import tqdm

from nbviz.analysis.embedding import Embedding
from nbviz.analysis.map_trust import MapTrust
from nbviz.network import Network
from nbviz.picture_files import PictureUpload
from nbviz.widgets import image_map_state as state
from nbviz.widgets import wire
from nbviz.widgets.base import bundle
from nbviz.widgets.image_map_answers import SAVED, ImageMapAnswers
from nbviz.widgets.image_map_columns import MapColumns, columns_of
from nbviz.widgets.image_map_inks import Ink
from nbviz.widgets.image_map_layers import OF_LAYOUT, WAITING, inked, layers_of
from nbviz.widgets.image_map_own import placing
from nbviz.widgets.image_map_print import map_page
from nbviz.widgets.image_map_tiles import ImageTiles
from nbviz.widgets.image_map_work import MapWork
from nbviz.widgets.printed_page import Layout, PrintedView

# Beyond, a grid takes minutes.
MOST_IN_GRID = 1_000_000


class ImageMap(ImageMapAnswers, PrintedView):
    """The images of a data set, each placed beside those that are like it for a network.

    Parameters
    ----------
    scan_or_features : Scan, Embedding, or features of shape (n, D)
        A scan with features, as `nbviz.scan` gives it, brings labels, predictions and images; an
        array, a tensor or `FeatureRows` has a row for each image; an `Embedding` is a map that was
        computed before, by `nbviz.analysis.embedding.embed`.
    images : object, optional
        Whatever `nbviz.scan` takes, in the order of the features: a folder, paths, arrays, a data
        set. Without images there are dots.
    labels : sequence of int or str, optional
        One an image, -1 or None for unknown. From the scan or the data set when None.
    method : str
        ``"tsne"``, ``"umap"``, ``"pca"``, or ``"tsne-sklearn"`` for comparison.
    perplexity : float
        About how many neighbours an image is drawn to.
    seed : int
    normalise : bool
        Whether features are divided by their lengths first.
    components : int or None
        Principal components that are kept of them; None for all features.
    embedding : Embedding or array of shape (n, 2), optional
        A map of these features that was computed before, or positions from elsewhere.
    classes : sequence of str, optional
        Names of the labels.
    network : Network or nn.Module, optional
        What the features are of: then pictures of one's own can be placed on the map.
    colours : mapping of str to array, optional
        More to colour by, one value an image: floats, whole numbers, names, or bools.
    device : str or torch.device, optional
        Where neighbours are sought; the CPU by default.
    **traits
        Initial values of `arrangement`, `colour`, `size`, and the other choices.

    Raises
    ------
    TypeError, ValueError
        If parts do not fit together: a scan without features, labels of another length, ...
    TraitError
        For a choice that cannot be.

    Notes
    -----
    After A. Karpathy, "t-SNE visualization of CNN codes" (2014). The map is computed while the view
    looks on; `wait` finishes it in the cell. How far it can be trusted is measured once it is there
    (`trust`, and as colours). The state that a notebook saves has positions, up to 1,024 small
    pictures, and neighbours of up to 20,000 images.

    Examples
    --------
    >>> import nbviz
    >>> network, images, labels, classes = nbviz.demos.digits()
    >>> scan = nbviz.scan(network, images, labels=labels, layers="conv1", progress=False)
    >>> view = nbviz.ImageMap(scan, colour="class")
    >>> view.wait(progress=False).positions.shape == (len(images), 2)
    True
    >>> view.selected = view.misplaced()["image"]
    >>> view  # doctest: +SKIP
    """

    _esm = bundle("image-map")
    _printed_name = "image-map"

    def __init__(
        self,
        scan_or_features: Any,
        images: Any = None,
        labels: Any = None,
        *,
        method: str = "tsne",
        perplexity: float = 30.0,
        seed: int = 0,
        normalise: bool = True,
        components: int | None = 50,
        embedding: Embedding | Any = None,
        classes: Sequence[str] | None = None,
        network: Network | nn.Module | None = None,
        colours: Mapping[str, Any] | None = None,
        device: Any = None,
        **traits: Any,
    ) -> None:
        columns = columns_of(
            scan_or_features,
            images,
            labels,
            classes=classes,
            network=network,
            embedding=embedding,
            colours=colours,
        )
        self._work = MapWork(
            columns.features,
            columns.embedding,
            method=method,
            perplexity=perplexity,
            seed=seed,
            normalise=normalise,
            components=components,
            device=device,
        )
        self._hold(columns.taken(self._work.space.rows))
        self._gathered = set()
        names = self._layer_names()
        first = next(name for name in ("class", "prediction", "none") if name in names)
        with self._lock:
            super().__init__(**{"colour": first, **traits})
            self._gathered = None
            self.layers, self.missing = self._offered, columns.missing
            self.no_placing = self._why_not
            self.notes = self._noted()
            self.points = state.points_state(self._work, self._numbers)
            self.facts = state.facts_state(self._columns, self._work)
            self._update({*self.CHOICES}, {})
            self._show_progress()

    def _hold(self, columns: MapColumns) -> None:
        """Take what is known of the images on the map."""
        self._columns, source = columns, columns.source
        self.network = columns.network
        self._lock = threading.RLock() if self.network is None else self.network.lock
        self._numbers = columns.numbers
        self._offered = layers_of(columns)
        self._tiles = None if source is None else ImageTiles(source, self.network)
        self._own, self._why_not = placing(columns, self._work)
        self._uploads = PictureUpload()
        self._kept_rows = [] if source is None else self._first_rows(SAVED)
        self._kept_tiles = []

    @property
    def embedding(self) -> Embedding:
        """The map as far as it is: positions, features, neighbours."""
        return self._work.embedding

    @property
    def problems(self) -> dict[int, str]:
        """Why images could not be shown, by number; a crossed tile stands for each."""
        return {} if self._tiles is None else dict(self._tiles.problems)

    def wait(self, *, progress: bool = True) -> Embedding:
        """Finish the map now, in this cell; interrupt the kernel to stop it where it is.

        Parameters
        ----------
        progress : bool
            Whether a bar shows how far it is.

        Returns
        -------
        Embedding
            Not `finished` if it was interrupted: then a warning says so, and the view can go on.
        """
        with tqdm(disable=not progress, bar_format="{desc}") as bar:
            try:
                with self._lock:
                    self._resume()
                    self._show_progress()
                while not self.progress["finished"]:
                    with self._lock:
                        self._go_on()
                        bar.set_description_str(self._progress()["sentence"])
            except KeyboardInterrupt:
                with self._lock:
                    self._work.stopped = True
                    self._settle()
                    self._show_progress()
                warnings.warn(
                    f"The map was interrupted: {self._progress()['sentence']} wait() goes on.",
                    stacklevel=2,
                )
        return self.embedding

    def neighbours(self, number: int, count: int = 15) -> dict[str, np.ndarray]:
        """The images that are nearest to one for the network.

        Parameters
        ----------
        number : int
            Of the image in the data set.
        count : int

        Returns
        -------
        dict of str to array of shape (k,), nearest first
            ``image`` (numbers), ``distance`` (of features), ``on_map``: how many images lie nearer
            on the map.
        """
        (row,) = self._rows_of(np.array([number]), "number")
        with self._lock:
            rows, distance, on_map = self._near(int(row), count)
        return {"image": self._numbers[rows], "distance": distance, "on_map": on_map}

    def misplaced(self, label: int | str | None = None, among: int | str | None = None) -> Any:
        """Images most of whose neighbours are of another class; see `map_questions.misplaced`.

        Parameters
        ----------
        label, among : int or str, optional
            Only images of this class, and only among that one.

        Returns
        -------
        dict of str to array of shape (m,), the most misplaced first
            ``image`` (numbers), ``own_share`` and ``among_share`` of the neighbours, ``among``
            (class numbers).
        """
        with self._lock:
            found = self._found_misplaced(label, among)
        return {
            "image": self._numbers[found.rows],
            "own_share": found.own_share,
            "among": found.among,
            "among_share": found.among_share,
        }

    def near_duplicates(self, most: int = 200) -> dict[str, np.ndarray]:
        """Pairs of images that are nearest for the network, closest first.

        Returns
        -------
        dict of str to array
            ``image``, numbers of shape (m, 2), and ``distance``, shape (m,).
        """
        with self._lock:
            pairs, distance = self._work.duplicates(most)
        return {"image": self._numbers[pairs], "distance": distance}

    def outliers(self) -> dict[str, np.ndarray]:
        """All images, the loneliest first; see `map_questions.outliers`.

        Returns
        -------
        dict of str to array of shape (n,)
            ``image`` (numbers) and ``score`` (local outlier factor, about 1 inside a group).
        """
        with self._lock:
            scores = self._work.outliers()
        order = np.argsort(-scores, kind="stable")
        return {"image": self._numbers[order], "score": scores[order]}

    def measure_trust(self) -> MapTrust:
        """How far the layout on show can be trusted, for all and for each image."""
        with self._lock:
            found = self._work.trust(self.arrangement)
            self._show_found("grid" if self.arrangement == "grid" else "trust")
        return found

    def place(self, picture: Any) -> dict[str, Any]:
        """Place a picture on the map, which does not move; it shows there until `drop_own`.

        Parameters
        ----------
        picture : picture
            Whatever `Network.prepare` takes, or the path of a file.

        Returns
        -------
        dict
            ``position`` on the map, float32 (2,); ``image``, ``distance`` of its neighbours;
            ``predicted`` class number, -1 for none, and ``confidence``.

        Raises
        ------
        ValueError
            If it cannot be placed; the message says why.
        """
        title = Path(picture).name if isinstance(picture, str | Path) else "your picture"
        return self._place(picture, title)

    def drop_own(self) -> None:
        """Take pictures of one's own off the map."""
        self._answer_drop_own()

    def still_caption(self) -> str:
        """One sentence or more: what the map is, of how many images, and how far to trust it."""
        images = state.counted(len(self._numbers), "image")
        missing = "" if self._work.placed else ", not finished"
        layout = {"grid": ", as a grid", "pca": ", here by its principal components"}
        said = f"{images} by {self.embedding.described}{layout.get(self.arrangement, '')}{missing}."
        return " ".join([said, *([self.trust["sentence"]] if self.trust else [])])

    # From here on: what keeps choices and what is shown together.

    def _exclusive(self) -> AbstractContextManager[Any]:
        return self._lock

    def _held(self) -> Any:
        shown = ("colour_layer", "border_layer", "found", "named", "seam_lines", "trust", "points")
        return {name: getattr(self, name) for name in shown}, getattr(self, "_ink", None)

    def _put_back(self, held: Any) -> None:
        traits, self._ink = held
        for name, value in traits.items():
            setattr(self, name, value)

    def _layer_names(self) -> list[str]:
        return [layer["name"] for layer in self._offered]

    def _noted(self) -> list[str]:
        notes = [*self._columns.notes, *self.embedding.notes]
        # The last one says that it is not finished, which the view shows by itself.
        return notes if self.embedding.finished else notes[:-1]

    def _bring(self, changed: set[str]) -> None:
        first = not self.colour_layer
        count = len(self._numbers)
        if "arrangement" in changed and self.arrangement == "grid" and count > MOST_IN_GRID:
            raise ValueError(
                f"expected a grid of {MOST_IN_GRID:,} images at most, got {count:,}, which would "
                'take minutes; choose "map", or make a map of fewer'
            )
        if {"arrangement", "colour", "border", "seams"} & changed:
            self._left = False
        if "colour" in changed and not first:
            # A filter of other categories, or another scale, means nothing here.
            for name in ("hidden", "range"):
                if name not in changed:
                    setattr(self, name, [])
        with self.hold_sync():
            if {"arrangement", "colour", "border", "seams"} & changed:
                self._at_once()
            if "arrangement" in changed:
                self._bring_layout()
            if {"arrangement", "colour", "border"} & changed:
                self._bring_colours(changed)
            if {"arrangement", "seams"} & changed:
                self._bring_seams()
            if "search" in changed:
                self.found = self._search()
        if not first:
            self._show_progress()

    def _at_once(self) -> None:
        """Work out what the choices want, of a map of few images that stay where they are."""
        work, layout = self._work, self.arrangement
        if not (work.few and work.settled):
            return
        if layout == "grid" and not work.known("grid"):
            work.grid()
            self.points = state.points_state(work, self._numbers)
        if work.known_neighbours is not None:
            work.trust(layout)
            if self.seams:
                work.seams(layout)

    def _bring_layout(self) -> None:
        known, finished = self._work.known_trust(self.arrangement), self._work.placed
        told = (
            () if known is None else state.trust_state(known, self.arrangement, finished=finished)
        )
        self.trust = dict(told)

    def _bring_seams(self) -> None:
        there = self.seams and self._work.known("seams", self.arrangement)
        self.seam_lines = state.seam_state(self._work, self.arrangement) if there else {}

    def _bring_colours(self, changed: set[str]) -> None:
        if "colour" in changed or ("arrangement" in changed and self.colour in OF_LAYOUT):
            self._ink = self._inked(self.colour)
            self.colour_layer = self._ink.packed()
        if "border" in changed or ("arrangement" in changed and self.border in OF_LAYOUT):
            own = self.border not in ("", "none")
            self.border_layer = self._inked(self.border).packed() if own else {}
        by = self._ink
        if by.kind != "category" and self._columns.label is not None:
            by = self._inked("class")
        self.named = (
            state.named_state(self._work, by, self.arrangement) if self._work.settled else {}
        )

    def _inked(self, name: str) -> Ink:
        return inked(name, self._columns, self._work, self.arrangement)

    def _search(self) -> dict[str, Any]:
        """Images by file name or number; classes are searched in the view."""
        words = self.search.strip().casefold()
        if not words:
            return {}
        source, rows = self._columns.source, np.zeros(0, np.int64)
        named = source is not None and source.in_files
        if source is not None and named:
            names = (source.file_name(number) or "" for number in self._numbers.tolist())
            found = [row for row, name in enumerate(names) if words in name.casefold()]
            rows = np.array(found, np.int64)
        if words.isdecimal() and len(words) < 19:
            rows = np.union1d(rows, np.flatnonzero(self._numbers == int(words)))
        if not named:
            note = "The images have no file names; a number finds an image."
        else:
            none = "No file has this in its name."
            note = f"{state.counted(len(rows), 'file')} found." if len(rows) else none
        return wire.pack({"rows": rows.astype(np.int32)}, note=note, search=self.search)

    def _settle(self) -> None:
        """Show what can be told now that images stay where they are."""
        with self.hold_sync():
            self.notes = self._noted()
            self.points = state.points_state(self._work, self._numbers)
            self._show_found("neighbours")

    def _show_found(self, what: str) -> None:
        """Show what was worked out after the map, and what waited for it."""
        with self.hold_sync():
            if what == "grid":
                self.points = state.points_state(self._work, self._numbers)
            if what == "neighbours":
                self.facts = state.facts_state(self._columns, self._work)
                self._at_once()
            self._bring_layout()
            self._bring_colours({n for n in ("colour", "border") if getattr(self, n) in WAITING})
            self._bring_seams()

    def _unsettle(self) -> None:
        """Take away what will no longer be so, as images move on."""
        with self.hold_sync():
            self.named, self.trust, self.seam_lines = {}, {}, {}

    def _page(self) -> Layout:
        with self._lock:
            return map_page(
                self._work,
                self._ink,
                self._tiles if self.thumbnails != "dots" else None,
                self._columns.numbers,
                layout=self.arrangement,
                caption=self.still_caption(),
                named=self.named if self.names else {},
            )
