"""Streams: rounds of clicks whose truth moves, for online learning.

``planted`` draws from a linear model whose weights jump, so that the best comparator of every round is known;
``from_town`` takes the impressions of a town, whose shoppers change by themselves.

Legend: T rounds, D features, P phases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aisle.core.errors import SettingError
from aisle.core.lists import Array
from aisle.core.requests import Scene
from aisle.simulate.loop.policies import LexicalPolicy, shelves
from aisle.simulate.loop.town import Town
from aisle.simulate.shoppers.visits import Policy, Visits
from aisle.simulate.world import World

FEATURES = ("constant", "search", "place", "price", "rating", "reviews", "discount", "seen_shelf")


@dataclass(frozen=True, eq=False)
class Stream:
    """
    feature      float64[T, D]  displayed facts of a round
    label        int8[T]        whether it was clicked
    probability  float64[T]     the chance of that; truth
    weight       float64[P, D]  the weights of each phase, P = 0 where nobody planted any; truth
    phase        int64[T]       the phase of each round; truth
    """

    feature: Array
    label: Array
    probability: Array
    weight: Array
    phase: Array

    def __len__(self) -> int:
        return len(self.label)

    @property
    def path(self) -> float:
        """The length of the way that the true weights go: the sum of their jumps."""
        return float(np.linalg.norm(np.diff(self.weight, axis=0), axis=1).sum())


def planted(
    rounds: int, *, features: int = 20, changes: int = 4, radius: float = 3.0, few: int = 5, seed: int = 0
) -> Stream:
    """Clicks with chance 1 / (1 + exp(-w.x)), the weights drawn anew ``changes`` times, at random moments.

    features  the first is 1, the others normal
    few       weights other than 0 in a phase; their absolute values add up to ``radius``

    Raises SettingError for fewer rounds than phases, or more weights than features.
    """
    if rounds <= changes or changes < 0 or not 1 <= few <= features:
        raise SettingError(
            f"{rounds} rounds, {changes} changes, {few} of {features} features; give more rounds than changes, and at most "
            "as many weights as features"
        )
    rng = np.random.default_rng((seed, 31))
    weight_PD = np.zeros((changes + 1, features))
    for weight in weight_PD:
        chosen = rng.choice(features, few, replace=False)
        value = rng.standard_normal(few)
        weight[chosen] = radius * value / np.abs(value).sum()
    starts = np.sort(rng.choice(np.arange(1, rounds), changes, replace=False))
    phase = np.searchsorted(starts, np.arange(rounds), side="right")
    feature = np.concatenate([np.ones((rounds, 1)), rng.standard_normal((rounds, features - 1))], 1)
    probability = 1 / (1 + np.exp(-(feature * weight_PD[phase]).sum(1)))
    return Stream(feature, (rng.random(rounds) < probability).astype(np.int8), probability, weight_PD, phase)


def from_town(town: Town, days: int, visits_per_day: int, *, policy: Policy | None = None) -> Stream:
    """The impressions of some days in time order, with FEATURES about from -1 to 1; the town moves on.

    The phase is the day: interests end and begin, words and shoppers change.
    """
    policy = policy or LexicalPolicy(town.world)
    shelf = shelves(town.world)
    parts = []
    for day in range(days):
        for party, pages, feedback in town.served(policy, day, visits_per_day):
            shown = np.nonzero(pages.item >= 0)
            feature = _features(town.world, shelf, party.visits.select(shown[0]), pages.item[shown], shown[1])
            chance = town.chances(party, pages).click[shown]
            parts.append((feature, feedback.click[shown], chance, np.full(len(feature), day)))
    feature, label, probability, phase = (np.concatenate(column) for column in zip(*parts, strict=True))
    none = np.zeros((0, len(FEATURES)))
    return Stream(feature, label.astype(np.int8), probability.astype(np.float64), none, phase)


def _features(world: World, shelf: Array, visits: Visits, item: Array, place: Array) -> Array:
    """float64[N, D] of N impressions, one visit each; ``shelf`` is that of every item."""
    items = world.items
    price = items["price_cents"].to_numpy()
    listed = np.nan_to_num(items["list_price_cents"].to_numpy(zero_copy_only=False).astype(np.float64), nan=0.0)
    discount = np.maximum(1 - price / np.maximum(listed, price), 0)
    rating = np.nan_to_num(items["rating"].to_numpy(), nan=3.9)
    columns = (
        np.ones(len(item)),
        visits.scene == Scene.SEARCH,
        1 / (1.0 + place),
        np.log(price[item] / 100 / 40) / 3,
        rating[item] - 3.9,
        world.popularity[item],
        discount[item],
        (visits.last_item >= 0) & (shelf[visits.last_item] == shelf[item]),
    )
    return np.stack([np.asarray(column, np.float64) for column in columns], 1)
