from __future__ import annotations

import numpy as np
import pytest

from aisle.core.errors import ContractError
from aisle.evaluate.auc import auc, gauc, group_auc


def by_pairs(label: np.ndarray, score: np.ndarray) -> float:
    above = score[label > 0][:, None] - score[label == 0][None, :]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def test_auc_counts_pairs_and_halves_ties():
    rng = np.random.default_rng(0)
    label, score = rng.integers(0, 2, 300), rng.integers(0, 20, 300) / 4
    assert auc(label, score) == pytest.approx(by_pairs(label, score), abs=1e-12)


def test_planted_answers():
    label = np.array([0, 0, 1, 1])
    assert auc(label, np.array([0.1, 0.2, 0.3, 0.4])) == 1
    assert auc(label, np.array([0.4, 0.3, 0.2, 0.1])) == 0
    assert auc(label, np.zeros(4)) == 0.5
    assert auc(label, np.array([np.nan, np.nan, 0.0, 0.0])) == 1
    assert np.isnan(auc(np.ones(4), np.arange(4.0)))


def test_groups_are_compared_within_and_weigh_by_their_rows():
    label = np.array([1, 0, 1, 0, 0, 0, 1])
    score = np.array([9.0, 8.0, 1.0, 2.0, 3.0, 0.0, 5.0])
    group = np.array([7, 7, 3, 3, 3, 3, 9])
    np.testing.assert_allclose(group_auc(label, score, np.array([0, 0, 1, 1, 1, 1, 2]), 3), [1, 1 / 3, np.nan])
    assert gauc(label, score, group) == pytest.approx((2 * 1 + 4 / 3) / 6)
    assert gauc(label, score, group, np.array([1, 1, 0, 0, 0, 0, 5])) == 1
    assert np.isnan(gauc(np.zeros(0), np.zeros(0), np.zeros(0, int)))


def test_columns_must_match():
    with pytest.raises(ContractError, match="one of each"):
        auc(np.ones(3), np.ones(2))
