"""Files that are either whole or not there: written beside their place, synchronised to disk, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def sync(path: Path) -> None:
    """Wait until a file or a folder's entries are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """``sync`` for everything under a folder, the folder last."""
    for root, _, files in os.walk(folder, topdown=False):
        for name in files:
            sync(Path(root, name))
        sync(Path(root))


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """What safetensors says of the disk in words of its own, as the OSError about ``path`` that it is."""
    try:
        yield
    except Exception as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if isinstance(error, OSError) or number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None


def write_file(path: Path, write: Callable[[Path], Any]) -> None:
    """``write`` fills a file beside ``path``, which then takes its place.  Raises OSError where the disk does not take it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_name(f".{path.name}.{os.getpid()}.writing")
    try:
        with disk_errors(path):
            write(work)
        sync(work)
        os.replace(work, path)
    finally:
        work.unlink(missing_ok=True)
    sync(path.parent)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    write_file(path, lambda work: work.write_text(text, encoding="utf-8"))


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_hashes(folder: Path) -> dict[str, str]:
    """``file_hash`` of every file under a folder, by its path within it."""
    return {str(p.relative_to(folder)): file_hash(p) for p in sorted(folder.rglob("*")) if p.is_file()}
