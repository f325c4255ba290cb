"""Experiments over a small shop: real plans, real engine."""

from __future__ import annotations

import io
import json
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from aisle.core.errors import ContractError, SettingError, UnknownName
from aisle.core.requests import Requests
from aisle.core.shop import Judgments
from aisle.data.splits import even_folds
from aisle.evaluate.beyond import ItemFacts
from aisle.evaluate.experiment import rank, run, run_folds
from aisle.evaluate.report import show
from aisle.evaluate.results import Experiment
from aisle.evaluate.significance import Resampling
from aisle.funnel import Depth, Plan
from aisle.ranking.fusion import Fusion
from aisle.recipes.environment import memory_env
from aisle.retrieval.bm25 import Bm25
from aisle.retrieval.popular import Popular
from aisle.simulate.known import two_tastes

HOW = Resampling(resamples=500)
METRICS = ["ndcg@10", "recall@20", "judged@10"]


def fused(**weights: float) -> Plan:
    return Plan(retrieval={"bm25": Bm25(), "popular": Popular()}, ranking=Fusion(retrievers=weights))


@pytest.fixture(scope="module")
def view():
    return two_tastes()


@pytest.fixture(scope="module")
def env(view):
    return memory_env(view.items)


@pytest.fixture(scope="module")
def judged(view) -> Judgments:
    """The queries of both parts, and one that nothing answers."""
    from aisle.core.lists import ItemLists

    train, validation = view.judgments("train"), view.judgments("validation")
    hopeless = ItemLists(np.array([0]), np.array([0, 1]), {"grade": np.zeros(1, np.int32)}, train.lists.generation)
    parts = [part.lists.only("grade") for part in (train, validation)]
    return Judgments([*train.query, *validation.query, "zebra"], ItemLists.concat([*parts, hopeless]), train.gains)


@pytest.fixture(scope="module")
def funnels(view, env):
    plans = {"popular": Plan(retrieval={"popular": Popular()}), "lexical": Plan(retrieval={"bm25": Bm25()})}
    return {name: plan.fit(view, env) for name, plan in plans.items()}


@pytest.fixture(scope="module")
def experiment(funnels, judged) -> Experiment:
    return run(funnels, None, judged, METRICS, how=HOW)


def test_rows_are_the_json_that_was_agreed(experiment, judged):
    rows = experiment.rows()
    assert [(r["plan"], r["metric"]) for r in rows] == [(p, m) for p in ("popular", "lexical") for m in METRICS]
    for row in json.loads(json.dumps(rows)):
        assert list(row) == ["plan", "metric", "value", "low", "high", "queries", "milliseconds"]
        assert row["low"] <= row["value"] <= row["high"]
        assert row["queries"] == len(judged) - 1
        assert row["milliseconds"] > 0


def test_the_better_plan_is_seen(experiment):
    lexical, popular = (experiment.mean(p, "ndcg@10").value for p in ("lexical", "popular"))
    assert lexical > popular + 0.1
    found = experiment.differences("ndcg@10")
    assert list(found) == ["lexical"]
    assert found["lexical"].value == pytest.approx(lexical - popular)
    assert experiment.difference("popular", "ndcg@10", "lexical").value == pytest.approx(popular - lexical)
    assert experiment.left_out("ndcg@10") == 1


def test_scores_are_those_of_the_page(experiment, funnels, judged):
    """Query by query, in the order of the judgments, also when asked one at a time."""
    alone = run({"lexical": funnels["lexical"]}, None, judged, METRICS, batch=1, how=HOW)
    np.testing.assert_allclose(alone.per_query("lexical", "ndcg@10"), experiment.per_query("lexical", "ndcg@10"))
    assert np.isnan(alone.per_query("lexical", "ndcg@10")[-1])


def test_equal_retrievals_run_once(view, env, judged, monkeypatch):
    fitted = {n: fused(bm25=w).fit(view, env) for n, w in (("one", 1.0), ("two", 2.0))}
    fitted["other"] = Plan(retrieval={"bm25": Bm25()}, depth=Depth(retrieve=7)).fit(view, env)
    calls: Counter[str] = Counter()
    retrieve = type(fitted["one"]).retrieve

    def counted(funnel, requests):
        calls[f"{funnel.plan.depth.retrieve}"] += len(requests)
        return retrieve(funnel, requests)

    monkeypatch.setattr(type(fitted["one"]), "retrieve", counted)
    lists, taken_s = rank(fitted, Requests.make(list(judged.query)), batch=3)
    warm_up = 2
    assert calls == {"500": len(judged) + warm_up, "7": len(judged) + 1}
    np.testing.assert_array_equal(lists["one"].item, lists["two"].item)
    assert all(s > 0 for s in taken_s.values())


