"""The files of an impact index: in a version (``versions``) the postings, ``home`` and ``impacts.json`` with the SHA-256 of each.

Beside the versions stands ``overrides.json``.  Legend: N rows, I rows of the catalogue.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from aisle.core.atomic import file_hash, sync_tree, write_file
from aisle.core.bags import Bags
from aisle.core.errors import GenerationError, StateError
from aisle.core.lists import Array
from aisle.engine.embedded import versions
from aisle.engine.embedded.impacts_segment import Segment
from aisle.engine.embedded.versions import Home, Work, writing

FORMAT = 1
MOST_CHANGES = 128
"""With so many files of changes a new version is written."""
OVERRIDES = "overrides.json"
NO_ROWS = np.zeros(0, np.int64)
NO_BAGS = Bags.of([])


@dataclass(frozen=True, eq=False)
class Change:
    """rows int64[N] that were given these bags, and rows that lost theirs."""

    rows: Array = field(default_factory=lambda: NO_ROWS)
    bags: Bags = NO_BAGS
    lost: Array = field(default_factory=lambda: NO_ROWS)

    def write(self, path: Path) -> None:
        bags = self.bags

        def save(work: Path) -> None:
            with work.open("wb") as file:
                np.savez(file, rows=self.rows, lost=self.lost, term=bags.term, weight=bags.weight, splits=bags.splits)

        write_file(path, save)

    @classmethod
    def read(cls, path: Path) -> Change:
        """Raises StateError for a damaged file."""
        try:
            with np.load(path) as kept:
                return cls(kept["rows"], Bags(kept["term"], kept["weight"], kept["splits"]), kept["lost"])
        except (BadZipFile, ValueError, KeyError, EOFError) as error:
            raise StateError(f"{path} is damaged ({error}); restore a backup or put the bags again") from None


@dataclass(frozen=True, eq=False)
class Kept:
    """What stands in a folder: the version's postings, int32[I] ``rows`` (which segment a row lives in), and the overrides."""

    home: Home[Change]
    part: Segment
    rows: Array
    overrides: Mapping[str, Sequence[Sequence[float]]]


def read(folder: Path, generation: int) -> Kept:
    """The current version, memory-mapped, every file compared with its hash.

    Raises StateError when it cannot be read or is damaged, GenerationError when it belongs to another generation.
    """
    try:
        home = Home.held(folder, Change.read)
        record = json.loads((home.place / "impacts.json").read_text())
        overrides = json.loads((folder / OVERRIDES).read_text())
        _check(folder, home.place, record, generation)
        return Kept(home, Segment.load(home.place, record["number"]), np.load(home.place / "home.npy"), overrides)
    except (StateError, GenerationError):
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StateError(f"{folder} holds no readable bags ({error}); put the bags again") from None


def _check(folder: Path, place: Path, record: Mapping[str, Any], generation: int) -> None:
    if record["format"] != FORMAT:
        raise StateError(f"{place} is of format {record['format']}, expected {FORMAT}; put the bags again")
    if record["generation"] != generation:
        raise GenerationError(
            f"{folder} holds bags of generation {record['generation']}, the shop is at {generation}: its row "
            "numbers name other items; put the bags again"
        )
    for name, expected in record["hashes"].items():
        if file_hash(place / name) != expected:
            raise StateError(f"{place / name} does not have its recorded hash; restore a backup or put the bags again")


def write(folder: Path, part: Segment, rows: Array, generation: int) -> Home[Change]:
    """A new current version of these postings, without changes."""
    work = Work(folder)
    try:
        part.save(work.place)
        np.save(work.place / "home.npy", rows)
        hashes = {path.name: file_hash(path) for path in sorted(work.place.glob("*.npy"))}
        record = {"format": FORMAT, "generation": generation, "number": part.number, "hashes": hashes}
        (work.place / "impacts.json").write_text(json.dumps(record, indent=1))
        sync_tree(work.place)
        with writing(folder):
            versions.publish(work)
    except BaseException:
        work.discard()
        raise
    return Home.held(folder, Change.read)


def stamp(folder: Path) -> tuple[int, int]:
    """Changes whenever the overrides are replaced."""
    status = (folder / OVERRIDES).stat()
    return status.st_ino, status.st_mtime_ns
