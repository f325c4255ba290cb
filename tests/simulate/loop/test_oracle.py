"""What only the truth can say: the value of a policy, the upper bound, the best page."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aisle.core.errors import SettingError
from aisle.simulate.loop.log import day_log
from aisle.simulate.loop.oracle import REWARDS, TruthPolicy, best_page, rewards, value
from aisle.simulate.loop.policies import LexicalPolicy, UniformPolicy
from aisle.simulate.loop.town import Town
from aisle.simulate.shoppers.visits import Pages
from aisle.simulate.world import World


@pytest.fixture(scope="module")
def world() -> World:
    return World.make(800, 2)


def test_the_value_is_what_a_log_shows_in_the_mean(world: World) -> None:
    town = Town(world, users=2000)
    policy = LexicalPolicy(world, 0.0)
    found = value(town, policy, 1, 8000)
    events = day_log(town.fork(), policy, 0, 8000)
    action = np.array(events["action"].to_pylist())
    clicks = (action == "click").sum() / found.num_pages
    assert abs(clicks - found.clicks) < 4 * np.sqrt(found.clicks / found.num_pages)
    assert found == value(town, policy, 1, 8000)
    assert 0 < found.orders < 0.3 * found.clicks
    assert 500 < found.revenue_cents / found.orders < 50_000


def test_whoever_is_told_the_truth_beats_all_who_learn(world: World) -> None:
    town = Town(world, users=300)
    lexical, uniform = LexicalPolicy(world, 0.0), UniformPolicy(world)
    values = {name: value(town, policy, 1, 1000) for name, policy in (("lexical", lexical), ("uniform", uniform))}
    told = value(town, TruthPolicy(town, lexical), 1, 1000)
    assert told.clicks > 1.15 * values["lexical"].clicks > 1.15 * values["uniform"].clicks
    by_revenue = value(town, TruthPolicy(town, lexical, "revenue"), 1, 1000)
    assert by_revenue.revenue_cents > told.revenue_cents


def test_the_best_page_is_no_worse_than_any_other(world: World) -> None:
    town = Town(world, users=300)
    party = next(iter(town.arrivals(0, 12)))
    pool = np.array([3, 50, 200, 400, 555], np.int32)
    item, earned = best_page(town, party, pool, 3)
    assert item.shape == (len(party), 3)
    rng = np.random.default_rng(0)
    for _ in range(30):
        other = Pages(
            np.stack([rng.choice(pool, 3, replace=False) for _ in range(len(party))]), np.ones((len(party), 3))
        )
        assert (rewards(world, town.chances(party, other), other.item, "click").sum(1) <= earned + 1e-6).all()
    with pytest.raises(SettingError, match="arrangements"):
        best_page(town, party, np.arange(30), 8)
    with pytest.raises(SettingError, match="click, order, revenue"):
        rewards(world, town.chances(party, other), other.item, "profit")
    assert len(REWARDS) == 3


def test_where_items_do_nothing_to_each_other_the_greedy_page_is_the_best(world: World) -> None:
    knobs = replace(world.knobs, substitution=0.0, variety=0.0, picture=0.0)
    town = Town(replace(world, knobs=knobs), users=300)
    party = next(iter(town.arrivals(0, 20)))
    pool = np.array([3, 50, 200, 400, 555], np.int32)

    def fixed(visits: object, rng: object) -> Pages:
        return Pages(np.tile(pool, (len(party), 1)), np.ones((len(party), 5)))

    greedy = TruthPolicy(town, fixed, places=5, pages=1).answer(party, np.random.default_rng(0))
    _, earned = best_page(town, party, pool, 5)
    assert np.allclose(rewards(world, town.chances(party, greedy), greedy.item, "click").sum(1), earned, rtol=1e-5)
