"""A behaviour log: a policy makes the pages of a town for some days, and all that happens is written down.

Legend: V visits, K places, E events of a day.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aisle.core.env import Progress, silent
from aisle.core.errors import SettingError
from aisle.core.lists import Array
from aisle.core.requests import Action, Scene
from aisle.data.schema import EVENTS, complete
from aisle.simulate.loop.policies import LexicalPolicy
from aisle.simulate.loop.town import MAX_STEPS, Returned, Town, happened
from aisle.simulate.shoppers.visits import Feedback, Oracle, Pages, Policy, Visits
from aisle.simulate.world import World

ACTIONS = tuple(action.name.lower() for action in Action)
SCENES = tuple(scene.name.lower() for scene in Scene)


def log(
    world: World,
    days: int = 7,
    visits_per_day: int | None = None,
    seed: int = 0,
    *,
    policy: Policy | Oracle | None = None,
    num_queries: int = 600,
    clicks: str = "position",
    progress: Progress = silent,
) -> pa.Table:
    """Events of ``days`` from START_S on (EVENTS table, in time order), impressions with their propensity included.

    visits_per_day: a quarter of the number of items, at least 200, when None; fewer come when they are displeased.
    Shoppers and their luck do not depend on the policy: two policies of one seed meet the same shoppers.
    Raises SettingError for a negative number, UnknownName for a click model that does not exist.
    """
    tables = log_days(
        world, days, visits_per_day, seed, policy=policy, num_queries=num_queries, clicks=clicks, progress=progress
    )
    return pa.concat_tables([EVENTS.empty_table(), *tables]).combine_chunks()


def log_days(
    world: World,
    days: int = 7,
    visits_per_day: int | None = None,
    seed: int = 0,
    *,
    policy: Policy | Oracle | None = None,
    num_queries: int = 600,
    clicks: str = "position",
    progress: Progress = silent,
) -> Iterator[pa.Table]:
    """The log of ``log``, one table a day."""
    visits_per_day = max(200, world.num_items // 4) if visits_per_day is None else visits_per_day
    if days < 0 or visits_per_day < 0:
        raise SettingError(f"{days} days of {visits_per_day} visits were asked for; give 0 or more of both")
    town = town_of(world, days, visits_per_day, seed, num_queries=num_queries, clicks=clicks)
    policy = policy or LexicalPolicy(world)
    progress("days", 0, days)
    for day in range(days):
        yield day_log(town, policy, day, visits_per_day)
        progress("days", day + 1, days)


def town_of(
    world: World, days: int, visits_per_day: int, seed: int = 0, *, num_queries: int = 600, clicks: str = "position"
) -> Town:
    """The town whose log ``log`` writes, before its first day."""
    users = max(50, days * visits_per_day // 10)
    return Town(world, seed=seed, users=users, days=days, clicks=clicks, queries=num_queries)


def day_log(town: Town, policy: Policy | Oracle, day: int, visits: int) -> pa.Table:
    """The events of one day in a town, in time order."""
    told = [_Told.nothing()]
    told += [_Told.of_pages(s.party.visits, s.pages, s.feedback) for s in town.served(policy, day, visits)]
    told.append(_Told.of_returns(town.returned(day)))
    return _Told.joined(told).table(town.world)


@dataclass(frozen=True, eq=False)
class _Told:
    """What happened on V pages, E events.

    user, session, step  int64[V];  text object[V];  scene int8[V], -1 where none is known
    owner     int64[E]    the page of each event
    item, position, action, time_s, propensity   [E]
    """

    user: Array
    session: Array
    step: Array
    text: Array
    scene: Array
    owner: Array
    item: Array
    position: Array
    action: Array
    time_s: Array
    propensity: Array

    @classmethod
    def nothing(cls) -> _Told:
        whole, real = np.zeros(0, np.int64), np.zeros(0)
        code = whole.astype(np.int8)
        return cls(whole, whole, whole, np.zeros(0, object), code, whole, whole, whole, code, real, real)

    @classmethod
    def of_pages(cls, visits: Visits, pages: Pages, feedback: Feedback) -> _Told:
        shown, places = np.nonzero(pages.item >= 0)
        owner, place, action, time_s = happened(visits, feedback)
        owner, place = np.concatenate([shown, owner]), np.concatenate([places, place])
        return cls(
            visits.user, visits.session, visits.step, visits.text, visits.scene,
            owner=owner,
            item=pages.item[owner, place],
            position=visits.offset[owner] + place,
            action=np.concatenate([np.full(len(shown), Action.IMPRESSION, np.int8), action]),
            time_s=np.concatenate([visits.time_s[shown], time_s]),
            propensity=pages.propensity[owner, place],
        )  # fmt: skip

    @classmethod
    def of_returns(cls, returned: Returned) -> _Told:
        """Each as a page of its own that has neither scene nor place."""
        count = len(returned.time_s)
        none = np.full(count, -1, np.int64)
        return cls(
            returned.user, returned.session, none, np.full(count, "", object), none.astype(np.int8),
            owner=np.arange(count),
            item=returned.item,
            position=none,
            action=np.full(count, Action.RETURN, np.int8),
            time_s=returned.time_s,
            propensity=np.full(count, np.nan),
        )  # fmt: skip

    @classmethod
    def joined(cls, parts: Sequence[_Told]) -> _Told:
        """All of them, the events in time order."""
        start = np.cumsum([0, *(len(part.user) for part in parts)])
        shifted = [replace(part, owner=part.owner + n) for part, n in zip(parts, start, strict=False)]
        columns = {f.name: np.concatenate([getattr(part, f.name) for part in shifted]) for f in fields(cls)}
        order = np.argsort(columns["time_s"], kind="stable")
        events = ("owner", "item", "position", "action", "time_s", "propensity")
        return cls(**{name: c[order] if name in events else c for name, c in columns.items()})

    def table(self, world: World) -> pa.Table:
        """The EVENTS table."""
        owner = pa.array(self.owner)
        ids = world.items["item_id"].combine_chunks()
        price_cents = world.items["price_cents"].to_numpy()
        ordered = self.action >= Action.CART
        placed = self.position >= 0
        request = pa.array(self.session * MAX_STEPS + self.step, mask=self.step < 0)
        columns = {
            "time_s": self.time_s,
            "user_id": _named("u", pa.array(self.user)).take(owner),
            "session_id": _named("s", pa.array(self.session)).take(owner),
            "request_id": _named("r", request).take(owner),
            "scene": pa.array([*SCENES, None]).take(pa.array(self.scene % (len(SCENES) + 1))).take(owner),
            "query": pa.array(self.text, pa.string()).take(owner),
            "item_id": ids.take(pa.array(self.item)),
            "position": pa.array(self.position.astype(np.int32), mask=~placed),
            "action": pa.array(ACTIONS).take(pa.array(self.action)),
            "quantity": pa.array(np.ones(len(self.action), np.int32), mask=~ordered),
            "price_cents": price_cents[self.item],
            "propensity": pa.array(self.propensity, mask=~placed),
        }
        return complete(pa.table(columns), EVENTS)


def _named(prefix: str, number: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(prefix, number.cast(pa.string()), "")
