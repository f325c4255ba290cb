"""Versions of an index on disk, and beside the current one what was put since it was written.

``<folder>/CURRENT`` names ``v<n>``; in it stand the arrays of the base and ``change-<n>.npz``, one for each put, which zip
checks by CRC.  A version that a process has open is not removed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from aisle.core.atomic import write_file
from aisle.core.leases import Lease, hold, remove_unused


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
        """Keep one more change; it is on disk when this returns."""
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


def publish(folder: Path, work: Path, unfinished: str) -> None:
    """Make prepared files the current version; older ones go once nobody uses them, and so do ``unfinished`` ones."""
    numbers = sorted(int(p.name[1:]) for p in folder.glob("v*"))
    version = f"v{numbers[-1] + 1 if numbers else 1}"
    os.replace(work, folder / version)
    write_file(folder / "CURRENT", lambda path: path.write_text(version))
    # A reader may be about to open the version before this one.
    remove_unused(folder / f"v{number}" for number in numbers[:-1])
    for left in folder.glob(unfinished):  # by a writer that was killed
        shutil.rmtree(left, ignore_errors=True)
