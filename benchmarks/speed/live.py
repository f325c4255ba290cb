"""How soon an upsert can be found: in the writing process, and in every reader of a shop with several processes.

``writer``: from the call of ``append`` until the engine has the record, in one process; ``cpu_ms`` is processor time, which
other work on the machine does not change.  ``readers``: from the HTTP request
to the answer that every process shows it, by ``POST /api/items`` with ``wait_visible`` over one connection, with searches
going on or without.  The shop has generated products and serves words; vectors follow in the background and delay nothing.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

import numpy as np

from aisle.data.shop import Shop
from aisle.engine.embedded.appliers import Applier, open_engine
from aisle.engine.embedded.log import Log
from aisle.serve.processes import running
from aisle.simulate.catalogue.items import catalogue

SETTLE_S = 8.0
QUERIES = ("lamp", "red dress", "steel kettle", "wireless phone", "running boots", "cotton shirt")


def summary(times_s: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(times_s, [50, 99]) * 1000
    return {"p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2)}


def product(n: int, token: str) -> dict[str, Any]:
    return {
        "item_id": f"{token}{n}",
        "title": f"{token} velvet sofa {n}",
        "brand": f"Brand {n % 50}",
        "category": ["Home > Sofas"],
        "price_cents": 1000 + n,
        "attributes": [{"name": "colour", "text": "red"}],
    }


def in_the_writer(shop: Shop, count: int, gap_s: float) -> dict[str, Any]:
    """One upsert at a time: new products, changed ones, prices; then 1,000 at once."""
    with Log.open(shop.log_path) as log:
        start = time.perf_counter()
        engine = open_engine(shop, log)
        opened_s = time.perf_counter() - start
        applier = Applier(engine, log).start()

        def visible(kind: str, records: list[dict[str, Any]]) -> float:
            start = time.perf_counter()
            last = log.append(kind, records).last
            if not applier.wait(last, 60):
                raise SystemExit(f"record {last} was not applied within 60 s")
            spent_s = time.perf_counter() - start
            time.sleep(gap_s)
            return spent_s

        visible("upsert", [product(0, "first")])
        cpu_s = time.process_time()
        new = [visible("upsert", [product(n, "new")]) for n in range(count)]
        price = [visible("update", [{"item_id": f"p{7 * n}", "price_cents": n}]) for n in range(count)]
        cpu_s = (time.process_time() - cpu_s) / (2 * count)
        thousand_s = visible("upsert", [product(n, "bulk") for n in range(1000)])
        start = time.perf_counter()
        engine.save()
        save_s = time.perf_counter() - start
        applier.close()
    return {
        **summary([*new, *price]),
        "cpu_ms": round(cpu_s * 1000, 2),
        "new_p99_ms": summary(new)["p99_ms"],
        "price_p99_ms": summary(price)["p99_ms"],
        "thousand_s": round(thousand_s, 3),
        "opened_s": round(opened_s, 2),
        "saved_s": round(save_s, 2),
    }


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def in_every_reader(port: int, count: int, gap_s: float, token: str) -> dict[str, float]:
    """From the request to the answer that says that every process shows it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    times_s = []
    for n in range(count):
        start = time.perf_counter()
        status, answer = ask(connection, "POST", "/api/items", {"items": [product(n, token)], "wait_visible": True})
        times_s.append(time.perf_counter() - start)
        if status != 202 or not answer["visible"]:
            raise SystemExit(f"upsert {n} was not visible: {status} {answer}")
        time.sleep(gap_s)
    status, found = ask(connection, "GET", f"/api/search?q={token}+velvet&limit=200")
    if found["total"] < count:
        raise SystemExit(f"{count} upserts are visible, a search finds {found['total']}")
    return summary(times_s)


@contextmanager
def searching(port: int, clients: int) -> Iterator[list[float]]:
    """Searches going on, one after the other in each client; yields how long each took, seconds."""
    stop, times_s = Event(), []

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        for n in range(1_000_000):
            if stop.wait(0.02):
                return
            start = time.perf_counter()
            status, _ = ask(connection, "GET", f"/api/search?q={QUERIES[n % len(QUERIES)].replace(' ', '+')}")
            times_s.append(time.perf_counter() - start)
            if status != 200:
                raise SystemExit(f"a search failed with {status}")

    threads = [Thread(target=client, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    yield times_s
    stop.set()
    for thread in threads:
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--upserts", type=int, default=200)
    parser.add_argument("--gap-ms", type=float, default=10.0, help="between two upserts")
    parser.add_argument("--folder", type=Path, help="where to write; the disk decides a part")
    chosen = parser.parse_args()
    gap_s = chosen.gap_ms / 1000
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    found: dict[str, dict[str, Any]] = {}
    with TemporaryDirectory(prefix="aisle-live-", dir=chosen.folder) as scratch:
        shop = Shop.create(Path(scratch) / "shop")
        shop.write_generation([catalogue(chosen.items, seed=1)])
        with Log.open(shop.log_path) as log:
            start = time.perf_counter()
            open_engine(shop, log)
            found["built"] = {"text_s": round(time.perf_counter() - start, 1)}
        found["writer"] = in_the_writer(shop, chosen.upserts, gap_s)
        with running(shop.folder, 2, vectors=False) as address:
            port = int(address.rpartition(":")[2])
            # They answer before they have collected their suggestions, which keeps them busy for a while.
            time.sleep(SETTLE_S)
            found["readers"] = in_every_reader(port, chosen.upserts, gap_s, "quiet")
            with searching(port, 4) as times_s:
                found["readers_busy"] = in_every_reader(port, chosen.upserts, gap_s, "busy")
            found["searches"] = summary(times_s)
    rows = [{"metric": n, "plan": plan, "value": v} for plan, values in found.items() for n, v in values.items()]
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
