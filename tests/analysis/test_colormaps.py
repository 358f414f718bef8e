"""Colour maps are the ones that the browser draws, and show equal steps as equal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nbviz.analysis.colormaps import COLORMAPS, colormap

VECTORS = json.loads((Path(__file__).parents[1] / "fixtures" / "colormaps.json").read_text())


def cie_lightness(rgb: np.ndarray) -> np.ndarray:
    """CIE L* of sRGB colours, from its definition (D65)."""
    x = rgb / 255.0
    linear = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    y = linear @ [0.2126729, 0.7151522, 0.072175]
    return np.where(y > 0.008856, 116 * np.cbrt(y) - 16, 903.3 * y)


@pytest.mark.parametrize("name", COLORMAPS)
def test_a_map_is_the_one_that_the_browser_draws(name):
    for index, colour in VECTORS[name].items():
        assert np.abs(colormap(name)[int(index)].astype(int) - colour).max() <= 1


def test_equal_steps_of_value_are_equal_steps_of_lightness():
    lightness = cie_lightness(colormap("sequential")[::16])
    rises = np.diff(lightness)
    assert np.abs(rises / rises.mean() - 1).max() < 0.35
    assert lightness[-1] - lightness[0] > 70


def test_a_diverging_map_is_light_grey_at_zero_and_alike_on_both_sides():
    rgb = colormap("diverging")
    assert np.ptp(rgb[127:129].astype(int), axis=1).max() < 6
    lightness = cie_lightness(rgb)
    assert np.abs(lightness - lightness[::-1]).max() < 7
    assert lightness.argmax() in (127, 128)


def test_an_unknown_map_is_named():
    with pytest.raises(ValueError, match="unknown colour map 'jet'; use one of diverging"):
        colormap("jet")
