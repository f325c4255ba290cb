"""Reader: what the words of a query stand for in one state of the index: corrections, completions, synonyms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from aisle.core.lists import Array
from aisle.engine.embedded.analysis import LONGEST_QUERY, REMEMBERED, Query, Word
from aisle.engine.embedded.negation import Denial, negation, with_operators, without_denials, without_excluded
from aisle.engine.embedded.spelling import Guess
from aisle.engine.embedded.spelling_cjk import Pairs
from aisle.engine.embedded.synonyms import FACTOR, Span, SynonymFile
from aisle.engine.embedded.text_denials import Denials, Denied
from aisle.engine.embedded.text_query import Matches, Plan, Weights
from aisle.engine.embedded.text_state import Choice, State
from aisle.engine.embedded.text_words import Lexicon

MOST_CORRECTED = 8
"""Unknown words of one query that are looked up; more of them are another language or noise."""
MOST_COMPLETED = 512
"""Words that a prefix stands for, the most frequent ones."""
MOST_VARIANTS = 8
"""Ways to say a query with phrases for phrases; further ones are left out."""
COMPLETED, GUESSED = 0.7, 0.5
"""Share of a word's score that counts when it only begins as typed, or is the second best guess of what was meant."""
SURE_TIMES = 100
"""A rare word is taken for an error when one that is an edit away is so many times as frequent."""
USUAL = 10
"""So many matching products that say "sugar free" themselves make it the name of what is wanted."""


class Reading(NamedTuple):
    """What a query was understood as.

    queries   the parsed query with unknown words corrected, then the ways to say it with phrases that mean the same
    wanted    its text without what it says no to: what an encoder is to read
    unwanted  what it says no to in words ("without plastic"), as it was typed
    denied    the rows that have that, and those that say they have it not; None where nothing is said no to
    literal   the query with every word wanted: what rows that say the same as the query are scored by
    """

    queries: list[Query]
    wanted: str
    unwanted: tuple[str, ...] = ()
    denied: Denied | None = None
    literal: Query | None = None


