"""User Behavior Insights (UBI 1.3) to events and back, losing nothing.

A UBI query record becomes a page row: action ``impression``, no item, the query's text and id.  A UBI event becomes
a row with the query text of its ``query_id``.  ``ordinal`` counts from 1, ``position`` from 0.  An action that aisle
has no word for becomes a row without an item, and its record stays whole.  What the columns cannot say is kept:
UBI's own fields in ``extra`` under ``"ubi"``; aisle's own columns under ``event_attributes.aisle``.  Each conversion
checks itself against the way back.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from aisle.core.errors import DataError
from aisle.data.schema import EVENTS, complete

Record = dict[str, Any]
APPLICATION = "aisle"
ACTIONS = {
    "impression": "impression",
    "product_impression": "impression",
    "click": "click",
    "item_click": "click",
    "product_click": "click",
    "click_through": "click",
    "cart": "cart",
    "add_to_cart": "cart",
    "order": "order",
    "purchase": "order",
    "product_purchase": "order",
    "buy": "order",
    "return": "return",
    "remove": "remove",
    "remove_from_cart": "remove",
}
"""UBI ``action_name`` (lower case) -> action."""
NAMES = {
    "impression": "impression",
    "click": "click",
    "cart": "add_to_cart",
    "order": "purchase",
    "return": "return",
    "remove": "remove_from_cart",
}
"""Action -> the ``action_name`` written."""
_COLUMNS = EVENTS.names
_TYPES = {f.name: str if pa.types.is_string(f.type) else float if pa.types.is_floating(f.type) else int for f in EVENTS}
_EMPTY: Record = dict.fromkeys(_COLUMNS)


def from_ubi(queries: Iterable[Record], events: Iterable[Record], texts: Mapping[str, str] | None = None) -> pa.Table:
    """EVENTS table of UBI records: a row a query (unless it was only derived from events), a row an event, as they come.

    ``texts``: query_id -> user_query of queries read before.  Raises DataError for a record without a usable timestamp.
    """
    queries = list(queries)
    texts = {**(texts or {}), **texts_of(queries)}
    rows = [row_of_query(q) for q in queries if not is_derived(q)] + [row_of_event(e, texts) for e in events]
    return table_of(rows)


def to_ubi(events: pa.Table) -> tuple[list[Record], list[Record]]:
    """(query records, event records) of an EVENTS table.

    Every query_id that has a text gets a query record; one without a page row of its own is marked as derived.
    """
    rows = complete(events, EVENTS).to_pylist()
    queries: list[Record] = []
    others = []
    for row in rows:
        record = _query_of_row(row)
        if record is None:
            others.append(row)
        else:
            queries.append(record)
    texts = texts_of(queries)
    known = {q["query_id"] for q in queries if isinstance(q.get("query_id"), str)}
    for row in others:
        key, text = row["request_id"], row["query"]
        if key and text and key not in known:
            known.add(key)
            texts[key] = text
            queries.append(
                {**_common(row), "query_id": key, "user_query": text, "query_attributes": {"aisle": {"derived": True}}}
            )
    return queries, [_event_of_row(row, texts) for row in others]


def texts_of(queries: Sequence[Record]) -> dict[str, str]:
    """query_id -> user_query; the first record of an id counts."""
    texts: dict[str, str] = {}
    for query in queries:
        key, text = query.get("query_id"), query.get("user_query")
        if isinstance(key, str) and isinstance(text, str):
            texts.setdefault(key, text)
    return texts


def is_derived(query: Record) -> bool:
    """The record was made from events' own query texts, so it is no page of its own."""
    return bool(_at(query, ("query_attributes", "aisle", "derived")) is True)


def is_query(record: Mapping[str, Any]) -> bool:
    """A record of ubi_queries (not of ubi_events)."""
    return "action_name" not in record and "user_query" in record


def table_of(rows: Sequence[Record]) -> pa.Table:
    """Rows as an EVENTS table."""
    return pa.Table.from_pylist(list(rows), schema=EVENTS)


