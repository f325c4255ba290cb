"""Shoppers: several interests, abrupt changes, ages, newcomers; and the same person in two shops."""

from __future__ import annotations

import numpy as np

from aisle.simulate.catalogue.taxonomy import LEAVES
from aisle.simulate.knobs import Knobs
from aisle.simulate.shoppers.appeal import STYLE_DIM, directions
from aisle.simulate.shoppers.population import AGE_BANDS, AGE_SHARES, NUM_INTERESTS, Shoppers

LEAF = np.repeat(np.arange(len(LEAVES)), 5)


def drawn(count: int = 5000, **knobs: float) -> Shoppers:
    return Shoppers.draw(np.arange(count), LEAF, Knobs(**knobs))


def test_shoppers_have_several_interests_and_one_where_that_is_null() -> None:
    num = (drawn().weight > 0).sum(1)
    assert np.bincount(num, minlength=5)[1:].min() > 500
    assert ((drawn(interests=0.0).weight > 0).sum(1) == 1).all()
    assert np.allclose(drawn().weight.sum(1), 1, atol=1e-5)


def test_interests_give_way_at_once_and_never_where_that_is_null() -> None:
    shoppers = drawn()
    first, later = shoppers.tastes(0.0), shoppers.tastes(7.0)
    changed = shoppers.changed(0.0, 7.0)
    assert 0.2 < changed.mean() < 0.8
    assert (first.leaf == later.leaf)[~changed].all()
    assert (first.leaf == later.leaf)[changed].mean() < 0.1
    cosine = (first.style * later.style).sum(-1)
    assert cosine[~changed].mean() > 0.9 > 0.7 > cosine[changed].mean()
    still = drawn(changes=0.0)
    assert not still.changed(0.0, 500.0).any()
    assert np.array_equal(still.tastes(0.0).style, still.tastes(500.0).style)


def test_each_interest_has_a_style_of_its_own() -> None:
    style = drawn().tastes(0.0).style
    assert style.shape == (5000, NUM_INTERESTS, STYLE_DIM)
    assert np.allclose(np.linalg.norm(style, axis=2), 1, atol=1e-5)
    within, between = (style[:, 0] * style[:, 1]).sum(1).mean(), (style[1:, 0] * style[:-1, 1]).sum(1).mean()
    assert 0.15 < within < 0.7
    assert abs(between) < 0.05


def test_age_bands_come_in_their_shares_and_like_different_shelves() -> None:
    shoppers = drawn(20_000)
    share = np.bincount(shoppers.age, minlength=len(AGE_BANDS)) / 20_000
    assert np.abs(share - AGE_SHARES).max() < 0.015
    leaf = shoppers.tastes(0.0).leaf[:, 0]
    by_age = np.array([np.bincount(leaf[shoppers.age == a], minlength=len(LEAVES)) for a in range(len(AGE_BANDS))])
    by_age = by_age / by_age.sum(1, keepdims=True)
    assert np.abs(by_age[0] - by_age[4]).sum() > 0.3


def test_newcomers_come_later_and_shoppers_differ() -> None:
    shoppers = drawn()
    assert 0.2 < (shoppers.first_day > 0).mean() < 0.4
    assert not (drawn(newcomers=0.0).first_day > 0).any()
    alike = drawn(difference=0.0)
    assert alike.patience.std() == alike.thrift.std() == alike.level.std() == 0
    assert shoppers.patience.std() > 0.2


def test_a_person_likes_the_same_in_every_shop() -> None:
    here = drawn(100)
    there = Shoppers.draw(np.arange(50, 150), LEAF, Knobs())
    assert np.array_equal(here.tastes(3.0).style[50:], there.tastes(3.0).style[:50])
    assert np.array_equal(here.age[50:], there.age[:50])
    assert np.array_equal(directions(["navy", "Acme"])[1], directions(["Acme"])[0])
