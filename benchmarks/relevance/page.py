"""What a judge's grade does to the order of a page: ``hybrid`` by itself and with a fitted judge, for queries that nobody graded.

    python benchmarks/relevance/page.py --judges taosr1 lref cross_encoder --seed 1
    python benchmarks/relevance/page.py --judges taosr1 --seed 0 --weights 0.25 0.5 1 2 4
    python benchmarks/relevance/page.py --judges cross_encoder three brief three_brief student student_brief --seed 2

A generated shop of 2,000 products with 600 judged queries (the annotator errs), as a new user has it; the judge learns from them
with the settings of a fit.  Then 500 other queries are asked, and nDCG@10 is counted by true grades over the whole catalogue.
Every weight orders the same candidates by ``score + weight * relevance``: the judge's own loudness (or ``--weights``), and as
``/chosen`` the one that the fit chose by its held-back queries, which is what a plan does by itself.

The judge has the time that it needs for the best 50 candidates; ``/16`` is what is left where it has time for the best 16 alone,
as a cross-encoder of six layers has within a server's ``budget_ms`` on one processor.

Cross-encoders: ``three`` keeps three of six layers, ``brief`` reads brief texts of items, ``three_brief`` does both.  A
``student`` has three layers and learns from the fitted ``cross_encoder`` as well as from grades, also of 20 candidates of each
query that nobody graded, in twice the steps (its teacher is fitted first); ``student_brief`` with brief texts.

Legend: Q queries, N candidates.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from time import process_time
from typing import Any

import numpy as np
import torch

from aisle.core.env import Env
from aisle.core.lists import Array, ItemLists
from aisle.core.method import Method
from aisle.core.requests import Requests
from aisle.data.items import ItemTable
from aisle.data.judged import judgments_of
from aisle.data.splits import split_judgments
from aisle.data.view import View
from aisle.evaluate.significance import paired_difference
from aisle.funnel import Funnel, StageStore, fit
from aisle.recipes import plan
from aisle.recipes.environment import memory_env
from aisle.relevance._serving import filled, places
from aisle.relevance.cross_encoder import CrossEncoder
from aisle.relevance.lref import Lref
from aisle.relevance.taosr1 import TaoSr1
from aisle.simulate.judgments.annotator import annotate
from aisle.simulate.language.queries import HARD, Query
from aisle.simulate.world import World

ITEMS, JUDGED, PAIRS, ASKED = 2000, 600, 15_000, 500
OTHER_QUERIES = 77
"""Seed of the queries that are asked, so that none is graded but by chance; those that are, are left out."""
DEPTH = 10
TOPS = (50, 16)
"""Candidates of a request that are judged."""
UNHURRIED: dict[str, Any] = {"threads": 1, "budget_ms": 1e9}


TEACHER = "relevance.cross_encoder@whole"
TAUGHT: dict[str, Any] = {"layers": 3, "teacher": TEACHER, "unlabelled": 20}
ENCODERS: dict[str, dict[str, Any]] = {
    "cross_encoder": {},
    "three": {"layers": 3},
    "brief": {"text": "brief"},
    "three_brief": {"layers": 3, "text": "brief"},
    "student": TAUGHT,
    "student_brief": {**TAUGHT, "text": "brief"},
}
STEPS, STUDENT_STEPS = 250, 500
TIMED = 40
"""Queries whose candidates tell how fast a judge is."""


def judge_of(name: str) -> Method:
    """A judge with the settings of a fit; a cross-encoder takes a third of the steps, as all of them are twenty minutes."""
    if name not in ENCODERS:
        return {"taosr1": TaoSr1, "lref": Lref}[name](**UNHURRIED)
    steps = STUDENT_STEPS if "teacher" in ENCODERS[name] else STEPS
    quick = CrossEncoder().train.model_copy(update={"epochs": 2, "max_steps": steps})
    return CrossEncoder(train=quick, **ENCODERS[name], **UNHURRIED)


class Teachers(StageStore):
    """The whole cross-encoder by the name under which students ask for it; fitted once."""

    def __init__(self, shop: GradedShop) -> None:
        self.shop = shop

    def stage(self, name: str, version: str, env: Env) -> Any:
        return self.shop.fitted("cross_encoder").fitted["relevance"].stage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judges", nargs="*", choices=("taosr1", "lref", *ENCODERS), default=["taosr1"])
    parser.add_argument("--weights", nargs="*", type=float, default=[])
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    shop = GradedShop(args.seed)
    print(json.dumps([row for name in args.judges for row in rows_of(shop, name, args.weights)], indent=1))


class GradedShop:
    """A world, what a user would have of it, and the true gains of other queries."""

    def __init__(self, seed: int) -> None:
        world = World.make(items=ITEMS, seed=seed)
        graded = world.queries(JUDGED)
        table, gains = annotate(world, graded, PAIRS, seed)
        self.items = ItemTable.from_table(world.items)
        self.env: Env = memory_env(self.items, seed=seed)
        judged = judgments_of(table, gains, self.items)
        self.view = View(self.items, judgments=split_judgments(judged, seed))
        known = {query.text for query in graded}
        self.asked: list[Query] = [q for q in world.queries(ASKED, seed=OTHER_QUERIES) if q.text not in known]
        self._fitted: dict[str, Funnel] = {}
        self.gain_Q = [2.0 ** (world.grades(query) - 1) - 1 for query in self.asked]

    def fitted(self, name: str) -> Funnel:
        """``hybrid`` with this judge, as a user fits it."""
        if name not in self._fitted:
            start_s = process_time()
            judged = plan("hybrid").replace(relevance=judge_of(name))
            self._fitted[name] = fit(judged, self.view, self.env, stages=Teachers(self))
            print(f"{name}: {process_time() - start_s:.0f} CPU s", file=sys.stderr, flush=True)
        return self._fitted[name]

    def ndcg(self, lists: ItemLists, score_N: Array) -> Array:
        """float64[Q] at DEPTH, over the whole catalogue; NaN where nothing has a gain."""
        discount = 1 / np.log2(np.arange(2, DEPTH + 2))
        out = np.full(len(self.asked), np.nan)
        for q, gain in enumerate(self.gain_Q):
            start, stop = lists.splits[q : q + 2]
            best = start + np.argsort(-score_N[start:stop], kind="stable")[:DEPTH]
            found, ideal = gain[lists.item[best]], np.sort(gain)[::-1][:DEPTH]
            if ideal.any():
                out[q] = (found * discount[: len(found)]).sum() / (ideal * discount).sum()
        return out


def rows_of(shop: GradedShop, name: str, weights: Sequence[float]) -> Iterator[dict[str, Any]]:
    funnel = shop.fitted(name)
    by_score = replace(funnel, plan=funnel.plan.replace(utility="score"))
    lists = by_score.ranked(Requests.make([query.text for query in shop.asked]), k=1000)
    is_hard_Q = np.array([query.kind in HARD for query in shop.asked])
    alone_Q = shop.ndcg(lists, lists["score"])
    can_Q = ~np.isnan(alone_Q)
    yield {"metric": f"ndcg@{DEPTH}", "plan": "hybrid", "value": float(alone_Q[can_Q].mean())}
    yield {"metric": "pairs a CPU second", "plan": name, "value": pairs_a_second(shop, funnel, lists)}
    own = judge_of(name).loudness
    chosen = own if funnel.loudness is None else funnel.loudness.value
    yield {"metric": "chosen loudness", "plan": name, "value": chosen}
    told = [(f"{weight:g}", weight) for weight in weights or [own]]
    for (loudness, weight), top in product([*told, ("chosen", chosen)], TOPS):
        label = f"{name}/{loudness}" + ("" if top == TOPS[0] else f"/{top}")
        judged_Q = shop.ndcg(lists, lists["score"] + weight * judged_of(lists, top))
        yield {"metric": f"ndcg@{DEPTH}", "plan": label, "value": float(judged_Q[can_Q].mean())}
        for part, in_Q in (("", can_Q), (" of hard queries", can_Q & is_hard_Q)):
            found = paired_difference(judged_Q[in_Q], alone_Q[in_Q])
            yield {
                "metric": f"ndcg@{DEPTH}{part} against hybrid", "plan": label,
                "value": found.value, "low": found.low, "high": found.high,
            }  # fmt: skip


def pairs_a_second(shop: GradedShop, funnel: Funnel, lists: ItemLists) -> float:
    """How many candidates of some queries the judge grades in a second of one processor."""
    some = lists.first(min(TIMED, len(lists)))
    some = some.take(places(some) < TOPS[0])
    start_s = process_time()
    funnel.fitted["relevance"].stage.chances([query.text for query in shop.asked[: len(some)]], some)
    return len(some.item) / (process_time() - start_s)


def judged_of(lists: ItemLists, top: int) -> Array:
    """float32[N]: ``relevance`` where so many of a request had been judged."""
    return filled(lists["relevance"], (places(lists) < top) & (lists["tier"] >= 0), lists)


if __name__ == "__main__":
    main()
