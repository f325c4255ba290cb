"""Care: what keeps a running shop small and quick to open, without anybody calling it.

Rows that changed go into a new text index on disk, the catalogue is written anew at a later log record, events and
requests move from the log into segments, and then the log forgets what nobody needs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aisle.core.atomic import write_json
from aisle.core.errors import Busy, SettingError, nearest
from aisle.core.leases import exclusive
from aisle.core.workplaces import sweep
from aisle.data.items import ItemTable
from aisle.data.shop import Shop
from aisle.engine.embedded.appliers import take_in_events, touched
from aisle.engine.embedded.engine import EmbeddedEngine
from aisle.engine.embedded.log import BATCH_RECORDS, Log

FILE = "care.json"
LOCK = ".care.lock"
DAY_S = 86_400.0
FEW_CHANGES, PATIENCE = 0.01, 10
"""Changes of less than this share of the items wait for so many times as many records, before the catalogue is written anew."""
REQUESTS = pa.schema([("sequence", pa.int64()), ("time_s", pa.float64()), ("value", pa.string())])


class Policy(BaseModel):
    """When care does what; ``SHOP/care.json`` holds what differs from these."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    save_rows: int = Field(2_000, ge=1, description="changed rows after which the text index on disk is made anew")
    save_s: float = Field(60.0, gt=0, description="or seconds after a change")
    take_in_s: float = Field(60.0, gt=0, description="seconds between moving events and requests out of the log")
    snapshot_records: int = Field(
        50_000, ge=1, description="log records after which the catalogue is written anew, or seen not to have changed"
    )
    keep_records: int = Field(100_000, ge=0, description="latest log records that are kept in any case")
    most_records: int = Field(
        2_000_000, ge=1, description="log records beyond which a roll-back to an older catalogue is given up"
    )
    keep_generations: int = Field(2, ge=1, description="catalogue generations that are kept")
    keep_requests_days: float = Field(90.0, gt=0, description="days that answered requests are kept")
    keep_stopped_days: float = Field(
        14.0, gt=0, description="days that what a stopped fit or aisle judge had done is kept"
    )

    @classmethod
    def of(cls, shop: Shop) -> Policy:
        """Raises SettingError when the shop's file names what there is not, or a value out of range."""
        path = shop.folder / FILE
        if not path.is_file():
            return cls()
        try:
            return cls.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            first = error.errors()[0]
            raise SettingError(
                f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}; see aisle care --help"
            ) from None
        except (OSError, ValueError) as error:
            raise SettingError(f"{path} cannot be read ({error}); mend it or remove it") from None

    def changed(self, assignments: Sequence[str]) -> Policy:
        """With ``name=value`` settings.  Raises SettingError for a name that there is not, or a value out of range."""
        values: dict[str, object] = self.model_dump()
        for assignment in assignments:
            name, _, value = assignment.partition("=")
            if name not in values:
                raise SettingError(f"care has no setting {name!r}{nearest(name, values)}")
            values[name] = value
        try:
            return Policy.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            raise SettingError(f"{'.'.join(map(str, first['loc']))}={first['input']}: {first['msg']}") from None

    def write(self, shop: Shop) -> None:
        write_json(shop.folder / FILE, self.model_dump(exclude_defaults=True))


