"""Rows that were not shown, added to logged pages as seen and passed over.

A log holds what a policy chose to show; a ranker meets hundreds of candidates.  Half of the added rows are what the plan finds
for the page's query, the others are drawn from the whole catalogue, as are all rows of a feed.

Legend: Q pages, N shown rows, G added rows a page.
"""

from __future__ import annotations

import numpy as np

from aisle.core.env import Env
from aisle.core.lists import Array, ItemLists
from aisle.core.method import Given
from aisle.core.requests import Requests
from aisle.ranking._impressions import Impressions

MOST_QUERIES = 3000
"""The most frequent queries whose candidates are looked up; pages of others take rows of the whole catalogue."""
CHUNK = 64
SALT = 0x4E47


def with_negatives(pages: Impressions, count: int, env: Env, given: Given) -> Impressions:
    """The pages with ``count`` more rows each at most: label 0, a place and price like that of a row shown beside it."""
    if not count or not len(pages.requests):
        return pages
    rng = np.random.default_rng((env.seed, SALT))
    found_QG = _found(pages.requests, count // 2, env, given, rng)
    live = np.flatnonzero(env.engine.items.live)
    anywhere_QG = rng.choice(live, (len(pages.requests), count - found_QG.shape[1])).astype(np.int32)
    return _joined(pages, np.concatenate([found_QG, anywhere_QG], 1), rng)


def _found(requests: Requests, count: int, env: Env, given: Given, rng: np.random.Generator) -> Array:
    """int32[Q, count] drawn from what the plan finds for each page's query, -1 where it finds nothing."""
    drawn = np.full((len(requests), count), -1, np.int32)
    queries, which, times = np.unique(np.array(requests.query, object), return_inverse=True, return_counts=True)
    typed = np.flatnonzero([bool(query) for query in queries])
    asked = typed[np.argsort(-times[typed], kind="stable")][:MOST_QUERIES]
    if given.candidates is None or not count:
        return drawn
    for start in range(0, len(asked), CHUNK):
        env.progress("find negatives", start, len(asked))
        chunk = asked[start : start + CHUNK]
        lists = given.candidates(Requests.make([str(queries[q]) for q in chunk]), 1)
        place = np.full(len(queries), -1)
        place[chunk] = np.arange(len(chunk))
        pages = np.flatnonzero((place[which] >= 0) & (lists.counts[np.maximum(place[which], 0)] > 0))
        mine = place[which[pages]]
        at = (rng.random((len(pages), count)) * lists.counts[mine][:, None]).astype(np.int64)
        drawn[pages] = lists.item[lists.splits[mine][:, None] + at]
    return drawn


def _joined(pages: Impressions, more_QG: Array, rng: np.random.Generator) -> Impressions:
    """The pages with these rows, less those that a page holds already."""
    lists = pages.lists
    q, width = more_QG.shape
    like = lists.splits[:-1][:, None] + (rng.random((q, width)) * lists.counts[:, None]).astype(np.int64)
    added = ItemLists(
        more_QG.ravel(),
        np.arange(q + 1) * width,
        {
            "position": lists["position"][like.ravel()],
            "price_cents": np.full(q * width, -1, np.int64),
            "label": np.zeros((q * width, lists["label"].shape[1]), np.float32),
        },
        lists.generation,
    )
    new = (added.item >= 0) & (lists.find(added) < 0)
    _, once = np.unique(added.keys, return_index=True)
    new &= np.isin(np.arange(len(new)), once)
    added = added.take(new)
    owner = np.concatenate([lists.owner, added.owner])
    order = np.argsort(owner, kind="stable")
    columns = {name: np.concatenate([lists[name], added[name]])[order] for name in lists.columns}
    item = np.concatenate([lists.item, added.item])[order]
    splits = lists.splits + added.splits
    return Impressions(pages.requests, ItemLists(item, splits, columns, lists.generation), pages.tasks)
