"""UBI to events and back: nothing is lost, in either direction."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aisle.core.errors import DataError
from aisle.data.reading.event_files import read_events
from aisle.data.reading.ubi import from_ubi, table_of, to_ubi
from aisle.data.schema import EVENTS
from aisle.data.shop import Shop

QUERY = {
    "application": "chorus",
    "query_id": "q1",
    "client_id": "c1",
    "user_query": "red pan",
    "timestamp": "2024-11-13T20:20:39.123Z",
    "object_id_field": "sku",
    "query_response_id": "r1",
    "query_response_hit_ids": ["p1", "p2"],
    "query_attributes": {"ab": "control"},
}
CLICK = {
    "application": "chorus",
    "action_name": "item_click",
    "query_id": "q1",
    "session_id": "s1",
    "client_id": "c1",
    "timestamp": "2024-11-13T20:20:41+00:00",
    "message_type": "INFO",
    "message": "clicked",
    "user_query": "red pan",
    "event_attributes": {
        "object": {"object_id": "p2", "object_id_field": "sku", "description": "A pan"},
        "position": {"ordinal": 2, "xy": {"x": 1.5, "y": 2}},
        "browser": "x",
    },
}
HOVER = {
    "application": "chorus",
    "action_name": "hover",
    "client_id": "c1",
    "timestamp": 1731529241000,
    "event_attributes": {"object": {"object_id": "p1"}},
}


def test_columns() -> None:
    table = from_ubi([QUERY], [CLICK, HOVER])
    page, click, hover = table.to_pylist()
    assert (page["action"], page["item_id"], page["query"], page["request_id"], page["user_id"]) == (
        "impression",
        "",
        "red pan",
        "q1",
        "c1",
    )
    assert page["time_s"] == 1731529239.123
    assert (click["action"], click["item_id"], click["position"], click["query"], click["session_id"]) == (
        "click",
        "p2",
        1,
        "red pan",
        "s1",
    )
    assert (hover["action"], hover["item_id"], hover["time_s"]) == ("impression", "", 1731529241.0)


def test_back_to_the_same_records() -> None:
    assert to_ubi(from_ubi([QUERY], [CLICK, HOVER])) == ([QUERY], [CLICK, HOVER])


def test_what_we_write_is_ubi() -> None:
    row = {
        "time_s": 10.0,
        "user_id": "u",
        "session_id": "s",
        "request_id": "r",
        "query": "pan",
        "item_id": "p",
        "position": 0,
        "action": "order",
        "quantity": 2,
        "price_cents": 500,
        "propensity": 0.5,
        "scene": "search",
    }
    queries, events = to_ubi(table_of([row]))
    assert queries[0]["user_query"] == "pan"
    assert queries[0]["query_id"] == events[0]["query_id"] == "r"
    assert events[0]["action_name"] == "purchase"
    assert events[0]["client_id"] == "u"
    assert events[0]["timestamp"] == "1970-01-01T00:00:10.000000Z"
    assert events[0]["event_attributes"]["object"]["object_id"] == "p"
    assert events[0]["event_attributes"]["position"]["ordinal"] == 1
    assert events[0]["event_attributes"]["aisle"]["columns"] == {
        "scene": "search",
        "quantity": 2,
        "price_cents": 500,
        "propensity": 0.5,
    }
    assert from_ubi(queries, events).num_rows == 1


@pytest.mark.parametrize("stamp", [None, "soon", True, float("nan"), 1e300])
def test_a_record_without_a_time(stamp: Any) -> None:
    if stamp == 1e300:
        assert len(from_ubi([], [{**CLICK, "timestamp": stamp}])) == 1
    else:
        with pytest.raises(DataError, match="is no time"):
            from_ubi([], [{**CLICK, "timestamp": stamp}])


text = st.text(st.characters(codec="utf-8"), max_size=5)
json_value = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text, inner, max_size=2),
    max_leaves=4,
)
extra = (
    st.none()
    | text
    | json_value.map(json.dumps)
    | st.sampled_from(
        [
            '{"ubi":{"application":"x"}}',
            '{"ubi":{"user_query":"a"}}',
            '{"ubi_record":{}}',
            '{"ubi_record":{"timestamp":1,"user_query":"q"}}',
            '{"ubi":{"time',
        ]
    )
)
ids = st.none() | st.sampled_from(["", "a", "b", "c"])
row = st.fixed_dictionaries(
    {
        "time_s": st.floats(0, 4e9)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.sampled_from([0.1 + 0.2, 1731529239.1234567]),
        "user_id": ids,
        "session_id": ids,
        "request_id": ids,
        "scene": st.sampled_from([None, "search", "feed"]),
        "query": ids,
        "item_id": ids,
        "position": st.none() | st.integers(-(2**31), 2**31 - 1),
        "action": st.sampled_from(["impression", "click", "cart", "order", "return", "remove"]),
        "quantity": st.none() | st.integers(0, 9),
        "price_cents": st.none() | st.integers(-(2**63), 2**63 - 1),
        "propensity": st.none() | st.floats(),
        "extra": extra,
    }
)


def as_sorted(table: pa.Table) -> list[str]:
    return sorted(repr(r) for r in table.to_pylist())


@settings(max_examples=100, deadline=None)
@given(st.lists(row, max_size=6))
def test_events_to_ubi_and_back(rows: list[dict[str, Any]]) -> None:
    table = table_of(rows)
    queries, events = to_ubi(table)
    # Through a file, as it would travel.
    queries, events = json.loads(json.dumps([queries, events], allow_nan=False))
    back = from_ubi(queries, events)
    assert back.schema == EVENTS
    assert as_sorted(back) == as_sorted(table)


stamp = (
    st.integers(0, 2 * 10**12)
    | st.floats(0, 1e10)
    | st.datetimes().map(lambda d: d.replace(year=max(d.year, 1970)).isoformat() + "Z")
)
field = json_value | ids
event = st.fixed_dictionaries(
    {
        "timestamp": stamp,
        "action_name": st.sampled_from(["click", "add_to_cart", "hover", "Purchase", "view", "impression"])
        | json_value,
    },
    optional={
        "application": field,
        "client_id": field,
        "session_id": field,
        "query_id": field,
        "user_query": field,
        "message": field,
        "event_attributes": json_value
        | st.fixed_dictionaries(
            {},
            optional={
                "object": json_value
                | st.fixed_dictionaries({"object_id": field}, optional={"object_id_field": field, "x": json_value}),
                "position": json_value | st.fixed_dictionaries({"ordinal": st.integers(-1, 3) | json_value}),
                "aisle": json_value,
                "y": json_value,
            },
        ),
    },
)
query = st.fixed_dictionaries(
    {"timestamp": stamp, "user_query": field},
    optional={
        "query_id": field,
        "client_id": field,
        "application": field,
        "query_attributes": json_value,
        "query_response_hit_ids": json_value,
    },
)


@settings(max_examples=100, deadline=None)
@given(st.lists(query, max_size=3), st.lists(event, max_size=4))
def test_ubi_to_events_and_back(queries: list[dict[str, Any]], events: list[dict[str, Any]]) -> None:
    back_queries, back_events = to_ubi(from_ubi(queries, events))
    mine = [
        q
        for q in back_queries
        if not (
            isinstance(q.get("query_attributes"), dict) and (q["query_attributes"].get("aisle") == {"derived": True})
        )
    ]
    key = lambda r: json.dumps(r, sort_keys=True)  # noqa: E731
    assert sorted(map(key, mine)) == sorted(map(key, queries))
    assert sorted(map(key, back_events)) == sorted(map(key, events))


def test_files(tmp_path: Path) -> None:
    (tmp_path / "ubi_queries.jsonl").write_text(json.dumps(QUERY) + "\n")
    (tmp_path / "ubi_events.jsonl").write_text(
        "\n".join(json.dumps(r) for r in (CLICK, HOVER, {**CLICK, "timestamp": "soon"}))
    )
    events = pa.concat_tables(read_events(tmp_path / "ubi_events.jsonl"))
    assert events["query"].to_pylist() == ["red pan", None]
    pages = pa.concat_tables(read_events(tmp_path / "ubi_queries.jsonl"))
    assert to_ubi(pa.concat_tables([pages, events])) == ([QUERY], [CLICK, HOVER])


def test_a_shop_reads_what_was_ingested(tmp_path: Path) -> None:
    shop = Shop.create(tmp_path / "shop")
    shop.write_generation([pa.table({"item_id": ["p1", "p2"], "title": ["a", "b"]})])
    shop.add_events(from_ubi([QUERY], [CLICK, HOVER]))
    events = shop.view().events
    assert events["item"].tolist() == [-1, 1, -1]
    assert events["position"].tolist() == [-1, 1, -1]
    assert math.isclose(events["time_s"][0], 1731529239.123)
