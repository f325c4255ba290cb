"""Loudness: what a judge's ``relevance`` counts for beside the ranking's ``score``, chosen on held-back queries.

Legend: Q queries, N candidates that people graded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aisle.core.lists import Array, ItemLists
from aisle.core.shop import Judgments

GRID = (0.0, 1.0, 2.0, 4.0, 8.0)
DEPTH = 10
LEAST_QUERIES, MOST_QUERIES = 30, 100
"""With fewer nothing is chosen; more are not asked, so that a slow judge grades no more pairs than for its own fit."""


@dataclass(frozen=True)
class Loudness:
    """
    value    candidates are ordered by ``score + value * relevance``
    queries  held-back queries that it was chosen on
    alone    their mean nDCG@10 by the ranking's score, of the candidates that people graded
    judged   the same with the judge at ``value``
    """

    value: float
    queries: int
    alone: float
    judged: float

    def __str__(self) -> str:
        return f"loudness {self.value:g}: nDCG@{DEPTH} {self.alone:.3f} to {self.judged:.3f} on {self.queries} held-back queries"


def asked_of(judged: Judgments, seed: int) -> Judgments:
    """The queries on which a loudness is chosen, drawn evenly where there are many; none where they are too few."""
    if len(judged) < LEAST_QUERIES:
        return judged.select(np.zeros(0, np.int64))
    drawn = np.random.default_rng((seed, 0x10DD)).permutation(len(judged))[:MOST_QUERIES]
    return judged.select(np.sort(drawn))


def chosen(graded: ItemLists, own: float) -> Loudness | None:
    """The loudness of the grid with the best mean nDCG; the judge's ``own`` where that leads by less than its standard error.

    Of equals the quietest.  ``graded`` has the columns ``score``, ``relevance`` and ``gain``.  Queries whose candidates all gain
    the same say nothing; None where fewer than LEAST_QUERIES say something.
    """
    ideal_Q = _gained(graded, graded["gain"])
    tells_Q = ideal_Q > _gained(graded, -graded["gain"])
    if tells_Q.sum() < LEAST_QUERIES:
        return None
    found = {
        value: _gained(graded, graded["score"] + value * graded["relevance"])[tells_Q] / ideal_Q[tells_Q]
        for value in dict.fromkeys((own, *GRID))
    }
    best = max(found, key=lambda value: float(found[value].mean()))
    lead_Q = found[best] - found[own]
    value = best if lead_Q.mean() > lead_Q.std(ddof=1) / np.sqrt(len(lead_Q)) else own
    return Loudness(value, len(lead_Q), float(found[0.0].mean()), float(found[value].mean()))


def _gained(graded: ItemLists, by_N: Array) -> Array:
    """float64[Q]: discounted gain of the first DEPTH in this order."""
    order = np.lexsort((graded.item, -by_N, graded.owner))
    discount_N = np.where(graded.position < DEPTH, 1.0 / np.log2(graded.position + 2.0), 0.0)
    return np.bincount(graded.owner, graded["gain"][order] * discount_N, len(graded))
