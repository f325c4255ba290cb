"""From candidates to the ranked prefix of a page: relevance, ranking, utility, re-ranking, allocation.

Legend: N rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from aisle.core import expression
from aisle.core.errors import ContractError
from aisle.core.lists import Array, ItemLists
from aisle.core.requests import Requests
from aisle.funnel.page import StageTrace
from aisle.funnel.paging import Listing
from aisle.funnel.plan import RANKED
from aisle.funnel.stages import Stages, Way, num_rows

RANK_OFFSET = 60.0
"""Of reciprocal rank fusion (Cormack et al., 2009)."""


def ordered(way: Way, requests: Requests, lists: ItemLists, listing: Listing | None = None) -> ItemLists:
    """The best candidates in final order; with a ``listing``, of those that belong to it."""
    plan = way.stages.plan
    lists = scored(way, "relevance", requests, lists)
    lists = scored(way, "ranking", requests, lists)
    lists = _with_utility(way.stages, lists)
    lists = lists if listing is None else listing.cut(requests, lists)
    lists = lists.top(plan.depth.rank, "score")
    for slot, verb in (("reranking", "rerank"), ("allocation", "allocate")):
        if slot in way.stages and way.stages.can_read(slot, requests, lists):
            work = lambda s=slot, v=verb, c=lists: _checked_list(way.stages, s, v, requests, c)  # noqa: E731
            done = way.run(slot, requests, work, num_rows)
            lists = done if done is not None else lists
    if "propensity" not in lists.columns:
        lists = lists.with_columns(propensity=np.ones(len(lists.item), np.float32))
    return lists


def scored(way: Way, slot: str, requests: Requests, lists: ItemLists) -> ItemLists:
    """The candidates with the columns that the slot writes, where it stands and can read."""
    if slot not in way.stages:
        return lists
    if not way.stages.can_read(slot, requests, lists):
        way.trace.append(StageTrace(slot, 0.0, 0, "a column that it reads is missing"))
        return lists
    work = lambda: _checked_columns(way.stages, slot, requests, lists)  # noqa: E731
    columns = way.run(slot, requests, work, lambda _: len(lists.item))
    return lists if columns is None else lists.with_columns(**columns)


def _checked_columns(stages: Stages, slot: str, requests: Requests, lists: ItemLists) -> Mapping[str, Array]:
    columns: Mapping[str, Array] = stages[slot].score(requests, lists)
    for name, column in columns.items():
        if len(column) != len(lists.item):
            raise ContractError(f"{slot} wrote {len(column)} values of {name!r} for {len(lists.item)} candidates")
    return columns


def _checked_list(stages: Stages, slot: str, verb: str, requests: Requests, lists: ItemLists) -> ItemLists:
    done: ItemLists = getattr(stages[slot], verb)(requests, lists, stages.plan.depth.rank)
    stages.check_generation(slot, done)
    if done is lists:
        return done
    known = len(done) == len(lists) and (lists.find(done) >= 0).all()
    if not known or len(np.unique(done.keys)) != len(done.item):
        raise ContractError(
            f"{slot} returned a row twice, or one that was not among its candidates; it may only order and cut"
        )
    return done


def _with_utility(stages: Stages, lists: ItemLists) -> ItemLists:
    """Adds ``score``: what the plan orders by.  Where a stage that it reads did not run, the ranking's score alone, and without
    that the sum of reciprocal ranks."""
    plan, order = stages.plan, stages.plan.order
    if "ranking" not in stages and RANKED not in lists.columns:
        (name,) = plan.retrieval
        lists = lists.with_columns(score=lists[f"score_{name}"].astype(np.float32))
    if expression.columns_of(order) <= lists.columns.keys():
        if order == RANKED:
            return lists
        return lists.with_columns(score=expression.evaluate(order, lists.columns, len(lists.item)))
    if RANKED in lists.columns:
        return lists
    score = np.zeros(len(lists.item), np.float32)
    for name in plan.retrieval:
        rank = lists[f"rank_{name}"]
        score += np.where(rank >= 0, 1.0 / (RANK_OFFSET + rank), 0.0).astype(np.float32)
    return lists.with_columns(score=score)
