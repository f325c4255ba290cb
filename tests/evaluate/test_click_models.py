"""Click models: each recovers its own parameters from the clicks it draws, and says what the others get wrong."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from aisle.core.errors import ContractError, SettingError, UnknownName
from aisle.core.lists import Array, ItemLists, splits_of
from aisle.core.requests import Action
from aisle.core.shop import Events
from aisle.evaluate._click_posterior import posterior
from aisle.evaluate.click_models import Cascade, ClickModel, Coec, Dbn, PairValues, Pbm, Ubm, pages_of, pair_ids

PAIRS, PLACES, PAGES = 60, 8, 12_000
PLACE = 1 / (1 + np.arange(PLACES)) ** 0.7


def pages(num_pages: int = PAGES, seed: int = 0, sorted_by: Array | None = None) -> ItemLists:
    """Pages of 3 to 8 different items in random order, or best first with some noise."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(3, PLACES + 1, num_pages)
    key = rng.random((num_pages, PAIRS))
    order = np.argsort(key, axis=1)[:, :PLACES]
    if sorted_by is not None:
        noisy = -sorted_by[order] + 0.1 * rng.random(order.shape)
        order = np.take_along_axis(order, np.argsort(noisy, axis=1), 1)
    item = order[np.arange(PLACES) < counts[:, None]]
    return ItemLists(item, splits_of(counts), {"pair": item.astype(np.int64)})


def values(low: float, high: float, seed: int) -> PairValues:
    return PairValues(np.arange(PAIRS), np.random.default_rng(seed).uniform(low, high, PAIRS), 0.5)


def browsing() -> Array:
    """Examination falls with place and with distance from the last click."""
    distance = np.maximum(np.arange(PLACES)[:, None] - np.arange(PLACES)[None, :] + 1, 1)
    return np.where(np.arange(PLACES) == 0, PLACE[:, None], 0.9 * distance**-0.8)


ATTRACTION = values(0.05, 0.6, 1)
MODELS: dict[str, ClickModel] = {
    "pbm": Pbm(ATTRACTION, PLACE),
    "coec": Coec(ATTRACTION, PLACE),
    "cascade": Cascade.of(ATTRACTION),
    "dbn": Dbn(ATTRACTION, values(0.2, 0.8, 2), 0.85),
    "ubm": Ubm(ATTRACTION, browsing()),
}


def logged(model: ClickModel, lists: ItemLists, seed: int = 3) -> ItemLists:
    return lists.with_columns(clicked=model.sample(lists, np.random.default_rng(seed)))


def error(fitted: ClickModel, true: ClickModel) -> float:
    pair = np.arange(PAIRS)
    return float(np.abs(fitted.attractiveness(pair) - true.attractiveness(pair)).mean())


@pytest.mark.parametrize("name", MODELS)
def test_a_click_model_recovers_its_own_parameters(name: str) -> None:
    true = MODELS[name]
    log = logged(true, pages())
    fitted = type(true).fit(log)
    assert error(fitted, true) < 0.03
    assert np.abs(fitted.examination(log) - true.examination(log)).max() < 0.04
    assert np.abs(fitted.click_probability(log) - true.click_probability(log)).mean() < 0.015


@pytest.mark.parametrize("name", MODELS)
def test_a_fitted_model_is_as_likely_as_the_true_one_on_new_pages(name: str) -> None:
    true = MODELS[name]
    fitted, unseen = type(true).fit(logged(true, pages())), logged(true, pages(4000, seed=9), seed=10)
    assert fitted.log_likelihood(unseen) > true.log_likelihood(unseen) - 0.03
    assert (fitted.perplexity(unseen) < true.perplexity(unseen) + 0.01).all()


@pytest.mark.parametrize("name", MODELS)
def test_sampled_clicks_come_as_often_as_the_marginal_says(name: str) -> None:
    model, lists = MODELS[name], pages(40_000)
    place = lists.position
    clicks = np.bincount(place, model.sample(lists, np.random.default_rng(0)))
    expected = np.bincount(place, model.click_probability(lists))
    assert np.abs(clicks - expected).max() < 4 * np.sqrt(expected.max())


