"""What the units of a layer prefer: read off a pass over the data, a number a channel.

`preferences` joins all that an overview needs, for all channels of a layer at once: how much they
answer to one class, and how alike their strongest patches are (`nbviz.analysis.patch_likeness`).
Class numbers below 0 stand for "not known" and count nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbviz.analysis.data_pass import ImageRows
from nbviz.analysis.layers import Layer
from nbviz.analysis.patch_likeness import diversity, false_friends, purity, similarities
from nbviz.analysis.unit_places import sees_padding
from nbviz.analysis.unit_statistics.statistics import UnitStatistics

__all__ = [
    "SEES_PADDING",
    "ChannelPreferences",
    "middle",
    "positions_of",
    "preferences",
    "selectivity",
]

# Beside the bits of `false_friends`.
SEES_PADDING = 4


@dataclass(frozen=True, eq=False)
class ChannelPreferences:
    """What each channel of a layer prefers; k strongest patches a channel.

    Attributes
    ----------
    best : int32 array, shape (channels,)
        Class of the largest mean, -1 where none stands out; with chosen classes, of these.
    selectivity : float32 array, shape (channels,)
        For that class, or the chosen ones (`selectivity`); NaN where no two classes were seen.
    diversity : float32 array, shape (channels,)
        How unlike the images of the strongest patches are (`diversity`); NaN without features.
    purity : float32 array, shape (channels,)
        Share of the most frequent class among the patches; NaN where no class is known.
    labels : int32 array, shape (channels, k)
        Class of each patch's image, -1 if unknown.
    flags : uint8 array, shape (channels, k)
        Sum of `SEES_PADDING` (4) and the two bits of `patch_likeness.false_friends` (1, 2).
    """

    best: NDArray[np.int32]
    selectivity: NDArray[np.float32]
    diversity: NDArray[np.float32]
    purity: NDArray[np.float32]
    labels: NDArray[np.int32]
    flags: NDArray[np.uint8]


def preferences(
    statistics: UnitStatistics,
    images: ImageRows,
    layer: Layer | None = None,
    *,
    classes: Sequence[int] | None = None,
    top: int = 9,
) -> ChannelPreferences:
    """Everything that an overview of a layer's channels says about what they prefer.

    Parameters
    ----------
    statistics : UnitStatistics
        Of the layer: `top` (k places a channel), `classes` and `class_peaks` are read.
    images : ImageRows
        `index` (ascending), `label` and `features` are read.
    layer : Layer, optional
        To see which patches reach over the picture's edge; without it, or where the network takes
        vectors, no patch has that flag.
    classes : sequence of int, optional
        Selectivity for these classes together instead of for each channel's best.
    top : int
        So many of the strongest patches count for diversity.

    Raises
    ------
    ValueError
        As `selectivity`, if `classes` are given.

    Examples
    --------
    >>> import torch
    >>> from nbviz import Network
    >>> from nbviz.analysis.data_pass import DataPass
    >>> from nbviz.analysis.unit_statistics.settings import PassSettings
    >>> network = Network(torch.nn.Sequential(torch.nn.Identity()), input_shape=(1, 2, 2))
    >>> passed = DataPass(network, PassSettings(layers=("0",), top_k=2))
    >>> pictures = torch.tensor([3.0, 1.0]).reshape(2, 1, 1, 1).expand(2, 1, 2, 2)
    >>> passed.add(pictures, images=[0, 1], labels=[5, 8])
    >>> images, statistics = passed.finish()
    >>> found = preferences(statistics["0"], images)
    >>> found.best.tolist(), found.selectivity.tolist(), found.purity.tolist()
    ([5], [0.5], [0.5])
    """
    there = (statistics.top.image >= 0) & (statistics.top.value != 0)  # zero is no excitation
    at = np.where(there, positions_of(images.index, statistics.top.image), -1)
    known = at >= 0
    if len(images.label):
        labels = np.where(known, np.asarray(images.label)[at], -1).astype(np.int32)
    else:
        labels = np.full(at.shape, -1, np.int32)
    best, index = selectivity(statistics.class_peaks, statistics.classes, classes)
    alike = similarities(images.features, at)
    flags = false_friends(labels, alike)
    if layer is not None and layer.receptive_field is not None:
        row = np.where(there, statistics.top.row, -1)
        flags |= SEES_PADDING * sees_padding(layer, row, statistics.top.col).astype(np.uint8)
    return ChannelPreferences(
        best=best.astype(np.int32),
        selectivity=index.astype(np.float32),
        diversity=diversity(alike, top).astype(np.float32),
        purity=purity(labels).astype(np.float32),
        labels=labels,
        flags=flags,
    )


def positions_of(
    index: NDArray[np.integer[Any]], images: NDArray[np.integer[Any]]
) -> NDArray[np.int64]:
    """Where images stand among the rows of a pass.

    Parameters
    ----------
    index : int array, shape (n,)
        Numbers of the images, ascending.
    images : int array, shape (...)

    Returns
    -------
    int64 array, shape (...)
        Positions in `index`; -1 for an image that is not there.

    Examples
    --------
    >>> positions_of(np.array([3, 5, 8]), np.array([[5, 4], [8, -1]])).tolist()
    [[1, -1], [2, -1]]
    """
    if not len(index):
        return np.full(images.shape, -1, np.int64)
    at = np.searchsorted(index, images).clip(max=len(index) - 1)
    return np.where(np.asarray(index)[at] == images, at, -1).astype(np.int64)


def selectivity(
    class_means: NDArray[np.floating[Any]],
    class_numbers: NDArray[np.integer[Any]],
    classes: Sequence[int] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """How much more a channel answers to one class, or a set of them, than to the others.

    The class selectivity index of Morcos et al. (2018), "On the importance of single directions for
    generalization", sec. 2.3: ``(a - b) / (a + b)`` with the largest class mean `a`, and `b` the
    mean over the means of all other classes. Each class counts alike, however many images it has.
    The paper's activations are rectified; where a class mean lies below zero, all are counted from
    the lowest, which keeps the index between -1 and 1.

    Parameters
    ----------
    class_means : float array, shape (K, channels)
        Mean activation by class.
    class_numbers : int array, shape (K,)
        Which classes these are.
    classes : sequence of int, optional
        Take the mean over these classes as `a`, and that over the others as `b`. Those without
        images are left out.

    Returns
    -------
    best : int64 array, shape (channels,)
        The class of the largest mean (of `classes`, if given; the lowest of equal ones); -1 where
        all seen classes have one mean.
    index : float64 array, shape (channels,)
        0 where a and b are both zero; NaN where fewer than two classes have a mean.

    Raises
    ------
    ValueError
        If there are images of none of `classes`, or of no other class.

    Examples
    --------
    >>> best, index = selectivity(
    ...     np.array([[6.0, 0.0], [1.0, 0.0], [3.0, 0.0]]), np.array([4, 7, 9])
    ... )
    >>> best.tolist(), index.tolist()
    ([4, -1], [0.5, 0.0])
    >>> selectivity(np.array([[6.0], [1.0], [3.0]]), np.array([4, 7, 9]), [7, 9])[1].tolist()
    [-0.5]
    """
    numbers = np.asarray(class_numbers, np.int64)
    seen = numbers >= 0
    means = np.asarray(class_means, np.float64)
    means, numbers = (means, numbers) if seen.all() else (means[seen], numbers[seen])
    if classes is None:
        inside = None
    else:
        inside = np.isin(numbers, np.asarray(list(classes), np.int64))
        _expect_both_sides(inside, classes)
    if not len(numbers):
        return np.full(means.shape[1], -1), np.full(means.shape[1], np.nan)
    known = ~np.isnan(means)
    plain = bool(known.all())
    high = means if plain else np.where(known, means, -np.inf)
    low = means if plain else np.where(known, means, np.inf)
    chosen = high if inside is None else high[inside]
    best = (numbers if inside is None else numbers[inside])[chosen.argmax(0)]
    peak = chosen.max(0)
    counts, sums = known.sum(0), means.sum(0) if plain else np.where(known, means, 0).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        if inside is None:
            a, b = np.where(counts, peak, np.nan), (sums - peak) / (counts - 1)
        else:
            part = known[inside].sum(0)
            total = np.where(known[inside], means[inside], 0).sum(0)
            a, b = total / part, (sums - total) / (counts - part)
        lowest = np.minimum(low.min(0), 0)
        size = a + b - 2 * lowest
        index = np.where(size == 0, 0.0, (a - b) / size)
    flat = ~(high.max(0) > low.min(0)) | np.isneginf(peak)
    return np.where(flat, -1, best), index


def _expect_both_sides(inside: NDArray[np.bool_], classes: Sequence[int]) -> None:
    if inside.any() and not inside.all():
        return
    shown = ", ".join(str(number) for number in list(classes)[:5])
    more = ", ..." if len(classes) > 5 else ""
    what = "images of some other class too" if inside.any() else "images of these classes"
    msg = (
        f"expected a pass over {what}, got classes [{shown}{more}] of {len(inside)} that were "
        f"seen; choose others"
    )
    raise ValueError(msg)


def middle(statistics: UnitStatistics, channel: int, count: int) -> NDArray[np.int64]:
    """Sampled images to which a channel answers as to most: nearest its median peak.

    Parameters
    ----------
    statistics : UnitStatistics
        `sample` and the median of the peaks over all images are read.
    channel : int
    count : int
        At most so many.

    Returns
    -------
    int64 array, shape (n,)
        Columns of ``statistics.sample``, the strongest first; of equally near ones, the images of
        lower number.

    Raises
    ------
    IndexError
        If there is no such channel.

    Examples
    --------
    >>> import torch
    >>> from nbviz import Network
    >>> from nbviz.analysis.data_pass import scan_batch
    >>> network = Network(torch.nn.Sequential(torch.nn.Identity()), input_shape=(1, 2, 2))
    >>> pictures = torch.tensor([0.0, 9.0, 3.0, 5.0]).reshape(4, 1, 1, 1).expand(4, 1, 2, 2)
    >>> middle(scan_batch(network, pictures, ["0"], images=range(4))["0"], 0, 2).tolist()
    [3, 2]
    """
    values = np.asarray(statistics.sample.value)
    if not 0 <= channel < len(values):
        msg = f"expected a channel from 0 to {len(values) - 1}, got {channel}"
        raise IndexError(msg)
    peaks, images = values[channel].astype(np.float64), statistics.sample.image[channel]
    usable = np.flatnonzero(np.isfinite(peaks) & (images >= 0))
    far = np.abs(peaks[usable] - float(statistics.peak_quantile(0.5)[channel]))
    near = usable[np.lexsort((images[usable], far))[:count]]
    return near[np.lexsort((images[near], -peaks[near]))].astype(np.int64)
