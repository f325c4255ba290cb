"""Checks of docs/methods/lambdamart.md, on a generated shop with graded queries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aisle.core.errors import DataError
from aisle.core.requests import Requests
from aisle.core.shop import Judgments
from aisle.data.items import ItemTable
from aisle.data.shop import Shop
from aisle.data.view import View
from aisle.funnel import Plan
from aisle.ranking.fusion import Fusion
from aisle.ranking.lambdamart import ITEM_COLUMNS, WORDS, LambdaMart, _in_words, graded
from aisle.recipes.environment import memory_env
from aisle.retrieval.bm25 import Bm25
from aisle.simulate.known import two_kinds, two_tastes
from aisle.simulate.world import simulate

WORDS_ALONE = Fusion(retrievers={"bm25": 1.0}, kind="share")
RANKING = LambdaMart(start=WORDS_ALONE, trees=60, leaves=7, min_rows=5)
PLAN = Plan(retrieval={"bm25": Bm25()}, ranking=RANKING)


@pytest.fixture(scope="module")
def view(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lambdamart") / "shop"
    simulate(folder, items=600, days=1, visits_per_day=5, num_queries=120, budget=7200)
    return Shop.open(folder).view()


@pytest.fixture(scope="module")
def env(view):
    return memory_env(view.items)


@pytest.fixture(scope="module")
def seen():
    """Every (lists, features) pair that the one feature function made."""
    return []


@pytest.fixture(scope="module")
def funnel(view, env, seen):
    plain = LambdaMart.features

    def recorded(self, requests, lists, *rest):
        made = plain(self, requests, lists, *rest)
        seen.append((requests, lists, made))
        return made

    LambdaMart.features = recorded
    try:
        yield PLAN.fit(view, env)
    finally:
        LambdaMart.features = plain


def features_of(requests, lists, env):
    return RANKING.features(requests, lists, RANKING.fused(requests, lists, env), env)


def ndcg10(lists, judged):
    """Mean nDCG@10 over the queries that have something good to find."""
    gain_of = np.array([judged.gains.get(g, 0.0) for g in range(max(judged.gains) + 1)])
    values = []
    for q in range(len(judged)):
        best = np.sort(gain_of[judged.lists.list_of(q)["grade"]])[::-1][:10]
        if best.sum() == 0:
            continue
        grade = np.maximum(graded(lists, judged)[lists.splits[q] : lists.splits[q + 1]][:10], 0)
        discount = 1 / np.log2(np.arange(10) + 2)
        values.append((gain_of[grade] * discount[: len(grade)]).sum() / (best * discount[: len(best)]).sum())
    return float(np.mean(values))


def test_it_beats_the_words_that_it_learned_from(funnel, view, env):
    judged = view.judgments("validation")
    requests = Requests.make(judged.query)
    learned = ndcg10(funnel.ranked(requests, 10), judged)
    words = ndcg10(PLAN.replace(ranking=None).fit(view, env).ranked(requests, 10), judged)
    assert learned > words + 0.02, f"nDCG@10 {learned:.3f} against {words:.3f}"


def test_features_when_serving_are_those_of_training_to_the_byte(funnel, view, seen):
    judged = view.judgments("train")
    _, trained_on, features = next(s for s in seen if list(s[0].query) == list(judged.query))
    assert len(trained_on.item) > 1000
    before = len(seen)
    found = [q for q in range(len(judged)) if trained_on.splits[q] < trained_on.splits[q + 1]][:5]
    for q in found:
        funnel.serve(Requests.make([judged.query[q]]), strict=True)
    assert len(seen) == before + 5, "one pass over the features a page"
    for q, (_, served, at_serving) in zip(found, seen[before:], strict=True):
        row = served.find(trained_on.list_of(q))
        assert (row >= 0).all(), "all that was trained on is served"
        trained = features[trained_on.splits[q] : trained_on.splits[q + 1]]
        assert trained.tobytes() == at_serving[row].tobytes()


def test_features_mean_what_their_names_say(view, env, funnel):
    requests, lists = funnel.retrieve(Requests.make([view.judgments("train").query[0]]))
    features = dict(zip(RANKING.feature_names(), features_of(requests, lists, env).T, strict=True))
    np.testing.assert_array_equal(features["score_bm25"], lists["score_bm25"])
    np.testing.assert_array_equal(features["rank_bm25"], lists["rank_bm25"])
    for name in ITEM_COLUMNS:
        np.testing.assert_array_equal(features[name], env.engine.items.number(name, lists.item).astype(np.float32))
    assert features["covered"].min() >= 0
    assert features["covered"].max() <= 1


def test_explanations_add_up_to_the_score_and_speak_words(funnel, view):
    stage = funnel.fitted["ranking"].stage
    requests, lists = funnel.retrieve(Requests.make(view.judgments("validation").query[:3]))
    features = features_of(requests, lists, funnel.env)
    moved = stage._booster.predict(features, pred_contrib=True)
    fused = RANKING.fused(requests, lists, funnel.env)
    np.testing.assert_allclose(fused + moved.sum(1), stage.score(requests, lists)["score"], rtol=1e-4, atol=1e-4)
    page = lists.take(lists.position < 4)
    for row, reasons in enumerate(stage.explain(requests, page)):
        assert 1 <= len(reasons) <= 3, row
        weights = [abs(r.weight) for r in reasons]
        assert weights == sorted(weights, reverse=True)
        for reason in reasons:
            assert reason.words.endswith("raised it" if reason.weight > 0 else "lowered it")


def test_every_feature_has_words():
    for name in LambdaMart().feature_names():
        words = _in_words(name, 1.0).words
        assert "_" not in words, f"{name}: {words}"
    assert set(ITEM_COLUMNS) <= set(WORDS)


def test_a_shop_without_judgments_is_refused_with_the_remedy():
    view = View(ItemTable.from_table(two_kinds(6)))
    with pytest.raises(DataError, match="this shop has none; add some with 'aisle ingest"):
        PLAN.fit(view, memory_env(view.items))


def test_alone_it_is_refused_with_the_remedy():
    view = two_tastes(items=10)
    with pytest.raises(DataError, match="fit it as the ranking of one"):
        LambdaMart.tiny().fit(view, memory_env(view.items))


def test_the_gain_map_of_the_judgments_counts():
    """Where grades 2 and 3 are worth the same, lists that hold only these teach nothing."""
    view = two_tastes()
    settings = LambdaMart(start=WORDS_ALONE, trees=20, leaves=4, min_rows=1)
    plan = Plan(retrieval={"bm25": Bm25()}, ranking=settings)
    spread = []
    for gains in ({0: 0.0, 1: 1.0, 2: 3.0, 3: 7.0}, {0: 0.0, 1: 1.0, 2: 3.0, 3: 3.0}):
        shop = View(view.items, judgments={"train": replace(view.judgments("train"), gains=gains)})
        funnel = plan.fit(shop, memory_env(view.items))
        requests, lists = funnel.retrieve(Requests.make(["desk lamp"]))
        moved = funnel.fitted["ranking"].stage.score(requests, lists)["score"] - settings.fused(
            requests, lists, funnel.env
        )
        spread.append(np.ptp(moved))
    assert spread[0] > 0.1
    assert spread[1] < 1e-6


def judged_as(view, *queries):
    """The view's first list of grades under other words."""
    lists = view.judgments("train").lists.select(np.zeros(len(queries), np.int64))
    return Judgments(queries, lists, view.judgments("train").gains)


@pytest.mark.parametrize("validation", [(), ("xyzzy",), ("xyzzy", "lamp")])
def test_queries_that_find_nothing_do_no_harm(validation):
    view = two_tastes()
    parts = {"train": judged_as(view, "xyzzy", "lamp"), "validation": judged_as(view, *validation)}
    settings = LambdaMart(start=WORDS_ALONE, trees=3, leaves=4, min_rows=1)
    shop = View(view.items, judgments=parts)
    lists = (
        Plan(retrieval={"bm25": Bm25()}, ranking=settings)
        .fit(shop, memory_env(view.items))
        .ranked(Requests.make(["lamp"]))
    )
    assert len(lists.item) == 20


def test_a_log_of_queries_that_all_find_nothing_is_refused():
    view = two_tastes()
    with pytest.raises(DataError, match="none of the 2 graded queries finds a candidate"):
        PLAN.fit(View(view.items, judgments={"train": judged_as(view, "xyzzy", "qwfp")}), memory_env(view.items))
