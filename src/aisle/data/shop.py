"""Shop: one shop's folder on disk.

    CURRENT.json                   the pointer: format, generation, sequence, funnel, plan, and what it pointed to before
                                   (``history``, newest last); replaced atomically, always last
    generations/<g>/items*.arrow   the catalogue, memory-mapped; ``generation.json`` names the file and what of the log it
                                   holds, the indexes stand beside it
    events/<n>.parquet             behaviour in segments, each appended whole
    requests/<n>.parquet           answered requests that the log has handed over, likewise
    prices/<n>.parquet             the price history, likewise
    judgments/<name>.parquet       graded pairs, with ``<name>.gains.json``
    stages/<name>/<version>        fitted stages
    funnels/<version>.json         whole funnels
    rules/                         merchandising rules
    mapping.json                   how the shop's own columns were read
    log.sqlite                     sequenced records; ``sequence`` in the pointer is the last one that items.arrow holds

A reader sees the last whole generation, whenever a writer stops.  One writer at a time.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pyarrow as pa

from aisle.core.atomic import file_hash, sync, sync_tree, write_file, write_json
from aisle.core.errors import DataError, GenerationError, StateError
from aisle.core.leases import REMOVING, remove_unused
from aisle.core.shop import Judgments
from aisle.data import segments
from aisle.data.items import ItemTable, check_ids
from aisle.data.judged import judgments_of
from aisle.data.pointed import POINTER, WAIT_S, PointedFolder
from aisle.data.schema import EVENTS, JUDGMENTS, PRICES, complete
from aisle.data.shop_files import (
    FORMAT,
    about_items,
    read_parquet,
    write_items,
    write_parquet,
)
from aisle.data.splits import split_judgments
from aisle.data.view import View

ABOUT = "generation.json"
WRITING = ".writing-"
MEND = "restore a backup (aisle restore), go back to what was served before (aisle rollback), or ingest again"
FOLDERS = ("generations", "events", "prices", "judgments", "stages", "funnels", "rules")


def is_judgments_name(name: str) -> bool:
    """Whether judgments may be kept under this name: it becomes a file's."""
    return re.fullmatch(r"\w[\w.-]*", name) is not None


