"""From the log into the indexes: what a replay gives is what one record after another gives."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from time import sleep
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aisle.core.errors import DataError, StateError
from aisle.core.requests import Requests
from aisle.data.items import ItemTable
from aisle.data.schema import CATALOGUE
from aisle.data.shop import Shop
from aisle.engine.embedded import appliers
from aisle.engine.embedded.appliers import Applier, applied, catch_up, fold, open_engine, take_in_events
from aisle.engine.embedded.engine import EmbeddedEngine
from aisle.engine.embedded.log import Log
from aisle.engine.embedded.log_records import Record

EMPTY = ItemTable(CATALOGUE.empty_table())


def product(item_id: str, title: str) -> dict[str, Any]:
    return {"item_id": item_id, "title": title, "price_cents": len(title), "category": ["Home"]}


def base() -> pa.Table:
    return pa.Table.from_pylist([product(f"p{n}", f"lamp {n}") for n in range(50)], schema=CATALOGUE)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop.create(tmp_path / "shop")
    shop.write_generation([base()])
    return shop


def found(engine: EmbeddedEngine, query: str) -> set[str]:
    requests = engine.compile(Requests.make([query]))
    hits = engine.text.search([query], 100, requests.allowed, {"title": 1.0})
    return set(engine.items.ids(hits.item))


def in_full(items: ItemTable) -> dict[str, tuple[str, str]]:
    rows = np.flatnonzero(items.live)
    columns = (items.text("title", rows), items.text("merchant", rows))
    return dict(zip(items.ids(rows), zip(*columns, strict=True), strict=True))


def state(items: ItemTable) -> dict[str, str]:
    rows = np.flatnonzero(items.live)
    return dict(zip(items.ids(rows), items.text("title", rows), strict=True))


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["upsert", "delete", "update"]), st.sampled_from("abcdef")), max_size=30
)


def as_record(n: int, kind: str, item_id: str) -> Record:
    values = {"upsert": product(item_id, f"{item_id} {n}"), "update": {"item_id": item_id, "merchant": f"m{n}"}}
    return Record(n, kind, 0.0, values.get(kind, {"item_id": item_id}))


@given(OPERATIONS, st.integers(1, 12))
@settings(max_examples=80, deadline=None)
def test_batches_give_the_rows_and_contents_of_single_records(operations: list[tuple[str, str]], size: int) -> None:
    records = [as_record(n, kind, item_id) for n, (kind, item_id) in enumerate(operations, 1)]
    single = batched = EMPTY
    wanted: dict[str, tuple[str, str]] = {}
    for record in records:
        single, _ = applied(single, [record])
        item_id = record.value["item_id"]
        if record.kind == "upsert":
            wanted[item_id] = record.value["title"], ""
        elif record.kind == "delete":
            wanted.pop(item_id, None)
        elif item_id in wanted:
            wanted[item_id] = wanted[item_id][0], record.value["merchant"]
    for start in range(0, len(records), size):
        batched, rows = applied(batched, records[start : start + size])
        assert len(np.unique(rows)) == len(rows)
    assert in_full(batched) == in_full(single) == wanted
    assert batched.ids(np.arange(batched.num_rows)) == single.ids(np.arange(single.num_rows))
    again, _ = applied(batched, records[-size:])
    assert in_full(again) == wanted
    assert again.num_rows == batched.num_rows


def test_an_engine_catches_up_in_order_and_twice_is_once(shop: Shop) -> None:
    with Log.open(shop.log_path) as log:
        engine = open_engine(shop, log)
        log.append("upsert", [product("new", "velvet sofa"), product("p1", "velvet chair")])
        log.append("event", [{"time_s": 1.0, "action": "click", "item_id": "p1"}])
        log.append("delete", ["p2", "never there"])
        assert log.last_sequence - engine.sequence == 5
        assert catch_up(engine, log, batch=2) == engine.sequence == 5
        assert found(engine, "velvet") == {"new", "p1"}
        assert "p2" not in found(engine, "lamp")
        before = state(engine.items)
        engine._sequence = 0
        assert catch_up(engine, log) == 5
        assert state(engine.items) == before
        assert found(engine, "velvet") == {"new", "p1"}


def test_what_was_acknowledged_before_a_crash_is_applied_when_opened(shop: Shop) -> None:
    with Log.open(shop.log_path) as log:
        engine = open_engine(shop, log)
        log.append("upsert", [product("first", "velvet sofa")])
        catch_up(engine, log)
        log.append("upsert", [product("second", "velvet chair")])
        log.append("delete", ["p3"])
    with Log.open(shop.log_path) as log:
        again = open_engine(Shop.open(shop.folder), log)
        assert again.sequence == log.last_sequence == 3
        assert found(again, "velvet") == {"first", "second"}
        assert again.text.num_docs == again.items.live.sum() == 51
        assert "p3" not in state(again.items)


def test_an_index_ahead_of_its_pointer_is_brought_to_the_same_state(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text index was saved, then the process died before the engine's sequence was written."""
    with Log.open(shop.log_path) as log:
        engine = open_engine(shop, log)
        log.append("upsert", [product("first", "velvet sofa"), product("p1", "velvet stool")])
        monkeypatch.setattr("aisle.engine.embedded.engine_files.write_json", _die)
        catch_up(engine, log)
        with pytest.raises(KeyboardInterrupt):
            engine.save()
        monkeypatch.undo()
    with Log.open(shop.log_path) as log:
        again = open_engine(shop, log)
        assert again.sequence == 2
        assert again.text.num_docs == again.items.live.sum() == 51
        assert found(again, "velvet") == {"first", "p1"}


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_an_update_changes_what_it_names_and_a_null_empties(shop: Shop) -> None:
    with Log.open(shop.log_path) as log:
        engine = open_engine(shop, log)
        log.append("update", [{"item_id": "p1", "price_cents": 5}, {"item_id": "p2", "price_cents": None, "stock": 3}])
        log.append("update", [{"item_id": "nobody", "price_cents": 5}])
        catch_up(engine, log)
        assert engine.items.num_rows == 50
        assert engine.items.number("price_cents", np.array([1])).tolist() == [5]
        assert engine.items.text("price_cents", np.array([2])) == [""]
        assert engine.items.number("stock", np.array([2])).tolist() == [3]
        assert engine.items.text("title", np.array([1, 2])) == ["lamp 1", "lamp 2"]
        with pytest.raises(DataError, match=r"record 2 of 2 \(item 'p2'\) has price_cents -1"):
            log.append("update", [{"item_id": "p1", "price_cents": 7}, {"item_id": "p2", "price_cents": -1}])
        with pytest.raises(DataError, match=r"record 2 of 2 \(item 'p2'\) has a stock that does not fit .*int64"):
            log.append("update", [{"item_id": "p1", "stock": 7}, {"item_id": "p2", "stock": "many"}])


