"""From a ranked prefix to the shown page: the engine's order after the prefix, variants, facets, totals, cursors.

A list is shown as: the ranked prefix, then the rest of the match set in the engine's order, without repeats.  Totals and
facets count exactly that list.  A request
with a sort order skips the prefix: the whole match set is ordered by that column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from aisle.core.errors import GenerationError
from aisle.core.lists import Array, ItemLists, mask_of_size, missing_value, splits_of
from aisle.core.requests import Requests, Scene
from aisle.funnel.page import Cursor, Page, StageTrace

if TYPE_CHECKING:
    from aisle.core.shop import Engine
    from aisle.funnel.serving import Funnel


def resumed(funnel: Funnel, requests: Requests, cursors: Sequence[str] | None) -> ItemLists | None:
    """The ranked prefixes that the cursors hold, or None when any request of the batch has no cursor."""
    if not cursors or not all(cursors):
        return None
    decoded = [Cursor.decode(text) for text in cursors]
    for cursor in decoded:
        if cursor.generation != funnel.env.engine.generation:
            raise GenerationError(
                f"the cursor was made on generation {cursor.generation}, the shop is at {funnel.env.engine.generation}; "
                "ask for the first page again"
            )
    masks = requests.masks()
    rows = [c.prefix[masks.allows(np.full(len(c.prefix), q), c.prefix)] for q, c in enumerate(decoded)]
    return ItemLists(
        np.concatenate(rows), splits_of(np.array([len(r) for r in rows])), {}, funnel.env.engine.generation
    )


def assemble(
    funnel: Funnel, requests: Requests, prefix: ItemLists, facet_fields: Sequence[str] | None, trace: list[StageTrace]
) -> Page:
    """The page of each request from its ranked prefix."""
    engine = funnel.env.engine
    group = engine.items.group() if funnel.plan.collapse else None
    matches = [_match(engine, requests, q) for q in range(len(requests))]
    masks = requests.masks()
    shown, totals, cursors, listed = [], [], [], []
    for q in range(len(requests)):
        ranked = prefix.item[prefix.splits[q] : prefix.splits[q + 1]]
        whole = _whole_list(engine, requests, q, ranked, matches[q] & masks.of(q))
        listed.append(_with_rows(matches[q], ranked))
        whole = _one_a_group(whole, group)
        start, stop = int(requests.offset[q]), int(requests.offset[q] + requests.limit[q])
        shown.append(whole[start:stop])
        totals.append(len(whole))
        cursors.append(_cursor(funnel, requests, q, ranked, stop) if stop < len(whole) else "")
    ran = [t for t in trace if not t.skipped]
    return Page(
        lists=_with_prefix_columns(shown, prefix, engine.generation),
        facets=_facets(engine, requests, listed, facet_fields),
        total=np.array(totals, np.int64),
        total_is_exact=np.ones(len(requests), bool),
        suggestion=[_suggestion(engine, requests, q) for q in range(len(requests))],
        redirect=[None] * len(requests),
        applied_rules=[()] * len(requests),
        coverage=len(ran) / len(trace) if trace else 1.0,
        trace=trace,
        cursor=cursors,
        candidates=prefix,
    )


def _match(engine: Engine, requests: Requests, q: int) -> Array:
    """bool[I]: what the words of request q match, before its filter; similar items match nothing beyond their prefix.

    I are the rows that there were when the request was compiled: what came since is for the next one.
    """
    size = len(requests.masks().of(q))
    if int(requests.scene[q]) == Scene.SIMILAR:
        return np.zeros(size, bool)
    return mask_of_size(engine.text.match(requests.query[q], {}), size)


def _with_rows(matching: Array, rows: Array) -> Array:
    """bool[I]: the match set and what was found by other means: all that paging would show, so all that facets count."""
    listed = matching.copy()
    listed[rows] = True
    return listed


def _whole_list(engine: Engine, requests: Requests, q: int, ranked: Array, matching: Array) -> Array:
    sort = requests.sort[q]
    if sort is not None:
        return engine.order(np.flatnonzero(_with_rows(matching, ranked)).astype(np.int32), sort)
    rest = matching.copy()
    rest[ranked] = False
    tail = engine.order(np.flatnonzero(rest).astype(np.int32), None)
    return np.concatenate([ranked, tail])


def _one_a_group(rows: Array, group: Array | None) -> Array:
    """The first row of each variant group, order kept."""
    if group is None or not len(rows):
        return rows
    _, first = np.unique(group[rows], return_index=True)
    kept: Array = rows[np.sort(first)]
    return kept


def _with_prefix_columns(shown: Sequence[Array], prefix: ItemLists, generation: int) -> ItemLists:
    """The shown rows with the columns they had in the prefix, missing values for those beyond it."""
    item = np.concatenate(shown) if shown else np.zeros(0, np.int32)
    splits = splits_of(np.array([len(s) for s in shown], np.int64))
    page = ItemLists(item, splits, {}, generation)
    source = prefix.find(page)
    inside = source >= 0
    columns = {}
    for name, column in prefix.columns.items():
        full = np.full((len(item), *column.shape[1:]), missing_value(column.dtype), column.dtype)
        full[inside] = column[source[inside]]
        columns[name] = full
    columns["propensity"] = (
        np.where(inside, columns["propensity"], 1).astype(np.float32)
        if "propensity" in columns
        else np.ones(len(item), np.float32)
    )
    return page.with_columns(**columns)


def _facets(
    engine: Engine, requests: Requests, matches: Sequence[Array], fields: Sequence[str] | None
) -> Sequence[Mapping[str, Any]]:
    wanted = engine.items.facet_fields() if fields is None else list(fields)
    return engine.facets(requests, matches, wanted) if wanted else [{} for _ in matches]


def _suggestion(engine: Engine, requests: Requests, q: int) -> str | None:
    return engine.text.suggest(requests.query[q]) if requests.query[q] else None


def _cursor(funnel: Funnel, requests: Requests, q: int, ranked: Array, offset: int) -> str:
    engine = funnel.env.engine
    return Cursor(funnel.version, engine.generation, engine.sequence, int(requests.seed[q]), offset, ranked).encode()
