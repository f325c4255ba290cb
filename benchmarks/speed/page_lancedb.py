"""LanceDB's side of ``page.py``: runs with the Python of its own environment (``benchmarks/peers/lancedb.txt``).

``page_lancedb.py FOLDER``: full text and IVF vectors, reciprocal rank fusion; it has no facets.  Prints one JSON row a figure
and leaves its answers in ``found-lancedb.npy``.  Its table stays in FOLDER/lancedb for the next run, with the seconds that
building it took.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from lancedb.rerankers import RRFReranker
from page_peer import K, kept, say, say_times, timed

NAME, ROUNDS = "lancedb", 1


def main(folder: Path) -> None:
    queries, emb = json.loads((folder / "queries.json").read_text()), np.load(folder / "emb.npy")
    queries, emb = queries[:100], emb[:100]
    home, build_s = kept(folder, NAME, lambda new: built(folder, str(new)))
    say(NAME, "build_s", build_s)
    table = lancedb.connect(str(home)).open_table("items")
    fuse = RRFReranker(K=60)
    columns = ["id"]

    def text(n: int) -> Any:
        return table.search(queries[n], query_type="fts", fts_columns="text").select(columns).limit(K).to_arrow()

    def near(n: int) -> Any:
        return (
            table.search(emb[n], query_type="vector").nprobes(32).refine_factor(4).select(columns).limit(K).to_arrow()
        )

    def page(n: int) -> Any:
        hybrid = table.search(query_type="hybrid", fts_columns="text", vector_column_name="vector")
        hybrid = hybrid.vector(emb[n]).text(queries[n]).nprobes(32).refine_factor(4)
        return hybrid.rerank(fuse).select(columns).limit(K).to_arrow()

    arms = {"bm25": text, "vector": near, "fused": page}
    taken, found = timed(arms, len(queries), ROUNDS, lambda rows: rows["id"].to_numpy())
    np.save(folder / "found-lancedb.npy", found)
    say_times(NAME, taken)


def built(folder: Path, home: str) -> Any:
    items, vectors = pq.read_table(folder / "items.parquet"), np.load(folder / "vectors.npy")
    width = vectors.shape[1]
    vector = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), width)
    data = items.append_column("vector", vector).append_column("id", pa.array(np.arange(len(vectors))))
    table = lancedb.connect(home).create_table("items", data)
    table.create_index(metric="dot", num_partitions=512, num_sub_vectors=width // 8, index_type="IVF_PQ")
    table.create_fts_index("text")
    return table


if __name__ == "__main__":
    main(Path(sys.argv[1]))
