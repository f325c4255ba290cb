"""Qdrant Edge's side of ``page.py``: runs with the Python of its own environment (``benchmarks/peers/qdrant.txt``).

``page_qdrant.py FOLDER``: BM25 over one text field, HNSW over the vectors, reciprocal rank fusion, facets of the match set.
Prints one JSON row a figure and leaves its answers in ``found-qdrant.npy``.  Its index stays in FOLDER/qdrant for the next
run, with the seconds that building it took.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import qdrant_edge as q
from page_peer import SHOWN, K, kept, say, say_times, timed

FACETS = ("category", "brand", "colour", "material")
NAME, ROUNDS = "qdrant", 2


def main(folder: Path) -> None:
    queries, emb = json.loads((folder / "queries.json").read_text()), np.load(folder / "emb.npy")
    home, build_s = kept(folder, NAME, lambda new: built(folder, str(new)).close())
    say(NAME, "build_s", build_s)
    shard = q.EdgeShard.load(str(home))
    vectors = [e.tolist() for e in emb]
    limit = q.Filter(must=[q.FieldCondition(key="price_cents", range=q.RangeFloat(lte=3000.0))])
    arms = {
        "bm25": lambda n: shard.query(q.QueryRequest(limit=K, query=q.TextQuery("text", queries[n]))),
        "vector": lambda n: shard.query(q.QueryRequest(limit=K, query=nearest(vectors[n]))),
        "fused": lambda n: fused(shard, queries[n], vectors[n]),
        "page": lambda n: (fused(shard, queries[n], vectors[n]), facets(shard, queries[n])),
        "page-filtered": lambda n: (fused(shard, queries[n], vectors[n], limit), facets(shard, queries[n], limit)),
    }
    taken, found = timed(arms, len(queries), ROUNDS, lambda points: [point.id for point in points], NAME)
    np.save(folder / "found-qdrant.npy", found)
    exact = [p.id for n in range(50) for p in top(shard, vectors[n], exact=True)]
    near = [p.id for n in range(50) for p in top(shard, vectors[n])]
    say(
        NAME,
        "recall@100",
        np.mean([len(set(exact[a : a + K]) & set(near[a : a + K])) / K for a in range(0, 50 * K, K)]),
    )
    say_times(NAME, taken)
    shard.close()


def built(folder: Path, home: str) -> q.EdgeShard:
    items, vectors = pq.read_table(folder / "items.parquet").to_pylist(), np.load(folder / "vectors.npy")
    config = q.EdgeConfig(
        vectors={"title": q.EdgeVectorParams(size=vectors.shape[1], distance=q.Distance.Dot)},
        hnsw_config=q.HnswIndexConfig(m=16, ef_construct=100, full_scan_threshold=10_000),
        optimizers=q.EdgeOptimizersConfig(default_segment_number=1),
    )
    shard = q.EdgeShard.create(home, config)
    for n in range(0, len(items), 2000):
        points = [
            q.Point(id=n + i, vector={"title": vectors[n + i].tolist()}, payload=item)
            for i, item in enumerate(items[n : n + 2000])
        ]
        shard.update(q.UpdateOperation.upsert_points(points))
    text = q.TextIndexParams(stemmer=q.SnowballParams(q.SnowballLanguage.English), scoring=True)
    shard.update(q.UpdateOperation.create_field_index("text", text))
    for name in FACETS:
        shard.update(q.UpdateOperation.create_field_index(name, q.PayloadSchemaType.Keyword))
    shard.update(q.UpdateOperation.create_field_index("price_cents", q.PayloadSchemaType.Integer))
    shard.optimize()
    return shard


def nearest(vector: list[float]) -> q.Query:
    return q.Query.Nearest(vector, using="title")


def top(shard: q.EdgeShard, vector: list[float], exact: bool = False) -> list[q.ScoredPoint]:
    return shard.query(q.QueryRequest(limit=K, query=nearest(vector), params=q.SearchParams(exact=exact)))


def fused(shard: q.EdgeShard, text: str, vector: list[float], keep: q.Filter | None = None) -> list[q.ScoredPoint]:
    parts = [
        q.Prefetch(limit=K, query=q.TextQuery("text", text), filter=keep),
        q.Prefetch(limit=K, query=nearest(vector), filter=keep),
    ]
    return shard.query(q.QueryRequest(limit=SHOWN, query=q.Fusion.Rrf(k=60), prefetches=parts, filter=keep))


def facets(shard: q.EdgeShard, text: str, keep: q.Filter | None = None) -> list[q.FacetResponse]:
    words = q.FieldCondition(key="text", match=q.MatchTextAny(text))
    both = q.Filter(must=[words] if keep is None else [words, *keep.must])
    return [shard.facet(q.FacetRequest(key=name, limit=50, filter=both)) for name in FACETS]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
