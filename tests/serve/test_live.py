from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from aisle.core.errors import SettingError
from aisle.data.shop import Shop
from aisle.nn.encoders.own import OwnEncoder
from aisle.recipes import plan
from aisle.serve import background
from aisle.serve.active import MOST_WORDS, Active
from aisle.serve.app import create_app
from aisle.serve.live import LiveShop
from aisle.serve.target import open_target
from aisle.simulate.world import simulate


@pytest.fixture
def shop(tmp_path: Path, untouched_folder: Path) -> Shop:
    shutil.copytree(untouched_folder, tmp_path / "shop")
    return Shop.open(tmp_path / "shop")


def test_encoding_goes_on_where_it_was_stopped(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "CHUNK", 32)
    encoded: list[str] = []
    encode = OwnEncoder.encode
    first = LiveShop(shop.folder, plan="hybrid_own")

    def counted(self: OwnEncoder, texts: list[str]) -> np.ndarray:
        encoded.extend(texts)
        if len(encoded) >= 96:
            first._stop.set()
        return encode(self, texts)

    monkeypatch.setattr(OwnEncoder, "encode", counted)
    first.start()
    first.wait_settled(60)
    first.close()
    assert first.active is not None
    assert first.active.plan_name == "lexical"
    before = list(encoded)
    assert 96 <= len(before) < 200
    encoded.clear()
    second = LiveShop(shop.folder, plan="hybrid_own").start()
    second.wait_settled(60)
    assert second.active is not None
    assert second.active.plan_name == "hybrid_own"
    assert not set(before) & set(encoded)
    done = second.status().encoding
    assert done.state == "done"
    assert done.cached >= len(before)
    second.close()
    encoded.clear()
    third = LiveShop(shop.folder, plan="hybrid_own").start()
    third.wait_settled(60)
    assert third.active is not None
    assert third.active.plan_name == "hybrid_own"
    assert len(encoded) <= 2 + MOST_WORDS, "only the queries that warm the funnel up"
    third.close()


def test_requests_in_flight_end_on_the_funnel_they_began_with(shop: Shop) -> None:
    live = LiveShop(shop.folder, plan="lexical", vectors=False).start()
    assert live.wait_ready(60)
    live.wait_settled(60)
    client = TestClient(create_app(live))
    one = live.active
    assert one is not None
    two = Active(plan("lexical").fit(shop.view(), one.funnel.env), "second")
    plans: list[str] = []
    failed: list[int] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            answer = client.get("/api/search", params={"q": "red"})
            if answer.status_code == 200:
                plans.append(answer.json()["plan"])
            else:
                failed.append(answer.status_code)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in range(20):
        live.swap(two if n % 2 == 0 else one)
        time.sleep(0.03)
    stop.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert set(plans) == {"lexical", "second"}
    live.close()


def test_a_saved_funnel_is_served(shop: Shop) -> None:
    from aisle.funnel.storing import save
    from aisle.recipes.environment import open_env

    version = save(plan("lexical").fit(shop.view(), open_env(shop)), shop)
    shop.point(funnel=version, plan="lexical")
    live = LiveShop(shop.folder).start()
    live.wait_settled(60)
    assert live.status().plan == f"lexical ({version})"
    assert live.status().notice is None
    live.close()


def test_a_funnel_of_an_older_catalogue_is_passed_over_and_said(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from aisle.funnel.storing import save
    from aisle.recipes.environment import open_env
    from aisle.serve import live as lives

    monkeypatch.setattr(lives, "best_plan", lambda: "hybrid_own")
    version = save(plan("lexical").fit(shop.view(), open_env(shop)), shop)
    shop.point(funnel=version, plan="learned")
    shop.write_generation([shop.items().table])
    live = LiveShop(shop.folder).start()
    live.wait_settled(60)
    status = live.status()
    assert status.error is None
    assert status.plan == "hybrid_own"
    assert f"aisle fit {shop.folder} learned" in (status.notice or "")
    live.close()


def test_a_user_with_a_past_gets_a_feed_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    simulate(folder, 300, 2, 0)
    log = Shop.open(folder).events()
    ordered = [u for u, a in zip(log["user_id"].to_pylist(), log["action"].to_pylist(), strict=True) if a == "order"]
    user = max(set(ordered), key=ordered.count)
    live = LiveShop(folder, vectors=False).start()
    assert live.wait_settled(60)  # pasts are read behind the first page
    client = TestClient(create_app(live))

    def feed(user: str) -> list[str]:
        return [item["id"] for item in client.get("/api/search", params={"user": user}).json()["items"]]

    assert feed(user) != feed("")
    assert feed("nobody") == feed("")
    live.close()


def products(path: Path, titles: list[str]) -> Path:
    with gzip.open(path, "wt") as out:
        for n, title in enumerate(titles):
            out.write(json.dumps({"id": f"p{n}", "title": title, "price": 10 + n, "brand": "Acme"}) + "\n")
    return path


def test_a_file_becomes_a_shop_once_for_each_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AISLE_CACHE", str(tmp_path / "cache"))
    file = products(tmp_path / "products.jsonl.gz", [f"red kettle {n}" for n in range(20)])
    said: list[str] = []
    one = open_target(file, None, said.append)
    again = open_target(file, None, said.append)
    assert one.folder == again.folder
    assert one.folder.is_relative_to(tmp_path / "cache")
    assert again.generation == 1
    products(file, [f"blue kettle {n}" for n in range(21)])
    other = open_target(file, None, said.append)
    assert other.folder != one.folder
    assert other.items().num_rows == 21
    into = open_target(file, tmp_path / "mine", said.append)
    assert into.folder == tmp_path / "mine"


def test_a_half_made_shop_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AISLE_CACHE", str(tmp_path / "cache"))
    file = products(tmp_path / "products.jsonl.gz", ["red kettle", "blue pan"])
    made = open_target(file, None, lambda _: None)
    (made.folder / "made_from").unlink()
    (made.folder / "CURRENT.json").write_text("{")
    assert open_target(file, None, lambda _: None).items().num_rows == 2


def test_the_server_starts_from_a_file_and_stops_on_ctrl_c(tmp_path: Path) -> None:
    file = products(tmp_path / "products.jsonl.gz", [f"red kettle {n}" for n in range(50)])
    call = f"run(Path({str(file)!r}), port=0, vectors=False, as_json=True)"
    code = f"from pathlib import Path; from aisle.serve.running import run; {call}"
    env = {**os.environ, "AISLE_CACHE": str(tmp_path / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)}
    server = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )
    try:
        assert server.stdout is not None
        lines = iter(server.stdout.readline, "")
        serving = next(line for line in map(json.loads, lines) if line["kind"] == "serving")
        assert serving["items"] == 50
        assert serving["after_s"] < 20
        import httpx

        assert "red kettle" in httpx.get(serving["url"] + "/?q=kettle").text
        server.send_signal(signal.SIGINT)
        assert server.wait(20) in (0, -signal.SIGINT, 130)
        assert "Traceback" not in server.stderr.read()  # type: ignore[union-attr]
    finally:
        server.kill()
        server.communicate()


def test_answers_do_not_wait_for_acknowledgements() -> None:
    from aisle.serve.running import _listen

    with _listen("127.0.0.1", 0) as listening:
        assert listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        with pytest.raises(SettingError, match="--port"):
            _listen("127.0.0.1", listening.getsockname()[1])
