"""Domains: two shops of one market that share products and shoppers, for work across domains."""

from __future__ import annotations

from dataclasses import dataclass, replace

from aisle.core.errors import SettingError
from aisle.core.lists import Array
from aisle.simulate.catalogue.second_shop import second_shop
from aisle.simulate.loop.town import Town
from aisle.simulate.world import World


@dataclass(frozen=True, eq=False)
class Domains:
    """
    first, second  towns; a shopper of one number is one person, who likes the same in both and has a history in each
    twin           int32[items of the second]  the row of the same product in the first, -1 for none
    """

    first: Town
    second: Town
    twin: Array


def two_shops(
    world: World,
    items: int,
    users: int = 1000,
    *,
    shared_items: float = 0.3,
    shared_users: float = 0.5,
    seed: int = 0,
    days: int = 7,
    clicks: str = "position",
) -> Domains:
    """A town of ``users`` before a world, and one of as many before a second shop of ``items`` products beside it.

    shared_users  share of the shoppers of either town who come to both
    Raises SettingError for a share outside [0, 1].
    """
    if not 0 <= shared_users <= 1:
        raise SettingError(f"a share of {shared_users} of the shoppers cannot come to both shops; give one from 0 to 1")
    table, truth, twin = second_shop(world.truth, items, world.seed, world.knobs, shared_items)
    other = replace(world, items=table, truth=truth, version=f"{world.version}+{items}")
    first = Town(world, seed=seed, users=users, days=days, clicks=clicks)
    start = users - round(shared_users * users)
    second = Town(other, seed=seed, users=users, days=days, clicks=clicks, first_user=start)
    return Domains(first, second, twin)
