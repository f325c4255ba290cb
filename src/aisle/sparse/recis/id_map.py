"""IdMap: 64-bit keys to rows, with the allocator that hands rows out.

Freed rows are handed out again before the table grows, the last freed first.

Legend: P keys of a batch, U distinct ones with a row, C capacity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aisle.core.lists import Array
from aisle.sparse.recis import map_kernels as kernels
from aisle.sparse.recis.map_kernels import EMPTY, NEXT_ROW, NUM_FREE, NUM_NEW, NUM_UNIQUE, SIZE
from aisle.sparse.recis.memory import zeros

FULL = 0.5
"""Share of filled entries at which the map doubles; above it, probing goes past the first cache line."""
SMALLEST = 1 << 10
NO_TIMES = np.zeros(0, np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """
    index  int32[P]  each key's place among the distinct ones, -1 where it has no row
    row    int32[U]  row of each distinct key
    """

    index: Array
    row: Array


class IdMap:
    """Key -> row.  ``rows`` are handed out from 0; ``len`` counts keys, those that still wait for admission included."""

    def __init__(self, capacity: int = SMALLEST) -> None:
        self._set(capacity)
        self.count = np.zeros(5, np.int64)
        self.free = np.zeros(SMALLEST, np.int32)

    def _set(self, capacity: int) -> None:
        self.entry = zeros(2 * capacity)
        self.payload = self.entry.view(np.int32)
        self.mask = capacity - 1

    def __len__(self) -> int:
        return int(self.count[SIZE])

    @property
    def num_rows(self) -> int:
        """Rows ever handed out: the height of the table, free ones included."""
        return int(self.count[NEXT_ROW])

    @property
    def num_free(self) -> int:
        return int(self.count[NUM_FREE])

    @property
    def num_bytes(self) -> int:
        return self.entry.nbytes + self.free.nbytes

    def make_room(self, num: int) -> None:
        """Room for that many more keys: the entries are copied to twice the place until they fit."""
        capacity = self.mask + 1
        while len(self) + num > FULL * capacity:
            capacity *= 2
        if capacity > self.mask + 1:
            smaller = self.entry
            self._set(capacity)
            kernels.move(smaller, self.entry, self.mask)

    def room_for(self, num: int) -> tuple[Array, ...]:
        """What the compiled look-up of that many keys writes to: the map's own arrays and, new, int32 index, int32 row_U,
        int64 slot_U, int64 new_key and int32 new_row of that length."""
        self.make_room(num)
        self.count[NUM_UNIQUE] = self.count[NUM_NEW] = 0
        ints, longs = np.empty((3, num), np.int32), np.empty((2, num), np.int64)
        own = (self.entry, self.payload, self.mask, self.count, self.free)
        return (*own, ints[0], ints[1], longs[0], longs[1], ints[2])

    def found(self, written: tuple[Array, ...]) -> tuple[Found, Array, tuple[Array, Array]]:
        """(rows of the keys, entry of each distinct one, keys and rows of the new) from what a look-up wrote to."""
        index, row_U, slot_U, new_key, new_row = written[-5:]
        unique, fresh = int(self.count[NUM_UNIQUE]), int(self.count[NUM_NEW])
        return Found(index, row_U[:unique]), slot_U[:unique], (new_key[:fresh], new_row[:fresh])

    def find_or_add(
        self, key: Array, num_admitted: int, times: Array, min_count: int, data: Array, record: int
    ) -> tuple[Found, Array, tuple[Array, Array]]:
        """(rows of the keys, entry of each distinct one, keys and rows of the new), admitting the first ``num_admitted`` keys."""
        written = self.room_for(len(key))
        kernels.find_or_add(key, num_admitted, times, min_count, *written, data, record)
        return self.found(written)

    def find(self, key: Array, data: Array, record: int) -> Array:
        """int32[P] rows, -1 where a key has none.  Changes nothing."""
        row_P = np.empty(len(key), np.int32)
        kernels.find(key, self.entry, self.payload, self.mask, data, record, row_P)
        return row_P

    def listed(self) -> tuple[Array, Array]:
        """(int64 keys, int32 rows) in the order of the entries; a row below 0 waits for admission."""
        key, row = np.empty(len(self), np.int64), np.empty(len(self), np.int32)
        kernels.listed(self.entry, self.payload, key, row)
        return key, row

    def erase(self, key: Array) -> Array:
        """Take keys out and free their rows.  Returns those rows, int32."""
        row = np.empty(len(key), np.int32)
        self.count[SIZE] -= kernels.erase(key, self.entry, self.payload, self.mask, row)
        row = row[row >= 0]
        wanted = self.num_free + len(row)
        if wanted > len(self.free):
            self.free = np.resize(self.free, max(2 * len(self.free), wanted))
        self.free[self.num_free : wanted] = row
        self.count[NUM_FREE] = wanted
        return row

    def put(self, key: Array, row: Array) -> None:
        """Enter distinct keys that are not there, with rows from -count (waiting) or any that nobody has."""
        self.make_room(len(key))
        kernels.put(key, row, self.entry, self.payload, self.mask)
        self.count[SIZE] += len(key)
        self.count[NEXT_ROW] = max(self.num_rows, int(row.max(initial=-1)) + 1)


class Distinct:
    """The distinct numbers of an array in the order in which they first stand there, by one pass over a map."""

    def __init__(self) -> None:
        self._map = IdMap()

    def __call__(self, key: Array) -> tuple[Array, Array]:
        """(int32[P] place of each key among the distinct, int64[U] the distinct ones)."""
        found, slot_U, _ = self._map.find_or_add(key, len(key), NO_TIMES, 1, _NOTHING, 0)
        key_U = self._map.entry[2 * slot_U] - 1
        self._map.entry[2 * slot_U] = EMPTY
        self._map.count[:] = 0
        return found.index, key_U


_NOTHING = np.zeros(1, np.float32)
