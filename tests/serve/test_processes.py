"""One shop in several processes: what one accepts all show, and the others go on when one is killed."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from aisle.core.errors import AisleError, DataError
from aisle.data.rollback import roll_back
from aisle.data.shop import Shop
from aisle.engine.embedded.log import Log
from aisle.serve.processes import Family, processes_at, running

from .test_following import catalogue, until


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Shop]]:
    """Address and folder of a small shop with a writer and two readers, words only."""
    shop = Shop.create(tmp_path_factory.mktemp("family") / "shop")
    shop.write_generation([catalogue("first", 50)])
    with running(shop.folder, 2, vectors=False) as url:
        yield url, shop


def processes(url: str) -> list[dict[str, Any]]:
    return [row for row in processes_at(url) if row["alive"] and row["generation"]]


def everywhere(url: str, query: str, item_id: str) -> bool:
    """Both readers find it: asked often enough, each has answered."""
    found = []
    for _ in range(12):
        with httpx.Client() as client:
            answer = client.get(url + "/api/search", params={"q": query, "limit": 200})
        found.append(item_id in {item["id"] for item in answer.json()["items"]})
    return all(found)


def upsert(url: str, item_id: str, title: str) -> dict[str, Any]:
    items = {"items": [{"item_id": item_id, "title": title}], "wait_visible": True}
    answer = httpx.post(url + "/api/items", json=items, timeout=20)
    assert answer.status_code == 202, answer.text
    written: dict[str, Any] = answer.json()
    assert written["visible"]
    return written


def test_what_a_reader_was_sent_every_reader_shows(family: tuple[str, Shop]) -> None:
    url, shop = family
    upsert(url, "sofa", "velvet sofa")
    assert everywhere(url, "velvet", "sofa")
    refused = httpx.post(url + "/api/items", json={"items": [{"item_id": "x", "price_cents": -1}]})
    assert refused.status_code == 400
    assert "price_cents -1" in refused.json()["error"]
    assert httpx.delete(url + "/api/items/sofa", params={"wait_visible": True}).json()["visible"]
    assert not everywhere(url, "velvet", "sofa")
    with pytest.raises(DataError, match="another writer"):
        Log.open(shop.log_path)
    until(lambda: bool(logged(shop, "request")))


def logged(shop: Shop, kind: str) -> list[dict[str, Any]]:
    with Log.open(shop.log_path, read_only=True) as log:
        return [r.value for batch in log.batches(kinds=(kind,)) for r in batch]


def test_a_killed_reader_and_a_killed_writer_come_back(family: tuple[str, Shop]) -> None:
    url, _ = family
    before = {row["name"]: row["pid"] for row in processes(url)}
    os.kill(before["reader 1"], signal.SIGKILL)
    assert httpx.get(url + "/api/search", params={"q": "lamp"}, timeout=20).status_code == 200
    os.kill(before["writer"], signal.SIGKILL)
    upsert(url, "chair", "velvet chair")
    until(lambda: len(processes(url)) == 3, 60)
    now = {row["name"]: row["pid"] for row in processes(url)}
    assert now["reader 2"] == before["reader 2"]
    assert {now["writer"], now["reader 1"]}.isdisjoint(before.values())
    assert everywhere(url, "velvet", "chair")


def test_all_go_over_to_a_new_catalogue_and_back(family: tuple[str, Shop]) -> None:
    url, shop = family
    shop.write_generation([catalogue("second", 50)], sequence=shop.log_bounds()[1])
    until(lambda: {row["generation"] for row in processes(url)} == {2}, 30)
    assert everywhere(url, "second", "p1")
    roll_back(shop)
    until(lambda: {row["generation"] for row in processes(url)} == {1}, 30)
    upsert(url, "bench", "velvet bench")
    assert everywhere(url, "velvet", "bench")


def test_a_shop_that_cannot_be_opened_ends_with_the_reason(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shop = Shop.create(tmp_path / "shop")
    with socket.create_server(("127.0.0.1", 0)) as listening, Log.open(shop.log_path):
        family = Family.of(shop.folder, listening, 0, vectors=False)
        with pytest.raises(AisleError, match="the writing process cannot run"):
            family.run()
    assert "another writer" in capfd.readouterr().err
