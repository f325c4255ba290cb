"""Recall and latency of the vector index under filters: 200,000 generated products, MiniLM vectors of their titles.

Filters keep 100, 50, 10, 1 and 0.1% of the rows: at random, or whole categories in random order (``kin``), so that for most
queries the nearest rows are not allowed.  Recall@100 counts a row as found when its exact score reaches that of the true
100th: many products share a title.  One thread, one query at a time, the filters taking turns.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
from generated import percentiles, resident_mb, row, timed, title_vectors, world_of

from aisle.core.lists import Array
from aisle.core.requests import RowMasks
from aisle.engine.embedded.vectors import Vectors
from aisle.nn.encoders import Encoders
from aisle.simulate.world import World

SHARES = (1.0, 0.5, 0.1, 0.01, 0.001)
K, QUERIES, ROUNDS, PUTS = 100, 150, 3, 1000
EPSILON = 2e-6
"""Float32 sums in another order."""


def filters(world: World, rng: np.random.Generator) -> dict[str, Array]:
    """bool[I] by name."""
    num = world.num_items
    leaf = world.truth.leaf.astype(np.int64)
    place = rng.permutation(int(leaf.max()) + 1)[leaf] + rng.random(num)
    order = np.argsort(place)
    out = {}
    for share in SHARES:
        name = f"{100 * share:g}%"
        out[f"random-{name}"] = rng.random(num) < share
        out[f"kin-{name}"] = np.zeros(num, bool)
        out[f"kin-{name}"][order[: round(share * num)]] = True
    return out


def recalls(exact_QI: Array, bits: dict[str, Array], found: dict[str, list[Array]]) -> list[dict[str, Any]]:
    rows = []
    for name, mine in bits.items():
        share = []
        for score_I, items in zip(exact_QI, found[name], strict=True):
            allowed = score_I[mine]
            k = min(K, len(allowed))
            least = np.partition(allowed, len(allowed) - k)[len(allowed) - k]
            share.append((score_I[items] >= least - EPSILON).sum() / k)
        rows.append(row("recall@100", name, float(np.mean(share))))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=200_000)
    world = world_of(parser.parse_args().items)
    vectors_ND = title_vectors(world)
    query_QD = Encoders()["minilm"].encode([q.text for q in world.queries(QUERIES)])
    index = Vectors.empty(vectors_ND.shape[1])
    before, start = resident_mb(), perf_counter()
    index.put(np.arange(len(vectors_ND)), vectors_ND)
    index.train()
    out = [row("build_s", "vectors", perf_counter() - start), row("megabytes", "vectors", index.num_bytes / 1e6)]
    taken: dict[str, list[float]] = defaultdict(list)
    with TemporaryDirectory() as scratch:
        index = index.saved(Path(scratch))
        bits = filters(world, np.random.default_rng(0))
        one = np.zeros(1, np.int64)
        masks = {name: RowMasks(mine[None], one) for name, mine in bits.items()}
        found: dict[str, list[Array]] = defaultdict(list)
        for n in range(ROUNDS):
            for q in range(QUERIES):
                for name, mask in masks.items():
                    lists = timed(lambda m=mask, q=q: index.search(query_QD[q : q + 1], K, m), taken[name])
                    if n == 0:
                        found[name].append(lists.item)
        everything = masks["random-100%"]
        for n in range(PUTS):  # one changed row at a time, kept on disk, each found by the next search
            at = np.array([n * 7 % len(vectors_ND)])
            timed(lambda at=at, n=n: index.put(at, vectors_ND[n : n + 1]), taken["put"])
        for q in range(QUERIES):
            timed(lambda q=q: index.search(query_QD[q : q + 1], K, everything), taken["after-1000-puts"])
        out += recalls(query_QD @ vectors_ND.astype(np.float16).astype(np.float32).T, bits, found)
        out.append(row("resident_mb", "vectors", resident_mb() - before))
    for name, times in taken.items():
        out += percentiles(name, times)
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