@pytest.mark.parametrize("name", MODELS)
def test_conditional_chances_of_all_click_patterns_sum_to_one(name: str) -> None:
    """And their mean over patterns is the marginal: the two recursions describe one distribution."""
    model = MODELS[name]
    patterns = np.array(list(product((0, 1), repeat=4)))
    item = np.tile([5, 2, 40, 11], len(patterns))
    counts = np.full(len(patterns), 4)
    log = ItemLists(item, splits_of(counts), {"pair": item.astype(np.int64), "clicked": patterns.ravel()})
    chance = model.conditional_probability(log)
    joint = np.where(patterns, *np.stack([chance, 1 - chance]).reshape(2, -1, 4)).prod(1)
    assert joint.sum() == pytest.approx(1)
    np.testing.assert_allclose(joint @ patterns, model.click_probability(log)[:4], atol=1e-12)


def test_dbn_learns_satisfaction_and_continuation() -> None:
    true = MODELS["dbn"]
    assert isinstance(true, Dbn)
    fitted = Dbn.fit(logged(true, pages(20_000)))
    pair = np.arange(PAIRS)
    assert fitted.continuation == pytest.approx(0.85, abs=0.03)
    assert np.corrcoef(fitted.satisfaction.at(pair), true.satisfaction.at(pair))[0, 1] > 0.85


def test_pages_of_one_row_say_nothing_of_going_on() -> None:
    item = np.zeros(40, np.int64)
    log = ItemLists(item, np.arange(41), {"pair": item, "clicked": np.arange(40) % 4 == 0})
    fitted = Dbn.fit(log, strength=0.0)
    assert fitted.continuation == 1.0
    assert fitted.attractiveness(np.array([0]))[0] == pytest.approx(0.25)


def test_counting_is_near_for_patient_shoppers_and_reads_satisfaction_high() -> None:
    true = Dbn(ATTRACTION, values(0.2, 0.8, 2), 1.0)
    log, pair = logged(true, pages()), np.arange(PAIRS)
    counted, learnt = Dbn.fit(log, continuation=1.0), Dbn.fit(log)
    assert counted.continuation == 1.0
    assert learnt.continuation > 0.97
    assert error(learnt, true) < error(counted, true) < 0.06
    assert np.corrcoef(counted.attractiveness(pair), ATTRACTION.value)[0, 1] > 0.97
    assert (counted.satisfaction.at(pair) - true.satisfaction.at(pair)).mean() > 0.05


def test_the_posterior_below_the_last_click_is_that_of_bayes() -> None:
    """Against the sum over every hidden path: examined or not, satisfied or not."""
    a, s, c = np.array([[0.3, 0.5, 0.2]]), np.array([[0.6, 0.4, 0.7]]), 0.8
    found = posterior(a, s, c, np.ones((1, 3), bool), np.array([0]))
    left = s[0, 0]
    read_two = (1 - s[0, 0]) * c * (1 - a[0, 1]) * (1 - c)
    read_three = (1 - s[0, 0]) * c * (1 - a[0, 1]) * c * (1 - a[0, 2])
    stopped = (1 - s[0, 0]) * (1 - c)
    total = left + read_two + read_three + stopped
    assert found.satisfied[0] == pytest.approx(left / total)
    np.testing.assert_allclose(found.examined[0], [1, (read_two + read_three) / total, read_three / total])


def test_em_takes_position_out_where_counting_cannot() -> None:
    """Pages sorted by attractiveness: COEC blames the place for the item, the position model does not."""
    true = MODELS["pbm"]
    log = logged(true, pages(sorted_by=ATTRACTION.value))
    assert error(Pbm.fit(log, iterations=300), true) < 0.5 * error(Coec.fit(log), true)


def test_em_never_lowers_the_likelihood() -> None:
    log = logged(MODELS["ubm"], pages(2000))
    for model in (Pbm, Ubm):
        found = [model.fit(log, strength=0.0, iterations=n).log_likelihood(log) for n in (1, 3, 10, 30)]
        assert (np.diff(found) > -1e-9).all()


