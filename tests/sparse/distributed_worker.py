"""The processes of ``test_distributed.py``: four, each with the environment that torchrun gives, forked after the imports.

``distributed_worker.py FOLDER``: groups of the first 1, 2 and 4 ranks take ten steps of a small model, each rank on its share of
the batches, and save; two do so again through sockets; groups of the first 1, 2 and 3 load what four saved and take one more
step.  Each rank writes ``<mode>_<rank>_of_<n>.npz``.  Then four send each other messages of many lengths in both ways.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from aisle.core.tables import Ids
from aisle.sparse.recis import Recis
from aisle.sparse.recis.exchange import Collectives
from aisle.sparse.recis.reader import together
from aisle.sparse.recis.shared import exchange_of
from aisle.sparse.recis.spread import Spread

STEPS, SAMPLES = 10, 24
PART = Recis(
    embeddings={
        "item": {"dim": 6},
        "seen": {"dim": 6, "table": "item", "combiner": "mean"},
        "look": {"dim": 6, "table": "item", "admit": "read_only"},
        "brand": {"dim": 3, "reduce": "id"},
        "rare": {"dim": 4, "min_count": 3},
    },
    optimiser={"kind": "adam", "lr": 0.01},
)


def share(step: int, rank: int, num: int) -> tuple[dict, torch.Tensor]:
    """This rank's samples of a global batch and their targets."""
    rng = np.random.default_rng(step)
    items, seen = rng.integers(0, 60, SAMPLES), rng.integers(0, 60, (SAMPLES, 3))
    brand, rare, look = rng.integers(0, 9, SAMPLES), rng.integers(0, 30, SAMPLES), rng.integers(0, 90, SAMPLES)
    target = torch.from_numpy(rng.standard_normal(SAMPLES).astype(np.float32))
    own = slice(rank * SAMPLES // num, (rank + 1) * SAMPLES // num)
    flat = seen[own].reshape(-1)
    columns = {
        "item": items[own],
        "seen": Ids(flat, np.arange(0, len(flat) + 1, 3)),
        "look": look[own],
        "brand": brand[own],
        "rare": rare[own],
    }
    return columns, target[own]


def loss_of(tables: torch.nn.Module, step: int, rank: int, num: int) -> torch.Tensor:
    columns, target = share(step, rank, num)
    out = tables(columns)
    score = (out["item"] * out["seen"]).sum(1) + out["look"].sum(1) + out["brand"].sum(1) + out["rare"].sum(1)
    return (10 * score - target).square().mean()


def work(folder: Path, mode: str, rank: int, num: int, group: dist.ProcessGroup) -> None:
    tables = PART.build()
    tables.lookup = Spread(group)
    if mode == "sockets":
        tables.lookup._way = Collectives(group)
    losses = []
    if mode != "load":
        for step in range(STEPS):
            loss = loss_of(tables, step, rank, num)
            loss.backward()
            tables.step()
            losses.append(loss.item())
        if mode == "train":
            tables.save(folder / f"saved_{num}")
        made = len(list(together(range(3 + rank), group)))
        assert made == 3, f"{made} steps; the shortest rank has 3"
    else:
        tables.load(folder / "saved_4")
        loss_of(tables, STEPS, rank, num).backward()
        tables.step()
        tables.save(folder / f"next_{num}")
    np.savez(folder / f"{mode}_{rank}_of_{num}.npz", loss=np.array(losses), size=len(tables))


def messages(folder: Path, group: dist.ProcessGroup) -> None:
    """Writes ``messages_<rank>.npz``: by way and message, whether all that arrived is what was sent."""
    rank, ranks = dist.get_rank(), range(4)
    right = {}
    for way in (exchange_of(group), Collectives(group)):
        seen = []
        for size in (0, 3, 50_000, 7, 200_000):
            sizes = [[size * (r + 1) * (s + 2) // 8 for s in ranks] for r in ranks]  # [from, to]
            words = [np.arange(n) + 7 * rank for n in sizes[rank]]
            got = way.swap([[w[: len(w) // 2], w[len(w) // 2 :]] for w in words])
            seen.append([np.array_equal(g, np.arange(sizes[r][rank]) + 7 * r) for r, g in enumerate(got)])
            numbers = [[w.astype(np.float32)] for w in words]
            first = way.send(numbers, [sizes[r][rank] for r in ranks])
            second = way.send(numbers, [sizes[r][rank] for r in ranks])  # while the first is on its way
            for arriving in (first, second):
                expected = [(np.arange(sizes[r][rank]) + 7 * r).astype(np.float32) for r in ranks]
                seen.append([np.array_equal(g, e) for g, e in zip(arriving(), expected, strict=True)])
        right[type(way).__name__] = np.array(seen)
    np.savez(folder / f"messages_{rank}.npz", **right)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    groups = {num: dist.new_group(list(range(num))) for num in (1, 2, 3, 4)}
    for mode, num in (("train", 1), ("train", 2), ("train", 4), ("sockets", 2), ("load", 1), ("load", 2), ("load", 3)):
        if rank < num:
            work(folder, mode, rank, num, groups[num])
        dist.barrier()
    messages(folder, groups[4])
    dist.destroy_process_group()


if __name__ == "__main__":
    children = []
    for rank in range(4):
        child = os.fork()
        if child == 0:
            os.environ["RANK"] = str(rank)
            main(Path(sys.argv[1]))
            os._exit(0)
        children.append(child)
    sys.exit(max(os.waitpid(child, 0)[1] for child in children) and 1)
