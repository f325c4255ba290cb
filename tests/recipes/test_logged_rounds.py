"""Off-policy estimates on the logged rounds of a town, held against its truth."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.evaluate.counterfactual import (
    CascadeDr,
    Dr,
    GivenPolicy,
    GivenSlates,
    Ips,
    Pi,
    TabularReward,
    fitted_reward,
    second_moment,
)
from aisle.recipes.logged_rounds import all_slates, bandit_rounds, mixed_slates, slate_rounds, value_of_slates
from aisle.simulate.loop.town import Town
from aisle.simulate.shoppers.visits import Party
from aisle.simulate.world import World

POOL = np.array([3, 40, 77, 120, 200])


@pytest.fixture(scope="module")
def town() -> Town:
    return Town(World.make(300, 2, substitution=0.0, variety=0.0, picture=0.0), users=3000)


@pytest.fixture(scope="module")
def party(town: Town) -> Party:
    return next(iter(town.arrivals(0, 6000)))


def test_ips_and_dr_meet_the_truth_of_a_page_of_one(town: Town, party: Party) -> None:
    rng = np.random.default_rng(0)
    chance = rng.dirichlet(np.full(5, 2.0), len(party)) * 0.8 + 0.04
    log, truth_NA = bandit_rounds(town, party, POOL, chance, rng)
    target = np.zeros((len(party), 5))
    target[np.arange(len(party)), truth_NA.argmax(1)] = 1
    true = float((truth_NA * target).sum(1).mean())
    reward = fitted_reward(log, TabularReward(np.arange(5)))
    for estimator in (Ips(), Dr(reward)):
        found = estimator.estimate(log, GivenPolicy(target))
        assert abs(found.value - true) < 3.5 * found.standard_error
        assert found.value > log.reward.mean()


def test_slate_estimates_meet_the_truth_of_a_small_page(town: Town, party: Party) -> None:
    rng = np.random.default_rng(1)
    above, at_place = slate_rounds(town, party, POOL, 3, rng)
    order = np.tile(np.array([2, 0, 4]), (len(party), 1))
    true = value_of_slates(town, party, POOL, order, 0.3)
    marginal, conditional = mixed_slates(order, 5, 0.3, above.item)
    assert np.allclose(marginal.sum(2), 1)
    assert np.allclose(conditional.sum(2), 1)
    moment = second_moment(all_slates(5, 3), 5)
    for found in (
        Pi(moment).estimate(at_place, GivenSlates(marginal=marginal)),
        CascadeDr().estimate(above, GivenSlates(conditional=conditional)),
    ):
        assert abs(found.value - true) < 3.5 * found.standard_error
        assert found.standard_error < 0.2 * true


def test_the_chances_of_a_mixture_are_those_of_its_draws() -> None:
    rng = np.random.default_rng(2)
    num, order = 60_000, np.array([1, 3])
    drawn = np.argsort(rng.random((num, 4)), 1)[:, :2]
    drawn = np.where((rng.random(num) < 0.6)[:, None], order, drawn)
    marginal, conditional = mixed_slates(np.tile(order, (num, 1)), 4, 0.4, drawn)
    for item in range(4):
        assert abs((drawn[:, 1] == item).mean() - marginal[0, 1, item]) < 0.01
        after = drawn[:, 0] == 1
        assert abs((drawn[after, 1] == item).mean() - conditional[after][0, 1, item]) < 0.01
