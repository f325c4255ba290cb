"""Lookup, backward and optimiser of 26 id features, 1M ids each, Zipf 1.2, batches of 4096, vectors of 16 numbers.

Every arm runs in its own process, at 1 and at 2 threads; arms of one optimiser take turns round by round, 5 rounds of 20
fresh batches after one to warm up, and an arm's figure is the median round at its better number of threads.  Tables of aisle begin
empty, with memory for 3M ids, and insert ids as they come; the others hold all 26M rows from the start.

The peer (``benchmarks/peers/fbgemm.txt``) runs with the Python that ``AISLE_PEER_FBGEMM`` names; without it its row says
"skipped".  ``--rounds`` and ``--threads`` make a shorter run.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from arms import Arm, python_of

ARMS = Path(__file__).with_name("embedding_arms.py")
SAMPLES = 4096 * 20
GROUPS = {"adagrad": ("recis_adagrad", "fbgemm", "bound"), "adam": ("recis_adam", "nn_embedding", "torch_rows")}
RATIOS = {
    "ratio_to_fbgemm": ("recis_adagrad", "fbgemm"),
    "ratio_to_bandwidth": ("recis_adagrad", "bound"),
    "ratio_to_nn_embedding": ("recis_adam", "nn_embedding"),
    "ratio_to_torch_rows": ("recis_adam", "torch_rows"),
}


def measured(names: list[str], threads: int, rounds: int) -> dict[str, list[float]]:
    """Arm -> samples a second, round by round, the arms taking turns."""
    python = {"fbgemm": {"python": python_of("fbgemm")}}
    arms = {n: Arm(ARMS, n, threads=threads, **python.get(n, {})) for n in names}
    for arm in arms.values():
        arm.ask("0")
    speed: dict[str, list[float]] = {n: [] for n in names}
    for number in range(1, rounds + 1):
        for name, arm in arms.items():
            speed[name].append(SAMPLES / float(arm.ask(str(number))))
    for arm in arms.values():
        arm.close()
    return speed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--group", choices=[*GROUPS], nargs="+", default=[*GROUPS])
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    best: dict[str, float] = {}
    for group in args.group:
        names = [n for n in GROUPS[group] if n != "fbgemm" or python_of("fbgemm")]
        for threads in args.threads:
            for name, speed in measured(names, threads, args.rounds).items():
                value, low, high = float(np.median(speed)), min(speed), max(speed)
                plan = f"{name}-{threads}"
                rows.append({"metric": "samples_per_s", "plan": plan, "value": value, "low": low, "high": high})
                best[name] = max(best.get(name, 0), value)
    for metric, (ours, other) in RATIOS.items():
        if ours in best and other in best:
            rows.append({"metric": metric, "plan": "recis", "value": best[ours] / best[other]})
    if "fbgemm" not in best:
        rows.append({"metric": "skipped", "plan": "fbgemm", "value": None, "why": "AISLE_PEER_FBGEMM names no Python"})
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
