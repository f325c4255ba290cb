"""Arms of a comparison, each in a process of its own, which take turns round by round.

An arm's script prints "ready", then answers each line of its input with one line.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def python_of(peer: str) -> str | None:
    """The Python that AISLE_PEER_<PEER> names, of an environment with ``benchmarks/peers/<peer>.txt``; None where it names none."""
    named = os.environ.get(f"AISLE_PEER_{peer.upper()}", "")
    return named if Path(named).is_file() else None


def _environment() -> dict[str, str]:
    """This one, but every library waits for its threads in its own way."""
    return {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}


class Arm:
    """A running process; arms that are made together start together, and the first answer waits until its arm is ready."""

    def __init__(self, script: Path, *args: str, threads: int, python: str = sys.executable) -> None:
        counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), str(threads))
        self._process = subprocess.Popen(
            [python, "-W", "ignore", str(script), *args, str(threads)],
            env=_environment() | counts, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._is_ready = False

    def ask(self, line: str) -> str:
        """The answer to one line.  Raises RuntimeError when the process has ended."""
        assert self._process.stdin is not None
        if not self._is_ready:
            self._answer()
            self._is_ready = True
        print(line, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args} ended with {self._process.wait()}")
        return line.strip()

    def close(self) -> None:
        self._process.communicate()
