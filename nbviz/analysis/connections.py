"""How the layers of a network are connected: what lies below and above each, and its lane.

Connections are those that a recorded run went along (`Layer.inputs`). `lanes` places layers side by
side, as a drawing of a history with branches does: the trunk, and beside it what runs in parallel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from nbviz.analysis.layers import Layer, Layers


def below(layers: Layers, name: str) -> tuple[str, ...]:
    """The layers whose output a layer takes, in the order of its arguments.

    Parameters
    ----------
    layers : Layers
        As `Network.layers` gives them.
    name : str
        A layer's name.

    Returns
    -------
    tuple of str
        Each once. The network's input is no layer, nor is what could not be watched
        (`Layer.inputs`): empty for a layer that takes nothing else.

    Raises
    ------
    UnknownLayerError
        If there is no layer of that name; the nearest names are offered.
    """
    return _names_below(layers[name])


def above(layers: Layers, name: str) -> tuple[str, ...]:
    """The layers that take a layer's output, in execution order.

    Parameters
    ----------
    layers : Layers
        As `Network.layers` gives them.
    name : str
        A layer's name.

    Returns
    -------
    tuple of str

    Raises
    ------
    UnknownLayerError
        If there is no layer of that name; the nearest names are offered.

    Examples
    --------
    >>> from nbviz import Network
    >>> layers = Network.from_torchvision("resnet18", weights=None).layers
    >>> above(layers, "maxpool"), below(layers, "layer1.0.add")
    (('layer1.0.conv1', 'layer1.0.add'), ('layer1.0.bn2', 'maxpool'))
    """
    known = layers[name].name
    return tuple(layer.name for layer in layers if known in _names_below(layer))


def lanes(layers: Sequence[Layer]) -> tuple[int, ...]:
    """The lane of each layer, in a drawing of the network with one layer a row.

    Lane 0 is the trunk: the longest way from the network's input to its last layer. What lies
    beside it is cut into branches, each a chain of layers that take each other's output. A branch
    has a lane to itself from the layer that it leaves to the last layer that takes something of
    it; after that, another branch may have the lane. A connection past some layers (the identity of
    a residual block, the skips of DenseNet) holds no layer and takes no lane.

    A layer of which no input could be watched counts as connected to the layer before it.

    Parameters
    ----------
    layers : sequence of Layer
        In execution order, as `Network.layers` gives them.

    Returns
    -------
    tuple of int
        For each layer 0, or 1, 2, ... for branches: the lowest lane that is free.

    Examples
    --------
    >>> from nbviz import Network
    >>> layers = Network.from_torchvision("resnet18", weights=None).layers
    >>> beside = [layer.name for layer, lane in zip(layers, lanes(layers), strict=True) if lane]
    >>> beside[:2]
    ['layer2.0.downsample.0', 'layer2.0.downsample.1']
    """
    rows = _rows_below(layers)
    if not rows:
        return ()
    depth: list[int] = []
    for taken in rows:
        depth.append(1 + max((depth[row] for row in taken), default=0))
    found = [-1] * len(rows)
    row: int | None = len(rows) - 1
    while row is not None:
        found[row] = 0
        row = _deepest(rows[row], depth)
    branches = _branches(rows, depth, found)
    for number, branch in enumerate(branches):
        taken_lanes = {other.lane for other in branches[:number] if other.meets(branch)}
        branch.lane = min(set(range(1, len(branches) + 1)) - taken_lanes)
        for row in branch.rows:
            found[row] = branch.lane
    return tuple(found)


@dataclass
class _Branch:
    """Layers in a chain beside the trunk, given by their rows."""

    start: int  # the row that it leaves, -1 for the network's input
    rows: list[int] = field(default_factory=list)
    end: int = 0  # the last row that takes something of it
    lane: int = 0

    def meets(self, other: _Branch) -> bool:
        """Whether both are alive between some two rows."""
        return self.start < other.end and other.start < self.end


def _branches(rows: list[tuple[int, ...]], depth: list[int], found: list[int]) -> list[_Branch]:
    """Cut the layers beside the trunk (whose rows are not `found`) into chains."""
    branches: list[_Branch] = []
    branch_of: dict[int, _Branch] = {}
    for row, taken in enumerate(rows):
        for other in taken:
            if other in branch_of:
                branch_of[other].end = row
        if found[row] == 0:
            continue
        tails = tuple(k for k in taken if k in branch_of and branch_of[k].rows[-1] == k)
        before = _deepest(tails, depth)
        if before is None:
            branch = _Branch(max(taken, default=-1))
            branches.append(branch)
        else:
            branch = branch_of[before]
        branch.rows.append(row)
        branch.end = row + 1
        branch_of[row] = branch
    return branches


def _deepest(rows: Sequence[int], depth: list[int]) -> int | None:
    """The row that the longest way leads to, the first of several; None if there is none."""
    return max(rows, key=depth.__getitem__, default=None)


def _rows_below(layers: Sequence[Layer]) -> list[tuple[int, ...]]:
    """For each layer the places in the list of those whose output it takes."""
    places: dict[str, int] = {}
    found = []
    for row, layer in enumerate(layers):
        names = _names_below(layer)
        known = tuple(places[name] for name in names if name in places)
        if not known and row and not any("" in source for source in layer.inputs):
            known = (row - 1,)
        found.append(known)
        places[layer.name] = row
    return found


def _names_below(layer: Layer) -> tuple[str, ...]:
    names = (name for source in layer.inputs for name in source)
    return tuple(dict.fromkeys(name for name in names if name))
