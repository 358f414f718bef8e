"""What an occlusion map says of image regions: where the confidence sits, and whether in a box.

A network that leans on a confounder (a badge, a watermark, a ruler in a photograph of skin) loses
its confidence when that is covered. `evidence` ranks regions by the confidence lost, and with known
boxes says which share of the loss falls inside, beside the share of the image that they take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbviz.analysis.occlusion_map import INTERPOLATED, NOT_YET, OcclusionMap
from nbviz.analysis.receptive_field import Box

__all__ = ["Evidence", "Region", "evidence"]

# A region ends where less than this share of its peak is lost.
_EDGE = 0.7
# Regions whose peak is below this share of the first one's are left out.
_FAINT = 0.1
# From these odds on, by those of chance, the network leans on the boxes. Of 30 pictures of the
# scenes demo 29 are above for the network with the planted confounder (masks of 12 to 24 pixels,
# medians 167 to 16), and none is for its twin without (largest 5.4).
_LEANING = 8.0
# The loss is spread, not in one place, where a region's box takes more of the image than this.
_SPREAD = 0.5
# Confidence lost with the worst mask, below which shares of it say nothing.
_LITTLE = 0.05
# What data sets write for a picture without a box.
_NO_BOX = (-1, -1, -1, -1)


@dataclass(frozen=True)
class Region:
    """A part of the image in which covering takes confidence away."""

    rank: int
    """1 for the part with the largest loss at a pixel."""
    box: Box
    """In pixels of the network's input."""
    drop: float
    """Probability that the worst of the masks centred in it takes away."""
    share: float
    """Its share of all loss in the image, 0 to 1."""
    spread: bool
    """Whether `box` takes most of the image, and so says little of where the loss lies."""


@dataclass(frozen=True)
class Evidence:
    """Where in an image a network's confidence in a class sits, by what covering takes away."""

    target: int
    regions: tuple[Region, ...]
    """Most important first; none where no covering takes confidence away."""
    most: float
    """Probability that the worst mask takes away; NaN where nothing is known yet."""
    inside: float | None
    """Share of all loss that falls inside the known boxes; None without boxes or without loss."""
    area: float | None
    """Share of the image that the known boxes take."""
    concentration: float | None
    """``inside / area``: 1 is what a loss spread evenly over the image gives."""
    leaning: bool | None
    """Whether the loss lies in the boxes clearly more often than by chance: their odds in the loss
    are at least 8 times those in the image. None where that cannot be told: without boxes or with
    boxes over the whole image, or if no mask takes 0.05 of probability away."""
    verdict: str
    """The same in words for a person."""


def evidence(
    found: OcclusionMap,
    *,
    target: int | None = None,
    boxes: Sequence[Any] | NDArray[np.integer[Any]] | None = None,
    regions: int = 5,
) -> Evidence:
    """Image regions by the confidence that is lost with them, and the share within known boxes.

    The loss at a pixel is the drop in probability, where it is one, as a mean over all masks that
    cover the pixel. A mask that only touches a box counts for it as well, so the share inside is
    the clearer the smaller the masks are; about the size of what is looked for is good. A box that
    lies on the object itself cannot be told from the object.

    Parameters
    ----------
    found : OcclusionMap
        Complete or not; the verdict says so if it is not.
    target : int, optional
        Out of ``found.classes``; by default the map's own.
    boxes : four ints, Box, or a sequence of such
        Known boxes as (left, top, right, bottom) in pixels of the network's input, right and bottom
        excluded, as `Demo.badges` has them; four times -1 is no box.
    regions : int
        How many to give at most.

    Raises
    ------
    ValueError
        If a box is no box or reaches outside the image, or the class is not among those kept.

    Examples
    --------
    >>> from nbviz import demos
    >>> from nbviz.analysis.occlusion import occlusion_map
    >>> demo = demos.scenes()
    >>> made = occlusion_map(demo.network, demo.images[16], "mushroom", size=16, stride=8)
    >>> evidence(made, boxes=demo.badges[16]).leaning
    True
    """
    target = found.target if target is None else int(target)
    drops = found.values(target, "probability drop")
    loss = np.maximum(np.nan_to_num(found.per_pixel(target, "probability drop")), 0).astype(float)
    total = float(loss.sum())
    known = _plane(boxes, (loss.shape[0], loss.shape[1]))
    area = None if known is None else float(known.mean())
    inside = None if known is None or total == 0 else float(loss[known].sum() / total)
    concentration = None if inside is None or not area else inside / area
    most = float(np.nanmax(drops)) if np.isfinite(drops).any() else float("nan")
    leaning = None
    if inside is not None and area is not None and area < 1 and most >= _LITTLE:
        leaning = bool(inside * (1 - area) >= _LEANING * area * (1 - inside))
    ranked = _regions(found, drops, loss, regions)
    judged = Evidence(target, ranked, most, inside, area, concentration, leaning, "")
    return replace(judged, verdict=_verdict(found, judged))


