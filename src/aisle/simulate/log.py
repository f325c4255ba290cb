"""A behaviour log: shoppers with tastes visit, a logging policy makes pages, they look, click, cart and order.

The policy sees displayed data and the log so far; choices follow truth and taste.  Examination falls with position
(position-based model).  One day is one batch, so a policy may learn from the days before.

Legend: V visits of a day, K places of a page, U shoppers, P pool, I items, S shelves, C colour families.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aisle.core.env import Progress, silent
from aisle.core.errors import SettingError
from aisle.core.lists import Array
from aisle.data.schema import EVENTS, complete
from aisle.simulate.catalogue import DAY_S, START_S
from aisle.simulate.lexical import best
from aisle.simulate.queries import Query
from aisle.simulate.taxonomy import CODE, COLOURS, LEAVES
from aisle.simulate.world import World

PAGE = 10
POOL = 40
SEARCH_SHARE = 0.6
LAST_VISIT = 1 - 300 / DAY_S
"""No visit of a day begins later, so that its last act falls on the same day."""

ACTIONS = ("impression", "click", "cart", "order")


@dataclass(frozen=True, eq=False)
class Visits:
    """What a policy sees of V visits: ``text`` (V strings, "" in a feed), ``user`` int64[V], ``time_s`` float64[V], and
    ``last_item`` int32[V], the row that the user clicked last on an earlier day, -1 none."""

    text: Sequence[str]
    user: Array
    time_s: Array
    last_item: Array


@dataclass(frozen=True, eq=False)
class Pages:
    """``item`` int32[V, K], -1 past the end of a short page; ``propensity`` float64[V, K] of the item at its place."""

    item: Array
    propensity: Array


Policy = Callable[[Visits, np.random.Generator], Pages]


class LexicalPolicy:
    """The default logging policy: plain BM25 with popular items first; in feeds, popular items of the shelf of the last
    click.  With probability ``epsilon`` a page is a random draw from the best POOL items, so propensities are known."""

    def __init__(self, world: World, epsilon: float = 0.2) -> None:
        if not 0 <= epsilon <= 1:
            raise SettingError(f"epsilon is {epsilon}; give the share of random pages, from 0 to 1")
        self._world, self._epsilon = world, epsilon
        shelf = pc.list_element(world.items["category"], 0).combine_chunks().dictionary_encode()
        self._shelf = shelf.indices.to_numpy()
        attractive = world.popularity + 0.01
        self._feeds = [best(np.where(self._shelf == s, attractive, 0), POOL) for s in range(len(shelf.dictionary))]
        self._popular = best(attractive, POOL)
        self._pools: dict[str, Array] = {}

    def __call__(self, visits: Visits, rng: np.random.Generator) -> Pages:
        pool_VP = np.full((len(visits.user), POOL), -1, np.int32)
        for v, text in enumerate(visits.text):
            pool = self._search(text) if text else self._feed(visits.last_item[v])
            pool_VP[v, : len(pool)] = pool
        filled = pool_VP >= 0
        explores = rng.random(len(pool_VP)) < self._epsilon
        order = np.where(explores[:, None], rng.random(pool_VP.shape), np.arange(POOL)[None, :] / POOL)
        chosen = np.argsort(np.where(filled, order, np.inf), axis=1, kind="stable")[:, :PAGE]
        item = np.take_along_axis(pool_VP, chosen, 1)
        at_random = self._epsilon / np.maximum(filled.sum(axis=1), 1)
        greedy = (1 - self._epsilon) * (chosen == np.arange(PAGE))
        return Pages(item, at_random[:, None] + greedy)

    def _search(self, text: str) -> Array:
        if text not in self._pools:
            score = self._world.bm25.score(text)
            self._pools[text] = best(np.where(score > 0, score + 2 * self._world.popularity, 0), POOL)
        return self._pools[text]

    def _feed(self, last_item: int) -> Array:
        return self._popular if last_item < 0 else self._feeds[self._shelf[last_item]]


@dataclass(frozen=True, eq=False)
class Shoppers:
    """Latent tastes of U shoppers.

    leaf, colour  float32[U, S] and float32[U, C + 1], liking from 0 to 1; the last colour is none
    tier          int64[U], the price tier a shopper looks for
    thrift        float32[U], how much a high price deters
    favourites    int64[U, 3], the shelves a shopper likes, most liked first
    """

    leaf: Array
    colour: Array
    tier: Array
    thrift: Array
    favourites: Array

    @classmethod
    def draw(cls, count: int, rng: np.random.Generator) -> Shoppers:
        favourites = np.argsort(rng.random((count, len(LEAVES))), axis=1)[:, :3]
        leaf_US = np.zeros((count, len(LEAVES)), np.float32)
        np.put_along_axis(leaf_US, favourites, np.array([[1.0, 0.7, 0.5]], np.float32), 1)
        colour_UC = (rng.random((count, len(COLOURS) + 1)) ** 4).astype(np.float32)
        colour_UC[:, -1] = 0
        return cls(
            leaf_US, colour_UC, rng.integers(0, 3, count), rng.lognormal(0, 0.4, count).astype(np.float32), favourites
        )


def log(
    world: World,
    days: int = 7,
    visits_per_day: int | None = None,
    seed: int = 0,
    *,
    policy: Policy | None = None,
    num_queries: int = 600,
    progress: Progress = silent,
) -> pa.Table:
    """Events of ``days`` from START_S on (EVENTS table, in time order), impressions with their propensity included.

    visits_per_day: a quarter of the number of items, at least 200, when None.
    Shoppers and their luck do not depend on the policy: two policies of one seed meet the same visits.
    Raises SettingError for a negative number.
    """
    tables = log_days(world, days, visits_per_day, seed, policy=policy, num_queries=num_queries, progress=progress)
    return pa.concat_tables([EVENTS.empty_table(), *tables]).combine_chunks()


def log_days(
    world: World,
    days: int = 7,
    visits_per_day: int | None = None,
    seed: int = 0,
    *,
    policy: Policy | None = None,
    num_queries: int = 600,
    progress: Progress = silent,
) -> Iterator[pa.Table]:
    """The log of ``log``, one table a day."""
    visits_per_day = max(200, world.num_items // 4) if visits_per_day is None else visits_per_day
    if days < 0 or visits_per_day < 0:
        raise SettingError(f"{days} days of {visits_per_day} visits were asked for; give 0 or more of both")
    num_users = max(50, days * visits_per_day // 10)
    town = _Town(world, _log_queries(world, num_queries), num_users, (world.seed, seed, 9))
    policy = policy or LexicalPolicy(world)
    progress("days", 0, days)
    for day in range(days):
        yield town.day(day, visits_per_day, policy)
        progress("days", day + 1, days)


def _log_queries(world: World, count: int) -> list[Query]:
    """As many queries as a world has words for, at most ``count``: tiny worlds have fewer."""
    while True:
        try:
            return world.queries(count)
        except SettingError:
            count //= 2


class _Town:
    """The shoppers of a world and what they did last."""

    def __init__(self, world: World, asked: Sequence[Query], num_users: int, seed: tuple[int, ...]) -> None:
        self.world, self.asked = world, sorted(asked, key=lambda query: query.intent.leaf)
        self.seed = seed
        self.shoppers = Shoppers.draw(num_users, np.random.default_rng(seed))
        self.last_item = np.full(num_users, -1, np.int32)
        self.activity = np.cumsum(1.0 / (5 + np.arange(num_users)))
        self.leaf_of_query = np.array([query.intent.leaf for query in self.asked])
        self.appeal, self.colour = _appeal(world)
        self.num_visits = 0

    def day(self, day: int, visits: int, policy: Policy) -> pa.Table:
        """The events of one day, in time order."""
        rng, policy_rng, choice_rng = (np.random.default_rng((*self.seed, day, part)) for part in range(3))
        user = np.searchsorted(self.activity, rng.random(visits) * self.activity[-1])
        time_s = np.sort(np.round(START_S + DAY_S * (day + np.minimum(rng.beta(5, 3, visits), LAST_VISIT)), 3))
        query = self._choose_queries(user, rng)
        text = [self.asked[q].text if q >= 0 else "" for q in query]
        page = policy(Visits(text, user, time_s, self.last_item[user]), policy_rng)
        acts = self._choose(user, query, page.item, choice_rng)
        clicked = np.nonzero(acts[0])
        self.last_item[user[clicked[0]]] = page.item[clicked]
        table = self._table(user, time_s, np.array(text, object), query, page, acts)
        self.num_visits += visits
        return table

    def _choose_queries(self, user: Array, rng: np.random.Generator) -> Array:
        """int64[V] index into ``asked``, -1 for a feed; mostly queries of the user's favourite shelves."""
        count = len(user)
        favourite = self.shoppers.favourites[user, rng.choice(3, count, p=(0.5, 0.3, 0.2))]
        low = np.searchsorted(self.leaf_of_query, favourite, "left")
        high = np.searchsorted(self.leaf_of_query, favourite, "right")
        elsewhere = (rng.random(count) < 0.2) | (low == high)
        low, high = np.where(elsewhere, 0, low), np.where(elsewhere, len(self.asked), high)
        query = low + ((high - low) * rng.random(count) ** 2).astype(np.int64)
        return np.where(rng.random(count) < SEARCH_SHARE, query, -1)

    def _choose(
        self, user: Array, query: Array, item_VK: Array, rng: np.random.Generator
    ) -> tuple[Array, Array, Array]:
        """bool[V, K] clicks, carts and orders."""
        world, shown = self.world, item_VK >= 0
        item = np.where(shown, item_VK, 0)
        grade_VK = np.zeros(item.shape, np.float32)
        for q in np.unique(query[query >= 0]):
            visits = query == q
            grade_VK[visits] = world.grades(self.asked[q], item[visits].ravel()).reshape(-1, item.shape[1]) - 1
        who = user[:, None]
        match = self.shoppers
        taste = match.leaf[who, world.truth.leaf[item]] + match.colour[who, self.colour[item]]
        taste += 0.5 * (match.tier[who] == world.truth.tier[item])
        searches = (query >= 0)[:, None]
        want = np.where(
            searches, 1.3 * grade_VK - 4.0 + 0.7 * world.knobs.taste * taste, -2.9 + 1.4 * world.knobs.taste * taste
        )
        want = want + self.appeal[item] - 0.4 * match.thrift[who] * self._dear(item)
        seen = rng.random(item.shape) < (1.0 / (1.0 + np.arange(item.shape[1])) ** 0.7)
        click = shown & seen & (rng.random(item.shape) < _sigmoid(want))
        in_stock = world.items["stock"].to_numpy()[item] > 0
        cart = click & in_stock & (rng.random(item.shape) < _sigmoid(0.8 * want - 1.4))
        order = cart & (rng.random(item.shape) < 0.45)
        return click, cart, order

    def _dear(self, item: Array) -> Array:
        """The logarithm of price against what the shelf usually costs."""
        usual = np.array([leaf.price for leaf in LEAVES])[self.world.truth.leaf[item]]
        dear: Array = np.log(self.world.truth.price_cents[item] / 100 / usual)
        return dear

    def _table(
        self, user: Array, time_s: Array, text: Array, query: Array, page: Pages, acts: tuple[Array, Array, Array]
    ) -> pa.Table:
        places = [np.nonzero(mask) for mask in (page.item >= 0, *acts)]
        visit = np.concatenate([p[0] for p in places])
        position = np.concatenate([p[1] for p in places])
        action = np.repeat(np.arange(len(ACTIONS)), [len(p[0]) for p in places])
        delay_s = np.array([0.0, 2.0, 20.0, 90.0])[action] + np.where(action > 0, 3.0 * position, 0.0)
        time = time_s[visit] + delay_s
        order = np.lexsort((position, action, visit, time))
        visit, position, action, time = visit[order], position[order], action[order], time[order]
        item = page.item[visit, position]
        number = self.num_visits + visit
        counted = action >= ACTIONS.index("cart")
        ids = self.world.items["item_id"].combine_chunks()
        session = _named("s", number)
        columns = {
            "time_s": time,
            "user_id": _named("u", user[visit]),
            "session_id": session,
            "request_id": _named("r", number),
            "scene": pa.array(["search", "feed"]).take(pa.array((query < 0).astype(np.int8)[visit])),
            "query": pa.array(text, pa.string()).take(pa.array(visit)),
            "item_id": ids.take(pa.array(item)),
            "position": position.astype(np.int32),
            "action": pa.array(ACTIONS).take(pa.array(action)),
            "quantity": pa.array(np.ones(len(action), np.int32), mask=~counted),
            "price_cents": self.world.truth.price_cents[item],
            "propensity": page.propensity[visit, position],
        }
        return complete(pa.table(columns), EVENTS)


def _named(prefix: str, number: Array) -> pa.Array:
    return pc.binary_join_element_wise(prefix, pa.array(number).cast(pa.string()), "")


def _appeal(world: World) -> tuple[Array, Array]:
    """float32[I] of what everyone likes, quality and reviews, and int64[I] colour family of each item (last: none)."""
    rating = np.nan_to_num(world.items["rating"].to_numpy(), nan=3.5)
    appeal = (0.4 * world.truth.quality + 0.3 * (rating - 3.9) + 0.5 * world.popularity).astype(np.float32)
    place = {CODE[family]: n for n, family in enumerate(COLOURS)}
    lookup = np.full(len(CODE) + 1, len(COLOURS))
    lookup[list(place)] = list(place.values())
    none = np.full(world.num_items, -1, np.int16)
    return appeal, lookup[world.truth.families.get("colour", none)]


def _sigmoid(x: Array) -> Array:
    value: Array = 1.0 / (1.0 + np.exp(-x))
    return value
