"""Filters, facets and sort orders over one state of the catalogue; replaced whole when rows change.

Legend: I items, N chosen rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from aisle.core.filters import Sort
from aisle.core.lists import Array, mask_of_size
from aisle.core.requests import Requests
from aisle.core.shop import Items, Tally
from aisle.engine.embedded.analysis import unfolded
from aisle.engine.embedded.facets import FacetCounter
from aisle.engine.embedded.filters import Fields, compile_filters
from aisle.engine.embedded.orders import Order

SEARCHED = "~"
"""Between a field and how values of it begin."""
POPULAR = Sort("rating_count", descending=True)
"""The engine's own order: most reviewed first, unknown last."""


class Columns:
    """What a request compiles, counts and sorts by.  Everything is made when first asked for."""

    def __init__(
        self,
        items: Items,
        fields: Fields | None = None,
        orders: dict[Sort, Order] | None = None,
        counter: FacetCounter | None = None,
    ) -> None:
        self.items = items
        self._fields = fields or Fields(items)
        self._orders = {} if orders is None else orders
        self._counter = counter or FacetCounter(self._fields)

    def followed(self, items: Items, rows: Array) -> Columns:
        """The same for a catalogue in which these rows are new or different; what was made of other columns is kept."""
        fields = self._fields.followed(items)
        return Columns(items, fields, dict(self._orders), self._counter.followed(fields))

    def prepare(self) -> None:
        """Make now, of a catalogue that changed, what was asked of it before: orders, and facets of all its products."""
        for sort in list(self._orders):
            self.order(np.zeros(0, np.int32), sort)
        self._counter.prepare()

    def compile(self, requests: Requests) -> Requests:
        """The same requests with ``allowed``: each distinct filter once, live rows only."""
        return replace(requests, allowed=compile_filters(requests.filters, self._fields))

    def count(
        self,
        requests: Requests,
        match: Sequence[Array | None],
        fields: Sequence[str],
        also: Callable[[str], Sequence[str]] = lambda text: [unfolded(text)],
    ) -> list[Tally]:
        """Rows, products and facets of each request over its match set (bool[I], None: every row) under its filter.

        Each facet is counted without its own selection.  ``brand~aco`` stands for the brands with a word that begins with
        "aco", or with what means the same: ``also`` says what that is.

        Raises SettingError for a field that no item has.
        """
        plain = [field for field in fields if SEARCHED not in field]
        searched = [(field, *field.split(SEARCHED, 1)) for field in fields if SEARCHED in field]
        out = []
        for filter, listed in zip(requests.filters, match, strict=True):
            # A match set may be of the catalogue a moment before, or after.  Counts of every row are kept.
            whole = listed is None or listed.all()
            rows = None if listed is None or whole else mask_of_size(listed, self.items.num_rows)
            counts = self._counter.count(filter, rows, plain)
            found = dict(counts.facets)
            for field, name, text in searched:
                found[field] = self._counter.values_like(filter, rows, name, also(text))
            out.append(counts._replace(facets={field: found[field] for field in fields}))
        return out

    def order(self, rows: Array, sort: Sort | None) -> Array:
        """``rows`` (int32[N]) by a column, missing last, ties by row; without a sort by popularity (review count).

        Raises SettingError for a field that no item has.
        """
        sort = sort or POPULAR
        known, column = self._orders.get(sort), self._sort_column(sort.field)
        order = Order.of(column, sort.descending) if known is None else known.followed(column)
        self._orders[sort] = order
        return order.sorted(rows)

    def _sort_column(self, field: str) -> Array:
        """float64[I] that orders as the field does, NaN where missing; a text by its first label, in any case."""
        if field == "active" or self._fields.is_numeric(field):
            return self._fields.number(field)
        return self._fields.ranks(field)
