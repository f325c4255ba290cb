"""Lookups of one table for one batch, and the way back of its gradients: alone, or with rows spread over processes.

Spread, the 65,536 slices of the keys' hash are dealt out in contiguous ranges, one a rank.  Each rank sends the distinct keys of
its batch to their owners, gets vectors back, pools them itself, and sends summed gradients the same way in reverse.

Legend: B samples, P keys of a batch, U distinct ones here, R keys received, D width of a vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist

from aisle.core.lists import Array
from aisle.sparse.recis import row_kernels as kernels
from aisle.sparse.recis.batch import Batch
from aisle.sparse.recis.id_map import Found
from aisle.sparse.recis.table import Table, dense_source

SLICES = 1 << 16


class Lookup(Protocol):
    """``forward`` fills the batch's columns of ``out`` and returns what ``backward`` needs."""

    group: Any
    rank: int
    num_ranks: int

    def forward(self, table: Table, batch: Batch, out: Array, training: bool, step: int) -> Any: ...

    def backward(self, table: Table, batch: Batch, taken: Any, grad: Array) -> None: ...


class Local:
    """All rows are in this process."""

    group, rank, num_ranks = None, 0, 1

    def forward(self, table: Table, batch: Batch, out: Array, training: bool, step: int) -> Found:
        if training and table.kind.min_count == 1:
            return table.look_up_and_pool(batch, step, out)
        if not training:
            found = table.read_only(batch.keys())
        else:
            times = (np.arange(len(batch.key)) < batch.num_admitted).astype(np.int32)
            found = counted(table, batch.keys(), times, step)
        table.pool(batch, found.index, table.source(found), out)
        return found

    def backward(self, table: Table, batch: Batch, taken: Found, grad: Array) -> None:
        value, met = table.reduce(batch, taken.index, len(taken.row), grad, 1.0)
        table.pend(taken.row, averaged(value, met))


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
    out: Array = (value.reshape(len(met), -1) / np.maximum(met, 1)[:, None]).reshape(-1)
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """
    index     int32[P]  place of each key among those sent, which stand by owner
    sent      keys sent to each rank
    received  keys received from each rank
    found     rows of the received keys
    """

    index: Array
    sent: list[int]
    received: list[int]
    found: Found


class Spread:
    """Rows belong to the ranks of a process group."""

    def __init__(self, group: Any = None) -> None:
        self.group = group
        self.rank, self.num_ranks = dist.get_rank(group), dist.get_world_size(group)

    def forward(self, table: Table, batch: Batch, out: Array, training: bool, step: int) -> Taken:
        index, key_U = table.distinct(batch.keys())
        times_U = np.bincount(index[: batch.num_admitted], minlength=len(key_U)).astype(np.int32)
        owner = owner_of(key_U, self.num_ranks)
        order = np.argsort(owner, kind="stable")
        place = np.empty(len(order), np.int32)
        place[order] = np.arange(len(order), dtype=np.int32)
        sent = np.bincount(owner, minlength=self.num_ranks).tolist()
        received = self._exchange(np.array(sent, np.int64), [1] * self.num_ranks, [1] * self.num_ranks).tolist()
        key_R = self._exchange(key_U[order], sent, received)
        if training:
            found = counted(table, key_R, self._exchange(times_U[order], sent, received), step)
        else:
            found = table.read_only(key_R)
        row_R = np.where(found.index < 0, -1, found.row[found.index] if len(found.row) else -1).astype(np.int32)
        vector = self._exchange(table.rows.read(row_R), received, sent)
        taken = Taken(place[index], sent, received, found)
        table.pool(batch, taken.index, dense_source(vector), out)
        return taken

    def backward(self, table: Table, batch: Batch, taken: Taken, grad: Array) -> None:
        by_worker = table.kind.reduce == "worker"
        # Each rank's loss is a mean over its own samples, so gradients join as data-parallel training joins them.
        value, met = table.reduce(batch, taken.index, sum(taken.sent), grad, 1 / self.num_ranks)
        value_R = self._exchange(value.reshape(-1, table.kind.dim), taken.sent, taken.received)
        met_R = met if by_worker else self._exchange(met, taken.sent, taken.received)
        has = taken.found.index >= 0
        index, rows = taken.found.index[has], taken.found.row
        total = np.zeros(len(rows) * table.kind.dim, np.float32)
        kernels.add_rows(index, value_R[has].reshape(-1), table.kind.dim, total)
        count = met_R if by_worker else np.bincount(index, met_R[has], len(rows))
        table.pend(rows, averaged(total, count).astype(np.float32, copy=False))

    def _exchange(self, rows: Array, sent: list[int], received: list[int]) -> Array:
        """Rows by owner -> rows by sender."""
        out = torch.empty((sum(received), *rows.shape[1:]), dtype=torch.from_numpy(rows[:0]).dtype)
        dist.all_to_all_single(out, torch.from_numpy(np.ascontiguousarray(rows)), received, sent, group=self.group)
        return out.numpy()


def slice_of(key: Array) -> Array:
    """int64: the slice of each key, the low 16 bits of its hash (that of the id map)."""
    bits = key.view(np.uint64).copy()
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits ^= bits >> np.uint64(shift)
        bits *= np.uint64(factor)
    bits ^= bits >> np.uint64(31)
    return (bits & np.uint64(SLICES - 1)).astype(np.int64)


def owner_of(key: Array, num_ranks: int) -> Array:
    """int64: the rank that owns each key; ranks own ranges of slices whose sizes differ by at most 1."""
    owner: Array = slice_of(key) * num_ranks // SLICES
    return owner
