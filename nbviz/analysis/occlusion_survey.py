"""How an occlusion map grows: which positions are asked next, and what is kept of the answers.

Positions are asked level by level, every 8th, 4th, 2nd and every one, so that a coarse picture
stands early; each level is one run of the inference, which groups the positions as suits it. With a
tolerance, `nbviz.analysis.occlusion_refinement` says where a finer level is needed.
"""

from __future__ import annotations

import hashlib
import operator
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nbviz.analysis.class_choice import choose_class
from nbviz.analysis.masked_boxes import Boxes, MaskedBatch, MaskedInference
from nbviz.analysis.occlusion_fill import Replacement
from nbviz.analysis.occlusion_map import COMPUTED, INTERPOLATED, NOT_YET, OcclusionMap
from nbviz.analysis.occlusion_masks import (
    MaskShape,
    expect_mask_shape,
    mask_positions,
    shape_bits,
)
from nbviz.analysis.occlusion_refinement import (
    Middles,
    coarsest_step,
    expected_error,
    level_lines,
    middles,
)
from nbviz.analysis.state_stamp import Stamp, state_stamp
from nbviz.network import Network

__all__ = ["Grid", "Survey", "levels"]

# The first picture of a map has every so many-th position along each side.
COARSEST = 8

TOP = 5
# All classes are kept up to so many, and as long as their logits take no more than so many bytes.
_ALL_CLASSES, _ALL_BYTES = 1000, 64 * 2**20
_KEPT_CLASSES = 100
# More pictures a second than this nobody sees, and each is a copy of the map.
_SECONDS_BETWEEN = 0.05
# Of the time copying takes so many times passes before the next.
_COPYING = 10


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the masks of a map lie, and how they look."""

    image_shape: tuple[int, int, int]
    size: tuple[int, int]
    stride: tuple[int, int]
    shape: MaskShape
    tops: NDArray[np.int32]
    lefts: NDArray[np.int32]

    @classmethod
    def of(cls, image_shape: tuple[int, ...], size: Any, stride: Any, shape: MaskShape) -> Grid:
        """The grid for sizes as a person gives them.

        Raises
        ------
        ValueError, TypeError
            If masks are larger than the image, or a number is none of what it must be.
        """
        expect_mask_shape(shape)
        channels, height, width = image_shape
        (rows, cols), (down, across) = _pair("size", size), _pair("stride", stride)
        tops, lefts = mask_positions(height, rows, down), mask_positions(width, cols, across)
        return cls((channels, height, width), (rows, cols), (down, across), shape, tops, lefts)

    @property
    def count(self) -> int:
        """Number of positions."""
        return len(self.tops) * len(self.lefts)

    def boxes(self, batch: Tensor, fill: Tensor, cells: NDArray[np.int64]) -> Boxes:
        """What the masks of these cells (numbers row by row) change of an image."""
        tops = self.tops[cells // len(self.lefts)].astype(np.int64)
        lefts = self.lefts[cells % len(self.lefts)].astype(np.int64)
        bits = torch.as_tensor(shape_bits(self.shape, self.size), device=batch.device)
        whole = bool(bits.all())
        one_colour = bool((fill == fill[:, :, :1, :1]).all())

        def pixels(numbers: NDArray[np.int64]) -> Tensor:
            rows, cols = self.size
            if one_colour:
                instead = fill[:, :, :1, :1].expand(len(numbers), -1, rows, cols)
            else:
                instead = _cut(fill, tops[numbers], lefts[numbers], self.size)
            if whole:
                return instead
            return torch.where(bits, instead, _cut(batch, tops[numbers], lefts[numbers], self.size))

        return Boxes(tops, lefts, self.size, pixels)


def _pair(name: str, value: Any) -> tuple[int, int]:
    values = value if isinstance(value, tuple | list) else (value, value)
    try:
        whole = [operator.index(number) for number in values]
    except TypeError:
        whole = []
    if len(whole) != 2 or any(isinstance(number, bool) for number in values):
        msg = (
            f"expected {name} as a whole number of pixels or as (rows, columns), got {value!r:.60}"
        )
        raise TypeError(msg)
    return whole[0], whole[1]


def _cut(
    picture: Tensor, tops: NDArray[np.int64], lefts: NDArray[np.int64], size: tuple[int, int]
) -> Tensor:
    """Parts (n, C, rows, cols) of a picture (1, C, H, W)."""
    down, across = (
        torch.as_tensor(starts, device=picture.device)[:, None]
        + torch.arange(length, device=picture.device)
        for starts, length in zip((tops, lefts), size, strict=True)
    )
    return picture[0][:, down[:, :, None], across[:, None, :]].permute(1, 0, 2, 3)


@dataclass(eq=False)
class Survey:
    """An occlusion map while it grows.

    Raises
    ------
    ValueError, TypeError, IndexError
        If sizes or classes cannot be.
    RuntimeError
        From `steps`, if the network changes between two of them.
    """

    network: Network
    batch: Tensor
    inference: MaskedInference
    grid: Grid
    fill: Replacement
    target: int | str | None
    chosen: Sequence[int | str] | None
    tolerance: float | None
    coarse_first: bool = True

    def __post_init__(self) -> None:
        base = self.inference.logits.detach().float().cpu()
        self.base: NDArray[np.float32] = base.numpy()
        self.stamp = self._stamp()
        self.number = choose_class(self.network, self.target, base)
        self.classes = self._classes()
        self.fingerprint = _fingerprint(self.batch, self.fill.batch)
        rows, cols, kept = len(self.grid.tops), len(self.grid.lefts), len(self.classes)
        top = min(TOP, len(self.base))
        self.logits = np.full((rows, cols, kept), np.nan, np.float32)
        self.log_normaliser = np.full((rows, cols), np.nan, np.float32)
        self.state = np.full((rows, cols), NOT_YET, np.uint8)
        self.top_classes = np.full((rows, cols, top), -1, np.int32)
        self.top_probabilities = np.full((rows, cols, top), np.nan, np.float32)
        self.sums = {
            name: np.full((rows, cols, len(sums)), np.nan, np.float32)
            for name, sums in self.inference.sums.items()
        }

    def _stamp(self) -> Stamp:
        with self.network.lock:
            return state_stamp(self.network.model)

    def _expect_unchanged(self) -> None:
        """A map is of one network: answers of two would look like one picture."""
        if self._stamp() != self.stamp:
            msg = (
                "expected the network to stay as it is while its occlusion map is made, but its "
                "weights, modules or hooks have changed; start anew, without resume (the maps "
                "given so far are of the network as it was)"
            )
            raise RuntimeError(msg)

    def _classes(self) -> NDArray[np.int32]:
        count = len(self.base)
        if self.chosen is not None:
            numbers = [choose_class(self.network, one, self.base) for one in self.chosen]
        elif count <= _ALL_CLASSES and count * self.grid.count * 4 <= _ALL_BYTES:
            numbers = list(range(count))
        else:
            order = np.argsort(-np.nan_to_num(self.base, nan=-np.inf), kind="stable")
            numbers = order[:_KEPT_CLASSES].tolist()
        return np.unique([*numbers, self.number]).astype(np.int32)

    def resume(self, earlier: OcclusionMap) -> None:
        """Take over what an earlier map of the same settings computed.

        Raises
        ------
        ValueError
            If it is of other settings; the message says which.
        """
        here = self.snapshot()
        same = ("network_name", "image_shape", "size", "stride", "mask_shape", "fill_note")
        for name in same:
            if getattr(here, name) != getattr(earlier, name):
                raise ValueError(_other(name, getattr(here, name), getattr(earlier, name)))
        if not np.array_equal(self.classes, earlier.classes):
            raise ValueError(_other("classes", len(self.classes), len(earlier.classes)))
        if set(self.sums) != set(earlier.sums):
            raise ValueError(_other("watch", sorted(self.sums), sorted(earlier.sums)))
        if here.fingerprint != earlier.fingerprint:
            msg = (
                "expected a map of the same image and fill to go on with, got one of others; leave "
                "resume out"
            )
            raise ValueError(msg)
        spread = float(np.nanmax(np.abs(self.base), initial=1e-6))
        if len(self.base) != len(earlier.base_logits) or not np.allclose(
            self.base, earlier.base_logits, rtol=0, atol=1e-3 * spread, equal_nan=True
        ):
            msg = (
                "expected a map of the same weights to go on with, but the logits without mask "
                "differ; leave resume out"
            )
            raise ValueError(msg)
        done = earlier.state == COMPUTED
        self.state[done] = COMPUTED
        for name in ("logits", "log_normaliser", "top_classes", "top_probabilities"):
            getattr(self, name)[done] = getattr(earlier, name)[done]
        for name, sums in self.sums.items():
            sums[done] = earlier.sums[name][done]

    def steps(self) -> Iterator[OcclusionMap]:
        """Maps of more and more positions, the last one complete."""
        rows, cols = self.state.shape
        if self.tolerance is None:
            for cells in levels(rows, cols, COARSEST if self.coarse_first else 1):
                yield from self._ask(cells)
        else:
            coarsest = coarsest_step(self.grid.size, self.grid.stride)
            for cells in levels(rows, cols, max(coarsest, COARSEST), coarsest):
                yield from self._ask(cells)
            for between in middles(self.grid.tops, self.grid.lefts, coarsest):
                needed = self._needed(between)
                yield from self._ask(between.cells[needed])
                self._interpolate(between)
        yield self.snapshot()

    def _needed(self, between: Middles) -> NDArray[np.bool_]:
        """Which cells may be off by more than the tolerance, in probability or logit."""
        here, tolerance = self.snapshot(), self.tolerance or 0.0
        overlaps = [a / b for a, b in zip(self.grid.size, self.grid.stride, strict=True)]
        places = (self.grid.tops, self.grid.lefts)
        within = np.ones(len(between.cells), bool)
        for kind in ("probability", "logit"):
            values = here.values(kind=kind)
            known = values[(self.state != NOT_YET) & np.isfinite(values)]
            spread = float(np.ptp(known)) if known.size else np.nan
            error = expected_error(between, values, places, float(np.sqrt(np.prod(overlaps))))
            within &= error <= tolerance * spread  # NaN is not within
        return ~within

    def _interpolate(self, between: Middles) -> None:
        """Fill the cells that were not computed from those around."""
        left = self.state.ravel()[between.cells] != COMPUTED
        row, col = np.divmod(between.cells[left], self.state.shape[1])
        logits = between.interpolated(self.logits)[left]
        # A mean of normalisers would make small what is likely on one side only: what is
        # interpolated is logits, of the other classes together where these are not kept.
        normaliser = np.logaddexp.reduce(logits, axis=1)
        every = len(self.classes) == len(self.base)
        if not every:
            others = between.interpolated(_others(self.logits, self.log_normaliser))[left]
            normaliser = np.logaddexp(normaliser, others)
        self.logits[row, col], self.log_normaliser[row, col] = logits, normaliser
        for sums in self.sums.values():
            sums[row, col] = between.interpolated(sums)[left]
        if every:
            self._rank(row, col, torch.from_numpy(logits), torch.from_numpy(normaliser))
        else:
            nearest = between.neighbours[left, between.weights[left].argmax(1)]
            for ranked in (self.top_classes, self.top_probabilities):
                ranked[row, col] = ranked.reshape(self.state.size, -1)[nearest]
        self.state[row, col] = INTERPOLATED

    def _ask(self, cells: NDArray[np.int64]) -> Iterator[OcclusionMap]:
        """Compute these cells, where that is not done yet."""
        cells = cells[self.state.ravel()[cells] != COMPUTED]
        if not len(cells):
            return
        self._expect_unchanged()
        due = time.perf_counter() + _SECONDS_BETWEEN
        boxes = self.grid.boxes(self.batch, self.fill.batch, cells)
        for answers in self.inference.run(boxes):
            self._expect_unchanged()
            self._keep(cells[answers.numbers], answers)
            began = time.perf_counter()
            if self.coarse_first and began >= due:
                so_far = self.snapshot()
                due = time.perf_counter()
                due += max(_SECONDS_BETWEEN, _COPYING * (due - began))
                yield so_far
        if self.coarse_first:
            yield self.snapshot()

    def _keep(self, cells: NDArray[np.int64], answers: MaskedBatch) -> None:
        logits = answers.logits.detach().float()
        row, col = np.divmod(cells, self.state.shape[1])
        normaliser = logits.logsumexp(1)
        self._rank(row, col, logits, normaliser)
        kept = torch.as_tensor(self.classes, device=logits.device, dtype=torch.int64)
        self.logits[row, col] = logits[:, kept].cpu().numpy()
        self.log_normaliser[row, col] = normaliser.cpu().numpy()
        for name, sums in answers.sums.items():
            self.sums[name][row, col] = sums.float().cpu().numpy()
        self.state[row, col] = COMPUTED

    def _rank(
        self, row: NDArray[np.int64], col: NDArray[np.int64], logits: Tensor, normaliser: Tensor
    ) -> None:
        """Note the most probable classes of some cells."""
        best, numbers = logits.topk(self.top_classes.shape[2], dim=1)
        # NaN stands first among them, where the normaliser is NaN too
        known = normaliser.isfinite()[:, None]
        self.top_classes[row, col] = torch.where(known, numbers, -1).cpu().numpy()
        self.top_probabilities[row, col] = (best - normaliser[:, None]).exp().cpu().numpy()

    def snapshot(self) -> OcclusionMap:
        """The map so far, which later answers do not change."""
        base = torch.from_numpy(self.base)
        return OcclusionMap(
            image_shape=self.grid.image_shape,
            size=self.grid.size,
            stride=self.grid.stride,
            mask_shape=self.grid.shape,
            tops=self.grid.tops,
            lefts=self.grid.lefts,
            target=self.number,
            classes=self.classes,
            class_names=self.network.classes,
            logits=self.logits.copy(),
            log_normaliser=self.log_normaliser.copy(),
            state=self.state.copy(),
            top_classes=self.top_classes.copy(),
            top_probabilities=self.top_probabilities.copy(),
            base_logits=self.base,
            base_log_normaliser=float(base.logsumexp(0)),
            sums={name: sums.copy() for name, sums in self.sums.items()},
            base_sums={
                name: sums.float().cpu().numpy() for name, sums in self.inference.sums.items()
            },
            network_name=type(self.network.model).__name__,
            fill=self.fill.name,
            fill_note=self.fill.note,
            way=self.inference.way,
            reason=self.inference.reason,
            tolerance=self.tolerance,
            fingerprint=self.fingerprint,
        )


def _others(
    logits: NDArray[np.float32], log_normaliser: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The logit of all classes together that are not among these, shape (R, Q)."""
    with np.errstate(invalid="ignore"):
        kept = np.exp(logits - log_normaliser[..., None]).sum(-1)
    # beyond single precision there is no telling how little is left
    return np.asarray(log_normaliser + np.log(np.maximum(1 - kept, 1e-7)), np.float32)


def _fingerprint(*tensors: Tensor) -> str:
    """The same for the same values."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(tensor.detach().cpu().double().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def _other(name: str, wanted: Any, got: Any) -> str:
    return (
        f"expected a map with {name} {wanted} to go on with, got one with {got}; leave resume out "
        f"or take the same settings"
    )


def levels(rows: int, cols: int, coarsest: int, finest: int = 1) -> Iterator[NDArray[np.int64]]:
    """Cells of a grid, numbered row by row, from every 8th, say, to all; each once.

    The last row and column belong to every level, so that what lies between can be interpolated.
    """
    done = np.zeros((rows, cols), bool)
    step = coarsest
    while step >= finest:
        before = done.copy()
        done[np.ix_(level_lines(rows, step), level_lines(cols, step))] = True
        yield np.flatnonzero(done & ~before)
        step //= 2
