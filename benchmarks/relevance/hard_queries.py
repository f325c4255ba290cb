"""Hard queries of a generated shop with judged pairs, apart by query: what the sweeps of language-model judges learn from.

Every query is a negation, an alternative to a brand, a question or an aim that takes knowledge.  People's grades come from the
simulated annotator, who errs; the true grades are a return value for measuring, which nothing learns from.

Legend: N pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from aisle.core.lists import Array
from aisle.data.items import ItemTable
from aisle.relevance._pairs import Pairs
from aisle.relevance._scale import scale_of
from aisle.simulate.judgments.annotator import annotate
from aisle.simulate.world import World

NUM_ITEMS, NUM_QUERIES, PAIRS_A_QUERY = 4000, 3400, 14
TEST_QUERIES, VALIDATION_QUERIES = 300, 180


@dataclass(frozen=True, eq=False)
class HardQueries:
    """
    train, validation, test  pairs with the annotator's labels
    true, kind               true labels and kinds of query of the test pairs, int64[N] and str[N]
    version                  of the world
    """

    items: ItemTable
    train: Pairs
    validation: Pairs
    test: Pairs
    true: Array
    kind: Array
    version: str


def hard_queries(seed: int = 0) -> HardQueries:
    world = World.make(items=NUM_ITEMS, seed=seed, hard=1.0)
    asked = world.queries(NUM_QUERIES)
    table, _ = annotate(world, asked, budget=NUM_QUERIES * PAIRS_A_QUERY, seed=seed)
    items = ItemTable.from_table(world.items)
    place = {query.text: n for n, query in enumerate(asked)}
    query_N = np.array([place[text] for text in table["query"].to_pylist()], np.int64)
    scale = scale_of([1, 2, 3, 4])
    row_N = items.rows_of(table["item_id"].to_pylist())
    pairs = Pairs(scale, [q.text for q in asked], query_N, row_N, scale.places(table["grade"].to_numpy()))
    part = _parts(seed)
    train, validation, test = (pairs.take(np.flatnonzero(part[query_N] == p)) for p in range(3))
    return HardQueries(
        items,
        train,
        validation,
        test,
        _true(world, asked, test),
        np.array([asked[q].kind for q in test.query]),
        world.version,
    )


def _parts(seed: int) -> Array:
    """int64 of each query: 0 training, 1 validation, 2 test."""
    order = np.random.default_rng((seed, 0x4A2D)).permutation(NUM_QUERIES)
    part = np.zeros(NUM_QUERIES, np.int64)
    part[order[:TEST_QUERIES]] = 2
    part[order[TEST_QUERIES : TEST_QUERIES + VALIDATION_QUERIES]] = 1
    return part


def _true(world: World, asked: list, pairs: Pairs) -> Array:
    """int64[N]: places of the true grades."""
    out = np.zeros(len(pairs), np.int64)
    for query, places in pairs.by_query():
        found = next(asked[q] for q in pairs.query[places[:1]])
        assert found.text == query
        out[places] = world.grades(found, pairs.row[places].astype(np.int64)) - 1
    return out


def of_size(pairs: Pairs, size: int, seed: int) -> tuple[Pairs, Pairs]:
    """(about ``size`` pairs of whole queries, the rest): queries in an order that follows from the seed, so that a larger set
    contains every smaller one."""
    queries = np.random.default_rng((seed, 0x512E)).permutation(np.unique(pairs.query))
    counts: Mapping[int, int] = dict(zip(*np.unique(pairs.query, return_counts=True), strict=True))
    so_far = np.cumsum([counts[q] for q in queries])
    taken = queries[: int(np.searchsorted(so_far, size)) + 1]
    is_taken_N = np.isin(pairs.query, taken)
    return pairs.take(np.flatnonzero(is_taken_N)), pairs.take(np.flatnonzero(~is_taken_N))
