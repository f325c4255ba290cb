"""Experiment: a table of funnels over a query set, measured on the same queries and compared in pairs.

Legend: Q queries, S seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter

import numpy as np

from aisle.core.env import Progress, silent
from aisle.core.errors import ContractError, SettingError, UnknownName, nearest
from aisle.core.lists import Array, ItemLists
from aisle.core.requests import Requests
from aisle.core.shop import Judgments
from aisle.data.splits import even_folds
from aisle.evaluate.beyond import ItemFacts
from aisle.evaluate.metrics import Evaluator, Metric, Scale, parse_metric
from aisle.evaluate.results import Experiment
from aisle.evaluate.significance import DEFAULT, Resampling
from aisle.funnel import Funnel

METRICS = ("ndcg@10", "judged@10", "recall@100", "mrr", "map")
"""What is measured when nothing is asked for."""

BATCH = 64
"""Requests retrieved together: bounds what is held of candidates."""


def run(
    funnels: Mapping[str, Funnel],
    requests: Requests | None,
    judgments: Judgments,
    metrics: Sequence[str | Metric] = METRICS,
    *,
    baseline: str | None = None,
    strata: Sequence[str] | None = None,
    scale: Scale | None = None,
    facts: ItemFacts | None = None,
    how: Resampling = DEFAULT,
    batch: int = BATCH,
    progress: Progress = silent,
) -> Experiment:
    """Every funnel measured on every query.

    requests  one for each judged query, in that order; None: the judged queries as typed
    baseline  what the others are compared with; None: the first funnel
    strata    a label a query (such as its data set), kept in proportion when queries are resampled

    Funnels that retrieve the same candidates share them.  Milliseconds are a query's share of the time of its batch,
    retrieval included, after one request to warm up.
    Raises ContractError when requests and judgments differ in number, UnknownName for a baseline that is not there,
    SettingError for a metric that looks deeper than a plan ranks.
    """
    asked = [parse_metric(m) for m in metrics]
    requests = Requests.make(list(judgments.query)) if requests is None else requests
    _check(funnels, requests, judgments, asked, baseline)
    rankings, taken_s = rank(funnels, requests, batch=batch, progress=progress)
    evaluator = Evaluator(judgments, scale, facts)
    found = {name: evaluator.measure(lists, asked) for name, lists in rankings.items()}
    return Experiment(
        query=tuple(judgments.query),
        metrics=tuple(map(str, asked)),
        scores={n: {str(m): found[n][str(m)][None] for m in asked if not m.whole_run} for n in found},
        whole_run={n: {str(m): float(found[n][str(m)][0]) for m in asked if m.whole_run} for n in found},
        milliseconds={n: s * 1e3 / len(requests) for n, s in taken_s.items()},
        baseline=baseline or next(iter(funnels)),
        strata=None if strata is None else tuple(strata),
        how=how,
    )


def run_folds(
    fit: Callable[[Judgments], Mapping[str, Funnel]],
    requests: Requests | None,
    judgments: Judgments,
    metrics: Sequence[str | Metric] = METRICS,
    *,
    folds: Array | int = 5,
    seed: int = 0,
    strata: Sequence[str] | None = None,
    baseline: str | None = None,
    scale: Scale | None = None,
    facts: ItemFacts | None = None,
    how: Resampling = DEFAULT,
    batch: int = BATCH,
    progress: Progress = silent,
) -> Experiment:
    """Plans that are tuned or fitted on judgments: each query is measured by funnels that saw only the other folds.

    ``fit(judgments of the other folds)`` gives the funnels by name.  ``folds`` is their number, or int64[Q] from
    ``even_folds``.  Metrics of the whole run (coverage and the like) have no value over folds and are refused.
    Raises SettingError for such a metric.
    """
    asked = [parse_metric(m) for m in metrics]
    for metric in asked:
        if metric.whole_run:
            raise SettingError(f"{metric} is one value a run and each fold is another run; measure it without folds")
    requests = Requests.make(list(judgments.query)) if requests is None else requests
    fold_Q = even_folds(judgments.query, folds, seed) if isinstance(folds, int) else np.asarray(folds)
    if not len(fold_Q) == len(requests) == len(judgments):
        raise ContractError(
            f"{len(fold_Q)} folds, {len(requests)} requests, {len(judgments)} queries; give one of each a query"
        )
    parts, places = [], []
    for fold in np.unique(fold_Q):
        held = np.flatnonzero(fold_Q == fold)
        funnels = fit(judgments.select(np.flatnonzero(fold_Q != fold)))
        part = run(
            funnels, requests.select(held), judgments.select(held), asked,
            baseline=baseline, scale=scale, facts=facts, how=how, batch=batch, progress=progress,
        )  # fmt: skip
        parts.append(part)
        places.append(held)
    back = np.argsort(np.concatenate(places))
    return Experiment.joined(parts).reordered(back, None if strata is None else tuple(strata))


def rank(
    funnels: Mapping[str, Funnel], requests: Requests, *, batch: int = BATCH, progress: Progress = silent
) -> tuple[dict[str, ItemLists], dict[str, float]]:
    """The ranking of each funnel (with ``score`` where it has one), and the seconds it took over all requests.

    Equal retrievals run once a batch; each funnel that uses one is charged its full time.
    """
    _warm_up(funnels, requests)
    parts: dict[str, list[ItemLists]] = {name: [] for name in funnels}
    taken_s = dict.fromkeys(funnels, 0.0)
    for start in range(0, len(requests), batch):
        part = requests.select(np.arange(start, min(start + batch, len(requests))))
        retrieved: dict[str, tuple[Requests, ItemLists, float]] = {}
        for name, funnel in funnels.items():
            key = funnel.retrieval_key()
            if key not in retrieved:
                began = perf_counter()
                retrieved[key] = (*funnel.retrieve(part), perf_counter() - began)
            compiled, candidates, retrieval_s = retrieved[key]
            began = perf_counter()
            lists = funnel.finish(compiled, candidates)
            taken_s[name] += retrieval_s + perf_counter() - began
            parts[name].append(lists.only(*({"score"} & lists.columns.keys())))
        progress("evaluate", min(start + batch, len(requests)), len(requests))
    return {name: ItemLists.concat(lists) for name, lists in parts.items()}, taken_s


def _warm_up(funnels: Mapping[str, Funnel], requests: Requests) -> None:
    """Loads what is loaded on first use (an encoder, a vector file), so that no plan is charged for it."""
    first = requests.select(np.arange(1))
    for funnel in funnels.values():
        funnel.ranked(first)


def _check(
    funnels: Mapping[str, Funnel],
    requests: Requests,
    judgments: Judgments,
    metrics: Sequence[Metric],
    baseline: str | None,
) -> None:
    if not len(judgments):
        raise SettingError("no judged query to measure on; add judgments to the shop or name a file of them")
    if not funnels:
        raise SettingError("no plan to evaluate; give at least one")
    if len(requests) != len(judgments):
        raise ContractError(f"{len(requests)} requests for {len(judgments)} judged queries; give one request a query")
    if baseline is not None and baseline not in funnels:
        raise UnknownName(f"no plan {baseline!r} to compare with{nearest(baseline, funnels)}")
    deepest = max(metrics, key=lambda m: m.k or 0, default=None)
    for name, funnel in funnels.items():
        depth = funnel.plan.depth.rank
        if deepest is not None and (deepest.k or 0) > depth:
            raise SettingError(
                f"{deepest} looks at {deepest.k} places, the plan {name!r} ranks {depth}; set depth.rank={deepest.k}"
            )
