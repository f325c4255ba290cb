"""Policies: what makes the pages of a town.  Each sees displayed data and what happened so far, never truth.

    LexicalPolicy   a plain BM25 with popular items first; a known share of random pages
    UniformPolicy   every item of the pool with the same chance
    RankedPolicy    any fitted funnel, or whatever ranks requests
    SplitPolicy     one policy or another: by shopper in an A/B test, or by scene
    DraftedPolicy   one page drafted from several rankings: interleaving

``oracle.TruthPolicy`` is told the truth, as an upper bound.  Legend: V visits, K places, P pool, I items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import pyarrow.compute as pc

from aisle.core.draws import mixed, uniform
from aisle.core.errors import ContractError, SettingError
from aisle.core.lists import Array, ItemLists
from aisle.core.requests import Requests, hashed
from aisle.simulate.lexical import best
from aisle.simulate.shoppers.visits import Pages, Policy, Visits
from aisle.simulate.world import World

PAGE = 10
POOL = 40
DEEP = 3 * POOL
"""Rows found for a search, of which some may not be on sale."""


class LexicalPolicy:
    """The default logging policy: plain BM25 with popular items first; in feeds, popular items of the shelf of the last click.

    A share ``epsilon`` of lists are the best POOL items in random order, the others in their own order; page 2 goes on where
    page 1 ended.  So an item of the pool has at every place the propensity epsilon / pool size, and 1 - epsilon more at
    its own.  Raises SettingError for an epsilon outside [0, 1].
    """

    def __init__(self, world: World, epsilon: float = 0.2) -> None:
        if not 0 <= epsilon <= 1:
            raise SettingError(f"epsilon is {epsilon}; give the share of random pages, from 0 to 1")
        self._world, self._epsilon = world, epsilon
        self._shelf = shelves(world)
        attractive = world.popularity + 0.01
        feeds = [best(np.where(self._shelf == s, attractive, 0), DEEP) for s in range(self._shelf.max() + 1)]
        # Row s is shelf s; the last row stands for shoppers without a click.
        self._feeds = np.stack([padded(found, DEEP) for found in (*feeds, best(attractive, DEEP))])
        self._found: dict[str, Array] = {}

    def __call__(self, visits: Visits, rng: np.random.Generator) -> Pages:
        shelf = np.where(visits.last_item >= 0, self._shelf[visits.last_item], len(self._feeds) - 1)
        pool_VP = on_sale(self._feeds, visits.shop.on_sale)[shelf]
        searches = np.flatnonzero(visits.text != "")
        if len(searches):
            texts, which = np.unique(visits.text[searches].astype(str), return_inverse=True)
            found = np.stack([self._search(str(text)) for text in texts])
            pool_VP[searches] = on_sale(found, visits.shop.on_sale)[which]
        return shuffled(pool_VP, visits, self._epsilon)

    def _search(self, text: str) -> Array:
        """int32[DEEP], -1 past the end."""
        if text not in self._found:
            score = self._world.bm25.score(text)
            self._found[text] = padded(best(np.where(score > 0, score + 2 * self._world.popularity, 0), DEEP), DEEP)
        return self._found[text]


class UniformPolicy(LexicalPolicy):
    """The pools of LexicalPolicy, every list in random order."""

    def __init__(self, world: World) -> None:
        super().__init__(world, 1.0)


def shelves(world: World) -> Array:
    """int32[I]: the displayed category path of each item as a number from 0."""
    path = pc.list_element(world.items["category"], 0).combine_chunks().dictionary_encode()
    number: Array = path.indices.to_numpy()
    return number


def padded(rows: Array, size: int) -> Array:
    """int32[size], -1 past the end."""
    return np.concatenate([rows, np.full(size - len(rows), -1, np.int32)]).astype(np.int32)


def on_sale(found_FD: Array, sale_I: Array) -> Array:
    """int32[F, POOL]: the first POOL rows of each that are on sale, -1 past the end."""
    kept = (found_FD >= 0) & sale_I[found_FD]
    order = np.argsort(~kept, axis=1, kind="stable")[:, :POOL]
    pool: Array = np.where(np.take_along_axis(kept, order, 1), np.take_along_axis(found_FD, order, 1), -1)
    return pool


def shuffled(pool_VP: Array, visits: Visits, epsilon: float, places: int = PAGE) -> Pages:
    """Pages from pools, best first and -1 past the end: a share ``epsilon`` of lists in random order, with propensities.

    The order is drawn from ``visits.seed``.
    """
    num, size = pool_VP.shape
    filled = pool_VP >= 0
    explores = uniform(mixed(visits.seed, 41)) < epsilon
    place_VP = np.broadcast_to(np.arange(size, dtype=np.float32) / size, (num, size)).copy()
    rows = np.flatnonzero(explores)
    place_VP[rows] = uniform(mixed(visits.seed[rows, None], np.arange(size)), 42)
    place_VP[~filled] = np.inf
    order_VP = np.argsort(place_VP[rows], axis=1, kind="stable")
    at = visits.offset[:, None] + np.arange(places)
    beyond = at >= size
    chosen = np.minimum(at, size - 1)
    chosen[rows] = np.take_along_axis(order_VP, chosen[rows], 1)
    item = np.where(beyond, -1, np.take_along_axis(pool_VP, chosen, 1))
    at_random = epsilon / np.maximum(filled.sum(1), 1)[:, None]
    return Pages(item, at_random + (1 - epsilon) * (chosen == at))


class Ranker(Protocol):
    """A fitted funnel, or anything that answers requests as one."""

    def ranked(self, requests: Requests, k: int | None = None) -> ItemLists: ...


class RankedPolicy:
    """Whatever ranks requests, such as a fitted funnel: ``ranker.ranked(requests)``, in batches.

    Propensities are those that the ranker writes, 1 without.  Further pages show on from the same list.

    searches_are_personal  set it to False where a search is answered by its words alone, whoever asks and whenever: each text
                           is then ranked once and remembered
    """

    def __init__(
        self, ranker: Ranker, *, places: int = PAGE, batch: int = 256, searches_are_personal: bool = True
    ) -> None:
        self.ranker, self.places, self.batch = ranker, places, batch
        self._remembered: dict[str, ItemLists] | None = None if searches_are_personal else {}

    def __call__(self, visits: Visits, rng: np.random.Generator) -> Pages:
        return paged(self.rankings(visits), visits, self.places)

    def rankings(self, visits: Visits) -> ItemLists:
        """V whole lists, with the column ``propensity``."""
        if self._remembered is None:
            return self._ranked(requests_of(visits))
        texts, which = np.unique(visits.text.astype(str), return_inverse=True)
        new = [n for n, text in enumerate(texts) if text and text not in self._remembered]
        if new:
            _, first = np.unique(which, return_index=True)
            found = self._ranked(requests_of(visits.select(first[new])))
            self._remembered |= {str(texts[n]): found.list_of(place) for place, n in enumerate(new)}
        feeds = np.flatnonzero(visits.text == "")
        lists = [self._remembered[str(text)] for text in texts if text]
        start = len(texts) - len(lists)
        lists = [*lists, self._ranked(requests_of(visits.select(feeds)))] if len(feeds) else lists
        place = which - start
        place[feeds] = len(texts) - start + np.arange(len(feeds))
        return ItemLists.concat(lists).select(place)

    def _ranked(self, requests: Requests) -> ItemLists:
        parts = [
            self.ranker.ranked(requests.select(np.arange(start, min(start + self.batch, len(requests)))))
            for start in range(0, len(requests), self.batch)
        ]
        certain = [
            part if "propensity" in part.columns else part.with_columns(propensity=np.ones(len(part.item), np.float32))
            for part in parts
        ]
        return ItemLists.concat([part.only("propensity") for part in certain])


def requests_of(visits: Visits) -> Requests:
    """What a server would be asked: user ids hashed as those of the log are."""
    users, which = np.unique(visits.user, return_inverse=True)
    names = np.array([hashed(f"u{user}") for user in users], np.int64)
    return Requests.make(
        [str(text) for text in visits.text],
        user=names[which],
        session=visits.session,
        scene=visits.scene,
        time_s=visits.time_s,
        seed=visits.seed,
        history=visits.history,
    )


def paged(lists: ItemLists, visits: Visits, places: int) -> Pages:
    """The places of each list that follow the visit's offset, without what is not on sale."""
    lists = lists.take(visits.shop.on_sale[lists.item])
    from_offset = lists.take(lists.position >= visits.offset[lists.owner])
    return Pages.of(from_offset, places)


