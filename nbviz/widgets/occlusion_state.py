"""How results of the analysis become the traits of an `OcclusionProbe`; no maths here.

``js/occlusion-probe/state.ts`` names the same fields.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from nbviz.analysis.activations import drawable
from nbviz.analysis.input_picture import InputPicture
from nbviz.analysis.occlusion import OcclusionMap, nearest_classes
from nbviz.analysis.occlusion_evidence import Evidence
from nbviz.analysis.prediction import Guess, class_name, guesses, guesses_of
from nbviz.network import Network
from nbviz.widgets import wire

FILL_NAMES = {
    "mean": "mean colour",
    "grey": "grey",
    "black": "black",
    "colour": "a colour",
    "blur": "the picture blurred",
    "noise": "noise",
    "picture": "another picture",
}
_MOST_CLASSES = 12
_MOST_FOUND = 20
# The grids by which a map grows, coarse to fine.
_LEVELS = (8, 4, 2, 1)


def number(value: float) -> float | str:
    """A number for JSON, which has none for NaN, Infinity and -Infinity: their names."""
    value = float(value)
    if isfinite(value):
        return value
    return str(value).replace("nan", "NaN").replace("inf", "Infinity")


def layer_table(network: Network) -> list[dict[str, Any]]:
    """Layers whose maps can be summed."""
    return [
        {"name": layer.name, "channels": layer.channels or 0}
        for layer in network.layers
        if drawable(layer) is None
    ]


def picture_state(
    seen: InputPicture, count: int, image: int, *, normalised: bool
) -> dict[str, Any]:
    """The picture as the network sees it, and how many had been on show with it."""
    notes = [f"The picture: {seen.note}."] if seen.note else []
    if not normalised:
        notes.append("The network gets pixels from 0 to 1: no normalisation was given.")
    note = " ".join(notes)
    height, width = seen.pixels.shape[:2]
    return wire.pack(
        {"pixels": seen.pixels}, note=note, number=count, image=image, height=height, width=width
    )


def replacement_state(seen: InputPicture, fill: str, note: str) -> dict[str, Any]:
    """What shows under masks, as a picture."""
    return wire.pack({"pixels": seen.pixels}, name=FILL_NAMES[fill], note=note, fill=fill)


def prediction_state(
    base: np.ndarray, target: int, classes: Sequence[str] | None, **fields: Any
) -> dict[str, Any]:
    """The most probable classes of the picture without masks."""
    return {
        "top": [_guess(guess) for guess in guesses(base, classes)],
        "target": _guess(guesses_of(base, [target], classes)[0]),
        "classes": len(base),
        **fields,
    }


def confidence_state(
    logits: np.ndarray, base: np.ndarray, target: int, classes: Sequence[str] | None
) -> dict[str, Any]:
    """The most probable classes under masks, and how probable each was without them."""
    found = [*guesses(logits, classes), *guesses_of(logits, [target], classes)]
    before = guesses_of(base, [guess.index for guess in found], classes)
    *top, chosen = [
        {
            **_guess(now),
            "before": number(then.probability),
            "logit_before": number(then.logit),
        }
        for now, then in zip(found, before, strict=True)
    ]
    return {"top": top, "target": chosen, "source": "network"}


def _guess(guess: Guess) -> dict[str, Any]:
    return {
        "number": guess.index,
        "name": guess.name,
        "probability": number(guess.probability),
        "logit": number(guess.logit),
    }


def level(state: np.ndarray) -> int:
    """The step of the finest grid that has an answer everywhere; 0 for none."""
    return min((step for step in _LEVELS if state[::step, ::step].all()), default=0)


def map_state(
    result: OcclusionMap,
    *,
    target: int,
    feature: tuple[str, int] | None,
    picture: int,
    pixels: np.ndarray | None,
    send_pixels: bool = False,
    name: str = "",
) -> dict[str, Any]:
    """A map for the browser: logits of the target and of the classes most often on top.

    Parameters
    ----------
    result : OcclusionMap
    target : int
        Class whose logits are among those sent, as far as the map holds them.
    feature : tuple of str and int, or None
        Layer and channel (-1 for all) whose sums are sent, as far as the map holds them.
    picture : int
        Number that the picture was shown under.
    pixels : uint8 array, shape (H, W, 1) or (H, W, 3), or None
        The picture. Its ``picture_id`` is the same for maps of the same picture, of any network.
    send_pixels : bool
        Whether the view needs the picture as well, as it may not be the one on show.
    name : str
        What the network is called in the title; by default the model's class.
    """
    chosen = _classes_sent(result, target)
    numbers = sorted({*chosen, *(int(n) for n in np.unique(result.top_classes) if n >= 0)})
    names = result.class_names
    arrays: dict[str, np.ndarray] = {
        "tops": result.tops.astype(np.int32),
        "lefts": result.lefts.astype(np.int32),
        "state": result.state,
        "log_normaliser": result.log_normaliser,
        "logits": result.logits[..., [result.classes.tolist().index(n) for n in chosen]],
        "top_classes": result.top_classes,
        "top_probabilities": result.top_probabilities,
    }
    if send_pixels and pixels is not None:
        arrays["pixels"] = pixels
    summed: dict[str, Any] | None = None
    if feature is not None and feature[0] in result.sums:
        layer, channel = feature
        channels = slice(None) if channel < 0 else slice(channel, channel + 1)
        arrays["sums"] = result.sums[layer][..., channels].sum(-1, dtype=np.float32)
        base = number(result.base_sums[layer][channels].sum())
        summed = {"layer": layer, "channel": channel, "base": base}
    return wire.pack(
        arrays,
        classes=[[n, class_name(n, names)] for n in chosen],
        names={str(n): class_name(n, names) for n in numbers},
        base={
            str(guess.index): {
                "logit": number(guess.logit),
                "probability": number(guess.probability),
            }
            for guess in guesses_of(result.base_logits, numbers)
        },
        target={"number": target, "name": class_name(target, names)},
        feature=summed,
        picture=picture,
        picture_id="" if pixels is None else _picture_id(pixels),
        **_map_fields(result, target, name or result.network_name),
    )


def _picture_id(pixels: np.ndarray) -> str:
    found = hashlib.sha256(str(pixels.shape).encode())
    found.update(np.ascontiguousarray(pixels).data)
    return found.hexdigest()[:16]


def _classes_sent(result: OcclusionMap, target: int) -> list[int]:
    kept = set(result.classes.tolist())
    found, counts = np.unique(result.top_classes[result.top_classes >= 0], return_counts=True)
    often = [int(found[i]) for i in np.argsort(-counts, kind="stable")]
    base = [guess.index for guess in guesses(result.base_logits)]
    wanted = dict.fromkeys([target, *base, *often])
    return [n for n in wanted if n in kept][: _MOST_CLASSES + 1]


def _map_fields(result: OcclusionMap, target: int, network: str) -> dict[str, Any]:
    total = int(result.state.size)
    computed, interpolated = (int((result.state == way).sum()) for way in (1, 2))
    return {
        "image": list(result.image_shape[1:]),
        "size": list(result.size),
        "stride": list(result.stride),
        "mask_shape": result.mask_shape,
        "fill": result.fill,
        "fill_note": result.fill_note,
        "way": result.way,
        "reason": result.reason,
        "tolerance": result.tolerance or 0.0,
        "complete": result.complete,
        "computed": computed,
        "interpolated": interpolated,
        "total": total,
        "share": (computed + interpolated) / total,
        "level": level(result.state),
        "network": network,
        "nonfinite": result.not_numbers,
        "settings": map_settings(result),
        "title": map_title(result, target, network),
    }


def map_settings(result: OcclusionMap) -> str:
    """How a map was made, in one line."""
    total, computed = result.state.size, int((result.state == 1).sum())
    interpolated = int((result.state == 2).sum())
    rows, cols = result.size
    down, across = result.stride
    step = f"{down}" if down == across else f"{down}×{across}"
    kind = "masks" if result.mask_shape == "rectangle" else "round masks"
    masks = f"{kind} of {rows}×{cols} px every {step} px, the last ones flush with the border"
    parts = [f"{masks}, filled with {result.fill_note}"]
    exact = "computed exactly" if result.tolerance is None else "computed"
    parts.append(f"{computed} of {total} {exact}")
    if interpolated:
        parts.append(
            f"{interpolated} interpolated, to {result.tolerance:g} of the map's range (approximate)"
        )
    if not result.complete:
        parts.append("a partial map")
    if result.not_numbers:
        parts.append(f"{result.not_numbers} positions gave no numbers (NaN)")
    return "; ".join([*parts, f"{result.way}: {result.reason}"])


def map_title(result: OcclusionMap, target: int, network: str = "") -> str:
    """What a map is of, short; the network by a name of one's own or its class."""
    rows, cols = result.size
    side = f"{rows} px" if rows == cols else f"{rows}×{cols} px"
    fill = FILL_NAMES.get(result.fill, result.fill)
    name = class_name(target, result.class_names)
    return f"{name} · {side} · {fill} · {network or result.network_name}"


