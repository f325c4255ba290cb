"""What served can be read back: the numbers in the log are the numbers of the page, and a replay gives them again."""

from __future__ import annotations

import numpy as np
import pytest
from starlette.testclient import TestClient
from tests.serve.conftest import make_shop

from aisle.engine.embedded.log import Log
from aisle.serve.app import create_app
from aisle.serve.live import LiveShop
from aisle.serve.request_log import candidates_of_record, requests_of_record


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """The requests that a server of its own logged, and that server's funnel."""
    folder = make_shop(tmp_path_factory.mktemp("logged") / "shop").folder
    live = LiveShop(folder, plan="hybrid_own", log_candidates=True).start()
    assert live.wait_ready(60)
    assert live.wait_settled(120)
    client = TestClient(create_app(live))
    answers = [
        client.get("/api/search", params={"q": "red dress", "limit": 5, "session": "s1"}).json(),
        client.post("/api/search", json={"q": "", "filter": {"price_cents": {"high": 5000}}, "sort": "-rating"}).json(),
    ]
    client.get("/api/explain", params={"q": "red dress", "item_id": answers[0]["items"][0]["id"]})
    funnel = live.active.funnel
    live.close()
    with Log.open(folder / "log.sqlite", read_only=True) as log:
        return answers, [r.value for r in log.read(kinds=["request"])], funnel


def test_every_answer_is_in_the_log_with_its_numbers(records):
    answers, logged, funnel = records
    assert [r["request_id"] for r in logged] == [a["request_id"] for a in answers], "explanations are no requests"
    first = logged[0]
    assert first["funnel"] == funnel.version
    assert first["query"] == "red dress"
    assert len(first["item"]) == len(answers[0]["items"]) == 5
    assert set(first["columns"]) >= {"score", "score_bm25", "rank_minilm", "found_bm25", "propensity"}
    assert first["columns"]["propensity"] == [1.0] * 5


def test_a_replay_gives_the_logged_numbers(records):
    _, logged, funnel = records
    for record in logged:
        page = funnel.serve(requests_of_record(record), strict=True)
        assert page.lists.item.tolist() == record["item"]
        for name, column in page.lists.columns.items():
            values = [np.nan if v is None else v for v in record["columns"][name]]
            np.testing.assert_array_equal(column, np.array(values, column.dtype), err_msg=name)


def test_the_numbers_of_all_candidates_come_back(records):
    _, logged, funnel = records
    for record in logged:
        found = candidates_of_record(record)
        page = funnel.serve(requests_of_record(record), strict=True)
        assert len(found.item) > len(record["item"])
        np.testing.assert_array_equal(found.item, page.candidates.item)
        assert found.columns.keys() == page.candidates.columns.keys()
        for name, column in page.candidates.columns.items():
            np.testing.assert_array_equal(found[name], column, err_msg=name)
            assert found[name].dtype == column.dtype
    assert candidates_of_record({}) is None