class Shop(PointedFolder):
    """An open shop folder.  Reading needs no lock; every write takes the writer's lock itself."""

    @classmethod
    def create(cls, folder: Path | str) -> Shop:
        """A new, empty shop.  Raises DataError when the folder holds a shop or anything else."""
        folder = Path(folder)
        if (folder / POINTER).exists():
            raise DataError(f"{folder} is a shop already; open it, or choose another folder")
        if folder.exists() and not _is_bare(folder):
            raise DataError(f"{folder} exists and is not empty; choose a new folder for the shop")
        for name in FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
        write_json(folder / POINTER, {"format": FORMAT, "generation": 0, "sequence": 0, "funnel": None})
        return cls(folder)

    @classmethod
    def open(cls, folder: Path | str) -> Shop:
        """The shop in a folder.  Raises DataError when there is none, StateError when its format is unknown."""
        folder = Path(folder)
        if not (folder / POINTER).is_file():
            raise DataError(
                f"{folder} is no shop (it has no {POINTER}); make one with: aisle ingest FILE --into {folder}"
            )
        shop = cls(folder)
        shop.pointer()
        return shop

    @classmethod
    def at(cls, folder: Path | str) -> Shop:
        """The shop in a folder, created when there is none."""
        return cls.open(folder) if (Path(folder) / POINTER).exists() else cls.create(folder)

    # The catalogue

    @property
    def generation(self) -> int:
        """The current catalogue generation; 0 before the first."""
        return int(self.pointer()["generation"])

    def generation_folder(self, generation: int | None = None) -> Path:
        return self.folder / "generations" / str(self.generation if generation is None else generation)

    def about(self, generation: int | None = None) -> dict[str, Any]:
        """``generation.json``: sequence, rows, the catalogue's file and its SHA-256; empty where there is none.

        Raises StateError when it cannot be read.
        """
        path = self.generation_folder(generation) / ABOUT
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise StateError(f"{path} is damaged ({error}); {MEND}") from None

    def base_sequence(self, generation: int | None = None) -> int:
        """The last log record that the generation's catalogue file holds; those after it are applied on top."""
        return int(self.about(generation).get("sequence", 0))

    def log_bounds(self) -> tuple[int, int]:
        """The last record that the log forgot, and the last that it accepted; zeros where there is no log."""
        if not self.log_path.exists():
            return 0, 0
        with closing(sqlite3.connect(f"{self.log_path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as log:
            floor = log.execute("SELECT value FROM meta WHERE name = 'floor'").fetchone()[0]
            last = log.execute("SELECT max(sequence) FROM records").fetchone()[0]
        return int(floor), int(floor if last is None else last)

    def generations(self) -> list[int]:
        """Every whole generation on disk, oldest first."""
        names = (p.name for p in (self.folder / "generations").iterdir())
        return sorted(int(name) for name in names if name.isdecimal())

    def items(self, generation: int | None = None, *, check: bool = False) -> ItemTable:
        """The catalogue, memory-mapped; ``check`` compares the whole file with its hash first.

        Raises DataError when the shop has none, StateError when files are missing or damaged.
        """
        generation = self.generation if generation is None else generation
        if generation == 0:
            raise DataError(f"{self.folder} has no products yet; add some with: aisle ingest FILE --into {self.folder}")
        about = self.about(generation)
        path = self.generation_folder(generation) / about.get("items", "items.arrow")
        if not path.is_file():
            raise StateError(f"{path} is missing (generations there are: {self.generations()}); {MEND}")
        if check and "sha256" in about and file_hash(path) != about["sha256"]:
            raise StateError(f"{path} is damaged (it does not match its hash); {MEND}")
        try:
            return ItemTable.read(path, generation)
        except (OSError, pa.ArrowException) as error:
            raise StateError(f"{path} is damaged ({error}); {MEND}") from None

    def write_generation(
        self,
        tables: Iterable[pa.Table],
        build: Callable[[ItemTable, Path], None] | None = None,
        *,
        sequence: int | None = None,
    ) -> int:
        """Write a new catalogue from tables of products, batch by batch, and point to it.  Returns its number.

        ``build(items, folder)`` may add indexes to the folder before anyone sees it.
        ``sequence`` is the last log record that these tables hold; None: as in the generation before.
        Raises DataError on a missing or repeated item_id; the current generation then stays.
        """
        with self.lock(wait_s=WAIT_S):
            parent = self.folder / "generations"
            self._sweep()
            sequence = int(self.pointer()["sequence"]) if sequence is None else sequence
            generation = 1 + max([self.generation, *self.generations()])
            work = Path(mkdtemp(prefix=WRITING, dir=parent))
            try:
                rows = write_items(work / "items.arrow", tables)
                items = ItemTable.read(work / "items.arrow", generation)
                check_ids(items.table["item_id"])
                if build is not None:
                    build(items, work)
                write_json(work / ABOUT, about_items(work / "items.arrow", generation, rows, sequence))
                work.chmod(0o755)
                sync_tree(work)
                os.rename(work, parent / str(generation))
            except BaseException:
                shutil.rmtree(work, ignore_errors=True)
                raise
            sync(parent)
            self.point(generation=generation, sequence=sequence)
            return generation

    def write_snapshot(self, items: ItemTable, sequence: int) -> None:
        """Keep the catalogue of the current generation as it is at ``sequence``: same rows, deleted ones included.

        The log may forget what came before.  Raises GenerationError when the generation has moved on.
        """
        with self.lock():
            generation = self.generation
            if items.generation != generation:
                raise GenerationError(
                    f"a catalogue of generation {items.generation} cannot be kept, the shop is at {generation}; "
                    "open the engine of the current generation"
                )
            if sequence <= self.base_sequence():
                return
            folder = self.generation_folder(generation)
            path, old = folder / f"items-{sequence}.arrow", folder / self.about().get("items", "items.arrow")
            write_file(path, lambda work: items.write(work))
            write_json(folder / ABOUT, about_items(path, generation, items.num_rows, sequence))
            # Whoever has the old file mapped keeps it; a name is all that goes.
            for superseded in folder.glob("items*.arrow"):
                if superseded not in (path, old):
                    superseded.unlink()

    def advance(self, sequence: int) -> None:
        """The catalogue's file holds the log up to ``sequence`` as it stands, since nothing after it changed an item."""
        with self.lock():
            folder = self.generation_folder()
            write_json(folder / ABOUT, {**self.about(), "sequence": sequence})

    def prune(self, keep: int = 2) -> list[int]:
        """Remove all but the ``keep`` newest generations up to the current one, unless somebody has them open.

        Returns those removed.
        """
        if keep < 1:
            raise DataError(f"prune keeps {keep} generations; the current one is always kept, so give 1 or more")
        with self.lock():
            self._sweep()
            current = self.generation
            kept = [g for g in self.generations() if g <= current][-keep:]
            return [
                int(p.name)
                for p in remove_unused(self.generation_folder(g) for g in self.generations() if g not in kept)
            ]

    def _sweep(self) -> None:
        """Remove what a writer left that was stopped in the middle."""
        for name in ("generations", "events", "requests", "prices", "judgments", "."):
            for path in (self.folder / name).glob(".*"):
                if path.name.startswith((WRITING, REMOVING)):
                    shutil.rmtree(path)
                elif path.name.endswith(".writing"):
                    path.unlink()

    # Behaviour and prices

    def add_events(self, table: pa.Table, *, through: int | None = None) -> int:
        """Append events as one segment.  Returns its number.

        through  the last log record whose events these are, kept inside the segment: events and mark come together or not
        """
        return self._append("events", complete(table, EVENTS), through)

    def events_through(self) -> int:
        """The last log record whose events stand in the segments; 0 before the first."""
        return segments.through(self.folder / "events")

    def events(self) -> pa.Table:
        """All events in the order in which they were added."""
        return segments.read(self.folder / "events", EVENTS)

    def events_marked(self) -> tuple[pa.Table, int]:
        """``events`` and ``events_through``, which belong together, whoever adds some meanwhile."""
        return segments.read_marked(self.folder / "events", EVENTS)

    def add_requests(self, table: pa.Table, *, through: int) -> int:
        """Append answered requests (``sequence``, ``time_s``, ``value`` as JSON) as one segment.  Returns its number."""
        return self._append("requests", table, through)

    def requests_through(self) -> int:
        """The last log record whose requests stand in the segments; 0 before the first."""
        return segments.through(self.folder / "requests")

    def request_segments(self) -> list[Path]:
        """Parquet files of answered requests, oldest first; ``read_parquet`` reads one."""
        return segments.paths(self.folder / "requests")

    def add_prices(self, table: pa.Table) -> int:
        """Append to the price history: what held from ``time_s`` on.  Returns the segment's number."""
        return self._append("prices", complete(table, PRICES))

    def prices(self) -> pa.Table:
        """The price history in the order in which it was added."""
        return segments.read(self.folder / "prices", PRICES)

    def _append(self, kind: str, table: pa.Table, through: int | None = None) -> int:
        with self.lock():
            return segments.append(self.folder / kind, table, through)

    # Judgments

    def write_judgments(self, table: pa.Table, gains: Mapping[int, float], name: str = "default") -> None:
        """Keep graded pairs with their gain map.  A second call of the same name replaces them.

        Raises DataError for a name that is no plain word.
        """
        if not is_judgments_name(name):
            raise DataError(f"judgments cannot be named {name!r}; use letters, digits, dots, dashes and underscores")
        text = {str(g): float(v) for g, v in gains.items()}
        # The gains travel inside the table too, so that a reader never meets new grades with old gains.
        kept = complete(table, JUDGMENTS).replace_schema_metadata({"gains": json.dumps(text)})
        with self.lock():
            path = self.folder / "judgments" / f"{name}.parquet"
            write_file(path, lambda work: write_parquet(kept, work))
            write_json(path.with_suffix(".gains.json"), text)

    def judgment_names(self) -> list[str]:
        return sorted(p.stem for p in (self.folder / "judgments").glob("*.parquet"))

    def judgments_table(self, name: str = "default") -> tuple[pa.Table, dict[int, float]]:
        """The graded pairs as written, and the gain map.  Raises DataError when there are none of this name."""
        path = self.folder / "judgments" / f"{name}.parquet"
        if not path.is_file():
            raise DataError(
                f"{self.folder} has no judgments {name!r} (there are: {self.judgment_names()}); ingest some"
            )
        table = read_parquet(path)
        text = json.loads((table.schema.metadata or {}).get(b"gains", b"{}"))
        return complete(table.replace_schema_metadata(None), JUDGMENTS), {int(g): v for g, v in text.items()}

    def judgments(self, name: str = "default") -> Judgments:
        """Graded pairs by catalogue row; pairs whose item is not in the catalogue are left out."""
        table, gains = self.judgments_table(name)
        return judgments_of(table, gains, self.items())

    # Views, stages, funnels, rules, mapping

    def view(
        self,
        until_s: float = float("inf"),
        seed: int = 0,
        judgments: str = "default",
        *,
        items: ItemTable | None = None,
    ) -> View:
        """The shop as it was at ``until_s``; ``seed`` decides which judged queries are the validation part.

        items  a catalogue that holds more of the log than the current generation's file, or another generation's
        """
        items = self.items() if items is None else items
        parts = {}
        if judgments in self.judgment_names():
            parts = split_judgments(judgments_of(*self.judgments_table(judgments), items), seed)
        prices = self.prices()
        return View(items, self.events(), parts, until_s, prices=prices if len(prices) else None)

    def stage_folder(self, name: str, version: str) -> Path:
        return self.folder / "stages" / name / version

    def funnel_path(self, version: str) -> Path:
        return self.folder / "funnels" / f"{version}.json"

    @property
    def rules_folder(self) -> Path:
        return self.folder / "rules"

    @property
    def work_folder(self) -> Path:
        """Where fits and other long work keep what is done until all of it is: see ``core/workplaces.py``."""
        return self.folder / "cache" / "fits"

    @property
    def log_path(self) -> Path:
        return self.folder / "log.sqlite"

    def mapping(self) -> dict[str, Any]:
        """How the shop's own columns are read; empty when none was kept."""
        path = self.folder / "mapping.json"
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    def write_mapping(self, mapping: Mapping[str, Any]) -> None:
        with self.lock():
            write_json(self.folder / "mapping.json", mapping)


def _is_bare(folder: Path) -> bool:
    """Nothing in it, or only what a ``create`` leaves that was stopped in the middle."""
    if not folder.is_dir():
        return False
    rest = [p for p in folder.iterdir() if not p.name.endswith(".writing")]
    return all(p.name in FOLDERS and p.is_dir() and not any(p.iterdir()) for p in rest)
