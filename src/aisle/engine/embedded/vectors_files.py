"""The files of a vector index: whole versions, and beside the current one what was put since it was written.

``<folder>/CURRENT`` names ``v<n>``; in it stand the arrays of the base, ``vectors.json`` with the SHA-256 of each, and
``change-<n>.npz``, one for each put, which zip checks by CRC.  A version that a process has open is not removed.

Legend: N rows, D width.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import TypeVar
from zipfile import BadZipFile

import numpy as np

from aisle.core.atomic import file_hash, sync_tree, write_file
from aisle.core.errors import GenerationError, StateError
from aisle.core.leases import Lease, hold, remove_unused
from aisle.core.lists import Array
from aisle.engine.embedded.vectors_segment import ARRAYS, Segment

FORMAT = 2
MOST_CHANGES = 64
"""With so many files of changes they are written as one."""
NO_ROWS = np.zeros(0, np.int64)

State = TypeVar("State")


@dataclass(frozen=True, eq=False)
class Change:
    """rows int64[N] and their float16 bits uint16[N, D], None where all of them lost their vector; and rows that lost it."""

    rows: Array
    bits: Array | None
    lost: Array = field(default_factory=lambda: NO_ROWS)

    def applied(self, state: State, change: Callable[[State, Array, Array | None], State]) -> State:
        """``state`` after ``change(state, rows, bits)``."""
        if len(self.rows):
            state = change(state, self.rows, self.bits)
        return change(state, self.lost, None) if len(self.lost) else state

    def write(self, path: Path) -> None:
        lost = self.lost if self.bits is not None else np.concatenate([self.lost, self.rows])
        rows, bits = (self.rows, self.bits) if self.bits is not None else (NO_ROWS, np.zeros((0, 0), np.uint16))

        def save(work: Path) -> None:
            with work.open("wb") as file:
                np.savez(file, rows=rows, bits=bits, lost=lost)

        write_file(path, save)

    @classmethod
    def read(cls, path: Path) -> Change:
        """Raises StateError for a damaged file."""
        try:
            with np.load(path) as kept:
                return cls(kept["rows"], kept["bits"], kept["lost"])
        except (BadZipFile, ValueError, KeyError, EOFError) as error:
            raise StateError(f"{path} is damaged ({error}); restore a backup or encode the catalogue again") from None


class Home:
    """The version that an index has open, and how far it knows its changes."""

    def __init__(self, folder: Path, version: str, lease: Lease) -> None:
        self.folder, self.version, self._lease = folder, version, lease
        self._known = 0

    @property
    def place(self) -> Path:
        return self.folder / self.version

    @property
    def num_changes(self) -> int:
        return len(self._numbers())

    def is_current(self) -> bool:
        return _current(self.folder) == self.version

    def add(self, change: Change) -> None:
        """Keep one more change; it is on disk when this returns."""
        self._known = max([self._known, *self._numbers()]) + 1
        change.write(self._path(self._known))

    def replace(self, change: Change) -> None:
        """One change that says all that those so far say, in their place."""
        before = self._numbers()
        self.add(change)
        for number in before:
            self._path(number).unlink(missing_ok=True)

    def new_changes(self) -> Iterator[Change]:
        """Those that were not read here yet, in order."""
        while numbers := [n for n in self._numbers() if n > self._known]:
            try:
                change = Change.read(self._path(numbers[0]))
            except FileNotFoundError:  # written as one with others meanwhile
                continue
            self._known = numbers[0]
            yield change

    def _numbers(self) -> list[int]:
        return sorted(int(path.stem.split("-")[1]) for path in self.place.glob("change-*.npz"))

    def _path(self, number: int) -> Path:
        return self.place / f"change-{number:09d}.npz"


def open_version(folder: Path, generation: int) -> tuple[Home, Segment]:
    """The current version, memory-mapped, every file compared with its hash.

    Raises StateError when it cannot be read or is damaged, GenerationError when it belongs to another generation.
    """
    try:
        home = _held(folder)
        record = json.loads((home.place / "vectors.json").read_text())
        if record["format"] != FORMAT:
            raise StateError(
                f"{home.place} is of format {record['format']}, expected {FORMAT}; encode the catalogue again"
            )
        if record["generation"] != generation:
            raise GenerationError(
                f"{folder} holds vectors of generation {record['generation']}, the shop is at {generation}: its row "
                "numbers name other items; encode the catalogue again"
            )
        for name in ARRAYS:
            if file_hash(home.place / f"{name}.npy") != record["hashes"][f"{name}.npy"]:
                raise StateError(
                    f"{home.place / name}.npy does not have its recorded hash; restore a backup or encode the catalogue again"
                )
        return home, Segment.load(home.place)
    except (StateError, GenerationError):
        raise
    except (OSError, ValueError, KeyError) as error:
        raise StateError(f"{folder} holds no readable vectors ({error}); encode the catalogue again") from None


def write_version(folder: Path, base: Segment, generation: int) -> None:
    """A new current version."""
    publish(folder, prepare_version(folder, base, generation), generation, None)


def prepare_version(folder: Path, base: Segment, generation: int) -> Path:
    """The files of a version, on disk under a name that nobody opens."""
    folder.mkdir(parents=True, exist_ok=True)
    work = Path(mkdtemp(prefix=".vectors-", dir=folder))
    try:
        base.save(work)
        hashes = {path.name: file_hash(path) for path in sorted(work.glob("*.npy"))}
        record = {"format": FORMAT, "generation": generation, "hashes": hashes}
        (work / "vectors.json").write_text(json.dumps(record, indent=1))
        sync_tree(work)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return work


def publish(folder: Path, work: Path, generation: int, change: Change | None) -> tuple[Home, Segment]:
    """Make prepared files, with a change on top of them, the current version; older ones go once nobody uses them."""
    numbers = sorted(int(p.name[1:]) for p in folder.glob("v*"))
    version = f"v{numbers[-1] + 1 if numbers else 1}"
    if change is not None:
        change.write(work / f"change-{1:09d}.npz")
    os.replace(work, folder / version)
    write_file(folder / "CURRENT", lambda path: path.write_text(version))
    # A reader may be about to open the version before this one.
    remove_unused(folder / f"v{number}" for number in numbers[:-1])
    for left in folder.glob(".vectors-*"):  # by a writer that was killed
        shutil.rmtree(left, ignore_errors=True)
    home = _held(folder)
    home._known = int(change is not None)
    return home, Segment.load(home.place)


def _current(folder: Path) -> str:
    return (folder / "CURRENT").read_text().strip()


def _held(folder: Path) -> Home:
    """The current version, kept from being removed; tried again when a newer one came in between."""
    while True:
        version = _current(folder)
        try:
            return Home(folder, version, hold(folder / version))
        except FileNotFoundError:
            if _current(folder) == version:
                raise
