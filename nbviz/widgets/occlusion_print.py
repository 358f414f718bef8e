"""An `OcclusionProbe` on paper: picture with masks, map with its scale, confidences, settings."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nbviz.analysis.colormaps import colormap
from nbviz.analysis.map_overlay import (
    Coverage,
    MapOverlay,
    class_overlay,
    confidence_overlay,
    sum_overlay,
)
from nbviz.analysis.occlusion import OcclusionMap, ValueKind
from nbviz.analysis.prediction import class_name
from nbviz.widgets.occlusion_state import map_settings
from nbviz.widgets.printed_page import Layout, Outline, Text

_MARGIN, _GAP = 24, 24
_SIDE = 400
_TITLE, _SMALL, _LINE = 18, 14, 20
_BAR = (200, 14)
_SWATCH = 14


@dataclass(frozen=True, slots=True)
class ProbePrint:
    """What is printed of a probe."""

    network: str
    masked: np.ndarray
    """The picture with its masks filled, uint8."""
    picture: np.ndarray
    masks: Sequence[Mapping[str, Any]]
    confidence: Mapping[str, Any]
    fill_note: str
    result: OcclusionMap | None
    """The map, if there is one of this picture."""
    stale: str
    target: int
    scale: ValueKind
    show: str
    feature: tuple[str, int] | None
    coverage: Coverage
    opacity: float
    stretch: bool


def probe_page(probe: ProbePrint) -> Layout:
    """The page: masks at the left, the map at the right, words below."""
    height, width = probe.masked.shape[:2]
    factor = max(1, round(_SIDE / max(height, width)))
    top = _MARGIN + _TITLE + _GAP // 2
    tall, wide = height * factor, width * factor
    pictures = [(_MARGIN, top, _enlarged(probe.masked, factor))]
    overlay, words = _overlay(probe)
    right = _MARGIN + wide + _GAP
    if overlay is not None:
        pictures.append((right, top, _enlarged(overlay.pixels, factor)))
    page_width = max(right + (wide if overlay is not None else 280) + _MARGIN, 480)
    texts = [Text(_MARGIN, _MARGIN + _TITLE - 4, _title(probe), _TITLE, colour="black")]
    below = top + tall + _LINE + 4
    beside = overlay is None
    lines, at = _bars(probe), (right, top + _LINE) if beside else (_MARGIN, below)
    texts += [Text(at[0], at[1] + i * _LINE, line, _SMALL) for i, line in enumerate(lines)]
    bottom = top + tall if beside else below + (len(lines) - 1) * _LINE
    if overlay is not None:
        key_pictures, key_texts = _key(probe, overlay, words, right, below)
        pictures += key_pictures
        texts += key_texts
        bottom = max(bottom, *(text.y for text in key_texts))
    for line in _notes(probe, (page_width - 2 * _MARGIN) * 2 // _SMALL):
        bottom += _LINE
        texts.append(Text(_MARGIN, bottom + _LINE // 2, line, _SMALL))
    outlines = [_outline(mask, factor, top) for mask in probe.masks if mask["shape"] != "brush"]
    return Layout(page_width, bottom + _LINE // 2 + _MARGIN, pictures, texts, outlines)


def _enlarged(picture: np.ndarray, factor: int) -> np.ndarray:
    colour = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture
    return np.ascontiguousarray(colour.repeat(factor, axis=0).repeat(factor, axis=1))


def _outline(mask: Mapping[str, Any], factor: int, top: int) -> Outline:
    return Outline(
        _MARGIN + mask["left"] * factor,
        top + mask["top"] * factor,
        mask["width"] * factor,
        mask["height"] * factor,
        round=mask["shape"] == "circle",
    )


def _title(probe: ProbePrint) -> str:
    target = probe.confidence["target"]
    change = float(target["probability"]) - float(target["before"])
    moved = f" ({change:+.3f} by what is covered)" if probe.masks else ""
    name = textwrap.shorten(target["name"], 40, placeholder="...")
    return f"{probe.network}: {name}, probability {float(target['probability']):.3f}{moved}"


def _bars(probe: ProbePrint) -> list[str]:
    heading = "Under the masks:" if probe.masks else "Nothing is covered:"
    lines = [heading]
    for entry in probe.confidence["top"]:
        now, before = float(entry["probability"]), float(entry["before"])
        name = textwrap.shorten(entry["name"], 28, placeholder="...")
        lines.append(f"{now:.3f} ({now - before:+.3f})  {name}")
    return lines


def _overlay(probe: ProbePrint) -> tuple[MapOverlay | None, str]:
    """The map in colours, and what it shows in words."""
    result, target = probe.result, probe.target
    if result is None:
        return None, ""
    if probe.show == "most probable":
        made = class_overlay(result, probe.picture, target, opacity=probe.opacity)
        return made, "most probable class with a mask there"
    look: dict[str, Any] = {"opacity": probe.opacity, "stretch": probe.stretch}
    if probe.show == "feature map" and probe.feature and probe.feature[0] in result.sums:
        layer, channel = probe.feature
        which = "all channels" if channel < 0 else f"channel {channel}"
        made = sum_overlay(result, probe.picture, layer, channel, **look)
        return made, f"summed activation of {layer}, {which}"
    if target not in result.classes:
        return None, ""
    made = confidence_overlay(
        result, probe.picture, target, probe.scale, coverage=probe.coverage, **look
    )
    how = "" if probe.coverage == "grid" else ", overlap average"
    return made, f"{probe.scale} of {class_name(target, result.class_names)}{how}"


def _key(
    probe: ProbePrint, overlay: MapOverlay, words: str, left: int, top: int
) -> tuple[list[tuple[int, int, np.ndarray]], list[Text]]:
    """What the colours of the map mean."""
    result = probe.result
    texts = [Text(left, top, textwrap.shorten(words, 60, placeholder="..."), _SMALL)]
    if overlay.colours is None:
        pictures = []
        names = None if result is None else result.class_names
        for line, (colour, number) in enumerate(overlay.classes, 1):
            swatch = np.full((_SWATCH, _SWATCH, 3), colour, np.uint8)
            pictures.append((left, top + line * _LINE - _SWATCH + 2, swatch))
            name = textwrap.shorten(class_name(number, names), 40, placeholder="...")
            texts.append(Text(left + _SWATCH + 8, top + line * _LINE, name, _SMALL))
        return pictures, texts
    columns = np.linspace(0, 255, _BAR[0]).astype(int)
    bar = np.repeat(colormap(overlay.colours)[columns][None], _BAR[1], axis=0)
    low, high = f"{overlay.low:.3g}", f"{overlay.high:.3g}"
    start = left + 9 * len(low) + 6
    line = top + _LINE
    texts += [
        Text(left, line, low, _SMALL),
        Text(start + _BAR[0] + 6, line, high, _SMALL),
    ]
    return [(start, line - _BAR[1] + 2, bar)], texts


def _notes(probe: ProbePrint, chars: int) -> list[str]:
    """What a person must know of masks and map."""
    said = [f"Masks on the picture are filled with {probe.fill_note}."]
    if probe.result is not None:
        said.append(f"Map: {map_settings(probe.result)}.")
        if probe.stale:
            said.append(f"The map is not of what is set now: {probe.stale}.")
    return [line for each in said for line in textwrap.wrap(each, max(20, chars))]
