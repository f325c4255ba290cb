"""What readers hand to the writer: acknowledged once, refused with the reason, and never in doubt without saying so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Listener
from pathlib import Path
from time import monotonic

import pytest

from aisle.core.errors import DataError
from aisle.engine.embedded.log import Log
from aisle.engine.embedded.log_commit import NotWritten
from aisle.serve import channel
from aisle.serve.board import Board
from aisle.serve.channel import Forward, Host

EVENT = {"time_s": 1.0, "action": "click", "item_id": "ä"}


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with Log.open(tmp_path / "log.sqlite") as log:
        yield log


def test_many_threads_append_through_one_door(log: Log, tmp_path: Path) -> None:
    host, forward = Host(tmp_path / "door", log.append), Forward(tmp_path / "door")
    receipts: list[tuple[int, int]] = []

    def append() -> None:
        for _ in range(20):
            receipts.append(forward.append("event", [EVENT, EVENT]))

    threads = [threading.Thread(target=append) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = sorted(n for first, last in receipts for n in range(first, last + 1))
    assert numbers == list(range(1, 161))
    assert log.last_sequence == forward.count == 160
    assert log.read(159)[0].value == EVENT
    forward.close()
    host.close()


def test_a_refusal_keeps_its_kind_and_words(log: Log, tmp_path: Path) -> None:
    host, forward = Host(tmp_path / "door", log.append), Forward(tmp_path / "door")
    with pytest.raises(DataError, match=r"record 2 of 2 .* has action 'steal'"):
        forward.append("event", [EVENT, {**EVENT, "action": "steal"}])
    with pytest.raises(LookupError, match="no record kind 'evnt'; did you mean 'event'"):
        forward.append("evnt", [EVENT])
    assert forward.append("event", [EVENT]).last == 1, "the connection is good for more"
    forward.close()
    host.close()


def test_a_writer_that_starts_again_is_waited_for(log: Log, tmp_path: Path) -> None:
    forward = Forward(tmp_path / "door")
    host = Host(tmp_path / "door", log.append)
    forward.append("upsert", [{"item_id": "a"}])
    host.close()
    later = threading.Timer(0.3, lambda: Host(tmp_path / "door", log.append))
    later.start()
    assert forward.append("upsert", [{"item_id": "b"}]).last == 2
    later.join()


def dying(place: Path) -> Callable[[], None]:
    """A host that takes one message and is gone before it answers."""
    listener = Listener(str(place), "AF_UNIX")

    def take() -> None:
        with listener.accept() as connection:
            connection.recv_bytes()
        listener.close()

    return take


def test_an_answer_that_never_came_is_in_doubt_for_events_alone(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "CONNECT_S", 0.5)
    thread = threading.Thread(target=dying(tmp_path / "door"))
    thread.start()
    with pytest.raises(NotWritten, match="may or may not have been accepted"):
        Forward(tmp_path / "door").append("event", [EVENT])
    thread.join()
    with pytest.raises(NotWritten, match="nothing was accepted"):
        Forward(tmp_path / "door").append("event", [EVENT])
    thread = threading.Thread(target=dying(tmp_path / "other"))
    thread.start()
    forward = Forward(tmp_path / "other")

    def start_again() -> None:
        thread.join()
        Host(tmp_path / "other", log.append)

    threading.Thread(target=start_again).start()
    monkeypatch.setattr(channel, "CONNECT_S", 10.0)
    assert forward.append("upsert", [{"item_id": "a"}]).last == 1, "an upsert is sent again"


def test_the_board_waits_for_the_living(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = Board(tmp_path / "board", 3, 0), Board(tmp_path / "board", 3, 1)
    one.tell(sequence=5, generation=1)
    two.tell(sequence=3, generation=1)
    assert [(r["process"], r["sequence"]) for r in one.rows()] == [(0, 5), (1, 3)]
    assert one.wait(3, 1)
    assert not one.wait(4, 0.01)
    threading.Timer(0.05, lambda: two.tell(sequence=9)).start()
    assert one.wait(5, 10)
    assert len(two.alive()) == 2
    monkeypatch.setattr("aisle.serve.board.SILENT_S", -1.0)
    start = monotonic()
    assert one.wait(100, 10), "a process that died is not waited for"
    assert monotonic() - start < 5
