"""RecisTables: the tables of many features as one torch module.

Legend: B samples, W columns of all features together, U distinct rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from aisle.core.errors import UnknownName, nearest
from aisle.core.lists import Array
from aisle.core.tables import Embedding, Ids, RowGradient
from aisle.nn.threads import SideBySide
from aisle.sparse.recis import checkpoint, serving
from aisle.sparse.recis.batch import Batch, Joined, as_ids, columns_of
from aisle.sparse.recis.compiled import FeatureEngine
from aisle.sparse.recis.features import Op
from aisle.sparse.recis.layout import ID_BITS, Physical, child_of, id_of
from aisle.sparse.recis.lookup import Local, Lookup
from aisle.sparse.recis.memory import Recycled
from aisle.sparse.recis.spread import Spread, owner_of
from aisle.sparse.recis.table import Table


class FeatureTables(torch.nn.Module):
    """Raw columns to vectors over given physical tables: what training and serving share.

    columns  feature -> (first column, number of columns) in what ``packed`` returns
    """

    def __init__(
        self,
        embeddings: Mapping[str, Embedding],
        features: Mapping[str, Sequence[Op]],
        layout: list[Physical],
        tables: Sequence[Any],
        lookup: Lookup,
        threads: int,
    ) -> None:
        super().__init__()
        self.embeddings, self.layout, self.tables, self.lookup = dict(embeddings), layout, list(tables), lookup
        self.columns = columns_of(layout, self.embeddings)
        self.num_columns = sum(size for _, size in self.columns.values())
        self.chains = FeatureEngine(features) if features else None
        self._joined = [Joined(physical, self.embeddings, self.columns) for physical in layout]
        self._outputs = Recycled()
        self.each = SideBySide(min(threads, len(self.tables)))

    def __len__(self) -> int:
        """Ids with a row in this process."""
        return sum(map(len, self.tables))

    @property
    def num_bytes(self) -> int:
        """Memory of maps and rows in this process."""
        return sum(t.num_bytes for t in self.tables)

    def forward(self, columns: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Feature -> float32[B, D], or [B, tile_len, D] for ``tile``; declared features without an embedding come as they are,
        float32[B, k]."""
        made = self.chains(columns) if self.chains else {}
        out = self._packed({name: made.get(name) or _column(columns, name) for name in self.embeddings})
        parts = out.split([size for _, size in self.columns.values()], dim=1)
        named = dict(zip(self.columns, parts, strict=True))
        for name, e in self.embeddings.items():
            if e.combiner == "tile":
                named[name] = named[name].reshape(len(out), e.tile_len, e.dim)
        plain = {name: torch.from_numpy(c.dense(name)) for name, c in made.items() if name not in self.embeddings}
        return {name: named[name] for name in self.embeddings} | plain

    def packed(self, columns: Mapping[str, Any], dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """float32[B, W]: all features side by side, in the order of ``self.columns``; no copy is made to join them.

        With bfloat16 they are rounded as they are written, and bfloat16 gradients are read as they come: a model that computes
        in bfloat16 saves two passes over both.
        """
        made = self.chains(columns) if self.chains else {}
        return self._packed({name: made.get(name) or _column(columns, name) for name in self.embeddings}, dtype)

    def _packed(self, columns: Mapping[str, Any], dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return self._look_up({name: _ids(column, name) for name, column in columns.items()}, False, 0, dtype)[0]

    def _look_up(
        self, ids: Mapping[str, Ids], training: bool, step: int, dtype: torch.dtype
    ) -> tuple[torch.Tensor, list[Any]]:
        num = len(next(iter(ids.values())))
        size = num * self.num_columns
        # Sums of several ids are not rounded one by one.
        rounds = dtype == torch.bfloat16 and all(c.splits is None and c.weight is None for c in ids.values())
        flat = self._outputs((size + 1) // 2).view(np.uint16)[:size] if rounds else self._outputs(size)
        out_BW = flat.reshape(num, self.num_columns)

        def batch_of(n: int) -> Batch:
            return self._joined[n](ids, num)

        taken = self.lookup.forward(self.each, self.tables, batch_of, out_BW, training, step)
        out = torch.from_numpy(out_BW)
        return out.view(torch.bfloat16) if rounds else out.to(dtype), taken


class RecisTables(FeatureTables):
    """Tables that grow while ``training``; see ``aisle.core.tables.Tables``.

    steps  optimiser steps so far
    """

    def __init__(
        self,
        embeddings: Mapping[str, Embedding],
        features: Mapping[str, Sequence[Op]],
        layout: list[Physical],
        optimiser: Any,
        *,
        seed: int,
        threads: int,
        block_rows: int,
        ready_ids: int,
        evict_every: int,
    ) -> None:
        admits_all = [all(embeddings[f].admit == "all" for f in p.features) for p in layout]
        tables = [
            Table(p.kind, optimiser, seed=seed, block_rows=block_rows, admits_all=all_)
            for p, all_ in zip(layout, admits_all, strict=True)
        ]
        for table in tables:
            table.make_ready(ready_ids // len(tables))
        spread = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        super().__init__(embeddings, features, layout, tables, Spread() if spread else Local(), threads)
        self.optimiser, self.evict_every, self.steps = optimiser, evict_every, 0
        self._anchor = torch.zeros((), requires_grad=True)
        self._changes: serving.Changes | None = None
        self._arriving: list[Callable[[], None]] = []

    def _packed(self, columns: Mapping[str, Any], dtype: torch.dtype = torch.float32) -> torch.Tensor:
        if not (self.training and torch.is_grad_enabled()):
            return super()._packed(columns, dtype)
        return _Packed.apply(self._anchor, self, {name: _ids(column, name) for name, column in columns.items()}, dtype)

    def _receive(self, taken: list[Any], grad: torch.Tensor) -> None:
        grad = grad.detach().contiguous()
        grad_BW: Array = (grad.view(torch.uint16) if grad.dtype == torch.bfloat16 else grad.to(torch.float32)).numpy()

        arrive = self.lookup.backward(self.each, self.tables, taken, grad_BW)
        if arrive is not None:
            self._arriving.append(arrive)

    def _arrive(self) -> None:
        """Let the gradients come in that are on their way from other processes."""
        for arrive in self._arriving:
            arrive()
        self._arriving = []

    def gradients(self) -> list[RowGradient]:
        """What waits, each row once; values may be changed in place."""
        self._arrive()
        out = []
        for physical, table in zip(self.layout, self.tables, strict=True):
            merged = table.merged()
            if merged is not None:
                row_U, value = merged
                out.append(RowGradient(physical.name, torch.from_numpy(row_U), torch.from_numpy(value)))
        return out

    def step(self, parts: int = 1, lr: float | None = None) -> None:
        """Apply what waits, divided by ``parts``; every ``evict_every`` steps drop the ids that are due."""
        self._arrive()
        self.steps += 1
        rate = self.optimiser.lr if lr is None else lr
        changed = self.each(lambda n: self.tables[n].apply(1 / parts, self.steps, rate), len(self.tables))
        due = self.steps % self.evict_every == 0
        dropped = self.each(lambda n: self.tables[n].evict(self.steps), len(self.tables)) if due else None
        if self._changes is not None:
            self._changes.note(changed, dropped)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget what waits."""
        self._arrive()
        for table in self.tables:
            table.forget()

    # --- whole tables ---

    def clear(self) -> None:
        """Forget every id and what waits."""
        self._arrive()
        self.tables = [table.emptied() for table in self.tables]

    def content(self) -> Iterator[tuple[str, Array, dict[str, Array]]]:
        """(logical table, its ids int64[N], their vectors and slots) of what this process holds, table by table."""
        for physical, table in zip(self.layout, self.tables, strict=True):
            key, values = table.dump()
            child = child_of(key)
            for c, name in enumerate(physical.children):
                mine = slice(*np.searchsorted(child, [c, c + 1]))
                yield name, id_of(key[mine]), {n: v[mine] for n, v in values.items()}

    def enter(self, name: str, ids: Array, values: Mapping[str, Array]) -> None:
        """Ids of a logical table with vectors and slots, those that this process owns.  Raises UnknownName."""
        for physical, table in zip(self.layout, self.tables, strict=True):
            if name in physical.children:
                key = ids | (physical.children.index(name) << ID_BITS)
                if self.lookup.num_ranks > 1:
                    own = owner_of(key, self.lookup.num_ranks) == self.lookup.rank
                    key, values = key[own], {n: v[own] for n, v in values.items()}
                table.fill(key, values)
                return
        names = [child for physical in self.layout for child in physical.children]
        raise UnknownName(f"no table {name!r}{nearest(name, names)}")

    def save(self, folder: Path) -> None:
        """Everything, optimiser included; with several processes every one of them calls this."""
        checkpoint.save(self, folder)

    def load(self, folder: Path) -> None:
        """What ``save`` wrote, under any number of processes, in place of all that is held.  Raises StateError when damaged."""
        checkpoint.load(self, folder)

    def export(self, folder: Path) -> dict[str, Path]:
        """Files for serving; what changes from here on is the next ``export_changes``.  One process only."""
        files = serving.export(self, folder)
        self._changes = serving.Changes(len(self.tables))
        return files

    def export_changes(self, path: Path) -> int:
        """Write what changed since the last export to one file.  Returns the number of rows; see ``ServedTables.apply``."""
        num = serving.export_changes(self, self._changes, path)
        self._changes = serving.Changes(len(self.tables))
        return num


class _Packed(torch.autograd.Function):
    """Carries gradients into the tables; the anchor is there because autograd follows tensors only."""

    @staticmethod
    def forward(
        ctx: Any, anchor: torch.Tensor, tables: RecisTables, ids: Mapping[str, Ids], dtype: torch.dtype
    ) -> torch.Tensor:
        out, taken = tables._look_up(ids, True, tables.steps + 1, dtype)
        ctx.tables, ctx.taken = tables, taken
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[None, None, None, None]:
        ctx.tables._receive(ctx.taken, grad)
        return None, None, None, None


def _column(columns: Mapping[str, Any], name: str) -> Any:
    if name not in columns:
        raise UnknownName(f"the batch has no column {name!r}{nearest(name, columns)}")
    return columns[name]


def _ids(column: Any, name: str) -> Ids:
    return column.as_ids(name) if hasattr(column, "as_ids") else as_ids(column)
