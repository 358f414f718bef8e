"""Rules for operations that only move elements: views, concatenation, padding, indexing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from nbviz.analysis.dependence.operation import NoRule, Operation, rule
from nbviz.analysis.dependence.shadow import (
    CELL_PLANES,
    NOTHING,
    Shadow,
    compact,
    joined_frame,
    pointwise,
    rebased,
    reshape_plane,
    same_cells,
    tighten,
)


@rule("view", "_unsafe_view", "_reshape_alias", "reshape", "flatten", "unflatten", "_reshape_copy")
def reshaped(operation: Operation) -> Shadow:
    """The same elements in the same order."""
    if operation.outputs[0].numel() != operation.dependent[0].planes[0].numel():
        raise NoRule  # a view as another dtype
    return operation.dependent[0].each(lambda plane: reshape_plane(plane, operation.shape))


@rule(
    "permute",
    "transpose",
    "t",
    "numpy_T",
    "movedim",
    "squeeze",
    "unsqueeze",
    "expand",
    "unfold",
    "diagonal",
    "_conj",
    "conj",
    "real",
    "imag",
    "resolve_conj",
)
def view(operation: Operation) -> Shadow:
    """The same operation on each plane, which stays a view."""
    if operation.name in {"_conj", "conj", "real", "imag", "resolve_conj"}:
        return operation.dependent[0]
    return _replayed(operation)[0]


@rule("slice", "select", "narrow", "split", "split_with_sizes", "unbind", "chunk", "tensor_split")
def part(operation: Operation) -> list[Shadow]:
    """Some of the elements: the cells that are kept count from 0 again."""
    return [rebased(shadow) for shadow in _replayed(operation)]


@rule(
    "index",
    "_unsafe_index",
    "gather",
    "take",
    "pixel_shuffle",
    "pixel_unshuffle",
    "channel_shuffle",
    "native_channel_shuffle",
    "repeat",
    "rot90",
    "slice_scatter",
    "select_scatter",
    "diagonal_scatter",
    "index_put",
    "_index_put_impl",
    "_unsafe_index_put",
    "index_copy",
    "slice_backward",
    "select_backward",
)
def rearranged(operation: Operation) -> list[Shadow]:
    """Elements copied to other places, by indices that do not depend on the image."""
    if (
        operation.name in {"index_put", "_index_put_impl", "_unsafe_index_put"}
        and operation["accumulate"]
    ):
        raise NoRule
    results = [shadow.each(tighten) for shadow in _replayed(operation)]
    if operation.name in {"pixel_shuffle", "pixel_unshuffle"}:
        return [_recounted(shadow) for shadow in results]
    return [rebased(shadow) for shadow in results]


@rule("index_select")
def index_select(operation: Operation) -> Shadow:
    """Some slices along one dimension."""
    index = _on_cpu(operation["index"])
    shadow = operation.shadow("self")
    if shadow is None or operation.shadow("index") is not None:
        raise NoRule
    dim = operation["dim"]
    return rebased(shadow.each(lambda plane: tighten(plane.index_select(dim, index))))


@rule("roll", "flip")
def rolled(operation: Operation) -> Shadow:
    """Elements moved round, which changes a plane only where it varies."""
    shadow = operation.dependent[0]
    if operation.name == "flip":
        return shadow.each(
            lambda plane: compact(plane).flip(operation["dims"]).expand(operation.shape)
        )
    shifts, dims = operation["shifts"], operation["dims"]
    if not dims:
        return _replayed(operation)[0]
    return shadow.each(lambda plane: compact(plane).roll(shifts, dims).expand(operation.shape))


@rule("cat", "concat", "concatenate")
def concatenated(operation: Operation) -> Shadow:
    """Elements side by side; the parts' cells are brought into the frame of the first."""
    tensors = [t for t in operation["tensors"] if t.shape != (0,)]
    dim = operation["dim"] % len(operation.shape)
    return _joined(operation, tensors, dim)


@rule("stack")
def stacked(operation: Operation) -> Shadow:
    """Elements in layers along a new dimension."""
    dim = operation["dim"] % len(operation.shape)
    return _joined(operation, operation["tensors"], dim, stack=True)


