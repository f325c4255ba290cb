"""Tables for serving: ids and vectors without the optimiser, memory-mapped and read-only, and the changes that follow.

A file holds one kind of table: ``entry``, the id map as it stands in memory, and ``vector``, by row.  Processes that map the
same file share its memory, and opening costs no reading.

Legend: P keys of a batch, N rows, D width of a vector.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aisle.core.atomic import write_file
from aisle.core.errors import ContractError, StateError
from aisle.core.lists import Array
from aisle.sparse.recis import map_kernels
from aisle.sparse.recis.id_map import Found, IdMap
from aisle.sparse.recis.layout import ID_BITS, Physical, coalesced
from aisle.sparse.recis.table import Source, Table, dense_source

COMPACT_AT = 1 << 22
"""Noted rows at which repeated ones are joined."""


class Changes:
    """Rows changed and keys dropped since an export, by physical table."""

    def __init__(self, num_tables: int) -> None:
        self.rows: list[list[Array]] = [[] for _ in range(num_tables)]
        self.dropped: list[list[Array]] = [[] for _ in range(num_tables)]
        self._noted = [0] * num_tables

    def note(self, changed: Sequence[Array], dropped: Sequence[Array] | None) -> None:
        for n, rows in enumerate(changed):
            self.rows[n].append(rows)
            self._noted[n] += len(rows)
            if self._noted[n] > COMPACT_AT:
                self.rows[n] = [np.unique(np.concatenate(self.rows[n]))]
                self._noted[n] = len(self.rows[n][0]) // 2
        for n, keys in enumerate(dropped or ()):
            self.dropped[n].append(keys)


def export(tables: Any, folder: Path) -> dict[str, Path]:
    """One file for each kind of table: name -> path."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {name: (ids, values) for name, ids, values in tables.content()}
    out = {}
    for physical in coalesced(tables.embeddings, 1):
        keys, vectors = [], []
        for child, name in enumerate(physical.children):
            ids, values = content[name]
            has = values["waiting"] == 0
            keys.append(ids[has] | (child << ID_BITS))
            vectors.append(values["vector"][has])
        key, vector = np.concatenate(keys), np.concatenate(vectors)
        ids_map = IdMap()
        ids_map.put(key, np.arange(len(key), dtype=np.int32))
        name = f"tables_{physical.name}.safetensors"
        _write(folder / name, {"entry": ids_map.entry, "vector": vector})
        out[name] = folder / name
    return out


def export_changes(tables: Any, changes: Changes | None, path: Path) -> int:
    """Write changed and dropped ids, each with its vector as it is now.  Raises ContractError before the first ``export``."""
    if changes is None:
        raise ContractError("nothing was exported yet; call export(folder) once, then export_changes(path)")
    served = {name: n for n, p in enumerate(coalesced(tables.embeddings, 1)) for name in p.children}
    arrays: dict[str, list[Array]] = {}
    total = 0
    for n, (physical, table) in enumerate(zip(tables.layout, tables.tables, strict=True)):
        rows = np.unique(np.concatenate([*changes.rows[n], np.zeros(0, np.int32)]))
        key, row = table.ids.listed()
        now = np.isin(row, rows)
        gone = np.concatenate([*changes.dropped[n], np.zeros(0, np.int64)])
        gone = gone[~np.isin(gone, key[row >= 0])]
        key = np.concatenate([key[now], gone])
        vector = np.concatenate([table.rows.read(row[now]), np.zeros((len(gone), table.kind.dim), np.float32)])
        total += len(key)
        for child, name in enumerate(physical.children):
            mine = (key >> ID_BITS) == child
            place = served[name]
            own = coalesced(tables.embeddings, 1)[place].children.index(name)
            moved = (key[mine] & ((1 << ID_BITS) - 1)) | (own << ID_BITS)
            arrays.setdefault(f"{place}.key", []).append(moved)
            arrays.setdefault(f"{place}.vector", []).append(vector[mine])
    _write(path, {name: np.concatenate(parts) for name, parts in arrays.items()})
    return total


def _write(path: Path, arrays: Mapping[str, Array]) -> None:
    from safetensors.numpy import save_file

    whole = {n: np.ascontiguousarray(a) for n, a in arrays.items()}
    write_file(path, lambda work: save_file(whole, work))


def mapped(path: Path) -> dict[str, Array]:
    """The arrays of a safetensors file, memory-mapped and read-only.  Raises StateError when it is none."""
    kinds = {"I64": np.int64, "F32": np.float32, "I32": np.int32}
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
        data = np.memmap(path, np.uint8, "r")
        out = {}
        for name, entry in header.items():
            if name != "__metadata__":
                low, high = (8 + size + o for o in entry["data_offsets"])
                out[name] = data[low:high].view(kinds[entry["dtype"]]).reshape(entry["shape"])
        return out
    except (OSError, ValueError, KeyError) as error:
        raise StateError(f"{path} holds no served table ({error}); export it again") from None


class ServedTable:
    """One exported file: what ``FeatureTables`` reads from.  ``put`` lays changed vectors over the file's."""

    def __init__(self, physical: Physical, path: Path) -> None:
        arrays = mapped(path)
        self.kind = physical.kind
        self.entry, self.vector = arrays["entry"], arrays["vector"]
        if self.vector.shape[1] != self.kind.dim:
            raise StateError(
                f"{path} has vectors of {self.vector.shape[1]} numbers, the settings say {self.kind.dim}; export it again"
            )
        self.payload, self.mask = self.entry.view(np.int32), len(self.entry) // 2 - 1
        self._newer, self._over = IdMap(), np.zeros((0, self.kind.dim), np.float32)

    def __len__(self) -> int:
        return len(self.vector)

    @property
    def num_bytes(self) -> int:
        return self.entry.nbytes + self.vector.nbytes + self._over.nbytes

    def read_only(self, key: Array) -> Found:
        """Rows of the keys; those of newer vectors stand behind the file's."""
        row_P = np.empty(len(key), np.int32)
        flat = self.vector.reshape(-1)
        map_kernels.find(key, self.entry, self.payload, self.mask, flat, self.kind.dim, row_P)
        if len(self._over):
            newer = self._newer.find(key, self._over.reshape(-1), self.kind.dim)
            row_P = np.where(newer >= 0, newer + np.int32(len(self.vector)), row_P)
        index = np.arange(len(key), dtype=np.int32)
        index[row_P < 0] = -1
        return Found(index, row_P)

    def source(self, found: Found) -> Source:
        if not len(self._over):
            return found.row, self.vector.reshape(-1), self.kind.dim
        new = found.row >= len(self.vector)
        vector = np.zeros((len(found.row), self.kind.dim), np.float32)
        old = ~new & (found.row >= 0)
        vector[old] = self.vector[found.row[old]]
        vector[new] = self._over[found.row[new] - len(self.vector)]
        return dense_source(vector)

    pool = Table.pool

    def put(self, key: Array, vector: Array) -> None:
        """Newer vectors, 0 for ids that were dropped."""
        row = self._newer.find(key, self._over.reshape(-1), self.kind.dim)
        known = row >= 0
        over = self._over.copy()
        over[row[known]] = vector[known]
        self._newer.put(key[~known], len(over) + np.arange((~known).sum(), dtype=np.int32))
        self._over = np.concatenate([over, vector[~known]])
