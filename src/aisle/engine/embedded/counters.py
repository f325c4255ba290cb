"""Counters online: the declarations of ``core.shop.Counter`` over events as they are accepted, as of any moment.

Counts and decayed sums add up over any partition of the events.  So the store is a few sorted runs, each answering by the very
code of the offline join (``data.counters``): new events make a small run, runs of like size are merged.  Late events need no
care.  Whole counts equal the offline ones exactly, decayed sums to the rounding of a sum.

All of it comes from the shop's segments and its log, so a restart, after ``kill -9`` too, finds the same numbers.

Legend: E events, N questions (row, time).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Condition, Event, Lock, Thread
from time import monotonic

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aisle.core.errors import StateError, UnknownName, nearest
from aisle.core.lists import Array
from aisle.core.requests import Action
from aisle.core.shop import Counter, Events, Items
from aisle.data.counters import ItemCounter
from aisle.data.event_columns import events_of
from aisle.data.schema import EVENTS, complete
from aisle.data.shop import Shop
from aisle.engine.embedded.log import Log

LOOK_S = 0.2
"""How long new events wait at most to be looked for; a log in the same process says at once that there are some."""
RETRY_S = 1.0
MOST_UNKNOWN = 10_000
"""Events of items that are not in the catalogue yet: the latest so many are counted once their item is there."""
COLUMNS = ("time_s", "item", "action")


class _Run:
    """Some events and the counters over them, each sorted when it is first asked for."""

    def __init__(self, events: Events) -> None:
        self.events = events
        self._counters: dict[Counter, ItemCounter] = {}

    def at(self, counter: Counter, rows: Array, at_s: Array) -> Array:
        if counter not in self._counters:
            self._counters[counter] = ItemCounter(counter, self.events)
        return self._counters[counter].at(rows, at_s)


class OnlineCounters:
    """Declared counters of one shop.  One thread feeds it, any number ask."""

    def __init__(self, counters: Iterable[Counter], items: Callable[[], Items], *, sequence: int = 0) -> None:
        self.counters = {counter.name: counter for counter in counters}
        self._items = items
        self._actions = np.unique([Action[c.action.upper()] for c in self.counters.values()])
        self._runs: tuple[_Run, ...] = ()
        self._unknown = EVENTS.empty_table()
        self._seen: Items | None = None
        self._sequence = sequence
        self._feeding = Lock()
        self._moved = Condition()
        self._stop = Event()
        self._thread: Thread | None = None
        self._error: str | None = None

    @classmethod
    def open(cls, counters: Iterable[Counter], shop: Shop, log: Log, items: Callable[[], Items]) -> OnlineCounters:
        """Everything that happened: the shop's segments, and what the log accepted after them."""
        # The log forgets only what holds no event beyond the segments, so this is read first.
        floor = log.floor
        table, through = shop.events_marked()
        store = cls(counters, items, sequence=max(through, floor))
        store.add(table, sequence=store.sequence)
        store.follow(log)
        return store

    @property
    def sequence(self) -> int:
        """The last log record that is counted."""
        return self._sequence

    @property
    def num_events(self) -> int:
        """Events held: of counted actions, with known items."""
        return sum(len(run.events) for run in self._runs)

    def at(self, name: str, rows: Array, at_s: Array | float) -> Array:
        """float64[N]: the counter of each row strictly before its time.  Raises UnknownName."""
        if name not in self.counters:
            raise UnknownName(f"no counter {name!r}{nearest(name, self.counters)}; declare it when the store is opened")
        rows = np.asarray(rows)
        times = np.broadcast_to(np.asarray(at_s, np.float64), rows.shape)
        out = np.zeros(len(rows))
        for run in self._runs:
            out += run.at(self.counters[name], rows, times)
        return out

    def add(self, table: pa.Table, *, sequence: int) -> None:
        """Count these events, a table of the events schema; the next question sees them."""
        with self._feeding:
            items = self._items()
            table = complete(table, EVENTS)
            if self._unknown.num_rows and items is not self._seen:
                table = pa.concat_tables([self._unknown, table])
                self._unknown = EVENTS.empty_table()
            self._seen = items
            events = events_of(table, items)
            known = np.isin(events["action"], self._actions) & (events["item"] >= 0)
            if (events["item"] < 0).any():
                unknown = pa.concat_tables([self._unknown, _not_in(table, items)]).combine_chunks()
                self._unknown = unknown.slice(max(0, unknown.num_rows - MOST_UNKNOWN))
            if known.any():
                rows = np.flatnonzero(known)
                self._runs = _merged((*self._runs, _Run(Events({n: events[n][rows] for n in COLUMNS}))))
            self._sequence = max(self._sequence, sequence)
        with self._moved:
            self._moved.notify_all()

    def follow(self, log: Log) -> int:
        """Count what the log has accepted since.  Returns how many events that were."""
        until = log.last_sequence
        if until <= self._sequence:
            return 0
        table = log.events_table(after=self._sequence, until=until)
        self.add(table, sequence=until)
        return int(table.num_rows)

    def start(self, log: Log) -> OnlineCounters:
        """Follow the log in a thread, until ``close``: an event counts a fraction of a second after it was accepted."""
        self._thread = Thread(target=self._live, args=(log,), name="aisle-counters", daemon=True)
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
                    raise StateError(f"the counters could not follow the log: {self._error}")
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


def _not_in(table: pa.Table, items: Items) -> pa.Table:
    """The events that name an item which the catalogue does not have."""
    distinct = pc.unique(table["item_id"].combine_chunks()).drop_null()
    missing = distinct.filter(pa.array(items.rows_of(distinct.to_pylist()) < 0))
    missing = missing.filter(pc.not_equal(missing, ""))
    return table.filter(pc.is_in(table["item_id"], value_set=missing))


def _merged(runs: tuple[_Run, ...]) -> tuple[_Run, ...]:
    """The last runs as one while the one before is not twice as large: few runs, and each event is sorted log E times."""
    while len(runs) > 1 and len(runs[-2].events) <= 2 * len(runs[-1].events):
        a, b = runs[-2].events, runs[-1].events
        joined = Events({name: np.concatenate([a[name], b[name]]) for name in COLUMNS})
        runs = (*runs[:-2], _Run(joined))
    return runs
