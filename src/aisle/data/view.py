"""View: the shop as it was at one moment.  All that ``fit`` may see.

Legend: I items, N questions, U users.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aisle.core.errors import UnknownName, nearest
from aisle.core.lists import Array, ItemLists
from aisle.core.shop import Counter, Events, Judgments
from aisle.data.counters import ItemCounter, UserHistories, with_query_ids
from aisle.data.event_columns import events_of, no_events
from aisle.data.items import ItemTable, indices_of
from aisle.data.judged import no_judgments
from aisle.data.schema import PRICES, complete
from aisle.data.splits import split_time

PARTS = ("train", "validation")


class View:
    """Implements ``core.shop.ShopView``: everything strictly before ``until_s``.

    items      the catalogue; a row created later is not live and has no content, its id and row number stay
    events     the log, as a table of the events schema or as columns
    judgments  ``train`` and ``validation``
    prices     the price history; where one is kept, prices and stock of a past view come from it alone
    """

    def __init__(
        self,
        items: ItemTable,
        events: Events | pa.Table | None = None,
        judgments: Mapping[str, Judgments] | None = None,
        until_s: float = float("inf"),
        *,
        prices: pa.Table | None = None,
    ) -> None:
        self.until_s = until_s
        self.items = items if np.isinf(until_s) else _items_at(items, prices, until_s)
        self._given = events
        self._judgments = dict(judgments or {})
        for part in self._judgments:
            _check_part(part)
        self._counters: dict[Counter, ItemCounter] = {}

    @property
    def generation(self) -> int:
        return self.items.generation

    @cached_property
    def events(self) -> Events:
        """The log before ``until_s`` in time order."""
        if self._given is None:
            return no_events()
        if isinstance(self._given, Events):
            return split_time(_in_time_order(self._given), self.until_s)[0]
        return events_of(self._given, self.items, self.until_s)

    def judgments(self, part: str = "train") -> Judgments:
        """Empty when there are none.  Raises UnknownName for a part other than train and validation."""
        _check_part(part)
        return self._judgments.get(part) or no_judgments(self.generation)

    def counts(self, counter: Counter, rows: Array, at_s: Array | float, query: Array | None = None) -> Array:
        """float64[N]: the counter of each row (for its query, int64[N] by ``query_ids``) strictly before its time.

        A time after ``until_s`` means ``until_s``; an infinite one means just after the last event.
        Raises UnknownName for an action that does not exist, SettingError for a window or half life not above 0.
        """
        if counter not in self._counters:
            self._counters[counter] = ItemCounter(counter, self._of_queries if counter.per_query else self.events)
        return self._counters[counter].at(np.asarray(rows), self._times(at_s, len(rows)), query)

    @cached_property
    def _of_queries(self) -> Events:
        return with_query_ids(self.events)

    def histories(self, users: Array, at_s: Array | float, limit: int = 50) -> ItemLists:
        """U lists, oldest first, of the last ``limit`` things each user did strictly before the time.

        Columns ``action`` int8 and ``time_s`` float64.  Impressions are not what a user did; -1 did nothing.
        """
        return self._histories.at(np.asarray(users), self._times(at_s, len(users)), limit, self.generation)

    @cached_property
    def _histories(self) -> UserHistories:
        return UserHistories(self.events)

    def _times(self, at_s: Array | float, count: int) -> Array:
        times = np.minimum(np.broadcast_to(np.asarray(at_s, np.float64), (count,)), self.until_s)
        last = self.events["time_s"][-1] if len(self.events) else 0.0
        return np.where(np.isposinf(times), np.nextafter(last, np.inf), times)


def _check_part(part: str) -> None:
    if part not in PARTS:
        raise UnknownName(f"no judgments {part!r}{nearest(part, PARTS)}")


def _in_time_order(events: Events) -> Events:
    time_s = events["time_s"]
    return events if np.all(time_s[1:] >= time_s[:-1]) else events.take(np.argsort(time_s, kind="stable"))


def _items_at(items: ItemTable, prices: pa.Table | None, until_s: float) -> ItemTable:
    """The catalogue without what was created later, at the prices of that time."""
    created = items.number("created_s")
    later = created >= until_s
    if later.any():
        rows = pa.array(np.arange(items.num_rows), mask=later)
        seen = items.table.take(rows).set_column(0, items.table.schema.field(0), items.table["item_id"])
        items = items.over(seen).hidden(later)
    if prices is None:
        return items
    return items.over(_with_prices(items.table, items, prices, until_s, later))


def _with_prices(table: pa.Table, items: ItemTable, prices: pa.Table, until_s: float, later: Array) -> pa.Table:
    """The table with ``price_cents`` and ``stock`` as the history has them; null where it says nothing yet."""
    prices = complete(prices, PRICES)
    prices = prices.filter(pc.less(prices["time_s"], until_s))
    code, item_ids = indices_of(prices["item_id"])
    row = np.append(items.rows_of(item_ids), np.int32(-1))[code]
    order = np.lexsort((prices["time_s"].to_numpy(), row))
    newest = np.full(items.num_rows, -1, np.int64)
    order = order[row[order] >= 0]
    # In row and time order the last assignment to a row is its newest price.
    newest[row[order]] = order
    newest[later] = -1
    place = pa.array(newest, mask=newest < 0)
    for name in ("price_cents", "stock"):
        at = table.column_names.index(name)
        table = table.set_column(at, table.schema.field(at), prices[name].take(place))
    return table
