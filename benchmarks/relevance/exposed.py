"""Judged pairs of a generated shop as exposure leaves them: the more a query is asked, the more of its pairs are annotated.

Grades for learning come from the simulated annotator, who errs in a stated way (a quarter of the middle grades are a neighbour's);
test pairs are as many for every query, and measured against the true grades, which nothing learns from.

Legend: N pairs.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parent))

from as_judgments import as_judgments

from aisle.core.lists import Array
from aisle.data.items import ItemTable
from aisle.data.view import View
from aisle.relevance._pairs import Pairs
from aisle.relevance._scale import scale_of
from aisle.simulate.grades.rules import GAINS
from aisle.simulate.judgments.annotator import annotate
from aisle.simulate.language.queries import HARD, traffic
from aisle.simulate.world import World

NUM_ITEMS, NUM_QUERIES, DEPTH = 4000, 2400, 40
TEST_QUERIES, VALIDATION_QUERIES, TEST_PAIRS = 300, 200, 14
LEAST, EXPONENT = 3, 0.5


@dataclass(frozen=True, eq=False)
class Exposed:
    """
    train, validation  pairs with the annotator's grades; training pairs by exposure
    test               pairs with the true grades
    true               true labels of the training pairs: for measuring what a selection keeps
    is_hard, tail      bool: of each training pair, whether its query is of a hard kind, and among the least asked half
    """

    items: ItemTable
    train: Pairs
    validation: Pairs
    test: Pairs
    true: Array
    is_hard: Array
    tail: Array
    traffic: Array
    version: str

    def view(self) -> View:
        """The shop as a fit sees it: no log, so traffic is told by how much of a query was annotated."""
        return View(
            self.items,
            judgments={"train": as_judgments(self.train, GAINS), "validation": as_judgments(self.validation, GAINS)},
        )


def exposed(seed: int = 0, num_pairs: int = 20_000, noise: float = 1.0) -> Exposed:
    world = World.make(items=NUM_ITEMS, seed=seed, noise=noise)
    asked = world.queries(NUM_QUERIES)
    table, _ = annotate(world, asked, budget=NUM_QUERIES * DEPTH, seed=seed)
    items = ItemTable.from_table(world.items)
    scale = scale_of([1, 2, 3, 4])
    query_N = _places(table["query"], [q.text for q in asked])
    row_N = items.rows_of(table["item_id"].to_pylist())
    written_N = scale.places(table["grade"].to_numpy())
    true_N = np.zeros(len(query_N), np.int64)
    for e, query in enumerate(asked):
        places = np.flatnonzero(query_N == e)
        true_N[places] = world.grades(query, row_N[places].astype(np.int64)) - 1
    random = np.random.default_rng((seed, 0xE7))
    part_E = np.zeros(NUM_QUERIES, np.int64)
    order = random.permutation(NUM_QUERIES)
    part_E[order[:TEST_QUERIES]], part_E[order[TEST_QUERIES : TEST_QUERIES + VALIDATION_QUERIES]] = 2, 1
    share_E = traffic(asked)
    counts_E = np.where(part_E == 0, _annotated(share_E * (part_E == 0), num_pairs), TEST_PAIRS)
    place_N = _place_in_query(query_N, random)
    taken = place_N < counts_E[query_N]
    pick = [np.flatnonzero(taken & (part_E[query_N] == part)) for part in range(3)]
    texts = [q.text for q in asked]
    train, validation = (Pairs(scale, texts, query_N[p], row_N[p], written_N[p]) for p in pick[:2])
    test = Pairs(scale, texts, query_N[pick[2]], row_N[pick[2]], true_N[pick[2]])
    is_hard_E = np.array([q.kind in HARD for q in asked])
    tail_E = share_E < np.median(share_E[part_E == 0])
    at = query_N[pick[0]]
    return Exposed(items, train, validation, test, true_N[pick[0]], is_hard_E[at], tail_E[at], share_E, world.version)


def _annotated(share_E: Array, num_pairs: int) -> Array:
    """int64[E]: pairs of each query, in proportion to a power of its traffic, between LEAST and what was drawn."""
    weight = share_E**EXPONENT
    low, high = 0.0, 1e9
    for _ in range(60):
        scale = (low + high) / 2
        counts = np.clip(np.round(scale * weight), LEAST, DEPTH) * (share_E > 0)
        low, high = (scale, high) if counts.sum() < num_pairs else (low, scale)
    return counts.astype(np.int64)


def _place_in_query(query_N: Array, random: np.random.Generator) -> Array:
    """int64[N]: 0, 1, ... of each query's pairs in an order by chance."""
    order = np.lexsort((random.random(len(query_N)), query_N))
    starts = np.flatnonzero(np.diff(query_N[order], prepend=-1))
    counts = np.diff(np.append(starts, len(order)))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order)) - np.repeat(starts, counts)
    return place


def _places(column: pa.ChunkedArray, texts: list[str]) -> Array:
    place = {text: e for e, text in enumerate(texts)}
    return np.array([place[text] for text in column.to_pylist()], np.int64)
