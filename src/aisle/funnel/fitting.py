"""Fitting a Plan: needs in order, cycles refused, versions recorded, only what changed fitted again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aisle.core import registry
from aisle.core.env import Env
from aisle.core.errors import SettingError, UnknownName, nearest
from aisle.core.lists import Array, ItemLists
from aisle.core.method import Given
from aisle.core.requests import Requests, hashed
from aisle.core.roles import Judge
from aisle.core.shop import Counter, Events, Items, Judgments, ShopView
from aisle.funnel.loudness import Loudness, asked_of, chosen
from aisle.funnel.ordering import scored
from aisle.funnel.plan import ONE, RANKED, Plan
from aisle.funnel.serving import Funnel
from aisle.funnel.stages import Fitted

CANDIDATES = "candidates"
"""A need of this value asks for the lists that the plan's earlier stages make."""


def fit(
    plan: Plan, shop: ShopView, env: Env, *, previous: Funnel | None = None, stages: StageStore | None = None
) -> Funnel:
    """Fit every slot after what it needs.

    previous  a funnel whose stages are kept where their version is unchanged
    stages    where a need such as ``relevance.lref@VERSION`` or ``columns:NAME`` is looked up

    Raises SettingError for a cycle of needs, UnknownName for a need that nothing meets.
    """
    env = env if env.counters is not None else replace(env, counters=shop)
    order = fit_order(plan)
    methods = plan.slots()
    versions: dict[str, str] = {}
    fitted: dict[str, Fitted] = {}
    loudness = None
    for done, slot in enumerate(order):
        env.progress("fit", done, len(order))
        versions[slot] = _version(plan, slot, shop, env, versions)
        kept = previous.fitted.get(slot) if previous is not None and previous.env.engine is env.engine else None
        if kept is not None and kept.version == versions[slot]:
            fitted[slot] = kept
        else:
            given = _given(plan, slot, shop, env, fitted, stages, loudness)
            fitted[slot] = Fitted(methods[slot], methods[slot].fit(shop, env, given), versions[slot])
        if slot in _ordering(plan) <= fitted.keys():  # the last of them
            loudness = _loudness(plan, shop, env, fitted, previous)
    env.progress("fit", len(order), len(order))
    return assembled(plan, env, {slot: fitted[slot] for slot in methods}, loudness)


def assembled(plan: Plan, env: Env, fitted: Mapping[str, Fitted], loudness: Loudness | None = None) -> Funnel:
    """The funnel of these stages, named by the plan, their versions and the loudness."""
    parts: list[Any] = [plan.to_json(), {slot: f.version for slot, f in fitted.items()}]
    parts += [] if loudness is None else [loudness.value]
    version = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
    return Funnel(plan, env, fitted, version, loudness)


def _ordering(plan: Plan) -> set[str]:
    """The served slots that a request passes until its candidates are ordered."""
    return plan.served().keys() - {"reranking", "allocation"}


def _loudness(
    plan: Plan, shop: ShopView, env: Env, fitted: Mapping[str, Fitted], previous: Funnel | None
) -> Loudness | None:
    """How loud the plan's judge is, by held-back queries; None where it is not heard or they are too few to tell."""
    judge = fitted["relevance"].stage if plan.hears_judge else None
    if plan.relevance is None or not isinstance(judge, Judge):
        return None
    slots = _ordering(plan)
    if previous is not None and all(previous.fitted.get(slot) is fitted[slot] for slot in slots):
        return previous.loudness
    judged = asked_of(shop.judgments("validation"), env.seed)
    if not len(judged):
        return None
    requests = Requests.make(judged.query)
    alone = Funnel(plan.replace(utility=RANKED), env, {s: fitted[s] for s in slots - {"relevance"}}, "alone")
    lists = alone.ranked(requests)
    pair_N = judged.lists.find(lists)
    graded = lists.take(pair_N >= 0).with_columns(gain=np.maximum(judged.gain()[pair_N[pair_N >= 0]], 0.0))
    graded = graded.with_columns(relevance=judge.relevance(requests, graded))
    return chosen(graded, plan.relevance.loudness)


