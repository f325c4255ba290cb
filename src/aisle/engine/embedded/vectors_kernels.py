"""Compiled loops of the vector index.  Imports numba, so nothing imports this file before a vector is searched.

Legend: I rows, P places (rows with a vector, in the order of their cells), C cells, N rows asked for, D width, H heap,
M masks, S those that a sweep looks for.
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
def search(
    codes_PD: Array, scale_P: Array, row_P: Array, start_C: Array, centre_CD: Array, centre_scale_C: Array,
    base_ID: Array, delta_ND: Array, place_I: Array, allowed_MI: Array, mask_S: Array,
    query_D: Array, patience: int, entries: int, score_SH: Array, row_SH: Array, used_S: Array,
) -> None:  # fmt: skip
    """Look into cells, nearest first, for each of the masks ``mask_S`` until of the last ``patience`` rows that it allows at
    most ``entries`` were among the best.  Rows are compared by their codes.

    The H best of each mask come to stand in ``row_SH`` with their exact scores in ``score_SH``, in no order; ``used_S`` says
    how many there are.
    """
    S, H = score_SH.shape
    near_C, cell_C = np.empty(len(start_C) - 1, np.float32), np.arange(len(start_C) - 1)
    for cell in cell_C:
        near_C[cell] = inner_code(centre_CD[cell], query_D) * centre_scale_C[cell] if len(cell_C) > 1 else 0
    left = _nearest_first(near_C, cell_C)
    compared_S, entered_S, going_S = np.zeros(S, np.int64), np.zeros(S, np.int64), np.arange(S)
    going: Any = S
    while left > 0 and going > 0:
        cell = cell_C[0]
        left = _without_first(near_C, cell_C, left)
        for p in range(start_C[cell], start_C[cell + 1]):
            row, score, known = row_P[p], np.float32(0), False
            for g in range(going):
                s = going_S[g]
                if not allowed_MI[mask_S[s], row]:
                    continue
                if not known:
                    score, known = inner_code(codes_PD[p], query_D) * scale_P[p], True
                compared_S[s] += 1
                if used_S[s] < H:
                    _rise(score_SH[s], row_SH[s], used_S[s], score, row)
                    used_S[s] += 1
                    entered_S[s] += 1
                elif score > score_SH[s, 0] or (score == score_SH[s, 0] and row < row_SH[s, 0]):
                    _sink(score_SH[s], row_SH[s], score, row)
                    entered_S[s] += 1
        still: Any = 0
        for g in range(going):
            s = going_S[g]
            if compared_S[s] >= patience:
                if entered_S[s] <= entries and used_S[s] == H:
                    continue
                compared_S[s], entered_S[s] = 0, 0
            going_S[still] = s
            still += 1
        going = still
    for s in range(S):
        score_rows(base_ID, delta_ND, place_I, row_SH[s, : used_S[s]].copy(), query_D, score_SH[s, : used_S[s]])


@compiled
def _nearest_first(near_C: Array, cell_C: Array) -> int:
    """Make a heap of the cells, the nearest first; returns how many there are."""
    for at in range(len(cell_C) // 2 - 1, -1, -1):
        _settle(near_C, cell_C, at, len(cell_C))
    return len(cell_C)


@compiled
def _without_first(near_C: Array, cell_C: Array, left: int) -> int:
    """Take the nearest cell off the heap; returns how many are left."""
    cell_C[0] = cell_C[left - 1]
    _settle(near_C, cell_C, 0, left - 1)
    return left - 1


@compiled
def _settle(near_C: Array, cell_C: Array, at: int, left: int) -> None:
    """Move a cell down to its place among the ``left`` ones; of cells that are as near the lower one comes first."""
    moved = cell_C[at]
    while True:
        below = 2 * at + 1
        if below >= left:
            break
        if below + 1 < left and _worse(
            near_C[cell_C[below]], cell_C[below], near_C[cell_C[below + 1]], cell_C[below + 1]
        ):
            below += 1
        if not _worse(near_C[moved], moved, near_C[cell_C[below]], cell_C[below]):
            break
        cell_C[at] = cell_C[below]
        at = below
    cell_C[at] = moved


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
