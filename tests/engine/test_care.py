"""Care: the log forgets what nobody needs, and a shop that was cared for opens to the same state."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from aisle.core.errors import SettingError
from aisle.core.leases import exclusive
from aisle.core.shop import Counter
from aisle.core.workplaces import Workplace
from aisle.data.rollback import earlier, roll_back
from aisle.data.schema import CATALOGUE
from aisle.data.shop import Shop
from aisle.data.shop_files import read_parquet
from aisle.engine.embedded.appliers import catch_up, open_engine
from aisle.engine.embedded.behaviour import OnlineBehaviour
from aisle.engine.embedded.care import LOCK, Carer, Policy
from aisle.engine.embedded.log import Log

EAGER = Policy(keep_records=0, snapshot_records=1, save_rows=1, most_records=1)


def product(n: int, title: str) -> dict[str, Any]:
    return {"item_id": f"p{n}", "title": title}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop.create(tmp_path / "shop")
    shop.write_generation([pa.Table.from_pylist([product(n, f"lamp {n}") for n in range(20)], schema=CATALOGUE)])
    return shop


def state(shop: Shop, log: Log) -> list[tuple[str, str, bool]]:
    items = open_engine(shop, log).items
    rows = np.arange(items.num_rows)
    return list(zip(items.ids(rows), items.text("title", rows), items.live.tolist(), strict=True))


def fill(log: Log) -> None:
    log.append("upsert", [product(3, "velvet lamp"), product(20, "velvet sofa")])
    log.append("event", [{"time_s": 1.0, "action": "click", "item_id": "p3"}])
    log.append("delete", ["p5"])
    log.append("request", [{"query": "lamp"}])
    log.append("update", [{"item_id": "p20", "stock": 4}])


def test_the_log_forgets_and_nothing_is_lost(shop: Shop) -> None:
    with Log.open(shop.log_path) as log:
        engine = open_engine(shop, log)
        carer = Carer(shop, log, engine, EAGER)
        fill(log)
        catch_up(engine, log)
        before = state(shop, log)
        done = carer.step()
        assert done == {"saved_rows": 3, "events": 1, "requests": 1, "snapshot": 6, "forgotten": 6}
        assert log.floor == log.last_sequence == 6
        assert state(shop, log) == before
        assert len(shop.events()) == 1
        (segment,) = shop.request_segments()
        assert json.loads(read_parquet(segment)["value"][0].as_py()) == {"query": "lamp"}
        assert carer.step() == {}
        log.append("event", [{"time_s": 2.0, "action": "cart", "item_id": "p4"}])
        log.append("upsert", [product(4, "last")])
        catch_up(engine, log)
        assert carer.step(now_s=carer.took_in_s + 1e6)["events"] == 1
        assert shop.events()["item_id"].to_pylist() == ["p3", "p4"]
        assert log.floor == 8


@pytest.mark.parametrize(
    ("policy", "others", "floor"),
    [
        ({"keep_records": 4}, {}, 2),
        ({}, {"reader 1": 3}, 3),
        ({"take_in_s": 1e9}, {}, 2),
        ({"snapshot_records": 100}, {}, 0),
    ],
)
def test_what_somebody_needs_is_kept(shop: Shop, policy: dict[str, Any], others: dict[str, int], floor: int) -> None:
    with Log.open(shop.log_path) as log:
        engine = open_engine(shop, log)
        carer = Carer(shop, log, engine, EAGER.model_copy(update=policy))
        carer.took_in_s = 0.0
        fill(log)
        catch_up(engine, log)
        carer.step(others, now_s=carer.policy.take_in_s if carer.policy.take_in_s < 1e9 else 1.0)
        assert log.floor == floor


def test_an_older_catalogue_holds_the_log_until_there_is_too_much(shop: Shop) -> None:
    shop.write_generation([pa.Table.from_pylist([product(n, "new") for n in range(9)], schema=CATALOGUE)])
    with Log.open(shop.log_path) as log:
        engine = open_engine(shop, log)
        fill(log)
        catch_up(engine, log)
        Carer(shop, log, engine, EAGER.model_copy(update={"most_records": 100})).step()
        assert log.floor == 0
        assert [e["generation"] for e in earlier(shop)] == [1]
        Carer(shop, log, engine, EAGER).step()
        assert log.floor == 6
        assert earlier(shop) == [], "what that catalogue lacks is forgotten"
        with pytest.raises(Exception, match="nothing before"):
            roll_back(shop)


def test_records_that_change_no_item_cost_no_new_catalogue(shop: Shop) -> None:
    with Log.open(shop.log_path) as log:
        engine = open_engine(shop, log)
        log.append("request", [{"query": "lamp"}] * 20)
        catch_up(engine, log)
        done = Carer(shop, log, engine, EAGER).step(all_of_it=True)
        assert done["forgotten"] == 20
        assert "snapshot" not in done
        assert [p.name for p in shop.generation_folder().glob("items*")] == ["items.arrow"]
        assert len(state(shop, log)) == 20


def test_counters_open_over_a_log_that_forgot_the_rest(shop: Shop) -> None:
    clicks = Counter(name="clicks", action="click")
    with Log.open(shop.log_path) as log:
        engine = open_engine(shop, log)
        for kind, record in (
            ("event", {"time_s": 1.0, "action": "click", "item_id": "p3"}),
            ("request", {"query": "lamp"}),
        ):
            log.append(kind, [record])
            catch_up(engine, log)
            Carer(shop, log, engine, EAGER).step(all_of_it=True)
        assert log.floor > shop.events_through()
        log.append("event", [{"time_s": 2.0, "action": "click", "item_id": "p3"}])
        store = OnlineBehaviour.open([clicks], shop, log, lambda: engine.items)
        assert store.counts(clicks, np.array([3, 4]), 5.0).tolist() == [2.0, 0.0]


def test_segments_grow_and_keep_their_order(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aisle.data.segments.SEGMENT_ROWS", 3)
    with Log.open(shop.log_path) as log:
        carer = Carer(shop, log, open_engine(shop, log), EAGER)
        for n in range(5):
            log.append("event", [{"time_s": float(n), "action": "click", "item_id": f"p{n}"}])
            carer.step(all_of_it=True)
    assert shop.events()["item_id"].to_pylist() == [f"p{n}" for n in range(5)]
    assert len(list((shop.folder / "events").glob("*.parquet"))) == 2
    assert shop.events_through() == 5


def test_a_backup_in_progress_and_another_writer_put_it_off(shop: Shop) -> None:
    with Log.open(shop.log_path) as log:
        engine = open_engine(shop, log)
        fill(log)
        catch_up(engine, log)
        carer = Carer(shop, log, engine, EAGER)
        with exclusive(shop.folder / LOCK):
            assert carer.step() == {}
        with Shop.open(shop.folder).lock():
            carer.step()
            assert log.floor == 0
        assert carer.step()["forgotten"] == 6


def test_what_a_fit_had_done_that_nobody_asks_for_goes(shop: Shop) -> None:
    for name in ("old", "new"):
        Workplace.of(shop.work_folder, name, []).folder.joinpath("done.json").write_text("{}")
    (old,) = shop.work_folder.glob("old-*")
    os.utime(old, (0, 0))
    with Log.open(shop.log_path) as log:
        carer = Carer(shop, log, open_engine(shop, log))
        assert carer.step() == {"stopped_work": 1}
        assert [path.name[:3] for path in shop.work_folder.iterdir()] == ["new"]
        assert carer.step(all_of_it=True) == {}


def test_the_policy_is_a_file_of_the_shop(shop: Shop) -> None:
    assert Policy.of(shop) == Policy()
    Policy(keep_records=5).write(shop)
    assert json.loads((shop.folder / "care.json").read_text()) == {"keep_records": 5}
    assert Policy.of(shop) == Policy(keep_records=5)
    (shop.folder / "care.json").write_text('{"keep_record": 5}')
    with pytest.raises(SettingError, match="keep_record"):
        Policy.of(shop)
