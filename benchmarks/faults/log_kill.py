"""kill -9 the process that writes the log and the indexes, at random moments, and look at what it leaves.

The writer appends upserts, deletes, events and requests from several threads, applies them, compacts now and then, and
notes a sequence number in a file only after the log acknowledged it.  After each kill:

- every acknowledged record is there exactly once, under its number, with its contents; the sequence has no gap
- an engine opened on the shop equals a dictionary that replays the log: items, titles, text index, sequence

Ends with one line, OK or FAIL, and exit code 0 or 1.  A kill does not lose what the system's file cache holds, so this
shows order and wholeness, not that a disk keeps what fsync promised.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from multiprocessing import get_context
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

NUM_ITEMS = 300
WRITERS = 4
KINDS = ("upsert", "upsert", "delete", "event", "request")


def product(item_id: str, token: str) -> dict[str, Any]:
    return {"item_id": item_id, "title": f"lamp {token}", "merchant": token}


def records(kind: str, token: str, rng: random.Random) -> list[dict[str, Any]]:
    """One to three records that carry ``token`` and their place."""
    chosen = [f"p{rng.randrange(2 * NUM_ITEMS)}" for _ in range(rng.randint(1, 3))]
    if kind == "upsert":
        return [product(item_id, f"{token}.{n}") for n, item_id in enumerate(chosen)]
    if kind == "event":
        return [{"time_s": 1.0, "action": "click", "user_id": f"{token}.{n}"} for n in range(len(chosen))]
    return [{"item_id": item_id, "token": f"{token}.{n}"} for n, item_id in enumerate(chosen)]


def token_of(value: dict[str, Any]) -> str:
    return str(value.get("merchant") or value.get("user_id") or value["token"])


def write(folder: str, seed: int, keep_after: int) -> None:
    """The process that is killed.  ``keep_after``: records up to here were looked at and may be forgotten."""
    shop = Shop.open(folder)
    log = Log.open(shop.log_path, check=False)
    acknowledged = os.open(Path(folder, "acknowledged"), os.O_WRONLY | os.O_APPEND)

    def append(writer: int) -> None:
        rng = random.Random(f"{seed} {writer}")
        for n in range(1_000_000):
            kind, token = rng.choice(KINDS), f"{seed}.{writer}.{n}"
            first, last = log.append(kind, records(kind, token, rng))
            os.write(acknowledged, f"{first} {last} {token}\n".encode())

    threads = [Thread(target=append, args=(w,), daemon=True) for w in range(WRITERS)]
    for thread in threads:
        thread.start()
    if seed % 2:
        Applier(open_engine(shop, log), log).start()
    if seed % 3 == 0:
        for until in range(log.floor, min(keep_after, shop.base_sequence()), 10):
            log.compact(until, {"checked": keep_after, "base": shop.base_sequence()})
    threads[0].join()


def kills(folder: Path, count: int, seed: int) -> Iterator[str]:
    """Kill ``count`` writers.  Yields a line for each thing that is wrong."""
    shop = Shop.create(folder)
    with Log.open(shop.log_path) as log:
        wanted = {f"p{n}": f"base.{n}" for n in range(NUM_ITEMS)}
        table = [product(item_id, token) for item_id, token in wanted.items()]
        shop.write_generation([pa.Table.from_pylist(table, schema=CATALOGUE)])
        open_engine(shop, log)
    Path(folder, "acknowledged").touch()
    rng = random.Random(seed)
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, "aisle.engine.embedded.appliers"])
    seen: dict[str, int] = {}
    checked = offset = 0
    for kill in range(count):
        writer = context.Process(target=write, args=(str(folder), kill, checked))
        writer.start()
        _wait_for_writing(folder, offset)
        time.sleep(rng.uniform(0, 0.25))
        writer.kill()
        writer.join()
        with Log.open(shop.log_path) as log:
            log.verify()
            new = {r.sequence: r for batch in log.batches(checked) for r in batch}
            if sorted(new) != list(range(checked + 1, log.last_sequence + 1)):
                yield f"kill {kill}: the sequence has a gap or starts anew"
            tokens = [token_of(r.value) for r in new.values()]
            if len(set(tokens)) < len(tokens) or not seen.keys().isdisjoint(tokens):
                yield f"kill {kill}: a record is there twice"
            lines = Path(folder, "acknowledged").read_text()[offset:]
            offset += len(lines)
            for line in lines.splitlines():
                first, last, token = line.split()
                for place, sequence in enumerate(range(int(first), int(last) + 1)):
                    if sequence not in new or token_of(new[sequence].value) != f"{token}.{place}":
                        yield f"kill {kill}: the acknowledged record {token}.{place} is not at {sequence}"
            for sequence, record in new.items():
                seen[token_of(record.value)] = sequence
                if record.kind == "upsert":
                    wanted[record.value["item_id"]] = token_of(record.value)
                elif record.kind == "delete":
                    wanted.pop(record.value["item_id"], None)
            checked = log.last_sequence
            yield from (f"kill {kill}: {line}" for line in _differences(shop, log, wanted))
            if kill % 4 == 3:
                _fold(shop, log)
    print(f"{checked} records, of which {_floor(shop)} were compacted away", file=sys.stderr)
    if checked < count:
        yield f"only {checked} records were written; the kills came too early to show anything"


def _wait_for_writing(folder: Path, offset: int) -> None:
    """The writer has acknowledged something.  Raises SystemExit when it never does."""
    until = time.monotonic() + 60
    while Path(folder, "acknowledged").stat().st_size <= offset:
        if time.monotonic() > until:
            raise SystemExit("FAIL log_kill: a writer acknowledged nothing for 60 s")
        time.sleep(0.001)


def _differences(shop: Shop, log: Log, wanted: dict[str, str]) -> Iterator[str]:
    """What an engine opened now shows otherwise than the dictionary."""
    engine = open_engine(shop, log)
    rows = np.flatnonzero(engine.items.live)
    found = dict(zip(engine.items.ids(rows), engine.items.text("merchant", rows), strict=True))
    if found != wanted:
        odd = [i for i in found.keys() | wanted.keys() if found.get(i) != wanted.get(i)]
        yield f"{len(odd)} items differ from the log, such as {odd[0]}"
    if engine.text.num_docs != len(wanted):
        yield f"the text index holds {engine.text.num_docs} documents for {len(wanted)} items"
    if engine.sequence != log.last_sequence:
        yield f"the engine is at {engine.sequence}, the log at {log.last_sequence}"


def _fold(shop: Shop, log: Log) -> None:
    from aisle.engine.embedded.appliers import fold

    fold(shop, log, open_engine(shop, log))
    shop.prune()


def _floor(shop: Shop) -> int:
    with Log.open(shop.log_path, read_only=True) as log:
        return log.floor


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print the number of faults as a record wants it")
    chosen = parser.parse_args()
    start = time.perf_counter()
    with TemporaryDirectory(prefix="aisle-kill-") as scratch:
        wrong = list(kills(Path(scratch, "shop"), chosen.kills, chosen.seed))
    for line in wrong:
        print(line, file=sys.stderr)
    verdict = "FAIL" if wrong else "OK"
    if chosen.json:
        print(json.dumps([{"metric": "faults", "value": len(wrong)}, {"metric": "kills", "value": chosen.kills}]))
        return 0
    print(f"{verdict} log_kill: {chosen.kills} kills, {len(wrong)} faults, {time.perf_counter() - start:.1f} s")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
