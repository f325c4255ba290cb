"""Versions of an index on disk, and beside the current one what was put since it was written.

``<folder>/CURRENT`` names ``v<n>``; in it stand the arrays of the base and ``change-<n>.npz``, one for each put, which zip
checks by CRC.  A version that a process has open is not removed, nor is one that a process is making.

Usually one process writes, but a fit and a server may do so at once: what changes the files that are read stands in ``writing``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import mkdtemp
from typing import Generic, Protocol, TypeVar

from aisle.core.atomic import write_file
from aisle.core.leases import REMOVING, Lease, exclusive, hold, remove_unused

LOCK = ".lock"
WORK = ".work-"


class Written(Protocol):
    """A change that can be kept."""

    def write(self, path: Path) -> None: ...


C = TypeVar("C", bound=Written)


class Home(Generic[C]):
    """The version that an index has open, and how far it knows its changes.  ``read`` opens a file of changes."""

    def __init__(self, folder: Path, version: str, lease: Lease, read: Callable[[Path], C]) -> None:
        self.folder, self.version, self._lease, self._read = folder, version, lease, read
        self.known = 0
        """Number of the last change that was read or written here."""

    @classmethod
    def held(cls, folder: Path, read: Callable[[Path], C]) -> Home[C]:
        """The current version, kept from being removed; tried again when a newer one came in between."""
        while True:
            version = current(folder)
            try:
                return cls(folder, version, hold(folder / version), read)
            except FileNotFoundError:
                if current(folder) == version:
                    raise

    @property
    def place(self) -> Path:
        return self.folder / self.version

    @property
    def num_changes(self) -> int:
        return len(self._numbers())

    def is_current(self) -> bool:
        return current(self.folder) == self.version

    def add(self, change: C) -> None:
        """Keep one more change, in ``writing``; it is on disk when this returns."""
        self.known = max([self.known, *self._numbers()]) + 1
        change.write(self._path(self.known))

    def replace(self, change: C) -> None:
        """One change that says all that those so far say, in their place."""
        before = self._numbers()
        self.add(change)
        for number in before:
            self._path(number).unlink(missing_ok=True)

    def new_changes(self) -> Iterator[C]:
        """Those that were not read here yet, in order."""
        while numbers := [n for n in self._numbers() if n > self.known]:
            try:
                change = self._read(self._path(numbers[0]))
            except FileNotFoundError:  # written as one with others meanwhile
                continue
            self.known = numbers[0]
            yield change

    def _numbers(self) -> list[int]:
        return sorted(int(path.stem.split("-")[1]) for path in self.place.glob("change-*.npz"))

    def _path(self, number: int) -> Path:
        return change_path(self.place, number)


def current(folder: Path) -> str:
    """The name of the version to open."""
    return (folder / "CURRENT").read_text().strip()


def change_path(place: Path, number: int) -> Path:
    return place / f"change-{number:09d}.npz"


def writing(folder: Path) -> AbstractContextManager[None]:
    """One process, and one thread of it, at a time changes the files of an index.  Not to be entered twice."""
    folder.mkdir(parents=True, exist_ok=True)
    return exclusive(folder / LOCK)


class Work:
    """A version in the making: a folder ``place`` that nobody opens and no other writer takes for an abandoned one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with writing(folder):  # while others look for abandoned ones
            self.place = Path(mkdtemp(prefix=WORK, dir=folder))
            self._lease = hold(self.place)

    def discard(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
        self._lease.release()


def publish(work: Work) -> None:
    """Make prepared files the current version, in ``writing``; older ones go once nobody uses them, and so do those of writers
    that were killed."""
    folder = work.folder
    numbers = sorted(int(p.name[1:]) for p in folder.glob("v*"))
    version = f"v{numbers[-1] + 1 if numbers else 1}"
    os.replace(work.place, folder / version)
    write_file(folder / "CURRENT", lambda path: path.write_text(version))
    # A reader may be about to open the version before this one.
    remove_unused(folder / f"v{number}" for number in numbers[:-1])
    remove_unused(folder.glob(f"{WORK}*"))
    for left in folder.glob(f"{REMOVING}*"):
        shutil.rmtree(left, ignore_errors=True)
