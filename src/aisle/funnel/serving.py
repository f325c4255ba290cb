"""Funnel: a fitted Plan.  Retrieve, score, rank, re-rank, allocate, and put the page together.

Legend: Q requests, N rows, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from aisle.core import expression
from aisle.core.env import Env
from aisle.core.errors import ContractError, GenerationError
from aisle.core.lists import Array, ItemLists, splits_of
from aisle.core.method import Method
from aisle.core.requests import Requests, RowMasks, Scene
from aisle.core.roles import Reason
from aisle.funnel import paging
from aisle.funnel.beside import HELPER, Errand
from aisle.funnel.guard import Guard
from aisle.funnel.page import Page, StageTrace
from aisle.funnel.plan import Plan

MANY_ROWS = 20_000
"""In a smaller catalogue everything is found sooner than handing it to another thread would take."""


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """One filled slot: the method, its fitted stage, and the version that names exactly this fit."""

    method: Method
    stage: Any
    version: str


@dataclass(frozen=True, eq=False)
class Funnel:
    """
    plan     what was fitted
    env      the engine and encoders it answers with
    fitted   slot -> Fitted, every slot of the plan
    version  names the plan and the version of every stage
    """

    plan: Plan
    env: Env
    fitted: Mapping[str, Fitted]
    version: str
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
        trace: list[StageTrace] = []
        requests = self.env.engine.compile(requests)
        before = paging.resumed(self, requests, cursors)
        if before is None:
            understood = self._understood(requests, trace, strict)
            asked = self._with_free_ones(understood)
            listing, found = self._listed_and_found(requests, asked, trace, strict)
            listing = listing.plus(self._near(understood, asked, found))
            mine = {name: lists.first(len(requests)) for name, lists in found.items()}
            candidates = self._candidates(understood, mine, trace, strict)
            prefix = self._ordered(understood, candidates, trace, strict, listing)
        else:
            prefix, near = before
            listing = paging.Listing.of_words(self.env.engine, requests).plus(near)
        return paging.assemble(self, requests, prefix, listing, facets, trace)

    def ranked(self, requests: Requests, k: int | None = None) -> ItemLists:
        """The best rows of each request, in final order, variants not collapsed: what an evaluation measures."""
        return self.finish(*self.retrieve(requests), k=k)

    def retrieve(self, requests: Requests) -> tuple[Requests, ItemLists]:
        """Compiled and understood requests, and every candidate of every retriever: the prefix that plans can share."""
        trace: list[StageTrace] = []
        requests = self._understood(self.env.engine.compile(requests), trace, strict=True)
        found = self._found(requests, trace, True, list(self.plan.retrieval))
        return requests, self._candidates(requests, found, trace, strict=True)

    def finish(self, requests: Requests, candidates: ItemLists, k: int | None = None) -> ItemLists:
        """``ranked`` from the output of ``retrieve``."""
        lists = self._ordered(requests, candidates, [], strict=True)
        return lists if k is None else lists.take(lists.position < k)

    def retrieval_key(self) -> str:
        """Equal for funnels whose ``retrieve`` gives the same candidates."""
        slots = [s for s in self.fitted if s.startswith(("understanding", "retrieval"))]
        parts = [f"{s}={self.fitted[s].version}" for s in sorted(slots)]
        scenes = sorted((name, self.plan.answers_in(name)) for name in self.plan.retrieval)
        encoders = sorted(self.plan.encoders())
        return f"{id(self.env.engine)};{self.plan.depth.retrieve};{parts};{scenes};{encoders}"

    def explain(self, requests: Requests, page: ItemLists) -> list[list[Reason]]:
        """Why each shown row stands where it does, from every stage that can say so; best-effort, never raises."""
        requests = self._understood(self.env.engine.compile(requests), [], strict=False)
        reasons: list[list[Reason]] = [[] for _ in page.item]
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
        return folder != "retrieval" or len(self._answered_by(name, requests)) > 0

    # -- the way of a request ------------------------------------------------------------------------------------------

    def _understood(self, requests: Requests, trace: list[StageTrace], strict: bool) -> Requests:
        for name in self.plan.understanding:
            slot = f"understanding.{name}"
            stage = self.fitted[slot].stage
            columns = self._run(slot, requests, lambda s=stage, r=requests: s.enrich_requests(r), trace, strict, len)  # type: ignore[misc]
            if columns is not None:
                requests = requests.with_columns(**columns)
        for encoder in self._encoders:
            if f"emb_{encoder}" not in requests.columns:
                work = lambda e=encoder, r=requests: embed(r, e, self.env)  # noqa: E731
                emb_QD = self._run(f"encoder.{encoder}", requests, work, trace, strict, len)
                if emb_QD is not None:
                    requests = requests.with_columns(**{f"emb_{encoder}": emb_QD})
        return requests

    def _with_free_ones(self, requests: Requests) -> Requests:
        """The requests, and behind them every filtered search once more without its filter, in one batch.

        What a search lists does not depend on its filter, so that a filter takes a part of the list and never adds to it:
        then the count beside a facet's value is the number of products that choosing it shows.
        """
        filtered = _filtered_searches(requests)
        if not len(filtered):
            return requests
        both = requests.select(np.concatenate([np.arange(len(requests)), filtered]))
        unfiltered = replace(requests.select(filtered), filters=(None,) * len(filtered), allowed=None)
        mine, free = requests.masks(), self.env.engine.compile(unfiltered).masks()
        # Rows that came since the requests were compiled are for the next ones.
        bits = np.concatenate([mine.bits, free.bits[:, : mine.bits.shape[1]]])
        masks = RowMasks(bits, np.concatenate([mine.which, len(mine.bits) + free.which]))
        return replace(both, filters=(*requests.filters, *unfiltered.filters), allowed=masks)

    def _near(self, requests: Requests, asked: Requests, found: Mapping[str, ItemLists]) -> list[Array]:
        """Q arrays int32: rows that each search lists beside those that its words match, the best ``depth.rank`` of each
        retriever without the request's filter."""
        free = np.arange(len(requests))
        free[_filtered_searches(requests)] = np.arange(len(requests), len(asked))
        out = []
        for q, anchor in zip(free.tolist(), requests.anchor.tolist(), strict=True):
            parts = [(lists.item, int(lists.splits[q]), int(lists.splits[q + 1])) for lists in found.values()]
            rows = np.concatenate([item[a : min(b, a + self.plan.depth.rank)] for item, a, b in parts])
            out.append(rows[rows != anchor])
        return out

    def _listed_and_found(
        self, requests: Requests, asked: Requests, trace: list[StageTrace], strict: bool
    ) -> tuple[paging.Listing, dict[str, ItemLists]]:
        """What the words of the requests match, and ``_found``: the first retriever here, the others beside."""
        first, *others = self.plan.retrieval
        later: list[StageTrace] = []
        work = lambda: self._found(asked, later, strict, others)  # noqa: E731
        is_much = bool(others) and self.env.engine.items.num_rows >= MANY_ROWS
        errand = HELPER.send(work) if is_much else Errand(work)
        listing = paging.Listing.of_words(self.env.engine, requests)
        found = self._found(asked, trace, strict, [first])
        found |= errand.result()
        trace += later
        return listing, found

    def _found(
        self, requests: Requests, trace: list[StageTrace], strict: bool, retrievers: Sequence[str]
    ) -> dict[str, ItemLists]:
        """Retriever -> what it finds."""
        return {name: self._found_by(name, requests, trace, strict) for name in retrievers}

    def _candidates(
        self, requests: Requests, found: Mapping[str, ItemLists], trace: list[StageTrace], strict: bool
    ) -> ItemLists:
        """Everything that was found, once, with what each retriever says of it."""
        parts = [
            ItemLists(
                lists.item,
                lists.splits,
                {
                    f"score_{name}": lists["score"],
                    f"found_{name}": np.ones(len(lists.item), bool),
                    f"rank_{name}": lists.position.astype(np.int32),
                },
                lists.generation,
            )
            for name, lists in found.items()
        ]
        union = ItemLists.union(parts)
        if (requests.anchor >= 0).any():
            union = union.take(union.item != requests.anchor[union.owner])
        return self._completed(requests, union, trace, strict)

    def _found_by(self, name: str, requests: Requests, trace: list[StageTrace], strict: bool) -> ItemLists:
        """What a retriever finds for the requests of its scenes; nothing for the others, or when it failed."""
        slot = f"retrieval.{name}"
        rows = self._answered_by(name, requests)
        lists = None
        if len(rows) and self._readable(slot, requests):
            some = requests if len(rows) == len(requests) else requests.select(rows)
            work = lambda: self._checked_retrieval(slot, some)  # noqa: E731
            lists = self._run(slot, requests, work, trace, strict, _num_rows)
        return _no_rows(len(requests)) if lists is None else _spread(lists, rows, len(requests))

    def _answered_by(self, retriever: str, requests: Requests) -> Array:
        """int64[Qa]: the requests whose scene this retriever answers in."""
        scenes = self._scenes[retriever]
        if len(scenes) == len(Scene):
            return np.arange(len(requests))
        return np.array([q for q, scene in enumerate(requests.scene.tolist()) if scene in scenes], np.int64)

    def _checked_retrieval(self, slot: str, requests: Requests) -> ItemLists:
        lists: ItemLists = self.fitted[slot].stage.retrieve(requests, self.plan.depth.retrieve)
        self._check_generation(slot, lists)
        if len(lists) != len(requests):
            raise ContractError(
                f"{slot} answered {len(lists)} lists to {len(requests)} requests; one list a request is due"
            )
        if not requests.masks().allows(lists.owner, lists.item).all():
            raise ContractError(
                f"{slot} returned a row that the request's filter or a tombstone excludes; use requests.masks()"
            )
        return lists

    def _check_generation(self, slot: str, lists: ItemLists) -> None:
        if lists.generation not in (None, self.env.engine.generation):
            raise GenerationError(
                f"{slot} answered with rows of generation {lists.generation}, the shop is at {self.env.engine.generation}: "
                f"a row number names another item there; fit the stage again"
            )

    def _completed(self, requests: Requests, union: ItemLists, trace: list[StageTrace], strict: bool) -> ItemLists:
        """Every retriever's score for every candidate, where the retriever can score given ones."""
        if len(self.plan.retrieval) == 1 or not len(union.item):
            return union
        for name in self.plan.retrieval:
            slot, column = f"retrieval.{name}", f"score_{name}"
            stage = self.fitted[slot].stage
            rows = self._answered_by(name, requests)
            if not len(rows) or not hasattr(stage, "score") or not self._readable(slot, requests):
                continue
            gaps = np.isnan(union[column])
            if len(rows) < len(requests):
                gaps &= np.isin(union.owner, rows)
            if not gaps.any():
                continue
            part = union.only().take(gaps)
            work = lambda s=stage, p=part: s.score(requests, p)["score"]  # noqa: E731
            scores = self._run(f"{slot}.score", requests, work, trace, strict, len)
            if scores is not None:
                filled = union[column].copy()
                filled[gaps] = scores
                union = union.with_columns(**{column: filled})
        return union

    def _ordered(
        self,
        requests: Requests,
        lists: ItemLists,
        trace: list[StageTrace],
        strict: bool,
        listing: paging.Listing | None = None,
    ) -> ItemLists:
        """The best candidates in final order; with a ``listing``, of those that belong to it."""
        lists = self._scored("relevance", requests, lists, trace, strict)
        lists = self._scored("ranking", requests, lists, trace, strict)
        lists = self._with_utility(lists)
        lists = lists if listing is None else listing.cut(requests, lists)
        lists = lists.top(self.plan.depth.rank, "score")
        for slot, verb in (("reranking", "rerank"), ("allocation", "allocate")):
            if slot in self.fitted and self._readable(slot, requests, lists):
                work = lambda s=slot, v=verb, c=lists: self._checked_list(s, v, requests, c)  # noqa: E731
                done = self._run(slot, requests, work, trace, strict, _num_rows)
                lists = done if done is not None else lists
        if "propensity" not in lists.columns:
            lists = lists.with_columns(propensity=np.ones(len(lists.item), np.float32))
        return lists

    def _scored(
        self, slot: str, requests: Requests, lists: ItemLists, trace: list[StageTrace], strict: bool
    ) -> ItemLists:
        if slot not in self.fitted:
            return lists
        if not self._readable(slot, requests, lists):
            trace.append(StageTrace(slot, 0.0, 0, "a column that it reads is missing"))
            return lists
        columns = self._run(
            slot,
            requests,
            lambda: self._checked_columns(slot, requests, lists),
            trace,
            strict,
            lambda _: len(lists.item),
        )
        return lists if columns is None else lists.with_columns(**columns)

    def _checked_columns(self, slot: str, requests: Requests, lists: ItemLists) -> Mapping[str, Array]:
        columns: Mapping[str, Array] = self.fitted[slot].stage.score(requests, lists)
        for name, column in columns.items():
            if len(column) != len(lists.item):
                raise ContractError(f"{slot} wrote {len(column)} values of {name!r} for {len(lists.item)} candidates")
        return columns

    def _checked_list(self, slot: str, verb: str, requests: Requests, lists: ItemLists) -> ItemLists:
        done: ItemLists = getattr(self.fitted[slot].stage, verb)(requests, lists, self.plan.depth.rank)
        self._check_generation(slot, done)
        if done is lists:
            return done
        known = len(done) == len(lists) and (lists.find(done) >= 0).all()
        if not known or len(np.unique(done.keys)) != len(done.item):
            raise ContractError(
                f"{slot} returned a row twice, or one that was not among its candidates; it may only order and cut"
            )
        return done

    def _with_utility(self, lists: ItemLists) -> ItemLists:
        """Adds ``score``: the utility, or where a stage it needs did not run, the sum of reciprocal ranks."""
        if "ranking" not in self.fitted and self.plan.utility == "score":
            (name,) = self.plan.retrieval
            return lists.with_columns(score=lists[f"score_{name}"].astype(np.float32))
        needed = expression.columns_of(self.plan.utility)
        if self.plan.utility == "score" and "score" in lists.columns:
            return lists
        if needed <= lists.columns.keys():
            return lists.with_columns(score=expression.evaluate(self.plan.utility, lists.columns, len(lists.item)))
        score = np.zeros(len(lists.item), np.float32)
        for name in self.plan.retrieval:
            rank = lists[f"rank_{name}"]
            score += np.where(rank >= 0, 1.0 / (60.0 + rank), 0.0).astype(np.float32)
        return lists.with_columns(score=score)

    def _readable(self, slot: str, requests: Requests, lists: ItemLists | None = None) -> bool:
        """Whether every column that the slot reads is there (a skipped stage leaves some out)."""
        there = requests.columns.keys() | (lists.columns.keys() if lists is not None else set())
        return self._reads[slot] <= there

    # -- what the plan says, looked up once -----------------------------------------------------------------------------

    @cached_property
    def _encoders(self) -> list[str]:
        return sorted(self.plan.encoders())

    @cached_property
    def _scenes(self) -> dict[str, tuple[int, ...]]:
        return {name: self.plan.answers_in(name) for name in self.plan.retrieval}

    @cached_property
    def _reads(self) -> dict[str, frozenset[str]]:
        return {slot: fitted.method.reads for slot, fitted in self.fitted.items()}

    def _run(
        self,
        slot: str,
        requests: Requests,
        work: Callable[[], Any],
        trace: list[StageTrace],
        strict: bool,
        rows: Callable[[Any], int],
    ) -> Any:
        return self.guard.run(slot, requests, work, trace, strict=strict, rows=rows)


