"""Gradebook: true grades of (query, item) pairs by the million; each pair is judged once.

Legend: V visits, K places, N pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aisle.core.lists import Array
from aisle.simulate.language.queries import Query
from aisle.simulate.world import World


class Gradebook:
    """Grades of the queries ``asked``, by their place in that list."""

    def __init__(self, world: World, asked: Sequence[Query]) -> None:
        self._world, self._asked = world, asked
        self._key = np.zeros(0, np.int64)
        self._grade = np.zeros(0, np.int8)

    def of(self, query_V: Array, item_VK: Array) -> Array:
        """float32[V, K]: grades of the items for each visit's query; the lowest in a feed, whose query is -1."""
        grade = np.ones(item_VK.shape, np.float32)
        asked = np.flatnonzero(query_V >= 0)
        if len(asked):
            key = query_V[asked][:, None] << 32 | item_VK[asked].astype(np.int64)
            grade[asked] = self._look_up(key.ravel()).reshape(key.shape)
        return grade

    def _look_up(self, key_N: Array) -> Array:
        """int8[N]."""
        place = np.minimum(np.searchsorted(self._key, key_N), max(len(self._key) - 1, 0))
        unknown = self._key[place] != key_N if len(self._key) else np.ones(len(key_N), bool)
        if unknown.any():
            self._learn(np.unique(key_N[unknown]))
            place = np.searchsorted(self._key, key_N)
        found: Array = self._grade[place]
        return found

    def _learn(self, key: Array) -> None:
        """Judge new pairs, query by query."""
        query, item = key >> 32, key & 0xFFFFFFFF
        starts = np.flatnonzero(np.diff(query, prepend=-1))
        parts = [
            self._world.grades(self._asked[query[a]], item[a:b])
            for a, b in zip(starts, [*starts[1:], len(key)], strict=True)
        ]
        self._key = np.concatenate([self._key, key])
        order = np.argsort(self._key, kind="stable")
        self._key = self._key[order]
        self._grade = np.concatenate([self._grade, *parts])[order]
