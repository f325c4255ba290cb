"""Typing errors: the close words of the shop's own titles, most probable first.

How much is forgiven depends on the word: none under 4 letters, one edit under 7, two from there on (a swap of neighbours
is one edit).  Rare words are no corrections while a frequent one is as close: they are errors themselves as a rule.

Legend: V words of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
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


class Vocabulary:
    """Words and how often titles use them.

    words   as they are shown
    folded  as they are compared: lower case, no accents
    """

    def __init__(self, words: Sequence[str], folded: Sequence[str], count_W: Array) -> None:
        kept = [n for n in np.flatnonzero(count_W).tolist() if 2 <= len(folded[n]) <= LONGEST and folded[n].isalpha()]
        self._words = [words[n] for n in kept]
        self._folded = [folded[n] for n in kept]
        self._count_V = count_W[kept]
        self._count = dict(zip(self._folded, self._count_V.tolist(), strict=True))
        length_V = np.array([len(word) for word in self._folded], np.int16)
        starts = np.concatenate([[0], np.cumsum(length_V)]).astype(np.int64)[:-1]
        letters = np.frombuffer("".join(self._folded).encode("utf-32-le"), np.uint32)
        self._code, self._start_V, self._length_V = frozen(letters), frozen(starts), frozen(length_V)
        bits = np.left_shift(np.uint64(1), (letters & 63).astype(np.uint64))
        self._letters_V = np.bitwise_or.reduceat(bits, starts) if len(kept) else np.zeros(0, np.uint64)

    def __len__(self) -> int:
        return len(self._words)

    def guesses(self, word: str) -> list[Guess]:
        """What a word that no text has may stand for, best first: close words, or two words that it joins."""
        if not (SHORTEST <= len(word) <= LONGEST and word.isalpha()):
            return []
        return self._within(word, 1) or self._split(word) or (self._within(word, 2) if len(word) >= LONG else [])

    def nearest(self, word: str) -> str | None:
        """The best guess, or None."""
        found = self.guesses(word)
        return found[0].text if found else None

    def more_frequent(self, word: str, times: float) -> Guess | None:
        """A word one edit away that titles use so many times as often as this one, which is rare."""
        own = self._count.get(word, 0)
        if own > RARE or not (SHORTEST < len(word) <= LONGEST and word.isalpha()):
            return None
        return next(iter(self._within(word, 1, least=max(1, own) * times)), None)

    def _within(self, word: str, distance: int, least: float = 0) -> list[Guess]:
        near = self._candidates(word, distance)
        typed = frozen(np.frombuffer(word.encode("utf-32-le"), np.uint32))
        cost = kernels.edits(self._code, self._start_V, self._length_V, frozen(near), typed, distance)
        near = near[(cost <= distance) & (cost > 0) & (self._count_V[near] >= least)]
        if not len(near):
            return []
        found = sorted(near.tolist(), key=lambda v: self._order(v, word))
        best = int(self._count_V[found[0]])
        enough = max(LIKELY * best, min(RARE, best))
        kept = [v for v in found if self._count_V[v] >= enough][:MOST_GUESSES]
        total = float(self._count_V[near].sum())
        return [Guess(self._words[v], float(self._count_V[v]) / total) for v in kept]

    def _order(self, v: int, typed: str) -> tuple[bool, bool, int, str]:
        """Frequent words first, then those with the same first letter, which is seldom mistyped."""
        count = int(self._count_V[v])
        return count < RARE, self._folded[v][0] != typed[0], -count, self._words[v]

    def _candidates(self, word: str, distance: int) -> Array:
        """int64: words whose length and letters allow that distance: one edit changes at most two letters of the set."""
        bits = np.bitwise_or.reduce([np.uint64(1) << np.uint64(ord(letter) & 63) for letter in word])
        near_V = np.bitwise_count(self._letters_V ^ bits) <= 2 * distance
        near_V &= np.abs(self._length_V - len(word)) <= distance
        return np.flatnonzero(near_V)

    def _split(self, word: str) -> list[Guess]:
        cuts = [(word[:n], word[n:]) for n in range(2, len(word) - 1)]
        count = {cut: min(self._count.get(cut[0], 0), self._count.get(cut[1], 0)) for cut in cuts}
        best = max(count, key=count.__getitem__)
        return [Guess(" ".join(best), count[best] / sum(count.values()))] if count[best] >= RARE else []
