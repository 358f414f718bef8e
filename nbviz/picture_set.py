"""Pictures by number, with their labels, however they were given.

One picture, a list, an array of many, a folder, a torch `Dataset` or a Hugging Face data set all
become a `PictureSet`; nothing is read before it is asked for. What a picture may be is what
`Network.prepare` takes, and the path of an image file.
"""

from __future__ import annotations

import operator
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import Subset

from nbviz.picture_files import read_picture

__all__ = ["PictureFolder", "PictureSet", "class_names", "picture_and_label", "picture_of"]

#: How the names of picture files end.
SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".png", ".gif", ".webp", ".avif", ".heic", ".heif", ".bmp", ".dib",
    ".tif", ".tiff", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm", ".qoi", ".pcx", ".psd", ".ico",
    ".sgi", ".dds", ".xbm", ".xpm",
))  # fmt: skip

_IMAGE_KEYS = ("image", "img", "pixel_values", "images")
_LABEL_KEYS = ("label", "labels", "fine_label", "class", "target")


class PictureSet:
    """Pictures by number, and their labels.

    Parameters
    ----------
    pictures : object
        One picture: a PIL image, a uint8 array (H, W), (H, W, 3) or (H, W, 4), a float tensor
        (C, H, W) or (1, C, H, W), or the path of a file. Many: a sequence of these, a uint8 array
        (N, H, W) or (N, H, W, 3), a float tensor (N, C, H, W), or anything with ``len`` and
        numbers (a torch `Dataset`, a Hugging Face data set), whose items may be pairs (picture,
        label) or mappings with such entries. Or the path of a folder: see `PictureFolder`.
    labels : sequence of int or str, optional
        One a picture (None for none); else taken from the items.

    Raises
    ------
    TypeError
        If it is nothing of these, or a label is no class number and no name.
    ValueError
        If there is no picture, or not one label a picture.
    FileNotFoundError
        If it is a path where there is nothing. Of several paths, each is tried when it is read.

    Examples
    --------
    >>> pictures = PictureSet(np.zeros((5, 8, 8), np.uint8), labels=[0, 1, 2, 3, 4])
    >>> len(pictures), pictures.picture(1).shape, pictures.label(1)
    (5, (8, 8), 1)
    """

    def __init__(self, pictures: Any, labels: Sequence[Any] | None = None) -> None:
        if isinstance(pictures, str | Path):
            path = Path(pictures).expanduser()
            if not path.exists():
                raise FileNotFoundError(
                    f"expected the path of a folder of pictures or of one picture, but there is no "
                    f"such file or folder: {str(pictures)!r:.300}"
                )
            if path.is_dir():
                pictures = PictureFolder(path)
        self._items: Any = [pictures] if _is_one(pictures) else pictures
        countable = hasattr(self._items, "__len__") and hasattr(self._items, "__getitem__")
        if not countable or isinstance(self._items, bytes | bytearray | memoryview):
            raise TypeError(
                f"expected a picture, or pictures that have a length and numbers, got "
                f"{type(pictures).__name__}; pass the path of a file, or a list of some of the "
                f"items of an iterable"
            )
        if isinstance(self._items, Mapping):
            raise TypeError(
                "expected a picture or a sequence of pictures, got a mapping; pass the list of "
                "its pictures, or one entry"
            )
        if len(self._items) == 0:
            raise ValueError("expected at least one picture, got none")
        self._classes = class_names(self._items)
        self._labels: Any = (
            _column_of_labels(self._items)
            if labels is None
            else _given_labels(labels, len(self._items))
        )

    def __len__(self) -> int:
        return len(self._items)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """What the data set calls its labels 0, 1, ...; None if it does not say."""
        return self._classes

    @property
    def folder(self) -> PictureFolder | None:
        """The folder that the pictures are in, if one was given."""
        return self._items if isinstance(self._items, PictureFolder) else None

    @property
    def in_files(self) -> bool:
        """Whether each picture is a file of its own, so that several may be read at once."""
        if not isinstance(self._items, list | tuple | PictureFolder):
            return False
        ends = self._items[0], self._items[len(self) - 1]
        return all(isinstance(end, str | Path) for end in ends)

    @property
    def known_labels(self) -> Sequence[Any] | None:
        """Labels of all, where they are known without reading the pictures."""
        known: Sequence[Any] | None = self._labels
        return known

    @property
    def labelled(self) -> bool:
        """Whether labels are there, seen by the first picture."""
        return self.label(0) is not None

    def picture(self, number: int) -> Any:
        """A picture as `Network.prepare` takes it.

        Raises
        ------
        IndexError
            If there is no such number.
        """
        return picture_of(self.item(number)[0])

    def __getitem__(self, number: int) -> Any:
        """The same as `picture`."""
        return self.picture(number)

    def subset(self, numbers: Sequence[int]) -> Sequence[Any]:
        """Some of the pictures, none of which is read before it is asked for."""
        return _Subset(self, numbers)

    def numbers_by_class(self, most: int = 2000) -> tuple[list[int], list[int]]:
        """Numbers of pictures whose label is a class number, and these labels.

        Of a data set that tells labels only with its pictures, at most so many are looked at,
        spread evenly over it.
        """
        step = 1 if self._labels is not None else -(-len(self) // most)
        found = [(number, self.label(number)) for number in range(0, len(self), step)]
        known = [(number, label) for number, label in found if isinstance(label, int)]
        return [number for number, _ in known], [label for _, label in known]

    def label(self, number: int) -> int | str | None:
        """Its label, None if it has none."""
        return _as_label(self.item(number)[1] if self._labels is None else self._labels[number])

    def item(self, number: int) -> tuple[Any, int | str | None]:
        """Picture, not yet read where it is a path, and label; the data set is asked once."""
        if not 0 <= number < len(self):
            raise IndexError(
                f"expected the number of a picture from 0 to {len(self) - 1}, got {number}"
            )
        picture, label = picture_and_label(self._items[number])
        return picture, label if self._labels is None else _as_label(self._labels[number])


class PictureFolder(Sequence[str]):
    """Paths of the pictures in a folder and those below it, in order, and their classes.

    Pictures are told by the ends of their names (`SUFFIXES`); hidden files and folders are left
    out. They are sorted by their paths below the folder, part by part, the same on every system.

    Parameters
    ----------
    folder : str or Path

    Attributes
    ----------
    root : Path
        The folder.
    names : list of str
        Paths below it, with ``/`` between the parts.
    classes : tuple of str or None
        Names of the folders right below it that hold pictures, sorted; None if there are none.
    targets : list of int or None, or None
        For each picture the number of its class, None for one that lies in no such folder; None
        where there are no classes.

    Raises
    ------
    ValueError
        If there is no picture; the message says what there is.
    OSError
        If a folder cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as root:
    ...     for name in ("dog/b.png", "cat/a.png", "cat/notes.txt"):
    ...         path = Path(root, name)
    ...         path.parent.mkdir(exist_ok=True)
    ...         path.touch()
    ...     folder = PictureFolder(root)
    >>> folder.names, folder.classes, folder.targets
    (['cat/a.png', 'dog/b.png'], ('cat', 'dog'), [0, 1])
    """

    def __init__(self, folder: str | Path) -> None:
        self.root = Path(folder).expanduser().resolve()
        others: Counter[str] = Counter()
        found = []
        for parts in _files_below(self.root):
            suffix = PurePath(parts[-1]).suffix.lower()
            if suffix in SUFFIXES:
                found.append(parts)
            else:
                others[suffix or "no suffix"] += 1
        if not found:
            most = sorted(others, key=lambda suffix: (-others[suffix], suffix))[:3]
            seen = ", ".join(f"{others[suffix]} of {suffix}" for suffix in most)
            raise ValueError(
                f"expected pictures (.jpg, .png, ...) in {self.root} or below it, found "
                f"{f'only other files ({seen})' if seen else 'no files'}; pass the folder of the "
                f"pictures"
            )
        found.sort()
        self.names = ["/".join(parts) for parts in found]
        classes = sorted({parts[0] for parts in found if len(parts) > 1})
        self.classes = tuple(classes) or None
        number = {name: place for place, name in enumerate(classes)}
        self.targets = (
            [number.get(p[0]) if len(p) > 1 else None for p in found] if classes else None
        )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[n] for n in range(*number.indices(len(self)))]
        return str(self.root / self.names[number])


