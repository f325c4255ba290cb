"""Checkpoints of tables: one safetensors file for each logical table and process, an index beside them, no pickle.

    FOLDER/tables.json                      written last, by rank 0: format, steps, processes, optimiser
    FOLDER/index_<r>_of_<n>.json            rank r: file -> its table and SHA-256
    FOLDER/<t>_<r>_of_<n>.safetensors       logical table number t of rank r: id, vector, waiting and every
                                            slot, row-aligned, by ascending id

Rows carry their ids, so any number of processes and threads loads what any other number saved.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed as dist

from aisle.core.atomic import file_hash, write_file, write_json
from aisle.core.errors import StateError

FORMAT = 1


def save(tables: Any, folder: Path) -> None:
    """Write the tables of this process.  Everybody waits for all before rank 0 writes ``tables.json``."""
    from safetensors.numpy import save_file

    rank, num = tables.lookup.rank, tables.lookup.num_ranks
    hashes = {}
    for n, (name, ids, values) in enumerate(tables.content()):
        path = folder / f"{n}_{rank}_of_{num}.safetensors"
        arrays = {"id": ids, **values}
        write_file(path, lambda work, arrays=arrays: save_file(arrays, work))
        hashes[path.name] = {"table": name, "sha256": file_hash(path)}
    write_json(folder / f"index_{rank}_of_{num}.json", hashes)
    if num > 1:
        dist.barrier(tables.lookup.group)
    if rank == 0:
        optimiser = tables.optimiser.model_dump(mode="json")
        write_json(
            folder / "tables.json",
            {"format": FORMAT, "steps": tables.steps, "processes": num, "optimiser": optimiser},
        )
    if num > 1:
        dist.barrier(tables.lookup.group)


def load(tables: Any, folder: Path) -> None:
    """Read what belongs to this process.

    What the tables hold already is forgotten: a trainer goes back to its best moment.  Raises StateError when a file is
    missing, differs from its hash, or was saved with another optimiser's slots.
    """
    from safetensors.numpy import load_file

    index = _read_json(folder / "tables.json")
    if index["format"] > FORMAT:
        raise StateError(
            f"{folder} was saved in format {index['format']}; this aisle reads up to {FORMAT}: update aisle"
        )
    if index["optimiser"]["kind"] != tables.optimiser.kind:
        raise StateError(
            f"{folder} was saved by {index['optimiser']['kind']!r}, the tables are trained by {tables.optimiser.kind!r}; "
            "build them with the same optimiser"
        )
    tables.clear()
    num = index["processes"]
    for rank in range(num):
        for name, entry in _read_json(folder / f"index_{rank}_of_{num}.json").items():
            path = folder / name
            if not path.exists() or file_hash(path) != entry["sha256"]:
                raise StateError(f"{path} is missing or does not have its recorded hash; use an older checkpoint")
            values = load_file(path)
            ids = values.pop("id")
            tables.enter(entry["table"], ids.astype(np.int64, copy=False), values)
    tables.steps = index["steps"]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StateError(f"{path} cannot be read ({error}); use an older checkpoint") from None
