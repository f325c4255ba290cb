"""Pairs: the judged (query, item) pairs of a view as columns, with the class mix that training wants.

Legend: N pairs, Q queries, C grades.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aisle.core.errors import DataError
from aisle.core.lists import Array
from aisle.core.shop import Judgments, ShopView
from aisle.relevance._scale import Scale, scale_of_judgments


@dataclass(frozen=True, eq=False)
class Pairs:
    """
    queries  the distinct queries
    query    int64[N]  index into ``queries``
    row      int32[N]  catalogue row
    label    int64[N]  place of the grade on ``scale``
    """

    scale: Scale
    queries: Sequence[str]
    query: Array
    row: Array
    label: Array

    def __len__(self) -> int:
        return len(self.row)

    def take(self, pairs_N: Array) -> Pairs:
        return Pairs(self.scale, self.queries, self.query[pairs_N], self.row[pairs_N], self.label[pairs_N])

    @property
    def texts(self) -> list[str]:
        """The query of each pair."""
        return [self.queries[q] for q in self.query]

    def by_query(self) -> list[tuple[str, Array]]:
        """Each query that has pairs, with their places int64[...]."""
        order = np.argsort(self.query, kind="stable")
        starts = np.flatnonzero(np.diff(self.query[order], prepend=-1))
        return [(self.queries[int(self.query[part[0]])], part) for part in np.split(order, starts[1:]) if len(part)]

    def counts(self) -> Array:
        """int64[C]: pairs of each grade."""
        return np.bincount(self.label, minlength=len(self.scale))


def pairs_of(judgments: Judgments, scale: Scale) -> Pairs:
    lists = judgments.lists
    return Pairs(scale, list(judgments.query), lists.owner.astype(np.int64), lists.item, scale.places(lists["grade"]))


def training_pairs(shop: ShopView) -> tuple[Pairs, Pairs]:
    """(training, validation) pairs, apart by query.

    Raises DataError where there is nothing to learn from: no pair, none of an item that is known, or one grade alone.
    """
    train, held = shop.judgments("train"), shop.judgments("validation")
    if not len(train.lists.item):
        raise DataError(_why_none(train, held))
    grades = np.unique(train.lists["grade"])
    if len(grades) == 1:
        raise DataError(
            f"all {len(train.lists.item)} pairs to learn from have the grade {grades[0]}, and it takes two or more; "
            "grade pairs that fit worse or better as well, and ingest them all"
        )
    scale = scale_of_judgments(train)
    return pairs_of(train, scale), pairs_of(held, scale)


def _why_none(train: Judgments, held: Judgments) -> str:
    """What is missing where no pair can be learned from, and what helps."""
    if len(held.lists.item):
        return (
            f"all {len(held.query)} judged queries with known items are set aside for validation, so none is left to learn from; "
            "grade some queries more"
        )
    if len(train.query) or len(held.query):
        return (
            f"of the items that {len(train.query) + len(held.query)} judged queries name, the catalogue has none; see that item_id "
            "means the same in judgments and products, and ingest the judgments again"
        )
    return (
        "relevance is learned from graded pairs and this shop has none; ingest a table of query, item_id and grade with "
        "'aisle ingest judgments.csv --into SHOP'"
    )


def split_by_query(pairs: Pairs, share: float, seed: int) -> tuple[Pairs, Pairs]:
    """(the rest, a share of the queries with all their pairs)."""
    queries = np.unique(pairs.query)
    random = np.random.default_rng((seed, 0x5B11))
    taken = random.permutation(queries)[: round(share * len(queries))]
    is_taken_N = np.isin(pairs.query, taken)
    return pairs.take(np.flatnonzero(~is_taken_N)), pairs.take(np.flatnonzero(is_taken_N))


def first_queries(pairs: Pairs, most: int) -> Pairs:
    """The pairs of the first queries that have ``most`` pairs together, in their order; of one query at least."""
    queries, counts = np.unique(pairs.query, return_counts=True)
    kept = queries[: max(int(np.searchsorted(counts.cumsum(), most, "right")), 1)]
    return pairs.take(np.flatnonzero(np.isin(pairs.query, kept)))


def balanced(pairs: Pairs, per_grade: int, seed: int) -> Array:
    """int64[...]: places of at most ``per_grade`` pairs of each grade, drawn evenly: the class-balanced pool (CV = 0 where every
    grade has enough)."""
    random = np.random.default_rng((seed, 0xBA1))
    parts = [np.flatnonzero(pairs.label == label) for label in range(len(pairs.scale))]
    chosen = [random.permutation(part)[:per_grade] for part in parts]
    return random.permutation(np.concatenate(chosen))


def variation(counts_C: Array) -> float:
    """The coefficient of variation of class counts, standard deviation over mean: 0 for a balanced set."""
    return float(counts_C.std() / max(counts_C.mean(), 1e-12))


def class_weights(pairs: Pairs) -> Array:
    """float64[C]: N / (C * pairs of the grade), 0 for a grade without pairs; their mean over pairs is 1."""
    counts = pairs.counts()
    weight: Array = np.divide(len(pairs), len(counts) * counts, out=np.zeros(len(counts)), where=counts > 0)
    return weight
