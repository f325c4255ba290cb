"""Workplaces: folders where long work keeps what is done, so that the same work goes on there after it was killed.

A workplace is named by the work and a hash of all that it depends on.  Whoever works there holds it; what was stopped and not
asked for again for long is swept away.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aisle.core.leases import REMOVING, Lease, hold, remove_unused


@dataclass(frozen=True, eq=False)
class Workplace:
    """``folder``: free to be filled; it is left alone while the workplace is referred to."""

    folder: Path
    lease: Lease

    @classmethod
    def of(cls, home: Path, name: str, depends: Sequence[Any]) -> Workplace:
        """The folder ``home/<name>-<hash>`` of the work of this name that ``depends`` on these JSON values, made where it is
        missing."""
        digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:12]
        folder = home / f"{name}-{digest}"
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                lease = hold(folder)
            except FileNotFoundError:  # swept away between the two lines above
                continue
            os.utime(folder)
            return cls(folder, lease)

    def close(self) -> None:
        """The work is over: nothing of it stays."""
        self.lease.release()
        shutil.rmtree(self.folder, ignore_errors=True)


def sweep(home: Path, kept_s: float) -> list[Path]:
    """Remove the workplaces under ``home`` where nobody works, and nobody has for ``kept_s`` seconds.  Returns those removed."""
    if not home.is_dir():
        return []
    for left in home.glob(f"{REMOVING}*"):
        shutil.rmtree(left, ignore_errors=True)
    oldest_s = time.time() - kept_s
    return remove_unused(path for path in home.iterdir() if path.is_dir() and _touched_s(path) < oldest_s)


def _touched_s(folder: Path) -> float:
    """When something was last put into the folder or one below it; files are put there whole, so folders tell."""
    times = [0.0]
    for below, _, _ in os.walk(folder):
        try:
            times.append(os.stat(below).st_mtime)
        except FileNotFoundError:
            continue
    return max(times)
