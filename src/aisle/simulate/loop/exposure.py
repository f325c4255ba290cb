"""Exposure targets: what a shop promised its merchants, and how far it has got; for the allocation of traffic.

New and small merchants, and campaigns, are to be shown more often than they would be by themselves.  Targets are what a shop
knows, not truth.  Legend: M merchants with a target, I items, N impressions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aisle.core.draws import key_of, mixed, uniform
from aisle.core.errors import SettingError
from aisle.core.lists import Array
from aisle.data.items import indices_of
from aisle.simulate.world import World

KINDS = ("new", "small", "campaign")
SHARE = 0.4
"""Of the merchants that have a target."""


@dataclass(frozen=True, eq=False)
class Targets:
    """
    merchant   M names
    kind       int8[M]     index into KINDS
    quota      int64[M]    impressions a day that were promised
    worth      float64[M]  what an impression of the promise is worth to the shop, the mean 1
    owner      int32[I]    the target that each item counts for, -1 none
    """

    merchant: tuple[str, ...]
    kind: Array
    quota: Array
    worth: Array
    owner: Array

    def __len__(self) -> int:
        return len(self.merchant)

    def delivered(self, item_N: Array) -> Array:
        """int64[M]: impressions of each target among these rows; -1 is no item."""
        owner = self.owner[item_N[item_N >= 0]]
        return np.bincount(owner[owner >= 0], minlength=len(self))

    def missing(self, item_N: Array, day_share: float = 1.0) -> Array:
        """float64[M]: impressions that are missing when so much of the day has passed; 0 where the promise is kept."""
        return np.maximum(self.quota * day_share - self.delivered(item_N), 0)


def targets(
    world: World, impressions_per_day: int, *, promised: float = 0.1, lift: float = 1.5, seed: int = 0
) -> Targets:
    """Targets for some of a world's merchants that add up to about a share ``promised`` of all impressions.

    A promise is ``lift`` times the share of the catalogue that a merchant's items have, then scaled to the total.
    Raises SettingError for a share outside (0, 1) or a lift of 0 or less.
    """
    if not 0 < promised < 1 or not lift > 0:
        raise SettingError(f"promised {promised}, lift {lift}; give a share between 0 and 1 and a lift above 0")
    code, names = indices_of(world.items["merchant"])
    size = np.bincount(code[code >= 0], minlength=len(names))
    key = mixed(key_of("targets"), world.seed, seed, np.arange(len(names)))
    created = world.items["created_s"].to_numpy()
    newest = np.full(len(names), -np.inf)
    np.maximum.at(newest, code[code >= 0], created[code >= 0])
    chosen = np.flatnonzero((uniform(key) < SHARE) & (size > 0))
    if not len(chosen):
        chosen = np.flatnonzero(size > 0)[:1]
    small, new = size[chosen] < np.median(size), newest[chosen] > np.quantile(newest, 0.7)
    kind = np.where(new, 0, np.where(small, 1, 2)).astype(np.int8)
    wish = lift * size[chosen] / world.num_items * impressions_per_day
    quota = np.maximum(np.round(wish * promised * impressions_per_day / max(wish.sum(), 1e-9)), 1).astype(np.int64)
    worth = 0.5 + uniform(key, 1)[chosen]
    place = np.full(len(names) + 1, -1, np.int32)
    place[chosen] = np.arange(len(chosen))
    return Targets(tuple(names[n] for n in chosen), kind, quota, worth / worth.mean(), place[code])
