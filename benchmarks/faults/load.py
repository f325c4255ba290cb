"""50 requests in flight for 60 s while products are written and funnels and catalogues are swapped: none may fail.

A writer and two readers serve 20,000 generated products.  ``wrk`` keeps 50 connections busy with searches, a department
and the feed; products are written ten times a second.  ``funnels``: every 3 s the pointer goes from a hybrid funnel to a
lexical one and back.  ``catalogues``: every 10 s a whole new catalogue is ingested, or rolled back.

A failed request is one that got no answer, or another status than 200 (202 for a write).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

from aisle.data.rollback import roll_back
from aisle.data.shop import Shop
from aisle.engine.embedded.appliers import open_engine
from aisle.engine.embedded.log import Log
from aisle.funnel import storing
from aisle.recipes import plan
from aisle.recipes.environment import encode_items, open_env
from aisle.serve.processes import running
from aisle.simulate.catalogue.items import catalogue

SCRIPT = """
local paths = {
  "/api/search?q=lamp", "/api/search?q=red+dress", "/api/search?q=steel+kettle", "/api/search?q=wireles+phone",
  "/api/search?q=running+boots&filter=%7B%22price_cents%22%3A%7B%22high%22%3A9000%7D%7D", "/api/search?q=",
  "/api/search?q=cotton+shirt&sort=price_cents", "/api/suggest?q=lam", "/?q=chair"
}
local at = 0
request = function()
  at = at + 1
  return wrk.format("GET", paths[at % #paths + 1])
end
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('{"requests": %d, "failed": %d, "p50_ms": %.1f, "p99_ms": %.1f, "max_ms": %.1f, "seconds": %.2f}',
    summary.requests, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency.max / 1000, summary.duration / 1e6))
end
"""


def under_load(
    address: str, seconds: int, connections: int, swap: Callable[[], object], every_s: float
) -> dict[str, Any]:
    """``wrk`` against the address while products are written and ``swap`` is called again and again."""
    stop, writes, wrong, swaps = Event(), [0], [], [0]

    def write() -> None:
        for n in range(1_000_000):
            if stop.wait(0.1):
                return
            items = [{"item_id": f"load{n % 500}", "title": f"velvet lamp {n}", "price_cents": n}]
            request = urllib.request.Request(
                f"{address}/api/items",
                json.dumps({"items": items}).encode(),
                {"Content-Type": "application/json"},
            )
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    writes[0] += answer.status == 202
            except OSError as error:
                wrong.append(f"a write failed: {error}")

    def swap_again() -> None:
        while not stop.wait(every_s):
            swap()
            swaps[0] += 1

    threads = [Thread(target=work) for work in (write, swap_again)]
    with TemporaryDirectory(prefix="aisle-wrk-") as scratch:
        script = Path(scratch, "load.lua")
        script.write_text(SCRIPT)
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script), address]
        for thread in threads:
            thread.start()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        stop.set()
        for thread in threads:
            thread.join()
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index('{"requests"') :])
    for line in wrong[:3]:
        print(line, file=sys.stderr)
    found["failed"] += len(wrong)
    found["per_s"] = round(found.pop("requests") / found.pop("seconds"), 1)
    return found | {"writes": writes[0], "swaps": swaps[0]}


def prepared(folder: Path, num_items: int) -> tuple[Shop, list[str]]:
    """A shop with two fitted funnels."""
    shop = Shop.create(folder)
    shop.write_generation([catalogue(num_items, seed=1)])
    with Log.open(shop.log_path) as log:
        open_engine(shop, log)
    env = open_env(shop)
    encode_items(env, shop, "own")
    versions = [storing.save(plan(name).fit(shop.view(), env), shop) for name in ("lexical", "hybrid_own")]
    shop.point(funnel=versions[1], plan="hybrid_own")
    return shop, versions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--connections", type=int, default=50)
    chosen = parser.parse_args()
    found = {}
    with TemporaryDirectory(prefix="aisle-load-") as scratch:
        shop, versions = prepared(Path(scratch) / "shop", chosen.items)
        turn = [0]

        def other_funnel() -> None:
            turn[0] += 1
            shop.point(funnel=versions[turn[0] % 2], plan=("lexical", "hybrid_own")[turn[0] % 2])

        def other_catalogue() -> None:
            turn[0] += 1
            if turn[0] % 2:
                shop.write_generation([catalogue(chosen.items, seed=1)], sequence=shop.log_bounds()[1])
            else:
                roll_back(shop)

        with running(shop.folder, 2) as address:
            time.sleep(2.0)
            found["funnels"] = under_load(address, chosen.seconds, chosen.connections, other_funnel, 3.0)
        with running(shop.folder, 2, vectors=False) as address:
            time.sleep(2.0)
            found["catalogues"] = under_load(address, chosen.seconds // 2, chosen.connections, other_catalogue, 10.0)
    rows = [{"metric": n, "plan": p, "value": v} for p, values in found.items() for n, v in values.items()]
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
