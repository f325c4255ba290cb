from __future__ import annotations

import numpy as np
import pytest
import toys

from aisle import funnel as funnels
from aisle.core.errors import SettingError, UnknownName
from aisle.core.lists import ItemLists
from aisle.core.requests import Requests
from aisle.core.shop import Judgments
from aisle.data.view import View
from aisle.funnel import Plan, StoredStages, fit
from aisle.ranking.fusion import Fusion
from aisle.retrieval.bm25 import Bm25
from aisle.retrieval.popular import Popular


def words(**slots):
    return Plan(retrieval={"bm25": Bm25()}, **slots)


def test_a_student_learns_from_its_teacher(view, env):
    plan = words(ranking=toys.Student(), offline={"teacher": toys.Teacher(threshold_cents=4000)})
    fitted = plan.fit(view, env)
    price = view.items.number("price_cents")
    assert fitted.fitted["ranking"].stage.learned_cents == price[price < 4000].max()
    assert fitted.fitted["ranking"].stage.versions == {"teacher": fitted.fitted["offline.teacher"].version}
    page = fitted.serve(Requests.make(["lamp"]), strict=True)
    assert "offline.teacher" not in [t.stage for t in page.trace], "a teacher is never served"


def test_a_changed_teacher_refits_its_student_and_nothing_else(view, env):
    plan = words(ranking=toys.Student(), offline={"teacher": toys.Teacher(threshold_cents=4000)})
    first = plan.fit(view, env)
    same = plan.fit(view, env, previous=first)
    assert all(same.fitted[slot].stage is first.fitted[slot].stage for slot in first.fitted)
    changed = plan.replace(offline={"teacher": toys.Teacher(threshold_cents=6000)}).fit(view, env, previous=first)
    assert changed.fitted["retrieval.bm25"].stage is first.fitted["retrieval.bm25"].stage
    assert changed.fitted["ranking"].stage is not first.fitted["ranking"].stage
    assert changed.version != first.version


def test_a_pair_that_is_graded_anew_makes_another_version(view, env):
    judged = view.judgments("train")
    grade = judged.lists["grade"].copy()
    grade[0] += 1
    lists = ItemLists(judged.lists.item, judged.lists.splits, {"grade": grade}, judged.lists.generation)
    versions = [
        words().fit(View(view.items, judgments={"train": of}), env).fitted["retrieval.bm25"].version
        for of in (judged, judged, Judgments(judged.query, lists, judged.gains))
    ]
    assert versions[0] == versions[1] != versions[2]


def test_a_reranker_trains_on_its_rankers_lists(view, env):
    ranked_by = {"bm25": 1.0, "popular": 3.0}
    plan = Plan(
        retrieval={"bm25": Bm25(), "popular": Popular()},
        ranking=Fusion(retrievers=ranked_by),
        reranking=toys.ListLearner(),
    )
    fitted = plan.fit(view, env)
    ranker_alone = plan.replace(reranking=None).fit(view, env)
    train = view.judgments("train").query
    expected = ranker_alone.ranked(Requests.make(train))
    seen = fitted.fitted["reranking"].stage.lists
    assert np.array_equal(seen.item, expected.item)
    assert np.array_equal(seen.splits, expected.splits)
    first_query = Requests.make(train[:1])
    assert fitted.ranked(first_query).item[-1] == ranker_alone.ranked(first_query).item[0]


def test_lists_out_of_fold_come_from_stages_that_never_saw_the_query(view, env):
    plan = words(ranking=toys.Peeking(), reranking=toys.ListLearner(folds=3))
    in_fold = plan.replace(reranking=toys.ListLearner(folds=1)).fit(view, env)
    assert (in_fold.fitted["reranking"].stage.lists["score"] == 1).all(), (
        "in fold the ranker knows every training query"
    )
    out_of_fold = plan.fit(view, env).fitted["reranking"].stage.lists
    assert len(out_of_fold.item)
    assert (out_of_fold["score"] == 0).all(), "out of fold it must not know the query it ranks"


def test_cycles_are_refused_by_name(view, env):
    plan = words(ranking=toys.Student(teacher="reranking"), reranking=toys.ListLearner())
    with pytest.raises(SettingError, match="need each other: ranking -> reranking -> ranking"):
        plan.fit(view, env)


def test_an_unmet_need_names_the_nearest(view, env):
    with pytest.raises(UnknownName, match=r"nothing in this plan is 'offline.teacher'.*offline"):
        words(ranking=toys.Student()).fit(view, env)
    with pytest.raises(UnknownName, match=r"no stage 'relevance.lref' of version 'abc' is stored"):
        words(ranking=toys.Student(teacher="relevance.lref@abc")).fit(view, env)


def test_a_stored_stage_meets_a_need(view, env, tmp_path):
    from aisle.data.shop import Shop

    shop = Shop.create(tmp_path / "shop")
    shop.write_generation([view.items.table])
    stored = words().fit(view, env)
    funnels.save(stored, shop)
    version = stored.fitted["retrieval.bm25"].version
    stage = StoredStages(shop).stage("retrieval.bm25", version, env)
    assert np.array_equal(
        stage.retrieve(env.engine.compile(Requests.make(["lamp"])), 5).item,
        stored.ranked(Requests.make(["lamp"]), k=5).item,
    )
    with pytest.raises(UnknownName, match="no column set 'bags'"):
        fit(words(ranking=toys.Student(teacher="columns:bags")), view, env, stages=StoredStages(shop))


def test_a_funnel_is_saved_and_loaded_whole(view, tmp_path):
    from aisle import recipes
    from aisle.core.errors import GenerationError, StateError
    from aisle.data.shop import Shop
    from aisle.recipes.environment import open_env

    shop = Shop.create(tmp_path / "shop")
    shop.write_generation([view.items.table])
    env = open_env(shop)
    fitted = recipes.plan("hybrid_own").fit(view, env)
    version = funnels.save(fitted, shop)
    loaded = funnels.load(shop, version, env)
    assert loaded.version == version
    requests = Requests.make(["red ball", "lamp"])
    assert np.array_equal(loaded.ranked(requests).item, fitted.ranked(requests).item)
    with pytest.raises(StateError, match="no funnel 'nothing' is saved"):
        funnels.load(shop, "nothing", env)

    shop.write_generation([view.items.table.slice(5)])
    with pytest.raises(GenerationError, match=r"fitted on generation 1, the shop is at 2.*fit it again"):
        funnels.load(shop, version, open_env(shop))
