"""Judgments as lists of catalogue rows, one list a query."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from aisle.core.lists import ItemLists, splits_of
from aisle.core.shop import Items, Judgments
from aisle.data.items import indices_of
from aisle.data.schema import JUDGMENTS, complete


def judgments_of(table: pa.Table, gains: Mapping[int, float], items: Items) -> Judgments:
    """Queries in the order in which the table first names them, their items by row number.

    Pairs whose item is not in the catalogue are left out (``unknown_items`` names them); of a pair that is
    judged twice the last grade counts.
    """
    table = complete(table, JUDGMENTS)
    code, queries = indices_of(table["query"], keep_empty=True)
    item_code, item_ids = indices_of(table["item_id"])
    row = items.rows_of(item_ids)[item_code]
    key = code.astype(np.int64) << 32 | np.maximum(row, 0)
    known = np.flatnonzero((row >= 0) & (item_code >= 0))
    last = known[::-1][np.unique(key[known][::-1], return_index=True)[1]]
    # All queries stay, also one whose items are all unknown: it was asked.
    first_seen, place = np.unique(code, return_index=True)
    rank = np.empty(len(queries), np.int64)
    rank[first_seen[np.argsort(place)]] = np.arange(len(queries))
    order = last[np.lexsort((row[last], rank[code[last]]))]
    splits = splits_of(np.bincount(rank[code[order]], minlength=len(queries)))
    grade = table["grade"].to_numpy()[order].astype(np.int32)
    names = [queries[n] for n in np.argsort(rank)]
    return Judgments(names, ItemLists(row[order], splits, {"grade": grade}, items.generation), dict(gains))


def unknown_items(table: pa.Table, items: Items) -> list[str]:
    """The judged ids that the catalogue does not have, sorted."""
    _, item_ids = indices_of(table["item_id"])
    return [item_ids[n] for n in np.flatnonzero(items.rows_of(item_ids) < 0)]


def no_judgments(generation: int | None = None) -> Judgments:
    return Judgments((), ItemLists.empty(0, {"grade": np.zeros(0, np.int32)}, generation), {})
