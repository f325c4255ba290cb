"""Logged rounds of a town, for off-policy estimates: a page of one item (a bandit) or of a few (slates), and the truth.

Legend: N rounds, A items, K places, S slates.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np

from aisle.core.lists import Array
from aisle.evaluate.counterfactual import BanditLog, SlateLog
from aisle.simulate.loop.oracle import rewards
from aisle.simulate.loop.town import Town
from aisle.simulate.shoppers.visits import Pages, Party


def bandit_rounds(
    town: Town, party: Party, pool: Array, chance_NA: Array, rng: np.random.Generator
) -> tuple[BanditLog, Array]:
    """Each visit is shown one item of ``pool``, drawn by its chances; the reward is a click.

    Returns the log and float64[N, A], the true chance of a click on every item.  Users are the clusters.
    """
    action = (rng.random(len(party))[:, None] >= np.cumsum(chance_NA, 1)).sum(1).clip(0, len(pool) - 1)
    shown = pool[action][:, None].astype(np.int32)
    reward = town.behaviour.acts(party.minds, shown).click[:, 0].astype(np.float64)
    log = BanditLog(action, reward, chance_NA[np.arange(len(party)), action], chance_NA, party.visits.user)
    return log, clicks_alone(town, party, pool)


def clicks_alone(town: Town, party: Party, pool: Array) -> Array:
    """float64[N, A]: the true chance of a click on each item as the only one of a page."""
    each = party.minds.select(np.repeat(np.arange(len(party)), len(pool)))
    item = np.tile(pool, len(party))[:, None].astype(np.int32)
    return town.behaviour.chances(each, item).click[:, 0].astype(np.float64).reshape(len(party), len(pool))


def slate_rounds(
    town: Town, party: Party, pool: Array, places: int, rng: np.random.Generator, context: Array | None = None
) -> tuple[SlateLog, SlateLog]:
    """Each visit is shown ``places`` items of ``pool`` in random order, every order alike; the reward of a place is a click.

    Returns the log with the propensities of an item given those above it, and the same with those of an item at its place.
    """
    num, size = len(party), len(pool)
    order = np.argsort(rng.random((num, size)), 1)[:, :places]
    click = town.behaviour.acts(party.minds, pool[order].astype(np.int32)).click.astype(np.float64)
    above = np.broadcast_to(1 / (size - np.arange(places)), (num, places))
    at_place = np.full((num, places), 1 / size)
    user = party.visits.user
    return SlateLog(order, click, above, context, user), SlateLog(order, click, at_place, context, user)


def all_slates(size: int, places: int) -> Array:
    """int64[S, K]: every arrangement."""
    return np.array(list(permutations(range(size), places)), np.int64)


def mixed_slates(order_NK: Array, size: int, epsilon: float, logged_NK: Array) -> tuple[Array, Array]:
    """A policy that shows ``order`` int64[N, K], or with chance ``epsilon`` any arrangement.

    Returns float64[N, K, A]: the chance of each item at each place, and given the logged items above it.
    """
    num, places = order_NK.shape
    hot = np.zeros((num, places, size))
    np.put_along_axis(hot, order_NK[:, :, None], 1.0, 2)
    marginal = (1 - epsilon) * hot + epsilon / size
    conditional = np.empty_like(marginal)
    follows, random = np.ones(num, bool), 1.0
    free = np.ones((num, size), bool)
    for k in range(places):
        own, any_ = (1 - epsilon) * follows, epsilon * random
        share = np.where(own + any_ > 0, own / np.maximum(own + any_, 1e-300), 0)
        conditional[:, k] = share[:, None] * hot[:, k] + (1 - share)[:, None] * free / (size - k)
        follows = follows & (logged_NK[:, k] == order_NK[:, k])
        free[np.arange(num), logged_NK[:, k]] = False
        random /= size - k
    return marginal, conditional


def value_of_slates(town: Town, party: Party, pool: Array, order_NK: Array, epsilon: float) -> float:
    """The true mean of clicks a page under the policy of ``mixed_slates``; random pages by all arrangements on every tenth
    visit."""
    own = _clicks(town, party, pool[order_NK])
    slates = all_slates(len(pool), order_NK.shape[1])
    some = np.arange(0, len(party), 10)
    each = party.select(np.repeat(some, len(slates)))
    random = _clicks(town, each, pool[np.tile(slates, (len(some), 1))])
    return (1 - epsilon) * own + epsilon * random


def _clicks(town: Town, party: Party, item: Array) -> float:
    pages = Pages(item.astype(np.int32), np.ones(item.shape))
    return float(rewards(town.world, town.chances(party, pages), pages.item, "click").sum(1).mean())
