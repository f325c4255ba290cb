"""One arm of ``embedding_step.py`` in a process of its own: ``embedding_arms.py ARM THREADS``.

Reads a round number from each line of its input, takes the steps of that round, and prints the seconds they took.  fbgemm's
arm runs with the Python of its own environment (``benchmarks/peers/fbgemm.txt``), which knows nothing of aisle.

Legend: F features, B samples, D width of a vector, U distinct rows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import torch

F, B, D = 26, 4096, 16
IDS, ZIPF = 1_000_000, 1.2
STEPS = 20
READY = 3_000_000
"""Ids that aisle's tables have memory for from the start, as the peers have for all 26M; about half of them are met."""
LR = 0.01
RECORD = D + 1
"""Words of a row with one Adagrad sum."""


def batches(round_: int) -> list[torch.Tensor]:
    """STEPS of int64[F, B]: Zipf ids below IDS, popular ones anywhere."""
    share = np.cumsum(np.arange(1, IDS + 1) ** -ZIPF)
    name = np.random.default_rng(0).permutation(IDS)
    rng = np.random.default_rng(100 + round_)
    rank = np.searchsorted(share / share[-1], rng.random((STEPS, F, B))).clip(0, IDS - 1)
    return list(torch.from_numpy(name[rank]))


def recis(optimiser: str, threads: int) -> Callable[[torch.Tensor], None]:
    from aisle.sparse.recis import Recis

    embeddings = {f"f{n}": {"dim": D} for n in range(F)}
    tables = Recis(
        embeddings=embeddings, optimiser={"kind": optimiser, "lr": LR}, threads=threads, ready_ids=READY
    ).build()
    grad = torch.randn(B, F * D)

    def step(ids: torch.Tensor) -> None:
        tables.packed(dict(zip(embeddings, ids, strict=True))).backward(grad)
        tables.step()

    return step


def bound(threads: int) -> Callable[[torch.Tensor], float]:
    """The bytes that a row-wise Adagrad step must move, at addresses known beforehand: the distinct ids' map lines and rows are
    read, outputs written, gradients read and summed, rows written.  The look-up that finds the addresses is not in its time."""
    from numba import njit

    from aisle.core.tables import Ids
    from aisle.sparse.recis import Recis
    from aisle.sparse.recis.id_map import NO_TIMES
    from aisle.sparse.recis.lanes import ask, copy16, prefetch

    embeddings = {f"f{n}": {"dim": D} for n in range(F)}
    tables = Recis(embeddings=embeddings, optimiser={"kind": "adagrad"}, ready_ids=READY, threads=threads).build()
    grad = np.random.default_rng(0).standard_normal((B, F * D)).astype(np.float32)

    @njit(nogil=True)
    def touch(slot_U: Any, entry: Any, row_U: Any, data: Any) -> Any:
        total = np.int64(0)
        for u in range(len(slot_U)):
            if u + 32 < len(slot_U):
                prefetch(entry, 2 * slot_U[u + 32])
                ask(data, np.int64(row_U[u + 32]), RECORD)
            total += entry[2 * slot_U[u]]
        return total

    @njit(nogil=True)
    def write(row_U: Any, value: Any, data: Any) -> None:
        for u in range(len(row_U)):
            if u + 16 < len(row_U):
                ask(data, np.int64(row_U[u + 16]), RECORD)
            first = np.int64(row_U[u]) * RECORD
            copy16(value, u * D, data, first)
            data[first + D] = value[u * D]

    def step(ids: torch.Tensor) -> float:
        named = {f: Ids(i) for f, i in zip(embeddings, ids, strict=True)}
        known = []
        for joined, table in zip(tables._joined, tables.tables, strict=True):
            batch = joined(named, B)
            table.rows.make_room(table.ids.num_rows + len(batch.key))
            every = (len(batch.key), NO_TIMES, 1)
            found, slot_U, _ = table.ids.find_or_add(batch.keys(), *every, table.rows.data, table.rows.record)
            known.append((batch, found, slot_U))

        def move(n: int) -> None:
            (batch, found, slot_U), table = known[n], tables.tables[n]
            touch(slot_U, table.ids.entry, found.row, table.rows.data)
            table.pool(batch, found.index, table.source(found), out)
            value, _ = table.reduce(batch, found.index, len(found.row), grad, 1.0)
            write(found.row, value, table.rows.data)

        start = perf_counter()
        out = tables._outputs(B * F * D).reshape(B, F * D)
        tables.each(move, len(known))
        return perf_counter() - start

    return step


