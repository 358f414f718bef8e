"""An occlusion map in colours over its picture, as it is printed; the view draws the same.

A pixel shows the position whose mask's centre is nearest to it, or the mean of all masks that
cover it; where there is no number yet, or none at all, the picture is hatched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nbviz.analysis.colormaps import Colormap, colormap
from nbviz.analysis.occlusion_map import NOT_YET, OcclusionMap, ValueKind

__all__ = ["Coverage", "MapOverlay", "class_overlay", "confidence_overlay", "sum_overlay"]

Coverage = Literal["grid", "overlap average"]

# Okabe & Ito (2008), "Color universal design": apart for all kinds of colour vision.
_CLASS_COLOURS = (
    *((0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167)),
    *((86, 180, 233), (213, 94, 0), (240, 228, 66)),
)
_OTHER_CLASSES = (138, 138, 138)
_HATCH, _PERIOD = 128, 6


@dataclass(frozen=True, eq=False)
class MapOverlay:
    """A map over its picture, and what its colours mean.

    Attributes
    ----------
    pixels : uint8 array, shape (H, W, 3)
    low, high : float
        Values of the first and the last colour of `colours`.
    colours : str or None
        Name of the colour map; None where colours are those of classes.
    classes : tuple of (tuple of int, int)
        Colour and number of each class that has one of its own.
    """

    pixels: NDArray[np.uint8]
    low: float = 0.0
    high: float = 1.0
    colours: Colormap | None = None
    classes: tuple[tuple[tuple[int, int, int], int], ...] = ()


def confidence_overlay(
    result: OcclusionMap,
    picture: NDArray[np.uint8],
    target: int,
    kind: ValueKind = "probability",
    *,
    coverage: Coverage = "grid",
    opacity: float = 0.6,
    stretch: bool = False,
) -> MapOverlay:
    """A class's values over the picture.

    Parameters
    ----------
    result : OcclusionMap
    picture : uint8 array, shape (H, W, 1) or (H, W, 3)
        Of the map's size.
    target : int
        Out of the classes that the map keeps.
    kind : {"probability", "logit", "probability drop", "logit drop"}
        Drops are drawn in the diverging map, zero in the middle.
    coverage : {"grid", "overlap average"}
    opacity : float
        0 to 1.
    stretch : bool
        Let colours span the values; otherwise a probability begins at zero, and a drop's full
        colour is the whole probability that there was, so that a flat map looks flat.

    Raises
    ------
    ValueError
        If the map does not keep the class.
    """
    values = result.values(target, kind)
    drop = kind.endswith("drop")
    unit: Literal["probability", "logit"] = "logit" if kind.startswith("logit") else "probability"
    base = result.base(target, unit)
    known = values[np.isfinite(values)].astype(np.float64)
    if drop:
        whole = [abs(base)] if kind == "probability drop" and not stretch else []
        most = max([float(np.abs(known).max(initial=0)), *filter(np.isfinite, whole)]) or 1.0
        low, high = -most, most
    else:
        fixed = [] if stretch else [base, *([0.0] if kind == "probability" else [])]
        low, high = _span([*known, *fixed])
    field, within = _grid(result, values) if coverage == "grid" else _averaged(result, target, kind)
    colours: Colormap = "diverging" if drop else "sequential"
    return MapOverlay(
        _over(picture, _coloured(field, low, high, colours), field, within, opacity),
        low,
        high,
        colours,
    )


def sum_overlay(
    result: OcclusionMap,
    picture: NDArray[np.uint8],
    layer: str,
    channel: int = -1,
    *,
    opacity: float = 0.6,
    stretch: bool = False,
) -> MapOverlay:
    """Total activation of a feature map (-1: of all of a layer) under each mask.

    Raises
    ------
    KeyError
        If the layer was not watched.
    """
    channels = slice(None) if channel < 0 else slice(channel, channel + 1)
    values = result.sums[layer][..., channels].sum(-1, dtype=np.float64)
    fixed = [] if stretch else [float(result.base_sums[layer][channels].sum()), 0.0]
    low, high = _span([*values[np.isfinite(values)], *fixed])
    field, within = _grid(result, values)
    coloured = _coloured(field, low, high, "sequential")
    return MapOverlay(_over(picture, coloured, field, within, opacity), low, high, "sequential")


def class_overlay(
    result: OcclusionMap, picture: NDArray[np.uint8], target: int, *, opacity: float = 0.6
) -> MapOverlay:
    """The most probable class under each mask (Zeiler & Fergus 2014, fig. 6 e).

    The target has the first colour wherever it appears, then classes by how often they are on top.
    """
    top = result.argmax
    found, counts = np.unique(top[top >= 0], return_counts=True)
    order = [int(found[i]) for i in np.lexsort((found, -counts, found != target))]
    colours = dict(zip(order, _CLASS_COLOURS, strict=False))
    field, within = _grid(result, np.where(top >= 0, top, np.nan))
    coloured = np.empty((*field.shape, 3), np.uint8)
    coloured[:] = _OTHER_CLASSES
    for number, colour in colours.items():
        coloured[field == number] = colour
    pixels = _over(picture, coloured, field, within, opacity)
    return MapOverlay(pixels, classes=tuple((colour, n) for n, colour in colours.items()))


def _span(values: Sequence[float]) -> tuple[float, float]:
    finite = [float(value) for value in values if np.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    return low, high if high > low else low + (abs(low) or 1.0)


def _grid(
    result: OcclusionMap, values: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The value at every pixel, and which pixels lie in the map."""
    height, width = result.image_shape[1:]
    down = _cells(result.tops, result.size[0], height)
    across = _cells(result.lefts, result.size[1], width)
    within = (down[:, None] >= 0) & (across[None, :] >= 0)
    known = np.where(result.state != NOT_YET, values, np.nan).astype(np.float64)
    return np.where(within, known[down[:, None], across[None, :]], np.nan), within


