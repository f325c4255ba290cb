"""How often an item was shown, clicked, carted and ordered before a moment, alone and for a query.

One declaration, one code path: when training, the moment is that of each page; when serving, it is now.  The stage keeps the
times of the events that it was fitted with; what happened later it does not know.

Legend: N questions (item, time), E events, A actions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from aisle.core.lists import Array
from aisle.core.requests import Action, hashed
from aisle.core.shop import Counter, Events
from aisle.data.counters import ItemCounter

ACTIONS = ("impression", "click", "cart", "order")
HALF_LIFE_S = 7 * 86_400.0
PRIOR_RATE = 0.05
PRIOR_WEIGHT = 20.0
"""Rates of clicks start at 5%, as if 20 impressions had been seen."""

MIX = np.int64(0x9E3779B97F4A7C1)
LOW_BITS = np.int64((1 << 62) - 1)


class Counts:
    """log1p counts and rates as of a time."""

    def __init__(self, events: Mapping[str, Array]) -> None:
        """events: ``item`` int64[E], ``query`` int64[E] (a hash, -1 none), ``action`` int8[E], ``time_s`` float64[E]."""
        self.events = dict(events)
        asked = np.flatnonzero(events["query"] >= 0)
        self._item = {a: _counter(a, events["item"], events["action"], events["time_s"]) for a in ACTIONS}
        pair = paired(events["query"][asked], events["item"][asked])
        self._pair = {
            a: _counter(a, pair, events["action"][asked], events["time_s"][asked]) for a in ("impression", "click")
        }

    @classmethod
    def of(cls, events: Events) -> Counts:
        """From a view's log."""
        rows = np.flatnonzero((events["item"] >= 0) & (events["action"] <= Action.ORDER))
        hashes = np.append(query_ids(events.queries), np.int64(-1))
        return cls(
            {
                "item": events["item"][rows].astype(np.int64),
                "query": hashes[events["query"][rows]],
                "action": events["action"][rows],
                "time_s": events["time_s"][rows],
            }
        )

    def of_items(self, item_N: Array, time_N: Array) -> dict[str, Array]:
        """float32[N] each: decayed counts by action, and the rate of clicks."""
        count = {a: self._item[a].at(item_N.astype(np.int64), time_N) for a in ACTIONS}
        return {**{f"item_{a}s": _log(c) for a, c in count.items()}, "item_rate": _rate(count)}

    def of_pairs(self, query_N: Array, item_N: Array, time_N: Array) -> dict[str, Array]:
        """float32[N] each: the same of an item for a query (hashes); nothing is counted for -1."""
        key = np.where(query_N >= 0, paired(query_N, item_N.astype(np.int64)), -1)
        count = {a: counter.at(key, time_N) for a, counter in self._pair.items()}
        return {**{f"pair_{a}s": _log(c) for a, c in count.items()}, "pair_rate": _rate(count)}


def query_ids(queries: Sequence[str]) -> Array:
    """int64[Q]: a hash of each query, case and blanks aside; -1 for an empty one."""
    return np.array([hashed(" ".join(query.lower().split())) for query in queries], np.int64)


def paired(query_N: Array, item_N: Array) -> Array:
    """int64[N], 0 or more: one number for a query and an item."""
    with np.errstate(over="ignore"):
        mixed: Array = (query_N * MIX ^ item_N * np.int64(0x2545F4914F6CDD1D)) & LOW_BITS
    return mixed


def _counter(action: str, key: Array, action_E: Array, time_E: Array) -> ItemCounter:
    events = Events({"item": key, "action": action_E, "time_s": time_E})
    return ItemCounter(Counter(name=action, action=action, half_life_s=HALF_LIFE_S), events)


def _log(count_N: Array) -> Array:
    return np.log1p(count_N).astype(np.float32)


def _rate(count: Mapping[str, Array]) -> Array:
    rate = (count["click"] + PRIOR_RATE * PRIOR_WEIGHT) / (count["impression"] + PRIOR_WEIGHT)
    return np.asarray(rate, np.float32)