def progress_state(result: OcclusionMap | None, *, running: bool, seconds: float) -> dict[str, Any]:
    """How far a map is."""
    return {
        "running": running,
        "done": 0 if result is None else int((result.state != 0).sum()),
        "total": 0 if result is None else int(result.state.size),
        "seconds": seconds,
        "way": "" if result is None else result.way,
    }


def evidence_state(
    found: Evidence, boxes: Sequence[Sequence[int]], classes: Sequence[str] | None
) -> dict[str, Any]:
    """Regions by confidence lost."""
    optional: Mapping[str, float | None] = {
        "inside": found.inside,
        "area": found.area,
        "concentration": found.concentration,
    }
    return {
        "regions": [
            {
                "rank": region.rank,
                "box": [region.box.top, region.box.left, region.box.bottom, region.box.right],
                "drop": number(region.drop),
                "share": number(region.share),
                "spread": region.spread,
            }
            for region in found.regions
        ],
        "boxes": [list(box) for box in boxes],
        **{name: None if value is None else number(value) for name, value in optional.items()},
        "verdict": found.verdict,
        "target": {"number": found.target, "name": class_name(found.target, classes)},
    }


def class_state(result: OcclusionMap, wanted: int, of: str) -> dict[str, Any]:
    """Logits of one class at all positions.

    Raises
    ------
    ValueError
        If the map does not hold them.
    """
    logits = result.values(wanted, "logit")
    (base,) = guesses_of(result.base_logits, [wanted])
    return wire.pack(
        {"logits": logits},
        number=wanted,
        name=class_name(wanted, result.class_names),
        base={"logit": number(base.logit), "probability": number(base.probability)},
        of=of,
    )


def found_classes(
    text: str, base: np.ndarray, classes: Sequence[str] | None
) -> list[tuple[int, str]]:
    """Numbers and names of classes that a text may mean; of no text the most probable ones."""
    wanted = text.strip()
    if not wanted:
        return [(guess.index, guess.name) for guess in guesses(base, classes, count=_MOST_FOUND)]
    found = [(one.number, one.name) for one in nearest_classes(classes, wanted, count=_MOST_FOUND)]
    if wanted.isdecimal() and int(wanted) < len(base):
        first = (int(wanted), class_name(int(wanted), classes))
        found = [first, *(one for one in found if one != first)][:_MOST_FOUND]
    return found
