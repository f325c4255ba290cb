"""A shop copied while it is written to opens to what it was; a backup that is not whole is refused."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aisle.core.errors import DataError, UnknownName
from aisle.data.schema import CATALOGUE
from aisle.data.shop import Shop
from aisle.engine.embedded.appliers import catch_up, open_engine
from aisle.engine.embedded.backup import back_up, restore
from aisle.engine.embedded.care import Carer, Policy
from aisle.engine.embedded.export import export
from aisle.engine.embedded.log import Log


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Three products in the file, one more and one deletion in the log, with events and judgments."""
    shop = Shop.create(tmp_path / "shop")
    shop.write_generation(
        [pa.Table.from_pylist([{"item_id": f"p{n}", "title": f"lamp {n}"} for n in range(3)], CATALOGUE)]
    )
    shop.write_judgments(pa.table({"query": ["lamp"], "item_id": ["p1"], "grade": [3]}), {3: 1.0})
    with Log.open(shop.log_path) as log:
        engine = open_engine(shop, log)
        log.append("event", [{"time_s": 1.0, "action": "click", "item_id": "p1"}])
        log.append("upsert", [{"item_id": "new", "title": "velvet sofa"}])
        log.append("delete", ["p2"])
        log.append("request", [{"query": "lamp"}])
        catch_up(engine, log)
        engine.save()
    return shop


def titles(shop: Shop) -> list[str]:
    with Log.open(shop.log_path) as log:
        items = open_engine(shop, log, check=True, may_build=False).items
        return items.text("title", items.live.nonzero()[0])


@pytest.mark.parametrize("name", ["backup", "backup.tar"])
def test_a_backup_becomes_the_shop_again(shop: Shop, tmp_path: Path, name: str) -> None:
    (shop.folder / "cache").mkdir()
    (shop.folder / "cache" / "kept").write_text("x")
    made = back_up(shop, tmp_path / name)
    assert (made["generation"], made["sequence"]) == (1, 4)
    assert back_up(shop, tmp_path / f"small-{name}", cache=False)["files"].keys() == made["files"].keys() - {
        "cache/kept"
    }
    (tmp_path / "again").mkdir()
    restore(tmp_path / name, tmp_path / "again")
    again = Shop.open(tmp_path / "again")
    assert titles(again) == ["lamp 0", "lamp 1", "velvet sofa"]
    assert again.judgments().query == ["lamp"]
    assert not list(tmp_path.glob(".*")), "nothing half made is left"
    with pytest.raises(DataError, match="exists already"):
        back_up(shop, tmp_path / name)
    with pytest.raises(DataError, match="not empty"):
        restore(tmp_path / name, tmp_path / "again")


def test_a_backup_while_writing_holds_a_moment(shop: Shop, tmp_path: Path) -> None:
    stop = threading.Event()
    with Log.open(shop.log_path) as log:
        engine = open_engine(shop, log)
        carer = Carer(shop, log, engine, Policy(keep_records=0, snapshot_records=1, save_rows=1, most_records=1))

        def write() -> None:
            n = 0
            while not stop.is_set():
                log.append("upsert", [{"item_id": f"n{n}", "title": f"item {n}"}])
                catch_up(engine, log)
                if n % 3 == 0:
                    carer.step()
                n += 1

        writer = threading.Thread(target=write)
        writer.start()
        made = [back_up(shop, tmp_path / f"b{n}") for n in range(3)]
        stop.set()
        writer.join()
    for n, about in enumerate(made):
        restore(tmp_path / f"b{n}", tmp_path / f"r{n}")
        assert len(titles(Shop.open(tmp_path / f"r{n}"))) == about["sequence"] - 4 + 3
    assert made[0]["sequence"] < made[2]["sequence"]


def test_a_backup_that_is_not_whole_is_refused(shop: Shop, tmp_path: Path) -> None:
    back_up(shop, tmp_path / "b")
    items = next((tmp_path / "b" / "generations" / "1").glob("items*.arrow"))
    whole = items.read_bytes()
    for damage, said in (
        (whole[:-1], "does not match its hash"),
        (whole[:9] + b"?" + whole[10:], "does not match"),
        (None, "lacks"),
    ):
        items.unlink(missing_ok=True)
        if damage is not None:
            items.write_bytes(damage)
        with pytest.raises(DataError, match=said):
            restore(tmp_path / "b", tmp_path / "again")
        assert not (tmp_path / "again").exists()
    items.write_bytes(whole)
    manifest = tmp_path / "b" / "backup.json"
    kept = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**kept, "files": {"../../evil": {"bytes": 0, "sha256": ""}}}))
    with pytest.raises(DataError, match="outside of a shop"):
        restore(tmp_path / "b", tmp_path / "again")
    manifest.unlink()
    with pytest.raises(DataError, match="no whole backup"):
        restore(tmp_path / "b", tmp_path / "again")
    with pytest.raises(DataError, match=r"no backup|no whole backup"):
        restore(items, tmp_path / "again")


def test_an_export_holds_what_the_log_accepted(shop: Shop, tmp_path: Path) -> None:
    rows = export(shop, tmp_path / "out")
    assert rows == {"products": 3, "events": 1, "requests": 1, "prices": 0, "judgments": 1, "log": 4}
    products = pq.read_table(tmp_path / "out" / "products.parquet")
    assert products["item_id"].to_pylist() == ["p0", "p1", "new"]
    assert products.schema.names == CATALOGUE.names
    assert pq.read_table(tmp_path / "out" / "events.parquet")["item_id"].to_pylist() == ["p1"]
    with Log.open(shop.log_path) as log:
        Carer(shop, log, open_engine(shop, log), Policy(keep_records=0, snapshot_records=1)).step(all_of_it=True)
    assert export(shop, tmp_path / "later") == {**rows, "log": 0}, "what the log handed over is exported all the same"
    with pytest.raises(DataError, match="exists already"):
        export(shop, tmp_path / "out")
    with pytest.raises(UnknownName, match="did you mean 'products'"):
        export(shop, tmp_path / "out", ["product"])
