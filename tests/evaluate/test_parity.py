"""The same values as ir-measures, for every query, and as gdeval for ERR."""

from __future__ import annotations

import shutil

import ir_measures
import numpy as np
import pytest
from ir_measures import AP, ERR, RR, Judged, P, R, nDCG

from aisle.core.lists import ItemLists, splits_of
from aisle.core.shop import Judgments
from aisle.evaluate.metrics import Evaluator, Scale, measure

GAINS = {0: 0.0, 1: 1.0, 2: 3.0, 3: 7.0}


def world(seed: int = 0, queries: int = 80, items: int = 150) -> tuple[ItemLists, Judgments]:
    """Rankings of 1 to 60 items, judgments of 5 to 50; some queries have no positive grade."""
    rng = np.random.default_rng(seed)
    ranked = [rng.permutation(items)[: rng.integers(1, 60)] for _ in range(queries)]
    judged = [rng.permutation(items)[: rng.integers(5, 50)] for _ in range(queries)]
    grades = [rng.choice(4, len(j), p=[0.6, 0.2, 0.1, 0.1]) * (q % 10 > 0) for q, j in enumerate(judged)]
    lists = ItemLists(np.concatenate(ranked), splits_of(np.array([len(r) for r in ranked])))
    rows = ItemLists(
        np.concatenate(judged),
        splits_of(np.array([len(j) for j in judged])),
        {"grade": np.concatenate(grades).astype(np.int32)},
    )
    return lists, Judgments([f"query {q}" for q in range(queries)], rows, GAINS)


def theirs(measure_, lists: ItemLists, judgments: Judgments) -> np.ndarray:
    """float64[Q] of ir-measures, NaN where it has no value."""
    judged = judgments.lists
    qrels = [
        ir_measures.Qrel(str(q), str(i), int(g))
        for q, i, g in zip(judged.owner, judged.item, judged["grade"], strict=True)
    ]
    run = [
        ir_measures.ScoredDoc(str(q), str(i), -float(p))
        for q, i, p in zip(lists.owner, lists.item, lists.position, strict=True)
    ]
    out = np.full(len(judgments), np.nan)
    for found in ir_measures.iter_calc([measure_], qrels, run):
        out[int(found.query_id)] = found.value
    return out


@pytest.mark.parametrize(
    ("name", "measure_"),
    [
        ("ndcg@10", nDCG(gains={0: 0, 1: 1, 2: 3, 3: 7}) @ 10),
        ("ndcg@100", nDCG(gains={0: 0, 1: 1, 2: 3, 3: 7}) @ 100),
        ("ndcg", nDCG(gains={0: 0, 1: 1, 2: 3, 3: 7})),
        ("mrr", RR),
        ("mrr@5", RR @ 5),
        ("map", AP),
        ("map@10", AP @ 10),
        ("recall@20", R @ 20),
        ("recall@100", R @ 100),
        ("precision@10", P @ 10),
        ("judged@10", Judged @ 10),
    ],
)
def test_parity_with_ir_measures(name, measure_):
    for seed in range(3):
        lists, judgments = world(seed)
        ours = measure(lists, judgments, [name])[name]
        counted = ~np.isnan(ours)
        assert 60 < counted.sum() < 80, "queries without a positive grade are left out"
        np.testing.assert_allclose(ours[counted], theirs(measure_, lists, judgments)[counted], rtol=0, atol=1e-9)


@pytest.mark.parametrize("grade", [2, 3])
def test_parity_from_a_grade_on(grade):
    lists, judgments = world(4)
    scale = Scale(relevant_from=grade)
    for name, measure_ in (
        ("recall@20", R(rel=grade) @ 20),
        ("mrr", RR(rel=grade)),
        ("map", AP(rel=grade)),
        ("precision@5", P(rel=grade) @ 5),
    ):
        ours = measure(lists, judgments, [name], scale)[name]
        counted = ~np.isnan(ours)
        np.testing.assert_allclose(ours[counted], theirs(measure_, lists, judgments)[counted], rtol=0, atol=1e-9)


@pytest.mark.skipif(shutil.which("perl") is None, reason="gdeval is a perl script and perl is not installed")
def test_err_parity_with_gdeval():
    lists, judgments = world(5)
    for name, measure_ in (("err@10", ERR @ 10), ("err@20", ERR @ 20)):
        ours = measure(lists, judgments, [name])[name]
        counted = ~np.isnan(ours)
        np.testing.assert_allclose(ours[counted], theirs(measure_, lists, judgments)[counted], rtol=0, atol=1e-5)


@pytest.mark.parametrize("max_grade", [3, 4])
def test_err_is_the_expected_reciprocal_rank(max_grade):
    """Written out as gdeval does, one row after the other."""
    lists, judgments = world(6)
    ours = measure(lists, judgments, ["err@7"], Scale(max_grade=max_grade))["err@7"]
    for q in np.flatnonzero(~np.isnan(ours)):
        judged, ranked = judgments.lists.list_of(q), lists.list_of(q)
        grade_of = dict(zip(judged.item.tolist(), judged["grade"].tolist(), strict=True))
        expected, left = 0.0, 1.0
        for place, item in enumerate(ranked.item[:7].tolist(), 1):
            satisfied = (2 ** grade_of.get(item, 0) - 1) / 2**max_grade
            expected += left * satisfied / place
            left *= 1 - satisfied
        assert ours[q] == pytest.approx(expected, abs=1e-12)


def test_one_evaluator_measures_many_rankings():
    lists, judgments = world(7)
    evaluator = Evaluator(judgments)
    reverse = lists.take(np.lexsort((-lists.position, lists.owner)))
    for ranking in (lists, reverse, lists):
        np.testing.assert_array_equal(
            evaluator.measure(ranking, ["ndcg@10"])["ndcg@10"], measure(ranking, judgments, ["ndcg@10"])["ndcg@10"]
        )
