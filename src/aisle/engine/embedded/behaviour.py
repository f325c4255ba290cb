"""Behaviour online: declared counters (``core.shop.Counter``) and users' histories over events as they are accepted, as of any
moment.

Counts and decayed sums add up over any partition of the events, and the latest of several parts' latest are the latest of all.
So the store is a few sorted runs, each answering by the very code of the offline join (``data.counters``): new events make a
small run, runs of like size are merged.  Late events need no care.  Whole counts and histories equal the offline ones exactly,
decayed sums to the rounding of a sum.

All of it comes from the shop's segments and its log, so a restart, after ``kill -9`` too, finds the same numbers.

Legend: E events, N questions (row, time), U users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Condition, Event, Lock, Thread
from time import monotonic

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aisle.core.errors import StateError, UnknownName, nearest
from aisle.core.lists import Array, ItemLists
from aisle.core.requests import Action
from aisle.core.shop import Counter, Events, Items
from aisle.data.counters import ItemCounter, UserHistories, latest, remembered, with_query_ids
from aisle.data.event_columns import events_of
from aisle.data.schema import EVENTS, complete
from aisle.data.shop import Shop
from aisle.engine.embedded.log import Log

LOOK_S = 0.2
"""How long new events wait at most to be looked for; a log in the same process says at once that there are some."""
RETRY_S = 1.0
MOST_AT_ONCE = 100_000
"""Events that are sorted while newer ones wait: a twentieth of a second a counter."""
MOST_UNKNOWN = 10_000
"""Events of items that are not in the catalogue yet: the latest so many are counted once their item is there."""
COLUMNS = ("time_s", "user", "item", "action", "query_id")


class _Run:
    """Some events, every declared counter over them and, where they are kept, users' histories, sorted before anyone asks."""

    def __init__(self, counters: Iterable[Counter], events: Events, *, remember: bool) -> None:
        self.events = events
        self._counters = {counter: ItemCounter(counter, events) for counter in counters}
        self._histories = UserHistories(events) if remember else None

    def __len__(self) -> int:
        return len(self.events)

    def at(self, counter: Counter, rows: Array, at_s: Array, query: Array | None) -> Array:
        return self._counters[counter].at(rows, at_s, query)

    def histories(self, users: Array, at_s: Array, limit: int) -> ItemLists | None:
        return None if self._histories is None else self._histories.at(users, at_s, limit)

    def joined(self, later: _Run) -> _Run:
        """Both in one."""
        columns = {name: np.concatenate([self.events[name], later.events[name]]) for name in COLUMNS}
        return _Run(self._counters, Events(columns), remember=self._histories is not None)


