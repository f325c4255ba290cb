"""Descriptive statistics by which a shop and its shoppers are compared with others.

Legend: Q queries, N words, K cut-off.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from aisle.core.lists import Array
from aisle.nn.encoders import Encoders
from aisle.simulate.lexical import Bm25, best, words_of

SAME_SIZE = 50_000
"""Vocabulary grows with text, so it is counted in the first so many words of a set."""

K = 10


@dataclass(frozen=True, eq=False)
class Shop:
    """Products and judgments of one shop; ``top`` is the grade of a full answer."""

    name: str
    products: pa.Table
    judgments: pa.Table
    gains: Mapping[int, float]

    @property
    def top(self) -> int:
        return max(self.gains, key=lambda grade: self.gains[grade])

    def texts(self, *columns: str) -> list[str]:
        values = (self.products[name].to_pylist() for name in columns)
        return [" ".join(v or "" for v in row) for row in zip(*values, strict=True)]

    def judged(self) -> dict[str, dict[int, int]]:
        """query -> row -> grade, of the queries that have an item with a gain."""
        row = {item: n for n, item in enumerate(self.products["item_id"].to_pylist())}
        found: dict[str, dict[int, int]] = {}
        columns = (self.judgments[name].to_pylist() for name in ("query", "item_id", "grade"))
        for query, item, grade in zip(*columns, strict=True):
            found.setdefault(query, {})[row[item]] = grade
        return {q: rows for q, rows in found.items() if any(self.gains.get(g, 0) > 0 for g in rows.values())}


def spread(values: Sequence[float] | Array) -> dict[str, float]:
    """Mean, 10th, 50th and 90th percentile."""
    low, middle, high = np.percentile(values, [10, 50, 90])
    return {"mean": float(np.mean(values)), "p10": float(low), "p50": float(middle), "p90": float(high)}


def words(texts: Sequence[str]) -> dict[str, float]:
    """Of titles: slope of the frequencies of the words of rank 10 to 1,000, share of words that occur once, and words
    that are different among the first SAME_SIZE."""
    every = [word for text in texts for word in words_of(text)]
    frequency = np.array(sorted(Counter(every).values(), reverse=True))
    rank = np.arange(1, len(frequency) + 1)
    part = slice(9, min(1000, len(frequency)))
    slope = np.polyfit(np.log(rank[part]), np.log(frequency[part]), 1)[0]
    return {
        "slope": float(slope),
        "once": float((frequency == 1).mean()),
        "vocabulary": float(len(set(every[:SAME_SIZE]))),
    }


def frequencies(texts: Sequence[str]) -> Array:
    """float64[N]: share of all words that each word has, most frequent first."""
    counts = np.array(sorted(Counter(w for t in texts for w in words_of(t)).values(), reverse=True), float)
    share: Array = counts / counts.sum()
    return share


def lexical_gap(shop: Shop) -> dict[str, float]:
    """Between queries and the titles of their full answers, mean over pairs: share of a query's words that the title
    lacks, that title and description lack, and share of pairs without a common word."""
    titles = [set(words_of(t)) for t in shop.texts("title")]
    texts = [set(words_of(t)) for t in shop.texts("title", "description")]
    lacks, lacks_all = [], []
    for query, rows in shop.judged().items():
        asked = set(words_of(query))
        for row, grade in rows.items():
            if grade == shop.top and asked:
                lacks.append(len(asked - titles[row]) / len(asked))
                lacks_all.append(len(asked - texts[row]) / len(asked))
    nothing = float(np.mean(np.array(lacks) == 1.0))
    return {"title": float(np.mean(lacks)), "text": float(np.mean(lacks_all)), "nothing": nothing}


def retrieval(shop: Shop) -> dict[str, Array]:
    """nDCG@10 of each query over the whole catalogue, titles only, unjudged 0: plain BM25, and MiniLM by cosine."""
    titles = shop.texts("title")
    judged = shop.judged()
    bm25 = Bm25(titles)
    encoder = Encoders()["minilm"]
    item_ID = encoder.encode(titles)
    query_QD = encoder.encode(list(judged))
    found: dict[str, list[float]] = {"bm25": [], "minilm": []}
    for query_D, (query, rows) in zip(query_QD, judged.items(), strict=True):
        gain = np.zeros(len(titles))
        gain[list(rows)] = [shop.gains.get(grade, 0.0) for grade in rows.values()]
        found["bm25"].append(_ndcg(gain, bm25.top(query, K)))
        found["minilm"].append(_ndcg(gain, best(1.0 + item_ID @ query_D, K)))
    return {name: np.array(values) for name, values in found.items()}


def _ndcg(gain_I: Array, rows: Array) -> float:
    discount = 1 / np.log2(np.arange(2, K + 2))
    ideal = np.sort(gain_I)[::-1][:K] @ discount
    return float(gain_I[rows] @ discount[: len(rows)] / ideal)


def five_core(user_N: Array, item_N: Array) -> tuple[Array, Array]:
    """The pairs left when users and items with fewer than five of them are dropped until none is."""
    while True:
        keep = (np.bincount(user_N)[user_N] >= 5) & (np.bincount(item_N)[item_N] >= 5)
        if keep.all():
            return user_N, item_N
        user_N, item_N = user_N[keep], item_N[keep]


def sequences(user_N: Array, item_N: Array) -> dict[str, float]:
    """Of interactions: their number a user, share with an item that the user had before, share of the busiest tenth of
    the items, and the largest item's share in thousandths."""
    _, length = np.unique(user_N, return_counts=True)
    _, counts = np.unique(item_N, return_counts=True)
    pairs = len(np.unique(np.stack([user_N, item_N]), axis=1).T)
    counts = np.sort(counts)[::-1]
    tenth = counts[: max(len(counts) // 10, 1)].sum() / counts.sum()
    return {
        **{f"length {name}": value for name, value in spread(length).items()},
        "repeats": 1 - pairs / len(user_N),
        "busiest tenth": float(tenth),
        "largest": float(1000 * counts[0] / counts.sum()),
    }


def categories(products: pa.Table) -> dict[str, float]:
    """Number of leaf categories, share of the items in the largest tenth of them, and in the largest."""
    first = [paths[0] if paths else "" for paths in products["category"].to_pylist()]
    counts = np.array(sorted(Counter(path for path in first if path).values(), reverse=True))
    total = counts.sum()
    tenth = counts[: max(round(len(counts) / 10), 1)].sum() / total
    return {"number": float(len(counts)), "largest tenth": float(tenth), "largest": float(counts[0] / total)}


def clicks_by_position(action: Array, position: Array) -> Array:
    """float64[K]: clicks over impressions at each place of a page."""
    shown = np.bincount(position[action == "impression"], minlength=K)[:K]
    clicked = np.bincount(position[action == "click"], minlength=K)[:K]
    rate: Array = clicked / np.maximum(shown, 1)
    return rate
