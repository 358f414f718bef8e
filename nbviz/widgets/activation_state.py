"""How results of the analysis become the traits of an `ActivationBrowser`; no maths here.

``js/activation-browser/state.ts`` names the same fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

import numpy as np

from nbviz.analysis.activation_store import ForwardPass
from nbviz.analysis.activations import Activation, drawable
from nbviz.analysis.connections import lanes
from nbviz.analysis.head_maps import HeadMaps
from nbviz.analysis.input_picture import input_picture
from nbviz.analysis.layers import Layer
from nbviz.analysis.map_levels import MapLevels, map_levels
from nbviz.analysis.map_statistics import channel_statistics
from nbviz.analysis.prediction import guesses
from nbviz.analysis.receptive_field import Box
from nbviz.network import Network
from nbviz.widgets import wire

_SIDES = ("a", "b")


def layer_table(network: Network, heads: Mapping[str, int]) -> list[dict[str, Any]]:
    """The layers for the rail; `heads` says where attention is computed."""
    layers = network.layers
    number = {layer.name: i for i, layer in enumerate(layers)} | {"": -1}
    return [
        {
            "name": layer.name,
            "kind": layer.kind,
            "shape": _shape(layer),
            "channels": layer.channels or 0,
            "grid": list(layer.grid or ()),
            "coarse": _coarse(layer, layers.input_shape),
            "field": _field(layer, layers.input_shape),
            "sees": _sees(layer, layers.input_shape),
            "lane": lane,
            "inputs": sorted({number[name] for names in layer.inputs for name in names}),
            "heads": heads.get(layer.name, 0),
            "problem": "" if layer.name in heads else drawable(layer) or "",
        }
        for layer, lane in zip(layers, lanes(layers), strict=True)
    ]


def _shape(layer: Layer) -> str:
    grid = layer.grid
    if layer.layout in {"maps", "maps_last", "tokens"} and grid is not None and layer.channels:
        prefix = f" + {layer.prefix_tokens}" if layer.prefix_tokens else ""
        return f"{layer.channels}×{grid[0]}×{grid[1]}{prefix}"
    return "×".join(map(str, layer.output_shape))


def _coarse(layer: Layer, image: tuple[int, ...]) -> str:
    """By what the image's sides are divided, short."""
    if layer.grid is None or layer.stride is None or len(image) != 3 or layer.grid == (1, 1):
        return ""
    down, across = (f"{float(step):g}" for step in layer.stride)
    return f"÷{down}" if down == across else f"÷{down}×{across}"


def _field(layer: Layer, image: tuple[int, ...]) -> str:
    """Side of the receptive field, short."""
    field = layer.receptive_field
    if field is None or len(image) != 3:
        return ""
    if field.is_global or layer.grid is None:
        return "sees all"
    if field.size is None:
        return ""
    down, across = (f"{float(side):g}" for side in field.size)
    return f"sees {down}" if down == across else f"sees {down}×{across}"


def _sees(layer: Layer, image: tuple[int, ...]) -> str:
    """What a unit sees, and how coarse the layer has become, in words."""
    field = layer.receptive_field
    if field is None or len(image) != 3:
        return ""
    whole = f"{image[1]}×{image[2]} px"
    if field.is_global or layer.grid is None:
        return f"each unit may see all {whole}"
    if field.size is None:
        seen = f"each unit sees a window of the {whole}"
    elif field.size[0] >= 2 * image[1] and field.size[1] >= 2 * image[2]:
        seen = f"each unit sees all {whole} (its window is {_size(field.size)})"
    else:
        seen = f"each unit sees {_size(field.size)} of {whole}"
    rows, cols = layer.grid
    if (rows, cols) == image[1:]:
        return seen
    places = "1 place is" if rows * cols == 1 else f"{rows}×{cols} places are"
    step = "" if layer.stride is None else f", 1 for every {_size(layer.stride)} px"
    return f"{seen} · only {places} left{step}"


def _size(size: tuple[Any, Any]) -> str:
    return "×".join(f"{float(side):g}" for side in size)


def maps_state(
    activations: Sequence[Activation],
    *,
    labels: Sequence[str] = (),
    pictures: Sequence[int],
    asked: Mapping[str, int],
    related: tuple[str, Box] | None,
) -> dict[str, Any]:
    """Feature maps of one layer for one picture, or two on the same scale."""
    layer = activations[0].layer
    ranges = [(a.statistics.low, a.statistics.peak) for a in activations]
    levels = map_levels([a.maps for a in activations], ranges)
    arrays = _level_arrays(levels)
    edges = _edges(layer)
    if edges is not None:
        arrays["edges"] = edges
    for side, activation in zip(_SIDES, activations, strict=False):
        if activation.prefix.size:
            arrays[f"prefix_{side}"] = activation.prefix
    return wire.pack(
        arrays,
        layer=layer.name,
        kind="maps",
        labels=list(labels),
        prefix=layer.prefix_tokens,
        query=-1,
        note="",
        nonfinite=int(activations[0].statistics.nonfinite.sum()),
        **_common(levels, pictures, asked, related),
    )


