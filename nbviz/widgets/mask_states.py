"""Masks and known boxes as a person or the browser gives them, checked and made alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nbviz.analysis.occlusion import Mask

MASK_SHAPES = ("rectangle", "circle", "brush")
_MOST_MASKS = 64

Box = tuple[int, int, int, int]


def checked_masks(masks: Any, image: tuple[int, int]) -> list[dict[str, Any]]:
    """Masks as the browser has them, whole pixels, each with at least one pixel in the image.

    Parameters
    ----------
    masks : sequence of mapping
        ``shape`` ("rectangle" where it is left out), ``top``, ``left``, ``height`` and ``width`` in
        input pixels; a brush has ``runs`` of pixels, ``[row, start, stop]`` each.
    image : tuple of int
        Height and width.

    Raises
    ------
    ValueError
        If one is no mask, lies outside, or there are more than 64.
    """
    if not isinstance(masks, list | tuple):
        raise ValueError(f"masks must be a list of masks, got {masks!r:.80}")  # noqa: TRY004
    if len(masks) > _MOST_MASKS:
        raise ValueError(f"at most {_MOST_MASKS} masks can lie on a picture; got {len(masks)}")
    return [_checked_mask(mask, number, image) for number, mask in enumerate(masks)]


def _checked_mask(mask: Any, number: int, image: tuple[int, int]) -> dict[str, Any]:
    if not isinstance(mask, Mapping):
        raise ValueError(  # noqa: TRY004 - one kind of error for all that is no mask
            f"masks[{number}] must be a dict like {{'shape': 'rectangle', 'top': 0, 'left': 0, "
            f"'height': 8, 'width': 8}}; got {mask!r:.80}"
        )
    shape = mask.get("shape", "rectangle")
    if shape not in MASK_SHAPES:
        named = ", ".join(map(repr, MASK_SHAPES))
        raise ValueError(f"masks[{number}] has shape {shape!r}; use one of {named}")
    if shape == "brush":
        runs = _checked_runs(mask.get("runs"), number)
        edges = [_bounds(runs), image]
    else:
        runs = []
        edges = [_rectangle(mask, number), image]
    (top, left, bottom, right), (rows, cols) = edges
    if bottom <= 0 or right <= 0 or top >= rows or left >= cols:
        raise ValueError(
            f"masks[{number}] lies outside the picture of {rows}×{cols} pixels: rows {top} to "
            f"{bottom}, columns {left} to {right}"
        )
    found = {
        "shape": shape,
        "top": top,
        "left": left,
        "height": bottom - top,
        "width": right - left,
    }
    return {**found, "runs": runs} if shape == "brush" else found


def _rectangle(mask: Mapping[str, Any], number: int) -> Box:
    values = [mask.get(name) for name in ("top", "left", "height", "width")]
    if not all(isinstance(v, int | float | np.number) and math.isfinite(v) for v in values):
        raise ValueError(
            f"masks[{number}] must have top, left, height and width as numbers of pixels; got "
            f"{dict(mask)!r:.120}"
        )
    top, left, height, width = (
        math.floor(float(value) + 0.5) for value in values if value is not None
    )
    if height < 1 or width < 1:
        raise ValueError(
            f"masks[{number}] must be at least 1 pixel high and wide; got {height}×{width}"
        )
    return top, left, top + height, left + width


def _checked_runs(runs: Any, number: int) -> list[list[int]]:
    good = isinstance(runs, list | tuple) and len(runs) > 0
    found = [[int(n) for n in run] for run in runs if len(run) == 3] if good else []
    if not found or len(found) != len(runs) or any(stop <= start for _, start, stop in found):
        raise ValueError(
            f"masks[{number}] is a brush and must have runs of pixels, [row, start, stop] each "
            f"with start < stop; got {runs!r:.80}"
        )
    return found


def _bounds(runs: Sequence[Sequence[int]]) -> Box:
    rows, starts, stops = zip(*runs, strict=True)
    return min(rows), min(starts), max(rows) + 1, max(stops)


def as_masks(states: Sequence[Mapping[str, Any]]) -> list[Mask]:
    """Checked masks as the analysis takes them."""
    return [_as_mask(state) for state in states]


def _as_mask(state: Mapping[str, Any]) -> Mask:
    top, left, height, width = (int(state[name]) for name in ("top", "left", "height", "width"))
    bits = None
    if state["shape"] == "brush":
        bits = np.zeros((height, width), bool)
        for row, start, stop in state["runs"]:
            bits[row - top, start - left : stop - left] = True
    return Mask(state["shape"], top, left, height, width, bits)


def known_boxes(boxes: Any, pictures: int) -> list[list[Box]]:
    """Known boxes of each picture as (top, left, bottom, right).

    Parameters
    ----------
    boxes : object
        For one picture (left, top, right, bottom), or several of these; for a data set one entry a
        picture: such a box, a list of them, or None. Four times -1 is no box.
    pictures : int
        How many pictures there are.

    Raises
    ------
    ValueError
        If there is not one entry a picture, or a box is none.
    """
    if boxes is None:
        return [[] for _ in range(pictures)]
    entries = list(boxes)
    if pictures == 1 and not (len(entries) == 1 and _is_several(entries[0])):
        entries = [boxes]
    if len(entries) != pictures:
        raise ValueError(
            f"expected boxes for each of {pictures} pictures (None for none), got {len(entries)}"
        )
    return [boxes_of(entry) for entry in entries]


def _is_several(entry: Any) -> bool:
    return entry is not None and len(entry) > 0 and np.ndim(entry[0]) == 1


def boxes_of(entry: Any) -> list[Box]:
    """Boxes of one picture, (left, top, right, bottom) or several, as (top, left, bottom, right).

    Raises
    ------
    ValueError
        If they are no boxes.
    """
    if entry is None or len(entry) == 0:
        return []
    several = entry if np.ndim(entry[0]) == 1 else [entry]
    found: list[Box] = []
    for box in several:
        if len(box) != 4:
            raise ValueError(f"expected a box as (left, top, right, bottom), got {box!r:.80}")
        left, top, right, bottom = (int(value) for value in box)
        if (left, top, right, bottom) == (-1, -1, -1, -1):
            continue
        if left >= right or top >= bottom:
            raise ValueError(
                f"expected a box as (left, top, right, bottom) with left < right and top < bottom, "
                f"in pixels of the network's input; got {(left, top, right, bottom)}"
            )
        found.append((top, left, bottom, right))
    return found
