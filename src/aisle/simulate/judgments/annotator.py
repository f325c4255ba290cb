"""Graded judgments by a simulated annotator, who sees a pool of items a query and errs in a stated way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from aisle.core.errors import SettingError
from aisle.core.lists import Array
from aisle.data.schema import JUDGMENTS
from aisle.simulate.grades.rules import GAINS
from aisle.simulate.language.queries import Query
from aisle.simulate.lexical import best
from aisle.simulate.world import World

CONFUSION = np.array(
    [
        [0.92, 0.06, 0.02, 0.00],
        [0.12, 0.70, 0.16, 0.02],
        [0.03, 0.15, 0.66, 0.16],
        [0.01, 0.04, 0.15, 0.80],
    ]
)
"""float64[4, 4]: row = true grade, column = probability of the grade that is written down, at noise 1."""


def confusion(noise: float) -> Array:
    """float64[4, 4]: the annotator's confusion matrix at a noise between 0 (none) and 1."""
    matrix: Array = (1 - noise) * np.eye(4) + noise * CONFUSION
    return matrix


def annotate(
    world: World, asked: Sequence[Query], budget: int = 20_000, seed: int = 0
) -> tuple[pa.Table, dict[int, float]]:
    """Judgments (JUDGMENTS table) of at most ``budget`` pairs, spread evenly over the queries, and the gain map.

    The pool of a query joins what a plain BM25 finds for the words as typed, what it finds for the same wish in
    sellers' words, both again with popular items first, and some items at random.
    Raises SettingError when the budget gives no query a pair.
    """
    depth = min(budget // max(len(asked), 1), world.num_items)
    if depth < 1:
        raise SettingError(f"a budget of {budget} pairs is less than one for each of {len(asked)} queries; raise it")
    rng = np.random.default_rng((world.seed, seed, 5))
    cumulative = np.cumsum(confusion(world.knobs.noise), axis=1)
    cumulative[:, -1] = 1.0
    rows, grades = [], []
    for query in asked:
        pool = _pool(world, query, depth, rng)
        true = world.grades(query, pool)
        rows.append(pool)
        grades.append((rng.random(len(pool))[:, None] >= cumulative[true - 1]).sum(axis=1) + 1)
    ids = world.items["item_id"].combine_chunks()
    table = pa.table(
        {
            "query": np.repeat(np.array([q.text for q in asked], object), [len(r) for r in rows]),
            "item_id": ids.take(pa.array(np.concatenate(rows))),
            "grade": np.concatenate(grades).astype(np.int32),
        },
        schema=JUDGMENTS,
    )
    return table, dict(GAINS)


def _pool(world: World, query: Query, depth: int, rng: np.random.Generator) -> Array:
    """int32[depth]: distinct rows, in the order in which the systems take turns."""
    systems = []
    for text in (query.text, query.canonical):
        score = world.bm25.score(text)
        systems += [best(score, depth), best(np.where(score > 0, score + world.popularity, 0), depth)]
    some = rng.choice(world.num_items, min(2 * depth, world.num_items), replace=False).astype(np.int32)
    systems.append(some[: max(depth // 8, 1)])
    longest = max(map(len, systems))
    turns = np.full((longest, len(systems)), -1, np.int32)
    for n, system in enumerate(systems):
        turns[: len(system), n] = system
    order = turns.ravel()
    order = np.concatenate([order[order >= 0], some])
    first = np.sort(np.unique(order, return_index=True)[1])[:depth]
    pool: Array = order[first]
    return pool
