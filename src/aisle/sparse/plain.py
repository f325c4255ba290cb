"""Plain tables: torch's ``nn.Embedding`` with ``SparseAdam``, of a fixed number of rows; the baseline of ``sparse.recis``.

An id stands at row ``id mod rows``: ids beyond that share rows.  Forward and state are torch's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from aisle.core.atomic import write_file
from aisle.core.errors import ContractError, SettingError, StateError
from aisle.core.method import Part
from aisle.core.tables import Embedding, Ids, RowGradient


class Plain(Part):
    """
    embeddings  feature -> how its ids become vectors; sum and mean, float32, every id admitted
    rows        of each table
    lr          of SparseAdam, otherwise at torch's defaults
    seed        of first values
    """

    embeddings: dict[str, Embedding]
    rows: int = Field(100_000, ge=1)
    lr: float = Field(1e-3, gt=0)
    seed: int = 0

    def build(self, env: Any = None) -> PlainTables:
        return PlainTables(self)

    def open(self, files: Mapping[str, Path]) -> PlainTables:
        """Exported tables, read into memory.  Raises StateError when the file is missing."""
        if "plain.safetensors" not in files:
            raise StateError("the exported file 'plain.safetensors' is missing; export the tables again")
        tables = PlainTables(self)
        tables.read(Path(files["plain.safetensors"]))
        return tables.eval()


class PlainTables(torch.nn.Module):
    """See ``aisle.core.tables.Tables``."""

    def __init__(self, settings: Plain) -> None:
        super().__init__()
        self.settings = settings
        random = torch.Generator().manual_seed(settings.seed)
        tables: dict[str, torch.Tensor] = {}
        for name, e in settings.embeddings.items():
            if e.combiner == "tile" or e.dtype != "float32" or e.min_count > 1 or e.keep_steps or e.max_rows:
                raise SettingError(f"feature {name!r} asks plain tables for {e}; use sparse.recis")
            if (e.table or name) not in tables:
                tables[e.table or name] = torch.randn(settings.rows, e.dim, generator=random) * e.init_std
        # Not parameters: the model's own optimiser must not see them.
        self._weight = {name: weight.requires_grad_() for name, weight in tables.items()}
        self._optimiser = torch.optim.SparseAdam(list(self._weight.values()), lr=settings.lr)

    def forward(self, columns: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Feature -> float32[B, D]."""
        return {name: self._one(columns[name], e, e.table or name) for name, e in self.settings.embeddings.items()}

    def _one(self, column: Any, e: Embedding, table: str) -> torch.Tensor:
        ids = column if isinstance(column, Ids) else Ids(column)
        weight = self._weight[table] if e.trainable else self._weight[table].detach()
        row = torch.as_tensor(ids.id) % self.settings.rows
        if ids.splits is None and ids.weight is None and row.ndim == 1:
            return torch.nn.functional.embedding(row, weight, sparse=True)
        if row.ndim == 2:
            return torch.nn.functional.embedding_bag(row, weight, mode=e.combiner, sparse=True)
        splits = np.arange(len(row) + 1) if ids.splits is None else ids.splits
        vector = torch.nn.functional.embedding(row, weight, sparse=True)
        if ids.weight is not None:
            vector = vector * torch.as_tensor(ids.weight)[:, None]
        count = torch.as_tensor(np.diff(np.asarray(splits)))
        owner = torch.repeat_interleave(torch.arange(len(count)), count)
        out = torch.zeros(len(count), e.dim).index_add(0, owner, vector)
        return out / count.clamp(min=1)[:, None] if e.combiner == "mean" else out

    def gradients(self) -> list[RowGradient]:
        """What waits; values may be changed in place."""
        out = []
        for name, weight in self._weight.items():
            if weight.grad is not None:
                weight.grad = weight.grad.coalesce()
                out.append(RowGradient(name, weight.grad.indices()[0], weight.grad.values()))
        return out

    def step(self, parts: int = 1, lr: float | None = None) -> None:
        """SparseAdam over what waits, divided by ``parts``."""
        for group in self._optimiser.param_groups:
            group["lr"] = self.settings.lr if lr is None else lr
        if parts != 1:
            for gradient in self.gradients():
                gradient.value.div_(parts)
        self._optimiser.step()
        self.zero_grad()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget what waits."""
        for weight in self._weight.values():
            weight.grad = None

    def save(self, folder: Path) -> None:
        """Weights and moments in one file."""
        arrays = {f"{n}.weight": w.detach().numpy() for n, w in self._weight.items()}
        for name, weight in self._weight.items():
            for slot, value in self._optimiser.state.get(weight, {}).items():
                arrays[f"{name}.{slot}"] = np.asarray(value)
        _write(folder / "plain.safetensors", arrays)

    def load(self, folder: Path) -> None:
        """The inverse of ``save``.  Raises StateError when the file is missing."""
        self.read(folder / "plain.safetensors")

    def read(self, path: Path) -> None:
        from safetensors.numpy import load_file

        if not path.exists():
            raise StateError(f"{path} is missing; save the tables first")
        arrays = load_file(path)
        for name, weight in self._weight.items():
            weight.data.copy_(torch.from_numpy(arrays[f"{name}.weight"]))
            if f"{name}.step" in arrays:
                self._optimiser.state[weight] = {
                    "step": arrays[f"{name}.step"].item(),
                    "exp_avg": torch.from_numpy(arrays[f"{name}.exp_avg"].copy()),
                    "exp_avg_sq": torch.from_numpy(arrays[f"{name}.exp_avg_sq"].copy()),
                }

    def export(self, folder: Path) -> dict[str, Path]:
        """Weights without moments."""
        path = folder / "plain.safetensors"
        _write(path, {f"{n}.weight": w.detach().numpy() for n, w in self._weight.items()})
        return {path.name: path}


def _write(path: Path, arrays: Mapping[str, Any]) -> None:
    from safetensors.numpy import save_file

    if not arrays:
        raise ContractError("there is no table to write")
    write_file(path, lambda work: save_file({n: np.ascontiguousarray(a) for n, a in arrays.items()}, work))


METHOD = Plain
