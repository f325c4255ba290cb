"""RecIS: a sparse training core, id-keyed tables that grow, beside ordinary dense torch models (arXiv:2509.20883).

Card: docs/methods/recis.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from aisle.core.errors import SettingError
from aisle.core.method import Part
from aisle.core.tables import Embedding
from aisle.sparse.recis.features import Op
from aisle.sparse.recis.optimisers import Adam, Optimiser


class Recis(Part):
    """
    embeddings   feature -> how its ids become vectors
    features     feature -> how raw columns become its ids; without a chain a feature's ids are the column of its name
    optimiser    Adam, Adagrad or Sgd, on touched rows
    seed         of first values; with the id it decides them, so they do not depend on order, threads or processes
    threads      compute threads; each works on physical tables of its own
    block_rows   rows by which a table grows
    ready_ids    ids in all for which memory is touched beforehand: the first write to new memory may cost more than the step
    evict_every  steps between two looks for ids to drop
    device       ``cpu``: compiled loops; another: torch operations on that device, in one process
    unproven     allow a GPU before ``benchmarks/sparse/gpu.py --find`` has passed on one (docs/methods/recis.md)
    """

    embeddings: dict[str, Embedding]
    features: dict[str, tuple[Op, ...]] = {}
    optimiser: Optimiser = Adam()
    seed: int = Field(0, ge=0, lt=1 << 31)
    threads: int = Field(1, ge=1, le=64)
    block_rows: int = Field(10_240, ge=1)
    ready_ids: int = Field(0, ge=0)
    evict_every: int = Field(100, ge=1)
    device: str = "cpu"
    unproven: bool = False

    @model_validator(mode="after")
    def _tiles_have_a_length(self) -> Recis:
        for name, e in self.embeddings.items():
            if (e.combiner == "tile") != (e.tile_len > 0):
                raise ValueError(
                    f"feature {name!r} has combiner {e.combiner!r} and tile_len {e.tile_len}; only tile has one"
                )
        return self

    def build(self, env: Any = None) -> Any:
        """Tables, spread over the processes of ``torch.distributed`` where it is initialised.

        Raises SettingError for a GPU unless ``unproven`` is set.
        """
        if self.device.startswith("cuda") and not self.unproven:
            raise SettingError(
                f"device is {self.device!r}: tables on a GPU have not been proven equal to those on the CPU; use device='cpu', "
                "or run benchmarks/sparse/gpu.py --find on that GPU and set unproven=true when nothing differs"
            )
        from aisle.sparse.recis.device_engine import DeviceTables
        from aisle.sparse.recis.engine import RecisTables
        from aisle.sparse.recis.layout import coalesced

        layout = coalesced(self.embeddings, self.threads if self.device == "cpu" else 1)
        given = (self.embeddings, self.features, layout, self.optimiser)
        settings = {
            "seed": self.seed,
            "threads": self.threads,
            "block_rows": self.block_rows,
            "ready_ids": self.ready_ids,
            "evict_every": self.evict_every,
        }
        if self.device == "cpu":
            return RecisTables(*given, **settings)
        return DeviceTables(*given, device=self.device, **settings)

    def open(self, files: Mapping[str, Path]) -> Any:
        """Exported tables, memory-mapped and read-only.  Raises StateError when a file is missing or none."""
        from aisle.sparse.recis.served import ServedTables

        return ServedTables(self.embeddings, self.features, files)


METHOD = Recis
