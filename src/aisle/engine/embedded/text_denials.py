"""Which rows have what a query says no to, and which say themselves that they have it not.

A row *has* it where its title, brand, category or attributes name it; a description mentions much that a product is not.  A row
*denies* it where any of its texts says so: "without plastic", "free of lead, zinc and nickel", "sugar-free", "strapless".  What it
denies it has not, whatever else it says.

Legend: I items, N documents, T terms, K negating phrases, J terms of a phrase, F fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from aisle.core.lists import Array
from aisle.core.shop import TEXT_FIELDS
from aisle.engine.embedded.analysis import Word
from aisle.engine.embedded.compiled import compiled, frozen
from aisle.engine.embedded.negation_words import words_of
from aisle.engine.embedded.text_segment import NUM_FIELDS
from aisle.engine.embedded.text_state import NO_TERM, Live, State
from aisle.engine.embedded.text_words import Lexicon

TOGETHER = 0.2
"""Words that stand side by side in this share of the documents of the rarer one belong together."""
TELLING_F = np.array([field in ("title", "brand", "category", "attributes") for field in TEXT_FIELDS])
REACH = 6
"""Words of a list that a far-reaching word says no to: "free of parabens, sulfates and silicones"."""
HAS, DENIES = 1, 2
BETWEEN, BEHIND, ENDS = 1, 2, 4


class Denied(NamedTuple):
    """has, denies bool[I]: rows that have what is not wanted, and rows that say they have it not; no row is both."""

    has: Array
    denies: Array

    @classmethod
    def joined(cls, parts: Sequence[Denied]) -> Denied:
        """Rows that have any of it; rows that deny some of it and have none."""
        has = np.logical_or.reduce([part.has for part in parts])
        return cls(has, np.logical_or.reduce([part.denies for part in parts]) & ~has)


class Denials:
    """Looks into the texts of one state."""

    def __init__(self, lexicon: Lexicon, state: State) -> None:
        self._lexicon, self._state = lexicon, state
        self._words = words_of(lexicon.analyser.language)

    def is_known(self, word: str) -> bool:
        """Whether some text holds the word."""
        return self._frequency(self._term(word)) > 0

    def stand_together(self, first: str, second: str) -> bool:
        """Whether the rarer of two words stands beside the other as a rule: "stainless steel", not "leather black"."""
        terms = self._term(first), self._term(second)
        rarer = min(terms, key=self._frequency)
        number = self._frequency(rarer)
        if not number:
            return False
        beside = 0
        for live in self._state.parts:
            docs = _holding(live, rarer)
            beside += int((self._state.phrase_counts(live.segment, docs, terms, (0, 1), _FIELDS) > 0).sum())
        return beside >= TOGETHER * number

    def rows(self, ways: Sequence[Sequence[Word]], num_rows: int) -> Denied:
        """The rows that have or deny a thing that can be said in these ways, each a word or words that stand together."""
        seen = np.zeros(num_rows, np.uint8)
        for way in ways:
            terms = tuple(self._lexicon.term(word.term) for word in way)
            gaps = tuple(word.position - way[0].position for word in way)
            if NO_TERM not in terms:
                self._mark(terms, gaps, seen)
            if len(way) == 1:
                self._mark_joined(terms[0], way[0], seen)
        denies = (seen & DENIES) > 0
        return Denied(((seen & HAS) > 0) & ~denies, denies)

    def _mark(self, terms: Sequence[int], gaps: Sequence[int], seen: Array) -> None:
        """Note in ``seen`` uint8[I] which rows have, and which deny, these terms."""
        term_J, gap_J = frozen(np.array(terms, np.int64)), frozen(np.array(gaps, np.int64))
        rarest = min(terms, key=self._frequency)
        for live in self._state.parts:
            docs, part = _holding(live, rarest), live.segment
            found = mentions(
                part.words, part.splits, self._state.word_terms, self._role_T, NUM_FIELDS, TELLING_F,
                frozen(docs), term_J, gap_J, self._phrase_KJ, self._is_far_K,
            )  # fmt: skip
            self._note(live, docs, found, seen)

    def _mark_joined(self, term: int, word: Word, seen: Array) -> None:
        """Note the rows that deny a word in one with it: "sugarfree", "strapless"."""
        same = np.flatnonzero(self._state.word_terms == term).tolist() if term >= 0 else []
        forms = {word.text, word.term, *(self._lexicon.folded[w] for w in same)}
        ends = (*self._words.endings, *self._words.suffixes)
        joined = {self._term(f"{form}{end}") for form in forms for end in ends} - {NO_TERM}
        for live in self._state.parts:
            for one in joined:
                docs = _holding(live, one)
                self._note(live, docs, np.full(len(docs), DENIES, np.uint8), seen)

    @staticmethod
    def _note(live: Live, docs: Array, found: Array, seen: Array) -> None:
        rows = live.segment.rows[docs]
        inside = rows < len(seen)
        seen[rows[inside]] |= found[inside]

    def _term(self, word: str) -> int:
        terms = self._lexicon.analyser.terms(word)
        return self._lexicon.term(terms[0]) if len(terms) == 1 else NO_TERM

    def _frequency(self, term: int) -> int:
        """Documents that hold the term in the field that holds it most often."""
        return int(self._state.frequencies(term).max())

    @cached_property
    def _role_T(self) -> Array:
        """uint8[T]: what a term does beside a negating phrase."""
        role_T = np.zeros(len(self._lexicon.terms), np.uint8)
        kinds = ((self._words.between, BETWEEN), (self._words.behind, BEHIND), (self._words.ends, ENDS))
        for words, role in kinds:
            for word in words:
                if (term := self._term(word)) >= 0:
                    role_T[term] |= role
        return frozen(role_T)

    @cached_property
    def _phrases(self) -> list[tuple[list[int], bool]]:
        """Terms of each negating phrase that the texts can hold, and whether it reaches far."""
        far, near = self._words.far, self._words.near
        phrases = [(self._lexicon.analyser.terms(text), n < len(far)) for n, text in enumerate((*far, *near))]
        numbered = [([self._lexicon.term(term) for term in terms], is_far) for terms, is_far in phrases]
        return [(terms, is_far) for terms, is_far in numbered if NO_TERM not in terms]

    @cached_property
    def _phrase_KJ(self) -> Array:
        """int64[K, J], filled up with -1 in front, so that the last word of each stands in the last column."""
        longest = max((len(terms) for terms, _ in self._phrases), default=1)
        rows = [[NO_TERM] * (longest - len(terms)) + terms for terms, _ in self._phrases]
        return frozen(np.array(rows, np.int64).reshape(-1, longest))

    @cached_property
    def _is_far_K(self) -> Array:
        return frozen(np.array([is_far for _, is_far in self._phrases], bool))


_FIELDS = np.arange(NUM_FIELDS)


def _holding(live: Live, term: int) -> Array:
    """int32[N], ascending: living documents that hold a term in any field."""
    part = live.segment
    first, size = part.lists(term)
    docs = np.unique(part.docs[part.starts[first] : part.starts[first + size]]) if size else np.zeros(0, np.int32)
    living: Array = docs[~live.dead[docs]]
    return living


@compiled
def mentions(
    words: Array, splits: Array, term_W: Array, role_T: Array, num_fields: int, telling_F: Array,
    doc_N: Array, term_J: Array, gap_J: Array, phrase_KJ: Array, is_far_K: Array,
) -> Array:  # fmt: skip
    """uint8[N]: HAS where a telling field names the terms, at these distances from the first; DENIES where one says no to them."""
    out = np.zeros(len(doc_N), np.uint8)
    J, num_docs = len(term_J), (len(splits) - 1) // num_fields
    for n in range(len(doc_N)):
        for field in range(num_fields):
            slot = field * num_docs + doc_N[n]
            low, high = np.int64(splits[slot]), np.int64(splits[slot + 1])
            for p in range(low, high - gap_J[J - 1]):
                j = 0
                while j < J and words[p + gap_J[j]] >= 0 and term_W[words[p + gap_J[j]]] == term_J[j]:
                    j += 1
                if j < J:
                    continue
                if _is_behind(words, term_W, role_T, p + gap_J[J - 1] + 1, high) or _is_before(
                    words, term_W, role_T, low, p - 1, phrase_KJ, is_far_K
                ):
                    out[n] |= DENIES
                elif telling_F[field]:
                    out[n] |= HAS
    return out


@compiled
def _is_behind(words: Array, term_W: Array, role_T: Array, p: Any, high: Any) -> bool:
    """Whether the word at p says no to the one before it: "sugar free", but not "plastic free of BPA"."""
    if p >= high or words[p] < 0 or role_T[term_W[words[p]]] & BEHIND == 0:
        return False
    return bool(p + 1 >= high or words[p + 1] < 0 or role_T[term_W[words[p + 1]]] & BETWEEN == 0)


@compiled
def _is_before(words: Array, term_W: Array, role_T: Array, low: Any, p: Any, phrase_KJ: Array, is_far_K: Array) -> bool:
    """Whether a negating phrase says no to the word behind p: at once, over words such as "any", or as one of a list."""
    K, width = phrase_KJ.shape
    listed, only_between = 0, False
    while p >= low and words[p] >= 0 and listed <= REACH:
        for k in range(K):
            if is_far_K[k] or listed == 0:
                j = 0
                while j < width and phrase_KJ[k, width - 1 - j] >= 0:
                    if p - j < low or words[p - j] < 0 or term_W[words[p - j]] != phrase_KJ[k, width - 1 - j]:
                        break
                    j += 1
                if j == width or phrase_KJ[k, width - 1 - j] < 0:
                    return True
        role = role_T[term_W[words[p]]]
        if role & BETWEEN:
            only_between = True
        elif only_between or role & ENDS:
            return False
        else:
            listed += 1
        p -= 1
    return False
