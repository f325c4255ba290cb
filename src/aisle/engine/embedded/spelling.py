"""Did-you-mean: the most frequent close word of the shop's own titles.

Legend: V words of the vocabulary.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

_LETTERS = re.compile(r"[^\W\d_]{2,}")
_LONGEST = 32
RARE = 2
"""A word that fewer titles hold is no correction while a more frequent one is as close."""


def count_words(texts: Iterable[str]) -> Counter[str]:
    """How often each word of letters occurs."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(_LETTERS.findall(text.lower()))
    return counts


class Vocabulary:
    """Words with their frequency, searchable by edit distance (a swap of neighbours counts one)."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self.counts = {w: int(c) for w, c in counts.items() if len(w) <= _LONGEST}
        self._words = list(self.counts)
        self._length_V = np.array([len(w) for w in self._words], np.int16)
        self._letters_V = np.array([_letters(w) for w in self._words], np.uint64)

    def plus(self, counts: Mapping[str, int]) -> Vocabulary:
        """With these words counted too."""
        return Vocabulary(Counter(self.counts) + Counter(counts))

    def nearest(self, word: str) -> str | None:
        """A close word, or two words that ``word`` joins; None when nothing is close.

        Words under 4 letters are not corrected, under 7 letters by one edit, longer ones by two.
        """
        if len(word) < 4 or len(word) > _LONGEST or not word.isalpha():
            return None
        return self._within(word, 1) or self._split(word) or (self._within(word, 2) if len(word) >= 7 else None)

    def _within(self, word: str, distance: int) -> str | None:
        close = [w for w in self._candidates(word, distance) if edits(word, w, distance) <= distance]
        if not close:
            return None
        return min(close, key=lambda w: (self.counts[w] < RARE, w[0] != word[0], -self.counts[w], w))

    def _candidates(self, word: str, distance: int) -> list[str]:
        """Words whose length and letters allow that distance: one edit changes at most two letters of the set."""
        differ_V = np.bitwise_count(self._letters_V ^ _letters(word))
        near_V = (np.abs(self._length_V - len(word)) <= distance) & (differ_V <= 2 * distance)
        return [self._words[n] for n in np.flatnonzero(near_V)]

    def _split(self, word: str) -> str | None:
        cuts = [(word[:n], word[n:]) for n in range(2, len(word) - 1)]
        known = [(a, b) for a, b in cuts if min(self.counts.get(a, 0), self.counts.get(b, 0)) >= RARE]
        if not known:
            return None
        first, second = max(known, key=lambda cut: min(self.counts[cut[0]], self.counts[cut[1]]))
        return f"{first} {second}"


def edits(a: str, b: str, most: int) -> int:
    """Optimal string alignment distance, or ``most + 1`` as soon as it must be larger."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a):
        previous, row = row, [i + 1]
        for j, y in enumerate(b):
            cost = min(previous[j + 1] + 1, row[j] + 1, previous[j] + (x != y))
            if i and j and x == b[j - 1] and a[i - 1] == y:
                cost = min(cost, before[j - 1] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
        before = previous
    return row[-1]


def _letters(word: str) -> np.uint64:
    bits = 0
    for letter in word:
        bits |= 1 << (ord(letter) & 63)
    return np.uint64(bits)
