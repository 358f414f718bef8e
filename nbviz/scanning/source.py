"""The images of a data set, whatever it is, by number or as a stream, and what tells it again."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from nbviz.picture_set import PictureSet, class_names, picture_and_label, picture_of

__all__ = ["ImageSource", "Item"]

# Items whose content tells the data set, those of a stream, and reads of the first few that must
# all give the same: a mirroring by chance is missed once in 4**4 times.
_PROBES, _STREAM_PROBES, _READ_AGAIN, _READS = 64, 4, 4, 3
# An iterator that fails so often in a row will not recover.
_MOST_FAILURES = 100


@dataclass(frozen=True, eq=False)
class Item:
    """One image of a data set, as `Network.prepare` takes it, and its class number if known."""

    picture: Any
    label: int | None


class ImageSource:
    """The images of a data set by number, or as a stream where it has no numbers.

    Parameters
    ----------
    dataset : object
        All that `PictureSet` takes: a folder (its subfolders are the classes), a list of pictures
        or paths, an array, a torch `Dataset`, a Hugging Face data set. Or an iterable of such
        items without length (torch `IterableDataset`, generator, streamed Hugging Face data set).
    labels : sequence of int or str, optional
        One an image; else they come from the data set. Not for iterables.
    classes : sequence of str, optional
        What the labels 0, 1, ... are called; else the data set's own names.
    output_names : sequence of str, optional
        Names of the network's outputs. Labels that are names are looked up there if neither
        `classes` nor the data set names any.

    Attributes
    ----------
    length : int or None
        Number of images, None for an iterable.
    classes : tuple of str or None
        What the labels 0, 1, ... are called. Where all is unknown but names were given as
        `labels`, these names, sorted.

    Raises
    ------
    TypeError
        If it is no data set; a `DataLoader` gives batches, so its data set is asked for.
    ValueError
        If there is no image, or not one label an image.

    Examples
    --------
    >>> source = ImageSource(np.zeros((3, 8, 8), np.uint8), labels=["cat", "dog", "cat"])
    >>> source.length, source.classes, source.read(1).label
    (3, ('cat', 'dog'), 1)
    """

    def __init__(
        self,
        dataset: Any,
        labels: Sequence[Any] | None = None,
        classes: Sequence[str] | None = None,
        *,
        output_names: Sequence[str] | None = None,
    ) -> None:
        if isinstance(dataset, DataLoader):
            raise TypeError(
                "expected a data set, got a DataLoader, which gives batches; pass its data set "
                "(loader.dataset), and batch_size= to the scan"
            )
        self._dataset, self._given_labels = dataset, labels
        self._pictures: PictureSet | None = None
        self._stream: _Stream | None = None
        if _is_stream(dataset):
            if labels is not None:
                raise ValueError(
                    "expected the labels of an iterable with its items, as (picture, label), got "
                    "labels=; leave labels= out"
                )
            self._stream, own = _Stream(dataset), class_names(dataset)
        else:
            self._pictures = PictureSet(dataset, labels)
            own = self._pictures.classes
        self.length = None if self._pictures is None else len(self._pictures)
        known = own if classes is None else _checked_names(classes)
        if known is None:
            known = _names_given(labels, output_names)
        self.classes: tuple[str, ...] | None = known
        names = known if known is not None else tuple(output_names or ())
        self._numbers = {name: number for number, name in reversed([*enumerate(names)])}
        self._fingerprints: tuple[str, str] | None = None

    def read(self, number: int) -> Item:
        """An image by number; not for an iterable.

        Raises whatever reading raises: a damaged file, a missing one, an error of the data set.
        """
        if self._pictures is None:
            raise TypeError("expected a data set with numbers, got an iterable; use items()")
        return self._item(self._pictures.item(number))

    def glance(self, number: int, side: int) -> Any:
        """An image of which `side` pixels of the shorter side are enough.

        A large file is read at a fraction of its size, which for JPEG is many times as fast.
        Raises as `read` does.
        """
        if self._pictures is None:
            raise TypeError("expected a data set with numbers, got an iterable; use items()")
        return picture_of(self._pictures.item(number)[0], side=side)

    @property
    def in_files(self) -> bool:
        """Whether each image is a file of its own, so that several may be read at once."""
        return self._pictures is not None and self._pictures.in_files

    def labels(self) -> NDArray[np.int32] | None:
        """Class numbers of all, -1 for none; None where they are known only from the images."""
        known = None if self._pictures is None else self._pictures.known_labels
        if known is None:
            return None
        found = np.asarray(known)
        if found.dtype.kind in "iu":
            return np.asarray(np.maximum(found.astype(np.int64), -1), np.int32)
        numbers = [self._numbers.get(one) if isinstance(one, str) else one for one in known]
        return np.array([-1 if one is None else int(one) for one in numbers], np.int32)

    def name(self, number: int) -> str | None:
        """The path of an image below the folder, None where no folder was given."""
        folder = None if self._pictures is None else self._pictures.folder
        return None if folder is None else folder.names[number]

    def file_name(self, number: int) -> str | None:
        """The same, or the name of the file where paths were given; None where no files were."""
        if self._pictures is None or not self.in_files or self._pictures.folder is not None:
            return self.name(number)
        return Path(self._pictures.item(number)[0]).name

    def items(self) -> Iterator[tuple[int, Item | Exception]]:
        """All images with their numbers, or what went wrong with one, in order.

        Raises
        ------
        ValueError
            If an iterable breaks off with an error, or was a generator that has been used up.
        """
        if self._stream is None:
            for number in range(self.length or 0):
                try:
                    yield number, self.read(number)
                except Exception as error:  # noqa: BLE001, PERF203 - a data set may fail in any way
                    yield number, error
            return
        for number, raw in enumerate(self._stream):
            yield number, self._converted(raw)

    def first(self, count: int) -> Iterator[tuple[int, Item | Exception]]:
        """The first images with their numbers, as `items` gives them; none is used up."""
        if self._stream is None:
            return itertools.islice(self.items(), count)
        return enumerate(map(self._converted, self._stream.first(count)))

    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) that tells the pictures from others, the same in every process.

        It is taken of the number of pictures and the content of up to 64 of them, spread evenly;
        with these, of a folder the paths and sizes of all files, and of a Hugging Face data set
        its own fingerprint. Of an iterable it is taken of the first 4.

        Raises
        ------
        ValueError
            If reading a picture again gives another one, as with random augmentation.
        """
        return self._both()[0]

    def label_fingerprint(self) -> str:
        """SHA-256 of the labels: all if given apart, else of the pictures that are looked at."""
        return self._both()[1]

    def _both(self) -> tuple[str, str]:
        if self._fingerprints is None:
            pictures, labels = _Hash(), _Hash()
            if self._stream is not None:
                self._probe_stream(self._stream, pictures, labels)
            elif self._pictures is not None:
                self._probe_pictures(self._pictures, pictures, labels)
            self._fingerprints = pictures.text(), labels.text()
        return self._fingerprints

    def _probe_pictures(self, pictures: PictureSet, found: _Hash, labels: _Hash) -> None:
        count = len(pictures)
        probes = sorted({*np.linspace(0, count - 1, min(count, _PROBES)).round().astype(int)})
        for number in probes[:_READ_AGAIN]:
            contents = {self._content(pictures, number)[0] for _ in range(_READS)}
            if len(contents) > 1:
                raise ValueError(
                    f"expected the same picture each time image {number} is read, got others: the "
                    f"data set changes it at random; take random augmentation out of its "
                    f"transform, as results belong to the pictures"
                )
        if pictures.folder is not None:
            for name in pictures.folder.names:
                found.add(name, _size(pictures.folder.root / name))
        own = getattr(self._dataset, "_fingerprint", None)
        read = [self._content(pictures, number) for number in probes]
        found.add(own if isinstance(own, str) else None, count, *(content for content, _ in read))
        if self._given_labels is None:
            labels.add(*(label for _, label in read))
        else:
            labels.add(*(pictures.label(number) for number in range(count)))

    def _probe_stream(self, stream: _Stream, found: _Hash, labels: _Hash) -> None:
        reads = [[*map(self._content_of, stream.first(_STREAM_PROBES))] for _ in range(_READS)]
        if any(read != reads[0] for read in reads):
            raise ValueError(
                "expected the same first items each time the iterable is begun, got others; take "
                "shuffling and random augmentation out, as results belong to numbered pictures"
            )
        found.add("stream", *(content for content, _ in reads[0]))
        labels.add(*(label for _, label in reads[0]))

    def _content(self, pictures: PictureSet, number: int) -> tuple[str, Any]:
        try:
            raw: Any = pictures.item(number)
        except Exception as error:  # noqa: BLE001 - it is skipped in the scan, with its reason
            raw = error
        return self._content_of(raw)

    def _content_of(self, raw: Any) -> tuple[str, Any]:
        """Hash of a picture, and its label."""
        if isinstance(raw, Exception):
            return f"{type(raw).__name__}", None
        picture, label = raw if isinstance(raw, tuple) else (raw, None)
        try:
            return _content_hash(picture), label
        except Exception as error:  # noqa: BLE001 - as above
            return type(error).__name__, label

    def _converted(self, raw: Any) -> Item | Exception:
        try:
            return raw if isinstance(raw, Exception) else self._item(raw)
        except Exception as error:  # noqa: BLE001 - a picture may fail in any way
            return error

    def _item(self, raw: tuple[Any, int | str | None]) -> Item:
        picture, label = raw
        number = self._numbers.get(label) if isinstance(label, str) else label
        return Item(picture_of(picture), number)

    def __repr__(self) -> str:
        count = "an iterable" if self.length is None else f"{self.length:,} images"
        named = f", {len(self.classes)} classes" if self.classes else ""
        return f"ImageSource({count}{named})"


