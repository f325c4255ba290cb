"""The fault scripts with few kills; ``benchmarks/faults`` alone does 100 of each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "faults" / script), *arguments],
        capture_output=True,
        text=True,
        timeout=110,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_nothing_acknowledged_is_lost_by_kill_9() -> None:
    assert "OK log_kill: 8 kills, 0 faults" in run("log_kill.py", "--kills", "8")


def test_a_shop_is_whole_after_kill_9() -> None:
    done = run("shop_kill.py", "--kills", "2", "--scenario", "compaction", "--scenario", "swap")
    assert "OK shop_kill compaction: 2 kills, 0 faults" in done
    assert "OK shop_kill swap: 2 kills, 0 faults" in done
