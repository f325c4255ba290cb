"""Checks of docs/methods/popular.md."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.core.filters import In
from aisle.core.lists import ItemLists
from aisle.core.requests import Action, Requests
from aisle.core.shop import Events
from aisle.data.items import ItemTable
from aisle.data.view import View
from aisle.recipes.environment import memory_env
from aisle.retrieval.popular import DAY_S, Popular
from aisle.simulate.known import grown, two_kinds

REVIEWS = np.log1p(two_kinds(6)["rating_count"].to_numpy()) / 100


def shop_of(*rows, items=6):
    """Events (day, item, action)."""
    day, item, action = (np.array(c) for c in zip(*rows, strict=True))
    events = Events(
        {
            "time_s": day * DAY_S,
            "item": item.astype(np.int32),
            "action": action.astype(np.int8),
            "user": np.zeros(len(day), np.int64),
        }
    )
    view = View(ItemTable.from_table(two_kinds(items)), events)
    return view, memory_env(view.items)


def scores(stage, env, items=6):
    rows = ItemLists(np.arange(items, dtype=np.int32), np.array([0, items]))
    return stage.score(Requests.make([""]), rows)["score"]


def test_score_equals_the_decayed_counts():
    """Decay is counted from just after the last event."""
    view, env = shop_of((0, 0, Action.ORDER), (30, 1, Action.CLICK), (60, 2, Action.CART))
    stage = Popular(half_life_days=30.0).fit(view, env)
    np.testing.assert_allclose(scores(stage, env), REVIEWS + np.array([10 / 4, 1 / 2, 3, 0, 0, 0]), rtol=1e-5)


def test_recent_beats_old_and_an_order_beats_clicks():
    view, env = shop_of(
        *[(0, 1, Action.CLICK)] * 3, *[(60, 0, Action.CLICK)] * 2, (60, 2, Action.ORDER), (60, 3, Action.IMPRESSION)
    )
    requests = env.engine.compile(Requests.make([""]))
    lists = Popular().fit(view, env).retrieve(requests, 3)
    assert lists.item.tolist() == [2, 0, 1]


def test_without_events_the_reviews_decide():
    view = View(ItemTable.from_table(two_kinds(6)))
    env = memory_env(view.items)
    lists = Popular().fit(view, env).retrieve(env.engine.compile(Requests.make([""])), 6)
    assert lists.item.tolist() == np.argsort(-REVIEWS.astype(np.float32), kind="stable").tolist()


def test_rows_that_came_later_are_answered_for():
    view, env = shop_of((0, 0, Action.CLICK))
    saved = Popular().fit(view, env).state()
    bigger = memory_env(view.items.upserted(grown(view.items.table, 0.5)))
    stage = Popular().restore(saved, bigger)
    lists = stage.retrieve(bigger.engine.compile(Requests.make([""])), 9)
    assert sorted(lists.item) == list(range(9))
    assert lists.item[0] == 0
    assert lists["score"][-3:].tolist() == [0, 0, 0]
    assert set(lists.item[-3:]) == {6, 7, 8}


def test_each_request_keeps_to_its_own_filter():
    view, env = shop_of((0, 0, Action.CLICK), (0, 1, Action.CLICK))
    requests = env.engine.compile(Requests.make(["", ""], filters=[None, In("brand", ("Comet",))]))
    lists = Popular().fit(view, env).retrieve(requests, 2)
    assert set(lists.list_of(0).item) == {0, 1}
    assert set(view.items.text("brand", lists.list_of(1).item)) == {"Comet"}


def test_an_action_that_does_not_exist_is_refused():
    view, env = shop_of((0, 0, Action.CLICK))
    with pytest.raises(LookupError, match="did you mean 'click'"):
        Popular(weights={"clicks": 1.0}).fit(view, env)


def test_only_what_someone_wanted_is_explained():
    view, env = shop_of((0, 0, Action.CLICK))
    later = memory_env(view.items.upserted(grown(view.items.table, 0.2)))
    stage = Popular().restore(Popular().fit(view, env).state(), later)
    wanted, new = stage.explain(Requests.make([""]), ItemLists(np.array([0, 6], np.int32), np.array([0, 2])))
    assert [r.words for r in wanted] == ["often bought or looked at"]
    assert new == []
