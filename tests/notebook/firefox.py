"""Firefox for the tests, spoken to by WebDriver BiDi; only what a saved page needs."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import websocket

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 60


def firefox_path() -> str | None:
    """Path of the Firefox to drive; None if there is none."""
    return os.environ.get("FIREFOX_PATH") or shutil.which("firefox") or shutil.which("firefox-esr")


class Firefox:
    """One tab of a running Firefox."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._count = socket, 0
        self.errors: list[str] = []
        """What the console said of errors, oldest first."""
        self.requested: list[str] = []
        """Addresses that were asked for."""
        self.ask("session.new", capabilities={})
        tree = self.ask("browsingContext.getTree")
        self._tab = tree["contexts"][0]["context"]
        self.ask("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"])

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a command; events that come meanwhile are kept."""
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": parameters}))
        while True:
            said = json.loads(self._socket.recv())
            if said.get("id") == self._count:
                if said["type"] == "error":
                    raise RuntimeError(f"{method}: {said['message']}")
                return said["result"]
            self._hear(said)

    def _hear(self, said: dict[str, Any]) -> None:
        given = said.get("params", {})
        if said.get("method") == "log.entryAdded" and given["level"] == "error":
            self.errors.append(str(given["text"]))
        if said.get("method") == "network.beforeRequestSent":
            self.requested.append(given["request"]["url"])

    def open(self, path: Path, width: int = 1280, height: int = 900) -> None:
        """Open a file."""
        size = {"width": width, "height": height}
        self.ask("browsingContext.setViewport", context=self._tab, viewport=size)
        self.ask("browsingContext.navigate", context=self._tab, url=path.as_uri(), wait="complete")

    def value(self, expression: str) -> Any:
        """The value, for JSON, of a JavaScript expression."""
        found = self.ask(
            "script.evaluate",
            expression=f"JSON.stringify({expression})",
            target={"context": self._tab},
            awaitPromise=True,
        )
        if found["type"] == "exception":
            raise RuntimeError(found["exceptionDetails"]["text"])
        return json.loads(found["result"]["value"])

    def wait_for(self, expression: str, timeout: float = SECONDS) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + timeout
        while not self.value(f"Boolean({expression})"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {timeout} s for {expression}; errors: {self.errors}")
            time.sleep(0.2)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press at one place of the window, move to another, let go."""
        places = [start, *[_between(start, end, part / 8) for part in range(1, 9)]]
        moves = [
            {"type": "pointerMove", "x": round(x), "y": round(y), "duration": 20} for x, y in places
        ]
        press = {"type": "pointerDown", "button": 0}
        actions = [moves[0], press, *moves[1:], {"type": "pointerUp", "button": 0}]
        pointer = {"type": "pointer", "id": "mouse", "actions": actions}
        self.ask("input.performActions", context=self._tab, actions=[pointer])

    def screenshot(self, path: Path) -> None:
        """Save a picture of the whole page."""
        found = self.ask("browsingContext.captureScreenshot", context=self._tab, origin="document")
        path.write_bytes(base64.b64decode(found["data"]))


def _between(
    start: tuple[float, float], end: tuple[float, float], part: float
) -> tuple[float, float]:
    return start[0] + part * (end[0] - start[0]), start[1] + part * (end[1] - start[1])


@contextmanager
def running_firefox() -> Iterator[Firefox]:
    """Headless Firefox for the length of the block."""
    path = firefox_path()
    if path is None:
        raise RuntimeError("there is no Firefox; install it, or set FIREFOX_PATH to one")
    with TemporaryDirectory(prefix="firefox-", ignore_cleanup_errors=True) as home:
        log = Path(home) / "said"
        with log.open("w") as said:
            process = subprocess.Popen(
                [path, "--headless", "--profile", home, "--remote-debugging-port", "0"],
                stdout=said,
                stderr=said,
                env={**os.environ, "HOME": home},
            )
        try:
            address = _address(log, process)
            socket = websocket.create_connection(
                f"{address}/session", timeout=SECONDS, suppress_origin=True
            )
            yield Firefox(socket)
            socket.close()
        finally:
            process.terminate()
            process.wait(20)


def _address(log: Path, process: subprocess.Popen) -> str:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        found = re.search(r"WebDriver BiDi listening on (ws://\S+)", log.read_text())
        if found:
            return found.group(1)
        time.sleep(0.1)
    raise RuntimeError(f"Firefox did not start: {log.read_text()[-500:]}")
