"""Typing errors in Chinese, Japanese and Korean text, which is indexed as overlapping pairs of characters.

A wrong character leaves two pairs that no text has.  What was meant stands between the same neighbours elsewhere: a
character c is a guess for the x of "axb" when titles hold the pairs "ac" and "cb".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from aisle.core.lists import Array
from aisle.engine.embedded.analysis import is_pair
from aisle.engine.embedded.spelling import Guess


class Pairs:
    """Pairs of characters and how often titles use them."""

    def __init__(self, words: Sequence[str], count_W: Array) -> None:
        self._after: dict[str, dict[str, int]] = defaultdict(dict)
        self._before: dict[str, dict[str, int]] = defaultdict(dict)
        for n in np.flatnonzero(count_W).tolist():
            if is_pair(words[n]):
                first, second = words[n][0], words[n][1]
                self._after[first][second] = self._before[second][first] = int(count_W[n])

    def guesses(self, words: Sequence[str], unknown: Collection[str]) -> Mapping[str, list[Guess]]:
        """Unknown pair -> what it may stand for, best first; a wrong character is mended in both pairs that it is in."""
        found: dict[str, list[Guess]] = {}
        for at, word in enumerate(words):
            if word not in unknown or not is_pair(word) or word in found:
                continue
            after = words[at + 1] if at + 1 < len(words) else ""
            joined = is_pair(after) and after[0] == word[1]
            if joined and after in unknown:
                count = self._between(word[0], after[1])
                for c in _best(count):
                    found[word], found[after] = _guess(count, c, word[0] + c), _guess(count, c, c + after[1])
            elif joined:
                count = self._before.get(word[1], {})
                for c in _best(count):
                    found[word] = _guess(count, c, c + word[1])
            else:
                count = self._after.get(word[0], {})
                for c in _best(count):
                    found[word] = _guess(count, c, word[0] + c)
        return found

    def _between(self, first: str, last: str) -> dict[str, int]:
        """Characters that titles have after the one and before the other."""
        after, before = self._after.get(first, {}), self._before.get(last, {})
        return {c: min(after[c], before[c]) for c in after.keys() & before.keys()}


def _best(count: Mapping[str, int]) -> list[str]:
    return sorted(count, key=lambda c: (-count[c], c))[:1]


def _guess(count: Mapping[str, int], character: str, text: str) -> list[Guess]:
    return [Guess(text, count[character] / sum(count.values()))]
