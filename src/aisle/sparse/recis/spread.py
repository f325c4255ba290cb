"""Rows spread over the processes of a group.

The 65,536 slices of the keys' hash are dealt out in contiguous ranges, one a rank.  Each rank sends the distinct keys of its
batch to their owners, gets vectors back, pools them itself, and sends summed gradients the same way in reverse.

An exchange between processes costs its latency, almost whatever its size.  So all tables of a batch share one exchange of keys,
one of vectors and one of gradients, and the last is under way while the dense part goes on.

Legend: P keys of a batch, U distinct ones here, R keys received, D width of a vector; sent[t][r] keys of table t for rank r.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch.distributed as dist
from numba import njit

from aisle.core.lists import Array
from aisle.nn.threads import SideBySide
from aisle.sparse.recis import row_kernels as kernels
from aisle.sparse.recis.batch import Batch
from aisle.sparse.recis.exchange import Exchange
from aisle.sparse.recis.id_map import NO_TIMES, Found
from aisle.sparse.recis.lanes import compiled
from aisle.sparse.recis.lookup import BatchOf, averaged, counted
from aisle.sparse.recis.map_kernels import mixed
from aisle.sparse.recis.shared import exchange_of
from aisle.sparse.recis.table import Table, dense_source

SLICES = 1 << 16


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What one table asks of the others.

    index   int32[P]    place of each key among those sent, which stand by owner
    key     int64[U]    the distinct keys, by owner
    times   int64[U]    how often each may enter, where that matters, else empty
    sent    int64[ranks]
    """

    batch: Batch
    index: Array
    key: Array
    times: Array
    sent: Array


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """What one table keeps until its gradients come: what it asked, the keys received from each rank, their rows here."""

    asked: Asked
    received: Array
    found: Found