def test_a_pair_with_few_impressions_is_drawn_to_the_prior() -> None:
    item = np.array([0, 1, 0, 1, 0, 2])
    log = ItemLists(
        item, np.array([0, 2, 4, 6]), {"pair": item.astype(np.int64), "clicked": np.array([1, 0, 0, 0, 0, 1])}
    )
    light, heavy = Pbm.fit(log, strength=0.1), Pbm.fit(log, strength=100.0)
    assert abs(heavy.attractiveness(np.array([2]))[0] - heavy.attraction.prior) < 0.01
    assert light.attractiveness(np.array([2]))[0] > heavy.attractiveness(np.array([2]))[0] + 0.1
    assert heavy.attractiveness(np.array([77]))[0] == heavy.attraction.prior


@pytest.mark.parametrize("model", [Coec, Pbm, Cascade, Dbn, Ubm])
def test_empty_logs_and_empty_pages_are_answered(model: type[ClickModel]) -> None:
    columns = {"pair": np.zeros(0, np.int64), "clicked": np.zeros(0, bool)}
    fitted = model.fit(ItemLists.empty(3, columns))
    assert fitted.attractiveness(np.array([4])) == pytest.approx(0.5)
    ragged = ItemLists(
        np.array([1, 2]), np.array([0, 0, 2, 2]), {"pair": np.array([1, 2]), "clicked": np.array([0, 1])}
    )
    assert np.isfinite(model.fit(ragged).log_likelihood(ragged))
    assert len(model.fit(ragged).sample(ragged, np.random.default_rng(0))) == 2


def test_wrong_logs_and_settings_are_refused() -> None:
    lists = pages(3)
    with pytest.raises(UnknownName, match="clicked"):
        Pbm.fit(lists)
    with pytest.raises(ContractError, match="other than 0 and 1"):
        Pbm.fit(lists.with_columns(clicked=np.full(len(lists.item), 2)))
    with pytest.raises(SettingError, match="strength"):
        Pbm.fit(lists.with_columns(clicked=np.zeros(len(lists.item))), strength=-1)
    with pytest.raises(SettingError, match="continuation"):
        Dbn(ATTRACTION, ATTRACTION, 1.5)
    with pytest.raises(ContractError, match="rising"):
        PairValues(np.array([2, 1]), np.zeros(2), 0.5)
    with pytest.raises(ContractError, match="square"):
        Ubm(ATTRACTION, np.ones((2, 3)))


def test_pair_ids_keep_query_and_item_apart() -> None:
    lists = ItemLists(np.array([7, 8, 7]), np.array([0, 2, 3]))
    assert len(set(pair_ids(lists, np.array([0, 1])).tolist())) == 3
    assert pair_ids(lists, np.array([4, 4]))[0] == pair_ids(lists, np.array([4, 4]))[2]
    with pytest.raises(ContractError, match="one a list"):
        pair_ids(lists, np.array([1]))


def events(*rows: tuple[int, int, int, int, Action]) -> Events:
    """Events of (request, query, item, position, action)."""
    table = np.array(rows).T
    columns = dict(zip(("request", "query", "item", "position", "action"), table, strict=True))
    return Events({**columns, "propensity": np.linspace(0.1, 1, len(rows))}, ["shoes", "hats"])


def test_pages_are_read_from_events() -> None:
    seen, click, cart = Action.IMPRESSION, Action.CLICK, Action.CART
    log = events(
        (900, 0, 4, 1, seen), (900, 0, 3, 0, seen), (900, 0, 4, -1, click),  # logged out of order
        (77, -1, 3, 0, seen), (77, -1, 4, 2, seen), (77, -1, 4, 2, click),  # a gap: what follows is left out
        (55, 1, 8, 10, seen), (55, 1, 8, 10, click),  # a second page
        (33, 1, 3, 0, seen), (33, 1, 3, 0, seen), (33, 1, 5, 1, seen), (33, 1, 3, 0, cart),  # one row twice
        (-1, 1, 6, 0, seen), (44, 1, 6, 0, click), (900, 0, -1, 2, seen),
    )  # fmt: skip
    found = pages_of(log)
    assert found.counts.tolist() == [2, 1, 2]
    assert found.item.tolist() == [3, 5, 3, 3, 4]
    assert found["clicked"].tolist() == [False, False, False, False, True]
    assert found["pair"][0] != found["pair"][2] != found["pair"][3]
    assert found["propensity"][4] == pytest.approx(0.1)
    assert pages_of(log, Action.CART)["clicked"].tolist() == [True, False, False, False, False]
    assert np.isfinite(Ubm.fit(found).log_likelihood(found))
