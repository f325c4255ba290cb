"""Latency, memory and build time of the engine as the catalogue grows: 20,000 to 2,000,000 generated products.

Each size in a process of its own.  Up to 200,000 products have the MiniLM vector of their title; beyond that the vectors of
200,000 titles are repeated with noise (``NOISE`` a number, cosine about .94 to the original), because encoding a million
titles takes longer than the rest together.  Building two million takes 9 GB.  One query at a time; the query's vector is given.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
from generated import FACETS, percentiles, resident_mb, row, timed, title_vectors, world_of

from aisle import recipes
from aisle.core.lists import Array
from aisle.core.requests import Requests
from aisle.data.shop import Shop
from aisle.data.view import View
from aisle.engine.embedded.engine import EmbeddedEngine
from aisle.funnel import fit
from aisle.nn.encoders import Encoders
from aisle.recipes.environment import open_env

SIZES = (20_000, 200_000, 1_000_000, 2_000_000)
REAL = 200_000
NOISE = 0.018
K, QUERIES = 100, 100


def vectors_of(num_items: int) -> Array:
    """float32[I, D], unit rows."""
    if num_items <= REAL:
        return title_vectors(world_of(num_items))
    real_ND = title_vectors(world_of(REAL))
    rng = np.random.default_rng(1)
    out = np.empty((num_items, real_ND.shape[1]), np.float32)
    for n in range(0, num_items, 50_000):
        part = real_ND[np.arange(n, min(n + 50_000, num_items)) % REAL]
        part = part + NOISE * rng.standard_normal(part.shape, np.float32)
        out[n : n + len(part)] = part / np.linalg.norm(part, axis=1, keepdims=True)
    return out


def built(folder: Path, num_items: int) -> list[dict[str, Any]]:
    """A shop on disk with text and vectors."""
    plan = f"{num_items}"
    shop = Shop.create(folder)
    shop.write_generation([world_of(num_items).items])
    start = perf_counter()
    engine = EmbeddedEngine.build(shop.items(), shop.generation_folder())
    out = [row("build_s:text", plan, perf_counter() - start)]
    vectors_ND = vectors_of(num_items)
    start = perf_counter()
    engine.put_vectors("minilm", np.arange(num_items), vectors_ND)
    del vectors_ND
    engine.save_vectors("minilm")
    out.append(row("build_s:vectors", plan, perf_counter() - start))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return [*out, row("disk_mb", plan, size / 1e6)]


def served(folder: Path, num_items: int) -> list[dict[str, Any]]:
    """Latencies of a process that opens the shop, and the memory it ends up with."""
    plan = f"{num_items}"
    shop = Shop.open(folder)
    start = perf_counter()
    env = open_env(shop)
    funnel = fit(recipes.plan("hybrid"), View(shop.items()), env)
    out = [row("open_s", plan, perf_counter() - start)]
    queries = [q.text for q in world_of(min(num_items, REAL)).queries(QUERIES)]
    emb_QD = Encoders()["minilm"].encode(queries)
    requests = [
        Requests.make([q], limit=24, columns={"emb_minilm": e[None]}) for q, e in zip(queries, emb_QD, strict=True)
    ]
    masks = env.engine.compile(requests[0]).masks()
    arms = {
        "bm25": lambda n: env.engine.text.search([queries[n]], K, masks, {}),
        "vector": lambda n: env.engine.vectors("minilm").search(emb_QD[n : n + 1], K, masks),
        "page": lambda n: funnel.serve(requests[n], facets=FACETS, strict=True),
    }
    taken: dict[str, list[float]] = defaultdict(list)
    for n in range(3):
        for q in range(QUERIES):
            for name, arm in arms.items():
                env.engine.text.forget()  # each query is as good as new
                timed(lambda arm=arm, q=q: arm(q), taken[name])
        if n == 0:  # the first round warms up
            taken.clear()
    for name, times in taken.items():
        out += percentiles(plan, times, name)
    return [*out, row("resident_mb", plan, resident_mb())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--folder", type=Path, help="Used by the processes of one size.")
    parser.add_argument("--step", choices=("built", "served"))
    args = parser.parse_args()
    sizes = [int(size) for size in args.sizes.split(",")]
    if args.step:
        step = built if args.step == "built" else served
        print(json.dumps(step(args.folder, sizes[0])))
        return
    out: list[dict[str, Any]] = []
    for size in sizes:
        with TemporaryDirectory() as scratch:
            for step in ("built", "served"):
                command = [
                    sys.executable,
                    __file__,
                    "--sizes",
                    str(size),
                    "--step",
                    step,
                    "--folder",
                    f"{scratch}/shop",
                ]
                out += json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
