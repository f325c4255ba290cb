"""Funnel: a fitted Plan.  Understand, retrieve, order, and put the page together; each step in a file of its own.

Legend: Q requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from aisle.core.env import Env
from aisle.core.lists import ItemLists
from aisle.core.requests import Requests
from aisle.core.roles import Reason
from aisle.core.shop import Asked
from aisle.funnel import paging
from aisle.funnel.guard import Guard
from aisle.funnel.loudness import Loudness
from aisle.funnel.ordering import ordered
from aisle.funnel.page import Page
from aisle.funnel.plan import Plan
from aisle.funnel.retrieving import candidates, found_by_all, listed_and_candidates
from aisle.funnel.stages import Fitted, Stages, Way
from aisle.funnel.understanding import understood


@dataclass(frozen=True, eq=False)
class Funnel:
    """
    plan      what was fitted
    env       the engine and encoders it answers with
    fitted    slot -> Fitted, every slot of the plan
    version   names the plan, the version of every stage and the loudness
    loudness  of the plan's judge, where the fit chose it
    """

    plan: Plan
    env: Env
    fitted: Mapping[str, Fitted]
    version: str
    loudness: Loudness | None = None
    guard: Guard = field(default_factory=Guard)

    def serve(
        self,
        requests: Requests,
        *,
        facets: Sequence[str] | None = (),
        cursors: Sequence[str] | None = None,
        strict: bool = False,
    ) -> Page:
        """The page of each request.

        facets   fields to count; None for the fields the shop finds worth it, () for none
        cursors  of earlier pages ("" for a first page); their ranked prefix is shown on, not ranked again
        strict   raise what a stage raises, instead of going on without it

        Raises GenerationError for a cursor of another catalogue generation.
        """
        way = self.way(strict)
        compiled = self.env.engine.compile(requests)
        before = paging.resumed(self, compiled, cursors)
        if before is None:
            asked = understood(way, compiled)
            listing, found = listed_and_candidates(way, compiled, asked)
            prefix = ordered(way, asked, found, listing)
        else:
            prefix, near = before
            listing = paging.Listing.of_words(self.env.engine, compiled).plus(near)
        return paging.assemble(self, compiled, prefix, listing, facets, way.trace)

    def ranked(self, requests: Requests, k: int | None = None) -> ItemLists:
        """The best rows of each request, in final order, variants not collapsed: what an evaluation measures."""
        return self.finish(*self.retrieve(requests), k=k)

    def retrieve(self, requests: Requests) -> tuple[Requests, ItemLists]:
        """Compiled and understood requests, and every candidate of every retriever: the prefix that plans can share."""
        way = self.way(strict=True)
        requests = understood(way, self.env.engine.compile(requests))
        return requests, candidates(way, requests, found_by_all(way, requests, list(self.plan.retrieval)))

    def finish(self, requests: Requests, candidates: ItemLists, k: int | None = None) -> ItemLists:
        """``ranked`` from the output of ``retrieve``."""
        lists = ordered(self.way(strict=True), requests, candidates)
        return lists if k is None else lists.take(lists.position < k)

    def retrieval_key(self) -> str:
        """Equal for funnels whose ``retrieve`` gives the same candidates."""
        slots = [s for s in self.fitted if s.startswith(("understanding", "retrieval"))]
        parts = [f"{s}={self.fitted[s].version}" for s in sorted(slots)]
        scenes = sorted((name, self.plan.answers_in(name)) for name in self.plan.retrieval)
        return f"{id(self.env.engine)};{self.plan.depth.retrieve};{parts};{scenes};{self._stages.encoders}"

    def explain(self, requests: Requests, page: ItemLists) -> list[list[Reason]]:
        """Why each shown row stands where it does, from every stage that can say so; best-effort, never raises."""
        requests = understood(self.way(strict=False), self.env.engine.compile(requests))
        asked = {query: self.env.engine.text.asked(query) for query in set(requests.query)}
        reasons = [_denied(asked[requests.query[q]], int(row)) for q, row in zip(page.owner, page.item, strict=True)]
        for name in self.plan.retrieval:
            rank = page.columns.get(f"rank_{name}")
            for row, place in enumerate(rank if rank is not None else ()):
                if place >= 0:
                    reasons[row].append(
                        Reason(f"retrieval.{name}", f"number {place + 1} for {name}", 1.0 / float(place + 1))
                    )
        for slot, fitted in self.fitted.items():
            silent = slot.startswith("offline.") or not self._took_part(slot, requests)
            if not silent and hasattr(fitted.stage, "explain"):
                try:
                    found = fitted.stage.explain(requests, page)
                except Exception as error:
                    found = [[Reason(slot, f"could not explain itself: {error}")] for _ in page.item]
                for row, more in enumerate(found):
                    reasons[row].extend(more)
        return reasons

    def _took_part(self, slot: str, requests: Requests) -> bool:
        """Whether a stage answers any of these requests (a retriever may be kept to some scenes)."""
        folder, _, name = slot.partition(".")
        return folder != "retrieval" or len(self._stages.answered_by(name, requests)) > 0

    @property
    def order(self) -> str:
        """The expression that candidates are ordered by."""
        return self.plan.order if self.loudness is None else self.plan.order_at(self.loudness.value)

    def way(self, strict: bool) -> Way:
        """A batch's way through the stages, before its first step."""
        return Way(self._stages, strict, [])

    @cached_property
    def _stages(self) -> Stages:
        return Stages(self.plan, self.env, self.fitted, self.guard, self.order)


def _denied(asked: Asked, row: int) -> list[Reason]:
    """What a query says no to, and what that means for a row; nothing for most queries."""
    if asked.has is None or asked.denies is None or row >= len(asked.has):
        return []
    unwanted = " and ".join(map(repr, asked.unwanted)) + (" is" if len(asked.unwanted) == 1 else " are") + " not wanted"
    if asked.has[row]:
        unwanted += ", but this has it: its words count half"
    elif asked.denies[row]:
        unwanted += ", and this says that it has it not"
    return [Reason("understanding", unwanted)]
