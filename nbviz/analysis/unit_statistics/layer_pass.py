"""Statistics of one layer, taken batch by batch from what it returns.

What every image costs are two reductions, the strongest activation and the sum. Where the
strongest stands is looked up only for those that can still rank.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nbviz.analysis.layers import Layer
from nbviz.analysis.map_layout import batch_maps
from nbviz.analysis.unit_statistics.bins import BINS, bin_of
from nbviz.analysis.unit_statistics.exact_sums import ADD_LIMIT, add_exactly
from nbviz.analysis.unit_statistics.ranked import Ranked
from nbviz.analysis.unit_statistics.settings import ImageNumbers, PassSettings, hashed
from nbviz.analysis.unit_statistics.statistics import CLASS_SCALE, UnitStatistics, spread

__all__ = ["Answers", "LayerPass"]

#: Peaks and means beyond this are taken as broken numbers: their squares could not be added.
_LARGEST = ADD_LIMIT**0.5
_CHUNK = 4 * 2**20  # values copied at once to look for places


class Answers(NamedTuple):
    """What one layer answered to a batch, cut down to what the statistics need."""

    value: NDArray[np.float32]
    """(N, per_image, channels): peaks, then further local maxima; NaN where there is none."""
    place: NDArray[np.int64]
    """(N, per_image, channels): where on the grid, row by row; -1 where it was not looked up."""
    mean: NDArray[np.float64]
    """(N, channels): over places; NaN where the channel was not finite."""
    places: NDArray[np.float32]
    """(N, places or fewer, channels): activations at sampled places."""


class LayerPass:
    """Takes statistics of one layer.

    Parameters
    ----------
    layer : Layer
        Drawable.
    settings : PassSettings
    """

    def __init__(self, layer: Layer, settings: PassSettings) -> None:
        assert layer.channels is not None  # a drawable layer has channels
        self._layer, self._settings = layer, settings
        channels = layer.channels
        self._top = Ranked.none(channels, settings.top_k)
        self._bottom = Ranked.none(channels, settings.bottom_k)
        self._sample = Ranked.none(channels)
        self._peak_counts = np.zeros((channels, BINS + 1), np.int64)
        self._place_counts = np.zeros((channels, BINS + 1), np.int64)
        self._mean_sum = np.zeros((channels, 3), np.int64)
        self._square_sum = np.zeros((channels, 3), np.int64)
        self._nonfinite = np.zeros(channels, np.int64)
        self._classes = _ClassSums(channels)
        self._images = 0
        self._cols = 1
        self._waiting: list[tuple[NDArray[np.int64], NDArray[np.int64], Answers]] = []
        self._count = 0
        self._set_limits()

    def _set_limits(self) -> None:
        self._lowest_top = _limit(self._top, -np.inf)
        self._highest_bottom = _limit(self._bottom, np.inf)
        self._hash_limit = self._settings.hash_limit
        if self._sample.image.shape[1] == self._settings.samples:
            self._hash_limit = min(self._hash_limit, int(hashed(self._sample.image[0]).max()))

    def _drawn(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Whether each image can still be among those drawn."""
        if self._hash_limit == 2**64:
            return np.ones(len(hashes), bool)
        result: NDArray[np.bool_] = hashes < np.uint64(self._hash_limit)
        return result

    def read(self, value: Tensor, images: ImageNumbers) -> Answers:
        """Cut down what the layer returned for images of these numbers, in their order."""
        maps = batch_maps(self._layer, value.detach())
        maps = maps if maps.dtype in {torch.float32, torch.float64} else maps.float()
        self._cols = maps.shape[3]
        spots = maps.shape[2] * self._cols
        peak = maps.amax((2, 3)) if spots > 1 else maps[:, :, 0, 0]
        total = maps.sum((2, 3)) if spots > 1 else peak
        mean = total.cpu().numpy().astype(np.float64) / spots
        value_of = peak.float().cpu().numpy().copy()
        broken = None
        if not _within(value_of) or not _within(mean):  # NaN is not
            broken = ~(np.abs(value_of) <= _LARGEST) | ~(np.abs(mean) <= _LARGEST)
            mean[broken] = np.nan
            value_of[broken] = np.nan
        value_of += np.float32(0)  # of the two zeros there is one
        kept = value_of[:, None]
        place = np.full(kept.shape, -1, np.int64)
        # NaN compares as false: what is broken never ranks.
        wanted = (value_of > self._lowest_top) | (value_of < self._highest_bottom)
        drawn = self._drawn(images.hashes)
        if drawn.any():
            wanted |= drawn[:, None] if broken is None else drawn[:, None] & ~broken
        if self._settings.per_image > 1:
            kept, place = self._local_maxima(maps, wanted, kept)
        else:
            self._look_up(maps, wanted, place[:, 0])
        return Answers(kept, place, mean, self._at_places(maps, images, broken))

    def _look_up(self, maps: Tensor, wanted: NDArray[np.bool_], place: NDArray[np.int64]) -> None:
        """Set the first place of the strongest activation, where wanted."""
        spots = maps.shape[2] * maps.shape[3]
        if spots == 1:
            place[wanted] = 0
            return
        for numbers, rows in _rows(maps, wanted):
            place.reshape(-1)[numbers] = rows.argmax(1)

    def _local_maxima(
        self, maps: Tensor, wanted: NDArray[np.bool_], peaks: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The strongest local maxima of each map, where wanted; elsewhere the peak alone."""
        count = self._settings.per_image
        images, _, channels = peaks.shape
        value = np.full((images * channels, count), np.nan, np.float32)
        value[:, 0] = peaks.reshape(-1)
        place = np.full((images * channels, count), -1, np.int64)
        rows, cols = maps.shape[2:]
        for numbers, found in _rows(maps, wanted):
            summits = _summits(found.reshape(-1, rows, cols)).reshape(len(found), -1)
            ranked = np.where(summits, found, -np.inf)
            order = np.argsort(-ranked, axis=1, kind="stable")[:, :count]
            got = np.take_along_axis(ranked, order, 1)
            there = got > -np.inf
            value[numbers[:, None], np.arange(got.shape[1])] = np.where(there, got + 0, np.nan)
            place[numbers[:, None], np.arange(got.shape[1])] = np.where(there, order, -1)
        shape = (images, channels, count)
        return value.reshape(shape).swapaxes(1, 2), place.reshape(shape).swapaxes(1, 2)

    def _at_places(
        self, maps: Tensor, images: ImageNumbers, broken: NDArray[np.bool_] | None
    ) -> NDArray[np.float32]:
        rows, cols = maps.shape[2:]
        spots = rows * cols
        if spots <= self._settings.places:
            found = maps.flatten(2).transpose(1, 2)
        else:
            at = torch.from_numpy(images.places(spots)).to(maps.device)
            batch = torch.arange(len(maps), device=maps.device)[:, None]
            found = maps[batch, :, at // cols, at % cols]
        result: NDArray[np.float32] = found.float().cpu().numpy().copy()
        if broken is not None:
            result[np.broadcast_to(broken[:, None], result.shape)] = np.nan
        return result

    def keep(self, images: NDArray[np.int64], labels: NDArray[np.int64], answers: Answers) -> None:
        """Count what `read` gave; images must come in ascending order."""
        self._waiting.append((images, labels, answers))
        self._count += len(images)
        # Limits that lag behind let too much through, and a merge costs: wait for more each time.
        if self._count >= min(max(self._settings.top_k, self._images // 2), 128):
            self.flush()

    def flush(self) -> None:
        """Count what was kept."""
        if not self._waiting:
            return
        images, labels = (np.concatenate([w[i] for w in self._waiting]) for i in (0, 1))
        parts = zip(*(answers for _, _, answers in self._waiting), strict=True)
        value, place, mean, places = (np.concatenate(part) for part in parts)
        self._waiting, self._count = [], 0
        self._images += len(images)
        self._rank(images, value, place)
        _count(self._peak_counts, value[:, 0])
        _count(self._place_counts, places.reshape(-1, places.shape[2]))
        finite = np.isfinite(mean)
        self._nonfinite += (~finite).sum(0)
        mean = np.where(finite, mean, 0.0)
        self._mean_sum = add_exactly(self._mean_sum, mean)
        self._square_sum = add_exactly(self._square_sum, mean**2)
        self._classes.add(labels, finite, mean, np.where(finite, value[:, 0], np.float32(0)))

    def _rank(
        self, images: NDArray[np.int64], value: NDArray[np.float32], place: NDArray[np.int64]
    ) -> None:
        settings, channels = self._settings, value.shape[2]
        peak, where = value[:, 0], place[:, 0]
        each = np.repeat(images, settings.per_image)
        every, everywhere = value.reshape(-1, channels), place.reshape(-1, channels)
        self._top = self._entered(self._top, every, everywhere, each)
        self._bottom = self._entered(self._bottom, peak, where, images, weakest=True)
        drawn = self._drawn(hashed(images))
        if drawn.any():
            numbers = np.broadcast_to(images[drawn], (channels, int(drawn.sum())))
            at = np.maximum(where[drawn].T, 0)
            entries = Ranked(
                np.ascontiguousarray(peak[drawn].T),
                np.ascontiguousarray(numbers),
                (at // self._cols).astype(np.int32),
                (at % self._cols).astype(np.int32),
            )
            self._sample = self._sample.joined(entries).drawn(settings.samples)
        self._set_limits()

    def _entered(
        self,
        ranked: Ranked,
        value: NDArray[np.float32],
        place: NDArray[np.int64],
        images: NDArray[np.int64],
        *,
        weakest: bool = False,
    ) -> Ranked:
        """`ranked` with what of (entries, channels) ranks before its last, of later images."""
        last = _limit(ranked, np.inf if weakest else -np.inf)
        beats = value < last if weakest else value > last  # NaN does neither
        entry, channel = np.nonzero(beats & (place >= 0))
        if not len(entry):
            return ranked
        at = place[entry, channel]
        row, col = (at // self._cols).astype(np.int32), (at % self._cols).astype(np.int32)
        arrays = (value[entry, channel], images[entry], row, col)
        return ranked.entered(channel, arrays, weakest=weakest)

    def statistics(self) -> UnitStatistics:
        """The statistics of all images kept so far."""
        self.flush()
        return UnitStatistics(
            settings=self._settings,
            images=self._images,
            top=self._top,
            bottom=self._bottom,
            sample=self._sample,
            peak_counts=self._peak_counts[:, :BINS].copy(),
            place_counts=self._place_counts[:, :BINS].copy(),
            mean_sum=self._mean_sum,
            square_sum=self._square_sum,
            nonfinite=self._nonfinite,
            classes=self._classes.numbers,
            class_images=self._classes.images,
            class_sum=self._classes.sums[0],
            class_peak_sum=self._classes.sums[1],
            class_missing=self._classes.missing,
        )


class _ClassSums:
    """Sums of means and of peaks by class, grown as classes are seen."""

    def __init__(self, channels: int) -> None:
        self.numbers = np.zeros(0, np.int64)
        self.images = np.zeros(0, np.int64)
        self.sums = [np.zeros((channels, 0), np.int64) for _ in ("means", "peaks")]
        self.missing = np.zeros((channels, 0), np.int64)

    def add(
        self,
        labels: NDArray[np.int64],
        finite: NDArray[np.bool_],
        *values: NDArray[np.floating[Any]],
    ) -> None:
        """Add means and peaks (images, channels) of images of these classes; -1 is none.

        What is not finite is counted, and its values must be zero.
        """
        order = np.argsort(labels, kind="stable")
        order = order[np.searchsorted(labels[order], 0) :]
        if not len(order):
            return
        classes, starts, images = np.unique(labels[order], return_index=True, return_counts=True)
        self._know(classes)
        at = np.searchsorted(self.numbers, classes)
        self.images[at] += images
        for sums, value in zip(self.sums, values, strict=True):
            fixed = np.rint(value[order] * CLASS_SCALE).astype(np.int64)
            sums[:, at] += np.add.reduceat(fixed, starts, axis=0).T
        if not finite[order].all():
            if not self.missing.size:
                self.missing = np.zeros((len(self.missing), len(self.numbers)), np.int64)
            missing = np.add.reduceat(~finite[order], starts, axis=0, dtype=np.int64)
            self.missing[:, at] += missing.T

    def _know(self, classes: NDArray[np.int64]) -> None:
        known = np.union1d(self.numbers, classes)
        if len(known) > len(self.numbers):
            self.images = spread(self.images[None], self.numbers, known)[0]
            self.sums = [spread(sums, self.numbers, known) for sums in self.sums]
            if self.missing.size:
                self.missing = spread(self.missing, self.numbers, known)
            self.numbers = known


def _within(values: NDArray[np.floating[Any]]) -> bool:
    return bool(values.min() >= -_LARGEST and values.max() <= _LARGEST)


def _limit(ranked: Ranked, open_end: float) -> NDArray[np.float32]:
    """The last value of full rows, `open_end` for the others."""
    last = ranked.value[:, -1]
    return np.where(ranked.image[:, -1] < 0, np.float32(open_end), last)


def _rows(
    maps: Tensor, wanted: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Numbers (of image and channel, counted through) and maps, flat, of those wanted."""
    channels = maps.shape[1]
    numbers = np.flatnonzero(wanted)
    step = max(1, _CHUNK // (maps.shape[2] * maps.shape[3]))
    for start in range(0, len(numbers), step):
        part = numbers[start : start + step]
        at = torch.from_numpy(part).to(maps.device)
        yield part, maps[at // channels, at % channels].flatten(1).float().cpu().numpy()


def _summits(maps: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Local maxima of maps (N, rows, cols): above the neighbours before, none behind larger.

    So of equal neighbours the first counts, as it does for the peak itself.
    """
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    rows, cols = maps.shape[1:]
    result = np.ones(maps.shape, bool)
    for down in range(3):
        for right in range(3):
            beside = padded[:, down : down + rows, right : right + cols]
            step = 3 * down + right
            if step < 4:
                result &= maps > beside
            elif step > 4:
                result &= maps >= beside
    return result


def _count(counts: NDArray[np.int64], values: NDArray[np.float32]) -> None:
    """Add to `counts` (channels, BINS + 1) the values of each column; NaN goes into the last."""
    slot = bin_of(values) + counts.shape[1] * np.arange(values.shape[1])
    np.add.at(counts.reshape(-1), slot.reshape(-1), 1)
