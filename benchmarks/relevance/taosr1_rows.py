"""What the arms of ``taosr1.py`` found: figures, paired differences, learning curves.

The unit is the query; a difference in macro-F1 is resampled over test queries (and over seeds, where there are several), both
arms on the same draw.

Legend: S seeds, Q queries, C grades, N pairs, B resamples.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "simulate"))

from _svg import COLOURS, Axis, lines

from aisle.core.lists import Array

RESAMPLES = 2000
SIZES = (1000, 3000, 12000, 40000)
"""Pairs of fine-tuning in the grid."""
Decided = Callable[[str, int], tuple[Array, Array, Array]]
"""(arm, seed) -> grades given int64[N], true grades int64[N], query of each pair int64[N]."""

PAIRS = (
    ("label first against reasoning first", "sft/label_first/{n}", "sft/reason_first/{n}"),
    (
        "label first against reasoning first that is read by eight answers",
        "sft/label_first/{n}",
        "drawn/reason_first/{n}",
    ),
    ("reasoning first read by eight answers", "drawn/reason_first/{n}", "sft/reason_first/{n}"),
    ("label first against label only", "sft/label_first/{n}", "sft/label_only/{size}/0"),
    ("the same, three times the steps", "long/label_first/{n}", "long/label_only/{size}/0"),
    ("the same, three times the steps", "long/label_first/{n}", "long/reason_first/{n}"),
    ("against a cross-encoder from scratch", "sft/label_first/{n}", "cross/scratch/{size}/0"),
    ("against MiniLM fine-tuned", "sft/label_first/{n}", "cross/minilm/{size}/0"),
    ("a language known before", "sft/{b}", "tiny/{b}"),
    ("a language known before", "sft/{b}", "cross/scratch/{size}/0"),
    ("all weights against adapters", "sft/{b}", "lora/{b}"),
    ("a language known before, in adapters", "lora/{b}", "tiny/{b}"),
    ("class weights", "weighted/{b}", "sft/{b}"),
    ("fine-tuning on the pool's labels", "more-sft/{b}/natural", "sft/{b}"),
    ("rejection fine-tuning", "best-of-g/{b}", "sft/{b}"),
    ("DPO", "dpo/{b}", "sft/{b}"),
    ("GRPO", "grpo/{b}/balanced/outcome", "sft/{b}"),
    ("DPO with beta .5", "dpo/{b}/beta0.5", "sft/{b}"),
    ("DPO with beta .1", "dpo/{b}/beta0.1", "sft/{b}"),
    ("the same on own answers alone", "dpo/{b}/beta0.1-own", "dpo/{b}/beta0.1"),
    ("the same without its anchor", "dpo/{b}/beta0.1-nll0", "dpo/{b}/beta0.1"),
    ("DPO and GRPO", "dpo+grpo/{b}/balanced/outcome", "sft/{b}"),
    ("GRPO, balanced against natural", "grpo/{b}/balanced/outcome", "grpo/{b}/natural/outcome"),
    ("GRPO, gated against outcome", "grpo/{b}/balanced/gated", "grpo/{b}/balanced/outcome"),
    ("GRPO against the same labels, balanced", "grpo/{b}/balanced/outcome", "more-sft/{b}/balanced"),
    ("GRPO against the pool's labels as they come", "grpo/{b}/balanced/outcome", "more-sft/{b}/natural"),
    ("GRPO against the same labels, natural", "grpo/{b}/natural/outcome", "more-sft/{b}/natural"),
    ("GRPO against rejection fine-tuning", "grpo/{b}/balanced/outcome", "best-of-g/{b}"),
    (
        "reasoning first reinforced, against label first on the same labels",
        "grpo/reason_first/{n}/balanced/outcome",
        "more-sft/label_first/{n}/natural",
    ),
    ("GRPO against class weights", "grpo/{b}/balanced/outcome", "weighted/{b}"),
)
"""What is compared: words, arm, baseline.  {b}: a base, its order, pairs and noise; {n}: its pairs and noise; {size}: its pairs."""


def figures(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The figures of every arm, over its seeds: ``macro_f1`` against true grades, ``written`` against the annotator's."""
    by_arm: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_arm.setdefault(row["arm"], []).append(row)
    out = []
    for arm, of in by_arm.items():
        common = {"cpu_seconds": float(np.mean([row["cpu_seconds"] for row in of]))}
        values = {
            "macro_f1": [row["true"]["macro_f1"] for row in of],
            "threshold": [row["threshold"] for row in of],
            "argmax_macro_f1": [row["true"]["argmax_macro_f1"] for row in of],
            "accuracy": [row["true"]["accuracy"] for row in of],
            "written:macro_f1": [row["written"]["macro_f1"] for row in of],
            "hallucination": [row["true"]["hallucination"] for row in of],
            **{f"f1:{c + 1}": [row["true"]["f1"][c] or 0.0 for row in of] for c in range(4)},
        }
        made = [of_seeds(name, arm, found) for name, found in values.items()]
        out += [row | common for row in made if row]
    return out


