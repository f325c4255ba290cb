"""Product files into a shop: read, map, check, quarantine, write; in bounded memory, all or nothing."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from aisle.core.env import Progress, silent
from aisle.core.errors import DataError
from aisle.data.reading.batches import BATCH_ROWS, Batch
from aisle.data.reading.column_names import plain_name
from aisle.data.reading.convert import convert
from aisle.data.reading.event_files import columns_of_events, read_events
from aisle.data.reading.infer import SAMPLE_ROWS, infer, require
from aisle.data.reading.judgment_files import is_qrels, looks_like_judgments, read_judgments
from aisle.data.reading.mapping import Mapping
from aisle.data.reading.quarantine import Quarantine
from aisle.data.reading.readers import Format, read_batches, sniff
from aisle.data.reading.seen import SeenIds
from aisle.data.schema import EVENTS

if TYPE_CHECKING:
    from aisle.data.shop import Shop

MAX_BAD_SHARE = 0.5
EARLY_ROWS = 10_000
SEGMENT_ROWS = 2_000_000


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a user may say about a file: ``maps`` as ``title=product_name``, columns to ignore, encoding, delimiter."""

    maps: Sequence[str] = ()
    ignore: Sequence[str] = ()
    encoding: str | None = None
    delimiter: str | None = None


@dataclass(frozen=True, kw_only=True)
class IngestReport:
    """rows: taken. quarantined: not taken. reasons: how many by reason. files: what each file was read as."""

    rows: int
    quarantined: int
    reasons: dict[str, int]
    mapping: Mapping | None
    seconds: float
    kind: str = "products"
    files: dict[str, str]
    quarantine: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "rows": self.rows, "quarantined": self.quarantined, "reasons": self.reasons,
            "mapping": self.mapping.model_dump() if self.mapping else None, "seconds": round(self.seconds, 3),
            "files": self.files, "quarantine": list(self.quarantine),
        }  # fmt: skip


