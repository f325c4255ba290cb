"""Where do the tables of a device leave those of the CPU?  ``gpu.py --find`` walks from the smallest part up and stops at the first
that differs.

Three sides do the same: the compiled tables, the operations for GPUs on CPU tensors, and the same on the device.  If only the
device stands apart, one of its operations errs; if only the compiled side does, look at this machine's compiled loops.

Legend: U distinct keys, D width of a vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from aisle.core.tables import Ids
from aisle.sparse.recis import Recis
from aisle.sparse.recis.device_engine import DeviceTables
from aisle.sparse.recis.device_map import DeviceMap, mixed
from aisle.sparse.recis.device_table import DeviceRows
from aisle.sparse.recis.layout import coalesced
from aisle.sparse.recis.spread import slice_of

SIDES = ("compiled", "torch on the CPU", "torch on the device")
CLOSE = 1e-4
"""Of the largest number: sums in another order differ by less."""
IDS, SAMPLES = 3000, 512
Answer = dict[str, np.ndarray]
"""Part of a part -> numbers."""


def find(device: str) -> tuple[str, str]:
    """(the first part that differs, or ""; what was seen), printing every part as it is checked."""
    for name, answers in parts(device):
        fault = compared(answers)
        print(f"{'DIFFERS' if fault else 'equal  '}  {name}{': ' + fault if fault else ''}", flush=True)
        if fault:
            return name, fault
    return "", "every part is equal on the three sides"


def compared(answers: dict[str, Answer]) -> str:
    """What differs between sides, and which stands apart; "" when nothing does."""
    (_, first), *others = answers.items()
    for part in first:
        for name, other in others:
            if first[part].shape != other[part].shape:
                return f"{part} has shape {other[part].shape} on {name}, {first[part].shape} on {next(iter(answers))}"
        values = {name: answer[part].astype(np.float64) for name, answer in answers.items()}
        largest = max((float(np.abs(v).max()) if v.size else 0.0) for v in values.values()) or 1.0
        apart = {
            name: min(_distance(value, v) for n, v in values.items() if n != name) for name, value in values.items()
        }
        if max(_distance(v, next(iter(values.values()))) for v in values.values()) > CLOSE * largest:
            worst = max(apart, key=lambda n: apart[n])
            far = np.argwhere(
                np.abs(values[worst] - next(v for n, v in values.items() if n != worst)) > CLOSE * largest
            )
            return f"{part}, by {apart[worst]:.3g} of {largest:.3g}, in {len(far)} places, first {far[0].tolist()}; apart: {worst}"
    return ""


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.nan_to_num(np.abs(one - other), nan=np.inf).max()) if one.size else 0.0


def parts(device: str) -> Iterator[tuple[str, dict[str, Answer]]]:
    """(name, side -> answer), from single operations to whole steps."""
    on = {SIDES[1]: torch.device("cpu"), SIDES[2]: torch.device(device)}
    for name, part in {
        "hash of keys": _hash,
        "distinct keys": _distinct,
        "id map": _map,
        "rows in blocks": _rows,
    }.items():
        reference, call = part()
        yield name, {"numpy": reference} | {side: call(d) for side, d in on.items()}
    kinds: dict[str, dict[str, Any]] = {
        "one table": {"item": {"dim": 16}},
        "width 3": {"item": {"dim": 3}},
        "mean": {"seen": {"dim": 16, "combiner": "mean"}},
        "tile": {"last": {"dim": 16, "combiner": "tile", "tile_len": 3}},
        "mean by id": {"brand": {"dim": 8, "reduce": "id"}},
        "admission": {"rare": {"dim": 8, "min_count": 3}},
        "eviction": {"item": {"dim": 16, "keep_steps": 2}},
        "a cap": {"item": {"dim": 16, "max_rows": 700}},
    }
    optimisers = ({"kind": "sgd"}, {"kind": "adagrad"}, {"kind": "adam"}, {"kind": "adam", "step": "row"})
    for kind, embeddings in kinds.items():
        for optimiser in optimisers:
            label = "-".join(map(str, optimiser.values()))
            yield from _steps(f"{kind}, {label}", embeddings, optimiser | {"lr": 0.01}, device)


def _steps(
    name: str, embeddings: dict[str, Any], optimiser: dict[str, Any], device: str
) -> Iterator[tuple[str, dict[str, Answer]]]:
    """Forward, gradients and vectors after the optimiser, for a few steps."""
    sides = _tables(embeddings, optimiser, device)
    rng = np.random.default_rng(0)
    for step in range(5):
        columns = _columns(rng)
        columns = {n: columns[n] for n in embeddings}
        outs = {side: tables(columns) for side, tables in sides.items()}
        seen = {side: {n: v.detach().cpu().numpy() for n, v in out.items()} for side, out in outs.items()}
        yield f"{name}: step {step}, vectors of the forward pass", seen
        for n in embeddings:
            target = torch.from_numpy(rng.standard_normal(seen[SIDES[0]][n].shape).astype(np.float32))
            for out in outs.values():
                (out[n] * target.to(out[n].device)).sum().backward()
        yield f"{name}: step {step}, gradients", {side: _gradients(tables) for side, tables in sides.items()}
        for tables in sides.values():
            tables.step()
        yield f"{name}: step {step}, tables after the optimiser", {s: _content(t) for s, t in sides.items()}


def _tables(embeddings: dict[str, Any], optimiser: dict[str, Any], device: str) -> dict[str, Any]:
    part = Recis(embeddings=embeddings, optimiser=optimiser, evict_every=2, block_rows=256, seed=3)
    given = (part.embeddings, {}, coalesced(part.embeddings, 1), part.optimiser)
    settings = {"seed": 3, "threads": 1, "block_rows": 256, "ready_ids": 0, "evict_every": 2}
    return {
        SIDES[0]: part.build(),
        SIDES[1]: DeviceTables(*given, **settings, device="cpu"),
        SIDES[2]: DeviceTables(*given, **settings, device=device),
    }


def _columns(rng: np.random.Generator) -> dict[str, Any]:
    splits = np.concatenate([[0], rng.integers(0, 5, SAMPLES).cumsum()])
    return {
        "item": rng.integers(0, IDS, SAMPLES),
        "seen": Ids(rng.integers(0, IDS, splits[-1]), splits),
        "last": Ids(rng.integers(0, IDS, splits[-1]), splits),
        "brand": rng.integers(0, 50, SAMPLES),
        "rare": rng.integers(0, 2000, SAMPLES),
    }


def _content(tables: Any) -> Answer:
    """Ids, vectors and slots by rising id."""
    return {f"{name}.{n}": v for name, ids, values in tables.content() for n, v in {"id": ids, **values}.items()}


def _gradients(tables: Any) -> Answer:
    """Gradients by rising id: rows stand in another order on each side."""
    out: Answer = {}
    for table, gradient in zip(tables.tables, tables.gradients(), strict=False):
        key, row = (torch.as_tensor(a).cpu().numpy() for a in table.ids.listed())
        key_of = dict(zip(row.tolist(), key.tolist(), strict=True))
        keys = np.array([key_of[r] for r in torch.as_tensor(gradient.row).cpu().tolist()], np.int64)
        order = np.argsort(keys)
        out |= {f"{gradient.table}.key": keys[order]}
        out |= {f"{gradient.table}.value": torch.as_tensor(gradient.value).cpu().numpy()[order]}
    return out


def _hash() -> tuple[Answer, Callable[[torch.device], Answer]]:
    key = np.random.default_rng(0).integers(0, 1 << 62, 4096) * np.array([1, -1] * 2048)
    return {"slice": slice_of(key)}, lambda d: {
        "slice": ((mixed(torch.from_numpy(key).to(d)) >> 48) & 0xFFFF).cpu().numpy()
    }


def _distinct() -> tuple[Answer, Callable[[torch.device], Answer]]:
    key = np.random.default_rng(1).integers(0, IDS, 20_000) << 45

    def call(device: torch.device) -> Answer:
        key_U, index = torch.unique(torch.from_numpy(key).to(device), return_inverse=True)
        return {"again": key_U[index].cpu().numpy(), "key_U": key_U.cpu().numpy()}

    return {"again": key, "key_U": np.unique(key)}, call


def _map() -> tuple[Answer, Callable[[torch.device], Answer]]:
    """Keys enter in batches and half of the first leave; every key is asked for its row, as the reference dictionary has it."""
    key = np.random.default_rng(2).permutation(1 << 20)[:30_000].astype(np.int64) << 30
    asked, gone = np.concatenate([key, key + 1]), key[:5_000]
    wanted = np.where(np.arange(len(asked)) < len(key), np.arange(len(asked)), -1)
    wanted[: len(gone)] = -1

    def call(device: torch.device) -> Answer:
        ids = DeviceMap(device)
        for first in range(0, len(key), 5_000):
            part = torch.from_numpy(key[first : first + 5_000]).to(device)
            ids.enter(part, torch.arange(first, first + len(part), device=device))
        ids.erase(torch.from_numpy(gone).to(device))
        place, found = ids.find(torch.from_numpy(asked).to(device))
        return {"row": torch.where(found, ids.row[place], -1).cpu().numpy()}

    return {"row": wanted}, call


def _rows() -> tuple[Answer, Callable[[torch.device], Answer]]:
    value = np.random.default_rng(3).standard_normal((5000, 5)).astype(np.float32)
    row = np.random.default_rng(4).permutation(5000)

    def call(device: torch.device) -> Answer:
        rows = DeviceRows({"vector": 5}, {"vector": torch.float32}, 100, device)
        rows.make_room(5000)
        rows.write("vector", torch.from_numpy(row).to(device), torch.from_numpy(value).to(device))
        read = rows.read("vector", torch.from_numpy(np.append(row, -1)).to(device))
        return {"vector": read.cpu().numpy()}

    return {"vector": np.vstack([value, np.zeros((1, 5), np.float32)])}, call
