"""The network and the data set on their way to worker processes.

They are pickled once into a file of the store, which every worker sees; what goes through the
executor for each shard is only the file's name and hash. A process unpickles it once.
"""

from __future__ import annotations

import hashlib
import io
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle

from nbviz.network import Network
from nbviz.scanning.range_files import write_whole
from nbviz.scanning.source import ImageSource

__all__ = ["Payload", "Work", "forget_payload", "load_payload", "save_payload"]


@dataclass(frozen=True)
class Payload:
    """Where the pickled network and data set lie."""

    path: str
    sha256: str


@dataclass(frozen=True, eq=False)
class Work:
    """What is scanned, with what. `source` is None where the coordinator sends the pictures."""

    network: Network
    source: ImageSource | None


_lock = threading.Lock()
# The newest alone: a worker serves one scan after the other, and a network takes room.
_newest: tuple[str, Work] | None = None


def save_payload(folder: Path, work: Work) -> Payload:
    """Write `work` for the workers; in this process they (threads) get these very objects.

    Raises
    ------
    TypeError
        If the network or the data set cannot be pickled; the message says which.
    """
    content = _pickled("network", work.network) + _pickled("data set", work.source)
    sha256 = hashlib.sha256(content).hexdigest()
    path = folder / f".payload-{uuid.uuid4().hex}.pickle"
    write_whole(path, content)
    _remember(sha256, work)
    return Payload(str(path), sha256)


def load_payload(payload: Payload) -> Work:
    """The network and the data set; the same objects each time within a process.

    Raises
    ------
    FileNotFoundError
        If this process does not see the store.
    ValueError
        If the file is another than the one that was written.
    """
    with _lock:
        if _newest is not None and _newest[0] == payload.sha256:
            return _newest[1]
    try:
        content = Path(payload.path).read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"expected the store's directory {Path(payload.path).parent} in the worker process, "
            f"but it is not there; put the store on a disk that every worker sees"
        ) from error
    if hashlib.sha256(content).hexdigest() != payload.sha256:
        raise ValueError(
            f"expected {payload.path} as it was written, but its content is another; scan again"
        )
    stream = io.BytesIO(content)
    work = Work(cloudpickle.load(stream), cloudpickle.load(stream))
    _remember(payload.sha256, work)
    return work


def forget_payload(payload: Payload) -> None:
    """Remove the file, and let go of the objects in this process."""
    global _newest  # noqa: PLW0603 - one a process is what it is about
    Path(payload.path).unlink(missing_ok=True)
    with _lock:
        if _newest is not None and _newest[0] == payload.sha256:
            _newest = None


def _pickled(name: str, part: Any) -> bytes:
    try:
        pickled: bytes = cloudpickle.dumps(part)
    except Exception as error:
        raise TypeError(
            f"expected a {name} that can be pickled, as an executor's workers need it, but "
            f"{type(error).__name__}: {error}; open files and connections on first use instead "
            f"of at the start, or scan without executor"
        ) from error
    return pickled


def _remember(sha256: str, work: Work) -> None:
    global _newest  # noqa: PLW0603
    with _lock:
        _newest = (sha256, work)
