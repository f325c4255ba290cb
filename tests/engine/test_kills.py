"""The fault script of the log, with few kills; ``benchmarks/faults/log_kill.py`` alone does 100."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_nothing_acknowledged_is_lost_by_kill_9() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "faults" / "log_kill.py"), "--kills", "8"],
        capture_output=True,
        text=True,
        timeout=110,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "OK log_kill: 8 kills, 0 faults" in done.stdout
