"""Table in torch operations, for a GPU; on CPU tensors it is the plain reference of the compiled one.

Legend: B samples, P keys of a batch, U distinct rows, D width of a vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from aisle.core.lists import Array
from aisle.core.tables import Embedding
from aisle.sparse.recis.device_map import DeviceMap, mixed
from aisle.sparse.recis.layout import Kind
from aisle.sparse.recis.row_kernels import GOLDEN
from aisle.sparse.recis.rows import COUNTS
from aisle.sparse.recis.table import _UNIT


class DeviceRows:
    """Slots by row in blocks that double: block b holds the rows from ``(2**b - 1) * block_rows``, so that few blocks hold many
    rows and none ever moves."""

    def __init__(
        self, sizes: Mapping[str, int], types: Mapping[str, torch.dtype], block_rows: int, device: Any
    ) -> None:
        self.sizes, self.types, self.block_rows, self.device = dict(sizes), dict(types), block_rows, device
        self.blocks: list[dict[str, torch.Tensor]] = []

    def make_room(self, num_rows: int) -> None:
        while ((1 << len(self.blocks)) - 1) * self.block_rows < num_rows:
            height = self.block_rows << len(self.blocks)
            self.blocks.append(
                {n: torch.zeros(height, s, dtype=self.types[n], device=self.device) for n, s in self.sizes.items()}
            )

    def read(self, name: str, row: torch.Tensor) -> torch.Tensor:
        """[N, size] of one slot."""
        out = torch.zeros(len(row), self.sizes[name], dtype=self.types[name], device=self.device)
        for b, block in enumerate(self.blocks):
            at, height = row - ((1 << b) - 1) * self.block_rows, self.block_rows << b
            inside = (at >= 0) & (at < height)
            out = torch.where(inside[:, None], block[name][at.clamp(0, height - 1)], out)
        return out

    def write(self, name: str, row: torch.Tensor, value: torch.Tensor) -> None:
        """Distinct rows."""
        for b, block in enumerate(self.blocks):
            at, height = row - ((1 << b) - 1) * self.block_rows, self.block_rows << b
            inside = (at >= 0) & (at < height)
            block[name][at[inside]] = value[inside].to(self.types[name])


class DeviceTable:
    """The same answers as ``Table``, for any torch device."""

    def __init__(self, kind: Kind, optimiser: Any, *, seed: int, block_rows: int, device: str) -> None:
        self.kind, self.optimiser, self.seed, self.device = kind, optimiser, seed, torch.device(device)
        slots = optimiser.slots(kind.dim)
        if kind.keep_steps or kind.max_rows:
            slots = slots | {"stamp": 1}
        types = {n: torch.int32 if n in COUNTS else torch.float32 for n in slots}
        types["vector"] = torch.bfloat16 if kind.dtype == "bfloat16" else torch.float32
        self.rows = DeviceRows({"vector": kind.dim} | slots, types, block_rows, self.device)
        self.ids = DeviceMap(self.device)
        self._pending: list[tuple[torch.Tensor, torch.Tensor]] = []

    def emptied(self) -> DeviceTable:
        """A new table of the same kind."""
        return DeviceTable(
            self.kind, self.optimiser, seed=self.seed, block_rows=self.rows.block_rows, device=str(self.device)
        )

    def __len__(self) -> int:
        return self.ids.num_rows - len(self.ids.free)

    @property
    def num_bytes(self) -> int:
        """Memory of the id map and of all blocks."""
        blocks = (t for block in self.rows.blocks for t in block.values())
        return 16 * len(self.ids.entry) + sum(t.numel() * t.element_size() for t in blocks)

    def look_up(self, key: torch.Tensor, times: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(int64[P] place of each key among the rows; int64[U] rows, -1 for none), entering keys met ``times`` > 0."""
        key_U, index = torch.unique(key, return_inverse=True)
        times_U = torch.zeros(len(key_U), dtype=torch.int64, device=self.device).index_add_(0, index, times)
        place, found = self.ids.find(key_U)
        before = torch.where(found, self.ids.row[place], torch.zeros_like(place))
        has = found & (before >= 0)
        met = times_U - torch.where(has, torch.zeros_like(before), before)
        admitted = ~has & (times_U > 0) & (met >= self.kind.min_count)
        row_U = torch.where(has, before, -met)
        new = self.ids.new_rows(int(admitted.sum()))
        row_U[admitted] = new
        self.rows.make_room(self.ids.num_rows)
        self.ids.row[place[found]] = torch.where(
            (times_U > 0)[found] | has[found], row_U[found], self.ids.row[place[found]]
        )
        absent = ~found & (times_U > 0)
        self.ids.enter(key_U[absent], row_U[absent])
        self._begin(key_U[admitted], new)
        row_U = torch.where(has | admitted, row_U, -1)
        if "stamp" in self.rows.sizes:
            real = row_U[row_U >= 0]
            self.rows.write("stamp", real, torch.full((len(real), 1), step, device=self.device))
        return index, row_U

    def _begin(self, key: torch.Tensor, row: torch.Tensor) -> None:
        for name, size in self.rows.sizes.items():
            self.rows.write(name, row, torch.zeros(len(row), size, device=self.device))
        if self.kind.init_std > 0:
            offset = (self.seed * GOLDEN) & ((1 << 64) - 1)
            signed = offset - (1 << 64) if offset >> 63 else offset
            start = mixed(key + signed)[:, None] + torch.arange(self.kind.dim, device=self.device)
            bits = mixed(start)
            total = sum((bits >> shift) & 0xFFFF for shift in (0, 16, 32, 48))
            std = torch.tensor(np.float32(self.kind.init_std * _UNIT), device=self.device)
            self.rows.write("vector", row, (total - 131070).to(torch.float32) * std)

    def read_only(self, key: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As ``look_up``, changing nothing."""
        place, found = self.ids.find(key)
        row = torch.where(found, self.ids.row[place], -1)
        return torch.arange(len(key), device=self.device), torch.where(row >= 0, row, -1)

    def vectors(self, row: torch.Tensor) -> torch.Tensor:
        """float32[N, D], 0 for row -1."""
        return self.rows.read("vector", row).to(torch.float32)

    def pend(self, row_U: torch.Tensor, value: torch.Tensor) -> None:
        """Keep a gradient float32[U, D] for the next step; rows of -1 are left out."""
        real = row_U >= 0
        self._pending.append((row_U[real], value[real]))

    def merged(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        if len(self._pending) > 1:
            row, index = torch.unique(torch.cat([r for r, _ in self._pending]), return_inverse=True)
            value = torch.zeros(len(row), self.kind.dim, device=self.device)
            self._pending = [(row, value.index_add_(0, index, torch.cat([v for _, v in self._pending])))]
        return self._pending[0] if self._pending else None

    def forget(self) -> None:
        self._pending = []

    def apply(self, scale: float, step: int, lr: float) -> Array:
        """The optimiser's step over what waits; returns nothing to note, since changes are exported from the CPU only."""
        merged = self.merged()
        self.forget()
        if merged is not None and len(merged[0]):
            row, value = merged
            slots = {n: self.rows.read(n, row) for n in self.optimiser.slots(self.kind.dim)}
            weight = self.vectors(row)
            changed, slots = stepped(self.optimiser, weight, slots, value * scale, step, lr)
            self.rows.write("vector", row, changed)
            for name, value in slots.items():
                self.rows.write(name, row, value)
        return np.zeros(0, np.int32)

    def evict(self, step: int) -> Array:
        """As ``Table.evict``."""
        if "stamp" not in self.rows.sizes:
            return np.zeros(0, np.int64)
        key, row = self.ids.listed()
        has = row >= 0
        self.ids.erase(key[~has])
        key, row = key[has], row[has]
        met = self.rows.read("stamp", row)[:, 0]
        keep = torch.ones(len(key), dtype=torch.bool, device=self.device)
        if self.kind.keep_steps:
            keep = met >= step - self.kind.keep_steps
        if self.kind.max_rows and int(keep.sum()) > self.kind.max_rows:
            order = torch.argsort(key)
            latest = order[torch.argsort(-met[order], stable=True)][: self.kind.max_rows]
            within = torch.zeros_like(keep)
            within[latest] = True
            keep = keep & within
        self.ids.erase(key[~keep])
        return key[~keep].cpu().numpy()

    def dump(self) -> tuple[Array, dict[str, Array]]:
        """As ``Table.dump``."""
        key, row = self.ids.listed()
        key, order = torch.sort(key)
        row = row[order]
        values = {n: self.rows.read(n, row) for n in self.rows.sizes}
        values = {n: (v[:, 0] if n in COUNTS else v.to(torch.float32)).cpu().numpy() for n, v in values.items()}
        return key.cpu().numpy(), values | {"waiting": (-row).clamp(min=0).to(torch.int32).cpu().numpy()}

    def fill(self, key: Array, values: Mapping[str, Array]) -> None:
        """As ``Table.fill``."""
        waiting = torch.from_numpy(values["waiting"].astype(np.int64)).to(self.device)
        row, has = -waiting, waiting == 0
        row[has] = self.ids.new_rows(int(has.sum()))
        self.rows.make_room(self.ids.num_rows)
        self.ids.enter(torch.from_numpy(key).to(self.device), row)
        for name, size in self.rows.sizes.items():
            self.rows.write(name, row[has], torch.from_numpy(values[name]).to(self.device).reshape(-1, size)[has])


def stepped(
    optimiser: Any, weight: torch.Tensor, slots: dict[str, torch.Tensor], grad: torch.Tensor, step: int, lr: float
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """(new vectors, new slots) of rows float32[U, D]: the formulas of ``optimisers.py``."""
    o, kept = optimiser, weight * optimiser.keep(lr)
    if o.kind == "sgd":
        return kept - lr * grad, {}
    if o.kind == "adagrad":
        square = grad.square()
        total = slots["s"] + (square.mean(1, keepdim=True) if o.sums == "row" else square)
        return kept - lr * grad / (total.sqrt() + o.eps), {"s": total}
    m = o.beta1 * slots["m"] + (1 - o.beta1) * grad
    v = o.beta2 * slots["v"] + (1 - o.beta2) * grad.square()
    new = {"m": m, "v": v}
    if o.step == "row":
        new["own_step"] = slots["own_step"] + 1
        t = new["own_step"].to(torch.float64)
        size = (lr * torch.sqrt(1 - o.beta2**t) / (1 - o.beta1**t)).to(torch.float32)
        return kept - size * m / (v.sqrt() + o.eps), new
    return kept - lr * o.bias(step) * m / (v.sqrt() + o.eps), new


def pooled(e: Embedding, vector: torch.Tensor, index: torch.Tensor, splits: Any, weight: Any, num: int) -> torch.Tensor:
    """float32[B, columns] of one feature, from the vectors [U, D] of the distinct rows, those of rows that are none being 0."""
    if splits is None and weight is None and e.combiner != "tile":
        return vector[index]
    owner, place, count = _places(index, splits, num)
    each = vector[index] if weight is None else vector[index] * weight[:, None]
    if e.combiner == "tile":
        out = torch.zeros(num, e.tile_len, e.dim, device=vector.device)
        within = place < e.tile_len
        out[owner[within], place[within]] = each[within]
        return out.reshape(num, -1)
    out = torch.zeros(num, e.dim, device=vector.device).index_add_(0, owner, each)
    return out / count.clamp(min=1)[:, None] if e.combiner == "mean" else out


def unpooled(e: Embedding, grad: torch.Tensor, index: torch.Tensor, splits: Any, weight: Any) -> torch.Tensor:
    """float32[P, D]: the gradient of each occurrence, from that of the feature's columns float32[B, columns]."""
    if splits is None and weight is None and e.combiner != "tile":
        return grad
    owner, place, count = _places(index, splits, len(grad))
    if e.combiner == "tile":
        padded = torch.nn.functional.pad(grad.reshape(len(grad), e.tile_len, e.dim), (0, 0, 0, 1))
        each = padded[owner, place.clamp(max=e.tile_len)]
    else:
        each = grad[owner]
    if e.combiner == "mean":
        each = each / count[owner][:, None]
    return each if weight is None else each * weight[:, None]


def _places(index: torch.Tensor, splits: Any, num: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(sample of each occurrence, its place in the sample, occurrences of each sample)."""
    if splits is None:
        splits = torch.arange(num + 1, device=index.device)
    count = splits.diff()
    owner = torch.repeat_interleave(torch.arange(num, device=index.device), count)
    return owner, torch.arange(len(index), device=index.device) - splits[owner], count
