"""Jupyter Notebook 7 and marimo, each with a page that shows five views, for the length of a block.

Both run from this interpreter on a port of their own, and keep all that they write under one
folder: a test sees the same host whatever the person running it has set up.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import nbformat
from lab import STOP_SECONDS, end

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

START_SECONDS = 60

SETUP = """
import torch
import nbviz
torch.set_num_threads(1)
network, images, labels, classes = nbviz.demos.digits()
images, labels = images[:120], labels[:120]
scan = nbviz.scan(network, images, labels=labels, classes=classes, progress=False)
"""
VIEWS = (
    "grid = nbviz.FilterGrid(network)\ngrid",
    "browser = nbviz.ActivationBrowser(network, images, labels=labels)\nbrowser",
    "probe = nbviz.OcclusionProbe(network, images, labels=labels, size=12)\nprobe",
    "patches = nbviz.TopPatches(scan, 'conv1')\npatches",
    "atlas = nbviz.ImageMap(scan)\natlas",
)

_HOMES = {
    "JUPYTER_CONFIG_DIR": "config",
    "JUPYTER_DATA_DIR": "data",
    "JUPYTER_RUNTIME_DIR": "runtime",
    "JUPYTERLAB_SETTINGS_DIR": "settings",
    "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    "IPYTHONDIR": "ipython",
    "XDG_CONFIG_HOME": "config",
    "XDG_CACHE_HOME": "cache",
    "XDG_STATE_HOME": "state",
    "XDG_DATA_HOME": "data",
}
_ALONE = {"MARIMO_SKIP_UPDATE_CHECK": "1"}


@contextmanager
def running_notebook(folder: Path) -> Iterator[str]:
    """Jupyter Notebook 7; gives the address of a notebook, none of whose cells has run."""
    port, token = _free_port(), secrets.token_hex(16)
    root = folder / "root"
    root.mkdir(parents=True)
    cells = [nbformat.v4.new_code_cell(code.strip()) for code in (SETUP, *VIEWS)]
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": spec})
    nbformat.write(notebook, root / "views.ipynb")
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.root_dir": root,
        "ServerApp.allow_root": True,
        "ServerApp.open_browser": False,
        "IdentityProvider.token": token,
        # What would ask a package index, or look for language servers with npm.
        "LabApp.extension_manager": "readonly",
        "LanguageServerManager.autodetect": False,
    }
    command = ["notebook", *(f"--{name}={value}" for name, value in options.items())]
    address = f"http://127.0.0.1:{port}"
    with _running(command, folder, f"{address}/api/status?token={token}"):
        yield f"{address}/notebooks/views.ipynb?token={token}"


@contextmanager
def running_marimo(folder: Path, mode: str) -> Iterator[str]:
    """Marimo, "run" or "edit"; gives the address of a page whose cells run when it is opened."""
    settings = folder / _HOMES["XDG_CONFIG_HOME"] / "marimo" / "marimo.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text("[runtime]\nauto_instantiate = true\n")
    port = _free_port()
    file = folder / "views.py"
    cells = [_marimo_cell(code) for code in (SETUP, *VIEWS)]
    file.write_text("import marimo\n\napp = marimo.App()\n\n" + "\n\n".join(cells) + "\n")
    command = ["marimo", mode, str(file), "--headless", "--no-token"]
    command += ["--host=127.0.0.1", f"--port={port}"]
    address = f"http://127.0.0.1:{port}"
    with _running(command, folder, f"{address}/health"):
        yield address


def _marimo_cell(code: str) -> str:
    """A cell of marimo: a function of the names that it takes, which returns those it gives."""
    made = ("nbviz", "network", "images", "labels", "classes", "scan")
    lines = code.strip().split("\n")
    if code == SETUP:
        takes, gives = [], [*made]
    else:
        takes, gives = [name for name in made if name in lines[0]], [lines[-1]]
    body = "\n".join(f"    {line}" for line in lines)
    return f"@app.cell\ndef _({', '.join(takes)}):\n{body}\n    return ({', '.join(gives)},)\n"


@contextmanager
def _running(command: Sequence[str], folder: Path, ready: str) -> Iterator[None]:
    for name in set(_HOMES.values()):
        (folder / name).mkdir(parents=True, exist_ok=True)
    environment = os.environ | _ALONE | {name: str(folder / sub) for name, sub in _HOMES.items()}
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_for(ready, process, folder)
            yield
        finally:
            end(process)


def _wait_for(address: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with (
            suppress(urllib.error.URLError, ConnectionError),
            urllib.request.urlopen(address, timeout=STOP_SECONDS),
        ):
            return
        time.sleep(0.1)
    log = (folder / "server.log").read_text(errors="replace")
    raise RuntimeError(f"no answer from {address} within {START_SECONDS} s; it printed:\n{log}")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
