"""The files of a generation's indexes: ``engine.json``, which names the text version in use, and the versions beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from aisle.core.atomic import write_json
from aisle.core.errors import StateError
from aisle.core.leases import remove_unused

POINTER, LOCK = "engine.json", ".engine.lock"
BAGS = "bags of "
"""Before the name of a model, among what was encoded."""
REBUILD = "remove the generation's engine.json, and the indexes are built again from the catalogue"


class Saved(NamedTuple):
    """``engine.json``: the text version in use, the log record up to which what stands on disk holds the log, SHA-256
    of the version's files, and encoder (``bags of`` a model) -> the record up to which its vectors (its bags) are right."""

    text: str | None
    sequence: int
    hashes: Mapping[str, str]
    encoded: Mapping[str, int]

    @classmethod
    def read(cls, folder: Path) -> Saved:
        """Raises StateError when there is none or it cannot be read."""
        try:
            pointer = json.loads((folder / POINTER).read_text())
            return cls(pointer["text"], int(pointer["sequence"]), pointer.get("hashes", {}), pointer.get("encoded", {}))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StateError(f"{folder} holds no indexes ({error}); build them with EmbeddedEngine.build") from None

    def write(self, folder: Path) -> None:
        write_json(folder / POINTER, self._asdict())


def next_version(folder: Path) -> str:
    built = [int(p.name[1:]) for p in folder.glob("v*")]
    return f"v{1 + max(built, default=0)}"


def tidy(folder: Path, current: str) -> None:
    """Remove the versions that nobody has open, but for the one before, which a reader may be about to open."""
    numbers = sorted(int(p.name[1:]) for p in folder.glob("v*"))
    remove_unused(folder / f"v{n}" for n in numbers if n < int(current[1:]) - 1)


def stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns
