from __future__ import annotations

import numpy as np
import pytest

from aisle.core.errors import ContractError, SettingError
from aisle.core.lists import ItemLists, Ragged, splits_of
from aisle.core.shop import Judgments
from aisle.evaluate.beyond import ItemFacts, coverage, diversity, exposure, gini
from aisle.evaluate.metrics import measure
from aisle.simulate.known import two_tastes


def lists(*rows: list[int]) -> ItemLists:
    return ItemLists(np.array([i for r in rows for i in r], np.int32), splits_of(np.array([len(r) for r in rows])))


def test_coverage_counts_each_item_once():
    shown = lists([0, 1, 2], [0, 3], [])
    assert coverage(shown, 10) == pytest.approx(0.4)
    assert coverage(shown, 10, 1) == pytest.approx(0.1)


def test_diversity_of_vectors_is_one_less_the_mean_cosine_of_pairs():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(30, 5))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = [rng.permutation(30)[:n] for n in (7, 1, 0, 2)]
    found = diversity(lists(*[r.tolist() for r in rows]), vectors, 4)
    for q in (0, 3):
        top = unit[rows[q][:4]]
        cosine = (top @ top.T)[np.triu_indices(len(top), 1)]
        assert found[q] == pytest.approx(1 - cosine.mean())
    assert np.isnan(found[[1, 2]]).all()


def test_diversity_of_codes():
    codes = Ragged(np.array([0, 0, 1, 0, 1], np.int32), np.array([0, 1, 2, 3, 5, 5]))  # {0} {0} {1} {0, 1} {}
    same, other, part, without = diversity(lists([0, 1], [0, 2], [0, 3], [4, 0]), codes)
    assert (same, other, without) == pytest.approx((0, 1, 1))
    assert part == pytest.approx(1 - 1 / np.sqrt(2))


def test_exposure_discounts_by_place():
    shares = exposure(lists([0, 1], [0, 2]), np.array([0, 1, -1, 2]))
    attention = np.array([2.0, 1 / np.log2(3), 0])
    np.testing.assert_allclose(shares, attention / attention.sum())
    assert exposure(lists([]), np.array([0, 1])).tolist() == [0, 0]


def test_gini():
    assert gini(np.full(4, 0.25)) == pytest.approx(0)
    assert gini(np.array([1.0, 0, 0, 0])) == pytest.approx(0.75)
    assert np.isnan(gini(np.zeros(3)))


def test_as_named_metrics_of_a_catalogue():
    items = two_tastes().items
    facts = ItemFacts.of(items)
    assert facts.num_items == int(items.live.sum())
    judged = ItemLists(np.zeros(2, np.int32), np.array([0, 1, 2]), {"grade": np.ones(2, np.int32)})
    names = ["coverage@3", "diversity@3", "exposure@3"]
    found = measure(lists([0, 2, 4], [0, 1, 3]), Judgments(["lamps", "mixed"], judged), names, facts=facts)
    assert found["coverage@3"].tolist() == [5 / facts.num_items]
    assert found["diversity@3"][0] < 0.1 < found["diversity@3"][1], "one list holds lamps only, the other balls too"
    assert 0 < found["exposure@3"][0] < 1


def test_missing_facts_are_asked_for():
    judged = Judgments(["q"], lists([0]).with_columns(grade=np.ones(1, np.int32)))
    with pytest.raises(SettingError, match="ItemFacts"):
        measure(lists([0]), judged, ["coverage@10"])
    for name in ("diversity@10", "exposure@10"):
        with pytest.raises(SettingError, match="ItemFacts"):
            measure(lists([0]), judged, [name], facts=ItemFacts(3))
    with pytest.raises(ContractError, match="no vector"):
        diversity(lists([0, 5]), np.ones((3, 2)))
