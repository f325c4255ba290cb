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
    "behind", "explained", "noise",
)  # fmt: skip
SHOWN = (
    "macro_f1",
    "argmax_macro_f1",
    "accuracy",
    "behind",
    "too_high",
    "too_low",
    "second",
    "kept",
    "mislabelled",
    "tail",
)

TUNED = {
    "select/all": "all pairs", "select/ci+ms": "CI, MS", "select/random": "a tenth by chance", "select/im+ci+ms": "IM, CI, MS",
}  # fmt: skip
EXPLAINED = {
    "explain/none": "labels alone", "explain/ee": "EE", "explain/ra": "RA", "explain/dr": "DR", "explain/ee+ra+dr": "all three",
}  # fmt: skip
DEBIASED = {
    "debias/mistakes": "mistakes alone, beta .1", "debias/held": "pairs that hold as well", "debias/on": "and beta 5",
}  # fmt: skip
"""Arms of the pictures."""


def read_runs(out: Path) -> list[dict[str, Any]]:
    """Each arm of each seed once."""
    path = out / "runs.jsonl"
    runs = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return list({(run["world"], run["seed"], run["arm"]): run for run in runs}.values())


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
    """What the steps of each stage do to macro-F1 on the test pairs (and those of DPO to over-rating), of the first seed:
    ``lref-tuning-f1.svg``, ``lref-explaining-f1.svg``, ``lref-debiasing-f1.svg``, ``lref-debiasing-high.svg``, each where its arms
    have run."""
    arms = by_arm(runs)
    old = arms["debias/off"][0]
    start = [old[name] for name in ("argmax_macro_f1", "too_high", "too_low")]
    f1, high = (0, "macro-F1", "macro-F1 on test pairs"), (1, "share of test pairs", "rated too high")
    for name, stage, drawn, before, (column, unit, what) in (
        ("tuning-f1", "Labels from nothing", TUNED, [], f1),
        ("explaining-f1", "Explaining", EXPLAINED, [start], f1),
        ("debiasing-f1", "De-biasing", DEBIASED, [start], f1),
        ("debiasing-high", "De-biasing", DEBIASED, [start], high),
    ):
        if not all("curve" in run for arm in drawn for run in arms.get(arm, [{}])):
            continue
        curves = {words: np.array([*before, *arms[arm][0]["curve"]])[:, column] for arm, words in drawn.items()}
        tenth = {words: (np.arange(len(y)) + 1 - len(before), y) for words, y in curves.items()}
        y = Axis(unit, from_zero=name != "explaining-f1")
        picture = lines(f"{stage}: {what}", tenth, Axis("tenths of the steps"), y, names_below=True)
        (folder / f"lref-{name}.svg").write_text(picture, encoding="utf-8")
