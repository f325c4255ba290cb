"""HHFT against the other rankers on clicks of generated worlds: equal parameters, equal tuning trials, every design switched off.

    python benchmarks/ranking/ctr_data.py --world default --out build/default.npz
    python benchmarks/ranking/hhft.py sweep --data build/default.npz --device cuda --jobs 6 --out build/default-sweep.npz
    python benchmarks/ranking/hhft.py report build/default-sweep.npz [...]
    python benchmarks/ranking/hhft.py quick --seed 0          # a small world on two processors: the record

A trial is one setting of learning rate, dropout and weight decay, drawn once for all arms; an arm's best trial by validation AUC is
trained again with every seed and scored on the test days, which nothing else reads.  The unit is the user.

Legend: N test rows, S seeds, U users.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import torch
from ctr_data import TASKS, ClickData, prepare
from torch import nn
from torch.multiprocessing import get_context

from aisle.evaluate.auc import auc, group_auc
from aisle.evaluate.significance import holm, paired_difference
from aisle.nn.fixed_lookup import FixedLookup
from aisle.nn.mlp import num_parameters
from aisle.nn.tokens import mean_cosine
from aisle.ranking._inputs import Ranker
from aisle.ranking.dcnv2 import DcnV2
from aisle.ranking.din import Din
from aisle.ranking.dnn import Dnn
from aisle.ranking.fm import Fm
from aisle.ranking.hhft import Hhft
from aisle.ranking.mmoe import Mmoe
from aisle.training.batches import RowBatches
from aisle.training.loop import train
from aisle.training.settings import TrainSettings

DIM = 16
WIDTH = 32
PAGE_BATCH = 128
EPOCHS = 6
BASE = {"width": WIDTH, "heads": 4, "layers": 2, "hiformer": 1}
SIXTEEN = {"user": 2, "query": 2, "statistics": 2, "match": 2, "item": 2}


@dataclass(frozen=True)
class Arm:
    """make: settings of the ranker at a scale of its widths. matched: scaled until it has HHFT's parameters."""

    make: Callable[[float], Any]
    matched: bool = True


def sized(*widths: int) -> Callable[[float], tuple[int, ...]]:
    return lambda scale: tuple(max(4, round(w * scale)) for w in widths)


def hhft(**changed: Any) -> Arm:
    return Arm(lambda scale: Hhft(**{**BASE, **changed}), matched=False)


DEEP = sized(256, 128, 64)
ARMS: dict[str, Arm] = {
    "hhft": hhft(),
    "fm": Arm(lambda scale: Fm(), matched=False),
    "dnn": Arm(lambda scale: Dnn(hidden=DEEP(scale))),
    "dcnv2": Arm(lambda scale: DcnV2(hidden=DEEP(scale))),
    "din": Arm(lambda scale: Din(hidden=DEEP(scale))),
    "mmoe": Arm(lambda scale: Mmoe(hidden=sized(128, 64)(scale))),
    "transformer": Arm(lambda scale: Hhft(**{**BASE, "width": 4 * round(8 * scale), "share": True, "hiformer": 0})),
}
ABLATIONS: dict[str, Arm] = {
    "transformer-same-width": hhft(share=True, hiformer=0),
    "shared-blocks": hhft(share=True),
    "random-partition": hhft(partition="random"),
    "no-hiformer": hhft(hiformer=0, layers=3),
    "hiformer-only": hhft(layers=0, hiformer=2),
    "hiformer-first": hhft(first="hiformer"),
    "composite-keys": hhft(composite="keys"),
    "request-mask": hhft(request_mask=True),
    "past-mean": hhft(past="mean"),
    "past-hstu": hhft(past="hstu"),
    "mixer": hhft(mixer=True, hiformer=0, layers=3, tokens=SIXTEEN),
}


@dataclass(frozen=True)
class Trial:
    lr: float
    dropout: float
    weight_decay: float


def trials(count: int) -> list[Trial]:
    """The same settings for every arm."""
    rng = np.random.default_rng(7)
    return [
        Trial(
            float(np.exp(rng.uniform(np.log(3e-4), np.log(5e-3)))),
            float(rng.choice([0.0, 0.1, 0.2])),
            float(rng.choice([0.0, 1e-4, 1e-2])),
        )
        for _ in range(count)
    ]


