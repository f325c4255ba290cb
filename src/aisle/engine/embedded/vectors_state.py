"""What one search of a vector index sees, a base and the delta over it; never changed once made.

Legend: I rows of the catalogue, N rows, D width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from aisle.core.lists import Array
from aisle.engine.embedded import vectors_files as files
from aisle.engine.embedded import vectors_kernels as kernels
from aisle.engine.embedded.compiled import frozen
from aisle.engine.embedded.vectors_kernels import ABSENT, IN_BASE
from aisle.engine.embedded.vectors_segment import Segment, floats_of


@dataclass(frozen=True, eq=False)
class State:
    """The base; for each row a place in the delta, IN_BASE or ABSENT (int32[I]); the delta's float16 bits; places in use.

    Later states share the delta's memory and write only to places beyond ``used``.
    """

    base: Segment
    place: Array
    delta: Array
    used: int = 0

    @cached_property
    def present(self) -> Array:
        """bool[I]: the row has a vector."""
        return frozen(self.place != ABSENT)

    @cached_property
    def in_base(self) -> Array | None:
        """bool[I]: the base's vector counts; None when that is so for all it holds."""
        current = self.place == IN_BASE
        return None if np.count_nonzero(current) == len(self.base.row) else frozen(current)

    @cached_property
    def delta_rows(self) -> Array:
        """int32: rows whose vector is in the delta, ascending."""
        return np.flatnonzero(self.place >= 0).astype(np.int32)

    @property
    def num_stale(self) -> int:
        """What a fold would tidy up: places in the delta, and vectors of the base that no longer count."""
        lost = 0 if self.in_base is None else len(self.base.row) - int(np.count_nonzero(self.in_base))
        return self.used + lost

    @classmethod
    def of(cls, base: Segment) -> State:
        place = np.full(base.num_rows, ABSENT, np.int32)
        place[base.row] = IN_BASE
        return cls(base, frozen(place), np.zeros((0, base.dim), np.uint16))

    def scores(self, rows: Array, query_D: Array) -> Array:
        """float32[N]: one fixed order of additions a row, whatever stands beside it; NaN without a vector."""
        out = np.empty(len(rows), np.float32)
        kernels.score_rows(self.base.base, frozen(self.delta), self.place, frozen(rows.astype(np.int32)), query_D, out)
        return out

    def vectors(self, rows: Array) -> Array:
        """float32[N, D]; zero for rows without a vector."""
        out = np.zeros((len(rows), self.base.dim), np.float32)
        inside = (rows >= 0) & (rows < len(self.place))
        place = np.full(len(rows), ABSENT, np.int64)
        place[inside] = self.place[rows[inside]]
        out[place == IN_BASE] = floats_of(self.base.base[rows[place == IN_BASE]])
        out[place >= 0] = floats_of(self.delta[place[place >= 0]])
        return out

    def changed(self, rows: Array, bits_ND: Array | None) -> State:
        """With these rows' vectors, or without any for them.  Places in the delta are never written twice."""
        place = np.full(max(len(self.place), int(rows.max()) + 1), ABSENT, np.int32)
        place[: len(self.place)] = self.place
        if bits_ND is None:
            place[rows] = ABSENT
            return replace(self, place=frozen(place))
        used, delta = self.used + len(rows), self.delta
        if used > len(delta):
            delta = np.empty((max(64, 2 * len(delta), used), self.base.dim), np.uint16)
            delta[: self.used] = self.delta[: self.used]
        delta[self.used : used] = bits_ND
        place[rows] = np.arange(self.used, used)
        return State(self.base, frozen(place), delta, used)

    def since(self, then: State) -> files.Change | None:
        """What changed since an earlier state of the same base."""
        old = np.full(len(self.place), ABSENT, np.int32)
        old[: len(then.place)] = then.place
        rows = np.flatnonzero(old != self.place)
        if not len(rows):
            return None
        there = self.place[rows] >= 0
        return files.Change(rows[there], self.delta[self.place[rows[there]]], rows[~there])

    def since_base(self) -> files.Change | None:
        """Everything in which the state differs from its base."""
        return self.since(State.of(self.base))
