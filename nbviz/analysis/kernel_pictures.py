"""Kernels as a still picture: the same arrangement and colours that the live view draws.

`kernel_colours` maps weights to colours, `kernel_sheet` lays kernels out. The live view does both
in the browser (``js/filter-grid/paint.ts``, ``layout.ts``); a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from nbviz.analysis.colormaps import Colormap, colormap
from nbviz.analysis.filters import Kernels

Normalise = Literal["kernel", "layer", "symmetric"]
NORMALISE: tuple[Normalise, ...] = get_args(Normalise)

#: Kernels with more inputs than this are drawn as a matrix, a line an output channel.
GALLERY_PANELS = 4


@dataclass(frozen=True, slots=True)
class Placed:
    """Where one output channel stands on a sheet, in pixels."""

    output: int
    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class KernelSheet:
    """Kernels laid out on one picture."""

    picture: np.ndarray
    """uint8, shape (H, W, 3)."""
    placed: tuple[Placed, ...]
    """In the order drawn."""
    omitted_outputs: int
    """Output channels left out for their number."""
    omitted_inputs: int
    """Input channels left out for their number."""


def weight_range(
    values: np.ndarray, normalise: Normalise, *, centred: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest weight that the colour map spans, for each output channel.

    Parameters
    ----------
    values : ndarray, shape (outputs, n)
        Weights of each output channel, all its inputs; NaN and infinity do not count.
    normalise : {"kernel", "layer", "symmetric"}
        Each output channel by itself, or the whole layer; ``symmetric`` is the layer, about zero.
    centred : bool
        Zero in the middle, as a diverging map needs.

    Returns
    -------
    low, high : ndarray, shape (outputs,)
    """
    low, high = values.min(axis=1), values.max(axis=1)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        finite = np.where(np.isfinite(values), values, 0.0)
        low, high = finite.min(axis=1), finite.max(axis=1)
    if normalise != "kernel":
        low, high = np.full_like(low, low.min()), np.full_like(high, high.max())
    if centred or normalise == "symmetric":
        high = np.maximum(np.abs(low), np.abs(high))
        low = -high
    return low, high


def kernel_colours(
    kernels: Kernels,
    *,
    normalise: Normalise = "kernel",
    map_name: Colormap | None = None,
    drawn: np.ndarray | slice = slice(None),
    max_inputs: int | None = None,
) -> np.ndarray:
    """Colours of every weight.

    Parameters
    ----------
    kernels : Kernels
    normalise : {"kernel", "layer", "symmetric"}
        What one colour scale spans; see `weight_range`.
    map_name : {"diverging", "sequential", "grey"}, optional
        None draws the three inputs of a kernel as red, green and blue on one scale.
    drawn : ndarray of int or slice
        Output channels wanted; all count for the range of a layer.
    max_inputs : int, optional
        Inputs wanted, from the first on; all count for a range.

    Returns
    -------
    ndarray, uint8, shape (drawn outputs, panels, height, width, 3)
        One panel in colour, otherwise one an input. Weights that are NaN or infinite are magenta
        and dark in diagonal stripes.

    Raises
    ------
    ValueError
        If there are not three inputs to draw in colour.
    """
    inputs, height, width = kernels.values.shape[1:]
    if map_name is None and inputs != 3:
        raise ValueError(
            f"kernels of {inputs} inputs cannot be drawn in red, green and blue; name a map"
        )
    flat = kernels.values.reshape(len(kernels.values), -1)
    low, high = weight_range(flat, normalise, centred=map_name == "diverging")
    low, high = (edge[drawn, None, None, None] for edge in (low, high))
    weights = kernels.values[drawn, :max_inputs]
    odd = ~np.isfinite(weights)
    place = (np.where(odd, 0.0, weights) - low) / np.where(high > low, high - low, 1.0) * 255.0
    # A constant kernel has no range: it stands at the middle of the map.
    place = np.where(high > low, place, 127.5)
    index = np.clip(np.floor(place + 0.5), 0, 255).astype(np.uint8)
    if map_name is None:
        colours: np.ndarray = index.transpose(0, 2, 3, 1)[:, None].copy()
        odd = odd.any(axis=1, keepdims=True)
    else:
        colours = colormap(map_name)[index]
    stripe = (np.add.outer(np.arange(height), np.arange(width)) % 2 == 0) & odd
    colours[odd] = (40, 40, 40)
    colours[stripe] = (255, 0, 200)
    return colours


def kernel_sheet(
    kernels: Kernels,
    *,
    order: np.ndarray | None = None,
    normalise: Normalise = "kernel",
    map_name: Colormap | None = None,
    scale: int | None = None,
    width: int = 960,
    max_outputs: int = 512,
    max_inputs: int = 512,
    caption: int = 0,
) -> KernelSheet:
    """Kernels on one picture: a gallery, or a matrix of output by input channels.

    Parameters
    ----------
    kernels : Kernels
    order : ndarray of int, shape (outputs,), optional
        Output channels in the order to draw; by number when None.
    normalise, map_name
        As in `kernel_colours`.
    scale : int, optional
        Pixels a weight; a kernel becomes about 60 pixels (16 in a matrix) when None.
    width : int
        Pixels that a gallery's lines may take.
    max_outputs, max_inputs : int
        Channels beyond are left out and counted in the result.
    caption : int
        Pixels left free below each kernel of a gallery.

    Examples
    --------
    >>> from nbviz.network import Network
    >>> from nbviz.analysis.filters import kernels
    >>> network = Network(torch.nn.Conv2d(3, 8, 7), input_shape=(3, 32, 32))
    >>> kernel_sheet(kernels(network)).picture.dtype
    dtype('uint8')
    """
    outputs, inputs = kernels.values.shape[:2]
    order = np.arange(outputs) if order is None else order
    drawn = order[:max_outputs]
    colours = kernel_colours(
        kernels, normalise=normalise, map_name=map_name, drawn=drawn, max_inputs=max_inputs
    )
    panels, height, across = colours.shape[1:4]
    matrix = panels > GALLERY_PANELS
    side = max(height, across)
    scale = scale or max(1, round((16 if matrix else 60) / side))
    tall = scale if height > 1 else max(scale, 14)  # 1-D kernels are drawn as strips
    gap = 1 if matrix else max(1, scale // 4)
    between = gap if matrix else 6 * max(1, scale // 4)
    strip = panels * across * scale + (panels - 1) * gap
    columns = 1 if matrix else max(1, (width + between) // (strip + between))
    columns = min(columns, len(drawn))
    line = height * tall + between + (0 if matrix else caption)
    rows = -(-len(drawn) // columns)
    picture = np.full(
        (rows * line - between, columns * (strip + between) - between, 3), 255, np.uint8
    )
    placed = []
    for position, output in enumerate(drawn):
        top, left = position // columns * line, position % columns * (strip + between)
        placed.append(Placed(int(output), left, top, strip, height * tall))
        for panel in range(panels):
            x = left + panel * (across * scale + gap)
            tile = colours[position, panel].repeat(tall, axis=0).repeat(scale, axis=1)
            picture[top : top + height * tall, x : x + across * scale] = tile
    shown_inputs = inputs if map_name is None else panels
    return KernelSheet(picture, tuple(placed), outputs - len(drawn), inputs - shown_inputs)
