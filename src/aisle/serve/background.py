"""Encode a shop's items in the background: in small chunks, stoppable between them, resumed from a cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import numpy as np

from aisle.core.env import Env
from aisle.core.errors import DataError
from aisle.core.lists import Array
from aisle.data.items import ItemTable
from aisle.data.shop import Shop
from aisle.engine.embedded.appliers import touched
from aisle.engine.embedded.engine import EmbeddedEngine
from aisle.engine.embedded.log import Log
from aisle.nn.item_vectors import EncodingCache, cache_name, fill, item_texts, missing_rows
from aisle.serve.models import EncodingOut

CHUNK = 256
"""Texts that are encoded and kept on disk at once: what a kill may cost, and how often requests get their turn."""


@dataclass
class Encoding:
    """How far one encoder is; written by the background thread, read by requests."""

    state: str = "waiting"
    encoder: str = ""
    done: int = 0
    total: int = 0
    fresh: int = 0
    since_s: float = field(default_factory=monotonic)

    def begin(self, encoder: str, total: int) -> None:
        self.state, self.encoder, self.done, self.total, self.fresh = "encoding", encoder, 0, total, 0
        self.since_s = monotonic()

    def out(self) -> EncodingOut:
        left = None
        if self.state == "encoding" and self.fresh:
            left = round((self.total - self.done) * (monotonic() - self.since_s) / self.fresh, 1)
        cached = max(self.done - self.fresh, 0)
        return EncodingOut(
            state=self.state, encoder=self.encoder, done=self.done, total=self.total, cached=cached, seconds_left=left
        )


class Stopped(Exception):
    """The shop is being closed."""


class PatientCache(EncodingCache):
    """A cache that is filled in small chunks: after each, progress is told, and ``pause`` may wait or raise Stopped."""

    def __init__(self, folder: Path, encoder: str, dim: int, told: Encoding, pause: Callable[[], None]) -> None:
        super().__init__(folder, encoder, dim)
        self._told, self._pause = told, pause

    def encode(self, encode: Callable[[Sequence[str]], Array], texts: Sequence[str]) -> Array:
        """float32[N, D]; raises Stopped between chunks, which are then kept."""

        def counted(new: Sequence[str]) -> Array:
            emb_ND = encode(new)
            self._told.fresh += len(new)
            return emb_ND

        parts = []
        for start in range(0, len(texts), CHUNK):
            self._pause()
            chunk = texts[start : start + CHUNK]
            parts.append(super().encode(counted, chunk))
            self._told.done += len(chunk)
        return np.concatenate(parts) if parts else np.zeros((0, self.dim), np.float32)


def encode_shop(shop: Shop, env: Env, encoder: str, told: Encoding, pause: Callable[[], None]) -> bool:
    """Give every live item a vector.  False when ``pause`` raised Stopped; what was encoded until then is kept."""
    rows = missing_rows(env, encoder)
    told.begin(encoder, len(rows))
    if not len(rows):
        return True
    coder = env.encoder(encoder)
    cache = PatientCache(shop.folder / "cache" / "encodings", cache_name(coder), coder.dim, told, pause)
    try:
        fill(env, encoder, cache=cache)
    except Stopped:
        return False
    env.engine.save_vectors(encoder)
    return True


class Reencoding:
    """Keeps an encoder's vectors right while items change; until then a row shows its old vector, or is found by words."""

    def __init__(self, env: Env, log: Log, encoder: str) -> None:
        self._env, self._log, self._encoder = env, log, encoder
        self._items: ItemTable | None = None
        self._sequence = _engine(env).encoded.get(encoder, 0)

    @property
    def sequence(self) -> int:
        """The vectors stand for the texts as of this log record."""
        return self._sequence

    def step(self, pause: Callable[[], None]) -> int:
        """Encode what changed since the last call.  Returns how many; raises Stopped, and begins anew next time."""
        engine = _engine(self._env)
        items, sequence = engine.at_once()
        assert isinstance(items, ItemTable)
        if sequence == self._sequence:
            return 0
        rows = self._changed(items, sequence)
        texts = item_texts(items, rows)
        for start in range(0, len(rows), CHUNK):
            pause()
            chunk = slice(start, start + CHUNK)
            engine.put_vectors(self._encoder, rows[chunk], self._env.encoder(self._encoder).encode(texts[chunk]))
        engine.note_encoded(self._encoder, sequence)
        self._items, self._sequence = items, sequence
        return len(rows)

    def _changed(self, items: ItemTable, sequence: int) -> Array:
        """int32: live rows whose text is another one than the vector stands for, as far as that is known."""
        try:
            rows = touched(items, self._log, self._sequence, sequence)
        except DataError:
            # The log has forgotten which they were.
            rows = np.arange(items.num_rows, dtype=np.int32)
        rows = rows[items.live[rows]].astype(np.int32)
        if self._items is None:
            return rows
        old = np.flatnonzero(rows < self._items.num_rows)
        texts = item_texts(items, rows[old]), item_texts(self._items, rows[old])
        same = [new == before for new, before in zip(*texts, strict=True)]
        known = _engine(self._env).vectors(self._encoder).has(rows[old])
        changed: Array = np.delete(rows, old[np.array(same, bool) & known])
        return changed


def _engine(env: Env) -> EmbeddedEngine:
    assert isinstance(env.engine, EmbeddedEngine)
    return env.engine
