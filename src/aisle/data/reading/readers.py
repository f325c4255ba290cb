"""Files to batches of raw columns: CSV, TSV, JSON lines, JSON arrays and Parquet; plain, gzip or zstd; in bounded memory.

``sniff`` looks at the first megabyte and says what the file is; ``read_batches`` streams it.  A record that cannot
be read goes to ``reject`` with its place and the reason, and the records around it are read all the same.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import zstandard
from pydantic import BaseModel, ConfigDict

from aisle.core.errors import DataError
from aisle.data.reading.batches import BATCH_ROWS, Batch, Reject
from aisle.data.reading.readers_csv import delimiter_of, header_of, read_delimited
from aisle.data.reading.readers_json import read_array, read_lines
from aisle.data.reading.readers_parquet import read_parquet

HEAD_BYTES = 1 << 20
CHUNK_BYTES = 1 << 20
SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
}
Kind = Literal["csv", "jsonl", "json", "parquet"]


class Format(BaseModel):
    """What a file is.  ``delimiter`` and ``header`` are those of delimited text; ``place`` says what positions count."""

    model_config = ConfigDict(frozen=True)
    kind: Kind
    compression: Literal["", "gzip", "zstd"] = ""
    encoding: str = "utf-8"
    delimiter: str = ""
    header: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """``line`` for text with one record a line, ``record`` (from 1) otherwise."""
        return "line" if self.kind in ("csv", "jsonl") else "record"

    def __str__(self) -> str:
        name = {"csv": "delimited text", "jsonl": "JSON lines", "json": "JSON array", "parquet": "Parquet"}[self.kind]
        parts = [name, self.compression, self.encoding if self.kind != "parquet" else ""]
        parts.append({"\t": "separated by tabs", "": ""}.get(self.delimiter, f"separated by {self.delimiter!r}"))
        return ", ".join(part for part in parts if part)


def check_path(path: Path) -> None:
    """Raises DataError when the path is no readable, non-empty file."""
    if not path.exists():
        near = [p.name for p in path.parent.glob("*") if p.is_file()][:5] if path.parent.is_dir() else []
        there = f"; in that folder are {', '.join(sorted(near))}" if near else ""
        raise DataError(f"{path} does not exist{there}; check the spelling, or give the full path")
    if path.is_dir():
        raise DataError(f"{path} is a folder, expected a file; name the files in it, such as {path}/*.csv")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes); export it again")


def open_bytes(path: Path, compression: str) -> Any:
    """The decompressed bytes of a file, as a stream."""
    if compression == "gzip":
        return gzip.open(path, "rb")
    if compression == "zstd":
        return zstandard.open(path, "rb")
    return path.open("rb")


def chunks(path: Path, form: Format, progress: Callable[[int], None] | None = None) -> Iterator[bytes]:
    """Decompressed pieces of about 1 MiB; UTF-16 becomes UTF-8.  ``progress`` hears bytes of the file on disk.

    Raises DataError when the compressed file is cut off or damaged: half a catalogue must not replace a whole one.
    """
    import codecs

    decoder = codecs.getincrementaldecoder(form.encoding)("replace") if form.encoding.startswith("utf-16") else None
    with path.open("rb") as raw:
        stream: Any = raw
        if form.compression == "gzip":
            stream = gzip.GzipFile(fileobj=raw)
        elif form.compression == "zstd":
            stream = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        try:
            while piece := stream.read(CHUNK_BYTES):
                yield decoder.decode(piece).encode() if decoder else piece
                if progress:
                    progress(raw.tell())
        except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
            raise DataError(
                f"{path} is cut off or damaged inside its {form.compression} part ({error}); "
                "nothing was written; copy or download it again"
            ) from None
        if form.compression == "zstd" and not _zstd_complete(path):
            raise DataError(f"{path} is cut off inside its zstd part; nothing was written; copy or download it again")


def _zstd_complete(path: Path) -> bool:
    """Whether the last frame of a zstd file ends.  (The stream reader ends quietly on a cut file.)"""
    with path.open("rb") as raw:
        inner = zstandard.ZstdDecompressor().decompressobj()
        while piece := raw.read(CHUNK_BYTES):
            while piece:
                if inner.eof:
                    inner = zstandard.ZstdDecompressor().decompressobj()
                inner.decompress(piece)
                piece = inner.unused_data if inner.eof else b""
        return bool(inner.eof)


def _head(path: Path, compression: str) -> bytes:
    try:
        with open_bytes(path, compression) as stream:
            return bytes(stream.read(HEAD_BYTES))
    except EOFError:
        with open_bytes(path, compression) as stream:
            return _until_broken(stream)
    except (zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
        raise DataError(
            f"{path} looks like {compression} but cannot be unpacked ({error}); copy or download it again"
        ) from None


def _until_broken(stream: Any) -> bytes:
    pieces = []
    try:
        while piece := stream.read(4096):
            pieces.append(piece)
    except EOFError:
        pass
    return b"".join(pieces)


def guess_encoding(head: bytes) -> str:
    """``utf-8``, ``utf-16`` (by its mark), or ``cp1252`` when most lines beyond ASCII are not UTF-8."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    valid = invalid = 0
    for line in head.split(b"\n")[:-1] or [head]:
        if line.isascii():
            continue
        try:
            line.decode("utf-8")
            valid += 1
        except UnicodeDecodeError:
            invalid += 1
    return "cp1252" if invalid > valid else "utf-8"


