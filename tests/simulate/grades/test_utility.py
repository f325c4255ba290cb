"""The latent utility grades otherwise than the rule table, and not by chance."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.simulate.catalogue.taxonomy import CODE, LEAVES
from aisle.simulate.grades.intent import Want
from aisle.simulate.grades.utility import FAR_SS, distance, felt_grades
from aisle.simulate.world import World


@pytest.fixture(scope="module")
def agreement(world: World) -> np.ndarray:
    """Counts [4, 4] of rule grades against felt grades over the shelves that may answer."""
    counts = np.zeros((4, 4))
    for query in world.queries(150):
        rows = np.flatnonzero(world.verdicts(query).category > 0)
        felt = felt_grades(world.truth, query.intent, rows, query.text)
        np.add.at(counts, (world.verdicts(query, rows).grade - 1, felt - 1), 1)
    return counts


def test_it_is_near_the_rules_and_yet_another_mechanism(agreement: np.ndarray) -> None:
    share = agreement[1:] / agreement[1:].sum(axis=1, keepdims=True)
    assert share[2, 3] > 0.9, "what has everything asked for is excellent by any measure"
    assert 0.2 < 1 - share[0, 1] < 0.8, "of rule grade 2"
    assert 0.2 < 1 - share[1, 2] < 0.8, "of rule grade 3"


def test_colours_lie_as_far_apart_as_they_look(world: World) -> None:
    truth = world.truth
    rows = np.array([np.flatnonzero(truth.texts["colour"] == CODE[t])[0] for t in ("charcoal", "black", "lemon")])
    same, near, far_off = distance(truth, Want("colour", "charcoal", "grey"), rows)
    assert same == 0 < near < 0.7 < far_off
    not_black = Want("colour", "black", "black", negated=True)
    assert list(np.argsort(distance(truth, not_black, rows))) == [2, 0, 1]


def test_shelves_of_other_departments_are_farthest() -> None:
    place = {leaf.shelf: n for n, leaf in enumerate(LEAVES)}
    shirts = FAR_SS[place["T-Shirts"]]
    assert shirts[place["T-Shirts"]] == 0
    assert shirts[place["Shirts"]] < shirts[place["Belts"]] < shirts[place["Laptops"]]


def test_the_knob_is_a_share_of_the_queries() -> None:
    rules, felt = (World.make(600, 3, f"{side}:utility") for side in ("null", "adverse"))
    some = World.make(600, 3, utility=0.4)
    asked = rules.queries(80)
    differ = [(rules.grades(q) != felt.grades(q)).any() for q in asked]
    follows = [(some.grades(q) == felt.grades(q)).all() for q, d in zip(asked, differ, strict=True) if d]
    assert np.mean(differ) > 0.7
    assert 0.2 < np.mean(follows) < 0.6
