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


GOOD = {"name": "a", "dtype": "uint8", "shape": [2, 3]}


@pytest.mark.parametrize(
    ("entries", "buffers", "message"),
    [
        ([GOOD], [], "expected one buffer an array, got 1 arrays, 0 buffers"),
        ([], [b"123456"], "expected one buffer an array, got 0 arrays, 1 buffers"),
        ("arrays", [b"123456"], "expected one buffer an array, got 'arrays'"),
        ([GOOD], [b"12345"], r"array 'a': shape \(2, 3\) of uint8 needs 6 bytes, 5 came"),
        ([{**GOOD, "shape": [-1, 3]}], [b"123456"], "expected an array as name, dtype"),
        ([{**GOOD, "shape": 6}], [b"123456"], "expected an array as name, dtype"),
        ([{**GOOD, "shape": [6.0]}], [b"123456"], "expected an array as name, dtype"),
        ([{**GOOD, "dtype": "object"}], [b"123456"], "one of int8, uint8"),
        ([{**GOOD, "dtype": "O"}], [b"123456"], "one of int8, uint8"),
        ([{**GOOD, "name": 3}], [b"123456"], "expected an array as name, dtype"),
        (["a"], [b"123456"], "expected an array as name, dtype"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(entries, buffers, message):
    with pytest.raises(ValueError, match=message):
        wire.unpack({"arrays": entries, "buffers": buffers})
