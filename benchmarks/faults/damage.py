"""Cut off or flip a bit in a file of every kind that a shop has, fill the disk, open it twice, turn the clock back.

For each kind of file: the shop is opened as a server opens it.  Allowed is that it says in an AisleError which file is
damaged and what to do, or that it serves what is right (the damaged thing made again, or what was served before).  Wrong
is any other exception, silence about lost products, or an answer that no undamaged state of the shop would give.

Ends with a line for each check, OK or FAIL, and exit code 0 or 1.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from unittest.mock import patch

import numpy as np
import pyarrow as pa

from aisle.core.errors import AisleError
from aisle.core.requests import Requests
from aisle.data.schema import CATALOGUE
from aisle.data.shop import Shop
from aisle.engine.embedded.appliers import Applier, catch_up, open_engine
from aisle.engine.embedded.care import Carer, Policy
from aisle.engine.embedded.log import Log
from aisle.funnel import storing
from aisle.recipes import plan
from aisle.recipes.environment import encode_items, open_env
from aisle.serve.live import LiveShop

NUM_ITEMS = 400
FLIPS = 3
KINDS = {
    "pointer": "CURRENT.json",
    "catalogue": "generations/2/items*.arrow",
    "about the catalogue": "generations/2/generation.json",
    "about the indexes": "generations/2/engine.json",
    "text index": "generations/2/text/*/*",
    "vectors": "generations/2/vectors/*/*/*",
    "vectors pointer": "generations/2/vectors/*/CURRENT",
    "encoder": "generations/2/encoders/own/*",
    "log": "log.sqlite",
    "events": "events/*.parquet",
    "prices": "prices/*.parquet",
    "requests": "requests/*.parquet",
    "judgments": "judgments/*.parquet",
    "funnel": "funnels/*.json",
    "stage": "stages/*/*/*",
    "kept encodings": "cache/encodings/*/*",
    "policy": "care.json",
}


def products(word: str) -> pa.Table:
    nouns = ("lamp", "chair", "kettle", "shirt")
    rows = [
        {"item_id": f"p{n}", "title": f"{word} {nouns[n % 4]} number {n}", "price_cents": 100 + n}
        for n in range(NUM_ITEMS)
    ]
    return pa.Table.from_pylist(rows, schema=CATALOGUE)


def whole_shop(folder: Path) -> Shop:
    """A shop that has a file of every kind: two generations, vectors, a fitted funnel, segments, a log that was shortened."""
    shop = Shop.create(folder)
    shop.write_generation([products("first")])
    with Log.open(shop.log_path) as log:
        open_engine(shop, log)
    shop.write_generation([products("second")])
    shop.write_judgments(pa.table({"query": ["lamp"], "item_id": ["p1"], "grade": [3]}), {3: 1.0})
    shop.add_prices(pa.table({"item_id": ["p1"], "time_s": [1.0], "price_cents": [100]}))
    with Log.open(shop.log_path) as log:
        engine = open_engine(shop, log)
        log.append(
            "event", [{"time_s": 1.0 + n, "action": "click", "item_id": f"p{n}", "user_id": "u"} for n in range(50)]
        )
        log.append("request", [{"query": "lamp"}])
        log.append("upsert", [{"item_id": "new", "title": "velvet sofa"}])
        catch_up(engine, log)
        Carer(shop, log, engine, Policy(snapshot_records=1)).step(all_of_it=True)
        log.append("upsert", [{"item_id": "newer", "title": "velvet bench"}])
    Policy(keep_records=10).write(shop)
    env = open_env(shop)
    encode_items(env, shop, "own")
    funnel = plan("hybrid_own").fit(shop.view(), env)
    shop.point(funnel=storing.save(funnel, shop), plan="hybrid_own")
    return shop


def served(shop: Shop) -> tuple[set[str], str]:
    """What a server of this folder finds for a word that is in every title, and what it says of itself."""
    live = LiveShop(shop.folder).start()
    try:
        live.wait_ready(60)
        live.wait_settled(60)
        assert live.active is not None
        engine = live.active.funnel.env.engine
        page = live.active.funnel.serve(Requests.make(["number"], limit=2000), facets=None)
        status = live.status()
        return set(engine.items.ids(page.lists.item)), f"{status.notice or ''} {status.error or ''}".strip()
    finally:
        live.close()


def damages(shop: Shop, scratch: Path, seed: int) -> Iterator[tuple[str, str, str]]:
    """(kind, what was done, fault or "") of every damage to every kind of file."""
    rng = random.Random(seed)
    right = {f"p{n}" for n in range(NUM_ITEMS)}
    for kind, pattern in KINDS.items():
        files = [p for p in sorted(shop.folder.glob(pattern)) if p.is_file() and p.stat().st_size]
        if not files:
            yield kind, "look for it", f"the shop has no file {pattern}"
            continue
        for n in range(FLIPS + 1):
            path = rng.choice(files)
            folder = scratch / "damaged"
            shutil.copytree(shop.folder, folder)
            victim = folder / path.relative_to(shop.folder)
            content = bytearray(victim.read_bytes())
            if n == FLIPS:
                what, content = "cut off", content[: rng.randrange(len(content))]
            else:
                at = rng.randrange(len(content))
                what = f"bit flipped at {at} of {len(content)}"
                content[at] ^= 1 << rng.randrange(8)
            victim.write_bytes(content)
            yield kind, f"{victim.name}: {what}", fault(folder, right)
            shutil.rmtree(folder)


def fault(folder: Path, right: set[str]) -> str:
    try:
        found, said = served(Shop.open(folder))
    except AisleError as error:
        words = str(error)
        return "" if ";" in words or "," in words else f"the error names no remedy: {words}"
    except Exception as error:  # whatever else it is, is a fault
        return f"{type(error).__name__}: {error}"
    if not right <= found:
        return f"{len(right - found)} products are not found, and it says {said!r}"
    return ""


# The disk, a second writer, a reader during compaction, the clock


def full_disk(folder: Path) -> str:
    """Writes that the disk refuses are not acknowledged; what was, is there; it goes on when there is room again."""
    shop = whole_shop(folder)
    context = get_context("spawn")
    process = context.Process(target=_fill, args=(str(folder),))
    process.start()
    process.join(120)
    told = json.loads((folder.parent / "told").read_text())
    if told["refused"] == 0:
        return "the disk never refused"
    if told["other"]:
        return f"a refusal was no AisleError: {told['other']}"
    with Log.open(shop.log_path) as log:
        log.verify()
        items = open_engine(shop, log, check=True).items
        rows = items.rows_of(told["accepted"])
        if len(told["accepted"]) and (rows.min() < 0 or not items.live[rows].all()):
            return f"{int((rows < 0).sum())} acknowledged products are gone"
        log.append("upsert", [{"item_id": "after", "title": "after"}])
    return ""


def _fill(folder: str) -> None:
    """Append until files may grow no further, as on a full disk; care and saving run into it too."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    shop, accepted, refused, other = Shop.open(folder), [], 0, ""
    log = Log.open(shop.log_path, check=False)
    engine = open_engine(shop, log)
    carer = Carer(shop, log, engine, Policy(snapshot_records=1, save_rows=1))
    limit = (shop.log_path.stat().st_size // 2) + 200_000
    # Only the soft limit: it is taken back at the end.
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for n in range(400):
        try:
            log.append("upsert", [{"item_id": f"full{n}", "title": f"full {n}", "description": "x" * 2000}])
            accepted.append(f"full{n}")
        except AisleError:
            refused += 1
        try:
            catch_up(engine, log)
            if n % 20 == 0:
                carer.step()
        except (AisleError, OSError):
            refused += 1
        except Exception as error:
            other = f"{type(error).__name__}: {error}"
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    (Path(folder).parent / "told").write_text(json.dumps({"accepted": accepted, "refused": refused, "other": other}))


def second_writer(folder: Path) -> str:
    shop = whole_shop(folder)
    first = LiveShop(shop.folder, vectors=False).start()
    first.wait_ready(60)
    second = LiveShop(shop.folder, vectors=False).start()
    try:
        second.wait_ready(60)
        return "two servers own one log"
    except AisleError as error:
        if "another writer" not in str(error):
            return f"it says {error}"
    finally:
        second.close()
        still = first.active is not None
        first.close()
    return "" if still else "the first one stopped"


def reader_during_compaction(folder: Path) -> str:
    """Readers follow and search while snapshots are written, segments replaced and the log shortened under them."""
    shop, stop, wrong = whole_shop(folder), Event(), []
    with Log.open(shop.log_path) as log:
        engine = open_engine(shop, log)
        carer = Carer(shop, log, engine, Policy(keep_records=50, snapshot_records=1, save_rows=1, most_records=1))

        def read() -> None:
            with Log.open(shop.log_path, read_only=True, check=False) as tail:
                mine = open_engine(Shop.open(folder), tail, may_build=False)
                applier = Applier(mine, tail).start()
                try:
                    while not stop.is_set():
                        mine.reopen()
                        requests = mine.compile(Requests.make(["number"]))
                        hits = mine.text.search(["number"], 2000, requests.masks(), {})
                        if len(hits.item) < NUM_ITEMS:
                            wrong.append(f"a reader finds {len(hits.item)} of {NUM_ITEMS}")
                        if applier.readiness().error:
                            wrong.append(str(applier.readiness().error))
                    if not applier.wait(log.last_sequence, 20):
                        wrong.append("a reader did not catch up")
                except Exception as error:
                    wrong.append(f"{type(error).__name__}: {error}")
                finally:
                    applier.close()

        readers = [Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for n in range(60):
            log.append("upsert", [{"item_id": f"c{n % 30}", "title": f"number {n}"}])
            catch_up(engine, log)
            carer.step()
            time.sleep(0.01)
        stop.set()
        for reader in readers:
            reader.join()
        if log.floor == 0:
            wrong.append("nothing was compacted")
    return wrong[0] if wrong else ""


def jumping_clock(folder: Path) -> str:
    """The clock goes back a year and forward ten between records; order, visibility and care go by the sequence."""
    shop = whole_shop(folder)
    real = time.time
    with Log.open(shop.log_path) as log:
        engine = open_engine(shop, log)
        carer = Carer(shop, log, engine, Policy(keep_records=0, snapshot_records=1))
        for n, jump_s in enumerate((0.0, -3.2e7, 3.2e8, -3.2e8)):
            with patch("time.time", lambda jump_s=jump_s: real() + jump_s):
                log.append("upsert", [{"item_id": "clock", "title": f"turn {n}"}])
                catch_up(engine, log)
                carer.step(all_of_it=True)
        again = open_engine(shop, log, check=True)
        row = again.items.rows_of(["clock"])
        if again.items.text("title", row) != ["turn 3"]:
            return f"the last record does not count: {again.items.text('title', row)}"
        if not np.array_equal(again.items.live, engine.items.live):
            return "a replay differs"
    return ""


EVENTS: dict[str, Callable[[Path], str]] = {
    "full disk": full_disk,
    "second writer": second_writer,
    "reader during compaction": reader_during_compaction,
    "jumping clock": jumping_clock,
}


def everything(scratch: Path, seed: int) -> Iterator[tuple[str, str, str]]:
    """(kind, what was done, fault or "") of every check."""
    for name, check in EVENTS.items():
        place = scratch / name.replace(" ", "-")
        place.mkdir()
        yield name, "", check(place / "shop")
    yield from damages(whole_shop(scratch / "shop"), scratch, seed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print the number of faults as a record wants it")
    chosen = parser.parse_args()
    faults, checks = 0, 0
    with TemporaryDirectory(prefix="aisle-damage-") as scratch:
        shop = whole_shop(Path(scratch, "shop"))
        found = list(damages(shop, Path(scratch), chosen.seed))
        for name, check in EVENTS.items():
            place = Path(scratch, name.replace(" ", "-"))
            place.mkdir()
            found.append((name, "", check(place / "shop")))
    for kind, what, wrong in found:
        checks += 1
        faults += bool(wrong)
        if wrong or not chosen.json:
            print(
                f"{'FAIL' if wrong else 'OK':5}{kind}: {what} {wrong}", file=sys.stderr if chosen.json else sys.stdout
            )
    if chosen.json:
        print(json.dumps([{"metric": "faults", "value": faults}, {"metric": "checks", "value": checks}]))
        return 0
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
