from __future__ import annotations

import json

import pytest
import toys

from aisle import recipes
from aisle.core.errors import SettingError, UnknownName
from aisle.funnel import Depth, Plan
from aisle.ranking.fusion import Fusion
from aisle.relevance.cross_encoder import CrossEncoder
from aisle.retrieval.bm25 import Bm25
from aisle.retrieval.popular import Popular


@pytest.mark.parametrize("name", sorted(recipes.RECIPES))
def test_every_recipe_round_trips_through_json(name):
    plan = recipes.plan(name)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_settings_change_one_thing():
    plan = recipes.plan("hybrid")
    assert plan.with_setting("depth.rank=50").depth == Depth(rank=50)
    assert plan.with_setting("ranking.kind=rrf").ranking.kind == "rrf"
    assert plan.with_setting("ranking.retrievers.bm25=2").ranking.retrievers["bm25"] == 2
    assert plan.with_setting("retrieval.bm25.weights.title=3").retrieval["bm25"].weights["title"] == 3
    assert plan.with_setting("reranking=reranking.mmr").reranking.diversity == 0.2
    assert plan.with_setting("reranking=reranking.mmr").with_setting("reranking=none").reranking is None


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("ranking.kidn=rrf", "no setting 'kidn'; did you mean 'kind'"),
        ("rankin.kind=rrf", "did you mean 'ranking'"),
        ("relevance.x=1", "a part of an empty slot"),
        ("ranking", "sets nothing"),
        ("depth.rnak=3", "did you mean 'rank'"),
    ],
)
def test_a_mistyped_setting_names_the_nearest(assignment, message):
    with pytest.raises(SettingError, match=message):
        recipes.plan("hybrid").with_setting(assignment)


def test_a_mistyped_method_or_slot_names_the_nearest():
    with pytest.raises(UnknownName, match=r"did you mean 'ranking.fusion'"):
        recipes.plan("hybrid").with_setting("ranking=ranking.fussion")
    with pytest.raises(SettingError, match="no slot 'rankin'; did you mean 'ranking'"):
        Plan.from_json({"retrieval": {"bm25": "retrieval.bm25"}, "rankin": None})


def test_what_a_judge_says_counts_in_the_order_unless_the_plan_says_otherwise():
    plan = recipes.plan("hybrid")
    assert plan.order == "score"
    judged = plan.replace(relevance=toys.Teacher())
    assert judged.order == "score + 1 * relevance"
    assert plan.replace(relevance=CrossEncoder(encoder="minilm")).order == "score + 4 * relevance"
    assert plan.replace(relevance=CrossEncoder(encoder="scratch")).order == "score + 1 * relevance"
    assert judged.replace(utility="score").order == "score"
    assert Plan.from_json(plan.to_json() | {"utility": "score"}).order == "score"
    reader = judged.replace(ranking=toys.ReadsRelevance())
    assert reader.order == "score", "a ranking that reads it has had it"


def test_what_cannot_serve_is_refused_when_built():
    with pytest.raises(SettingError, match="retrieves nothing"):
        Plan(retrieval={})
    with pytest.raises(SettingError, match="need a ranking"):
        Plan(retrieval={"bm25": Bm25(), "popular": Popular()})
    with pytest.raises(SettingError, match=r"reads 'score_minilm', which no earlier stage writes"):
        Plan(retrieval={"bm25": Bm25()}, ranking=Fusion())
    with pytest.raises(SettingError, match=r"belongs to 'ranking'"):
        Plan(retrieval={"bm25": Bm25()}, reranking=Fusion(retrievers={"bm25": 1.0}))
    with pytest.raises(SettingError, match="utility 'ctr' reads 'ctr'"):
        Plan(retrieval={"bm25": Bm25()}, utility="ctr")
    with pytest.raises(SettingError, match="scenes name 'minilm'"):
        Plan(retrieval={"bm25": Bm25()}, scenes={"minilm": ("search",)})
    with pytest.raises(SettingError, match="'serach', which is no scene; did you mean 'search'"):
        Plan(retrieval={"bm25": Bm25()}, scenes={"bm25": ("serach",)})
