from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aisle.core.errors import ContractError, GenerationError, SettingError
from aisle.core.lists import ItemLists, splits_of
from aisle.core.shop import Judgments
from aisle.evaluate.metrics import PER_QUERY, Evaluator, Metric, Scale, mean, measure, parse_metric

ESCI = {3: 1.0, 2: 0.1, 1: 0.01, 0: 0.0}
RANKED = ["ndcg", "ndcg@2", "recall", "mrr", "map", "gauc"]


def lists(*rows: list[int], **columns: list[float]) -> ItemLists:
    items = [i for row in rows for i in row]
    counts = np.array([len(row) for row in rows], np.int64)
    return ItemLists(np.array(items, np.int32), splits_of(counts), {n: np.array(c) for n, c in columns.items()})


def judged(*grades: dict[int, int], gains: dict[int, float] | None = None) -> Judgments:
    rows = lists(*[list(g) for g in grades])
    grade = np.array([v for g in grades for v in g.values()], np.int32)
    return Judgments([f"q{q}" for q in range(len(grades))], rows.with_columns(grade=grade), gains or {})


def one(ranking: list[int], grades: dict[int, int], *names: str, gains=None, scale=None) -> list[float]:
    found = measure(lists(ranking), judged(grades, gains=gains), names, scale)
    return [float(found[name][0]) for name in names]


def test_a_perfect_ranking_is_one():
    assert one([5, 7, 9, 1], {1: 0, 5: 3, 7: 2, 9: 1}, *RANKED) == pytest.approx([1] * len(RANKED))


def test_a_reversed_ranking_is_what_the_formula_says():
    ndcg, mrr, average, gauc = one([1, 9], {1: 0, 9: 1}, "ndcg", "mrr", "map", "gauc")
    assert ndcg == pytest.approx(1 / np.log2(3))
    assert (mrr, average, gauc) == (0.5, 0.5, 0)


def test_the_ideal_is_over_the_whole_judged_list():
    """Two good items are judged, one is ranked: not perfect, though nothing better was among the ranked."""
    (ndcg,) = one([4], {4: 1, 6: 1}, "ndcg@10")
    assert ndcg == pytest.approx(1 / (1 + 1 / np.log2(3)))


def test_an_empty_list_scores_nothing():
    assert one([], {1: 1}, "ndcg@10", "recall@5", "precision@5", "precision", "mrr", "map", "err@5") == [0] * 7
    assert one([], {1: 1, 2: 0}, "gauc") == [0.5], "no order at all"
    assert np.isnan(one([], {1: 1}, "judged@10")[0]), "nothing was shown"


def test_queries_without_a_positive_grade_are_left_out_of_every_mean():
    names = [*(k for k in PER_QUERY if k != "diversity"), "ndcg@10"]
    found = measure(lists([1, 2], [2, 1], []), judged({1: 1, 2: 0}, {1: 0, 2: 0}, {}), names)
    for name in names:
        assert np.isnan(found[name]).tolist() == [False, True, True], name
        assert mean(found[name])[1] == 1


def test_the_mean_of_nothing_is_nan():
    value, count = mean(np.array([np.nan]))
    assert np.isnan(value)
    assert count == 0


def test_what_is_not_judged_has_no_gain():
    assert one([8, 1], {1: 1}, "ndcg@1", "judged@1", "judged@2", "mrr") == [0, 0, 0.5, 0.5]


def test_recall_of_esci_is_of_exact():
    recall, mrr, ndcg = one([1, 2], {1: 2, 2: 3, 3: 3}, "recall@100", "mrr", "ndcg@1", gains=ESCI)
    assert (recall, mrr) == (0.5, 0.5)
    assert ndcg == pytest.approx(0.1)


def test_relevance_can_be_asked_from_a_grade_on():
    assert one([1, 2], {1: 2, 2: 3, 3: 3}, "recall", gains=ESCI, scale=Scale(relevant_from=2)) == pytest.approx([2 / 3])


def test_gains_below_one_make_the_highest_relevant():
    assert one([1], {1: 1, 2: 2}, "recall", gains={0: 0, 1: 0.1, 2: 0.5}) == [0]
    assert one([2], {1: 1, 2: 2}, "recall", gains={0: 0, 1: 0.1, 2: 0.5}) == [1]


