"""The log: order, durability, group commit, checks, copies."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread
from time import sleep

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aisle.core.errors import AisleError, DataError, UnknownName
from aisle.data.schema import EVENTS
from aisle.engine.embedded import log_file
from aisle.engine.embedded.log import Log, Receipt
from aisle.engine.embedded.log_commit import NotWritten

CLICK = {"time_s": 5.0, "action": "click", "item_id": "a", "user_id": "u", "extra": {"page": "ä"}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite"


def test_records_come_back_in_order_and_by_kind(path: Path) -> None:
    with Log.open(path) as log:
        assert log.append("upsert", [{"item_id": "a", "title": "Läufer", "brand": None}, {"item_id": "b"}]) == (1, 2)
        assert log.append("delete", ["a", {"item_id": "b"}]) == Receipt(3, 4)
        assert log.append("event", [CLICK]) == (5, 5)
        assert log.append("request", [{"query": "lamp", "filters": [1, 2]}]) == (6, 6)
        assert log.append("event", []) == (7, 6)
    with Log.open(path) as log:
        assert log.last_sequence == 6
        records = log.read()
        assert [(r.sequence, r.kind) for r in records] == [
            (1, "upsert"), (2, "upsert"), (3, "delete"), (4, "delete"), (5, "event"), (6, "request"),
        ]  # fmt: skip
        assert records[0].value == {"item_id": "a", "title": "Läufer"}
        assert records[3].value == {"item_id": "b"}
        assert [r.sequence for r in log.read(2, 2)] == [3, 4]
        assert [r.sequence for r in log.read(kinds=["event", "upsert"])] == [1, 2, 5]
        assert [[r.sequence for r in b] for b in log.batches(1, 5, size=3)] == [[2, 3, 4], [5]]
        assert log.append("delete", ["c"]) == (7, 7)


def test_events_come_as_a_table(path: Path) -> None:
    table = pa.Table.from_pylist([{"time_s": 1.0, "action": "cart", "position": 3}], schema=EVENTS)
    with Log.open(path) as log:
        log.append("event", [CLICK])
        log.append("delete", ["a"])
        log.append("event", table)
        events = log.events_table()
        assert events.schema == EVENTS
        assert events["action"].to_pylist() == ["click", "cart"]
        assert json.loads(events["extra"][0].as_py()) == {"page": "ä"}
        assert log.events_table(1)["position"].to_pylist() == [3]
        assert len(log.events_table(3)) == 0


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        ("upsert", {"title": "no id"}),
        ("upsert", {"item_id": ""}),
        ("upsert", {"item_id": 7}),
        ("upsert", {"item_id": "a", "prize_cents": 3}),
        ("upsert", {"item_id": "a", "price_cents": "cheap"}),
        ("upsert", {"item_id": "a", "price_cents": 2**70}),
        ("upsert", {"item_id": "a", "rating": float("nan")}),
        ("upsert", {"item_id": "a", "title": "\ud800"}),
        ("upsert", {"item_id": "a", "title": b"bytes"}),
        ("upsert", "a"),
        ("delete", {"item_id": None}),
        ("event", {"action": "click"}),
        ("event", {"time_s": 1.0, "action": "clack"}),
        ("event", {"time_s": 1.0, "action": "click", "scene": "nowhere"}),
        ("request", {"query": object()}),
    ],
)
def test_what_could_not_be_applied_is_refused_whole(path: Path, kind: str, record: object) -> None:
    good = {"upsert": {"item_id": "x"}, "delete": "x", "event": CLICK, "request": {}}[kind]
    with Log.open(path) as log:
        with pytest.raises(DataError):
            log.append(kind, [good, record])  # type: ignore[list-item]
        assert log.last_sequence == 0


def test_an_unknown_kind_is_named(path: Path) -> None:
    with Log.open(path) as log, pytest.raises(UnknownName, match="upsert"):
        log.append("upserts", [{"item_id": "a"}])


def test_concurrent_appends_share_commits_and_keep_their_order(path: Path) -> None:
    with Log.open(path) as log:

        def write(writer: int) -> list[Receipt]:
            return [log.append("request", [{"w": writer, "n": n}, {"w": writer, "n": n + 0.5}]) for n in range(40)]

        with ThreadPoolExecutor(8) as pool:
            receipts = list(pool.map(write, range(8)))
        records = {r.sequence: r.value for r in log.read()}
    assert sorted(records) == list(range(1, 641))
    for writer, given in enumerate(receipts):
        assert [r.first for r in given] == sorted(r.first for r in given)
        for n, receipt in enumerate(given):
            assert [records[s] for s in range(receipt.first, receipt.last + 1)] == [
                {"w": writer, "n": n}, {"w": writer, "n": n + 0.5},
            ]  # fmt: skip


def test_waiting_appends_become_one_commit(path: Path) -> None:
    log, hold, held = Log.open(path), Event(), Event()
    committer = log._committer
    assert committer is not None
    blocker = Thread(target=lambda: committer.run(lambda _: (held.set(), hold.wait())))
    blocker.start()
    held.wait()
    with ThreadPoolExecutor(5) as pool:
        waiting = [pool.submit(log.append, "delete", [str(n)]) for n in range(5)]
        while len(committer._waiting) < 5:
            sleep(0.001)
        hold.set()
        assert sorted(f.result().last for f in waiting) == [1, 2, 3, 4, 5]
    blocker.join()
    assert len({r.time_s for r in log.read()}) == 1
    log.close()


def test_a_second_writer_is_refused_and_readers_are_not(path: Path) -> None:
    with Log.open(path) as log, Log.open(path, read_only=True) as reader:
        with pytest.raises(DataError, match="read_only=True"):
            Log.open(path)
        log.append("delete", ["a"])
        assert reader.wait_beyond(0, 1)
        assert reader.read()[0].value == {"item_id": "a"}
        with pytest.raises(DataError, match="reading only"):
            reader.append("delete", ["b"])
        assert not reader.wait_beyond(1, 0.03)
    Log.open(path).close()


def test_a_commit_is_synchronous(path: Path) -> None:
    with Log.open(path) as log:
        assert log._committer is not None
        ask = log._committer._connection.execute
        assert ask("PRAGMA journal_mode").fetchone() == ("wal",)
        assert ask("PRAGMA synchronous").fetchone() == (2,), "FULL: every commit waits for the disk"


def test_a_closed_log_says_so(path: Path) -> None:
    log = Log.open(path)
    log.close()
    log.close()
    with pytest.raises(DataError, match="closed"):
        log.append("delete", ["a"])
    with pytest.raises(DataError, match="closed"):
        log.read()


def test_a_log_that_is_missing_is_named(path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        Log.open(path, read_only=True)
    with pytest.raises(DataError, match="no folder"):
        Log.open(path.parent / "nowhere" / "log.sqlite")


# Retention


def test_compaction_forgets_only_what_everyone_has_applied(path: Path) -> None:
    with Log.open(path) as log:
        log.append("delete", [str(n) for n in range(12_000)])
        with pytest.raises(DataError, match="vectors has applied the log up to 7"):
            log.compact(8, {"text": 9, "vectors": 7})
        with pytest.raises(DataError, match="who learns"):
            log.compact(8, {})
        size = _pages(path)
        assert log.compact(11_000, {"text": 11_500}) == 11_000
        assert log.compact(11_000, {"text": 11_500}) == 0
        assert _pages(path) < size / 4
        assert log.floor == 11_000
        assert log.read(limit=1)[0].sequence == 11_001
        with pytest.raises(DataError, match="compacted away"):
            log.read(10_999)
        log.compact(12_000, {"text": 12_000})
        assert log.read() == []
        with pytest.raises(DataError, match="ends at 12000"):
            log.compact(12_001, {"text": 12_001})
    with Log.open(path) as log:
        assert log.last_sequence == 12_000
        assert log.append("delete", ["next"]).first == 12_001


def test_a_reader_in_the_middle_of_a_compaction_is_told(path: Path) -> None:
    with Log.open(path) as log, Log.open(path, read_only=True) as reader:
        log.append("delete", [str(n) for n in range(100)])
        batches = reader.batches(0, size=10)
        assert len(next(batches)) == 10
        log.compact(50, {"text": 100})
        with pytest.raises(DataError, match="compacted away"):
            next(batches)


# Copies


def test_a_backup_while_appending_is_whole_and_can_be_restored(path: Path, tmp_path: Path) -> None:
    stop = Event()
    with Log.open(path) as log:
        log.append("delete", [str(n) for n in range(3000)])

        def write() -> None:
            while not stop.is_set():
                log.append("delete", ["more"])

        writer = Thread(target=write)
        writer.start()
        last = log.backup(tmp_path / "backup.sqlite")
        stop.set()
        writer.join()
        assert 3000 <= last <= log.last_sequence
        with pytest.raises(DataError, match="exists already"):
            log.backup(tmp_path / "backup.sqlite")
        with pytest.raises(DataError, match="move it away"):
            Log.restore(tmp_path / "backup.sqlite", path)
        kept = log.read(limit=last)
    (tmp_path / "elsewhere").mkdir()
    assert Log.restore(tmp_path / "backup.sqlite", tmp_path / "elsewhere" / "log.sqlite") == last
    with Log.open(tmp_path / "elsewhere" / "log.sqlite") as again:
        assert again.read(limit=last + 1) == kept


def test_a_foreign_write_ahead_log_is_not_played_in(path: Path, tmp_path: Path) -> None:
    with Log.open(path) as log:
        log.append("delete", ["a"])
        log.backup(tmp_path / "backup.sqlite")
    path.unlink()
    path.with_name("log.sqlite-wal").write_bytes(b"left over")
    with pytest.raises(DataError, match="lies there without"):
        Log.restore(tmp_path / "backup.sqlite", path)
    with pytest.raises(DataError, match="lies there without"):
        Log.open(path)


def test_an_export_loses_nothing(path: Path, tmp_path: Path) -> None:
    with Log.open(path) as log:
        log.append("upsert", [{"item_id": str(n), "title": "ü"} for n in range(6000)])
        log.append("event", [CLICK])
        assert log.export(tmp_path / "log.parquet") == 6001
        assert log.export(tmp_path / "events.parquet", kinds=["event"]) == 1
        records = log.read(limit=7000)
    table = pq.read_table(tmp_path / "log.parquet")
    assert table["sequence"].to_pylist() == [r.sequence for r in records]
    assert table["kind"].to_pylist() == [r.kind for r in records]
    assert [json.loads(v) for v in table["value"].to_pylist()] == [r.value for r in records]


# Damage


def _pages(path: Path) -> int:
    connection = sqlite3.connect(path)
    pages = int(connection.execute("PRAGMA page_count").fetchone()[0])
    connection.close()
    return pages


def _written(path: Path, count: int = 3000) -> bytes:
    with Log.open(path) as log:
        log.append("delete", [f"item number {n}" for n in range(count)])
    return path.read_bytes()


@pytest.mark.parametrize("kept", [0, 10, 100, 4096, 0.5, 0.99])
def test_a_truncated_log_is_refused(path: Path, kept: float) -> None:
    whole = _written(path)
    path.write_bytes(whole[: int(kept * len(whole)) if kept < 1 else int(kept)])
    for read_only in (False, True):
        with pytest.raises(DataError, match=r"damaged|expected a log"):
            Log.open(path, read_only=read_only)


def test_a_flipped_bit_is_never_read_as_data(path: Path) -> None:
    """Wherever one bit is flipped: the log is refused, or reads as it was."""
    whole = _written(path)
    with Log.open(path) as log:
        before = log.read(limit=3000)
    refused = 0
    for place in range(0, len(whole), len(whole) // 150):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        try:
            with Log.open(path, read_only=True) as log:
                assert log.verify() == 3000
                assert log.read(limit=3000) == before, place
        except DataError:
            refused += 1
    assert refused > 100


def test_a_file_of_something_else_is_refused(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(DataError, match="expected a log of aisle"):
        Log.open(path)


def _copy_of_a_running_log(path: Path, target: Path, appends: int = 20) -> Path:
    """The files of a log as a crash leaves them: the last appends stand in the write-ahead log alone."""
    target.mkdir()
    with Log.open(path) as log:
        for n in range(appends):
            log.append("delete", [f"item {n}"])
        for name in ("log.sqlite", "log.sqlite-wal"):
            (target / name).write_bytes((path.parent / name).read_bytes())
    return target / "log.sqlite"


def test_a_crash_keeps_what_the_write_ahead_log_holds(path: Path, tmp_path: Path) -> None:
    with Log.open(_copy_of_a_running_log(path, tmp_path / "crashed")) as log:
        assert log.last_sequence == 20


def test_the_torn_end_of_a_commit_is_cut_off(path: Path, tmp_path: Path) -> None:
    crashed = _copy_of_a_running_log(path, tmp_path / "crashed")
    wal = crashed.with_name("log.sqlite-wal")
    wal.write_bytes(wal.read_bytes()[:-100])
    with Log.open(crashed) as log:
        assert log.last_sequence == 19
        assert log.append("delete", ["again"]).first == 20


@pytest.mark.parametrize("place", [9, 32 + 40, 32 + 5 * 4120 + 3000])
def test_damage_in_the_middle_of_the_write_ahead_log_is_refused(path: Path, tmp_path: Path, place: int) -> None:
    crashed = _copy_of_a_running_log(path, tmp_path / "crashed")
    wal = crashed.with_name("log.sqlite-wal")
    data = bytearray(wal.read_bytes())
    data[place] ^= 1
    wal.write_bytes(data)
    # A reader that comes first sees less, but leaves the evidence alone.
    Log.open(crashed, read_only=True).close()
    assert wal.read_bytes() == data
    with pytest.raises(DataError, match="-wal is damaged"):
        Log.open(crashed)


def test_a_new_log_is_whole_or_absent(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "TABLES", log_file.TABLES + "SELECT nothing;")
    with pytest.raises(DataError, match="no log could be made"):
        Log.open(path)
    assert not path.exists()
    monkeypatch.undo()
    Log.open(path).close()


# A full disk


def test_a_full_disk_acknowledges_nothing_and_heals(path: Path) -> None:
    with Log.open(path) as log:
        log.append("delete", ["a"])
        committer = log._committer
        assert committer is not None
        committer._connection.execute("PRAGMA max_page_count = 20").fetchall()
        with pytest.raises(NotWritten, match=r"SQLITE_FULL.*nothing was accepted"):
            log.append("request", [{"text": "x" * 100_000}])
        assert log.last_sequence == 1
        committer._connection.execute("PRAGMA max_page_count = 1000000").fetchall()
        assert log.append("delete", ["b"]) == (2, 2)
        assert [r.value["item_id"] for r in log.read()] == ["a", "b"]


LIMITED = """
import resource, signal, sys
from aisle.core.errors import DataError
from aisle.engine.embedded.log import Log
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = Log.open(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
accepted = 0
try:
    while True:
        accepted = log.append("request", [{"text": "x" * 20_000}]).last
except DataError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
try:
    log.append("request", [{}])
except DataError as error:
    print(error)
print(accepted, flush=True)
import os; os._exit(0)
"""


def test_a_failed_write_stops_the_log_until_it_is_opened_again(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, timeout=60)
    first, second, accepted = done.stdout.splitlines()
    assert "SQLITE_IOERR_WRITE" in first
    assert "open the log again" in second
    assert int(accepted) > 3
    with Log.open(path) as log:
        assert log.verify() == log.last_sequence == int(accepted)


def test_an_error_of_one_job_leaves_the_log_usable(path: Path) -> None:
    with Log.open(path) as log:
        committer = log._committer
        assert committer is not None

        def fail(_: sqlite3.Connection) -> None:
            raise DataError("no")

        with pytest.raises(AisleError, match="no"):
            committer.run(fail)
        assert log.append("delete", ["a"]) == (1, 1)