class _Later:
    """Keeps what the sample rejects until the quarantine knows where to write; counts nothing twice."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, str, Any, str]] = []

    def __call__(self, position: int, column: str, value: Any, reason: str) -> None:
        self.rows.append((position, column, value, reason))


class ProductReader:
    """One product file as catalogue tables.  ``mapping`` is known before the first table is asked for.

    Raises DataError when the file cannot be read at all, and while iterating when most of its rows are bad.
    """

    def __init__(
        self, path: Path, *, mapping: Mapping | None = None, options: Options = Options(), batch_rows: int = BATCH_ROWS
    ) -> None:
        self.path = path
        self.batch_rows = batch_rows
        self.format: Format = sniff(path, encoding=options.encoding, delimiter=options.delimiter)
        first = self._sample()
        columns = list(dict.fromkeys([*self.format.header, *first.columns]))
        self.mapping = (mapping or infer(first)).overridden(options.maps, options.ignore, columns)
        require(self.mapping, columns)

    def _sample(self) -> Batch:
        ignore = _Later()
        batches = read_batches(self.path, self.format, ignore, batch_rows=SAMPLE_ROWS)
        first = next((batch for batch in batches if len(batch)), None)
        if first is None:
            why = (
                f"; {len(ignore.rows)} records are broken, the first on {self.format.place} "
                f"{ignore.rows[0][0]}: {ignore.rows[0][3]}"
                if ignore.rows
                else "; it has a header at most"
            )
            raise DataError(
                f"{self.path} holds no row that can be read (it was taken for {self.format}){why}; export it again"
            )
        return first

    def tables(
        self, quarantine: Quarantine, seen: SeenIds | None = None, progress: Callable[[int], None] | None = None
    ) -> Iterator[pa.Table]:
        """Tables of the CATALOGUE schema; bad rows go to ``quarantine``; ids known to ``seen`` are duplicates."""
        seen = seen or SeenIds()
        rows = 0
        for batch in read_batches(self.path, self.format, quarantine, batch_rows=self.batch_rows, progress=progress):
            table = convert(batch, self.mapping, quarantine, seen.fresh)
            rows += len(table)
            if rows + quarantine.count >= EARLY_ROWS and quarantine.count > 0.95 * (rows + quarantine.count):
                break
            if len(table):
                yield table
        if quarantine.count > MAX_BAD_SHARE * (rows + quarantine.count):
            raise DataError(self._mostly_bad(rows, quarantine))

    def _mostly_bad(self, rows: int, quarantine: Quarantine) -> str:
        reasons = "; ".join(f"{reason} ({count:,})" for reason, count in quarantine.reasons.most_common(5))
        examples = "\n".join(
            f"  {self.format.place} {e[self.format.place]}, {e['column'] or 'whole record'}: {e['value'][:60]!r}: {e['reason']}"
            for e in quarantine.examples
        )
        return (
            f"{quarantine.count:,} of {rows + quarantine.count:,} rows of {self.path} are bad, so nothing was written.\n"
            f"Reasons: {reasons}\nFor example:\n{examples}\n"
            f"The file was read as {self.format}, with this mapping:\n{self.mapping}\n"
            "If the mapping is wrong, correct it: --map price=COLUMN:cents, --ignore COLUMN, --encoding NAME, --delimiter MARK; "
            "if the file is wrong, export it again."
        )


def read_products(
    path: Path | str,
    mapping: Mapping | None = None,
    *,
    quarantine: Quarantine | None = None,
    options: Options = Options(),
) -> Iterator[pa.Table]:
    """The good rows of a product file as tables of the CATALOGUE schema, streamed."""
    reader = ProductReader(Path(path), mapping=mapping, options=options)
    yield from reader.tables(quarantine or Quarantine(None, Path(path), reader.format.place))


def quarantine_path(shop_folder: Path, path: Path) -> Path:
    """``SHOP/quarantine/<time>-<file>.jsonl``."""
    name = re.sub(r"[^\w.\-]+", "_", path.name)
    return shop_folder / "quarantine" / f"{time.strftime('%Y%m%dT%H%M%S')}-{name}.jsonl"


def ingest(
    paths: Sequence[Path | str] | Path | str,
    shop: Shop,
    mapping: Mapping | None = None,
    *,
    options: Options = Options(),
    progress: Progress = silent,
    on_mapping: Callable[[Path, Format, Mapping], None] | None = None,
) -> IngestReport:
    """The catalogue of the shop becomes the good rows of these files: a new generation, or nothing on an error.

    An id that comes twice, in one file or in two, counts once: the first row stays.  ``on_mapping`` hears how each
    file is read before its rows are.
    """
    begun = time.perf_counter()
    files = [Path(p) for p in ([paths] if isinstance(paths, (str, Path)) else paths)]
    if not files:
        raise DataError("no file given; name at least one product file")
    readers = [ProductReader(path, mapping=mapping, options=options) for path in files]
    for reader in readers:
        if on_mapping:
            on_mapping(reader.path, reader.format, reader.mapping)
    sinks = [
        Quarantine(
            quarantine_path(shop.folder, r.path.with_name(f"{i}-{r.path.name}" if len(files) > 1 else r.path.name)),
            r.path,
            r.format.place,
        )
        for i, r in enumerate(readers)
    ]
    seen, rows = SeenIds(), 0

    def tables() -> Iterator[pa.Table]:
        nonlocal rows
        for reader, sink in zip(readers, sinks, strict=True):
            size = reader.path.stat().st_size
            for table in reader.tables(sink, seen, partial(_heard, progress, reader.path.name, size)):
                rows += len(table)
                yield table
            progress(reader.path.name, size, size)

    try:
        # The files are the whole catalogue as of now; what the log accepts from here on is applied on top.
        shop.write_generation(tables(), sequence=shop.log_bounds()[1])
        shop.write_mapping(readers[0].mapping.model_dump())
        kept = [str(path) for sink in sinks if (path := sink.keep())]
    finally:
        for sink in sinks:
            sink.__exit__(None, None, None)
    return _report(
        "products", rows, sinks, begun, {str(r.path): str(r.format) for r in readers}, kept, readers[0].mapping
    )


def _heard(progress: Progress, task: str, total: int, done: int) -> None:
    progress(task, done, total)


def guess_kind(path: Path | str) -> str:
    """``products``, ``events`` or ``judgments``: what the columns of a file are."""
    path = Path(path)
    form = sniff(path)
    if form.kind == "csv" and is_qrels(path, form):
        return "judgments"
    ignored = _Later()
    first = next(iter(read_batches(path, form, ignored, batch_rows=100)), None)
    columns = [*form.header] or list(first.columns if first else ())
    if looks_like_judgments(columns):
        return "judgments"
    if "user_query" in columns or (
        {"time_s", "action"} <= columns_of_events(columns).keys()
        and not {"title", "name"} & {*map(plain_name, columns)}
    ):
        return "events"
    return "products"


def ingest_events(paths: Sequence[Path | str], shop: Shop, *, progress: Progress = silent) -> IngestReport:
    """Appends the good rows of log files to the shop's events; nothing when most rows of a file are bad."""
    begun = time.perf_counter()
    files = [Path(p) for p in paths]
    forms = [sniff(path) for path in files]
    sinks = [Quarantine(quarantine_path(shop.folder, p), p, f.place) for p, f in zip(files, forms, strict=True)]
    rows = 0
    with TemporaryDirectory(prefix="aisle-") as scratch:
        spill = Path(scratch) / "events.arrow"
        try:
            with pa.OSFile(str(spill), "wb") as out, pa.ipc.new_file(out, EVENTS) as writer:
                for path, form, sink in zip(files, forms, sinks, strict=True):
                    taken, size = 0, path.stat().st_size
                    heard = partial(_heard, progress, path.name, size)
                    for table in read_events(path, quarantine=sink, form=form, progress=heard):
                        writer.write_table(table)
                        taken += len(table)
                    if sink.count > MAX_BAD_SHARE * (taken + sink.count) or not taken + sink.count:
                        reasons = (
                            "; ".join(f"{r} ({n:,})" for r, n in sink.reasons.most_common(5))
                            or "the file holds no rows"
                        )
                        raise DataError(
                            f"{sink.count:,} of {taken + sink.count:,} rows of {path} are bad ({reasons}), "
                            "so nothing was written; an event needs a time and an action"
                        )
                    rows += taken
            with pa.memory_map(str(spill)) as source:
                table = pa.ipc.open_file(source).read_all()
                for start in range(0, rows, SEGMENT_ROWS):
                    shop.add_events(table.slice(start, SEGMENT_ROWS))
                del table
            kept = [str(p) for sink in sinks if (p := sink.keep())]
        finally:
            for sink in sinks:
                sink.__exit__(None, None, None)
    return _report("events", rows, sinks, begun, dict(zip(map(str, files), map(str, forms), strict=True)), kept)


