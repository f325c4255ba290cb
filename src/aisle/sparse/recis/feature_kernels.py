"""Compiled loops of the feature operations.  ``starts`` int64[S+1] says where each part of a fused call begins.

Legend: P values in all, S parts, B samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from aisle.sparse.recis.lanes import compiled
from aisle.sparse.recis.map_kernels import mixed

ID_MASK = np.uint64((1 << 52) - 1)
MURMUR = np.uint64(0xC6A4A7935BD1E995)


@compiled
def hash_texts(letter: Any, ends: Any, seed: Any) -> Any:
    """int64[P]: MurmurHash64A of each text, its low 52 bits; text p is ``letter[ends[p]:ends[p+1]]``."""
    out = np.empty(len(ends) - 1, np.int64)
    for p in range(len(out)):
        out[p] = np.int64(_murmur(letter, ends[p], ends[p + 1], seed) & ID_MASK)
    return out


@njit(inline="always")
def _murmur(letter: Any, low: Any, high: Any, seed: Any) -> Any:
    """uint64: MurmurHash64A (A. Appleby, public domain) of ``letter[low:high]``."""
    size = high - low
    h = seed ^ (np.uint64(size) * MURMUR)
    whole = low + (size & ~7)
    for at in range(low, whole, 8):
        k = np.uint64(0)
        for byte in range(8):
            k |= np.uint64(letter[at + byte]) << np.uint64(8 * byte)
        k *= MURMUR
        k ^= k >> np.uint64(47)
        k *= MURMUR
        h ^= k
        h *= MURMUR
    if whole < high:
        for at in range(whole, high):
            h ^= np.uint64(letter[at]) << np.uint64(8 * (at - whole))
        h *= MURMUR
    h ^= h >> np.uint64(47)
    h *= MURMUR
    h ^= h >> np.uint64(47)
    return h


@compiled
def hash_numbers(value: Any, seed: Any) -> Any:
    """int64[P]: 52 mixed bits of each number."""
    out = np.empty(len(value), np.int64)
    for p in range(len(value)):
        out[p] = np.int64(mixed(np.uint64(value[p]) + mixed(seed)) & ID_MASK)
    return out


@compiled
def mod(value: Any, starts: Any, divisor: Any) -> Any:
    """int64[P]: each number, unsigned, modulo its part's divisor uint64[S]."""
    out = np.empty(len(value), np.int64)
    for s in range(len(divisor)):
        for p in range(starts[s], starts[s + 1]):
            out[p] = np.int64(np.uint64(value[p]) % divisor[s])
    return out


@compiled
def bucketize(value: Any, starts: Any, edge: Any, edges: Any) -> Any:
    """int64[P]: how many of its part's boundaries ``edge[edges[s]:edges[s+1]]`` are at or below; NaN: their number + 1."""
    out = np.empty(len(value), np.int64)
    for s in range(len(starts) - 1):
        own = edge[edges[s] : edges[s + 1]]
        for p in range(starts[s], starts[s + 1]):
            out[p] = len(own) + 1 if np.isnan(value[p]) else np.searchsorted(own, value[p], side="right")
    return out


@compiled
def multi_hash(value: Any, starts: Any, rule: Any) -> Any:
    """int64[P]: ((m x) mod p, made non-negative) mod n with its part's (m, p, n) of ``rule`` int64[S, 3]."""
    out = np.empty(len(value), np.int64)
    for s in range(len(rule)):
        m, prime, num = rule[s]
        for p in range(starts[s], starts[s + 1]):
            rest = (m * value[p]) % prime
            out[p] = (rest + prime if rest < 0 else rest) % num
    return out


@compiled
def cross(left: Any, left_splits: Any, left_weight: Any, right: Any, right_splits: Any, right_weight: Any) -> Any:
    """(int64 ids, int64[B+1] splits, float32 factors) of every pair within a sample."""
    num = len(left_splits) - 1
    splits = np.zeros(num + 1, np.int64)
    for b in range(num):
        splits[b + 1] = splits[b] + (left_splits[b + 1] - left_splits[b]) * (right_splits[b + 1] - right_splits[b])
    value, weight = np.empty(splits[num], np.int64), np.empty(splits[num], np.float32)
    at = 0
    for b in range(num):
        for i in range(left_splits[b], left_splits[b + 1]):
            own = mixed(np.uint64(left[i]))
            for j in range(right_splits[b], right_splits[b + 1]):
                value[at] = np.int64(mixed(own + np.uint64(right[j])) & ID_MASK)
                weight[at] = left_weight[i] * right_weight[j]
                at += 1
    return value, splits, weight
