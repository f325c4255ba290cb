"""Atomic rules: short statements of how pairs are graded, found again for the pair at hand.

A shop's own rules come as a file, one a line; they are used when rationales are written and when a larger model is asked, and
need not stand in the prompt that serves: fine-tuning takes them in.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from math import log
from pathlib import Path

from aisle.core.errors import DataError

_WORD = re.compile(r"[^\W_]+")

DEFAULT_RULES = (
    "category: a product of another kind than the one asked for is irrelevant, whatever else holds",
    "category: a product that can stand in for the one asked for is at best related",
    "category: an accessory, a spare part or a refill of the product asked for is another kind of product",
    "category: a set that contains the product asked for is of the right kind",
    "negation: not, without, no, non: a product that has what is not wanted is a mismatch",
    "negation: a product that says nothing of what is not wanted is related, not excellent",
    "alternative: cheaper than a brand, like a brand, a dupe: the brand itself is a mismatch",
    "alternative: a product that costs more than the brand usually does is a mismatch",
    "price: under, below, max: a product up to a quarter dearer is related, a dearer one is a mismatch",
    "brand: a product of another brand than the one asked for is a mismatch",
    "colour, material, pattern: another shade of what was asked is related, another one is a mismatch",
    "size, weight, capacity: a number that differs from the one asked for is a mismatch",
    "question: a need without a product is met by every kind of product that helps with it",
    "knowledge: an aim is met by the kind of product and the property that it takes",
    "use: a product made for another use is a mismatch",
    "silence: what a product does not say is missed, not contradicted",
)


class RuleStore:
    """Rules by the words they share with a text, rare words first (TF-IDF, lengths evened out)."""

    def __init__(self, rules: Sequence[str] = DEFAULT_RULES) -> None:
        self.rules = tuple(rules)
        self._words = [Counter(_words(rule)) for rule in self.rules]
        seen = Counter(word for words in self._words for word in words)
        self._weight = {word: log(1 + len(self.rules) / count) for word, count in seen.items()}
        self._length = [
            max(sum(self._weight[w] ** 2 * n for w, n in words.items()), 1e-9) ** 0.5 for words in self._words
        ]

    @classmethod
    def read(cls, path: Path) -> RuleStore:
        """One rule a line; blank lines and lines that begin with # are passed over.  Raises DataError for an empty file."""
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{path} could not be read as rules ({error}); give a UTF-8 text file, one rule a line"
            ) from None
        rules = [line for line in lines if line and not line.startswith("#")]
        if not rules:
            raise DataError(f"{path} holds no rule; write one a line, such as '{DEFAULT_RULES[0]}'")
        return cls(rules)

    def find(self, text: str, k: int = 3) -> list[str]:
        """The k rules that a text calls for, the best first; fewer where fewer share a word with it."""
        asked = Counter(_words(text))
        scored = [
            (sum(self._weight[w] ** 2 * n * words[w] for w, n in asked.items() if w in words) / length, -place)
            for place, (words, length) in enumerate(zip(self._words, self._length, strict=True))
        ]
        best = sorted((pair for pair in scored if pair[0] > 0), reverse=True)[:k]
        return [self.rules[-place] for _, place in best]


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]
