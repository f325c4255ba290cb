"""SeenIds: which ids came before, over tens of millions of rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from aisle.core.lists import Array


class SeenIds:
    """Remembers ids as 64-bit hashes in sorted runs: 8 bytes an id, 80 MB for ten million.

    Two different ids that share a hash would be taken for duplicates: the chance is 3e-6 among ten million ids.
    """

    def __init__(self) -> None:
        self.runs: list[Array] = []

    def fresh(self, ids: Sequence[str]) -> Array:
        """bool[N]: True where the id comes for the first time, before or within these; and remembers them."""
        if not ids:
            return np.zeros(0, bool)
        hashes = pl.Series("id", ids, dtype=pl.String).hash(seed=7).to_numpy()
        values, first = np.unique(hashes, return_index=True)
        known = np.zeros(len(values), bool)
        for run in self.runs:
            place = np.minimum(np.searchsorted(run, values), len(run) - 1)
            known |= run[place] == values
        out = np.zeros(len(ids), bool)
        out[first[~known]] = True
        self._add(values[~known])
        return out

    def _add(self, values: Array) -> None:
        """Runs at least double in length from last to first, so there are few and each id is merged a few times."""
        if not len(values):
            return
        self.runs.append(values)
        while len(self.runs) > 1 and len(self.runs[-2]) < 2 * len(self.runs[-1]):
            last = self.runs.pop()
            merged = np.concatenate([self.runs.pop(), last])
            merged.sort(kind="stable")
            self.runs.append(merged)
