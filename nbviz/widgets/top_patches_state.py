"""How the results of a scan become the traits and answers of a `TopPatches`; no maths here.

``js/top-patches/state.ts`` names the same fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nbviz.analysis.layers import Layer
from nbviz.analysis.patch_likeness import BESIDE_THE_CLASS, BESIDE_THE_LOOK, class_shares
from nbviz.analysis.peak_histogram import even_histogram
from nbviz.analysis.prediction import class_name
from nbviz.analysis.unit_places import sees_padding, unit_boxes
from nbviz.analysis.unit_preferences import (
    SEES_PADDING,
    middle,
    positions_of,
    preferences,
    selectivity,
)
from nbviz.analysis.unit_statistics.bins import EDGES
from nbviz.analysis.unit_statistics.ranked import Ranked
from nbviz.analysis.unit_statistics.statistics import UnitStatistics
from nbviz.network import Network

if TYPE_CHECKING:
    from nbviz.scanning.result import Scan

#: What an image is left out of a channel's statistics for.
_LEFT_OUT = "NaN, infinity or numbers beyond a million"

#: A channel's samples.
Group = Literal["top", "middle", "bottom"]

#: Bits of what is wrong with a channel.
DEAD, NONFINITE, CONSTANT = 1, 2, 4

#: Shares of the images whose peaks are told of an opened channel.
QUANTILES = (0.5, 0.9, 0.99, 0.999)
MIDDLE = 8

_MOST_CLASSES = 2000


class ImageColumns:
    """What a scan knows of its images, by their numbers."""

    def __init__(self, scan: Scan) -> None:
        # Read when it is asked for: of a scan under way it may have got further with a layer.
        self._scan = scan

    def label(self, numbers: np.ndarray) -> np.ndarray:
        """Class numbers, int32; -1 where none is known."""
        return self._taken("label", numbers, -1)

    def predicted(self, numbers: np.ndarray) -> np.ndarray:
        """What the network took them for, int32; -1 where it is no classifier."""
        return self._taken("predicted", numbers, -1)

    def confidence(self, numbers: np.ndarray) -> np.ndarray:
        """Probability of `predicted`, float32; NaN where there is none."""
        return self._taken("confidence", numbers, np.nan)

    def _taken(self, name: str, numbers: np.ndarray, missing: float) -> np.ndarray:
        rows = self._scan.images
        column: np.ndarray = getattr(rows, name)
        at = positions_of(rows.index, numbers)
        if not len(column):
            return np.full(numbers.shape, missing, column.dtype)
        return np.where(at >= 0, column[at], np.array(missing, column.dtype))


@dataclass(frozen=True, eq=False)
class LayerOverview:
    """All channels of a layer: what is told of each, and its strongest patches."""

    name: str
    layer: Layer | None
    """None where no network was given."""
    statistics: UnitStatistics
    arrays: dict[str, np.ndarray]
    whole: bool
    """Whether every unit sees the whole image."""

    @property
    def classes(self) -> np.ndarray:
        """Numbers of the classes that there are labelled images of, ascending."""
        numbers = self.statistics.classes
        return numbers[numbers >= 0]

    def order(self, sort: str, *, descending: bool) -> np.ndarray:
        """Channels as sorted, int32; what has no value last, ties by number."""
        channels = len(self.arrays["peak"])
        if sort == "index":
            order = np.arange(channels)
            return (order[::-1] if descending else order).astype(np.int32)
        values = self.arrays[sort].astype(np.float64)
        keys = np.where(np.isnan(values), np.inf, -values if descending else values)
        return np.lexsort((np.arange(channels), keys)).astype(np.int32)


def layer_table(scan: Scan, network: Network | None) -> list[dict[str, Any]]:
    """The scanned layers for the menu."""
    table = []
    for name in scan.layers:
        info = scan.layer_info(name)
        layer = None if network is None else network.layers[name]
        table.append(
            {
                "name": name,
                "kind": str(info["kind"]),
                "channels": int(info["channels"]),
                "grid": [int(side) for side in info["grid"] or ()],
                "rf": "" if layer is None else _field(layer),
            }
        )
    return table


def _field(layer: Layer) -> str:
    field = layer.receptive_field
    if field is None:
        return ""
    if field.is_global or layer.grid is None or field.size is None:
        return "the whole image"
    down, across = (f"{float(side):g}" for side in field.size)
    return f"{down}×{across} px"


def shown_names(names: Sequence[str] | None) -> list[str]:
    """As many names as are sent to the view."""
    return list(names or ())[:_MOST_CLASSES]


def layer_overview(
    scan: Scan, columns: ImageColumns, network: Network | None, name: str
) -> LayerOverview:
    """What is known of every channel of a layer; selectivity is for each channel's best class."""
    statistics = scan[name]
    layer = None if network is None else network.layers[name]
    found = preferences(statistics, scan.images, layer)
    picks = picks_of(statistics.excited, columns, layer)
    arrays = {
        "peak": statistics.peak.astype(np.float32),
        "mean": statistics.mean.astype(np.float32),
        "sparsity": statistics.sparsity.astype(np.float32),
        "selectivity": found.selectivity,
        "diversity": found.diversity,
        "purity": found.purity,
        "best": found.best,
        "state": _conditions(statistics),
    }
    arrays |= picks | {"flags": found.flags}
    return LayerOverview(name, layer, statistics, arrays, whole=_whole(layer))


