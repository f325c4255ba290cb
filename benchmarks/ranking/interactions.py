"""Where block semantics exist by construction, does each part of HHFT find more of them?  The synthetic check of its card.

Three blocks (user, query, item) of four fields each.  A block's meaning is the sum of its fields' hidden vectors; the label follows

    logit = strength * user * query * item + pairwise products of a user field and an item field as noise

Hidden numbers have a mean of 0.3: with 0 neither a field nor a pair of blocks says anything, and no network found the product in
40,000 rows.  Same parameters (widths are scaled), one trial each, fresh test rows.

    python benchmarks/ranking/interactions.py --seed 0 [--device cuda] [--rows 200000]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hhft import by_user
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

BLOCKS, FIELDS, IDS, DIM, WIDTH = ("user", "query", "match"), 4, 10, 8, 32
MEAN, STRENGTH, LEARNING_RATE = 0.3, 3.0, 3e-3
BASE = {"width": WIDTH, "heads": 4, "past": "mean"}
ARMS: dict[str, Callable[[float], Any]] = {
    "dnn": lambda scale: Dnn(hidden=tuple(max(4, round(w * scale)) for w in (256, 128, 64))),
    "shared": lambda scale: Hhft(**{**BASE, "width": 4 * round(8 * scale)}, layers=2, hiformer=0, share=True),
    "heterogeneous": lambda scale: Hhft(**{**BASE, "width": 4 * round(8 * scale)}, layers=2, hiformer=0),
    "hhft": lambda scale: Hhft(**BASE, layers=2, hiformer=1),
    "random-partition": lambda scale: Hhft(**BASE, layers=2, hiformer=1),
}


def made(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """codes int64[rows, 3, FIELDS], labels float32[rows], and the true logits."""
    rng = np.random.default_rng((seed, 6))
    hidden = rng.normal(MEAN, 1, (len(BLOCKS), FIELDS, IDS)) / FIELDS**0.5
    noise = rng.normal(0, 1, (IDS, IDS))
    code = rng.integers(0, IDS, (rows, len(BLOCKS), FIELDS))
    meaning = sum(hidden[np.arange(len(BLOCKS)), f, code[:, :, f]] for f in range(FIELDS))
    product = STRENGTH * meaning.prod(1)
    logit = product - np.median(product) + 0.5 * noise[code[:, 0, 0], code[:, 2, 0]]
    return code, (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.float32), logit


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


def run(arm: str, data: Mapping[str, tuple], seed: int, device: str, epochs: int) -> tuple[np.ndarray, int]:
    """Scores of the test rows at the best epoch by validation, and the parameters."""
    scale = 1.0 if arm in ("hhft", "random-partition") else matched(arm, num_parameters(network("hhft").trunk))
    torch.manual_seed(seed)
    model = network(arm, scale).to(device)
    code, label = data["train"]

    def scores(module: nn.Module, part: str) -> np.ndarray:
        with torch.no_grad():
            return torch.cat([module(chunk) for chunk in data[part][0].split(8192)]).cpu().numpy()

    def validate(module: nn.Module) -> dict[str, float]:
        return {"auc": auc(data["validation"][1].cpu().numpy(), scores(module, "validation"))}

    def loss(module: nn.Module, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"click": nn.functional.binary_cross_entropy_with_logits(module(code[rows]), label[rows])}

    batches = RowBatches(len(code), 1024, lambda rows: torch.from_numpy(rows).to(device), seed=seed)
    settings = TrainSettings(epochs=epochs, lr=LEARNING_RATE, watch="auc", better="higher", patience=3)
    train(model, batches, loss, settings, validate=validate, seed=seed, device=device)
    return scores(model.eval(), "test"), num_parameters(model.trunk)


def keep_scores(path: Path, values: Mapping[str, np.ndarray], seed: int) -> None:
    """A value a test row, whose mean is the AUC, as records compare them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, list[Any]] = {name: [] for name in ("plan", "metric", "query", "stratum", "score")}
    for arm, value_N in values.items():
        columns["plan"] += [arm] * len(value_N)
        columns["query"] += [f"row {n} of {seed}" for n in range(len(value_N))]
        columns["score"] += value_N.tolist()
    columns["metric"], columns["stratum"] = (["auc"] * len(columns["plan"]), [""] * len(columns["plan"]))
    pq.write_table(pa.table(columns), path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--scores", type=Path)
    args = parser.parse_args()
    code, label, logit = made(args.rows + 30_000, args.seed)
    ends = {"train": (0, args.rows), "validation": (args.rows, args.rows + 10_000), "test": (args.rows + 10_000, None)}
    data = {
        part: (torch.from_numpy(code[a:b]).to(args.device), torch.from_numpy(label[a:b]).to(args.device))
        for part, (a, b) in ends.items()
    }
    tested = label[args.rows + 10_000 :]
    rows = [{"metric": "auc", "plan": "truth", "value": auc(tested, logit[args.rows + 10_000 :])}]
    values = {}
    for arm in ARMS:
        scored, size = run(arm, data, args.seed, args.device, args.epochs)
        values[arm] = by_user(tested, scored, np.arange(len(scored)), gauc=False)["auc"]
        rows.append({"metric": "auc", "plan": arm, "value": auc(tested, scored), "parameters": size})
    if args.scores:
        keep_scores(args.scores, values, args.seed)
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
