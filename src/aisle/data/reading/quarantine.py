"""Where bad rows go: a JSON lines file in the shop, one object a row, and counts by reason."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import IO, Any

EXCERPT = 200


class Quarantine:
    """Collects bad rows of one file.  The file on disk appears with ``keep()``; without it nothing is left behind.

    path: where the rows are to stand, or None to count only.  place: what positions count, ``line`` or ``record``.
    """

    def __init__(self, path: Path | None, source: Path, place: str = "line") -> None:
        self.path = path
        self.source = source
        self.place = place
        self.reasons: Counter[str] = Counter()
        self.examples: list[dict[str, Any]] = []
        self._part: IO[str] | None = None

    def __call__(self, position: int, column: str, value: Any, reason: str) -> None:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        excerpt = text[:EXCERPT] + ("..." if len(text) > EXCERPT else "")
        row = {"file": str(self.source), self.place: position, "column": column, "value": excerpt, "reason": reason}
        self.reasons[f"{column}: {reason}" if column and not column.startswith("field ") else reason] += 1
        if len(self.examples) < 3:
            self.examples.append(row)
        if self.path is None:
            return
        if self._part is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._part = self._part_path.open("w", encoding="utf-8", errors="backslashreplace")
        self._part.write(json.dumps(row, ensure_ascii=False) + "\n")

    @property
    def _part_path(self) -> Path:
        assert self.path is not None
        return self.path.with_name(self.path.name + ".part")

    @property
    def count(self) -> int:
        return self.reasons.total()

    def keep(self) -> Path | None:
        """Puts the file in its place; None when there was no bad row."""
        if self._part is None or self.path is None:
            return None
        self._part.close()
        self._part = None
        self._part_path.replace(self.path)
        return self.path

    def __enter__(self) -> Quarantine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._part is not None:
            self._part.close()
            self._part_path.unlink(missing_ok=True)
            self._part = None
