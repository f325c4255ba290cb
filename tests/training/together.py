"""A function of a test module in several processes, started as torchrun starts them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LIMIT_S = 300.0
"""Only what hangs takes this long; a busy machine may need a minute to import everything twice."""
SCRIPT = """
import json
from {module} import {name}
print(json.dumps({name}(*{arguments!r})))
"""


def run_together(function: Callable[..., object], *arguments: str, processes: int = 2) -> list[Any]:
    """What each process returned, by rank: values as JSON has them."""
    code = SCRIPT.format(module=function.__module__, name=function.__name__, arguments=arguments)
    path = os.pathsep.join([str(ROOT), *sys.path])
    common = {"PYTHONPATH": path, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": str(processes)}
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | common | {"RANK": str(rank)},
        )
        for rank in range(processes)
    ]
    try:
        said = [run.communicate(timeout=LIMIT_S)[0] for run in runs]
    finally:
        for run in runs:
            run.kill()
    assert [run.returncode for run in runs] == [0] * processes
    return [json.loads(text.splitlines()[-1]) for text in said]


def free_port() -> str:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
