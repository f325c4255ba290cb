"""Shop: one shop's folder on disk.

    CURRENT.json                   the pointer: format, generation, sequence, funnel, plan; replaced atomically, always last
    generations/<g>/items.arrow    the catalogue, memory-mapped; ``generation.json`` and the indexes stand beside it
    events/<n>.parquet             behaviour in segments, each appended whole
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

import fcntl
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from aisle.core.atomic import sync, sync_tree, write_file, write_json
from aisle.core.errors import DataError, StateError
from aisle.core.shop import Judgments
from aisle.data.items import ItemTable, check_ids
from aisle.data.judged import judgments_of
from aisle.data.schema import CATALOGUE, EVENTS, JUDGMENTS, PRICES, complete
from aisle.data.splits import split_judgments
from aisle.data.view import View

FORMAT = 1
POINTER = "CURRENT.json"
BATCH_ROWS = 65_536
WRITING = ".writing-"
THROUGH = "log_sequence"
FOLDERS = ("generations", "events", "prices", "judgments", "stages", "funnels", "rules")


class Shop:
    """An open shop folder.  Reading needs no lock; every write takes the writer's lock itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._thread_lock = threading.RLock()
        self._depth = 0

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

    # The pointer and the lock

    def pointer(self) -> dict[str, Any]:
        """What is current: ``format``, ``generation``, ``sequence``, ``funnel`` and its ``plan``.

        Raises StateError when unreadable.
        """
        path = self.folder / POINTER
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StateError(f"{path} cannot be read ({error}); restore it from a backup or ingest again") from error
        found = value.get("format") if isinstance(value, dict) else None
        if found != FORMAT:
            raise StateError(
                f"{path} has format {found!r}, this aisle reads format {FORMAT}; "
                "use the version of aisle that wrote it, or ingest again into a new folder"
            )
        return dict(value)

    def point(self, **changes: Any) -> dict[str, Any]:
        """Replace entries of the pointer, all at once.  Returns the new pointer."""
        with self.lock():
            value = {**self.pointer(), **changes}
            write_json(self.folder / POINTER, value)
            return value

    @contextmanager
    def lock(self) -> Iterator[None]:
        """One writer at a time; may be nested.  Raises DataError when another process or Shop object writes."""
        with self._thread_lock:
            if self._depth == 0:
                self._handle = os.open(self.folder / "writer.lock", os.O_RDWR | os.O_CREAT, 0o644)
                try:
                    fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    os.close(self._handle)
                    raise DataError(
                        f"another writer has {self.folder} open; wait until it ends, or stop it, and try again"
                    ) from error
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    # Closing the file releases the lock, also when the process dies.
                    os.close(self._handle)

    # The catalogue

    @property
    def generation(self) -> int:
        """The current catalogue generation; 0 before the first."""
        return int(self.pointer()["generation"])

    def generation_folder(self, generation: int | None = None) -> Path:
        return self.folder / "generations" / str(self.generation if generation is None else generation)

    def base_sequence(self, generation: int | None = None) -> int:
        """The last log record that the generation's catalogue file holds; those after it are applied on top."""
        path = self.generation_folder(generation) / "generation.json"
        return int(json.loads(path.read_text(encoding="utf-8")).get("sequence", 0)) if path.is_file() else 0

    def generations(self) -> list[int]:
        """Every whole generation on disk, oldest first."""
        names = (p.name for p in (self.folder / "generations").iterdir())
        return sorted(int(name) for name in names if name.isdecimal())

    def items(self, generation: int | None = None) -> ItemTable:
        """The catalogue, memory-mapped.  Raises DataError when the shop has none, StateError when files are missing."""
        generation = self.generation if generation is None else generation
        if generation == 0:
            raise DataError(f"{self.folder} has no products yet; add some with: aisle ingest FILE --into {self.folder}")
        path = self.generation_folder(generation) / "items.arrow"
        if not path.is_file():
            raise StateError(f"{path} is missing (generations there are: {self.generations()}); ingest again")
        return ItemTable.read(path, generation)

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
        with self.lock():
            parent = self.folder / "generations"
            self._sweep()
            sequence = int(self.pointer()["sequence"]) if sequence is None else sequence
            generation = 1 + max([self.generation, *self.generations()])
            work = Path(mkdtemp(prefix=WRITING, dir=parent))
            try:
                rows = _write_items(work / "items.arrow", tables)
                items = ItemTable.read(work / "items.arrow", generation)
                check_ids(items.table["item_id"])
                if build is not None:
                    build(items, work)
                about = {"format": FORMAT, "generation": generation, "rows": rows, "sequence": sequence}
                write_json(work / "generation.json", about)
                work.chmod(0o755)
                sync_tree(work)
                os.rename(work, parent / str(generation))
            except BaseException:
                shutil.rmtree(work, ignore_errors=True)
                raise
            sync(parent)
            self.point(generation=generation, sequence=sequence)
            return generation

    def prune(self, keep: int = 2) -> list[int]:
        """Remove all but the ``keep`` newest generations up to the current one.  Returns those removed."""
        if keep < 1:
            raise DataError(f"prune keeps {keep} generations; the current one is always kept, so give 1 or more")
        with self.lock():
            self._sweep()
            current = self.generation
            kept = [g for g in self.generations() if g <= current][-keep:]
            removed = [g for g in self.generations() if g not in kept]
            for generation in removed:
                # Renamed first, so that nobody ever sees half of one.
                os.rename(self.generation_folder(generation), self.folder / "generations" / f"{WRITING}{generation}")
            self._sweep()
            return removed

    def _sweep(self) -> None:
        """Remove what a writer left that was stopped in the middle."""
        for name in ("generations", "events", "prices", "judgments", "."):
            for path in (self.folder / name).glob(".*"):
                if path.name.startswith(WRITING):
                    shutil.rmtree(path)
                elif path.name.endswith(".writing"):
                    path.unlink()

    # Behaviour and prices

    def add_events(self, table: pa.Table, *, through: int | None = None) -> int:
        """Append events as one segment.  Returns its number.

        through  the last log record whose events these are, kept inside the segment: events and mark come together or not
        """
        kept = complete(table, EVENTS)
        return self._append(
            "events", kept if through is None else kept.replace_schema_metadata({THROUGH: str(through)})
        )

    def events_through(self) -> int:
        """The last log record whose events stand in the segments; 0 before the first."""
        marks = (pq.read_schema(p).metadata or {} for p in (self.folder / "events").glob("[0-9]*.parquet"))
        return max((int(m[THROUGH.encode()]) for m in marks if THROUGH.encode() in m), default=0)

    def events(self) -> pa.Table:
        """All events in the order in which they were added."""
        return self._segments("events", EVENTS)

    def add_prices(self, table: pa.Table) -> int:
        """Append to the price history: what held from ``time_s`` on.  Returns the segment's number."""
        return self._append("prices", complete(table, PRICES))

    def prices(self) -> pa.Table:
        """The price history in the order in which it was added."""
        return self._segments("prices", PRICES)

    def _append(self, kind: str, table: pa.Table) -> int:
        with self.lock():
            known = [int(p.stem) for p in (self.folder / kind).glob("*.parquet") if p.stem.isdecimal()]
            number = 1 + max(known, default=0)
            path = self.folder / kind / f"{number:06d}.parquet"
            write_file(path, lambda work: pq.write_table(table, work, compression="zstd"))
            return number

    def _segments(self, kind: str, schema: pa.Schema) -> pa.Table:
        paths = sorted((self.folder / kind).glob("[0-9]*.parquet"), key=lambda p: int(p.stem))
        return pa.concat_tables([schema.empty_table(), *(complete(pq.read_table(p), schema) for p in paths)])

    # Judgments

    def write_judgments(self, table: pa.Table, gains: Mapping[int, float], name: str = "default") -> None:
        """Keep graded pairs with their gain map.  A second call of the same name replaces them.

        Raises DataError for a name that is no plain word.
        """
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise DataError(f"judgments cannot be named {name!r}; use letters, digits, dots, dashes and underscores")
        text = {str(g): float(v) for g, v in gains.items()}
        # The gains travel inside the table too, so that a reader never meets new grades with old gains.
        kept = complete(table, JUDGMENTS).replace_schema_metadata({"gains": json.dumps(text)})
        with self.lock():
            path = self.folder / "judgments" / f"{name}.parquet"
            write_file(path, lambda work: pq.write_table(kept, work, compression="zstd"))
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
        table = pq.read_table(path)
        text = json.loads((table.schema.metadata or {}).get(b"gains", b"{}"))
        return complete(table.replace_schema_metadata(None), JUDGMENTS), {int(g): v for g, v in text.items()}

    def judgments(self, name: str = "default") -> Judgments:
        """Graded pairs by catalogue row; pairs whose item is not in the catalogue are left out."""
        table, gains = self.judgments_table(name)
        return judgments_of(table, gains, self.items())

    # Views, stages, funnels, rules, mapping

    def view(self, until_s: float = float("inf"), seed: int = 0, judgments: str = "default") -> View:
        """The shop as it was at ``until_s``; ``seed`` decides which judged queries are the validation part."""
        items = self.items()
        parts = {}
        if judgments in self.judgment_names():
            parts = split_judgments(self.judgments(judgments), seed)
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


def _write_items(path: Path, tables: Iterable[pa.Table]) -> int:
    """Stream tables into an Arrow IPC file.  Returns the rows written."""
    rows = 0
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, CATALOGUE) as writer:
        for table in tables:
            writer.write_table(complete(table, CATALOGUE), max_chunksize=BATCH_ROWS)
            rows += table.num_rows
    return rows
