"""How a relevance stage serves: the top of the list within a budget, chances of grades, one grade by CumPT.

A ``Reader`` turns pairs into tokens and tokens into chances; a stage decides which pairs, for how long, and what is written.

Legend: Q requests, N candidates, C grades from worst to best.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from math import inf
from time import monotonic
from typing import Generic, TypeVar

import numpy as np
from pydantic import Field

from aisle.core import registry
from aisle.core.env import Env
from aisle.core.lists import Array, ItemLists
from aisle.core.method import Method
from aisle.core.requests import Requests
from aisle.core.roles import Reason
from aisle.core.shop import Items
from aisle.relevance._pairs import Pairs
from aisle.relevance._scale import Scale
from aisle.relevance._tiers import cumulative_grade

BAD, MID, GOOD = 0, 1, 2
"""Tiers as the column ``tier`` has them; -1 for a candidate that was not judged."""

EXPLAINED = 10
"""Rows of a page whose grade is explained at most."""


class ServedMethod(Method):
    """
    top        candidates of a request that are judged, those that a retriever ranked best
    budget_ms  time for them, per batch of requests; the request's own deadline holds as well
    chunk      items judged in one pass, between two looks at the clock
    """

    top: int = Field(50, ge=1)
    budget_ms: float = Field(200.0, gt=0)
    chunk: int = Field(16, ge=1)

    @property
    def writes(self) -> frozenset[str]:
        return frozenset({"relevance", "tier"})


class Reader(ABC):
    """A model that reads a query and an item and gives the chances of each grade."""

    @property
    @abstractmethod
    def scale(self) -> Scale: ...

    @abstractmethod
    def heads(self, queries: Sequence[str]) -> list[Array]:
        """int64 tokens of each query."""

    @abstractmethod
    def tails(self, items: Items, rows: Array) -> list[Array]:
        """int64 tokens of each item."""

    @abstractmethod
    def chances_of(self, heads: Sequence[Array], tails: Sequence[Array]) -> Array:
        """float32[N, C] of one pass: a head and a tail each."""

    def keeps_together(self, heads: Sequence[Array]) -> bool:
        """Whether pairs of one query had better stay side by side."""
        return False

    def chances(self, queries: Sequence[str], rows: Sequence[Array], items: Items, *, chunk: int = 64) -> Array:
        """float32[N, C] for the rows of each query in turn, ``chunk`` items a pass."""
        flat = np.concatenate([np.zeros(0, np.int32), *rows])
        query_N = np.repeat(np.arange(len(queries)), [len(r) for r in rows])
        heads, tails = self.heads(queries), self.tails(items, flat)
        out = np.zeros((len(flat), len(self.scale)), np.float32)
        # Items of like length go together, so that little is filled up.
        length_N = np.array([len(t) for t in tails], np.int64)
        order = np.lexsort((length_N, query_N) if self.keeps_together(heads) else (length_N,))
        for start in range(0, len(order), chunk):
            part = order[start : start + chunk]
            out[part] = self.chances_of([heads[q] for q in query_N[part]], [tails[n] for n in part])
        return out

    def chances_of_pairs(self, pairs: Pairs, items: Items) -> Array:
        """float32[N, C] of the pairs in their order."""
        out = np.zeros((len(pairs), len(self.scale)), np.float32)
        groups = pairs.by_query()
        if groups:
            flat = np.concatenate([places for _, places in groups])
            out[flat] = self.chances([query for query, _ in groups], [pairs.row[places] for _, places in groups], items)
        return out


R = TypeVar("R", bound=Reader)


class ServingStage(Generic[R]):
    """Fitted: ``relevance`` float32[N], the expected grade from 0 (worst) to 1 (best), and ``tier`` int8[N].

    What was not judged (beyond ``top``, or when time was up) takes the lowest relevance judged in its request, 0 where
    nothing was, and the tier -1.  ``threshold`` is CumPT's.
    """

    def __init__(self, method: ServedMethod, env: Env, reader: R, threshold: float) -> None:
        self.method, self.env, self.reader, self.threshold = method, env, reader, threshold

    def score(self, requests: Requests, candidates: ItemLists) -> Mapping[str, Array]:
        chance_NC, judged_N = self._judge(requests, candidates)
        relevance = filled(expected(chance_NC), judged_N, candidates)
        tier = np.where(judged_N, tiers(self.grades(chance_NC), chance_NC.shape[1]), -1)
        return {"relevance": relevance, "tier": tier.astype(np.int8)}

    def relevance(self, requests: Requests, candidates: ItemLists) -> Array:
        """float32[N] of every row, whatever time it takes."""
        return expected(self.chances(requests.query, candidates))

    def chances(self, queries: Sequence[str], lists: ItemLists) -> Array:
        """float32[N, C] of every row, whatever time it takes: for students, evaluation and ``aisle judge``."""
        rows = [lists.item[a:b] for a, b in zip(lists.splits[:-1], lists.splits[1:], strict=True)]
        return self.reader.chances(queries, rows, self.env.engine.items)

    def grades(self, chance_NC: Array) -> Array:
        """int64[N]: places on the scale, by CumPT."""
        return cumulative_grade(chance_NC, self.threshold)

    def explain(self, requests: Requests, page: ItemLists) -> list[list[Reason]]:
        """The grade of the first rows of a page, with the model's reasoning where it writes one."""
        asked = np.array([bool(query.strip()) for query in requests.query], bool)
        rows = np.flatnonzero(asked[page.owner])[:EXPLAINED] if len(page.item) else np.zeros(0, np.int64)
        out: list[list[Reason]] = [[] for _ in page.item]
        if not len(rows):
            return out
        shown = page.take(rows)
        chance_NC = self.chances(requests.query, shown)
        place_N, relevance_N = self.grades(chance_NC), expected(chance_NC)
        why = self.reasoning([requests.query[q] for q in shown.owner], shown.item)
        name, scale = registry.name_of(self.method), self.reader.scale
        for n, row in enumerate(rows.tolist()):
            words = f"judged {scale.names[place_N[n]]} ({100 * chance_NC[n, place_N[n]]:.0f}% sure){why[n]}"
            out[row] = [Reason(name, words, float(relevance_N[n]))]
        return out

    def reasoning(self, queries: Sequence[str], item: Array) -> list[str]:
        """What follows each grade in words; "" for a model that only grades."""
        return [""] * len(item)

    def _judge(self, requests: Requests, candidates: ItemLists) -> tuple[Array, Array]:
        """Chances [N, C], and which rows were judged bool[N]."""
        reader, items, owner = self.reader, self.env.engine.items, candidates.owner
        out = np.zeros((len(candidates.item), len(reader.scale)), np.float32)
        judged_N = np.zeros(len(candidates.item), bool)
        heads = reader.heads(requests.query)
        ends_s = min(requests.deadline_s, monotonic() + self.method.budget_ms / 1e3)
        longest_s = 0.0
        for part in _chunks(requests, candidates, self.method.top, self.method.chunk):
            start_s = monotonic()
            if start_s + longest_s > ends_s:
                break
            out[part] = reader.chances_of([heads[q] for q in owner[part]], reader.tails(items, candidates.item[part]))
            judged_N[part] = True
            longest_s = max(longest_s, monotonic() - start_s)
        return out, judged_N