# One record to one row


def row_of_query(record: Record) -> Record:
    """The page row of a query record."""
    return _finished(record, _plain_query(record), _base_query, _base_query)


def row_of_event(record: Record, texts: Mapping[str, str]) -> Record:
    """The row of an event record."""
    return _finished(record, _plain_event(record, texts), _base_event, lambda row: _own_record(row, texts))


def _finished(
    record: Record, row: Record, back: Callable[[Record], Record], own_back: Callable[[Record], Record]
) -> Record:
    """The row with aisle's own columns restored, or with what it cannot say in ``extra``."""
    own = _at(record, ("event_attributes", "aisle", "columns"))
    if isinstance(own, dict) and own:
        columns = {name: _restored(value) for name, value in own.items()}
        if all(_fits(name, value) for name, value in columns.items()):
            restored = {**row, **columns}
            if own_back(restored) == record:
                return restored
    plain = back(row)
    if plain == record:
        return row
    left = _difference(record, plain)
    if _merged(plain, left) == record:
        return {**row, "extra": _dump({"ubi": left})}
    return {**row, "extra": _dump({"ubi_record": record})}


def _plain_query(record: Record) -> Record:
    key, text = record.get("query_id"), record.get("user_query")
    return {
        **_EMPTY,
        "time_s": time_of(record),
        "action": "impression",
        "item_id": "",
        "user_id": _string(record.get("client_id")),
        "session_id": _string(record.get("session_id")),
        "request_id": _string(key),
        "query": _string(text),
    }


def _plain_event(record: Record, texts: Mapping[str, str]) -> Record:
    name = record.get("action_name")
    action = ACTIONS.get(name.lower()) if isinstance(name, str) else None
    item = _at(record, ("event_attributes", "object", "object_id"))
    ordinal = _at(record, ("event_attributes", "position", "ordinal"))
    key = _string(record.get("query_id"))
    return {
        **_EMPTY,
        "time_s": time_of(record),
        "action": action or "impression",
        "user_id": _string(record.get("client_id")),
        "session_id": _string(record.get("session_id")),
        "request_id": key,
        "query": texts.get(key) if key is not None else None,
        "item_id": _string(item) if action else "",
        "position": ordinal - 1 if type(ordinal) is int and 1 <= ordinal < 2**31 else None,
    }


# One row to one record


def _common(row: Record) -> Record:
    record: Record = {"application": APPLICATION, "timestamp": _stamp(row["time_s"])}
    for field, column in (("client_id", "user_id"), ("session_id", "session_id")):
        if row[column] is not None:
            record[field] = row[column]
    return record


def _base_query(row: Record) -> Record:
    record = _common(row)
    for field, column in (("query_id", "request_id"), ("user_query", "query")):
        if row[column] is not None:
            record[field] = row[column]
    return record


def _base_event(row: Record) -> Record:
    record = {**_common(row), "action_name": NAMES.get(row["action"], row["action"])}
    if row["request_id"] is not None:
        record["query_id"] = row["request_id"]
    attributes: Record = {}
    if row["item_id"] is not None:
        attributes["object"] = {"object_id": row["item_id"], "object_id_field": "item_id"}
    if row["position"] is not None:
        attributes["position"] = {"ordinal": row["position"] + 1}
    if attributes:
        record["event_attributes"] = attributes
    return record


def _query_of_row(row: Record) -> Record | None:
    """The query record of a page row; None when the row is no page or says more than a query record can."""
    if row["action"] != "impression" or row["item_id"] != "":
        return None
    record = _with_extra(_base_query(row), row["extra"])
    try:
        return record if is_query(record) and not is_derived(record) and _same(row_of_query(record), row) else None
    except DataError:
        return None


def _event_of_row(row: Record, texts: Mapping[str, str]) -> Record:
    record = _with_extra(_base_event(row), row["extra"])
    try:
        if not is_query(record) and _same(row_of_event(record, texts), row):
            return record
    except DataError:
        pass
    return _own_record(row, texts)


