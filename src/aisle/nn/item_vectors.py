"""Item vectors of a named encoder: what text stands for an item, and filling in the rows that have none.

An encoding is cached by the hash of its text, so that nothing is encoded twice and an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from aisle.core.atomic import write_file
from aisle.core.env import Encoder, Env, Progress
from aisle.core.errors import UnknownName
from aisle.core.lists import Array
from aisle.core.shop import Items

CHUNK = 1024
DESCRIPTION_LETTERS = 100
"""Enough to say what a terse title means; more makes encoding slower and the vector vaguer."""


def item_texts(items: Items, rows: Array) -> list[str]:
    """What an encoder reads of each item: title, brand where the title does not name it, and the description's beginning."""
    titles, brands, descriptions = (items.text(field, rows) for field in ("title", "brand", "description"))
    named = [t if b.lower() in t.lower() else f"{t} {b}".strip() for t, b in zip(titles, brands, strict=True)]
    return [f"{t}. {d[:DESCRIPTION_LETTERS]}" if d else t for t, d in zip(named, descriptions, strict=True)]


def missing_rows(env: Env, encoder: str) -> Array:
    """int32[N]: live rows that have no vector of this encoder yet."""
    rows = np.flatnonzero(env.engine.items.live).astype(np.int32)
    try:
        index = env.engine.vectors(encoder)
    except UnknownName:
        return rows
    return rows[~index.has(rows)]


def fill(
    env: Env,
    encoder: str,
    *,
    cache: EncodingCache | None = None,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Encode every live row that lacks a vector.  True when all are there; False when ``should_stop`` ended it early."""
    coder = env.encoder(encoder)
    rows = missing_rows(env, encoder)
    report = progress or env.progress
    made = np.zeros((len(rows), coder.dim), np.float32)
    for start in range(0, len(rows), CHUNK):
        report("encode items", start, len(rows))
        if should_stop():
            return False
        texts = item_texts(env.engine.items, rows[start : start + CHUNK])
        made[start : start + CHUNK] = cache.encode(coder.encode, texts) if cache is not None else coder.encode(texts)
    if len(rows):
        env.engine.put_vectors(encoder, rows, made)
        report("encode items", len(rows), len(rows))
    return True


class EncodingCache:
    """A folder of encodings by text hash, for one encoder: append-only segments, each written whole or not at all."""

    def __init__(self, folder: Path, encoder: str, dim: int) -> None:
        self.folder, self.dim = folder / file_name(encoder), dim
        self._where: dict[bytes, tuple[int, int]] = {}
        self._segments: list[Array] = []
        self.folder.mkdir(parents=True, exist_ok=True)
        self._next = 0
        for path in sorted(self.folder.glob("*.safetensors")):
            self._read(path)
            self._next = int(path.stem) + 1

    def __len__(self) -> int:
        return len(self._where)

    def encode(self, encode: Callable[[Sequence[str]], Array], texts: Sequence[str]) -> Array:
        """float32[N, D]: known texts from the cache, the others by ``encode`` and then kept."""
        keys = [hashlib.blake2b(t.encode(), digest_size=16).digest() for t in texts]
        new = {k: t for k, t in zip(keys, texts, strict=True) if k not in self._where}
        if new:
            self._append(list(new), encode(list(new.values())))
        return (
            np.stack([self._segments[s][r] for s, r in (self._where[k] for k in keys)])
            if keys
            else np.zeros((0, self.dim), np.float32)
        )

    def _append(self, keys: Sequence[bytes], emb_ND: Array) -> None:
        from safetensors.numpy import save_file

        key_N16 = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16)
        tensors = {"key_N16": key_N16.copy(), "emb_ND": emb_ND.astype(np.float32)}
        write_file(self._new_place(), lambda part: save_file(tensors, part))
        self._add(keys, tensors["emb_ND"])

    def _new_place(self) -> Path:
        """An empty file of this process's own; another one may be encoding with the same encoder."""
        while True:
            path = self.folder / f"{self._next:06d}.safetensors"
            self._next += 1
            with suppress(FileExistsError):
                path.touch(exist_ok=False)
                return path

    def _read(self, path: Path) -> None:
        """Take a segment in; a damaged one is left alone, its texts are encoded again."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            tensors = load_file(path)
        except SafetensorError:
            return
        self._add([bytes(k) for k in tensors["key_N16"]], tensors["emb_ND"])

    def _add(self, keys: Sequence[bytes], emb_ND: Array) -> None:
        self._where.update({k: (len(self._segments), r) for r, k in enumerate(keys)})
        self._segments.append(emb_ND)


def file_name(encoder: str) -> str:
    """The encoder's name as the name of a file: a path is shortened and told apart by its hash."""
    plain = re.sub(r"[^A-Za-z0-9_.@-]+", "-", encoder).strip("-")
    return (
        plain if plain == encoder else f"{plain[-40:]}-{hashlib.blake2b(encoder.encode(), digest_size=4).hexdigest()}"
    )


def cache_name(coder: Encoder) -> str:
    """The encoder and its revision: an encoder that changed never meets what the old one encoded."""
    return f"{coder.name}@{coder.revision}"
