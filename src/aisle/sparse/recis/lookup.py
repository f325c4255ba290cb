"""Lookups of all tables for one batch, and the way back of its gradients: here with all rows in this process; ``spread.py`` has the
way over several.

Legend: B samples, P keys of a batch, U distinct ones, D width of a vector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from aisle.core.lists import Array
from aisle.nn.threads import SideBySide
from aisle.sparse.recis.batch import Batch
from aisle.sparse.recis.id_map import Found
from aisle.sparse.recis.table import Table

BatchOf = Callable[[int], Batch]
"""Number of a physical table -> its batch, made when asked for."""


class Lookup(Protocol):
    """``forward`` fills all columns of ``out`` and returns what ``backward`` needs.  ``backward`` returns what is to be called
    before the tables' gradients are read: gradients may still be on their way."""

    group: Any
    rank: int
    num_ranks: int

    def forward(
        self, each: SideBySide, tables: Sequence[Table], batch_of: BatchOf, out: Array, training: bool, step: int
    ) -> Any: ...

    def backward(
        self, each: SideBySide, tables: Sequence[Table], taken: Any, grad: Array
    ) -> Callable[[], None] | None: ...


class Local:
    """All rows are in this process; tables are worked on side by side."""

    group, rank, num_ranks = None, 0, 1

    def forward(
        self, each: SideBySide, tables: Sequence[Table], batch_of: BatchOf, out: Array, training: bool, step: int
    ) -> list[tuple[Batch, Found]]:
        def one(n: int) -> tuple[Batch, Found]:
            batch, table = batch_of(n), tables[n]
            if training and table.kind.min_count == 1:
                return batch, table.look_up_and_pool(batch, step, out)
            if training:
                times = (np.arange(len(batch.key)) < batch.num_admitted).astype(np.int32)
                found = counted(table, batch.keys(), times, step)
            else:
                found = table.read_only(batch.keys())
            table.pool(batch, found.index, table.source(found), out)
            return batch, found

        return each(one, len(tables))

    def backward(
        self, each: SideBySide, tables: Sequence[Table], taken: list[tuple[Batch, Found]], grad: Array
    ) -> None:
        def one(n: int) -> None:
            batch, found = taken[n]
            value, met = tables[n].reduce(batch, found.index, len(found.row), grad, 1.0)
            tables[n].pend(found.row, averaged(value, met))

        each(one, len(tables))


def counted(table: Table, key: Array, times: Array, step: int) -> Found:
    """Rows of keys met ``times`` each, 0 for those only looked up: all count before any is admitted, whatever their order."""
    index, key_U = table.distinct(key)
    times_U = np.bincount(index, times, len(key_U)).astype(np.int32)
    found = table.look_up(key_U, 0, times_U, step)
    return Found(found.index[index], found.row)


def averaged(value: Array, met: Array) -> Array:
    """Gradients divided by their occurrences, where these were counted."""
    if not len(met):
        return value
    times = np.maximum(met, 1).astype(np.float32)  # numpy divides float32 by int32 in float64
    out: Array = (value.reshape(len(met), -1) / times[:, None]).reshape(-1)
    return out
