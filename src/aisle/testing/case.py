"""One method at its ``tiny()`` settings, fitted on the planted shop inside a small plan: what every check is given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from aisle.core import registry
from aisle.core.env import Env
from aisle.core.filters import Filter, Range
from aisle.core.lists import Array, ItemLists
from aisle.core.method import Method
from aisle.core.requests import Requests
from aisle.data.items import ItemTable
from aisle.data.view import View
from aisle.funnel import Fitted, Funnel, Plan, embed, fit
from aisle.funnel.plan import MANY
from aisle.nn.encoders import Encoders
from aisle.nn.encoders.own import train_own
from aisle.recipes.environment import memory_env
from aisle.simulate.known import two_tastes, user_of

UNTIL_S = 2_000_000_000.0


@dataclass(frozen=True, eq=False)
class Case:
    """
    name    the method's registered name
    slot    where it stands in ``funnel``
    funnel  a small plan around it, fitted on ``view``
    view    the planted shop
    """

    name: str
    slot: str
    funnel: Funnel
    view: View

    @property
    def role(self) -> str:
        """The method's folder, which tells its role."""
        return self.slot.partition(".")[0]

    @property
    def method(self) -> Method:
        return self.funnel.fitted[self.slot].method

    @property
    def stage(self) -> Any:
        return self.funnel.fitted[self.slot].stage

    @property
    def env(self) -> Env:
        return self.funnel.env

    def requests(self, queries: Sequence[str] = ("lamp", "red ball", ""), *, filters: Filter | None = None) -> Requests:
        """Compiled requests with histories and every column the method reads; the second user is unknown."""
        user = np.array([user_of(q) if q != 1 else -1 for q in range(len(queries))], np.int64)
        history = self.view.histories(user, np.full(len(queries), UNTIL_S), 12)
        seed = 7 + np.arange(len(queries), dtype=np.uint64)
        requests = Requests.make(
            list(queries), user=user, history=history, time_s=UNTIL_S, seed=seed, filters=(filters,) * len(queries)
        )
        return self.understood(self.env.engine.compile(requests))

    def understood(self, requests: Requests) -> Requests:
        """The requests with the columns of earlier understanding stages and every embedding that is read."""
        for slot, fitted in self.funnel.fitted.items():
            if slot.startswith("understanding.") and slot != self.slot:
                requests = requests.with_columns(**fitted.stage.enrich_requests(requests))
        for encoder in self.funnel.plan.encoders():
            requests = requests.with_columns(**{f"emb_{encoder}": embed(requests, encoder, self.env)})
        return requests

    def candidates(self, requests: Requests) -> ItemLists:
        """What reaches the method: the output of the stages before it, with a ``score``."""
        lists = self._before(requests)
        if self.role in ("reranking", "allocation") or "score" in self.method.reads:
            return lists if "score" in lists.columns else _scored_by_rank(lists)
        return lists

    def answer(self, requests: Requests, candidates: ItemLists | None = None, stage: Any = None) -> ItemLists:
        """What the method makes of these requests, as lists (a scorer's columns beside its candidates)."""
        stage = self.stage if stage is None else stage
        if self.role == "retrieval":
            return stage.retrieve(requests, 10)  # type: ignore[no-any-return]
        if self.role == "understanding":
            columns: Mapping[str, Array] = stage.enrich_requests(requests)
            q = len(requests)
            return ItemLists(np.zeros(q, np.int32), np.arange(q + 1), columns)
        candidates = self.candidates(requests) if candidates is None else candidates
        if self.role in ("relevance", "ranking"):
            return candidates.with_columns(**stage.score(requests, candidates))
        verb = {"reranking": "rerank", "allocation": "allocate"}[self.role]
        return getattr(stage, verb)(requests, candidates, 10)  # type: ignore[no-any-return]

    def written(self, lists: ItemLists) -> dict[str, Array]:
        """The columns that the method itself wrote."""
        if self.role == "retrieval":
            return {"score": lists["score"]}
        return {n: c for n, c in lists.columns.items() if n in self.method.writes}

    def _before(self, requests: Requests) -> ItemLists:
        plan = self.funnel.plan
        slots = {s: f for s, f in self.funnel.fitted.items() if s.startswith(("understanding", "retrieval"))}
        _, lists = Funnel(plan, self.env, slots, "case").retrieve(requests)
        if self.role != "relevance" and "relevance" in self.funnel.fitted:
            lists = lists.with_columns(**self.funnel.fitted["relevance"].stage.score(requests, lists))
        if self.role in ("reranking", "allocation") and "ranking" in self.funnel.fitted:
            lists = lists.with_columns(**self.funnel.fitted["ranking"].stage.score(requests, lists)).top(40, "score")
        return lists

    def grown(self) -> Case:
        """The same fitted stages over a shop with 10% more items and one tombstone, in an engine of its own."""
        from aisle.simulate.known import grown

        items = self.view.items
        more = items.upserted(grown(items.table, 0.1)).deleted([items.ids(np.array([0], np.int32))[0]])
        env = _env_over(more)
        fitted = {slot: self._moved(f, env) for slot, f in self.funnel.fitted.items()}
        return replace(self, funnel=Funnel(self.funnel.plan, env, fitted, self.funnel.version))

    def _moved(self, fitted: Fitted, env: Env) -> Fitted:
        stage = fitted.method.restore(fitted.stage.state(), env, self.given(fitted.method))
        return Fitted(fitted.method, stage, fitted.version)

    def given(self, method: Method) -> Any:
        """What the method asked for, for a ``restore``."""
        from aisle.core.method import Given
        from aisle.funnel.fitting import CANDIDATES, slot_of

        needs = {
            n: need for n, need in method.needs.items() if need != CANDIDATES and ":" not in need and "@" not in need
        }
        return Given(stages={n: self.funnel.fitted[slot_of(self.funnel.plan, need)].stage for n, need in needs.items()})