def _joined(
    operation: Operation, tensors: Sequence[Tensor], dim: int, *, stack: bool = False
) -> Shadow:
    shape = operation.shape
    parts: list[tuple[Shadow | None, tuple[int, ...]]] = []
    for tensor in tensors:
        shadow = operation.shadow_of(tensor)
        part = list(tensor.shape)
        if stack:
            part.insert(dim, 1)
            shadow = shadow and shadow.each(lambda plane: plane.unsqueeze(dim))
        parts.append((shadow, tuple(part)))
    known = [shadow for shadow, _ in parts if shadow is not None]
    leader, others = known[0], known[1:]
    if _cells_vary(known, dim):
        moved = [_in_frame_of(leader, other) for other in others]
        lost = any(other is None for other in moved)
        placed = iter([leader, *(new or old for new, old in zip(moved, others, strict=True))])
        frame = leader.frame
        for other in moved:
            if frame is not None and other is not None and other.frame is not None:
                frame = frame.union(other.frame)
        frame = frame.lost() if frame is not None and lost else frame
    else:
        placed, frame = iter(known), joined_frame(leader, others)
    sources = [(next(placed) if shadow is not None else None, part) for shadow, part in parts]
    planes = tuple(_side_by_side(k, sources, dim, shape) for k in range(6))
    return Shadow(planes, frame, all(shadow.exact for shadow in known))


def _cells_vary(shadows: Sequence[Shadow], dim: int) -> bool:
    """Whether the parts lie side by side in the map, rather than as channels of the same cells."""
    if any(compact(shadow.planes[k]).shape[dim] > 1 for shadow in shadows for k in CELL_PLANES):
        return True
    shapes = {shadow.shape[:dim] + shadow.shape[dim + 1 :] for shadow in shadows}
    return len(shapes) > 1 or not all(same_cells(shadows[0], other) for other in shadows[1:])


def _in_frame_of(leader: Shadow, other: Shadow) -> Shadow | None:
    """Number the cells of `other` as the leader's frame does; None where the two do not fit."""
    if leader.frame is None or other.frame is None:
        return None
    planes = list(other.planes)
    pairs = (
        (leader.frame.rows, other.frame.rows),
        (leader.frame.cols, other.frame.cols),
    )
    for k, (here, there) in zip(CELL_PLANES, pairs, strict=True):
        offset = (there.centre - here.centre) / here.stride
        if here.stride != there.stride or offset.denominator != 1:
            return None
        if offset:
            planes[k] = (compact(planes[k]) + int(offset)).expand(other.shape)
    # in the leader's frame the same windows start where cell 0 of the leader does
    rows = replace(other.frame.rows, centre=leader.frame.rows.centre)
    cols = replace(other.frame.cols, centre=leader.frame.cols.centre)
    return Shadow(tuple(planes), replace(other.frame, rows=rows, cols=cols), other.exact)


def _side_by_side(
    k: int,
    sources: Sequence[tuple[Shadow | None, tuple[int, ...]]],
    dim: int,
    shape: tuple[int, ...],
) -> Tensor:
    """Concatenate one plane along `dim`, staying compact where every part is."""
    smalls = [
        (
            torch.full((1,) * len(part), NOTHING, dtype=torch.float32)
            if shadow is None
            else compact(shadow.planes[k]),
            part,
        )
        for shadow, part in sources
    ]
    sizes = [
        max(small.shape[axis] for small, _ in smalls) if axis != dim else -1
        for axis in range(len(shape))
    ]
    pieces = []
    for small, part in smalls:
        target = [part[dim] if axis == dim else size for axis, size in enumerate(sizes)]
        pieces.append(small.expand(target))
    return _tightened_along(torch.cat(pieces, dim), dim).expand(shape)


def _tightened_along(plane: Tensor, dim: int) -> Tensor:
    first = plane.narrow(dim, 0, 1)
    return first if bool((plane == first).all()) else plane


