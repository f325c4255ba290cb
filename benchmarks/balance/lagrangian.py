"""Lagrangian training of tasks in the order of their priority, against fixed weights and the other balancers.

    python benchmarks/balance/lagrangian.py                                      # the record: rows of JSON
    python benchmarks/balance/lagrangian.py --plot docs/images/lagrangian.svg    # and the plot of what the arms reach
    python benchmarks/balance/lagrangian.py --order order,cart,click --days 20   # three tasks; --keep DIR goes on after a stop

A world's log, a network with one shared bottom, every arm with the same number of steps, nothing stopped early or chosen on the
test days.  Constraint of the comparison: the validation loss of every task but the last at most ``MARGIN`` above that at the end of
its own stage.  Among the fixed weights that meet it, those with the lowest validation loss of the last task are compared on the
test days.  The unit is the user; intervals are of a paired bootstrap over users, crossed with seeds of weights and batches.

Legend: N rows, U users, S seeds, K tasks.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "ranking"))

from ctr_data import TASKS, ClickData, prepare  # noqa: E402
from hhft import by_user  # noqa: E402
from pareto import plotted  # noqa: E402

from aisle.balance.add_up import AddUp  # noqa: E402
from aisle.balance.lagrangian import Lagrangian  # noqa: E402
from aisle.balance.pcgrad import PCGrad  # noqa: E402
from aisle.balance.uncertainty import Uncertainty  # noqa: E402
from aisle.core.env import Env  # noqa: E402
from aisle.evaluate.significance import Difference, bootstrap_mean, paired_difference  # noqa: E402
from aisle.nn.fixed_lookup import FixedLookup  # noqa: E402
from aisle.ranking._inputs import Ranker  # noqa: E402
from aisle.ranking.mmoe import Mmoe  # noqa: E402
from aisle.training.batches import RowBatches  # noqa: E402
from aisle.training.loop import train  # noqa: E402
from aisle.training.settings import TrainSettings  # noqa: E402

DIM = 8
HIDDEN = (32, 8)
PAGE_BATCH = 128
MARGIN = 0.005
"""Of a relative loss: what "keeps its level" and "no worse" allow."""
WEIGHTS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99)
SPLITS = (0.5, 0.8)
OWN_STAGE = "own-stage"
LAGRANGIAN = ("lagrangian", "lagrangian-running")


@dataclass(frozen=True)
class Arm:
    """balancer: its part. stages: how many stages it has; the steps of all of them together are the same for every arm."""

    balancer: Any
    stages: int = 1
    share: float = 1.0


def arms(order: Sequence[str]) -> dict[str, Arm]:
    """The stages' ends are what the levels of Lagrangian are: the same steps on the tasks so far."""
    num = len(order)
    ends = {own_stage(order, task): stage_end(order[: k + 1], num) for k, task in enumerate(order[:-1])}
    alone = {f"{task}-alone": Arm(AddUp(weights={t: float(t == task) for t in order})) for task in order}
    return {
        **ends,
        "lagrangian": Arm(Lagrangian(order=tuple(order)), stages=num),
        "lagrangian-running": Arm(Lagrangian(order=tuple(order), reference="running"), stages=num),
        **{fixed_name(weights): Arm(AddUp(weights=dict(zip(order, weights, strict=True)))) for weights in fixed(num)},
        "uncertainty": Arm(Uncertainty(tasks=tuple(order))),
        "pcgrad": Arm(PCGrad(tasks=tuple(order))),
        **alone,
    }


def own_stage(order: Sequence[str], task: str) -> str:
    return OWN_STAGE if task == order[0] else f"{OWN_STAGE}-{task}"


def stage_end(so_far: Sequence[str], num: int) -> Arm:
    """Training as far as the end of the last stage of these tasks, of ``num`` in all."""
    share = len(so_far) / num
    if len(so_far) == 1:
        return Arm(AddUp(weights={so_far[0]: 1.0}), share=share)
    return Arm(Lagrangian(order=tuple(so_far)), stages=len(so_far), share=share)