def sniff(path: Path, *, encoding: str | None = None, delimiter: str | None = None) -> Format:
    """What the file is, by its content first and its name second.  Raises DataError when it is none of our kinds."""
    check_path(path)
    with path.open("rb") as raw:
        magic = raw.read(4)
    compression: Any = "gzip" if magic[:2] == b"\x1f\x8b" else "zstd" if magic == b"\x28\xb5\x2f\xfd" else ""
    if magic == b"PAR1":
        return Format(kind="parquet")
    if magic[:2] == b"PK":
        raise DataError(f"{path} is a ZIP or Excel file; unpack it, or save the sheet as CSV")
    head = _head(path, compression)
    encoding = encoding or guess_encoding(head)
    text = head.decode(encoding, "replace").lstrip("\ufeff").lstrip()
    if not text:
        why = f"holds no text, or is cut off inside its {compression} part" if compression else "holds no text"
        raise DataError(f"{path} {why}; export or copy it again")
    suffixes = [SUFFIXES[s] for s in path.suffixes if s in SUFFIXES]
    kind: Any = _kind(text, suffixes[-1] if suffixes else "csv")
    if kind != "csv":
        return Format(kind=kind, compression=compression, encoding=encoding)
    delimiter = delimiter or delimiter_of(text, "\t" if ".tsv" in path.suffixes else ",")
    return Format(
        kind="csv", compression=compression, encoding=encoding, delimiter=delimiter, header=header_of(text, delimiter)
    )


def _kind(text: str, by_name: str) -> str:
    if text[0] == "[":
        return "jsonl" if re.match(r"\[[^\n]*\]\s*\n\s*\[", text) and by_name == "jsonl" else "json"
    if text[0] == "{":
        first = text.split("\n", 1)[0].rstrip()
        pretty = not first.endswith("}") and by_name != "jsonl"
        return "json" if pretty or re.match(r'\{\s*"\w+"\s*:\s*\[\s*\{', text) else "jsonl"
    # A broken first line must not turn a JSON lines file into a one-column table.
    return by_name if by_name in ("jsonl", "json") else "csv"


def read_batches(
    path: Path,
    form: Format,
    reject: Reject,
    *,
    batch_rows: int = BATCH_ROWS,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Batch]:
    """The file as batches of at most ``batch_rows`` records; what cannot be read goes to ``reject``."""
    if form.kind == "parquet":
        yield from read_parquet(path, reject, batch_rows)
        return
    pieces = chunks(path, form, progress)
    encoding = "utf-8" if form.encoding.startswith("utf-16") else form.encoding
    if form.kind == "csv":
        yield from read_delimited(pieces, encoding, form.delimiter, reject, batch_rows)
    elif form.kind == "jsonl":
        yield from read_lines(pieces, encoding, reject, batch_rows)
    else:
        yield from read_array(pieces, encoding, reject, batch_rows)
