"""The catalogue: rich, honest, uneven as real ones are, and the same for small and large."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from aisle.core.errors import SettingError
from aisle.data.schema import CATALOGUE
from aisle.simulate.catalogue import german
from aisle.simulate.catalogue.bank import Bank, phrase
from aisle.simulate.catalogue.items import as_of, catalogue, make_items, shown
from aisle.simulate.catalogue.products import DAY_S, START_S, another_value
from aisle.simulate.catalogue.relations import TOGETHER, WEIGHT_SS, replaces, together
from aisle.simulate.catalogue.second_shop import second_shop
from aisle.simulate.catalogue.sellers import misspelt
from aisle.simulate.catalogue.taxonomy import BROADER, CHOICES, ENTRIES, KINDS, LEAVES
from aisle.simulate.catalogue.truth import Truth
from aisle.simulate.knobs import Knobs

ITEMS = 6000


@pytest.fixture(scope="module")
def shop() -> tuple[pa.Table, Truth]:
    return make_items(ITEMS, 0, Knobs())


def tail_exponent(values: np.ndarray, largest: int) -> float:
    """The exponent of the density of the ``largest`` values by Hill's estimator."""
    top = np.sort(values)[::-1][: largest + 1].astype(float)
    return 1 + 1 / np.log(top[:-1] / top[-1]).mean()


def test_shelves_are_many_and_each_has_its_own_attributes() -> None:
    assert len(LEAVES) >= 90
    assert len({leaf.department for leaf in LEAVES}) >= 12
    assert len({leaf.shelf for leaf in LEAVES}) == len(LEAVES)
    for leaf, slots in zip(LEAVES, CHOICES, strict=True):
        assert len(leaf.path.split(" > ")) == 3
        assert all(len(slot) >= 1 for slot in slots)
        assert {ENTRIES[slot[0]].name for slot in slots} == {KINDS[kind].name for kind in leaf.kinds}


def test_values_stand_in_families_and_families_in_classes() -> None:
    family = {value: name for kind in KINDS.values() for name, values in kind.families.items() for value in values}
    assert family["navy"] == "blue"
    assert family["merino"] == "wool"
    assert BROADER["wool"] == "natural fibre"
    assert set(BROADER) <= {name for kind in KINDS.values() for name in kind.families}
    assert len(set(ENTRIES)) == len(ENTRIES)


def test_a_small_catalogue_is_the_beginning_of_a_large_one(shop) -> None:
    small, truth = make_items(500, 0, Knobs())
    assert small.schema.equals(CATALOGUE)
    # The last product may lose variants that no longer fit, which its title then need not tell.
    assert small.slice(0, 490).equals(shop[0].slice(0, 490))
    assert np.array_equal(truth.demand, shop[1].demand[:500])
    assert not small.equals(catalogue(500, 1))
    with pytest.raises(SettingError, match="give 1 or more"):
        catalogue(0)


