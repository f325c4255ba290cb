"""The arms of the balance records: what joins the losses, and the training of a network with one shared bottom by it.

Every arm has the same number of steps.  ``return`` is a label of ordered rows alone; the other tasks are of every row shown.

Legend: N rows, U users, K tasks.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent.parent / "ranking"))

from ctr_data import TASKS, ClickData
from hhft import by_user

from aisle.balance.add_up import AddUp
from aisle.balance.lagrangian import Lagrangian
from aisle.balance.pcgrad import PCGrad
from aisle.balance.uncertainty import Uncertainty
from aisle.core.env import Env
from aisle.nn.fixed_lookup import FixedLookup
from aisle.ranking._inputs import Ranker
from aisle.ranking.mmoe import Mmoe
from aisle.training.batches import RowBatches
from aisle.training.loop import train
from aisle.training.settings import TrainSettings

DIM = 8
HIDDEN = (32, 8)
PAGE_BATCH = 128
FIRST_WEIGHTS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99)
SPLITS = (0.5, 0.8)
OWN_STAGE = "own-stage"


@dataclass(frozen=True)
class Schedule:
    """epochs: of all stages together. early: the share of them that each stage but the last takes."""

    epochs: int
    early: float
    lr: float

    def stages(self, num: int, of: int) -> tuple[float, ...]:
        """Shares of the epochs of the first ``num`` of ``of`` stages."""
        return (*[self.early] * (of - 1), 1 - self.early * (of - 1))[:num]


@dataclass(frozen=True)
class Arm:
    """balancer: its part. stages: how many it goes through; 0 for balancers that have but one, of all the steps."""

    balancer: Any
    stages: int = 0


def arms(order: Sequence[str]) -> dict[str, Arm]:
    """The stages' ends are the same steps on the tasks so far alone: what the levels of ``lagrangian-strict`` are, which leaves
    tasks untouched till their stage."""
    tasks, num = tuple(order), len(order)
    ends = {own_stage(order, task): stage_end(order[: k + 1]) for k, task in enumerate(order[:-1])}
    alone = {alone_name(task): Arm(AddUp(weights={t: float(t == task) for t in order})) for task in order}
    return {
        **ends,
        "lagrangian": Arm(Lagrangian(order=tasks), stages=num),
        "lagrangian-running": Arm(Lagrangian(order=tasks, reference="running"), stages=num),
        "lagrangian-strict": Arm(Lagrangian(order=tasks, ahead=0.0), stages=num),
        **{fixed_name(weights): Arm(AddUp(weights=dict(zip(order, weights, strict=True)))) for weights in fixed(num)},
        "uncertainty": Arm(Uncertainty(tasks=tasks)),
        "pcgrad": Arm(PCGrad(tasks=tasks)),
        **alone,
    }


def own_stage(order: Sequence[str], task: str) -> str:
    return OWN_STAGE if task == order[0] else f"{OWN_STAGE}-{task}"


def alone_name(task: str) -> str:
    return f"{task}-alone"


def stage_end(so_far: Sequence[str]) -> Arm:
    """Training as far as the end of the last stage of these tasks."""
    part = Lagrangian(order=tuple(so_far)) if len(so_far) > 1 else AddUp(weights={so_far[0]: 1.0})
    return Arm(part, stages=len(so_far))


def fixed(num: int) -> list[tuple[float, ...]]:
    """Weights of the tasks: the first has one of ``FIRST_WEIGHTS``, of what is left the next has one of ``SPLITS``, and so on."""
    weights = [(w, 1 - w) for w in FIRST_WEIGHTS]
    for _ in range(num - 2):
        weights = [(*w[:-1], w[-1] * split, w[-1] * (1 - split)) for w in weights for split in SPLITS]
    return weights


def fixed_name(weights: Sequence[float]) -> str:
    """The last weight is what the others leave."""
    return "-".join(["fixed", *(f"{w:.3g}" for w in weights[:-1])])


@dataclass(frozen=True, eq=False)
class Result:
    """By task: the mean validation loss, and a loss and an AUC a user of the test days, float64[U]; NaN for a user without rows.

    seconds: of the processor. multipliers: at the end.
    """

    validation: Mapping[str, float]
    loss: Mapping[str, np.ndarray]
    auc: Mapping[str, np.ndarray]
    seconds: float
    multipliers: Mapping[str, float]

    @classmethod
    def read(cls, path: Path) -> Result:
        raw = json.loads(path.read_text())
        arrays = {name: {t: np.array(v) for t, v in raw.pop(name).items()} for name in ("loss", "auc")}
        return cls(**raw, **arrays)

    def write(self, path: Path) -> None:
        half = path.with_suffix(".part")
        half.write_text(json.dumps(asdict(self), default=lambda array: array.tolist()))
        half.replace(path)


def results(
    names: Sequence[str],
    seeds: Sequence[int],
    order: Sequence[str],
    schedule: Schedule,
    data: Path,
    jobs: int,
    keep: Path | None,
) -> dict[str, list[Result]]:
    """Every arm's results by seed, ``jobs`` of them trained at a time; what an earlier call kept is not trained again."""

    def file(name: str, seed: int) -> Path | None:
        return keep and keep / f"{','.join(order)}-{name}-{seed}.json"

    found: dict[tuple[str, int], Result] = {}
    with ProcessPoolExecutor(jobs, get_context("spawn"), _open, (data,)) as pool:
        waiting = {}
        for seed, name in product(seeds, names):
            at = file(name, seed)
            if at and at.exists():
                found[name, seed] = Result.read(at)
            else:
                waiting[pool.submit(_run, name, order, seed, schedule)] = (name, seed)
        for done in as_completed(waiting):
            name, seed = waiting[done]
            result = found[name, seed] = done.result()
            if at := file(name, seed):
                result.write(at)
            losses = {task: round(loss, 5) for task, loss in result.validation.items()}
            print(name, seed, round(result.seconds, 1), losses, file=sys.stderr, flush=True)
    return {name: [found[name, seed] for seed in seeds] for name in names}