def test_a_query_without_a_relevant_item_has_gain_but_no_recall():
    ndcg, recall, mrr = one([1], {1: 2}, "ndcg", "recall", "mrr", gains=ESCI)
    assert ndcg == pytest.approx(1)
    assert np.isnan([recall, mrr]).all()


def test_precision_counts_empty_places():
    assert one([1], {1: 1}, "precision@4", "precision") == [0.25, 1]


def test_equal_grades_may_stand_in_any_order():
    assert one([1, 2, 3], {1: 1, 2: 1, 3: 0}, "ndcg") == one([2, 1, 3], {1: 1, 2: 1, 3: 0}, "ndcg")


def test_judged_items_that_were_not_found_share_the_last_place():
    assert one([1], {1: 0, 2: 1, 3: 0}, "gauc") == [0.25], "one pair lost, one tied"


def test_auc_compares_scores_over_queries():
    rankings = lists([1, 2], [1, 2], score=[0.9, 0.1, 0.5, 0.4])
    grades = judged({1: 1, 2: 0}, {1: 0, 2: 1})
    assert measure(rankings, grades, ["auc", "gauc"])["auc"].tolist() == [0.75], "three of four pairs"
    with pytest.raises(SettingError, match="score"):
        measure(lists([1, 2], [1, 2]), grades, ["auc"])


def test_grades_above_the_scale_of_err_are_refused():
    with pytest.raises(ContractError, match="max_grade=5"):
        one([1], {1: 5}, "err@10")


@given(st.permutations(range(8)), st.lists(st.integers(0, 3), min_size=8, max_size=8).filter(any))
def test_values_stay_between_zero_and_one_and_perfect_is_best(order, grades):
    names = ["ndcg@5", "recall@3", "precision@3", "mrr", "map", "err@5"]
    truth = dict(enumerate(grades))
    best = one(sorted(truth, key=lambda i: -truth[i]), truth, *names)
    for value, top in zip(one(order, truth, *names), best, strict=True):
        assert -1e-12 <= value <= top + 1e-12 <= 1 + 2e-12


def test_order_of_queries_does_not_matter():
    rng = np.random.default_rng(3)
    rows = [rng.permutation(30)[:20].tolist() for _ in range(12)]
    grades = [dict(zip(range(30), rng.integers(0, 4, 30).tolist(), strict=True)) for _ in range(12)]
    ranking, truth, back = lists(*rows), judged(*grades), np.arange(12)[::-1]
    for name in ("ndcg@10", "map", "err@10", "mrr", "gauc"):
        forth = measure(ranking, truth, [name])[name]
        np.testing.assert_allclose(measure(ranking.select(back), truth.select(back), [name])[name], forth[back])


def test_contracts():
    truth = judged({1: 1})
    with pytest.raises(ContractError, match="twice"):
        measure(lists([1, 1]), truth, ["ndcg"])
    with pytest.raises(ContractError, match="one list a query"):
        measure(lists([1], [1]), truth, ["ndcg"])
    twice = lists([1, 1]).with_columns(grade=np.array([1, 0], np.int32))
    with pytest.raises(ContractError, match="judged twice"):
        Evaluator(Judgments(["q"], twice))
    other = ItemLists(np.array([1]), np.array([0, 1]), {"grade": np.array([1])}, generation=1)
    ranking = ItemLists(np.array([1]), np.array([0, 1]), {}, generation=2)
    with pytest.raises(GenerationError):
        measure(ranking, Judgments(["q"], other), ["ndcg"])


def test_names():
    assert parse_metric("ndcg@10") == Metric("ndcg", 10)
    assert [str(parse_metric(t)) for t in ("NDCG@10", "rr", "ap@5", "recall@100", "judged@10")] == [
        "ndcg@10",
        "mrr",
        "map@5",
        "recall@100",
        "judged@10",
    ]
    assert parse_metric(Metric("map")) == Metric("map")
    assert parse_metric("coverage@10").whole_run


@pytest.mark.parametrize("text", ["ndgc@10", "ndcg@0", "ndcg@ten", "ndcg@", "ndcg@-1", "gauc@5", "", "@10"])
def test_wrong_names_are_refused_with_a_remedy(text):
    with pytest.raises(SettingError, match=r"ndcg@10|write|give"):
        parse_metric(text)


def test_a_near_name_is_suggested():
    with pytest.raises(SettingError, match="did you mean 'ndcg'"):
        parse_metric("ndgc@10")
