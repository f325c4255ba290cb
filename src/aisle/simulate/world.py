"""World: one generated shop with its truth, frozen and named by a hash.

A larger world keeps this surface: ``items`` is what is displayed, ``truth`` and ``grades`` are return values that no
shop stores, knobs have a null setting, and the version names rules, knobs and catalogue.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aisle.core.env import Progress, silent
from aisle.core.lists import Array
from aisle.simulate.catalogue.items import as_of, make_items
from aisle.simulate.catalogue.products import DAY_S, START_S
from aisle.simulate.catalogue.truth import Truth
from aisle.simulate.grades.rules import Steps, Verdicts, judge, steps
from aisle.simulate.grades.utility import felt_grades, uses_utility
from aisle.simulate.knobs import Knobs, checked
from aisle.simulate.language.queries import Query, queries
from aisle.simulate.lexical import Bm25
from aisle.simulate.worlds import DEFAULT, name_of, settings_of

if TYPE_CHECKING:
    from aisle.data.shop import Shop
    from aisle.simulate.loop.town import Town
    from aisle.simulate.shoppers.visits import Policy

RULES = 2
"""Raised whenever queries, grades, judgments or logs of an unchanged catalogue come out differently."""

NUM_QUERIES = 300


@dataclass(frozen=True, eq=False)
class World:
    """``items`` (CATALOGUE table), ``truth``, and the ``knobs`` and ``seed`` that made them."""

    items: pa.Table
    truth: Truth
    knobs: Knobs
    seed: int
    version: str

    @classmethod
    def make(cls, items: int = 2500, seed: int = 0, world: str = DEFAULT, **knobs: float) -> World:
        """The named world of a seed, with single knobs set otherwise.

        Raises UnknownName for a world or a knob that nobody named, SettingError for a knob outside [0, 1] or fewer than
        one item.
        """
        settings = checked(settings_of(world) | knobs)
        table, truth = make_items(items, seed, settings)
        name = hashlib.sha256(f"{RULES} {digest(table)} {json.dumps(asdict(settings))}".encode()).hexdigest()
        return cls(table, truth, settings, seed, f"{name_of(settings)}@{RULES}-{name[:12]}")

    @property
    def num_items(self) -> int:
        return int(self.items.num_rows)

    @cached_property
    def bm25(self) -> Bm25:
        """A plain search over title, brand and description."""
        columns = (self.items[name].to_pylist() for name in ("title", "brand", "description"))
        return Bm25([" ".join(texts) for texts in zip(*columns, strict=True)])

    @cached_property
    def popularity(self) -> Array:
        """float32[I], 0 to 1: the logarithm of the displayed number of reviews."""
        reviews = np.log1p(self.items["rating_count"].to_numpy())
        popularity: Array = (reviews / max(reviews.max(), 1.0)).astype(np.float32)
        return popularity

    def queries(self, n: int = NUM_QUERIES, seed: int = 0, day: float = 0.0) -> list[Query]:
        """n queries of different text, in the words of a day; see ``queries.traffic`` for how often each is asked."""
        return queries(self, n, seed, day)

    def grades(self, query: Query, rows: Array | None = None) -> Array:
        """int8[N]: true grades 1 to 4 of these rows, all items when None.

        By the rule table; for a share ``utility`` of the queries by a latent utility, which no rule explains.
        """
        if not self.ruled(query):
            rows = np.arange(self.num_items) if rows is None else rows
            return felt_grades(self.truth, query.intent, rows, query.text)
        return self.verdicts(query, rows).grade

    def ruled(self, query: Query) -> bool:
        """Whether the rule table grades a query, so that its verdicts explain its grades."""
        return not uses_utility(query.text, self.knobs.utility)

    def verdicts(self, query: Query, rows: Array | None = None) -> Verdicts:
        """What the rule table says step by step of these rows, all items when None."""
        return judge(self.truth, query.intent, rows)

    def steps(self, query: Query, row: int) -> Steps:
        """The reasons of one grade in words."""
        return steps(self.truth, query.intent, row)

    def town(self, *, seed: int = 0, users: int = 1000, **settings: Any) -> Town:
        """Its shoppers, who give feedback to pages: ``simulate.loop.town.Town``.  They change; the world does not."""
        from aisle.simulate.loop.town import Town

        return Town(self, seed=seed, users=users, **settings)

    def log(self, policy: Policy | None = None, days: int = 7, **settings: Any) -> pa.Table:
        """The events of some days under a policy (EVENTS table): ``simulate.loop.log.log``."""
        from aisle.simulate.loop.log import log

        return log(self, days, policy=policy, **settings)


def digest(table: pa.Table) -> str:
    """The SHA-256 of a table's Arrow IPC bytes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks(), max_chunksize=65_536)
    return hashlib.sha256(sink.getvalue()).hexdigest()


def simulate(
    shop: Shop | Path | str,
    items: int = 2500,
    days: int = 7,
    seed: int = 0,
    *,
    world: str = DEFAULT,
    visits_per_day: int | None = None,
    num_queries: int = NUM_QUERIES,
    budget: int = 20_000,
    texts: bool = False,
    progress: Progress = silent,
    **knobs: float,
) -> dict[str, Any]:
    """Fill a shop: its catalogue as it is after ``days``, a log of these days, judgments, ``queries.txt`` and ``world.json``;
    with ``texts`` also ``reviews.parquet`` and ``external.parquet``.

    A folder must be new.  Returns what was written: version, items, events, queries, judgments.
    """
    from aisle.data.shop import Shop as OnDisk
    from aisle.simulate.judgments.annotator import annotate
    from aisle.simulate.loop.log import log_days
    from aisle.simulate.texts.files import write_external, write_reviews

    checked(settings_of(world) | knobs)  # before a folder is made
    target = OnDisk.create(shop) if isinstance(shop, str | Path) else shop
    progress("catalogue", 0, None)
    made = World.make(items, seed, world, **knobs)
    end_s = START_S + DAY_S * days
    target.write_generation([as_of(made.items, made.truth, end_s)])
    progress("catalogue", items, items)
    asked = made.queries(num_queries)
    judgments, gains = annotate(made, asked, budget)
    on_sale = made.items["item_id"].filter(pa.array(made.truth.alive(end_s)))
    judgments = judgments.filter(pc.is_in(judgments["item_id"], on_sale.combine_chunks()))
    target.write_judgments(judgments, gains)
    progress("judgments", len(judgments), len(judgments))
    num_events = 0
    for events in log_days(made, days, visits_per_day, seed, progress=progress):
        target.add_events(events)
        num_events += len(events)
    (target.folder / "queries.txt").write_text("".join(f"{q.text}\n" for q in asked), encoding="utf-8")
    if texts:
        for n, write in enumerate((write_reviews, write_external)):
            progress("texts", n, 2)
            write(made, target.folder)
        progress("texts", 2, 2)
    settings = {"version": made.version, "items": items, "days": days, "seed": seed, "knobs": asdict(made.knobs)}
    (target.folder / "world.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    counts = {"items": items, "events": num_events, "queries": len(asked), "judgments": len(judgments)}
    return {"shop": str(target.folder), "version": made.version, **counts}
