"""What a selection keeps of pairs whose mistakes are known: the sign test of LREF's three helpers.

A tenth of the labels is moved by one grade.  Head queries follow one rule, tail queries another that is annotated seldom.  The
helper is a softmax regression, cross-fitted by query as the judge's helpers are; what is measured is the selection, not the model.

    python benchmarks/relevance/selection.py

Legend: N pairs, D features.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from aisle.core.lists import Array
from aisle.relevance._grammar import RuleTable
from aisle.relevance._pairs import Pairs
from aisle.relevance._scale import scale_of
from aisle.relevance._teacher import Reading, Teacher
from aisle.relevance.lref.selection import Selection, select

ETA, SEEDS = 0.1, 5
SCALE = scale_of([1, 2, 3, 4])
ARMS = {
    "all": Selection(by="all"),
    "confident": Selection(by="confident"),
    "im": Selection(sample=0.25, filters=("im",)),
    "im+ci": Selection(sample=0.25, filters=("im", "ci")),
    "im+ci+ms": Selection(sample=0.25),
    "im+ci+ms-agrees": Selection(sample=0.25, mislabelled="agrees"),
}


@dataclass(frozen=True)
class Noisy:
    """Pairs of a world whose noise is known: head queries follow one rule, tail queries another that is seldom seen.

    feature float[N, D] by pair; true, label int64[N]; is_tail bool[N]
    """

    pairs: Pairs
    feature: Array
    true: Array
    is_tail: Array
    traffic: Array

    def learn(self, task: str, lesson: Pairs, judged: Pairs) -> Array:
        """Softmax regression: a real learner that is quick."""
        weight = np.zeros((self.feature.shape[1], 4))
        x, y = self.feature[lesson.row], np.eye(4)[lesson.label]
        for _ in range(150):
            chance = _softmax(x @ weight)
            weight += 2.0 * x.T @ (y - chance) / len(x)
        return _softmax(self.feature[judged.row] @ weight).astype(np.float32)


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def noisy(seed: int = 0, queries: int = 210) -> Noisy:
    """Two thirds of the queries are head, with 26 pairs each; the tail has 8 a query."""
    random = np.random.default_rng(seed)
    is_head = np.arange(queries) < 2 * queries // 3
    query = np.repeat(np.arange(queries), np.where(is_head, 26, 8))
    n = len(query)
    true, is_tail = random.integers(0, 4, n), ~is_head[query]
    # One group of features tells the grade of head queries, another that of tail queries.
    hint = np.eye(4)[true] * 2 + random.normal(0, 0.7, (n, 4))
    feature = np.concatenate([hint * ~is_tail[:, None], hint * is_tail[:, None], np.ones((n, 1))], 1)
    flipped = random.random(n) < ETA
    label = np.where(flipped, np.where(true < 3, true + 1, true - 1), true)
    pairs = Pairs(SCALE, [f"query {q}" for q in range(queries)], query, np.arange(n, dtype=np.int32), label)
    return Noisy(pairs, feature, true, is_tail, np.where(is_head, 26.0, 8.0))


class Silent(Teacher):
    """Sees nothing, so that the label mistaken for another is the neighbouring one."""

    def __init__(self) -> None:
        self.scale, self.table = SCALE, RuleTable(4)

    def read(self, query: str, rows) -> list[Reading]:
        return [Reading(None, None) for _ in rows]


def main() -> None:
    rows = []
    for arm, how in ARMS.items():
        found = [shares(noisy(seed), how, seed) for seed in range(SEEDS)]
        for place, metric in enumerate(("kept", "mislabelled", "tail")):
            rows.append({"metric": metric, "plan": arm, "value": float(np.mean([f[place] for f in found]))})
    print(json.dumps(rows, indent=1))


def shares(world: Noisy, how: Selection, seed: int) -> tuple[float, float, float]:
    """Of the pairs that are kept: their share, and the shares of mistakes and of the tail among them."""
    keep = select(world.pairs, how, world.learn, Silent(), world.traffic, seed).keep
    wrong = world.pairs.label != world.true
    return float(keep.mean()), float(wrong[keep].mean()), float(world.is_tail[keep].mean())


if __name__ == "__main__":
    main()