def fixed(num: int) -> list[tuple[float, ...]]:
    """Weights of the tasks: the first has one of ``WEIGHTS``, of what is left the next has one of ``SPLITS``, and so on."""
    weights = [(w, 1 - w) for w in WEIGHTS]
    for _ in range(num - 2):
        weights = [(*w[:-1], w[-1] * split, w[-1] * (1 - split)) for w in weights for split in SPLITS]
    return weights


def fixed_name(weights: Sequence[float]) -> str:
    """The last weight is what the others leave."""
    return "-".join(["fixed", *(f"{w:.3g}" for w in weights[:-1])])


@dataclass(frozen=True, eq=False)
class Result:
    """By task: the mean validation loss, and a loss and an AUC a user of the test days, float64[U]."""

    validation: Mapping[str, float]
    loss: Mapping[str, np.ndarray]
    auc: Mapping[str, np.ndarray]
    seconds: float
    multipliers: Mapping[str, float]


def kept(path: Path | None, make: Callable[[], Result]) -> Result:
    """What an earlier call that was stopped kept, or the result made now and kept."""
    if path and path.exists():
        raw = json.loads(path.read_text())
        arrays = {name: {t: np.array(v) for t, v in raw[name].items()} for name in ("loss", "auc")}
        return Result(raw["validation"], arrays["loss"], arrays["auc"], raw["seconds"], raw["multipliers"])
    result = make()
    if path:
        arrays = {name: {t: v.tolist() for t, v in getattr(result, name).items()} for name in ("loss", "auc")}
        others = {name: getattr(result, name) for name in ("validation", "seconds", "multipliers")}
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_suffix(".part")
        half.write_text(json.dumps({**others, **arrays}))
        half.replace(path)
    return result


def run(arm: Arm, data: ClickData, tasks: Sequence[str], seed: int, epochs: int, lr: float, experts: int) -> Result:
    start = perf_counter()
    torch.manual_seed(seed)
    method = Mmoe(tasks=tuple(tasks), dim=DIM, hidden=HIDDEN, experts=experts, tower=8)
    model = method.ranker(data.shape, FixedLookup(data.shape.id_fields(), data.sizes, DIM))
    pages = data.pages("train")
    batches = RowBatches(len(pages), PAGE_BATCH, lambda rows: data.batch(pages[rows]), seed=seed)
    steps = round(arm.share * epochs * len(batches) / arm.stages)
    balancer = arm.balancer.build(Env(engine=None, seed=seed))  # type: ignore[arg-type]
    train(
        model,
        batches,
        lambda module, batch: task_losses(module, batch, balancer.tasks),
        # One validation, at a stage's end: it gives the levels and chooses nothing.
        TrainSettings(epochs=epochs, max_steps=steps, evaluate_every=steps, lr=lr),
        balancer=balancer,
        shared=lambda module: module.shared_parameters(),
        validate=lambda module: validation_figures(module, data),
        seed=seed,
    )
    seconds = perf_counter() - start
    multipliers = getattr(balancer, "multipliers", {})
    losses, aucs = measured(model, data)
    validation = {task: float(rows.mean()) for task, rows in row_losses(model, data, "validation").items()}
    return Result(validation, losses, aucs, seconds, multipliers)


def labels(batch: Any, tasks: Sequence[str]) -> torch.Tensor:
    return batch.label[:, [TASKS.index(task) for task in tasks]]


def task_losses(module: nn.Module, batch: Any, wanted: Sequence[str]) -> dict[str, torch.Tensor]:
    loss_NK = nn.functional.binary_cross_entropy_with_logits(
        module(batch), labels(batch, module.tasks), reduction="none"
    )
    return {t: loss for t, loss in zip(module.tasks, loss_NK.mean(0).unbind(), strict=True) if t in wanted}


