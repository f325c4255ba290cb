"""How far a model's grades are those of people, and where they part.

Legend: Q queries, N pairs, C grades from worst to best, B resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aisle.core.lists import Array, ItemLists

if TYPE_CHECKING:
    from aisle.core.shop import Items, Judgments

RESAMPLES = 1000
FURTHEST = 5
"""Pairs that are shown where people and model are furthest apart."""


@dataclass(frozen=True, eq=False)
class Agreement:
    """
    confusion    int64[C, C]  pairs by human grade (row) and the model's (column)
    names        of the grades, worst first
    kappa        agreement beyond chance; quadratic_kappa weighs an error by the square of its distance
    interval     of kappa, 95 %, resampled over queries; None for a single query
    optimism     P(model above) - P(model below)
    furthest     pairs on which the two are furthest apart
    """

    confusion: Array
    names: Sequence[str]
    num_queries: int
    kappa: float
    interval: tuple[float, float] | None
    quadratic_kappa: float
    macro_f1: float
    optimism: float
    furthest: Sequence[Apart] = ()

    @property
    def num_pairs(self) -> int:
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        return float(np.trace(self.confusion) / max(self.num_pairs, 1))

    @property
    def commonest(self) -> float:
        """The accuracy of always saying people's commonest grade."""
        return float(self.confusion.sum(1).max() / max(self.num_pairs, 1))

    def as_dict(self) -> dict[str, Any]:
        """As JSON values, figures to four digits."""
        figures = {
            "kappa": self.kappa, "quadratic_kappa": self.quadratic_kappa, "accuracy": self.accuracy,
            "commonest": self.commonest, "macro_f1": self.macro_f1, "optimism": self.optimism,
        }  # fmt: skip
        return {
            "pairs": self.num_pairs,
            "queries": self.num_queries,
            **{name: round(value, 4) for name, value in figures.items()},
            "kappa_interval": None if self.interval is None else [round(value, 4) for value in self.interval],
            "names": list(self.names),
            "confusion": self.confusion.tolist(),
            "furthest": [asdict(apart) for apart in self.furthest],
        }


@dataclass(frozen=True, slots=True)
class Apart:
    """A pair with the grades that people and the model give it, by name."""

    query: str
    item_id: str
    title: str
    people: str
    model: str


def agreement(
    scale: Any, items: Items, asked: Sequence[str], lists: ItemLists, human: Judgments, learned: set[str]
) -> Agreement | None:
    """Of the pairs that people graded, in queries that the model did not learn from; None where there is none.

    lists  what the model says, a list a query: column ``place`` int64[N]
    """
    from aisle.relevance._tiers import confusion, kappa, macro_f1, optimism

    place = {query: q for q, query in enumerate(human.query)}
    fresh = [q for q, query in enumerate(asked) if query in place and query not in learned]
    theirs = human.lists.select(np.array([place[asked[q]] for q in fresh], np.int64))
    if not len(theirs.item):
        return None
    said = lists.select(np.array(fresh, np.int64))
    gold_N, said_N = scale.places(theirs["grade"]), said["place"][said.find(theirs)]
    num = len(scale)
    of_query_QCC = np.stack([
        confusion(gold_N[a:b], said_N[a:b], num) for a, b in zip(theirs.splits[:-1], theirs.splits[1:], strict=True)
    ])  # fmt: skip
    counts = of_query_QCC.sum(0)
    return Agreement(
        counts, scale.names, len(fresh), kappa(counts), _interval(of_query_QCC), kappa(counts, quadratic=True),
        macro_f1(gold_N, said_N, num), optimism(counts),
        _furthest(scale.names, items, [asked[q] for q in fresh], theirs, gold_N, said_N),
    )  # fmt: skip


def _interval(of_query_QCC: Array) -> tuple[float, float] | None:
    """95 % of kappa over resampled queries: pairs of one query err together."""
    from aisle.relevance._tiers import kappa

    num_queries = len(of_query_QCC)
    if num_queries < 2:
        return None
    draw_BQ = np.random.default_rng(0).multinomial(num_queries, np.full(num_queries, 1 / num_queries), RESAMPLES)
    low, high = np.quantile([kappa(counts) for counts in np.tensordot(draw_BQ, of_query_QCC, 1)], [0.025, 0.975])
    return float(low), float(high)


def _furthest(
    names: Sequence[str], items: Items, queries: Sequence[str], theirs: ItemLists, gold_N: Array, said_N: Array
) -> list[Apart]:
    """The pairs with the largest distance in grades, one a query at most."""
    away_N, owner = np.abs(gold_N - said_N), theirs.owner
    order = np.lexsort((np.arange(len(owner)), -away_N))
    first = np.sort(np.unique(owner[order], return_index=True)[1])
    chosen = [n for n in order[first][:FURTHEST].tolist() if away_N[n]]
    rows = theirs.item[chosen]
    return [
        Apart(queries[owner[n]], item_id, title, names[gold_N[n]], names[said_N[n]])
        for n, item_id, title in zip(chosen, items.ids(rows), items.text("title", rows), strict=True)
    ]
