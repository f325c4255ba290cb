"""What a fitted stage of each folder can do.  Narrow on purpose: a scorer cannot drop a row.

Legend: Q requests, N candidate rows, K cut-off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from aisle.core.bags import Bags
from aisle.core.lists import Array, ItemLists
from aisle.core.requests import Requests


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an item stands where it does: words for a person, and how much it counted where that is known."""

    stage: str
    words: str
    weight: float | None = None


Reasons = Sequence[Sequence[Reason]]
"""One list of reasons for each row of the page, row-aligned with its ItemLists."""


@runtime_checkable
class ItemEnricher(Protocol):
    def enrich_items(self, rows: Array) -> Mapping[str, Array]:
        """Columns of these catalogue rows, offline and again on upsert."""
        ...


@runtime_checkable
class RequestEnricher(Protocol):
    def enrich_requests(self, requests: Requests) -> Mapping[str, Array]:
        """Columns of the requests, each array[Q, ...]."""
        ...


@runtime_checkable
class Retriever(Protocol):
    def retrieve(self, requests: Requests, k: int) -> ItemLists:
        """At most k distinct allowed items a request with ``score`` float32, best first."""
        ...


@runtime_checkable
class BagMaker(Protocol):
    """A retriever that finds items by bags of its own in the engine, under the name that its method says in ``bags``."""

    def bags(self, rows: Array) -> Bags:
        """One bag a row, from the catalogue as it is now; asked again for rows that are new or changed."""
        ...


@runtime_checkable
class Scorer(Protocol):
    def score(self, requests: Requests, candidates: ItemLists) -> Mapping[str, Array]:
        """New columns, each [N, ...]; never fewer or more rows than it was given."""
        ...


@runtime_checkable
class Judge(Protocol):
    """A scorer of relevance by whose grades of known pairs a fit chooses how loud it is."""

    def relevance(self, requests: Requests, candidates: ItemLists) -> Array:
        """float32[N]: what ``score`` writes under this name with all the time it takes, of every row."""
        ...


@runtime_checkable
class Reranker(Protocol):
    def rerank(self, requests: Requests, candidates: ItemLists, k: int) -> ItemLists:
        """At most k of the candidates a request, best first, with their columns."""
        ...


@runtime_checkable
class Allocator(Protocol):
    def allocate(self, requests: Requests, candidates: ItemLists, k: int) -> ItemLists:
        """The page: at most k of the candidates a request, in final order; ``propensity`` float32 where it randomises."""
        ...


@runtime_checkable
class Explainer(Protocol):
    def explain(self, requests: Requests, page: ItemLists) -> Reasons:
        """Reasons for the shown rows only."""
        ...


ROLE_OF = {
    "understanding": (ItemEnricher, RequestEnricher),
    "retrieval": (Retriever,),
    "relevance": (Scorer,),
    "ranking": (Scorer,),
    "reranking": (Reranker,),
    "allocation": (Allocator,),
}
"""Folder -> the roles its stages play (at least one of them)."""
