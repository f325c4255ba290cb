from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aisle.core.errors import SettingError
from aisle.core.filters import (
    And,
    Contains,
    Exists,
    In,
    Not,
    Or,
    Range,
    Sort,
    both,
    fields_of,
    parse_filter,
    to_json,
    without,
)

FIELDS = ("brand", "price_cents", "colour")
VALUES = st.one_of(st.sampled_from(["a", "b"]), st.integers(0, 3))
LEAVES = st.one_of(
    st.builds(In, st.sampled_from(FIELDS), st.lists(VALUES, max_size=3).map(tuple)),
    st.builds(Range, st.sampled_from(FIELDS), st.integers(0, 3), st.none() | st.integers(0, 3)),
    st.builds(Range, st.sampled_from(FIELDS), st.none(), st.integers(0, 3)),
    st.builds(Exists, st.sampled_from(FIELDS)),
)
FILTERS = st.recursive(
    LEAVES,
    lambda part: st.one_of(
        part.map(Not), st.lists(part, max_size=3).map(tuple).map(And), st.lists(part, max_size=3).map(tuple).map(Or)
    ),
    max_leaves=8,
)
RECORDS = st.dictionaries(st.sampled_from(FIELDS), VALUES)


def holds(filter, record):
    """What a filter means, for one item."""
    match filter:
        case None:
            return True
        case In(field, values):
            return field in record and record[field] in values
        case Range(field, low, high):
            value = record.get(field)
            return isinstance(value, int) and (low is None or low <= value) and (high is None or value <= high)
        case Exists(field):
            return field in record
        case Not(part):
            return not holds(part, record)
        case And(parts):
            return all(holds(p, record) for p in parts)
        case Or(parts):
            return any(holds(p, record) for p in parts)


@given(FILTERS, st.lists(RECORDS, min_size=4, max_size=8))
@example(And((And(()),)), [{}])
@settings(max_examples=150, deadline=None)
def test_json_round_trip_means_the_same(filter, records):
    again = parse_filter(json.loads(json.dumps(to_json(filter))))
    assert [holds(again, r) for r in records] == [holds(filter, r) for r in records]
    assert parse_filter(to_json(again)) == again, "a second round trip changes nothing at all"


def test_a_conjunction_from_json():
    filter = parse_filter({"brand": ["A", "B"], "price_cents": {"low": 100, "high": 900}, "colour": {"exists": True}})
    assert filter == And((In("brand", ("A", "B")), Range("price_cents", 100, 900), Exists("colour")))
    assert parse_filter({"brand": "A"}) == In("brand", ("A",))
    assert parse_filter(None) is None
    assert parse_filter({}) is None


def test_units_parts_of_texts_and_missing_values_from_json():
    assert parse_filter({"weight": {"high": "2 kg"}}) == Range("weight", None, 2, "kg")
    assert parse_filter({"weight": {"low": 1, "high": 2.5, "unit": "kg"}}) == Range("weight", 1, 2.5, "kg")
    both_ends = And((Range("weight", 500, None, "g"), Range("weight", None, 2, "kg")))
    assert parse_filter({"weight": {"low": "500 g", "high": "2kg"}}) == both_ends
    assert parse_filter({"width": {"low": '15.6"'}}) == Range("width", 15.6, None, '"')
    assert parse_filter({"title": {"contains": "oak"}}) == Contains("title", "oak")
    assert parse_filter({"colour": {"exists": False}}) == Not(Exists("colour"))
    for filter in (both_ends, Contains("title", "oak"), Range("weight", 1, 2, "kg")):
        assert parse_filter(to_json(filter)) == filter


def test_nesting_from_json():
    assert parse_filter({"any": [{"brand": "A"}, {"not": {"colour": "red"}}]}) == Or(
        (In("brand", ("A",)), Not(In("colour", ("red",))))
    )
    assert holds(parse_filter({"any": [{}]}), {}), "one of the alternatives asks nothing"
    assert not holds(parse_filter({"any": []}), {})


def test_without_leaves_out_the_field_alone():
    brand, cheap = In("brand", ("A",)), Range("price_cents", None, 900)
    mixed = Or((brand, cheap))
    assert without(And((brand, cheap)), "brand") == cheap
    assert without(And((brand, cheap, mixed)), "brand") == And((cheap, mixed)), "a choice over two fields stays"
    assert without(brand, "brand") is None
    assert without(None, "brand") is None
    assert without(And((Not(brand), cheap)), "brand") == cheap


def test_both_flattens_what_is_given():
    a, b, c = (In(f, (1,)) for f in "abc")
    assert both(None, And((a, b)), None, c) == And((a, b, c))
    assert both(a, None) == a
    assert both(None) is None
    assert fields_of(both(a, Not(Or((b, c))))) == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"price_cents": {"low": "cheap"}}, "'price_cents' holds numbers and is filtered by 'cheap'; give a number"),
        ({"price_cents": {"low": True}}, "give a number"),
        ({"price_cents": {"from": 3}}, "give low and high"),
        ({"price_cents": {}}, "give low and high"),
        ({"brand": {"exists": "no"}}, "exists: true or false"),
        ({"weight": {"unit": "kg"}}, "give low and high"),
        ({"weight": {"high": "kg 2"}}, "give a number, or one with its unit"),
        ({"title": {"contains": " "}}, "contains: 'text'"),
        ({"brand": None}, "give a value, a list of values, or a range"),
        ({"brand": [["A"]]}, "give a value, a list of values"),
        ({"any": {"brand": "A"}}, "'any' is .* give a list of filters"),
        ({"all": ["A"]}, "'all' is .* give a list of filters"),
        ({"not": "A"}, "'not' is 'A'; give a filter"),
        ({"not": [{"brand": "A"}]}, "'not' is .* give a filter"),
        (["brand"], "a filter is .* give an object"),
    ],
)
def test_what_is_no_filter_is_refused_in_words(value, words):
    with pytest.raises(SettingError, match=words):
        parse_filter(value)


@pytest.mark.parametrize("text", ["price_cents", "-rating"])
def test_sort_round_trip(text):
    assert str(Sort.parse(text)) == text


def test_relevance_is_no_sort():
    assert Sort.parse("relevance") is None
    assert Sort.parse("") is None
    assert Sort.parse("-rating") == Sort("rating", descending=True)
