"""Filters, facets and sort orders over one state of the catalogue; replaced whole when rows change.

Legend: I items, N chosen rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from aisle.core.filters import Sort
from aisle.core.lists import Array, mask_of_size
from aisle.core.requests import Requests
from aisle.core.shop import Items
from aisle.engine.embedded.facets import FacetCounter
from aisle.engine.embedded.filters import Fields, compile_filters


class Columns:
    """What a request compiles, counts and sorts by.  Everything is made when first asked for."""

    def __init__(self, items: Items) -> None:
        self.items = items
        self._fields = Fields(items)
        self._ranks: dict[str, Array] = {}

    def followed(self, items: Items, rows: Array) -> Columns:
        """The same for a catalogue in which these rows are new or different."""
        return Columns(items)

    def compile(self, requests: Requests) -> Requests:
        """The same requests with ``allowed``: each distinct filter once, live rows only."""
        return replace(requests, allowed=compile_filters(requests.filters, self._fields))

    def facets(
        self, requests: Requests, match: Sequence[Array | None], fields: Sequence[str]
    ) -> list[Mapping[str, Any]]:
        """Facet counts of each request over its match set (None: every row), by products.

        Each facet is counted without its own selection.  Raises SettingError for a field that no item has.
        """
        # A match set may be of the catalogue a moment before, or after.
        sized = (None if rows is None else mask_of_size(rows, self.items.num_rows) for rows in match)
        return [self._counter.count(filter, rows, fields) for filter, rows in zip(requests.filters, sized, strict=True)]

    def num_groups(self, rows_I: Array) -> int:
        """Products (variants counted once) among these rows, bool[I]."""
        return self._counter.num_groups(rows_I)

    def order(self, rows: Array, sort: Sort | None) -> Array:
        """``rows`` (int32[N]) by a column, missing last, ties by row; without a sort by popularity (review count).

        Raises SettingError for a field that no item has.
        """
        if sort is None:
            return rows[np.lexsort((rows, -self._popularity[rows]))]
        if sort.field not in self._ranks:
            self._ranks[sort.field] = self._rank(sort.field)
        key = self._ranks[sort.field][rows]
        # A missing value is NaN, and NaN sorts last either way.
        return rows[np.lexsort((rows, -key if sort.descending else key))]

    @cached_property
    def _counter(self) -> FacetCounter:
        return FacetCounter(self._fields)

    @cached_property
    def _popularity(self) -> Array:
        count: Array = np.nan_to_num(self.items.number("rating_count"))
        return count

    def _rank(self, field: str) -> Array:
        """float64[I] that orders as the field does, NaN where missing; a text by its first label, in any case."""
        if field == "active" or self._fields.is_numeric(field):
            return self._fields.number(field)
        codes, labels = self._fields.codes(field)
        in_order = sorted(range(len(labels)), key=lambda code: labels[code].casefold())
        rank = np.empty(len(labels))
        rank[np.array(in_order, np.int64)] = np.arange(len(labels))
        out = np.full(len(codes), np.nan)
        first = codes.splits[:-1]
        some = np.diff(codes.splits) > 0
        out[some] = rank[codes.values[first[some]]]
        return out
