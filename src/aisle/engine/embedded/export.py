"""Everything that a shop holds as Parquet files for other tools: catalogue, behaviour, requests, prices, judgments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aisle.core.atomic import write_file
from aisle.core.env import Progress, silent
from aisle.core.errors import DataError, UnknownName, nearest
from aisle.data.items import ItemTable
from aisle.data.shop import Shop
from aisle.data.shop_files import read_parquet
from aisle.engine.embedded.appliers import current_items
from aisle.engine.embedded.care import REQUESTS, requests_table
from aisle.engine.embedded.log import Log

BATCH_ROWS = 65_536


def export(shop: Shop, folder: Path, kinds: Sequence[str] = (), *, progress: Progress = silent) -> dict[str, int]:
    """Write ``<kind>.parquet`` for each kind (none named: all) into a folder.  Returns kind -> rows.

    Raises UnknownName for a kind that there is not, DataError when a file is there already.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise UnknownName(f"no kind of data {kind!r}{nearest(kind, KINDS)}")
    chosen = [kind for kind in KINDS if not kinds or kind in kinds]
    for kind in chosen:
        if (folder / f"{kind}.parquet").exists():
            raise DataError(f"{folder / f'{kind}.parquet'} exists already; choose a new folder")
    rows = {}
    for n, kind in enumerate(chosen):
        progress("export", n, len(chosen))
        rows[kind] = KINDS[kind](shop, folder / f"{kind}.parquet")
    progress("export", len(chosen), len(chosen))
    return rows


def _products(shop: Shop, path: Path) -> int:
    """The catalogue with everything that the log has accepted, deleted items left out."""
    if not shop.generation:
        return 0
    with_log = shop.log_path.exists()
    log = Log.open(shop.log_path, read_only=True, check=False) if with_log else None
    try:
        items = current_items(shop, log)
    finally:
        if log is not None:
            log.close()
    rows = np.flatnonzero(~items.tombstones)
    write_file(path, partial(_write_items, items, rows))
    return len(rows)


def _write_items(items: ItemTable, rows: np.ndarray, work: Path) -> None:
    first = items.row_table(rows[:0])
    with pq.ParquetWriter(work, first.schema, compression="zstd") as writer:
        for at in range(0, len(rows), BATCH_ROWS):
            writer.write_table(items.row_table(rows[at : at + BATCH_ROWS]))


def _events(shop: Shop, path: Path) -> int:
    """The segments, and what the log holds beyond them."""
    tables = [shop.events()]
    if shop.log_path.exists():
        with Log.open(shop.log_path, read_only=True, check=False) as log:
            tables.append(log.events_table(max(shop.events_through(), log.floor)))
    return _written(pa.concat_tables(tables), path)


def _requests(shop: Shop, path: Path) -> int:
    """Answered requests as JSON, those in segments and those in the log."""
    tables = [REQUESTS.empty_table(), *(read_parquet(p).replace_schema_metadata() for p in shop.request_segments())]
    if shop.log_path.exists():
        with Log.open(shop.log_path, read_only=True, check=False) as log:
            tables.append(requests_table(log, max(shop.requests_through(), log.floor), log.last_sequence))
    return _written(pa.concat_tables(tables), path)


def _prices(shop: Shop, path: Path) -> int:
    return _written(shop.prices(), path)


def _judgments(shop: Shop, path: Path) -> int:
    """All sets, with a column that names the set."""
    tables = []
    for name in shop.judgment_names():
        table = shop.judgments_table(name)[0]
        tables.append(table.append_column("set", pa.array([name] * len(table), pa.string())))
    return _written(pa.concat_tables(tables), path) if tables else 0


def _log(shop: Shop, path: Path) -> int:
    """Every record that the log still holds."""
    if not shop.log_path.exists():
        return 0
    with Log.open(shop.log_path, read_only=True, check=False) as log:
        return log.export(path)


def _written(table: pa.Table, path: Path) -> int:
    if len(table):
        write_file(path, lambda work: pq.write_table(table, work, compression="zstd"))
    return len(table)


KINDS: dict[str, Callable[[Shop, Path], int]] = {
    "products": _products,
    "events": _events,
    "requests": _requests,
    "prices": _prices,
    "judgments": _judgments,
    "log": _log,
}