def test_a_reader_follows_the_log_and_goes_over_to_saved_indexes(shop: Shop) -> None:
    with Log.open(shop.log_path) as log, Log.open(shop.log_path, read_only=True) as tail:
        writer = open_engine(shop, log)
        reader = open_engine(Shop.open(shop.folder), tail, may_build=False)
        log.append("upsert", [product("new", "velvet sofa")])
        catch_up(writer, log)
        assert writer.save() == 1
        assert not writer.reopen()
        assert reader.reopen() is False, "it has not applied yet what the new index holds"
        log.append("upsert", [product("p1", "velvet stool")])
        log.append("delete", ["new"])
        catch_up(reader, tail)
        assert reader.num_unsaved == 2
        assert reader.reopen()
        assert (reader.saved_sequence, reader.sequence, reader.num_unsaved) == (1, 3, 2)
        assert found(reader, "velvet") == {"p1"}
        catch_up(writer, log)
        for _ in range(3):
            log.append("update", [{"item_id": "p3", "price_cents": 9}])
            catch_up(writer, log)
            writer.save()
        kept = {p.name for p in (shop.generation_folder() / "text").iterdir()}
        assert kept == {"v2", "v4", "v5"}, "the current version, the one before, and the one that a reader has open"
        catch_up(reader, tail)
        assert reader.reopen()
        assert found(reader, "velvet") == found(writer, "velvet") == {"p1"}
        assert reader.num_unsaved == 0


