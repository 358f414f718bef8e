"""A shadow: the pixels that each element of a tensor depends on, and its grid cell.

A shadow has six float32 planes of the tensor's own shape. Planes 0 to 3 are -top, bottom, -left
and right of the box (inclusive), so that the union of boxes is a maximum; minus infinity means
"depends on nothing". Planes 4 and 5 are the row and the column of the element's cell in the
feature map, minus infinity where it has none (a class token, a padded border). A plane is kept
expanded (stride 0) along every dimension in which it does not vary, which makes most planes a few
numbers long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from math import prod

import torch
from torch import Tensor

from nbviz.analysis.receptive_field import Axis, Frame

NOTHING = float("-inf")
BOX_PLANES = range(4)
CELL_PLANES = (4, 5)


@dataclass(frozen=True, eq=False)
class Shadow:
    """What the elements of one tensor depend on.

    Attributes
    ----------
    planes : tuple of six Tensor
        Each of the tensor's shape, float32, on the CPU (see the module's text).
    frame : Frame or None
        How the cells lie on the image, None where there is no grid.
    exact : bool
        False if an operation without a rule made the boxes larger than they are.
    """

    planes: tuple[Tensor, ...]
    frame: Frame | None
    exact: bool = True

    @property
    def shape(self) -> torch.Size:
        """Shape of the tensor that this shadow belongs to."""
        return self.planes[0].shape

    def each(self, change: Callable[[Tensor], Tensor]) -> Shadow:
        """Apply one change of layout to all planes."""
        return replace(self, planes=tuple(change(plane) for plane in self.planes))

    def with_frame(self, frame: Frame | None) -> Shadow:
        """Give the same boxes and cells with another frame."""
        return replace(self, frame=frame)

    def lost(self) -> Shadow:
        """Give the same boxes and cells, the unclipped description dropped."""
        return replace(self, frame=self.frame and self.frame.lost())


def image_shadow(shape: Sequence[int]) -> Shadow | None:
    """Give the shadow of the input: each pixel depends on itself, whatever its channel.

    The last two dimensions of (N, C, H, W) are rows and columns; a signal (N, C, L) is one row.
    A batch of vectors has no pixels, hence no shadow.
    """
    if len(shape) < 3:
        return None
    width = torch.arange(shape[-1], dtype=torch.float32).expand(tuple(shape))
    if len(shape) == 3:
        height = torch.zeros((), dtype=torch.float32).expand(tuple(shape))
    else:
        height = torch.arange(shape[-2], dtype=torch.float32)[:, None].expand(tuple(shape))
    frame = Frame(Axis.pixels(), Axis.pixels())
    above, before = ((-compact(edge)).expand(tuple(shape)) for edge in (height, width))
    return Shadow((above, height, before, width, height, width), frame)


def compact(plane: Tensor) -> Tensor:
    """Give the plane with size 1 along each dimension in which it is expanded."""
    kept = [
        slice(0, 1) if stride == 0 and size > 1 else slice(None)
        for stride, size in zip(plane.stride(), plane.shape, strict=True)
    ]
    return plane[tuple(kept)] if kept else plane


def tighten(plane: Tensor) -> Tensor:
    """Give the plane expanded along each dimension in which its values are all the same."""
    shape = plane.shape
    plane = compact(plane)
    for dim, size in enumerate(plane.shape):
        if size > 1:
            first = plane.narrow(dim, 0, 1)
            if bool((plane == first).all()):
                plane = first
    return plane.expand(shape)


def reshape_plane(plane: Tensor, shape: Sequence[int]) -> Tensor:
    """Give the plane in another shape, still expanded wherever whole dimensions were."""
    small = compact(plane)
    before: list[int] = []
    after: list[int] = []
    for old, new in _matching_groups(plane.shape, shape):
        if all(small.shape[dim] == 1 for dim in old):
            before += [1] * len(old)
            after += [1] * len(new)
        else:
            before += [plane.shape[dim] for dim in old]
            after += [shape[dim] for dim in new]
    return small.expand(before).reshape(after).expand(tuple(shape))


def _matching_groups(
    before: Sequence[int], after: Sequence[int]
) -> Iterator[tuple[list[int], list[int]]]:
    """Split two shapes into the shortest runs with the same number of elements."""
    if 0 in before:
        yield list(range(len(before))), list(range(len(after)))
        return
    old: list[int] = []
    new: list[int] = []
    i = j = 0
    while i < len(before) or j < len(after):
        have = prod(before[dim] for dim in old)
        want = prod(after[dim] for dim in new)
        if i < len(before) and (have <= want or j == len(after)):
            old.append(i)
            i += 1
        else:
            new.append(j)
            j += 1
        if old and new and prod(before[d] for d in old) == prod(after[d] for d in new):
            yield old, new
            old, new = [], []
    if old or new:
        yield old, new


def at_least_dims(plane: Tensor, count: int) -> Tensor:
    """Give the plane with leading dimensions of size 1 up to `count`, as broadcasting sees it."""
    return plane.reshape((1,) * (count - plane.ndim) + tuple(plane.shape))


def maximum(planes: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
    """Give the elementwise maximum of planes broadcast to `shape`, computed in compact form."""
    small = [at_least_dims(compact(plane), len(shape)) for plane in planes]
    return reduce(torch.maximum, small).expand(tuple(shape))


def agreed(plane: Tensor, dims: Sequence[int]) -> tuple[Tensor, bool]:
    """Give the cell that all share along `dims` (kept as 1), or none; and whether all do."""
    small = compact(plane)
    dims = [dim for dim in dims if small.shape[dim] > 1]
    if not dims:
        return small, True
    low, high = small.amin(dims, keepdim=True), small.amax(dims, keepdim=True)
    same = low == high
    return torch.where(same, high, NOTHING), bool(same.all())


def same_cells(first: Shadow, second: Shadow) -> bool:
    """Whether two shadows, broadcast against each other, belong to the same cells."""
    dims = max(first.planes[4].ndim, second.planes[4].ndim)
    return all(
        bool(
            (
                at_least_dims(compact(first.planes[k]), dims)
                == at_least_dims(compact(second.planes[k]), dims)
            ).all()
        )
        for k in CELL_PLANES
    )


def joined_frame(leader: Shadow, others: Sequence[Shadow]) -> Frame | None:
    """Give the frame of a result that keeps the leader's cells and also depends on `others`."""
    frame = leader.frame
    for other in others:
        if frame is None:
            return None
        if other.frame is None or not same_cells(leader, other):
            frame = frame.lost()
        else:
            frame = frame.union(other.frame)
    return frame


