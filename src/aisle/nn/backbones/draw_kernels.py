"""The next token of many answers, as one compiled pass over their scores.

Imports numba; nothing imports this file before answers are drawn on a processor.

Legend: S answers, V vocabulary.
"""

from __future__ import annotations

import numpy as np

from aisle.core.lists import Array
from aisle.nn.lanes import bits_of_float, compiled, exponential, float_of_bits

BLOCK = 64
"""Tokens whose chances are summed before they are looked at one by one."""

DIGIT = 10
SHIFTS = (20, 10, 0)
"""Digits of a float32 that is at least 0 and at most 1: its first two bits are 0."""

LEAST = 80.0
"""A token whose score lies further below the best than this has no chance."""


@compiled
def drawn(logits: Array, allowed: Array, scale: float, top_k: int, uniform: Array, token: Array, logp: Array) -> None:
    """A token [S] of each row of ``logits`` [S, V] and its log-probability [S] among those that are allowed.

    allowed  bool[S, V]; of no row where all are
    scale    1 / temperature
    top_k    of how many likeliest tokens one is drawn, 0 for all, -1 to take the likeliest; ``logp`` is of all allowed ones
    uniform  [S], from 0 to 1
    """
    size = logits.shape[1]
    chance, block = np.empty(size, np.float32), np.empty((size + BLOCK - 1) // BLOCK, np.float32)
    bucket = np.empty(1 << DIGIT, np.int64)
    for s in range(len(logits)):
        row, may = logits[s], allowed[s] if len(allowed) else allowed[:0].ravel()
        best = likeliest(row, may)
        total = chances(row, may, row[best], np.float32(scale), chance, block)
        place = best
        if top_k >= 0:
            within = kept(chance, block, top_k, bucket) if 0 < top_k < size else total
            place = found(chance, block, np.float32(uniform[s]) * within, best)
        token[s] = place
        logp[s] = (row[place] - row[best]) * np.float32(scale) - np.log(total)


@compiled
def likeliest(row: Array, may: Array) -> int:
    """Place of the highest score among those that may be drawn, of the first one where several are equal."""
    best = np.float32(-3e38)
    if len(may):
        for v in range(len(row)):
            best = max(best, row[v] if may[v] else np.float32(-3e38))
    else:
        for v in range(len(row)):
            best = max(best, row[v])
    for v in range(len(row)):
        if row[v] == best and (len(may) == 0 or may[v]):
            return v
    return 0


@compiled
def chances(row: Array, may: Array, best: float, scale: float, chance: Array, block: Array) -> float:
    """exp of the distance from the best score, a row's and each block's sum of them."""
    total = np.float32(0)
    for b in range(len(block)):
        part, to = row[b * BLOCK : (b + 1) * BLOCK], chance[b * BLOCK : (b + 1) * BLOCK]
        sum_ = np.float32(0)
        for v in range(len(part)):
            below = (part[v] - best) * scale
            to[v] = exponential(max(below, np.float32(-LEAST))) if below > np.float32(-LEAST) else np.float32(0)
        if len(may):
            allowed = may[b * BLOCK : (b + 1) * BLOCK]
            for v in range(len(part)):
                to[v] = to[v] if allowed[v] else np.float32(0)
        for v in range(len(part)):
            sum_ += to[v]
        block[b] = sum_
        total += sum_
    return total


@compiled
def kept(chance: Array, block: Array, top_k: int, bucket: Array) -> float:
    """The sum of the ``top_k`` highest chances and of those equal to the last of them; all others are set to 0."""
    least = kth_highest(chance, top_k, bucket)
    total = np.float32(0)
    for b in range(len(block)):
        part = chance[b * BLOCK : (b + 1) * BLOCK]
        sum_ = np.float32(0)
        for v in range(len(part)):
            part[v] = part[v] if part[v] >= least else np.float32(0)
            sum_ += part[v]
        block[b] = sum_
        total += sum_
    return total


@compiled
def kth_highest(chance: Array, k: int, bucket: Array) -> float:
    """The number, none below 0, that k - 1 others reach.  Their bits have their order: counted ten at a time, the highest first,
    they show in which bucket it falls; what follows looks at that bucket alone."""
    known, left = np.uint32(0), k
    for level in range(len(SHIFTS)):
        shift, above = np.uint32(SHIFTS[level]), np.uint32(SHIFTS[level] + DIGIT)
        for n in range(len(bucket)):
            bucket[n] = 0
        for v in range(len(chance)):
            bits = bits_of_float(chance[v])
            if bits >> above == known:
                bucket[(bits >> shift) & np.uint32(len(bucket) - 1)] += 1
        n = len(bucket) - 1
        while bucket[n] < left:
            left -= bucket[n]
            n -= 1
        known = (known << np.uint32(DIGIT)) | np.uint32(n)
    return float_of_bits(known)


@compiled
def found(chance: Array, block: Array, mark: float, best: int) -> int:
    """The first place where the running sum passes ``mark``; the last one with a chance where rounding lets none pass."""
    sum_, last = np.float32(0), best
    for b in range(len(block)):
        if sum_ + block[b] <= mark and b + 1 < len(block):
            sum_ += block[b]
            continue
        for v in range(b * BLOCK, min((b + 1) * BLOCK, len(chance))):
            if chance[v] > np.float32(0):
                last = v
                sum_ += chance[v]
                if sum_ > mark:
                    return v
    return last
