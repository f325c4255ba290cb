"""Generated products with MiniLM vectors of their titles, and the folder in which peers find them.

Encoding 200,000 titles takes about three minutes on two cores, so vectors are kept in ``benchmarks/.cache``, as are the files
that peers read and the indexes that they build of them.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aisle.core.lists import Array
from aisle.nn.encoders import Encoders
from aisle.simulate.world import World

CACHE = Path(__file__).parent.parent / ".cache"
SEED = 11
FACETS = ("category", "brand", "colour", "material")
"""What every engine counts on a page."""


def world_of(num_items: int) -> World:
    return World.make(items=num_items, seed=SEED)


def title_vectors(world: World) -> Array:
    """float32[I, D]: each title's MiniLM vector, encoded once."""
    encoder = Encoders()["minilm"]
    path = CACHE / f"titles-{world.version}-{encoder.revision}.npy"
    if path.exists():
        return np.load(path)
    titles = world.items["title"].combine_chunks().dictionary_encode()
    vectors_ND = encoder.encode(titles.dictionary.to_pylist())[titles.indices.to_numpy()]
    CACHE.mkdir(exist_ok=True)
    np.save(path.with_suffix(".part.npy"), vectors_ND)
    os.replace(path.with_suffix(".part.npy"), path)
    return vectors_ND


def peers_folder(world: World) -> Path:
    """What peers read and build of a world, kept for the next run."""
    folder = CACHE / f"peers-{world.version}-{SEED}-{world.items.num_rows}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_for_peers(folder: Path, world: World, vectors_ND: Array, queries: Sequence[str], emb_QD: Array) -> None:
    """``items.parquet`` (text, category, brand, colour, material, price_cents), ``vectors.npy``, ``queries.json``, ``emb.npy``;
    the first two are left as they are where they stand."""
    np.save(folder / "emb.npy", emb_QD)
    (folder / "queries.json").write_text(json.dumps(list(queries)))
    if (folder / "items.parquet").exists():
        return
    items = world.items
    attributes = items["attributes"].to_pylist()
    of = [{a["name"]: a["text"] for a in row or () if a["text"]} for row in attributes]
    words = zip(
        *(items[name].to_pylist() for name in ("title", "brand", "category", "description")), attributes, strict=True
    )
    text = [
        " ".join([t or "", b or "", *(c or ()), d or "", *(a["text"] or "" for a in at or ())])
        for t, b, c, d, at in words
    ]
    columns = {
        "text": text,
        "category": [(c or [""])[0] for c in items["category"].to_pylist()],
        "brand": items["brand"],
        "colour": [o.get("colour", "") for o in of],
        "material": [o.get("material", "") for o in of],
        "price_cents": items["price_cents"],
    }
    np.save(folder / "vectors.npy", vectors_ND)
    pq.write_table(pa.table(columns), folder / "items.part.parquet")
    os.replace(folder / "items.part.parquet", folder / "items.parquet")


def ask_peer(name: str, script: Path, folder: Path) -> list[dict[str, Any]]:
    """Rows that a peer printed with the Python that ``AISLE_PEER_<NAME>`` names; one row that says why where it is not set."""
    variable = f"AISLE_PEER_{name.upper()}"
    python = os.environ.get(variable, "")
    if not Path(python).is_file():
        return [{"metric": "skipped", "plan": name, "value": None, "why": f"{variable} names no Python"}]
    done = subprocess.run([python, str(script), str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def timed(call: Callable[[], Any], into: list[float]) -> Any:
    """What a call returns; the milliseconds it took go into a list."""
    start = perf_counter()
    out = call()
    into.append((perf_counter() - start) * 1e3)
    return out


def percentiles(plan: str, taken_ms: Sequence[float], metric: str = "") -> list[dict[str, Any]]:
    suffix = f":{metric}" if metric else ""
    return [
        {"metric": f"p{share}_ms{suffix}", "plan": plan, "value": float(np.percentile(taken_ms, share))}
        for share in (50, 99)
    ]


def row(metric: str, plan: str, value: float) -> dict[str, Any]:
    return {"metric": metric, "plan": plan, "value": float(value)}


def ndcg(world: World, queries: Sequence[Any], found: Sequence[Array], k: int = 10) -> float:
    """Mean nDCG@k with gain 2^grade - 1; the ideal is the best k of the whole shop."""
    discount = 1 / np.log2(np.arange(2, k + 2))
    scores = []
    for query, rows in zip(queries, found, strict=True):
        gain_I = 2.0 ** world.grades(query).astype(float) - 1
        best = np.sort(np.partition(gain_I, len(gain_I) - k)[-k:])[::-1]
        mine = gain_I[np.asarray(rows[:k], np.int64)]
        scores.append((mine * discount[: len(mine)]).sum() / max((best * discount).sum(), 1e-9))
    return float(np.mean(scores))


def resident_mb() -> float:
    """Megabytes in memory now, mapped files that were read included."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6
