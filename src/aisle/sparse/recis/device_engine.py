"""DeviceTables: ``RecisTables`` on a GPU (or any torch device), in one process.

Legend: B samples, W columns of all features together, P keys of one physical table, U distinct rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from aisle.core.errors import ContractError, SettingError
from aisle.core.tables import Ids, RowGradient
from aisle.sparse.recis.device_table import DeviceTable, pooled, unpooled
from aisle.sparse.recis.engine import RecisTables
from aisle.sparse.recis.layout import ID_BITS, ID_MASK


class DeviceTables(RecisTables):
    """The same contract; ids may come as numpy arrays or tensors of any device, vectors leave on ``device``."""

    def __init__(self, *args: Any, device: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        if self.lookup.num_ranks > 1:
            raise SettingError(f"device {device!r} in {self.lookup.num_ranks} processes; spread tables live on the CPU")
        self.device = torch.device(device)
        self.tables = [
            DeviceTable(t.kind, self.optimiser, seed=t.seed, block_rows=t.rows.block_rows, device=device)
            for t in self.tables
        ]

    def _look_up(
        self, ids: Mapping[str, Ids], training: bool, step: int, dtype: torch.dtype
    ) -> tuple[torch.Tensor, list[Any]]:
        num = len(next(iter(ids.values())))
        given = {name: self._moved(name, column, num) for name, column in ids.items()}
        out, taken = torch.empty(num, self.num_columns, device=self.device), []
        for physical, table in zip(self.layout, self.tables, strict=True):
            key = torch.cat([(given[f][0] & ID_MASK) | (c << ID_BITS) for f, c in physical.features.items()])
            sizes = [len(given[f][0]) for f in physical.features]
            if training:
                admits = torch.tensor(
                    [self.embeddings[f].admit == "all" for f in physical.features], device=self.device
                )
                times = torch.repeat_interleave(admits.long(), torch.tensor(sizes, device=self.device))
                index, row_U = table.look_up(key, times, step)
            else:
                index, row_U = table.read_only(key)
            vector = table.vectors(row_U)
            for f, part in zip(physical.features, index.split(sizes), strict=True):
                first, size = self.columns[f]
                _, splits, weight = given[f]
                out[:, first : first + size] = pooled(self.embeddings[f], vector, part, splits, weight, num)
            taken.append((given, index, sizes, row_U))
        return out.to(dtype), taken

    def _moved(self, name: str, column: Ids, num: int) -> tuple[torch.Tensor, Any, Any]:
        if len(column) != num:
            raise ContractError(f"feature {name!r} has {len(column)} samples, others have {num}")
        splits = None if column.splits is None else torch.as_tensor(column.splits).to(self.device)
        weight = None if column.weight is None else torch.as_tensor(column.weight).to(self.device)
        return torch.as_tensor(column.id).to(self.device, torch.int64), splits, weight

    def _receive(self, taken: list[Any], grad: torch.Tensor) -> None:
        grad = grad.detach().to(torch.float32)
        for physical, table, (given, index, sizes, row_U) in zip(self.layout, self.tables, taken, strict=True):
            value = torch.zeros(len(row_U), table.kind.dim, device=self.device)
            met = torch.zeros(len(row_U), device=self.device)
            for f, part in zip(physical.features, index.split(sizes), strict=True):
                e, (first, size) = self.embeddings[f], self.columns[f]
                if e.trainable:
                    _, splits, weight = given[f]
                    value.index_add_(0, part, unpooled(e, grad[:, first : first + size], part, splits, weight))
                    met.index_add_(0, part, torch.ones(len(part), device=self.device))
            if table.kind.reduce == "id":
                value = value / met.clamp(min=1)[:, None]
            table.pend(row_U, value)

    def gradients(self) -> list[RowGradient]:
        """What waits, each row once; values may be changed in place."""
        waiting = [(p.name, t.merged()) for p, t in zip(self.layout, self.tables, strict=True)]
        return [RowGradient(name, *merged) for name, merged in waiting if merged is not None]

    def export_changes(self, path: Any) -> int:
        raise ContractError("changes are noted on the CPU only; export the tables again")
