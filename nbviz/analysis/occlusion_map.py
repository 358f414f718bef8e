"""The result of an occlusion map: what the network answered with a mask at each position.

Logits are kept, for the classes that were chosen, and the normaliser of the softmax over all
classes; confidences, their drops, and the map in input pixels are worked out from these when asked
for, so that another class needs no pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from nbviz.analysis.masked_boxes import Way
from nbviz.analysis.occlusion_masks import MaskShape, shape_bits

__all__ = ["COMPUTED", "INTERPOLATED", "NOT_YET", "OcclusionMap", "ValueKind"]

ValueKind = Literal["probability", "logit", "probability drop", "logit drop"]

NOT_YET, COMPUTED, INTERPOLATED = 0, 1, 2


@dataclass(frozen=True, eq=False)
class OcclusionMap:
    """What a network answered to an image with a mask at each of R × Q positions.

    Masks begin at rows `tops` and columns `lefts`: at 0, stride, 2 * stride, ..., and a last one
    flush with the border, off the stride where that does not fit. A mask at top t covers rows t to
    t + size - 1. An interrupted map is whole: positions without an answer are NaN, and `state`
    tells which these are.

    Examples
    --------
    >>> from torch import nn
    >>> from nbviz import Network
    >>> from nbviz.analysis.occlusion import occlusion_map
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> image = np.zeros((16, 16, 3), np.uint8)
    >>> result = occlusion_map(Network(model, input_shape=(3, 16, 16)), image, size=4, stride=4)
    >>> result.tops.tolist(), result.values(0, "probability drop").shape
    ([0, 4, 8, 12], (4, 4))
    """

    image_shape: tuple[int, int, int]
    """(C, H, W) of the network's input."""
    size: tuple[int, int]
    """Rows and columns of a mask."""
    stride: tuple[int, int]
    mask_shape: MaskShape
    tops: NDArray[np.int32]
    """First row of the masks, shape (R,)."""
    lefts: NDArray[np.int32]
    """First column of the masks, shape (Q,)."""
    target: int
    """The class that the map was made for."""
    classes: NDArray[np.int32]
    """Numbers of the classes whose logits are kept, shape (K,), ascending."""
    class_names: tuple[str, ...] | None = field(repr=False)
    """Names of all classes, None if they are not known."""
    logits: NDArray[np.float32] = field(repr=False)
    """Shape (R, Q, K); NaN where there is no answer yet."""
    log_normaliser: NDArray[np.float32] = field(repr=False)
    """Shape (R, Q): a class's probability is ``exp(logit - log_normaliser)``."""
    state: NDArray[np.uint8] = field(repr=False)
    """Shape (R, Q): 0 not computed yet, 1 computed, 2 interpolated."""
    top_classes: NDArray[np.int32] = field(repr=False)
    """The five most probable classes (fewer where there are fewer), shape (R, Q, 5); -1 where there
    is no answer or it is no number. Where `state` is 2 they follow from the interpolated logits,
    or, if not all classes are kept, are those of a position beside it."""
    top_probabilities: NDArray[np.float32] = field(repr=False)
    """Their probabilities, shape (R, Q, 5)."""
    base_logits: NDArray[np.float32] = field(repr=False)
    """Logits of all classes for the image without mask, shape (classes,)."""
    base_log_normaliser: float
    sums: Mapping[str, NDArray[np.float32]] = field(repr=False)
    """By watched layer the sums of its maps over places, shape (R, Q, channels)."""
    base_sums: Mapping[str, NDArray[np.float32]] = field(repr=False)
    """The same for the image without mask, shape (channels,)."""
    network_name: str
    fill: str
    fill_note: str
    """What masks were filled with, in pixels."""
    way: Way
    reason: str
    """Why it was computed that way, one sentence."""
    tolerance: float | None
    """None for an exact map; else the error aimed at (no bound), as a share of the map's range,
    where `state` is 2."""
    fingerprint: str = field(default="", repr=False)
    """The same for the same image and fill."""

    @property
    def complete(self) -> bool:
        """Whether every position has an answer."""
        return bool((self.state != NOT_YET).all())

    @property
    def computed_share(self) -> float:
        """The share of positions that were computed, 0 to 1."""
        return float((self.state == COMPUTED).mean())

    @property
    def argmax(self) -> NDArray[np.int32]:
        """The most probable class at each position, shape (R, Q); -1 where there is none."""
        return self.top_classes[..., 0]

    @cached_property
    def not_numbers(self) -> int:
        """At how many computed positions the network's answer has no probabilities (NaN)."""
        return int((~np.isfinite(self.log_normaliser) & (self.state == COMPUTED)).sum())

    def class_name(self, number: int) -> str:
        """The name of a class, "class 7" where it has none."""
        names = self.class_names or ()
        return names[number] if number < len(names) else f"class {number}"

    def base(self, target: int, kind: Literal["probability", "logit"]) -> float:
        """A class's value for the image without mask; of any class."""
        logit = float(self.base_logits[target])
        return logit if kind == "logit" else float(np.exp(logit - self.base_log_normaliser))

    def values(
        self, target: int | None = None, kind: ValueKind = "probability"
    ) -> NDArray[np.float32]:
        """A class's values at all positions.

        Parameters
        ----------
        target : int, optional
            Out of `classes`; by default the class that the map was made for.
        kind : {"probability", "logit", "probability drop", "logit drop"}
            A drop is the value without mask less that with it.

        Returns
        -------
        float32 array, shape (R, Q)
            NaN where there is no answer.

        Raises
        ------
        ValueError
            If the class is not among those kept, or `kind` is none of these.
        """
        if kind not in get_args(ValueKind):
            msg = f"expected one of {', '.join(map(repr, get_args(ValueKind)))}, got {kind!r}"
            raise ValueError(msg)
        target = self.target if target is None else int(target)
        logits = self.logits[..., self._place(target)]
        if kind.startswith("logit"):
            found = logits
        else:
            with np.errstate(invalid="ignore", over="ignore"):
                found = np.exp(logits - self.log_normaliser)
        if kind == "probability drop":
            found = self.base(target, "probability") - found
        elif kind == "logit drop":
            found = self.base(target, "logit") - found
        return np.asarray(found, np.float32)

    def filled(
        self, target: int | None = None, kind: ValueKind = "probability"
    ) -> NDArray[np.float32]:
        """The same as `values`, with the nearest position's value where there is no answer yet."""
        found = self.values(target, kind)
        return found[self._nearest] if self._nearest is not None else found

    @cached_property
    def _nearest(self) -> tuple[NDArray[np.intp], ...] | None:
        """Row and column of the position with an answer that is nearest to each."""
        return nearest(self.state != NOT_YET, self.tops, self.lefts)

    def per_pixel(
        self, target: int | None = None, kind: ValueKind = "probability drop"
    ) -> NDArray[np.float32]:
        """The map in input pixels: each pixel's mean over all masks that cover it.

        This is how Captum's `Occlusion` gives its attributions ("logit drop" is its value).

        Returns
        -------
        float32 array, shape (H, W)
            NaN where no mask with an answer covers the pixel.
        """
        values = self.values(target, kind).astype(np.float64)
        known = self.state != NOT_YET
        total, count = self._spread(np.where(known, values, 0)), self._spread(known)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan), np.float32)

    def _spread(self, values: NDArray[np.generic]) -> NDArray[np.float64]:
        """The sum over masks of a value each, for every pixel (H, W)."""
        height, width = self.image_shape[1:]
        result = np.zeros((height + 1, width + 1))
        bits = shape_bits(self.mask_shape, self.size)
        # Masks are convex: a row of one is a run, and runs are sums of differences at their ends.
        rows = _runs_of_rows(bits)
        for first, last, start, stop in rows:
            edges = np.zeros((height + 1, len(self.lefts)))
            np.add.at(edges, self.tops + first, values)
            np.add.at(edges, self.tops + last, -np.asarray(values, np.float64))
            np.add.at(result.T, self.lefts + start, edges.T)
            np.add.at(result.T, self.lefts + stop, -edges.T)
        return np.asarray(result.cumsum(0).cumsum(1)[:height, :width])

    def _place(self, target: int) -> int:
        place = int(np.searchsorted(self.classes, target))
        if place == len(self.classes) or self.classes[place] != target:
            msg = (
                f"expected one of the {len(self.classes)} classes whose logits the map keeps, got "
                f"{target} ({self.class_name(target) if target >= 0 else 'no class'}); make the "
                f"map with classes=[{target}, ...]"
            )
            raise ValueError(msg)
        return place


def _runs_of_rows(bits: NDArray[np.bool_]) -> list[tuple[int, int, int, int]]:
    """Rows [first, last) of a convex mask that cover the same columns [start, stop)."""
    runs: list[tuple[int, int, int, int]] = []
    for row, covered in enumerate(bits):
        found = np.flatnonzero(covered)
        if not found.size:
            continue
        start, stop = int(found[0]), int(found[-1]) + 1
        if runs and runs[-1][1:] == (row, start, stop):
            runs[-1] = (runs[-1][0], row + 1, start, stop)
        else:
            runs.append((row, row + 1, start, stop))
    return runs


def nearest(
    known: NDArray[np.bool_], tops: Sequence[int] | NDArray[np.int32], lefts: NDArray[np.int32]
) -> tuple[NDArray[np.intp], ...] | None:
    """Row and column of the nearest known position for each; None if all or none are known."""
    if known.all() or not known.any():
        return None
    from scipy.ndimage import distance_transform_edt

    spacing = [float(np.diff(starts).max()) if len(starts) > 1 else 1.0 for starts in (tops, lefts)]
    found = distance_transform_edt(
        ~known, sampling=spacing, return_distances=False, return_indices=True
    )
    return tuple(np.asarray(found, np.intp))
