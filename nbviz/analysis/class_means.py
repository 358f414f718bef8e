"""What the channels of a layer answer to each class, on average over some labelled images.

`class_means` takes one image at a time and gives the means so far, so that whoever asks can show
them as they grow, and stop when they are good enough.
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import nn

from nbviz.analysis.activations import activations
from nbviz.analysis.map_layout import expect_drawable
from nbviz.network import Network

__all__ = ["ClassMeans", "class_means"]


@dataclass(frozen=True, eq=False)
class ClassMeans:
    """Mean activations by class, over the images that were seen so far."""

    done: int
    """Number of images seen."""
    total: int
    """Number of images that will have been seen at the end."""
    counts: np.ndarray
    """int64, shape (classes,): images seen of each class."""
    means: np.ndarray
    """float32, shape (classes, channels): mean over images and places; NaN for a class of which no
    image was seen."""

    def difference(self, cls: int) -> np.ndarray:
        """By how much more each channel answers to one class than to all others together.

        Parameters
        ----------
        cls : int

        Returns
        -------
        ndarray of float32, shape (channels,)
            Mean over the images of the class, less the mean over the images of all other classes;
            NaN until there is one of each.

        Raises
        ------
        IndexError
            If there is no such class.
        """
        if not 0 <= cls < len(self.counts):
            msg = f"expected a class from 0 to {len(self.counts) - 1}, got {cls}"
            raise IndexError(msg)
        others = self.counts.copy()
        others[cls] = 0
        if not others.any():
            return np.full(self.means.shape[1], np.nan, np.float32)
        seen = others > 0
        rest = np.average(self.means[seen], axis=0, weights=others[seen])
        difference: np.ndarray = (self.means[cls] - rest).astype(np.float32)
        return difference


class _Images(Protocol):
    """Images by number: a sequence, or a data set."""

    def __len__(self) -> int: ...
    def __getitem__(self, number: int, /) -> Any: ...


def class_means(
    network: Network | nn.Module,
    layer: str,
    images: _Images,
    labels: Sequence[int | str | None],
    *,
    classes: int | Sequence[str] | None = None,
    limit: int = 200,
) -> Iterator[ClassMeans]:
    """Mean activations of a layer by class, growing by one image at a time.

    Images are chosen evenly by class and, within a class, spread evenly over it; the same ones
    every time. Classes take turns, so the means are even at any moment. The model is free between
    two steps.

    Parameters
    ----------
    network : Network or nn.Module
    layer : str
        Out of ``network.layers.names``. A channel's mean is that over the places of its map;
        tokens apart from the grid (class, registers) do not count, nor do values that are not
        finite.
    images : sequence
        Of what `activations` takes; only the chosen ones are looked at.
    labels : sequence of int, str or None
        One an image: the number of its class, its name, or None if that is not known.
    classes : int or sequence of str, optional
        How many there are, or their names. By default those of the network, or else as many as
        the largest label says.
    limit : int
        Largest number of images to look at.

    Yields
    ------
    ClassMeans
        After each image; nothing if none has a label.

    Raises
    ------
    UnknownLayerError, ValueError
        If there is no such layer or it cannot be drawn, images and labels differ in number, or a
        label is no class; before the first image is looked at.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    >>> network = Network(model, input_shape=(1, 8, 8))
    >>> images, labels = torch.randn(6, 1, 8, 8), [0, 0, 0, 0, 1, 1]
    >>> *_, last = class_means(network, "1", images, labels, limit=4)
    >>> last.counts.tolist(), last.means.shape, last.difference(0).shape
    ([2, 2], (2, 2), (2,))
    """
    network = Network.of(network)
    expect_drawable(network.layers[layer])
    if len(labels) != len(images):
        msg = f"expected one label an image, got {len(labels)} labels for {len(images)} images"
        raise ValueError(msg)
    known, count = _class_numbers(labels, network.classes if classes is None else classes)
    return _growing(network, layer, images, known, count, choose_evenly(known, count, limit))


def _class_numbers(
    labels: Sequence[int | str | None], classes: int | Sequence[str] | None
) -> tuple[np.ndarray, int]:
    """Labels as numbers, -1 where there is none, and the number of classes."""
    names = (
        {}
        if classes is None or isinstance(classes, int)
        else {name: number for number, name in reversed([*enumerate(classes)])}
    )
    numbers = np.full(len(labels), -1)
    for place, label in enumerate(labels):
        if isinstance(label, str):
            if label not in names:
                near = difflib.get_close_matches(label, names, n=3, cutoff=0.4)
                advice = f"did you mean {', '.join(map(repr, near))}?" if near else "pass `classes`"
                msg = f"expected the name of one of {len(names)} classes, got {label!r}; {advice}"
                raise ValueError(msg)
            numbers[place] = names[label]
        elif label is not None:
            numbers[place] = operator.index(label)
            if numbers[place] < 0:
                msg = f"expected labels of 0 or more, got {label}; None stands for no label"
                raise ValueError(msg)
    largest = int(numbers.max(initial=-1))
    count = (
        largest + 1 if classes is None else classes if isinstance(classes, int) else len(classes)
    )
    if largest >= count:
        msg = f"expected labels from 0 to {count - 1}, got {largest}; pass the number of `classes`"
        raise ValueError(msg)
    return numbers, count


def _growing(
    network: Network,
    layer: str,
    images: _Images,
    labels: np.ndarray,
    classes: int,
    chosen: Sequence[int],
) -> Iterator[ClassMeans]:
    counts = np.zeros(classes, np.int64)
    sums = np.zeros((classes, network.layers[layer].channels or 0))
    for done, index in enumerate(chosen, start=1):
        answer = activations(network, images[index], layer)[layer]
        sums[labels[index]] += answer.statistics.mean
        counts[labels[index]] += 1
        each = counts[:, None]
        means = np.divide(sums, each, out=np.full_like(sums, np.nan), where=each > 0)
        yield ClassMeans(done, len(chosen), counts.copy(), means.astype(np.float32))


def choose_evenly(labels: np.ndarray, classes: int, limit: int) -> list[int]:
    """Positions of at most `limit` labels, as many of each class as there are, in turns.

    Examples
    --------
    >>> choose_evenly(np.array([0, 0, 0, 0, 1, 2, 2]), classes=3, limit=5)
    [0, 4, 5, 3, 6]
    """
    places = [np.flatnonzero(labels == cls) for cls in range(classes)]
    share = np.zeros(classes, np.int64)
    left = min(limit, sum(map(len, places)))
    while left:  # what a small class cannot give, the others do
        open_ = [cls for cls in range(classes) if share[cls] < len(places[cls])]
        for cls in open_[:left]:
            share[cls] += 1
        left -= len(open_[:left])
    spread = [
        place[np.linspace(0, len(place) - 1, count).round().astype(int)]
        for place, count in zip(places, share, strict=True)
    ]
    turns = range(int(share.max(initial=0)))
    return [int(own[turn]) for turn in turns for own in spread if turn < len(own)]
