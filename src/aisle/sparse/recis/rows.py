"""Rows: one record for each row of a table, its vector and, behind it, its slots: moments, stamps.

In a large table finding the page of a row takes most of the time that the row takes from memory, and a second line beside the
first takes little.  So all that belongs to a row is one record, and a step finds it once.  The table grows by blocks of rows
and nothing moves (``memory.py``).

Legend: N rows, D width of a vector, W float32 words a vector takes, R words a record takes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from aisle.core.errors import AisleError
from aisle.core.lists import Array
from aisle.sparse.recis import row_kernels as kernels
from aisle.sparse.recis.memory import reserved

MOST_ROWS = 2**31 - 1
MOST_WORDS = 2**38
"""A terabyte of address space a table."""
COUNTS = frozenset({"own_step", "stamp"})
"""Slots that hold int32, the others hold float32."""


class Rows:
    """
    dim     numbers a vector
    is_bf16 vectors are stored as bfloat16, slots never
    width   float32 words a vector takes
    record  float32 words a row takes
    place   slot -> its first word in a record
    """

    def __init__(self, dim: int, is_bf16: bool, slots: Mapping[str, int], block_rows: int) -> None:
        self.dim, self.is_bf16, self.block_rows = dim, is_bf16, block_rows
        self.width = (dim + 1) // 2 if is_bf16 else dim
        self.sizes, self.place, self.record = dict(slots), dict[str, int](), self.width
        for name, size in slots.items():
            self.place[name] = self.record
            self.record += size
        self.data = reserved(min(MOST_ROWS * self.record, MOST_WORDS))
        self.words, self.bf16 = self.data.view(np.int32), self.data.view(np.uint16)
        self.num_blocks = 0

    @property
    def arrays(self) -> tuple[Array, Array, bool, int, int]:
        """The rows, as compiled loops take them: (words, the same as bfloat16, whether vectors are that, R, D)."""
        return self.data, self.bf16, self.is_bf16, self.record, self.dim

    @property
    def row_bytes(self) -> int:
        return 4 * self.record

    @property
    def capacity(self) -> int:
        """Rows in the blocks so far."""
        return self.num_blocks * self.block_rows

    def make_room(self, num_rows: int) -> None:
        """Blocks for that many rows in all.  Raises AisleError when the reserved address space ends."""
        self.num_blocks = max(self.num_blocks, -(-num_rows // self.block_rows))
        if num_rows * self.record > len(self.data):
            raise AisleError(
                f"a table of {num_rows:,} rows of {self.row_bytes} bytes does not fit; set max_rows or keep_steps, "
                "or spread the tables over more processes"
            )

    def touch(self, num_rows: int) -> None:
        """Blocks for that many rows, their memory written to once."""
        self.make_room(num_rows)
        self.data[: num_rows * self.record] = 0

    def read(self, row: Array) -> Array:
        """float32[N, D] vectors, 0 for row -1."""
        out = np.empty(len(row) * self.dim, np.float32)
        kernels.read_rows(row, *self.arrays, out)
        return out.reshape(len(row), self.dim)

    def slot(self, name: str, row: Array) -> Array:
        """A copy of one slot: float32[N, size], or int32[N] of counts."""
        if name in COUNTS:
            return self.words[row.astype(np.int64) * self.record + self.place[name]]
        return self.data[self._spots(name, row)]

    def write(self, row: Array, values: Mapping[str, Array]) -> None:
        """Vectors (``vector``, float32[N, D]) and slots of whole rows; slots that are not given become 0."""
        begin = row.astype(np.int64) * self.record
        self.data[begin[:, None] + np.arange(self.record)] = 0
        vector = values["vector"]
        if self.is_bf16:
            bits = np.ascontiguousarray(vector, np.float32).view(np.uint32)
            rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
            self.bf16[2 * begin[:, None] + np.arange(self.dim)] = rounded.astype(np.uint16)
        else:
            self.data[begin[:, None] + np.arange(self.dim)] = vector
        for name in self.place.keys() & values.keys():
            if name in COUNTS:
                self.words[begin + self.place[name]] = values[name]
            else:
                self.data[self._spots(name, row)] = values[name].reshape(len(row), self.sizes[name])

    def _spots(self, name: str, row: Array) -> Array:
        spots: Array = row.astype(np.int64)[:, None] * self.record + self.place[name] + np.arange(self.sizes[name])
        return spots
