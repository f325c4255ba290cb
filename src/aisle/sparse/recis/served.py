"""ServedTables: exported tables as the same torch module that trained them, read-only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aisle.core.errors import ContractError, StateError, nearest
from aisle.core.tables import Embedding, RowGradient
from aisle.sparse.recis.engine import FeatureTables
from aisle.sparse.recis.features import Op
from aisle.sparse.recis.layout import coalesced
from aisle.sparse.recis.lookup import Local
from aisle.sparse.recis.serving import ServedTable, mapped


class ServedTables(FeatureTables):
    """Unknown ids are 0 and nothing learns; ``apply`` takes what ``export_changes`` wrote."""

    def __init__(
        self, embeddings: Mapping[str, Embedding], features: Mapping[str, Sequence[Op]], files: Mapping[str, Path]
    ) -> None:
        layout = coalesced(embeddings, 1)
        names = [f"tables_{p.name}.safetensors" for p in layout]
        for name in names:
            if name not in files:
                raise StateError(
                    f"the exported file {name!r} is missing{nearest(name, files)}; export the tables again"
                )
        served = [ServedTable(p, Path(files[n])) for p, n in zip(layout, names, strict=True)]
        super().__init__(embeddings, features, layout, served, Local(), 1)
        self.eval()

    def apply(self, path: Path) -> int:
        """Lay changed vectors over the exported ones.  Returns their number."""
        arrays, num = mapped(path), 0
        for n, table in enumerate(self.tables):
            if f"{n}.key" in arrays:
                table.put(arrays[f"{n}.key"], arrays[f"{n}.vector"])
                num += len(arrays[f"{n}.key"])
        return num

    def gradients(self) -> list[RowGradient]:
        return []

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Nothing waits."""

    def step(self, parts: int = 1, lr: float | None = None) -> None:
        self._refuse("step")

    def save(self, folder: Path) -> None:
        self._refuse("save")

    def load(self, folder: Path) -> None:
        self._refuse("load")

    def export(self, folder: Path) -> dict[str, Path]:
        self._refuse("export")
        return {}

    def _refuse(self, call: str) -> Any:
        raise ContractError(f"served tables are read-only and have no {call}(); build the tables to train them")
