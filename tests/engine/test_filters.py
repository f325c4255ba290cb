from __future__ import annotations

import numpy as np
import pytest

from aisle.core.errors import SettingError
from aisle.core.filters import And, Contains, Exists, In, Not, Or, Range
from aisle.engine.embedded import filters as filters_module
from aisle.engine.embedded.filters import Fields, compile_filters, evaluate

from .conftest import table


def slow(filter, record) -> bool:
    """The filter over one record, by its definition."""
    if isinstance(filter, Not):
        return not slow(filter.part, record)
    if isinstance(filter, And | Or):
        return (all if isinstance(filter, And) else any)(slow(p, record) for p in filter.parts)
    held = values(record, filter.field)
    if isinstance(filter, Exists):
        return bool(held)
    if filter.field == "active":
        return str(held[0]).lower() == str(filter.values[0]).lower()
    if isinstance(filter, Range):
        low = -np.inf if filter.low is None else filter.low
        return any(low <= v <= (np.inf if filter.high is None else filter.high) for v in held)
    return any(
        v == w if not isinstance(v, str) else v.casefold() == str(w).casefold() for v in held for w in filter.values
    )


def values(record, field: str) -> list:
    if field == "category":
        paths = [p.split(" > ") for p in record["category"]]
        return [" > ".join(p[: n + 1]) for p in paths for n in range(len(p))]
    if field in record:
        return [] if record[field] is None else [record[field]]
    return [a.get("text", a.get("number")) for a in record["attributes"] if a["name"] == field]


FILTERS = [
    In("brand", ("brand 3", "BRAND 4")),
    In("category", ("home > LAMPs",)),
    In("category", ("Home>lamps>smart", "sale")),
    In("colour", ("red",)),
    In("rating", (4.1, 2)),
    In("active", (True,)),
    In("active", ("false",)),
    In("brand", ()),
    In("brand", ("no such brand",)),
    Range("price_cents", 1000, 5000),
    Range("rating", 4.1, None),
    Range("rating", None, 4.1),
    Range("weight", 10, 50.5),
    Range("stock", 1),
    Exists("weight"),
    Exists("brand"),
    Not(In("colour", ("Red", "Blue"))),
    And((In("colour", ("Green",)), Range("price_cents", None, 9000), Exists("rating_count"))),
    Or((In("colour", ("Green",)), Range("weight", 80, None))),
    And(()),
    Or(()),
]


def test_units_meet():
    weights = [(2, "kg"), (1500, "g"), (70, "in"), (2.5, "kg"), (4, None)]
    items = table(
        [
            {"item_id": str(n), "attributes": [{"name": "weight", "number": float(v), "unit": u}]}
            for n, (v, u) in enumerate(weights)
        ]
    )
    fields = Fields(items)

    def found(filter) -> list[int]:
        return np.flatnonzero(evaluate(filter, fields)).tolist()

    assert found(Range("weight", None, 2, "kg")) == found(Range("weight", None, 2000, "g")) == [0, 1]
    assert found(Range("weight", None, 2)) == [0, 1], "without a unit it is the field's own"
    assert found(Range("weight", 3.3, None, "pounds")) == [0, 1, 3, 4]
    assert found(In("weight", ("1.5 kg", "2500 g"))) == [1, 3]
    assert found(Exists("weight")) == [0, 1, 3, 4], "what is no weight has none"
    with pytest.raises(SettingError, match="given in 'kg' and filtered in 'cm'"):
        found(Range("weight", None, 2, "cm"))
    with pytest.raises(SettingError, match="'no unit' and filtered in 'kg'"):
        evaluate(Range("price_cents", None, 2, "kg"), fields)


def test_a_part_of_a_text(items, records):
    expected = ["brand 1" in (r["brand"] or "").casefold() for r in records]
    np.testing.assert_array_equal(evaluate(Contains("brand", "BRAND 1"), Fields(items)), expected)
    with pytest.raises(SettingError, match="holds numbers and is filtered by a text"):
        evaluate(Contains("rating", "4"), Fields(items))


@pytest.fixture(scope="module")
def records():
    from .conftest import generated

    return generated(1500)


@pytest.mark.parametrize("filter", FILTERS, ids=str)
def test_a_filter_equals_its_definition(items, records, filter):
    expected = [slow(filter, record) for record in records]
    np.testing.assert_array_equal(evaluate(filter, Fields(items)), expected)


def test_compile_shares_bitmaps_and_hides_what_is_not_live(items, monkeypatch):
    calls = []
    real = filters_module.evaluate
    monkeypatch.setattr(filters_module, "evaluate", lambda f, fields: calls.append(f) or real(f, fields))
    same, other = In("colour", ("Red",)), Range("stock", 1)
    fields = Fields(items)
    masks = compile_filters([same, None, other, In("colour", ("Red",))], fields)
    assert masks.bits.shape == (3, items.num_rows)
    assert masks.which.tolist() == [0, 1, 2, 0]
    np.testing.assert_array_equal(masks.of(1), items.live)
    assert not (masks.bits & ~items.live).any()
    compile_filters([same], fields)
    assert calls == [same, other], "each filter is evaluated once"


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        (In("colr", ("Red",)), "did you mean 'colour'"),
        (Range("prise_cents", 1), "did you mean 'price_cents'"),
        (Exists("nothing_like_it"), "there are"),
        (Range("brand", 1), "holds text"),
        (In("price_cents", ("cheap",)), "holds numbers"),
        (In("active", ("maybe",)), "true or false"),
    ],
)
def test_what_cannot_be_filtered_is_said(items, filter, message):
    with pytest.raises(SettingError, match=message):
        evaluate(filter, Fields(items))
