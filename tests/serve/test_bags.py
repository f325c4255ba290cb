"""Bags of a learned sparse method follow the products, by the fitted stage that makes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from aisle.core.bags import Bags
from aisle.core.env import Env
from aisle.core.lists import Array, ItemLists
from aisle.core.method import NOTHING, Given, Method, State
from aisle.core.requests import Requests, hashed
from aisle.core.shop import ShopView
from aisle.data.schema import CATALOGUE
from aisle.data.shop import Shop
from aisle.engine.embedded.appliers import open_engine
from aisle.engine.embedded.log import Log
from aisle.funnel import Plan
from aisle.serve.active import Active
from aisle.serve.app import create_app
from aisle.serve.live import LiveShop

from .conftest import known_as
from .test_following import until


class Words(Method):
    """Each word of a title is a term, as a trained encoder would name more of them."""

    @property
    def bags(self) -> str:
        return "words"

    def fit(self, shop: ShopView, env: Env, given: Given = NOTHING) -> Any:
        stage = WordsStage(env)
        rows = np.flatnonzero(env.engine.items.live)
        env.engine.put_sparse("words", rows, stage.bags(rows))
        env.engine.save_sparse("words")
        return stage


class WordsStage:
    def __init__(self, env: Env) -> None:
        self.env = env

    def bags(self, rows: Array) -> Bags:
        return bags_of(self.env.engine.items.text("title", rows))

    def retrieve(self, requests: Requests, k: int) -> ItemLists:
        return self.env.engine.sparse("words").search(bags_of(list(requests.query)), k, requests.masks())

    def state(self) -> State:
        return State()


def bags_of(texts: list[str]) -> Bags:
    return Bags.of([{hashed(word) % 1_000_003: 1.0 for word in text.lower().split()} for text in texts])


@pytest.fixture(scope="module", autouse=True)
def known_method() -> Iterator[None]:
    with known_as("retrieval.words", Words):
        yield


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveShop]:
    shop = Shop.create(tmp_path / "shop")
    products = [{"item_id": f"p{n}", "title": f"desk lamp {n}", "price_cents": 100} for n in range(30)]
    shop.write_generation([pa.Table.from_pylist(products, schema=CATALOGUE)])
    live = LiveShop(shop.folder, plan="lexical", vectors=False).start()
    assert live.wait_ready(60)
    assert live.wait_settled(60)
    assert live._standing is not None
    assert live.active is not None
    plan = Plan(retrieval={"words": Words()})
    live.swap(
        Active(
            plan.fit(live.shop.view(items=live._standing.items), live._standing.env),
            "words",
            live.shop.view(items=live._standing.items),
        )
    )
    yield live
    live.close()


def found(client: TestClient, query: str) -> list[str]:
    """By the bags alone: what words match beside them comes after."""
    page = client.get("/api/search", params={"q": query, "limit": 50}).json()
    assert not [stage for stage in page["trace"] if stage["skipped"]], page["trace"]
    return [item["id"] for item in page["items"]]


def test_bags_follow_upserts_changes_and_deletes(live: LiveShop) -> None:
    client = TestClient(create_app(live), client=("127.0.0.1", 50000))
    assert live._standing is not None
    engine = live._standing.engine
    bags = engine.sparse("words")
    new = [{"item_id": "n", "title": "velvet sofa"}, {"item_id": "p3", "title": "brass bell"}]
    assert client.post("/api/items", json={"items": new}).status_code == 202
    until(lambda: set(bags.bag(3)) == set(bags_of(["brass bell"]).term.tolist()))
    row = int(live._standing.items.rows_of(["n"])[0])
    until(lambda: bags.num_rows == 31)
    assert found(client, "velvet")[0] == "n"
    assert set(bags.bag(row)) == set(bags_of(["velvet sofa"]).term.tolist())

    made = bags.num_postings
    client.patch("/api/items/p5", json={"price_cents": 7, "wait_visible": True})
    assert client.delete("/api/items/n?wait_visible=true").status_code == 202
    until(lambda: bags.num_rows == 30)
    assert bags.num_postings <= made, "a price makes no new bag"
    [index] = [i for i in client.get("/ready").json()["indexes"] if i["name"] == "bags words"]
    assert (index["missing"], index["rows"]) == (0, 30)
    until(lambda: client.get("/ready").json()["indexes"][-1]["lag"] == 0)

    # What another process finds in the folder, without the stage that makes bags.
    assert live.shop is not None
    with Log.open(live.shop.log_path, read_only=True) as log:
        other = open_engine(live.shop, log)
        assert other.sparse("words").bag(3) == bags.bag(3)
        client.post("/api/items", json={"items": [{"item_id": "m", "title": "oak shelf"}], "wait_visible": True})
        until(lambda: bags.num_rows == 31)
        assert other.reopen()
        assert other.sparse("words").bag(31) == bags.bag(31) != {}
        other.put_sparse("later", np.array([0]), bags_of(["lamp"]))
        other.save_sparse("later")
    assert engine.reopen(), "a fit in another process may bring a model of its own"
    assert engine.sparse("later").num_rows == 1
