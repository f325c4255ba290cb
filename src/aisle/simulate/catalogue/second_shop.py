"""A second shop in the same market: some products are in both, under other ids, prices, words and numbers.

Legend: I items of the second shop.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from aisle.core.draws import key_of, mixed, normal, uniform
from aisle.core.errors import SettingError
from aisle.core.lists import Array
from aisle.simulate.catalogue.items import display
from aisle.simulate.catalogue.products import NUM_MERCHANTS, ended, german_merchants, make_truth
from aisle.simulate.catalogue.truth import Truth
from aisle.simulate.knobs import Knobs


def second_shop(
    first: Truth, items: int, seed: int, knobs: Knobs, shared: float = 0.3
) -> tuple[pa.Table, Truth, Array]:
    """The second shop's catalogue, ids q0, q1, ..., its truth, and int32[I]: the row of the same product in the first
    shop, -1 for none.

    A share of its items are products of the first shop (``seed``: that of the first), the wanted ones rather; brands
    and merchants are the same in both, the shelves sell in other proportions.
    Raises SettingError for a share outside [0, 1] or fewer than one item.
    """
    if not 0 <= shared <= 1:
        raise SettingError(f"a share of {shared} of the items cannot be in both shops; give a number from 0 to 1")
    own = make_truth(items, _other_seed(seed, "shop"), knobs, market=seed)
    number, size = np.arange(items), len(first.leaf)
    wanted = min(round(shared * items), size)
    twin = np.full(items, -1, np.int32)
    twin[_chosen(seed, "places", np.ones(items), wanted)] = _chosen(seed, "twins", first.demand, wanted)
    truth = Truth.joined([first, own]).take(np.where(twin >= 0, twin, size + number))
    changed = np.exp(0.08 * normal(mixed(seed, key_of("other price"), number)))
    merchant = (mixed(seed, key_of("other merchant"), number) % np.uint64(NUM_MERCHANTS)).astype(np.int16)
    truth = replace(
        truth,
        price_cents=np.where(twin >= 0, ended(truth.price_cents / 100 * changed), truth.price_cents),
        merchant=merchant,
        german=german_merchants(seed, knobs.german)[merchant],
        group=np.where(twin >= 0, items + truth.group, truth.group).astype(np.int32),
    )
    table, truth = display(truth, _other_seed(seed, "words"), knobs, "q")
    return table, truth, twin


def _chosen(seed: int, what: str, weight: Array, count: int) -> Array:
    """int64[count] ascending: different rows, drawn in proportion to their weight (Efraimidis, Spirakis 2006)."""
    draw = uniform(mixed(seed, key_of(what), np.arange(len(weight))))
    rank = np.argsort(-np.log1p(-draw) / weight, kind="stable")
    chosen: Array = np.sort(rank[:count])
    return chosen


def _other_seed(seed: int, what: str) -> int:
    return int(mixed(seed, key_of(f"second shop: {what}"))[0] >> np.uint64(1))
