"""The memory of a scan does not grow with the data set, and grows with channels as stated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.measured_scan import CHANNELS, IMAGES, MORE_CHANNELS, MORE_IMAGES
from fixtures.whole_scans import made, picture

import nbviz

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