def padded(plane: Tensor, pad: Sequence[int]) -> Tensor:
    """Pad (or crop, where negative) a plane with "depends on nothing", as `F.pad` counts `pad`."""
    small = compact(plane)
    before, after = list(small.shape), list(plane.shape)
    for axis in range(len(pad) // 2):
        dim = plane.ndim - 1 - axis
        if any(pad[2 * axis : 2 * axis + 2]):
            before[dim] = plane.shape[dim]
            after[dim] = plane.shape[dim] + pad[2 * axis] + pad[2 * axis + 1]
    return F.pad(small.expand(before), list(pad), value=NOTHING).expand(after)


@rule("constant_pad_nd", "pad")
def constant_pad(operation: Operation) -> Shadow:
    """A border that depends on nothing."""
    return operation.dependent[0].each(lambda plane: padded(plane, operation["pad"]))


@rule(
    "reflection_pad1d",
    "reflection_pad2d",
    "reflection_pad3d",
    "replication_pad1d",
    "replication_pad2d",
    "replication_pad3d",
)
def mirrored_pad(operation: Operation) -> Shadow:
    """A border of copies, which belong to no cell."""
    shadow = operation.dependent[0]
    boxes = [tighten(plane) for plane in _replayed(operation)[0].planes[:4]]
    cells = [padded(shadow.planes[k], operation["padding"]) for k in CELL_PLANES]
    return replace(shadow, planes=(*boxes, *cells))


@rule("tril", "triu")
def triangle(operation: Operation) -> Shadow:
    """Elements on one side of a diagonal; the others are zero and depend on nothing."""
    shadow = operation.dependent[0]
    ones = torch.ones(operation.shape, dtype=torch.float32)
    kept = getattr(torch, operation.name)(ones, operation["diagonal"]) > 0
    return shadow.each(lambda plane: torch.where(kept, plane, NOTHING))


@rule("view_as_real")
def complex_as_pair(operation: Operation) -> Shadow:
    """Real and imaginary part depend on the same pixels."""
    return operation.dependent[0].each(lambda plane: plane.unsqueeze(-1).expand(operation.shape))


@rule("view_as_complex")
def pair_as_complex(operation: Operation) -> Shadow:
    """A complex number depends on what both its parts depend on."""
    source = operation.dependent[0]
    parts = [source.each(lambda plane: plane[..., 0]), source.each(lambda plane: plane[..., 1])]
    return pointwise(parts, operation.shape)


@rule("as_strided")
def strided(operation: Operation) -> Shadow:
    """Elements picked by their place in memory, from a source in memory order."""
    source = operation["self"]
    if not source.is_contiguous() or source.storage_offset():
        raise NoRule
    size, stride = operation["size"], operation["stride"]
    offset = operation["storage_offset"] or 0
    shadow = operation.dependent[0]
    return shadow.each(
        lambda plane: tighten(plane.contiguous().as_strided(size, stride, offset))
    ).with_frame(shadow.frame and shadow.frame.lost())


def _recounted(shadow: Shadow) -> Shadow:
    """Let the last two dimensions be the grid, its window unknown (cells were split or merged)."""
    height, width = shadow.shape[-2:]
    rows = torch.arange(height, dtype=torch.float32)[:, None].expand(shadow.shape)
    cols = torch.arange(width, dtype=torch.float32).expand(shadow.shape)
    frame = shadow.frame
    if frame is not None:
        old = [float(compact(shadow.planes[k]).amax()) + 1 for k in CELL_PLANES]
        scales = [int(count) for count in old]
        frame = replace(
            frame,
            rows=frame.rows.lost().window(0, 0, Fraction(scales[0], height)),
            cols=frame.cols.lost().window(0, 0, Fraction(scales[1], width)),
        )
    return Shadow((*shadow.planes[:4], rows, cols), frame, shadow.exact)


def _on_cpu(index: Tensor) -> Tensor:
    if index.device.type == "meta":
        raise NoRule  # an index without values
    return index.cpu()


def _replayed(operation: Operation) -> list[Shadow]:
    """Run the same operation on each plane in place of the tensors that have a shadow.

    Tensors without one keep their values where they are indices; floating ones that are data
    depend on nothing.
    """
    planes = [_replay_plane(operation, k) for k in range(6)]
    frames = {shadow.frame for shadow in operation.dependent}
    frame = operation.dependent[0].frame
    if len(frames) > 1:
        frame = frame and frame.lost()
    exact = all(shadow.exact for shadow in operation.dependent)
    return [Shadow(tuple(group), frame, exact) for group in zip(*planes, strict=True)]


def _replay_plane(operation: Operation, k: int) -> list[Tensor]:
    def stand_in(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        shadow = operation.shadow_of(value)
        integral = not (value.is_floating_point() or value.is_complex() or value.is_quantized)
        if shadow is not None:
            if integral and len(operation.dependent) > 1:
                raise NoRule  # an index computed from the image
            return shadow.planes[k]
        if integral:
            return _on_cpu(value)
        return torch.tensor(NOTHING, dtype=torch.float32).expand(value.shape)

    arguments = tree_map(stand_in, operation.arguments)
    function: Callable[..., Any] = _functional(operation)
    positional = operation.function._schema.arguments
    args = [arguments[a.name] for a in positional if not a.kwarg_only and a.name in arguments]
    kwargs = {a.name: arguments[a.name] for a in positional if a.kwarg_only and a.name in arguments}
    kwargs.pop("out", None)
    return [leaf for leaf in tree_leaves(function(*args, **kwargs)) if isinstance(leaf, Tensor)]


def _functional(operation: Operation) -> Callable[..., Any]:
    """Give the operation that returns its result, for one that writes in place."""
    if not operation.function._schema.is_mutable:
        return operation.function  # type: ignore[no-any-return]
    packet = getattr(torch.ops.aten, operation.name, None)
    if packet is None:
        raise NoRule
    return packet  # type: ignore[no-any-return]
