"""Statistics of the channels of one layer over a set of images, and how two are merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbviz.analysis.unit_statistics import bins
from nbviz.analysis.unit_statistics.bins import BINS
from nbviz.analysis.unit_statistics.exact_sums import add_exactly, exact_total
from nbviz.analysis.unit_statistics.ranked import Ranked
from nbviz.analysis.unit_statistics.settings import PassSettings

__all__ = ["CLASS_SCALE", "UnitStatistics", "spread"]

#: Class sums are whole multiples of one over this.
CLASS_SCALE = 2.0**30

_RANKED = ("top", "bottom", "sample")
_COUNTS = ("peak_counts", "place_counts", "mean_sum", "square_sum", "nonfinite")

_BY_CLASS = ("classes", "class_images", "class_sum", "class_peak_sum", "class_missing")


@dataclass(frozen=True, eq=False)
class UnitStatistics:
    """What the channels of a layer answered to some images.

    The *peak* of a channel for an image is its strongest activation over all places, its *mean*
    the mean over them. A channel that gave NaN, infinity or a number beyond 2**20 for an
    image is counted in `nonfinite` for that image, and nowhere else.

    Memory: 25 bytes times `top_k`, `bottom_k` and `samples` (together), 16 bytes times `BINS`, and
    16 bytes a class seen, for each channel; that of no array depends on the number of images.

    Examples
    --------
    >>> from nbviz import Network
    >>> from nbviz.analysis.data_pass import scan_batch
    >>> network = Network(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), input_shape=(3, 8, 8))
    >>> a = scan_batch(network, torch.rand(5, 3, 8, 8), ["1"], images=range(5))["1"]
    >>> b = scan_batch(network, torch.rand(5, 3, 8, 8), ["1"], images=range(5, 10))["1"]
    >>> both = a.merge(b)
    >>> both.images, bool((both.peak == np.maximum(a.peak, b.peak)).all())
    (10, True)
    """

    settings: PassSettings
    images: int
    """Images counted."""
    top: Ranked
    """The strongest activations, strongest first: (channels, top_k)."""
    bottom: Ranked
    """The images with the weakest peaks, weakest first: (channels, bottom_k)."""
    sample: Ranked
    """The peaks for the images drawn, in order of image: (channels, samples or fewer)."""
    peak_counts: NDArray[np.int64]
    """(channels, BINS): how many images' peaks fell into each of `bins.EDGES`."""
    place_counts: NDArray[np.int64]
    """(channels, BINS): the same of the activations at `settings.places` places an image,
    drawn by a hash of the image's number (all places where there are no more)."""
    mean_sum: NDArray[np.int64]
    """(channels, 3): exact sum of the means over places, see `exact_sums`."""
    square_sum: NDArray[np.int64]
    """(channels, 3): exact sum of their squares."""
    nonfinite: NDArray[np.int64]
    """(channels,): images for which the channel gave no finite number."""
    classes: NDArray[np.int64]
    """(classes seen,): their numbers, ascending."""
    class_images: NDArray[np.int64]
    """(classes seen,): images of each."""
    class_sum: NDArray[np.int64]
    """(channels, classes seen): sum of the means, in units of 1 / `CLASS_SCALE`."""
    class_peak_sum: NDArray[np.int64]
    """(channels, classes seen): the same of the peaks."""
    class_missing: NDArray[np.int64]
    """(channels, classes seen): images for which the channel gave no finite number, of each class;
    (channels, 0) where there are none."""

    @classmethod
    def empty(cls, channels: int, settings: PassSettings) -> UnitStatistics:
        """The statistics of no image."""
        counts = np.zeros((channels, BINS), np.int64)
        sums = np.zeros((channels, 3), np.int64)
        nothing = np.zeros(0, np.int64)
        return cls(
            settings=settings,
            images=0,
            top=Ranked.none(channels, settings.top_k),
            bottom=Ranked.none(channels, settings.bottom_k),
            sample=Ranked.none(channels),
            peak_counts=counts,
            place_counts=counts,
            mean_sum=sums,
            square_sum=sums,
            nonfinite=np.zeros(channels, np.int64),
            classes=nothing,
            class_images=nothing,
            class_sum=np.zeros((channels, 0), np.int64),
            class_peak_sum=np.zeros((channels, 0), np.int64),
            class_missing=np.zeros((channels, 0), np.int64),
        )

    def merge(self, other: UnitStatistics) -> UnitStatistics:
        """The statistics of the images of both, which must be different images.

        Exact: any order of merges gives the same bits.

        Raises
        ------
        ValueError
            If they do not keep the same number of channels, ranks or samples.
        OverflowError
            If a sum no longer fits into 64 bits (activations near the limit in millions of
            images).
        """
        mine, theirs = self.settings, other.settings
        if len(self.peak_counts) != len(other.peak_counts) or (
            (mine.top_k, mine.bottom_k, mine.per_image, mine.samples)
            != (theirs.top_k, theirs.bottom_k, theirs.per_image, theirs.samples)
        ):
            msg = (
                f"expected statistics of the same layer and settings, got {len(self.peak_counts)} "
                f"channels with {mine} and {len(other.peak_counts)} with {theirs}"
            )
            raise ValueError(msg)
        classes = np.union1d(self.classes, other.classes)
        images, sums, peaks = (
            spread(one, self.classes, classes) + spread(two, other.classes, classes)
            for one, two in (
                (self.class_images[None], other.class_images[None]),
                (self.class_sum, other.class_sum),
                (self.class_peak_sum, other.class_peak_sum),
            )
        )
        if any(each.size and int(np.abs(each).max()) > 2**62 for each in (sums, peaks)):
            raise OverflowError("the sum over a class no longer fits into 64 bits")
        return UnitStatistics(
            settings=mine,
            images=self.images + other.images,
            top=self.top.merged(other.top),
            bottom=self.bottom.merged(other.bottom, weakest=True),
            sample=self.sample.joined(other.sample).drawn(mine.samples),
            peak_counts=self.peak_counts + other.peak_counts,
            place_counts=self.place_counts + other.place_counts,
            mean_sum=add_exactly(self.mean_sum + other.mean_sum),
            square_sum=add_exactly(self.square_sum + other.square_sum),
            nonfinite=self.nonfinite + other.nonfinite,
            classes=classes,
            class_images=images[0],
            class_sum=sums,
            class_peak_sum=peaks,
            class_missing=self._missing_of(other, classes),
        )

    def _missing_of(self, other: UnitStatistics, classes: NDArray[np.int64]) -> NDArray[np.int64]:
        there = [part for part in (self, other) if part.class_missing.size]
        if not there:
            return np.zeros((len(self.nonfinite), 0), np.int64)
        return sum(  # type: ignore[return-value]
            spread(part.class_missing, part.classes, classes) for part in there
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All of it but the settings, as arrays by name.

        The first axis is that of the channels, but for ``images`` (one number), ``classes`` and
        ``class_images``.
        """
        ranked = {
            f"{name}_{part}": array
            for name in _RANKED
            for part, array in zip(
                ("value", "image", "row", "col"), getattr(self, name).arrays, strict=True
            )
        }
        plain = {name: getattr(self, name) for name in _COUNTS}
        by_class = {name: getattr(self, name) for name in _BY_CLASS}
        return {"images": np.array(self.images, np.int64), **ranked, **plain, **by_class}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], settings: PassSettings
    ) -> UnitStatistics:
        """From what `to_arrays` gave."""
        ranked: dict[str, Any] = {
            name: Ranked(
                arrays[f"{name}_value"],
                arrays[f"{name}_image"],
                arrays[f"{name}_row"],
                arrays[f"{name}_col"],
            )
            for name in _RANKED
        }
        rest: dict[str, Any] = {name: arrays[name] for name in (*_COUNTS, *_BY_CLASS)}
        return cls(settings=settings, images=int(arrays["images"]), **ranked, **rest)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return len(self.peak_counts)

    @cached_property
    def count(self) -> NDArray[np.int64]:
        """(channels,): images for which the channel gave finite numbers."""
        return self.images - self.nonfinite

    @cached_property
    def mean(self) -> NDArray[np.float64]:
        """(channels,): mean activation over places and images; NaN where there is none."""
        return _divided(exact_total(self.mean_sum), self.count)

    @cached_property
    def std(self) -> NDArray[np.float64]:
        """(channels,): standard deviation, over images, of the mean over places."""
        square = _divided(exact_total(self.square_sum), self.count)
        return np.sqrt(np.maximum(square - self.mean**2, 0))

    @cached_property
    def peak(self) -> NDArray[np.float32]:
        """(channels,): the strongest activation; NaN where there is none."""
        return self.top.value[:, 0]

    @cached_property
    def excited(self) -> Ranked:
        """`top` without activations of exactly zero: these images excite nothing in the channel."""
        image = np.where(self.top.value == 0, -1, self.top.image)
        value = np.where(image < 0, np.float32("nan"), self.top.value)
        return Ranked(value, image, self.top.row, self.top.col)

    @cached_property
    def sparsity(self) -> NDArray[np.float64]:
        """(channels,): share of the sampled places where the activation is exactly zero."""
        zero = bins.bin_of(np.zeros(1, np.float32))[0]
        return _divided(self.place_counts[:, zero], self.place_counts.sum(1))

    @cached_property
    def dead(self) -> NDArray[np.bool_]:
        """(channels,): whether no image makes the channel answer above zero."""
        result: NDArray[np.bool_] = (self.count > 0) & ~(self.peak > 0)
        return result

    @cached_property
    def class_means(self) -> NDArray[np.float64]:
        """(classes seen, channels): mean activation over the images of each class.

        NaN where no image of a class gave a finite number.
        """
        return self._by_class(self.class_sum)

    @cached_property
    def class_peaks(self) -> NDArray[np.float64]:
        """(classes seen, channels): mean, over the images of each class, of the peaks.

        NaN as in `class_means`.
        """
        return self._by_class(self.class_peak_sum)

    def _by_class(self, sums: NDArray[np.int64]) -> NDArray[np.float64]:
        images = self.class_images
        if self.class_missing.size:
            images = images - self.class_missing
        means: NDArray[np.float64] = _divided(sums / CLASS_SCALE, images).T
        return means

    def peak_quantile(self, q: float) -> NDArray[np.float64]:
        """(channels,): the value below which a share `q` of the images' peaks lies.

        Exact where the strongest activations kept reach down so far (then as numpy's ``linear``
        quantile), and to the width of a bin (see `bins.quantile`) elsewhere.
        """
        if not 0 <= q <= 1:
            raise ValueError(f"expected a share from 0 to 1, got {q}")
        rough = np.clip(bins.quantile(self.peak_counts, q), self.bottom.value[:, 0], self.peak)
        if self.settings.per_image > 1:
            return rough
        above = np.maximum(self.count - 1, 0) * (1 - q)  # so many stand above it
        step = np.floor(above + 1e-9).astype(np.int64)
        last = self.settings.top_k - 1
        inside = (step < last) & (step + 1 < self.count) | (step == 0) & (self.count == 1)
        first = np.minimum(step, last)[:, None]
        second = np.minimum(step + 1, np.minimum(last, np.maximum(self.count - 1, 0)))[:, None]
        values = self.top.value.astype(np.float64)
        upper = np.take_along_axis(values, first, 1)[:, 0]
        lower = np.take_along_axis(values, second, 1)[:, 0]
        exact = upper + (lower - upper) * np.clip(above - step, 0, 1)
        return np.where(inside, exact, rough)

    def place_quantile(self, q: float) -> NDArray[np.float64]:
        """(channels,): the value below which a share `q` of the sampled activations lies.

        To the width of a bin, see `bins.quantile`.
        """
        if not 0 <= q <= 1:
            raise ValueError(f"expected a share from 0 to 1, got {q}")
        return bins.quantile(self.place_counts, q)

    def peak_share_above(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """(channels,): the share of images whose peak is above a value, a channel each.

        Exact where fewer images than are kept among the strongest are; else within the bin.
        """
        values = np.asarray(values, np.float32)
        share = bins.share_above(self.peak_counts, values)
        if self.settings.per_image > 1:
            return share
        kept = (self.top.value > values[:, None]).sum(1)
        exact = (kept < self.settings.top_k) & np.isfinite(values) & (self.count > 0)
        return np.where(exact, _divided(kept, self.count), share)


def spread(
    sums: NDArray[np.int64], classes: NDArray[np.int64], over: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Columns for `classes` as columns for `over`, which has all of them."""
    result = np.zeros((len(sums), len(over)), np.int64)
    result[:, np.searchsorted(over, classes)] = sums
    return result


def _divided(total: NDArray[Any], count: NDArray[np.int64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, total / count, np.nan)
