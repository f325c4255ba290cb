"""The files of a shop's folder: how each kind is written, and read without trusting the disk."""

from __future__ import annotations

import fcntl
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from aisle.core.atomic import file_hash
from aisle.core.errors import StateError
from aisle.data.schema import CATALOGUE, complete

FORMAT = 1
BATCH_ROWS = 65_536


def write_parquet(table: pa.Table, path: Path) -> None:
    """With a checksum a page."""
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)


def read_parquet(path: Path) -> pa.Table:
    """Raises StateError when the file is cut off or a page does not match its checksum."""
    try:
        return pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise StateError(f"{path} is damaged ({error}); restore it from a backup (aisle restore)") from None


def parquet_metadata(path: Path) -> dict[bytes, bytes]:
    """The marks that a segment was written with.  Raises StateError when they cannot be read."""
    try:
        return pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowException) as error:
        raise StateError(f"{path} is damaged ({error}); restore it from a backup (aisle restore)") from None


def locked(handle: int) -> bool:
    """Whether this handle could get the file's exclusive lock."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def about_items(items: Path, generation: int, rows: int, sequence: int) -> dict[str, Any]:
    """What ``generation.json`` says of a catalogue file."""
    return {
        "format": FORMAT,
        "generation": generation,
        "rows": rows,
        "sequence": sequence,
        "items": items.name,
        "sha256": file_hash(items),
    }


def write_items(path: Path, tables: Iterable[pa.Table]) -> int:
    """Stream tables into an Arrow IPC file.  Returns the rows written."""
    rows = 0
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, CATALOGUE) as writer:
        for table in tables:
            writer.write_table(complete(table, CATALOGUE), max_chunksize=BATCH_ROWS)
            rows += table.num_rows
    return rows
