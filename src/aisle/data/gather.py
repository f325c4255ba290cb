"""Rows of a chunked Arrow column or table, at a cost of the rows taken and not of the whole column.

Arrow's own ``take`` joins all chunks of a nested column first, which for a memory-mapped catalogue reads all of it.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from aisle.core.lists import Array

BLOCK_ROWS = 262_144
"""Rows of one chunk of the answer: long texts of more would pass the 2 GB that a string array can hold."""


def gather(column: pa.ChunkedArray, rows: Array) -> pa.ChunkedArray:
    """The given rows of a column, in that order."""
    if column.num_chunks == 1 and len(rows) <= BLOCK_ROWS:
        return pa.chunked_array([column.chunk(0).take(pa.array(rows, pa.int64()))])
    begins = np.cumsum([0, *(len(chunk) for chunk in column.chunks)])
    blocks = (rows[at : at + BLOCK_ROWS] for at in range(0, len(rows), BLOCK_ROWS))
    return pa.chunked_array([_block(column, begins, block) for block in blocks], type=column.type)


def gather_table(table: pa.Table, rows: Array) -> pa.Table:
    """The given rows of a table, in that order."""
    return pa.table([gather(column, rows) for column in table.columns], schema=table.schema)


def _block(column: pa.ChunkedArray, begins: Array, rows: Array) -> pa.Array:
    which = np.searchsorted(begins, rows, side="right") - 1
    order = np.argsort(which, kind="stable")
    chunks, starts = np.unique(which[order], return_index=True)
    parts = [
        column.chunk(int(chunk)).take(pa.array(rows[part] - begins[chunk], pa.int64()))
        for chunk, part in zip(chunks, np.split(order, starts[1:]), strict=True)
    ]
    taken = pa.concat_arrays(parts)
    if np.all(order[1:] > order[:-1]):
        return taken
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return taken.take(pa.array(place))
