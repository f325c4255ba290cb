"""What the arms of ``pretrained.py`` found: figures, and paired differences resampled over queries.

Legend: Q queries, N pairs, C grades, B resamples.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from aisle.core.lists import Array
from aisle.relevance._tiers import confusion, f1_by_grade

Run = Mapping[str, Any]
RESAMPLES = 2000
LOOKED_AT = ("smollm2", "whole", "likelihood", "mixed")
AGAINST = ("bm25:0", "minilm:0", "tiny:2000", "cross_encoder:2000", "smollm2:0", "smollm2:2000", "random:2000")


def read_runs(out: Path) -> list[Run]:
    path = out / "runs.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def rows_of(runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    """Figures of every arm of every set, then what one arm has beyond another, with its 95 % interval."""
    of = {(run["set"], run["arm"]): run for run in runs}
    for (name, arm), run in of.items():
        figures = {"ndcg": float(np.mean(run["ndcg"])), "cpu_s": run["cpu_s"], "peak_mb": run["peak_mb"]}
        if "said" in run:
            figures |= {"macro_f1": macro(run, "said"), "argmax_macro_f1": macro(run, "likeliest")}
            figures |= {key: run[key] for key in ("judged_a_s", "learning_s", "pairs")}
        for metric, value in figures.items():
            yield {"metric": f"{metric}:{name}", "plan": arm, "value": value}
    for (name, arm), baseline in product(of, AGAINST):
        other = of.get((name, baseline))
        if other is None or baseline == arm or not arm.startswith(LOOKED_AT):
            continue
        yield _difference(f"ndcg against {baseline}:{name}", arm, *_ndcg(of[name, arm], other))
        if "said" in other and "said" in of[name, arm]:
            yield _difference(f"macro_f1 against {baseline}:{name}", arm, *_macro_f1(of[name, arm], other))


def macro(run: Run, said: str) -> float:
    gold, num_grades = np.array(run["gold"]), max(run["gold"]) + 1
    return float(np.nanmean(f1_by_grade(confusion(gold, np.array(run[said]), num_grades))))


def _difference(metric: str, arm: str, value: float, value_B: Array) -> dict[str, Any]:
    low, high = (float(q) for q in np.quantile(value_B, [0.025, 0.975]))
    return {"metric": metric, "plan": arm, "value": value, "low": low, "high": high}


def _draws(num_queries: int) -> Array:
    """int64[B, Q]: how often each query is drawn."""
    return np.random.default_rng(0).multinomial(num_queries, np.full(num_queries, 1 / num_queries), RESAMPLES)


def _ndcg(one: Run, other: Run) -> tuple[float, Array]:
    difference_Q = np.array(one["ndcg"]) - np.array(other["ndcg"])
    return float(difference_Q.mean()), _draws(len(difference_Q)) @ difference_Q / len(difference_Q)


def _macro_f1(one: Run, other: Run) -> tuple[float, Array]:
    counts = [_by_query(run) for run in (one, other)]
    draw_BQ = _draws(len(counts[0]))
    spread = [np.array([np.nanmean(f1_by_grade(c)) for c in np.tensordot(draw_BQ, count, 1)]) for count in counts]
    whole = [float(np.nanmean(f1_by_grade(count.sum(0)))) for count in counts]
    return whole[0] - whole[1], spread[0] - spread[1]


def _by_query(run: Run) -> Array:
    """int64[Q, C, C]: gold grade by given grade."""
    query, gold, said = (np.array(run[name]) for name in ("query", "gold", "said"))
    return np.array([confusion(gold[query == q], said[query == q], gold.max() + 1) for q in range(query.max() + 1)])
