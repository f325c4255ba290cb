"""Columnar training data: Parquet and ORC files in batches, read ahead, split over workers, with a position to go on from.

A unit is one row group (Parquet) or stripe (ORC); worker w of n reads units w, w + n, ... of what is left.  A position is
what was handed out, so reading ahead loses nothing, and positions of all workers together resume under any number of them.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
import torch.distributed as dist

from aisle.core.atomic import write_json
from aisle.core.errors import DataError, SettingError, StateError

Batch = dict[str, pa.Array]
_END = object()


class Reader:
    """Batches of columns, once over the files: ``for batch in reader``.

    files        Parquet (``.parquet``) or ORC (``.orc``) files; their order is the order of the data
    columns      which to read; None for all
    batch_rows   rows a batch; only the last may have fewer
    prefetch     batches read ahead by a thread; 0 reads when asked
    drop_last    leave a shorter last batch out
    """

    def __init__(
        self,
        files: Sequence[Path],
        columns: Sequence[str] | None = None,
        *,
        batch_rows: int = 4096,
        worker: int = 0,
        workers: int = 1,
        prefetch: int = 2,
        drop_last: bool = False,
    ) -> None:
        if not 0 <= worker < workers:
            raise SettingError(f"worker is {worker} of {workers}; give 0 to {workers - 1}")
        self.files, self.columns = [Path(f) for f in files], list(columns) if columns is not None else None
        self.batch_rows, self.worker, self.workers = batch_rows, worker, workers
        self.prefetch, self.drop_last = prefetch, drop_last
        self.units = [(f, g) for f, path in enumerate(self.files) for g in range(_num_groups(path))]
        self._read: dict[int, int] = {}
        self._mine = list(range(len(self.units)))[worker::workers]

    def state(self) -> dict[str, Any]:
        """Rows handed out by unit; -1 for a whole unit.  JSON."""
        return {"files": [p.name for p in self.files], "read": {str(u): n for u, n in self._read.items()}}

    def resume(self, states: Iterable[Mapping[str, Any]]) -> None:
        """Go on after what the workers of these states handed out; units that are left are dealt out anew.

        Raises StateError when a state is of other files.
        """
        self._read = {}
        for state in states:
            if state["files"] != [p.name for p in self.files]:
                raise StateError(f"the position is of {state['files'][:3]}..., not of these files; read from the start")
            self._read |= {int(u): n for u, n in state["read"].items()}
        left = [u for u in range(len(self.units)) if self._read.get(u, 0) != -1]
        self._mine = left[self.worker :: self.workers]

    def save(self, folder: Path) -> None:
        """The position of this worker, beside those of the others."""
        write_json(folder / f"reader_{self.worker}_of_{self.workers}.json", self.state())

    def load(self, folder: Path) -> None:
        """Go on from what any number of workers saved.  Raises StateError when none or not all did."""
        paths = sorted(folder.glob("reader_*_of_*.json"))
        if not paths or len(paths) != int(paths[0].stem.rpartition("_")[2]):
            raise StateError(f"{folder} holds {len(paths)} reader positions; every worker saves one")
        self.resume([json.loads(p.read_text()) for p in paths])

    def __iter__(self) -> Iterator[Batch]:
        source = self._batches()
        for batch, read in self._ahead(source) if self.prefetch else source:
            self._read |= read
            yield batch

    def _batches(self) -> Iterator[tuple[Batch, dict[int, int]]]:
        """(batch, what is read once it is handed out)."""
        parts: list[pa.Table] = []
        rows = 0
        read: dict[int, int] = {}
        for unit in self._mine:
            table = self._unit(unit)
            at = self._read.get(unit, 0)
            while at < len(table):
                take = min(self.batch_rows - rows, len(table) - at)
                parts.append(table.slice(at, take))
                rows, at = rows + take, at + take
                read[unit] = -1 if at == len(table) else at
                if rows == self.batch_rows:
                    yield _joined(parts), read
                    parts, rows, read = [], 0, {}
            read.setdefault(unit, -1)
        if rows and not self.drop_last:
            yield _joined(parts), read

    def _unit(self, unit: int) -> pa.Table:
        file, group = self.units[unit]
        path = self.files[file]
        try:
            if path.suffix == ".orc":
                from pyarrow import orc

                return pa.Table.from_batches([orc.ORCFile(path).read_stripe(group, self.columns)])
            import pyarrow.parquet as pq

            with pq.ParquetFile(path) as parquet:
                return parquet.read_row_group(group, self.columns, use_threads=False)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise DataError(f"{path} cannot be read ({error}); write it again or name other columns") from None

    def _ahead(self, source: Iterator[Any]) -> Iterator[Any]:
        """The same, made by a thread up to ``prefetch`` ahead; its error is raised here."""
        ready: queue.Queue[Any] = queue.Queue(self.prefetch)
        stop = threading.Event()

        def put(item: Any) -> bool:
            while not stop.is_set():
                try:
                    ready.put(item, timeout=0.1)
                    return True
                except queue.Full:
                    continue
            return False

        def work() -> None:
            try:
                for item in source:
                    if not put(item):
                        return
                put(_END)
            except Exception as error:
                put(error)

        thread = threading.Thread(target=work, name="aisle-reader", daemon=True)
        thread.start()
        try:
            while (item := ready.get()) is not _END:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            stop.set()
            thread.join()


def together(batches: Iterable[Any], group: Any = None) -> Iterator[Any]:
    """Batches until the first process of the group has none left, so that all make the same number of steps."""
    source = iter(batches)
    while True:
        batch = next(source, _END)
        going = torch.tensor(int(batch is not _END))
        dist.all_reduce(going, dist.ReduceOp.MIN, group=group)
        if not going:
            return
        yield batch


def _joined(parts: list[pa.Table]) -> Batch:
    table = pa.concat_tables(parts).combine_chunks()
    return {name: table.column(name).chunk(0) for name in table.column_names}


def _num_groups(path: Path) -> int:
    try:
        if path.suffix == ".orc":
            from pyarrow import orc

            return int(orc.ORCFile(path).nstripes)
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            return int(file.num_row_groups)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is no readable Parquet or ORC file ({error}); write or download it again") from None