class Reader:
    """Of one state; a new one is made with every change.  ``remembered`` is for what was evaluated in this state."""

    def __init__(self, lexicon: Lexicon, state: State, synonyms: SynonymFile) -> None:
        self.lexicon, self.state, self._synonyms = lexicon, state, synonyms
        self._titles_W = lexicon.titles_W
        self.remembered: dict[tuple[object, ...], Matches] = {}
        self._negation = negation(lexicon.analyser.language)
        self._denials = Denials(lexicon, state)
        self._read: dict[tuple[str, int], Reading] = {}
        self._meant: dict[str, list[Guess]] = {}

    @cached_property
    def _pairs(self) -> Pairs:
        return Pairs(self.lexicon.words[: len(self._titles_W)], self._titles_W)

    def reading(self, text: str) -> Reading:
        """What a text asks for and what it says no to; no queries for an empty text."""
        # One request asks for the same text several times: to match, to search, to score.
        key = text, self._synonyms.version
        known = self._read.get(key)
        if known is None:
            if len(self._read) >= REMEMBERED:
                self._read.clear()
            known = self._read[key] = self._understood(text)
        return known

    def queries(self, text: str) -> list[Query]:
        """The ways to say what a text asks for: ``reading``'s."""
        return self.reading(text).queries

    def forget(self) -> None:
        """Drop what is remembered of queries."""
        self.remembered.clear()
        self._read.clear()
        self._meant.clear()

    def _understood(self, text: str) -> Reading:
        if not self._negation.may_deny(text):
            return Reading(self._said_in_all_ways(text), without_excluded(text))
        text = with_operators(text[:LONGEST_QUERY])
        denials = self._negation.read(text, self._denials)
        rest = self._corrected(self.lexicon.analyser.query(without_denials(text, denials)))
        if not denials or not rest.scoring:
            # With nothing wanted beside it, "without a trace" is what is looked for.
            return Reading(self._said_in_all_ways(text), without_excluded(text))
        found = [self._denied(denial) for denial in denials]
        there = self._rows_of(rest, len(found[0].has))
        kept = [d.is_name and int((rows.denies & there).sum()) >= USUAL for d, rows in zip(denials, found, strict=True)]
        wanted = without_denials(text, [d for d, is_kept in zip(denials, kept, strict=True) if not is_kept])
        return Reading(
            self._said_in_all_ways(wanted),
            without_excluded(wanted),
            tuple(dict.fromkeys(t for denial in denials for t in denial.texts)),
            Denied.joined(found),
            None if all(kept) else self._corrected(self.lexicon.analyser.query(text)),
        )

    def _denied(self, denial: Denial) -> Denied:
        """The rows that have, or deny, what a query says no to; a word that is still being typed is waited for."""
        finished = [text for text in denial.texts if not text.endswith("*")]
        ways = [way for text in finished for way in self._ways(text)]
        return self._denials.rows(ways, self.state.num_rows)

    def _ways(self, text: str) -> list[Sequence[Word]]:
        """What is said no to, with typing errors corrected, and for a single word its synonyms."""
        words = self.lexicon.analyser.words(text)
        guesses = self._guesses(Query(tuple(words)))
        if len(words) == 1 and words[0].text in guesses:
            words = self.lexicon.analyser.words(guesses[words[0].text][0].text)
        also = [span.found for span in self._synonyms.rules.spans(words) if span.stop - span.start == len(words)]
        return [words, *also] if words else []

    def _rows_of(self, query: Query, num_rows: int) -> Array:
        """bool[I]: rows with the most words of a query."""
        matches = Plan.of(query, self.choices, self.lexicon.term).matches(self.state, Weights.of({}))
        there = np.zeros(num_rows, bool)
        if len(matches.rows):
            there[matches.rows[matches.missing == matches.missing.min()]] = True
        return there

    def _said_in_all_ways(self, text: str) -> list[Query]:
        query = self._corrected(self.lexicon.analyser.query(text))
        if query.is_empty:
            return []
        spans = [span for span in self._synonyms.rules.spans(query.words) if not _is_word(span)]
        return [query, *(_said(query, span) for span in spans[:MOST_VARIANTS])]

    @staticmethod
    def factor(n: int) -> float:
        """Share of the score that counts for the nth of ``queries``."""
        return 1.0 if n == 0 else FACTOR

    def choices(self, word: Word) -> tuple[Choice, ...]:
        """The terms that a word of a query stands for."""
        own = self.lexicon.term(word.term)
        if word.is_prefix:
            begun = self._begun(word.text)
            known = [Choice((own,))] if self._is_known(word.term) else []
            found = [*known, Choice(begun, COMPLETED if known else 1.0)] if begun else known
        else:
            found = [Choice((own,))]
        single = [span.found[0] for span in self._synonyms.rules.spans([word]) if _is_word(span)]
        also = [(self.lexicon.term(w.term), FACTOR) for w in single]
        also += [(self.lexicon.term(term), GUESSED) for term in word.others]
        return (*found, *(Choice((term,), factor) for term, factor in dict(also).items() if term not in (own, -1)))

    def suggestion(self, text: str) -> Guess | None:
        """The text with words corrected that no item holds, or that are rare beside a close one; None when all is well."""
        query = self.lexicon.analyser.query(text)
        guesses = {word: found[0] for word, found in self._guesses(query).items()}
        vocabulary = self.lexicon.vocabulary
        for word in query.words:
            if word.text not in guesses and not word.is_prefix and not self._negation.is_negating(word.text):
                likely = vocabulary.more_frequent(word.text, SURE_TIMES, self._titles_W)
                if likely:
                    guesses[word.text] = likely
        pieces = text.split()
        fixed = [self._fixed(piece, guesses) for piece in pieces]
        share = 1.0
        for guess in guesses.values():
            share *= guess.share
        return Guess(" ".join(fixed), share) if fixed != pieces else None

    def completions(self, prefix: str, limit: int) -> list[tuple[str, int]]:
        typed = self.lexicon.analyser.surface(prefix)
        if not typed:
            return []
        words = [n for n in self.lexicon.completions(typed[-1]) if n < len(self.state.word_terms)]
        counted = [(self.lexicon.words[n], int(self._titles_W[n])) for n in words]
        return sorted((pair for pair in counted if pair[1]), key=lambda pair: (-pair[1], pair[0]))[:limit]

    def _corrected(self, query: Query) -> Query:
        guesses = self._guesses(query)
        if not guesses:
            return query
        analyser = self.lexicon.analyser
        words: list[Word] = []
        for word in query.words:
            found = guesses.get(word.text)
            if found is None:
                words.append(word)
                continue
            start = words[-1].position + 1 if words else 0
            new = analyser.words(found[0].text)
            others = tuple(term for guess in found[1:] for term in analyser.terms(guess.text)) if len(new) == 1 else ()
            words += [Word(w.text, w.term, start + n, others=others) for n, w in enumerate(new)]
        return Query(tuple(words), query.phrases, query.excluded)

    def _guesses(self, query: Query) -> Mapping[str, list[Guess]]:
        unknown = [w for w in query.words if not self._is_known(w.term) and not (w.is_prefix and self._begun(w.text))]
        unknown = [w for w in unknown if not self._negation.is_negating(w.text)]
        found = {w.text: self._guessed(w.text) for w in unknown[:MOST_CORRECTED]}
        if any(not w.text.isascii() for w in unknown):
            found |= self._pairs.guesses([w.text for w in query.words], {w.text for w in unknown})
        return {text: guesses for text, guesses in found.items() if guesses}

    def _guessed(self, word: str) -> list[Guess]:
        """What an unknown word may stand for; searching and suggesting ask for it, one after the other."""
        known = self._meant.get(word)
        if known is None:
            if len(self._meant) >= REMEMBERED:
                self._meant.clear()
            known = self._meant[word] = self.lexicon.vocabulary.guesses(word, self._titles_W)
        return known

    def _is_known(self, term: str) -> bool:
        number = self.lexicon.term(term)
        return number >= 0 and bool(self.state.frequencies(number).any())

    def _begun(self, prefix: str) -> tuple[int, ...]:
        """Terms of the words that begin so, the most frequent in titles where they are many."""
        words = [n for n in self.lexicon.completions(prefix) if n < len(self.state.word_terms)]
        if len(words) > MOST_COMPLETED:
            words = sorted(words, key=lambda n: -int(self._titles_W[n]))[:MOST_COMPLETED]
        return tuple(sorted({int(self.state.word_terms[n]) for n in words}))

    def _fixed(self, piece: str, guesses: Mapping[str, Guess]) -> str:
        for text in self.lexicon.analyser.surface(piece):
            if text in guesses:
                piece = piece.lower().replace(text, guesses[text].text)
        return piece


def _is_word(span: Span) -> bool:
    """A word for a word, which needs no query of its own."""
    return span.stop - span.start == 1 == len(span.found)


def _said(query: Query, span: Span) -> Query:
    """The query with a phrase in the place of what it means."""
    words = (*query.words[: span.start], *query.words[span.stop :])
    if len(span.found) == 1:
        place = replace(span.found[0], position=query.words[span.start].position)
        words = (*query.words[: span.start], place, *query.words[span.stop :])
        return Query(words, query.phrases, query.excluded)
    return Query(words, (*query.phrases, span.found), query.excluded)
