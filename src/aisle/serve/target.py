"""What ``aisle serve`` was pointed at: a shop, or a product file that becomes one in the user's cache."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from aisle.core.caches import cache_folder
from aisle.core.errors import DataError
from aisle.data.pointed import POINTER
from aisle.data.shop import Shop


def open_target(target: Path, into: Path | None, say: Callable[[str], None]) -> Shop:
    """The shop at a folder, or of a product file: made once for each content of the file, and reused after that.

    Raises DataError when there is neither.
    """
    if target.is_dir():
        return Shop.open(target)
    if not target.is_file():
        raise DataError(f"{target} does not exist; give a shop's folder or a product file (CSV, JSONL, Parquet)")
    say(f"reading {target.name}")
    mark = file_mark(target)
    folder = into or cache_folder() / "shops" / f"{_safe(target.name)}-{mark[:12]}"
    stamp = folder / "made_from"
    if stamp.is_file() and stamp.read_text() == mark and (folder / POINTER).is_file():
        return Shop.open(folder)
    if into is None and folder.exists():
        # Only this command writes here, and without a stamp it was stopped half way.
        shutil.rmtree(folder)
    from aisle.data.reading.ingest import ingest

    shop = Shop.at(folder)
    ingest([target], shop)
    stamp.write_text(mark)
    return shop


def file_mark(path: Path) -> str:
    """SHA-256 of the file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:60]