def embed(requests: Requests, encoder: str, env: Env) -> Array:
    """float32[Q, D] of what each request is about: its query, else its anchor's vector, else the mean of its latest history.

    The query of a batch is encoded once, however many stages read it.
    """
    coder = env.encoder(encoder)
    emb_QD = np.zeros((len(requests), coder.dim), np.float32)
    asked = np.array([bool(q) for q in requests.query])
    if asked.any():
        texts, which = np.unique(np.array(requests.query, object)[asked].astype(str), return_inverse=True)
        emb_QD[asked] = coder.encode([str(t) for t in texts])[which]
    anchored = ~asked & (requests.anchor >= 0)
    if anchored.any():
        emb_QD[anchored] = env.engine.vectors(encoder).vectors(requests.anchor[anchored])
    remembering = ~asked & ~anchored & (requests.history.counts > 0)
    for q in np.flatnonzero(remembering):
        emb_QD[q] = _taste(env.engine.vectors(encoder).vectors(requests.history.list_of(int(q)).item[-20:]))
    return emb_QD


def _filtered_searches(requests: Requests) -> Array:
    """int64: the searches that have a filter."""
    return np.flatnonzero([f is not None for f in requests.filters] & (requests.scene == Scene.SEARCH))


def _taste(history_LD: Array) -> Array:
    """float32[D]: the direction of a history."""
    mean_D: Array = history_LD.mean(0)
    return mean_D / max(float(np.linalg.norm(mean_D)), 1e-9)


def _no_rows(q: int) -> ItemLists:
    return ItemLists.empty(q, {"score": np.zeros(0, np.float32)})


def _spread(lists: ItemLists, rows: Array, q: int) -> ItemLists:
    """The lists of some requests as lists of all Q, empty for the others."""
    if len(rows) == q:
        return lists
    counts = np.zeros(q, np.int64)
    counts[rows] = lists.counts
    return ItemLists(lists.item, splits_of(counts), lists.columns, lists.generation)


def _num_rows(lists: ItemLists) -> int:
    return len(lists.item)
