"""Counters of events by item and look-ups by user, as of any time: sorted once, answered by binary search.

Legend: E events of the counted kind, N questions (key, time), U users.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aisle.core.errors import ContractError, SettingError, UnknownName, nearest
from aisle.core.lists import Array, ItemLists, splits_of
from aisle.core.requests import Action, query_ids
from aisle.core.shop import Counter, Events

QUERY_MIX, ITEM_MIX = np.int64(0x9E3779B97F4A7C1), np.int64(0x2545F4914F6CDD1D)
LOW_BITS = np.int64((1 << 62) - 1)


class TimeIndex:
    """Events grouped by a key (item or user) and in time order within it.

    order  int64[E]  the events so arranged
    """

    def __init__(self, key: Array, time_s: Array) -> None:
        self.order = np.lexsort((time_s, key))
        self.time_s = time_s[self.order]
        self._keys = np.unique(key)
        self._keys_and_end = np.append(self._keys, 0)
        self._times = np.unique(time_s)
        self._place = self._joined(np.searchsorted(self._keys, key), np.searchsorted(self._times, time_s))[self.order]

    def _joined(self, key_rank: Array, time_rank: Array) -> Array:
        return key_rank.astype(np.int64) * (len(self._times) + 1) + time_rank

    def start(self, key: Array) -> Array:
        """int64[N]: place of the first event of each key, or where it would stand."""
        return np.searchsorted(
            self._place, self._joined(np.searchsorted(self._keys, key), np.zeros(len(key), np.int64))
        )

    def before(self, key: Array, time_s: Array) -> Array:
        """int64[N]: place just after the last event of each key strictly before its time."""
        rank = np.searchsorted(self._keys, key)
        known = (self._keys_and_end[rank] == key) & (rank < len(self._keys))
        time_rank = np.where(known, np.searchsorted(self._times, time_s, side="left"), 0)
        return np.searchsorted(self._place, self._joined(rank, time_rank))


def with_query_ids(events: Events) -> Events:
    """The events with ``query_id`` int64[E], the hash of each one's query, which a counter per query reads."""
    ids = np.append(query_ids(events.queries), np.int64(-1))
    return Events({**events.columns, "query_id": ids[events["query"]]}, events.queries)


class ItemCounter:
    """One declared counter over a log; a question is (item, time), and its query where the counter is per query, and counts
    events in [time - window, time).

    Raises UnknownName for an action that does not exist, SettingError for a window or half life not above 0.
    """

    def __init__(self, counter: Counter, events: Events) -> None:
        _check(counter)
        self.counter = counter
        counted = (events["action"] == Action[counter.action.upper()]) & (events["item"] >= 0)
        if counter.per_query:
            counted &= events["query_id"] >= 0
        rows = np.flatnonzero(counted)
        key, time_s = events["item"][rows], events["time_s"][rows]
        if counter.per_query:
            key = _paired(events["query_id"][rows], key)
        self._index = TimeIndex(key, time_s)
        self._decayed = _decayed_sums(key[self._index.order], self._index.time_s, counter.half_life_s)

    def at(self, rows: Array, time_s: Array, query: Array | None = None) -> Array:
        """float64[N]: the count of each row as of each time; a decayed one weighs an event 2^(-age / half life)."""
        if self.counter.per_query:
            if query is None:
                raise ContractError(
                    f"{self.counter.name!r} counts per query; give query=query_ids(requests.query)[owner]"
                )
            rows = np.where(query >= 0, _paired(query, rows), -1)
        begin = self._index.start(rows)
        high = self._index.before(rows, time_s)
        low = self._index.before(rows, time_s - self.counter.window_s)
        if np.isinf(self.counter.half_life_s):
            return (high - low).astype(np.float64)
        found = self._value(begin, high, time_s) - self._value(begin, low, time_s)
        return np.where(high > low, np.maximum(found, 0.0), 0.0)

    def _value(self, begin: Array, end: Array, time_s: Array) -> Array:
        """What the events in [begin, end) of one item weigh as of a time."""
        out = np.zeros(len(end))
        some = end > begin
        last = end[some] - 1
        age_s = time_s[some] - self._index.time_s[last]
        out[some] = self._decayed[last] * np.exp2(-age_s / self.counter.half_life_s)
        return out