class OnlineBehaviour:
    """Implements ``core.shop.Counts`` for declared counters of one shop, and keeps what its users did where it is to
    ``remember``.  One thread feeds it, any number ask."""

    def __init__(
        self, counters: Iterable[Counter], items: Callable[[], Items], *, remember: bool = False, sequence: int = 0
    ) -> None:
        self.counters, self.remembers = frozenset(counters), remember
        self.on_moved: Callable[[], object] = lambda: None
        """Called in the feeding thread when more of the log is counted."""
        self._items = items
        self._actions = np.unique([int(Action[counter.action.upper()]) for counter in self.counters])
        self._runs: tuple[_Run, ...] = ()
        self._unknown = EVENTS.empty_table()
        self._seen: Items | None = None
        self._sequence = sequence
        self._feeding = Lock()
        self._moved = Condition()
        self._stop = Event()
        self._thread: Thread | None = None
        self._joining: tuple[_Run, ...] = ()
        self._error: str | None = None

    @classmethod
    def open(
        cls, counters: Iterable[Counter], shop: Shop, log: Log, items: Callable[[], Items], *, remember: bool = False
    ) -> OnlineBehaviour:
        """Everything that happened: the shop's segments, and what the log accepted after them."""
        # The log forgets only what holds no event beyond the segments, so this is read first.
        floor = log.floor
        table, through = shop.events_marked()
        store = cls(counters, items, remember=remember, sequence=max(through, floor))
        store.add(table, sequence=store.sequence)
        store.follow(log)
        return store

    @property
    def sequence(self) -> int:
        """The last log record that is counted."""
        return self._sequence

    @property
    def error(self) -> str | None:
        """Why the log cannot be followed at the moment."""
        return self._error

    @property
    def num_events(self) -> int:
        """Events held: counted or remembered, with known items."""
        return sum(len(run.events) for run in self._runs)

    def counts(self, counter: Counter, rows: Array, at_s: Array | float, query: Array | None = None) -> Array:
        """float64[N]: the counter of each row (for its query, int64[N]) strictly before its time.

        Raises UnknownName for a counter that was not declared when the store was opened.
        """
        if counter not in self.counters:
            hint = nearest(counter.name, [known.name for known in self.counters])
            raise UnknownName(f"{counter} is not counted{hint}; a method declares what it asks for in 'counters'")
        rows = np.asarray(rows)
        times = np.broadcast_to(np.asarray(at_s, np.float64), rows.shape)
        out = np.zeros(len(rows))
        for run in self._runs:
            out += run.at(counter, rows, times, query)
        return out

    def histories(self, users: Array, at_s: Array | float, limit: int = 50) -> ItemLists:
        """U lists, oldest first: the last ``limit`` things each user (int64 hash) did strictly before the time.

        Columns ``action`` int8 and ``time_s`` float64, as ``ShopView.histories``.  Raises StateError where none are kept.
        """
        if not self.remembers:
            raise StateError("no histories are kept here; open the store with remember=True")
        users = np.asarray(users)
        times = np.broadcast_to(np.asarray(at_s, np.float64), users.shape)
        found = [part for run in self._runs if (part := run.histories(users, times, limit)) is not None]
        return latest(found, len(users), limit, self._items().generation)

    def add(self, table: pa.Table, *, sequence: int) -> None:
        """Count these events, a table of the events schema; the next question sees them."""
        with self._feeding:
            items = self._items()
            if self._unknown.num_rows and items is not self._seen:
                table = pa.concat_tables([self._unknown, complete(table, EVENTS)])
                self._unknown = EVENTS.empty_table()
            self._seen = items
            if table.num_rows:
                self._take_in(complete(table, EVENTS), items)
            self._sequence = max(self._sequence, sequence)
        self.on_moved()
        with self._moved:
            self._moved.notify_all()

    def _take_in(self, table: pa.Table, items: Items) -> None:
        events = with_query_ids(events_of(table, items))
        wanted = np.isin(events["action"], self._actions)
        if self.remembers:
            wanted |= remembered(events)
        rows = np.flatnonzero(wanted & (events["item"] >= 0))
        if (events["item"] < 0).any():
            unknown = pa.concat_tables([self._unknown, _not_in(table, items)]).combine_chunks()
            self._unknown = unknown.slice(max(0, unknown.num_rows - MOST_UNKNOWN))
        if len(rows):
            chosen = Events({name: events[name][rows] for name in COLUMNS})
            self._runs = (*self._runs, _Run(self.counters, chosen, remember=self.remembers))
            self._tidy()

    def _tidy(self) -> None:
        """Join neighbours while one is not twice as large as the next: few runs, and each event is sorted log E times.

        Large ones are joined in a thread of their own, so that events which come meanwhile count at once.
        """
        while (at := self._due()) is not None:
            a, b = self._runs[at : at + 2]
            if len(a) + len(b) > MOST_AT_ONCE:
                self._joining = (a, b)
                Thread(target=self._join, args=(a, b), name="aisle-behaviour-join", daemon=True).start()
            else:
                self._runs = (*self._runs[:at], a.joined(b), *self._runs[at + 2 :])

    def _due(self) -> int | None:
        """Place of the last run that is to be joined with the one behind it now; one large pair at a time."""
        for at in reversed(range(len(self._runs) - 1)):
            a, b = self._runs[at : at + 2]
            is_free = a not in self._joining and b not in self._joining
            may_start = not self._joining or len(a) + len(b) <= MOST_AT_ONCE
            if len(a) <= 2 * len(b) and is_free and may_start:
                return at
        return None

    def _join(self, a: _Run, b: _Run) -> None:
        joined = a.joined(b)
        with self._feeding:
            at = self._runs.index(a)
            self._runs = (*self._runs[:at], joined, *self._runs[at + 2 :])
            self._joining = ()
            self._tidy()

    def follow(self, log: Log) -> int:
        """Count what the log has accepted since.  Returns how many events that were."""
        until = log.last_sequence
        if until <= self._sequence:
            return 0
        table = log.events_table(after=self._sequence, until=until)
        self.add(table, sequence=until)
        return int(table.num_rows)

    def start(self, log: Log) -> OnlineBehaviour:
        """Follow the log in a thread, until ``close``: an event counts a fraction of a second after it was accepted."""
        self._thread = Thread(target=self._live, args=(log,), name="aisle-behaviour", daemon=True)
        self._thread.start()
        return self

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def wait(self, sequence: int, timeout_s: float) -> bool:
        """True as soon as this record is counted.  Raises StateError when the log cannot be followed."""
        until = monotonic() + timeout_s
        with self._moved:
            while self._sequence < sequence:
                if self._error is not None:
                    raise StateError(f"what is counted could not follow the log: {self._error}")
                left = until - monotonic()
                if left <= 0:
                    return False
                self._moved.wait(left)
        return True

    def _live(self, log: Log) -> None:
        while not self._stop.is_set():
            try:
                if log.wait_beyond(self._sequence, LOOK_S):
                    self.follow(log)
                self._error = None
            except Exception as error:  # counted up to here; tried again
                self._error = f"{type(error).__name__}: {error}"
                with self._moved:
                    self._moved.notify_all()
                self._stop.wait(RETRY_S)


