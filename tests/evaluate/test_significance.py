from __future__ import annotations

import numpy as np
import pytest

from aisle.core.errors import ContractError, SettingError
from aisle.evaluate.significance import (
    Resampling,
    bootstrap_mean,
    holm,
    paired_difference,
    permutation_p,
    resampled_means,
    smallest_detectable,
)

FEW = Resampling(resamples=1000)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    how = Resampling(resamples=400, level=0.9)
    hits = 0
    for _ in range(300):
        found = bootstrap_mean(rng.beta(2, 2, 60), how=how)
        hits += found.low <= 0.5 <= found.high
    assert 0.84 < hits / 300 < 0.95


def test_the_interval_has_the_width_of_the_standard_error():
    values = np.random.default_rng(1).normal(size=400)
    found = bootstrap_mean(values)
    error = values.std(ddof=1) / 20
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.05)
    assert found.value == pytest.approx(values.mean())


def test_queries_without_a_value_are_left_out_and_counted():
    found = bootstrap_mean(np.array([0.5, np.nan, 0.5]), how=FEW)
    assert (found.value, found.low, found.high, found.num_queries) == (0.5, 0.5, 0.5, 2)
    assert bootstrap_mean(np.array([np.nan])).num_queries == 0


def test_strata_keep_their_share():
    """Between two constant strata nothing varies once each keeps its number of queries."""
    values = np.repeat([0.0, 1.0], 50)
    loose, tight = bootstrap_mean(values, how=FEW), bootstrap_mean(values, np.repeat(["a", "b"], 50), FEW)
    assert loose.high - loose.low > 0.1
    assert (tight.low, tight.high) == (0.5, 0.5)
    with pytest.raises(ContractError, match="one label a query"):
        bootstrap_mean(values, ["a"])


def test_seeds_are_crossed_with_queries():
    """Plans that differ between seeds only: more queries do not narrow the interval, ignoring seeds would."""
    by_seed = np.repeat(np.array([[0.0], [0.2], [0.4], [0.6], [0.8]]), 200, axis=1)
    crossed, ignored = bootstrap_mean(by_seed, how=FEW), bootstrap_mean(by_seed.mean(0), how=FEW)
    assert crossed.high - crossed.low > 0.4
    assert ignored.high - ignored.low < 1e-9
    assert crossed.num_queries == 200


def test_draws_repeat_and_do_not_depend_on_chunks(monkeypatch):
    values = np.random.default_rng(2).random((1, 50))
    one = resampled_means(values, np.zeros(50), FEW)
    np.testing.assert_array_equal(one, resampled_means(values, np.zeros(50), FEW))
    monkeypatch.setattr("aisle.evaluate.significance.CHUNK", 777)
    np.testing.assert_allclose(one, resampled_means(values, np.zeros(50), FEW))


def test_permutation_is_symmetric_and_finds_what_is_there():
    rng = np.random.default_rng(3)
    difference = rng.normal(0.5, 1.0, 80)
    assert permutation_p(difference) == permutation_p(-difference) < 0.01
    assert permutation_p(np.zeros(5)) == 1
    assert np.isnan(permutation_p(np.array([np.nan])))


def test_permutation_is_exact_for_few_queries():
    assert permutation_p(np.ones(6)) == 2 / 64
    assert permutation_p(np.array([1.0, 2.0, -3.0])) == 1
    assert permutation_p(np.array([0.1, 0.2, 0.3, np.nan, 0.0])) == 2 / 8


def test_permutation_p_is_uniform_without_an_effect():
    rng = np.random.default_rng(4)
    p = np.array([permutation_p(rng.normal(size=40), Resampling(resamples=300, seed=s)) for s in range(400)])
    assert 0.02 < (p < 0.05).mean() < 0.085
    assert 0.4 < p.mean() < 0.6


def test_holm_example():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.5, np.nan, 0.9]), [1.0, np.nan, 1.0])
    assert holm([]).tolist() == []


def test_the_smallest_detectable_difference_is_found_four_times_in_five():
    rng = np.random.default_rng(5)
    sample = rng.normal(size=100)
    sample = (sample - sample.mean()) / sample.std(ddof=1)
    detectable = smallest_detectable(sample)
    assert detectable == pytest.approx((1.959964 + 0.841621) / 10, rel=1e-5)
    assert smallest_detectable(sample, num_queries=400) == pytest.approx(detectable / 2)
    assert np.isnan(smallest_detectable(np.array([1.0])))
    shifted = rng.normal(detectable, 1.0, (2000, 100))
    z = shifted.mean(1) / (shifted.std(1, ddof=1) / 10)
    assert 0.75 < (z > 1.96).mean() < 0.85


def test_paired_differences_see_what_means_hide():
    """Queries differ much more than plans do: the pairs decide, separate intervals overlap."""
    rng = np.random.default_rng(6)
    hardness = rng.random(90)
    better, worse = hardness + 0.03 + rng.normal(0, 0.02, 90), hardness
    found = paired_difference(better, worse)
    assert found.decided
    assert found.verdict == "better"
    assert found.low < 0.03 < found.high
    assert found.p < 0.001
    assert bootstrap_mean(better).low < bootstrap_mean(worse).high
    other = paired_difference(worse, better)
    assert other.verdict == "worse"
    assert (other.p, other.value) == (found.p, pytest.approx(-found.value))
    assert paired_difference(worse, worse).verdict == "undecided"


def test_what_cannot_be_paired_is_refused():
    with pytest.raises(ContractError, match="same queries"):
        paired_difference(np.ones(3), np.ones(4))
    with pytest.raises(SettingError, match="level"):
        Resampling(level=95)