def fbgemm(threads: int) -> Callable[[torch.Tensor], None]:
    """fbgemm's table-batched embeddings on the CPU, fused row-wise Adagrad."""
    from fbgemm_gpu.split_embedding_configs import EmbOptimType
    from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation
    from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
        ComputeDevice,
        SplitTableBatchedEmbeddingBagsCodegen,
    )

    tables = SplitTableBatchedEmbeddingBagsCodegen(
        [(IDS, D, EmbeddingLocation.HOST, ComputeDevice.CPU)] * F,
        optimizer=EmbOptimType.EXACT_ROWWISE_ADAGRAD,
        learning_rate=LR,
        eps=1e-8,
    )
    tables.init_embedding_weights_uniform(-0.01, 0.01)
    grad, offsets = torch.randn(B, F * D), torch.arange(F * B + 1)

    def step(ids: torch.Tensor) -> None:
        tables(ids.reshape(-1), offsets).backward(grad)

    return step


def nn_embedding(threads: int) -> Callable[[torch.Tensor], None]:
    """One nn.Embedding of all rows, sparse gradients, SparseAdam."""
    table = torch.nn.Embedding(F * IDS, D, sparse=True)
    optimiser = torch.optim.SparseAdam(table.parameters(), lr=LR)
    grad, first = torch.randn(F, B, D), torch.arange(F)[:, None] * IDS

    def step(ids: torch.Tensor) -> None:
        table(ids + first).backward(grad)
        optimiser.step()
        optimiser.zero_grad()

    return step


def torch_rows(threads: int) -> Callable[[torch.Tensor], None]:
    """Row-wise Adam from torch's own operations: unique, index_add, and index on distinct rows."""
    weight, m, v = torch.randn(F * IDS, D) * 0.01, torch.zeros(F * IDS, D), torch.zeros(F * IDS, D)
    grad, first, steps = torch.randn(F * B, D), torch.arange(F)[:, None] * IDS, [0]

    def step(ids: torch.Tensor) -> None:
        with torch.no_grad():
            row, index = torch.unique((ids + first).reshape(-1), return_inverse=True)
            weight[row][index]
            g = torch.zeros(len(row), D).index_add_(0, index, grad)
            steps[0] += 1
            m_U, v_U = m[row].mul_(0.9).add_(g, alpha=0.1), v[row].mul_(0.999).addcmul_(g, g, value=0.001)
            m[row], v[row] = m_U, v_U
            size = LR * (1 - 0.999 ** steps[0]) ** 0.5 / (1 - 0.9 ** steps[0])
            weight[row] -= size * m_U / (v_U.sqrt() + 1e-8)

    return step


ARMS: dict[str, Callable[[int], Callable[[torch.Tensor], Any]]] = {
    "recis_adagrad": lambda threads: recis("adagrad", threads),
    "recis_adam": lambda threads: recis("adam", threads),
    "bound": bound,
    "fbgemm": fbgemm,
    "nn_embedding": nn_embedding,
    "torch_rows": torch_rows,
}


def main(arm: str, threads: int) -> None:
    torch.set_num_threads(threads)
    step = ARMS[arm](threads)
    print("ready", flush=True)
    for line in sys.stdin:
        made = batches(int(line))
        start = perf_counter()
        inner = [step(ids) for ids in made]
        seconds = perf_counter() - start
        print(sum(inner) if inner[0] is not None else seconds, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
