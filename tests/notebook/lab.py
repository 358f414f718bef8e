"""A JupyterLab server of the tests' own: its folders, its settings, its kernels.

`running_lab` starts one from the running interpreter on a port the system picks and
stops it, kernels included, when the block ends. All that Jupyter reads or writes
(configuration, settings, workspaces, signatures, IPython profile) lies under one folder,
so a test sees the same Lab whatever the person running it has set up.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import nbformat
from nbformat.sign import NotebookNotary

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

START_SECONDS = 60
STOP_SECONDS = 20

_FOLDERS = {
    "JUPYTER_CONFIG_DIR": "config",
    "JUPYTER_DATA_DIR": "data",
    "JUPYTER_RUNTIME_DIR": "runtime",
    "JUPYTERLAB_SETTINGS_DIR": "settings",
    "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    "IPYTHONDIR": "ipython",
}
_PAGE = {
    "disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True},
    # Each page would start Node.js to see whether Lab should be built anew.
    "buildAvailable": False,
    "buildCheck": False,
}
_SETTINGS: dict[str, dict[str, Any]] = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
    },
    # A test saves when it means to; a save at an odd moment would also mark the page clean.
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
    "@jupyter-widgets/jupyterlab-manager:plugin": {"saveState": True},
}


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab: where it is, and what a test may ask of it."""

    url: str
    token: str
    folder: Path

    @property
    def root(self) -> Path:
        """The folder that the server serves; a kernel starts in it."""
        return self.folder / "root"

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Answer of the server's REST interface, decoded from JSON (None when empty)."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"token {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=STOP_SECONDS) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def page_url(self, path: str) -> str:
        """Address of a notebook by itself, in a workspace of its own.

        The single-document mode has no file browser beside the notebook. A shared
        workspace would open the notebooks of earlier tests as well.
        """
        workspace = re.sub(r"[^\w-]", "_", Path(path).stem, flags=re.ASCII)
        return f"{self.url}/doc/workspaces/{workspace}/tree/{quote(path)}?token={self.token}"

    def write_notebook(
        self, path: str, cells: Sequence[str], kernel: str = "python3", **metadata: Any
    ) -> None:
        """Put a notebook of code cells into the served folder.

        Without a kernelspec Lab asks for a kernel in a dialog.
        """
        spec = {"name": kernel, "display_name": kernel, "language": "python"}
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
            metadata={"kernelspec": spec, **metadata},
        )
        nbformat.write(notebook, self.root / path)

    def read_notebook(self, path: str) -> nbformat.NotebookNode:
        """The notebook as it stands on disk."""
        return nbformat.read(self.root / path, as_version=4)

    def distrust(self, path: str) -> None:
        """Forget the signature of a notebook, as if it came from somebody else."""
        notary = NotebookNotary(data_dir=str(self.folder / "data"))
        try:
            notary.unsign(self.read_notebook(path))
        finally:
            notary.store.close()

    def set_setting(self, plugin: str, **values: Any) -> None:
        """Replace a plugin's settings for the pages opened from now on."""
        package, name = plugin.split(":")
        file = self.folder / "settings" / package / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))

    def add_kernel(self, name: str, environment: Mapping[str, str]) -> None:
        """Offer this interpreter as a kernel `name`, with variables of its own."""
        spec = {
            "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": name,
            "language": "python",
            "env": dict(environment),
        }
        folder = self.folder / "data" / "kernels" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "kernel.json").write_text(json.dumps(spec))

    def shutdown_kernels(self, path: str | None = None) -> None:
        """End the kernel of a notebook, or every kernel."""
        for session in self.request("GET", "/api/sessions"):
            if path is None or session["path"] == path:
                self.request("DELETE", f"/api/sessions/{session['id']}")

    def log(self) -> str:
        """What the server and its kernels printed so far."""
        return (self.folder / "server.log").read_text(errors="replace")


@contextmanager
def running_lab(folder: Path) -> Iterator[Lab]:
    """JupyterLab under `folder` for the length of the block."""
    for name in ("root", *_FOLDERS.values()):
        (folder / name).mkdir(parents=True)
    (folder / "config" / "labconfig").mkdir()
    (folder / "config" / "labconfig" / "page_config.json").write_text(json.dumps(_PAGE))
    with (folder / "server.log").open("w") as log:
        token = secrets.token_hex(16)
        process = subprocess.Popen(
            _command(folder, token),
            cwd=folder,
            env=os.environ | {name: str(folder / sub) for name, sub in _FOLDERS.items()},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # An interrupt typed at the tests must leave the server alive to end its kernels.
            start_new_session=True,
        )
        try:
            lab = Lab(_wait_for_url(process, folder), token, folder)
            lab.add_kernel("python3", {})
            for plugin, values in _SETTINGS.items():
                lab.set_setting(plugin, **values)
            yield lab
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Tell a server to stop, which ends its kernels itself; kill it if it does not."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _command(folder: Path, token: str) -> list[str]:
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": 0,
        "ServerApp.root_dir": folder / "root",
        "ServerApp.allow_root": True,
        "ServerApp.open_browser": False,
        "IdentityProvider.token": token,
        # Puts the application at window.jupyterapp, so that commands need no guesses at menus.
        "LabApp.expose_app_in_browser": True,
        # The default one asks a package index.
        "LabApp.extension_manager": "readonly",
        # Looks for language servers with npm, which writes to the person's home.
        "LanguageServerManager.autodetect": False,
    }
    return [sys.executable, "-m", "jupyterlab", *(f"--{k}={v}" for k, v in options.items())]


def _wait_for_url(process: subprocess.Popen[bytes], folder: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for file in (folder / "runtime").glob("jpserver-*.json"):
            # The file is there before its text is.
            with suppress(json.JSONDecodeError):
                return json.loads(file.read_text())["url"].rstrip("/")
        time.sleep(0.05)
    log = (folder / "server.log").read_text(errors="replace")
    raise RuntimeError(f"JupyterLab gave no address within {START_SECONDS} s; it printed:\n{log}")