def preferring(
    overview: LayerOverview, wanted: Sequence[int], names: Sequence[str] | None
) -> LayerOverview:
    """The same with selectivity for some classes together.

    Raises
    ------
    ValueError
        If there are images of none of these classes, or of no other.
    """
    if not np.isin(wanted, overview.classes).any():
        told = ", ".join(repr(class_name(number, names)) for number in wanted[:3])
        raise ValueError(f"The scan has no image of {told}; choose other classes")
    statistics = overview.statistics
    _, index = selectivity(statistics.class_peaks, statistics.classes, wanted)
    return replace(overview, arrays={**overview.arrays, "selectivity": index.astype(np.float32)})


def _conditions(statistics: UnitStatistics) -> np.ndarray:
    least, most = statistics.bottom.value[:, :1], statistics.top.value[:, :1]
    constant = (least == most).any(axis=1) & (statistics.count > 1)
    flags = DEAD * statistics.dead + NONFINITE * (statistics.nonfinite > 0) + CONSTANT * constant
    return np.asarray(flags, np.uint8)


def _whole(layer: Layer | None) -> bool:
    field = None if layer is None else layer.receptive_field
    if layer is None or field is None:
        return False
    down, across = field.edges()
    height, width = field.image
    return bool((down == (0, height)).all() and (across == (0, width)).all())


def picks_of(ranked: Ranked, columns: ImageColumns, layer: Layer | None) -> dict[str, np.ndarray]:
    """Places of units with their images, as arrays for the view, all of the shape of `ranked`."""
    images = ranked.image
    there = images >= 0
    places = np.stack([ranked.row, ranked.col], axis=-1)
    boxes = np.zeros((*images.shape, 4), np.int32)
    border = np.zeros(images.shape, bool)
    if layer is not None and layer.receptive_field is not None:
        rows, cols = np.where(there, ranked.row, -1), np.where(there, ranked.col, -1)
        boxes = unit_boxes(layer, rows, cols)
        border = sees_padding(layer, rows, cols)
    small = boxes.max(initial=0) < 32768 and places.max(initial=0) < 32768
    dtype = np.int16 if small else np.int32
    return {
        "value": ranked.value.astype(np.float32),
        "image": images,
        "label": columns.label(images).astype(np.int32),
        "predicted": columns.predicted(images).astype(np.int32),
        "confidence": columns.confidence(images).astype(np.float32),
        "flags": (SEES_PADDING * border).astype(np.uint8),
        "boxes": boxes.astype(dtype),
        "place": places.astype(dtype),
    }


