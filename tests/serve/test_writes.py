"""Writing over HTTP: acknowledged, shown, refused as a whole, and there again after a restart."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from aisle.data.schema import CATALOGUE
from aisle.data.shop import Shop
from aisle.serve.app import create_app
from aisle.serve.keeping import Reencoding
from aisle.serve.live import LiveShop

from .test_following import until


def make(folder: Path) -> Path:
    shop = Shop.create(folder)
    products = [
        {"item_id": f"p{n}", "title": f"desk lamp {n}", "brand": "Acme", "price_cents": 100 + n} for n in range(30)
    ]
    shop.write_generation([pa.Table.from_pylist(products, schema=CATALOGUE)])
    return shop.folder


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveShop]:
    """One shop for all tests; each writes products of its own."""
    live = LiveShop(make(tmp_path_factory.mktemp("writes") / "shop"), plan="hybrid_own").start()
    assert live.wait_ready(60)
    assert live.wait_settled(60)
    yield live
    live.close()


@pytest.fixture
def client(live: LiveShop) -> TestClient:
    return TestClient(create_app(live), client=("127.0.0.1", 50000))


def found(client: TestClient, query: str) -> list[str]:
    return [item["id"] for item in client.get("/api/search", params={"q": query, "limit": 100}).json()["items"]]


def test_a_product_is_found_as_soon_as_it_is_visible(client: TestClient) -> None:
    new = {
        "item_id": "new/1",
        "title": "velvet sofa",
        "category": "Home > Sofas",
        "attributes": {"colour": "red", "width": 40.5},
    }
    answer = client.post("/api/items", json={"items": [new], "wait_visible": True})
    assert answer.status_code == 202, answer.text
    assert answer.json()["visible"] is True
    assert found(client, "velvet sofa")[0] == "new/1"
    shown = client.get("/api/items/new/1").json()
    assert shown["categories"] == ["Home > Sofas"]
    assert {a["name"]: a["value"] for a in shown["attributes"]} == {"colour": "red", "width": "40.5"}
    replaced = client.post(
        "/api/items", json={"items": [{"item_id": "p3", "title": "brass bell"}], "wait_visible": True}
    )
    assert replaced.json()["visible"]
    assert found(client, "brass bell")[0] == "p3"
    assert client.get("/api/items/p3").json()["price_cents"] is None, "an upsert is a whole product"


def test_a_new_product_ranks_by_its_words_until_its_vector_is_there(
    live: LiveShop, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> int:
        [index] = [i for i in client.get("/ready").json()["indexes"] if i["name"] == "vectors own"]
        return int(index["missing"])

    real = Reencoding.step
    until(lambda: missing() == 0)  # what the tests before put in
    with monkeypatch.context() as held:
        held.setattr(Reencoding, "step", lambda self, pause: 0)
        new = {"item_id": "late", "title": "walnut desk lamp", "brand": "Acme", "price_cents": 100}
        assert client.post("/api/items", json={"items": [new], "wait_visible": True}).json()["visible"]
        assert missing() == 1
        assert found(client, "walnut desk lamp")[0] == "late", "30 others have two of the words and a vector"
    assert Reencoding.step is real
    until(lambda: live._standing.engine.vectors("own").has(live._standing.items.rows_of(["late"])).all())
    client.delete("/api/items/late?wait_visible=true")


def test_price_and_stock_change_alone(client: TestClient) -> None:
    change = {"price_cents": 7, "stock": 3, "wait_visible": True}
    assert client.patch("/api/items/p4", json=change).status_code == 202
    shown = client.get("/api/items/p4").json()
    assert (shown["title"], shown["price_cents"], shown["stock"]) == ("desk lamp 4", 7, 3)
    assert client.patch("/api/items/p4", json={"stock": None, "wait_visible": True}).status_code == 202
    assert client.get("/api/items/p4").json()["stock"] is None
    many = [{"item_id": f"p{n}", "price_cents": 1000 + n} for n in range(5, 9)]
    assert (
        client.post("/api/items", json={"items": many, "partial": True, "wait_visible": True}).json()["accepted"] == 4
    )
    cheap = {"filter": '{"price_cents": {"low": 1000, "high": 1008}}'}
    assert len(client.get("/api/search", params=cheap).json()["items"]) == 4
    assert client.patch("/api/items/nobody", json={"stock": 1}).status_code == 404


def test_a_deleted_product_is_gone_and_may_come_back(client: TestClient) -> None:
    assert "p9" in found(client, "lamp")
    assert client.delete("/api/items/p9", params={"wait_visible": True}).json()["visible"]
    assert "p9" not in found(client, "lamp")
    again = client.delete("/api/items/p9")
    assert again.status_code == 404
    assert "POST /api/items" in again.json()["remedy"]
    back = {"items": [{"item_id": "p9", "title": "desk lamp nine"}], "wait_visible": True}
    assert client.post("/api/items", json=back).json()["visible"]
    assert "p9" in found(client, "lamp")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"item_id": "a", "price_cents": -5}, "record 2 of 2 (item 'a') has price_cents -5"),
        ({"item_id": "a", "price": 5}, "items.1.price"),
        ({"item_id": "a", "price_cents": "cheap"}, "items.1.price_cents"),
        ({"item_id": "", "title": "x"}, "items.1.item_id"),
        ({"title": "x"}, "items.1.item_id"),
        ({"item_id": "a", "attributes": [{"text": "red"}]}, "attributes"),
    ],
)
def test_a_bad_record_refuses_the_whole_batch(
    client: TestClient, live: LiveShop, bad: dict[str, Any], said: str
) -> None:
    answer = client.post("/api/items", json={"items": [{"item_id": "good", "title": "x"}, bad]})
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert answer.json()["remedy"]
    assert live.unknown(["good"]) == ["good"]


def test_products_are_changed_from_here_or_with_the_key(live: LiveShop, monkeypatch: pytest.MonkeyPatch) -> None:
    far = TestClient(create_app(live), client=("203.0.113.9", 50000))
    body = {"items": [{"item_id": "far", "title": "far away"}]}
    refused = far.post("/api/items", json=body)
    assert refused.status_code == 403
    assert "203.0.113.9" in refused.json()["error"]
    assert far.delete("/api/items/p1").status_code == far.patch("/api/items/p1", json={"stock": 1}).status_code == 403
    assert far.post("/api/events", json={"events": [{"action": "click", "item_id": "p1"}]}).status_code == 202
    monkeypatch.setenv("AISLE_WRITE_KEY", "s3cret")
    near = TestClient(create_app(live), client=("127.0.0.1", 50000))
    assert near.post("/api/items", json=body).status_code == 403, "with a key, everybody needs it"
    assert far.post("/api/items", json=body, headers={"Authorization": "Bearer wrong"}).status_code == 403
    assert far.post("/api/items", json=body, headers={"Authorization": "Bearer s3cret"}).status_code == 202


def test_readiness_tells_the_lag_of_every_index(client: TestClient) -> None:
    before = client.get("/ready").json()
    assert {i["name"] for i in before["indexes"]} == {"catalogue", "text", "behaviour", "vectors own"}
    items = [{"item_id": f"n{n}", "title": f"velvet bench {n}"} for n in range(3)]
    last = client.post("/api/items", json={"items": items, "wait_visible": True}).json()["last"]
    status = client.get("/ready").json()
    assert status["items"] == before["items"] + 3
    assert status["log"]["shown"] >= last
    assert status["sequence_lag"] == status["log"]["last"] - status["log"]["shown"]

    def encoded() -> bool:
        vectors = next(i for i in client.get("/ready").json()["indexes"] if i["name"] == "vectors own")
        return vectors["missing"] == 0 and vectors["sequence"] >= last

    until(encoded)


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    first = LiveShop(make(tmp_path / "shop"), vectors=False).start()
    assert first.wait_ready(60)
    here = TestClient(create_app(first), client=("127.0.0.1", 50000))
    here.post("/api/items", json={"items": [{"item_id": "new", "title": "velvet sofa"}]})
    here.delete("/api/items/p1")
    here.patch("/api/items/p2", json={"price_cents": 5})
    first.close()
    again = LiveShop(tmp_path / "shop", vectors=False).start()
    assert again.wait_ready(60)
    other = TestClient(create_app(again))
    assert found(other, "velvet") == ["new"]
    assert other.get("/api/items/p2").json()["price_cents"] == 5
    assert "p1" not in found(other, "lamp")
    again.close()


def test_no_request_fails_while_the_catalogue_grows(client: TestClient, live: LiveShop) -> None:
    stop, wrong = threading.Event(), []

    def ask() -> None:
        params = [{"q": "lamp"}, {"q": "", "sort": "-price_cents"}, {"q": "sofa", "filter": '{"brand": ["Acme"]}'}]
        while not stop.is_set():
            for one in params:
                answer = client.get("/api/search", params=one)
                if answer.status_code != 200:
                    wrong.append(answer.text)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in range(60):
        live.writing.append(
            "upsert", [{"item_id": f"g{n}.{m}", "title": "grown sofa lamp", "brand": "Acme"} for m in range(3)]
        )
    assert live.visible(live.log.last_sequence, 20)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(found(client, "grown")) == 100


REFUSED = [
    ("POST", "/api/items", {"items": [{"item_id": "b", "price": 1}]}, "items.0.price is no field", "'price_cents'"),
    ("POST", "/api/items", {"items": [{"item_id": "b", "hue": 1}]}, "items.0.hue is no field", "goes into attributes"),
    ("POST", "/api/items", {"items": [{"item_id": 5}]}, "items.0.item_id is 5: expected text", "/docs"),
    ("POST", "/api/items", {"items": []}, "items is a list of 0: expected at least 1", "/docs"),
    ("POST", "/api/items", {"items": [{"item_id": "b", "category": {"a": 1}}]}, "expected a list or text", "/docs"),
    ("POST", "/api/items", {"items": [{"item_id": "b", "attributes": {"w": True}}]}, "attributes.w is True: ", "/docs"),
    (
        "POST",
        "/api/items",
        {"items": [{"item_id": "p1"}, {"item_id": "no"}], "partial": True},
        "no item 'no'",
        "add it",
    ),
    ("PATCH", "/api/items/p1", {"color": "red"}, "color is no field", "goes into attributes"),
    ("PATCH", "/api/items/p1", {}, "names no column", "price_cents"),
    ("PATCH", "/api/items/gone", {"price_cents": 1}, "no item 'gone'", "POST /api/items"),
    ("DELETE", "/api/items/p1?timeout_s=1e9", None, "timeout_s is '1e9': expected less than", "/docs"),
    ("POST", "/api/events", {"events": [{"action": "clicked"}]}, "action is 'clicked': expected 'impression'", "/docs"),
    ("POST", "/api/events", {"events": [{"action": "click", "user": "u"}]}, "user is no field", "'user_id'"),
    (
        "POST",
        "/api/events",
        {"events": [{"action": "click", "time_s": 1.7e12}]},
        "time_s is 1700000000000.0",
        "not milliseconds",
    ),
]


@pytest.mark.parametrize(("verb", "path", "body", "error", "remedy"), REFUSED)
def test_a_mistake_is_told_with_its_value_and_a_remedy(
    live: LiveShop, client: TestClient, verb: str, path: str, body: Any, error: str, remedy: str
) -> None:
    assert live.log is not None
    before = live.log.last_sequence
    answer = client.request(verb, path, json=body) if body is not None else client.request(verb, path)
    assert answer.status_code in (400, 404), answer.text
    assert error in answer.json()["error"], answer.text
    assert remedy in answer.json()["remedy"], answer.text
    assert not [r for r in live.log.read(before) if r.kind != "request"], "nothing of it is accepted"


@pytest.mark.parametrize(
    ("content", "status", "error"),
    [
        (b"[" * 100_000, 400, "nested too deeply"),
        (b'{"items": [{"item_id": "b", "rating": NaN}]}', 400, "items.0.rating is nan: expected a finite number"),
        (b"\xff\xfe", 400, "JSON"),
        (b" " * 16_000_001, 413, "more than 16,000,000 bytes"),
        ([b" " * 9_000_000] * 2, 413, "more than 16,000,000 bytes"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(client: TestClient, content: Any, status: int, error: str) -> None:
    body = iter(content) if isinstance(content, list) else content
    answer = client.post("/api/items", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert error in answer.json()["error"]


def test_readiness_says_what_is_wrong_with_the_synonyms(live: LiveShop, client: TestClient) -> None:
    assert client.get("/ready").json()["synonyms_error"] is None
    assert live.shop is not None
    rules = live.shop.rules_folder / "synonyms.txt"
    rules.write_text("lamp => \n")
    assert str(rules) in client.get("/ready").json()["synonyms_error"]
    rules.unlink()
    assert client.get("/ready").json()["synonyms_error"] is None


def test_did_you_mean_says_how_sure_it_is(client: TestClient) -> None:
    answer = client.get("/api/search?q=dessk").json()
    assert answer["suggestion"] == "desk"
    assert 0 < answer["suggestion_confidence"] <= 1
    assert client.get("/api/search?q=desk").json()["suggestion_confidence"] is None
