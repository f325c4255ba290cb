"""Whole training steps of one click model beside FuxiCTR and TorchRec: the same layers, data, batches and number of steps.

26 id features, vectors of 16 numbers, batches of 4096; a DNN of 64, 64, 64, or DCNv2 with three cross layers beside it (FuxiCTR's
own sizes); 1e4, 1e6 and 2.6e7 ids in all; labels of a planted model, so that areas under the curve can be compared after
equally many steps.  Every arm is a process of its own; the arms of a group take turns round by round.

recis, recis-adagrad  aisle's tables with Adam or row-wise Adagrad; with -bf16 the dense part in bfloat16 besides
dense, dense-bf16     the dense part alone, over given vectors; dense-torch: of torch's own layers, as the peers' is
plain                 ``nn.Embedding`` with SparseAdam (not at 2.6e7, for its memory)
torchrec              its fused collection, row-wise Adagrad; compare with recis-adagrad; with -bf16 under torch's autocast
fuxictr               as it is: Adam for all rows at every step; compare with recis
fuxictr-sgd           with the cheapest optimiser among its options, SGD, whose quality another learning rate may change

Peers run where ``AISLE_PEER_TORCHREC`` and ``AISLE_PEER_FUXICTR`` name their Pythons.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from arms import Arm, python_of

SAMPLES = 4096
SCRIPT = Path(__file__).with_name("ctr_arms.py")
EVERY = (
    "recis",
    "recis-bf16",
    "recis-adagrad",
    "recis-adagrad-bf16",
    "dense",
    "dense-bf16",
    "dense-torch",
    "torchrec",
    "torchrec-bf16",
    "plain",
    "fuxictr",
    "fuxictr-sgd",
)
APART = (
    (
        1,
        *("recis", "recis-bf16", "recis-adagrad", "recis-adagrad-bf16"),
        *("dense", "dense-bf16", "dense-torch", "torchrec", "torchrec-bf16"),
    ),
    (5, "recis", "recis-bf16", "fuxictr"),
    (5, "recis", "fuxictr-sgd"),
)
"""Above LARGE ids, where FuxiCTR alone takes 6.6 GB and ``nn.Embedding`` with SparseAdam as much: what steps are divided by, since
FuxiCTR takes seconds a step, and arms.  Areas after those fewer steps are ``auc_early:``."""
RATIOS = {
    "ratio_to_fuxictr": ("recis", "fuxictr"),
    "ratio_to_fuxictr:bf16": ("recis-bf16", "fuxictr"),
    "ratio_to_fuxictr_sgd": ("recis", "fuxictr-sgd"),
    "ratio_to_torchrec": ("recis-adagrad", "torchrec"),
    "ratio_to_torchrec:bf16": ("recis-adagrad-bf16", "torchrec"),
    "ratio_to_torchrec_bf16:bf16": ("recis-adagrad-bf16", "torchrec-bf16"),
    "most_ratio_to_fuxictr": ("dense-torch", "fuxictr"),
    "most_ratio_to_torchrec": ("dense-torch", "torchrec"),
    "ratio_to_plain": ("recis", "plain"),
    "step_over_dense:bf16": ("dense-bf16", "recis-bf16"),
    "step_over_dense": ("dense", "recis"),
    "step_over_dense_torch": ("dense-torch", "recis"),
}
"""Metric -> (one arm's speed, over another's); ``most_``: what tables that cost nothing would reach with torch's dense part."""
LARGE = 10_000_000


def measured(
    names: Sequence[str], model: str, num_ids: float, steps: int, rounds: int, threads: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """(arm -> samples a second of each round, arm -> area under the curve afterwards) of the arms that can run here."""
    pythons = {n: python_of(n.partition("-")[0]) for n in names if n.startswith(("torchrec", "fuxictr"))}
    there = [n for n in names if pythons.get(n, "here") is not None]
    arms = {}
    for name in there:
        python = {"python": pythons[name]} if name in pythons else {}
        arms[name] = Arm(SCRIPT, name, model, str(num_ids), str(steps), threads=threads, **python)
    speed: dict[str, list[float]] = {name: [] for name in there}
    for number in range(rounds + 1):
        for name, arm in arms.items():
            seconds = float(arm.ask(str(number)))
            if number:
                speed[name].append(steps * SAMPLES / seconds)
    found = {name: float(arm.ask("score")) for name, arm in arms.items() if not name.startswith("dense")}
    for arm in arms.values():
        arm.close()
    return speed, found


def _row(metric: str, plan: str, rounds: Sequence[float]) -> dict[str, Any]:
    """The middle one of the rounds, and their range: arms that took turns meet the same slow minutes."""
    return {"metric": metric, "plan": plan, "value": float(np.median(rounds)), "low": min(rounds), "high": max(rounds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ids", type=float, nargs="+", default=[1e4, 1e6, 2.6e7])
    parser.add_argument("--models", nargs="+", default=["dnn", "dcnv2"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="of a round; half of it for dcnv2")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for model in args.models:
        for num in args.ids:
            plan = f"{model}-{num:.1e}".replace("+0", "")
            for share, *names in APART if num > LARGE else ((1, *EVERY),):
                steps = args.steps // (1 if model == "dnn" else 2) // share
                speed, found = measured(names, model, num, steps, args.rounds, args.threads)
                auc = "auc" if share == 1 else "auc_early"
                rows += [_row(f"samples_per_s:{name}", plan, each) for name, each in speed.items()]
                rows += [{"metric": f"{auc}:{name}", "plan": plan, "value": value} for name, value in found.items()]
                for metric, (one, other) in RATIOS.items():
                    if one in speed and other in speed:
                        rows.append(_row(metric, plan, np.divide(speed[one], speed[other])))
    seen: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:  # arms that stand in several groups report their first
        seen.setdefault((row["metric"], row["plan"]), row)
    print(json.dumps(list(seen.values()), indent=1))


if __name__ == "__main__":
    main()
