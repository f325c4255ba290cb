"""RecisTables: the tables of many features as one torch module.

Legend: B samples, W columns of all features together, U distinct rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from aisle.core.errors import UnknownName, nearest
from aisle.core.lists import Array
from aisle.core.tables import Embedding, Ids, RowGradient
from aisle.sparse.recis.batch import as_ids, columns_of, joined
from aisle.sparse.recis.layout import coalesced
from aisle.sparse.recis.lookup import Local, Lookup, Spread
from aisle.sparse.recis.table import Table


class RecisTables(torch.nn.Module):
    """Tables that grow while ``training``; see ``aisle.core.tables.Tables``.

    tables   the physical tables
    columns  feature -> (first column, number of columns) in what ``packed`` returns
    steps    optimiser steps so far
    """

    def __init__(
        self,
        embeddings: Mapping[str, Embedding],
        optimiser: Any,
        *,
        seed: int = 0,
        threads: int = 1,
        block_rows: int = 10_240,
        evict_every: int = 100,
    ) -> None:
        super().__init__()
        self.embeddings, self.optimiser = dict(embeddings), optimiser
        self.layout = coalesced(self.embeddings, threads)
        self.columns = columns_of(self.layout, self.embeddings)
        self.tables = [Table(p.kind, optimiser, seed=seed, block_rows=block_rows) for p in self.layout]
        self.evict_every, self.steps = evict_every, 0
        self.lookup: Lookup = Spread() if dist.is_available() and dist.is_initialized() else Local()
        many = threads > 1 and len(self.tables) > 1 and isinstance(self.lookup, Local)
        self._pool = ThreadPoolExecutor(threads) if many else None
        self._anchor = torch.zeros((), requires_grad=True)

    def __len__(self) -> int:
        """Ids with a row in this process."""
        return sum(map(len, self.tables))

    @property
    def num_bytes(self) -> int:
        """Memory of maps and rows in this process."""
        return sum(t.num_bytes for t in self.tables)

    def forward(self, columns: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Feature -> float32[B, D], or [B, tile_len, D] for ``tile``."""
        out = self.packed(columns)
        parts = out.split([size for _, size in self.columns.values()], dim=1)
        named = dict(zip(self.columns, parts, strict=True))
        for name, e in self.embeddings.items():
            if e.combiner == "tile":
                named[name] = named[name].reshape(len(out), e.tile_len, e.dim)
        return {name: named[name] for name in self.embeddings}

    def packed(self, columns: Mapping[str, Any]) -> torch.Tensor:
        """float32[B, W]: all features side by side, in the order of ``self.columns``; no copy is made to join them."""
        ids = {name: as_ids(_column(columns, name)) for name in self.embeddings}
        if self.training and torch.is_grad_enabled():
            return _Packed.apply(self._anchor, self, ids)
        return self._look_up(ids, training=False)[0]

    def _look_up(self, ids: Mapping[str, Ids], training: bool) -> tuple[torch.Tensor, list[Any]]:
        num = len(next(iter(ids.values())))
        out = torch.from_numpy(np.empty((num, sum(size for _, size in self.columns.values())), np.float32))
        out_BW = out.numpy()

        def one(n: int) -> Any:
            batch = joined(self.layout[n], self.embeddings, self.columns, ids, num)
            return batch, self.lookup.forward(self.tables[n], batch, out_BW, training, self.steps + 1)

        return out, self._each(one)

    def _receive(self, taken: list[Any], grad: torch.Tensor) -> None:
        grad_BW: Array = grad.detach().to(torch.float32).contiguous().numpy()

        def one(n: int) -> None:
            batch, found = taken[n]
            self.lookup.backward(self.tables[n], batch, found, grad_BW)

        self._each(one)

    def gradients(self) -> list[RowGradient]:
        """What waits, each row once; values may be changed in place."""
        out = []
        for physical, table in zip(self.layout, self.tables, strict=True):
            merged = table.merged()
            if merged is not None:
                row_U, value = merged
                out.append(RowGradient(physical.name, torch.from_numpy(row_U), torch.from_numpy(value)))
        return out

    def step(self, parts: int = 1, lr: float | None = None) -> None:
        """Apply what waits, divided by ``parts``; every ``evict_every`` steps drop what is due."""
        self.steps += 1
        rate = self.optimiser.lr if lr is None else lr
        self._each(lambda n: self.tables[n].apply(1 / parts, self.steps, rate))
        if self.steps % self.evict_every == 0:
            self._each(lambda n: self.tables[n].evict(self.steps))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget what waits."""
        for table in self.tables:
            table.forget()

    def _each(self, call: Callable[[int], Any]) -> list[Any]:
        """``call`` for every physical table, side by side where there are threads."""
        numbers: Iterable[int] = range(len(self.tables))
        return list(self._pool.map(call, numbers) if self._pool else map(call, numbers))


class _Packed(torch.autograd.Function):
    """Carries gradients into the tables; the anchor is there because autograd follows tensors only."""

    @staticmethod
    def forward(ctx: Any, anchor: torch.Tensor, tables: RecisTables, ids: Mapping[str, Ids]) -> torch.Tensor:
        out, taken = tables._look_up(ids, training=True)
        ctx.tables, ctx.taken = tables, taken
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[None, None, None]:
        ctx.tables._receive(ctx.taken, grad)
        return None, None, None


def _column(columns: Mapping[str, Any], name: str) -> Any:
    if name not in columns:
        raise UnknownName(f"the batch has no column {name!r}{nearest(name, columns)}")
    return columns[name]
