"""The peer's side of ``impacts.py``: runs with the Python of its own environment (``benchmarks/peers/seismic.txt``).

``impacts_seismic.py FOLDER``: reads ``bags.npz``, prints one JSON row a setting and leaves its answers in ``found-<n>.npy``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter

import numpy as np
import seismic

K = 100
ROUNDS = 3
POSTINGS, BUILDERS = 20_000, 2
"""Postings kept a term, enough for recall .998 and more; threads that build."""
SETTINGS = [(10, 0.7), (20, 1.0), (20, 0.9), (20, 0.8)]
"""Terms of a query looked at, share of the K-th score that a block must promise: quicker to more exact."""


def main(folder: Path) -> None:
    bags = np.load(folder / "bags.npz")
    num = len(bags["splits"]) - 1
    ids = [str(n) for n in range(num)]
    text = seismic.get_seismic_string()
    queries = [
        (bags["query_term"][a:b].astype(str).astype(text), bags["query_weight"][a:b])
        for a, b in zip(bags["query_splits"][:-1], bags["query_splits"][1:], strict=True)
    ]
    start = perf_counter()
    data = seismic.SeismicDataset()
    data.add_documents_by_id(ids, bags["term"].astype(np.int64), bags["weight"], bags["splits"])
    index = seismic.SeismicIndex.build_from_dataset(data, n_postings=POSTINGS, num_threads=BUILDERS)
    build_s = perf_counter() - start
    for n, (cut, factor) in enumerate(SETTINGS):
        taken, found = [], np.full((len(queries), K), -1)
        for _ in range(ROUNDS):
            for q, (terms, weights) in enumerate(queries):
                start = perf_counter()
                rows = index.search("q", terms, weights, k=K, query_cut=cut, heap_factor=factor)
                taken.append((perf_counter() - start) * 1e3)
                found[q, : len(rows)] = [int(row[2]) for row in rows]
        np.save(folder / f"found-{n}.npy", found)
        p50, p99 = np.percentile(taken, [50, 99])
        print(
            json.dumps({"plan": f"seismic-{cut}-{factor:g}", "p50_ms": p50, "p99_ms": p99, "build_s": build_s}),
            flush=True,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
