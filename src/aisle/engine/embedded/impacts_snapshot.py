"""One state of an impact index, which never changes: segments, where each row lives, and what is asked of them.

Legend: N rows, I rows of the catalogue, K cut-off, S terms of a query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aisle.core.lists import Array
from aisle.engine.embedded.compiled import frozen
from aisle.engine.embedded.impacts_segment import Best, Segment, top

PROBE_COST = 40
"""Looking one term of one row up costs as much as adding this many postings; few allowed rows are looked up."""


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """Segments, oldest first, and int32[I]: the number of the segment each row lives in, -1 for none."""

    parts: tuple[Segment, ...]
    home: Array


def allowed(bits: Array, size: int) -> Array:
    """bool[I]; rows put after the mask was made are for the next search."""
    if len(bits) >= size:
        return frozen(bits[:size])
    out = np.zeros(size, bool)
    out[: len(bits)] = bits
    return frozen(out)


def search(
    now: Snapshot, term_S: Array, weight_S: Array, allowed: Array, rows: Array | None, best: Best
) -> tuple[Array, Array]:
    """Rows and scores of one query; ``rows`` are the allowed ones where they are few."""
    if rows is not None and len(rows) * len(term_S) * PROBE_COST < sum(part.length(term_S) for part in now.parts):
        score_N = score(now, term_S, weight_S, rows)
        return top(rows[score_N > 0], score_N[score_N > 0], len(best.row_K))
    best.restart()
    for part in now.parts:
        best.search(part, now.home, allowed, term_S, weight_S)
    return best.found()


def score(now: Snapshot, term_S: Array, weight_S: Array, row_N: Array) -> Array:
    """float32[N]; NaN for rows without a bag."""
    out = np.full(len(row_N), np.nan, np.float32)
    rows = frozen(row_N.astype(np.int64))
    for part in now.parts:
        part.score(now.home, term_S, weight_S, rows, out)
    return out


def merged(now: Snapshot, parts: Sequence[Segment], number: int) -> Segment:
    """These segments in one, the newest and smallest first; postings of rows that live elsewhere are dropped."""
    home, made = now.home, parts[-1]
    for part in parts[-2::-1] if len(parts) > 1 else [Segment.empty(number)]:
        joined = Segment.merged(number, part, made, home)
        home = frozen(np.where((home == part.number) | (home == made.number), np.int32(number), home))
        made = joined
    return made
