"""From a ranked prefix to the shown page: the engine's order after the prefix, variants, facets, totals, cursors.

A search lists what its words match and what its retrievers find near without its filter; the filter takes a part of that.
The list is shown as: the ranked prefix, then the rest in the engine's order, without repeats.  Totals and facets count
exactly that list, so that choosing a facet's value shows as many products as were counted.  A request with a sort order
skips the prefix: the whole list is ordered by that column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aisle.core.errors import GenerationError
from aisle.core.filters import Sort
from aisle.core.lists import Array, ItemLists, mask_of_size, missing_value, splits_of
from aisle.core.requests import Requests, Scene
from aisle.funnel.page import Cursor, Page, StageTrace

if TYPE_CHECKING:
    from aisle.core.shop import Engine
    from aisle.funnel.serving import Funnel

NO_ROWS = np.zeros(0, np.int32)


class Listing(NamedTuple):
    """What each request lists before its filter, and so what its total and facets count; it does not depend on the filter.

    rows  Q arrays bool[I]: rows that the words match (every row without words), and rows found by other means
    near  Q arrays int32: the latter, those that the words do not match
    """

    rows: Sequence[Array]
    near: Sequence[Array]

    @classmethod
    def of_words(cls, engine: Engine, requests: Requests) -> Listing:
        return cls([_match(engine, requests, q) for q in range(len(requests))], [NO_ROWS] * len(requests))

    def plus(self, near: Sequence[Array]) -> Listing:
        """With these rows, too."""
        known = [rows[rows < len(mask)] for rows, mask in zip(near, self.rows, strict=True)]
        new = [np.unique(rows[~mask[rows]]) for rows, mask in zip(known, self.rows, strict=True)]
        return Listing([_with_rows(mask, rows) for mask, rows in zip(self.rows, new, strict=True)], new)

    def cut(self, requests: Requests, candidates: ItemLists) -> ItemLists:
        """The candidates that belong to the lists; all of them where the list has none under the filter, such as for
        similar items: what is left then is better than an empty page."""
        kept = np.zeros(len(candidates.item), bool)
        for q, listed in enumerate(self.rows):
            mine = slice(candidates.splits[q], candidates.splits[q + 1])
            kept[mine] = listed[candidates.item[mine]]
            if not kept[mine].any() and not (listed & requests.masks().of(q)).any():
                kept[mine] = True
        return candidates if kept.all() else candidates.take(kept)


def resumed(funnel: Funnel, requests: Requests, cursors: Sequence[str] | None) -> tuple[ItemLists, list[Array]] | None:
    """The ranked prefixes that the cursors hold, and the rows that were near; None when any request has no cursor."""
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
    splits = splits_of(np.array([len(r) for r in rows]))
    return ItemLists(np.concatenate(rows), splits, {}, funnel.env.engine.generation), [c.near for c in decoded]


def assemble(
    funnel: Funnel,
    requests: Requests,
    prefix: ItemLists,
    listing: Listing,
    facet_fields: Sequence[str] | None,
    trace: list[StageTrace],
) -> Page:
    """The page of each request from its ranked prefix."""
    engine = funnel.env.engine
    group = engine.items.group() if funnel.plan.collapse else None
    ranked = [prefix.item[prefix.splits[q] : prefix.splits[q + 1]] for q in range(len(requests))]
    lists = [_with_rows(rows, first) for rows, first in zip(listing.rows, ranked, strict=True)]
    counts = engine.count(requests, lists, engine.items.facet_fields() if facet_fields is None else facet_fields)
    totals = [c.rows if group is None else c.groups for c in counts]
    shown, cursors = [], []
    for q, total in enumerate(totals):
        start, stop = int(requests.offset[q]), int(requests.offset[q] + requests.limit[q])
        shown.append(_shown(engine, requests, q, ranked[q], lists[q], group, stop)[start:stop])
        cursors.append(_cursor(funnel, requests, q, ranked[q], listing.near[q], stop) if stop < total else "")
    ran = [t for t in trace if not t.skipped]
    return Page(
        lists=_with_prefix_columns(shown, prefix, engine.generation),
        facets=[c.facets for c in counts],
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


def _with_rows(listed: Array, rows: Array) -> Array:
    """bool[I]: these rows too."""
    if listed[rows].all():
        return listed
    more = listed.copy()
    more[rows] = True
    return more


def _shown(
    engine: Engine, requests: Requests, q: int, ranked: Array, listed: Array, group: Array | None, stop: int
) -> Array:
    """The list of request q, up to place ``stop`` at least: the ranked rows and then the rest of the allowed ones, or all
    of these by the request's sort order; one variant of each product."""
    sort = requests.sort[q]
    if sort is not None:
        return _one_a_group(_in_order(engine, requests, q, listed & requests.masks().of(q), sort), group)
    first = _one_a_group(ranked, group)
    if stop <= len(first):
        return first
    rest = listed & requests.masks().of(q)
    rest[ranked] = False
    return _one_a_group(np.concatenate([ranked, _in_order(engine, requests, q, rest, None)]), group)


