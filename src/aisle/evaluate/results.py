"""What an experiment found: scores of every query, means with intervals, paired differences, and their files.

Legend: Q queries, S seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from aisle.core.errors import ContractError, UnknownName, nearest
from aisle.core.lists import Array
from aisle.evaluate.significance import (
    DEFAULT,
    Difference,
    Interval,
    Resampling,
    bootstrap_mean,
    holm,
    paired_difference,
)

if TYPE_CHECKING:
    import pyarrow as pa


class Row(TypedDict):
    """One line of ``aisle evaluate --json``; None stands for "no value"."""

    plan: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    queries: int
    milliseconds: float | None


@dataclass(frozen=True, eq=False)
class Experiment:
    """
    query         the Q queries
    metrics       names, in the order asked for
    scores        plan -> metric -> float64[S, Q], NaN for a query that has no value; S is 1 unless seeds were joined
    whole_run     plan -> metric -> one value, for metrics without a value a query
    milliseconds  plan -> mean time a query
    baseline      the plan that the others are compared with
    strata        a label a query, or None
    how           resamples, level and seed of the intervals
    """

    query: Sequence[str]
    metrics: Sequence[str]
    scores: Mapping[str, Mapping[str, Array]]
    whole_run: Mapping[str, Mapping[str, float]]
    milliseconds: Mapping[str, float]
    baseline: str
    strata: Sequence[str] | None = None
    how: Resampling = DEFAULT
    _memo: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def plans(self) -> list[str]:
        return list(self.scores)

    def per_query(self, plan: str, metric: str) -> Array:
        """float64[Q]: the scores of one plan, averaged over seeds.  Raises UnknownName."""
        mean: Array = self._scores(plan, metric).mean(0)
        return mean

    def mean(self, plan: str, metric: str) -> Interval:
        """The mean with its interval; for a metric of the whole run the bounds are NaN."""
        if metric in self.whole_run[self._plan(plan)]:
            return Interval(self.whole_run[plan][metric], math.nan, math.nan, self.how.level, len(self.query))
        key = ("mean", plan, metric)
        if key not in self._memo:
            self._memo[key] = bootstrap_mean(self._scores(plan, metric), self.strata, self.how)
        found: Interval = self._memo[key]
        return found

    def difference(self, plan: str, metric: str, baseline: str | None = None) -> Difference:
        """``plan`` minus the baseline, paired by query, as a single comparison."""
        other = baseline or self.baseline
        key = ("difference", plan, metric, other)
        if key not in self._memo:
            mine, its = self._scores(plan, metric), self._scores(other, metric)
            self._memo[key] = paired_difference(mine, its, self.strata, self.how)
        found: Difference = self._memo[key]
        return found

    def differences(self, metric: str, baseline: str | None = None) -> dict[str, Difference]:
        """Every other plan minus the baseline, with Holm's correction over them."""
        other = baseline or self.baseline
        found = {p: self.difference(p, metric, other) for p in self.plans if p != other}
        corrected = holm([d.p for d in found.values()])
        return {p: replace(d, p_holm=float(c)) for (p, d), c in zip(found.items(), corrected, strict=True)}

    def left_out(self, metric: str) -> int:
        """Queries without a value of this metric in any plan."""
        if any(metric in whole for whole in self.whole_run.values()):
            return 0
        return int(np.all([np.isnan(self.per_query(p, metric)) for p in self.plans], axis=0).sum())

    def rows(self) -> list[Row]:
        """One row for each plan and metric, ready for JSON."""
        return [self._row(plan, metric) for plan in self.plans for metric in self.metrics]

    def table(self) -> pa.Table:
        """Every score as a row: query, plan, metric, seed (place from 0), stratum, score (null where there is none)."""
        import pyarrow as pa

        names = [(p, m, s) for p in self.plans for m in self.scores[p] for s in range(len(self.scores[p][m]))]
        q, strata = len(self.query), self.strata or [""] * len(self.query)
        score = np.concatenate([self.scores[p][m][s] for p, m, s in names]) if names else np.zeros(0)
        columns = {
            "query": pa.array(list(self.query) * len(names), pa.string()),
            "plan": pa.array([p for p, _, _ in names for _ in range(q)], pa.string()),
            "metric": pa.array([m for _, m, _ in names for _ in range(q)], pa.string()),
            "seed": pa.array([s for _, _, s in names for _ in range(q)], pa.int32()),
            "stratum": pa.array(list(strata) * len(names), pa.string()),
            "score": pa.array(score, pa.float64(), from_pandas=True),
        }
        return pa.table(columns)

    def save_scores(self, path: str | Path) -> None:
        """``table`` as a Parquet file, so that another run can be compared query by query."""
        import pyarrow.parquet as pq

        Path(path).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(self.table(), path, compression="zstd")

    # -- experiments made of experiments -------------------------------------------------------------------------------

    @classmethod
    def joined(cls, parts: Sequence[Experiment], strata: Sequence[str] | None = None) -> Experiment:
        """Experiments over different queries as one; milliseconds are averaged over queries, whole-run values dropped.

        Raises ContractError when plans, metrics or seeds differ.
        """
        first = _alike(parts)
        weight = np.array([len(p.query) for p in parts], np.float64)
        scores = {
            plan: {m: np.concatenate([p.scores[plan][m] for p in parts], 1) for m in first.scores[plan]}
            for plan in first.plans
        }
        return replace(
            first,
            query=tuple(q for p in parts for q in p.query),
            metrics=tuple(m for m in first.metrics if m in scores[first.plans[0]]),
            scores=scores,
            whole_run={plan: {} for plan in first.plans},
            milliseconds={n: _average([p.milliseconds[n] for p in parts], weight) for n in first.plans},
            strata=None if strata is None else tuple(strata),
            _memo={},
        )

    @classmethod
    def pooled(cls, parts: Mapping[str, Experiment]) -> Experiment:
        """Experiments on several data sets as one, resampled within each data set (the names are the strata)."""
        strata = [name for name, part in parts.items() for _ in part.query]
        return cls.joined(list(parts.values()), strata)

    @classmethod
    def over_seeds(cls, parts: Sequence[Experiment]) -> Experiment:
        """The same plans on the same queries with different seeds; intervals then resample seeds crossed with queries.

        Raises ContractError when plans, metrics or queries differ.
        """
        first = _alike(parts)
        for part in parts:
            if tuple(part.query) != tuple(first.query):
                raise ContractError("the seeds were run on different queries; run every seed on the same ones")
        even = np.ones(len(parts))
        return replace(
            first,
            scores={
                n: {m: np.concatenate([p.scores[n][m] for p in parts]) for m in first.scores[n]} for n in first.plans
            },
            whole_run={
                n: {m: _average([p.whole_run[n][m] for p in parts], even) for m in first.whole_run[n]}
                for n in first.plans
            },
            milliseconds={n: _average([p.milliseconds[n] for p in parts], even) for n in first.plans},
            _memo={},
        )

    def reordered(self, queries: Array, strata: Sequence[str] | None = None) -> Experiment:
        """The given queries (by number), in that order, with new strata."""
        return replace(
            self,
            query=tuple(self.query[int(q)] for q in queries),
            scores={n: {m: v[:, queries] for m, v in found.items()} for n, found in self.scores.items()},
            strata=strata,
            _memo={},
        )

    # -- inside --------------------------------------------------------------------------------------------------------

    def _plan(self, plan: str) -> str:
        if plan not in self.scores:
            raise UnknownName(f"no plan {plan!r} in this experiment{nearest(plan, self.scores)}")
        return plan

    def _scores(self, plan: str, metric: str) -> Array:
        found = self.scores[self._plan(plan)]
        if metric not in found:
            raise UnknownName(f"no score a query of {metric!r} in this experiment{nearest(metric, found)}")
        return found[metric]

    def _row(self, plan: str, metric: str) -> Row:
        mean = self.mean(plan, metric)
        return Row(
            plan=plan,
            metric=metric,
            value=_plain(mean.value),
            low=_plain(mean.low),
            high=_plain(mean.high),
            queries=mean.num_queries,
            milliseconds=_plain(self.milliseconds[plan]),
        )


def _alike(parts: Sequence[Experiment]) -> Experiment:
    if not parts:
        raise ContractError("there is no experiment to join; give at least one")
    first = parts[0]
    for part in parts:
        if part.plans != first.plans or tuple(part.metrics) != tuple(first.metrics):
            raise ContractError(
                f"plans {part.plans} with {list(part.metrics)} do not match {first.plans} with {list(first.metrics)}; "
                "run the same plans and metrics in every part"
            )
    return first


def _average(values: Sequence[float], weight: Array) -> float:
    return float(np.average(values, weights=weight)) if weight.sum() > 0 else math.nan


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
