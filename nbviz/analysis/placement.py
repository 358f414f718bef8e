"""Where the units of a layer lie on the image, read off its shadow."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from nbviz.analysis.dependence import Shadow
from nbviz.analysis.dependence.shadow import BOX_PLANES, CELL_PLANES, NOTHING, compact, tighten
from nbviz.analysis.receptive_field import Frame, ReceptiveField, receptive_field

Layout = Literal["maps", "maps_last", "tokens", "signal", "vector", "other"]


@dataclass(frozen=True)
class Placement:
    """Where the elements of a layer's output lie: see `Layer` for the fields."""

    layout: Layout
    grid: tuple[int, int] | None = None
    prefix: int = 0
    stride: tuple[int | Fraction, int | Fraction] | None = None
    receptive_field: ReceptiveField | None = None


def placement(shadow: Shadow | None, shape: tuple[int, ...], image: tuple[int, int]) -> Placement:
    """Read layout, grid and receptive field off a layer's shadow."""
    if shadow is None:
        plain: dict[int, Layout] = {2: "vector", 3: "tokens", 4: "maps"}
        return Placement(plain.get(len(shape), "other") if shape[:1] == (1,) else "other")
    layout, dims = _layout(shadow, signal=image[0] == 1)
    grid: tuple[int, int] | None = None
    prefix = 0
    if dims is not None:
        grid = (shape[dims[0]], shape[dims[1]])
        extents = np.stack([_over_rest(shadow, k, dims).reshape(grid).numpy() for k in BOX_PLANES])
    elif layout == "tokens" and (tokens := _token_grid(shadow)) is not None:
        prefix, grid = tokens
        lines = [_over_rest(shadow, k, (1,)) for k in BOX_PLANES]
        end = prefix + grid[0] * grid[1]
        extents = np.stack([line[prefix:end].reshape(grid).numpy() for line in lines])
    elif layout == "signal":
        grid = (1, shape[2])
        extents = np.stack([_over_rest(shadow, k, (2,)).reshape(grid).numpy() for k in BOX_PLANES])
    else:
        extents = np.stack([_over_rest(shadow, k, ()).reshape(1, 1).numpy() for k in BOX_PLANES])
    # Behind a roll or a flip there is a grid, but no step from one place of it to the next.
    ordered = dims is None or _in_order(shadow, dims)
    frame = shadow.frame if grid is not None and ordered else None
    uniform = all(_is_uniform(shadow.planes[k]) for k in BOX_PLANES)
    seen = receptive_field(extents, frame, image, uniform=uniform, exact=shadow.exact)
    return Placement(layout, grid, prefix, _stride(frame), seen)


def _stride(frame: Frame | None) -> tuple[int | Fraction, int | Fraction] | None:
    if frame is None:
        return None
    rows, cols = (
        int(axis.stride) if axis.stride.denominator == 1 else axis.stride
        for axis in (frame.rows, frame.cols)
    )
    return rows, cols


def _is_uniform(plane: Tensor) -> bool:
    small = compact(plane)
    return bool((small == small.flatten()[0]).all())


def _over_rest(shadow: Shadow, plane: int, dims: tuple[int, ...]) -> Tensor:
    """Reduce a box plane to the dimensions `dims`, the union over all others."""
    small = compact(shadow.planes[plane])
    others = [dim for dim in range(small.ndim) if dim not in dims]
    reduced = small.amax(others) if others else small
    return reduced.expand([shadow.shape[dim] for dim in dims]).contiguous()


def _counts_along(plane: Tensor, dim: int | None) -> bool:
    """Whether a cell plane holds 0, 1, 2, ... along one dimension (0 everywhere, if None)."""
    small = compact(plane)
    if dim is None:
        return bool((small == 0).all())
    count = torch.arange(plane.shape[dim], dtype=small.dtype)
    return bool((plane == count.view([-1 if d == dim else 1 for d in range(plane.ndim)])).all())


def _in_order(shadow: Shadow, dims: tuple[int, int]) -> bool:
    """Whether the cells count rows and columns along `dims`."""
    return all(
        _counts_along(shadow.planes[k], dim) for k, dim in zip(CELL_PLANES, dims, strict=True)
    )


def _varies_along(plane: Tensor, dim: int) -> bool:
    """Whether a cell plane depends on the index along one dimension alone, in whatever order."""
    line = plane.amax([d for d in range(plane.ndim) if d != dim], keepdim=True)
    known = line[line != NOTHING]
    if len(known) == 0 or (plane.shape[dim] > 1 and bool((known == known[0]).all())):
        return False
    return bool(((plane == NOTHING) | (plane == line)).all())


def _layout(shadow: Shadow, *, signal: bool) -> tuple[Layout, tuple[int, int] | None]:
    """Give the layout and, for maps, the dimensions of rows and columns."""
    shape = shadow.shape
    rows, cols = (shadow.planes[k] for k in CELL_PLANES)
    if not shape or shape[0] != 1:
        return "other", None
    if len(shape) == 4:
        if _in_order(shadow, (2, 3)):
            return "maps", (2, 3)
        if _in_order(shadow, (1, 2)):
            return "maps_last", (1, 2)
        if _varies_along(rows, 2) and _varies_along(cols, 3):
            return "maps", (2, 3)
        if _varies_along(rows, 1) and _varies_along(cols, 2):
            return "maps_last", (1, 2)
    if len(shape) == 3:
        if signal and _counts_along(rows, None) and _counts_along(cols, 2):
            return "signal", None
        if all(bool((cell == NOTHING).all()) for cell in (rows, cols)) or _token_grid(shadow):
            return "tokens", None
    if len(shape) == 2:
        return "vector", None
    return "other", None


def _token_grid(shadow: Shadow) -> tuple[int, tuple[int, int]] | None:
    """Give the tokens before the grid and the grid, None where cells are in no such order."""
    cells = [tighten(shadow.planes[k]) for k in CELL_PLANES]
    if any(compact(cell).shape[2] > 1 for cell in cells):
        return None
    rows, cols = (cell[0, :, 0] for cell in cells)
    placed = ((rows != NOTHING) & (cols != NOTHING)).nonzero().flatten()
    if not len(placed):
        return None
    prefix = int(placed[0])
    grid = (int(rows.max()) + 1, int(cols.max()) + 1)
    if grid[0] * grid[1] != len(placed):
        return None
    index = torch.arange(len(placed))
    kept = slice(prefix, prefix + len(placed))
    in_order = bool(
        (rows[kept] == index // grid[1]).all() and (cols[kept] == index % grid[1]).all()
    )
    return (prefix, grid) if in_order else None
