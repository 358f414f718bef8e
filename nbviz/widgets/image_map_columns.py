"""What an `ImageMap` is given, brought to one form: features, and what is known of each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from nbviz.analysis.data_pass import feature_layer
from nbviz.analysis.embedding import Embedding
from nbviz.network import Network
from nbviz.scanning.result import Scan
from nbviz.scanning.source import ImageSource
from nbviz.widgets.base import nearest

# Images that a sentence names.
_NAMED = 3

Labels = tuple[np.ndarray, tuple[str, ...] | None]


@dataclass(frozen=True, eq=False)
class MapColumns:
    """The images that features were given of, a row each, and what belongs to all."""

    features: Any
    """As given; None where an embedding came with its own."""
    embedding: Any
    """An `Embedding`, positions, or None."""
    numbers: np.ndarray
    """int64 (n,), ascending, of the images in the data set."""
    label: np.ndarray | None
    """int32 (n,), -1 for none; None where no label is known."""
    predicted: np.ndarray | None
    confidence: np.ndarray | None
    """float32 (n,), NaN for none."""
    classes: tuple[str, ...] | None
    """Names of the labels."""
    outputs: tuple[str, ...] | None
    """Names of what is predicted."""
    source: ImageSource | None
    missing: str
    """Why there are no pictures."""
    network: Network | None
    layer: str | None
    """What the features are the output of, if that is known."""
    colours: dict[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """Sentences on images that are not on the map."""

    @property
    def groups(self) -> int | None:
        """As many clusters as classes are looked for, if these are known."""
        return len(self.classes) if self.classes else None

    def taken(self, rows: np.ndarray) -> MapColumns:
        """The same of some rows only."""
        if len(rows) == len(self.numbers):
            return self

        def some(column: np.ndarray | None) -> Any:
            return None if column is None else column[rows]

        return replace(
            self,
            numbers=self.numbers[rows],
            label=some(self.label),
            predicted=some(self.predicted),
            confidence=some(self.confidence),
            colours={name: column[rows] for name, column in self.colours.items()},
        )

    def right(self) -> np.ndarray | None:
        """1 where the prediction is the label, 0 where not, -1 where one is not known; or None."""
        if self.label is None or self.predicted is None:
            return None
        label = self.label
        if self.classes != self.outputs and self.classes and self.outputs:
            place = {name: number for number, name in enumerate(self.outputs)}
            into = np.array([*(place.get(name, -1) for name in self.classes), -1], np.int32)
            label = into[np.where(label < len(self.classes), label, -1)]
        known = (label >= 0) & (self.predicted >= 0)
        if not known.any():
            return None
        return np.where(known, label == self.predicted, -1).astype(np.int32)


def columns_of(
    given: Any,
    images: Any,
    labels: Any,
    *,
    classes: Sequence[str] | None,
    network: Network | nn.Module | None,
    embedding: Any,
    colours: Mapping[str, Any] | None,
) -> MapColumns:
    """Bring what was given to one form.

    Raises
    ------
    TypeError, ValueError
        If parts do not fit together; the message says which and what to do.
    """
    if isinstance(given, Embedding):
        if embedding is not None:
            raise TypeError("expected one embedding, got two; leave embedding= out")
        given, embedding = None, given
    known = None if network is None else Network.of(network)
    if isinstance(given, Scan):
        return _of_scan(given, images, labels, classes, known, embedding, colours)
    count = _count(given, embedding)
    source, missing = _source(images, count, classes, known)
    names = _names(classes, source, known)
    if labels is None:
        column = None if source is None else source.labels()
    else:
        column, names = _numbered(labels, count, names, given_names=classes is not None)
    return MapColumns(
        given,
        _checked(embedding, count),
        np.arange(count),
        _known(column),
        None,
        None,
        names,
        None if known is None else known.classes,
        source,
        missing,
        known,
        None if known is None else feature_layer(known),
        _checked_colours(colours, count),
    )


def _of_scan(
    scan: Scan,
    images: Any,
    labels: Any,
    classes: Sequence[str] | None,
    network: Network | None,
    embedding: Any,
    colours: Mapping[str, Any] | None,
) -> MapColumns:
    if images is not None or network is not None:
        scan.attach(network, images)
    rows = scan.images
    count = len(rows.index)
    if not count:
        raise ValueError(f"expected a scan of at least one image, got {scan}")
    if not isinstance(embedding, Embedding) and not rows.features.shape[1]:
        raise ValueError(
            "expected a scan with features of each image, got one without; scan again into "
            "another store with features='auto' or the name of a layer"
        )
    source = scan.dataset
    missing = "" if source is not None else "pass images=..., the data set that was scanned"
    if source is not None and source.length is None:
        source, missing = None, "the data set can only be read from its beginning, not by number"
    names = tuple(classes) if classes is not None else scan.classes
    label = rows.label
    if labels is not None:
        label, names = _numbered(labels, count, names, given_names=classes is not None)
    columns = MapColumns(
        rows.features,
        _checked(embedding, count),
        rows.index,
        _known(label),
        _known(rows.predicted),
        rows.confidence if np.isfinite(rows.confidence).any() else None,
        names,
        scan.output_names,
        source,
        missing,
        scan.network,
        scan.settings.features,
        _checked_colours(colours, count),
    )
    return _without_skipped(columns, scan)


def _without_skipped(columns: MapColumns, scan: Scan) -> MapColumns:
    """The images that could be read; the others have no features, and are named with the reason."""
    if not any(scan.images.reason):  # naming those of a million images takes a while
        return columns
    skipped = scan.skipped
    some = "; ".join(f"number {number}, {reason}" for number, reason in skipped[:_NAMED])
    more = f"; and {len(skipped) - _NAMED:,} more (scan.skipped)" if len(skipped) > _NAMED else ""
    are, them = ("image is", "it") if len(skipped) == 1 else ("images are", "them")
    reasons = f"as the scan could not read {them}: {some}{more}"
    note = f"{len(skipped):,} {are} not on the map, {reasons}."
    if isinstance(columns.embedding, Embedding):
        return replace(columns, notes=(note,))  # it knows of which images it is
    read = np.flatnonzero(~np.isin(columns.numbers, [number for number, _ in skipped]))
    if not len(read):
        raise ValueError(f"expected a scan with images that could be read, got none: {note}")
    return replace(
        columns.taken(read),
        features=columns.features[read],
        embedding=None if columns.embedding is None else np.asarray(columns.embedding)[read],
        notes=(note,),
    )


def _count(given: Any, embedding: Any) -> int:
    if given is None:
        if not isinstance(embedding, Embedding):
            raise TypeError(
                "expected a scan, an embedding or features of shape (images, features), got None"
            )
        return len(embedding.space.rows) + len(embedding.space.left_out)
    try:
        return len(given)
    except TypeError:
        raise TypeError(
            f"expected a scan, an embedding or features of shape (images, features), got "
            f"{type(given).__name__}"
        ) from None


def _checked(embedding: Any, count: int) -> Any:
    if not isinstance(embedding, Embedding):
        return embedding
    space = embedding.space
    of = len(space.rows) + len(space.left_out)
    if of != count:
        raise ValueError(
            f"expected an embedding of the {count:,} images that were given, got one of {of:,}"
        )
    return embedding


def _source(
    images: Any, count: int, classes: Sequence[str] | None, network: Network | None
) -> tuple[ImageSource | None, str]:
    """The images, or why there are none."""
    if images is None:
        return None, "pass images=..., of which the features are, in the same order"
    names = None if network is None else network.classes
    source = images
    if not isinstance(images, ImageSource):
        source = ImageSource(images, classes=classes, output_names=names)
    if source.length is None:
        return None, "the images can only be read from their beginning, not by number"
    if source.length != count:
        raise ValueError(
            f"expected as many images as rows of features, got {source.length:,} images and "
            f"{count:,} rows"
        )
    return source, ""


def _names(
    classes: Sequence[str] | None, source: ImageSource | None, network: Network | None
) -> tuple[str, ...] | None:
    if classes is not None:
        return tuple(classes)
    if source is not None and source.classes:
        return source.classes
    return None if network is None else network.classes


def _known(column: np.ndarray | None) -> np.ndarray | None:
    """A column of class numbers, None where none of them is known."""
    if column is None or not (column >= 0).any():
        return None
    return column.astype(np.int32)


def _numbered(
    labels: Any, count: int, names: tuple[str, ...] | None, *, given_names: bool
) -> Labels:
    """Labels as class numbers, and what these are called."""
    array = _array(labels, "labels")
    if len(array) != count:
        raise ValueError(
            f"expected one label an image, got {len(array):,} labels for {count:,} images"
        )
    if array.dtype.kind in "iub":
        return np.maximum(array.astype(np.int64), -1).astype(np.int32), names
    if array.dtype.kind == "f":
        known = np.isfinite(array)
        whole = np.where(known, array, -1)
        if (whole != np.rint(whole)).any():
            raise TypeError("expected labels as class numbers or names, got fractions")
        return np.maximum(whole, -1).astype(np.int32), names
    there = _there(array)
    told = array[there].astype(str) if array.dtype.kind in "OUS" else array[there]
    if not len(told):
        return np.full(count, -1, np.int32), names
    unique, inverse = np.unique(told, return_inverse=True)
    if array.dtype.kind == "O" and all(isinstance(one, int | np.integer) for one in array[there]):
        found = np.full(count, -1, np.int32)
        found[there] = np.maximum(array[there].astype(np.int64), -1)
        return found, names
    if names is None or not (given_names or {*unique.tolist()} <= {*names}):
        names = tuple(unique.tolist())
    place = {name: number for number, name in reversed([*enumerate(names)])}
    strange = [name for name in unique.tolist() if name not in place]
    if strange:
        raise ValueError(
            f"expected labels out of the {len(names)} classes, got {strange[0]!r}"
            f"{nearest(strange[0], list(names))}"
        )
    found = np.full(count, -1, np.int32)
    found[there] = np.array([place[name] for name in unique.tolist()], np.int32)[inverse]
    return found, names


def _array(values: Any, what: str) -> np.ndarray:
    """Values, one an image, of any kind that a person has them in."""
    if isinstance(values, str | Mapping) or not hasattr(values, "__len__"):
        raise TypeError(f"expected {what} as a list or array, got {values!r:.80}")
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    array = np.asarray(values)
    if array.dtype.kind in "US" and isinstance(values, list | tuple):
        # NumPy writes numbers and None beside names as names.
        array = np.array(values, object)
    if array.ndim != 1:
        raise ValueError(f"expected {what} of shape (images,), got {array.shape}")
    return array


def _there(array: np.ndarray) -> np.ndarray:
    """Which entries say something: neither None nor NaN."""
    if array.dtype.kind != "O":
        return np.ones(len(array), bool)
    there: np.ndarray = np.array([one is not None and one == one for one in array], bool)
    return there


def _checked_colours(colours: Mapping[str, Any] | None, count: int) -> dict[str, np.ndarray]:
    """The user's own values, one an image."""
    found = {}
    for name, values in (colours or {}).items():
        array = _array(values, f"colours[{name!r}]")
        if len(array) != count:
            raise ValueError(
                f"expected one value an image in colours[{name!r}], got {len(array):,} for "
                f"{count:,} images"
            )
        found[str(name)] = array
    return found
