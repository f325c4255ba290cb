"""PointedFolder: what is current in a folder is named by one small file, which is replaced atomically by one writer at a time."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aisle.core.atomic import write_json
from aisle.core.errors import Busy, StateError
from aisle.data.shop_files import FORMAT, locked

POINTER = "CURRENT.json"
POINTS_TO = ("generation", "sequence", "funnel", "plan")
MOST_HISTORY = 20
WAIT_S = 10.0
"""A server tidies up for a moment now and then; whoever ingests, or points to a funnel, waits for it."""


class PointedFolder:
    """A folder with its pointer.  Reading needs no lock; every write takes the writer's lock itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._thread_lock = threading.RLock()
        self._depth = 0

    def pointer(self) -> dict[str, Any]:
        """What is current: ``format``, ``generation``, ``sequence``, ``funnel`` and its ``plan``.

        Raises StateError when unreadable.
        """
        path = self.folder / POINTER
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StateError(f"{path} cannot be read ({error}); restore it from a backup or ingest again") from error
        found = value.get("format") if isinstance(value, dict) else None
        if found != FORMAT:
            raise StateError(
                f"{path} has format {found!r}, this aisle reads format {FORMAT}; "
                "use the version of aisle that wrote it, or ingest again into a new folder"
            )
        return dict(value)

    def point(self, **changes: Any) -> dict[str, Any]:
        """Replace entries of the pointer, all at once; what it pointed to before is kept in ``history``.

        Returns the new pointer.
        """
        with self.lock(wait_s=WAIT_S):
            before = self.pointer()
            value = {**before, **changes}
            was, now = ([v.get(name) for name in ("generation", "funnel")] for v in (before, value))
            if before["generation"] and was != now and "history" not in changes:
                known = {name: before[name] for name in POINTS_TO if name in before}
                value["history"] = [*before.get("history", []), known][-MOST_HISTORY:]
            write_json(self.folder / POINTER, value)
            return value

    @contextmanager
    def lock(self, wait_s: float = 0.0) -> Iterator[None]:
        """One writer at a time; may be nested.

        Raises Busy when another process or Shop object still writes after ``wait_s``.
        """
        with self._thread_lock:
            if self._depth == 0:
                self._handle = os.open(self.folder / "writer.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                until = time.monotonic() + wait_s
                while not locked(self._handle):
                    if time.monotonic() >= until:
                        os.close(self._handle)
                        raise Busy(
                            f"another writer has {self.folder} open; wait until it ends, or stop it, and try again"
                        )
                    time.sleep(0.02)
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    # Closing the file releases the lock, also when the process dies.
                    os.close(self._handle)