class _Stream:
    """An iterable of items, begun anew each time if it can be."""

    def __init__(self, dataset: Iterable[Any]) -> None:
        self._dataset = dataset
        self._rest: Iterator[Any] | None = (
            self._raw(dataset) if isinstance(dataset, Iterator) else None
        )
        self._used = False

    def first(self, count: int) -> Iterable[Any]:
        """The first items, read anew each time if that can be; they are not used up."""
        if self._rest is None:
            return itertools.islice(self._raw(iter(self._dataset)), count)
        begun = [*itertools.islice(self._rest, count)]
        self._rest = itertools.chain(begun, self._rest)
        return begun

    def __iter__(self) -> Iterator[Any]:
        if self._rest is None:
            return self._raw(iter(self._dataset))
        if self._used:
            raise ValueError(
                "expected an iterable that can be begun anew, got a generator that has been used "
                "up; make a new one, or pass an object whose __iter__ makes one"
            )
        self._used = True
        return self._rest

    def _raw(self, iterator: Iterator[Any]) -> Iterator[Any]:
        """Pairs of picture and label, and errors."""
        failures: list[Exception] = []
        number = 0
        while True:
            try:
                item = next(iterator)
            except StopIteration:
                if not failures:
                    return
                # A generator that has failed ends there: what came after the error is lost.
                raise _broken_off(number, failures[-1]) from failures[-1]
            except Exception as error:
                failures.append(error)
                number += 1
                if len(failures) > _MOST_FAILURES:
                    raise _broken_off(number, error) from error
                continue
            yield from failures
            failures.clear()
            number += 1
            try:
                pair: Any = picture_and_label(item)
            except Exception as error:  # noqa: BLE001 - as above
                pair = error
            yield pair


