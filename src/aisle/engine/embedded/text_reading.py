"""Reader: what the words of a query stand for in one state of the index: corrections, completions, synonyms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

from aisle.engine.embedded.analysis import REMEMBERED, Query, Word
from aisle.engine.embedded.spelling import Guess
from aisle.engine.embedded.spelling_cjk import Pairs
from aisle.engine.embedded.synonyms import FACTOR, Span, SynonymFile
from aisle.engine.embedded.text_query import Matches
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


class Reader:
    """Of one state; a new one is made with every change.  ``remembered`` is for what was evaluated in this state."""

    def __init__(self, lexicon: Lexicon, state: State, synonyms: SynonymFile) -> None:
        self.lexicon, self.state, self._synonyms = lexicon, state, synonyms
        self._titles_W = lexicon.titles_W
        self.remembered: dict[tuple[object, ...], Matches] = {}
        self._read: dict[tuple[str, int], list[Query]] = {}
        self._meant: dict[str, list[Guess]] = {}

    @cached_property
    def _pairs(self) -> Pairs:
        return Pairs(self.lexicon.words[: len(self._titles_W)], self._titles_W)

    def queries(self, text: str) -> list[Query]:
        """The parsed query with unknown words corrected, then the ways to say it with phrases that mean the same.

        Empty for an empty query.
        """
        # One request asks for the same text several times: to match, to search, to score.
        key = text, self._synonyms.version
        known = self._read.get(key)
        if known is None:
            if len(self._read) >= REMEMBERED:
                self._read.clear()
            known = self._read[key] = self._said_in_all_ways(text)
        return known

    def forget(self) -> None:
        """Drop what is remembered of queries."""
        self.remembered.clear()
        self._read.clear()
        self._meant.clear()

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
            if word.text not in guesses and not word.is_prefix:
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
