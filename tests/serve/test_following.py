"""A running server follows its shop: another catalogue, another funnel, back again, and never something damaged."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from aisle.core.errors import AisleError
from aisle.data.rollback import roll_back
from aisle.data.schema import CATALOGUE
from aisle.data.shop import Shop
from aisle.funnel.storing import save
from aisle.recipes import plan
from aisle.recipes.environment import open_env
from aisle.serve import live as lives
from aisle.serve.app import create_app
from aisle.serve.live import LiveShop


def catalogue(word: str, num_items: int = 20) -> pa.Table:
    products = [{"item_id": f"p{n}", "title": f"{word} lamp {n}"} for n in range(num_items)]
    return pa.Table.from_pylist(products, schema=CATALOGUE)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop.create(tmp_path / "shop")
    shop.write_generation([catalogue("first")])
    return shop


@pytest.fixture
def live(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveShop]:
    monkeypatch.setattr(lives, "best_plan", lambda: "hybrid_own")
    live = LiveShop(shop.folder).start()
    assert live.wait_ready(60)
    assert live.wait_settled(60)
    yield live
    live.close()


def until(there: Callable[[], bool], timeout_s: float = 20) -> None:
    end = monotonic() + timeout_s
    while not there():
        assert monotonic() < end, "it did not come"
        threading.Event().wait(0.02)


def titles(live: LiveShop) -> set[str]:
    answer = TestClient(create_app(live)).get("/api/search", params={"q": "lamp"}).json()
    return {item["title"].split()[0] for item in answer["items"]}


def test_a_new_catalogue_and_the_way_back_without_a_failed_request(shop: Shop, live: LiveShop) -> None:
    client, stop, wrong = TestClient(create_app(live)), threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            answer = client.get("/api/search", params={"q": "lamp"})
            if answer.status_code != 200 or not answer.json()["items"]:
                wrong.append(answer.text)

    thread = threading.Thread(target=ask)
    thread.start()
    assert live.writing is not None
    live.writing.append("upsert", [{"item_id": "p1", "title": "changed lamp"}])
    shop.write_generation([catalogue("second")], sequence=1)
    until(lambda: live.status().generation == 2)
    assert titles(live) == {"second"}, "the new file holds what was logged before it"
    live.writing.append("upsert", [{"item_id": "p2", "title": "late lamp"}])
    until(lambda: titles(live) == {"second", "late"})
    roll_back(shop)
    until(lambda: live.status().generation == 1)
    assert titles(live) == {"first", "changed", "late"}, "what was logged since is shown by the old catalogue too"
    stop.set()
    thread.join()
    assert wrong == []
    assert live.status().error is None


def test_a_fitted_funnel_is_picked_up_and_left_again(shop: Shop, live: LiveShop) -> None:
    version = save(plan("lexical").fit(shop.view(), open_env(shop)), shop)
    shop.point(funnel=version, plan="words")
    until(lambda: live.status().plan == f"words ({version})")
    roll_back(shop)
    until(lambda: live.status().plan == "hybrid_own")


def test_a_damaged_catalogue_is_not_served(shop: Shop, live: LiveShop) -> None:
    shutil.copytree(shop.generation_folder(1), shop.generation_folder(2))
    path = shop.generation_folder(2) / "items.arrow"
    whole = path.read_bytes()
    path.write_bytes(whole[:300] + bytes([whole[300] ^ 1]) + whole[301:])
    shop.point(generation=2)
    until(lambda: live.status().error is not None)
    assert "damaged" in (live.status().error or "")
    assert titles(live) == {"first"}
    live.close()
    again = LiveShop(shop.folder, vectors=False).start()
    assert again.wait_ready(60)
    assert titles(again) == {"first"}, "after a restart the last whole catalogue is served"
    assert "generation 2 cannot be served" in (again.status().notice or "")
    again.close()


def test_a_shop_with_nothing_whole_left_says_so(shop: Shop) -> None:
    (shop.generation_folder() / "items.arrow").write_bytes(b"no catalogue")
    live = LiveShop(shop.folder, vectors=False).start()
    with pytest.raises(AisleError, match=r"items.arrow is damaged.*aisle restore"):
        live.wait_ready(60)
    live.close()
