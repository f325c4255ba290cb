"""Random numbers that are a function of what they are for: order, batching and what else was drawn do not matter.

Legend: N keys.
"""

from __future__ import annotations

import hashlib

import numpy as np

from aisle.core.lists import Array

GOLDEN = 0x9E3779B97F4A7C15
"""2**64 over the golden ratio, odd: multiples of it lie far apart."""


def key_of(name: str) -> int:
    """A stable 64-bit number for a name."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def mixed(*parts: Array | int) -> Array:
    """uint64[N]: the parts (integers, arrays that broadcast) as one well-mixed key; their order matters."""
    out: Array = np.zeros((), np.uint64)
    for part in parts:
        out = _finished(out ^ _unsigned(part))
    return out


def uniform(key: Array, draw: int = 0) -> Array:
    """float64[N] in [0, 1): the ``draw``-th number of each key of ``mixed``."""
    fresh = key if draw == 0 else _finished(key ^ np.uint64((draw * 0xD1B54A32D192ED03) % 2**64))
    return (fresh >> np.uint64(11)).astype(np.float64) / 2.0**53


def normal(key: Array, draw: int = 0) -> Array:
    """float64[N], standard normal (Box, Muller 1958); uses the draws ``2 draw + 1`` and ``2 draw + 2`` of each key."""
    radius = np.sqrt(-2 * np.log1p(-uniform(key, 2 * draw + 1)))
    out: Array = radius * np.cos(2 * np.pi * uniform(key, 2 * draw + 2))
    return out


def _unsigned(part: Array | int) -> Array:
    if isinstance(part, int):
        return np.array(part % 2**64, np.uint64)
    whole = np.asarray(part)
    return whole if whole.dtype == np.uint64 else whole.astype(np.int64).view(np.uint64)


def _finished(key: Array) -> Array:
    # Arrays wrap around silently where numpy's scalars would warn.
    return scrambled(np.atleast_1d(key) * np.uint64(GOLDEN) + np.uint64(GOLDEN))


def scrambled(key: Array) -> Array:
    """uint64[N]: the finaliser of SplitMix64, which spreads every bit over all (Steele, Lea, Flood 2014)."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        key = (key ^ (key >> np.uint64(shift))) * np.uint64(factor)
    out: Array = key ^ (key >> np.uint64(31))
    return out
