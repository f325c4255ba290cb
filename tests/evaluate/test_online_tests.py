"""A/B tests: arms are stable and fair, intervals cover, and looking every day does not raise false alarms."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.core.errors import ContractError, SettingError
from aisle.core.requests import hashed
from aisle.evaluate.online_tests import (
    Moments,
    always_valid,
    assign,
    cuped,
    difference,
    per_unit,
    power_of,
    ratio_difference,
    sample_ratio,
    sample_size,
    uniform_hash,
)

USERS = np.array([hashed(f"user {i}") for i in range(40_000)])


def test_an_arm_never_changes() -> None:
    """These values are a promise: a running test must not reassign its users."""
    assert assign(USERS[:12], "ranking-1").tolist() == [1, 1, 1, 1, 0, 0, 1, 1, 0, 1, 1, 0]
    np.testing.assert_array_equal(assign(USERS[::-1], "ranking-1")[::-1], assign(USERS, "ranking-1"))


@pytest.mark.parametrize("users", [USERS, np.arange(40_000)], ids=["hashes", "counters"])
def test_arms_are_uniform_and_salts_independent(users: np.ndarray) -> None:
    drawn = uniform_hash(users, "a")
    counts = np.histogram(drawn, 50, (0, 1))[0]
    assert sample_ratio(counts, [1 / 50] * 50).p > 1e-3
    assert abs(np.corrcoef(drawn, uniform_hash(users, "b"))[0, 1]) < 0.025
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.025
    shares = (0.7, 0.2, 0.1)
    assert not sample_ratio(np.bincount(assign(users, "three", shares)), shares).mismatch


def test_a_difference_of_means_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    runs = [difference(rng.gamma(2, 1, 150) + 0.3, rng.gamma(2, 1, 250)) for _ in range(400)]
    assert 0.92 < np.mean([r.low <= 0.3 <= r.high for r in runs]) < 0.98


def test_a_ratio_needs_the_delta_method() -> None:
    """Click rates vary by user, so impressions of a user are no independent draws."""
    rng = np.random.default_rng(1)

    def arm(shift: float) -> tuple[np.ndarray, np.ndarray]:
        shown = rng.poisson(20, 200) + 1.0
        return rng.binomial(shown.astype(int), rng.beta(2, 8, 200) + shift).astype(float), shown

    runs, naive = [], []
    for _ in range(300):
        (x, n), (y, m) = arm(0.05), arm(0.0)
        runs.append(ratio_difference((x, n), (y, m)))
        p, q = x.sum() / n.sum(), y.sum() / m.sum()
        naive.append(abs(p - q - 0.05) < 1.96 * np.sqrt(p * (1 - p) / n.sum() + q * (1 - q) / m.sum()))
    assert 0.91 < np.mean([r.low <= 0.05 <= r.high for r in runs]) < 0.985
    assert np.mean(naive) < 0.85
    ones = np.ones(200)
    assert ratio_difference((x, ones), (y, ones)).standard_error == pytest.approx(difference(x, y).standard_error)


def test_cuped_keeps_the_effect_and_sheds_the_variance_that_the_past_explains() -> None:
    rng = np.random.default_rng(2)
    found, plain = [], []
    for _ in range(200):
        before = rng.standard_normal((2, 300))
        after = 0.8 * before + 0.6 * rng.standard_normal((2, 300)) + np.array([[0.2], [0.0]])
        found.append(difference(*cuped(after[0], after[1], before[0], before[1])))
        plain.append(difference(after[0], after[1]))
    assert np.mean([f.value for f in found]) == pytest.approx(0.2, abs=0.015)
    shrink = np.mean([f.standard_error for f in found]) / np.mean([p.standard_error for p in plain])
    assert shrink == pytest.approx(0.6, abs=0.03)  # sqrt(1 - correlation^2)
    assert 0.91 < np.mean([f.low <= 0.2 <= f.high for f in found]) < 0.985


def test_cuped_takes_several_covariates_and_constants() -> None:
    rng = np.random.default_rng(3)
    after, before = rng.standard_normal((2, 50)), rng.standard_normal((2, 50, 3))
    assert len(cuped(after[0], after[1], before[0], before[1])[0]) == 50
    np.testing.assert_allclose(cuped(after[0], after[1], np.ones(50), np.ones(50))[0], after[0])


LOOKS = np.arange(40, 2001, 20)


def test_peeking_raises_no_false_alarms_under_the_always_valid_test() -> None:
    """A planted null, looked at 99 times: the plain test cries wolf, this one keeps its promise."""
    rng = np.random.default_rng(4)
    for draw in (rng.standard_normal, lambda size: rng.binomial(1, 0.1, size).astype(float)):
        values = draw((2, 500, 2000))
        first, second = Moments.at(values[0], LOOKS), Moments.at(values[1], LOOKS)
        spread = float(values.std())
        found = always_valid(first, second, scale=0.1 * spread)
        assert (found.stop >= 0).mean() <= 0.05
        plain = np.abs(found.value) > 1.96 * np.sqrt((first.variance + second.variance) / LOOKS)
        assert plain.any(-1).mean() > 0.2


def test_the_always_valid_test_finds_effects_and_its_sequence_covers() -> None:
    rng = np.random.default_rng(5)
    values = rng.standard_normal((2, 300, 2000)) + np.array([0.15, 0.0])[:, None, None]
    found = always_valid(Moments.at(values[0], LOOKS), Moments.at(values[1], LOOKS), scale=0.15)
    assert (found.stop >= 0).mean() > 0.9
    assert ((found.low <= 0.15) & (found.high >= 0.15)).all(-1).mean() >= 0.95
    assert (np.diff(found.p, axis=-1) <= 0).all()
    decided = found.stop >= 0
    excludes = (found.low > 0) | (found.high < 0)
    np.testing.assert_array_equal(decided, excludes.any(-1))


def test_moments_are_those_of_the_users_so_far() -> None:
    value = 1e6 + np.random.default_rng(6).standard_normal((3, 30))
    found = Moments.at(value, np.array([2, 17, 30]))
    np.testing.assert_allclose(found.mean[:, 1], value[:, :17].mean(1))
    np.testing.assert_allclose(found.variance[:, 1], value[:, :17].var(1, ddof=1), rtol=1e-6)


def test_an_arm_that_loses_users_is_noticed() -> None:
    assert sample_ratio([50_000, 50_300]).p > 0.1
    assert sample_ratio([50_000, 51_500]).mismatch
    rng = np.random.default_rng(7)
    alarms = [sample_ratio(rng.multinomial(5000, (0.8, 0.2)), (0.8, 0.2), alpha=0.05).mismatch for _ in range(1000)]
    assert 0.03 < np.mean(alarms) < 0.07


def test_a_planned_size_has_the_planned_power() -> None:
    size = sample_size(effect=0.1, deviation=1.0)
    assert size == 3140
    assert power_of(0.1, 1.0, size) == pytest.approx(0.8, abs=0.001)
    rng = np.random.default_rng(8)
    half = sample_size(0.3, 1.0) // 2
    runs = [difference(rng.standard_normal(half) + 0.3, rng.standard_normal(half)).verdict for _ in range(400)]
    assert runs.count("better") / 400 == pytest.approx(0.8, abs=0.06)


def test_rows_are_added_up_by_user() -> None:
    clicks, shown = per_unit(np.array([9, 4, 9]), np.array([1, 0, 1]), np.ones(3))
    assert clicks.tolist() == [0, 2]
    assert shown.tolist() == [1, 2]


def test_wrong_input_is_refused() -> None:
    with pytest.raises(SettingError, match="add up to 1"):
        assign(USERS[:3], "a", (0.5, 0.6))
    with pytest.raises(ContractError, match="denominators"):
        ratio_difference((np.ones(3), np.zeros(3)), (np.ones(3), np.ones(3)))
    with pytest.raises(ContractError, match="covariates"):
        cuped(np.ones(3), np.ones(3), np.ones(2), np.ones(3))
    with pytest.raises(SettingError, match="scale"):
        always_valid(*[Moments.at(np.ones(5), np.array([3]))] * 2, scale=0.0)
    with pytest.raises(ContractError, match="looks"):
        Moments.at(np.ones(5), np.array([1, 9]))
    with pytest.raises(ContractError, match="every arm"):
        sample_ratio([0, 0])
    with pytest.raises(SettingError, match="effect"):
        sample_size(0.0, 1.0)
