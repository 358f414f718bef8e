"""What tests of all parts share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import comm
import pytest
import torch
from comm.base_comm import BaseComm

# Small maps gain nothing from more threads, and wait for them.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def threads_are_left():
    """Nothing may leave torch with another number of threads than it found."""
    before = torch.get_num_threads()
    yield
    assert torch.get_num_threads() == before


@dataclass
class Browser:
    """Stands in for the browser: keeps what a widget sends, and can send back."""

    sent: list[dict[str, Any]] = field(default_factory=list)

    def answers(self) -> list[dict[str, Any]]:
        """Custom messages that came, newest last, with their buffers."""
        custom = [m for m in self.sent if m["data"].get("method") == "custom"]
        return [{**m["data"]["content"], "buffers": m["buffers"]} for m in custom]

    def states(self, name: str) -> list[Any]:
        """Values of one trait in the order that they came."""
        updates = [m["data"] for m in self.sent if m["data"].get("method") == "update"]
        return [m["state"][name] for m in updates if name in m["state"]]

    def ask(self, widget: Any, **content: Any) -> dict[str, Any]:
        """Send a custom message; the answer to it."""
        widget.comm.handle_msg(
            {"content": {"data": {"method": "custom", "content": content}}, "buffers": []}
        )
        return self.answers()[-1]

    def set(self, widget: Any, **state: Any) -> None:
        """Set traits as a view does."""
        widget.comm.handle_msg(
            {
                "content": {"data": {"method": "update", "state": state, "buffer_paths": []}},
                "buffers": [],
            }
        )


@pytest.fixture
def frontend(monkeypatch) -> Browser:
    there = Browser()

    class Comm(BaseComm):
        def publish_msg(self, msg_type, data=None, metadata=None, buffers=None, **keys):
            there.sent.append({"type": msg_type, "data": data or {}, "buffers": buffers or []})

    monkeypatch.setattr(comm, "create_comm", Comm)
    return there


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real weights and photographs, where they lie beside the project."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no shared data beside the project")
    return folder