def _in_order(engine: Engine, requests: Requests, q: int, mask: Array, sort: Sort | None) -> Array:
    """The rows of a mask by a column or in the engine's own order, those behind that have what the query says no to."""
    rows = engine.order(np.flatnonzero(mask).astype(np.int32), sort)
    if requests.unwanted is None:
        return rows
    has = requests.unwanted.allows(np.full(len(rows), q), rows)
    return np.concatenate([rows[~has], rows[has]])


def _one_a_group(rows: Array, group: Array | None) -> Array:
    """The first row of each variant group, order kept."""
    if group is None or not len(rows):
        return rows
    mine = group[rows]
    first = np.empty(int(mine.max()) + 1, np.int64)
    # Written backwards, so that of several rows the first one stays.
    first[mine[::-1]] = np.arange(len(rows))[::-1]
    kept: Array = rows[first[mine] == np.arange(len(rows))]
    return kept


def _with_prefix_columns(shown: Sequence[Array], prefix: ItemLists, generation: int) -> ItemLists:
    """The shown rows with the columns they had in the prefix, missing values for those beyond it."""
    item = np.concatenate(shown) if shown else np.zeros(0, np.int32)
    splits = splits_of(np.array([len(s) for s in shown], np.int64))
    page = ItemLists(item, splits, {}, generation)
    source = prefix.find(page)
    inside = source >= 0
    if inside.all():
        columns = {name: column[source] for name, column in prefix.columns.items()}
    else:
        columns = {name: _filled(column, source, inside) for name, column in prefix.columns.items()}
    columns["propensity"] = (
        np.where(inside, columns["propensity"], 1).astype(np.float32)
        if "propensity" in columns
        else np.ones(len(item), np.float32)
    )
    return page.with_columns(**columns)


def _filled(column: Array, source: Array, inside: Array) -> Array:
    """The column at these places, its missing value where there is none."""
    full = np.full((len(source), *column.shape[1:]), missing_value(column.dtype), column.dtype)
    full[inside] = column[source[inside]]
    return full


def _suggestion(engine: Engine, requests: Requests, q: int) -> str | None:
    return engine.text.suggest(requests.query[q]) if requests.query[q] else None


def _cursor(funnel: Funnel, requests: Requests, q: int, ranked: Array, near: Array, offset: int) -> str:
    engine, seed = funnel.env.engine, int(requests.seed[q])
    return Cursor(
        funnel.version, engine.generation, engine.sequence, seed, offset, ranked, _others(near, ranked)
    ).encode()


def _others(rows: Array, taken: Array) -> Array:
    """``rows``, which ascend, without those that are taken."""
    if not len(rows):
        return rows
    place = np.minimum(np.searchsorted(rows, taken), len(rows) - 1)
    left = np.ones(len(rows), bool)
    left[place[rows[place] == taken]] = False
    return rows[left]