def _cells(starts: NDArray[np.int32], size: int, length: int) -> NDArray[np.int64]:
    """Number of the position of each pixel along one side, -1 outside the map.

    A position's cell is centred where its mask is and reaches half way to the next; the outermost
    reach as far outwards as inwards.
    """
    centres = starts + size / 2
    middles = (centres[:-1] + centres[1:]) / 2
    reach = np.diff(centres) / 2 if len(centres) > 1 else np.array([size / 2])
    borders = np.array([centres[0] - reach[0], *middles, centres[-1] + reach[-1]])
    edges = np.floor(borders + 0.5)
    places = np.searchsorted(edges, np.arange(length), side="right") - 1
    return np.where(places < len(starts), places, -1)


def _averaged(
    result: OcclusionMap, target: int, kind: ValueKind
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    field = result.per_pixel(target, kind).astype(np.float64)
    rows, cols = (
        slice(int(starts[0]), int(starts[-1]) + side)
        for starts, side in zip((result.tops, result.lefts), result.size, strict=True)
    )
    within = np.zeros(field.shape, bool)
    within[rows, cols] = True
    return field, within


def _coloured(
    field: NDArray[np.float64], low: float, high: float, name: Colormap
) -> NDArray[np.uint8]:
    place = np.where(np.isfinite(field), (field - low) / (high - low), 0.0)
    return np.asarray(colormap(name)[np.clip(np.rint(place * 255), 0, 255).astype(np.uint8)])


def _over(
    picture: NDArray[np.uint8],
    coloured: NDArray[np.uint8],
    field: NDArray[np.float64],
    within: NDArray[np.bool_],
    opacity: float,
) -> NDArray[np.uint8]:
    below = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture
    mixed = below * (1 - opacity) + coloured * opacity
    rows, cols = np.indices(field.shape)
    hatched = within & ~np.isfinite(field)
    lines = (rows + cols) % _PERIOD < _PERIOD // 3
    shown = np.where((within & ~hatched)[..., None], mixed, below)
    shown = np.where((hatched & lines)[..., None], _HATCH, shown)
    return np.rint(shown).astype(np.uint8)