_data: list[ClickData] = []
"""Of this process."""


def _open(path: Path) -> None:
    torch.set_num_threads(1)
    _data.append(ClickData.read(path, "cpu", DIM))


def _run(name: str, order: Sequence[str], seed: int, schedule: Schedule) -> Result:
    return run(arms(order)[name], _data[0], order, seed, schedule)


def run(arm: Arm, data: ClickData, order: Sequence[str], seed: int, schedule: Schedule) -> Result:
    start = process_time()
    torch.manual_seed(seed)
    method = Mmoe(tasks=tuple(order), dim=DIM, hidden=HIDDEN, experts=1, tower=8)  # one expert: a shared bottom
    model = method.ranker(data.shape, FixedLookup(data.shape.id_fields(), data.sizes, DIM))
    model.begin_at(labels(data, "train", order))
    pages = data.pages("train")
    balancer = arm.balancer.build(Env(engine=None, seed=seed))  # type: ignore[arg-type]
    train(
        model,
        RowBatches(len(pages), PAGE_BATCH, lambda rows: data.batch(pages[rows]), seed=seed),
        lambda module, batch: task_losses(module, batch, balancer.tasks),
        TrainSettings(
            epochs=schedule.epochs,
            stages=schedule.stages(arm.stages, len(order)),
            lr=schedule.lr,
            evaluate_every=10**9,  # at a stage's end alone: it gives the levels and chooses nothing
        ),
        balancer=balancer,
        shared=lambda module: module.shared_parameters(),
        validate=lambda module: validation_figures(module, data),
        seed=seed,
    )
    seconds = process_time() - start
    losses, aucs = measured(model, data)
    validation = {task: float(rows.mean()) for task, (rows, _) in row_losses(model, data, "validation").items()}
    return Result(validation, losses, aucs, seconds, getattr(balancer, "multipliers", {}))


