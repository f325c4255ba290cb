"""Batch: raw records of a file as columns of Python values, dense or sparse; and the lines they come from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

BATCH_ROWS = 20_000
BATCH_CHARS = 32 << 20
"""A batch ends after this much text even when it has few rows, so that long records stay in bounded memory."""
MAX_FIELD = 1 << 20
"""Characters; a longer field is a mistake (a lost quote, an embedded picture) and its row is quarantined."""
MAX_LINE = 16 << 20
"""Bytes; a longer line is skipped without being held in memory."""


class Reject(Protocol):
    """Where bad records go: position in the file (from 1), column ("" = whole record), value, reason."""

    def __call__(self, position: int, column: str, value: Any, reason: str) -> None: ...


class Column(NamedTuple):
    """Values of one column.  ``rows`` are their rows in the batch; None means dense, one value a row."""

    rows: Sequence[int] | None
    values: Sequence[Any]

    def dense(self, num_rows: int) -> list[Any]:
        """One value a row, None where there is none."""
        if self.rows is None:
            return list(self.values)
        full: list[Any] = [None] * num_rows
        for row, value in zip(self.rows, self.values, strict=True):
            full[row] = value
        return full


@dataclass(frozen=True, slots=True)
class Batch:
    """``positions``: line (or record) number of each row; ``columns``: by name, in the order first seen."""

    positions: list[int]
    columns: Mapping[str, Column]
    records: Sequence[Mapping[str, Any]] = ()
    """The records as they were, for files of objects."""

    def __len__(self) -> int:
        return len(self.positions)

    def head(self, num_rows: int) -> Batch:
        """The first rows."""
        cut = {name: _cut(column, num_rows) for name, column in self.columns.items()}
        return Batch(self.positions[:num_rows], {n: c for n, c in cut.items() if c.rows is None or c.rows})


def _cut(column: Column, num_rows: int) -> Column:
    if column.rows is None:
        return Column(None, column.values[:num_rows])
    kept = [(r, v) for r, v in zip(column.rows, column.values, strict=True) if r < num_rows]
    return Column([r for r, _ in kept], [v for _, v in kept])


def columns_of(records: Sequence[Mapping[str, Any]]) -> dict[str, Column]:
    """Records as sparse columns; nulls are left out and nested objects become dotted columns (``price.amount``)."""
    columns: dict[str, tuple[list[int], list[Any]]] = {}
    get = columns.get
    for row, record in enumerate(records):
        for name, value in record.items():
            if value is None:
                continue
            if type(value) is dict:
                for path, leaf in flat(value, name + "."):
                    rows, values = columns.setdefault(path, ([], []))
                    rows.append(row)
                    values.append(leaf)
                continue
            pair = get(name)
            if pair is None:
                pair = columns[name] = ([], [])
            pair[0].append(row)
            pair[1].append(value)
    return {name: Column(rows, values) for name, (rows, values) in columns.items()}


def flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, leaf) of nested objects, nulls left out."""
    for name, value in record.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        elif value is not None:
            yield prefix + str(name), value


def too_long(record: Mapping[str, Any]) -> str | None:
    """The name of a field beyond MAX_FIELD characters, if there is one."""
    for name, value in flat(record):
        if isinstance(value, str) and len(value) > MAX_FIELD:
            return name
        if isinstance(value, list) and any(isinstance(v, str) and len(v) > MAX_FIELD for v in value):
            return name
    return None


class Line(NamedTuple):
    """One line of a file: its number from 1, and its bytes; None when it was longer than MAX_LINE."""

    number: int
    data: bytes | None


def lines_of(pieces: Iterable[bytes]) -> Iterator[Line]:
    """Lines without their ends; a byte order mark is dropped.  Over-long lines come as None, never held whole."""
    number, rest, skipping, first = 1, b"", False, True
    for piece in pieces:
        if first:
            piece, first = piece.removeprefix(b"\xef\xbb\xbf"), False
        if skipping:
            _, newline, piece = piece.partition(b"\n")
            if not newline:
                continue
            skipping = False
            number += 1
        lines = (rest + piece).split(b"\n")
        rest = lines.pop()
        for line in lines:
            yield Line(number, line)
            number += 1
        if len(rest) > MAX_LINE:
            yield Line(number, None)
            rest, skipping = b"", True
    if rest and not skipping:
        yield Line(number, rest)
