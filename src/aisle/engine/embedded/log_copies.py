"""Copies of a log: an export for other programs, a backup while it is written, and the way back."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from aisle.core.atomic import write_file
from aisle.core.errors import DataError
from aisle.engine.embedded import log_file as on_disk

EXPORT = pa.schema([("sequence", pa.int64()), ("kind", pa.string()), ("time_s", pa.float64()), ("value", pa.string())])
"""Columns of an export; ``value`` is the record as JSON."""


def export(path: Path | str, parts: Iterable[pa.Table]) -> int:
    """Write tables of the columns ``EXPORT`` as one Parquet file, whole or not at all.  Returns how many records."""
    rows = 0

    def write(work: Path) -> None:
        nonlocal rows
        with pq.ParquetWriter(work, EXPORT, compression="zstd") as writer:
            for part in parts:
                writer.write_table(part)
                rows += len(part)

    write_file(Path(path), write)
    return rows


def backup(source: sqlite3.Connection, path: Path) -> int:
    """A copy of the state that a reading connection sees.  Returns its last sequence number.

    Raises DataError when the file exists already or the disk refuses.
    """
    if path.exists():
        raise DataError(f"{path} exists already; choose a new name for each backup")
    last = 0

    def write(work: Path) -> None:
        nonlocal last
        with closing(sqlite3.connect(work, isolation_level=None)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")
            on_disk.check_pages(work, target)
            last = on_disk.bounds(target)[1]

    try:
        write_file(path, write)
    except (sqlite3.Error, OSError) as error:
        raise DataError(f"no backup could be made at {path} ({error}); look at the disk's space") from error
    return last


def restore(backup: Path, path: Path) -> None:
    """Put a backup where no log is.

    Raises DataError when the backup is damaged, or when a log (or a part of one) is at ``path``.
    """
    if path.exists():
        raise DataError(f"{path} exists; move it away first, it may hold records that the backup lacks")
    on_disk.refuse_remains(path)
    if not backup.is_file():
        raise DataError(f"{backup} is no file; name a file that Log.backup wrote")
    with on_disk.speaking_of(backup):
        on_disk.check_header(backup)
        with closing(sqlite3.connect(f"{backup.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            on_disk.check_format(backup, connection)
            on_disk.check_pages(backup, connection)
    lock = on_disk.lock(path)
    try:
        write_file(path, lambda work: shutil.copyfile(backup, work))
    finally:
        os.close(lock)
