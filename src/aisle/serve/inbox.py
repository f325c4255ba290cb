"""Events that were accepted: an append-only file of JSON lines, on disk before the caller hears of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any


class Inbox:
    """One open file.  A batch is written whole, then forced to disk; a half-written tail of a crash is cut off."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._cut_tail()
        self.count = self._lines()

    def append(self, records: Sequence[Mapping[str, Any]]) -> int:
        """Write the records and force them to disk.  Returns how many the inbox now holds.

        Raises OSError when the disk refuses; then none of the records counts as accepted.
        """
        data = "".join(json.dumps(dict(r), ensure_ascii=False, separators=(",", ":")) + "\n" for r in records).encode()
        with self._lock:
            size = os.fstat(self._file).st_size
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(self._file, view) :]
                os.fsync(self._file)
            except OSError:
                os.ftruncate(self._file, size)
                raise
            self.count += len(records)
            return self.count

    def read(self) -> Iterator[dict[str, Any]]:
        """Every accepted record, oldest first."""
        with self.path.open(encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)

    def close(self) -> None:
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _cut_tail(self) -> None:
        size = os.fstat(self._file).st_size
        end = size
        while end > 0:
            start = max(0, end - 65536)
            at = os.pread(self._file, end - start, start).rfind(b"\n")
            if at >= 0:
                end = start + at + 1
                break
            end = start
        if end != size:
            os.ftruncate(self._file, end)

    def _lines(self) -> int:
        with self.path.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