def of_seeds(metric: str, arm: str, value_S: Sequence[float | None]) -> dict[str, Any]:
    """A row: mean, least and most over seeds.  Nothing for what an arm does not have, as a judge without reasoning has no
    contradictions."""
    there = [value for value in value_S if value is not None]
    if not there:
        return {}
    of = {"value": float(np.mean(there)), "low": min(there), "high": max(there), "seeds": len(there)}
    return {"metric": metric, "plan": arm, **of}


def differences(decided: Decided, runs: Mapping[str, set[int]], bases: Sequence[str]) -> list[dict[str, Any]]:
    """``macro_f1 against BASELINE`` and ``f1_3 against BASELINE`` (of the rarest grade) with 95 % intervals, for every pair of
    arms that share a seed."""
    out = []
    for words, arm, baseline in PAIRS:
        for base in bases:
            _, size, noise = base.split("/")
            names = [name.format(b=base, n=f"{size}/{noise}", size=size) for name in (arm, baseline)]
            seeds = sorted(runs.get(names[0], set()) & runs.get(names[1], set()))
            if not seeds or any(row["plan"] == names[0] and row["baseline"] == names[1] for row in out):
                continue
            drawn = [_resampled(*(decided(name, seed) for name in names)) for seed in seeds]
            for metric in ("macro_f1", "f1_3"):
                value = float(np.mean([d[metric][0] for d in drawn]))
                spread_B = _over_seeds([d[metric][1] for d in drawn])
                low, high = (float(q) for q in np.quantile(spread_B, [0.025, 0.975]))
                out.append({
                    "metric": f"{metric} against {names[1]}", "plan": names[0], "baseline": names[1], "value": value, "low": low,
                    "high": high, "seeds": len(seeds), "says": words,
                })  # fmt: skip
    return out


def _resampled(one: tuple[Array, Array, Array], other: tuple[Array, Array, Array]) -> dict[str, tuple[float, Array]]:
    """metric -> the difference, and float64[B] of it over resampled queries."""
    counts = [_by_query(*of) for of in (one, other)]
    num_queries = len(counts[0])
    draw_BQ = np.random.default_rng(0).multinomial(num_queries, np.full(num_queries, 1 / num_queries), RESAMPLES)
    whole_1Q = np.ones((1, num_queries))
    f1 = [[_f1((w @ c.reshape(num_queries, -1)).reshape(-1, 4, 4)) for w in (whole_1Q, draw_BQ)] for c in counts]
    pick = {"macro_f1": lambda f1_BC: f1_BC.mean(1), "f1_3": lambda f1_BC: f1_BC[:, 2]}
    return {name: (float((of(f1[0][0]) - of(f1[1][0]))[0]), of(f1[0][1]) - of(f1[1][1])) for name, of in pick.items()}


def _by_query(said_N: Array, true_N: Array, query_N: Array) -> Array:
    """float64[Q, C, C]: pairs of each query by true and by given grade."""
    _, place_N = np.unique(query_N, return_inverse=True)
    counts = np.bincount(place_N * 16 + true_N * 4 + said_N, minlength=16 * (int(place_N.max()) + 1))
    return counts.reshape(-1, 4, 4).astype(float)


def _f1(confusion_BCC: Array) -> Array:
    """float64[B, C]."""
    right = np.einsum("bcc->bc", confusion_BCC)
    return 2 * right / np.maximum(confusion_BCC.sum(1) + confusion_BCC.sum(2), 1e-12)


