"""The one way to write to a live shop: what a process may append to the log, and when others can see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any, Protocol

from aisle.engine.embedded.log import Log, Receipt

Records = Sequence[Mapping[str, Any]]


class Writing(Protocol):
    """``OwnLog`` in the process that owns the log, ``channel.Forward`` in the others."""

    def append(self, kind: str, records: Records) -> Receipt:
        """Accept records of one kind; on disk when this returns.  Raises DataError, then none was accepted."""
        ...

    @property
    def count(self) -> int:
        """Events that this process accepted since it started."""
        ...


class OwnLog:
    """Appends to the log that this process has open for writing."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._lock = Lock()
        self._events = 0

    def append(self, kind: str, records: Records) -> Receipt:
        receipt = self._log.append(kind, records)
        if kind == "event":
            with self._lock:
                self._events += len(records)
        return receipt

    @property
    def count(self) -> int:
        return self._events


Visible = Callable[[int, float], bool]
"""``visible(sequence, timeout_s)``: True as soon as every process of the shop shows that record."""
