"""The event log as columns: ids become hashes, row numbers and codes."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aisle.core.errors import DataError, nearest
from aisle.core.lists import Array
from aisle.core.requests import Action, Scene, hashed
from aisle.core.shop import Events, Items
from aisle.data.items import ItemTable, indices_of
from aisle.data.schema import CATALOGUE, EVENTS, complete


def events_of(table: pa.Table, items: Items, until_s: float = float("inf")) -> Events:
    """The events strictly before ``until_s``, in time order (those of one moment in the table's order).

    Nothing of a later event is looked at.  Raises DataError for an action or scene that does not exist.
    """
    table = complete(table, EVENTS)
    table = table.filter(pc.less(table["time_s"], until_s))
    table = table.take(pa.array(np.argsort(table["time_s"].to_numpy(), kind="stable")))
    query, queries = indices_of(table["query"])
    item, item_ids = indices_of(table["item_id"])
    return Events(
        {
            "time_s": table["time_s"].to_numpy(),
            "user": _hashes(table["user_id"]),
            "session": _hashes(table["session_id"]),
            "request": _hashes(table["request_id"]),
            "scene": _scenes(table["scene"], query),
            "query": query,
            "item": np.append(items.rows_of(item_ids), np.int32(-1))[item],
            "position": _whole(table["position"], np.int32),
            "action": _enumerated(table["action"], Action, "action"),
            "quantity": _whole(table["quantity"], np.int32),
            "price_cents": _whole(table["price_cents"], np.int64),
            "propensity": pc.fill_null(table["propensity"], np.nan).to_numpy(),
        },
        queries,
    )


def no_events() -> Events:
    """An empty log with every column."""
    return events_of(EVENTS.empty_table(), ItemTable(CATALOGUE.empty_table()))


def _hashes(column: pa.ChunkedArray) -> Array:
    """int64 hash of every id; each distinct id is hashed once."""
    code, names = indices_of(column)
    return np.array([*map(hashed, names), -1], np.int64)[code]


def _whole(column: pa.ChunkedArray, dtype: type) -> Array:
    numbers: Array = pc.fill_null(column, -1).to_numpy().astype(dtype, copy=False)
    return numbers


def _enumerated(column: pa.ChunkedArray, kind: type[IntEnum], what: str) -> Array:
    """int8 numbers of the names, -1 where there is none."""
    code, names = indices_of(column)
    known = {member.name.lower(): int(member) for member in kind}
    for name in names:
        if name not in known:
            raise DataError(f"{what} {name!r} is unknown{nearest(name, known)}")
    return np.array([*(known[n] for n in names), -1], np.int8)[code]


def _scenes(column: pa.ChunkedArray, query: Array) -> Array:
    """A page without a scene was a search when it had a query, else a feed."""
    scene = _enumerated(column, Scene, "scene")
    guess = np.where(query >= 0, Scene.SEARCH, Scene.FEED).astype(np.int8)
    return np.where(scene < 0, guess, scene)
