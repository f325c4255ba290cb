"""Unpacked copies of models that come in one file, kept in the user's cache: only the first start pays for parsing them.

    <cache>/models/<name>-<hash of its path>/words-<stamp>.json     the vocabulary
                                             <dtype>-<stamp>/       weights and configuration, as the library saves them

The stamp is the file's size and time and the library's version; where one of them changes, the copies are made anew and the old
ones removed.  Nothing is written beside the model, and where the cache takes nothing the file is read each time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from safetensors import SafetensorError

from aisle.core.atomic import disk_errors, sync, sync_tree, write_file
from aisle.core.caches import cache_folder
from aisle.core.leases import hold, remove_unused

FORMAT = 1
LARGEST = 4 * 2**30
"""Bytes of weights that are copied at most: of larger models unpacking takes long beside the words, and the copy much room."""

WRITING = ".writing-"


def words(file: Path, read: Callable[[], Any]) -> Any:
    """The vocabulary as a ``tokenizers.Tokenizer``; by ``read`` where there is no copy."""
    from tokenizers import Tokenizer

    path = _home(file) / f"words-{_stamp(file)}.json"
    try:
        return Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except OSError:
        found = read()
    except Exception:  # the library raises no narrower one of a damaged text
        found = read()
    _kept(lambda: write_file(path, lambda work: work.write_text(found.to_str(), encoding="utf-8")))
    return found


def model(file: Path, dtype: str, load: Callable[[Path], Any], read: Callable[[], Any]) -> Any:
    """The model that ``load`` makes of a copy's folder; by ``read`` where there is none.  ``dtype``: name of the weights' kind."""
    folder = _home(file) / f"{dtype}-{_stamp(file)}"
    try:
        lease = hold(folder)
    except OSError:
        found = read()
        if sum(p.numel() * p.element_size() for p in found.parameters()) <= LARGEST:
            _kept(lambda: _write(found, folder))
        return found
    try:
        return load(folder)
    except (OSError, ValueError, SafetensorError):
        # Damaged; whoever asks next makes another.
        lease.release()
        remove_unused([folder])
        return read()
    finally:
        lease.release()


def _home(file: Path) -> Path:
    digest = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:12]
    return cache_folder() / "models" / f"{file.stem[:60]}-{digest}"


def _stamp(file: Path) -> str:
    about = file.stat()
    told = f"{FORMAT} {about.st_size} {about.st_mtime_ns} {version('transformers')}"
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _kept(write: Callable[[], None]) -> None:
    """A copy that the disk does not take, or the library cannot write, is no reason to stop: the model is there, only the next
    start is as slow as this one."""
    with suppress(OSError, RuntimeError, ValueError):
        write()


def _write(model: Any, folder: Path) -> None:
    """The copy, whole or not at all; what is of another stamp, or was half written, goes."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(mkdtemp(prefix=WRITING, dir=folder.parent))
    lease = hold(work)
    try:
        with disk_errors(folder):
            model.save_pretrained(work)
        sync_tree(work)
        if not folder.exists():
            os.replace(work, folder)
            sync(folder.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        lease.release()
    stamp = folder.name.rpartition("-")[2]
    stale = [path for path in folder.parent.iterdir() if stamp not in path.name]
    remove_unused(path for path in stale if path.is_dir())
    for path in stale:
        if path.is_file():
            path.unlink(missing_ok=True)