class LiveBehaviour:
    """Implements ``core.shop.Counts`` for whatever plan a shop is served with: ``declare`` its counters before it answers."""

    def __init__(self, shop: Shop, log: Log, items: Callable[[], Items]) -> None:
        self._shop, self._log, self._items = shop, log, items
        self._store: OnlineBehaviour | None = None
        self.on_moved: Callable[[], object] = lambda: None
        """Called in the feeding thread when more of the log is counted."""

    @property
    def store(self) -> OnlineBehaviour | None:
        """What counts now; None where nothing was declared."""
        return self._store

    def declare(self, counters: Iterable[Counter], *, remember: bool = False) -> None:
        """Count these too from now on, and with ``remember`` keep histories; returns once everything so far is in."""
        before = self._store
        wanted = frozenset(counters) | (before.counters if before else frozenset())
        remember = remember or (before is not None and before.remembers)
        if before is None and not wanted and not remember:
            return
        if before is not None and (wanted, remember) == (before.counters, before.remembers):
            return
        store = OnlineBehaviour.open(wanted, self._shop, self._log, self._items, remember=remember)
        store.on_moved = lambda: self.on_moved()
        self._store = store.start(self._log)
        if before is not None:
            before.close()

    def counts(self, counter: Counter, rows: Array, at_s: Array | float, query: Array | None = None) -> Array:
        """float64[N]: see ``OnlineBehaviour.counts``."""
        if self._store is None:
            raise UnknownName(f"{counter} is not counted; a method declares what it asks for in 'counters'")
        return self._store.counts(counter, rows, at_s, query)

    def history(self, user: int, at_s: float) -> ItemLists | None:
        """One list: what a user did strictly before the time, as far as the log is taken in.  None: not kept (yet)."""
        store = self._store
        return None if store is None or not store.remembers else store.histories(np.array([user]), at_s)

    def close(self) -> None:
        """Stop following the log; whoever still asks gets what was counted so far."""
        if self._store is not None:
            self._store.close()


def _not_in(table: pa.Table, items: Items) -> pa.Table:
    """The events that name an item which the catalogue does not have."""
    distinct = pc.unique(table["item_id"].combine_chunks()).drop_null()
    missing = distinct.filter(pa.array(items.rows_of(distinct.to_pylist()) < 0))
    missing = missing.filter(pc.not_equal(missing, ""))
    return table.filter(pc.is_in(table["item_id"], value_set=missing))
