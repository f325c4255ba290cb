"""Log: everything that ever happens to a shop, in one sequence, on disk before the caller hears of it.

``log.sqlite`` is a SQLite database in WAL mode.  One process writes, any number read; a record is checked when it is
accepted, and its checksum whenever it is read.  docs/engine.md tells the format and the guarantees.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import pyarrow as pa

from aisle.core.errors import DataError, SettingError
from aisle.data.schema import EVENTS
from aisle.engine.embedded import log_copies as copies
from aisle.engine.embedded import log_file as on_disk
from aisle.engine.embedded.log_commit import Committer
from aisle.engine.embedded.log_records import KINDS, Record, checksum, decoded, encoded, event_table, kind_number

BATCH_RECORDS = 5000
COMPACTED_AT_ONCE = 5000
POLL_S = 0.005


class Receipt(NamedTuple):
    """The sequence numbers that were given to an append, both included."""

    first: int
    last: int


class Log:
    """An open log.  Every method may be called from any thread."""

    def __init__(self, path: Path, committer: Committer | None, lock: int | None) -> None:
        self.path = path
        self._committer = committer
        self._lock = lock
        self._readers: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        self._closed = False

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        read_only: bool = False,
        check: bool = True,
        group_ms: float = 2.0,
        group_records: int = 4096,
    ) -> Log:
        """The log at ``path``, made when there is none (not for a reader).

        read_only      any number of processes may read while one writes
        check          look through all pages first: a second or two a GB, more from a cold disk
        group_ms       how long a commit waits for callers who are likely to come; a lone caller never waits
        group_records  how many records one commit takes

        Raises DataError when another process writes, or when the file is missing, damaged or no log.
        """
        path = Path(path)
        if read_only:
            with on_disk.speaking_of(path):
                return cls._open_reader(path, check)
        if not path.parent.is_dir():
            raise DataError(f"{path.parent} is no folder; make it first, or open the log of an existing shop")
        lock = on_disk.lock(path)
        try:
            with on_disk.speaking_of(path):
                if not path.exists():
                    on_disk.refuse_remains(path)
                    on_disk.create(path)
                connection = _open_writer(path, check)
                last = on_disk.bounds(connection)[1]
        except BaseException:
            os.close(lock)
            raise
        return cls(path, Committer(connection, last, group_s=group_ms / 1000, group_records=group_records), lock)

    @classmethod
    def _open_reader(cls, path: Path, check: bool) -> Log:
        if not path.is_file():
            raise DataError(f"{path} does not exist; a log is made when it is first opened for writing")
        on_disk.check_header(path)
        log = cls(path, None, None)
        with log._reading() as connection:
            on_disk.check_format(path, connection)
            if check:
                on_disk.check_pages(path, connection)
        return log

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Commit what waits, and let go of the file.  May be called twice."""
        if self._closed:
            return
        self._closed = True
        with suppress(Empty):
            while True:
                self._readers.get_nowait().close()
        if self._committer is not None:
            self._committer.close()
        if self._lock is not None:
            os.close(self._lock)

    # Writing

    def append(self, kind: str, records: Sequence[Mapping[str, Any] | str] | pa.Table) -> Receipt:
        """Accept records of one kind: all of them, in this order, on disk when this returns.

        Appends that wait at the same time share one fsync.  ``log_records.encoded`` says what each kind holds.
        Raises DataError when a record cannot be used or the disk refuses; then none of the records was accepted.
        """
        committer, payloads = self._writer(), encoded(kind, records)
        if not payloads:
            return Receipt(committer.last_sequence + 1, committer.last_sequence)
        last = committer.append(kind_number(kind), payloads)
        return Receipt(last - len(payloads) + 1, last)

    def compact(self, keep_after: int, applied: Mapping[str, int]) -> int:
        """Forget the records up to ``keep_after``.  Returns how many went.

        ``applied`` names everyone who learns from the log, with the sequence each has made lasting.
        Raises DataError when one of them still needs a record; appends and readers go on meanwhile.
        """
        committer = self._writer()
        if not applied:
            raise DataError("compact needs to know who learns from the log: give applied={'engine': engine.sequence}")
        for name, sequence in applied.items():
            if sequence < keep_after:
                raise DataError(
                    f"{name} has applied the log up to {sequence}, so its records up to {keep_after} are still needed; "
                    f"let it catch up, or keep the records after {sequence}"
                )
        if keep_after > committer.last_sequence:
            raise DataError(f"the log ends at {committer.last_sequence}; it cannot forget records up to {keep_after}")
        removed = 0
        while part := committer.run(lambda connection: _forget(connection, keep_after)):
            removed += part
        return removed

    # Reading

    @property
    def last_sequence(self) -> int:
        """The last accepted record's number; 0 before the first."""
        return self._committer.last_sequence if self._committer is not None else self._bounds()[1]

    @property
    def floor(self) -> int:
        """Every record after this number is there; those up to it were compacted away."""
        return self._bounds()[0]

    def wait_beyond(self, sequence: int, timeout_s: float | None = None) -> bool:
        """True as soon as a record after ``sequence`` is there, False after ``timeout_s``."""
        if self._committer is not None:
            return self._committer.wait_beyond(sequence, timeout_s)
        until = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        with self._connected() as connection:
            seen = None
            while time.monotonic() < until:
                # Another number as soon as another connection has committed: ten times as cheap as asking what.
                now = connection.execute("PRAGMA data_version").fetchone()[0]
                if now != seen and on_disk.bounds(connection)[1] > sequence:
                    return True
                seen = now
                time.sleep(POLL_S)
        return self.last_sequence > sequence

    def read(self, after: int | None = None, limit: int = BATCH_RECORDS, kinds: Iterable[str] = KINDS) -> list[Record]:
        """Up to ``limit`` records of these kinds after a sequence number (None: from the first there is), in order.

        Raises DataError when records after ``after`` were compacted away, or when one does not match its checksum.
        """
        return self._read(after, None, limit, kinds)

    def batches(
        self,
        after: int | None = None,
        until: int | None = None,
        kinds: Iterable[str] = KINDS,
        size: int = BATCH_RECORDS,
    ) -> Iterator[list[Record]]:
        """All records after ``after``, up to ``until`` or to where the log ended when this began."""
        until = self.last_sequence if until is None else until
        after = self.floor if after is None else after
        kinds = tuple(kinds)
        while batch := self._read(after, until, size, kinds):
            yield batch
            after = batch[-1].sequence

    def events_table(self, after: int | None = None, until: int | None = None) -> pa.Table:
        """The events after a sequence number, with every event column, in the order in which they were accepted."""
        batches = self.batches(after, until, ("event",))
        return pa.concat_tables([EVENTS.empty_table(), *(event_table([r.value for r in b]) for b in batches)])

    def verify(self) -> int:
        """Look at every page and every record's checksum.  Returns how many records there are.  Raises DataError."""
        with self._reading() as connection:
            on_disk.check_pages(self.path, connection)
        return sum(len(batch) for batch in self.batches())

    # Copies

    def export(self, path: Path | str, after: int | None = None, kinds: Iterable[str] = KINDS) -> int:
        """Write records as one Parquet file of the columns ``EXPORT``.  Returns how many; the file is whole or absent."""
        return copies.export(path, self._payloads(after, tuple(kinds)))

    def backup(self, path: Path | str) -> int:
        """A copy of the log as it is at one moment, while appends go on.  Returns its last sequence number.

        Raises DataError when the file exists already or the disk refuses.
        """
        with self._reading() as connection:
            return copies.backup(connection, Path(path))

    @classmethod
    def restore(cls, backup: Path | str, path: Path | str) -> int:
        """Put a backup where no log is.  Returns its last sequence number.

        Raises DataError when the backup is damaged, or when a log (or a part of one) is at ``path``.
        """
        copies.restore(Path(backup), Path(path))
        with cls.open(path, check=False) as log:
            log.verify()
            return log.last_sequence

    # Inside

    def _writer(self) -> Committer:
        if self._committer is None:
            raise DataError(f"{self.path} is open for reading only; open it with Log.open(path) to write")
        return self._committer

    def _bounds(self) -> tuple[int, int]:
        with self._reading() as connection:
            return on_disk.bounds(connection)

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A reading connection of one's own."""
        if self._closed:
            raise DataError(f"{self.path} is closed; open it again")
        with on_disk.speaking_of(self.path):
            try:
                connection = self._readers.get_nowait()
            except Empty:
                connection = on_disk.connect(self.path)
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            self._readers.put(connection)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one state of the log throughout."""
        with self._connected() as connection:
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")

    def _rows(
        self, after: int | None, until: int | None, limit: int, kinds: Iterable[str]
    ) -> list[tuple[int, int, float, int, bytes]]:
        """sequence, kind, time_s, checksum, payload; each looked at."""
        numbers = sorted({kind_number(kind) for kind in kinds})
        if limit < 1:
            raise SettingError(f"limit {limit}; give 1 or more")
        chosen = "" if len(numbers) == len(KINDS) else f"AND kind IN ({', '.join(map(str, numbers)) or 'NULL'})"
        with self._reading() as connection:
            floor, last = on_disk.bounds(connection)
            after = floor if after is None else after
            if after < floor:
                raise DataError(
                    f"the records up to {floor} were compacted away, those after {after} were asked for; "
                    "build the index again from the catalogue of the current generation"
                )
            rows = connection.execute(
                "SELECT sequence, kind, time_s, checksum, payload FROM records "
                f"WHERE sequence > ? AND sequence <= ? {chosen} ORDER BY sequence LIMIT ?",
                (after, last if until is None else until, limit),
            ).fetchall()
        for sequence, kind, time_s, check, payload in rows:
            if checksum(sequence, kind, time_s, payload) != check:
                raise on_disk.damaged(self.path, f"record {sequence} does not match its checksum")
        return rows

    def _read(self, after: int | None, until: int | None, limit: int, kinds: Iterable[str]) -> list[Record]:
        rows = self._rows(after, until, limit, kinds)
        values = decoded(row[4] for row in rows)
        return [Record(row[0], KINDS[row[1] - 1], row[2], value) for row, value in zip(rows, values, strict=True)]

    def _payloads(self, after: int | None, kinds: Sequence[str]) -> Iterator[pa.Table]:
        """The records as tables of the columns ``EXPORT``."""
        until = self.last_sequence
        after = self.floor if after is None else after
        while rows := self._rows(after, until, BATCH_RECORDS, kinds):
            columns = {
                "sequence": [row[0] for row in rows],
                "kind": [KINDS[row[1] - 1] for row in rows],
                "time_s": [row[2] for row in rows],
                "value": [row[4].decode() for row in rows],
            }
            yield pa.table(columns, schema=copies.EXPORT)
            after = rows[-1][0]


def _open_writer(path: Path, check: bool) -> sqlite3.Connection:
    """The one writing connection.  Raises DataError when the file is damaged or no log."""
    on_disk.check_header(path)
    commits = on_disk.commits_in_wal(path)
    connection = on_disk.connect(path, writing=True)
    try:
        on_disk.check_format(path, connection)
        on_disk.check_wal(path, connection, commits)
        if check:
            on_disk.check_pages(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _forget(connection: sqlite3.Connection, keep_after: int) -> int:
    """Delete the next few records up to ``keep_after`` and raise the floor with them.  Returns how many."""
    floor = on_disk.bounds(connection)[0]
    until = min(keep_after, floor + COMPACTED_AT_ONCE)
    if until <= floor:
        return 0
    removed = connection.execute("DELETE FROM records WHERE sequence <= ?", (until,)).rowcount
    connection.execute("UPDATE meta SET value = ? WHERE name = 'floor'", (until,))
    # The sqlite3 module takes one step of this statement, and a step gives back one page.
    for _ in range(connection.execute("PRAGMA freelist_count").fetchone()[0]):
        connection.execute("PRAGMA incremental_vacuum(1)")
    return int(removed)
