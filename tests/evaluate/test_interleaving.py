"""Interleaving: pages are fair by construction, and clicks on them find the better ranking."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.core.errors import ContractError, SettingError
from aisle.core.lists import Array, ItemLists, splits_of
from aisle.core.requests import Requests
from aisle.evaluate.click_models import PairValues, Pbm
from aisle.evaluate.interleaving import (
    Preference,
    credit,
    multileave,
    preference,
    preferences,
    sign_test,
    team_draft,
)
from aisle.evaluate.online_tests import Effect, difference


def lists(rows_QL: Array) -> ItemLists:
    return ItemLists(rows_QL.ravel(), splits_of(np.full(len(rows_QL), rows_QL.shape[1])))


def shuffled(num_requests: int, num_items: int, seed: int) -> ItemLists:
    return lists(np.argsort(np.random.default_rng(seed).random((num_requests, num_items)), axis=1))


def asked(count: int, seed: int = 0) -> Requests:
    return Requests.make(["shoes"] * count, seed=np.arange(seed, seed + count, dtype=np.uint64))


@pytest.mark.parametrize("num_rankings", [2, 3, 5])
def test_every_place_falls_to_every_ranking_alike(num_rankings: int) -> None:
    count = 4000
    rankings = [shuffled(count, 12, seed) for seed in range(num_rankings)]
    page = multileave(rankings, asked(count), k=10)
    share = (
        np.bincount(page.position * num_rankings + page["team"], minlength=10 * num_rankings).reshape(10, -1) / count
    )
    spread = np.sqrt((1 - 1 / num_rankings) / num_rankings / count)
    assert np.abs(share - 1 / num_rankings).max() < 4.5 * spread
    assert page["team"].dtype == np.int8


@pytest.mark.parametrize("num_rankings", [2, 3])
def test_teams_of_a_page_differ_by_at_most_one_row_at_every_depth(num_rankings: int) -> None:
    page = multileave([shuffled(200, 12, s) for s in range(num_rankings)], asked(200), k=9)
    team_QK = page["team"].reshape(200, 9)
    for depth in range(1, 10):
        size = np.stack([(team_QK[:, :depth] == r).sum(1) for r in range(num_rankings)])
        assert (size.max(0) - size.min(0) <= 1).all()


def test_a_row_is_the_best_of_its_ranking_that_is_still_free() -> None:
    rankings = [shuffled(50, 12, s) for s in range(3)]
    page = multileave(rankings, asked(50), k=10)
    for q in range(50):
        rows, team = page.list_of(q).item, page.list_of(q)["team"]
        assert len(set(rows.tolist())) == len(rows)
        for k in range(len(rows)):
            free = [i for i in rankings[team[k]].list_of(q).item.tolist() if i not in rows[:k]]
            assert free[0] == rows[k]


def test_equal_rankings_give_that_ranking() -> None:
    ranking = shuffled(20, 10, 0)
    page = team_draft(ranking, ranking, asked(20), k=10)
    np.testing.assert_array_equal(page.item, ranking.item)


def test_short_and_empty_rankings_pass_their_turn() -> None:
    first = ItemLists(np.array([1, 2, 3, 1]), np.array([0, 3, 4, 4]))
    second = ItemLists(np.array([3, 9]), np.array([0, 1, 2, 2]))
    page = team_draft(first, second, asked(3), k=5)
    assert [sorted(page.list_of(q).item.tolist()) for q in range(3)] == [[1, 2, 3], [1, 9], []]
    assert team_draft(ItemLists.empty(0), ItemLists.empty(0), asked(0)).item.size == 0


def test_the_page_depends_on_the_seed_alone_and_a_longer_page_begins_with_the_shorter() -> None:
    first, second, requests = shuffled(30, 12, 1), shuffled(30, 12, 2), asked(30)
    long, short = team_draft(first, second, requests, 12), team_draft(first, second, requests, 4)
    np.testing.assert_array_equal(long.take(long.position < 4).item, short.item)
    back = np.arange(30)[::-1]
    turned = team_draft(first.select(back), second.select(back), requests.select(back), 12)
    np.testing.assert_array_equal(turned.select(back).item, long.item)
    np.testing.assert_array_equal(turned.select(back)["team"], long["team"])


def test_credit_counts_the_clicks_of_each_team() -> None:
    page = ItemLists(np.array([1, 2, 3, 4]), np.array([0, 3, 4]), {"team": np.array([0, 1, 1, 0], np.int8)})
    np.testing.assert_array_equal(credit(page, np.array([1, 1, 1, 0])), [[1, 2], [0, 0]])
    with pytest.raises(ContractError, match="one number a row"):
        credit(page, np.ones(3))


def test_pages_of_one_unit_vote_once() -> None:
    found = preference(np.array([[1.0, 0], [1, 0], [0, 3], [0, 1]]), unit=np.array([5, 5, 5, 8]))
    assert (found.wins, found.losses, found.ties) == (0, 2, 0)
    assert found.value == -0.5


def test_the_sign_test_is_exact() -> None:
    assert sign_test(0, 0) == 1
    assert sign_test(9, 1) == pytest.approx(2 * 11 / 1024)
    assert sign_test(5, 5) == 1


def test_shoppers_without_a_preference_are_rarely_said_to_have_one() -> None:
    rng = np.random.default_rng(0)
    said = sum(preference(rng.poisson(0.7, (200, 2)).astype(float)).verdict != "undecided" for _ in range(400))
    assert said / 400 <= 0.07


EAGERNESS = np.linspace(0.1, 1.0, 8)
"""Shoppers differ in how readily they click, which an A/B test must average out and a shared page need not."""


def clicks_on(page: ItemLists, seed: int) -> Array:
    """Shoppers of a position model: a low item number is attractive."""
    rng = np.random.default_rng(seed)
    attraction = np.outer(EAGERNESS, 0.9 ** np.arange(30)).ravel()
    shop = Pbm(PairValues(np.arange(len(attraction)), attraction, 0.1), 1 / np.arange(1, 11))
    pair = rng.integers(0, len(EAGERNESS), len(page))[page.owner] * 30 + page.item
    return shop.sample(page.with_columns(pair=pair), rng)


def rankings_of(noise: float, count: int, seed: int) -> ItemLists:
    """The true order, disturbed."""
    rng = np.random.default_rng(seed)
    return lists(np.argsort(np.arange(30) + noise * rng.standard_normal((count, 30)), axis=1)[:, :10])


def visits_agree(visits: int, run: int) -> tuple[Preference, Effect]:
    """One experiment of each kind with as many visits."""
    good, bad = rankings_of(3, visits, 2 * run), rankings_of(7, visits, 2 * run + 1)
    page = team_draft(good, bad, asked(visits, 1000 * run))
    half = np.arange(visits // 2)
    arms = [good.select(half), bad.select(half)]
    clicks = [np.bincount(p.owner, clicks_on(p, 5000 + 2 * run + i), len(p)) for i, p in enumerate(arms)]
    return preference(credit(page, clicks_on(page, run))), difference(clicks[0], clicks[1])


def test_interleaving_finds_the_better_ranking_with_the_sign_of_an_ab_test_and_fewer_visits() -> None:
    few = [visits_agree(250, run) for run in range(40)]
    many = [visits_agree(500, run) for run in range(40)]
    assert np.mean([shared.value for shared, _ in many]) > 0
    assert np.mean([effect.value for _, effect in many]) > 0
    assert not any(shared.verdict == "second" for shared, _ in many)
    decided = np.mean([shared.verdict == "first" for shared, _ in few])
    assert decided >= np.mean([effect.verdict == "better" for _, effect in many])
    assert decided > 1.5 * np.mean([effect.verdict == "better" for _, effect in few])


def test_multileaving_orders_three_rankings() -> None:
    count = 1500
    names = ["best", "middle", "worst"]
    page = multileave([rankings_of(noise, count, i) for i, noise in enumerate((1, 5, 12))], asked(count))
    found = {(p.first, p.second): p for p in preferences(credit(page, clicks_on(page, 1), 3), names)}
    assert all(p.verdict == "first" and p.p_holm >= p.p for p in found.values())
    assert found["best", "worst"].value > found["best", "middle"].value


def test_wrong_input_is_refused() -> None:
    ranking = shuffled(3, 4, 0)
    with pytest.raises(SettingError, match="2 to 127 rankings"):
        multileave([ranking], asked(3))
    with pytest.raises(ContractError, match="rank each request once"):
        team_draft(ranking, ranking, asked(2))
    with pytest.raises(ContractError, match="two columns"):
        preference(np.ones((4, 3)))
