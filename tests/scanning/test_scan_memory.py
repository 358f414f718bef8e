"""The memory of a scan does not grow with the data set, and grows with channels as stated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from fixtures.measured_scan import CHANNELS, IMAGES, MORE_CHANNELS, MORE_IMAGES
from fixtures.whole_scans import SHAPE, made, picture

import nbviz
from nbviz import Network
from nbviz.analysis.data_pass import channel_bytes
from nbviz.analysis.unit_statistics.settings import PassSettings
from nbviz.scanning import driver

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def peaks():
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "fixtures.measured_scan"],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        timeout=240,
    )
    return json.loads(done.stdout)


def test_it_does_not_grow_with_the_data_set(peaks):
    more = MORE_IMAGES - IMAGES
    input_bytes = 3 * 32 * 32 * 4
    # 20 MB of inputs went through: what grew is a small share of them, and far less than what
    # the rows of the images would take as Python objects.
    assert peaks["many"]["process"] - peaks["few"]["process"] < 0.5 * more * input_bytes
    assert peaks["many"]["traced"] - peaks["few"]["traced"] < 150 * more


# As the docstring of `scan` has it.
KEPT = "20 * (top_k + bottom_k + samples) + 16 * 533 + 56 + 16 * classes"
WAITING = "128 * (12 * per_image + 24)"
DEFAULTS = {"top_k": 16, "bottom_k": 8, "samples": 64, "per_image": 1, "classes": 3}


def stated(formula: str, **changes: int) -> int:
    return eval(formula, {"__builtins__": {}}, {**DEFAULTS, **changes})


@pytest.mark.parametrize(
    "changes", [{}, {"top_k": 5, "per_image": 3}, {"bottom_k": 1, "samples": 9, "classes": 0}]
)
def test_the_formula_in_words_is_the_one_that_warns(changes):
    settings = {name: value for name, value in changes.items() if name != "classes"}
    kept = stated(KEPT, **changes), stated(WAITING, **changes)
    assert channel_bytes(PassSettings(("0",), **settings), changes.get("classes", 3)) == kept


@pytest.mark.parametrize(("limit", "warned"), [(5 * 14_952 - 1, True), (5 * 14_952, False)])
def test_one_is_warned_of_much_memory(limit, warned, monkeypatch):
    monkeypatch.setattr(driver, "_MUCH", limit)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        nbviz.scan(
            Network(made().model, input_shape=SHAPE), [picture(1)], layers="0", progress=False
        )
    told = [str(warning.message) for warning in said if warning.filename == __file__]
    assert len(told) == warned
    assert not warned or "1 layers with 5 channels take about 0.0 GB" in told[0]
    assert not warned or "pass layers=" in told[0]


def test_it_grows_with_the_channels_as_stated(peaks):
    documented = nbviz.scan.__doc__ or ""
    assert f"kept = {KEPT}\n" in documented
    assert f"waiting = {WAITING}\n" in documented
    grown = (peaks["wide"]["traced"] - peaks["narrow"]["traced"]) / (MORE_CHANNELS - CHANNELS)
    expected = stated(f"{KEPT} + {WAITING}")
    assert 0.75 * expected < grown < 1.25 * expected


@pytest.mark.parametrize(("top_k", "classes"), [(16, 3), (5, 1)])
def test_what_is_kept_of_a_channel_has_the_stated_size(top_k, classes):
    labels = [number % classes for number in range(80)]
    found = nbviz.scan(
        made(), [*map(picture, range(80))], labels=labels, top_k=top_k, layers="0", progress=False
    )
    arrays = found["0"].to_arrays()
    once = arrays["images"].nbytes + 16 * classes  # once a layer, not a channel
    size = sum(array.nbytes for array in arrays.values()) - once
    assert size == 5 * stated(KEPT, top_k=top_k, classes=classes)