@torch.no_grad()
def outputs(model: Ranker, data: ClickData, part: str, *, places: bool) -> tuple[np.ndarray, np.ndarray]:
    """float64[N, K] each: logits and labels of a part's rows, with the bias of the place where they were shown or as served."""
    model.eval()
    pages, logit, label = data.pages(part), [], []
    for at in range(0, len(pages), 1024):
        batch = data.batch(pages[at : at + 1024], training=places)
        logit.append(model(batch))
        label.append(labels(batch, model.tasks))
    return torch.cat(logit).double().numpy(), torch.cat(label).double().numpy()


def row_losses(model: Ranker, data: ClickData, part: str) -> dict[str, np.ndarray]:
    """task -> float64[N]"""
    logit_NK, label_NK = outputs(model, data, part, places=True)
    loss_NK = np.logaddexp(0, logit_NK) - logit_NK * label_NK
    return dict(zip(model.tasks, loss_NK.T, strict=True))


def validation_figures(model: Any, data: ClickData) -> dict[str, float]:
    found = {f"loss/{task}": float(rows.mean()) for task, rows in row_losses(model, data, "validation").items()}
    return {**found, "loss": sum(found.values())}


def measured(model: Ranker, data: ClickData) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Per user, such that the mean over users is the figure: a loss is a ratio of sums over users, linearised."""
    user_N = np.unique(data.users("test"), return_inverse=True)[1]
    count_U = np.bincount(user_N)
    losses = {}
    for task, loss_N in row_losses(model, data, "test").items():
        mean = loss_N.mean()
        losses[task] = mean + len(count_U) * (np.bincount(user_N, loss_N) - count_U * mean) / len(loss_N)
    logit_NK, label_NK = outputs(model, data, "test", places=False)
    aucs = {
        task: by_user(label_NK[:, k], logit_NK[:, k], user_N, gauc=False)["auc"] for k, task in enumerate(model.tasks)
    }
    return losses, aucs


# -- what was found ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Found:
    """Results of every arm by seed."""

    tasks: Sequence[str]
    results: Mapping[str, Sequence[Result]]

    def users(self, arm: str, metric: str, task: str) -> np.ndarray:
        """float64[S, U]"""
        return np.stack([getattr(result, metric)[task] for result in self.results[arm]])

    def validation(self, arm: str, task: str) -> float:
        return float(np.mean([result.validation[task] for result in self.results[arm]]))

    def test(self, arm: str, task: str) -> float:
        return float(self.users(arm, "loss", task).mean())

    def best_fixed(self, *, on_test: bool = False) -> str:
        """The fixed weights with the lowest loss of the last task that meet the constraints; else the nearest to them."""
        loss = self.test if on_test else self.validation

        def excess(name: str) -> float:
            """Of the task that is furthest above its level, a share of that."""
            return max(loss(name, t) / loss(own_stage(self.tasks, t), t) - 1 for t in self.tasks[:-1])

        names = [fixed_name(weights) for weights in fixed(len(self.tasks))]
        meeting = [n for n in names if excess(n) <= MARGIN]
        return min(meeting, key=lambda n: loss(n, self.tasks[-1])) if meeting else min(names, key=excess)

    def compared(self, arm: str, baseline: str, task: str, metric: str = "loss") -> Difference:
        """``arm - baseline``; of losses as a share of the baseline's."""
        own, other = self.users(arm, metric, task), self.users(baseline, metric, task)
        scale = other.mean() if metric == "loss" else 1.0
        return paired_difference(own / scale, other / scale)


