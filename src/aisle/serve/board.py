"""Board: a few numbers of every process of a shop, in shared memory, so that each knows how far the others are.

One row a process, written by that process alone; eight bytes are written at once, so nobody reads half a number.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from aisle.core.lists import Array

FIELDS = ("pid", "beat", "sequence", "generation", "saved", "done", "total")
"""beat: monotonic nanoseconds; sequence: log record it shows; saved: record its indexes on disk hold; done of total texts."""
SILENT_S = 5.0
"""A process that did not write for so long is not waited for."""
POLL_S = 0.002


class Board:
    """The table of all processes; ``mine`` is this one's row, 0 the writer's."""

    def __init__(self, path: Path, num_processes: int, mine: int) -> None:
        size = num_processes * len(FIELDS) * 8
        if not path.exists() or path.stat().st_size < size:
            path.write_bytes(bytes(size))
        self._table: Array = np.memmap(path, np.int64, "r+", shape=(num_processes, len(FIELDS)))
        self._mine = mine
        self._table[mine] = 0

    def tell(self, **values: int) -> None:
        """Write some of this process's numbers; the beat goes with them."""
        row = self._table[self._mine]
        for name, value in values.items():
            row[FIELDS.index(name)] = value
        row[FIELDS.index("pid")] = os.getpid()
        row[FIELDS.index("beat")] = time.monotonic_ns()

    def rows(self) -> list[dict[str, int]]:
        """What every process that ever wrote says of itself."""
        return [
            {"process": n, **dict(zip(FIELDS, row.tolist(), strict=True))}
            for n, row in enumerate(np.array(self._table))
            if row[0]
        ]

    def alive(self) -> list[dict[str, int]]:
        """``rows`` of those that wrote lately."""
        return [row for row in self.rows() if time.monotonic_ns() - row["beat"] < SILENT_S * 1e9]

    def wait(self, sequence: int, timeout_s: float) -> bool:
        """True as soon as every living process shows this log record."""
        until = time.monotonic() + timeout_s
        while True:
            table = np.array(self._table)
            alive = time.monotonic_ns() - table[:, FIELDS.index("beat")] < SILENT_S * 1e9
            if np.all(table[alive, FIELDS.index("sequence")] >= sequence):
                return True
            if time.monotonic() >= until:
                return False
            time.sleep(POLL_S)