class _Hash:
    """SHA-256 of values with their bounds, so that ("ab", "c") is not ("a", "bc")."""

    def __init__(self) -> None:
        self._found = hashlib.sha256()

    def add(self, *values: Any) -> None:
        for value in values:
            self._found.update(json.dumps(value).encode() + b"\n")

    def text(self) -> str:
        return self._found.hexdigest()


def _broken_off(number: int, error: Exception) -> ValueError:
    return ValueError(
        f"expected the iterable to go on after an item that fails, but it broke off at item "
        f"{number - 1} ({type(error).__name__}: {error}); catch the error inside it and skip the "
        f"item, or pass a data set with numbers"
    )


def _is_stream(dataset: Any) -> bool:
    if isinstance(dataset, IterableDataset):
        return True
    known = isinstance(dataset, str | Path | Image.Image | Tensor | np.ndarray)
    return not known and hasattr(dataset, "__iter__") and not hasattr(dataset, "__len__")


def _checked_names(classes: Any) -> tuple[str, ...]:
    if isinstance(classes, str) or not all(isinstance(name, str) for name in classes):
        raise TypeError(
            f"expected classes as names in the order of the labels 0, 1, ..., got {classes!r:.60}"
        )
    return tuple(classes)


def _names_given(labels: Any, output_names: Sequence[str] | None) -> tuple[str, ...] | None:
    """Names of classes where only the labels themselves tell them."""
    names = {label for label in (() if labels is None else labels) if isinstance(label, str)}
    if not names or names <= {*(output_names or ())}:
        return None
    return tuple(sorted(names))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a link that leads nowhere; it is skipped in the scan, with its reason
        return -1


def _content_hash(picture: Any) -> str:
    """SHA-256 of a picture's values, or of the file of that path."""
    found = hashlib.sha256()
    if isinstance(picture, str | Path):
        found.update(Path(picture).expanduser().read_bytes())
    elif isinstance(picture, Image.Image):
        found.update(f"{picture.mode} {picture.size} {picture.info.get('transparency')}".encode())
        found.update(bytes(picture.getpalette() or ()) if picture.mode in {"P", "PA"} else b"")
        found.update(picture.tobytes())
    else:
        tensor = isinstance(picture, Tensor)
        if tensor and picture.is_floating_point():
            picture = picture.detach().float()
        values = np.ascontiguousarray(picture.detach().cpu().numpy() if tensor else picture)
        found.update(f"{values.dtype} {values.shape}".encode())
        found.update(values.tobytes())
    return found.hexdigest()