def expected(chance_NC: Array) -> Array:
    """float32[N]: the mean grade, 0 the worst and 1 the best."""
    place_C = np.arange(chance_NC.shape[1], dtype=np.float32) / (chance_NC.shape[1] - 1)
    mean: Array = chance_NC @ place_C
    return mean.astype(np.float32)


def tiers(place_N: Array, num_grades: int) -> Array:
    """int64[N]: GOOD for the upper half of the grades, MID for the one below it, BAD for the rest (TaoSR1's four grades: two,
    one, one)."""
    good = (num_grades + 1) // 2
    middle = good - 1 if num_grades > 2 else good
    return np.where(place_N >= good, GOOD, np.where(place_N >= middle, MID, BAD))


def _chunks(requests: Requests, candidates: ItemLists, top: int, chunk: int) -> Iterator[Array]:
    """Rows to judge, ``chunk`` of a request at a time, the best-ranked first and requests in turn."""
    asked = np.array([bool(query.strip()) for query in requests.query], bool)
    place_N, owner = places(candidates), candidates.owner
    chosen = np.flatnonzero((place_N < top) & asked[owner]) if len(owner) else np.zeros(0, np.int64)
    turn = place_N[chosen] // chunk
    order = chosen[np.lexsort((place_N[chosen], owner[chosen], turn))]
    for start in range(0, len(order), chunk):
        yield order[start : start + chunk]


def places(candidates: ItemLists) -> Array:
    """int64[N]: 0 for the row of a request that some retriever ranked best, then 1, ...; ties go to the lower catalogue row.

    It does not depend on the order of the candidates.
    """
    best_N = np.full(len(candidates.item), np.iinfo(np.int64).max)
    for name, column in candidates.columns.items():
        if name.startswith("rank_"):
            best_N = np.minimum(best_N, np.where(column >= 0, column, best_N))
    order = np.lexsort((candidates.item, best_N, candidates.owner))
    place_N = np.empty(len(order), np.int64)
    place_N[order] = candidates.position
    return place_N


def filled(value_N: Array, judged_N: Array, candidates: ItemLists) -> Array:
    """The values, with the lowest judged one of the request where a row was not judged."""
    if not len(value_N):
        return value_N
    lowest_Q = np.full(len(candidates), inf, np.float32)
    np.minimum.at(lowest_Q, candidates.owner[judged_N], value_N[judged_N])
    lowest_Q[np.isinf(lowest_Q)] = 0.0
    filled: Array = np.where(judged_N, value_N, lowest_Q[candidates.owner])
    return filled.astype(np.float32)
