"""Checks of docs/methods/item_cf.md."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.core.lists import ItemLists
from aisle.core.requests import Action, Requests
from aisle.core.shop import Events
from aisle.data.items import ItemTable
from aisle.data.view import View
from aisle.recipes.environment import memory_env
from aisle.retrieval.item_cf import ItemCf
from aisle.simulate.known import two_kinds, two_tastes, user_of

LATER_S = 2_000_000_000.0


def log(*rows):
    """Events (user, item, action) one second apart."""
    user, item, action = (np.array(c) for c in zip(*rows, strict=True))
    time_s = np.arange(len(rows), dtype=np.float64)
    return Events(
        {
            "user": user.astype(np.int64),
            "item": item.astype(np.int32),
            "action": action.astype(np.int8),
            "time_s": time_s,
        }
    )


def shop_of(*rows, items=6):
    view = View(ItemTable.from_table(two_kinds(items)), log(*rows))
    return view, memory_env(view.items)


def asked(env, *items, action=Action.CLICK, **more):
    """A request of someone who acted on these items."""
    columns = {"action": np.full(len(items), action, np.int8), "time_s": np.arange(float(len(items)))}
    history = ItemLists(np.array(items, np.int32), np.array([0, len(items)]), columns)
    return env.engine.compile(Requests.make([""], history=history, **more))


def test_the_held_out_item_of_every_user_ranks_above_the_other_kind():
    view = two_tastes()
    env = memory_env(view.items)
    stage = ItemCf().fit(view, env)
    user = np.array([user_of(u) for u in range(40)])
    history = view.histories(user, np.full(40, LATER_S), 50)
    requests = env.engine.compile(Requests.make([""] * 40, user=user, history=history))
    everything = ItemLists(np.tile(np.arange(40, dtype=np.int32), 40), np.arange(41) * 40)
    score_QI = stage.score(requests, everything)["score"].reshape(40, 40)
    for u in range(40):
        other_kind = np.arange(40) % 2 != u % 2
        assert score_QI[u, u] > score_QI[u, other_kind].max(), f"user {u}"


def test_similarity_equals_the_formula():
    C = Action.CLICK
    view, env = shop_of((1, 0, C), (1, 2, C), (2, 0, C), (2, 2, C), (3, 0, C), (3, 4, C))
    stage = ItemCf(damping=3.0).fit(view, env)
    lists = stage.retrieve(asked(env, 0), 10)
    assert lists.item.tolist() == [2, 4]
    np.testing.assert_allclose(lists["score"], [2 / np.sqrt(6 * 5), 1 / np.sqrt(6 * 4)], rtol=1e-6)
    both = stage.retrieve(asked(env, 0, 4), 10)
    expected = {2: 2 / np.sqrt(6 * 5), 4: 1 / np.sqrt(6 * 4), 0: 1 / np.sqrt(6 * 4)}
    assert dict(zip(both.item.tolist(), both["score"].tolist(), strict=True)) == pytest.approx(expected)


def test_impressions_and_strangers_teach_nothing():
    view, env = shop_of((1, 0, Action.CLICK), (1, 2, Action.IMPRESSION), (-1, 0, Action.CLICK), (-1, 4, Action.CLICK))
    assert len(ItemCf().fit(view, env).retrieve(asked(env, 0), 10).item) == 0


def test_an_impression_in_the_history_asks_for_nothing():
    view, env = shop_of((1, 0, Action.CLICK), (1, 2, Action.CLICK))
    stage = ItemCf().fit(view, env)
    assert stage.retrieve(asked(env, 0), 10).item.tolist() == [2]
    assert stage.retrieve(asked(env, 0, action=Action.IMPRESSION), 10).item.tolist() == []


def test_an_anchor_speaks_instead_of_the_history():
    C = Action.CLICK
    view, env = shop_of((1, 0, C), (1, 2, C), (2, 1, C), (2, 3, C))
    stage = ItemCf().fit(view, env)
    assert stage.retrieve(asked(env, 0, anchor=np.array([1])), 10).item.tolist() == [3]


def test_only_the_latest_of_a_history_and_of_a_busy_user_count():
    C = Action.CLICK
    view, env = shop_of((1, 0, C), (1, 2, C), (2, 1, C), (2, 3, C), (3, 4, C), (3, 5, C), (3, 0, C))
    assert set(ItemCf(history=1).fit(view, env).retrieve(asked(env, 0, 1), 10).item) == {3}
    assert 4 not in ItemCf(max_user_items=2).fit(view, env).retrieve(asked(env, 0), 10).item
    assert 4 in ItemCf(max_user_items=3).fit(view, env).retrieve(asked(env, 0), 10).item


def test_neighbours_are_cut_to_the_best():
    C = Action.CLICK
    view, env = shop_of((1, 0, C), (1, 2, C), (2, 0, C), (2, 2, C), (3, 0, C), (3, 4, C))
    assert ItemCf(neighbours=1).fit(view, env).retrieve(asked(env, 0), 10).item.tolist() == [2]


def test_a_shop_without_events_answers_nothing():
    view = View(ItemTable.from_table(two_kinds(6)))
    env = memory_env(view.items)
    stage = ItemCf().fit(view, env)
    assert len(stage.retrieve(asked(env, 0), 10).item) == 0
    assert stage.score(asked(env, 0), ItemLists(np.array([1, 2], np.int32), np.array([0, 2])))["score"].tolist() == [
        0,
        0,
    ]
