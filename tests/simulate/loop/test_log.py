"""The behaviour log: complete, plausible, with propensities that hold."""

from __future__ import annotations

from itertools import pairwise
from time import process_time

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from aisle.core.errors import SettingError, UnknownName
from aisle.data.schema import EVENTS
from aisle.simulate.catalogue.products import START_S
from aisle.simulate.loop.log import log
from aisle.simulate.loop.policies import POOL, LexicalPolicy
from aisle.simulate.shoppers.visits import Pages, Visits
from aisle.simulate.world import World


@pytest.fixture(scope="module")
def world() -> World:
    return World.make(800, 2)


@pytest.fixture(scope="module")
def events(world: World) -> pa.Table:
    return log(world, days=4, visits_per_day=3000)


def column(events: pa.Table, name: str, action: str) -> np.ndarray:
    return np.array(events.filter(pc.equal(events["action"], action))[name].to_pylist())


def test_log_is_a_complete_events_table_in_time_order(events: pa.Table) -> None:
    assert events.schema.equals(EVENTS)
    assert (np.diff(events["time_s"].to_numpy()) >= 0).all()
    rows = [row for row in events.to_pylist()[:20_000] if row["action"] != "return"]
    assert {row["scene"] for row in rows} == {"search", "feed"}
    assert all((row["query"] == "") == (row["scene"] == "feed") for row in rows)
    assert all((row["quantity"] is None) == (row["action"] in ("impression", "click")) for row in rows)


def test_every_act_follows_the_one_before_it(events: pa.Table) -> None:
    acts = {}
    for action in ("impression", "click", "cart", "order"):
        keys = zip(column(events, "request_id", action), column(events, "item_id", action), strict=True)
        acts[action] = dict(zip(keys, column(events, "time_s", action), strict=True))
    for earlier, later in pairwise(acts.values()):
        assert 0.02 * len(earlier) < len(later) < 0.6 * len(earlier)
        assert all(time_s > earlier[key] for key, time_s in later.items())


def test_what_was_ordered_may_come_back_days_later(events: pa.Table) -> None:
    keys = [
        list(zip(column(events, "session_id", a), column(events, "item_id", a), strict=True))
        for a in ("order", "return")
    ]
    ordered = dict(zip(keys[0], column(events, "time_s", "order"), strict=True))
    returned = dict(zip(keys[1], column(events, "time_s", "return"), strict=True))
    assert 0 < len(returned) < 0.2 * len(ordered)
    assert all(86_000 < time_s - ordered[key] < 11 * 86_400 for key, time_s in returned.items())


def test_clicks_fall_with_position_and_rise_with_grade(world: World, events: pa.Table) -> None:
    shown = np.bincount(column(events, "position", "impression"))
    clicked = np.bincount(column(events, "position", "click"), minlength=len(shown))
    rate = clicked / shown
    assert rate[0] > 1.5 * rate[4] > 1.5 * 1.2 * rate[9]
    grades = {q.text: world.grades(q) for q in world.queries(300)}
    rows = [r for r in events.to_pylist() if r["query"] in grades and r["action"] in ("impression", "click")]
    grade = np.array([grades[r["query"]][int(r["item_id"][1:])] for r in rows])
    is_click = np.array([r["action"] == "click" for r in rows])
    assert grade[is_click].mean() > grade[~is_click].mean() + 0.15


def test_sessions_ask_for_more_and_what_was_shown_is_not_shown_again_below(events: pa.Table) -> None:
    impressions = events.filter(pc.equal(events["action"], "impression"))
    pages = len(pc.unique(impressions["request_id"]))
    assert 1.15 < pages / len(pc.unique(impressions["session_id"])) < 2.5
    deep = impressions.filter(pc.greater_equal(impressions["position"], 10))
    assert len(deep) > 0.05 * len(impressions)
    lists = impressions.group_by(["session_id", "query", "item_id", "scene"]).aggregate([("position", "count")])
    searched = lists.filter(pc.equal(lists["scene"], "search"))
    assert (searched["position_count"].to_numpy() > 1).mean() < 0.02


def test_nothing_without_stock_is_ordered(world: World, events: pa.Table) -> None:
    stock = world.items["stock"].to_numpy()
    assert all(stock[int(i[1:])] > 0 for i in column(events, "item_id", "order"))


def test_items_are_shown_only_while_they_are_on_sale() -> None:
    world = World.make(800, 2, turnover=0.5)
    events = log(world, days=6, visits_per_day=1500)
    row = np.array([int(i[1:]) for i in column(events, "item_id", "impression")])
    day_s = 86_400.0
    begin_s = START_S + day_s * np.floor((column(events, "time_s", "impression") - START_S) / day_s)
    assert (world.truth.created_s[row] <= begin_s).all()
    assert (world.truth.leaves_s[row] > begin_s).all()
    assert (world.truth.created_s[row] > START_S).any()


def test_propensities_are_the_probabilities_of_the_policy(world: World) -> None:
    query = next(q for q in world.queries(50) if len(world.bm25.top(q.text, POOL)) == POOL)
    asked = Visits.asking([query.text] * 40_000, 800)
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
        histories.append(visits.history.counts.mean())
        assert (visits.history.item >= 0).all()
        item = np.tile(np.array([3, 1, 2, -1], np.int32), (len(visits.user), 1))
        return Pages(item, np.ones(item.shape))

    events = log(world, days=2, visits_per_day=500, policy=fixed)
    assert set(column(events, "item_id", "impression").tolist()) == {"p3", "p1", "p2"}
    assert histories[0] == 0 < histories[-1]
    assert set(events["propensity"].to_pylist()) <= {1.0, None}


def test_two_policies_of_one_seed_meet_the_same_visits(world: World) -> None:
    one = log(world, 1, 300, policy=LexicalPolicy(world, 0.0))
    two = log(world, 1, 300, policy=LexicalPolicy(world, 1.0))
    visits = [
        set(zip(*(t[name].to_pylist() for name in ("session_id", "user_id", "query", "time_s")), strict=True))
        for t in (one, two)
    ]
    firsts = {visit for visit in visits[0] if (visit[0], visit[3]) in {(v[0], v[3]) for v in visits[1]}}
    assert len(firsts) > 200
    assert len(visits[0] & visits[1]) > 0.9 * len(firsts)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(world: World) -> None:
    assert log(world, 2, 400).equals(world.log(days=2, visits_per_day=400))
    assert not log(world, 2, 400).equals(log(world, 2, 400, seed=1))


def test_twenty_thousand_impressions_a_second_of_one_core(world: World) -> None:
    log(world, 1, 200)
    start = process_time()
    events = log(world, 1, 8000)
    assert len(column(events, "item_id", "impression")) / (process_time() - start) > 20_000


def test_no_days_and_bad_numbers(world: World) -> None:
    assert log(world, 0).schema.equals(EVENTS)
    assert len(log(World.make(3, 0), 1, 20)) > 0
    with pytest.raises(SettingError, match="0 or more"):
        log(world, -1)
    with pytest.raises(SettingError, match="epsilon"):
        LexicalPolicy(world, 1.5)
    with pytest.raises(UnknownName, match="'position'"):
        log(world, 1, clicks="positions")
