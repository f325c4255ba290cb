"""From the log into the indexes: in order, in batches, and as often as one likes with the same result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Event, Thread
from time import monotonic

import numpy as np

from aisle.core.env import Progress, silent
from aisle.core.errors import AisleError, ContractError, StateError
from aisle.core.lists import Array
from aisle.data.items import ItemTable
from aisle.data.pointed import WAIT_S
from aisle.data.shop import Shop
from aisle.engine.embedded.engine import EmbeddedEngine
from aisle.engine.embedded.log import Log
from aisle.engine.embedded.log_records import ITEM_KINDS, Record, catalogue_table

BATCH_RECORDS = 2000
RETRY_S = 1.0
LOOK_S = 0.2
QUIET_S = 0.05
"""After a pause this long the engine prepares for the next request; while records come, the next record goes first."""
BUILD_WAIT_S = 600.0
"""Another process may be building the same index."""
NO_ROWS = np.zeros(0, np.int32)


@dataclass(frozen=True, slots=True)
class Readiness:
    """How far the indexes are behind the log."""

    sequence: int
    last_sequence: int
    error: str | None = None

    @property
    def lag(self) -> int:
        """Accepted records that a search does not show yet."""
        return max(0, self.last_sequence - self.sequence)


def applied(items: ItemTable, records: Sequence[Record]) -> tuple[ItemTable, Array]:
    """The catalogue after these records, and the rows they touched (int32).

    Only an item's last state is applied; a new item still gets the row that one record after another would give it,
    so that rows do not depend on where batches begin.
    """
    whole: dict[str, dict[str, object]] = {}
    parts: dict[str, dict[str, object]] = {}
    gone: dict[str, None] = {}
    for record in records:
        item_id = record.value["item_id"]
        if record.kind == "upsert":
            whole[item_id] = record.value
            gone.pop(item_id, None)
            parts.pop(item_id, None)
        elif record.kind == "delete":
            gone[item_id] = None
            parts.pop(item_id, None)
        elif item_id not in gone:
            into = whole if item_id in whole else parts
            into[item_id] = {**into.get(item_id, {}), **record.value}
    changed = [*_completed(items, parts), *whole.values()]
    if changed:
        items = items.upserted(catalogue_table(changed))
    if gone:
        items = items.deleted(list(gone))
    rows = items.rows_of([*(str(value["item_id"]) for value in changed), *gone])
    return items, np.unique(rows[rows >= 0])


def _completed(items: ItemTable, parts: Mapping[str, Mapping[str, object]]) -> list[dict[str, object]]:
    """Whole products from the columns that change and the rest as it is; those that there are not are left out."""
    rows = items.rows_of(list(parts))
    rows = rows[rows >= 0]
    rows = rows[~items.tombstones[rows]]
    known = items.row_table(rows).to_pylist() if len(rows) else []
    return [{**product, **parts[product["item_id"]]} for product in known]


def catch_up(engine: EmbeddedEngine, log: Log, *, batch: int = BATCH_RECORDS) -> int:
    """Bring every index of the engine to where the log ends now.  Returns that sequence number.

    A stop at any point is harmless: the engine's sequence moves after its indexes, and a record may be applied again.
    Raises StateError when the engine is ahead of the log, DataError when the log lacks records that it needs.
    """
    until = log.last_sequence
    if engine.sequence > until:
        raise ahead(engine.sequence, until)
    for records in log.batches(engine.sequence, until, ITEM_KINDS, batch):
        items, rows = applied(_table(engine), records)
        engine.refresh(items, rows, sequence=records[-1].sequence)
    if engine.sequence < until:
        engine.refresh(engine.items, NO_ROWS, sequence=until)
    return until


def open_engine(
    shop: Shop,
    log: Log | None,
    *,
    generation: int | None = None,
    check: bool = False,
    may_build: bool = True,
    progress: Progress = silent,
) -> EmbeddedEngine:
    """The engine of a generation (None: the current one) with everything that the log holds.

    log        may be open for reading only; None: the catalogue's file alone
    check      compare the catalogue and the text index with their hashes
    may_build  build the text index where there is none or it is damaged; else raise StateError

    The catalogue is the generation's file plus the log's records after the generation's own sequence.
    Raises StateError when the indexes are ahead of the log, DataError when the log lacks records that they need.
    """
    generation = shop.generation if generation is None else generation
    folder, base_sequence = shop.generation_folder(generation), shop.base_sequence(generation)
    base = shop.items(generation, check=check)
    last = base_sequence if log is None else log.last_sequence
    saved = EmbeddedEngine.saved_in(folder)
    if log is not None and saved is not None and saved > last:
        raise ahead(saved, last)
    # A new index is built from the whole catalogue, so nothing of it is out of date.
    items, rows = _replayed(base, log, base_sequence, last, last if saved is None else saved)
    if saved is not None:
        try:
            engine = EmbeddedEngine.open(items, folder, check=check)
        except StateError:
            if not may_build:
                raise
        else:
            if len(rows) or engine.sequence != last:
                engine.refresh(items, rows, sequence=last)
            return engine
    elif not may_build:
        raise StateError(f"{folder} holds no indexes yet; they are there once the writing server has built them")
    with shop.lock(wait_s=BUILD_WAIT_S):
        return EmbeddedEngine.build(items, folder, sequence=last, progress=progress)


def _replayed(base: ItemTable, log: Log | None, after: int, until: int, indexed: int) -> tuple[ItemTable, Array]:
    """The catalogue from ``after`` to ``until``, and the rows (int32) that records after ``indexed`` touched."""
    if log is None:
        return base, NO_ROWS
    # What the catalogue's file holds already, an index may lack.
    items, changed = base, [touched(base, log, min(indexed, after), after)]
    for first, last in ((after, max(indexed, after)), (max(indexed, after), until)):
        for records in log.batches(first, last, ITEM_KINDS):
            items, rows = applied(items, records)
            if first >= indexed:
                changed.append(rows)
    return items, np.unique(np.concatenate(changed))


def current_items(shop: Shop, log: Log | None) -> ItemTable:
    """The catalogue of the current generation with everything that the log holds."""
    generation = shop.generation
    after = shop.base_sequence(generation)
    last = after if log is None else log.last_sequence
    return _replayed(shop.items(generation), log, after, last, last)[0]


def ahead(sequence: int, last: int) -> StateError:
    return StateError(
        f"the indexes are at sequence {sequence}, the log ends at {last}; it was restored from an older "
        "backup or belongs to another shop: build the indexes again, or restore a newer log"
    )


def fold(shop: Shop, log: Log, engine: EmbeddedEngine) -> int:
    """Write the caught-up catalogue as a new generation, so that the log may forget.  Returns its number.

    Rows are numbered anew and deleted items are gone; vectors, stages and funnels belong to the old generation.
    """
    catch_up(engine, log)
    items, sequence = _table(engine), engine.sequence
    rows = np.flatnonzero(~items.tombstones)

    def build(new: ItemTable, folder: Path) -> None:
        EmbeddedEngine.build(new, folder, sequence=sequence)

    return shop.write_generation([items.row_table(rows)], build, sequence=sequence)


def touched(items: ItemTable, log: Log, after: int, until: int) -> Array:
    """int32: rows of the items that records after one number, up to another, are about.  Raises DataError when these are gone."""
    found = [NO_ROWS]
    for records in log.batches(after, until, ITEM_KINDS):
        found.append(items.rows_of(list({r.value["item_id"] for r in records})))
    rows: Array = np.unique(np.concatenate(found))
    return rows[rows >= 0]


class Applier:
    """A thread that keeps an engine at the log's end.  ``wait`` says when a record can be found."""

    def __init__(self, engine: EmbeddedEngine, log: Log) -> None:
        self.engine, self.log = engine, log
        self.on_moved: Callable[[int], object] = lambda sequence: None
        """Called in this thread with the sequence that searches show from now on."""
        self._error: str | None = None
        self._stop = Event()
        self._moved = Condition()
        self._thread = Thread(target=self._live, name="aisle-apply", daemon=True)

    def start(self) -> Applier:
        self._thread.start()
        return self

    def close(self) -> None:
        """End after the batch in work; what is not applied yet is applied when the engine is opened again."""
        self._stop.set()
        self._thread.join()

    def readiness(self) -> Readiness:
        return Readiness(self.engine.sequence, self.log.last_sequence, self._error)

    def wait(self, sequence: int, timeout_s: float) -> bool:
        """True as soon as every index has this record.  Raises StateError when applying fails."""
        until = monotonic() + timeout_s
        with self._moved:
            while self.engine.sequence < sequence:
                if self._error is not None:
                    raise StateError(f"the log could not be applied: {self._error}")
                if not self._moved.wait(max(0.0, until - monotonic())) and monotonic() >= until:
                    return False
        return True

    def _live(self) -> None:
        is_prepared = True
        while not self._stop.is_set():
            try:
                if self.log.wait_beyond(self.engine.sequence, LOOK_S if is_prepared else QUIET_S):
                    catch_up(self.engine, self.log)
                    is_prepared = False
                elif not is_prepared:
                    self.engine.prepare()
                    is_prepared = True
                self._error = None
            except Exception as error:
                # Searches go on with what is there; the lag grows and the error shows until a later try succeeds.
                self._error = str(error) if isinstance(error, AisleError) else f"{type(error).__name__}: {error}"
                self._stop.wait(RETRY_S)
            self.on_moved(self.engine.sequence)
            with self._moved:
                self._moved.notify_all()


def _table(engine: EmbeddedEngine) -> ItemTable:
    if not isinstance(engine.items, ItemTable):
        raise ContractError(f"the engine's items are {type(engine.items).__name__}; only an ItemTable can follow a log")
    return engine.items


def take_in_events(shop: Shop, *, wait_s: float = WAIT_S) -> int:
    """Move the events that the log accepted since the last call into the shop's segments, where fits read them.

    Returns how many.  Safe to call while a server writes, and to repeat: each event is taken in once.  Raises Busy when
    another process still writes after ``wait_s``.
    """
    if not shop.log_path.exists():
        return 0
    with shop.lock(wait_s=wait_s):
        log = Log.open(shop.log_path, read_only=True, check=False)
        try:
            last = log.last_sequence
            # The log forgets only what holds no event that was not taken in.
            table = log.events_table(after=max(shop.events_through(), log.floor), until=last)
        finally:
            log.close()
        if len(table):
            shop.add_events(table, through=last)
        return len(table)
