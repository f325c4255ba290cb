"""A whole shop copied while it runs, and put back: every file with its SHA-256, the log as it was at one moment.

A backup is a folder, or one ``.tar`` file, with a ``backup.json`` that is written last: without it nothing is a backup.
The log is copied last, so it holds everything that the catalogue and the indexes have applied.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp
from typing import Any, Protocol

from aisle.core.atomic import sync, sync_tree
from aisle.core.env import Progress, silent
from aisle.core.errors import DataError
from aisle.core.leases import exclusive, hold
from aisle.data.pointed import POINTER
from aisle.data.shop import Shop
from aisle.engine.embedded.care import LOCK
from aisle.engine.embedded.log import Log

FORMAT = 1
MANIFEST = "backup.json"
CHUNK_BYTES = 1 << 20
TRIES = 3
LOG = "log.sqlite"


class _Sink(Protocol):
    def put(self, name: str, source: Path) -> str:
        """Copy a file; its SHA-256."""
        ...

    def put_bytes(self, name: str, content: bytes) -> None: ...


def back_up(shop: Shop, target: Path, *, cache: bool = True, progress: Progress = silent) -> dict[str, Any]:
    """Copy a shop to a folder or a ``.tar`` file, which must not exist yet, while it is served and written to.

    cache  with the kept encodings of texts, which spare encoding them again

    Returns the manifest.  Raises DataError when the target exists, or the disk refuses; then no backup is there.
    """
    if target.exists():
        raise DataError(f"{target} exists already; choose a new name for each backup")
    if not target.absolute().parent.is_dir():
        raise DataError(f"{target.absolute().parent} is no folder; make it first")
    # Care removes and shortens; it waits for the end of a backup.
    with exclusive(shop.folder / LOCK):
        for left in range(TRIES, 0, -1):
            try:
                with _sink(target) as sink:
                    return _copied(shop, sink, cache, progress)
            except FileNotFoundError:
                # A fit or an ingest in another process has replaced a version meanwhile.
                if left == 1:
                    raise
            except OSError as error:
                raise DataError(f"no backup could be made at {target} ({error}); look at the disk's space") from error
    raise AssertionError


def _copied(shop: Shop, sink: _Sink, cache: bool, progress: Progress) -> dict[str, Any]:
    pointer = shop.pointer()
    leases = [hold(shop.generation_folder(g)) for g in shop.generations()]
    names = [str(p.relative_to(shop.folder)) for p in _files(shop.folder, cache)]
    files: dict[str, dict[str, Any]] = {}
    total, done = sum((shop.folder / n).stat().st_size for n in names), 0
    for name in names:
        path = shop.folder / name
        files[name] = {"bytes": path.stat().st_size, "sha256": sink.put(name, path)}
        done += files[name]["bytes"]
        progress("copy files", done, total)
    sequence = 0
    if shop.log_path.exists():
        scratch = Path(mkdtemp(prefix="aisle-backup-"))
        try:
            with Log.open(shop.log_path, read_only=True, check=False) as log:
                sequence = log.backup(scratch / LOG)
            files[LOG] = {"bytes": (scratch / LOG).stat().st_size, "sha256": sink.put(LOG, scratch / LOG)}
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    text = json.dumps(pointer, indent=2, ensure_ascii=False).encode()
    sink.put_bytes(POINTER, text)
    files[POINTER] = {"bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}
    manifest = {
        "format": FORMAT,
        "created_s": time.time(),
        "generation": pointer["generation"],
        "sequence": sequence,
        "bytes": sum(f["bytes"] for f in files.values()),
        "files": files,
    }
    sink.put_bytes(MANIFEST, json.dumps(manifest, indent=1).encode())
    for lease in leases:
        lease.release()
    return manifest


def _files(folder: Path, cache: bool) -> Iterator[Path]:
    """Every file but the log, the pointer, locks and what is being written."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") for part in parts) or path.suffix in (".lock", ".part")
        aside = parts[0].startswith(LOG) or parts == (POINTER,) or (parts[0] == "cache" and not cache)
        if path.is_file() and not hidden and not aside:
            yield path


