"""Delimited text, line by line: a broken line is found exactly, and its neighbours are read all the same.

A record is one line, or several when a quoted field holds line ends.  When an open quote turns out to be no field
(text after the closing quote, wrong number of fields, end of file), its first line alone is rejected and reading
goes on with the next line.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain

from aisle.core.errors import DataError
from aisle.data.reading.batches import BATCH_CHARS, MAX_FIELD, Batch, Column, Line, Reject, lines_of

MAX_RECORD_LINES = 2_000
csv.field_size_limit(1 << 30)


class _Open(Exception):
    """The record ends inside a quoted field."""


def _parse(text: str, delimiter: str) -> list[str]:
    """The fields of one record.  Raises _Open when a quote is not closed yet, csv.Error when it is broken."""
    if '"' not in text:
        return text.split(delimiter)
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True))
    except csv.Error as error:
        if "unexpected end of data" in str(error):
            raise _Open from None
        raise


def delimiter_of(text: str, default: str) -> str:
    """The character that splits the header into most fields; ``default`` when none does."""
    line = text.split("\n", 1)[0].rstrip("\r")
    counts = {
        mark: len(next(csv.reader([line], delimiter=mark), []))
        for mark in dict.fromkeys([default, ",", "\t", ";", "|"])
    }
    best = max(counts, key=lambda mark: counts[mark])
    return best if counts[best] > 1 else default


def header_of(text: str, delimiter: str) -> tuple[str, ...]:
    """Column names of the first record: trimmed, unnamed ones numbered, repeated ones suffixed."""
    lines = text.split("\n")
    names: list[str] = []
    for end in range(1, min(len(lines), 50) + 1):
        try:
            names = _parse("\n".join(lines[:end]).rstrip("\r"), delimiter)
            break
        except _Open:
            continue
        except csv.Error:
            names = lines[0].rstrip("\r").split(delimiter)
            break
    else:
        names = lines[0].rstrip("\r").split(delimiter)
    return unique_names(names)


def unique_names(names: Iterable[str]) -> tuple[str, ...]:
    seen: dict[str, int] = {}
    out = []
    for place, name in enumerate(names, 1):
        name = name.strip().strip("\ufeff") or f"column_{place}"
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return tuple(out)


class _Records:
    """Parsed records of a line stream, with look-ahead for quoted line ends."""

    def __init__(self, lines: Iterator[Line], encoding: str, delimiter: str, reject: Reject) -> None:
        self.lines = lines
        self.encoding = encoding
        self.delimiter = delimiter
        self.reject = reject
        self.ahead: deque[Line] = deque()
        self.width = 0

    def __iter__(self) -> Iterator[tuple[int, list[str], int]]:
        """(line number, fields, characters) of each record that can be read."""
        while (line := self._next()) is not None:
            text = self._text(line)
            if text is None or not text:
                continue
            fields: list[str] | None
            try:
                fields = _parse(text, self.delimiter)
            except _Open:
                fields = self._continued(line.number, text)
            except csv.Error:
                fields = self._unquoted(line.number, text, "text after a closing quote")
            if fields is None:
                continue
            if (
                len(text) > MAX_FIELD
                and (place := next((i for i, f in enumerate(fields) if len(f) > MAX_FIELD), None)) is not None
            ):
                self.reject(
                    line.number, f"field {place + 1}", fields[place], f"field longer than {MAX_FIELD:,} characters"
                )
                continue
            fields = self._fitted(line.number, fields, text)
            if fields is not None:
                yield line.number, fields, len(text)

    def _next(self) -> Line | None:
        return self.ahead.popleft() if self.ahead else next(self.lines, None)

    def _text(self, line: Line) -> str | None:
        """The line as text; None when it was rejected."""
        if line.data is None:
            self.reject(line.number, "", "", "line longer than 16 MiB")
            return None
        if b"\0" in line.data:
            self.reject(line.number, "", line.data.decode(self.encoding, "replace"), "NUL byte")
            return None
        try:
            return line.data.decode(self.encoding).rstrip("\r")
        except UnicodeDecodeError:
            self.reject(
                line.number, "", line.data.decode(self.encoding, "replace"), f"wrong encoding, expected {self.encoding}"
            )
            return None

    def _continued(self, number: int, text: str) -> list[str] | None:
        """The record that starts with an open quote in ``text``; None (and only its first line rejected) if it is broken."""
        taken: list[Line] = []
        parts, chars = [text], len(text)
        while len(taken) < MAX_RECORD_LINES and chars <= MAX_FIELD and (line := self._next()) is not None:
            taken.append(line)
            if line.data is None or b"\0" in line.data:
                break
            try:
                parts.append(line.data.decode(self.encoding).rstrip("\r"))
            except UnicodeDecodeError:
                break
            chars += len(parts[-1])
            if '"' not in parts[-1]:
                continue
            try:
                fields = _parse("\n".join(parts), self.delimiter)
            except _Open:
                continue
            except csv.Error:
                break
            if not self.width or len(fields) == self.width:
                return fields
            break
        self.ahead.extendleft(reversed(taken))
        return self._unquoted(number, text, "unbalanced quote")

    def _unquoted(self, number: int, text: str, reason: str) -> list[str] | None:
        """Tab separated text often does not quote: there a quote is a character like any other."""
        if self.delimiter == "\t" and len(fields := text.split("\t")) == self.width:
            return fields
        self.reject(number, "", text, reason)
        return None

    def _fitted(self, number: int, fields: list[str], text: str) -> list[str] | None:
        if not self.width or len(fields) == self.width:
            return fields
        if len(fields) > self.width and not any(fields[self.width :]):
            return fields[: self.width]
        if not any(field.strip() for field in fields):
            return None
        self.reject(number, "", text, f"expected {self.width} fields, found {len(fields)}")
        return None


def read_delimited(
    pieces: Iterable[bytes], encoding: str, delimiter: str, reject: Reject, batch_rows: int
) -> Iterator[Batch]:
    """Batches of dense text columns.  Raises DataError when there is no header."""
    records = _Records(lines_of(pieces), encoding, delimiter, reject)
    rows = iter(records)
    header = next(rows, None)
    if header is None:
        raise DataError("no header line could be read; the first line must hold the column names")
    names = unique_names(header[1])
    records.width = len(names)
    positions: list[int] = []
    fields: list[list[str]] = []
    chars = 0
    for number, row, length in rows:
        positions.append(number)
        fields.append(row)
        chars += length
        if len(positions) >= batch_rows or chars >= BATCH_CHARS:
            yield _batch(names, positions, fields)
            positions, fields, chars = [], [], 0
    if positions:
        yield _batch(names, positions, fields)


def _batch(names: tuple[str, ...], positions: list[int], fields: list[list[str]]) -> Batch:
    columns = zip(*fields, strict=True) if fields else chain()
    return Batch(positions, {name: Column(None, values) for name, values in zip(names, columns, strict=True)})
