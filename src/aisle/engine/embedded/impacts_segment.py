"""Segment: the postings of some rows, never changed once made.

Legend: N bags, T terms of a segment, P postings, B blocks, I rows, K cut-off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from aisle.core.bags import LARGEST, Bags
from aisle.core.lists import Array
from aisle.engine.embedded import impacts_kernels as kernels
from aisle.engine.embedded.compiled import frozen

DENSE_TERMS = 1 << 22
"""Up to this largest term number a table finds the distinct terms, else a sort."""
SMALLEST = 2.0**-24
"""The smallest weight that float16 can hold; what is below counts as this."""
NO_FACTORS: Mapping[int, float] = {}
ARRAYS = ("terms", "starts", "places", "codes", "peaks")


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """terms int32[T] ascending; starts uint32[B*T+1]; places, codes uint16[P]; peaks uint16[B*T]; see the kernels."""

    number: int
    terms: Array
    starts: Array
    places: Array
    codes: Array
    peaks: Array

    @property
    def num_postings(self) -> int:
        return len(self.places)

    @property
    def num_bytes(self) -> int:
        return sum(getattr(self, name).nbytes for name in ARRAYS)

    @property
    def num_blocks(self) -> int:
        return (len(self.starts) - 1) // max(len(self.terms), 1)

    @classmethod
    def empty(cls, number: int) -> Segment:
        none = np.zeros(0, np.uint16)
        return cls.of_arrays(number, np.zeros(0, np.int32), np.zeros(1, np.uint32), none, none)

    @classmethod
    def of_bags(cls, number: int, rows: Array, bags: Bags) -> Segment:
        """The postings of these bags, one a row; ``rows`` in any order, each once."""
        if (np.diff(rows) < 0).any():
            order = np.argsort(rows)
            rows, bags = rows[order], bags.select(order)
        terms, term_P = _distinct(bags.term)
        num_blocks = (int(rows[-1]) >> kernels.BLOCK_BITS) + 1 if len(rows) else 0
        row_N, splits, term_P, weight_P = map(frozen, (rows.astype(np.int64), bags.splits, term_P, bags.weight))
        starts, places, weight = kernels.transpose(row_N, splits, term_P, weight_P, len(terms), num_blocks)
        codes = np.clip(weight, SMALLEST, LARGEST).astype(np.float16).view(np.uint16)
        return cls.of_arrays(number, terms, starts, places, codes)

    @classmethod
    def of_arrays(cls, number: int, terms: Array, starts: Array, places: Array, codes: Array) -> Segment:
        terms, starts, places, codes = map(frozen, (terms, starts, places, codes))
        return cls(number, terms, starts, places, codes, frozen(kernels.peaks(starts, codes)))

    @classmethod
    def merged(cls, number: int, a: Segment, b: Segment, home: Array) -> Segment:
        """Both in one, without the rows that ``home`` (int32[I], the segment of each row) places elsewhere."""
        terms = np.union1d(a.terms, b.terms).astype(np.int32)
        made = kernels.merge(
            frozen(terms), max(a.num_blocks, b.num_blocks), home,
            a.terms, a.starts, a.places, a.codes, a.number, b.terms, b.starts, b.places, b.codes, b.number,
        )  # fmt: skip
        return cls.of_arrays(number, terms, *made)

    def bag(self, row: int) -> dict[int, float]:
        """Term to weight of a row."""
        terms, weights = kernels.bag_of(self.terms, self.starts, self.places, self.codes, row)
        return dict(zip(terms.tolist(), weights.tolist(), strict=True))

    def score(self, home: Array, term_S: Array, weight_S: Array, row_N: Array, out_N: Array) -> None:
        """Write the scores of those rows that live here."""
        postings = (self.terms, self.starts, self.places, self.codes)
        kernels.score_rows(*postings, self.number, home, term_S, weight_S, row_N, out_N)

    def length(self, term_S: Array) -> int:
        """Postings of these terms, over all blocks."""
        T = len(self.terms)
        at = np.searchsorted(self.terms, term_S)
        at = at[(at < T) & (self.terms[np.minimum(at, T - 1)] == term_S)] if T else at[:0]
        keys = (np.arange(self.num_blocks)[:, None] * T + at).ravel()
        return int((self.starts[keys + 1] - self.starts[keys]).sum(dtype=np.int64))

    def save(self, folder: Path) -> None:
        for name in ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def load(cls, folder: Path, number: int) -> Segment:
        """Memory-mapped."""
        return cls(number, *(frozen(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in ARRAYS))


class Best:
    """The K best rows of one query so far, over segments."""

    def __init__(self, k: int) -> None:
        self.score_K = np.zeros(k, np.float32)
        self.row_K = np.zeros(k, np.int64)
        self.sums = np.zeros(kernels.BLOCK, np.float32)
        self._bits = self.sums.view(np.int32)
        self.size = 0

    def search(self, part: Segment, home: Array, allowed: Array, term_S: Array, weight_S: Array) -> None:
        self.size = kernels.search(
            part.terms, part.starts, part.places, part.codes, part.peaks, part.number, home, allowed,
            term_S, weight_S, self.sums, self._bits, self.score_K, self.row_K, self.size,
        )  # fmt: skip

    def found(self) -> tuple[Array, Array]:
        """Rows int64 and scores float32, best first; ties go to the lower row."""
        return top(self.row_K[: self.size], self.score_K[: self.size], self.size)

    def restart(self) -> None:
        self.size = 0


def top(rows: Array, scores: Array, k: int) -> tuple[Array, Array]:
    """The k best, ties to the lower row."""
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]


def _distinct(term_P: Array) -> tuple[Array, Array]:
    """The distinct terms ascending, int32[T], and where each term stands among them, int64[P]."""
    if len(term_P) and int(term_P.max()) < DENSE_TERMS and len(term_P) > DENSE_TERMS >> 6:
        there = np.zeros(int(term_P.max()) + 1, bool)
        there[term_P] = True
        terms = np.flatnonzero(there)
        place = np.cumsum(there) - 1
        return terms.astype(np.int32), place[term_P]
    terms, inverse = np.unique(term_P, return_inverse=True)
    return terms.astype(np.int32), inverse.astype(np.int64)


@cache
def warm() -> None:
    """Compile, or load from disk, every loop, so that no request waits for it; once a process."""
    two = np.array([0, 1], np.int64)
    bags = Bags(np.array([3, 3]), np.ones(2, np.float32), np.array([0, 1, 2]))
    a, b = Segment.of_bags(0, two[:1], bags.select(two[:1])), Segment.of_bags(1, two[1:], bags.select(two[1:]))
    home = frozen(np.array([2, 2], np.int32))
    part = Segment.merged(2, a, b, frozen(np.array([0, 1], np.int32)))
    part.bag(0)
    best, query = Best(2), query_of(bags.select(two[:1]))[0]
    best.search(part, home, frozen(np.ones(2, bool)), *query)
    part.score(home, *query, frozen(two), np.zeros(2, np.float32))


def query_of(bags: Bags, factors: Mapping[int, float] = NO_FACTORS) -> list[tuple[Array, Array]]:
    """Each query's distinct terms int32, ascending, and weights float32: repeats summed, times ``factors``, none of 0."""
    order = np.lexsort((bags.term, np.repeat(np.arange(len(bags)), np.diff(bags.splits))))
    term, weight = bags.term[order], bags.weight[order].astype(np.float64)
    out = []
    for low, high in zip(bags.splits[:-1].tolist(), bags.splits[1:].tolist(), strict=True):
        t, w = term[low:high], weight[low:high]
        if len(t) > 1 and (t[1:] == t[:-1]).any():
            t, inverse = np.unique(t, return_inverse=True)
            w = np.bincount(inverse, w).astype(np.float64)
        if factors:
            w = w * np.array([factors.get(n, 1.0) for n in t.tolist()])
            t, w = t[w > 0], w[w > 0]
        out.append((frozen(t), frozen(w.astype(np.float32))))
    return out
