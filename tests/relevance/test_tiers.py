"""CumPT and the figures of agreement."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.core.errors import ContractError
from aisle.relevance._tiers import (
    GRID,
    confusion,
    cumulative_grade,
    f1_by_grade,
    fit_threshold,
    kappa,
    macro_f1,
    optimism,
)

CHANCE_NC = np.random.default_rng(0).dirichlet(np.full(4, 0.7), 500)


def test_never_rises_with_the_threshold():
    by_threshold = np.stack([cumulative_grade(CHANCE_NC, t) for t in GRID])
    assert (np.diff(by_threshold, axis=0) <= 0).all()


def test_limits_are_the_best_and_the_worst_grade_with_mass():
    some = np.array([[0.0, 0.6, 0.4, 0.0]])
    assert cumulative_grade(some, 1e-4) == [2]
    assert cumulative_grade(some, 1.0) == [1]
    assert (cumulative_grade(CHANCE_NC, 1e-9) == 3).all()


def test_half_is_the_median_grade():
    median = (CHANCE_NC.cumsum(1) < 0.5).sum(1)
    ties = np.isclose(CHANCE_NC.cumsum(1), 0.5).any(1)
    assert (cumulative_grade(CHANCE_NC, 0.5)[~ties] == median[~ties]).all()


def test_certainty_gives_its_grade_at_every_threshold():
    certain = np.eye(4)
    assert all((cumulative_grade(certain, t) == np.arange(4)).all() for t in GRID)


def test_the_fitted_threshold_undoes_a_bias():
    """Chances that lean upwards by one grade in a part of the mass need a higher threshold than the median."""
    random = np.random.default_rng(1)
    gold = random.integers(0, 3, 2000)
    chance = np.zeros((2000, 4))
    chance[np.arange(2000), gold] = 0.4
    chance[np.arange(2000), gold + 1] = 0.6
    threshold = fit_threshold(chance, gold)
    assert threshold > 0.6
    assert macro_f1(gold, cumulative_grade(chance, threshold), 4) == 1.0


def test_without_validation_pairs_there_is_no_threshold():
    with pytest.raises(ContractError, match="set aside"):
        fit_threshold(np.zeros((0, 4)), np.zeros(0, np.int64))


def test_agreement_by_hand():
    gold, said = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 0])
    counts = confusion(gold, said, 4)
    assert counts[1, 1] == 2
    assert np.allclose(f1_by_grade(counts)[:3], [0.5, 0.8, 0.0])
    assert np.isnan(f1_by_grade(counts)[3])
    assert macro_f1(gold, said, 4) == pytest.approx(1.3 / 3)
    assert optimism(counts) == 0.0
    assert kappa(np.diag([3, 4, 5])) == 1.0
    assert kappa(np.full((2, 2), 5)) == pytest.approx(0.0)
    assert kappa(np.array([[5, 0, 1], [0, 5, 0], [0, 0, 5]]), quadratic=True) < kappa(
        np.array([[5, 1, 0], [0, 5, 0], [0, 0, 5]]), quadratic=True
    )
