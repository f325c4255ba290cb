"""One command under torchrun: its processes fit one model together and the first stores it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from aisle.data.shop import Shop
from aisle.simulate.world import simulate

SETTINGS = [
    *(f"shape.{name}" for name in ("width=16", "layers=1", "heads=2", "key_heads=1", "head_dim=8", "hidden=32")),
    *("vocabulary=400", "batch=16", "threads=1", "train.max_steps=2", "explaining.tasks=[]", "debiasing.on=false"),
]


def test_two_processes_fit_one_plan(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    simulate(shop, 100, 0, 0, num_queries=30, budget=150)
    words = [word for setting in SETTINGS for word in ("--set", setting)]
    started = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    command = [*started, sys.executable, "-m", "aisle", "fit", str(shop), "relevance.lref", *words, "--json"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)  # by the first alone
    assert told["stages"]["relevance"]
    assert told["reports"]["relevance"]["tuned"]["pairs"] > 0
    assert Shop.open(shop).pointer()["funnel"] == told["funnel"]
