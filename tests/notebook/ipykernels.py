"""Kernels by version of ipykernel, which decides when a message from a view is answered.

While a cell runs, 6.x and 7.4 keep a view's message until the cell has finished; 7.0 to
7.3 run its callback at once, on another thread. Each version is installed once, by
itself, into a folder under `.cache/` that goes first on the kernel's import path;
everything else comes from the running interpreter's environment.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab import Lab

# Those of 7.0 to 7.3 may leave a cell unread for good (ipykernel, issue 1554): asked for by name.
VERSIONS = ("6.31.0", *os.environ.get("NBVIZ_IPYKERNELS", "").split(), "7.4.0")
ANSWERS_DURING_A_CELL = {"6.31.0": False, "7.3.0": True, "7.4.0": False}

_CACHE = Path(__file__).parents[2] / ".cache" / "ipykernel"


def add_ipykernel(lab: Lab, version: str) -> str:
    """Name of a kernel of `lab` that runs this version of ipykernel."""
    name = f"ipykernel-{version}"
    path = os.pathsep.join(filter(None, [str(_installed(version)), os.environ.get("PYTHONPATH")]))
    lab.add_kernel(name, {"PYTHONPATH": path})
    return name


def _installed(version: str) -> Path:
    folder = _CACHE / version
    if folder.exists():
        return folder
    _CACHE.mkdir(parents=True, exist_ok=True)
    # Moved into place whole, so that an interrupted install is not taken for a good one.
    with tempfile.TemporaryDirectory(dir=_CACHE) as partial:
        # 6.x imports nest_asyncio, 7.x nest_asyncio2; the environment has at most the one it needs.
        packages = [f"ipykernel=={version}", "nest_asyncio", "nest_asyncio2"]
        target = ["--no-deps", "--disable-pip-version-check", "--target", f"{partial}/site"]
        command = [sys.executable, "-m", "pip", "install", "--quiet", *target, *packages]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"pip could not install ipykernel {version}:\n{done.stderr}")
        Path(partial, "site").rename(folder)
    return folder