def test_whole_run_metrics_have_no_interval(funnels, judged, view):
    found = run(
        funnels,
        None,
        judged,
        ["coverage@5", "exposure@5", "diversity@5", "auc"],
        facts=ItemFacts.of(view.items),
        how=HOW,
    )
    row = found.rows()[0]
    assert (row["metric"], row["low"], row["high"], row["queries"]) == ("coverage@5", None, None, len(judged))
    assert found.mean("popular", "coverage@5").value < found.mean("lexical", "coverage@5").value
    assert found.left_out("coverage@5") == 0


def test_folds_measure_each_query_with_what_saw_the_others(view, env, judged, experiment):
    seen: list[set[str]] = []

    def fit(train: Judgments):
        seen.append(set(train.query))
        return {"lexical": Plan(retrieval={"bm25": Bm25()}).fit(view, env)}

    found = run_folds(fit, None, judged, [*METRICS, "diversity@5"], folds=3, facts=ItemFacts.of(view.items), how=HOW)
    assert len(seen) == 3
    assert all(0 < len(s) < len(judged) for s in seen)
    assert [sum(q not in s for s in seen) for q in judged.query] == [1] * len(judged), "each query is held out once"
    assert tuple(found.query) == tuple(judged.query)
    np.testing.assert_allclose(found.per_query("lexical", "ndcg@10"), experiment.per_query("lexical", "ndcg@10"))
    with pytest.raises(SettingError, match="without folds"):
        run_folds(fit, None, judged, ["coverage@10"], folds=3)


def test_folds_are_even_and_never_split_a_query():
    queries = [f"query {n}" for n in range(40)] + ["Query  7", "QUERY 8"]
    folds = even_folds(queries, 4, seed=1)
    assert folds[40] == folds[7]
    assert folds[41] == folds[8]
    assert np.bincount(folds[:40]).tolist() == [10] * 4
    np.testing.assert_array_equal(folds, even_folds(queries, 4, seed=1))
    assert (folds != even_folds(queries, 4, seed=2)).any()
    assert dict(zip(queries[::-1], even_folds(queries[::-1], 4, 1), strict=True)) == dict(
        zip(queries, folds, strict=True)
    )
    with pytest.raises(SettingError, match="distinct"):
        even_folds(["a", "A"], 2)


def test_scores_are_saved_by_query(experiment, judged, tmp_path):
    experiment.save_scores(tmp_path / "deep" / "scores.parquet")
    table = pq.read_table(tmp_path / "deep" / "scores.parquet")
    assert len(table) == len(judged) * 2 * len(METRICS)
    rows = [r for r in table.to_pylist() if r["plan"] == "lexical" and r["metric"] == "ndcg@10"]
    assert [r["query"] for r in rows] == list(judged.query)
    assert rows[-1]["score"] is None
    np.testing.assert_array_equal([r["score"] for r in rows[:-1]], experiment.per_query("lexical", "ndcg@10")[:-1])


def test_data_sets_are_pooled_as_strata(experiment):
    both = Experiment.pooled({"a": experiment, "b": experiment})
    assert len(both.query) == 2 * len(experiment.query)
    assert set(both.strata) == {"a", "b"}
    one, two = experiment.mean("popular", "ndcg@10"), both.mean("popular", "ndcg@10")
    assert two.value == pytest.approx(one.value)
    assert two.num_queries == 2 * one.num_queries
    assert two.high - two.low < one.high - one.low


def test_seeds_are_joined_and_averaged(experiment):
    both = Experiment.over_seeds([experiment, experiment])
    assert both.scores["lexical"]["ndcg@10"].shape == (2, len(experiment.query))
    np.testing.assert_allclose(both.per_query("lexical", "ndcg@10"), experiment.per_query("lexical", "ndcg@10"))
    with pytest.raises(ContractError, match="different queries"):
        Experiment.over_seeds([experiment, experiment.reordered(np.arange(len(experiment.query))[::-1])])
    with pytest.raises(ContractError, match="same plans"):
        Experiment.joined([experiment, run_one_metric(experiment)])


def run_one_metric(experiment: Experiment) -> Experiment:
    from dataclasses import replace

    return replace(experiment, metrics=("ndcg@10",))


def test_the_report_stars_what_is_decided(experiment):
    console = Console(width=140, record=True, file=io.StringIO())
    show(experiment, console)
    text = console.export_text()
    assert " * " in text.split("excludes 0")[0]
    for word in ("lexical", "popular", "ndcg@10", "- popular", "1 of ", "80% power"):
        assert word in text


def test_wrong_questions_are_refused(funnels, judged):
    with pytest.raises(UnknownName, match="did you mean 'lexical'"):
        run(funnels, None, judged, METRICS, baseline="lexcal")
    with pytest.raises(SettingError, match=r"depth\.rank=1000"):
        run(funnels, None, judged, ["recall@1000"])
    with pytest.raises(ContractError, match="one request a query"):
        run(funnels, Requests.make(["lamp"]), judged, METRICS)
    with pytest.raises(SettingError, match="at least one"):
        run({}, None, judged, METRICS)
    with pytest.raises(SettingError, match="no judged query"):
        run(funnels, None, judged.select(np.zeros(0, np.int64)), METRICS)
