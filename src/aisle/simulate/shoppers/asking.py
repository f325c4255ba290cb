"""Asking: which query a shopper types on a day, by the shelf that the visit is about.

Legend: S shelves, V visits, A queries of a day.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aisle.core.errors import SettingError
from aisle.core.lists import Array
from aisle.simulate.catalogue.taxonomy import LEAVES
from aisle.simulate.language.queries import Query, traffic
from aisle.simulate.world import World

ELSEWHERE = 0.15
"""Share of searches that have nothing to do with the visit's shelf."""


@dataclass(frozen=True, eq=False)
class _Day:
    """Queries in the order of their shelves: ``index`` int64[A] into all, the first of each shelf int64[S + 1], and the
    share of traffic up to each float64[A + 1]."""

    index: Array
    first: Array
    share: Array


class Asking:
    """``asked``: every query typed so far.  Words change from day to day, so the list grows."""

    def __init__(self, world: World, count: int) -> None:
        self.asked: list[Query] = []
        self._world, self._count = world, count
        self._number: dict[str, int] = {}
        self._days: dict[int, _Day] = {}

    def draw(self, day: int, leaf_V: Array, elsewhere_V: Array, which_V: Array) -> Array:
        """int64[V], indices into ``asked``: by the traffic of the queries of each visit's shelf.

        elsewhere_V, which_V  uniform draws: whether the shelf does not matter, and which query it is
        """
        today = self._day(day)
        low, high = today.first[leaf_V], today.first[leaf_V + 1]
        anywhere = (elsewhere_V < ELSEWHERE) | (low == high)
        low, high = np.where(anywhere, 0, low), np.where(anywhere, len(today.index), high)
        start, end = today.share[low], today.share[high]
        place = np.searchsorted(today.share, start + which_V * (end - start), side="right") - 1
        chosen: Array = today.index[np.clip(place, low, high - 1)]
        return chosen

    def _day(self, day: int) -> _Day:
        if day not in self._days:
            queries = self._queries(day)
            for query in queries:
                if query.text not in self._number:
                    self._number[query.text] = len(self.asked)
                    self.asked.append(query)
            leaf = np.array([query.intent.leaf for query in queries])
            order = np.argsort(leaf, kind="stable")
            index = np.array([self._number[query.text] for query in queries])[order]
            share = np.concatenate([[0.0], np.cumsum(traffic(queries)[order])])
            self._days[day] = _Day(index, np.searchsorted(leaf[order], np.arange(len(LEAVES) + 1)), share)
        return self._days[day]

    def _queries(self, day: int) -> list[Query]:
        """As many queries as a world has words for, at most ``count``: tiny worlds have fewer."""
        while True:
            try:
                return self._world.queries(self._count, day=day)
            except SettingError:
                if self._count < 2:
                    raise
                self._count //= 2
