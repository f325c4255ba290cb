from __future__ import annotations

import numpy as np
import pytest

from aisle.core.filters import And, In, Range, Sort, without
from aisle.core.requests import Requests
from aisle.data.items import ItemTable
from aisle.engine.embedded import facets as facets_module
from aisle.engine.embedded.columns import Columns
from aisle.engine.embedded.compiled import rows_where
from aisle.engine.embedded.facets import MOST_VALUES, FacetCounter, round_buckets
from aisle.engine.embedded.filters import Fields, compile_filters

from .conftest import generated, table

FIELDS = ["category", "brand", "colour", "price_cents", "rating", "weight"]
FILTERS = [
    None,
    In("colour", ("Red", "Blue")),
    And((In("brand", ("Brand 3", "Brand 69")), Range("price_cents", 500, 15000))),
    And((In("category", ("Home > lamps",)), In("colour", ("Red",)), Range("rating", 2, 4.5))),
]


@pytest.fixture(scope="module")
def fields(items) -> Fields:
    return Fields(items)


def rows_of(fields, filter, match) -> np.ndarray:
    allowed = compile_filters([filter], fields).of(0)
    return allowed if match is None else allowed & match


@pytest.mark.parametrize("filter", FILTERS, ids=str)
@pytest.mark.parametrize("share", [None, 0.6, 0.05, 0.0])
def test_counts_equal_counting_by_hand(items, fields, filter, share):
    match = None if share is None else np.random.default_rng(2).random(items.num_rows) < share
    group = items.group()
    facets = FacetCounter(fields).count(filter, match, FIELDS).facets
    assert list(facets) == FIELDS
    for field, facet in facets.items():
        rows = np.flatnonzero(rows_of(fields, without(filter, field), match))
        if facet["kind"] == "values":
            codes, labels = items.codes(field)
            groups = {label: set() for label in labels}
            for row in rows:
                for code in codes[row]:
                    groups[labels[code]].add(group[row])
            for shown in facet["values"]:
                assert shown["count"] == len(groups[shown["value"]])
            best = sorted((len(g) for g in groups.values() if g), reverse=True)[:MOST_VALUES]
            assert [v["count"] for v in facet["values"]][: len(best)] == best
        else:
            for bucket in facet["buckets"]:
                inside = rows_of(fields, Range(field, bucket["low"], bucket["high"]), None)[rows]
                assert bucket["count"] == len(set(group[rows[inside]])), "a bucket counts what its range would find"


@pytest.mark.parametrize("filter", FILTERS, ids=str)
def test_few_rows_are_counted_as_many_are(items, fields, filter, monkeypatch):
    match = np.random.default_rng(5).random(items.num_rows) < 0.3
    counted = []
    for few in (0, items.num_rows + 1):
        monkeypatch.setattr(facets_module, "FEW", few)
        counted.append(FacetCounter(fields).count(filter, match, FIELDS))
    assert counted[0] == counted[1]


def test_selected_values_are_always_shown(items, fields):
    rare = In("brand", ("brand 69",))
    match = np.zeros(items.num_rows, bool)
    values = FacetCounter(fields).count(rare, match, ["brand"]).facets["brand"]["values"]
    assert values == [{"value": "Brand 69", "count": 0}]
    shown = (
        FacetCounter(fields).count(In("brand", tuple(f"Brand {n}" for n in range(70))), None, ["brand"]).facets["brand"]
    )
    assert len(shown["values"]) == 70
    assert len(FacetCounter(fields).count(None, None, ["brand"]).facets["brand"]["values"]) == MOST_VALUES


def test_products_not_variants(items, fields):
    rows = items.live & (np.arange(items.num_rows) < 100)
    for match, chosen in ((rows, rows), (None, items.live)):
        counts = FacetCounter(fields).count(None, match, [])
        assert counts.groups == len(set(items.group()[chosen])) < counts.rows == chosen.sum()


@pytest.mark.parametrize(
    "value",
    [
        np.arange(100, 20000, 37.0),
        np.array([3.1, 4.0, 4.2, 4.9, 5.0]),
        np.concatenate([np.arange(1000.0), [1e7]]),
        np.array([1.0, 2.0, 3.0]),
        np.array([-5.5, 0.25, 1e-3, 7]),
        np.array([7.0, 7.0]),
    ],
    ids=["prices", "ratings", "outlier", "few", "negative", "one"],
)
def test_buckets_are_few_and_cover_every_value(value):
    buckets = round_buckets(value)
    assert 1 <= len(buckets) <= 8
    inside = sum(((value >= low) & (value <= high)).astype(int) for low, high in buckets)
    assert (inside >= 1).all()
    if np.all(value == np.floor(value)):
        assert (inside == 1).all(), "whole numbers fall into one bucket"


