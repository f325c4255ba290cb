"""JSON lines and JSON arrays as streams of records; a broken record is rejected alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from aisle.data.reading.batches import BATCH_CHARS, MAX_FIELD, MAX_LINE, Batch, Reject, columns_of, lines_of, too_long

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)
_RESTART = re.compile(r"\}\s*,\s*(?=\{)|\n\s*(?=\{)")


class _Collector:
    """Gathers records until a batch is full."""

    def __init__(self, reject: Reject, batch_rows: int) -> None:
        self.reject = reject
        self.batch_rows = batch_rows
        self.positions: list[int] = []
        self.records: list[Mapping[str, Any]] = []
        self.chars = 0

    def add(self, position: int, record: Any, text: str) -> bool:
        """True when the batch is full."""
        if type(record) is not dict:
            self.reject(position, "", json.dumps(record)[:300], f"expected an object, found {type(record).__name__}")
            return False
        if len(text) > MAX_FIELD and (name := too_long(record)):
            self.reject(position, name, str(record.get(name, ""))[:300], f"field longer than {MAX_FIELD:,} characters")
            return False
        if _half_character(record, text):
            self.reject(position, "", text[:300], "half a character (a lone surrogate such as \\ud83d)")
            return False
        self.positions.append(position)
        self.records.append(record)
        self.chars += len(text)
        return len(self.positions) >= self.batch_rows or self.chars >= BATCH_CHARS

    def take(self) -> Batch:
        batch = Batch(self.positions, columns_of(self.records), self.records)
        self.positions, self.records, self.chars = [], [], 0
        return batch


def _half_character(record: Any, text: str) -> bool:
    """The record holds an escaped half of a surrogate pair, which no text can store."""
    if "\\ud" not in text and "\\uD" not in text:
        return False
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def read_lines(pieces: Iterable[bytes], encoding: str, reject: Reject, batch_rows: int) -> Iterator[Batch]:
    """Batches of a file with one JSON object a line; blank lines are skipped."""
    gathered = _Collector(reject, batch_rows)
    loads = json.JSONDecoder(strict=False).decode
    for number, data in lines_of(pieces):
        if data is None:
            reject(number, "", "", "line longer than 16 MiB")
            continue
        if b"\0" in data:
            reject(number, "", data[:300].decode(encoding, "replace"), "NUL byte")
            continue
        try:
            text = data.decode(encoding)
            if not text or text.isspace():
                continue
            record = loads(text)
        except UnicodeDecodeError:
            reject(number, "", data[:300].decode(encoding, "replace"), f"wrong encoding, expected {encoding}")
            continue
        except (ValueError, RecursionError) as error:
            reject(number, "", data[:300].decode(encoding, "replace"), f"broken JSON: {_short(error)}")
            continue
        if gathered.add(number, record, text):
            yield gathered.take()
    if gathered.positions:
        yield gathered.take()


def _short(error: Exception) -> str:
    return getattr(error, "msg", "nested too deeply")


class _Window:
    """A sliding text buffer over byte pieces."""

    def __init__(self, pieces: Iterable[bytes], encoding: str) -> None:
        import codecs

        self.pieces = iter(pieces)
        self.decoder = codecs.getincrementaldecoder(encoding)("replace")
        self.text = ""
        self.at = 0
        self.ended = False
        self.fill()
        self.text = self.text.removeprefix("\ufeff")

    def fill(self) -> bool:
        """Reads on, dropping what was consumed.  False at the end of the file."""
        piece = next(self.pieces, None)
        self.ended = piece is None
        self.text = self.text[self.at :] + self.decoder.decode(piece or b"", final=piece is None)
        self.at = 0
        return not self.ended

    def skip(self, marks: str) -> str:
        """The next character that is none of ``marks``; "" at the end."""
        while True:
            while self.at < len(self.text):
                if self.text[self.at] not in marks:
                    return self.text[self.at]
                self.at += 1
            if not self.fill():
                return ""


def read_array(pieces: Iterable[bytes], encoding: str, reject: Reject, batch_rows: int) -> Iterator[Batch]:
    """Batches of a JSON array of objects, of ``{"products": [...]}``, or of objects written one after another."""
    gathered = _Collector(reject, batch_rows)
    window = _Window(pieces, encoding)
    wrapper = re.match(r'\s*\{\s*"\w+"\s*:\s*(?=\[)', window.text)
    if wrapper and re.match(r"\[\s*\{", window.text[wrapper.end() :]):
        window.at = wrapper.end()
    if window.skip(" \t\r\n") == "[":
        window.at += 1
    decode = json.JSONDecoder(strict=False).raw_decode
    position = 0
    while window.skip(" \t\r\n,") not in ("", "]"):
        position += 1
        record, source = _element(window, decode, position, reject)
        if record is not _BROKEN and gathered.add(position, record, source):
            yield gathered.take()
    if gathered.positions:
        yield gathered.take()


_BROKEN = object()


def _element(window: _Window, decode: Any, position: int, reject: Reject) -> tuple[Any, str]:
    """The element at the window and its text; _BROKEN (and the window behind it) when it is no JSON."""
    while True:
        start = window.at
        try:
            record, end = decode(window.text, start)
            if end < len(window.text) or window.ended:
                window.at = end
                if "\ufffd" in window.text[start:end]:
                    reject(position, "", window.text[start : start + 300], "wrong encoding, or a replacement character")
                    return _BROKEN, ""
                return record, window.text[start:end]
            reason = "cut off"
        except (ValueError, RecursionError) as error:
            reason = _short(error)
        # The window may merely end inside the element: look for the element's own end before judging it.
        stop = _end(window.text, start)
        if stop is None and len(window.text) - start <= MAX_LINE and window.fill():
            continue
        if stop is None:
            restart = _RESTART.search(window.text, start + 1)
            stop = restart.end() if restart else len(window.text)
        elif stop == len(window.text) and reason == "cut off" and window.fill():
            continue
        reject(position, "", window.text[start : start + 300], f"broken JSON: {reason}")
        window.at = max(stop, start + 1)
        return _BROKEN, ""


def _end(text: str, start: int) -> int | None:
    """Where the object or array that starts here ends by its brackets; None when the text ends before.

    A string that runs over the start of a next record has lost its closing quote: then that start is the end.
    """
    open_marks: list[str] = []
    for token in _TOKEN.finditer(text, start):
        mark = token.group()
        if mark[0] == '"':
            if (restart := _RESTART.search(mark)) is not None:
                return token.start() + restart.end()
        elif mark in "{[":
            open_marks.append(mark)
        else:
            wanted = "{" if mark == "}" else "["
            # A bracket that was never closed ends with the one around it.
            while open_marks and open_marks.pop() != wanted:
                pass
            if not open_marks:
                return token.end()
    return None
