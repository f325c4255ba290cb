"""MiniLM on OpenVINO and on torch: one query at a time, many texts at once, and what fewer bits cost in quality.

Queries and titles of generated shops; the arms take turns.  One thread each.  ``ndcg@10`` is of vectors alone, on a generated
shop of 1,000 products and its true grades; ``own`` is the encoder trained on that shop's text, which needs neither library.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from collections import defaultdict
from time import perf_counter
from typing import Any

import numpy as np
from generated import ndcg, percentiles, row, timed

from aisle.core.env import Encoder
from aisle.data.items import ItemTable
from aisle.nn.encoders.checkpoint import minilm_checkpoint
from aisle.nn.encoders.own import train_own
from aisle.nn.item_vectors import item_texts
from aisle.simulate.world import World

ROUNDS, BATCH = 3, 400


def encoders(items: ItemTable) -> dict[str, Encoder]:
    """By the library and precision they compute with."""
    import torch

    from aisle.nn.encoders.bert import BertEncoder
    from aisle.nn.encoders.openvino import OpenVinoEncoder

    torch.set_num_threads(1)
    checkpoint = minilm_checkpoint()
    return {
        "openvino-int8": OpenVinoEncoder(checkpoint),
        "openvino-int8-weights": OpenVinoEncoder(checkpoint, precision="int8-weights"),
        "openvino-bf16": OpenVinoEncoder(checkpoint, precision="bf16"),
        "openvino-f32": OpenVinoEncoder(checkpoint, precision="f32"),
        "torch-bf16": BertEncoder(checkpoint, dtype=torch.bfloat16),
        "torch-f32": BertEncoder(checkpoint, dtype=torch.float32),
        "own": train_own(items),
    }


def alone() -> list[dict[str, Any]]:
    """What a server pays that uses OpenVINO: seconds to load, megabytes at the peak, whether torch came with it."""
    from aisle.nn.encoders import Encoders

    start = perf_counter()
    Encoders()["minilm"].encode(["warm"])
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return [
        row("load_s", "openvino-int8", perf_counter() - start),
        row("peak_mb", "openvino-int8", peak_mb),
        row("loads_torch", "openvino-int8", "torch" in sys.modules),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--queries", type=int, default=300)
    args = parser.parse_args()
    out = alone()
    world = World.make(items=args.items, seed=3)
    items = ItemTable.from_table(world.items)
    asked = world.queries(args.queries)
    texts = item_texts(items, np.arange(items.num_rows))
    arms = encoders(items)
    taken: dict[str, list[float]] = defaultdict(list)
    for n in range(ROUNDS + 1):
        for query in asked:
            for name, encoder in arms.items():
                timed(lambda e=encoder, q=query.text: e.encode([q]), taken[name])
        if n == 0:  # the first round warms up
            taken.clear()
    for name, times in taken.items():
        out += percentiles(name, times)
    exact = arms["torch-f32"].encode(texts[:200])
    for name, encoder in arms.items():
        start = perf_counter()
        encoder.encode(texts[:BATCH])
        out.append(row("texts_per_s", name, BATCH / (perf_counter() - start)))
        score_QI = encoder.encode([q.text for q in asked]) @ encoder.encode(texts).T
        best = [np.argsort(-score, kind="stable")[:10] for score in score_QI]
        out.append(row("ndcg@10", name, ndcg(world, asked, best)))
        if name != "own":
            out.append(row("least_cosine", name, float((encoder.encode(texts[:200]) * exact).sum(1).min())))
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
