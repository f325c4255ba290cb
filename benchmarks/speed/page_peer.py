"""What the peers' sides of ``page.py`` share.  Runs in their environments: standard library and numpy alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

K, SHOWN = 100, 24
"""Candidates of a search, and products of a page."""


def timed(
    arms: Mapping[str, Callable[[int], Any]],
    num_queries: int,
    rounds: int,
    keep: Callable[[Any], Sequence[int]],
    plan: str = "",
) -> tuple[dict[str, list[float]], np.ndarray]:
    """Every arm on every query in turn, a round more than ``rounds`` so that the first warms up.

    Returns the milliseconds of each arm, and int64[queries, SHOWN]: what ``keep`` takes from the answers of the arm ``fused``,
    -1 for no item.  With a ``plan`` it says how many processors were at work in each arm.
    """
    taken: dict[str, list[float]] = {name: [] for name in arms}
    worked_s = dict.fromkeys(arms, 0.0)
    found = np.full((num_queries, SHOWN), -1)
    for round in range(rounds + 1):
        for n in range(num_queries):
            for name, arm in arms.items():
                start, begun_s = perf_counter(), process_time()
                answer = arm(n)
                if round:
                    taken[name].append((perf_counter() - start) * 1e3)
                    worked_s[name] += process_time() - begun_s
                if name == "fused":
                    ids = keep(answer)[:SHOWN]
                    found[n, : len(ids)] = ids
    for name, times in taken.items() if plan else ():
        say(plan, f"processors:{name}", worked_s[name] * 1e3 / sum(times))
    return taken, found


def kept(folder: Path, name: str, build: Callable[[Path], object]) -> tuple[Path, float]:
    """The peer's index in ``folder``, and the seconds that building it took; built where it is missing or was not finished."""
    home, seconds = folder / name, folder / f"{name}-build_s.json"
    if not seconds.exists():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        start = perf_counter()
        build(home)
        seconds.write_text(json.dumps(perf_counter() - start))
    return home, json.loads(seconds.read_text())


def say(plan: str, metric: str, value: float) -> None:
    print(json.dumps({"metric": metric, "plan": plan, "value": float(value)}), flush=True)


def say_times(plan: str, taken: Mapping[str, Sequence[float]]) -> None:
    for name, times in taken.items():
        for share in (50, 99):
            say(plan, f"p{share}_ms:{name}", float(np.percentile(times, share)))