def _files_below(root: Path) -> Iterator[tuple[str, ...]]:
    """Parts of the paths of all files below a folder that are not hidden; links are followed."""
    waiting: list[tuple[tuple[str, ...], frozenset[str]]] = [((), frozenset())]
    while waiting:
        parts, above = waiting.pop()
        folder = root.joinpath(*parts)
        real = os.path.realpath(folder)
        if real in above:  # a link back to a folder that holds it
            continue
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name == "__MACOSX":
                    continue
                if entry.is_dir():
                    waiting.append(((*parts, entry.name), above | {real}))
                else:
                    yield (*parts, entry.name)


class _Subset(Sequence[Any]):
    def __init__(self, pictures: PictureSet, numbers: Sequence[int]) -> None:
        self._pictures, self._numbers = pictures, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: Any) -> Any:
        return self._pictures.picture(self._numbers[index])


def picture_of(image: Any, *, side: int = 1024) -> Any:
    """A picture as `Network.prepare` takes it: what came, or what is in the file of that path.

    Of a file, `side` pixels of the shorter side are enough; see `read_picture`.
    """
    if isinstance(image, str | Path):
        path = Path(image).expanduser()
        return read_picture(path.read_bytes(), path.name, side=side)
    return image


def picture_and_label(item: Any) -> tuple[Any, int | str | None]:
    """Picture (or its path) and label of an item of a data set, the label None if it has none.

    Raises
    ------
    TypeError
        If it is a mapping without a picture.
    """
    if isinstance(item, Mapping):
        image = next((item[key] for key in _IMAGE_KEYS if key in item), None)
        if image is None:
            raise TypeError(
                f"expected items with one of {', '.join(_IMAGE_KEYS)}, got {sorted(item)}; "
                "pass the pictures themselves"
            )
        return image, _as_label(next((item[key] for key in _LABEL_KEYS if key in item), None))
    if isinstance(item, tuple | list) and len(item) >= 2:
        return item[0], _as_label(item[1])
    return item, None