@pytest.mark.parametrize("saved_first", [True, False])
def test_a_snapshot_and_the_indexes_may_be_at_different_sequences(shop: Shop, saved_first: bool) -> None:
    with Log.open(shop.log_path) as log:
        engine = open_engine(shop, log)
        log.append("upsert", [product("one", "velvet sofa"), product("p1", "velvet stool")])
        catch_up(engine, log)
        if saved_first:
            engine.save()
            log.append("delete", ["one"])
            log.append("upsert", [product("two", "velvet chair")])
            catch_up(engine, log)
        shop.write_snapshot(engine.items, engine.sequence)
        log.append("upsert", [product("three", "velvet bench")])
        again = open_engine(Shop.open(shop.folder), log)
        wanted = {"two", "p1", "three"} if saved_first else {"one", "p1", "three"}
        assert found(again, "velvet") == wanted
        assert again.sequence == log.last_sequence
        assert again.text.num_docs == again.items.live.sum()
        catch_up(engine, log)
        assert again.items.ids(np.arange(again.items.num_rows)) == engine.items.ids(np.arange(engine.items.num_rows))


def test_a_damaged_text_index_is_built_again_by_whoever_may(shop: Shop) -> None:
    with Log.open(shop.log_path) as log:
        open_engine(shop, log)
        file = max((shop.generation_folder() / "text").rglob("*"), key=lambda p: p.is_file() and p.stat().st_size)
        whole = file.read_bytes()
        file.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
        with pytest.raises(StateError, match="damaged"):
            open_engine(shop, log, check=True, may_build=False)
        assert found(open_engine(shop, log, check=True), "lamp") == set(state(shop.items()))
        open_engine(shop, log, check=True, may_build=False)


def test_an_engine_ahead_of_the_log_is_refused(shop: Shop, tmp_path: Path) -> None:
    with Log.open(shop.log_path) as log:
        engine = open_engine(shop, log)
        log.append("delete", ["p1"])
        log.backup(tmp_path / "old.sqlite")
        log.append("delete", ["p2"])
        catch_up(engine, log)
        assert engine.save() == 2
    for part in shop.folder.glob("log.sqlite*"):
        part.unlink()
    Log.restore(tmp_path / "old.sqlite", shop.log_path)
    with Log.open(shop.log_path) as log, pytest.raises(StateError, match="older backup"):
        open_engine(shop, log)


def test_a_fold_lets_the_log_forget(shop: Shop) -> None:
    with Log.open(shop.log_path) as log:
        engine = open_engine(shop, log)
        log.append("upsert", [product("new", "velvet sofa")])
        log.append("delete", ["p0"])
        assert fold(shop, log, engine) == shop.generation == 2
        assert shop.base_sequence() == 2
        log.append("delete", ["p1"])
        with pytest.raises(DataError, match="base has applied the log up to 2"):
            log.compact(3, {"engine": 3, "base": shop.base_sequence()})
        log.compact(2, {"base": shop.base_sequence()})
        again = open_engine(shop, log)
        assert again.sequence == 3
        assert state(again.items).keys() == ({f"p{n}" for n in range(2, 50)} | {"new"})
        assert again.items.num_rows == 50
        assert found(again, "velvet") == {"new"}
        assert catch_up(engine, log) == 3
        engine._sequence = 1
        with pytest.raises(DataError, match="compacted away"):
            catch_up(engine, log)


