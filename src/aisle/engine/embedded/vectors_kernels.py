"""Compiled loops of the vector index.  Imports numba, so nothing imports this file before a vector is searched.

Legend: I rows, P places (rows with a vector, in the order of their cells), C cells, N rows asked for, D width, H heap.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aisle.core.lists import Array
from aisle.engine.embedded.compiled import compiled, float_of_half, prefetch, summing

ABSENT, IN_BASE = -2, -1
"""What stands for a row without a vector, and for one whose vector is the base's; 0 and more is a place in the delta."""
AHEAD, LINE = 6, 32
"""Rows whose vectors the memory is asked for before their turn, and how many float16 it gives at once."""


@summing
def inner_half(vector_D: Array, query_D: Array) -> Any:
    total = np.float32(0)
    for d in range(len(query_D)):
        total += float_of_half(vector_D[d]) * query_D[d]
    return total


@summing
def inner_code(code_D: Array, query_D: Array) -> Any:
    total = np.float32(0)
    for d in range(len(query_D)):
        total += np.float32(code_D[d]) * query_D[d]
    return total


@compiled
def score_rows(base_ID: Array, delta_ND: Array, place_I: Array, row_N: Array, query_D: Array, out_N: Array) -> None:
    """Exact inner products of these rows; NaN where a row has no vector."""
    flat, width = base_ID.reshape(-1), np.int64(base_ID.shape[1])
    for n in range(len(row_N)):
        later = np.int64(row_N[n + AHEAD]) if n + AHEAD < len(row_N) else np.int64(-1)
        if 0 <= later < len(base_ID):
            for at in range(later * width, (later + 1) * width, LINE):
                prefetch(flat, at)
        row = row_N[n]
        place = place_I[row] if 0 <= row < len(place_I) else ABSENT
        if place == ABSENT:
            out_N[n] = np.nan
        elif place == IN_BASE:
            out_N[n] = inner_half(base_ID[row], query_D)
        else:
            out_N[n] = inner_half(delta_ND[place], query_D)


@compiled
def scan(
    codes_PD: Array,
    scale_P: Array,
    row_P: Array,
    start_C: Array,
    order_C: Array,
    allowed_I: Array,
    query_D: Array,
    patience: int,
    entries: int,
    score_H: Array,
    row_H: Array,
) -> int:
    """Look into cells in ``order_C`` until of the last ``patience`` allowed rows at most ``entries`` were among the best.

    Rows are compared by their codes.  The H best stand in ``score_H`` and ``row_H``, a heap with the worst first; returns
    how many there are.
    """
    size, compared, entered = 0, 0, 0
    for cell in order_C:
        for p in range(start_C[cell], start_C[cell + 1]):
            row = row_P[p]
            if not allowed_I[row]:
                continue
            compared += 1
            score = inner_code(codes_PD[p], query_D) * scale_P[p]
            if size < len(score_H):
                _rise(score_H, row_H, size, score, row)
                size += 1
                entered += 1
            elif score > score_H[0] or (score == score_H[0] and row < row_H[0]):
                _sink(score_H, row_H, score, row)
                entered += 1
        if compared >= patience:
            if entered <= entries and size == len(score_H):
                break
            compared, entered = 0, 0
    return size


@compiled
def _worse(score: Any, row: Any, other_score: Any, other_row: Any) -> Any:
    return score < other_score or (score == other_score and row > other_row)


@compiled
def _rise(score_H: Array, row_H: Array, at: int, score: Any, row: Any) -> None:
    """Add one at the end and move it up to its place."""
    while at > 0:
        above = (at - 1) >> 1
        if not _worse(score, row, score_H[above], row_H[above]):
            break
        score_H[at], row_H[at] = score_H[above], row_H[above]
        at = above
    score_H[at], row_H[at] = score, row


@compiled
def _sink(score_H: Array, row_H: Array, score: Any, row: Any) -> None:
    """Replace the worst and move the new one down to its place."""
    at = 0
    while True:
        below = 2 * at + 1
        if below >= len(score_H):
            break
        if below + 1 < len(score_H) and _worse(score_H[below + 1], row_H[below + 1], score_H[below], row_H[below]):
            below += 1
        if not _worse(score_H[below], row_H[below], score, row):
            break
        score_H[at], row_H[at] = score_H[below], row_H[below]
        at = below
    score_H[at], row_H[at] = score, row


@compiled
def encode(base_ID: Array, row_P: Array, codes_PD: Array, scale_P: Array) -> None:
    """Write the 8-bit codes of these rows: round(127 v / max |v|), with scale max |v| / 127 by row."""
    for p in range(len(row_P)):
        vector = base_ID[row_P[p]]
        peak = np.float32(0)
        for d in range(len(vector)):
            peak = max(peak, abs(float_of_half(vector[d])))
        scale_P[p] = peak / np.float32(127)
        factor = np.float32(127) / peak if peak > 0 else np.float32(0)
        for d in range(len(vector)):
            codes_PD[p, d] = np.int8(np.rint(float_of_half(vector[d]) * factor))
