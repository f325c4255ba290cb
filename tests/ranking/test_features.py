"""Features of rankers that learn from the log: what they mean, that nothing of the future is in them, and that serving makes the
very same bytes as training did."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from aisle.core.lists import ItemLists
from aisle.core.requests import Action, Requests, query_ids
from aisle.core.shop import Events
from aisle.data.shop import Shop
from aisle.data.view import View
from aisle.engine.embedded.behaviour import OnlineBehaviour
from aisle.ranking._counts import COUNTERS
from aisle.ranking._facts import ItemFacts, attributes_of, text_ids, word_ids
from aisle.ranking._features import (
    ITEM_NUMBERS,
    PAST,
    REQUEST_NUMBERS,
    FeatureMaker,
    scale_of,
    standardised,
)
from aisle.ranking._impressions import HISTORY, impressions
from aisle.recipes.environment import memory_env
from aisle.serve.request_log import requests_of_record
from aisle.simulate.known import grown, two_tastes
from aisle.simulate.world import simulate


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features") / "shop"
    simulate(folder, items=300, days=3, visits_per_day=200, num_queries=40, budget=200)
    return Shop.open(folder)


@pytest.fixture(scope="module")
def view(shop):
    return shop.view()


@pytest.fixture(scope="module")
def env(view):
    return replace(memory_env(view.items), counters=view)


@pytest.fixture(scope="module")
def pages(view):
    return impressions(view, ("click", "cart", "order"))


@pytest.fixture(scope="module")
def maker(view):
    return FeatureMaker(attributes_of(view.items, 3))


@pytest.fixture(scope="module")
def features(pages, maker, env):
    return maker.make(pages.requests, pages.lists, env)


def bytes_of(features):
    parts = [features.request_ids, features.item_ids, features.request_numbers, features.item_numbers]
    return {f"{n}{name}": array.tobytes() for n, part in enumerate(parts) for name, array in part.items()}


def test_served_features_are_the_trained_ones_to_the_byte(view, pages, maker, env, features):
    """Each logged page is asked again, alone, through the record that a server keeps of it."""
    for q in range(0, len(pages.requests), 41):
        requests, shown = pages.requests, pages.lists.list_of(q)
        record = {
            "query": requests.query[q],
            "user": int(requests.user[q]),
            "session": int(requests.session[q]),
            "scene": int(requests.scene[q]),
            "anchor": -1,
            "time_s": float(requests.time_s[q]),
            "seed": 0,
            "filter": None,
            "sort": "",
            "offset": 0,
            "limit": 10,
            "locale": "en",
        }
        history = view.histories(requests.user[[q]], requests.time_s[[q]], HISTORY)
        again = requests_of_record(json.loads(json.dumps(record)), history)
        served = maker.make(again, ItemLists(shown.item, shown.splits), env)
        assert bytes_of(served) == bytes_of(features.select(np.array([q]))), q


def test_live_counters_give_the_same_bytes(shop, view, pages, maker, env, features):
    """A server that counted the log piece by piece, asked at the moment of each page, later pieces included."""
    store = OnlineBehaviour(COUNTERS, lambda: view.items)
    log = shop.events()
    for n, start in enumerate(range(0, log.num_rows, 3000)):
        store.add(log.slice(start, 3000), sequence=n + 1)
    live = maker.make(pages.requests, pages.lists, replace(env, counters=store))
    assert bytes_of(live) == bytes_of(features)


def test_a_new_event_is_in_the_next_page(view, pages, maker, env):
    """What the log does not hold yet, a server counts."""
    item = np.array([7], np.int32)
    now_s = float(view.events["time_s"][-1]) + 60.0
    store = OnlineBehaviour(COUNTERS, lambda: view.items)
    asked = Requests.make(["lamp"], time_s=np.array([now_s]))
    lists = ItemLists(item, np.array([0, 1]))
    before = maker.make(asked, lists, replace(env, counters=store))
    click = {"time_s": now_s - 5, "item_id": view.items.text("item_id", item)[0], "action": "click", "query": "lamp"}
    store.add(pa.table({name: [value] for name, value in click.items()}), sequence=1)
    after = maker.make(asked, lists, replace(env, counters=store))
    at = ITEM_NUMBERS["match"].index("pair_clicks")
    assert before.item_numbers["match"][0, at] == 0
    assert after.item_numbers["match"][0, at] == pytest.approx(np.log1p(1), rel=1e-4)


def test_more_candidates_change_no_row(maker, env, pages):
    """A page of ten and the same ten among hundreds."""
    one = pages.requests.select(np.array([300]))
    few = pages.lists.list_of(300)
    many = ItemLists(np.arange(env.engine.items.num_rows, dtype=np.int32), np.array([0, env.engine.items.num_rows]))
    small, large = maker.make(one, few.only(), env), maker.make(one, many, env)
    for name, array in small.item_numbers.items():
        assert array.tobytes() == large.item_numbers[name][few.item].tobytes()
    for name, ids in small.item_ids.items():
        np.testing.assert_array_equal(ids, large.item_ids[name][few.item])


def test_what_comes_later_is_in_no_feature(view, pages, env):
    """The events after a moment in another order: the features of pages before it stay as they were."""
    cut_s = float(np.quantile(view.events["time_s"], 0.6))
    before = np.flatnonzero(pages.requests.time_s < cut_s)
    later = np.flatnonzero(view.events["time_s"] >= cut_s)
    columns = dict(view.events.columns)
    for name in ("item", "action", "user"):
        columns[name] = columns[name].copy()
        columns[name][later] = np.random.default_rng(0).permutation(columns[name][later])
    made = []
    for events in (view.events, Events(columns, view.events.queries)):
        mine = View(view.items, events)
        part = impressions(mine, ("click",))
        part = part.select(np.flatnonzero(part.requests.time_s < cut_s))
        made.append(bytes_of(FeatureMaker().make(part.requests, part.lists, replace(env, counters=mine))))
    assert len(before) > 200
    assert made[0] == made[1]


def test_counts_are_those_of_the_log_before_the_page(view, pages, features):
    """Decayed counts by hand for a few rows."""
    names = ITEM_NUMBERS["statistics"]
    events = view.events
    owner = features.owner
    for row in np.random.default_rng(1).integers(0, len(owner), 12):
        now_s, item = pages.requests.time_s[owner[row]], pages.lists.item[row]
        mine = (events["item"] == item) & (events["time_s"] < now_s)
        for action in ("impression", "click", "order"):
            ages = now_s - events["time_s"][mine & (events["action"] == Action[action.upper()])]
            expected = np.log1p(np.exp2(-ages / (7 * 86_400)).sum())
            got = features.item_numbers["statistics"][row, names.index(f"item_{action}s")]
            assert got == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_the_users_past_is_in_the_match_block(view, pages, features):
    names = ITEM_NUMBERS["match"]
    history, owner = pages.requests.history, features.owner
    items = view.items
    brand = np.array(items.text("brand"))
    checked = 0
    for row in range(0, len(owner), 97):
        past = history.list_of(int(owner[row])).item
        item = pages.lists.item[row]
        value = features.item_numbers["match"][row]
        assert value[names.index("past_item")] == pytest.approx(np.log1p((past == item).sum()), abs=1e-6)
        expected = (brand[past] == brand[item]).sum() if brand[item] else 0
        assert value[names.index("past_brand")] == pytest.approx(np.log1p(expected), abs=1e-6)
        checked += expected > 0
    assert checked > 3
    clicks = features.request_ids["clicks_item"]
    q = int(np.argmax(history.counts))
    mine = history.list_of(q)
    clicked = mine.item[mine["action"] == Action.CLICK][-PAST:]
    assert clicks[q][clicks[q] >= 0].tolist() == clicked.tolist()
    counts = features.request_numbers["user"][q]
    assert counts[REQUEST_NUMBERS["user"].index("past_clicks")] == pytest.approx(
        np.log1p((mine["action"] == Action.CLICK).sum())
    )


def test_words_shared_with_the_query(pages, features, env):
    searches = np.array([bool(q) for q in pages.requests.query])[features.owner]
    words = features.item_numbers["match"][:, ITEM_NUMBERS["match"].index("words_all")]
    assert (words[~searches] == 0).all()
    # The others were found by meaning; of a query that says no to something, fewer words are looked for.
    assert (words[searches] > 0).mean() > 0.85
    row = int(np.flatnonzero(searches)[0])
    q = int(features.owner[row])
    alone = env.engine.text.score([pages.requests.query[q]], pages.lists.list_of(q).only(), {})
    start = pages.lists.splits[q]
    assert words[start : start + len(alone)].tobytes() == alone.astype(np.float32).tobytes()


def test_the_shown_price_counts_over_the_catalogues(maker, env):
    requests = Requests.make(["lamp"])
    rows = np.array([3, 4], np.int32)
    plain = maker.make(requests, ItemLists(rows, np.array([0, 2])), env)
    noted = ItemLists(rows, np.array([0, 2]), {"price_cents": np.array([-1, 1234], np.int64)})
    shown = maker.make(requests, noted, env)
    assert shown.item_numbers["statistics"][0, 0] == plain.item_numbers["statistics"][0, 0]
    assert shown.item_numbers["statistics"][1, 0] == pytest.approx(np.log1p(1234))


def test_scaled_numbers_have_mean_0_and_deviation_1(features):
    scaled = standardised(features, scale_of(features))
    for value in [*scaled.request_numbers.values(), *scaled.item_numbers.values()]:
        assert np.isfinite(value).all()
        assert np.abs(value).max() <= 10
    statistics = scaled.item_numbers["statistics"]
    assert np.abs(statistics.mean(0)).max() < 0.05
    varies = features.item_numbers["statistics"].std(0) > 1e-3
    assert np.abs(statistics[:, np.nan_to_num(varies).astype(bool)].std(0) - 1).max() < 0.2


def test_facts_follow_the_catalogue():
    view = two_tastes()
    facts, rows = ItemFacts(("colour",)), np.array([0, 5, 0], np.int32)
    ids, words, numbers = facts.at(view.items, rows)
    assert ids[0].tolist() == ids[2].tolist()
    assert ids[1, 0] == text_ids(view.items.text("brand", rows[1:2]))[0]
    assert words[0, 0] == word_ids(view.items.text("title", rows[:1]), 1)[0, 0]
    more = view.items.upserted(grown(view.items.table, 0.1))
    assert facts.at(more, np.array([42], np.int32))[1][0, 0] >= 0
    dearer = view.items.table.slice(0, 1)
    at = dearer.column_names.index("price_cents")
    dearer = dearer.set_column(at, dearer.schema.field(at), [[99_900]])
    changed = facts.at(view.items.upserted(dearer), rows)[2]
    assert changed[0, 0] == pytest.approx(np.log1p(99_900))
    assert numbers[0, 0] != changed[0, 0]


def test_ids_are_stable_and_tell_apart():
    queries = query_ids(["Desk  lamp", "desk lamp", "lamp desk", ""])
    assert queries[0] == queries[1] != queries[2]
    assert queries[3] == -1
    # Another machine, another day: the same number.
    assert query_ids(["lamp"])[0] == 3855780024721014293