def test_a_new_generation_keeps_the_sequence_unless_told(shop: Shop) -> None:
    assert shop.base_sequence() == 0
    shop.write_generation([base()], sequence=7)
    shop.write_generation([base()])
    assert [shop.base_sequence(g) for g in (1, 2, 3)] == [0, 7, 7]
    assert shop.pointer()["sequence"] == 7


def test_the_applier_makes_records_visible_and_tells_the_lag(shop: Shop) -> None:
    with Log.open(shop.log_path) as log:
        applier = Applier(open_engine(shop, log), log).start()
        receipt = log.append("upsert", [product("new", "velvet sofa")])
        assert applier.wait(receipt.last, 10)
        assert found(applier.engine, "velvet") == {"new"}
        assert applier.readiness().lag == 0
        assert not applier.wait(receipt.last + 1, 0.01)
        applier.close()
        log.append("event", [{"time_s": 1.0, "action": "click"}])
        assert applier.readiness().lag == 1


def test_the_applier_reports_what_stops_it_and_goes_on(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aisle.engine.embedded.appliers.RETRY_S", 0.05)
    with Log.open(shop.log_path) as log:
        engine = open_engine(shop, log)
        refresh = engine.refresh
        monkeypatch.setattr(engine, "refresh", lambda *_, **__: 1 / 0)
        applier = Applier(engine, log).start()
        last = log.append("delete", ["p1"]).last
        with pytest.raises(StateError, match="ZeroDivisionError"):
            applier.wait(last, 10)
        assert applier.readiness().lag == 1
        monkeypatch.setattr(engine, "refresh", refresh)
        while applier.readiness().error is not None:
            sleep(0.001)
        assert applier.wait(last, 10)
        applier.close()


def click(item_id: str, time_s: float) -> dict[str, Any]:
    return {"time_s": time_s, "user_id": "u1", "session_id": "s1", "item_id": item_id, "action": "click"}


def test_logged_events_reach_the_fits_once(shop: Shop) -> None:
    assert take_in_events(shop) == 0, "a shop without a log has nothing to take in"
    with Log.open(shop.log_path) as log:
        log.append("event", [click("p1", 1.0), click("p2", 2.0)])
        log.append("upsert", [product("p1", "new lamp")])
        assert take_in_events(shop) == 2, "while the writer has the log open"
        assert take_in_events(shop) == 0
        log.append("event", [click("p3", 3.0)])
        assert take_in_events(shop) == 1
    assert shop.events()["item_id"].to_pylist() == ["p1", "p2", "p3"]
    assert shop.view().events["item"].tolist() == [1, 2, 3]
    assert shop.events_through() == 4


def test_a_crash_between_taking_in_and_marking_cannot_happen(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark is inside the segment: a segment that was not written leaves the old mark."""
    import aisle.data.segments as segments

    with Log.open(shop.log_path) as log:
        log.append("event", [click("p1", 1.0)])

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(segments, "write_file", full)
        with pytest.raises(OSError, match="No space"):
            take_in_events(shop)
    assert shop.events_through() == 0
    assert take_in_events(shop) == 1


def test_the_engine_prepares_once_after_the_last_record(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[int] = []
    done = Event()
    with Log.open(shop.log_path) as log:
        engine = open_engine(shop, log)
        monkeypatch.setattr(engine, "prepare", lambda: (prepared.append(engine.sequence), done.set()))
        monkeypatch.setattr(appliers, "QUIET_S", 0.5)
        applier = Applier(engine, log).start()
        last = 0
        for n in range(5):
            last = log.append("upsert", [product(f"new{n}", "a velvet sofa")]).last
        assert done.wait(30)
        applier.close()
        assert prepared[-1] <= last
        assert len(prepared) < 5, "while records come, the next record goes first"