def class_names(dataset: Any) -> tuple[str, ...] | None:
    """What a data set of torchvision or Hugging Face, or a `PictureFolder`, calls its labels.

    Of a torch `Subset` those of the whole; None if it does not say.
    """
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    names = getattr(dataset, "classes", None)
    if names is None:
        features = getattr(dataset, "features", None)
        if isinstance(features, Mapping):
            key = next((key for key in _LABEL_KEYS if key in features), "")
            names = getattr(features.get(key), "names", None)
    if not isinstance(names, list | tuple) or not names:
        return None
    # ImageNet of torchvision has several words for each.
    return tuple(", ".join(map(str, n)) if isinstance(n, list | tuple) else str(n) for n in names)


def _as_label(value: Any) -> int | str | None:
    """A label as a plain number or name, None if it is neither (a box, a mask, a caption each)."""
    if value is None or isinstance(value, str):
        return value
    try:
        return int(operator.index(value.item() if hasattr(value, "item") else value))
    except (TypeError, ValueError, RuntimeError):
        return None


def _given_labels(labels: Any, count: int) -> list[Any]:
    single = isinstance(labels, str | Mapping) or not hasattr(labels, "__iter__")
    listed = labels.tolist() if hasattr(labels, "tolist") else [] if single else list(labels)
    if single or not isinstance(listed, list):
        raise TypeError(f"expected a list of labels, one a picture, got {labels!r:.80}")
    if len(listed) != count:
        raise ValueError(
            f"expected one label a picture, got {len(listed)} labels for {count} pictures"
        )
    for number, value in enumerate(listed):
        if value is not None and _as_label(value) is None:
            raise TypeError(
                f"expected labels as class numbers (int) or names (str), got {value!r:.80} for "
                f"picture {number}; convert them, or leave labels out"
            )
    return listed


def _column_of_labels(items: Any) -> Any:
    """Labels that a data set of torchvision or Hugging Face has apart from its pictures."""
    if getattr(items, "target_transform", None) is not None:
        return None  # the items' own labels are others
    labels: Any = getattr(items, "targets", None)
    if labels is None:
        columns = getattr(items, "column_names", None) or ()
        name = next((key for key in _LABEL_KEYS if key in columns), None)
        labels = None if name is None else items[name]
    fits = hasattr(labels, "__getitem__") and hasattr(labels, "__len__")
    return labels if fits and len(labels) == len(items) else None


def _is_one(pictures: Any) -> bool:
    if isinstance(pictures, Image.Image | str | Path):
        return True
    if isinstance(pictures, Tensor):
        return pictures.ndim < 4 or len(pictures) == 1
    if isinstance(pictures, np.ndarray):
        return pictures.ndim in (0, 2) or (pictures.ndim == 3 and pictures.shape[2] in (3, 4))
    return False