class StageStore:
    """Where earlier fits and stored column sets are found by name.  The base holds none."""

    def stage(self, name: str, version: str, env: Env) -> Any:
        raise UnknownName(f"no stage {name!r} of version {version!r} is stored; fit it with 'aisle fit SHOP {name}'")

    def columns(self, name: str) -> Mapping[str, Array]:
        raise UnknownName(f"no column set {name!r} is stored")


def fit_order(plan: Plan) -> list[str]:
    """Slots, each after the slots it needs.  Raises SettingError for a cycle."""
    methods = plan.slots()
    order: list[str] = []
    path: list[str] = []

    def visit(slot: str) -> None:
        if slot in order:
            return
        if slot in path:
            raise SettingError(
                f"these methods need each other: {' -> '.join([*path[path.index(slot) :], slot])}; break the cycle"
            )
        path.append(slot)
        for needed in needed_slots(plan, slot):
            visit(needed)
        path.pop()
        order.append(slot)

    for slot in methods:
        visit(slot)
    return order


def needed_slots(plan: Plan, slot: str) -> list[str]:
    """The slots of the same plan that must be fitted before this one."""
    found: list[str] = []
    for need in plan.slots()[slot].needs.values():
        if need == CANDIDATES:
            found += earlier(plan, slot)
        elif "@" not in need and not need.startswith("columns:"):
            found.append(slot_of(plan, need))
    return found


def earlier(plan: Plan, slot: str) -> list[str]:
    """The served slots that a request passes before it reaches this one."""
    served = list(plan.served())
    if slot not in served:
        return served
    if slot.startswith("retrieval."):
        return [s for s in served if s.startswith("understanding.")]
    return served[: served.index(slot)]


def slot_of(plan: Plan, need: str) -> str:
    """The slot that a need names, by slot or by method.  Raises UnknownName."""
    methods = plan.slots()
    if need in methods:
        return need
    for slot, method in methods.items():
        if registry.name_of(method) == need:
            return slot
    raise UnknownName(
        f"nothing in this plan is {need!r}{nearest(need, methods)}; add it, under offline if it is not served"
    )


def _version(plan: Plan, slot: str, shop: ShopView, env: Env, versions: Mapping[str, str]) -> str:
    """Names all that a fit depends on; equal versions are equal stages."""
    method = plan.slots()[slot]
    inputs = {
        "method": registry.name_of(method),
        "settings": method.model_dump(mode="json"),
        "needs": dict(method.needs),
        "from": {needed: versions[needed] for needed in needed_slots(plan, slot)},
        "depth": plan.depth.model_dump() if CANDIDATES in method.needs.values() else None,
        "generation": shop.generation,
        "sequence": env.engine.sequence,
        "until_s": repr(shop.until_s),
        "events": len(shop.events),
        "judged": [shop.judgments(part).digest() for part in ("train", "validation")],
        "seed": env.seed,
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:12]


def _given(
    plan: Plan, slot: str, shop: ShopView, env: Env, fitted: Mapping[str, Fitted], store: StageStore | None,
    loudness: Loudness | None = None,
) -> Given:  # fmt: skip
    store = store or StageStore()
    stages: dict[str, Any] = {}
    columns: dict[str, Mapping[str, Array]] = {}
    used: dict[str, str] = {}
    lists = None
    for name, need in plan.slots()[slot].needs.items():
        if need == CANDIDATES:
            lists = _Candidates(plan, slot, shop, env, fitted, loudness)
        elif need.startswith("columns:"):
            columns[name] = store.columns(need.removeprefix("columns:"))
            used[name] = need
        elif "@" in need:
            stage, _, version = need.partition("@")
            stages[name] = store.stage(stage, version, env)
            used[name] = version
        else:
            found = fitted[slot_of(plan, need)]
            stages[name], used[name] = found.stage, found.version
    return Given(stages=stages, columns=columns, candidates=lists, versions=used)