def test_demand_has_a_power_law_tail_and_reviews_follow_it(shop) -> None:
    large = make_items(60_000, 5, Knobs())[1]
    products = large.demand[np.unique(large.group, return_index=True)[1]]
    for largest in (300, 3000):
        assert tail_exponent(products, largest) == pytest.approx(1 + 1 / Knobs().tail, abs=0.15)
    reviews = np.sort(shop[0]["rating_count"].to_numpy())[::-1]
    assert reviews[: ITEMS // 10].sum() > 0.6 * reviews.sum()
    assert (reviews == 0).mean() > 0.1
    assert len(set(make_items(50, 0, Knobs(tail=0.0))[1].demand.tolist())) == 1


def test_items_come_and_go(shop) -> None:
    table, truth = shop
    now, later = truth.alive(START_S), truth.alive(START_S + 28 * DAY_S)
    share = Knobs().turnover
    assert (~now).mean() == pytest.approx(share, abs=0.015)
    assert (~later).mean() == pytest.approx(share, abs=0.015)
    assert not (~now & ~later).any()
    assert np.array_equal(as_of(table, truth, START_S)["active"].to_numpy(), now)
    assert (table["rating_count"].to_numpy()[truth.created_s > START_S] == 0).all()
    still = make_items(500, 0, Knobs(turnover=0.0))[1]
    assert still.alive(START_S).all()
    assert np.isinf(still.leaves_s).all()


def listed(row: dict) -> dict[str, object]:
    return {a["name"]: a["text"] if a["text"] is not None else a["number"] for a in row["attributes"]}


def test_sellers_err_and_omit_as_the_knobs_say_and_truth_knows_where(shop) -> None:
    table, truth = shop
    wrong = missing = total = 0
    for i, row in enumerate(table.slice(0, 1500).to_pylist()):
        said = listed(row)
        for place, attribute in enumerate(shown(truth, i)):
            name, value = attribute["name"], attribute["text"] or attribute["number"]
            told = said.get(name)
            assert (told is not None) == bool(truth.told.listed[i] >> place & 1)
            if told is not None and told != value:
                assert truth.told.misled[i] >> place & 1
            total += 1
            missing += told is None
            wrong += bool(truth.told.misled[i] >> place & 1)
    assert wrong / total == pytest.approx(Knobs().wrong, abs=0.01)
    assert 0.6 * Knobs().missing < missing / total < Knobs().missing
    clean, exact = make_items(800, 0, Knobs(missing=0.0, wrong=0.0, german=0.0))
    assert all(row["attributes"] == shown(exact, i) for i, row in enumerate(clean.to_pylist()))


def test_titles_and_descriptions_hold_what_truth_says_they_hold() -> None:
    table, truth = make_items(1500, 4, Knobs(gap=0.0, wrong=0.0, german=0.0))
    for i, row in enumerate(table.to_pylist()):
        for place, n in enumerate(truth.entry[i]):
            said = phrase(ENTRIES[n]).lower() if n >= 0 else ""
            if n >= 0 and truth.told.titled[i] >> place & 1:
                assert said in row["title"].lower()
            if n >= 0 and truth.told.described[i] >> place & 1:
                assert said in row["description"].lower()
        assert row["brand"] in row["title"]
        assert LEAVES[truth.leaf[i]].nouns[0].lower() in row["title"].lower()
    assert (truth.told.use == 1).all()
    told = make_items(1500, 4, Knobs())[1].told.use
    assert {0, 1, 2} == set(told.tolist())


def test_sellers_write_in_several_styles(shop) -> None:
    titles = shop[0]["title"].to_pylist()
    first = {title.split(" ")[0] for title in titles}
    assert len(first) > 300
    assert sum(" by " in t for t in titles) > 500
    assert sum(" - " in t for t in titles) > 500
    assert all(t == t.strip() and "  " not in t and t[0] == t[0].upper() for t in titles)
    assert all(
        re.search(r"[a-zA-Z0-9]", d) and d.endswith(".") and ".." not in d for d in shop[0]["description"].to_pylist()
    )


def test_a_part_of_the_sellers_writes_german(shop) -> None:
    table, truth = shop
    locale = np.array(table["locale"].to_pylist())
    assert np.array_equal(locale == "de", truth.german)
    assert 0.01 < truth.german.mean() < 0.12
    rows = np.flatnonzero(truth.german)[:60]
    titles = table["title"].take(pa.array(rows)).to_pylist()
    own = [
        any(n.lower() in t.lower() for n in german.NOUNS[truth.leaf[r]].nouns)
        for r, t in zip(rows, titles, strict=True)
    ]
    assert np.mean(own) > 0.85
    assert not make_items(300, 0, Knobs(german=0.0))[1].german.any()
    assert len(german.NOUNS) == len(LEAVES)


def test_a_wrong_value_is_another_one_of_the_shelf(shop) -> None:
    truth = shop[1]
    other = another_value(truth.leaf, truth.entry, np.random.default_rng(0).random(truth.entry.shape))
    for i in range(300):
        for place, slot in enumerate(CHOICES[truth.leaf[i]]):
            assert other[i, place] in slot
            assert (other[i, place] != truth.entry[i, place]) == (len(slot) > 1)


def test_what_is_used_together(shop) -> None:
    truth = shop[1]
    place = {leaf.shelf: n for n, leaf in enumerate(LEAVES)}
    assert WEIGHT_SS.shape == (len(LEAVES), len(LEAVES))
    assert ((WEIGHT_SS >= 0) & (WEIGHT_SS <= 1)).all()
    assert WEIGHT_SS[place["Smartphones"], place["Phone Cases"]] == 1
    assert WEIGHT_SS[place["Phone Cases"], place["Smartphones"]] == 0.5
    phones, cases = (np.flatnonzero(truth.leaf == place[s])[:20] for s in ("Smartphones", "Phone Cases"))
    first, second = (a.ravel() for a in np.meshgrid(phones, cases))
    fits = truth.numbers["screen size"][first] == truth.numbers["screen size"][second]
    assert set(together(truth, first, second)[fits].tolist()) == {1.0}
    assert set(together(truth, first, second)[~fits].tolist()) == {0.25}
    assert together(truth, first[:1], first[:1])[0] == 0
    assert replaces(truth, first[:1], first[:1])[0] == 1
    assert replaces(truth, first[:1], second[:1])[0] == 0
    assert len(TOGETHER) > 60


def test_the_second_shop_shares_products_but_not_words(shop) -> None:
    first_table, first = shop
    table, truth, twin = second_shop(first, 2000, 0, Knobs())
    assert table.schema.equals(CATALOGUE)
    assert table["item_id"][5].as_py() == "q5"
    shared = twin >= 0
    assert shared.sum() == 600
    assert len(set(twin[shared].tolist())) == 600
    for name in ("leaf", "brand", "use", "quality", "key", "entry"):
        assert np.array_equal(getattr(truth, name)[shared], getattr(first, name)[twin[shared]])
    titles, other = np.array(table["title"].to_pylist()), np.array(first_table["title"].to_pylist())
    assert (titles[shared] == other[twin[shared]]).mean() < 0.2
    ratio = truth.price_cents[shared] / first.price_cents[twin[shared]]
    assert 0.05 < np.abs(ratio - 1).mean() < 0.2
    assert np.median(first.demand[twin[shared]]) > np.median(first.demand)
    assert truth.brands == first.brands
    assert table.equals(second_shop(first, 2000, 0, Knobs())[0])
    assert second_shop(first, 100, 0, Knobs(), shared=0.0)[2].max() == -1
    with pytest.raises(SettingError, match="from 0 to 1"):
        second_shop(first, 100, 0, Knobs(), shared=1.5)


def test_truth_can_be_taken_apart_and_joined(shop) -> None:
    truth = shop[1]
    parts = [truth.take(np.arange(100)), truth.take(np.arange(100, 250))]
    both = Truth.joined(parts)
    assert np.array_equal(both.entry, truth.entry[:250])
    assert np.array_equal(both.told.titled, truth.told.titled[:250])
    assert all(np.array_equal(both.texts[n], truth.texts[n][:250]) for n in truth.texts)


def test_prices_follow_tier_and_shelf(shop) -> None:
    table, truth = shop
    usual = np.array([leaf.price for leaf in LEAVES])[truth.leaf]
    dear = truth.price_cents / 100 / usual
    assert [0.5 < np.median(dear[truth.tier == t]) < 2.2 for t in range(3)] == [True] * 3
    assert np.median(dear[truth.tier == 2]) > 2 * np.median(dear[truth.tier == 0])
    assert pc.all(pc.greater_equal(table["list_price_cents"], table["price_cents"])).as_py()


def test_phrases() -> None:
    by_name = {e.name: e for e in ENTRIES}
    assert phrase(by_name["battery life"]).endswith(" h")
    assert phrase(by_name["shoe size"]).startswith("shoe size ")
    assert phrase(by_name["persons"], True).endswith(" Personen")
    assert phrase(next(e for e in ENTRIES if e.text == "navy"), True) == "marineblau"
    bank = Bank(("A", "B"), False)
    assert bank.texts[int(bank.short[bank.entry[[e.text for e in ENTRIES].index("black")]])].as_py() == "blk"
    assert misspelt("a tea", None) == "a tea"  # type: ignore[arg-type]