def ingest_judgments(
    path: Path | str,
    shop: Shop,
    *,
    queries: Path | None = None,
    name: str = "default",
    locale: str | None = None,
    split: str | None = None,
) -> IngestReport:
    """Keeps the graded pairs of a file, with their gain map, under a name in the shop."""
    begun = time.perf_counter()
    path = Path(path)
    form = sniff(path)
    with Quarantine(quarantine_path(shop.folder, path), path, form.place) as sink:
        table, gains = read_judgments(path, queries=queries, locale=locale, split=split, quarantine=sink)
        shop.write_judgments(table, gains, name)
        kept = [str(p) for p in [sink.keep()] if p]
    return _report("judgments", len(table), [sink], begun, {str(path): str(form)}, kept)


def _report(
    kind: str,
    rows: int,
    sinks: Sequence[Quarantine],
    begun: float,
    files: dict[str, str],
    kept: Sequence[str],
    mapping: Mapping | None = None,
) -> IngestReport:
    reasons: Counter[str] = sum((sink.reasons for sink in sinks), Counter())
    return IngestReport(
        kind=kind, rows=rows, quarantined=reasons.total(), reasons=dict(reasons.most_common()), mapping=mapping,
        seconds=time.perf_counter() - begun, files=files, quarantine=tuple(kept),
    )  # fmt: skip