def restore(source: Path, folder: Path, *, progress: Progress = silent) -> dict[str, Any]:
    """Put a backup back as a shop's folder, which must not exist yet or be empty.  Returns its manifest.

    Raises DataError when the backup is not whole or not as it was written, or the folder is taken; then nothing is there.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(
            f"{folder} exists and is not empty; choose a new folder, it may hold records that the backup lacks"
        )
    folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    work = Path(mkdtemp(prefix=f".{folder.name}.restoring-", dir=folder.absolute().parent))
    try:
        with _opened(source) as read:
            manifest = _manifest(source, read)
            done = 0
            for name, about in manifest["files"].items():
                _take_out(source, read, name, about, work)
                done += about["bytes"]
                progress("restore files", done, manifest["bytes"])
        if (work / LOG).exists():
            with Log.open(work / LOG) as log:
                log.verify()
        shop = Shop.open(work)
        if shop.generation:
            shop.items(check=True)
        work.chmod(0o755)
        sync_tree(work)
        if folder.exists():
            folder.rmdir()
        os.rename(work, folder)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    sync(folder.absolute().parent)
    return manifest


class _Reader(Protocol):
    def __call__(self, name: str) -> Any:
        """A binary file.  Raises FileNotFoundError."""
        ...


def _manifest(source: Path, read: _Reader) -> dict[str, Any]:
    try:
        with read(MANIFEST) as file:
            manifest: dict[str, Any] = json.loads(file.read())
        if manifest["format"] != FORMAT:
            raise DataError(
                f"{source} is a backup of format {manifest['format']}, this aisle reads {FORMAT}; "
                "use the version of aisle that wrote it"
            )
        for name in manifest["files"]:
            parts = PurePosixPath(name).parts
            if not parts or ".." in parts or PurePosixPath(name).is_absolute():
                raise DataError(
                    f"{source} names the file {name!r}, which is outside of a shop; it is no backup of ours"
                )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{source} is no whole backup (its {MANIFEST}: {error}); name a folder or .tar that 'aisle backup' has finished"
        ) from None
    return manifest


def _take_out(source: Path, read: _Reader, name: str, about: dict[str, Any], work: Path) -> None:
    """One file of a backup into the folder.  Raises DataError when it is not as it was written."""
    path, digest, size = work / name, hashlib.sha256(), 0
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with read(name) as file, path.open("wb") as out:
            while block := file.read(CHUNK_BYTES):
                digest.update(block)
                out.write(block)
                size += len(block)
    except FileNotFoundError:
        raise DataError(f"{source} lacks the file {name}; use another backup") from None
    if (size, digest.hexdigest()) != (about["bytes"], about["sha256"]):
        raise DataError(f"{source} is damaged ({name} does not match its hash); use another backup")


@contextmanager
def _opened(source: Path) -> Iterator[_Reader]:
    if source.is_dir():
        yield lambda name: (source / name).open("rb")
        return
    try:
        with tarfile.open(source) as tar:

            def read(name: str) -> Any:
                try:
                    file = tar.extractfile(name)
                except KeyError:
                    file = None
                if file is None:
                    raise FileNotFoundError(name)
                return file

            yield read
    except tarfile.TarError as error:
        raise DataError(f"{source} is no backup ({error}); name a folder or .tar that 'aisle backup' wrote") from None


@contextmanager
def _sink(target: Path) -> Iterator[_Sink]:
    """Where copies go; the target appears when the block ends well."""
    work = target.absolute().with_name(f".{target.name}.{os.getpid()}.writing")
    try:
        if target.suffix == ".tar":
            with tarfile.open(work, "w") as tar:
                yield _Tar(tar)
            sync(work)
        else:
            work.mkdir()
            yield _Folder(work)
            sync_tree(work)
        os.rename(work, target)
        sync(target.absolute().parent)
    finally:
        if work.is_dir():
            shutil.rmtree(work, ignore_errors=True)
        else:
            work.unlink(missing_ok=True)


class _Folder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, name: str, source: Path) -> str:
        digest, path = hashlib.sha256(), self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as file, path.open("wb") as out:
            while block := file.read(CHUNK_BYTES):
                digest.update(block)
                out.write(block)
        return digest.hexdigest()

    def put_bytes(self, name: str, content: bytes) -> None:
        (self._folder / name).write_bytes(content)


class _Tar:
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar

    def put(self, name: str, source: Path) -> str:
        with source.open("rb") as file:
            hashed = _Hashed(file)
            about = tarfile.TarInfo(name)
            about.size, about.mtime = os.fstat(file.fileno()).st_size, int(time.time())
            self._tar.addfile(about, hashed)
        return hashed.digest.hexdigest()

    def put_bytes(self, name: str, content: bytes) -> None:
        about = tarfile.TarInfo(name)
        about.size, about.mtime = len(content), int(time.time())
        self._tar.addfile(about, BytesIO(content))


class _Hashed:
    """A file that hashes what is read from it."""

    def __init__(self, file: Any) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block: bytes = self._file.read(size)
        self.digest.update(block)
        return block
