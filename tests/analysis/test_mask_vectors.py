"""Masks cover the same pixels in Python as in the browser: `fixtures/masks.json` is read by both.

Run this file as a program to write the fixture anew; its planes come from the plain loops below.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nbviz.analysis.occlusion import Mask, mask_plane

FIXTURE = Path(__file__).parents[1] / "fixtures" / "masks.json"


def box(shape: str, top: int, left: int, height: int, width: int) -> dict[str, Any]:
    return {"shape": shape, "top": top, "left": left, "height": height, "width": width}


def brush(*runs: list[int]) -> dict[str, Any]:
    rows, starts, stops = zip(*runs, strict=True)
    top, left = min(rows), min(starts)
    sides = (max(rows) + 1 - top, max(stops) - left)
    return {**box("brush", top, left, *sides), "runs": [list(run) for run in runs]}


CASES: dict[str, tuple[int, int, list[dict[str, Any]]]] = {
    "no mask": (4, 5, []),
    "a rectangle within": (6, 7, [box("rectangle", 1, 2, 3, 4)]),
    "over the top left corner": (6, 7, [box("rectangle", -2, -3, 4, 5)]),
    "over the bottom right corner": (6, 7, [box("rectangle", 4, 5, 9, 9)]),
    "the whole picture": (3, 4, [box("rectangle", -1, -1, 9, 9)]),
    "beside the picture": (4, 4, [box("rectangle", 0, -3, 2, 3), box("circle", 4, 0, 3, 3)]),
    "one pixel": (3, 3, [box("circle", 1, 1, 1, 1)]),
    "a small circle": (4, 4, [box("circle", 1, 1, 2, 2)]),
    "an even circle": (14, 14, [box("circle", 1, 2, 10, 10)]),
    "an odd circle": (13, 13, [box("circle", 2, 1, 9, 9)]),
    "a flat ellipse": (9, 24, [box("circle", 2, 1, 5, 22)]),
    "a high ellipse over the border": (20, 12, [box("circle", -6, -3, 21, 8)]),
    "a circle of a photograph's size": (40, 40, [box("circle", 3, 4, 32, 32)]),
    "a brush with a hole, over the border": (
        6,
        8,
        [brush([-1, 0, 3], [0, 1, 3], [2, -2, 2], [2, 4, 11], [3, 6, 7], [6, 0, 8])],
    ),
    "several": (
        12,
        16,
        [
            box("rectangle", 0, 0, 5, 5),
            box("circle", 3, 3, 7, 9),
            brush([11, 0, 16], [4, 4, 12]),
        ],
    ),
}


def covers(mask: dict[str, Any], row: int, column: int) -> bool:
    """The rule, pixel by pixel; in whole numbers, so that no rounding decides."""
    if mask["shape"] == "brush":
        return any(row == at and start <= column < stop for at, start, stop in mask["runs"])
    height, width = mask["height"], mask["width"]
    down, across = row - mask["top"], column - mask["left"]
    if mask["shape"] == "circle":
        y, x = 2 * down + 1 - height, 2 * across + 1 - width
        return bool((y * width) ** 2 + (x * height) ** 2 <= (height * width) ** 2)
    return 0 <= down < height and 0 <= across < width


def expected(height: int, width: int, masks: list[dict[str, Any]]) -> list[str]:
    return [
        "".join(
            "#" if any(covers(mask, row, column) for mask in masks) else "."
            for column in range(width)
        )
        for row in range(height)
    ]


def vectors() -> list[dict[str, Any]]:
    return [
        {"name": name, "masks": masks, "covered": expected(height, width, masks)}
        for name, (height, width, masks) in CASES.items()
    ]


def as_mask(state: dict[str, Any]) -> Mask:
    """What the browser sends, as Python's own; runs become the bits of the brush's box."""
    sides = (state["shape"], state["top"], state["left"], state["height"], state["width"])
    if state["shape"] != "brush":
        return Mask(*sides)
    bits = np.zeros((state["height"], state["width"]), bool)
    for row, start, stop in state["runs"]:
        bits[row - state["top"], start - state["left"] : stop - state["left"]] = True
    return Mask(*sides, bits)


def test_the_browser_is_tested_with_what_plain_loops_found():
    assert json.loads(FIXTURE.read_text(encoding="utf-8")) == vectors()


@pytest.mark.parametrize("name", CASES)
def test_what_is_drawn_as_covered_is_what_the_network_does_not_see(name):
    height, width, masks = CASES[name]
    plane = mask_plane([as_mask(mask) for mask in masks], (height, width))
    rows = ["".join("#" if covered else "." for covered in row) for row in plane]
    assert rows == expected(height, width, masks)


if __name__ == "__main__":
    text = json.dumps(vectors(), indent=1)
    FIXTURE.write_text(text + "\n", encoding="utf-8")
