"""What reading "without", "not" and "no" is worth: nDCG@10 by true grades, and how many of the first ten have what was refused.

Queries of generated shops, many of them hard ones.  ``words`` reads every word as wanted; ``read`` is how queries are read.

With ``--data`` the judged queries of a public set: all of them, and those that say no to something.

    python benchmarks/evaluate/negation.py --seed 0
    python benchmarks/evaluate/negation.py --data esci:esci-us-150

Legend: Q queries, N rows, J judged pairs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from time import process_time
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aisle.cli._measure import of_set
from aisle.core.env import Env, silent
from aisle.core.lists import Array, ItemLists
from aisle.core.requests import Requests
from aisle.data.items import ItemTable
from aisle.data.view import View
from aisle.engine.embedded.negation import Negation
from aisle.evaluate.metrics import Evaluator
from aisle.recipes import plan
from aisle.recipes.environment import memory_env
from aisle.simulate.grades.rules import GAINS
from aisle.simulate.language.queries import Query
from aisle.simulate.world import World

WORLD = "adverse:hard"
"""Six tenths of its queries are negations, alternatives, questions or take knowledge."""
ARMS = ("words", "read")
SHOWN, DEEP = 10, 100
ROUNDS = 20
GAIN = np.array([0.0, *(GAINS[grade] for grade in sorted(GAINS))])
Row = dict[str, Any]
Score = tuple[str, str, str, str, float]
DISCOUNT = 1 / np.log2(np.arange(SHOWN) + 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", type=Path)
    parser.add_argument("--data", default="", help="KIND:DIR of a public set")
    for name, number in (("--seed", 0), ("--items", 2500), ("--queries", 400)):
        parser.add_argument(name, type=int, default=number)
    args = parser.parse_args()
    rows, scores = _of_set(args.data) if args.data else _of_world(args.items, args.seed, args.queries)
    if args.scores:
        names = ("plan", "metric", "query", "stratum", "score")
        pq.write_table(pa.table(dict(zip(names, map(list, zip(*scores, strict=True)), strict=True))), args.scores)
    print(json.dumps(rows, indent=1))


def _of_world(num_items: int, seed: int, num_queries: int) -> tuple[list[Row], list[Score]]:
    """Figures and scores of a generated shop."""
    world = World.make(num_items, seed, WORLD)
    env, queries = memory_env(ItemTable.from_table(world.items)), world.queries(num_queries)
    is_negation = np.array([query.kind == "negation" for query in queries])
    reads_so = np.array([bool(env.engine.text.asked(query.text).unwanted) for query in queries])
    groups = {"negation": is_negation, "others read so": reads_so & ~is_negation, "rest": ~reads_so & ~is_negation}
    rows, scores = list[Row](), list[Score]()
    texts = [query.text for query in queries]
    for label, lists in _ranked(env, texts, SHOWN):
        top = [lists.item[a:b] for a, b in zip(lists.splits[:-1], lists.splits[1:], strict=True)]
        measured = {"ndcg@10": _ndcg(world, queries, top), "refused@10": _refused(world, queries, top)}
        _note(rows, scores, label, texts, measured, groups)
    plain = [text for text, so in zip(texts, reads_so, strict=True) if not so]
    taken_us = {}
    for arm in ARMS:
        with _reading(env, arm):
            taken_us[arm] = _reading_us(env, plain)
    rows.append({"metric": "more_us", "plan": "read", "value": taken_us["read"] - taken_us["words"]})
    return rows, scores


def _of_set(place: str) -> tuple[list[Row], list[Score]]:
    """Figures and scores of a public set, and how often a judged product is a full answer by what it says of the unwanted."""
    opened = of_set(place, ["minilm"], 0, silent, cache=True)
    texts, text = list(opened.judged.query), opened.env.engine.text
    reads_so = np.array([bool(text.asked(query).unwanted) for query in texts])
    groups = {"all": np.ones(len(texts), bool), "negation": reads_so}
    rows, scores = list[Row](), list[Score]()
    evaluator = Evaluator(opened.judged)
    for label, lists in _ranked(opened.env, texts, DEEP):
        measured = {str(name): value for name, value in evaluator.measure(lists, ["ndcg@10", f"recall@{DEEP}"]).items()}
        _note(rows, scores, label, texts, measured, groups)
    judged, is_full_J = opened.judged.lists, opened.judged.gain() >= opened.judged.gain().max()
    says_J = np.full(len(judged.item), "", object)
    for q in np.flatnonzero(reads_so).tolist():
        mine, asked = slice(judged.splits[q], judged.splits[q + 1]), text.asked(texts[q])
        item = judged.item[mine]
        says_J[mine] = np.where(asked.has[item], "has", np.where(asked.denies[item], "denies", "silent"))
    for says in ("has", "silent", "denies"):
        is_in = says_J == says
        if is_in.any():
            rows.append(
                {
                    "metric": "full answers",
                    "plan": says,
                    "value": float(is_full_J[is_in].mean()),
                    "pairs": int(is_in.sum()),
                }
            )
    return rows, scores


def _ranked(env: Env, texts: Sequence[str], k: int) -> Iterator[tuple[str, ItemLists]]:
    """The k best rows of each text by each recipe, read in both ways."""
    for recipe in ("lexical", "hybrid"):
        funnel = plan(recipe).fit(View(env.engine.items), env)
        for arm in ARMS:
            with _reading(env, arm):
                yield f"{recipe}-{arm}", funnel.ranked(Requests.make(texts), k)


def _note(
    rows: list[Row], scores: list[Score], label: str, texts: Sequence[str],
    measured: Mapping[str, Array], groups: Mapping[str, Array],
) -> None:  # fmt: skip
    """Add the mean of each measure in each group, and the score of each query."""
    for (name, value_Q), (group, is_in) in product(measured.items(), groups.items()):
        if np.isfinite(value_Q[is_in]).any():
            metric = f"{name}:{group}"
            rows.append(
                {
                    "metric": metric,
                    "plan": label,
                    "value": float(np.nanmean(value_Q[is_in])),
                    "queries": int(is_in.sum()),
                }
            )
            scores += [(label, metric, texts[q], group, float(value_Q[q])) for q in np.flatnonzero(is_in).tolist()]


@contextmanager
def _reading(env: Env, arm: str) -> Iterator[None]:
    """Within it ``words`` knows no negating word."""
    env.engine.text.forget()
    if arm == "read":
        yield
    else:
        with patch.object(Negation, "may_deny", lambda self, text: False):
            yield
    env.engine.text.forget()


def _ndcg(world: World, queries: Sequence[Query], top: Sequence[Array]) -> Array:
    """float64[Q], by true grades of the whole catalogue."""
    out = np.zeros(len(queries))
    for q, (query, rows) in enumerate(zip(queries, top, strict=True)):
        gain_I = GAIN[world.grades(query)]
        best = np.sort(gain_I)[::-1][:SHOWN]
        out[q] = gain_I[rows] @ DISCOUNT[: len(rows)] / (best @ DISCOUNT[: len(best)])
    return out


def _refused(world: World, queries: Sequence[Query], top: Sequence[Array]) -> Array:
    """float64[Q]: share of the first ten rows that are what the query says they must not be, NaN where it says no to nothing."""
    out = np.full(len(queries), np.nan)
    for q, (query, rows) in enumerate(zip(queries, top, strict=True)):
        negated = [n for n, want in enumerate(query.intent.wants) if want.negated]
        if negated and len(rows):
            out[q] = (world.verdicts(query, rows).constraint[:, negated] == 0).any(1).mean()
    return out


def _reading_us(env: Env, texts: Sequence[str]) -> float:
    """Processor time of reading a query that says no to nothing, the first time it is asked; the best of some rounds."""
    taken = []
    for _ in range(ROUNDS):
        env.engine.text.forget()
        start = process_time()
        for text in texts:
            env.engine.text.asked(text)
        taken.append((process_time() - start) / len(texts) * 1e6)
    return min(taken)


if __name__ == "__main__":
    main()
