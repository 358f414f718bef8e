"""How far changed boxes reach in every map of a program, and which boxes go together.

Rows and columns are followed apart: boxes that start in the same row reach the same rows of every
map. A batch computes windows of one size for all its boxes, the largest that one of them needs, so
boxes are grouped with others that reach about as far: near a border a window is cut, and where a
box starts between two strides decides on one place more or less.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nbviz.analysis.incremental.graph import Program
from nbviz.analysis.incremental.operations import Axis, Pooling, Windowed

__all__ = ["Arithmetic", "Reach", "arithmetic", "grouped", "reach_of"]

# Most kinds of rows (or of columns) that are told apart when groups are made.
_MOST_KINDS = 48


@dataclass(frozen=True, eq=False)
class Reach:
    """Which rows or columns of each map boxes reach.

    Attributes
    ----------
    start, stop : ndarray of int32, shape (nodes, starts)
        Half-open, at least one long; zero for nodes without maps.
    number : ndarray, shape (boxes,)
        For each box which column of these arrays is its own.
    """

    start: np.ndarray
    stop: np.ndarray
    number: np.ndarray

    @property
    def length(self) -> np.ndarray:
        """Rows or columns that are reached, shape (nodes, starts)."""
        length: np.ndarray = self.stop - self.start
        return length


def reach_of(
    program: Program, starts: np.ndarray, length: int, along: Literal["rows", "cols"]
) -> Reach:
    """Follow boxes of one length along rows or columns through a program."""
    distinct, number = np.unique(starts, return_inverse=True)
    shape = (len(program.nodes), len(distinct))
    start, stop = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    dim = -2 if along == "rows" else -1
    start[0], stop[0] = distinct, distinct + length
    for k, node in enumerate(program.nodes[1:], start=1):
        if not node.local:
            continue
        first = start[list(node.inputs)].min(0)
        last = stop[list(node.inputs)].max(0)
        operation = node.operation
        if isinstance(operation, Windowed | Pooling):
            axis: Axis = getattr(operation, along)
            first, last = axis.reached(first, last)
        # a box that lies between all windows reaches none: one place is computed for nothing
        start[k] = np.clip(first, 0, node.shape[dim] - 1)
        stop[k] = np.maximum(last, start[k] + 1)
    return Reach(start, stop, number.reshape(-1))


@dataclass(frozen=True)
class Arithmetic:
    """Multiplications with weights, per mask.

    Attributes
    ----------
    full : int
        Of a whole forward pass.
    changed : float
        Of what the masks change, on average: each box by its own reach, without what grouping adds.
    """

    full: int
    changed: float

    @property
    def ratio(self) -> float:
        """How many times fewer multiplications it takes to compute what changed."""
        return self.full / self.changed if self.changed else 1.0


def arithmetic(program: Program, rows: Reach, cols: Reach) -> Arithmetic:
    """Count the multiplications that boxes cost by what they reach."""
    full, changed = 0, 0.0
    for k, node in enumerate(program.nodes):
        macs = node.operation.macs if node.operation is not None else 0
        if not node.local:
            full += macs
            changed += macs
            continue
        full += macs * node.shape[-2] * node.shape[-1]
        if macs:
            area = rows.length[k][rows.number].astype(float) * cols.length[k][cols.number]
            changed += macs * float(area.mean())
    return Arithmetic(full, changed)


def grouped(program: Program, rows: Reach, cols: Reach, together: int) -> Iterator[np.ndarray]:
    """Numbers of boxes that are best computed together, group by group.

    Parameters
    ----------
    together : int
        How many boxes a batch should hold; a group may have more or fewer.
    """
    boxes = len(rows.number)
    weight = np.array([_weight(program, k) for k in range(len(program.nodes))])
    heavy = np.flatnonzero(weight)
    lengths = [reach.length[heavy].astype(float) for reach in (rows, cols)]
    shares = [np.bincount(reach.number) / boxes for reach in (rows, cols)]
    means = [length @ share for length, share in zip(lengths, shares, strict=True)]
    kinds = max(1, round((boxes / together) ** 0.5))
    labels = [
        _clusters(lengths[k], weight[heavy] * means[1 - k], shares[k], kinds)[reach.number]
        for k, reach in enumerate((rows, cols))
    ]
    label = labels[0] * (labels[1].max() + 1) + labels[1]
    order = np.argsort(label, kind="stable")
    borders = np.flatnonzero(np.diff(label[order])) + 1
    yield from np.split(order, borders)


def _weight(program: Program, number: int) -> float:
    """About what a place of a map costs: its multiplications, and moving its channels."""
    node = program.nodes[number]
    if not node.local or node.operation is None:
        return 0.0
    return node.operation.macs + 30.0 * (node.shape[1] if len(node.shape) == 4 else 1)


def _clusters(lengths: np.ndarray, weight: np.ndarray, share: np.ndarray, kinds: int) -> np.ndarray:
    """Put starts that reach about as far into one kind; returns the kind of each, shape (starts,).

    Kinds are merged one by one, whichever costs least, as each is computed at its largest lengths.
    """
    _, label = np.unique(lengths, axis=1, return_inverse=True)
    label = label.reshape(-1)
    if label.max() >= _MOST_KINDS:  # by what they cost, in equal parts
        cost = np.argsort(np.argsort(weight @ lengths, kind="stable"), kind="stable")
        label = cost * _MOST_KINDS // len(cost)
    number = int(label.max()) + 1
    largest = np.stack([lengths[:, label == k].max(1) for k in range(number)], 1)
    mass = np.array([share[label == k].sum() for k in range(number)])
    alive = list(range(number))
    while len(alive) > kinds:
        size = largest[:, alive]
        own = (weight @ size) * mass[alive]
        both = np.einsum("n,nij->ij", weight, np.maximum(size[:, :, None], size[:, None, :]))
        added = both * (mass[alive][:, None] + mass[alive]) - own[:, None] - own
        np.fill_diagonal(added, np.inf)
        i, j = np.unravel_index(int(added.argmin()), added.shape)
        keep, gone = alive[int(i)], alive[int(j)]
        largest[:, keep] = np.maximum(largest[:, keep], largest[:, gone])
        mass[keep] += mass[gone]
        label[label == gone] = keep
        alive.remove(gone)
    return np.unique(label, return_inverse=True)[1].reshape(-1)
