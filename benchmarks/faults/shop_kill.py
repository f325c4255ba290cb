"""kill -9 a process in the middle of what changes a shop, 100 times each, and look at what it leaves.

    events      events are appended and handed over to segments
    upserts     products are written, changed and deleted, applied, and the indexes saved
    compaction  the same with care at every step: snapshots of the catalogue, segments, a log that forgets
    ingest      product files are ingested over a shop with logged upserts, again and again
    swap        the pointer goes to new catalogues and funnels and back, old generations are removed

After each kill the shop is opened by a fresh process, as a server would:

- every acknowledged record counts: each event stands exactly once in segments and log together, each product is as the
  acknowledged records and the ingested file say (the one record that was being written may be there or not, but whole)
- catalogue, text index and sequence equal a replay; nothing is half written; the pointer names what is there

Ends with a line for each scenario, OK or FAIL, and exit code 0 or 1.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from aisle.core.requests import Requests
from aisle.data.reading.ingest import ingest
from aisle.data.rollback import roll_back
from aisle.data.schema import CATALOGUE
from aisle.data.shop import Shop
from aisle.engine.embedded.appliers import catch_up, open_engine, take_in_events
from aisle.engine.embedded.care import Carer, Policy
from aisle.engine.embedded.log import Log

NUM_ITEMS = 200
EAGER = Policy(keep_records=0, snapshot_records=5, save_rows=3, take_in_s=0.01, most_records=50)
LONGEST_S = {"ingest": 1.0, "swap": 0.6}
"""A process is killed at a random moment of so many seconds after it noted something for the first time."""
Told = Callable[[Any], None]


def product(n: int, token: str) -> dict[str, Any]:
    return {"item_id": f"p{n}", "title": f"lamp {token}", "merchant": token}


def table(token: str) -> pa.Table:
    return pa.Table.from_pylist([product(n, token) for n in range(NUM_ITEMS)], schema=CATALOGUE)


# What the process does that is killed.  ``told`` notes in a file what was acknowledged, after it was.


def write_events(shop: Shop, log: Log, seed: int, told: Told) -> None:
    for n in range(1_000_000):
        token = f"{seed}.{n}"
        told({"intends": token})
        log.append("event", [{"time_s": 1.0, "action": "click", "item_id": f"p{n % NUM_ITEMS}", "user_id": token}])
        told({"event": token})
        if n % 5 == 4:
            take_in_events(shop)


def write_products(shop: Shop, log: Log, seed: int, told: Told, *, care: bool = False) -> None:
    rng, engine = random.Random(seed), open_engine(shop, log, check=True)
    carer = Carer(shop, log, engine, EAGER)
    for n in range(1_000_000):
        token, item = f"{seed}.{n}", rng.randrange(2 * NUM_ITEMS)
        kind = rng.choice(("upsert", "upsert", "update", "delete"))
        value = {"upsert": product(item, token), "update": {"item_id": f"p{item}", "merchant": token}}
        record = value.get(kind, {"item_id": f"p{item}"})
        told({"intends": [kind, record]})
        log.append(kind, [record])
        told({"record": [kind, record]})
        catch_up(engine, log)
        if care:
            carer.step()
        elif n % 4 == 3:
            engine.save()


def write_and_compact(shop: Shop, log: Log, seed: int, told: Told) -> None:
    write_products(shop, log, seed, told, care=True)


def ingest_files(shop: Shop, log: Log, seed: int, told: Told) -> None:
    folder = shop.folder.parent
    for n in range(1_000_000):
        token = f"{seed}.{n}"
        file = folder / "products.jsonl"
        file.write_text("".join(json.dumps(product(i, token)) + "\n" for i in range(NUM_ITEMS)))
        told({"ingests": token})
        ingest([file], shop)
        told({"ingested": token})
        record = product(3, f"{token}.late")
        told({"intends": ["upsert", record]})
        log.append("upsert", [record])
        told({"record": ["upsert", record]})
        catch_up(open_engine(shop, log), log)


def swap_about(shop: Shop, log: Log, seed: int, told: Told) -> None:
    rng = random.Random(seed)
    for n in range(1_000_000):
        act = rng.choice(("generation", "funnel", "back"))
        if act == "generation":
            token = f"{seed}.{n}"
            shop.write_generation([table(token)], sequence=log.last_sequence)
            open_engine(shop, log)
            shop.prune(3)
        elif act == "funnel":
            name = f"f{seed}-{n}"
            shop.funnel_path(name).write_text(json.dumps({"generation": shop.generation}))
            shop.point(funnel=name, plan="some")
        elif shop.pointer().get("history"):
            try:
                roll_back(shop)
            except LookupError:
                pass
            except ValueError as error:
                if "nothing before" not in str(error):
                    raise
        told({"done": n})


# What must hold afterwards.


def lost_events(shop: Shop, log: Log, notes: list[dict[str, Any]], memory: dict[str, Any]) -> Iterator[str]:
    take_in_events(shop)
    found = shop.events()["user_id"].to_pylist()
    expected = {note["event"] for note in notes if "event" in note} | memory.setdefault("events", set())
    intended = {note["intends"] for note in notes if "intends" in note}
    memory["events"] = set(found)
    if len(found) != len(set(found)):
        yield "an event is there twice"
    if missing := expected - set(found):
        yield f"{len(missing)} acknowledged events are gone"
    if extra := set(found) - expected - intended:
        yield f"{len(extra)} events that nobody sent"


def wrong_products(shop: Shop, log: Log, notes: list[dict[str, Any]], memory: dict[str, Any]) -> Iterator[str]:
    """The shop equals the acknowledged records, with or without the one that was in the air."""
    wanted = memory.setdefault("wanted", {f"p{n}": ("base", "lamp base") for n in range(NUM_ITEMS)})
    air: Any = None
    for note in notes:
        if "record" in note:
            apply(wanted, *note["record"])
            air = None
        elif "intends" in note:
            air = note["intends"]
        elif "ingests" in note:
            air = note["ingests"]
        elif "ingested" in note:
            replace(wanted, note["ingested"])
            air = None
    found = state(shop, log)
    if found != wanted and air is not None:
        other = dict(wanted)
        replace(other, air) if isinstance(air, str) else apply(other, *air)
        if found == other:
            memory["wanted"] = wanted = other
    if found != wanted:
        odd = [i for i in found.keys() | wanted.keys() if found.get(i) != wanted.get(i)]
        yield f"{len(odd)} items differ, such as {odd[0]}: {found.get(odd[0])} for {wanted.get(odd[0])}"
    yield from broken_engine(shop, log, len(found))


def apply(wanted: dict[str, tuple[str, str]], kind: str, record: dict[str, Any]) -> None:
    item = record["item_id"]
    if kind == "upsert":
        wanted[item] = (record["merchant"], record["title"])
    elif kind == "delete":
        wanted.pop(item, None)
    elif item in wanted:
        wanted[item] = (record["merchant"], wanted[item][1])


def replace(wanted: dict[str, tuple[str, str]], token: str) -> None:
    wanted.clear()
    wanted.update({f"p{n}": (token, f"lamp {token}") for n in range(NUM_ITEMS)})


def state(shop: Shop, log: Log) -> dict[str, tuple[str, str]]:
    items = open_engine(shop, log, check=True).items
    rows = np.flatnonzero(items.live)
    columns = zip(items.text("merchant", rows), items.text("title", rows), strict=True)
    return dict(zip(items.ids(rows), columns, strict=True))


def broken_engine(shop: Shop, log: Log, num_live: int) -> Iterator[str]:
    engine = open_engine(shop, log, check=True, may_build=False)
    if engine.text.num_docs != num_live:
        yield f"the text index holds {engine.text.num_docs} documents for {num_live} items"
    if engine.sequence != log.last_sequence:
        yield f"the engine is at {engine.sequence}, the log at {log.last_sequence}"
    requests = engine.compile(Requests.make(["lamp"]))
    hits = engine.text.search(["lamp"], 2 * NUM_ITEMS, requests.masks(), {})
    if len(hits.item) != num_live:
        yield f"a search finds {len(hits.item)} of {num_live} items"


def wrong_pointer(shop: Shop, log: Log, notes: list[dict[str, Any]], memory: dict[str, Any]) -> Iterator[str]:
    pointer = shop.pointer()
    if pointer["funnel"] and not shop.funnel_path(pointer["funnel"]).is_file():
        yield f"the pointer names the funnel {pointer['funnel']}, which is not there"
    tokens = {token for token, _ in state(shop, log).values()}
    if len(tokens) != 1:
        yield f"the catalogue mixes {sorted(tokens)[:3]}"
    yield from broken_engine(shop, log, NUM_ITEMS)


SCENARIOS = {
    "events": (write_events, lost_events),
    "upserts": (write_products, wrong_products),
    "compaction": (write_and_compact, wrong_products),
    "ingest": (ingest_files, wrong_products),
    "swap": (swap_about, wrong_pointer),
}


def child(name: str, folder: str, seed: int) -> None:
    shop = Shop.open(folder)
    notes = os.open(Path(folder).parent / "notes", os.O_WRONLY | os.O_APPEND)

    def told(note: Any) -> None:
        os.write(notes, (json.dumps(note) + "\n").encode())

    with Log.open(shop.log_path, check=False) as log:
        SCENARIOS[name][0](shop, log, seed, told)


def kills(name: str, folder: Path, count: int, seed: int) -> Iterator[str]:
    """Kill ``count`` processes.  Yields a line for each thing that is wrong."""
    shop = Shop.create(folder / "shop")
    shop.write_generation([table("base")])
    notes = folder / "notes"
    notes.touch()
    with Log.open(shop.log_path) as log:
        open_engine(shop, log)
    rng, memory, offset, busy = random.Random(seed), {}, 0, 0
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    for kill in range(count):
        process = context.Process(target=child, args=(name, str(shop.folder), kill))
        process.start()
        for _ in range(60_000):  # looks, not seconds: a machine that stood still is no fault
            if notes.stat().st_size > offset:
                break
            time.sleep(0.001)
        else:
            process.kill()
            process.join()
            raise SystemExit(f"FAIL shop_kill {name}: a process did nothing for 60 s")
        time.sleep(rng.uniform(0, LONGEST_S.get(name, 0.25)))
        if not process.is_alive():
            yield f"kill {kill}: the process ended by itself, exit code {process.exitcode}"
        process.kill()
        process.join()
        text = notes.read_text()[offset:]
        offset += len(text)
        lines = [json.loads(line) for line in text.splitlines()]
        # An ingest or a swap takes longer than a note apart: the first note is work enough.
        busy += len(lines) > (name not in LONGEST_S)
        with Log.open(shop.log_path) as log:
            log.verify()
            yield from (f"kill {kill}: {line}" for line in SCENARIOS[name][1](shop, log, lines, memory))
    if busy < count // 2:
        yield f"only {busy} of {count} processes got to work before they were killed"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="of each scenario")
    parser.add_argument("--scenario", choices=SCENARIOS, action="append", help="all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print the numbers of faults as a record wants them")
    chosen = parser.parse_args()
    rows, wrong_at_all = [], False
    for name in chosen.scenario or SCENARIOS:
        start = time.perf_counter()
        with TemporaryDirectory(prefix="aisle-kill-") as scratch:
            wrong = list(kills(name, Path(scratch), chosen.kills, chosen.seed))
        for line in wrong:
            print(f"{name}: {line}", file=sys.stderr)
        wrong_at_all |= bool(wrong)
        rows += [
            {"metric": "faults", "plan": name, "value": len(wrong)},
            {"metric": "kills", "plan": name, "value": chosen.kills},
        ]
        if not chosen.json:
            seconds = time.perf_counter() - start
            print(
                f"{'FAIL' if wrong else 'OK'} shop_kill {name}: {chosen.kills} kills, {len(wrong)} faults, {seconds:.1f} s"
            )
    if chosen.json:
        print(json.dumps(rows))
        return 0
    return int(wrong_at_all)


if __name__ == "__main__":
    sys.exit(main())