def matched_scale(arm: Arm, data: ClickData, target: int) -> float:
    """The scale at which an arm has about ``target`` parameters beside its vectors; 1 where it is not to be matched."""
    if not arm.matched:
        return 1.0
    low, high = 0.05, 16.0
    for _ in range(24):
        scale = (low * high) ** 0.5
        low, high = (scale, high) if num_parameters(network(arm, data, scale).trunk) < target else (low, scale)
    return high


def network(arm: Arm, data: ClickData, scale: float, dropout: float = 0.0) -> Ranker:
    """An untrained network for clicks alone, over vectors of the ids met in training."""
    method = arm.make(scale).model_copy(update={"dropout": dropout, "tasks": TASKS[:1], "dim": DIM})
    return method.ranker(data.shape, FixedLookup(data.shape.id_fields(), data.sizes, DIM))


@dataclass
class Result:
    validation: float
    seconds: float
    parameters: int
    scores: np.ndarray = field(repr=False)
    cosine: float = float("nan")


def run(arm: Arm, data: ClickData, trial: Trial, seed: int, target: int, epochs: int = EPOCHS) -> Result:
    """One training: its best validation AUC, and its scores of the test rows."""
    start = perf_counter()
    scale = matched_scale(arm, data, target)
    torch.manual_seed(seed)
    model = network(arm, data, scale, trial.dropout).to(data.device)
    pages = data.pages("train")
    batches = RowBatches(len(pages), PAGE_BATCH, lambda rows: data.batch(pages[rows]), seed=seed)
    settings = TrainSettings(
        epochs=epochs, lr=trial.lr, weight_decay=trial.weight_decay, watch="auc", better="higher", patience=2
    )
    trained = train(
        model,
        batches,
        _click_loss,
        settings,
        validate=lambda module: {"auc": _auc(module, data, "validation")},
        seed=seed,
        device=data.device,
    )
    seconds = perf_counter() - start
    size = num_parameters(model.trunk)
    return Result(trained.best["auc"], seconds, size, scores(model, data, "test"), cosine(model, data))


def _click_loss(module: nn.Module, batch: Any) -> dict[str, torch.Tensor]:
    logit_N = module(batch)[:, 0]
    return {"click": nn.functional.binary_cross_entropy_with_logits(logit_N, batch.label[:, 0])}


@torch.no_grad()
def scores(model: Ranker, data: ClickData, part: str) -> np.ndarray:
    """float32[N]: the logit of a click on every row of a part, as served."""
    model.eval()
    pages = data.pages(part)
    out = [model(data.batch(pages[at : at + 1024], training=False))[:, 0] for at in range(0, len(pages), 1024)]
    return torch.cat(out).float().cpu().numpy()


def _auc(model: nn.Module, data: ClickData, part: str) -> float:
    label = data.arrays["label"][data.rows(part), 0].cpu().numpy()
    return auc(label, scores(model, data, part))


@torch.no_grad()
def cosine(model: Ranker, data: ClickData) -> float:
    """How alike the tokens have become before the last layer; NaN for a network without tokens."""
    if not hasattr(model.trunk, "makers"):
        return float("nan")
    encoder, seen = model.trunk.encoder, []
    hooks = [
        layer.register_forward_hook(lambda m, i, out: seen.append(mean_cosine(out.all()))) for layer in encoder.layers
    ]
    model(data.batch(data.pages("test")[:256], training=False))
    for hook in hooks:
        hook.remove()
    return seen[-1] if seen else float("nan")


# -- many runs ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    arm: str
    trial: int
    seed: int


_HERE: dict[str, Any] = {}
"""What a process that runs jobs has opened."""


def _open(path: str, device: str, num_trials: int, epochs: int, threads: int) -> None:
    torch.set_num_threads(threads)
    data = ClickData.read(Path(path), device, DIM)
    target = num_parameters(network(ARMS["hhft"], data, 1.0).trunk)
    _HERE.update(data=data, target=target, trials=trials(num_trials), epochs=epochs)


def _work(job: Job) -> Result:
    arm = {**ARMS, **ABLATIONS}[job.arm]
    return run(arm, _HERE["data"], _HERE["trials"][job.trial], job.seed, _HERE["target"], _HERE["epochs"])


