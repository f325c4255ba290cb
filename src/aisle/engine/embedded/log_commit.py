"""Committer: the one thread that writes the log.  Appends that wait at the same time share one synchronous commit."""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Condition, Event, Thread
from typing import Any, TypeVar

from aisle.core.errors import AisleError, DataError
from aisle.engine.embedded.log_records import checksum

T = TypeVar("T")

INSERT = "INSERT INTO records (sequence, kind, time_s, checksum, payload) VALUES (?, ?, ?, ?, ?)"


class NotWritten(DataError):
    """The disk refused an append; nothing of it was accepted, and the records themselves were not at fault."""


@dataclass(eq=False, slots=True)
class _Task:
    """Payloads to append, or ``work`` to do in a transaction of its own."""

    kind: int = 0
    payloads: Sequence[bytes] = ()
    work: Callable[[sqlite3.Connection], Any] | None = None
    done: Event = field(default_factory=Event)
    result: Any = None
    error: AisleError | None = None


class Committer:
    """Owns the writing connection.

    group_s        how long a commit waits for as many callers as the last one had; a lone caller never waits
    group_records  a commit takes no further caller after so many records
    """

    def __init__(
        self, connection: sqlite3.Connection, last_sequence: int, *, group_s: float, group_records: int
    ) -> None:
        self.last_sequence = last_sequence
        self.failure: str | None = None
        self._connection = connection
        self._group_s, self._group_records = group_s, group_records
        self._waiting: deque[_Task] = deque()
        self._changed = Condition()
        self._appended = Condition()
        self._closing = False
        self._callers = 1
        self._wanted = 1
        self._thread = Thread(target=self._live, name="aisle-log", daemon=True)
        self._thread.start()

    def append(self, kind: int, payloads: Sequence[bytes]) -> int:
        """The last sequence number of these payloads, once they are on disk.  Raises DataError when they are not."""
        return int(self._done(_Task(kind=kind, payloads=payloads)))

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """``work`` in a transaction of its own, between two groups of appends."""
        result: T = self._done(_Task(work=work))
        return result

    def wait_beyond(self, sequence: int, timeout_s: float | None) -> bool:
        """True as soon as a record after ``sequence`` is there."""
        with self._appended:
            return self._appended.wait_for(lambda: self.last_sequence > sequence or self._closing, timeout_s) and (
                self.last_sequence > sequence
            )

    def close(self) -> None:
        """Commit what waits, then end."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._connection.close()
        with self._appended:
            self._appended.notify_all()

    def _done(self, task: _Task) -> Any:
        with self._changed:
            if self._closing:
                raise DataError("the log is closed; open it again to write")
            self._waiting.append(task)
            if len(self._waiting) >= self._wanted:
                self._changed.notify()
        task.done.wait()
        if task.error is not None:
            raise task.error
        return task.result

    def _live(self) -> None:
        while group := self._collect():
            try:
                self._commit(group)
            except Exception as error:
                self._undo()
                self._refuse(group, error)
            finally:
                for task in group:
                    task.done.set()
            with self._appended:
                self._appended.notify_all()

    def _collect(self) -> list[_Task]:
        """The next group; empty when the log is closed and nothing waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if self._callers > 1:
                # Those whom the last commit released are about to come again; one fsync serves them all.
                self._wanted = self._callers
                self._changed.wait_for(lambda: len(self._waiting) >= self._wanted or self._closing, self._group_s)
                self._wanted = 1
            group: list[_Task] = []
            records = 0
            while self._waiting and records < self._group_records:
                if self._waiting[0].work is not None and group:
                    break
                group.append(self._waiting.popleft())
                records += len(group[-1].payloads)
                if group[-1].work is not None:
                    break
            if group and group[0].work is None:
                self._callers = len(group)
            return group

    def _commit(self, group: Sequence[_Task]) -> None:
        if self.failure is not None:
            raise NotWritten(self.failure)
        last, time_s = self.last_sequence, time.time()
        self._connection.execute("BEGIN IMMEDIATE")
        for task in group:
            if task.work is not None:
                task.result = task.work(self._connection)
            else:
                numbered = enumerate(task.payloads, last + 1)
                rows = [(n, task.kind, time_s, checksum(n, task.kind, time_s, p), p) for n, p in numbered]
                self._connection.executemany(INSERT, rows)
                last += len(rows)
                task.result = last
        self._connection.execute("COMMIT")
        self.last_sequence = last

    def _undo(self) -> None:
        if self._connection.in_transaction:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def _refuse(self, group: Sequence[_Task], error: Exception) -> None:
        """Nobody of the group is acknowledged.  After anything but a full disk, nobody is until the log is reopened."""
        reason = f"{getattr(error, 'sqlite_errorname', type(error).__name__)}: {error}"
        if isinstance(error, AisleError):
            answer: AisleError = error
        elif getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
            answer = NotWritten(
                f"the log could not be written ({reason}), nothing was accepted; free disk space and retry"
            )
        else:
            # Whether a failed write or fsync left anything on disk is unknown to the process that saw it fail.
            self.failure = (
                f"the log could not be written ({reason}), nothing was accepted; "
                "look at the disk, then open the log again"
            )
            answer = NotWritten(self.failure)
        for task in group:
            task.error = type(answer)(str(answer))
