"""Segments: a table that grows by whole Parquet files, ``000001.parquet``, ``000002.parquet``, ...

A segment that takes in a part of the log says up to which record, inside the file: rows and mark come together or not.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from aisle.core.atomic import write_file
from aisle.data.schema import complete
from aisle.data.shop_files import parquet_metadata, read_parquet, write_parquet

THROUGH = b"log_sequence"
SEGMENT_ROWS = 50_000
"""A segment that takes in the log grows up to so many rows."""


def paths(folder: Path) -> list[Path]:
    """The segments of a folder, oldest first."""
    found = (p for p in folder.glob("*.parquet") if p.stem.isdecimal())
    return sorted(found, key=lambda p: int(p.stem))


def read(folder: Path, schema: pa.Schema) -> pa.Table:
    """All rows in the order in which they were added.  Raises StateError when a segment is damaged."""
    return read_marked(folder, schema)[0]


def read_marked(folder: Path, schema: pa.Schema) -> tuple[pa.Table, int]:
    """``read``, and ``through`` of exactly these rows, whoever adds some meanwhile."""
    tables = [read_parquet(path) for path in paths(folder)]
    marks = [int(mark) for table in tables if (mark := (table.schema.metadata or {}).get(THROUGH))]
    rows = pa.concat_tables([schema.empty_table(), *(complete(table, schema) for table in tables)])
    return rows, max(marks, default=0)


def through(folder: Path) -> int:
    """The last log record that the segments hold; 0 before the first.  Raises StateError when a segment is damaged."""
    # The mark of a newer segment is the higher one, so the first that has any is looked for.
    for path in reversed(paths(folder)):
        if mark := parquet_metadata(path).get(THROUGH):
            return int(mark)
    return 0


def append(folder: Path, table: pa.Table, mark: int | None = None) -> int:
    """Add rows as a new segment.  Returns its number.

    mark  the last log record whose rows these are; then they join the last segment while that is small and marked too
    """
    known = paths(folder)
    number = 1 + max((int(p.stem) for p in known), default=0)
    if mark is not None:
        if known and THROUGH in parquet_metadata(known[-1]):
            last = read_parquet(known[-1])
            if len(last) < SEGMENT_ROWS:
                number = int(known[-1].stem)
                table = pa.concat_tables([last.replace_schema_metadata(), table.replace_schema_metadata()])
        table = table.replace_schema_metadata({THROUGH: str(mark).encode()})
    write_file(folder / f"{number:06d}.parquet", lambda work: write_parquet(table, work))
    return number
