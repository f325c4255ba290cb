"""The behaviour log: complete, plausible, with propensities that hold."""

from __future__ import annotations

from itertools import pairwise
from time import perf_counter

import numpy as np
import pyarrow as pa
import pytest

from aisle.core.errors import SettingError
from aisle.data.schema import EVENTS
from aisle.simulate.log import POOL, LexicalPolicy, Pages, Shoppers, Visits, log
from aisle.simulate.world import World


@pytest.fixture(scope="module")
def world() -> World:
    return World.make(800, 2)


@pytest.fixture(scope="module")
def events(world: World) -> pa.Table:
    return log(world, days=3, visits_per_day=3000)


def column(events: pa.Table, name: str, action: str) -> np.ndarray:
    values = np.array(events[name].to_pylist())
    return values[np.array(events["action"].to_pylist()) == action]


def test_log_is_a_complete_events_table_in_time_order(events: pa.Table) -> None:
    assert events.schema.equals(EVENTS)
    assert (np.diff(events["time_s"].to_numpy()) >= 0).all()
    assert set(events["scene"].to_pylist()) == {"search", "feed"}
    rows = events.to_pylist()
    assert all((row["query"] == "") == (row["scene"] == "feed") for row in rows[:5000])
    assert all((row["quantity"] is None) == (row["action"] in ("impression", "click")) for row in rows[:5000])


def test_every_act_follows_the_one_before_it(events: pa.Table) -> None:
    steps = ("impression", "click", "cart", "order")
    pairs = [
        set(zip(column(events, "request_id", a).tolist(), column(events, "item_id", a).tolist(), strict=True))
        for a in steps
    ]
    for earlier, later in pairwise(pairs):
        assert later < earlier
        assert len(later) > 0.1 * len(earlier) * 0.5


def test_clicks_fall_with_position_and_rise_with_grade(world: World, events: pa.Table) -> None:
    shown = np.bincount(column(events, "position", "impression"))
    clicked = np.bincount(column(events, "position", "click"), minlength=len(shown))
    rate = clicked / shown
    assert rate[0] > 1.5 * rate[4] > 1.5 * 1.2 * rate[9]
    grades = {q.text: world.grades(q) for q in world.queries(300)}
    rows = [r for r in events.to_pylist() if r["query"] in grades]
    grade = np.array([grades[r["query"]][int(r["item_id"][1:])] for r in rows])
    is_click = np.array([r["action"] == "click" for r in rows])
    mean_grade = [grade[is_click].mean(), grade[~is_click].mean()]
    assert mean_grade[0] > mean_grade[1] + 0.1


def test_nothing_without_stock_is_ordered(world: World, events: pa.Table) -> None:
    stock = world.items["stock"].to_numpy()
    assert all(stock[int(i[1:])] > 0 for i in column(events, "item_id", "order"))


def test_propensities_are_the_probabilities_of_the_policy(world: World) -> None:
    query = next(q for q in world.queries(50) if len(world.bm25.top(q.text, POOL)) == POOL)
    visits = 40_000
    none = np.full(visits, -1, np.int32)
    asked = Visits([query.text] * visits, np.zeros(visits, np.int64), np.zeros(visits), none)
    page = LexicalPolicy(world, epsilon=0.5)(asked, np.random.default_rng(0))
    for place in (0, 7):
        item, first = np.unique(page.item[:, place], return_index=True)
        stated = page.propensity[first, place]
        seen = np.array([(page.item[:, place] == i).mean() for i in item])
        assert abs(stated.sum() - 1) < 1e-9
        assert np.abs(seen - stated).max() < 0.01


def test_inverse_propensity_weights_correct_the_exposure(events: pa.Table) -> None:
    first = column(events, "position", "impression") == 0
    weight = 1 / column(events, "propensity", "impression")[first]
    # Summed over pages, 1/p of the item shown estimates the number of items that could have stood there.
    assert POOL * 0.5 < weight.mean() < POOL * 1.1


def test_a_policy_of_ones_own_is_asked(world: World) -> None:
    histories = []

    def fixed(visits: Visits, rng: np.random.Generator) -> Pages:
        histories.append((visits.last_item >= 0).mean())
        item = np.tile(np.array([3, 1, 2, -1], np.int32), (len(visits.user), 1))
        return Pages(item, np.ones(item.shape))

    events = log(world, days=2, visits_per_day=500, policy=fixed)
    assert set(column(events, "item_id", "impression").tolist()) == {"p3", "p1", "p2"}
    assert histories[0] == 0 < histories[1]
    assert (events["propensity"].to_numpy() == 1).all()


def test_two_policies_of_one_seed_meet_the_same_visits(world: World) -> None:
    one = log(world, 1, 300, policy=LexicalPolicy(world, 0.0))
    two = log(world, 1, 300, policy=LexicalPolicy(world, 1.0))
    visits = [
        set(zip(t["request_id"].to_pylist(), t["user_id"].to_pylist(), t["query"].to_pylist(), strict=True))
        for t in (one, two)
    ]
    assert len(visits[0] & visits[1]) > 280


def favour(taste: float) -> float:
    """Feed click rate on shoppers' favourite shelves, over the rate elsewhere."""
    world = World.make(800, 2, taste=taste)
    events = log(world, 2, 5000)
    shoppers = Shoppers.draw(1000, np.random.default_rng((world.seed, 0, 9)))
    action, feed = np.array(events["action"].to_pylist()), np.array(events["scene"].to_pylist()) == "feed"
    user = np.array([int(u[1:]) for u in events["user_id"].to_pylist()])
    shelf = world.truth.leaf[[int(i[1:]) for i in events["item_id"].to_pylist()]]
    liked = shoppers.leaf[user, shelf] > 0
    rates = [
        (feed & (action == "click") & side).sum() / (feed & (action == "impression") & side).sum()
        for side in (liked, ~liked)
    ]
    return float(rates[0] / rates[1])


def test_taste_is_why_shoppers_click_what_they_like() -> None:
    assert favour(taste=1.0) > 1.4
    assert 0.7 < favour(taste=0.0) < 1.3


def test_twenty_thousand_impressions_a_second(world: World) -> None:
    log(world, 1, 200)
    start = perf_counter()
    events = log(world, 1, 8000)
    assert len(column(events, "item_id", "impression")) / (perf_counter() - start) > 20_000


def test_no_days_and_bad_numbers(world: World) -> None:
    assert log(world, 0).schema.equals(EVENTS)
    assert len(log(World.make(3, 0), 1, 20)) > 0
    with pytest.raises(SettingError, match="0 or more"):
        log(world, -1)
    with pytest.raises(SettingError, match="epsilon"):
        LexicalPolicy(world, 1.5)
