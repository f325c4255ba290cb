"""Table: one physical embedding table in memory: keys to rows, rows to records, pooling, gradients, the optimiser's step.

Legend: B samples, P keys of a batch, U distinct rows, D width of a vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aisle.core.lists import Array
from aisle.sparse.recis import fused_kernels
from aisle.sparse.recis import row_kernels as kernels
from aisle.sparse.recis.batch import Batch
from aisle.sparse.recis.id_map import NO_TIMES, Distinct, Found, IdMap
from aisle.sparse.recis.layout import ID_BITS, Kind
from aisle.sparse.recis.map_kernels import EMPTY
from aisle.sparse.recis.memory import Recycled
from aisle.sparse.recis.rows import Rows

Source = tuple[Array, Array, int]
"""Where vectors are read from: (place of each distinct row, float32 words, words from place to place)."""


class Table:
    """A table of one kind, on the CPU.

    kind        what its features have in common
    optimiser   Adam, Adagrad or Sgd
    admits_all  none of its features only reads
    """

    def __init__(self, kind: Kind, optimiser: Any, *, seed: int, block_rows: int, admits_all: bool = True) -> None:
        self.kind, self.optimiser, self.seed = kind, optimiser, seed
        slots = optimiser.slots(kind.dim)
        if kind.keep_steps or kind.max_rows:
            slots = slots | {"stamp": 1}
        self.ids = IdMap()
        self.rows = Rows(kind.dim, kind.dtype == "bfloat16", slots, block_rows)
        self._pending: list[tuple[Array, Array]] = []
        self.distinct = Distinct()
        self.admits_all = admits_all
        self._sums = Recycled()

    def make_ready(self, num_ids: int) -> None:
        """Room for that many ids, its memory written to once."""
        if num_ids:
            self.ids.make_room(num_ids)
            self.ids.entry.fill(EMPTY)
            self.rows.touch(num_ids)

    def emptied(self) -> Table:
        """A new table of the same kind."""
        settings = {"seed": self.seed, "block_rows": self.rows.block_rows, "admits_all": self.admits_all}
        return Table(self.kind, self.optimiser, **settings)

    def __len__(self) -> int:
        """Ids with a row."""
        return self.ids.num_rows - self.ids.num_free

    @property
    def num_bytes(self) -> int:
        """Memory of the id map and of the rows handed out so far."""
        return self.ids.num_bytes + self.ids.num_rows * self.rows.row_bytes

    def look_up(self, key: Array, num_admitted: int, times: Array, step: int) -> Found:
        """Rows of the keys, new ones for those that are admitted; ``step`` is the running one."""
        self.rows.make_room(self.ids.num_rows + len(key))
        rows = self.rows
        found, _, new = self.ids.find_or_add(key, num_admitted, times, self.kind.min_count, rows.data, rows.record)
        kernels.begin_rows(*new, *rows.arrays, *self._first_values)
        self._stamp(found, step)
        return found

    def look_up_and_pool(self, batch: Batch, step: int, out: Array) -> Found:
        """``look_up`` and ``pool`` of a batch in one pass."""
        if self.rows.is_bf16:
            found = self.look_up(batch.keys(), batch.num_admitted, NO_TIMES, step)
            self.pool(batch, found.index, self.source(found), out)
            return found
        self.rows.make_room(self.ids.num_rows + len(batch.key))
        written, rows = self.ids.room_for(len(batch.key)), self.rows
        fused_kernels.look_up(
            batch.features, batch.splits, batch.weight, ID_BITS, batch.key, batch.num_admitted, NO_TIMES, *written,
            *rows.arrays, *self._first_values, *_flat(out),
        )  # fmt: skip
        found, _, _ = self.ids.found(written)
        self._stamp(found, step)
        return found

    @property
    def _first_values(self) -> tuple[Any, int]:
        return np.float32(self.kind.init_std * _UNIT), self.seed

    def _stamp(self, found: Found, step: int) -> None:
        """Note when rows were met, where ids may leave."""
        if "stamp" in self.rows.place:
            kernels.stamp(found.row, self.rows.words, self.rows.record, self.rows.place["stamp"], step)

    def read_only(self, key: Array) -> Found:
        """Rows of the keys that have one; nothing changes."""
        row_P = self.ids.find(key, self.rows.data, self.rows.record)
        index = np.arange(len(key), dtype=np.int32)
        index[row_P < 0] = -1
        return Found(index, row_P)

    def source(self, found: Found) -> Source:
        """Where ``pool`` reads the vectors of found rows."""
        if not self.rows.is_bf16:
            return found.row, self.rows.data, self.rows.record
        return dense_source(self.rows.read(found.row))

    def pool(self, batch: Batch, index: Array, source: Source, out: Array) -> None:
        """The combined vectors of every feature of the batch, into its columns of ``out`` float32[B, all columns]."""
        vectors = (index, *source, self.kind.dim)
        kernels.pool(batch.features, batch.splits, batch.weight, *vectors, *_flat(out))

    def reduce(self, batch: Batch, index: Array, num: int, grad: Array, scale: float) -> tuple[Array, Array]:
        """(float32[U * D] gradients of the distinct rows times ``scale``, int32[U] occurrences, counted where means need them)."""
        dim, met = self.kind.dim, np.empty(num if self.kind.reduce == "id" else 0, np.int32)
        value = self._sums(num * dim)
        sums = (index, grad.reshape(-1), grad.shape[1], dim, np.float32(scale), value, met, len(grad))
        kernels.reduce(batch.features, batch.splits, batch.weight, *sums)
        return value, met

    def pend(self, row_U: Array, value: Array) -> None:
        """Keep a gradient, float32[U * D], for the next step."""
        if len(row_U):
            self._pending.append((row_U, value))

    def merged(self) -> tuple[Array, Array] | None:
        """(int32[U] rows, each once; float32[U, D] gradients) of all that waits, or None."""
        if len(self._pending) > 1:
            row = np.concatenate([r for r, _ in self._pending])
            index, row_U = self.distinct(row.astype(np.int64))
            value = np.zeros(len(row_U) * self.kind.dim, np.float32)
            kernels.add_rows(index, np.concatenate([v for _, v in self._pending]), self.kind.dim, value)
            self._pending = [(row_U.astype(np.int32), value)]
        if not self._pending:
            return None
        row_U, value = self._pending[0]
        return row_U, value.reshape(len(row_U), self.kind.dim)

    def forget(self) -> None:
        self._pending = []

    def apply(self, scale: float, step: int, lr: float) -> Array:
        """The optimiser's step ``step`` (from 1) over what waits, times ``scale``.  Returns the changed rows, int32[U]."""
        merged = self.merged()
        self.forget()
        if merged is None:
            return np.zeros(0, np.int32)
        row_U, value = merged
        self.optimiser.apply(self.rows, row_U, value.reshape(-1), scale, step, lr)
        return row_U

    def evict(self, step: int) -> Array:
        """Drop ids not met for more than ``keep_steps`` steps, the longest unmet above ``max_rows``, and the counts of ids
        that wait.  Returns the dropped keys, int64."""
        if "stamp" not in self.rows.place:
            return np.zeros(0, np.int64)
        key, row = self.ids.listed()
        waiting, key, row = key[row < 0], key[row >= 0], row[row >= 0]
        met = self.rows.slot("stamp", row)
        keep = np.ones(len(key), bool)
        if self.kind.keep_steps:
            keep = met >= step - self.kind.keep_steps
        if self.kind.max_rows and keep.sum() > self.kind.max_rows:
            latest = np.lexsort((key, -met))[: self.kind.max_rows]
            within = np.zeros(len(key), bool)
            within[latest] = True
            keep &= within
        self.ids.erase(waiting)
        self.ids.erase(key[~keep])
        return key[~keep]

    def dump(self) -> tuple[Array, dict[str, Array]]:
        """(int64[N] rising keys, row-aligned: ``vector``, every slot, and ``waiting`` int32[N], how often an id without a row
        was met)."""
        key, row = self.ids.listed()
        order = np.argsort(key, kind="stable")
        key, row = key[order], row[order]
        values = {"vector": self.rows.read(row), "waiting": np.maximum(-row, 0)}
        has = np.maximum(row, 0)
        for name in self.rows.place:
            values[name] = self.rows.slot(name, has)
            values[name][row < 0] = 0
        return key, values

    def fill(self, key: Array, values: Mapping[str, Array]) -> None:
        """Enter distinct keys that are not there, as ``dump`` gave them."""
        waiting = values["waiting"]
        has = waiting == 0
        row = -waiting.astype(np.int32)
        row[has] = self.ids.num_rows + np.arange(has.sum())
        self.rows.make_room(self.ids.num_rows + int(has.sum()))
        self.ids.put(key, row)
        self.rows.write(row[has], {n: v[has] for n, v in values.items()})


def _flat(out: Array) -> tuple[Array, int, int]:
    """float32[B, W] as compiled loops take it: (its numbers, W, B)."""
    return out.reshape(-1), out.shape[1], len(out)


def dense_source(vector: Array) -> Source:
    """Vectors that already stand in the order of the distinct rows."""
    return np.arange(len(vector), dtype=np.int32), vector.reshape(-1), vector.shape[1]


_UNIT = 1 / np.sqrt(4 * (65536**2 - 1) / 12)
"""Makes the standard deviation of a sum of four 16-bit numbers 1."""