# -- losses ------------------------------------------------------------------------------------------------------------


def task_losses(module: nn.Module, batch: Any, wanted: Sequence[str]) -> dict[str, torch.Tensor]:
    """task -> mean over the rows that carry its label; a task without such a row is left out."""
    label_NK = batch.label[:, [TASKS.index(task) for task in module.tasks]]
    loss_NK = nn.functional.binary_cross_entropy_with_logits(module(batch), label_NK, reduction="none")
    rows = {t: loss_NK[:, k][carried(batch.label, t)] for k, t in enumerate(module.tasks) if t in wanted}
    return {task: loss_N.mean() for task, loss_N in rows.items() if len(loss_N)}


def labels(data: ClickData, part: str, order: Sequence[str]) -> dict[str, torch.Tensor]:
    """task -> labels of the part's rows that carry it."""
    label_NT = data.arrays["label"][data.rows(part)]
    return {task: label_NT[:, TASKS.index(task)][carried(label_NT, task)] for task in order}


def carried(label_NT: torch.Tensor, task: str) -> torch.Tensor | slice:
    """The rows that carry the label of a task."""
    return label_NT[:, TASKS.index("order")] > 0 if task == "return" else slice(None)


@torch.no_grad()
def outputs(model: Ranker, data: ClickData, part: str, *, places: bool) -> dict[str, tuple[np.ndarray, ...]]:
    """task -> logits, labels, users of the part's rows that carry it; with the bias of the place where they were shown, or as
    served."""
    model.eval()
    pages, logit = data.pages(part), []
    for at in range(0, len(pages), 1024):
        logit.append(model(data.batch(pages[at : at + 1024], training=places)))
    logit_NK = torch.cat(logit).double().numpy()
    label_NT, user_N = data.arrays["label"][data.rows(part)], data.users(part)
    out = {}
    for k, task in enumerate(model.tasks):
        rows = carried(label_NT, task)
        label_N = label_NT[:, TASKS.index(task)][rows].double().numpy()
        out[task] = (logit_NK[:, k][rows], label_N, user_N[rows])
    return out


def row_losses(model: Ranker, data: ClickData, part: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """task -> loss and user of its rows."""
    found = outputs(model, data, part, places=True)
    return {t: (np.logaddexp(0, logit) - logit * label, user) for t, (logit, label, user) in found.items()}


def validation_figures(model: Any, data: ClickData) -> dict[str, float]:
    found = {f"loss/{task}": float(rows.mean()) for task, (rows, _) in row_losses(model, data, "validation").items()}
    return {**found, "loss": sum(found.values())}


def measured(model: Ranker, data: ClickData) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Loss and AUC by task, a user of the test days each, such that the mean over users is the figure."""
    users = np.unique(data.users("test"))
    losses = {
        task: spread(by_user_loss(*rows), rows[1], users) for task, rows in row_losses(model, data, "test").items()
    }
    aucs = {}
    for task, (logit, label, user) in outputs(model, data, "test", places=False).items():
        aucs[task] = spread(by_user(label, logit, user, gauc=False)["auc"], user, users)
    return losses, aucs


def by_user_loss(loss_N: np.ndarray, user_N: np.ndarray) -> np.ndarray:
    """float64[U]: a mean over rows is a ratio of sums over users; linearised."""
    count_U = np.bincount(np.unique(user_N, return_inverse=True)[1])
    sum_U = np.bincount(np.unique(user_N, return_inverse=True)[1], loss_N)
    mean = loss_N.mean()
    return mean + len(count_U) * (sum_U - count_U * mean) / len(loss_N)


def spread(value_V: np.ndarray, user_N: np.ndarray, users: np.ndarray) -> np.ndarray:
    """float64[U]: values of the users that occur, NaN for the others."""
    out = np.full(len(users), np.nan)
    out[np.searchsorted(users, np.unique(user_N))] = value_V
    return out
