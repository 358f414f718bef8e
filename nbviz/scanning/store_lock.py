"""One process at a time leads a scan into a store."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from nbviz.scanning.manifest import ScanStoreError

__all__ = ["leading", "writable"]

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
        If another process, or this one, is scanning into the store, or nothing can be written.
    """
    folder = folder.resolve()
    with _guard:
        if folder in _here:  # before the file is opened, as closing it would free the lock
            raise ScanStoreError(_taken(folder, "this process"))
        _here.add(folder)
    try:
        with writable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / _LOCK).open("a+", encoding="utf-8")
        with lock as file:
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


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Tell in one way of a folder that cannot be made or written into.

    Raises
    ------
    ScanStoreError
        For an OSError.
    """
    try:
        yield
    except OSError as error:
        raise ScanStoreError(
            f"expected a directory that can be made or written into as store=, but of {folder}: "
            f"{error.strerror or error}; pass another one"
        ) from error


def _taken(folder: Path, who: str) -> str:
    return (
        f"expected nobody else to scan into {folder}, but {who} does; wait until it has ended, or "
        f"pass another store="
    )


def _locked(file: IO[str]) -> bool:
    """Take the lock; where a file system knows none, one is trusted to scan once at a time."""
    try:
        if sys.platform == "win32":  # untested, for want of such a machine
            import msvcrt

            # Nobody reads a locked byte there, so it is one behind the text.
            os.lseek(file.fileno(), 1 << 20, os.SEEK_SET)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            # Of this process alone, unlike flock, which children that outlive it would hold, too.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in {errno.EACCES, errno.EAGAIN, errno.EDEADLK}
    return True