def rows_of(found: Found) -> list[dict[str, Any]]:
    """Levels, what became of every task's level (``kept`` the first task's, ``kept-TASK`` a later one's), and the last task beside
    the best fixed weights."""
    first, last = found.tasks[0], found.tasks[-1]
    rows: list[dict[str, Any]] = []
    for arm, results in found.results.items():
        extra: dict[str, Any] = {"seconds": float(np.mean([r.seconds for r in results])), "seeds": len(results)}
        extra["multipliers"] = [r.multipliers for r in results] if arm in LAGRANGIAN else None
        for metric in ("loss", "auc"):
            for task in found.tasks:
                level = bootstrap_mean(found.users(arm, metric, task))
                row = {"metric": f"{metric}:{task}", "plan": arm, "value": level.value}
                rows.append({**row, "low": level.low, "high": level.high, "users": level.num_queries, **extra})
    chosen, hindsight = found.best_fixed(), found.best_fixed(on_test=True)
    for arm in found.results:
        for task in found.tasks[:-1]:
            name = "kept" if task == first else f"kept-{task}"
            rows += difference_rows(found, arm, own_stage(found.tasks, task), task, name)
        if arm != chosen:
            rows += difference_rows(found, arm, chosen, last, "against_best_fixed")
    for arm in LAGRANGIAN:
        rows += difference_rows(found, arm, hindsight, last, "against_best_fixed_on_test")
        rows += difference_rows(found, arm, OWN_STAGE, last, "since_own_stage")
        rows += difference_rows(found, arm, f"{last}-alone", last, "against_alone")
    return rows


def difference_rows(found: Found, arm: str, baseline: str, task: str, name: str) -> list[dict[str, Any]]:
    """``NAME:loss`` (a share), ``NAME:auc``, and the upper end of the loss's interval as ``NAME:loss_high``."""
    if arm == baseline:
        return []
    rows = []
    for metric in ("loss", "auc"):
        d = found.compared(arm, baseline, task, metric)
        row = {"metric": f"{name}:{metric}", "plan": arm, "baseline": baseline, "task": task, "value": d.value}
        rows.append({**row, "low": d.low, "high": d.high, "p": d.p, "detectable": d.detectable})
        if metric == "loss":
            rows.append({**row, "metric": f"{name}:loss_high", "value": d.high})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--order", default="cart,click", help="tasks, the higher priority first")
    parser.add_argument("--world", default="default", help="NAME or NAME:knob=value,...")
    parser.add_argument("--experts", type=int, default=1, help="1 is a shared bottom")
    parser.add_argument("--lr", type=float, default=3e-3)
    for name, number in (("--items", 2000), ("--days", 10), ("--visits", 2000), ("--epochs", 4), ("--seeds", 3)):
        parser.add_argument(name, type=int, default=number)
    parser.add_argument(
        "--only", default="", help="arms, with commas, to look at on their own: prints validation losses"
    )
    parser.add_argument(
        "--keep", type=Path, help="a folder for the log's features and every finished training of this call"
    )
    parser.add_argument("--plot", type=Path, help="where to draw what the arms reach; two tasks only")
    args = parser.parse_args()
    torch.set_num_threads(1)
    order = args.order.split(",")
    with TemporaryDirectory() as scratch:
        path = (args.keep or Path(scratch)) / "data.npz"
        if not path.exists():
            half = path.with_name("half.npz")
            prepare(args.world, 0, args.items, args.days, args.visits, half)
            half.replace(path)
        data = ClickData.read(path, "cpu", DIM)
    results: dict[str, list[Result]] = {name: [] for name in arms(order)}
    for seed in range(args.seeds):
        for name, arm in arms(order).items():
            if args.only and name not in args.only.split(","):
                continue
            at = args.keep and args.keep / f"{args.order}-{name}-{seed}.json"
            result = kept(at, lambda: run(arm, data, order, seed, args.epochs, args.lr, args.experts))  # noqa: B023
            results[name].append(result)
            losses = {t: round(v, 5) for t, v in result.validation.items()}
            print(name, seed, round(result.seconds, 1), losses, file=sys.stderr, flush=True)
    if args.only:
        return
    found = Found(order, results)
    if args.plot:
        points = {arm: (found.test(arm, order[0]), found.test(arm, order[1])) for arm in results}
        args.plot.write_text(plotted(points, tuple(order), MARGIN), encoding="utf-8")
    print(json.dumps(rows_of(found), indent=1))


if __name__ == "__main__":
    main()
