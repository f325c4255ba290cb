"""State: what one search sees of the text index, a base and the newer segments over it; never changed once made.

A changed row is dead in the segment that held it and stands in a newer one.  Document frequencies and mean lengths count
living documents only, so a state scores as an index that was built from the same rows at once, to the last bit but for
the order of sums of the mean.

Legend: D documents of a segment, F fields, L posting lists, S slots, N rows found, I items, T terms, W words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log
from typing import NamedTuple

import numpy as np

from aisle.core.lists import Array
from aisle.core.shop import TEXT_FIELDS
from aisle.engine.embedded import text_kernels as kernels
from aisle.engine.embedded.compiled import frozen
from aisle.engine.embedded.text_segment import LENGTH_L, NUM_FIELDS, Segment, merged

K1, B = 1.2, 0.75
"""Of BM25, as usual (Lucene, Tantivy)."""
NO_TERM, TITLE = -1, TEXT_FIELDS.index("title")
TITLE_BITS = 32
"""Slots of a query of which is told apart whether the title fills them."""
_NONE_F = np.zeros(NUM_FIELDS, np.int64)


class Choice(NamedTuple):
    """One way to fill a slot: any of these terms, which count as one word.  ``factor``: of its score."""

    terms: tuple[int, ...]
    factor: float = 1.0


class Found(NamedTuple):
    """Of one part: docs int32[N] ascending, score float32[N], and uint64[N] bits: the slots that each document fills, and
    ``TITLE_BITS`` higher those that its title fills, where the query has no more slots than that."""

    docs: Array
    score: Array
    seen: Array

    def where(self, kept: Array) -> Found:
        return Found(self.docs[kept], self.score[kept], self.seen[kept])


class Lists(NamedTuple):
    """Posting lists that a query reads: slot, choice, term and float64[F] weights (below 0: not read) of each term.

    many    slots with more than one choice
    titles  whether the slots that a title fills have bits of their own
    """

    slot: list[int]
    choice: list[int]
    term: list[int]
    weights: list[Array]
    many: frozenset[int]
    titles: bool


@dataclass(frozen=True, slots=True, eq=False)
class Live:
    """A segment and its dead documents, bool[D]; ``gone`` int32[T*F] are their postings by list."""

    segment: Segment
    dead: Array
    gone: Array
    num_live: int

    @classmethod
    def whole(cls, segment: Segment) -> Live:
        none = frozen(np.zeros(len(segment), bool))
        return cls(segment, none, np.zeros(len(segment.starts) - 1, np.int32), len(segment))

    def without(self, rows: Array, term_W: Array) -> Live:
        """With those of the rows that stand here dead."""
        docs = self.segment.docs_of(rows)
        docs = docs[~self.dead[docs]]
        if not len(docs):
            return self
        dead, gone, part = self.dead.copy(), self.gone.copy(), self.segment
        dead[docs] = True
        kernels.count_gone(part.words, part.splits, part.terms, term_W, NUM_FIELDS, frozen(docs), gone)
        return Live(part, frozen(dead), gone, self.num_live - len(docs))

    def lengths(self) -> Array:
        """int64[F]: words of the living documents."""
        splits = self.segment.splits[:: max(len(self.segment), 1)].astype(np.int64)
        total_F = np.diff(splits)[:NUM_FIELDS] if len(self.segment) else np.zeros(NUM_FIELDS, np.int64)
        return total_F - self.segment.num_words(np.flatnonzero(self.dead))


@dataclass(frozen=True, eq=False)
class State:
    """parts: the base first; word_terms int32[W]: the term of each word of the lexicon."""

    parts: tuple[Live, ...]
    word_terms: Array

    @classmethod
    def of(cls, segments: Sequence[Segment], term_W: Array) -> State:
        return cls(tuple(Live.whole(segment) for segment in segments), frozen(term_W))

    def without(self, rows: Array, term_W: Array | None = None) -> State:
        """With these rows gone."""
        term_W = self.word_terms if term_W is None else frozen(term_W)
        return State(tuple(part.without(rows, term_W) for part in self.parts), term_W)

    def plus(self, segment: Segment) -> State:
        """With a newer segment.  One that is not much larger than what came after it is merged with it, so that there
        are never many, and each document is merged a few times only."""
        parts = [*self.parts, Live.whole(segment)]
        while len(parts) > 1 and len(parts[-2].segment) <= 2 * len(parts[-1].segment):
            both = [(part.segment, part.dead) for part in parts[-2:]]
            parts[-2:] = [Live.whole(merged(both, self.word_terms))]
        return State(tuple(part for n, part in enumerate(parts) if n == 0 or part.num_live), self.word_terms)

    @cached_property
    def num_docs(self) -> int:
        return sum(part.num_live for part in self.parts)

    @cached_property
    def num_rows(self) -> int:
        """One more than the highest row."""
        return 1 + max((int(part.segment.rows[-1]) for part in self.parts if len(part.segment)), default=-1)

    @cached_property
    def norm_FL(self) -> Array:
        """float32[F, L]: the part of BM25's denominator that a field's length decides."""
        total_F = sum((part.lengths() for part in self.parts), np.zeros(NUM_FIELDS, np.int64))
        mean_F = np.maximum(total_F / max(self.num_docs, 1), 1e-9)
        norm_FL: Array = frozen((K1 * (1 - B + B * LENGTH_L / mean_F[:, None])).astype(np.float32))
        return norm_FL

    @cached_property
    def _share_FTL(self) -> Array:
        """float32[F, T, L]: tf / (tf + norm) of small term frequencies."""
        tf_T = np.arange(kernels.FEW, dtype=np.float32)[:, None]
        share_FTL: Array = frozen(tf_T / (tf_T + self.norm_FL[:, None, :]))
        return share_FTL

    @cached_property
    def _frequencies(self) -> dict[int, Array]:
        return {}

    def frequencies(self, term: int) -> Array:
        """int64[F]: living documents that hold the term, by field; not to be written to."""
        known = self._frequencies.get(term)
        if known is None:
            known = np.zeros(NUM_FIELDS, np.int64)
            for part in self.parts if term >= 0 else ():
                first, size = part.segment.lists(term)
                if size:
                    known += np.diff(part.segment.starts[first : first + size + 1]) - part.gone[first : first + size]
            self._frequencies[term] = known
        return known

    def idf(self, num_docs: Array) -> Array:
        """ln(1 + (N - n + 1/2) / (n + 1/2)) of terms in n documents."""
        n = np.minimum(num_docs, self.num_docs)
        weight: Array = np.log(1 + (self.num_docs - n + 0.5) / (n + 0.5))
        return weight

    def lists(self, slots: Sequence[Sequence[Choice]], weight_F: Array, scored: int) -> Lists:
        """What to read for these slots.  The first ``scored`` ones count, of the others only the bits tell."""
        flat = [(s, c, choice) for s, choices in enumerate(slots) for c, choice in enumerate(choices)]
        # Terms that count as one word are as frequent as all of them together.
        number_CF = np.array([sum((self.frequencies(t) for t in choice.terms), _NONE_F) for _, _, choice in flat])
        factor_C = np.array([choice.factor if s < scored else 0.0 for s, _, choice in flat])
        weight_CF = self.idf(number_CF.reshape(-1, NUM_FIELDS)) * factor_C[:, None] * (weight_F * (K1 + 1))
        weight_CF[:, np.asarray(weight_F) <= 0] = -1.0
        many = frozenset(s for s, choices in enumerate(slots) if len(choices) > 1)
        out = Lists([], [], [], [], many, titles=weight_F[TITLE] > 0 and len(slots) <= TITLE_BITS)
        for n, (s, c, choice) in enumerate(flat):
            for term in choice.terms:
                if term >= 0:
                    out.slot.append(s)
                    out.choice.append(c)
                    out.term.append(term)
                    out.weights.append(weight_CF[n])
        return out

    def found(self, live: Live, lists: Lists) -> Found:
        """Every living document of a part that one of the lists holds."""
        part = live.segment
        start, stop, field, weight, bits, slot, choice = [], [], [], [], [], [], []
        for s, c, term, weight_F in zip(lists.slot, lists.choice, lists.term, lists.weights, strict=True):
            first, size = part.lists(term)
            bounds = part.starts[first : first + size + 1].tolist()
            for f in range(size):
                if bounds[f + 1] > bounds[f] and weight_F[f] >= 0:
                    start.append(bounds[f])
                    stop.append(bounds[f + 1])
                    field.append(f)
                    weight.append(weight_F[f])
                    bits.append(1 << s | (1 << (s + TITLE_BITS) if lists.titles and f == TITLE else 0))
                    slot.append(s)
                    choice.append(c)
        most = min(len(part), sum(stop) - sum(start))
        docs, score, seen = (np.empty(most + 1, kind) for kind in (np.int32, np.float32, np.uint64))
        used = 0
        if most:
            used = kernels.evaluate(
                part.docs, part.tfs, part.lengths, self._share_FTL, self.norm_FL, live.dead,
                np.array(start, np.int64), np.array(stop, np.int64), np.array(field, np.int64),
                np.array(weight, np.float32), np.array(bits, np.uint64),
                np.array(slot, np.int64), np.array(choice, np.int64),
                np.array([s in lists.many for s in slot]), docs, score, seen,
            )  # fmt: skip
        return Found(docs[:used], score[:used], seen[:used])

    def phrase_counts(
        self, part: Segment, docs: Array, terms: Sequence[int], gaps: Sequence[int], fields: Array
    ) -> Array:
        """int32[N]: how often the terms stand at those distances from the first in these fields of each document."""
        if NO_TERM in terms:
            return np.zeros(len(docs), np.int32)
        where = (frozen(fields), frozen(docs), frozen(np.array(terms, np.int64)), frozen(np.array(gaps, np.int64)))
        counts: Array = kernels.phrase_counts(part.words, part.splits, self.word_terms, NUM_FIELDS, *where)
        return counts

    def pair_weight(self, terms: Sequence[int]) -> float:
        """What BM25 of these terms together in the title is multiplied by."""
        return sum(self._title_idf(term) for term in terms) * (K1 + 1)

    def _title_idf(self, term: int) -> float:
        num_docs = min(int(self.frequencies(term)[TITLE]), self.num_docs)
        return log(1 + (self.num_docs - num_docs + 0.5) / (num_docs + 0.5))

    def words_of(self, row: int) -> list[Array]:
        """The words of a row, field by field; empty for one that is not indexed."""
        for live in self.parts:
            docs = live.segment.docs_of(np.array([row]))
            docs = docs[~live.dead[docs]]
            if len(docs):
                return [live.segment.field(f)[docs[0]] for f in range(NUM_FIELDS)]
        return [np.zeros(0, np.int32)] * NUM_FIELDS

    def title_words(self, rows: Array) -> Array:
        """int32: all words of these rows' titles, one after the other."""
        found = [np.zeros(0, np.int32)]
        for live in self.parts:
            docs = live.segment.docs_of(rows)
            found.append(live.segment.field(TITLE).take(docs[~live.dead[docs]]).values)
        return np.concatenate(found)

    def rows_with_id(self, mark: int) -> list[int]:
        """Living rows whose item id has this hash."""
        rows = []
        for live in self.parts:
            part = live.segment
            low, high = np.searchsorted(part.ids, np.array([mark, mark + 1], np.uint64))
            rows += [int(part.rows[doc]) for doc in part.id_docs[low:high] if not live.dead[doc]]
        return rows
