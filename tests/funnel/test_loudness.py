"""How loud a judge is: chosen on held-back queries, kept with the funnel, and left alone where nothing can be told."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import toys

from aisle import funnel as funnels
from aisle.core.lists import ItemLists
from aisle.core.requests import Requests
from aisle.core.shop import Judgments
from aisle.data.shop import Shop
from aisle.data.view import View
from aisle.funnel import Plan
from aisle.funnel.loudness import LEAST_QUERIES, MOST_QUERIES, Loudness, asked_of, chosen
from aisle.ranking.fusion import Fusion
from aisle.retrieval.bm25 import Bm25


def graded(queries, relevance):
    """Ten candidates a query of random score, of which the last is the good one; ``relevance`` of (gain, noise)."""
    random = np.random.default_rng(0)
    gain = np.tile([0.0] * 9 + [1.0], queries)
    columns = {
        "score": random.normal(size=10 * queries),
        "gain": gain,
        "relevance": relevance(gain, random.normal(size=10 * queries)),
    }
    return ItemLists(np.tile(np.arange(10), queries), np.arange(queries + 1) * 10, columns)


class TestChoice:
    def test_a_judge_who_knows_is_loud(self):
        found = chosen(graded(60, lambda gain, noise: gain), own=1.0)
        assert found.value == 4, "it takes no more"
        assert found.queries == 60
        assert found.judged > 0.95 > 0.7 > found.alone
        assert str(found) == f"loudness 4: nDCG@10 {found.alone:.3f} to {found.judged:.3f} on 60 held-back queries"

    def test_a_judge_who_errs_is_not_heard(self):
        found = chosen(graded(60, lambda gain, noise: -gain), own=4.0)
        assert found.value == 0
        assert found.judged == found.alone

    def test_a_judge_who_says_nothing_keeps_his_own(self):
        assert chosen(graded(60, lambda gain, noise: 0 * gain), own=3.0).value == 3

    def test_the_best_of_several_is_between_them(self):
        """Relevance as noisy as the score: the two count alike."""
        lists = graded(400, lambda gain, noise: gain + 0.5 * noise)
        lists = lists.with_columns(score=lists["score"] + 2 * lists["gain"])
        assert chosen(lists, own=1.0).value == 2

    def test_too_few_queries_that_tell_something_choose_nothing(self):
        lists = graded(LEAST_QUERIES + 5, lambda gain, noise: gain)
        assert chosen(lists, own=1.0) is not None
        same = lists.with_columns(gain=np.where(lists.owner < 6, 1.0, lists["gain"]))
        assert chosen(same, own=1.0) is None

    def test_no_more_queries_are_asked_than_it_takes(self):
        judged = Judgments([f"q{n}" for n in range(500)], ItemLists.empty(500, {"grade": np.zeros(0, np.int32)}))
        few = asked_of(judged, seed=3)
        assert len(few) == MOST_QUERIES
        assert list(few.query) == list(asked_of(judged, seed=3).query) != list(asked_of(judged, seed=4).query)
        assert not len(asked_of(judged.select(np.arange(LEAST_QUERIES - 1)), seed=3))


class Knowing(toys.Teacher):
    """A judge who can be asked at leisure."""

    def fit(self, shop, env, given=None):
        return KnowingStage(env, self.threshold_cents)


class KnowingStage(toys.TeacherStage):
    def relevance(self, requests, candidates):
        return self.score(requests, candidates)["relevance"]


@pytest.fixture
def cheap(view):
    """Held-back queries whose people want what is cheap."""
    lamps = [f"lamp {word}" for word in ("red", "desk", "brass")] + [f"lamp {n}" for n in range(LEAST_QUERIES)]
    price = view.items.number("price_cents")
    rows = np.arange(view.items.num_rows, dtype=np.int32)
    grade = (price < np.median(price)).astype(np.int32)
    lists = ItemLists(
        np.tile(rows, len(lamps)), np.arange(len(lamps) + 1) * len(rows), {"grade": np.tile(grade, len(lamps))}
    )
    return View(view.items, judgments={"validation": Judgments(lamps, lists, {0: 0.0, 1: 1.0})})


def plan_of(view):
    return Plan(
        retrieval={"bm25": Bm25()},
        relevance=Knowing(threshold_cents=float(np.median(view.items.number("price_cents")))),
    )


class TestFit:
    def test_a_fit_chooses_it_and_the_order_follows(self, cheap, env):
        funnel = plan_of(cheap).fit(cheap, env)
        assert funnel.loudness.value > 1
        assert funnel.loudness.judged > funnel.loudness.alone
        assert funnel.order == f"score + {funnel.loudness.value:g} * relevance"
        found = funnel.ranked(Requests.make(["lamp"]))
        alone = replace(funnel, plan=funnel.plan.replace(utility="score")).ranked(Requests.make(["lamp"]))
        score = dict(zip(alone.item.tolist(), alone["score"], strict=True))
        for item, value, relevance in zip(found.item.tolist(), found["score"], found["relevance"], strict=True):
            assert value == pytest.approx(score[item] + funnel.loudness.value * relevance, abs=1e-4)

    def test_it_is_chosen_again_alike_and_kept_with_unchanged_stages(self, cheap, env):
        first = plan_of(cheap).fit(cheap, env)
        again = plan_of(cheap).fit(cheap, env)
        assert (again.loudness, again.version) == (first.loudness, first.version)
        assert plan_of(cheap).fit(cheap, env, previous=first).loudness is first.loudness

    def test_a_utility_or_a_judge_who_only_scores_leaves_it_alone(self, cheap, env):
        assert plan_of(cheap).replace(utility="score + relevance").fit(cheap, env).loudness is None
        plain = plan_of(cheap).replace(relevance=toys.Teacher()).fit(cheap, env)
        assert plain.loudness is None
        assert plain.order == "score + 1 * relevance"

    def test_a_judge_is_asked_once_also_where_nothing_can_be_told(self, cheap, env, monkeypatch):
        asked = []

        def relevance(stage, requests, candidates):
            asked.append(len(requests))
            return np.zeros(len(candidates.item), np.float32)

        monkeypatch.setattr(KnowingStage, "relevance", relevance)
        held = cheap.judgments("validation")
        alike = replace(held, lists=held.lists.with_columns(grade=np.ones(len(held.lists.item), np.int32)))
        view = View(cheap.items, judgments={"train": held, "validation": alike})
        funnel = plan_of(cheap).replace(reranking=toys.ListLearner()).fit(view, env)
        assert funnel.loudness is None
        assert asked == [len(held)]

    def test_a_reranker_learns_from_lists_in_the_order_that_is_served(self, cheap, env):
        learner = plan_of(cheap).replace(ranking=Fusion(retrievers={"bm25": 1.0}), reranking=toys.ListLearner())
        view = View(cheap.items, judgments={p: cheap.judgments("validation") for p in ("train", "validation")})
        funnel = learner.fit(view, env)
        stage = funnel.fitted["reranking"].stage
        assert funnel.loudness.value > 1
        query = view.judgments("train").query[0]
        served = replace(funnel, fitted={s: f for s, f in funnel.fitted.items() if s != "reranking"})
        assert served.ranked(Requests.make([query])).item[0] == stage.first_of[query]

    def test_it_is_stored_with_the_funnel(self, view, env, tmp_path):
        shop = Shop.create(tmp_path / "shop")
        shop.write_generation([view.items.table])
        made = replace(Plan(retrieval={"bm25": Bm25()}).fit(view, env), loudness=Loudness(2.0, 40, 0.5, 0.625))
        loaded = funnels.load(shop, funnels.save(made, shop), env)
        assert loaded.loudness == made.loudness
        record = shop.funnel_path(made.version)
        older = {name: value for name, value in json.loads(record.read_text()).items() if name != "loudness"}
        record.write_text(json.dumps(older))
        assert funnels.load(shop, made.version, env).loudness is None
