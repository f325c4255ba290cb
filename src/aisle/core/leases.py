"""Leases: folders that somebody has open are not removed under their hands.

Whoever opens a folder of immutable files holds it (a shared lock, which the system takes back when the process dies,
however it dies).  Whoever tidies up removes only what nobody holds.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

REMOVING = ".removing-"


class Lease:
    """Keeps a folder from being removed until ``release`` is called or the last reference is gone."""

    def __init__(self, folder: Path) -> None:
        """Raises FileNotFoundError when the folder is not there."""
        self.folder = folder
        self._handle: int | None = None
        self._handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(self._handle, fcntl.LOCK_SH)
        if not _leads_to(folder, self._handle):
            self.release()
            raise FileNotFoundError(errno.ENOENT, "removed while it was opened", str(folder))

    def release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __del__(self) -> None:
        self.release()


def hold(folder: Path) -> Lease:
    """A lease of a folder.  Raises FileNotFoundError when it is not there (any more)."""
    return Lease(folder)


@contextmanager
def exclusive(path: Path, *, wait: bool = True) -> Iterator[None]:
    """One process at a time does what stands in the block; ``path`` is a file made for this alone.

    The others wait, or, without ``wait``, get a BlockingIOError.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def remove_unused(folders: Iterable[Path]) -> list[Path]:
    """Remove the folders that nobody holds.  Returns those removed; the others are left for a later call."""
    removed = []
    for folder in folders:
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _leads_to(folder, handle):
                continue
            # Renamed first, so that nobody opens half of one.
            away = folder.with_name(REMOVING + folder.name)
            os.rename(folder, away)
        except BlockingIOError:
            continue
        finally:
            os.close(handle)
        shutil.rmtree(away, ignore_errors=True)
        removed.append(folder)
    return removed


def _leads_to(path: Path, handle: int) -> bool:
    """Whether the path still names what was opened; a lock may come only when somebody else has removed it."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
