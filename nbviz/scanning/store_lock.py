"""One process at a time leads a scan into a store."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from nbviz.scanning.manifest import ScanStoreError

__all__ = ["leading"]

_LOCK = ".lock"

# The lock of the operating system is one of processes, not of threads.
_here: set[Path] = set()
_guard = threading.Lock()


@contextmanager
def leading(folder: Path) -> Iterator[None]:
    """Hold a store's lock, which the operating system frees however the process ends.

    Raises
    ------
    ScanStoreError
        If another process, or this one, is scanning into the store.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    with _guard:
        if folder in _here:
            raise ScanStoreError(_taken(folder, "this process"))
        _here.add(folder)
    try:
        with (folder / _LOCK).open("a+", encoding="utf-8") as file:
            if not _locked(file):
                file.seek(0)
                raise ScanStoreError(_taken(folder, file.read(200).strip() or "another process"))
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            yield
    finally:
        with _guard:
            _here.discard(folder)


def _taken(folder: Path, who: str) -> str:
    return (
        f"expected nobody else to scan into {folder}, but {who} does; wait until it has ended, or "
        f"pass another store="
    )


def _locked(file: IO[str]) -> bool:
    """Take the lock; where a file system knows none, one is trusted to scan once at a time."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        # Of this process alone, unlike flock, which children that outlive it would hold, too.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True
