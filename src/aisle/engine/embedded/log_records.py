"""What a log record holds: one JSON object, checked before it is accepted, so that it can always be applied later."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from aisle.core.errors import DataError, UnknownName, nearest
from aisle.core.requests import Action, Scene
from aisle.data.schema import CATALOGUE, EVENTS

KINDS = ("upsert", "delete", "event", "request", "update")
"""The kinds of record; on disk a kind is its place here, from 1."""
ITEM_KINDS = ("upsert", "delete", "update")
"""Those that change the catalogue."""

ACTIONS = frozenset(action.name.lower() for action in Action)
AMOUNTS = ("price_cents", "list_price_cents", "rating_count")
"""Columns in which a number below 0 is a mistake."""
SCENES = frozenset(scene.name.lower() for scene in Scene)


class Record(NamedTuple):
    """One accepted record.  ``time_s`` is the clock when it was accepted; only ``sequence`` gives the order."""

    sequence: int
    kind: str
    time_s: float
    value: dict[str, Any]


def kind_number(kind: str) -> int:
    """Raises UnknownName for a kind that does not exist."""
    if kind not in KINDS:
        raise UnknownName(f"no record kind {kind!r}{nearest(kind, KINDS)}")
    return 1 + KINDS.index(kind)


def checksum(sequence: int, kind: int, time_s: float, payload: bytes) -> int:
    """CRC-32 of everything in a record; SQLite itself does not notice a flipped bit in a row."""
    return zlib.crc32(payload, zlib.crc32(f"{sequence} {kind} {time_s!r}".encode()))


def encoded(kind: str, records: Sequence[Mapping[str, Any] | str] | pa.Table) -> list[bytes]:
    """The payloads of records of one kind: JSON, without nulls but in an update.

    upsert   a product by the catalogue's columns, whole: what it leaves out is empty from now on
    update   an ``item_id`` and the columns that change (a null empties one); nothing where there is no such item
    delete   an item id, or ``{"item_id": ...}``
    event    a shopper's action by the event columns; ``extra`` may be a mapping
    request  any JSON object

    Raises DataError for a record that could not be applied, UnknownName for a kind that does not exist.
    """
    kind_number(kind)
    rows = _rows(kind, records)
    if kind in ("upsert", "update"):
        _check_columns(rows, CATALOGUE)
        _check_ids(rows)
        _check_amounts(rows)
    elif kind == "delete":
        _check_ids(rows)
    elif kind == "event":
        _check_columns(rows, EVENTS)
        _check_events(rows)
    try:
        return [json.dumps(r, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() for r in rows]
    except (TypeError, ValueError) as error:
        raise DataError(
            f"a record of kind {kind!r} is no plain JSON ({error}); use text, finite numbers, lists"
        ) from None


def decoded(payloads: Iterable[bytes]) -> list[dict[str, Any]]:
    """The objects of many payloads, parsed at once."""
    values: list[dict[str, Any]] = json.loads(b"[" + b",".join(payloads) + b"]")
    return values


def catalogue_table(values: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Upserted products as a table with every catalogue column."""
    return pa.Table.from_pylist(list(values), schema=CATALOGUE)


def event_table(values: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Events as a table with every event column."""
    return pa.Table.from_pylist(list(values), schema=EVENTS)


def _rows(kind: str, records: Sequence[Mapping[str, Any] | str] | pa.Table) -> list[dict[str, Any]]:
    """Plain objects without nulls, texts of a deletion as ``item_id``, ``extra`` of an event as JSON text."""
    if isinstance(records, pa.Table):
        records = records.to_pylist()
    rows: list[dict[str, Any]] = []
    for record in records:
        if isinstance(record, str) and kind == "delete":
            record = {"item_id": record}
        if not isinstance(record, Mapping):
            raise DataError(f"a record of kind {kind!r} is {type(record).__name__}; expected a mapping of columns")
        # A null in an update empties a column; elsewhere it says nothing.
        row = {name: value for name, value in record.items() if value is not None or kind == "update"}
        if kind == "event" and isinstance(row.get("extra"), Mapping):
            row["extra"] = json.dumps(row["extra"], ensure_ascii=False)
        rows.append(row)
    return rows


def _check_columns(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> None:
    names = dict.fromkeys(name for row in rows for name in row)
    for name in names:
        if name not in schema.names:
            at = next(n for n, row in enumerate(rows) if name in row)
            raise DataError(f"{_place(rows, at)} has the column {name!r}{nearest(str(name), schema.names)}")
    # Column by column, as from_pylist does it, but only those that are filled: four times as fast for one event.
    for name in names:
        kind = schema.field(name).type
        values = [row.get(name) for row in rows]
        if _misfit(values, kind) is None:
            continue
        at = next(n for n, value in enumerate(values) if _misfit([value], kind) is not None)
        raise DataError(
            f"{_place(rows, at)} has a {name} that does not fit ({_misfit([values[at]], kind)}); expected {kind}, "
            "see docs/glossary.md"
        )


def _misfit(values: Sequence[Any], kind: pa.DataType) -> str | None:
    """Why these values are none of this type."""
    try:
        pa.array(values, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        return str(error)
    return None


def _place(rows: Sequence[Mapping[str, Any]], at: int) -> str:
    """How a person finds the record: its number among those sent, and its item."""
    item = rows[at].get("item_id")
    return f"record {at + 1} of {len(rows)}" + (f" (item {item!r})" if isinstance(item, str) and item else "")


def _check_ids(rows: Sequence[Mapping[str, Any]]) -> None:
    for at, row in enumerate(rows):
        if not isinstance(row.get("item_id"), str) or not row["item_id"]:
            raise DataError(
                f"{_place(rows, at)} has item_id {row.get('item_id')!r}; every item needs a text of its own"
            )


def _check_amounts(rows: Sequence[Mapping[str, Any]]) -> None:
    for name in AMOUNTS:
        for at, row in enumerate(rows):
            if (row.get(name) or 0) < 0:
                raise DataError(f"{_place(rows, at)} has {name} {row[name]}; give 0 or more, or leave it out")


def _check_events(rows: Sequence[Mapping[str, Any]]) -> None:
    for at, row in enumerate(rows):
        if "time_s" not in row:
            raise DataError(f"{_place(rows, at)} has no time_s; give unix seconds")
        if row.get("action") not in ACTIONS:
            known = nearest(str(row.get("action")), ACTIONS)
            raise DataError(f"{_place(rows, at)} has action {row.get('action')!r}{known}")
        if row.get("scene") and row["scene"] not in SCENES:
            raise DataError(f"{_place(rows, at)} has scene {row['scene']!r}{nearest(str(row['scene']), SCENES)}")