@dataclass
class Carer:
    """Care of one open generation.  ``others``: who else reads the log -> the last record that it has applied."""

    shop: Shop
    log: Log
    engine: EmbeddedEngine
    policy: Policy = field(default_factory=Policy)
    unsaved_since_s: float | None = None
    took_in_s: float = float("-inf")

    def step(
        self, others: Mapping[str, int] | None = None, *, now_s: float | None = None, all_of_it: bool = False
    ) -> dict[str, int]:
        """Do what is due (everything, when asked for).  Returns what was done: name -> how many.

        A backup in progress, or another process that writes to the folder, puts it off.
        """
        now_s = time.monotonic() if now_s is None else now_s
        done: dict[str, int] = {}
        try:
            with exclusive(self.shop.folder / LOCK, wait=all_of_it):
                self._save(done, now_s, all_of_it)
                if all_of_it or now_s - self.took_in_s >= self.policy.take_in_s:
                    self._take_in(done)
                    self.took_in_s = now_s
                self._snapshot(done, all_of_it)
                self._forget(done, others or {})
        except (BlockingIOError, Busy):
            pass
        return done

    def _save(self, done: dict[str, int], now_s: float, now: bool) -> None:
        engine, policy = self.engine, self.policy
        if engine.saved_sequence == engine.sequence:
            self.unsaved_since_s = None
            return
        if self.unsaved_since_s is None:
            self.unsaved_since_s = now_s
        if now or engine.num_unsaved >= policy.save_rows or now_s - self.unsaved_since_s >= policy.save_s:
            done["saved_rows"] = engine.num_unsaved
            engine.save()
            self.unsaved_since_s = None

    def _take_in(self, done: dict[str, int]) -> None:
        if events := take_in_events(self.shop, wait_s=0.0):
            done["events"] = events
        if requests := take_in_requests(self.shop, self.log):
            done["requests"] = requests
        oldest_s = time.time() - self.policy.keep_requests_days * DAY_S
        for path in self.shop.request_segments()[:-1]:
            if path.stat().st_mtime < oldest_s:
                path.unlink()
        if swept := sweep(self.shop.work_folder, self.policy.keep_stopped_days * DAY_S):
            done["stopped_work"] = len(swept)

    def _snapshot(self, done: dict[str, int], now: bool) -> None:
        """Keep the catalogue at a later record; most records are no changes of items, and cost no new file."""
        items, sequence = self.engine.at_once()
        base = self.shop.base_sequence(self.engine.generation)
        behind = sequence - base
        if behind <= 0 or (not now and behind < self.policy.snapshot_records):
            return
        assert isinstance(items, ItemTable)
        changed = len(touched(items, self.log, base, sequence))
        if not changed:
            self.shop.advance(sequence)
        elif now or changed >= FEW_CHANGES * items.num_rows or behind >= PATIENCE * self.policy.snapshot_records:
            self.shop.write_snapshot(items, sequence)
            done["snapshot"] = sequence

    def _forget(self, done: dict[str, int], others: Mapping[str, int]) -> None:
        """Whatever anybody needs is kept: this catalogue, its indexes and vectors, the segments, other processes."""
        shop, log, policy = self.shop, self.log, self.policy
        last, current = log.last_sequence, self.engine.generation
        shop.prune(policy.keep_generations)
        needs = {
            "indexes": self.engine.saved_sequence,
            "catalogue": shop.base_sequence(current),
            "events": self._taken_in("event", shop.events_through(), last),
            "requests": self._taken_in("request", shop.requests_through(), last),
            **{f"vectors {name}": sequence for name, sequence in self.engine.encoded.items()},
            **others,
        }
        for generation in shop.generations():
            if generation != current and last - shop.base_sequence(generation) <= policy.most_records:
                needs[f"generation {generation}"] = shop.base_sequence(generation)
        until = min(last - policy.keep_records, *needs.values())
        if until > log.floor:
            done["forgotten"] = log.compact(until, needs)

    def _taken_in(self, kind: str, through: int, last: int) -> int:
        """The record up to which none of this kind is missing in the segments."""
        waiting = self.log.read(max(through, self.log.floor), 1, (kind,))
        return min(waiting[0].sequence - 1, last) if waiting else last


def take_in_requests(shop: Shop, log: Log) -> int:
    """Copy the answered requests that the log accepted since the last call into a segment.  Returns how many."""
    last = log.last_sequence
    table = requests_table(log, max(shop.requests_through(), log.floor), last)
    if len(table):
        shop.add_requests(table, through=last)
    return len(table)


def requests_table(log: Log, after: int, until: int) -> pa.Table:
    """Answered requests of a part of the log, by the columns ``REQUESTS``."""
    rows = [r for batch in log.batches(after, until, ("request",), BATCH_RECORDS) for r in batch]
    columns = {
        "sequence": [r.sequence for r in rows],
        "time_s": [r.time_s for r in rows],
        "value": [json.dumps(r.value, ensure_ascii=False) for r in rows],
    }
    return pa.table(columns, schema=REQUESTS)