def sweep(
    path: Path, arms: Sequence[str], *, device: str, jobs: int, num_trials: int, seeds: int, epochs: int
) -> dict[str, Any]:
    """Tune every arm on the same trials (seed 0), then train its best one with every seed.

    Returns ``runs`` (one record each) and ``score/<arm>`` float16[S, N].
    """
    opened = (str(path), device, num_trials, epochs, 1 if jobs > 1 else torch.get_num_threads())
    with _pool(jobs, opened) as work:
        tuning = [Job(arm, trial, 0) for arm in arms for trial in range(num_trials)]
        tuned = dict(zip(tuning, work(tuning), strict=True))
        best = {
            arm: max((job for job in tuning if job.arm == arm), key=lambda job: tuned[job].validation).trial
            for arm in arms
        }
        final = [Job(arm, best[arm], seed) for arm in arms for seed in range(1, seeds)]
        ended = {Job(arm, best[arm], 0): tuned[Job(arm, best[arm], 0)] for arm in arms}
        ended |= dict(zip(final, work(final), strict=True))
    runs = [
        {"arm": job.arm, "trial": job.trial, "seed": job.seed, "final": job in ended}
        | {"validation": found.validation, "seconds": found.seconds, "parameters": found.parameters}
        | {"cosine": found.cosine}
        for job, found in {**tuned, **ended}.items()
    ]
    scored = {f"score/{arm}": np.stack([ended[Job(arm, best[arm], s)].scores for s in range(seeds)]) for arm in arms}
    return {"runs": runs, "trials": [vars(t) for t in trials(num_trials)], **scored}


@contextmanager
def _pool(jobs: int, opened: tuple[Any, ...]) -> Iterator[Callable[[Sequence[Job]], list[Result]]]:
    if jobs == 1:
        _open(*opened)
        yield lambda work: [_said(job, _work(job)) for job in work]
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), _open, opened) as pool:
        yield lambda work: [_said(job, found) for job, found in zip(work, pool.map(_work, work), strict=True)]


def _said(job: Job, result: Result) -> Result:
    print(f"{job.arm} trial {job.trial} seed {job.seed}: {result}", file=sys.stderr, flush=True)
    return result


