"""Reviews and external texts of a world as files beside a shop, for methods that read files.

Only what is displayed is written; what is true of it stays with the functions that make it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aisle.core.atomic import write_file
from aisle.core.lists import Array
from aisle.simulate.texts.context import about_items
from aisle.simulate.texts.reviews import reviews
from aisle.simulate.world import World

CHUNK = 50_000
"""Items whose texts are in memory at once."""


def write_reviews(world: World, folder: Path | str, most: int = 5) -> Path:
    """``reviews.parquet`` in ``folder``: up to ``most`` reviews of every item, columns as in ``Reviews.table``."""
    path = Path(folder) / "reviews.parquet"
    _write(world, path, lambda rows: reviews(world.items, world.truth, rows, most).table)
    return path


def write_external(world: World, folder: Path | str, each: int = 3) -> Path:
    """``external.parquet`` in ``folder``: ``each`` external texts about every item, columns item_id, source, text."""
    path = Path(folder) / "external.parquet"
    ids = world.items["item_id"].combine_chunks()

    def made(rows: Array) -> pa.Table:
        table = about_items(world.truth, rows, world.knobs.useful, world.knobs.falsehood, each).table
        return table.set_column(0, "item_id", ids.take(table["row"].combine_chunks()))

    _write(world, path, made)
    return path


def _write(world: World, path: Path, made: Callable[[Array], pa.Table]) -> None:
    def fill(work: Path) -> None:
        with pq.ParquetWriter(work, made(np.arange(0)).schema, compression="zstd") as writer:
            for start in range(0, world.num_items, CHUNK):
                writer.write_table(made(np.arange(start, min(start + CHUNK, world.num_items))))

    write_file(path, fill)
