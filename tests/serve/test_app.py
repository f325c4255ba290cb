from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from aisle.serve.app import create_app
from aisle.serve.live import LiveShop


def found(client: TestClient, **params: Any) -> dict[str, Any]:
    if isinstance(params.get("filter"), dict):
        params["filter"] = json.dumps(params["filter"])
    answer = client.get("/api/search", params=params)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.fixture(scope="module")
def brand(client: TestClient) -> str:
    return str(found(client)["facets"]["brand"]["values"][0]["value"])


def test_a_search_answers_with_items_totals_facets_and_a_trace(client: TestClient) -> None:
    title = found(client, limit=1)["items"][0]["title"]
    page = found(client, q=title)
    assert title in [item["title"] for item in page["items"][:3]]
    assert page["total"] >= 1
    assert page["total_is_exact"]
    assert {"category", "brand", "price_cents"} <= page["facets"].keys()
    assert {"retrieval.bm25", "retrieval.minilm", "ranking"} <= {s["stage"] for s in page["trace"]}
    assert page["plan"] == "hybrid_own"
    assert page["generation"] == 1
    assert len(page["request_id"]) == 32


def test_get_and_post_answer_the_same(client: TestClient, brand: str) -> None:
    asked = {"q": brand, "filter": {"brand": [brand]}, "limit": 7, "sort": "price_cents"}
    posted = client.post("/api/search", json=asked).json()
    got = found(client, **asked)
    assert [i["id"] for i in posted["items"]] == [i["id"] for i in got["items"]]
    assert posted["items"]


def test_filters_hold_and_facets_count_without_their_own_selection(client: TestClient, brand: str) -> None:
    every = found(client)["facets"]["brand"]["values"]
    page = found(client, filter={"brand": [brand], "price_cents": {"low": 1}}, limit=200)
    assert {i["brand"] for i in page["items"]} == {brand}
    assert page["total"] == next(v["count"] for v in every if v["value"] == brand)
    assert len(page["facets"]["brand"]["values"]) > 1


def test_a_sort_orders_the_whole_match_set(client: TestClient) -> None:
    prices = [i["price_cents"] for i in found(client, sort="price_cents", limit=100)["items"]]
    assert prices == sorted(prices)
    falling = [i["price_cents"] for i in found(client, sort="-price_cents", limit=100)["items"]]
    assert falling == sorted(falling, reverse=True)


@pytest.mark.parametrize("asked", [{"q": "kettle shoes dress red"}, {}, {"sort": "price_cents"}])
def test_paging_by_offset_reaches_the_total_without_repeats(client: TestClient, asked: dict[str, str]) -> None:
    total = found(client, **asked)["total"]
    seen: list[str] = []
    while page := found(client, **asked, offset=len(seen), limit=10)["items"]:
        seen += [i["id"] for i in page]
    assert len(seen) == len(set(seen)) == total > 20


def test_paging_by_cursor_walks_the_same_list(client: TestClient) -> None:
    asked = {"q": "red shirt", "session": "s1", "limit": 40}
    whole = [i["id"] for i in found(client, **{**asked, "limit": 200})["items"]]
    seen, page = [], found(client, **asked)
    while True:
        seen += [i["id"] for i in page["items"]]
        if not page["cursor"]:
            break
        page = found(client, **asked, cursor=page["cursor"])
    assert len(seen) == len(set(seen)) == page["total"]
    assert seen[: len(whole)] == whole[: len(seen)]


def test_a_deadline_skips_stages_and_the_page_still_comes(client: TestClient) -> None:
    page = found(client, q="red shirt", deadline_ms=0.0001)
    assert page["items"]
    assert any(s["skipped"] for s in page["trace"])
    assert page["coverage"] < 1
    again = found(client, q="red shirt", deadline_ms=60_000)
    assert all(s["skipped"] is None for s in again["trace"])


def test_similar_items_leave_the_anchor_out(client: TestClient) -> None:
    item = found(client, limit=1)["items"][0]
    similar = client.get(f"/api/similar/{item['id']}", params={"limit": 8}).json()
    assert similar["items"]
    assert item["id"] not in [i["id"] for i in similar["items"]]


def test_an_item_comes_with_its_attributes_and_an_unknown_one_with_a_remedy(client: TestClient) -> None:
    item = found(client, limit=1)["items"][0]
    detail = client.get(f"/api/items/{item['id']}").json()
    assert detail["title"] == item["title"]
    assert detail["attributes"]
    missing = client.get("/api/items/no-such-item")
    assert missing.status_code == 404
    assert missing.json()["remedy"]
    assert client.get("/api/similar/no-such-item").status_code == 404


def test_explain_says_places_and_matched_words(client: TestClient) -> None:
    item = found(client, limit=1)["items"][0]
    word = max((w for w in item["title"].split() if w.isalpha()), key=len)
    why = client.get("/api/explain", params={"q": word, "item_id": item["id"]}).json()
    assert why["position"] is not None
    assert "by words" in why["summary"]
    assert "popularity" not in why["summary"]
    assert any(r["words"].startswith("matches '") and "the title" in r["words"] for r in why["reasons"])
    assert "score_bm25" in why["columns"]


@pytest.mark.parametrize(
    "params",
    [
        {"filter": "{nonsense"},
        {"filter": "[1]"},
        {"filter": '{"brand": {"lo": 1}}'},
        {"filter": '{"no_such_field": ["a"]}'},
        {"sort": "no_such_field"},
        {"cursor": "abc"},
        {"limit": -1},
        {"limit": 100_000},
        {"offset": -5},
        {"deadline_ms": 0},
        {"scene": "shopping"},
        {"q": "x" * 2000},
    ],
)
def test_what_cannot_be_answered_is_refused_with_a_remedy(client: TestClient, params: dict[str, str]) -> None:
    answer = client.get("/api/search", params=params)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]
    assert answer.json()["remedy"]


