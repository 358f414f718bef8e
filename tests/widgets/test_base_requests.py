"""A question of the browser reaches the method that answers it, with its arrays; errors go back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nbviz.widgets import wire
from nbviz.widgets.base import View, answers

VECTORS = json.loads((Path(__file__).parents[1] / "fixtures" / "wire.json").read_text())


class Painted(View):
    _esm = "export default { render() {} }"

    def __init__(self):
        super().__init__()
        self.sent: list[tuple[dict[str, Any], list[Any]]] = []
        self.got: Any = None

    def send(self, content, buffers=None):
        self.sent.append((content, list(buffers or [])))

    @answers("pixels")
    def _pixels(self, arrays, *, source):
        self.got = arrays
        return wire.pack({"twice": arrays["pixels"] * 2}, source=source)

    @answers("plain")
    def _plain(self, number):
        return wire.pack({}, number=number)

    def ask(self, content, buffers=()):
        """Hand over a message as ipywidgets does; what went back."""
        self._handle_custom_msg(content, [memoryview(b) for b in buffers])
        return self.sent.pop() if self.sent else None


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["entry"]["name"])
def test_arrays_come_as_the_browser_had_them(vector):
    view, entry = Painted(), {**vector["entry"], "name": "pixels"}
    content = {"kind": "pixels", "rid": "1-a-1", "source": "drawing", "arrays": [entry]}
    answer, _ = view.ask(content, [bytes.fromhex(vector["hex"])])
    got = view.got["pixels"]
    assert (got.dtype.name, list(got.shape)) == (entry["dtype"], entry["shape"])
    assert got.ravel().tolist() == vector["values"]
    assert (answer["kind"], answer["rid"], answer["source"]) == ("pixels", "1-a-1", "drawing")


def test_arrays_go_back_under_the_same_number():
    entry = {"name": "pixels", "dtype": "uint8", "shape": [1, 3]}
    content = {"kind": "pixels", "rid": 7, "source": "camera", "arrays": [entry]}
    answer, buffers = Painted().ask(content, [bytes([1, 2, 3])])
    assert answer["arrays"] == [{"name": "twice", "dtype": "uint8", "shape": [1, 3]}]
    assert [bytes(buffer) for buffer in buffers] == [bytes([2, 4, 6])]


def test_a_question_without_arrays_needs_no_argument_for_them():
    assert Painted().ask({"kind": "plain", "rid": 1, "number": 5})[0]["number"] == 5
    assert Painted().ask({"kind": "plain", "rid": 1, "number": 5, "arrays": []})[0]["number"] == 5


@pytest.mark.parametrize(
    ("content", "buffers", "message"),
    [
        ({"arrays": [{"name": "pixels", "dtype": "uint8", "shape": [2]}]}, [b"abc"], "needs 2"),
        ({"arrays": [{"name": "pixels", "dtype": "uint8", "shape": [2]}]}, [], "one buffer an"),
        ({}, [b"abc"], "one buffer an array"),
        ({"arrays": 3}, [], "one buffer an array"),
        ({"kind": "plain", "number": 1, "arrays": [{"name": "x", "dtype": "uint8", "shape": [1]}]},
         [b"a"], "unexpected keyword argument 'arrays'"),
        ({"kind": "pixel"}, [], "unknown request 'pixel'"),
    ],
)  # fmt: skip
def test_a_malformed_question_is_answered_with_an_error(content, buffers, message):
    content = {"kind": "pixels", "rid": 1, "source": "camera", **content}
    if content["kind"] == "plain":
        del content["source"]
    answer, _ = Painted().ask(content, buffers)
    assert (answer["kind"], answer["rid"]) == ("error", 1)
    assert message in answer["message"]


def test_arrays_are_no_copies_that_could_grow():
    view = Painted()
    data = np.arange(6, dtype=np.uint8)
    entry = {"name": "pixels", "dtype": "uint8", "shape": [6]}
    view.ask({"kind": "pixels", "rid": 1, "source": "camera", "arrays": [entry]}, [data])
    assert np.shares_memory(view.got["pixels"], data)
