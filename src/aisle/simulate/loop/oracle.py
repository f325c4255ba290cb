"""Oracle: answers that only the truth can give.  The upper bound of policies, the value of one, the best page.

Legend: V visits, K places, P pool, A arrangements of a page.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from aisle.core.errors import SettingError
from aisle.core.lists import Array
from aisle.simulate.loop.policies import PAGE
from aisle.simulate.loop.town import Town
from aisle.simulate.shoppers.behaviour import Chances
from aisle.simulate.shoppers.visits import Minds, Oracle, Pages, Party, Policy
from aisle.simulate.world import World

REWARDS = ("click", "order", "revenue")

MOST_ARRANGEMENTS = 50_000


def rewards(world: World, chances: Chances, item_VK: Array, reward: str) -> Array:
    """float64[V, K]: what each place earns, in the mean: clicks, orders, or cents of orders.

    Raises SettingError for another reward.
    """
    if reward not in REWARDS:
        raise SettingError(f"reward {reward!r} is unknown; give one of {', '.join(REWARDS)}")
    if reward == "click":
        return chances.click.astype(np.float64)
    cents = world.truth.price_cents[item_VK] if reward == "revenue" else 1.0
    return chances.bought * np.asarray(cents, np.float64)


@dataclass(frozen=True, slots=True)
class Value:
    """What a policy earns a page, in the mean over ``num_pages``: clicks, orders, revenue_cents.

    error_*  standard errors over shoppers, whose pages belong together
    """

    clicks: float
    orders: float
    revenue_cents: float
    error_clicks: float
    error_orders: float
    error_revenue_cents: float
    num_pages: int
    num_sessions: int
    num_users: int

    @property
    def pages_per_user(self) -> float:
        """Times a mean a page this is what a shopper does in all."""
        return self.num_pages / self.num_users


def value(town: Town, policy: Policy | Oracle, days: int, visits_per_day: int, *, first_day: int = 0) -> Value:
    """The true value of a policy with these shoppers, from this moment on; the town itself is left as it is.

    Sums chances, not acts, so nothing but the choice of visits is left to luck.  Two policies of one town meet the same
    shoppers with the same luck: their difference is much better known than each value.
    """
    town = town.fork()
    user, earned = [], []
    sessions = town.num_sessions
    for day in range(first_day, first_day + days):
        for party, pages, _ in town.served(policy, day, visits_per_day):
            chances = town.chances(party, pages)
            user.append(party.visits.user)
            earned.append(np.stack([rewards(town.world, chances, pages.item, r).sum(1) for r in REWARDS], axis=1))
    return _value(np.concatenate(user), np.concatenate(earned), town.num_sessions - sessions)


def _value(user: Array, earned: Array, num_sessions: int) -> Value:
    mean = earned.mean(0)
    users, index = np.unique(user, return_inverse=True)
    by_user = np.stack([np.bincount(index, earned[:, r] - mean[r]) for r in range(len(REWARDS))], axis=1)
    error = np.sqrt((by_user**2).sum(0)) / len(user)
    clicks, orders, cents, *errors = map(float, [*mean, *error])
    return Value(clicks, orders, cents, errors[0], errors[1], errors[2], len(user), num_sessions, len(users))


class TruthPolicy:
    """Told what every shopper wants: of the pools of another policy, the items that earn most, one by one.

    Each item is valued alone on a page, at the first place, then the best stand on top.  Where items of a page do nothing to
    each other this is the best page there is; else see ``best_page``.
    """

    def __init__(self, town: Town, pools: Policy, reward: str = "click", *, places: int = PAGE, pages: int = 4) -> None:
        self.behaviour, self.pools, self.reward = town.behaviour, pools, reward
        self.places, self.num_pages = places, pages

    def answer(self, party: Party, rng: np.random.Generator) -> Pages:
        """Pages for a party."""
        pool_VP = self._pool(party, rng)
        worth = np.where(pool_VP >= 0, self._alone(party.minds, pool_VP), -np.inf)
        order = np.argsort(-worth, axis=1, kind="stable")
        at = np.minimum(party.visits.offset[:, None] + np.arange(self.places), pool_VP.shape[1] - 1)
        item = np.take_along_axis(pool_VP, np.take_along_axis(order, at, 1), 1)
        return Pages(item, np.ones(item.shape))

    def _pool(self, party: Party, rng: np.random.Generator) -> Array:
        """int32[V, P]: what the first pages of the other policy show."""
        found = [
            self.pools(replace(party.visits, offset=np.full(len(party), n * self.places)), rng).item
            for n in range(self.num_pages)
        ]
        return np.concatenate(found, 1)

    def _alone(self, minds: Minds, pool_VP: Array) -> Array:
        """float64[V, P]: what each item earns as the only one of a page."""
        num, size = pool_VP.shape
        each = minds.select(np.repeat(np.arange(num), size))
        item = pool_VP.reshape(-1, 1)
        chances = self.behaviour.chances(each, item)
        return rewards(self.behaviour.world, chances, item, self.reward).reshape(num, size)


def best_page(town: Town, party: Party, pool: Array, places: int, reward: str = "click") -> tuple[Array, Array]:
    """The best page of ``places`` items from ``pool`` for each visit, by trying every arrangement.

    Returns (item int32[V, places], what it earns float64[V]).  Raises SettingError for more than 50,000 arrangements.
    """
    if places > len(pool):
        raise SettingError(f"a page of {places} places from {len(pool)} items; give at least as many items as places")
    arrangements = int(np.prod(np.arange(len(pool) - places + 1, len(pool) + 1)))
    if arrangements > MOST_ARRANGEMENTS:
        raise SettingError(
            f"{places} of {len(pool)} items have {arrangements} arrangements; give few enough for {MOST_ARRANGEMENTS}"
        )
    item_AK = np.array(list(permutations(np.asarray(pool, np.int32), places)), np.int32)
    item = np.empty((len(party), places), np.int32)
    earned = np.empty(len(party))
    for v in range(len(party)):
        minds = party.minds.select(np.full(len(item_AK), v))
        chances = town.behaviour.chances(minds, item_AK)
        total = rewards(town.world, chances, item_AK, reward).sum(1)
        item[v], earned[v] = item_AK[total.argmax()], total.max()
    return item, earned
