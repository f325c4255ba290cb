"""Between the processes of one shop: readers hand what they were sent to the process that owns the log.

One message is one JSON object each way over a Unix socket that only this user can open.  Nothing is pickled.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any

from aisle.core import errors
from aisle.core.errors import AisleError, DataError
from aisle.engine.embedded.log import Receipt
from aisle.engine.embedded.log_commit import NotWritten

CONNECT_S = 10.0
"""How long a reader waits for a writer that is starting again."""
ERRORS: Mapping[str, type[AisleError]] = {
    **{n: e for n, e in vars(errors).items() if isinstance(e, type) and issubclass(e, AisleError)},
    "NotWritten": NotWritten,
}


class Host:
    """Answers the messages of the readers, each connection in a thread of its own, so that appends share commits."""

    def __init__(self, path: Path, append: Callable[[str, Sequence[Mapping[str, Any]]], Receipt]) -> None:
        with suppress(FileNotFoundError):
            path.unlink()
        self._append = append
        self._listener = Listener(str(path), "AF_UNIX", backlog=128)
        self._closed = False
        Thread(target=self._accept, name="aisle-host", daemon=True).start()

    def close(self) -> None:
        self._closed = True
        self._listener.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection = self._listener.accept()
            except (OSError, EOFError):
                continue
            Thread(target=self._answer, args=(connection,), name="aisle-host-reader", daemon=True).start()

    def _answer(self, connection: Connection) -> None:
        with connection, suppress(EOFError, OSError):
            while True:
                message = json.loads(connection.recv_bytes())
                try:
                    receipt = self._append(message["kind"], message["records"])
                    answer: dict[str, Any] = {"first": receipt.first, "last": receipt.last}
                except AisleError as error:
                    answer = {"error": type(error).__name__, "message": str(error)}
                connection.send_bytes(json.dumps(answer).encode())


class Forward:
    """``Writing`` of a process that does not own the log."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: SimpleQueue[Connection] = SimpleQueue()
        self._lock = Lock()
        self._events = 0

    @property
    def count(self) -> int:
        return self._events

    def append(self, kind: str, records: Sequence[Mapping[str, Any]]) -> Receipt:
        """What the owner answers.

        Raises NotWritten when the owner cannot be reached, or is gone before it answered; then the records may have been
        accepted: sending them again is safe but for events, which would count twice.
        """
        message = json.dumps({"kind": kind, "records": list(records)}, ensure_ascii=False, default=str).encode()
        answer = self._answered(message, again=kind != "event")
        if "error" in answer:
            raise ERRORS.get(answer["error"], DataError)(answer["message"])
        if kind == "event":
            with self._lock:
                self._events += len(records)
        return Receipt(answer["first"], answer["last"])

    def close(self) -> None:
        with suppress(Empty):
            while True:
                self._idle.get_nowait().close()

    def _answered(self, message: bytes, *, again: bool) -> dict[str, Any]:
        until = time.monotonic() + CONNECT_S
        while True:
            connection = self._connection(until)
            try:
                connection.send_bytes(message)
            except OSError:
                # Nothing whole has arrived, so nothing was accepted: a connection of a writer that was restarted.
                connection.close()
                continue
            try:
                answer: dict[str, Any] = json.loads(connection.recv_bytes())
            except (OSError, EOFError):
                connection.close()
                if again and time.monotonic() < until:
                    continue
                raise NotWritten(
                    "the writing process ended before it answered, so these records may or may not have been accepted; "
                    "look for them, or send them again"
                ) from None
            self._idle.put(connection)
            return answer

    def _connection(self, until: float) -> Connection:
        with suppress(Empty):
            return self._idle.get_nowait()
        while True:
            try:
                return Client(str(self._path), "AF_UNIX")
            except OSError:
                if time.monotonic() >= until:
                    raise NotWritten(
                        f"the writing process did not answer for {CONNECT_S:.0f} s, nothing was accepted; try again"
                    ) from None
                time.sleep(0.05)
