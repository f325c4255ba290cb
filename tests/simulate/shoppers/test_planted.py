"""Planted answers: a click model fitted to a town's log finds the town's own parameters."""

from __future__ import annotations

import numpy as np

from aisle.core.lists import ItemLists
from aisle.evaluate.click_models import Cascade, Coec, Dbn, Pbm, Ubm, pair_ids
from aisle.simulate.loop.policies import UniformPolicy, listed
from aisle.simulate.loop.town import Town
from aisle.simulate.shoppers.examination import FALL, ONWARD
from aisle.simulate.shoppers.visits import Party
from aisle.simulate.world import World

PREMISES = ("taste", "difference", "substitution", "variety", "fatigue", "picture", "together", "turnover")
WORLD = World.make(300, 2, **dict.fromkeys(PREMISES, 0.0))
"""All shoppers alike, and items that do nothing to each other."""


def searches(clicks: str, visits: int = 24_000) -> tuple[ItemLists, np.ndarray]:
    """Random pages with their clicks, and the true attraction of each row."""
    town = Town(WORLD, users=3000, clicks=clicks, queries=12)
    party = Party.joined(list(town.arrivals(0, visits)))
    party = party.select(np.flatnonzero(party.minds.query >= 0))
    pages = UniformPolicy(WORLD)(party.visits, np.random.default_rng(0))
    lists, shown = listed(pages), pages.item >= 0
    clicked = town.behaviour.acts(party.minds, pages.item).click[shown]
    pair = pair_ids(lists, party.minds.query)
    return lists.with_columns(clicked=clicked, pair=pair), town.chances(party, pages).attraction[shown]


def test_a_position_based_model_recovers_places_and_attractions() -> None:
    log, attraction = searches("position")
    found = Pbm.fit(log)
    true = (1.0 + np.arange(len(found.place))) ** -FALL
    assert np.abs(found.place / found.place[0] - true).max() < 0.08
    fitted = found.attractiveness(log["pair"]) * found.place[0]
    assert np.corrcoef(fitted, attraction)[0, 1] > 0.9
    assert abs(fitted.mean() / attraction.mean() - 1) < 0.15


def test_a_cascade_is_read_as_one() -> None:
    log, attraction = searches("cascade")
    found = Dbn.fit(log)
    assert abs(found.continuation - ONWARD) < 0.05
    assert np.corrcoef(found.attractiveness(log["pair"]), attraction)[0, 1] > 0.9


def test_the_model_that_made_the_clicks_explains_new_ones_best() -> None:
    log, _ = searches("cascade")
    half = len(log) // 2
    train, new = log.select(np.arange(half)), log.select(np.arange(half, len(log)))
    likelihood = {m.__name__: m.fit(train).log_likelihood(new) for m in (Coec, Pbm, Cascade, Dbn, Ubm)}
    assert max(likelihood, key=likelihood.__getitem__) == "Dbn"
