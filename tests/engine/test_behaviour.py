"""Counters and histories online against the offline join over the same events."""

from __future__ import annotations

from time import monotonic, sleep

import numpy as np
import pyarrow as pa
import pytest

from aisle.core.errors import ContractError, StateError, UnknownName
from aisle.core.lists import ItemLists
from aisle.core.requests import hashed, query_ids
from aisle.core.shop import Counter
from aisle.data.items import ItemTable
from aisle.data.schema import CATALOGUE, EVENTS, complete
from aisle.data.shop import Shop
from aisle.data.view import View
from aisle.engine.embedded import behaviour
from aisle.engine.embedded.behaviour import LiveBehaviour, OnlineBehaviour
from aisle.engine.embedded.log import Log

DAY_S = 86_400.0
COUNTERS = (
    Counter(name="clicks", action="click"),
    Counter(name="clicks_1d", action="click", window_s=DAY_S),
    Counter(name="warm_orders", action="order", half_life_s=3 * DAY_S),
    Counter(name="warm_clicks_7d", action="click", window_s=7 * DAY_S, half_life_s=DAY_S),
    Counter(name="query_clicks", action="click", half_life_s=7 * DAY_S, per_query=True),
)
QUERIES = np.array(["desk lamp", "Desk  LAMP", "sofa", ""])
NUM = 30


def item_table(num: int) -> pa.Table:
    return complete(pa.table({"item_id": [f"i{n}" for n in range(num)]}), CATALOGUE)


@pytest.fixture(scope="module")
def items() -> ItemTable:
    return ItemTable.from_table(item_table(NUM))


@pytest.fixture(scope="module")
def events() -> pa.Table:
    """Twenty days, many events in one second, in the order they arrived: some late, some of unknown items."""
    rng = np.random.default_rng(0)
    size = 4000
    time_s = np.floor(np.sort(rng.uniform(0, 20 * DAY_S, size)) / 600) * 600
    late = rng.random(size) < 0.05
    time_s[late] -= DAY_S
    table = pa.table(
        {
            "time_s": np.maximum(time_s, 0.0),
            "item_id": [f"i{n}" for n in rng.integers(0, NUM + 3, size)],
            "action": rng.choice(["impression", "click", "cart", "order"], size),
            "query": QUERIES[rng.integers(0, len(QUERIES), size)],
            "user_id": rng.choice(["ann", "ben", "cy", None], size),
            "session_id": ["s"] * size,
        }
    )
    return complete(table, EVENTS)