def attention_state(
    heads: Sequence[HeadMaps], query: int, *, pictures: Sequence[int], asked: Mapping[str, int]
) -> dict[str, Any]:
    """Attention of one query token by head, laid out like feature maps."""
    laid = [each.of_token(query) for each in heads]
    maps = [grid for grid, _ in laid]
    numbers = [channel_statistics(grid) for grid in maps]
    ranges = [(each.low, each.peak) for each in numbers]
    levels = map_levels(maps, ranges)
    arrays = _level_arrays(levels)
    for side, (_, prefix) in zip(_SIDES, laid, strict=False):
        if prefix.size:
            arrays[f"prefix_{side}"] = np.ascontiguousarray(prefix.T)
    return wire.pack(
        arrays,
        layer=heads[0].maps.layer,
        kind="attention",
        labels=list(heads[0].labels),
        prefix=heads[0].maps.prefix_tokens,
        query=query,
        nonfinite=0,
        note=heads[0].note,
        **_common(levels, pictures, asked, None),
    )


def related(network: Network, layer: str, origin: Mapping[str, Any]) -> tuple[str, Box] | None:
    """Units of a layer that may feed the origin, or be fed by it; None where nothing is known."""
    here, there = network.layers[layer], network.layers[origin["layer"]]
    if here.receptive_field is None or there.receptive_field is None or here.grid is None:
        return None
    row, col = origin["unit"]
    if here.name == there.name:
        return "is", Box(row, col, row + 1, col + 1)
    names = network.layers.names
    box = there.box(row, col)
    if names.index(here.name) < names.index(there.name):
        return "feeds", here.receptive_field.units_within(box)
    return "fed by", here.receptive_field.units_covering(box)


def _common(
    levels: MapLevels,
    pictures: Sequence[int],
    asked: Mapping[str, int],
    related: tuple[str, Box] | None,
) -> dict[str, Any]:
    to, box = related if related is not None else ("", None)
    drawn = box is not None and not box.is_empty
    units = [box.top, box.left, box.bottom, box.right] if box is not None and drawn else []
    return {
        "low": levels.layer_low,
        "high": levels.layer_high,
        "pictures": list(pictures),
        "related": {"to": to, "units": units},
        **asked,
    }


def _level_arrays(levels: MapLevels) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for side, values, odd in zip(_SIDES, levels.values, levels.nonfinite, strict=False):
        arrays[f"values_{side}"] = values
        if odd is not None:
            arrays[f"nonfinite_{side}"] = odd
    if levels.low is not None and levels.high is not None:
        arrays |= {"low": levels.low, "high": levels.high}
    return arrays


def _edges(layer: Layer) -> np.ndarray | None:
    """What every unit sees: top, bottom of each row, left, right of each column; or by unit."""
    if layer.receptive_field is None:
        return None
    rows, cols = layer.receptive_field.edges()
    if rows.ndim == 2:
        flat = np.concatenate([rows.ravel(), cols.ravel()])
    else:
        flat = np.stack([rows[..., 0], cols[..., 0], rows[..., 1], cols[..., 1]], -1).ravel()
    fits = flat.size == 0 or flat.max() < 32768
    return flat.astype(np.int16 if fits else np.int32)


def rail_state(network: Network, forward: ForwardPass, number: int) -> dict[str, Any]:
    """The strongest map of every layer, small."""
    names = network.layers.names
    strongest = [forward.overview.get(name) for name in names]
    sizes = np.zeros((len(names), 2), np.uint8)
    for size, found in zip(sizes, strongest, strict=True):
        if found is not None:
            size[:] = found.thumbnail.shape
    flat = [found.thumbnail.ravel() for found in strongest if found is not None]
    thumbnails = np.concatenate(flat) if flat else np.zeros(0, np.uint8)
    return wire.pack(
        {"thumbnails": thumbnails, "sizes": sizes},
        strongest=[-1 if found is None else found.channel for found in strongest],
        number=number,
    )


def picture_state(network: Network, passes: Sequence[ForwardPass], number: int) -> dict[str, Any]:
    """The pictures as the network sees them."""
    seen = [input_picture(network, forward.batch) for forward in passes]
    notes = [picture.note for picture in seen if picture.note]
    return wire.pack(
        {side: picture.pixels for side, picture in zip(_SIDES, seen, strict=False)},
        note=f"The picture: {'; '.join(dict.fromkeys(notes))}." if notes else "",
        number=number,
    )


def prediction_state(network: Network, passes: Sequence[ForwardPass]) -> dict[str, Any]:
    """The most probable classes for each picture."""
    top = [
        guesses(forward.logits, network.classes) for forward in passes if forward.logits is not None
    ]
    return {"top": [[_as_json(asdict(guess)) for guess in each] for each in top if each]}


def _as_json(fields: dict[str, Any]) -> dict[str, Any]:
    """With the names of JavaScript for what JSON has no number for: NaN, Infinity, -Infinity."""
    odd = {name: v for name, v in fields.items() if isinstance(v, float) and not isfinite(v)}
    return fields | {
        n: str(v).replace("nan", "NaN").replace("inf", "Infinity") for n, v in odd.items()
    }


def pins_state(pins: Sequence[tuple[Activation, int]]) -> dict[str, Any]:
    """Maps of pinned channels, each on its own scale."""
    arrays: dict[str, np.ndarray] = {}
    described = []
    for number, (activation, channel) in enumerate(pins):
        one = activation.maps[channel : channel + 1]
        low, high = activation.statistics.low[channel], activation.statistics.peak[channel]
        levels = map_levels([one], [(np.array([low]), np.array([high]))])
        arrays[f"{number} values_a"] = levels.values[0]
        if levels.nonfinite[0] is not None:
            arrays[f"{number} nonfinite_a"] = levels.nonfinite[0]
        described.append(
            {
                "layer": activation.layer.name,
                "channel": channel,
                "low": levels.layer_low,
                "high": levels.layer_high,
            }
        )
    return wire.pack(arrays, pins=described)
