"""Two shops that share products and shoppers."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.core.errors import SettingError
from aisle.simulate.loop.domains import Domains, two_shops
from aisle.simulate.loop.log import day_log
from aisle.simulate.loop.policies import LexicalPolicy
from aisle.simulate.world import World


@pytest.fixture(scope="module")
def domains() -> Domains:
    return two_shops(World.make(600, 2), 400, users=200, shared_users=0.4)


def test_shared_shoppers_are_the_same_persons(domains: Domains) -> None:
    first, second = (town.shoppers.tastes(2.0) for town in (domains.first, domains.second))
    assert domains.second.first_user == 120
    assert np.array_equal(first.style[120:], second.style[:80])
    assert np.array_equal(domains.first.shoppers.age[120:], domains.second.shoppers.age[:80])


def test_a_product_of_both_has_the_same_style_in_both(domains: Domains) -> None:
    both = np.flatnonzero(domains.twin >= 0)
    assert len(both) == 120
    here, there = domains.first.appeal, domains.second.appeal
    assert np.allclose(there.style[both], here.style[domains.twin[both]], atol=1e-6)
    assert np.array_equal(there.leaf[both], here.leaf[domains.twin[both]])


def test_each_shop_has_its_log_and_the_ids_say_who_is_in_both(domains: Domains) -> None:
    users, items = [], []
    for town in (domains.first, domains.second):
        events = day_log(town, LexicalPolicy(town.world), 0, 1500)
        users.append(set(events["user_id"].to_pylist()))
        items.append(set(events["item_id"].to_pylist()))
    assert 30 < len(users[0] & users[1]) <= 80
    assert max(int(u[1:]) for u in users[0]) < 200 <= max(int(u[1:]) for u in users[1])
    assert not items[0] & items[1]
    with pytest.raises(SettingError, match="both shops"):
        two_shops(domains.first.world, 10, shared_users=2.0)
