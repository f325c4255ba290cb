"""Town: the shoppers of a world in a closed loop with whatever makes their pages.

    town = Town(world)
    for party in town.arrivals(day, visits):
        while len(party):
            pages = policy(party.visits, rng)
            feedback, party = town.step(party, pages)     # those who ask for another page

``town.served(policy, day, visits)`` is this loop.

Who comes, for what and with which luck does not depend on the pages; whether they come again does.  Batches of BATCH visits
meet the shop at once: what one of them does is known to the next batch.

Legend: V visits, K places, U shoppers, F interests.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from aisle.core.draws import mixed, normal, uniform
from aisle.core.errors import SettingError, UnknownName, nearest
from aisle.core.lists import Array, ItemLists
from aisle.core.requests import Action, Scene
from aisle.simulate.catalogue.products import DAY_S, START_S
from aisle.simulate.catalogue.relations import WEIGHT_SS
from aisle.simulate.shoppers.appeal import Appeal
from aisle.simulate.shoppers.asking import Asking
from aisle.simulate.shoppers.behaviour import Behaviour, Chances
from aisle.simulate.shoppers.examination import MODELS
from aisle.simulate.shoppers.memory import Memory
from aisle.simulate.shoppers.population import Shoppers, Tastes
from aisle.simulate.shoppers.visits import Feedback, Minds, Oracle, Pages, Party, Policy, Storefront, Visits, answered
from aisle.simulate.world import World

BATCH = 8192
SEARCH_SHARE = 0.6
BUYING_SHARE = 0.35
MAX_STEPS = 3
"""Pages that a session asks for at most."""

ACTIVITY_SPREAD = 1.0
"""Standard deviation of ln(visits) between shoppers."""

STEP_S = 80.0
"""From one page of a session to the next, at least; at most twice as long."""

LAST_VISIT = 1 - 600 / DAY_S
"""No visit of a day begins later, so that its last act falls on the same day."""

COMES, INTEREST, ELSEWHERE, WHICH, SCENE, STAGE = range(6)
GOES_ON, HOW, NEXT_LEAF, NEXT_ELSEWHERE, NEXT_WHICH, NEXT_SCENE, LATER = range(7)
"""Draws of a visit, and of a page."""


@dataclass(frozen=True, eq=False)
class Returned:
    """Orders sent back, N of them: ``time_s`` float64[N], and session, user and row of the order."""

    time_s: Array
    session: Array
    user: Array
    item: Array


class Served(NamedTuple):
    """Who asked, what they were shown, and what they did."""

    party: Party
    pages: Pages
    feedback: Feedback


class Town:
    """
    world    who lives here is a function of it and of ``seed``
    users    number of shoppers
    days     over which newcomers come for the first time
    clicks   how they read a page: position, cascade or dependent
    first_user  the first number of a shopper: shoppers of one number and seed are one person, with the same tastes, in two towns
    queries  different ones typed on a day

    Raises SettingError for fewer than one user, UnknownName for a click model that does not exist.
    """

    def __init__(
        self,
        world: World,
        *,
        seed: int = 0,
        users: int = 1000,
        days: int = 7,
        clicks: str = "position",
        first_user: int = 0,
        queries: int = 600,
    ) -> None:
        if users < 1:
            raise SettingError(f"a town of {users} shoppers was asked for; give 1 or more")
        if clicks not in MODELS:
            raise UnknownName(f"no click model {clicks!r}{nearest(clicks, MODELS)}")
        self.world, self.seed = world, seed
        self.first_user = first_user
        persons = first_user + np.arange(users) + 1_000_000_007 * seed
        self.appeal = Appeal.of(world)
        self.shoppers = Shoppers.draw(persons, world.truth.leaf, world.knobs, days)
        self.asking = Asking(world, queries)
        self.behaviour = Behaviour(world, self.appeal, self.shoppers, self.asking.asked, clicks)
        self.memory = Memory(len(persons))
        self.num_sessions = 0
        self._activity = np.exp(ACTIVITY_SPREAD * normal(mixed(persons, 77)))
        self._returned: list[Returned] = []
        self._today = (-1, np.zeros(0, bool))

    def fork(self) -> Town:
        """A town in the same state that goes its own way from here."""
        other = copy.copy(self)
        other.memory = self.memory.copy()
        other._returned = list(self._returned)
        return other

    # -- who comes -----------------------------------------------------------------------------------------------------

    def arrivals(self, day: int, visits: int) -> Iterator[Party]:
        """The first pages asked for on a day, in batches; at most ``visits``, since whoever is displeased comes less often."""
        rng = np.random.default_rng((self.world.seed, self.seed, 9, day))
        activity = np.cumsum(np.where(self.shoppers.first_day <= day, self._activity, 0))
        user = np.searchsorted(activity, rng.random(visits) * activity[-1], side="right")
        time_s = np.sort(np.round(START_S + DAY_S * (day + np.minimum(rng.beta(5, 3, visits), LAST_VISIT)), 3))
        draws = rng.random((6, visits))
        tastes = self.shoppers.tastes(day)
        for start in range(0, visits, BATCH):
            rows = np.arange(start, min(start + BATCH, visits))
            rows = rows[draws[COMES, rows] < self._comes(user[rows])]
            yield self._party(day, user[rows], time_s[rows], draws[:, rows], tastes, rows)

    def _comes(self, user: Array) -> Array:
        """float64[V]: the chance that a visit takes place."""
        loyalty = self.world.knobs.loyalty
        chance: Array = 1 - loyalty * (0.4 - 0.4 * self.memory.mood[user])
        return chance

    def _party(self, day: int, user: Array, time_s: Array, draws: Array, tastes: Tastes, number: Array) -> Party:
        weight = self.shoppers.weight[user]
        interest = (draws[INTEREST][:, None] >= np.cumsum(weight, 1)).sum(1).clip(0, weight.shape[1] - 1)
        leaf = tastes.leaf[user, interest]
        query = self.asking.draw(day, leaf, draws[ELSEWHERE], draws[WHICH])
        query = np.where(draws[SCENE] < SEARCH_SHARE, query, -1)
        key = mixed(self.seed, self.world.seed, day, number)
        minds = Minds(
            user=user,
            query=query,
            leaf=leaf,
            tastes=tastes.leaf[user],
            style=tastes.style[user],
            weight=weight / weight.max(1, keepdims=True),
            buying=draws[STAGE] < BUYING_SHARE,
            seen=self.memory.seen[user],
            clicked=self.memory.last_item[user],
            key=key,
        )
        session = self.num_sessions + np.arange(len(user))
        self.num_sessions += len(user)
        none = np.zeros(len(user), np.int64)
        return Party(self._visits(minds, time_s, none, session, none, key), minds)

    def _visits(self, minds: Minds, time_s: Array, offset: Array, session: Array, step: Array, seed: Array) -> Visits:
        typed = np.array([*(query.text for query in self.asking.asked), ""], object)
        return Visits(
            text=typed[minds.query],
            user=self.first_user + minds.user,
            scene=np.where(minds.query >= 0, Scene.SEARCH, Scene.FEED).astype(np.int8),
            time_s=time_s,
            offset=offset,
            session=session,
            step=step,
            seed=seed,
            last_item=minds.clicked,
            shop=Storefront(self._on_sale(day_of(time_s)), self._histories),
        )

    def _histories(self, user: Array) -> ItemLists:
        return self.memory.histories(user - self.first_user)

    def _on_sale(self, day: int) -> Array:
        """bool[I]: what is there when a day begins; the same array all day long."""
        if self._today[0] != day:
            self._today = (day, self.world.truth.alive(START_S + DAY_S * day))
        return self._today[1]

    # -- what they do --------------------------------------------------------------------------------------------------

    def chances(self, party: Party, pages: Pages) -> Chances:
        """What may happen on these pages, nothing drawn and nothing remembered."""
        return self.behaviour.chances(party.minds, pages.item)

    def step(self, party: Party, pages: Pages) -> tuple[Feedback, Party]:
        """What the shoppers do with their pages, and those who ask for another one."""
        visits, minds = party.visits, party.minds
        acts = self.behaviour.acts(minds, pages.item)
        key = mixed(minds.key, 0x57E9)
        clicked, ordered = acts.click.any(1), acts.order.any(1)
        patience = self.shoppers.patience[minds.user]
        chance = np.where(ordered, 0.15, np.where(clicked, 0.35, 0.45)) * np.minimum(patience, 2.0)
        goes_on = (visits.step + 1 < MAX_STEPS) & (uniform(key, GOES_ON) < chance)
        feedback = Feedback(acts.click, acts.cart, acts.order, ~goes_on)
        self._remember(visits, pages, feedback, acts.returned)
        rows = np.flatnonzero(goes_on)
        return feedback, self._next(party.select(rows), pages.item[rows], acts.click[rows], key[rows])

    def _next(self, party: Party, item_VK: Array, click_VK: Array, key: Array) -> Party:
        """The next page of those who go on: more of the same list, another query, or what goes with what they clicked."""
        visits, minds = party.visits, party.minds
        last = click_VK.shape[1] - 1 - click_VK[:, ::-1].argmax(1)
        clicked = np.where(click_VK.any(1), item_VK[np.arange(len(last)), last], minds.clicked)
        how = uniform(key, HOW)
        goes_with = click_VK.any(1) & (how < 0.3)
        more = ~goes_with & (how < 0.7)
        leaf = np.where(goes_with, self._companion(clicked, uniform(key, NEXT_LEAF), minds.leaf), minds.leaf)
        draws = (uniform(key, draw) for draw in (NEXT_ELSEWHERE, NEXT_WHICH))
        asked = self.asking.draw(day_of(visits.time_s), leaf, *draws)
        asked = np.where(uniform(key, NEXT_SCENE) < SEARCH_SHARE, asked, -1)
        minds = replace(
            minds,
            query=np.where(more, minds.query, asked),
            leaf=leaf,
            seen=np.concatenate([item_VK, minds.seen], 1)[:, : minds.seen.shape[1]],
            clicked=clicked,
            key=mixed(minds.key, 2),
        )
        offset = np.where(more, visits.offset + item_VK.shape[1], 0)
        seed = np.where(more, visits.seed, mixed(key, 1))
        time_s = np.round(visits.time_s + STEP_S * (1 + uniform(key, LATER)), 3)
        return Party(self._visits(minds, time_s, offset, visits.session, visits.step + 1, seed), minds)

    def _companion(self, clicked: Array, draw: Array, leaf: Array) -> Array:
        """int16[V]: a shelf whose things go with the clicked item's, by the graph; the visit's own where it has none."""
        share = np.cumsum(WEIGHT_SS, 1)[self.appeal.leaf[clicked]]
        other = (draw[:, None] * share[:, -1:] >= share).sum(1)
        return np.where((share[:, -1] > 0) & (clicked >= 0), np.minimum(other, len(WEIGHT_SS) - 1), leaf).astype(
            np.int16
        )

    def served(self, policy: Policy | Oracle, day: int, visits: int) -> Iterator[Served]:
        """One day under a policy, batch by batch."""
        rng = np.random.default_rng((self.world.seed, self.seed, 10, day))
        for arrived in self.arrivals(day, visits):
            party = arrived
            while len(party):
                pages = answered(policy, party, rng)
                feedback, following = self.step(party, pages)
                yield Served(party, pages, feedback)
                party = following

    # -- what is remembered --------------------------------------------------------------------------------------------

    def _remember(self, visits: Visits, pages: Pages, acts: Feedback, returned: Array) -> None:
        user = visits.user - self.first_user
        self.memory.show(user, pages.item)
        owner, place, action, time_s = happened(visits, acts)
        self.memory.keep(user[owner], pages.item[owner, place], action, time_s)
        back = np.nonzero(returned)
        if len(back[0]):
            wait_s = DAY_S * (1 + 9 * uniform(visits.seed[back[0]], 5))
            time_s = np.round(visits.time_s[back[0]] + wait_s, 3)
            self._returned.append(Returned(time_s, visits.session[back[0]], visits.user[back[0]], pages.item[back]))
        pleased = np.where(acts.click.any(1), 0.05, -0.1) + 0.3 * acts.order.any(1) - 0.6 * returned.any(1)
        self.memory.feel(user, pleased.astype(np.float32))

    def returned(self, day: int) -> Returned:
        """What comes back on this day and before; told once."""
        end_s = START_S + DAY_S * (day + 1)
        columns = [np.concatenate(c) for c in zip(*([*vars(r).values()] for r in self._returned), strict=True)]
        if not columns:
            none = np.zeros(0, np.int64)
            return Returned(np.zeros(0), none, none, none.astype(np.int32))
        due = columns[0] < end_s
        self._returned = [Returned(*(c[~due] for c in columns))]
        return Returned(*(c[due] for c in columns))

    def profiles(self) -> dict[str, Array]:
        """What the shop knows of its shoppers, which policies may read: ``age`` int8[U], an index into
        ``population.AGE_BANDS`` and -1 for the one in five who did not say, and ``first_day`` float32[U]."""
        told = uniform(mixed(self.shoppers.person, 78)) < 0.8
        return {"age": np.where(told, self.shoppers.age, -1).astype(np.int8), "first_day": self.shoppers.first_day}


ACTION_DELAY_S = {Action.CLICK: 2.0, Action.CART: 15.0, Action.ORDER: 45.0}
"""From the page to an act at the first place; READ_S later a place."""

READ_S = 2.5


def happened(visits: Visits, acts: Feedback) -> tuple[Array, Array, Array, Array]:
    """Visit, place, Action int8 and ``time_s`` of every click, cart and order."""
    parts = []
    for action, mask in ((Action.CLICK, acts.click), (Action.CART, acts.cart), (Action.ORDER, acts.order)):
        owner, place = np.nonzero(mask)
        time_s = visits.time_s[owner] + ACTION_DELAY_S[action] + READ_S * place
        parts.append((owner, place, np.full(len(owner), action, np.int8), time_s))
    owner, place, action_N, time_s = (np.concatenate(column) for column in zip(*parts, strict=True))
    return owner, place, action_N, time_s


def day_of(time_s: Array) -> int:
    """The day of these moments, all of one, counted from the beginning of the log."""
    return int((time_s[0] - START_S) // DAY_S) if len(time_s) else 0
