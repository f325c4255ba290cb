"""Parquet files as batches of raw columns, row group by row group."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from aisle.core.errors import DataError
from aisle.data.reading.batches import MAX_FIELD, Batch, Column, Reject, columns_of


def read_parquet(path: Path, reject: Reject, batch_rows: int) -> Iterator[Batch]:
    """Batches; positions are row numbers from 1.  Times become unix seconds, decimals floats, maps objects."""
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is no readable Parquet file ({error}); write or download it again") from None
    row = 1
    with file:
        names = file.schema_arrow.names
        # The pandas index is stored as a column of no meaning.
        for batch in file.iter_batches(batch_rows, columns=[n for n in names if not n.startswith("__index_level_")]):
            columns = {name: simple(batch.column(name)) for name in batch.schema.names}
            nested = any(pa.types.is_nested(c.type) and not pa.types.is_list(c.type) for c in columns.values())
            positions = list(range(row, row + len(batch)))
            row += len(batch)
            if nested:
                yield Batch(positions, columns_of(_records(columns)))
            else:
                yield _without_long(
                    Batch(positions, {n: Column(None, c.to_pylist()) for n, c in columns.items()}), columns, reject
                )


def simple(column: pa.Array) -> pa.Array:
    """The column as text, numbers, booleans, lists or structs."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return simple(column.dictionary_decode())
    if pa.types.is_date(kind):
        return simple(column.cast(pa.timestamp("ms")))
    if pa.types.is_timestamp(kind):
        import pyarrow.compute as pc

        return pc.divide(column.cast(pa.timestamp("us", tz=kind.tz)).cast(pa.int64()).cast(pa.float64()), 1e6)
    if pa.types.is_decimal(kind):
        return column.cast(pa.float64())
    if pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return column.cast(pa.list_(kind.value_type))
    return column


def _records(columns: dict[str, pa.Array]) -> list[dict[str, Any]]:
    lists = {
        n: [dict(v) if v is not None else None for v in c.to_pylist()] if pa.types.is_map(c.type) else c.to_pylist()
        for n, c in columns.items()
    }
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def _without_long(batch: Batch, columns: dict[str, pa.Array], reject: Reject) -> Batch:
    import pyarrow.compute as pc

    bad: dict[int, str] = {}
    for name, column in columns.items():
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            continue
        if (pc.max(pc.binary_length(column)).as_py() or 0) > MAX_FIELD:
            for row in pc.indices_nonzero(pc.greater(pc.utf8_length(column), MAX_FIELD)).to_pylist():
                bad.setdefault(row, name)
    for row, name in bad.items():
        reject(
            batch.positions[row], name, batch.columns[name].values[row], f"field longer than {MAX_FIELD:,} characters"
        )
    if not bad:
        return batch
    keep = [row for row in range(len(batch)) if row not in bad]
    return Batch(
        [batch.positions[r] for r in keep],
        {n: Column(None, [c.values[r] for r in keep]) for n, c in batch.columns.items()},
    )