def gathered(shadow: Shadow, dims: Sequence[int]) -> Shadow:
    """Give the shadow of one unit that reads all elements along `dims`, kept as size 1."""
    ndim = len(shadow.shape)
    dims = sorted({dim % ndim for dim in dims}) if ndim else []
    shape = [1 if dim in dims else size for dim, size in enumerate(shadow.shape)]
    planes = []
    for k in BOX_PLANES:
        small = compact(shadow.planes[k])
        wide = [dim for dim in dims if small.shape[dim] > 1]
        planes.append((small.amax(wide, keepdim=True) if wide else small).expand(shape))
    cells = [agreed(shadow.planes[k], dims) for k in CELL_PLANES]
    planes.extend(cell.expand(shape) for cell, _ in cells)
    frame = shadow.frame
    if frame is not None and not all(same for _, same in cells):
        frame = frame.lost()
    return replace(shadow, planes=tuple(planes), frame=frame)


def widened(shadow: Shadow, shape: Sequence[int]) -> Shadow:
    """Give the shadow broadcast to `shape`."""
    return shadow.each(lambda plane: plane.expand(tuple(shape)))


def everything(shadows: Sequence[Shadow], shape: Sequence[int]) -> Shadow:
    """Give the shadow of a tensor whose every element may depend on all of `shadows`."""
    ends = [gathered(shadow, range(len(shadow.shape))) for shadow in shadows]
    planes = [maximum([end.planes[k].reshape(()) for end in ends], shape) for k in BOX_PLANES]
    none = torch.tensor(NOTHING, dtype=torch.float32).expand(tuple(shape))
    return Shadow((*planes, none, none), None, all(shadow.exact for shadow in shadows))


def pointwise(shadows: Sequence[Shadow], shape: Sequence[int]) -> Shadow:
    """Give the shadow of an elementwise function of several tensors, broadcast to `shape`."""
    shape = torch.Size(shape)
    if len(shadows) == 1 and shadows[0].shape == shape:
        return shadows[0]
    full = [shadow for shadow in shadows if shadow.shape == shape and shadow.frame is not None]
    leader = (full or list(shadows))[0]
    boxes = [maximum([shadow.planes[k] for shadow in shadows], shape) for k in BOX_PLANES]
    cells = [leader.planes[k].expand(shape) for k in CELL_PLANES]
    frame = joined_frame(leader, [shadow for shadow in shadows if shadow is not leader])
    return Shadow((*boxes, *cells), frame, all(shadow.exact for shadow in shadows))


def rebased(shadow: Shadow) -> Shadow:
    """Number the cells from 0 in steps of 1 again, after only some of them were kept."""
    if shadow.frame is None:
        return shadow
    planes = list(shadow.planes)
    axes = [shadow.frame.rows, shadow.frame.cols]
    for number, k in enumerate(CELL_PLANES):
        values = compact(planes[k]).flatten()
        values = torch.unique(values[values != NOTHING])
        if not len(values):
            continue
        steps = values.diff()
        first, step = int(values[0]), int(steps[0]) if len(steps) else 1
        if (first, step) == (0, 1) or not bool((steps == step).all()):
            continue
        planes[k] = ((compact(planes[k]) - first) / step).expand(shadow.shape)
        axes[number] = axes[number].resampled(first, step)
    return Shadow(tuple(planes), Frame(*axes), shadow.exact)