def _own_record(row: Record, texts: Mapping[str, str]) -> Record:
    """The event record that carries in ``event_attributes.aisle`` every column that UBI's fields cannot."""
    plain = _base_event(row)
    seen = _plain_event(plain, texts)
    own = {name: _kept(row[name]) for name in _COLUMNS if not _equal(seen[name], row[name])}
    return {**plain, "event_attributes": {**plain.get("event_attributes", {}), "aisle": {"columns": own}}}


def _with_extra(record: Record, extra: str | None) -> Record:
    """The record with the UBI fields that ``extra`` kept."""
    if not extra or not extra.startswith('{"ubi'):
        return record
    try:
        kept = json.loads(extra)
    except ValueError:
        return record
    if isinstance(kept, dict) and isinstance(kept.get("ubi_record"), dict):
        return dict(kept["ubi_record"])
    return _merged(record, kept["ubi"]) if isinstance(kept, dict) and isinstance(kept.get("ubi"), dict) else record


# Small tools


def time_of(record: Record) -> float:
    """Unix seconds of ``timestamp``: ISO 8601 (UTC where no zone is named) or epoch milliseconds.  Raises DataError."""
    stamp = record.get("timestamp")
    try:
        if isinstance(stamp, (int, float)) and not isinstance(stamp, bool) and math.isfinite(stamp):
            return stamp / 1000 if abs(stamp) > 1e11 else float(stamp)
        if isinstance(stamp, str):
            moment = datetime.fromisoformat(stamp.strip())
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        pass
    raise DataError(
        f"timestamp {stamp!r} is no time; expected ISO 8601, such as 2026-01-31T12:00:00Z, or epoch milliseconds"
    )


def _stamp(time_s: float) -> str | float:
    """ISO 8601 in UTC with microseconds; the bare number where no date can say it."""
    try:
        return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return "1970-01-01T00:00:00.000000Z"


def _kept(value: Any) -> Any:
    """JSON has no NaN: floats beyond it are named."""
    return {"float": repr(value)} if isinstance(value, float) and not math.isfinite(value) else value


def _restored(value: Any) -> Any:
    named = value.get("float") if isinstance(value, dict) else None
    return float(named) if named in ("nan", "inf", "-inf") else value


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _at(record: Any, path: Sequence[str]) -> Any:
    for name in path:
        record = record.get(name) if isinstance(record, dict) else None
    return record


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _equal(a: Any, b: Any) -> bool:
    # By their text floats keep the sign of zero, and NaN equals itself.
    return repr(a) == repr(b) if isinstance(a, float) else bool(a == b)


def _fits(name: str, value: Any) -> bool:
    """The value may stand in this column."""
    return (
        name in _COLUMNS
        and (value is None or type(value) is _TYPES[name])
        and (value is not None or EVENTS.field(name).nullable)
    )


def _same(a: Record, b: Record) -> bool:
    return all(_equal(a[name], b[name]) for name in _COLUMNS)


def _difference(full: Record, base: Record) -> Record:
    """What must be merged into ``base`` to get ``full``; a field to take away is {"absent": True}."""
    out: Record = {}
    for name in {**full, **base}:
        if name not in full:
            out[name] = {"absent": True}
        elif isinstance(full[name], dict) and isinstance(base.get(name), dict):
            if inner := _difference(full[name], base[name]):
                out[name] = inner
        elif name not in base or full[name] != base[name] or type(full[name]) is not type(base[name]):
            out[name] = full[name]
    return out


def _merged(base: Record, more: Record) -> Record:
    out = dict(base)
    for name, value in more.items():
        if value == {"absent": True}:
            out.pop(name, None)
        elif isinstance(value, dict) and isinstance(out.get(name), dict):
            out[name] = _merged(out[name], value)
        else:
            out[name] = value
    return out
