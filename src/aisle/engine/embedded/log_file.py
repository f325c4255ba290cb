"""The log's file: its tables, its connections, and the checks that tell a damaged file from a whole one."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from aisle.core.atomic import write_file
from aisle.core.errors import DataError

APPLICATION = 0x6169736C
"""``aisl``: marks the file as a log of aisle."""
FORMAT = 1
MAGIC = b"SQLite format 3\0"
WAL_BYTES = 64 << 20

TABLES = f"""
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {FORMAT};
BEGIN;
CREATE TABLE records (
    sequence INTEGER PRIMARY KEY, kind INTEGER NOT NULL, time_s REAL NOT NULL,
    checksum INTEGER NOT NULL, payload BLOB NOT NULL
);
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('floor', 0);
COMMIT;
"""


def create(path: Path) -> None:
    """A new, empty log: whole or not there."""

    def write(work: Path) -> None:
        with closing(sqlite3.connect(work, isolation_level=None)) as connection:
            connection.executescript(TABLES)

    try:
        write_file(path, write)
    except (sqlite3.Error, OSError) as error:
        raise DataError(f"no log could be made at {path} ({error}); look at the disk and the folder's rights") from None


def connect(path: Path, *, writing: bool = False) -> sqlite3.Connection:
    """A connection in WAL mode; the writing one forces every commit to disk, the others cannot write."""
    # A reader opens the file for reading only, so that it never folds a write-ahead log in that a writer has to look at.
    address = f"{path.absolute().as_uri()}?mode={'rw' if writing else 'ro'}"
    connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False, timeout=10)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        if writing:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal":
                raise DataError(
                    f"{path} cannot use write-ahead logging here (it stays in mode {mode}); use a local disk"
                )
        else:
            connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def speaking_of(path: Path) -> Iterator[None]:
    """SQLite's complaints as a DataError that names the file and the remedy."""
    try:
        yield
    except sqlite3.Error as error:
        raise damaged(path, str(error)) from error


def damaged(path: Path, what: str) -> DataError:
    return DataError(f"{path} is damaged ({what}); keep the file, and restore the log from a backup")


def check_header(path: Path) -> None:
    """Raises DataError for a file that is no SQLite database at all."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise damaged(path, "it does not begin as a SQLite database")


def check_format(path: Path, connection: sqlite3.Connection) -> None:
    """Raises DataError for a database that is not a log of this format."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if (application, version) != (APPLICATION, FORMAT):
        raise DataError(
            f"{path} is marked {application:#x}, format {version}; expected a log of aisle ({APPLICATION:#x}) of format "
            f"{FORMAT}: name another file, or use the version of aisle that wrote it"
        )


def check_pages(path: Path, connection: sqlite3.Connection) -> None:
    """Raises DataError when pages are missing or malformed, or when the sequence has a gap."""
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise damaged(path, found.replace("\n", " "))
    floor, last = bounds(connection)
    count, first = connection.execute("SELECT count(*), min(sequence) FROM records").fetchone()
    if count != last - floor or (count and first != floor + 1):
        raise damaged(path, f"{count} records between sequence {floor + 1} and {last}")


def bounds(connection: sqlite3.Connection) -> tuple[int, int]:
    """(floor, last): the last sequence number that was compacted away, and the last there is."""
    floor = connection.execute("SELECT value FROM meta WHERE name = 'floor'").fetchone()[0]
    last = connection.execute("SELECT max(sequence) FROM records").fetchone()[0]
    return floor, floor if last is None else last


# The write-ahead log.  SQLite reads it up to the first frame whose checksum is wrong and forgets the rest without a
# word: right for the torn end of a commit that nobody was told of, wrong for a flipped bit in the middle.


def commits_in_wal(path: Path) -> list[int]:
    """Numbers, from 1, of the frames that end a commit, valid or not.  Raises DataError when the header is damaged."""
    wal = path.with_name(path.name + "-wal")
    if not wal.exists() or wal.stat().st_size <= 32:
        return []
    found = []
    with wal.open("rb") as file:
        header = file.read(32)
        if not _header_is_whole(header):
            raise damaged(wal, "its header")
        page_size, salts = struct.unpack(">I", header[8:12])[0], header[16:24]
        number = 0
        while len(frame := file.read(24)) == 24 and frame[8:16] == salts:
            number += 1
            if frame[4:8] != b"\0\0\0\0":
                found.append(number)
            file.seek(page_size, os.SEEK_CUR)
    return found


def check_wal(path: Path, connection: sqlite3.Connection, commits: list[int]) -> None:
    """Raises DataError when SQLite ignored a commit that another followed, which only damage explains."""
    used = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]
    lost = [n for n in commits if n > used]
    if len(lost) > 1:
        raise damaged(path.with_name(path.name + "-wal"), f"{len(lost)} commits follow a frame with a wrong checksum")


def _header_is_whole(header: bytes) -> bool:
    magic = struct.unpack(">I", header[:4])[0]
    if magic not in (0x377F0682, 0x377F0683):
        return False
    words = struct.unpack((">" if magic & 1 else "<") + "6I", header[:24])
    one = two = 0
    for left, right in zip(words[::2], words[1::2], strict=True):
        one = (one + left + two) & 0xFFFFFFFF
        two = (two + right + one) & 0xFFFFFFFF
    return (one, two) == struct.unpack(">2I", header[24:32])


def lock(path: Path) -> int:
    """A handle that keeps other writers out until it is closed or the process dies.  Raises DataError when one is in."""
    handle = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise DataError(f"another writer has {path} open; stop it, or open the log with read_only=True") from None
    return handle


def refuse_remains(path: Path) -> None:
    """SQLite would play a left-over write-ahead log into a file that it does not belong to."""
    wal = path.with_name(path.name + "-wal")
    if wal.exists() and wal.stat().st_size:
        raise DataError(f"{wal} lies there without its {path.name}; move it away, or put the log back beside it")
