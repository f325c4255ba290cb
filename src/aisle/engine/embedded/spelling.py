"""Typing errors: the close words of the shop's own titles, most probable first.

How much is forgiven depends on the word: none under 4 letters, one edit under 7, two from there on (a swap of neighbours
is one edit).  Rare words are no corrections while a frequent one is as close: they are errors themselves as a rule.

Legend: V words of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import NamedTuple

import numpy as np

from aisle.core.lists import Array
from aisle.engine.embedded import text_kernels as kernels
from aisle.engine.embedded.compiled import frozen

SHORTEST, LONG, LONGEST = 4, 7, 32
RARE = 2
"""A word that fewer titles hold is no correction while a more frequent one is as close."""
MOST_GUESSES = 4
LIKELY = 0.1
"""A further guess is as frequent as this share of the best one."""


class Guess(NamedTuple):
    """What was meant; ``share``: how probable beside the other guesses, 0 to 1."""

    text: str
    share: float


class _Letters(NamedTuple):
    """Of words in a row: code uint32 holds their letters, word v from ``start`` int64[V] on, ``length`` int16[V] of them (0:
    no word that is ever meant); ``bits`` uint64[V] is the set of its letters."""

    code: Array
    start: Array
    length: Array
    bits: Array

    def plus(self, folded: Sequence[str]) -> _Letters:
        """With these words too."""
        words = [word if 2 <= len(word) <= LONGEST and word.isalpha() else "" for word in folded]
        length = np.array([len(word) for word in words], np.int16)
        start = np.concatenate([[0], np.cumsum(length)])[:-1].astype(np.int64)
        code = np.frombuffer("".join(words).encode("utf-32-le"), np.uint32)
        bits = np.zeros(len(words), np.uint64)
        some = length > 0
        if some.any():
            letter = np.left_shift(np.uint64(1), (code & 63).astype(np.uint64))
            bits[some] = np.bitwise_or.reduceat(letter, start[some])
        new = _Letters(code, start + len(self.code), length, bits)
        return _Letters(*(frozen(np.concatenate([old, more])) for old, more in zip(self, new, strict=True)))


NO_LETTERS = _Letters(*(frozen(np.zeros(0, kind)) for kind in (np.uint32, np.int64, np.int16, np.uint64)))


class Vocabulary:
    """Words of a lexicon that grows; how often titles use them is said with each question, as int64[V].

    words   as they are shown
    folded  as they are compared: lower case, no accents
    number  of a word in lower case, -1 when it is unknown
    """

    def __init__(self, words: Sequence[str], folded: Sequence[str], number: Callable[[str], int]) -> None:
        self._words, self._folded, self._number = words, folded, number
        self._letters, self._growing = NO_LETTERS, Lock()

    def guesses(self, word: str, count_V: Array) -> list[Guess]:
        """What a word that no text has may stand for, best first: close words, or two words that it joins."""
        if not (SHORTEST <= len(word) <= LONGEST and word.isalpha()):
            return []
        close = self._within(word, 1, count_V) or self._split(word, count_V)
        return close or (self._within(word, 2, count_V) if len(word) >= LONG else [])

    def more_frequent(self, word: str, times: float, count_V: Array) -> Guess | None:
        """A word one edit away that titles use so many times as often as this one, which is rare."""
        own = self._count(word, count_V)
        if own > RARE or not (SHORTEST < len(word) <= LONGEST and word.isalpha()):
            return None
        return next(iter(self._within(word, 1, count_V, least=max(1, own) * times)), None)

    def _grown(self) -> _Letters:
        with self._growing:
            known = len(self._letters.length)
            if known < len(self._folded):
                self._letters = self._letters.plus(self._folded[known:])
            return self._letters

    def _within(self, word: str, distance: int, count_V: Array, least: float = 1) -> list[Guess]:
        letters = self._grown()
        near = _candidates(word, distance, letters, count_V)
        typed = frozen(np.frombuffer(word.encode("utf-32-le"), np.uint32))
        cost = kernels.edits(letters.code, letters.start, letters.length, frozen(near), typed, distance)
        near = near[(cost <= distance) & (cost > 0) & (count_V[near] >= least)]
        if not len(near):
            return []
        found = sorted(near.tolist(), key=lambda v: self._order(v, word, count_V))
        best = int(count_V[found[0]])
        enough = max(LIKELY * best, min(RARE, best))
        kept = [v for v in found if count_V[v] >= enough][:MOST_GUESSES]
        total = float(count_V[near].sum())
        return [Guess(self._words[v], float(count_V[v]) / total) for v in kept]

    def _order(self, v: int, typed: str, count_V: Array) -> tuple[bool, bool, int, str]:
        """Frequent words first, then those with the same first letter, which is seldom mistyped."""
        count = int(count_V[v])
        return count < RARE, self._folded[v][0] != typed[0], -count, self._words[v]

    def _split(self, word: str, count_V: Array) -> list[Guess]:
        cuts = [(word[:n], word[n:]) for n in range(2, len(word) - 1)]
        count = {cut: min(self._count(part, count_V) for part in cut) for cut in cuts}
        best = max(count, key=count.__getitem__)
        return [Guess(" ".join(best), count[best] / sum(count.values()))] if count[best] >= RARE else []

    def _count(self, word: str, count_V: Array) -> int:
        number = self._number(word)
        return int(count_V[number]) if 0 <= number < len(count_V) else 0


def _candidates(word: str, distance: int, letters: _Letters, count_V: Array) -> Array:
    """int64: words whose length and letters allow that distance: one edit changes at most two letters of the set."""
    size = len(count_V)
    bits = np.bitwise_or.reduce([np.uint64(1) << np.uint64(ord(letter) & 63) for letter in word])
    near_V = np.bitwise_count(letters.bits[:size] ^ bits) <= 2 * distance
    near_V &= (np.abs(letters.length[:size] - len(word)) <= distance) & (count_V > 0) & (letters.length[:size] > 0)
    return np.flatnonzero(near_V)
