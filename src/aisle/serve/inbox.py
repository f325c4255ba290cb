"""Events that were accepted: in the shop's log, on disk before the caller hears of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from aisle.engine.embedded.log import Log
from aisle.engine.embedded.log_commit import NotWritten


class Inbox:
    """The open log of a shop, for one server.  Raises DataError when another process writes to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = Log.open(path)
        self._lock = Lock()
        self._accepted = 0

    @property
    def count(self) -> int:
        """Events accepted since this server opened the log: what its fits do not know yet."""
        return self._accepted

    def append(self, records: Sequence[Mapping[str, Any]]) -> int:
        """Accept events; those of concurrent callers share one fsync.  Returns ``count`` after them.

        Raises OSError when the disk refuses, DataError for a record that is no event; then none of them was accepted.
        """
        try:
            self.log.append("event", records)
        except NotWritten as error:
            raise OSError(str(error)) from error
        with self._lock:
            self._accepted += len(records)
            return self._accepted

    def read(self) -> Iterator[dict[str, Any]]:
        """Every accepted event, oldest first."""
        for batch in self.log.batches(kinds=("event",)):
            yield from (record.value for record in batch)

    def close(self) -> None:
        self.log.close()
