"""What a layer returned, laid out as maps: one picture of places a channel.

A layer's `layout` says where its output has places and channels; here the tensor is turned, not
copied, so that channels come first and places lie on their grid. Tokens that stand apart from the
grid of a vision transformer (class, registers) are given apart.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nbviz.analysis.layers import Layer


@dataclass(frozen=True, eq=False)
class MapLayout:
    """Views of what a layer returned for one image."""

    maps: Tensor
    """Shape (channels, rows, cols)."""
    prefix: Tensor
    """Shape (prefix tokens, channels); none where the layer has no tokens."""
    suffix: Tensor
    """Shape (tokens behind the grid, channels)."""


def drawable(layer: Layer) -> str | None:
    """Why a layer's output cannot be drawn as maps, None if it can.

    Examples
    --------
    >>> from nbviz import Network
    >>> layers = Network(nn.Conv2d(3, 2, 3), input_shape=(3, 8, 8)).layers
    >>> drawable(layers[0]) is None
    True
    """
    if layer.layout == "other":
        shape = " x ".join(map(str, layer.output_shape)) or "one number"
        return (
            f"its output ({shape}) is no maps, tokens or vector of one image; choose a layer "
            f"before or behind it"
        )
    if 0 in layer.output_shape:
        return f"its output of shape {layer.output_shape} is empty"
    return None


def expect_drawable(layer: Layer) -> None:
    """Raise a ValueError that says why, if a layer's output cannot be drawn as maps."""
    if (reason := drawable(layer)) is not None:
        msg = f"expected a layer that can be drawn, but not so {layer.name!r}: {reason}"
        raise ValueError(msg)


def lay_out(layer: Layer, value: Tensor) -> MapLayout:
    """The output of a layer for one image as maps, and the tokens apart, without copying it.

    Parameters and errors are those of `maps_of`.
    """
    maps = maps_of(layer, value)
    if layer.layout != "tokens" or layer.grid is None:
        nothing = maps.new_empty(0, len(maps))
        return MapLayout(maps, nothing, nothing)
    start = layer.prefix_tokens
    end = start + layer.grid[0] * layer.grid[1]
    tokens = value[0].dequantize() if value.is_quantized else value[0]
    return MapLayout(maps, tokens[:start], tokens[end:])


def maps_of(layer: Layer, value: Tensor) -> Tensor:
    """The output of a layer for one image as maps (channels, rows, cols), without copying it.

    Parameters
    ----------
    layer : Layer
        Drawable.
    value : Tensor, shape (1, ...)
        What the layer returned.

    Raises
    ------
    TypeError
        If the values are complex.
    ValueError
        If the layer cannot be drawn, or the shape is not the recorded one.
    """
    if value.shape[:1] != (1,):
        msg = f"expected what layer {layer.name!r} returned for one image, got {tuple(value.shape)}"
        raise ValueError(msg)
    return batch_maps(layer, value)[0]


def batch_maps(layer: Layer, value: Tensor) -> Tensor:
    """The output of a layer for a batch as maps (N, channels, rows, cols), without copying it.

    Errors are those of `maps_of`.

    Examples
    --------
    >>> import torch
    >>> from nbviz import Network
    >>> layer = Network(nn.Conv2d(3, 2, 3), input_shape=(3, 8, 8)).layers[0]
    >>> batch_maps(layer, torch.zeros(5, 2, 6, 6)).shape
    torch.Size([5, 2, 6, 6])
    """
    expect_drawable(layer)
    if value.shape[1:] != layer.output_shape:
        count = len(value) if value.ndim else 1
        msg = (
            f"expected layer {layer.name!r} to return shape {(count, *layer.output_shape)} as "
            f"when the layers were recorded, got {tuple(value.shape)}; call "
            f"`network.forget_layers()` if the model was changed"
        )
        raise ValueError(msg)
    if value.is_complex():
        msg = (
            f"expected real numbers, but layer {layer.name!r} returns complex ones "
            f"({value.dtype}), which have no one brightness; choose the layer that takes their "
            f"magnitude or real part"
        )
        raise TypeError(msg)
    value = value.dequantize() if value.is_quantized else value
    if layer.layout == "maps":
        return value
    if layer.layout == "maps_last":
        return value.permute(0, 3, 1, 2)
    if layer.layout == "signal":
        return value[:, :, None]
    if layer.layout == "vector":
        return value[:, :, None, None]
    rows, cols = layer.grid or (1, value.shape[1])
    start = layer.prefix_tokens if layer.grid else 0
    grid = value[:, start : start + rows * cols]
    return grid.reshape(len(value), rows, cols, -1).permute(0, 3, 1, 2)
