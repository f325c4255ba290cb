"""Behaviour logs from files: the own schema in any file format, and UBI; unknown columns are kept in ``extra``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from aisle.core.errors import DataError
from aisle.data.reading.batches import Batch
from aisle.data.reading.column_names import plain_name
from aisle.data.reading.convert import parse_times, plain_text
from aisle.data.reading.prices import parse_numbers, price_style
from aisle.data.reading.quarantine import Quarantine
from aisle.data.reading.readers import Format, read_batches, sniff
from aisle.data.reading.ubi import ACTIONS, is_derived, is_query, row_of_event, row_of_query, table_of, texts_of
from aisle.data.schema import EVENTS, complete

NAMES: dict[str, tuple[str, ...]] = {
    "time_s": ("time_s", "timestamp", "time", "ts", "event_time", "datetime", "date", "created_at"),
    "user_id": ("user_id", "user", "client_id", "visitor_id", "visitorid", "customer_id", "userid", "uid"),
    "session_id": ("session_id", "session", "sessionid", "user_session", "visit_id"),
    "request_id": ("request_id", "query_id", "search_id", "page_id", "impression_id"),
    "scene": ("scene", "surface"),
    "query": ("query", "user_query", "search_term", "search_query", "keywords"),
    "item_id": ("item_id", "product_id", "itemid", "sku", "asin", "article_id", "object_id", "item"),
    "position": ("position", "rank", "slot"),
    "action": ("action", "event", "event_type", "action_name", "event_name", "type", "interaction"),
    "quantity": ("quantity", "qty", "count"),
    "price_cents": ("price_cents", "price"),
    "propensity": ("propensity", "propensity_score", "pscore"),
}
"""Event column -> names under which logs hold it."""

WORDS = {
    **ACTIONS,
    "view": "click",
    "addtocart": "cart",
    "transaction": "order",
    "bought": "order",
    "shown": "impression",
    "returned": "return",
}
"""Action as written (lower case) -> action.  A product view follows a click."""
SCENES = ("search", "feed", "similar")


def columns_of_events(columns: list[str]) -> dict[str, str]:
    """Event column -> file column, by name."""
    plain = {plain_name(c): c for c in reversed(columns)}
    found: dict[str, str] = {}
    for target, names in NAMES.items():
        name = next((n for n in names if n in plain and plain[n] not in found.values()), None)
        if name is not None:
            found[target] = plain[name]
    return found


def read_events(
    path: Path | str,
    *,
    quarantine: Quarantine | None = None,
    form: Format | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[pa.Table]:
    """Tables of the EVENTS schema from a log file; a file of UBI records is seen by its fields.

    Beside ``ubi_events.jsonl`` the file ``ubi_queries.jsonl`` is read for the query texts.  Rows without a time, an
    action that exists, or a readable number go to ``quarantine``.
    """
    path = Path(path)
    form = form or sniff(path)
    sink = quarantine or Quarantine(None, path, form.place)
    texts: dict[str, str] | None = None
    for batch in read_batches(path, form, sink, progress=progress):
        if (
            texts is None
            and ({"action_name", "application"} <= set(batch.columns) or "user_query" in batch.columns)
            and form.kind in ("jsonl", "json")
        ):
            texts = _companion_texts(path)
        if texts is not None:
            yield _ubi_batch(batch, texts, sink)
        else:
            yield _own_batch(batch, sink)


def _companion_texts(path: Path) -> dict[str, str]:
    """Query texts from the ubi_queries file that stands beside a ubi_events file."""
    companion = path.with_name(path.name.replace("events", "queries"))
    texts: dict[str, str] = {}
    if companion != path and companion.exists():
        form = sniff(companion)
        for batch in read_batches(companion, form, Quarantine(None, companion, form.place)):
            for key, text in reversed(list(texts_of(records_of(batch)).items())):
                texts.setdefault(key, text)
    return texts


def records_of(batch: Batch) -> list[dict[str, Any]]:
    """The records of a batch as they were, or made of its columns with dotted names as objects."""
    if batch.records:
        return [dict(record) for record in batch.records]
    records: list[dict[str, Any]] = [{} for _ in range(len(batch))]
    for name, (rows, values) in batch.columns.items():
        *parents, leaf = name.split(".")
        for row, value in zip(rows if rows is not None else range(len(batch)), values, strict=True):
            if value is None:
                continue
            place = records[row]
            for parent in parents:
                place = place.setdefault(parent, {})
            place[leaf] = value
    return records


def _ubi_batch(batch: Batch, texts: dict[str, str], sink: Quarantine) -> pa.Table:
    rows = []
    records = records_of(batch)
    for key, text in texts_of([r for r in records if is_query(r)]).items():
        texts.setdefault(key, text)
    for position, record in zip(batch.positions, records, strict=True):
        try:
            if not is_query(record):
                rows.append(row_of_event(record, texts))
            elif not is_derived(record):
                rows.append(row_of_query(record))
        except DataError:
            sink(position, "timestamp", record.get("timestamp"), "not a time")
    return table_of(rows)


def _own_batch(batch: Batch, sink: Quarantine) -> pa.Table:
    names = columns_of_events(list(batch.columns))
    for needed in ("time_s", "action"):
        if needed not in names:
            raise DataError(
                f"{sink.source}: no column looks like {needed} of an event; "
                f"the file has: {', '.join(list(batch.columns)[:20])}; rename one to {needed}"
            )
    size = len(batch)
    bad: dict[int, tuple[str, str]] = {}
    columns: dict[str, pa.Array] = {}
    for target, column in names.items():
        values = batch.columns[column].dense(size)
        columns[target], faults = _event_column(target, column, values)
        for row, reason in faults:
            bad.setdefault(row, (column, reason))
    raw = {column: batch.columns[column].dense(size) for column in names.values()} if bad else {}
    for row, (column, reason) in sorted(bad.items()):
        sink(batch.positions[row], column, raw[column][row], reason)
    extra = [c for c in batch.columns if c not in names.values()]
    if extra == ["extra"]:
        columns["extra"] = pa.array([plain_text(v) for v in batch.columns["extra"].dense(size)], pa.string())
    elif extra:
        kept = {c: batch.columns[c].dense(size) for c in extra}
        rows = [{c: v[row] for c, v in kept.items() if v[row] not in (None, "")} for row in range(size)]
        columns["extra"] = pa.array(
            [json.dumps(r, ensure_ascii=False, default=str) if r else None for r in rows], pa.string()
        )
    good = np.setdiff1d(np.arange(size), np.fromiter(bad, np.int64, len(bad)))
    if not bad:
        return complete(pa.table(columns), EVENTS)
    # The required columns are null in bad rows only.
    return complete(pa.table(columns).take(pa.array(good)), EVENTS)


def _event_column(target: str, column: str, values: list[Any]) -> tuple[pa.Array, list[tuple[int, str]]]:
    """The values of one event column and the rows where they are none."""
    if target == "time_s":
        numeric = [
            v for v in values if isinstance(v, (int, float)) or (isinstance(v, str) and v.replace(".", "", 1).isdigit())
        ]
        how = (
            "date"
            if len(numeric) < len(values) / 2
            else "milliseconds"
            if numeric and float(numeric[0]) > 1e11
            else "seconds"
        )
        seconds, bad = parse_times(values, how)
        missing = np.isnan(seconds)
        return pa.array(seconds, mask=missing), [
            (int(r), "not a time" if bad[r] else "missing time") for r in np.flatnonzero(missing)
        ]
    if target == "action":
        words = [WORDS.get(str(v).strip().lower()) if v is not None else None for v in values]
        faults = [
            (r, "no action: expected impression, click, cart, order, return or remove")
            for r, w in enumerate(words)
            if w is None
        ]
        return pa.array(words, pa.string()), faults
    if target == "scene":
        scenes = [None if v in (None, "") else str(v).strip().lower() for v in values]
        return pa.array(scenes, pa.string()), [
            (r, "no scene: expected search, feed or similar")
            for r, s in enumerate(scenes)
            if s is not None and s not in SCENES
        ]
    if target in ("user_id", "session_id", "request_id", "query", "item_id"):
        return pa.array([plain_text(v) if not isinstance(v, str) else v for v in values], pa.string()), []
    numbers, bad = parse_numbers([repr(v) if isinstance(v, float) and v == v else v for v in values])
    faults = [(int(r), "not a number") for r in np.flatnonzero(bad)]
    missing = np.isnan(numbers)
    if target == "propensity":
        return pa.array(numbers, mask=missing), faults
    if target == "price_cents" and price_style(column, values)[0] != "cents":
        numbers = np.rint(numbers * 100)
    kind = EVENTS.field(target).type
    limit = 2**31 - 1 if kind == pa.int32() else 2**53
    faults += [
        (int(r), f"number outside what {target} can hold")
        for r in np.flatnonzero(np.abs(np.where(missing, 0, numbers)) > limit)
    ]
    safe = np.where(missing | (np.abs(numbers) > limit), 0, numbers)
    return pa.array(safe.astype(np.int64), mask=missing).cast(kind), faults
