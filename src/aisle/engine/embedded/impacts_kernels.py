"""Compiled loops of the impact postings.  Imports numba, so nothing imports this file before a sparse index is wanted.

A segment is four arrays.  Rows are cut into blocks of ``BLOCK``; the postings of term t in block b stand, by row, at
``starts[b * T + t] : starts[b * T + t + 1]``, as the row's place in its block and its weight as float16 bits.

Legend: T terms of a segment, P postings, B blocks, I rows, S terms of a query, K cut-off.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from aisle.core.lists import Array
from aisle.engine.embedded.compiled import compiled, float_of_bits, inlined

BLOCK_BITS = 14
BLOCK = 1 << BLOCK_BITS
"""Rows of a block: their sums stay in the processor's cache."""
CHUNK = 64
"""Sums looked at together for one that is large enough."""
SLACK = 1e-4
"""Share by which a bound is raised before a row is left out for it, more than any rounding of a sum."""


@inlined
def _bits_of(context: Any, value: Any) -> Any:
    """float32 read as int32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(32))

    return types.int32(types.float32), generate


@compiled
def weight_of(code: Any) -> Any:
    """A positive float16, given as bits, as float32: its bits moved into place, its exponent mended by a product."""
    return float_of_bits(np.uint32(np.uint32(code) << np.uint32(13))) * np.float32(2.0**112)


@compiled
def place_of(values: Array, low: Any, high: Any, wanted: Any) -> Any:
    """The first place in sorted ``values[low:high]`` that is not below ``wanted``."""
    while low < high:
        middle = (low + high) >> 1
        if values[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def transpose(row_N: Array, splits: Array, term_P: Array, weight_P: Array, num_terms: int, num_blocks: int) -> Any:
    """Bags of ascending rows as postings: starts uint32[B*T+1], place uint16[P], weight float32[P], repeats summed."""
    keys = num_blocks * num_terms
    start = np.zeros(keys + 1, np.int64)
    for n in range(len(row_N)):
        base = (row_N[n] >> BLOCK_BITS) * num_terms
        for p in range(splits[n], splits[n + 1]):
            start[base + term_P[p] + 1] += 1
    for key in range(keys):
        start[key + 1] += start[key]
    place, weight = np.empty(len(term_P), np.uint16), np.empty(len(term_P), np.float32)
    end = start[:-1].copy()
    for n in range(len(row_N)):
        base, local = (row_N[n] >> BLOCK_BITS) * num_terms, row_N[n] & (BLOCK - 1)
        for p in range(splits[n], splits[n + 1]):
            key = base + term_P[p]
            at = end[key]
            if at > start[key] and place[at - 1] == local:
                weight[at - 1] += weight_P[p]
            else:
                place[at], weight[at] = local, weight_P[p]
                end[key] = at + 1
    starts, used = np.zeros(keys + 1, np.uint32), 0
    for key in range(keys):
        for at in range(start[key], end[key]):
            place[used], weight[used] = place[at], weight[at]
            used += 1
        starts[key + 1] = used
    return starts, place[:used], weight[:used]


@compiled
def peaks(starts: Array, codes: Array) -> Array:
    """uint16[B*T]: the largest weight of each term in each block, 0 where it has none."""
    out = np.zeros(len(starts) - 1, np.uint16)
    for key in range(len(out)):
        for at in range(starts[key], starts[key + 1]):
            out[key] = max(out[key], codes[at])
    return out


@compiled
def merge(
    terms: Array, num_blocks: int, home: Array,
    terms_a: Array, starts_a: Array, places_a: Array, codes_a: Array, number_a: int,
    terms_b: Array, starts_b: Array, places_b: Array, codes_b: Array, number_b: int,
) -> Any:  # fmt: skip
    """One segment of two, without rows that live elsewhere by now; ``terms`` is the union of both."""
    T, size_a, size_b = len(terms), len(terms_a), len(terms_b)
    blocks_a = (len(starts_a) - 1) // max(size_a, 1)
    blocks_b = (len(starts_b) - 1) // max(size_b, 1)
    starts = np.zeros(num_blocks * T + 1, np.uint32)
    places = np.empty(len(places_a) + len(places_b), np.uint16)
    codes = np.empty(len(places), np.uint16)
    used = 0
    for block in range(num_blocks):
        first = block << BLOCK_BITS
        i = j = 0
        for t in range(T):
            a = a_end = b = b_end = np.int64(0)
            if i < size_a and terms_a[i] == terms[t]:
                if block < blocks_a:
                    a, a_end = np.int64(starts_a[block * size_a + i]), np.int64(starts_a[block * size_a + i + 1])
                i += 1
            if j < size_b and terms_b[j] == terms[t]:
                if block < blocks_b:
                    b, b_end = np.int64(starts_b[block * size_b + j]), np.int64(starts_b[block * size_b + j + 1])
                j += 1
            while a < a_end or b < b_end:
                # A row lives in one segment at most: of two equal places one is out of date.
                if b >= b_end or (a < a_end and places_a[a] <= places_b[b]):
                    if home[first + places_a[a]] == number_a:
                        places[used], codes[used] = places_a[a], codes_a[a]
                        used += 1
                    a += 1
                else:
                    if home[first + places_b[b]] == number_b:
                        places[used], codes[used] = places_b[b], codes_b[b]
                        used += 1
                    b += 1
            starts[block * T + t + 1] = used
    return starts, places[:used].copy(), codes[:used].copy()


@compiled
def bag_of(terms: Array, starts: Array, places: Array, codes: Array, row: int) -> Any:
    """Terms int32 and weights float32 of one row of a segment."""
    T = len(terms)
    found, weight, used = np.empty(T, np.int32), np.empty(T, np.float32), 0
    base, local = (row >> BLOCK_BITS) * T, row & (BLOCK - 1)
    for t in range(T):
        if base + t + 1 >= len(starts):
            break
        end = np.int64(starts[base + t + 1])
        at = place_of(places, np.int64(starts[base + t]), end, local)
        if at < end and places[at] == local:
            found[used], weight[used] = terms[t], weight_of(codes[at])
            used += 1
    return found[:used].copy(), weight[:used].copy()


@compiled
def terms_in(terms: Array, query_S: Array) -> Array:
    """int64[S]: where each term of a query stands in the segment, -1 for nowhere."""
    out = np.empty(len(query_S), np.int64)
    for s in range(len(query_S)):
        at = place_of(terms, 0, len(terms), query_S[s])
        out[s] = at if at < len(terms) and terms[at] == query_S[s] else -1
    return out


@compiled
def score_rows(
    terms: Array, starts: Array, places: Array, codes: Array, number: int, home: Array,
    query_S: Array, weight_S: Array, row_N: Array, out_N: Array,
) -> None:  # fmt: skip
    """Write the scores of those rows that live in this segment: shared terms added in the order of their numbers."""
    at_S = terms_in(terms, query_S)
    T = len(terms)
    for n in range(len(row_N)):
        row = row_N[n]
        if not (0 <= row < len(home) and home[row] == number):
            continue
        total, base, local = np.float32(0.0), (row >> BLOCK_BITS) * T, row & (BLOCK - 1)
        for s in range(len(at_S)):
            # A row whose bag is empty may stand beyond the last block.
            if at_S[s] >= 0 and base + T < len(starts):
                end = np.int64(starts[base + at_S[s] + 1])
                p = place_of(places, np.int64(starts[base + at_S[s]]), end, local)
                if p < end and places[p] == local:
                    total += weight_of(codes[p]) * weight_S[s]
        out_N[n] = total


@compiled
def _offer(score_K: Array, row_K: Array, size: int, score: Any, row: int) -> int:
    """Put a row into the heap of the K best, the worst at its top; of equal scores the higher row is the worse."""
    K = len(score_K)
    if size < K:
        at = size
        size += 1
        while at > 0:
            up = (at - 1) >> 1
            if not (score < score_K[up] or (score == score_K[up] and row > row_K[up])):
                break
            score_K[at], row_K[at] = score_K[up], row_K[up]
            at = up
    else:
        if score < score_K[0] or (score == score_K[0] and row > row_K[0]):
            return size
        at = 0
        while True:
            down = 2 * at + 1
            if down >= K:
                break
            other = down + 1
            if other < K and (
                score_K[other] < score_K[down] or (score_K[other] == score_K[down] and row_K[other] > row_K[down])
            ):
                down = other
            if score < score_K[down] or (score == score_K[down] and row > row_K[down]):
                break
            score_K[at], row_K[at] = score_K[down], row_K[down]
            at = down
    score_K[at], row_K[at] = score, row
    return size


@compiled
def search(
    terms: Array, starts: Array, places: Array, codes: Array, peak: Array, number: int, home: Array, allowed: Array,
    query_S: Array, weight_S: Array, sums: Array, sums_bits: Array, score_K: Array, row_K: Array, size: int,
) -> int:  # fmt: skip
    """Offer every allowed row of a segment that shares a term with the query; returns the number of rows in the heap.

    Block by block: terms are added up, in the order of their numbers, into ``sums`` (``sums_bits`` is the same memory,
    read as integers), then rows above the K-th score so far are offered.  A block whose largest weights cannot reach
    that score is passed over.
    """
    T, S, K = len(terms), len(query_S), len(score_K)
    at_S = terms_in(terms, query_S)
    num_blocks = (len(starts) - 1) // max(T, 1)
    for block in range(num_blocks):
        base, bound = block * T, np.float32(0.0)
        for s in range(S):
            if at_S[s] >= 0:
                bound += weight_of(peak[base + at_S[s]]) * weight_S[s]
        floor = score_K[0] if size == K else np.float32(0.0)
        if bound == 0 or bound * np.float32(1 + SLACK) < floor:
            continue
        for s in range(S):
            if at_S[s] >= 0:
                w = weight_S[s]
                for p in range(starts[base + at_S[s]], starts[base + at_S[s] + 1]):
                    sums[places[p]] += weight_of(codes[p]) * w
        size = _collect(sums, sums_bits, floor, block << BLOCK_BITS, number, home, allowed, score_K, row_K, size)
    return size


@compiled
def _collect(
    sums: Array, sums_bits: Array, floor: Any, first: int,
    number: int, home: Array, allowed: Array, score_K: Array, row_K: Array, size: int,
) -> int:  # fmt: skip
    """Offer the rows of a block whose sums are above 0 and at least ``floor``, and clear the sums."""
    K = len(score_K)
    # Positive floats are ordered as their bits are, and integers are compared many at a time.
    enough = max(_bits_of(floor), np.int32(1))
    for chunk in range(0, BLOCK, CHUNK):
        hits = np.int32(0)
        for n in range(chunk, chunk + CHUNK):
            hits += np.int32(sums_bits[n] >= enough)
        if hits:
            for n in range(chunk, chunk + CHUNK):
                row = first + n
                if sums_bits[n] >= enough and home[row] == number and allowed[row]:
                    size = _offer(score_K, row_K, size, sums[n], row)
                    if size == K:
                        enough = max(_bits_of(score_K[0]), np.int32(1))
        for n in range(chunk, chunk + CHUNK):
            sums_bits[n] = 0
    return size
