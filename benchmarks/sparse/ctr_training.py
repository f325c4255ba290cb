"""Whole training steps of one click model, its tables and its dense part: what the tables add to the dense part alone.

26 id features and 13 numbers, vectors of 16 numbers, batches of 4096, a multilayer perceptron of 400, 400, 400 (DNN) or three cross
layers beside it (DCNv2); labels from a planted model, so that areas under the curve can be compared.  Arms: aisle's tables,
``nn.Embedding`` with SparseAdam (``sparse.plain``), and the dense part alone on given vectors.  Ids in all: 1e4, 1e6, 2.6e7.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from time import perf_counter
from typing import Any

import numpy as np
import torch

from aisle.sparse.plain import Plain
from aisle.sparse.recis import Recis

F, NUMBERS, B, D, STEPS, ROUNDS = 26, 13, 4096, 16, 20, 5
NAMES = [f"f{n}" for n in range(F)]
EMBEDDINGS = {n: {"dim": D} for n in NAMES}


class Dense(torch.nn.Module):
    """The dense part: DNN, or DCNv2 (cross layers beside it)."""

    def __init__(self, model: str) -> None:
        super().__init__()
        width = F * D + NUMBERS
        sizes = [width, 400, 400, 400]
        layers = [m for a, b in pairwise(sizes) for m in (torch.nn.Linear(a, b), torch.nn.ReLU())]
        self.deep = torch.nn.Sequential(*layers)
        self.cross = torch.nn.ModuleList([torch.nn.Linear(width, width) for _ in range(3 if model == "dcnv2" else 0)])
        self.head = torch.nn.Linear(400 + (width if model == "dcnv2" else 0), 1)

    def forward(self, vectors: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        x = torch.cat([vectors, numbers], 1)
        deep, crossed = self.deep(x), x
        for layer in self.cross:
            crossed = x * layer(crossed) + crossed
        return self.head(torch.cat([deep, crossed], 1) if len(self.cross) else deep)[:, 0]


def samples(num_ids: int, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """(int64[F, B] Zipf ids, float32[B, 13] numbers, float32[B] labels of a planted additive model)."""
    each, rng = num_ids // F, np.random.default_rng(seed)
    while True:
        u = rng.random((F, B))
        rank = ((1 - u * (1 - each**-0.2)) ** -5).astype(np.int64) - 1
        ids = rank * 2_654_435_761 % each
        numbers = rng.standard_normal((B, NUMBERS)).astype(np.float32)
        effect = np.sin(ids * 12.9898 + np.arange(F)[:, None]).sum(0) * 0.6 + numbers[:, 0] - 1
        label = (rng.random(B) < 1 / (1 + np.exp(-effect))).astype(np.float32)
        yield torch.from_numpy(ids), torch.from_numpy(numbers), torch.from_numpy(label)


def arm(kind: str, model: str, num_ids: int) -> tuple[Callable[[Any], float], Callable[[Any], torch.Tensor]]:
    """(a training step, scores without learning)."""
    torch.manual_seed(0)
    dense = Dense(model)
    optimiser = torch.optim.Adam(dense.parameters(), lr=1e-3)
    tables: Any = None
    if kind == "recis":
        tables = Recis(embeddings=EMBEDDINGS, optimiser={"kind": "adam", "lr": 1e-3}).build()
    elif kind == "plain":
        tables = Plain(embeddings=EMBEDDINGS, rows=num_ids // F).build()
    fixed = (torch.randn(B, F * D) * 0.01).requires_grad_()

    def vectors(ids: torch.Tensor) -> torch.Tensor:
        if tables is None:
            return fixed
        columns = dict(zip(NAMES, ids, strict=True))
        return tables.packed(columns) if kind == "recis" else torch.cat(list(tables(columns).values()), 1)

    def step(batch: Any) -> float:
        ids, numbers, label = batch
        loss = torch.nn.functional.binary_cross_entropy_with_logits(dense(vectors(ids), numbers), label)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        if tables is not None:
            tables.step()
        return loss.item()

    def score(batch: Any) -> torch.Tensor:
        if tables is not None:
            tables.eval()
        with torch.inference_mode():
            out = dense(vectors(batch[0]), batch[1])
        if tables is not None:
            tables.train()
        return out

    return step, score


def auc(score: np.ndarray, label: np.ndarray) -> float:
    rank = score.argsort().argsort() + 1
    good = label.sum()
    return float((rank[label == 1].sum() - good * (good + 1) / 2) / (good * (len(label) - good)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ids", type=float, nargs="+", default=[1e4, 1e6, 2.6e7])
    parser.add_argument("--models", nargs="+", default=["dnn", "dcnv2"])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows: list[dict[str, Any]] = []
    for model in args.models:
        for num in map(int, args.ids):
            kinds = ["recis", "dense"] + (["plain"] if num <= 1_000_000 else [])  # 26M rows with moments take 5 GB
            arms = {kind: arm(kind, model, num) for kind in kinds}
            data, taken = samples(num, 0), {kind: [] for kind in kinds}
            for n in range(args.rounds + 1):
                batches = [next(data) for _ in range(STEPS)]
                for kind, (step, _) in arms.items():
                    start = perf_counter()
                    for batch in batches:
                        step(batch)
                    if n:
                        taken[kind].append(perf_counter() - start)
            held = [next(samples(num, 999 + n)) for n in range(4)]
            label = np.concatenate([b[2].numpy() for b in held])
            speed = {kind: STEPS * B / float(np.median(s)) for kind, s in taken.items()}
            for kind, value in speed.items():
                plan = f"{model}-{num:.1e}-{kind}".replace("+0", "")
                rows.append({"metric": "samples_per_s", "plan": plan, "value": value})
                if kind != "dense":
                    found = auc(np.concatenate([arms[kind][1](b).numpy() for b in held]), label)
                    rows.append({"metric": "auc", "plan": plan, "value": found})
            plan = f"{model}-{num:.1e}".replace("+0", "")
            rows.append({"metric": "ratio_to_dense_alone", "plan": plan, "value": speed["dense"] / speed["recis"]})
            if "plain" in speed:
                rows.append({"metric": "ratio_to_plain", "plan": plan, "value": speed["recis"] / speed["plain"]})
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