def test_an_unknown_field_of_a_body_is_refused(client: TestClient) -> None:
    answer = client.post("/api/search", json={"query": "red"})
    assert answer.status_code == 400
    assert "query" in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/api/nothing", 404, "/api/nothing"),
        ("DELETE", "/api/search", 405, "DELETE"),
        ("GET", "/no", 404, "/no"),
    ],
)
def test_a_path_or_verb_that_there_is_not_is_a_problem_like_any_other(
    client: TestClient, method: str, path: str, status: int, words: str
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert words in answer.json()["error"]
    assert answer.json()["remedy"]


def test_a_person_gets_a_page_for_an_address_that_there_is_not(client: TestClient) -> None:
    answer = client.get("/no/<b>such", headers={"accept": "text/html"})
    assert answer.status_code == 404
    assert "See all products" in answer.text
    assert "<b>such" not in answer.text


@pytest.mark.parametrize("path", ["/api/search", "/api/events"])
def test_a_body_that_is_no_json_object_is_refused_in_words(client: TestClient, path: str) -> None:
    half = client.post(path, content='{"q":', headers={"content-type": "application/json"})
    assert half.status_code == 400
    assert "not JSON" in half.json()["error"]
    for content in ("q=lamp", "[1]", "3"):
        other = client.post(path, content=content)
        assert other.status_code == 400
        assert "object" in other.json()["error"]


def test_suggestions_complete_a_prefix(client: TestClient, brand: str) -> None:
    texts = [s["text"] for s in client.get("/api/suggest", params={"q": brand[:3]}).json()["suggestions"]]
    assert brand in texts
    later = [s["text"] for s in client.get("/api/suggest", params={"q": f"zzz {brand[:3]}"}).json()["suggestions"]]
    assert later
    assert all(text.startswith("zzz ") for text in later)
    assert client.get("/api/suggest", params={"q": ""}).json()["suggestions"] == []


def logged_events(live: LiveShop) -> list[dict[str, Any]]:
    assert live.log is not None
    return [r.value for batch in live.log.batches(kinds=("event",)) for r in batch]


def test_events_are_checked_and_on_disk_before_the_answer(client: TestClient, live: LiveShop) -> None:
    before = len(logged_events(live))
    good = {"action": "click", "item_id": "x", "position": 3, "query": "é\n", "extra": {"a": 1}}
    answer = client.post("/api/events", json={"events": [good, {**good, "action": "order", "time_s": 5.0}]})
    assert answer.status_code == 202
    stored = logged_events(live)
    assert len(stored) == before + 2
    assert stored[-2]["query"] == "é\n"
    assert stored[-2]["time_s"] > 1e9
    assert stored[-1]["time_s"] == 5.0
    assert client.get("/ready").json()["events_unlearned"] >= 2
    for bad in ({"action": "steal"}, {"action": "click", "position": -1}, {"action": "click", "what": 1}, {}):
        refused = client.post("/api/events", json={"events": [good, bad]})
        assert refused.status_code == 400, refused.text
    assert client.post("/api/events", json={"events": []}).status_code == 400
    assert len(logged_events(live)) == before + 2


def test_readiness_follows_the_first_funnel(shop_folder: Path) -> None:
    waiting = LiveShop(shop_folder)
    client = TestClient(create_app(waiting))
    assert client.get("/health").json()["status"] == "up"
    assert client.get("/ready").status_code == 503
    early = client.get("/api/search")
    assert early.status_code == 503
    assert early.json().keys() == {"error", "remedy"}
    page = client.get("/")
    assert page.status_code == 503
    assert "Opening" in page.text


def test_readiness_says_what_is_served(client: TestClient) -> None:
    status = client.get("/ready").json()
    assert status["ready"]
    assert (status["plan"], status["generation"], status["items"]) == ("hybrid_own", 1, 301)
    assert status["encoding"]["state"] == "done"


def test_a_shop_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    broken = LiveShop(tmp_path / "missing.csv").start()
    broken.wait_settled(30)
    client = TestClient(create_app(broken))
    assert client.get("/ready").status_code == 503
    assert "does not exist" in client.get("/ready").json()["error"]
    assert "does not exist" in client.get("/").text


def test_the_description_of_the_api_names_every_route(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/api/search", "/api/explain", "/api/suggest", "/api/events", "/health", "/ready"} <= paths.keys()
    page = client.get("/docs")
    assert "/api/similar/{item_id}" in page.text
    assert "place on the page, from 0" in page.text, "the fields of an event"
    assert "cdn" not in page.text


def test_many_requests_at_once_all_get_their_own_answer(client: TestClient) -> None:
    words = ["red", "blue", "shirt", "lamp", "kettle", "shoes", "dress", "black"]
    alone = {w: [i["id"] for i in found(client, q=w)["items"]] for w in words}
    wrong: list[str] = []

    def ask(word: str) -> None:
        for _ in range(3):
            if [i["id"] for i in found(client, q=word)["items"]] != alone[word]:
                wrong.append(word)

    threads = [threading.Thread(target=ask, args=(w,)) for w in words]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_values_of_a_facet_are_found_while_typing(client: TestClient, brand: str) -> None:
    found_ones = client.get(f"/api/facets/brand?typed={brand[:3].lower()}&q=").json()["values"]
    assert brand in {v["value"] for v in found_ones}
    assert all(brand[:3].lower() in v["value"].lower() for v in found_ones)
    assert client.get("/api/facets/brnd?typed=a").status_code == 400
