"""Counters and histories when serving: what a stage reads is the offline join as of the moment, and follows a posted event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from time import monotonic, time
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from aisle.core.env import Env
from aisle.core.lists import Array, ItemLists
from aisle.core.method import NOTHING, Given, Method, State
from aisle.core.requests import Requests, query_ids
from aisle.core.shop import Counter, ShopView
from aisle.data.schema import CATALOGUE, EVENTS, complete
from aisle.data.shop import Shop
from aisle.engine.embedded.appliers import take_in_events
from aisle.funnel import Plan
from aisle.retrieval.bm25 import Bm25
from aisle.serve.active import Active
from aisle.serve.app import create_app
from aisle.serve.live import LiveShop

from .conftest import known_as

DAY_S = 86_400.0
CLICKS = Counter(name="clicks", action="click", half_life_s=7 * DAY_S)
FOR_QUERY = Counter(name="query_clicks", action="click", half_life_s=7 * DAY_S, per_query=True)


class Clicked(Method):
    """Orders by clicks, those of the query ten times."""

    @property
    def counters(self) -> tuple[Counter, ...]:
        return CLICKS, FOR_QUERY

    @property
    def writes(self) -> frozenset[str]:
        return frozenset({"score", "clicks", "query_clicks"})

    def fit(self, shop: ShopView, env: Env, given: Given = NOTHING) -> Any:
        return ClickedStage(env)


class ClickedStage:
    seen: ClassVar[list[tuple[Requests, ItemLists, Mapping[str, Array]]]] = []

    def __init__(self, env: Env) -> None:
        self.env = env

    def score(self, requests: Requests, candidates: ItemLists) -> Mapping[str, Array]:
        owner = candidates.owner
        ask = candidates.item, requests.time_s[owner]
        clicks = self.env.counts(CLICKS, *ask)
        for_query = self.env.counts(FOR_QUERY, *ask, query_ids(requests.query)[owner])
        out = {"score": (clicks + 10 * for_query).astype(np.float32), "clicks": clicks, "query_clicks": for_query}
        self.seen.append((requests, candidates, out))
        return out

    def state(self) -> State:
        return State()


@pytest.fixture(scope="module", autouse=True)
def known_method() -> Iterator[None]:
    with known_as("ranking.clicked", Clicked):
        yield


def past(num: int = 3000) -> pa.Table:
    rng = np.random.default_rng(0)
    table = {
        "time_s": time() - rng.uniform(1, 20 * DAY_S, num),
        "item_id": [f"p{n}" for n in rng.integers(0, 30, num)],
        "action": rng.choice(["impression", "click", "order"], num),
        "query": rng.choice(["lamp", "desk", ""], num),
        "user_id": rng.choice(["ann", "ben", None], num),
    }
    return complete(pa.table(table), EVENTS)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveShop]:
    shop = Shop.create(Path(tmp_path_factory.mktemp("counted")) / "shop")
    products = [{"item_id": f"p{n}", "title": f"desk lamp {n}", "brand": "Acme"} for n in range(30)]
    shop.write_generation([pa.Table.from_pylist(products, schema=CATALOGUE)])
    shop.add_events(past())
    live = LiveShop(shop.folder, plan="lexical", vectors=False).start()
    assert live.wait_ready(60)
    assert live.wait_settled(60)
    standing = live._standing
    assert standing is not None
    plan = Plan(retrieval={"bm25": Bm25()}, ranking=Clicked())
    live._count(standing, plan)
    live.swap(Active(plan.fit(shop.view(items=standing.items), standing.env), "clicked", standing.behaviour))
    yield live
    live.close()


@pytest.fixture
def client(live: LiveShop) -> TestClient:
    return TestClient(create_app(live), client=("127.0.0.1", 50000))


def first(client: TestClient, query: str, user: str = "") -> str:
    return str(client.get("/api/search", params={"q": query, "user": user}).json()["items"][0]["id"])


def click(client: TestClient, item_id: str, num: int, query: str = "", user: str = "") -> int:
    """The log record of the last click."""
    event = {"item_id": item_id, "action": "click", "scene": "search", "query": query, "time_s": time() - 0.001}
    event |= {"user_id": user} if user else {}
    answer = client.post("/api/events", json={"events": [event] * num})
    assert answer.status_code == 202, answer.text
    return int(answer.json()["last"])


def test_a_posted_event_changes_the_page_within_a_second(live: LiveShop, client: TestClient) -> None:
    was = first(client, "lamp")
    other = "p7" if was != "p7" else "p8"
    began = monotonic()
    click(client, other, 200)
    while first(client, "lamp") != other and monotonic() - began < 30:
        pass
    # The promise is one second; a machine that stood still meanwhile is not what is tested.
    assert monotonic() - began < 5.0
    assert live.visible(click(client, was, 100, "lamp"), 30)
    assert first(client, "lamp") == was, "what is visible is counted, and counts for its query"
    assert first(client, "desk") == other


def test_what_was_served_is_the_offline_join_as_of_the_request(live: LiveShop, client: TestClient) -> None:
    assert live.visible(click(client, "p3", 5, "desk"), 30)
    ClickedStage.seen.clear()
    first(client, "desk")
    requests, candidates, served = ClickedStage.seen[-1]
    assert live.shop is not None
    take_in_events(live.shop)
    view = live.shop.view()
    at_s = requests.time_s[candidates.owner]
    assert len(candidates.item) == 30
    offline = view.counts(CLICKS, candidates.item, at_s)
    np.testing.assert_allclose(served["clicks"], offline, rtol=1e-12)
    np.testing.assert_array_equal(served["clicks"].astype(np.float32), offline.astype(np.float32))
    per_query = view.counts(FOR_QUERY, candidates.item, at_s, query_ids(requests.query)[candidates.owner])
    np.testing.assert_array_equal(served["query_clicks"].astype(np.float32), per_query.astype(np.float32))
    assert per_query.sum() < offline.sum()


@pytest.mark.parametrize("user", ["ann", "new", ""])
def test_a_history_is_what_the_user_did_up_to_the_request_and_grows_with_a_posted_event(
    live: LiveShop, client: TestClient, user: str
) -> None:
    assert live.shop is not None
    lengths = []
    for item_id in ("p3", "p9"):
        assert live.visible(click(client, item_id, 2, "desk", user), 30)
        ClickedStage.seen.clear()
        first(client, "desk", user)
        requests = ClickedStage.seen[-1][0]
        take_in_events(live.shop)
        offline = live.shop.view().histories(requests.user, requests.time_s)
        for name in ("action", "time_s"):
            np.testing.assert_array_equal(requests.history.columns.get(name, []), offline[name])
        np.testing.assert_array_equal(requests.history.item, offline.item)
        lengths.append(len(offline.item))
    assert lengths == {"ann": [50, 50], "new": [2, 4], "": [0, 0]}[user]


def test_readiness_says_how_far_behaviour_is(live: LiveShop, client: TestClient) -> None:
    sequence = click(client, "p2", 1)
    assert live.visible(sequence, 30)
    [found] = [index for index in client.get("/ready").json()["indexes"] if index["name"] == "behaviour"]
    assert found["sequence"] >= sequence
    assert found["rows"] > 0


def test_offline_a_plan_answers_from_the_view_it_was_fitted_on(live: LiveShop) -> None:
    from aisle.recipes.environment import memory_env

    assert live.shop is not None
    view = live.shop.view(until_s=time() - 10 * DAY_S)
    funnel = Plan(retrieval={"bm25": Bm25()}, ranking=Clicked()).fit(view, memory_env(view.items))
    lists = funnel.ranked(Requests.make(["lamp"], time_s=time()))
    expected = view.counts(CLICKS, lists.item, time())
    np.testing.assert_array_equal(lists["clicks"], expected)
    assert expected.any()
