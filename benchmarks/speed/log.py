"""How many appends a second the log acknowledges, how long one waits, and when an upsert can be found.

Writers are threads that append one event at a time and wait for each acknowledgement.  ``fsyncs`` is what the disk
does alone: write 4 KB, fsync, again.  The engine of ``upsert_to_visible`` stands on disk and holds text, no vectors.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import numpy as np
import pyarrow as pa

from aisle.data.schema import CATALOGUE
from aisle.data.shop import Shop
from aisle.engine.embedded.appliers import Applier, open_engine
from aisle.engine.embedded.log import Log

NOUNS = ("lamp", "chair", "kettle", "shirt", "phone", "cable", "boots", "knife")


def product(n: int, trait: str = "plain") -> dict[str, Any]:
    return {
        "item_id": f"p{n}",
        "title": f"{trait} {NOUNS[n % 8]} {n}",
        "description": f"A {trait} {NOUNS[n % 8]} for the house, number {n}, with a guarantee of two years",
        "brand": f"Brand {n % 97}",
        "category": [f"Home > {NOUNS[n % 8]}s"],
        "attributes": [{"name": "weight", "number": float(n % 90), "unit": "kg"}],
        "price_cents": 100 + n % 9000,
        "rating_count": n % 500,
    }


def summary(times_s: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(times_s, [50, 99]) * 1000
    return {"p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2)}


def appends(log: Log, writers: int, seconds: float) -> dict[str, float]:
    """Acknowledged appends a second, and how long each took."""
    times_s: list[list[float]] = [[] for _ in range(writers)]
    event = {"time_s": 1.7e9, "user_id": "u1", "session_id": "s1", "action": "click", "item_id": "p1", "query": "lamp"}
    until = time.perf_counter() + seconds

    def write(own_s: list[float]) -> None:
        while (start := time.perf_counter()) < until:
            log.append("event", [event])
            own_s.append(time.perf_counter() - start)

    threads = [Thread(target=write, args=(own_s,)) for own_s in times_s]
    start = time.perf_counter()
    for act in (Thread.start, Thread.join):
        for thread in threads:
            act(thread)
    every_s = [t for own_s in times_s for t in own_s]
    return {"acks_per_s": round(len(every_s) / (time.perf_counter() - start)), **summary(every_s)}


def fsyncs(folder: Path, count: int = 500) -> dict[str, float]:
    """The disk alone."""
    handle = os.open(folder / "probe", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    times_s = []
    for _ in range(count):
        start = time.perf_counter()
        os.write(handle, b"x" * 4096)
        os.fsync(handle)
        times_s.append(time.perf_counter() - start)
    os.close(handle)
    return summary(times_s)


def visible(folder: Path, num_items: int, count: int) -> dict[str, Any]:
    """From the call of ``append`` until every index has the record, one upsert at a time, then 1,000 at once."""
    shop = Shop.create(folder)
    shop.write_generation([pa.Table.from_pylist([product(n) for n in range(num_items)], schema=CATALOGUE)])
    with Log.open(shop.log_path) as log:
        applier = Applier(open_engine(shop, log), log).start()

        def upsert(rows: range) -> float:
            start = time.perf_counter()
            last = log.append("upsert", [product(n, "fresh") for n in rows]).last
            if not applier.wait(last, 60):
                raise SystemExit(f"record {last} was not applied within 60 s")
            return time.perf_counter() - start

        times_s = [upsert(range(n * 7, n * 7 + 1)) for n in range(count)]
        thousand_s = upsert(range(5000, 6000))
        applier.close()
        start = time.perf_counter()
        open_engine(shop, log)
        reopened_s = time.perf_counter() - start
    return {**summary(times_s), "thousand_s": round(thousand_s, 2), "reopened_s": round(reopened_s, 2)}


def timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return round(time.perf_counter() - start, 2)


def copies(folder: Path, log: Log) -> dict[str, float]:
    """A log that also holds 20,000 products: bulk appends, every checksum, the copies; seconds unless named otherwise."""
    batch = [product(n) for n in range(1000)]
    bulk_s = timed(lambda: [log.append("upsert", batch) for _ in range(20)])
    found = {
        "upserts_per_s": round(20_000 / bulk_s),
        "records": log.last_sequence,
        "verify_s": timed(log.verify),
        "backup_s": timed(lambda: log.backup(folder / "backup.sqlite")),
        "export_s": timed(lambda: log.export(folder / "log.parquet")),
        "size_mb": round((folder / "backup.sqlite").stat().st_size / 1e6, 1),
    }
    return found | {"open_s": timed(lambda: Log.open(folder / "backup.sqlite").close())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each number of writers")
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--upserts", type=int, default=150)
    parser.add_argument("--folder", type=Path, help="where to write; the disk decides most figures")
    chosen = parser.parse_args()
    with TemporaryDirectory(prefix="aisle-log-", dir=chosen.folder) as scratch:
        folder = Path(scratch)
        found: dict[str, dict[str, Any]] = {"disk": fsyncs(folder)}
        with Log.open(folder / "log.sqlite") as log:
            for writers in (1, 8, 32):
                found[f"writers_{writers}"] = appends(log, writers, chosen.seconds)
            found["copies"] = copies(folder, log)
        found["upsert_to_visible"] = visible(folder / "shop", chosen.items, chosen.upserts)
    rows = [{"metric": n, "plan": plan, "value": v} for plan, values in found.items() for n, v in values.items()]
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
