"""Lagrangian training of tasks in the order of their priority, against fixed weights and the other balancers.

    python benchmarks/balance/lagrangian.py                                      # the record: rows of JSON
    python benchmarks/balance/lagrangian.py --plot docs/images/lagrangian.svg    # and the plot of what the arms reach
    python benchmarks/balance/lagrangian.py --order order,cart,click --days 20   # three tasks; --keep DIR goes on after a stop

A world's log, a network with one shared bottom, every arm with the same number of steps, nothing stopped early or chosen on the
test days.  Constraint of the comparison: the validation loss of every task but the last at most ``MARGIN`` above that at the end of
its own stage.  Among the fixed weights that meet it, those with the lowest validation loss of the last task are compared on the
test days.  The unit is the user; intervals are of a paired bootstrap over users, crossed with seeds of weights and batches.

Legend: U users, S seeds.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from arms import OWN_STAGE, Result, Schedule, alone_name, arms, fixed, fixed_name, own_stage, results
from pareto import plotted

from aisle.evaluate.significance import Difference, Resampling, bootstrap_mean, paired_difference

sys.path.insert(0, str(Path(__file__).parent.parent / "ranking"))

from ctr_data import RETURN_DAYS, prepare

MARGIN = 0.005
"""Of a relative loss: what "keeps its level" and "no worse" allow."""
LAGRANGIAN = ("lagrangian", "lagrangian-running", "lagrangian-strict")
RESAMPLING = Resampling(1000)


@dataclass(frozen=True, eq=False)
class Found:
    """Results of every arm by seed."""

    tasks: Sequence[str]
    results: Mapping[str, Sequence[Result]]

    def users(self, arm: str, metric: str, task: str) -> np.ndarray:
        """float64[S, U]"""
        return np.stack([getattr(result, metric)[task] for result in self.results[arm]])

    def named(self, name: str, task: str) -> str:
        """Of what concerns the highest or the lowest task alone, plainly; of the others with the task's name."""
        return name if task in (self.tasks[0], self.tasks[-1]) else f"{name}-{task}"

    def validation(self, arm: str, task: str) -> float:
        return float(np.mean([result.validation[task] for result in self.results[arm]]))

    def test(self, arm: str, task: str) -> float:
        return float(np.nanmean(self.users(arm, "loss", task)))

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
        scale = np.nanmean(other) if metric == "loss" else 1.0
        return paired_difference(own / scale, other / scale, how=RESAMPLING)


def rows_of(found: Found) -> list[dict[str, Any]]:
    """Losses and AUCs of every arm; what became of every task's level (``kept`` the first task's, ``kept-TASK`` a later one's),
    also beside training that task alone with all the steps (``kept_alone``); and the lower tasks beside the best fixed weights."""
    rows: list[dict[str, Any]] = []
    for arm, of_seeds in found.results.items():
        extra: dict[str, Any] = {"seconds": float(np.mean([r.seconds for r in of_seeds])), "seeds": len(of_seeds)}
        extra["multipliers"] = [r.multipliers for r in of_seeds] if arm in LAGRANGIAN else None
        for metric in ("loss", "auc"):
            for task in found.tasks:
                level = bootstrap_mean(found.users(arm, metric, task), how=RESAMPLING)
                row = {"metric": f"{metric}:{task}", "plan": arm, "value": level.value}
                rows.append({**row, "low": level.low, "high": level.high, "users": level.num_queries, **extra})
    last, chosen = found.tasks[-1], found.best_fixed()
    for arm in found.results:
        for task in found.tasks[:-1]:
            rows += difference_rows(found, arm, own_stage(found.tasks, task), task, found.named("kept", task))
            rows += difference_rows(found, arm, alone_name(task), task, found.named("kept_alone", task))
        for task in found.tasks[1:]:
            rows += difference_rows(found, arm, chosen, task, found.named("against_best_fixed", task))
    for arm in LAGRANGIAN:
        rows += difference_rows(found, arm, found.best_fixed(on_test=True), last, "against_best_fixed_on_test")
        rows += difference_rows(found, arm, OWN_STAGE, last, "since_own_stage")
        rows += difference_rows(found, arm, alone_name(last), last, "against_alone")
    return rows


def difference_rows(found: Found, arm: str, baseline: str, task: str, name: str) -> list[dict[str, Any]]:
    """``NAME:loss`` (a share), the upper end of its interval as ``NAME:loss_high``, and of Lagrangian training ``NAME:auc``."""
    if arm == baseline:
        return []
    rows = []
    for metric in ("loss", "auc") if arm in LAGRANGIAN else ("loss",):
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
    for name, number in (("--items", 2000), ("--days", 10), ("--visits", 2000), ("--epochs", 4), ("--seeds", 3)):
        parser.add_argument(name, type=int, default=number)
    parser.add_argument("--first-seed", type=int, default=0, help="of the world, and of weights and batches")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time, a processor thread each")
    parser.add_argument("--thin", type=float, default=1.0, help="share of the pages without an order that are taken")
    parser.add_argument("--early", type=float, default=0.25, help="share of the steps of each stage but the last")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument(
        "--only", default="", help="arms, with commas, to look at on their own: prints validation losses"
    )
    parser.add_argument(
        "--keep", type=Path, help="a folder for the log's features and every finished training of this call"
    )
    parser.add_argument("--plot", type=Path, help="where to draw what the arms reach of the first and the last task")
    args = parser.parse_args()
    order = args.order.split(",")
    with TemporaryDirectory() as scratch:
        path = (args.keep or Path(scratch)) / "data.npz"
        if not path.exists():
            half = path.with_name("half.npz")
            wait_days = RETURN_DAYS if "return" in order else 0
            prepare(args.world, args.first_seed, args.items, args.days, args.visits, half, wait_days, args.thin)
            half.replace(path)
        seeds = range(args.first_seed, args.first_seed + args.seeds)
        names = args.only.split(",") if args.only else list(arms(order))
        found = results(names, seeds, order, Schedule(args.epochs, args.early, args.lr), path, args.jobs, args.keep)
    if args.only:
        return
    report = Found(order, found)
    if args.plot:
        points = {arm: (report.test(arm, order[0]), report.test(arm, order[-1])) for arm in found}
        args.plot.write_text(plotted(points, (order[0], order[-1]), MARGIN), encoding="utf-8")
    print(json.dumps(rows_of(report), indent=1))


if __name__ == "__main__":
    main()
