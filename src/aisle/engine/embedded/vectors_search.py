"""A search of one state: cells near the query are swept by 8-bit codes, the best are scored again exactly.

The sweep ends when it stops paying: after ``PATIENCE`` allowed rows of which hardly one was among the best.  So it looks into
more cells by itself where a filter thins rows out, or leaves only such as lie far from the query.  Where few rows are allowed
they are compared one by one.  A query that is asked under several filters at once is swept once, and each filter finds what
it would have found alone.

Legend: Q queries, N rows, I rows of the catalogue, K cut-off, D width, H candidates, M distinct filters,
S those that a sweep looks for.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aisle.core.lists import Array
from aisle.core.requests import RowMasks
from aisle.engine.embedded import vectors_kernels as kernels
from aisle.engine.embedded.compiled import frozen
from aisle.engine.embedded.vectors_state import State

FEW_ROWS = 4096
"""Up to this many allowed rows are picked out one by one, which beats sweeping over all others."""
PATIENCE = 3000
ENTRIES = 64
"""A sweep ends when of ``PATIENCE`` allowed rows at most one in ``ENTRIES`` of the candidates was new among the best."""
SPARE = 64
"""Candidates beyond k, or half of k if that is more: 8-bit codes confuse neighbours, float16 puts them right."""


class Found(NamedTuple):
    """rows int32[K] and their scores float32[K], best first."""

    rows: Array
    score: Array


NOTHING = Found(np.zeros(0, np.int32), np.zeros(0, np.float32))


class Allowed(NamedTuple):
    """What one mask leaves of one state; rows put after the mask was made are for the next search.

    rows   int32: all of them, where they are few; None where the base is swept
    delta  int32: those in the delta, beside a sweep
    """

    rows: Array | None
    delta: Array

    @classmethod
    def of(cls, now: State, bits: Array) -> Allowed:
        if np.count_nonzero(bits) <= FEW_ROWS or not len(now.base.row):
            return cls(np.flatnonzero(bits & now.present).astype(np.int32), now.delta_rows[:0])
        return cls(None, now.delta_rows[bits[now.delta_rows]])


def nearest(now: State, query_QD: Array, k: int, masks: RowMasks) -> list[Found]:
    """The k nearest allowed rows of each query; ties go to the lower row."""
    found = [NOTHING] * len(query_QD)
    if k <= 0:
        return found
    which, bits_MI = masks.which.tolist(), _as_wide(masks.bits, len(now.place))
    sweep_MI = frozen(bits_MI if now.in_base is None else bits_MI & now.in_base)
    allowed = {m: Allowed.of(now, bits_MI[m]) for m in set(which)}
    for members in _asking_alike(query_QD):
        query_D = query_QD[members[0]]
        by_mask = _answers(now, {which[q]: allowed[which[q]] for q in members}, sweep_MI, query_D, k)
        for q in members:
            found[q] = by_mask[which[q]]
    return found


def warm(now: State) -> None:
    """Compile, or load from disk, every loop."""
    query_D = frozen(np.ones(now.base.dim, np.float32))
    now.scores(np.zeros(1, np.int32), query_D)
    _swept(now, [0], frozen(np.ones((1, len(now.place)), bool)), query_D, 1)


def _as_wide(bits_MI: Array, size: int) -> Array:
    """bool[M, size]: the masks, cut, or longer by False."""
    if bits_MI.shape[1] >= size:
        return bits_MI[:, :size]
    return np.concatenate([bits_MI, np.zeros((len(bits_MI), size - bits_MI.shape[1]), bool)], axis=1)


def _asking_alike(query_QD: Array) -> list[list[int]]:
    """The queries, those with the same vector together."""
    if len(query_QD) == 1:
        return [[0]]
    groups: dict[bytes, list[int]] = {}
    for q, query_D in enumerate(query_QD):
        groups.setdefault(query_D.tobytes(), []).append(q)
    return list(groups.values())


def _answers(now: State, allowed: dict[int, Allowed], sweep_MI: Array, query_D: Array, k: int) -> dict[int, Found]:
    """What a query finds under each mask."""
    found = {}
    for m, some in allowed.items():
        if some.rows is not None:
            found[m] = _best(some.rows, now.scores(some.rows, query_D), k)
    swept = [m for m in allowed if m not in found]
    if swept:
        row_SH, score_SH, used_S = _swept(now, swept, sweep_MI, query_D, k)
        for m, row_H, score_H, used in zip(swept, row_SH, score_SH, used_S.tolist(), strict=True):
            rows, score, delta = row_H[:used], score_H[:used], allowed[m].delta
            if len(delta):
                rows, score = np.concatenate([rows, delta]), np.concatenate([score, now.scores(delta, query_D)])
            found[m] = _best(rows, score, k)
    return found


def _swept(now: State, masks: list[int], sweep_MI: Array, query_D: Array, k: int) -> tuple[Array, Array, Array]:
    """Candidates and their exact scores under each of these masks: int32[S, H], float32[S, H], and int64[S] how many."""
    base, size = now.base, k + max(SPARE, k // 2)
    row_SH, score_SH = np.empty((len(masks), size), np.int32), np.empty((len(masks), size), np.float32)
    used_S = np.zeros(len(masks), np.int64)
    kernels.search(
        base.codes, base.scale, base.row, base.start, *base.coded_centre, base.base, frozen(now.delta), now.place,
        sweep_MI, np.array(masks, np.int64), query_D, PATIENCE, max(1, size // ENTRIES), score_SH, row_SH, used_S,
    )  # fmt: skip
    return row_SH, score_SH, used_S


def _best(rows: Array, score: Array, k: int) -> Found:
    if len(rows) > 4 * k:
        # Rows that tie with the k-th stay, so that the lower ones among them win.
        kept = score >= np.partition(score, len(score) - k)[len(score) - k]
        rows, score = rows[kept], score[kept]
    order = np.lexsort((rows, -score))[:k]
    return Found(rows[order], score[order])
