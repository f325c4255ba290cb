"""The tables on a GPU: equal to the compiled ones on the CPU, and how many samples a second.  ``gpu.py [--device cuda]``

``--find`` looks for the first part that differs instead (``gpu_find.py``), in about a minute, and ends with 1 when there is one.

Equality: 12 steps with every combiner, admission and eviction, three optimisers.  Speed: 26 id features, 1M ids each, Zipf 1.2,
vectors of 16 numbers, row-wise Adagrad and Adam, batches of 4096 and 16384, ids entered as they come; medians of 5 rounds.
"""

from __future__ import annotations

import argparse
import json
import sys
from time import perf_counter
from typing import Any

import numpy as np
import torch
from gpu_find import find

from aisle.core.tables import Ids
from aisle.sparse.recis import Recis

IDS, FEATURES, DIM, STEPS, ROUNDS = 1_000_000, 26, 16, 10, 5
EMBEDDINGS = {
    "item": {"dim": 16, "keep_steps": 4},
    "seen": {"dim": 16, "table": "item", "combiner": "mean", "keep_steps": 4},
    "last": {"dim": 16, "combiner": "tile", "tile_len": 3, "keep_steps": 4},
    "brand": {"dim": 8, "reduce": "id"},
    "rare": {"dim": 8, "min_count": 3},
}


def difference(optimiser: dict[str, Any], device: str) -> float:
    """The largest difference between any two vectors of the two sides over 12 steps, as a share of the largest number."""
    part = Recis(embeddings=EMBEDDINGS, optimiser=optimiser, evict_every=3)
    pair = part.build(), part.model_copy(update={"device": device, "unproven": True}).build()
    rng, worst, largest = np.random.default_rng(0), 0.0, 0.0
    for _ in range(12):
        splits = np.concatenate([[0], rng.integers(0, 5, 512).cumsum()])
        columns = {
            "item": rng.integers(0, 3000, 512),
            "seen": Ids(rng.integers(0, 3000, splits[-1]), splits),
            "last": Ids(rng.integers(0, 3000, splits[-1]), splits),
            "brand": rng.integers(0, 50, 512),
            "rare": rng.integers(0, 2000, 512),
        }
        outs = [{n: v.cpu() for n, v in tables(columns).items()} for tables in pair]
        for name in EMBEDDINGS:
            a, b = (o[name].detach() for o in outs)
            worst, largest = max(worst, float((a - b).abs().max())), max(largest, float(a.abs().max()))
        target = {n: torch.from_numpy(rng.standard_normal(v.shape).astype(np.float32)) for n, v in outs[0].items()}
        for tables, out in zip(pair, outs, strict=True):
            sum((out[n] * target[n]).sum() for n in out).backward()
            tables.step()
        if len(pair[0]) != len(pair[1]):
            return float("inf")
    return worst / largest


def speed(optimiser: dict[str, Any], device: str, samples: int) -> list[float]:
    """Samples a second of each round."""
    names = [f"f{n}" for n in range(FEATURES)]
    part = Recis(
        embeddings={n: {"dim": DIM} for n in names},
        optimiser=optimiser,
        device=device,
        unproven=True,
        block_rows=1 << 20,
    )
    tables = part.build()
    share = torch.from_numpy(np.cumsum(np.arange(1, IDS + 1) ** -1.2)).to(device)
    grad = torch.randn(samples, FEATURES * DIM, device=device)
    out = []
    for _ in range(ROUNDS + 1):
        drawn = torch.rand(STEPS, FEATURES, samples, dtype=torch.float64, device=device) * share[-1]
        batches = torch.searchsorted(share, drawn).clamp(max=IDS - 1)
        _wait(device)
        start = perf_counter()
        for ids in batches:
            tables.packed(dict(zip(names, ids, strict=True))).backward(grad)
            tables.step()
        _wait(device)
        out.append(STEPS * samples / (perf_counter() - start))
    return out[1:]


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--samples", type=int, nargs="+", default=[4096, 16384])
    parser.add_argument("--find", action="store_true", help="name the first part that differs from the CPU's")
    args = parser.parse_args()
    if args.find:
        sys.exit(bool(find(args.device)[0]))
    name = torch.cuda.get_device_name() if args.device.startswith("cuda") else args.device
    rows: list[dict[str, Any]] = [{"metric": "device", "plan": name, "value": None}]
    for optimiser in ({"kind": "adam"}, {"kind": "adagrad"}, {"kind": "sgd"}):
        value = difference(optimiser | {"lr": 0.01}, args.device)
        rows.append({"metric": "difference", "plan": optimiser["kind"], "value": value})
    for samples in args.samples:
        for kind in ("adagrad", "adam"):
            found = speed({"kind": kind, "lr": 0.01}, args.device, samples)
            plan, value = f"{kind}-{samples}", float(np.median(found))
            rows.append(
                {"metric": "samples_per_s", "plan": plan, "value": value, "low": min(found), "high": max(found)}
            )
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