@lru_cache(maxsize=1)
def planted() -> View:
    """The planted shop, made once a test run."""
    return two_tastes()


def _env_over(items: ItemTable) -> Env:
    env = memory_env(items)
    encoder = _own_encoder()
    return replace(env, encoders=Encoders(own=lambda: encoder), counters=planted())


@lru_cache(maxsize=1)
def _own_encoder() -> Any:
    return train_own(planted().items, width=16)


@lru_cache(maxsize=256)
def fitted_case(name: str, settings: str = "") -> Case:
    """The method called ``name`` at its tiny settings, fitted once a test run."""
    method = registry.method(name).tiny()
    view = planted()
    slot, plan = plan_around(name, method)
    return Case(name, slot, fit(plan, view, _env_over(view.items)), view)


def plan_around(name: str, method: Any) -> tuple[str, Plan]:
    """A slot and a small plan in which everything the method reads and needs is there."""
    folder = registry.folder_of(name)
    slots: dict[str, Any] = {"retrieval": {}, "offline": {}, "understanding": {}}
    slot = f"{folder}.{name.partition('.')[2]}" if folder in MANY else folder
    if folder in MANY:
        slots[folder][name.partition(".")[2]] = method
    else:
        slots[folder] = method
    for column in sorted(method.reads):
        found = re.fullmatch(r"(?:score|rank|found)_(\w+)", column)
        if found:
            slots["retrieval"][found[1]] = registry.method(f"retrieval.{found[1]}").tiny()
    for need in method.needs.values():
        if need in registry.names() and need != name:
            slots["offline"][need.partition(".")[2]] = registry.method(need).tiny()
    if not slots["retrieval"]:
        slots["retrieval"]["bm25"] = registry.method("retrieval.bm25").tiny()
    if len(slots["retrieval"]) > 1 and "ranking" not in slots:
        from aisle.ranking.fusion import Fusion

        slots["ranking"] = Fusion(retrievers=dict.fromkeys(slots["retrieval"], 1.0), kind="rrf")
    return slot, Plan(**slots)


def cheap_filter() -> Filter:
    """A filter that leaves about half of the planted shop."""
    price_cents = planted().items.number("price_cents")
    return Range("price_cents", None, float(np.median(price_cents)))


def _scored_by_rank(lists: ItemLists) -> ItemLists:
    return lists.with_columns(score=(1.0 / (1.0 + lists.position)).astype(np.float32))
