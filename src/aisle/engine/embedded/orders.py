"""Order: all rows in the order of one column, mended where few rows change instead of being sorted anew.

Legend: I items, N chosen rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aisle.core.lists import Array

MOST_MENDED = 500
"""Changed rows beyond which sorting anew is quicker."""


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """
    column  float64[I] as it was sorted
    rows    int32[I]   all rows, smallest value first (largest, when descending), NaN last, ties by row
    keys    float64[I] the values of ``rows``, negated when descending
    """

    column: Array
    rows: Array
    keys: Array
    descending: bool

    @classmethod
    def of(cls, column: Array, descending: bool) -> Order:
        key = -column if descending else column
        # Stable, so that ties stay in the order of rows; NaN sorts last either way.
        rows = np.argsort(key, kind="stable").astype(np.int32)
        return cls(column, rows, key[rows], descending)

    def followed(self, column: Array) -> Order:
        """The same for a column that may be longer and have other values in some rows."""
        if column is self.column:
            return self
        old = len(self.column)
        same = (column[:old] == self.column) | (np.isnan(column[:old]) & np.isnan(self.column))
        changed = np.concatenate([np.flatnonzero(~same), np.arange(old, len(column))]).astype(np.int32)
        if len(column) < old or len(changed) > MOST_MENDED:
            return Order.of(column, self.descending)
        kept = same[self.rows]
        rows, keys = self.rows[kept], self.keys[kept]
        new = -column[changed] if self.descending else column[changed]
        order = np.argsort(new, kind="stable")
        at = [_place(rows, keys, float(new[n]), int(changed[n])) for n in order]
        return Order(column, np.insert(rows, at, changed[order]), np.insert(keys, at, new[order]), self.descending)

    def sorted(self, chosen: Array) -> Array:
        """The chosen rows (int32[N]) in this order."""
        if 8 * len(chosen) < len(self.rows):
            key = -self.column[chosen] if self.descending else self.column[chosen]
            return chosen[np.lexsort((chosen, key))]
        there = np.zeros(len(self.rows), bool)
        there[chosen] = True
        return self.rows[there[self.rows]]


def _place(rows: Array, keys: Array, key: float, row: int) -> int:
    low, high = np.searchsorted(keys, key, "left"), np.searchsorted(keys, key, "right")
    return int(low + np.searchsorted(rows[low:high], row))