def sent(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays with the numbers of images as a browser has them: exact up to 2**53."""
    images = arrays["image"]
    dtype = np.int32 if images.max(initial=0) < 2**31 else np.float64
    return {**arrays, "image": images.astype(dtype)}


@dataclass(frozen=True, eq=False)
class ChannelPicks:
    """The samples of one channel: strongest, middle and weakest."""

    groups: dict[str, int]
    """How many there are of each, in order."""
    arrays: dict[str, np.ndarray]
    """As `picks_of`, one entry a sample."""

    def named(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of one group."""
        start = 0
        for group, count in self.groups.items():
            if group == name:
                return {key: each[start : start + count] for key, each in self.arrays.items()}
            start += count
        raise KeyError(name)


def channel_picks(overview: LayerOverview, columns: ImageColumns, channel: int) -> ChannelPicks:
    """Strongest, middle and weakest samples of a channel, those that are there."""
    statistics = overview.statistics
    near = middle(statistics, channel, MIDDLE)
    parts = {
        "top": {name: overview.arrays[name][channel] for name in _PICKED},
        "middle": picks_of(_at(statistics.sample, channel, near), columns, overview.layer),
        "bottom": picks_of(_at(statistics.bottom, channel), columns, overview.layer),
    }
    kept = {
        group: {name: each[arrays["image"] >= 0] for name, each in arrays.items()}
        for group, arrays in parts.items()
    }
    return ChannelPicks(
        {group: len(arrays["image"]) for group, arrays in kept.items()},
        {name: np.concatenate([arrays[name] for arrays in kept.values()]) for name in _PICKED},
    )


_PICKED = ("value", "image", "label", "predicted", "confidence", "flags", "boxes", "place")


def _at(ranked: Ranked, channel: int, which: Any = slice(None)) -> Ranked:
    return Ranked(*(each[channel][which] for each in ranked.arrays))


def peak_histogram(statistics: UnitStatistics, channel: int) -> tuple[np.ndarray, np.ndarray]:
    """How many images have their peak where: counts and edges to draw, of one channel or of all.

    Nothing to count gives one empty bin.
    """
    every = channel < 0
    counts = statistics.peak_counts.sum(0) if every else statistics.peak_counts[channel]
    some = slice(None) if every else slice(channel, channel + 1)
    ends = np.concatenate(
        [each.value[some].ravel() for each in (statistics.bottom, statistics.top)]
    )
    ends = ends[np.isfinite(ends)]
    if not counts.sum() or not ends.size:
        return np.zeros(1), np.array([0.0, 1.0])
    return even_histogram(counts, EDGES, float(ends.min()), float(ends.max()))


def histogram_arrays(statistics: UnitStatistics, channel: int) -> dict[str, np.ndarray]:
    """The histogram of a channel's peaks, and what share of the images lies below which."""
    counts, edges = peak_histogram(statistics, channel)
    shares = [statistics.peak_quantile(q)[channel] for q in QUANTILES]
    return {
        "edges": edges.astype(np.float32),
        "counts": counts,
        "quantiles": np.array(shares, np.float32),
    }


def shares_state(labels: np.ndarray, names: Sequence[str] | None) -> list[dict[str, Any]]:
    """How many of some patches are of which class, most frequent first."""
    return [
        {
            "number": each.number,
            "name": class_name(each.number, names),
            "share": each.share,
            "count": each.count,
        }
        for each in class_shares(labels)
    ]


def channel_sentence(overview: LayerOverview, channel: int, names: Sequence[str] | None) -> str:
    """What is to be said of a channel, in words."""
    state = int(overview.arrays["state"][channel])
    bad = int(overview.statistics.nonfinite[channel])
    if not overview.statistics.count[channel]:
        return f"No image counts: it gave {_LEFT_OUT} for {counted(bad, 'image')}."
    left = f"{counted(bad, 'image')}, which {'is' if bad == 1 else 'are'} left out"
    odd = f" It gave {_LEFT_OUT} for {left}." if bad else ""
    peak, silent = _figure(overview.arrays["peak"][channel]), overview.arrays["sparsity"][channel]
    if state & CONSTANT:
        return f"It has the same peak, {peak}, for every image.{odd}"
    if state & DEAD:
        return f"Dead: no image brings it above zero (its peak is {peak}).{odd}"
    share = "more than 99%" if 0.995 <= silent < 1 else f"{silent:.0%}"
    zeros = f"; it is zero at {share} of the places" if silent > 0 else ""
    said = f"Its peak is {peak}{zeros}.{odd}"
    said += _classes_sentence(overview, channel, names)
    flags = overview.arrays["flags"][channel]
    apart = int(((flags & (BESIDE_THE_CLASS | BESIDE_THE_LOOK)) > 0).sum())
    differ = "differs" if apart == 1 else "differ"
    return said + (f" {apart} {differ} from the rest in class or look." if apart else "")


def _classes_sentence(overview: LayerOverview, channel: int, names: Sequence[str] | None) -> str:
    """Of which classes the strongest patches are; empty where no label is known."""
    patches = int((overview.arrays["image"][channel] >= 0).sum())
    shares = shares_state(overview.arrays["label"][channel], names)
    if not shares:
        return ""
    first, labelled = shares[0], sum(each["count"] for each in shares)
    if patches == 1:
        return f" Its only strongest patch is of “{first['name']}”."
    said = f" Of its {patches} strongest patches {first['count']} "
    said += f"{'is' if first['count'] == 1 else 'are'} of “{first['name']}”"
    if len(shares) > 1:
        said += f", {len(shares)} classes in all"
    if labelled < patches:
        said += f", {patches - labelled} without a label"
    return f"{said}."


def counted(count: int, noun: str) -> str:
    """How many there are, with one of a noun that takes an s."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _figure(value: float) -> str:
    """Three figures, and all digits before the point of what is no huge number."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"
