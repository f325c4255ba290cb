"""How long HHFT takes for the 500 candidates of one request: the network alone, on two processors.

Width 64, 4 heads, 2 heterogeneous layers and 1 composite one, random weights (time does not depend on them); 9 or 16 feature tokens
and one task token, in bf16 (float32 where the processor has none).  Variants take turns, the first rounds warm up; those whose 99th
percentile is asked for answer --repeats requests a turn.

``hhft``, ``mask`` and ``target`` run as they are served: compiled where the processor multiplies bf16, ``hhft1`` on one thread.
``torch`` is the same network by torch's own operators, ``plain`` what a textbook encoder costs: every token made and projected for
every candidate, torch's own layers, shared weights.

    python benchmarks/ranking/scoring.py
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from collections.abc import Callable
from functools import partial
from itertools import chain
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn

from aisle.nn.hetero_layer import freeze
from aisle.nn.mlp import num_parameters
from aisle.ranking._features import ITEM_FIELDS, ITEM_NUMBERS, PAST, REQUEST_FIELDS, REQUEST_NUMBERS
from aisle.ranking._inputs import Inputs, Shape
from aisle.ranking._serving import served, short_copy, shortened
from aisle.ranking.hhft import Hhft, HhftTrunk
from aisle.training.settings import has_bf16

CANDIDATES, WIDTH, DIM = 500, 64, 16
TOKENS = {9: {}, 16: dict.fromkeys(("user", "query", "clicks", "item", "statistics", "shop", "match"), 2)}


TORCH = ("torch", "fp32", "plain")
OFTEN = ("hhft-", "mask-")


def shape() -> Shape:
    """The nine blocks of a shop without attributes."""
    numbers = [{block: len(names) for block, names in side.items()} for side in (REQUEST_NUMBERS, ITEM_NUMBERS)]
    fields = (*REQUEST_FIELDS, *ITEM_FIELDS)
    return Shape(fields, *numbers, DIM, frozenset(field.name for field in ITEM_FIELDS))


def inputs(made: Shape) -> Inputs:
    """One request and its candidates."""
    torch.manual_seed(0)
    sides = [
        {block: torch.randn(rows, width) for block, width in made.widths(request=rows == 1).items()}
        for rows in (1, CANDIDATES)
    ]
    past = {kind: torch.randn(1, PAST, made.past_dim) for kind in made.pasts}
    there = {kind: torch.ones(1, PAST, dtype=torch.bool) for kind in made.pasts}
    target = torch.randn(CANDIDATES, made.past_dim)
    return Inputs(*sides, {}, past, there, target, torch.zeros(CANDIDATES, dtype=torch.int64))


class Plain(nn.Module):
    """torch's encoder layers over the same tokens, each made for each candidate."""

    def __init__(self, trunk: HhftTrunk) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True)
        self.makers = trunk.makers
        self.layers = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.heads = nn.Linear(WIDTH, 1)

    def forward(self, given: Inputs) -> Tensor:
        x_NTd = self.makers(given).all().transpose(0, 1).contiguous()
        return self.heads(self.layers(x_NTd)[:, -1].float())


def variants(tokens: int, threads: int) -> dict[str, Callable[[], Tensor]]:
    """As it is served, and for comparison by torch's layers in bf16 and in float32, and plainly."""
    made = shape()
    given = inputs(made)
    short = has_bf16()
    found: dict[str, Callable[[], Tensor]] = {}
    for name, changed in {"hhft": {}, "mask": {"request_mask": True}, "target": {"past": "target"}}.items():
        trunk = HhftTrunk(made, Hhft(**{"width": WIDTH, "tokens": TOKENS[tokens], "past": "mean", **changed}), 1)
        found[name] = partial(served(trunk, short=short, threads=threads), given)
        if name == "hhft":
            found["hhft1"] = partial(served(trunk, short=short), given)
            assert sum(trunk.makers.counts) == tokens + 1
            brief = shortened(given) if short else given
            found["torch"] = partial(frozen(trunk, short=short), brief)
            found["fp32"] = partial(frozen(trunk, short=False), given)
            found["plain"] = partial(frozen(Plain(trunk), short=short), brief)
            print(f"{tokens} tokens: {num_parameters(trunk):,} parameters", flush=True, file=sys.stderr)
    return {f"{name}-{tokens}": work for name, work in found.items()}


def frozen(module: nn.Module, *, short: bool) -> nn.Module:
    module = copy.deepcopy(module).eval().requires_grad_(False)
    return freeze(short_copy(module) if short else module)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=250)
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    work = {**variants(9, args.threads), **variants(16, args.threads)}
    turns = [list(work), *[[name for name in work if name.startswith(OFTEN)]] * (args.repeats - 1)]
    taken_ms: dict[str, list[float]] = {name: [] for name in work}
    with torch.inference_mode():
        for n in range(args.rounds + 20):
            for name in chain.from_iterable(turns):
                # Compiled networks bring their own threads.
                torch.set_num_threads(args.threads if name.startswith(TORCH) else 1)
                start = perf_counter()
                work[name]()
                if n >= 20:
                    taken_ms[name].append((perf_counter() - start) * 1e3)
    rows = [
        {"metric": f"p{share}_ms", "plan": name, "value": float(np.percentile(times, share)), "requests": len(times)}
        for name, times in taken_ms.items()
        for share in (50, 99)
    ]
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
