"""Where block semantics exist by construction, does each part of HHFT find more of them?  The synthetic check of its card.

Three blocks (user, query, item) of four fields each.  A block's meaning is the sum of its fields' hidden vectors; the label follows

    logit = strength * sum_r user_r query_r item_r + pairwise products of a user field and an item field as noise

so no field alone and no pair of blocks says anything of the signal.  Same parameters (widths are scaled), same
trials, fresh test rows.

    python benchmarks/ranking/interactions.py --seed 0 [--device cuda] [--rows 200000]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from aisle.evaluate.auc import auc
from aisle.nn.fixed_lookup import FixedLookup, IdField
from aisle.nn.mlp import num_parameters
from aisle.ranking._features import Field
from aisle.ranking._inputs import Inputs, Shape
from aisle.ranking.dnn import Dnn
from aisle.ranking.hhft import Hhft
from aisle.training.batches import RowBatches
from aisle.training.loop import train
from aisle.training.settings import TrainSettings

BLOCKS, FIELDS, IDS, HIDDEN, DIM, WIDTH = ("user", "query", "match"), 4, 40, 3, 8, 32
BASE = {"width": WIDTH, "heads": 4, "past": "mean"}
ARMS: dict[str, Callable[[float], Any]] = {
    "dnn": lambda scale: Dnn(hidden=tuple(max(4, round(w * scale)) for w in (256, 128, 64))),
    "shared": lambda scale: Hhft(**{**BASE, "width": 4 * round(8 * scale)}, layers=2, hiformer=0, share=True),
    "heterogeneous": lambda scale: Hhft(**{**BASE, "width": 4 * round(8 * scale)}, layers=2, hiformer=0),
    "hhft": lambda scale: Hhft(**BASE, layers=2, hiformer=1),
    "random-partition": lambda scale: Hhft(**BASE, layers=2, hiformer=1),
}
LEARNING_RATES = (1e-3, 3e-3)


def made(rows: int, seed: int, strength: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """codes int64[rows, 3, FIELDS] and labels float32[rows]."""
    rng = np.random.default_rng((seed, 6))
    hidden = rng.normal(0, 1, (len(BLOCKS), FIELDS, IDS, HIDDEN)) / FIELDS**0.5
    noise = rng.normal(0, 1, (IDS, IDS))
    code = rng.integers(0, IDS, (rows, len(BLOCKS), FIELDS))
    meaning = sum(hidden[np.arange(len(BLOCKS)), f, code[:, :, f]] for f in range(FIELDS))
    logit = strength * meaning.prod(1).sum(1) + 0.5 * noise[code[:, 0, 0], code[:, 2, 0]]
    return code, (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.float32)


class Network(nn.Module):
    """The trunk of a method over fixed vectors; user and query stand on the request's side."""

    def __init__(self, method: Any, blocks: list[list[tuple[int, int]]]) -> None:
        super().__init__()
        names = [f"{b}_{n}" for b, block in zip(BLOCKS, blocks, strict=True) for n in range(len(block))]
        fields = [Field(name, name.rpartition("_")[0], name) for name in names]
        items = frozenset(name for name in names if name.startswith("match"))
        shape = Shape(fields, {}, {}, DIM, items)
        self.names, self.places = names, [place for block in blocks for place in block]
        self.lookup = FixedLookup({n: IdField(n) for n in names}, dict.fromkeys(names, IDS), DIM, std=0.1)
        self.trunk = method.trunk(shape, ("click",))

    def forward(self, code: torch.Tensor) -> torch.Tensor:
        columns = {name: code[:, b, f] for name, (b, f) in zip(self.names, self.places, strict=True)}
        vectors = self.lookup(columns)
        block = {b: torch.cat([v for n, v in vectors.items() if n.startswith(b)], 1) for b in BLOCKS}
        owner = torch.arange(len(code), device=code.device)
        sides = ({"user": block["user"], "query": block["query"]}, {"match": block["match"]})
        return self.trunk(Inputs(*sides, vectors, {}, {}, vectors["user_0"][:, :0], owner))[:, 0]


def partition(random: bool) -> list[list[tuple[int, int]]]:
    """The (block, field) places of each token's block: as they are, or one or two of each meaning in every block."""
    places = [(b, f) for b in range(len(BLOCKS)) for f in range(FIELDS)]
    if random:
        places = [places[n] for n in np.random.default_rng(1).permutation(len(places))]
    return [places[n * FIELDS : (n + 1) * FIELDS] for n in range(len(BLOCKS))]


def network(arm: str, scale: float = 1.0) -> Network:
    return Network(ARMS[arm](scale), partition(arm == "random-partition"))


def matched(arm: str, target: int) -> float:
    low, high = 0.1, 16.0
    for _ in range(20):
        scale = (low * high) ** 0.5
        low, high = (scale, high) if num_parameters(network(arm, scale).trunk) < target else (low, scale)
    return high


def run(arm: str, lr: float, data: dict[str, tuple], seed: int, device: str, epochs: int) -> tuple[float, float, int]:
    """Validation AUC of the best epoch, test AUC, parameters."""
    scale = 1.0 if arm in ("hhft", "random-partition") else matched(arm, num_parameters(network("hhft").trunk))
    torch.manual_seed(seed)
    model = network(arm, scale).to(device)
    code, label = data["train"]

    def figure(module: nn.Module, part: str) -> float:
        with torch.no_grad():
            parts = [module(chunk) for chunk in data[part][0].split(8192)]
        return auc(data[part][1].cpu().numpy(), torch.cat(parts).cpu().numpy())

    def loss(module: nn.Module, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"click": nn.functional.binary_cross_entropy_with_logits(module(code[rows]), label[rows])}

    batches = RowBatches(len(code), 1024, lambda rows: torch.from_numpy(rows).to(device), seed=seed)
    settings = TrainSettings(epochs=epochs, lr=lr, watch="auc", better="higher", patience=3)
    best = train(
        model, batches, loss, settings, validate=lambda m: {"auc": figure(m, "validation")}, seed=seed, device=device
    )
    model.eval()
    return best.best["auc"], figure(model, "test"), num_parameters(model.trunk)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    code, label = made(args.rows + 40_000, args.seed)
    ends = {"train": (0, args.rows), "validation": (args.rows, args.rows + 10_000), "test": (args.rows + 10_000, None)}
    data = {
        part: (torch.from_numpy(code[a:b]).to(args.device), torch.from_numpy(label[a:b]).to(args.device))
        for part, (a, b) in ends.items()
    }
    rows = []
    for arm in ARMS:
        tried = [run(arm, lr, data, args.seed, args.device, args.epochs) for lr in LEARNING_RATES]
        _, test, size = max(tried)
        rows.append({"metric": "auc", "plan": arm, "value": test, "parameters": size, "seed": args.seed})
    text = json.dumps(rows, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text)


if __name__ == "__main__":
    main()
