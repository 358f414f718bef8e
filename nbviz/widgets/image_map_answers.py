"""What an `ImageMap` answers when its view asks for more of the map, pictures, neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from nbviz.analysis import map_questions
from nbviz.analysis.map_places import images_nearer, priority
from nbviz.analysis.prediction import class_name
from nbviz.picture_files import PictureUpload
from nbviz.widgets import image_map_state as state
from nbviz.widgets import wire
from nbviz.widgets.base import answers, nearest
from nbviz.widgets.image_map_choices import ImageMapChoices
from nbviz.widgets.image_map_columns import MapColumns
from nbviz.widgets.image_map_layers import OF_NEIGHBOURS
from nbviz.widgets.image_map_own import OwnPictures
from nbviz.widgets.image_map_tiles import LARGEST, SHEET, STEP, ImageTiles, Tile, Tiles
from nbviz.widgets.image_map_work import MANY, NEAR, MapWork
from nbviz.widgets.sliced_work import SLICE

QUESTIONS = ("misplaced", "duplicates", "outliers")
#: What is done after the map, as a person reads it while it goes on.
DOING = {
    "grid": "Giving each image a cell of its own",
    "clusters": "Grouping the images by k-means",
    "neighbours": "Finding the nearest images of each for the network",
    "trust": "Measuring how far the map can be trusted",
    "seams": "Looking for neighbours here that are far apart for the network",
    "pictures": "Keeping some pictures for a saved page",
}

# Seconds after which tiles that are made are sent, and others left for the next question.
_PATIENCE = 0.5
_MOST_ASKED, _MOST_NEAR = 1024, 100
_MOST_FOUND = 200
# A saved page has so many pictures, of this side, in so many bytes.
SAVED, SAVED_SIDE, _SAVED_BYTES = 1024, 32, 600_000


class ImageMapAnswers(ImageMapChoices):
    """Base of `ImageMap`: its requests. The subclass sets what is declared here."""

    _lock: AbstractContextManager[Any]
    _columns: MapColumns
    _work: MapWork
    _tiles: ImageTiles | None
    _own: OwnPictures | None
    _uploads: PictureUpload
    # Rows whose pictures a saved page has, in order, and the tiles that are made of them so far.
    _kept_rows: list[int]
    _kept_tiles: list[Tile]
    # How much is done of what is worked out after the map.
    _share = 0.0

    # Whether what is left after the map is not to be done: a person stopped it, or it failed.
    _left = False

    def _settle(self) -> None:
        """Show what can be told now that images stay where they are."""
        raise NotImplementedError

    def _unsettle(self) -> None:
        """Take away what will no longer be so, as images move on."""
        raise NotImplementedError

    def _show_found(self, what: str) -> None:
        """Show what was worked out after the map, and what waited for it."""
        raise NotImplementedError

    def _to_do(self) -> str:
        """What is to be worked out next after the map; empty for nothing."""
        work, layout = self._work, self.arrangement
        if self._left or not work.settled:
            return ""
        if layout == "grid" and not work.known("grid"):
            return "grid"
        inks = {self.colour, self.border}
        if "cluster" in inks and not work.clustered:
            return "clusters"
        if work.known_neighbours is not None:
            if not work.known("trust", layout):
                return "trust"
            if self.seams and not work.known("seams", layout):
                return "seams"
        elif work.placed and (len(work.space) <= MANY or self.seams or inks & {*OF_NEIGHBOURS}):
            return "neighbours"
        if work.placed and self._tiles and len(self._kept_tiles) < len(self._kept_rows):
            return "pictures"
        return ""

    def _do(self, what: str) -> None:
        """Work on it for a moment."""
        work, layout, share = self._work, "" if what == "grid" else self.arrangement, None
        if what == "pictures":
            self._keep_pictures()
            return
        if what == "clusters":
            work.clusters(self._columns.groups)
        elif what == "neighbours":
            share = work.seek()
        else:
            share = work.work_on(what, layout)
        self._share = share or 0.0
        if self._to_do() != what:
            self._share = 0.0
            self._show_found(what)

    def _go_on(self) -> None:
        """Work for a moment on what is next."""
        work = self._work
        try:
            if not work.settled:
                if work.go_on():
                    self._settle()
            elif what := self._to_do():
                self._do(what)
        except BaseException:
            # The view would ask for the same again and again.
            work.stopped, self._left = not work.placed, True
            raise
        finally:
            self._show_progress(answering=True)

    def _progress(self) -> dict[str, Any]:
        what = self._to_do()
        share = f": {self._share:.0%}" if what in ("grid", "neighbours") else ""
        return state.progress_state(self._work, rest=what and DOING[what] + share)

    def _show_progress(self, *, answering: bool = False) -> None:
        """Put it into the state; as answers carry it, then only where it began, ended, stopped."""
        now = self._progress()
        flags = ("finished", "stopped") if answering and self.progress else tuple(now)
        if any(now[flag] != self.progress.get(flag) for flag in flags):
            self.progress = now

    @answers("advance")
    def _answer_advance(self, resume: bool = False, **asked: Any) -> dict[str, Any]:
        """Work on the map for a moment; how far it is, and where images stand by now."""
        del asked
        with self._lock:
            if resume:
                self._resume()
            self._go_on()
            places = self._work.places("map")
            arrays = {} if places is None else {"places": places}
            return wire.pack(arrays, **self._progress())

    @answers("stop")
    def _answer_stop(self, **asked: Any) -> dict[str, Any]:
        """Leave the map as it is."""
        del asked
        with self._lock:
            if self._work.settled:
                self._left = True
            else:
                self._work.stopped = True
                self._settle()
            self._show_progress()
            return wire.pack({}, **self._progress())

    def _resume(self) -> None:
        """Go on with all that was stopped."""
        self._left = False
        if self._work.stopped:
            self._work.stopped = False
            self._unsettle()

    @answers("tiles")
    def _answer_tiles(self, tile: int, rows: list[int], **asked: Any) -> dict[str, Any]:
        """Pictures of some images; of fewer where it is slow."""
        del asked
        if self._tiles is None:
            raise ValueError(f"there are no pictures: {self.missing}")
        if not (STEP <= tile <= LARGEST and tile % STEP == 0):
            raise ValueError(
                f"expected tiles of {STEP} to {LARGEST} pixels in steps of {STEP}, got {tile}"
            )
        if not 0 < len(rows) <= _MOST_ASKED:
            raise ValueError(f"expected 1 to {_MOST_ASKED} rows, got {len(rows)}")
        asked_for = [self._checked_row(row) for row in rows[: (SHEET // tile) ** 2]]
        with self._lock:
            made = self._tiles.made(self._columns.numbers[asked_for].tolist(), tile, _PATIENCE)
        return Tiles(tile, asked_for[: len(made)], made).packed()

    def _checked_row(self, row: int) -> int:
        count = len(self._columns.numbers)
        if type(row) is not int or not 0 <= row < count:
            raise ValueError(f"expected a row of the {count} on the map, got {row!r}")
        return row

    def _keep_pictures(self) -> None:
        """Make some more of the pictures for a saved page; all go into the state once they are."""
        if self._tiles is None:
            return
        left = self._kept_rows[len(self._kept_tiles) :]
        numbers = self._columns.numbers[left].tolist()
        self._kept_tiles += self._tiles.made(numbers, SAVED_SIDE, SLICE)
        if len(self._kept_tiles) == len(self._kept_rows):
            self.pictures = self._saved_pictures()

    def _saved_pictures(self) -> dict[str, Any]:
        count = len(self._kept_tiles)
        while count:
            sheet = Tiles(SAVED_SIDE, self._kept_rows[:count], self._kept_tiles[:count])
            packed = sheet.packed()
            size = wire.payload_bytes(packed)
            if size <= _SAVED_BYTES:
                return packed
            count = min(count - 1, int(count * _SAVED_BYTES / size))
        return {}

    def _first_rows(self, count: int) -> list[int]:
        """The rows that are kept where there is room for so many pictures."""
        ranks = priority(np.arange(len(self._columns.numbers)))
        some = min(count, len(ranks))
        first = np.argpartition(ranks, some - 1)[:some] if some else np.zeros(0, np.int64)
        ordered: list[int] = first[np.argsort(ranks[first])].tolist()
        return ordered

    @answers("neighbours")
    def _answer_neighbours(self, row: int, **asked: Any) -> dict[str, Any]:
        """The true neighbours of an image, and how far the map took each away."""
        del asked
        with self._lock:
            rows, distance, on_map = self._near(self._checked_row(row), NEAR)
        arrays = {"rows": rows, "distance": distance, "on_map": on_map}
        return wire.pack(arrays, row=row)

    def _near(self, row: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows, distance = self._work.near(row, count)
        positions = self._work.layout(self.arrangement)
        if positions is None:
            positions = self._work.positions
        on_map = images_nearer(positions, row, rows)
        return rows.astype(np.int32), distance.astype(np.float32), on_map

    @answers("card")
    def _answer_card(self, row: int, **asked: Any) -> dict[str, Any]:
        """What is to be said of an image."""
        del asked
        self._checked_row(row)
        number = int(self._columns.numbers[row])
        source = self._columns.source
        with self._lock:
            lines = state.card_lines(self._columns, row)
            for name, values in self._columns.colours.items():
                lines.append(f"{name}: {values[row]}")
        if self._tiles is not None and number in self._tiles.problems:
            lines.append(f"Not shown: {self._tiles.problems[number]}")
        file = None if source is None else source.file_name(number)
        title = file or f"image {number}"
        return wire.pack({}, row=row, title=title, lines=lines)

    @answers("question")
    def _answer_question(
        self, about: str, label: Any = None, among: Any = None, **asked: Any
    ) -> dict[str, Any]:
        """Images that stand out, the most so first."""
        del asked
        if about not in QUESTIONS:
            raise ValueError(f"expected one of {', '.join(QUESTIONS)}, got {about!r}")
        with self._lock:
            self._check_neighbours()
            if about == "misplaced":
                found = self._misplaced(label, among)
            elif about == "duplicates":
                found = self._duplicates()
            else:
                found = self._outliers()
        rows, partners, value, said, sentence = found
        arrays = {
            "rows": np.asarray(rows, np.int32),
            "partners": np.asarray(partners, np.int32),
            "value": np.asarray(value, np.float32),
        }
        return wire.pack(arrays, about=about, said=list(said), sentence=sentence)

    def _check_neighbours(self) -> None:
        """Whether a view may ask of the table of neighbours: of many images it takes long."""
        if self._work.known_neighbours is not None or self._work.few:
            return
        if len(self._work.space) <= MANY:
            raise ValueError("the nearest images of each are being found; ask again after that")
        raise ValueError(
            f"of more than {MANY:,} images the nearest of each are found once they are wanted; "
            "colour by Loneliness, and ask again when it is there"
        )

    def _misplaced(self, label: Any, among: Any) -> _Found:
        found = self._found_misplaced(label, among)
        names, total = self._columns.classes, len(found.rows)
        own = self._labels()
        rows = found.rows[:_MOST_FOUND]
        said = [
            f"{class_name(int(own[row]), names)}, but {100 * share:.0f} % of its neighbours are "
            f"{class_name(int(other), names)}"
            for row, other, share in zip(rows, found.among, found.among_share, strict=False)
        ]
        which = f" of {class_name(self._class_number(label), names)}" if _given(label) else ""
        where = class_name(self._class_number(among), names) if _given(among) else "another class"
        sentence = f"{state.counted(total, 'image')}{which} most of whose neighbours are {where}."
        return rows, np.full(len(rows), -1), found.own_share[: len(rows)], said, sentence

    def _found_misplaced(self, label: Any, among: Any) -> map_questions.Misplaced:
        numbers = {
            "label": self._class_number(label) if _given(label) else None,
            "among": self._class_number(among) if _given(among) else None,
        }
        return map_questions.misplaced(self._work.neighbours.index, self._labels(), **numbers)

    def _labels(self) -> np.ndarray:
        if self._columns.label is None:
            raise ValueError("there are no labels; pass labels=, one an image, to ImageMap")
        return self._columns.label

    def _class_number(self, given: Any) -> int:
        """The number of a class that is told by number or by name."""
        names = list(self._columns.classes or ())
        if isinstance(given, str):
            if given not in names:
                raise ValueError(
                    f"expected the name of a class, got {given!r}{nearest(given, names)}"
                )
            return names.index(given)
        return int(given)

    def _duplicates(self) -> _Found:
        pairs, distance = self._work.duplicates(_MOST_FOUND)
        same = int((distance == 0).sum())
        told = (
            f"{state.counted(same, 'pair')} with equal features."
            if same
            else "No two have equal features."
        )
        sentence = f"The pairs of images that are nearest for the network. {told}"
        said = [f"distance {one:.3g}" for one in distance]
        return pairs[:, 0], pairs[:, 1], distance, said, sentence

    def _outliers(self) -> _Found:
        scores = self._work.outliers()
        order = np.argsort(-scores, kind="stable")[:_MOST_FOUND]
        said = [f"{score:.2f} times as lonely as its neighbours" for score in scores[order]]
        sentence = "Images with the most room around them, beside what their neighbours have."
        return order, np.full(len(order), -1), scores[order], said, sentence

    @answers("picture_file")
    def _answer_file(self, arrays: dict[str, np.ndarray], **part: Any) -> dict[str, Any]:
        """A part of a file; with the last one the picture is placed on the map."""
        picture = self._uploads.add(data=arrays["data"].tobytes(), **part)
        if picture is not None:
            self._place(picture, str(part.get("name", "")))
        return wire.pack({})

    def _place(self, picture: Any, title: str) -> dict[str, Any]:
        if self._own is None:
            raise ValueError(f"no picture can be placed: {self.no_placing}")
        with self._lock:
            placed = self._own.place(self._work, picture, title)
            self.own = self._own.packed(self._work.frame("map"))
        numbers = self._columns.numbers[placed.rows]
        return {
            "position": placed.position,
            "image": numbers,
            "distance": placed.distance,
            "predicted": placed.predicted,
            "confidence": placed.confidence,
        }

    @answers("drop_own")
    def _answer_drop_own(self, **asked: Any) -> dict[str, Any]:
        """Take pictures of one's own off the map."""
        del asked
        if self._own is not None:
            self._own.clear()
        self.own = {}
        return wire.pack({})


# Rows, partners, values, a line each, and a sentence.
_Found = tuple[np.ndarray, np.ndarray, np.ndarray, Sequence[str], str]


def _given(label: Any) -> bool:
    """Whether a class was asked for."""
    return label is not None and label != -1 and label != ""