@dataclass(frozen=True, eq=False)
class _Candidates:
    """``given.candidates``: what reaches a slot for these requests, from the stages before it."""

    plan: Plan
    slot: str
    shop: ShopView
    env: Env
    fitted: Mapping[str, Fitted]
    loudness: Loudness | None

    def __call__(self, requests: Requests, folds: int = 1) -> ItemLists:
        """Lists of the earlier stages.  With folds > 1 each request is answered by stages that were fitted without its
        query's judgments and events (its user's, in a feed).
        """
        if folds <= 1:
            return self._lists(requests, self.fitted)
        fold = np.array([hashed(_unit(requests, q)) % folds for q in range(len(requests))])
        parts: list[ItemLists] = []
        rows: list[Array] = []
        for f in range(folds):
            mine = np.flatnonzero(fold == f)
            if len(mine):
                part = requests.select(mine)
                parts.append(self._lists(part, self._refitted(part)))
                rows.append(mine)
        order = np.argsort(np.concatenate(rows), kind="stable")
        return ItemLists.concat(parts).select(order)

    def _refitted(self, held_out: Requests) -> Mapping[str, Fitted]:
        """The earlier stages, fitted on the shop less what these requests would leak."""
        shop = WithoutQueries(self.shop, held_out)
        fitted: dict[str, Fitted] = {}
        for slot in fit_order(self.plan):
            if slot not in earlier(self.plan, self.slot) and not slot.startswith("offline."):
                continue
            method = self.plan.slots()[slot]
            given = _given(self.plan, slot, shop, self.env, fitted, None)
            fitted[slot] = Fitted(method, method.fit(shop, self.env, given), "fold")
        return fitted

    def _lists(self, requests: Requests, fitted: Mapping[str, Fitted]) -> ItemLists:
        before = earlier(self.plan, self.slot)
        if "ranking" in before:
            later = {s: None for s in ONE if s not in before}
            plan = self.plan.replace(**later, offline={})
            return assembled(plan, self.env, {s: fitted[s] for s in before}, self.loudness).ranked(requests)
        unranked = Funnel(self.plan, self.env, {s: fitted[s] for s in before}, "unranked")
        compiled, lists = unranked.retrieve(requests)
        return scored(unranked.way(strict=True), "relevance", compiled, lists)


def _unit(requests: Requests, q: int) -> str:
    return requests.query[q] or f"user {requests.user[q]}"


class WithoutQueries:
    """A view of a shop less the judgments and events of some requests' queries (of their users, where nothing was typed)."""

    def __init__(self, shop: ShopView, requests: Requests) -> None:
        self._shop = shop
        self._queries = {q for q in requests.query if q}
        self._users = np.unique(requests.user[np.array([not q for q in requests.query], bool) & (requests.user >= 0)])

    @property
    def until_s(self) -> float:
        return self._shop.until_s

    @property
    def generation(self) -> int:
        return self._shop.generation

    @property
    def items(self) -> Items:
        return self._shop.items

    @property
    def events(self) -> Events:
        events = self._shop.events
        leaked = np.array([i for i, q in enumerate(events.queries) if q in self._queries], np.int64)
        keep = ~np.isin(events["query"], leaked) & ~(np.isin(events["user"], self._users) & (events["query"] < 0))
        return events.take(np.flatnonzero(keep))

    def judgments(self, part: str = "train") -> Judgments:
        judged = self._shop.judgments(part)
        return judged.select(np.array([i for i, q in enumerate(judged.query) if q not in self._queries], np.int64))

    def counts(self, counter: Counter, rows: Array, at_s: Array | float, query: Array | None = None) -> Array:
        """As in the shop: what happened before the request is no leak of the request's own outcome."""
        return self._shop.counts(counter, rows, at_s, query)

    def histories(self, users: Array, at_s: Array, limit: int = 50) -> ItemLists:
        """As in the shop: what a user did before the request is no leak of the request's own outcome."""
        return self._shop.histories(users, at_s, limit)
