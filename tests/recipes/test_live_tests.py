"""A/B tests and interleaving on a town, against what is true of its policies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aisle.core.errors import SettingError
from aisle.recipes.live_tests import METRICS, ab_test, interleaved
from aisle.simulate.loop.oracle import value
from aisle.simulate.loop.policies import LexicalPolicy
from aisle.simulate.loop.town import Town
from aisle.simulate.shoppers.visits import Pages, Policy, Visits
from aisle.simulate.world import World


@pytest.fixture(scope="module")
def town() -> Town:
    return Town(World.make(800, 2), users=1500)


@pytest.fixture(scope="module")
def policies(town: Town) -> dict[str, Policy]:
    """The second is the first with its pages upside down, from the bottom of its pool."""
    lexical = LexicalPolicy(town.world, 0.0)

    def backwards(visits: Visits, rng: np.random.Generator) -> Pages:
        found = lexical(replace(visits, offset=30 - visits.offset), rng)
        return Pages(found.item[:, ::-1], found.propensity[:, ::-1])

    return {"backwards": backwards, "lexical": lexical}


def test_an_ab_test_finds_the_better_policy_and_the_truth(town: Town, policies: dict[str, Policy]) -> None:
    found = ab_test(town, policies, days=3, visits_per_day=3000, days_before=2, truth_days=3)
    effect = found.effects["clicks"]
    assert effect.verdict == "better"
    assert effect.low < found.truth["clicks"] < effect.high
    assert effect.standard_error < found.raw["clicks"].standard_error
    assert found.sequential.p[-1] < 0.5
    assert found.sequential.low[-1] < found.truth["clicks"] < found.sequential.high[-1]
    assert not found.ratio.mismatch
    assert set(found.truth) == set(found.means) == set(METRICS)


def test_an_ab_test_of_a_policy_with_itself_decides_nothing(town: Town, policies: dict[str, Policy]) -> None:
    same = {"a": policies["lexical"], "b": policies["lexical"]}
    found = ab_test(town, same, days=2, visits_per_day=2000, days_before=1)
    assert abs(found.effects["clicks"].value) < 3.3 * found.effects["clicks"].standard_error
    assert found.sequential.stop == -1
    assert np.ptp(found.num_users) < 200


def test_interleaving_agrees_with_less(town: Town, policies: dict[str, Policy]) -> None:
    (found,) = interleaved(town, policies, visits_per_day=500)
    better = value(town, policies["lexical"], 1, 500).clicks > value(town, policies["backwards"], 1, 500).clicks
    assert better
    assert found.verdict == "second"
    assert found.second == "lexical"
    three = {**policies, "again": LexicalPolicy(town.world, 0.0)}
    verdicts = {(p.first, p.second): p.verdict for p in interleaved(town, three, visits_per_day=1500)}
    assert verdicts["lexical", "again"] == "undecided"
    assert verdicts["backwards", "lexical"] == "second"


def test_policies_are_two(town: Town, policies: dict[str, Policy]) -> None:
    with pytest.raises(SettingError, match="two or more"):
        interleaved(town, {"lexical": policies["lexical"]})
    with pytest.raises(SettingError, match="control and one more"):
        ab_test(town, {"lexical": policies["lexical"]})