def _over_seeds(of_seed: Sequence[Array]) -> Array:
    """Resampled means over resampled seeds."""
    drawn_SB = np.stack(of_seed)
    pick_SB = np.random.default_rng(1).integers(len(drawn_SB), size=drawn_SB.shape)
    return np.take_along_axis(drawn_SB, pick_SB, 0).mean(0)


def plotted(rows: Sequence[Mapping[str, Any]], folder: Path, base: str) -> None:
    """Learning curves as SVG: fine-tuning in three orders, and the stages after it.  Means over the seeds that all lines have."""
    curves: dict[str, dict[int, Any]] = {}
    for row in rows:
        if row["report"].get("curve"):
            curves.setdefault(row["arm"], {})[row["seed"]] = row["report"]["curve"]
    size_noise = base.partition("/")[2]
    tuning = {
        "label first": f"sft/label_first/{size_noise}", "reasoning first": f"sft/reason_first/{size_noise}",
        "label only": "sft/label_only/12000/0",
    }  # fmt: skip
    later = {
        "GRPO, balanced": f"grpo/{base}/balanced/outcome", "GRPO, gated": f"grpo/{base}/balanced/gated",
        "GRPO, natural": f"grpo/{base}/natural/outcome", "same labels, natural": f"more-sft/{base}/natural",
        "rejection, round 3": f"best-of-g/{base}", "DPO": f"dpo/{base}",
    }  # fmt: skip
    for name, title, of in (
        ("taosr1-tuning.svg", "Fine-tuning, on validation pairs", tuning),
        (f"taosr1-after-{base.partition('/')[0]}.svg", "After fine-tuning, on validation pairs", later),
    ):
        found = {words: curves[arm] for words, arm in of.items() if arm in curves}
        seeds = set.intersection(*map(set, found.values())) if found else set()
        if seeds:
            drawn = {words: _line([curve[seed] for seed in seeds]) for words, curve in found.items()}
            axes = Axis("steps"), Axis("macro-F1", from_zero=False)
            whole = f"{title}, {len(seeds)} seeds" if len(seeds) > 1 else title
            (folder / name).write_text(lines(whole, drawn, *axes, names_below=True), encoding="utf-8")


def plotted_grid(rows: Iterable[Mapping[str, Any]], folder: Path) -> None:
    """macro-F1 over the pairs of fine-tuning as SVG, a line for each order and step noise, of the seed with most of the arms.
    What has been run at one size alone has no line."""
    found: dict[int, dict[str, float]] = {}
    for row in rows:
        if row["arm"].startswith("sft/"):
            found.setdefault(row["seed"], {})[row["arm"]] = row["true"]["macro_f1"]
    if not found:
        return
    of = max(found.values(), key=len)
    drawn, strokes = {}, {}
    for order, words, colour in (
        ("label_only", "label only", COLOURS[2]),
        ("reason_first", "reasoning first", COLOURS[1]),
        ("label_first", "label first", COLOURS[0]),
    ):
        for noise, dashes in (("0", ""), ("0.15", "6 3"), ("0.3", "2 3")):
            points = [(size, of[arm]) for size in SIZES if (arm := f"sft/{order}/{size}/{noise}") in of]
            if len(points) > 1:
                name = words if order == "label_only" else f"{words}, noise {noise}"
                size, value = np.array(points, float).T
                drawn[name], strokes[name] = (size, value), (colour, dashes)
    axes = Axis("pairs of fine-tuning", log=True), Axis("macro-F1", from_zero=False)
    picture = lines("Order, data and noise, one shop", drawn, *axes, names_left=True, strokes=strokes)
    (folder / "taosr1-grid.svg").write_text(picture, encoding="utf-8")


def _line(of_seeds: Sequence[Sequence[Sequence[float]]]) -> tuple[Array, Array]:
    """Steps and values, means over seeds; a seed with a validation more than another gives it up."""
    points = min(map(len, of_seeds))
    step, value = np.mean([curve[:points] for curve in of_seeds], 0).T
    return step, value


def printed(rows: Sequence[Mapping[str, Any]]) -> None:
    print(json.dumps(list(rows)))
