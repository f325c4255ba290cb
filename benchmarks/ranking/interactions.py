"""Where block semantics exist by construction, does each part of HHFT find more of them?  The synthetic check of its card.

Three blocks (user, query, item) of four fields each.  A field's id has hidden numbers, a block's meaning is their sum.

    product   logit = user * query * item + pairwise noise            one number a block
    choice    logit = sum over aspects a of share_a(query) * user_a * item_a + pairwise noise,  share = softmax(SHARPNESS * query)

In ``choice`` the query decides which side of an item and which taste of the user count: what shoppers with a purpose do, and what
no sum of pairwise effects is.  Hidden numbers have a mean of 0.3: with 0 neither a field nor a pair of blocks says anything, and
no network found the product in 40,000 rows.  Same parameters (widths are scaled) but for ``fm``, the same learning rates tried by
each (best by validation), fresh test rows.  ``truth`` is the AUC of the logit itself: what no network can pass.

    python benchmarks/ranking/interactions.py --seed 0 [--task choice] [--device cuda] [--rows 60000] [--keep build/interactions]
    python benchmarks/ranking/interactions.py --seeds 4 --keep build/interactions        # what was kept, with intervals
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from hhft import by_user
from torch import nn

from aisle.core.atomic import write_file
from aisle.evaluate.auc import auc
from aisle.evaluate.significance import paired_difference
from aisle.nn.fixed_lookup import FixedLookup, IdField
from aisle.nn.mlp import num_parameters
from aisle.ranking._features import Field
from aisle.ranking._inputs import Inputs, Shape
from aisle.ranking.dcnv2 import DcnV2
from aisle.ranking.dnn import Dnn
from aisle.ranking.fm import Fm
from aisle.ranking.hhft import Hhft
from aisle.training.batches import RowBatches
from aisle.training.loop import train
from aisle.training.settings import TrainSettings

BLOCKS, FIELDS, IDS, DIM, WIDTH = ("user", "query", "match"), 4, 10, 8, 16
MEAN, SHARPNESS, ASPECTS = 0.3, 3.0, {"product": 1, "choice": 4}
STRENGTH = {"product": 3.0, "choice": 4.0}
BASE = {"width": WIDTH, "heads": 4, "past": "mean"}


def hhft(*, scaled: bool = False, **changed: Any) -> Callable[[float], Any]:
    """``scaled``: the width follows the scale, to match parameters."""
    base = {**BASE, "layers": 2, "hiformer": 1, **changed}
    return lambda scale: Hhft(**{**base, "width": 4 * round(WIDTH / 4 * scale)} if scaled else base)


def deep(scale: float) -> tuple[int, ...]:
    return tuple(max(4, round(w * scale)) for w in (256, 128, 64))


ARMS: dict[str, Callable[[float], Any]] = {
    "hhft": hhft(),
    "fm": lambda scale: Fm(),
    "dnn": lambda scale: Dnn(hidden=deep(scale)),
    "dcnv2": lambda scale: DcnV2(hidden=deep(scale)),
    "transformer": hhft(scaled=True, hiformer=0, share=True),
    "heterogeneous": hhft(scaled=True, hiformer=0),
    "shared-blocks": hhft(share=True),
    "no-hiformer": hhft(layers=3, hiformer=0),
    "random-partition": hhft(),
    "request-mask": hhft(request_mask=True),
}
MATCHED = frozenset({"dnn", "dcnv2", "transformer", "heterogeneous"})


def made(task: str, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """codes int64[rows, 3, FIELDS], labels float32[rows], and the true logits."""
    rng = np.random.default_rng((seed, 6))
    hidden = rng.normal(MEAN, 1, (len(BLOCKS), FIELDS, IDS, ASPECTS[task])) / FIELDS**0.5
    noise = rng.normal(0, 1, (IDS, IDS))
    code = rng.integers(0, IDS, (rows, len(BLOCKS), FIELDS))
    user, query, item = sum(hidden[np.arange(len(BLOCKS)), f, code[:, :, f]] for f in range(FIELDS)).swapaxes(0, 1)
    if task == "choice":
        share = np.exp(SHARPNESS * query)
        query = share / share.sum(1, keepdims=True)
    signal = STRENGTH[task] * (user * query * item).sum(1)
    logit = signal - np.median(signal) + 0.5 * noise[code[:, 0, 0], code[:, 2, 0]]
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


class Tried(NamedTuple):
    """One training: scores float[N] of the test rows at the best epoch by validation, and the AUC of validation there."""

    scores: np.ndarray
    parameters: int
    validation: float
    lr: float


def run(arm: str, data: Mapping[str, tuple], seed: int, args: argparse.Namespace) -> Tried:
    """The training whose learning rate is the best by validation."""
    scale = matched(arm, num_parameters(network("hhft").trunk)) if arm in MATCHED else 1.0
    return max((kept(arm, scale, data, seed, lr, args) for lr in args.rates), key=lambda tried: tried.validation)


def kept(arm: str, scale: float, data: Mapping[str, tuple], seed: int, lr: float, args: argparse.Namespace) -> Tried:
    """One training, or what an earlier call that was stopped kept of it."""
    path = kept_at(arm, seed, lr, args)
    if args.keep and path.exists():
        return read(path)
    tried = trained(arm, scale, data, seed, lr, args)
    if args.keep:
        write_file(path, partial(_save, tried))
    return tried


def kept_at(arm: str, seed: int, lr: float, args: argparse.Namespace) -> Path:
    return (args.keep or Path()) / f"{args.task}-{args.rows}-{args.epochs}-{seed}-{arm}-{lr:g}.npz"


def read(path: Path) -> Tried:
    with np.load(path) as file:
        return Tried(file["scores"], int(file["parameters"]), float(file["validation"]), float(file["lr"]))


def _save(tried: Tried, path: Path) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, **tried._asdict())


def trained(arm: str, scale: float, data: Mapping[str, tuple], seed: int, lr: float, args: argparse.Namespace) -> Tried:
    torch.manual_seed(seed)
    model = network(arm, scale).to(args.device)
    code, label = data["train"]

    def scores(module: nn.Module, part: str) -> np.ndarray:
        with torch.no_grad():
            return torch.cat([module(chunk) for chunk in data[part][0].split(8192)]).cpu().numpy()

    def validate(module: nn.Module) -> dict[str, float]:
        return {"auc": auc(data["validation"][1].cpu().numpy(), scores(module, "validation"))}

    def loss(module: nn.Module, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"click": nn.functional.binary_cross_entropy_with_logits(module(code[rows]), label[rows])}

    batches = RowBatches(len(code), 512, lambda rows: torch.from_numpy(rows).to(args.device), seed=seed)
    settings = TrainSettings(epochs=args.epochs, lr=lr, watch="auc", better="higher", patience=4)
    best = train(model, batches, loss, settings, validate=validate, seed=seed, device=args.device).best["auc"]
    return Tried(scores(model.eval(), "test"), num_parameters(model.trunk), best, lr)


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


def report(args: argparse.Namespace) -> list[dict[str, Any]]:
    """What trainings that were kept say together: each arm's AUC by seed, at its best rate by validation among ``rates``, and how
    far HHFT lies above it over the seeds that both have."""
    values: dict[str, dict[int, np.ndarray]] = {}
    rows = []
    for arm in args.arms:
        for seed in range(args.seeds):
            paths = [path for lr in args.rates if (path := kept_at(arm, seed, lr, args)).exists()]
            if not paths:
                continue
            best = max((read(path) for path in paths), key=lambda tried: tried.validation)
            tested = made(args.task, args.rows + 30_000, seed)[1][args.rows + 10_000 :]
            values.setdefault(arm, {})[seed] = by_user(tested, best.scores, np.arange(len(tested)), gauc=False)["auc"]
    for arm, by_seed in values.items():
        row = {"metric": "auc", "plan": arm, **{f"seed {seed}": float(value.mean()) for seed, value in by_seed.items()}}
        if arm != "hhft":
            both = [seed for seed in by_seed if seed in values["hhft"]]
            own, its = (np.stack([values[name][seed] for seed in both]) for name in ("hhft", arm))
            d = paired_difference(own, its)
            row |= {"hhft_minus": d.value, "low": d.low, "high": d.high, "seeds": len(both), "verdict": d.verdict}
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=sorted(ASPECTS), default="choice")
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=0, help="report what --keep holds of so many seeds, train nothing")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--rates", type=lambda text: [float(r) for r in text.split(",")], default=[2e-3, 6e-3])
    parser.add_argument("--arms", type=lambda text: text.split(","), default=list(ARMS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--scores", type=Path)
    parser.add_argument(
        "--keep", type=Path, help="a folder for every finished training, so that a stopped call goes on"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(report(args) if args.seeds else measured(args), indent=1))


def measured(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Every arm's AUC in the world of one seed."""
    code, label, logit = made(args.task, args.rows + 30_000, args.seed)
    ends = {
        "train": (0, args.rows),
        "validation": (args.rows, args.rows + 10_000),
        "test": (args.rows + 10_000, len(code)),
    }
    data = {
        part: (torch.from_numpy(code[a:b]).to(args.device), torch.from_numpy(label[a:b]).to(args.device))
        for part, (a, b) in ends.items()
    }
    tested = label[args.rows + 10_000 :]
    rows = [{"metric": "auc", "plan": "truth", "value": auc(tested, logit[args.rows + 10_000 :])}]
    values = {}
    for arm in args.arms:
        best = run(arm, data, args.seed, args)
        values[arm] = by_user(tested, best.scores, np.arange(len(tested)), gauc=False)["auc"]
        rows.append({"metric": "auc", "plan": arm, "value": auc(tested, best.scores), "parameters": best.parameters})
        print({**rows[-1], "lr": best.lr, "validation": best.validation}, file=sys.stderr, flush=True)
    if args.scores:
        keep_scores(args.scores, values, args.seed)
    return rows


if __name__ == "__main__":
    main()