def test_usual_prices_get_five_to_eight_round_buckets():
    buckets = round_buckets(np.random.default_rng(0).integers(500, 9000, 400).astype(float))
    assert buckets[1] == (2000.0, 3999.0)
    assert 5 <= len(buckets) <= 8


def test_counts_follow_changes_as_if_made_anew(items):
    rng = np.random.default_rng(4)
    columns = Columns(items)
    filter, names = FILTERS[2], ["category", "brand", "colour", "price_cents", "rating", "weight"]
    sorts = [None, Sort("price_cents"), Sort("brand", descending=True)]
    for step in range(4):
        changed = generated(12, seed=50 + step)
        for n, record in enumerate(changed):
            record["item_id"] = f"SKU-{rng.integers(0, 1500)}x{n}" if n < 3 else f"SKU-{n * 100 + step}"
        items = items.upserted(table(changed).table).deleted([f"SKU-{step + 7}"])
        rows = items.rows_of([r["item_id"] for r in changed])
        columns, fresh = (
            columns.followed(items, rows),
            Columns(ItemTable.from_table(items.table).hidden(items.tombstones)),
        )
        requests = columns.compile(Requests.make(["", ""], filters=[None, filter]))
        anew = fresh.compile(requests)
        for q in range(2):
            np.testing.assert_array_equal(requests.masks().of(q), anew.masks().of(q))
        match = [None, rng.random(items.num_rows) < 0.5]
        assert columns.count(requests, match, names) == fresh.count(anew, match, names)
        every = rng.permutation(items.num_rows).astype(np.int32)
        for sort in sorts:
            np.testing.assert_array_equal(columns.order(every, sort), fresh.order(every, sort))


def test_what_was_counted_over_a_whole_catalogue_is_counted_behind_a_change(items, monkeypatch):
    asked = Requests.make([""])
    columns = Columns(items)
    before = columns.count(asked, [None], ["colour", "price_cents"])
    columns.count(Requests.make([""], filters=[FILTERS[1]]), [None], ["brand"])
    changed = items.deleted(["SKU-1", "SKU-2"])
    fresh = Columns(ItemTable.from_table(changed.table).hidden(changed.tombstones))
    after = columns.followed(changed, np.zeros(0, np.int32)).followed(changed, np.zeros(0, np.int32))
    after.prepare()
    monkeypatch.setattr(FacetCounter, "_counted", lambda *_: pytest.fail("counted while a request waits"))
    found = after.count(asked, [None], ["colour", "price_cents"])
    monkeypatch.undo()
    assert found == fresh.count(asked, [None], ["colour", "price_cents"])
    assert found != before
    gone = columns.followed(ItemTable(items.table.slice(0, 0)), np.zeros(0, np.int32))
    gone.prepare()


def test_values_are_found_by_how_a_word_of_them_begins(fields):
    counter = FacetCounter(fields)
    found = counter.values_like(None, None, "category", ["lam", "kettle"])["values"]
    assert {v["value"] for v in found} >= {"Home > lamps", "Home > kettles"}
    assert all("lamp" in v["value"] or "kettle" in v["value"] for v in found)
    every = {v["value"]: v["count"] for v in counter.count(None, None, ["category"]).facets["category"]["values"]}
    assert all(every.get(v["value"], v["count"]) == v["count"] for v in found)
    columns, requests = Columns(fields.items), Requests.make([""])
    (counts,) = columns.count(columns.compile(requests), [None], ["category~LAM"])
    assert counts.facets["category~LAM"]["values"] == [v for v in found if "lamp" in v["value"]]


@pytest.mark.parametrize("share", [0.0, 0.003, 0.5, 1.0])
@pytest.mark.parametrize("size", [0, 5, 8, 1001])
def test_rows_of_a_mask(size, share):
    mask = np.random.default_rng(size).random(size + 3) < share
    for part in (mask[:size], mask[3:]):
        np.testing.assert_array_equal(rows_where(part), np.flatnonzero(part))
        other = np.random.default_rng(7).random(size) < 0.5
        np.testing.assert_array_equal(rows_where(part, other), np.flatnonzero(part & other))
