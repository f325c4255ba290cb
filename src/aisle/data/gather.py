"""Rows of a chunked Arrow column or table, at a cost of the rows taken and not of the whole column.

Arrow's own ``take`` joins all chunks of a nested column first, which for a memory-mapped catalogue reads all of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from aisle.core.lists import Array

BLOCK_ROWS = 262_144
"""Rows of one chunk of the answer: long texts of more would pass the 2 GB that a string array can hold."""


def gather(column: pa.ChunkedArray, rows: Array) -> pa.ChunkedArray:
    """The given rows of a column, in that order."""
    return _gathered([column], rows)[0]


def gather_table(table: pa.Table, rows: Array) -> pa.Table:
    """The given rows of a table, in that order."""
    return pa.table(_gathered(table.columns, rows), schema=table.schema)


class _Pieces:
    """Where some rows stand: chunk by chunk, and how the answer is put in order again."""

    def __init__(self, begins: Array, rows: Array) -> None:
        which = np.searchsorted(begins, rows, side="right") - 1
        order = np.argsort(which, kind="stable")
        chunks, starts = np.unique(which[order], return_index=True)
        self.parts = [
            (int(chunk), pa.array(rows[part] - begins[chunk], pa.int64()))
            for chunk, part in zip(chunks, np.split(order, starts[1:]), strict=True)
        ]
        self.back = None
        if not np.all(order[1:] > order[:-1]):
            place = np.empty(len(order), np.int64)
            place[order] = np.arange(len(order))
            self.back = pa.array(place)

    def of(self, column: pa.ChunkedArray) -> pa.Array:
        parts = [column.chunk(chunk).take(places) for chunk, places in self.parts]
        taken = parts[0] if len(parts) == 1 else pa.concat_arrays(parts)
        return taken if self.back is None else taken.take(self.back)


def _gathered(columns: Sequence[pa.ChunkedArray], rows: Array) -> list[pa.ChunkedArray]:
    """The rows of several columns; what is the same for columns that are cut alike is worked out once."""
    blocks = [rows[at : at + BLOCK_ROWS] for at in range(0, len(rows), BLOCK_ROWS)]
    plans: dict[tuple[int, ...], list[_Pieces]] = {}
    found = []
    for column in columns:
        sizes = tuple(len(chunk) for chunk in column.chunks)
        if sizes not in plans:
            begins = np.cumsum([0, *sizes])
            plans[sizes] = [_Pieces(begins, block) for block in blocks]
        found.append(pa.chunked_array([pieces.of(column) for pieces in plans[sizes]], type=column.type))
    return found