def _plane(boxes: Any, shape: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Which pixels lie in known boxes; None without any."""
    if boxes is None:
        return None
    single = isinstance(boxes, Box) or not all(isinstance(b, Box) or np.ndim(b) for b in boxes)
    plane = np.zeros(shape, bool)
    none = True
    for box in [boxes] if single else boxes:
        top, left, bottom, right = _edges(box)
        if (left, top, right, bottom) == _NO_BOX:
            continue
        if not (0 <= top < bottom <= shape[0] and 0 <= left < right <= shape[1]):
            msg = (
                f"expected boxes as (left, top, right, bottom) within the image of {shape[1]} "
                f"pixels across and {shape[0]} down, got ({left}, {top}, {right}, {bottom}); they "
                f"are in pixels of the network's input"
            )
            raise ValueError(msg)
        plane[top:bottom, left:right], none = True, False
    return None if none else plane


def _edges(box: Any) -> tuple[int, int, int, int]:
    """Top, left, bottom and right of one box."""
    if isinstance(box, Box):
        return box.top, box.left, box.bottom, box.right
    values = np.asarray(box)
    if values.shape != (4,) or values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        msg = f"expected boxes as (left, top, right, bottom) in pixels, got {box!r:.80}"
        raise ValueError(msg)
    left, top, right, bottom = np.rint(values).astype(int).tolist()
    return top, left, bottom, right


def _regions(
    found: OcclusionMap,
    drops: NDArray[np.float32],
    loss: NDArray[np.float64],
    most: int,
) -> tuple[Region, ...]:
    """Connected parts around peaks of the loss, each until it has fallen to a share of its peak."""
    from scipy.ndimage import label, maximum_filter

    left, total, regions = loss.copy(), loss.sum(), list[Region]()
    first = float(loss.max(initial=0))
    while len(regions) < most:
        peak = float(left.max(initial=0))
        if peak <= 0 or peak < _FAINT * first:
            break
        parts, _ = label(left >= _EDGE * peak)
        place = np.unravel_index(left.argmax(), left.shape)
        part = parts == parts[place]
        rows, cols = (np.flatnonzero(part.any(axis)) for axis in (1, 0))
        box = Box(int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1)
        drop = _worst_in(found, drops, part, (int(place[0]), int(place[1])))
        spread = (box.bottom - box.top) * (box.right - box.left) > _SPREAD * loss.size
        share = float(loss[part].sum() / total)
        regions.append(Region(len(regions) + 1, box, drop, share, spread))
        # Masks that touch the part reach so far around it, so the loss there is no region's own.
        reach = tuple(2 * (length // 2) + 1 for length in found.size)
        left[maximum_filter(part, size=reach)] = 0
    return tuple(regions)


def _worst_in(
    found: OcclusionMap,
    drops: NDArray[np.float32],
    part: NDArray[np.bool_],
    peak: tuple[int, int],
) -> float:
    """The largest drop of the masks centred in a part; if none is, of those over its peak."""
    starts, size = (found.tops, found.lefts), found.size
    middle = np.ix_(*(begin + length // 2 for begin, length in zip(starts, size, strict=True)))
    there = part[middle]
    if not np.isfinite(drops[there]).any():
        covers = (
            (begin <= at) & (at < begin + length)
            for begin, at, length in zip(starts, peak, size, strict=True)
        )
        there = np.logical_and.outer(*covers)
    return float(np.nanmax(drops[there]))


def _verdict(found: OcclusionMap, judged: Evidence) -> str:
    name = f"“{found.class_name(judged.target)}”"
    base = found.base(judged.target, "probability")
    answered = found.state != NOT_YET
    if np.isnan(judged.most):
        return f"Nothing is known yet of what the confidence in {name} depends on."
    if not judged.regions:
        said = f"No mask takes confidence in {name} away; without mask it is {_percent(base)}."
    else:
        said = (
            f"The worst mask takes {_percent(judged.most, 'percentage points')} from the "
            f"confidence in {name}, which is {_percent(base)} without mask. {_where(judged)}"
        )
    if not answered.all():
        said += f" Only {_percent(float(answered.mean()))} of the positions have been asked."
    elif (found.state == INTERPOLATED).any():
        said += f" {_percent(1 - found.computed_share)} of the positions are interpolated."
    return said


def _where(judged: Evidence) -> str:
    """Where the loss lies, and what that means."""
    little = judged.most < _LITTLE
    if judged.inside is None or judged.area is None or judged.concentration is None:
        region, box = judged.regions[0], judged.regions[0].box
        # edges, as views write boxes: from row 0 to 2 are two rows
        said = (
            f"{_percent(region.share)} of all loss lies in rows {box.top}–{box.bottom}, columns "
            f"{box.left}–{box.right}"
        )
        if region.spread:
            said = f"The loss is spread over the picture: {said}"
        return f"{said}, but the loss is little." if little else f"{said}."
    said = (
        f"{_percent(judged.inside)} of all loss lies in the known boxes, which cover "
        f"{_percent(judged.area)} of the image: {judged.concentration:.1f} times as much as chance "
        f"would have it"
    )
    if little:
        return f"{said}, but the loss is too little to tell what the network leans on."
    if judged.leaning is None:
        return f"{said}."
    leans = (
        "it leans on what is there" if judged.leaning else "no sign that it leans on what is there"
    )
    return f"{said}; {leans}."


def _percent(share: float, unit: str = "%") -> str:
    if 0 < share < 0.0001:
        return f"less than 0.01 {unit}"
    return f"{100 * share:.2g} {unit}" if share < 0.995 else f"100 {unit}"
