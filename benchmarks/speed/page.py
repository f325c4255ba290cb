"""The hybrid page over 200,000 generated products, beside engines that have its parts: Qdrant Edge, LanceDB, bm25s.

One query at a time, one process at a time, the same queries, vectors and facet fields for all; the arms of one engine take
turns query by query.  ``page`` is retrieval, fusion and facets with the query's vector given; ``page+encoder`` also encodes.
aisle retrieves 500 by words and 500 by meaning, feeds the best back and counts every facet without its own selection; the
peers join 100 and 100 by rank, as ``page-100`` does here.  Everybody may use every processor; ``processors`` says how many were
at work, ``page-alone`` is a page without a second one.  Quality is nDCG@10 on the generated truth.  Each peer runs with the
Python that ``AISLE_PEER_QDRANT``, ``AISLE_PEER_LANCEDB`` and ``AISLE_PEER_BM25S`` name; without it its rows say "skipped".
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

import numpy as np
from generated import (
    FACETS,
    ask_peer,
    ndcg,
    peers_folder,
    percentiles,
    resident_mb,
    row,
    timed,
    title_vectors,
    world_of,
    write_for_peers,
)  # fmt: skip
from page_parts import parts_of

from aisle import recipes
from aisle.core.filters import Range
from aisle.core.lists import Array
from aisle.core.requests import Requests
from aisle.data.shop import Shop
from aisle.data.view import View
from aisle.engine.embedded.engine import EmbeddedEngine
from aisle.funnel import Funnel, fit
from aisle.funnel.beside import HELPER
from aisle.funnel.page import Page
from aisle.recipes.environment import open_env

K, SHOWN, QUERIES, ROUNDS = 100, 24, 200, 3
PEERS = ("qdrant", "lancedb", "bm25s")
SAME_WORK = {"page-100": "page", "page-100-filtered": "page-filtered"}
"""Arms that are compared with another arm of a peer than their namesake."""
HERE = Path(__file__).parent


def opened(folder: Path, items: Any, vectors_ND: Array) -> tuple[Funnel, Funnel, list[dict[str, Any]]]:
    """The hybrid plan over a shop on disk, the same with no more candidates than the peers have, and what building took."""
    shop = Shop.create(folder)
    shop.write_generation([items])
    start = perf_counter()
    engine = EmbeddedEngine.build(shop.items(), shop.generation_folder())
    text_s, start = perf_counter() - start, perf_counter()
    engine.put_vectors("minilm", np.arange(len(vectors_ND)), vectors_ND)
    engine.save_vectors("minilm")
    vectors_s = perf_counter() - start
    del engine
    before, start = resident_mb(), perf_counter()
    env = open_env(shop)
    funnel = fit(recipes.plan("hybrid"), View(shop.items()), env)
    opened_s = perf_counter() - start
    shallow = fit(recipes.plan("hybrid").with_setting(f"depth.retrieve={K}"), View(shop.items()), env)
    rows = [row("build_s:text", "aisle", text_s), row("build_s:vectors", "aisle", vectors_s)]
    rows += [row("build_s", "aisle", text_s + vectors_s), row("open_s", "aisle", opened_s)]
    return funnel, shallow, [*rows, row("resident_mb:before", "aisle", before)]


def measured(
    funnel: Funnel, shallow: Funnel, queries: list[str], emb_QD: Array
) -> tuple[dict[str, list[float]], dict[str, float], dict[str, list[Array]]]:
    """Milliseconds of every arm, how many processors it used, and the first page of every query by ``page`` and ``page-100``."""
    engine = funnel.env.engine
    cheap = Range(field="price_cents", high=3000.0)
    plain = [Requests.make([q], limit=SHOWN) for q in queries]
    given = [
        Requests.make([q], limit=SHOWN, columns={"emb_minilm": e[None]}) for q, e in zip(queries, emb_QD, strict=True)
    ]
    cut = [
        Requests.make([q], limit=SHOWN, filters=cheap, columns={"emb_minilm": e[None]})
        for q, e in zip(queries, emb_QD, strict=True)
    ]
    masks = engine.compile(plain[0]).masks()

    def alone(requests: Requests) -> Page:
        HELPER.is_wanted, before = False, HELPER.is_wanted
        try:
            return funnel.serve(requests, facets=FACETS, strict=True)
        finally:
            HELPER.is_wanted = before

    arms = {
        "bm25": lambda n: engine.text.search([queries[n]], K, masks, {}),
        "vector": lambda n: engine.vectors("minilm").search(emb_QD[n : n + 1], K, masks),
        "encoder": lambda n: funnel.env.encoder("minilm").encode([queries[n]]),
        "fused": lambda n: funnel.serve(given[n], strict=True),
        "page": lambda n: funnel.serve(given[n], facets=FACETS, strict=True),
        "page-filtered": lambda n: funnel.serve(cut[n], facets=FACETS, strict=True),
        "page-alone": lambda n: alone(given[n]),
        "page-100": lambda n: shallow.serve(given[n], facets=FACETS, strict=True),
        "page-100-filtered": lambda n: shallow.serve(cut[n], facets=FACETS, strict=True),
        "page+encoder": lambda n: funnel.serve(plain[n], facets=FACETS, strict=True),
        "page+encoder-all-facets": lambda n: funnel.serve(plain[n], facets=None, strict=True),
    }
    taken: dict[str, list[float]] = defaultdict(list)
    worked_s: dict[str, float] = defaultdict(float)
    shown: dict[str, list[Array]] = defaultdict(list)
    for n in range(ROUNDS + 1):
        for q in range(len(queries)):
            for name, arm in arms.items():
                engine.text.forget()  # no engine is to answer from what it remembers of the last round
                begun_s = process_time()
                page = timed(lambda arm=arm, q=q: arm(q), taken[name])
                worked_s[name] += process_time() - begun_s
                if n == 0 and name in ("page", "page-100"):
                    shown[name].append(page.lists.item)
        if n == 0:  # the first round warms up
            taken.clear()
            worked_s.clear()
    return taken, {name: worked_s[name] * 1e3 / sum(times) for name, times in taken.items()}, shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--peers", default=",".join(PEERS), help="Which of the peers to ask.")
    args = parser.parse_args()
    world = world_of(args.items)
    vectors_ND = title_vectors(world)
    asked = world.queries(QUERIES)
    queries = [q.text for q in asked]
    out = []
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        funnel, shallow, built = opened(folder / "shop", world.items, vectors_ND)
        emb_QD = np.concatenate([funnel.env.encoder("minilm").encode([q]) for q in queries])
        taken, processors, shown = measured(funnel, shallow, queries, emb_QD)
        out += [*built, row("resident_mb", "aisle", resident_mb())]
        out += [row(f"processors:{name}", "aisle", value) for name, value in processors.items()]
        given = [
            Requests.make([q], limit=SHOWN, columns={"emb_minilm": e[None]})
            for q, e in zip(queries, emb_QD, strict=True)
        ]
        for name, helped in (("alone", False), ("helped", True)):
            parts = parts_of(funnel, given, FACETS, helped)
            out += [row(f"part_ms:{part}", name, value) for part, value in parts.items()]
        del funnel, shallow
    out += [
        row("ndcg@10", "aisle" if name == "page" else name, ndcg(world, asked, found)) for name, found in shown.items()
    ]
    for name, times in taken.items():
        out += percentiles("aisle", times, name)
    median = {name: float(np.median(times)) for name, times in taken.items()}
    folder = peers_folder(world)
    write_for_peers(folder, world, vectors_ND, queries, emb_QD)
    for peer in filter(None, args.peers.split(",")):
        answers = folder / f"found-{peer}.npy"
        answers.unlink(missing_ok=True)
        rows = ask_peer(peer, HERE / f"page_{peer}.py", folder)
        out += rows
        if answers.exists():
            found = [r[r >= 0] for r in np.load(answers)]
            out.append(row("ndcg@10", peer, ndcg(world, asked[: len(found)], found)))
        theirs = {line["metric"].removeprefix("p50_ms:"): line["value"] for line in rows}
        for arm, ours_ms in median.items():
            if SAME_WORK.get(arm, arm) in theirs:
                out.append(row(f"ratio_to_{peer}:{arm}", "aisle", theirs[SAME_WORK.get(arm, arm)] / ours_ms))
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
