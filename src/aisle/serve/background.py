"""Encode a shop's items in the background: in small chunks, stoppable between them, resumed from a cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import numpy as np

from aisle.core.env import Env
from aisle.core.lists import Array
from aisle.data.shop import Shop
from aisle.nn.item_vectors import EncodingCache, cache_name, fill, missing_rows
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