def questions(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, times (within a day of the last event) and queries."""
    rng = np.random.default_rng(seed)
    at_s = np.floor(rng.uniform(0, 21 * DAY_S, 600) / 600) * 600
    return rng.integers(0, NUM, 600).astype(np.int32), at_s, query_ids(list(QUERIES[rng.integers(0, 4, 600)]))


def assert_equal_to_the_join(store: OnlineBehaviour, items: ItemTable, events: pa.Table) -> None:
    view = View(items, events)
    for counter in COUNTERS:
        expected, found = view.counts(counter, *questions(1)), store.counts(counter, *questions(1))
        if np.isinf(counter.half_life_s):
            np.testing.assert_array_equal(found, expected)
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
        assert expected.any()
    if store.remembers:
        rng = np.random.default_rng(2)
        users = np.array([*map(hashed, ("ann", "ben", "cy", "nobody", ""))])[rng.integers(0, 5, 300)]
        at_s = np.append(np.floor(rng.uniform(0, 21 * DAY_S, 299) / 600) * 600, np.inf)
        for limit in (1, 7, 1000):
            assert_same_lists(store.histories(users, at_s, limit), view.histories(users, at_s, limit))


def assert_same_lists(found: ItemLists, expected: ItemLists) -> None:
    assert len(expected.item)
    for a, b in [(found.item, expected.item), (found.splits, expected.splits), (found["time_s"], expected["time_s"])]:
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(found["action"], expected["action"])
    assert found.generation == expected.generation


@pytest.mark.parametrize("batch", [1, 7, 400])
def test_fed_as_they_come_they_equal_the_offline_join(items, events, batch):
    store = OnlineBehaviour(COUNTERS, lambda: items, remember=True)
    upto = 300 if batch == 1 else len(events)
    for n in range(0, upto, batch):
        store.add(events.slice(n, batch), sequence=n + batch)
    assert_equal_to_the_join(store, items, events.slice(0, upto))
    assert len(store._runs) <= 12


def test_large_runs_are_joined_beside_what_comes_meanwhile(items, events, monkeypatch):
    monkeypatch.setattr(behaviour, "MOST_AT_ONCE", 100)
    store = OnlineBehaviour(COUNTERS, lambda: items, remember=True)
    for n in range(0, len(events), 50):
        store.add(events.slice(n, 50), sequence=n + 50)
    until = monotonic() + 30
    while store._joining and monotonic() < until:
        sleep(0.005)
    assert_equal_to_the_join(store, items, events)
    assert len(store._runs) <= 12


def test_a_counter_per_query_counts_that_query_alone(items):
    click = {"time_s": [1.0, 2.0, 3.0], "item_id": ["i3"] * 3, "action": ["click"] * 3, "query": ["Sofa", "lamp", None]}
    view = View(items, complete(pa.table(click), EVENTS))
    counter = Counter(name="query_clicks", action="click", per_query=True)
    asked = query_ids(["sofa ", "lamp", "chair", ""])
    assert view.counts(counter, np.full(4, 3), 9.0, asked).tolist() == [1.0, 1.0, 0.0, 0.0]
    assert view.counts(counter, np.full(4, 4), 9.0, asked).tolist() == [0.0] * 4
    with pytest.raises(ContractError, match="query=query_ids"):
        view.counts(counter, np.array([3]), 9.0)


def test_a_replayed_log_gives_the_same_numbers_after_a_restart(tmp_path, items, events):
    shop = Shop.create(tmp_path / "shop")
    shop.write_generation([item_table(NUM)])
    shop.add_events(events.slice(0, 1500))
    with Log.open(shop.log_path) as log:
        log.append("event", events.slice(1500, 1000))
        store = OnlineBehaviour.open(COUNTERS, shop, log, lambda: items, remember=True)
        log.append("event", events.slice(2500))
        assert store.follow(log) == 1500
        assert store.follow(log) == 0
        assert_equal_to_the_join(store, items, events)
    with Log.open(shop.log_path) as log:
        again = OnlineBehaviour.open(COUNTERS, shop, log, lambda: items, remember=True)
    assert again.sequence == store.sequence
    for counter in COUNTERS:
        found = store.counts(counter, *questions(2))
        np.testing.assert_allclose(again.counts(counter, *questions(2)), found, rtol=1e-9)


def test_an_accepted_event_counts_by_itself(tmp_path, items):
    with Log.open(tmp_path / "log.sqlite") as log:
        store = OnlineBehaviour(COUNTERS, lambda: items).start(log)
        receipt = log.append("event", [{"time_s": 5.0, "item_id": "i3", "action": "click", "session_id": "s"}])
        assert store.wait(receipt.last, timeout_s=20)
        assert store.counts(COUNTERS[0], np.array([3, 4]), 6.0).tolist() == [1.0, 0.0]
        assert store.counts(COUNTERS[0], np.array([3]), 5.0).tolist() == [0.0], "strictly before"
        assert not store.wait(receipt.last + 1, timeout_s=0.01)
        store.close()


def test_an_event_before_its_item_counts_once_the_item_is_there(items):
    now = [items]
    store = OnlineBehaviour(COUNTERS, lambda: now[0])
    click = complete(pa.table({"time_s": [1.0], "item_id": ["new"], "action": ["click"]}), EVENTS)
    store.add(click, sequence=1)
    now[0] = items.upserted(complete(pa.table({"item_id": ["new"]}), CATALOGUE))
    store.add(click.slice(0, 0), sequence=2)
    store.add(click.slice(0, 0), sequence=3)
    assert store.counts(COUNTERS[0], now[0].rows_of(["new"]), 9.0).tolist() == [1.0]


def test_an_undeclared_counter_is_refused(items):
    with pytest.raises(UnknownName, match="did you mean 'clicks'"):
        OnlineBehaviour(COUNTERS, lambda: items).counts(Counter(name="click", action="click"), np.array([0]), 1.0)


def test_histories_are_kept_only_where_asked_for(items, events):
    with pytest.raises(StateError, match="remember=True"):
        OnlineBehaviour(COUNTERS, lambda: items).histories(np.array([1]), 1.0)
    store = OnlineBehaviour((), lambda: items, remember=True)
    assert store.histories(np.array([1, 2]), 1.0)["action"].dtype == np.int8
    store.add(events, sequence=1)
    assert store.num_events < len(events), "impressions and strangers are not what a user did"
    assert_same_lists(
        store.histories(np.array([hashed("ann")]), np.inf), View(items, events).histories([hashed("ann")], np.inf)
    )


def test_what_is_declared_later_is_kept_beside_what_was(tmp_path, items, events):
    shop = Shop.create(tmp_path / "shop")
    shop.write_generation([item_table(NUM)])
    shop.add_events(events.slice(0, 1000))
    with Log.open(shop.log_path) as log:
        live = LiveBehaviour(shop, log, lambda: items)
        live.declare(())
        assert live.store is None
        live.declare(COUNTERS[:1])
        assert live.history(hashed("ann"), np.inf) is None
        live.declare((), remember=True)
        assert len(live.history(hashed("ann"), np.inf).item) == 50
        before = live.store
        live.declare(COUNTERS[:1])
        assert live.store is before
        live.declare(COUNTERS)
        assert live.store.wait(log.append("event", events.slice(1000)).last, 20)
        assert_equal_to_the_join(live.store, items, events)
        live.close()