class Spread:
    """Rows belong to the ranks of a process group.  Every rank calls forward, backward and step equally often."""

    def __init__(self, group: Any = None) -> None:
        self.group = group
        self.rank, self.num_ranks = dist.get_rank(group), dist.get_world_size(group)

    @cached_property
    def _way(self) -> Exchange:
        """Found at the first look-up, since all ranks have to look for it together."""
        return exchange_of(self.group)

    def forward(
        self, each: SideBySide, tables: Sequence[Table], batch_of: BatchOf, out: Array, training: bool, step: int
    ) -> list[Taken]:
        asked = each(lambda t: self._ask(tables[t], batch_of(t), training), len(tables))
        keys, times, received = self._exchange_keys(asked)

        def answer(t: int) -> tuple[Found, Array]:
            table = tables[t]
            if not training:
                found = table.read_only(keys[t])
            elif len(asked[t].times):
                found = counted(table, keys[t], times[t].astype(np.int32), step)
            else:
                found = table.look_up(keys[t], len(keys[t]), NO_TIMES, step)
            row = np.append(found.row, np.int32(-1))  # which index -1 reads
            return found, table.rows.read(row[found.index])

        answers = each(answer, len(tables))
        vectors = self._exchange([vector for _, vector in answers], received, [a.sent for a in asked])()
        taken = []
        for t, (table, vector) in enumerate(zip(tables, vectors, strict=True)):
            table.pool(asked[t].batch, asked[t].index, dense_source(vector.reshape(-1, table.kind.dim)), out)
            taken.append(Taken(asked[t], received[t], answers[t][0]))
        return taken

    def backward(
        self, each: SideBySide, tables: Sequence[Table], taken: list[Taken], grad: Array
    ) -> Callable[[], None]:
        """The gradients set out; what is returned waits for those of others."""

        def sums(t: int) -> Array:
            a, table = taken[t].asked, tables[t]
            # Each rank's loss is a mean over its own samples, so gradients join as data-parallel training joins them.
            value, met = table.reduce(a.batch, a.index, len(a.key), grad, 1 / self.num_ranks)
            value = value.reshape(-1, table.kind.dim)
            return np.hstack([value, met.view(np.float32)[:, None]]) if table.kind.reduce == "id" else value

        arriving = self._exchange(each(sums, len(tables)), [t.asked.sent for t in taken], [t.received for t in taken])

        def arrive() -> None:
            for table, one, value_R in zip(tables, taken, arriving(), strict=True):
                dim, index, rows = table.kind.dim, one.found.index, one.found.row
                by_id = table.kind.reduce == "id"
                value_R = value_R.reshape(len(index), dim + by_id)
                total, count = np.zeros(len(rows) * dim, np.float32), np.zeros(0, np.int32)
                kernels.add_rows(index, np.ascontiguousarray(value_R[:, :dim]).reshape(-1), dim, total)
                if by_id:
                    has = index >= 0
                    met = np.ascontiguousarray(value_R[has, dim]).view(np.int32)
                    count = np.bincount(index[has], met, len(rows))
                table.pend(rows, averaged(total, count))

        return arrive

    def _ask(self, table: Table, batch: Batch, training: bool) -> Asked:
        index, key_U = table.distinct(batch.keys())
        place, key = np.empty(len(key_U), np.int32), np.empty(len(key_U), np.int64)
        sent = np.zeros(self.num_ranks, np.int64)
        by_owner(key_U, self.num_ranks, sent, place, key)
        times = np.zeros(0, np.int64)
        if training and (table.kind.min_count > 1 or not table.admits_all):
            times = np.empty(len(key_U), np.int64)
            times[place] = np.bincount(index[: batch.num_admitted], minlength=len(key_U))
        return Asked(batch, place[index], key, times, sent)

    def _exchange_keys(self, asked: list[Asked]) -> tuple[list[Array], list[Array], list[Array]]:
        """By table: the keys that others ask for, by sender; their times, empty where none are sent; how many each sent."""
        counts = np.stack([a.sent for a in asked], 1)  # [ranks, tables]
        timed = [len(a.times) > 0 for a in asked]
        columns = [[a.key, a.times] if with_times else [a.key] for a, with_times in zip(asked, timed, strict=True)]
        ends = [np.concatenate([[0], a.sent.cumsum()]) for a in asked]
        got = self._way.swap(
            [
                [counts[r], *(c[e[r] : e[r + 1]] for own, e in zip(columns, ends, strict=True) for c in own)]
                for r in range(self.num_ranks)
            ]
        )
        received = np.stack([message[: len(asked)] for message in got], 1)  # [tables, ranks]
        keys: list[list[Array]] = [[] for _ in asked]
        times: list[list[Array]] = [[] for _ in asked]
        for r, message in enumerate(got):
            at = len(asked)
            for t, num in enumerate(received[:, r].tolist()):
                keys[t].append(message[at : at + num])
                at += num
                if timed[t]:
                    times[t].append(message[at : at + num])
                    at += num
        none = np.zeros(0, np.int64)
        return [np.concatenate(k) for k in keys], [np.concatenate([none, *t]) for t in times], list(received)

    def _exchange(self, tables: list[Array], sent: list[Array], received: list[Array]) -> Callable[[], list[Array]]:
        """float32 rows of every table by receiver -> the same by sender, flat; on their way until the result is called."""
        widths = [rows.shape[1] for rows in tables]
        apart = [
            np.split(rows.reshape(-1), (n.cumsum() * rows.shape[1])[:-1]) for rows, n in zip(tables, sent, strict=True)
        ]
        sizes = np.stack([n * w for n, w in zip(received, widths, strict=True)], 1)  # [ranks, tables]
        arriving = self._way.send([[part[r] for part in apart] for r in range(self.num_ranks)], sizes.sum(1).tolist())

        def arrived() -> list[Array]:
            parts = [np.split(a, s.cumsum()[:-1]) for a, s in zip(arriving(), sizes, strict=True)]
            return [np.concatenate(of_table) for of_table in zip(*parts, strict=True)]

        return arrived


@compiled
def by_owner(key_U: Any, num_ranks: Any, sent: Any, place: Any, key: Any) -> None:
    """key int64[U]: the keys by owner, each at place[u]; sent int64[ranks]: how many each rank owns."""
    for u in range(len(key_U)):
        sent[_owner(key_U[u], num_ranks)] += 1
    at = np.cumsum(sent) - sent
    for u in range(len(key_U)):
        rank = _owner(key_U[u], num_ranks)
        place[u] = at[rank]
        key[at[rank]] = key_U[u]
        at[rank] += 1


@njit(inline="always")
def _owner(key: Any, num_ranks: Any) -> Any:
    return np.int64(mixed(key) >> np.uint64(48)) * num_ranks // SLICES


def slice_of(key: Array) -> Array:
    """int64: the slice of each key, the high 16 bits of its hash.

    The id map's places are its low bits: were these shared too, a rank's keys would crowd into a part of its map (with four
    ranks a look-up took 17 ms instead of half of one).
    """
    bits = key.view(np.uint64).copy()
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits ^= bits >> np.uint64(shift)
        bits *= np.uint64(factor)
    bits ^= bits >> np.uint64(31)
    return (bits >> np.uint64(48)).astype(np.int64)


def owner_of(key: Array, num_ranks: int) -> Array:
    """int64: the rank that owns each key; ranks own ranges of slices whose sizes differ by at most 1."""
    owner: Array = slice_of(key) * num_ranks // SLICES
    return owner
