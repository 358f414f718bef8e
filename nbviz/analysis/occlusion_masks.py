"""Masks: which pixels they cover, where those of a map lie, and the input that they make.

A pixel (r, c) is in a rectangle if ``top <= r < top + height`` and the same for columns; in a
circle (an ellipse) if its middle (r + 0.5, c + 0.5) is within it; under a brush where its bits are.
The view draws by the same rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nbviz.analysis.occlusion_fill import Replacement
from nbviz.analysis.receptive_field import Box

__all__ = ["Mask", "MaskShape", "mask_plane", "mask_positions", "masked_input"]

MaskShape = Literal["rectangle", "circle"]


@dataclass(frozen=True, eq=False)
class Mask:
    """One mask on an image, in input pixels; it may hang over the border.

    Attributes
    ----------
    shape : {"rectangle", "circle", "brush"}
    top, left, height, width : float
        Rounded to whole pixels, halves upwards.
    bits : bool array, shape (height, width), or None
        Which of its pixels a brush covers.

    Examples
    --------
    >>> mask_plane([Mask("rectangle", -1, 1, 3, 2)], (4, 4)).astype(int).tolist()
    [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    """

    shape: Literal["rectangle", "circle", "brush"]
    top: float
    left: float
    height: float
    width: float
    bits: NDArray[np.bool_] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.shape not in ("rectangle", "circle", "brush"):
            msg = f"expected a mask of shape 'rectangle', 'circle' or 'brush', got {self.shape!r}"
            raise ValueError(msg)
        numbers = (self.top, self.left, self.height, self.width)
        if not np.isfinite(numbers).all():
            msg = f"expected top, left, height and width as finite numbers, got {numbers}"
            raise ValueError(msg)
        for name, value in zip(("top", "left", "height", "width"), numbers, strict=True):
            object.__setattr__(self, name, int(np.floor(value + 0.5)))
        if min(self.height, self.width) < 1:
            msg = (
                f"expected a mask of at least one pixel, got {self.height} x {self.width}; remove "
                f"it instead"
            )
            raise ValueError(msg)
        bits = np.asarray(self.bits)
        if self.shape == "brush" and bits.shape != (self.height, self.width):
            msg = (
                f"expected the bits of a brush as a bool array of shape ({self.height}, "
                f"{self.width}), got {'none' if self.bits is None else bits.shape}"
            )
            raise ValueError(msg)

    @property
    def covered(self) -> NDArray[np.bool_]:
        """Which pixels of its own box it covers, shape (height, width)."""
        size = (int(self.height), int(self.width))
        if self.shape == "brush":
            return np.asarray(self.bits, bool)
        return shape_bits(self.shape, size)


def shape_bits(shape: MaskShape, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which pixels of a box of (rows, cols) a rectangle or a circle in it covers."""
    if shape == "rectangle":
        return np.ones(size, bool)
    down, across = (((np.arange(length) + 0.5 - length / 2) / (length / 2)) ** 2 for length in size)
    return np.asarray(down[:, None] + across[None, :] <= 1)


def mask_plane(masks: Iterable[Mask], image: tuple[int, int]) -> NDArray[np.bool_]:
    """Which pixels of an image of (H, W) any of the masks covers, a bool array of that shape."""
    height, width = image
    plane = np.zeros((height, width), bool)
    for mask in masks:
        top, left = int(mask.top), int(mask.left)
        covered = mask.covered[max(0, -top) :, max(0, -left) :]
        part = plane[max(0, top) :, max(0, left) :]
        rows, cols = (min(a, b) for a, b in zip(covered.shape, part.shape, strict=True))
        part[:rows, :cols] |= covered[:rows, :cols]
    return plane


def masked_input(
    batch: Tensor, fill: Replacement | Tensor, plane: NDArray[np.bool_]
) -> tuple[Tensor, Box | None]:
    """The image with what is covered replaced, and the box outside which nothing changed.

    Parameters
    ----------
    batch : Tensor, shape (1, C, H, W)
    fill : Replacement or Tensor, shape (1, C, H, W)
    plane : bool array, shape (H, W)
        True where it is covered (`mask_plane`).

    Returns
    -------
    pair of Tensor and Box
        The box is None where nothing is covered.
    """
    if plane.shape != tuple(batch.shape[2:]):
        msg = f"expected a plane of shape {tuple(batch.shape[2:])}, got {plane.shape}"
        raise ValueError(msg)
    instead = fill.batch if isinstance(fill, Replacement) else fill
    rows, cols = (np.flatnonzero(plane.any(axis)) for axis in (1, 0))
    if not rows.size:
        return batch.clone(), None
    where = torch.as_tensor(plane, device=batch.device)
    box = Box(int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1)
    return torch.where(where, instead.to(batch), batch), box


def mask_positions(length: int, size: int, stride: int) -> NDArray[np.int32]:
    """Where masks of a map begin along one side of an image.

    At 0, stride, 2 * stride, ..., as long as the mask lies within; and a last one flush with the
    border, if none of these is.

    Raises
    ------
    ValueError
        If the mask is larger than the image, or mask or stride is below 1.

    Examples
    --------
    >>> mask_positions(10, 4, 4), mask_positions(12, 4, 4)
    (array([0, 4, 6], dtype=int32), array([0, 4, 8], dtype=int32))
    """
    if size > length:
        msg = (
            f"expected masks no larger than the image, got {size} pixels for an image of {length}; "
            f"take a smaller size"
        )
        raise ValueError(msg)
    if min(size, stride) < 1:
        msg = f"expected size and stride of at least 1 pixel, got size {size} and stride {stride}"
        raise ValueError(msg)
    starts = np.arange(0, length - size + 1, stride, dtype=np.int32)
    if starts[-1] != length - size:
        starts = np.append(starts, np.int32(length - size))
    return starts


def expect_mask_shape(shape: str) -> None:
    """Raise a ValueError unless masks of a map can have this shape."""
    if shape not in get_args(MaskShape):
        msg = f"expected masks of shape 'rectangle' or 'circle' for a map, got {shape!r}"
        raise ValueError(msg)
