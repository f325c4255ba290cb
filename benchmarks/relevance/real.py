"""Judges on ESCI and Icecat by query folds: macro-F1 of the grades, and nDCG of each query's judged list in the judge's order.

    python benchmarks/relevance/real.py --out FOLDER --arms tiny cross_encoder:scratch cross_encoder:minilm
    python benchmarks/relevance/real.py --out FOLDER --arms lref:models/qwen3-0.6b --device cuda
    python benchmarks/relevance/real.py --out FOLDER --rows

Every query is judged by models that saw no pair of its fold; the threshold of CumPT comes from a fifth of the other folds' queries,
which they do not learn from.  A finished fold is a line in FOLDER/runs.jsonl and stays.  ``bm25`` and ``minilm`` order the same
lists without having learned anything from grades.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch

from aisle.core.env import Env
from aisle.core.lists import Array, ItemLists
from aisle.core.shop import Judgments
from aisle.data.sets import open_set
from aisle.data.splits import even_folds, split_judgments
from aisle.data.view import View
from aisle.evaluate.metrics import measure
from aisle.nn.backbones.tiny import TinyShape
from aisle.recipes.environment import memory_env
from aisle.relevance._pairs import pairs_of
from aisle.relevance._scale import scale_of_judgments
from aisle.relevance._serving import expected
from aisle.relevance._tiers import confusion, cumulative_grade, f1_by_grade
from aisle.relevance.cross_encoder import CrossEncoder
from aisle.relevance.lref import Debiasing, Explaining, Lref, Selection
from aisle.training.settings import TrainSettings

AGAINST = ("bm25", "cross_encoder:minilm")
SETS = {"esci": "esci:esci-us-150", "icecat": "icecat:icecat-electronics"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="*", choices=SETS, default=list(SETS))
    parser.add_argument(
        "--arms", nargs="*", default=["bm25", "minilm", "tiny", "cross_encoder:scratch", "cross_encoder:minilm"]
    )
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="only so many of the folds; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=300, help="of the arms that start from nothing")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if not args.rows:
        torch.set_num_threads(1)
        for name in args.sets:
            Folds(name, args).run(args.arms)
    else:
        print(json.dumps(list(rows_of(read_runs(args.out))), indent=1))


class Folds:
    """One set, cut into folds of queries."""

    def __init__(self, name: str, args: argparse.Namespace) -> None:
        self.name, self.args = name, args
        dataset = open_set(SETS[name])
        self.items = dataset.items()
        self.judged = _with_a_positive(dataset.judged(self.items))
        self.env: Env = memory_env(self.items, seed=args.seed)
        self.fold = even_folds(self.judged.query, args.folds, args.seed)

    def run(self, arms: list[str]) -> None:
        done = {(r["set"], r["arm"], r["fold"], r["seed"]) for r in read_runs(self.args.out)}
        for fold in range(self.args.first or self.args.folds):
            for arm in arms:
                if (self.name, arm, fold, self.args.seed) not in done:
                    start = process_time()
                    found = self.measured(arm, fold)
                    run = {"set": self.name, "arm": arm, "fold": fold, "seed": self.args.seed, **found}
                    line = json.dumps({**run, "cpu_s": round(process_time() - start, 1)})
                    with (self.args.out / "runs.jsonl").open("a") as file:
                        file.write(line + "\n")
                    print(line[:200], flush=True)

    def measured(self, arm: str, fold: int) -> dict[str, Any]:
        test = self.judged.select(np.flatnonzero(self.fold == fold))
        lists = test.lists.only()
        if arm == "bm25":
            return {"ndcg": self.ndcg(test, lists, self.env.engine.text.score(test.query, lists, {}))}
        if arm == "minilm":
            return {"ndcg": self.ndcg(test, lists, self.cosine(test, lists))}
        others = self.judged.select(np.flatnonzero(self.fold != fold))
        view = View(self.items, judgments=split_judgments(others, self.args.seed + 1))
        stage = self.method(arm).fit(view, self.env)
        chance_NC = stage.chances(test.query, lists)
        scale = scale_of_judgments(others)
        gold = pairs_of(test, scale).label
        counts = confusion(gold, cumulative_grade(chance_NC, stage.threshold), len(scale))
        likeliest = confusion(gold, chance_NC.argmax(1), len(scale))
        return {
            "ndcg": self.ndcg(test, lists, expected(chance_NC)),
            "confusion": counts.tolist(),
            "argmax_confusion": likeliest.tolist(),
        }

    def method(self, arm: str) -> Any:
        """``tiny``, ``cross_encoder:ENCODER`` or ``lref:MODEL``."""
        kind, _, name = arm.partition(":")
        if kind == "cross_encoder":
            steps = {"max_steps": self.args.steps} if name == "scratch" else {}
            quick = TrainSettings(
                epochs=50 if steps else 1, warmup=0.1, lr=1e-4, weight_decay=0.01, precision="auto", **steps
            )
            return CrossEncoder(encoder=name, threads=1, train=quick, max_tokens=64)
        plain = {"explaining": Explaining(tasks=()), "debiasing": Debiasing(on=False), "selection": Selection(by="all")}
        if kind == "lref":
            return Lref(backbone=name, form="steps", batch=16, **plain)
        shape = TinyShape(width=64, layers=2, heads=4, key_heads=2, head_dim=16, hidden=128, repeats=True)
        quick = TrainSettings(epochs=50, max_steps=self.args.steps, lr=2e-3, warmup=0.05, weight_decay=0.01)
        return Lref(threads=1, shape=shape, vocabulary=6000, words="pieces", train=quick, **plain)

    def cosine(self, test: Judgments, lists: ItemLists) -> Array:
        encoder = self.env.encoder("minilm")
        rows, place = np.unique(lists.item, return_inverse=True)
        item_RD = encoder.encode([f"{t} {b}" for t, b in zip(
            self.items.text("title", rows), self.items.text("brand", rows), strict=True)])  # fmt: skip
        return (encoder.encode(list(test.query))[lists.owner] * item_RD[place]).sum(1)

    @staticmethod
    def ndcg(test: Judgments, lists: ItemLists, score_N: Array) -> list[float]:
        """Of each query, over its whole judged list."""
        ordered = lists.with_columns(score=score_N.astype(np.float32)).top(10_000, "score")
        return [round(float(v), 5) for v in measure(ordered, test, ["ndcg"])["ndcg"]]


def _with_a_positive(judged: Judgments) -> Judgments:
    """The queries that have an item of some gain: elsewhere every order is as good."""
    best = np.zeros(len(judged))
    np.maximum.at(best, judged.lists.owner, judged.gain())
    return judged.select(np.flatnonzero(best > 0))


def read_runs(out: Path) -> list[dict[str, Any]]:
    path = out / "runs.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def rows_of(runs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """nDCG over all queries, what it has beyond BM25 and beyond MiniLM fine-tuned, and macro-F1 of all folds' pairs together."""
    for name, arm in dict.fromkeys((run["set"], run["arm"]) for run in runs):
        own = [run for run in runs if (run["set"], run["arm"]) == (name, arm)]
        yield {"metric": f"ndcg:{name}", "plan": arm, "value": float(np.mean([v for run in own for v in run["ndcg"]]))}
        for baseline in AGAINST:
            others = [run for run in runs if (run["set"], run["arm"]) == (name, baseline)]
            if arm != baseline and [run["fold"] for run in own] == [run["fold"] for run in others]:
                yield {"metric": f"ndcg against {baseline}:{name}", "plan": arm, **_difference(own, others)}
        for metric, key in (("macro_f1", "confusion"), ("argmax_macro_f1", "argmax_confusion")):
            if key in own[0]:
                counts = np.sum([run[key] for run in own], axis=0)
                yield {"metric": f"{metric}:{name}", "plan": arm, "value": float(np.nanmean(f1_by_grade(counts)))}


def _difference(own: list[dict[str, Any]], others: list[dict[str, Any]]) -> dict[str, float]:
    """Mean paired difference over queries, with its 95 % interval."""
    away_Q = np.concatenate([np.array(a["ndcg"]) - np.array(b["ndcg"]) for a, b in zip(own, others, strict=True)])
    draw_BQ = np.random.default_rng(0).multinomial(len(away_Q), np.full(len(away_Q), 1 / len(away_Q)), 2000)
    low, high = (float(q) for q in np.quantile(draw_BQ @ away_Q / len(away_Q), [0.025, 0.975]))
    return {"value": float(away_Q.mean()), "low": low, "high": high}


if __name__ == "__main__":
    main()
