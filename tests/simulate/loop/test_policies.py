"""Policies: a ranker's lists become pages, one or the other by shopper, or both on one page."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from aisle.core.errors import ContractError
from aisle.core.lists import ItemLists
from aisle.core.requests import Requests, Scene, hashed
from aisle.simulate.loop.policies import PAGE, LexicalPolicy, RankedPolicy, SplitPolicy, listed, requests_of
from aisle.simulate.loop.town import Town
from aisle.simulate.shoppers.visits import Minds, Pages, Storefront, Visits
from aisle.simulate.world import World

WORLD = World.make(300, 4, turnover=0.0)


class Counting:
    """Ranks rows n, n + 1, ... for a text of n letters, and remembers what it was asked."""

    def __init__(self, *, length: int = 25) -> None:
        self.asked: list[Requests] = []
        self.length = length

    def ranked(self, requests: Requests, k: int | None = None) -> ItemLists:
        self.asked.append(requests)
        first = np.array([len(text) for text in requests.query])
        item = (first[:, None] + np.arange(self.length)).astype(np.int32)
        return ItemLists(item.ravel(), np.arange(len(requests) + 1) * self.length)


def visits() -> Visits:
    town = Town(WORLD, users=40)
    return next(iter(town.arrivals(0, 120))).visits


def test_a_ranker_is_asked_as_a_server_would_be() -> None:
    asked, ranker = visits(), Counting()
    pages = RankedPolicy(ranker, batch=50)(asked, np.random.default_rng(0))
    assert [len(r) for r in ranker.asked] == [50] * (len(asked) // 50) + [len(asked) % 50]
    request = ranker.asked[0]
    assert request.user[0] == hashed(f"u{asked.user[0]}")
    assert set(request.scene) == {Scene.SEARCH, Scene.FEED}
    assert (pages.item[:, 0] == [len(text) for text in asked.text]).all()
    assert pages.item.shape == pages.propensity.shape == (len(asked), PAGE)


def test_further_pages_go_on_and_what_is_not_on_sale_is_left_out() -> None:
    asked = replace(visits(), offset=np.full(len(visits()), PAGE))
    pages = RankedPolicy(Counting())(asked, np.random.default_rng(0))
    assert (pages.item[:, 0] == [len(text) + PAGE for text in asked.text]).all()
    even = replace(
        asked, offset=np.zeros(len(asked), np.int64), shop=Storefront(np.arange(300) % 2 == 0, asked.shop.histories)
    )
    assert (RankedPolicy(Counting())(even, np.random.default_rng(0)).item % 2 == 0).all()
    last = replace(asked, offset=np.full(len(asked), 2 * PAGE))
    assert ((RankedPolicy(Counting())(last, np.random.default_rng(0)).item >= 0).sum(1) == 5).all()


def test_searches_that_are_not_personal_are_ranked_once() -> None:
    asked = visits()
    plain, saving = Counting(), Counting()
    policy = RankedPolicy(saving, searches_are_personal=False)
    for _ in range(2):
        one = RankedPolicy(plain)(asked, np.random.default_rng(0))
        two = policy(asked, np.random.default_rng(0))
        assert np.array_equal(one.item, two.item)
    texts = [text for requests in saving.asked for text in requests.query if text]
    assert sorted(texts) == sorted({text for text in asked.text if text})
    only_feeds = asked.select(np.flatnonzero(asked.text == ""))
    assert np.array_equal(
        policy(only_feeds, np.random.default_rng(0)).item,
        RankedPolicy(plain)(only_feeds, np.random.default_rng(0)).item,
    )


def test_requests_of_visits_carry_what_was_done_before() -> None:
    town = Town(WORLD, users=20)
    party = next(iter(town.arrivals(0, 300)))
    town.step(party, LexicalPolicy(WORLD)(party.visits, np.random.default_rng(0)))
    later = next(iter(town.arrivals(1, 50))).visits
    requests = requests_of(later)
    assert requests.history.counts.max() > 3
    assert (requests.history["time_s"] < later.time_s[requests.history.owner]).all()
    assert (later.last_item >= 0).any()


def test_shoppers_are_split_by_arm() -> None:
    asked = visits()
    arms = [lambda v, rng, n=n: Pages(np.full((len(v), 3), n, np.int32), np.full((len(v), 3), 0.5)) for n in (7, 8)]
    pages = SplitPolicy(arms, lambda v: v.user % 2)(asked, np.random.default_rng(0))
    assert (pages.item[:, 0] == 7 + asked.user % 2).all()
    assert (pages.propensity == 0.5).all()
    with pytest.raises(ContractError, match="arms"):
        SplitPolicy(arms, lambda v: v.user * 0 + 5)(asked, np.random.default_rng(0))


def test_what_a_policy_is_given_holds_no_truth() -> None:
    asked = visits()
    known = {"text", "user", "scene", "time_s", "offset", "session", "step", "seed", "last_item", "shop"}
    assert {f.name for f in fields(asked)} == known
    assert {f.name for f in fields(asked.shop)} == {"on_sale", "histories"}
    assert not {f.name for f in fields(Minds)} & (known - {"user"})


def test_pages_and_lists_are_two_forms_of_one_thing() -> None:
    pages = LexicalPolicy(WORLD)(visits(), np.random.default_rng(0))
    back = Pages.of(listed(pages), PAGE)
    assert np.array_equal(back.item, pages.item)
    assert np.allclose(back.propensity[pages.item >= 0], pages.propensity[pages.item >= 0])
    with pytest.raises(ContractError, match="places"):
        Pages(pages.item, pages.propensity[:, :2])