class SplitPolicy:
    """``arm_of(visits) -> int[V]``: visits of arm n are answered by policy n; by shopper in an A/B test, or by scene."""

    def __init__(self, policies: Sequence[Policy], arm_of: Callable[[Visits], Array]) -> None:
        self.policies, self.arm_of = policies, arm_of

    def __call__(self, visits: Visits, rng: np.random.Generator) -> Pages:
        arm = self.arm_of(visits)
        pages: Pages | None = None
        for number, policy in enumerate(self.policies):
            rows = np.flatnonzero(arm == number)
            if not len(rows):
                continue
            part = policy(visits.select(rows), rng)
            if pages is None:
                shape = (len(visits), part.item.shape[1])
                pages = Pages(np.full(shape, -1, np.int32), np.ones(shape))
            pages.item[rows], pages.propensity[rows] = part.item, part.propensity
        if pages is None:
            raise ContractError(f"no visit fell to one of the {len(self.policies)} arms; arm_of gives 0, 1, ...")
        return pages


class DraftedPolicy:
    """One page from several rankings: ``draft(rankings, requests, k) -> ItemLists`` with the column ``team``, such as
    ``evaluate.interleaving.multileave``.  ``teams`` holds int8[V, K] of the last pages, -1 where there is no item."""

    def __init__(
        self,
        policies: Sequence[Policy],
        draft: Callable[[Sequence[ItemLists], Requests, int], ItemLists],
        *,
        places: int = PAGE,
    ) -> None:
        self.policies, self.draft, self.places = policies, draft, places
        self.teams = np.zeros((0, places), np.int8)

    def __call__(self, visits: Visits, rng: np.random.Generator) -> Pages:
        requests = Requests.make([str(t) for t in visits.text], seed=visits.seed)
        rankings = [listed(policy(visits, rng)) for policy in self.policies]
        drafted = self.draft(rankings, requests, self.places)
        pages = Pages.of(drafted, self.places)
        self.teams = np.full(pages.item.shape, -1, np.int8)
        self.teams[drafted.owner, drafted.position] = drafted["team"]
        return pages


def listed(pages: Pages) -> ItemLists:
    """Pages as lists, without what is empty; column ``propensity``."""
    shown = pages.item >= 0
    splits = np.concatenate([[0], np.cumsum(shown.sum(1))])
    return ItemLists(pages.item[shown], splits, {"propensity": pages.propensity[shown]})
