"""What the arms of ``lref.py`` found: rows of a record, a table for a person, pictures."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "simulate"))

from _svg import Axis, lines

Run = Mapping[str, Any]
METRICS = (
    "macro_f1", "argmax_macro_f1", "accuracy", "index", "too_high", "too_low", "second", "mislabelled", "tail", "kept",
)  # fmt: skip
SHOWN = ("macro_f1", "argmax_macro_f1", "accuracy", "too_high", "too_low", "second", "kept", "mislabelled", "tail")

DRAWN = {"mistakes": "mistakes alone, beta .1", "held": "pairs that hold as well", "on": "and beta 5"}
"""Arms of the pictures."""


def read_runs(out: Path) -> list[dict[str, Any]]:
    path = out / "runs.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def rows_of(runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    """The mean over seeds of each figure of each arm, what de-biasing changes, and what a threshold alone would have cost."""
    arms = by_arm(runs)
    for arm, own in arms.items():
        for metric in METRICS:
            if metric in own[0]:
                yield {"metric": metric, "plan": arm, "value": float(np.mean([run[metric] for run in own]))}
        for metric, value in changes(arm, own, arms).items():
            yield {"metric": metric, "plan": arm, "value": value}


def changes(arm: str, own: Sequence[Run], arms: Mapping[str, Sequence[Run]]) -> dict[str, float]:
    """Of an arm of de-biasing against the judge that it started from, over the seeds that have both."""
    before = {run["seed"]: run for run in arms.get("debias/off", ())}
    pairs = [(run, before[run["seed"]]) for run in own if run["seed"] in before]
    if not arm.startswith("debias/") or arm == "debias/off" or not pairs:
        return {}
    found = {
        f"{metric} since": float(np.mean([run[metric] - old[metric] for run, old in pairs]))
        for metric in ("argmax_macro_f1", "macro_f1", "too_high", "too_low")
    }
    at = [threshold_alone(old["trade"], run["too_high"]) for run, old in pairs]
    found["argmax_macro_f1 over threshold"] = float(
        np.mean([run["argmax_macro_f1"] - f1 for (run, _), (f1, _) in zip(pairs, at, strict=True)])
    )
    return found


def threshold_alone(trade: Sequence[Sequence[float]], too_high: float) -> tuple[float, float]:
    """(macro-F1, too low) of the judge as it was, with the threshold at which it over-rates as seldom."""
    _, f1, high, low = np.array(trade).T
    order = np.argsort(high, kind="stable")
    return float(np.interp(too_high, high[order], f1[order])), float(np.interp(too_high, high[order], low[order]))


def by_arm(runs: Sequence[Run]) -> dict[str, list[Run]]:
    out: dict[str, list[Run]] = {}
    for run in runs:
        world = run["world"].partition("-")[2]
        out.setdefault(f"{run['arm']}@{world}" if world else run["arm"], []).append(run)
    return out


def print_table(runs: Sequence[Run]) -> None:
    print(f"{'arm':24}" + "".join(f"{name:>16}" for name in SHOWN))
    for arm, own in by_arm(runs).items():
        cells = []
        for name in SHOWN:
            values = [run[name] for run in own if run.get(name) is not None]
            cells.append(f"{np.mean(values):.3f} ±{np.std(values):.3f}" if values else "")
        print(f"{arm:24}" + "".join(f"{cell:>16}" for cell in cells) + f"  {len(own)}")


def plotted(runs: Sequence[Run], folder: Path) -> None:
    """``lref-debiasing-f1.svg`` and ``-high.svg``: what the steps of DPO do to macro-F1 and to over-rating, first seed."""
    arms = by_arm(runs)
    old = arms["debias/off"][0]
    start = [old[name] for name in ("argmax_macro_f1", "too_high", "too_low")]
    curves = {words: np.array([start, *arms[f"debias/{name}"][0]["curve"]]) for name, words in DRAWN.items()}
    for name, title, column, unit in (
        ("f1", "De-biasing: macro-F1 on test pairs", 0, "macro-F1"),
        ("high", "De-biasing: rated too high", 1, "share of test pairs"),
    ):
        drawn = {words: (np.arange(len(curve)), curve[:, column]) for words, curve in curves.items()}
        picture = lines(title, drawn, Axis("tenths of the steps"), Axis(unit), names_below=True)
        (folder / f"lref-debiasing-{name}.svg").write_text(picture, encoding="utf-8")
