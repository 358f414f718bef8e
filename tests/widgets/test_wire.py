"""Arrays reach the browser as they are; the same vectors test js/shared/wire.ts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nbviz.widgets import wire

VECTORS = json.loads((Path(__file__).parents[1] / "fixtures" / "wire.json").read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["entry"]["name"])
def test_an_array_is_described_and_flattened_as_the_browser_expects(vector):
    entry = vector["entry"]
    array = np.array(vector["values"], entry["dtype"]).reshape(entry["shape"])
    packed = wire.pack({entry["name"]: array}, layer="conv1")
    assert packed["arrays"] == [entry]
    assert bytes(packed["buffers"][0]).hex() == vector["hex"]
    assert packed["layer"] == "conv1"
    np.testing.assert_array_equal(wire.unpack(packed)[entry["name"]], array)


def test_order_in_memory_does_not_matter():
    array = np.arange(24, dtype=">f4").reshape(2, 3, 4)
    for variant in (array, np.asfortranarray(array), array[:, ::-1][:, ::-1]):
        packed = wire.pack({"a": variant})
        assert bytes(packed["buffers"][0]) == np.arange(24, dtype="<f4").tobytes()


@pytest.mark.parametrize("dtype", ["float16", "int64", "complex64", "bool"])
def test_what_no_typed_array_holds_is_refused(dtype):
    with pytest.raises(TypeError, match="convert it to one of"):
        wire.pack({"a": np.zeros(2, dtype)})


def test_payload_is_counted():
    packed = wire.pack({"a": np.zeros(3, np.float32), "b": np.zeros(5, np.uint8)})
    assert wire.payload_bytes(packed) == 17
