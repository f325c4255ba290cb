"""Checkpoints: ``step-<n>/`` with ``state.safetensors``, ``checkpoint.json`` and the folders that tables write.  No pickle.

A checkpoint is written beside its place and renamed, so a run that was killed finds the last whole one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aisle.core.atomic import disk_errors, file_hash, sync, sync_tree
from aisle.core.errors import StateError
from aisle.training.distributed import ALONE, Workers

FORMAT = 1
PLACE = re.compile(r"step-(\d+)")


@dataclass
class Checkpoint:
    """tensors: name -> tensor. values: JSON. folder: where it lies, for what tables wrote into ``tables/``."""

    step: int
    tensors: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors called ``name/...``, without the prefix."""
        return {k.removeprefix(f"{name}/"): v for k, v in self.tensors.items() if k.startswith(f"{name}/")}


def save(point: Checkpoint, home: Path, keep: int, tables: Any = None, workers: Workers = ALONE) -> None:
    """Write a checkpoint and forget all but the last ``keep``.  Every process calls this: tables write their shards.

    Raises OSError where the disk does not take it; the checkpoints before it stay.
    """
    place = home / f"step-{point.step:09d}"
    work = home / f".{place.name}.writing"
    try:
        if workers.rank == 0:
            home.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
        workers.barrier()
        if tables is not None:
            tables.save(work / "tables")
        workers.barrier()
        if workers.rank == 0:
            _write(point, work)
            shutil.rmtree(place, ignore_errors=True)
            os.replace(work, place)
            sync(home)
            for _, old in _places(home)[:-keep]:
                shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    workers.barrier()


def _write(point: Checkpoint, work: Path) -> None:
    """The checkpoint's two files, and the whole folder on disk."""
    from safetensors.torch import save_file

    path = work / "state.safetensors"
    with disk_errors(path):
        save_file({name: t.detach().cpu().contiguous().clone() for name, t in point.tensors.items()}, path)
    record = {"format": FORMAT, "step": point.step, "hash": file_hash(path), "values": point.values}
    (work / "checkpoint.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    sync_tree(work)


def latest(home: Path) -> Checkpoint | None:
    """The last whole checkpoint of a folder, or None.  Raises StateError when it is damaged."""
    from safetensors.torch import load_file

    places = _places(home)
    if not places:
        return None
    step, place = places[-1]
    path = place / "state.safetensors"
    try:
        record: Mapping[str, Any] = json.loads((place / "checkpoint.json").read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise StateError(
                f"{place} has format {record['format']!r}; this aisle reads {FORMAT}: remove it, or update"
            )
        if file_hash(path) != record["hash"]:
            raise StateError(f"{path} does not have its recorded hash; remove {place} to go on from the one before")
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, StateError):
            raise
        raise StateError(f"{place} is damaged ({error}); remove it to go on from the one before") from None
    return Checkpoint(step, load_file(path), dict(record["values"]), place)


def _places(home: Path) -> list[tuple[int, Path]]:
    if not home.is_dir():
        return []
    found = ((PLACE.fullmatch(path.name), path) for path in home.iterdir())
    return sorted((int(match[1]), path) for match, path in found if match)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Everything an optimiser remembers, as ``<parameter number>/<name>``."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}/{name}": torch.as_tensor(value) for number, values in state.items() for name, value in values.items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of ``optimizer_tensors``; rates and groups are the optimiser's own."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition("/")
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
