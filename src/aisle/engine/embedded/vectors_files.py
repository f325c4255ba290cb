"""The files of a vector index: in a version (``versions``) the arrays of the base and ``vectors.json``, with the SHA-256 of each.

Legend: N rows, D width.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from zipfile import BadZipFile

import numpy as np

from aisle.core.atomic import file_hash, sync_tree, write_file
from aisle.core.errors import GenerationError, StateError
from aisle.core.lists import Array
from aisle.engine.embedded import versions
from aisle.engine.embedded.vectors_segment import ARRAYS, Segment
from aisle.engine.embedded.versions import Home, Work, change_path, writing

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


def open_version(folder: Path, generation: int) -> tuple[Home[Change], Segment]:
    """The current version, memory-mapped, every file compared with its hash.

    Raises StateError when it cannot be read or is damaged, GenerationError when it belongs to another generation.
    """
    try:
        home = Home.held(folder, Change.read)
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
    work = prepare_version(folder, base, generation)
    with writing(folder):
        versions.publish(work)


def prepare_version(folder: Path, base: Segment, generation: int) -> Work:
    """The files of a version, on disk under a name that nobody opens."""
    work = Work(folder)
    try:
        base.save(work.place)
        hashes = {path.name: file_hash(path) for path in sorted(work.place.glob("*.npy"))}
        record = {"format": FORMAT, "generation": generation, "hashes": hashes}
        (work.place / "vectors.json").write_text(json.dumps(record, indent=1))
        sync_tree(work.place)
    except BaseException:
        work.discard()
        raise
    return work


def publish(work: Work, change: Change | None) -> tuple[Home[Change], Segment]:
    """Make prepared files, with a change on top of them, the current version, in ``writing``."""
    if change is not None:
        change.write(change_path(work.place, 1))
    versions.publish(work)
    home = Home.held(work.folder, Change.read)
    home.known = int(change is not None)
    return home, Segment.load(home.place)
