"""What a sample costs as tables grow, as processes join, coalesced and fused.

ids        tables filled with 1e5 to 3e7 ids, then batches of 4096 samples x 8 features over them, row-wise Adagrad; with more ids
           more of a batch are distinct (``distinct_share``), and fewer of their rows are in a cache
processes  1, 2 and 4 (gloo) on this machine's processors, each with its own batches of 4096 samples x 8 features
tables     100 features of 10,000 ids each: one call over coalesced tables against one ``Recis`` a feature
features   40 chains (hash, modulo, buckets, truncation): fused steps against one operation at a time
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from aisle.core.tables import Ids
from aisle.sparse.recis import Recis
from aisle.sparse.recis.compiled import FeatureEngine
from aisle.sparse.recis.features import Bucketize, Hash, Mod, SelectField, SequenceTruncate

SAMPLES, FEATURES, DIM, STEPS, ROUNDS = 4096, 8, 8, 10, 5
ADAGRAD = {"kind": "adagrad"}
NAMES = [f"f{n}" for n in range(FEATURES)]


def seconds(call: Callable[[], Any], rounds: int = ROUNDS) -> list[float]:
    out = []
    for _ in range(rounds + 1):
        start = perf_counter()
        call()
        out.append(perf_counter() - start)
    return out[1:]


def tables_of(names: list[str]) -> Any:
    return Recis(embeddings={n: {"dim": DIM} for n in names}, optimiser=ADAGRAD).build()


def drawn(rng: np.random.Generator, num_ids: int, shape: tuple[int, ...]) -> np.ndarray:
    """Zipf 1.2 cut off at ``num_ids``, by inverting its continuous form; popular ids anywhere."""
    u = rng.random(shape)
    rank = ((1 - u * (1 - num_ids**-0.2)) ** -5).astype(np.int64) - 1
    return rank * 2_654_435_761 % num_ids


def filled(num_ids: int) -> Any:
    """Tables with that many ids."""
    tables, each = tables_of(NAMES), num_ids // FEATURES
    for first in range(0, each, 1 << 17):
        ids = np.arange(first, min(first + (1 << 17), each))
        tables(dict.fromkeys(NAMES, ids))
    return tables


def by_ids(nums: list[int]) -> list[dict[str, Any]]:
    """Speed and memory with those many ids in all tables together; sizes take turns round by round."""
    every, rng = {num: filled(num) for num in nums}, np.random.default_rng(0)
    grad = torch.randn(SAMPLES, FEATURES * DIM)
    speed: dict[int, list[float]] = {num: [] for num in nums}
    distinct: dict[int, list[float]] = {num: [] for num in nums}
    for _ in range(ROUNDS + 1):
        for num, tables in every.items():
            batches = drawn(rng, num // FEATURES, (STEPS, FEATURES, SAMPLES))
            start = perf_counter()
            for ids in batches:
                tables.packed(dict(zip(NAMES, ids, strict=True))).backward(grad)
                tables.step()
            speed[num].append(STEPS * SAMPLES / (perf_counter() - start))
            distinct[num] = [len(np.unique(i)) / SAMPLES for i in batches.reshape(-1, SAMPLES)]
    rows = []
    for num, tables in every.items():
        plan = f"ids-{num:.0e}".replace("+0", "")
        rows += [
            _row("samples_per_s", plan, speed[num][1:]),
            {"metric": "bytes_per_id", "plan": plan, "value": tables.num_bytes / len(tables)},
            {"metric": "distinct_share", "plan": plan, "value": float(np.mean(distinct[num]))},
        ]
    most = max(nums, default=0)
    if 1_000_000 in nums and most > 1_000_000:
        ratios = np.divide(speed[most][1:], speed[1_000_000][1:])
        rows.append(_row("ratio_of_most_ids_to_1e6", "ids", ratios))
    return rows


def by_processes(num: int) -> dict[str, Any]:
    """Samples a second of all processes together; each forks before anything computes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    read, write = os.pipe()
    children = []
    for rank in range(num):
        child = os.fork()
        if child == 0:
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(num)}
            speed = _rank(num)
            if rank == 0:
                os.write(write, json.dumps(speed).encode())
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        return _row("samples_per_s", f"processes-{num}", json.loads(pipe.read()))


def _rank(num: int) -> list[float]:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    tables, rng = tables_of(NAMES), np.random.default_rng(dist.get_rank())
    grad, out = torch.randn(SAMPLES, FEATURES * DIM), []
    for _ in range(ROUNDS + 1):
        batches = drawn(rng, 100_000, (STEPS, FEATURES, SAMPLES))
        dist.barrier()
        start = perf_counter()
        for ids in batches:
            tables.packed(dict(zip(NAMES, ids, strict=True))).backward(grad)
            tables.step()
        dist.barrier()
        out.append(num * STEPS * SAMPLES / (perf_counter() - start))
    return out[1:]


