"""A plain BM25 over displayed text: what the annotator's pool and the default logging policy search with.

Deliberately simple (one field, a plural stripped, no synonyms), and apart from the engine: a world must not change when
the engine does.  Legend: I items.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from aisle.core.lists import Array

_WORD = re.compile(r"[^\W_]+")
K1, B = 1.2, 0.75


def words_of(text: str) -> list[str]:
    """Lower-case words, a final s stripped from the longer ones."""
    return [
        w[:-1] if len(w) > 3 and w.endswith("s") and not w.endswith("ss") else w for w in _WORD.findall(text.lower())
    ]


class Bm25:
    """``Bm25(texts).score(query)``: float32[I], 0 where no word matches."""

    def __init__(self, texts: Sequence[str]) -> None:
        postings: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
        length = np.zeros(len(texts))
        for i, text in enumerate(texts):
            words = words_of(text)
            length[i] = len(words)
            for word, count in Counter(words).items():
                rows, counts = postings[word]
                rows.append(i)
                counts.append(count)
        norm = K1 * (1 - B + B * length / max(length.mean(), 1.0))
        self._num_items = len(texts)
        self._impact: dict[str, tuple[Array, Array]] = {}
        for word, (rows, counts) in postings.items():
            row, tf = np.array(rows, np.int32), np.array(counts, float)
            idf = np.log1p((len(texts) - len(row) + 0.5) / (len(row) + 0.5))
            self._impact[word] = row, (idf * tf * (K1 + 1) / (tf + norm[row])).astype(np.float32)

    def score(self, query: str) -> Array:
        score = np.zeros(self._num_items, np.float32)
        for word in dict.fromkeys(words_of(query)):
            if word in self._impact:
                row, impact = self._impact[word]
                score[row] += impact
        return score

    def top(self, query: str, k: int) -> Array:
        """int32[<= k]: the best matching items, best first, ties to the lower row."""
        return best(self.score(query), k)


def best(score: Array, k: int) -> Array:
    """int32[<= k]: rows of the k highest positive scores, ties to the lower row."""
    rows = np.flatnonzero(score > 0)
    if len(rows) > 4 * k:
        # Everything that ties with the k-th stays in, so that the cut does not depend on the partition's order.
        rows = rows[score[rows] >= np.partition(score[rows], -k)[-k]]
    order: Array = rows[np.lexsort((rows, -score[rows]))][:k]
    return order.astype(np.int32)
