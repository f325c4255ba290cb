"""Impact postings on 200,000 generated bags of about 60 terms, beside a SciPy product and an approximate peer.

Terms are Zipf over 30,000, half of them from one of 500 topics; a query has about 20 terms of one topic.  One thread, one
query at a time, the arms taking turns query by query, 5 rounds.  The peer (``benchmarks/peers/seismic.txt``, in an
environment whose Python ``AISLE_PEER_SEISMIC`` names) runs in its own process; without it its rows say "skipped".

Legend: Q queries, K cut-off.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from aisle.core.bags import Bags
from aisle.core.lists import Array, ItemLists, splits_of
from aisle.core.requests import RowMasks
from aisle.engine.embedded.impacts import Impacts
from aisle.engine.embedded.impacts_segment import query_of

VOCABULARY, TOPICS, TOPIC_TERMS = 30_000, 500, 400
K, QUERIES, ROUNDS = 100, 300, 5
SHARES = (0.1, 0.01, 0.001)
PEER = "AISLE_PEER_SEISMIC"
EQUAL_RECALL = 0.998
"""Ours is exact; a peer that misses two of a thousand counts as equal."""


def made(rng: np.random.Generator, topic_terms: Array, num: int, length: int) -> Bags:
    """Bags of Poisson length; rare terms weigh more, as learned weights do; each term once a bag."""
    counts = np.maximum(rng.poisson(length, num), 1)
    owner = np.repeat(np.arange(num), counts)
    topic = rng.integers(0, TOPICS, num)[owner]
    rank = zipf(rng, VOCABULARY, len(owner))
    own = topic_terms[topic, zipf(rng, TOPIC_TERMS, len(owner))]
    term = np.where(rng.random(len(owner)) < 0.5, own, rank)
    key = np.unique(owner.astype(np.int64) * VOCABULARY + term)
    owner, term = key // VOCABULARY, key % VOCABULARY
    rarity = np.log1p(term) / np.log(VOCABULARY)
    weight = (0.1 + rarity) * rng.lognormal(0.0, 0.5, len(term))
    return Bags(term, weight.astype(np.float32), splits_of(np.bincount(owner, minlength=num)))


def zipf(rng: np.random.Generator, num: int, size: int) -> Array:
    """Ranks 0 to num - 1 with probability proportional to 1 / (rank + 1)."""
    share = np.cumsum(1 / np.arange(1, num + 1))
    return np.searchsorted(share / share[-1], rng.random(size)).clip(0, num - 1)


def timed(call: Callable[[], Any], into: list[float]) -> Any:
    start = perf_counter()
    out = call()
    into.append((perf_counter() - start) * 1e3)
    return out


def product(query: csr_array, term_row: csr_array) -> Array:
    """The K best rows of a sparse product, best first."""
    found = query @ term_row
    best = np.argpartition(-found.data, min(K, len(found.data) - 1))[:K]
    return found.indices[best[np.argsort(-found.data[best])]]


def peer_rows(documents: Bags, queries: Bags, exact: list[Array]) -> list[dict[str, Any]]:
    """The peer's latencies with their recall, or one row that says why there are none."""
    python = os.environ.get(PEER, "")
    if not Path(python).is_file():
        return [{"metric": "skipped", "plan": "seismic", "value": None, "why": f"{PEER} names no Python"}]
    rows = []
    with TemporaryDirectory() as scratch:
        asked = {"query_term": queries.term, "query_weight": queries.weight, "query_splits": queries.splits}
        np.savez(
            Path(scratch, "bags.npz"), term=documents.term, weight=documents.weight, splits=documents.splits, **asked
        )
        script = Path(__file__).with_name("impacts_seismic.py")
        done = subprocess.run([python, str(script), scratch], capture_output=True, text=True, check=True)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        for n, line in enumerate(lines):
            found = np.load(Path(scratch, f"found-{n}.npy"))
            recall = np.mean([np.isin(best, mine).mean() for best, mine in zip(exact, found, strict=True)])
            rows.append({"metric": "recall@100", "plan": line["plan"], "value": float(recall)})
            rows += [{"metric": m, "plan": line["plan"], "value": line[m]} for m in ("p50_ms", "p99_ms", "build_s")]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=200_000)
    num = parser.parse_args().items
    rng = np.random.default_rng(0)
    topic_terms = rng.integers(0, VOCABULARY, (TOPICS, TOPIC_TERMS))
    documents, queries = made(rng, topic_terms, num, 60), made(rng, topic_terms, QUERIES, 20)

    taken: dict[str, list[float]] = defaultdict(list)
    start = perf_counter()
    index = Impacts.empty()
    warm_s, start = perf_counter() - start, perf_counter()
    index.put(np.arange(num), documents)
    build_s = perf_counter() - start
    start = perf_counter()
    term_row = csr_array((documents.weight, documents.term, documents.splits), (num, VOCABULARY)).T.tocsr()
    scipy_build_s = perf_counter() - start

    one = np.zeros(1, np.int64)
    masks = {"impacts": RowMasks(np.ones((1, num), bool), one)}
    masks |= {f"impacts-{100 * share:g}%": RowMasks(rng.random((1, num)) < share, one) for share in SHARES}
    asked = [queries.select(np.array([q])) for q in range(QUERIES)]
    rows = [csr_array((w, (np.zeros(len(t), int), t)), (1, VOCABULARY)) for t, w in query_of(queries)]
    candidates = ItemLists(np.sort(rng.choice(num, 500, replace=False)), np.array([0, 500]))
    exact, agree = [], []
    for n in range(ROUNDS):
        for q in range(QUERIES):
            found = {
                name: timed(lambda m=m, q=q: index.search(asked[q], K, m), taken[name]) for name, m in masks.items()
            }
            best = timed(lambda q=q: product(rows[q], term_row), taken["scipy"])
            timed(lambda q=q: index.score(asked[q], candidates), taken["score-500"])
            if n == 0:
                exact.append(best)
                agree.append(np.isin(best, found["impacts"].item).mean())
    for n in range(1000):  # one changed row at a time, each found by the next search
        row, bag = np.array([n * 7 % num]), documents.select(np.array([n]))
        timed(lambda row=row, bag=bag: index.put(row, bag), taken["put"])
    for q in range(QUERIES):
        timed(lambda q=q: index.search(asked[q], K, masks["impacts"]), taken["impacts-after-1000-puts"])
    first = Impacts.empty()
    first.put(np.arange(num), documents)

    out = [
        {"metric": "build_s", "plan": "impacts", "value": build_s},
        {"metric": "build_s", "plan": "scipy", "value": scipy_build_s},
        {"metric": "warm_s", "plan": "impacts", "value": warm_s},
        {"metric": "bytes_per_posting", "plan": "impacts", "value": first.num_bytes / first.num_postings},
        {"metric": "recall@100", "plan": "impacts", "value": float(np.mean(agree))},
        {"metric": "ratio_to_scipy", "plan": "impacts", "value": median(taken, "scipy") / median(taken, "impacts")},
    ]
    for name, times in taken.items():
        out += [{"metric": f"p{p}_ms", "plan": name, "value": float(np.percentile(times, p))} for p in (50, 99)]
    peer = peer_rows(documents, queries, exact)
    print(json.dumps(out + peer + ratio_to_peer(peer, median(taken, "impacts")), indent=1))


def ratio_to_peer(peer: list[dict[str, Any]], ours_ms: float) -> list[dict[str, Any]]:
    """How many times our time the peer takes where it is quickest at equal recall."""
    of = {(r["plan"], r["metric"]): r["value"] for r in peer}
    equal = [of[plan, "p50_ms"] for plan, metric in of if metric == "recall@100" and of[plan, metric] >= EQUAL_RECALL]
    return [{"metric": "ratio_to_seismic", "plan": "impacts", "value": min(equal) / ours_ms}] if equal else []


def median(taken: dict[str, list[float]], name: str) -> float:
    return float(np.median(taken[name]))


if __name__ == "__main__":
    main()
