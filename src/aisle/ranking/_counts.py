"""How often an item was shown, clicked, carted and ordered before a moment, alone and for a query.

One declaration, one code path: when training, the view of the shop counts, as of each page; when serving, the server does, as of
now, whatever was logged in the meantime.

Legend: N questions (item, time), A actions.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from aisle.core.lists import Array
from aisle.core.shop import Counter, Counts

ACTIONS = ("impression", "click", "cart", "order")
PAIR_ACTIONS = ("impression", "click")
HALF_LIFE_S = 7 * 86_400.0
PRIOR_RATE = 0.05
PRIOR_WEIGHT = 20.0
"""Rates of clicks start at 5%, as if 20 impressions had been seen."""

OF_ITEM = {a: Counter(name=f"ranking_item_{a}", action=a, half_life_s=HALF_LIFE_S) for a in ACTIONS}
OF_PAIR = {
    a: Counter(name=f"ranking_pair_{a}", action=a, half_life_s=HALF_LIFE_S, per_query=True) for a in PAIR_ACTIONS
}
COUNTERS = (*OF_ITEM.values(), *OF_PAIR.values())


def of_items(source: Counts, item_N: Array, time_N: Array) -> dict[str, Array]:
    """float32[N] each: decayed counts by action, on a log scale, and the rate of clicks."""
    count = {a: source.counts(counter, item_N, time_N) for a, counter in OF_ITEM.items()}
    return {**{f"item_{a}s": _log(c) for a, c in count.items()}, "item_rate": _rate(count)}


def of_pairs(source: Counts, query_N: Array, item_N: Array, time_N: Array) -> dict[str, Array]:
    """float32[N] each: the same of an item for a query (``core.requests.query_ids``); nothing is counted for -1."""
    count = {a: source.counts(counter, item_N, time_N, query_N) for a, counter in OF_PAIR.items()}
    return {**{f"pair_{a}s": _log(c) for a, c in count.items()}, "pair_rate": _rate(count)}


def _log(count_N: Array) -> Array:
    return np.log1p(count_N).astype(np.float32)


def _rate(count: Mapping[str, Array]) -> Array:
    rate = (count["click"] + PRIOR_RATE * PRIOR_WEIGHT) / (count["impression"] + PRIOR_WEIGHT)
    return np.asarray(rate, np.float32)