def _paired(query: Array, item: Array) -> Array:
    """int64[N], 0 or more: one number for a query and an item."""
    with np.errstate(over="ignore"):
        mixed: Array = (query * QUERY_MIX ^ item.astype(np.int64) * ITEM_MIX) & LOW_BITS
    return mixed


def _check(counter: Counter) -> None:
    known = [a.name.lower() for a in Action]
    if counter.action not in known:
        raise UnknownName(f"counter {counter.name!r} counts {counter.action!r}{nearest(counter.action, known)}")
    if not (counter.window_s > 0 and counter.half_life_s > 0):
        raise SettingError(
            f"counter {counter.name!r} has window_s {counter.window_s} and half_life_s {counter.half_life_s}; "
            "give seconds above 0, or inf for no limit"
        )


def _decayed_sums(item: Array, time_s: Array, half_life_s: float) -> Array:
    """float64[E]: what all events of the item up to each one weigh at that one's moment.

    sum_j<=i 2^(-(t_i - t_j) / half life) by doubling strides: every factor is at most 1, so nothing overflows
    however long the log, which a prefix sum of growing powers would.
    """
    out = np.ones(len(item))
    if np.isinf(half_life_s) or not len(item):
        return out
    longest = int(np.bincount(np.unique(item, return_inverse=True)[1]).max())
    stride = 1
    while stride < longest:
        same = np.flatnonzero(item[stride:] == item[:-stride]) + stride
        age_s = time_s[same] - time_s[same - stride]
        out[same] += out[same - stride] * np.exp2(-age_s / half_life_s)
        stride *= 2
    return out


def remembered(events: Events) -> Array:
    """bool[E]: what counts as something a user did: all actions of known users but impressions."""
    did: Array = (events["user"] >= 0) & (events["action"] != Action.IMPRESSION)
    return did


class UserHistories:
    """What each user did with known items: all actions but impressions."""

    def __init__(self, events: Events) -> None:
        rows = np.flatnonzero(remembered(events) & (events["item"] >= 0))
        self._index = TimeIndex(events["user"][rows], events["time_s"][rows])
        kept = rows[self._index.order]
        self._item = events["item"][kept]
        self._columns = {"action": events["action"][kept], "time_s": self._index.time_s}

    def at(self, users: Array, time_s: Array, limit: int, generation: int | None = None) -> ItemLists:
        """U lists, oldest first: the last ``limit`` actions strictly before each time."""
        end = self._index.before(users, time_s)
        begin = np.maximum(self._index.start(users), end - limit)
        splits = splits_of(np.maximum(end - begin, 0))
        take = np.arange(splits[-1]) + np.repeat(begin - splits[:-1], np.diff(splits))
        columns = {n: c[take] for n, c in self._columns.items()}
        return ItemLists(self._item[take], splits, columns, generation)


def latest(parts: Sequence[ItemLists], num_users: int, limit: int, generation: int | None = None) -> ItemLists:
    """U lists, oldest first: the last ``limit`` of several parts' histories of the same users.

    At one moment an earlier part's actions come first.  Any partition of the events gives what ``UserHistories`` gives over all.
    """
    if not parts:
        none: dict[str, Array] = {"action": np.zeros(0, np.int8), "time_s": np.zeros(0)}
        return ItemLists.empty(num_users, none, generation)
    owner = np.concatenate([part.owner for part in parts])
    time_s = np.concatenate([part["time_s"] for part in parts])
    order = np.lexsort((time_s, owner))
    count_U = np.bincount(owner, minlength=num_users)
    from_end = np.repeat(np.cumsum(count_U), count_U) - np.arange(len(order))
    take = order[from_end <= limit]
    columns = {"action": np.concatenate([part["action"] for part in parts])[take], "time_s": time_s[take]}
    item = np.concatenate([part.item for part in parts])[take]
    return ItemLists(item, splits_of(np.minimum(count_U, limit)), columns, generation)
