"""What an occlusion map says of image regions: where the confidence sits, and whether in a box.

A network that leans on a confounder (a badge, a watermark, a ruler in a photograph of skin) loses
its confidence when that is covered. `evidence` ranks regions by the confidence lost, and with known
boxes says which share of the loss falls inside, beside the share of the image that they take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbviz.analysis.occlusion_map import INTERPOLATED, NOT_YET, OcclusionMap

__all__ = ["Evidence", "PixelBox", "Region", "evidence"]

PixelBox = tuple[int, int, int, int]

# A region ends where less than this share of its peak is lost.
_EDGE = 0.5
# Regions whose peak is below this share of the first one's are left out.
_FAINT = 0.1
# So many times likelier than by chance is leaning on the boxes: on the scenes demo a network with
# the planted confounder has 25 and more, its twin without at most 5.
_LEANING = 8.0
# Confidence lost, at most, of which the person is told that it is little.
_LITTLE = 0.05


@dataclass(frozen=True)
class Region:
    """A part of the image in which covering takes confidence away."""

    rank: int
    """1 for the part with the largest drop."""
    box: PixelBox
    """Top, left, bottom and right in pixels, bottom and right excluded."""
    drop: float
    """Probability lost at its worst pixel, as a mean over the masks that cover it."""
    share: float
    """Its share of all loss in the image, 0 to 1."""


@dataclass(frozen=True)
class Evidence:
    """Where in an image a network's confidence in a class sits, by what covering takes away."""

    target: int
    regions: tuple[Region, ...]
    """Most important first; none where no covering takes confidence away."""
    inside: float | None
    """Share of all loss that falls inside the known boxes; None without boxes or without loss."""
    area: float | None
    """Share of the image that the known boxes take."""
    concentration: float | None
    """``inside / area``: 1 is what a loss spread evenly over the image gives."""
    leaning: bool | None
    """Whether the loss lies in the boxes clearly more often than by chance: their odds in the loss
    are at least 8 times those in the image. None where `inside` is."""
    verdict: str
    """The same in a sentence for a person."""


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
    the clearer the smaller the masks are; about the size of what is looked for is good.

    Parameters
    ----------
    found : OcclusionMap
        Complete or not; the verdict says so if it is not.
    target : int, optional
        Out of ``found.classes``; by default the map's own.
    boxes : four ints, or a sequence of such
        Known boxes as (top, left, bottom, right) in pixels of the network's input, bottom and right
        excluded; what lies outside the image does not count.
    regions : int
        How many to give at most.

    Raises
    ------
    ValueError
        If a box is no box or lies outside the image, or the class is not among those kept.

    Examples
    --------
    >>> from nbviz import demos
    >>> from nbviz.analysis.occlusion import occlusion_map
    >>> network, pictures, *_, badges, badge_class = vars(demos.scenes()).values()
    >>> left, top, right, bottom = badges[16]
    >>> made = occlusion_map(network, pictures[16], "mushroom", size=16, stride=8)
    >>> evidence(made, boxes=(top, left, bottom, right)).leaning
    True
    """
    target = found.target if target is None else int(target)
    loss = np.maximum(np.nan_to_num(found.per_pixel(target, "probability drop")), 0).astype(float)
    total = float(loss.sum())
    known = None if boxes is None else _plane(boxes, loss.shape)
    area = None if known is None else float(known.mean())
    inside = None if known is None or total == 0 else float(loss[known].sum() / total)
    concentration = None if inside is None or not area else inside / area
    leaning = None
    if inside is not None and area is not None:
        leaning = bool(inside * (1 - area) >= _LEANING * area * (1 - inside))
    ranked = _regions(loss, found.size, regions)
    verdict = _verdict(found, target, ranked, inside, area, leaning)
    return Evidence(target, ranked, inside, area, concentration, leaning, verdict)


def _plane(boxes: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    listed = np.asarray(boxes)
    listed = listed[None] if listed.ndim == 1 else listed
    if listed.ndim != 2 or listed.shape[1] != 4 or not np.issubdtype(listed.dtype, np.number):
        msg = f"expected boxes as (top, left, bottom, right) in pixels, got {boxes!r:.80}"
        raise ValueError(msg)
    plane = np.zeros(shape, bool)
    for top, left, bottom, right in np.rint(listed).astype(int).tolist():
        part = plane[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
        if not part.size:
            msg = (
                f"expected boxes as (top, left, bottom, right) that lie in the image of {shape[0]} "
                f"x {shape[1]} pixels, got ({top}, {left}, {bottom}, {right}), which has no pixel "
                f"in it"
            )
            raise ValueError(msg)
        part[:] = True
    return plane


def _regions(loss: NDArray[np.float64], size: tuple[int, int], most: int) -> tuple[Region, ...]:
    """Connected parts around peaks of the loss, each until it has fallen to half of its peak."""
    from scipy.ndimage import label, maximum_filter

    left, total, found = loss.copy(), loss.sum(), list[Region]()
    first = float(loss.max(initial=0))
    while len(found) < most:
        peak = float(left.max(initial=0))
        if peak <= 0 or peak < _FAINT * first:
            break
        parts, _ = label(left >= _EDGE * peak)
        part = parts == parts[np.unravel_index(left.argmax(), left.shape)]
        rows, cols = (np.flatnonzero(part.any(axis)) for axis in (1, 0))
        box = (int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1)
        found.append(Region(len(found) + 1, box, peak, float(loss[part].sum() / total)))
        # Masks that touch the part reach so far around it, so the loss there is no region's own.
        reach = tuple(2 * (length // 2) + 1 for length in size)
        left[maximum_filter(part, size=reach)] = 0
    return tuple(found)


def _verdict(
    found: OcclusionMap,
    target: int,
    regions: tuple[Region, ...],
    inside: float | None,
    area: float | None,
    leaning: bool | None,
) -> str:
    name = f"“{found.class_name(target)}”"
    base = found.base(target, "probability")
    answered = found.state != NOT_YET
    drops = found.values(target, "probability drop")[answered]
    most = float(np.nanmax(drops)) if np.isfinite(drops).any() else float("nan")
    if not answered.any() or np.isnan(most):
        said = f"Nothing is known yet of what the confidence in {name} depends on."
    elif not regions:
        said = f"No mask takes confidence in {name} away; without mask it is {_percent(base)}."
    elif inside is not None and area is not None:
        times = inside / area
        leans = "it leans on what is there" if leaning else "no sign that it leans on what is there"
        said = (
            f"{_percent(inside)} of the confidence in {name} that masks take away is lost in the "
            f"known boxes, which cover {_percent(area)} of the image: {times:.1f} times as much as "
            f"chance would have it, {leans}."
        )
    else:
        top, left, bottom, right = regions[0].box
        said = (
            f"Most confidence in {name} is lost in rows {top} to {bottom - 1}, columns {left} to "
            f"{right - 1}, with {_percent(regions[0].share)} of all loss."
        )
    if regions and most < _LITTLE:
        said += (
            f" But that is little: no mask takes away more than {_percent(most)} of "
            f"{_percent(base)}."
        )
    if not answered.all():
        said += f" Only {_percent(float(answered.mean()))} of the positions have been asked."
    elif (found.state == INTERPOLATED).any():
        said += f" {_percent(1 - found.computed_share)} of the positions are interpolated."
    return said


def _percent(share: float) -> str:
    if 0 < share < 0.0001:
        return "less than 0.01 %"
    return f"{100 * share:.2g} %" if share < 0.995 else "100 %"
