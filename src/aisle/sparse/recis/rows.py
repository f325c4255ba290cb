"""Rows: the vectors of one table and, beside them, the records of their slots: moments, stamps.

All slots of a row lie side by side, so they grow in step and a row costs few cache misses.  Vectors stand apart from them:
a look-up reads vectors only, and one of 16 numbers is exactly one cache line.  The table grows by blocks of rows and nothing
moves (``memory.py``).

Legend: N rows, D width of a vector, W float32 words a vector takes.
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
    place   slot -> its first word in a record of ``slot_width`` words
    """

    def __init__(self, dim: int, is_bf16: bool, slots: Mapping[str, int], block_rows: int) -> None:
        self.dim, self.is_bf16, self.block_rows = dim, is_bf16, block_rows
        self.width = (dim + 1) // 2 if is_bf16 else dim
        self.sizes, self.place, self.slot_width = dict(slots), dict[str, int](), 0
        for name, size in slots.items():
            self.place[name] = self.slot_width
            self.slot_width += size
        self.data = reserved(min(MOST_ROWS * self.width, MOST_WORDS))
        self.slot_data = reserved(min(MOST_ROWS * self.slot_width, MOST_WORDS))
        self.words, self.bf16 = self.slot_data.view(np.int32), self.data.view(np.uint16)
        self.num_blocks = 0

    @property
    def arrays(self) -> tuple[Array, Array, bool, int, int]:
        """The vectors, as compiled loops take them: (words, the same as bfloat16, which of them, W, D)."""
        return self.data, self.bf16, self.is_bf16, self.width, self.dim

    @property
    def slots(self) -> tuple[Array, int]:
        """The slots, as compiled loops take them: (words, words a record)."""
        return self.slot_data, self.slot_width

    @property
    def row_bytes(self) -> int:
        return 4 * (self.width + self.slot_width)

    @property
    def capacity(self) -> int:
        """Rows in the blocks so far."""
        return self.num_blocks * self.block_rows

    def make_room(self, num_rows: int) -> None:
        """Blocks for that many rows in all.  Raises AisleError when the reserved address space ends."""
        self.num_blocks = max(self.num_blocks, -(-num_rows // self.block_rows))
        if num_rows * self.width > len(self.data) or num_rows * self.slot_width > len(self.slot_data):
            raise AisleError(
                f"a table of {num_rows:,} rows of {self.row_bytes} bytes does not fit; set max_rows or keep_steps, "
                "or spread the tables over more processes"
            )

    def touch(self, num_rows: int) -> None:
        """Blocks for that many rows, their memory written to once."""
        self.make_room(num_rows)
        self.data[: num_rows * self.width] = 0
        self.slot_data[: num_rows * self.slot_width] = 0

    def read(self, row: Array) -> Array:
        """float32[N, D] vectors, 0 for row -1."""
        out = np.empty(len(row) * self.dim, np.float32)
        kernels.read_rows(row, *self.arrays, out)
        return out.reshape(len(row), self.dim)

    def slot(self, name: str, row: Array) -> Array:
        """A copy of one slot: float32[N, size], or int32[N] of counts."""
        if name in COUNTS:
            return self.words[row.astype(np.int64) * self.slot_width + self.place[name]]
        return self.slot_data[self._spots(name, row)]

    def write(self, row: Array, values: Mapping[str, Array]) -> None:
        """Vectors (``vector``, float32[N, D]) and slots of whole rows; slots that are not given become 0."""
        begin, kept = row.astype(np.int64) * self.width, row.astype(np.int64) * self.slot_width
        self.data[begin[:, None] + np.arange(self.width)] = 0
        self.slot_data[kept[:, None] + np.arange(self.slot_width)] = 0
        vector = values["vector"]
        if self.is_bf16:
            bits = np.ascontiguousarray(vector, np.float32).view(np.uint32)
            rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
            self.bf16[2 * begin[:, None] + np.arange(self.dim)] = rounded.astype(np.uint16)
        else:
            self.data[begin[:, None] + np.arange(self.dim)] = vector
        for name in self.place.keys() & values.keys():
            if name in COUNTS:
                self.words[kept + self.place[name]] = values[name]
            else:
                self.slot_data[self._spots(name, row)] = values[name].reshape(len(row), self.sizes[name])

    def _spots(self, name: str, row: Array) -> Array:
        spots: Array = row.astype(np.int64)[:, None] * self.slot_width + self.place[name] + np.arange(self.sizes[name])
        return spots
