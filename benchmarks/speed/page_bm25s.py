"""bm25s' side of ``page.py``: runs with the Python of its own environment (``benchmarks/peers/bm25s.txt``).

``page_bm25s.py FOLDER``: the best 100 of one text field, nothing else.  Prints one JSON row a figure.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter

import bm25s
import numpy as np
import pyarrow.parquet as pq
import Stemmer
from page_peer import SHOWN, K, say, say_times

NAME = "bm25s"


def main(folder: Path) -> None:
    queries = json.loads((folder / "queries.json").read_text())
    texts = pq.read_table(folder / "items.parquet", columns=["text"])["text"].to_pylist()
    stemmer = Stemmer.Stemmer("english")
    start = perf_counter()
    index = bm25s.BM25(backend="numba")
    index.index(bm25s.tokenize(texts, stemmer=stemmer, show_progress=False), show_progress=False)
    say(NAME, "build_s", perf_counter() - start)
    taken, found = [], np.full((len(queries), SHOWN), -1)
    for n, query in enumerate([*queries[:20], *queries]):
        start = perf_counter()
        words = bm25s.tokenize(query, stemmer=stemmer, show_progress=False)
        rows, _ = index.retrieve(words, k=K, show_progress=False, n_threads=1)
        if n >= 20:  # those before warm up
            taken.append((perf_counter() - start) * 1e3)
            found[n - 20] = rows[0][:SHOWN]
    np.save(folder / "found-bm25s.npy", found)
    say_times(NAME, {"bm25": taken})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