def write(path: Path, found: Mapping[str, Any], data: ClickData) -> None:
    """A sweep in one file: scores as float16, with the labels and users of the test rows."""
    rows = data.rows("test")
    head = {"runs": found["runs"], "trials": found["trials"], "data": data.header}
    arrays = {name: np.asarray(a, np.float16) for name, a in found.items() if name.startswith("score/")}
    arrays["label"] = data.arrays["label"][rows, 0].cpu().numpy().astype(np.uint8)
    arrays["user"] = data.users("test").astype(np.int32)
    arrays["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)


# -- what was found ----------------------------------------------------------------------------------------------------


def by_user(label_N: np.ndarray, score_N: np.ndarray, user_N: np.ndarray) -> dict[str, np.ndarray]:
    """``auc`` and ``gauc``, float64[U] each: values whose mean is the figure and whose resampling over users is its spread.

    AUC is a mean over pairs of rows; each user's value is the AUC plus the user's share of its influence (DeLong, with the
    user as the cluster: Obuchowski 1997).  GAUC is a ratio of sums over users, linearised in the same way.
    """
    users, user_N = np.unique(user_N, return_inverse=True)
    count = len(users)
    whole = auc(label_N, score_N)
    positive = label_N > 0
    below_N = _share_below(score_N, np.sort(score_N[~positive]))
    above_N = 1 - _share_below(score_N, np.sort(score_N[positive]))
    influence_N = np.where(positive, (below_N - whole) / positive.sum(), (above_N - whole) / (~positive).sum())
    of_auc = whole + count * np.bincount(user_N, influence_N, count)
    auc_U, weight_U = group_auc(label_N, score_N, user_N, count), np.bincount(user_N, minlength=count).astype(float)
    weight_U[np.isnan(auc_U)] = 0
    mean = float(np.nan_to_num(auc_U) @ weight_U / weight_U.sum())
    of_gauc = mean + count * weight_U * (np.nan_to_num(auc_U) - mean) / weight_U.sum()
    return {"auc": of_auc, "gauc": of_gauc}


def _share_below(score_N: np.ndarray, others: np.ndarray) -> np.ndarray:
    """float64[N]: the share of the others below each score, ties half."""
    return (np.searchsorted(others, score_N, "left") + np.searchsorted(others, score_N, "right")) / (2 * len(others))


def report(path: Path) -> list[dict[str, Any]]:
    """Rows of JSON: every arm's figures, and HHFT's paired differences from each with intervals."""
    with np.load(path) as file:
        head = json.loads(file["head"].tobytes())
        label, user = file["label"], file["user"]
        scored = {n.partition("/")[2]: file[n].astype(np.float32) for n in file.files if n.startswith("score/")}
    values = {arm: [by_user(label, score, user) for score in seeds] for arm, seeds in scored.items()}
    rows = []
    for metric in ("auc", "gauc"):
        value_SU = {arm: np.stack([found[metric] for found in runs]) for arm, runs in values.items()}
        compared = {arm: paired_difference(value_SU["hhft"], its) for arm, its in value_SU.items() if arm != "hhft"}
        baselines = [arm for arm in compared if arm in ARMS]
        corrected = dict(zip(baselines, holm([compared[arm].p for arm in baselines]), strict=True))
        for arm, value in value_SU.items():
            runs = [run for run in head["runs"] if run["arm"] == arm and run["final"]]
            row = {"metric": metric, "plan": arm, "world": head["data"]["world"], "value": float(value.mean())}
            row |= {"parameters": runs[0]["parameters"], "seconds": float(np.mean([r["seconds"] for r in runs]))}
            row |= {"cosine": float(np.mean([r["cosine"] for r in runs])), "users": value.shape[1]}
            if arm in compared:
                d = compared[arm]
                row |= {"hhft_minus": d.value, "low": d.low, "high": d.high, "p_holm": corrected.get(arm)}
                row |= {"detectable": d.detectable, "verdict": d.verdict}
            rows.append(row)
    return rows


def keep_scores(path: Path, found: Mapping[str, Any], data: ClickData) -> None:
    """The values of every user, as records compare them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    label = data.arrays["label"][data.rows("test"), 0].cpu().numpy()
    columns: dict[str, list[Any]] = {name: [] for name in ("plan", "metric", "query", "stratum", "score")}
    for name, score_SN in found.items():
        if not name.startswith("score/"):
            continue
        for metric, value_U in by_user(label, score_SN[0], data.users("test")).items():
            columns["plan"] += [name.partition("/")[2]] * len(value_U)
            columns["metric"] += [metric] * len(value_U)
            columns["query"] += [f"user {u}" for u in np.unique(data.users("test"))]
            columns["stratum"] += [""] * len(value_U)
            columns["score"] += value_U.tolist()
    pq.write_table(pa.table(columns), path)


QUICK = ("hhft", "dnn", "dcnv2", "din", "fm", "transformer", "shared-blocks", "random-partition", "no-hiformer")


def quick(args: argparse.Namespace) -> list[dict[str, Any]]:
    """A small world on this machine's processors, one seed of world and weights together."""
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "data.npz"
        prepare(args.world, args.seed, 2500, 10, 800, path)
        arms = args.arms.split(",") if args.arms else list(QUICK)
        found = sweep(path, arms, device="cpu", jobs=1, num_trials=args.trials, seeds=1, epochs=args.epochs)
        data = ClickData.read(path, "cpu", DIM)
        if args.scores:
            keep_scores(args.scores, found, data)
        out = Path(scratch) / "sweep.npz"
        write(out, found, data)
        return report(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    many = verbs.add_parser("sweep")
    many.add_argument("--data", type=Path, required=True)
    many.add_argument("--out", type=Path, required=True)
    many.add_argument("--device", default="cpu")
    many.add_argument("--jobs", type=int, default=1)
    many.add_argument("--seeds", type=int, default=5)
    found = verbs.add_parser("report")
    found.add_argument("sweeps", type=Path, nargs="+")
    small = verbs.add_parser("quick")
    small.add_argument("--world", default="default")
    small.add_argument("--seed", type=int, default=0)
    small.add_argument("--scores", type=Path)
    for verb, number in ((many, 8), (small, 2)):
        verb.add_argument("--trials", type=int, default=number)
        verb.add_argument("--epochs", type=int, default=EPOCHS)
        verb.add_argument("--arms", default="", help="names with commas; all when empty")
    args = parser.parse_args()
    if args.verb == "sweep":
        arms = args.arms.split(",") if args.arms else [*ARMS, *ABLATIONS]
        options = {"num_trials": args.trials, "seeds": args.seeds, "epochs": args.epochs}
        swept = sweep(args.data, arms, device=args.device, jobs=args.jobs, **options)
        write(args.out, swept, ClickData.read(args.data, "cpu", DIM))
        return
    rows = quick(args) if args.verb == "quick" else [row for path in args.sweeps for row in report(path)]
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