def coalesced() -> list[dict[str, Any]]:
    names, rng, samples = [f"t{n}" for n in range(100)], np.random.default_rng(0), 256
    together, apart = tables_of(names), {n: tables_of([n]) for n in names}
    ids = {n: rng.integers(0, 10_000, samples) for n in names}
    grad, one = torch.randn(samples, 100 * DIM), torch.randn(samples, DIM)

    def step_together() -> None:
        together.packed(ids).backward(grad)
        together.step()

    def step_apart() -> None:
        for n in names:
            apart[n].packed({n: ids[n]}).backward(one)
            apart[n].step()

    lookups = 100 * samples
    speed = {p: [lookups / s for s in seconds(c)] for p, c in (("coalesced", step_together), ("apart", step_apart))}
    ratio = float(np.median(speed["coalesced"]) / np.median(speed["apart"]))
    rows = [_row("rows_per_s", plan, found) for plan, found in speed.items()]
    return [*rows, {"metric": "ratio_to_apart", "plan": "coalesced", "value": ratio}]


def fused() -> list[dict[str, Any]]:
    rng, samples, chains, columns = np.random.default_rng(0), 256, {}, {}
    for n in range(10):
        splits = np.concatenate([[0], rng.integers(0, 8, samples).cumsum()])
        columns |= {f"id{n}": rng.integers(0, 1 << 40, samples), f"price{n}": rng.random(samples) * 100}
        columns |= {f"seen{n}": Ids(rng.integers(0, 1 << 40, splits[-1]), splits)}
        chains[f"a{n}"] = [SelectField(field=f"id{n}"), Mod(divisor=1_000_003 + n)]
        chains[f"b{n}"] = [SelectField(field=f"id{n}"), Hash(seed=n), Mod(divisor=99_991 + n)]
        chains[f"c{n}"] = [SelectField(field=f"price{n}"), Bucketize(boundaries=tuple(range(1, 100, 3 + n)))]
        chains[f"d{n}"] = [SelectField(field=f"seen{n}"), SequenceTruncate(length=4), Mod(divisor=70_001 + n)]
    engine = FeatureEngine(chains)
    speed = {
        plan: [samples / s for s in seconds(lambda f=plan == "fused": engine(columns, fused=f), 20)]
        for plan in ("fused", "single")
    }
    ratio = float(np.median(speed["fused"]) / np.median(speed["single"]))
    rows = [_row("samples_per_s", plan, found) for plan, found in speed.items()]
    return [*rows, {"metric": "ratio_to_single", "plan": "fused", "value": ratio}]


def plotted(speed: dict[float, float], size: dict[float, float], joint: dict[int, float]) -> str:
    """Speed and memory over ids, and speed over processes, as SVG."""
    sys.path.append(str(Path(__file__).parents[1] / "simulate"))
    from _svg import Axis, lines

    ids, samples = Axis("ids", log=True), Axis("samples a second")
    parts = [
        lines("Speed", {"8 features, width 8": _curve(speed)}, ids, samples),
        lines("Memory", {"map and rows": _curve(size)}, ids, Axis("bytes an id")),
        lines("Processes on two processors", {"all together": _curve(joint)}, Axis("processes"), samples),
    ]
    moved = [part.replace("<svg", f'<svg y="{270 * n}"', 1) for n, part in enumerate(parts)]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 440 {270 * len(parts)}">'
    return "\n".join([head, *moved, "</svg>\n"])


def _curve(of: dict[Any, float]) -> tuple[np.ndarray, np.ndarray]:
    return np.array(list(of), float), np.array(list(of.values()))


def _row(metric: str, plan: str, found: Sequence[float]) -> dict[str, Any]:
    return {"metric": metric, "plan": plan, "value": float(np.median(found)), "low": min(found), "high": max(found)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ids", type=float, nargs="*", default=[1e5, 1e6, 1e7, 3e7])
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--plot", type=Path, help="SVG file for the curves")
    args = parser.parse_args()
    rows = [by_processes(num) for num in args.processes]  # first: they fork
    joint = {num: row["value"] for num, row in zip(args.processes, rows, strict=True)}
    rows += [
        {"metric": "ratio_to_one_process", "plan": f"processes-{num}", "value": joint[num] / joint[1]}
        for num in joint
        if num > 1 and 1 in joint
    ]
    torch.set_num_threads(1)
    rows += by_ids([int(num) for num in args.ids])
    if args.plot:
        of = {(row["metric"], row["plan"]): row["value"] for row in rows}
        speed, size = (
            {num: of[name, f"ids-{num:.0e}".replace("+0", "")] for num in args.ids}
            for name in ("samples_per_s", "bytes_per_id")
        )
        args.plot.write_text(plotted(speed, size, joint))
    rows += coalesced() + fused()
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
