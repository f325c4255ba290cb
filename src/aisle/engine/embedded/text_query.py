"""From the words of a query to what a state is asked: slots that documents fill, phrases, and what belongs to the match set.

A word scores as the weighted sum of its BM25 in every field; as weighted, two neighbouring words that stand together in the
title score again, and an item with every word scores a constant more.

Legend: Q slots of a query, F fields, N rows found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import NamedTuple

import numpy as np

from aisle.core.lists import Array
from aisle.core.shop import TEXT_FIELDS, TEXT_WEIGHTS
from aisle.engine.embedded import text_kernels as kernels
from aisle.engine.embedded.analysis import MOST_WORDS, Query, Word
from aisle.engine.embedded.compiled import frozen
from aisle.engine.embedded.text_segment import Segment
from aisle.engine.embedded.text_state import TITLE, TITLE_BITS, Choice, Found, Lists, Live, State

Choices = Callable[[Word], tuple[Choice, ...]]


class Phrase(NamedTuple):
    """Terms that stand at these distances from the first one; ``bits``: their slots."""

    bits: int
    terms: tuple[int, ...]
    gaps: tuple[int, ...]


class Weights(NamedTuple):
    """fields float64[F], and what pairs and having every word are worth."""

    fields: Array
    pairs: float
    all_words: float

    @classmethod
    def of(cls, weights: Mapping[str, float]) -> Weights:
        weights = weights or TEXT_WEIGHTS
        by_field = np.array([max(weights.get(field, 0.0), 0.0) for field in TEXT_FIELDS])
        return cls(by_field, weights.get("pairs", 0.0), weights.get("all_words", 0.0))


class Matches(NamedTuple):
    """rows int32[N] ascending; score float32[N]; missing uint8[N]: how many words less than needed each row holds."""

    rows: Array
    score: Array
    missing: Array


NONE = Matches(np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, np.uint8))


@dataclass(frozen=True, slots=True)
class Plan:
    """
    slots     ways to fill each slot; the first ``scored`` count, the others stand in excluded phrases
    words     bits of the slots that are words of the query outside phrases
    phrases   must be there;  excluded: must not
    pairs     neighbouring words
    """

    slots: tuple[tuple[Choice, ...], ...]
    scored: int
    words: int
    phrases: tuple[Phrase, ...]
    excluded: tuple[Phrase, ...]
    pairs: tuple[Phrase, ...]

    @classmethod
    def of(cls, query: Query, choices: Choices, term: Callable[[str], int]) -> Plan:
        scoring = query.scoring[:MOST_WORDS]
        slot: dict[tuple[str, bool], int] = {_key(word): n for n, word in enumerate(scoring)}
        hidden = [word for phrase in query.excluded for word in phrase]
        for word in hidden:
            if len(slot) < MOST_WORDS:
                slot.setdefault(_key(word), len(slot))
        words = {_key(word): word for word in hidden} | {_key(word): word for word in scoring}

        def phrase(parts: Sequence[Word]) -> Phrase:
            start = parts[0].position
            bits = sum(1 << n for n in {slot[_key(w)] for w in parts if _key(w) in slot})
            return Phrase(bits, tuple(term(w.term) for w in parts), tuple(w.position - start for w in parts))

        neighbours = [two for two in pairwise(query.words) if two[0].term != two[1].term]
        return cls(
            tuple(choices(words[key]) for key in slot),
            len(scoring),
            sum(1 << slot[key] for key in {_key(w) for w in query.words if _key(w) in slot}),
            tuple(phrase(p) for p in query.phrases),
            tuple(p for p in map(phrase, query.excluded) if p.bits),
            tuple(phrase(two) for two in neighbours if all(_key(w) in slot for w in two)),
        )

    def matches(self, state: State, weights: Weights) -> Matches:
        """Rows with a wanted word, every phrase and nothing that is excluded."""
        lists = state.lists(self.slots, weights.fields, self.scored)
        pieces = [self._in_part(live, lists, state, weights) for live in state.parts]
        pieces = [piece for piece in pieces if len(piece.rows)] or pieces[:1]
        if len(pieces) == 1:
            return pieces[0]
        columns = [np.concatenate(column) for column in zip(*pieces, strict=True)]
        order = np.argsort(columns[0], kind="stable")
        return Matches(*(column[order] for column in columns))

    def excluded_rows(self, state: State, num_rows: int) -> Array:
        """bool[I]: rows that an exclusion names, of a query with nothing else."""
        fields = np.arange(len(TEXT_FIELDS))
        lists, out = state.lists(self.slots, np.ones(len(fields)), 0), np.zeros(num_rows, bool)
        for live in state.parts:
            found = state.found(live, lists)
            for phrase in self.excluded:
                rows = live.segment.rows[found.docs[_holds(found, phrase, state, live.segment, fields)]]
                out[rows[rows < num_rows]] = True
        return out

    def _in_part(self, live: Live, lists: Lists, state: State, weights: Weights) -> Matches:
        part, fields = live.segment, np.flatnonzero(weights.fields)
        found = state.found(live, lists)
        if self.scored < len(self.slots):
            found = found.where((found.seen & np.uint64(self._wanted)) != 0)
        for phrase in self.phrases:
            found = found.where(_holds(found, phrase, state, part, fields))
        for phrase in self.excluded:
            found = found.where(~_holds(found, phrase, state, part, fields))
        return self._finished(found, lists, state, part, weights)

    @property
    def _wanted(self) -> int:
        return (1 << self.scored) - 1

    def _finished(self, found: Found, lists: Lists, state: State, part: Segment, weights: Weights) -> Matches:
        """With what pairs of words and having all words are worth, and the words that each row lacks."""
        docs, seen = frozen(found.docs), frozen(found.seen)
        rows, missing = np.empty(len(docs), np.int32), np.empty(len(docs), np.uint8)
        kernels.finish(
            part.rows, docs, seen, np.uint64(self._wanted), np.float32(weights.all_words if self.scored > 1 else 0),
            np.uint64(self.words), words_needed(self.words.bit_count()), found.score, rows, missing,
        )  # fmt: skip
        if self.pairs and weights.pairs > 0:
            shift = TITLE_BITS if lists.titles else 0
            kernels.add_pairs(
                part.words, part.splits, state.word_terms, part.lengths[TITLE], state.norm_FL[TITLE], docs, seen,
                frozen(np.array([pair.bits << shift for pair in self.pairs], np.uint64)),
                frozen(np.array([pair.terms for pair in self.pairs], np.int64)),
                frozen(np.array([pair.gaps[1] for pair in self.pairs], np.int64)),
                frozen(np.array([weights.pairs * state.pair_weight(pair.terms) for pair in self.pairs], np.float32)),
                found.score,
            )  # fmt: skip
        return Matches(rows, found.score, missing)


def joined(parts: Sequence[tuple[Matches, float]]) -> Matches:
    """What any of several ways to say a query finds: the best score (each times its factor), the fewest words missing."""
    if len(parts) == 1:
        return parts[0][0]
    rows = np.concatenate([matches.rows for matches, _ in parts])
    score = np.concatenate([matches.score * np.float32(factor) for matches, factor in parts])
    missing = np.concatenate([matches.missing for matches, _ in parts])
    distinct, at = np.unique(rows, return_inverse=True)
    best, fewest = np.zeros(len(distinct), np.float32), np.full(len(distinct), 255, np.uint8)
    np.maximum.at(best, at, score)
    np.minimum.at(fewest, at, missing)
    return Matches(distinct, best, fewest)


def words_needed(num_words: int) -> int:
    """How many of a query's words an item must hold: both of two, three quarters (rounded up) of more."""
    return num_words if num_words <= 2 else ceil(0.75 * num_words)


def _holds(found: Found, phrase: Phrase, state: State, part: Segment, fields: Array) -> Array:
    """bool[N]: the document has the phrase in one of these fields."""
    holds: Array = (found.seen & np.uint64(phrase.bits)) == np.uint64(phrase.bits)
    if len(phrase.terms) > 1:
        some = np.flatnonzero(holds)
        holds[some] = state.phrase_counts(part, found.docs[some], phrase.terms, phrase.gaps, fields) > 0
    return holds


def _key(word: Word) -> tuple[str, bool]:
    return word.term, word.is_prefix
