"""What a selection keeps of pairs whose mistakes are known, and what it is worth: the sign test of LREF's three helpers.

A share of the labels (a tenth, two, three) is moved by one grade.  Head queries follow one rule, tail queries another that is
annotated seldom.  Helpers and the learner that is then taught the selected pairs are softmax regressions of as many steps, the
helpers cross-fitted by query as the judge's are.  Against true grades, on pairs of another draw:

    macro_f1, tail_f1   of a learner from nothing; over_random, over_all, over_confident: gains over those arms
    started_f1          of one that learned all pairs before; started_over_all: gain over all pairs twice

``ci+ms`` keeps what can be learned and is not mislabelled, easy or hard.  Mistakes are a grade upwards where there is one, which is
what MS is taught to expect: a world that suits it.

    python benchmarks/relevance/selection.py

Legend: N pairs, D features.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from aisle.core.lists import Array
from aisle.relevance._pairs import Pairs
from aisle.relevance._scale import scale_of
from aisle.relevance._tiers import macro_f1
from aisle.relevance._verdicts import RuleTable
from aisle.relevance._writers.teacher import Reading, Teacher
from aisle.relevance.lref.selection import Selection, select

ETA, SEEDS = 0.1, 5
NOISES = (ETA, 0.2, 0.3)
SCALE = scale_of([1, 2, 3, 4])
ARMS = {
    "all": Selection(by="all"),
    "confident": Selection(by="confident"),
    "im": Selection(sample=0.25, filters=("im",)),
    "im+ci": Selection(sample=0.25, filters=("im", "ci")),
    "ci+ms": Selection(sample=0.25, filters=("ci", "ms")),
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
        return _softmax(self.feature[judged.row] @ self.weight(lesson)).astype(np.float32)

    def weight(self, lesson: Pairs, start: Array | None = None) -> Array:
        """float64[D, 4] after as many steps whatever the number of pairs, from nothing or from weights."""
        weight = np.zeros((self.feature.shape[1], 4)) if start is None else start.copy()
        x, y = self.feature[lesson.row], np.eye(4)[lesson.label]
        for _ in range(150):
            chance = _softmax(x @ weight)
            weight += 2.0 * x.T @ (y - chance) / len(x)
        return weight


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def noisy(seed: int = 0, queries: int = 210, eta: float = ETA) -> Noisy:
    """Two thirds of the queries are head, with 26 pairs each; the tail has 8 a query.  ``eta``: the share of mistakes."""
    random = np.random.default_rng(seed)
    is_head = np.arange(queries) < 2 * queries // 3
    query = np.repeat(np.arange(queries), np.where(is_head, 26, 8))
    n = len(query)
    true, is_tail = random.integers(0, 4, n), ~is_head[query]
    # One group of features tells the grade of head queries, another that of tail queries.
    hint = np.eye(4)[true] * 2 + random.normal(0, 0.7, (n, 4))
    feature = np.concatenate([hint * ~is_tail[:, None], hint * is_tail[:, None], np.ones((n, 1))], 1)
    flipped = random.random(n) < eta
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
    for eta in NOISES:
        found = [
            of_world(noisy(seed, eta=eta), noisy(seed + 1000, queries=600, eta=0.0), seed) for seed in range(SEEDS)
        ]
        for arm in found[0]:
            plan = arm if eta == ETA else f"{arm}@{eta}"
            rows += [
                {"metric": metric, "plan": plan, "value": float(np.mean([of[arm][metric] for of in found]))}
                for metric in found[0][arm]
            ]
    print(json.dumps(rows, indent=1))


def of_world(world: Noisy, fresh: Noisy, seed: int) -> dict[str, dict[str, float]]:
    """Figures of every arm, and of as many pairs by chance as the three helpers keep (``random``)."""
    keep = {arm: select(world.pairs, how, world.learn, Silent(), world.traffic, seed).keep for arm, how in ARMS.items()}
    order = np.random.default_rng(seed).permutation(len(world.pairs))
    keep["random"] = np.isin(np.arange(len(order)), order[: keep["im+ci+ms"].sum()])
    found = {arm: {**shares(world, of), **worth(world, of, fresh)} for arm, of in keep.items()}
    selected, trusted = found["im+ci+ms"], found["ci+ms"]
    trusted["over_all"] = trusted["macro_f1"] - found["all"]["macro_f1"]
    trusted["over_confident"] = trusted["macro_f1"] - found["confident"]["macro_f1"]
    selected["over_random"] = selected["macro_f1"] - found["random"]["macro_f1"]
    selected["started_over_all"] = selected["started_f1"] - found["all"]["started_f1"]
    return found


def shares(world: Noisy, keep: Array) -> dict[str, float]:
    """Of the pairs that are kept: their share, and the shares of mistakes and of the tail among them."""
    wrong = world.pairs.label != world.true
    return {
        "kept": float(keep.mean()),
        "mislabelled": float(wrong[keep].mean()),
        "tail": float(world.is_tail[keep].mean()),
    }


def worth(world: Noisy, keep: Array, fresh: Noisy) -> dict[str, float]:
    """What a learner of the pairs that are kept makes of the fresh ones; ``started_f1``: one that learned all pairs before."""
    lesson, tail = world.pairs.take(np.flatnonzero(keep)), fresh.is_tail
    said = (fresh.feature @ world.weight(lesson)).argmax(1)
    started = (fresh.feature @ world.weight(lesson, world.weight(world.pairs))).argmax(1)
    return {
        "macro_f1": macro_f1(fresh.true, said, 4),
        "tail_f1": macro_f1(fresh.true[tail], said[tail], 4),
        "started_f1": macro_f1(fresh.true, started, 4),
    }


if __name__ == "__main__":
    main()
