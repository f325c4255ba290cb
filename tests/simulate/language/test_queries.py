"""Queries of twelve kinds: each has an answer, each means what it says, and their traffic follows a power law."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.core.errors import SettingError
from aisle.simulate.catalogue.taxonomy import CODE, LEAVES
from aisle.simulate.catalogue.wording import USES
from aisle.simulate.grades.rules import holds
from aisle.simulate.language.needs import GOALS, QUESTIONS
from aisle.simulate.language.queries import HARD, PLAIN, Query, queries, traffic
from aisle.simulate.world import World


@pytest.fixture(scope="module")
def asked(world: World) -> list[Query]:
    return world.queries(400)


def of_kind(asked: list[Query], kind: str) -> list[Query]:
    found = [query for query in asked if query.kind == kind]
    assert len(found) > 5
    return found


def test_every_query_has_an_answer_and_most_items_are_none(world: World, asked: list[Query]) -> None:
    assert len({q.text for q in asked}) == 400
    assert {q.kind for q in asked} == {*PLAIN, *HARD}
    for query in asked:
        grade = world.grades(query)
        assert grade.max() == 4
        assert (grade == 1).mean() > (0.5 if query.kind == "question" else 0.85)
    assert [q.text for q in world.queries(50)] == [q.text for q in asked[:50]]
    assert [q.text for q in queries(world, 50, seed=1)] != [q.text for q in asked[:50]]


def test_kinds_come_in_their_shares(world: World) -> None:
    share = np.mean([q.kind in HARD for q in World.make(2500, 0, "adverse:hard").queries(300)])
    assert 0.5 < share < 0.7
    assert not any(q.kind in HARD for q in World.make(600, 0, "null:hard").queries(100))


def test_a_negation_is_not_answered_by_what_it_denies(world: World, asked: list[Query]) -> None:
    for query in of_kind(asked, "negation"):
        denied = next(want for want in query.intent.wants if want.negated)
        assert any(word in query.text.split() for word in ("not", "without", "no", "non", "but"))
        has = world.truth.families[denied.field] == CODE[denied.family]
        assert (world.verdicts(query).grade[has] <= 2).all()


def test_an_alternative_is_cheaper_and_of_another_brand(world: World, asked: list[Query]) -> None:
    truth = world.truth
    for query in of_kind(asked, "alternative"):
        brand = query.intent.wants[0]
        rows = np.flatnonzero(world.verdicts(query).grade == 4)
        assert brand.text.lower()[:3] in query.text or "slip" in query.changes
        assert (truth.brand[rows] != truth.brands.index(brand.text)).all()
        dear = (truth.brand == truth.brands.index(brand.text)) & (truth.leaf == query.intent.leaf)
        assert (truth.price_cents[rows] <= np.median(truth.price_cents[dear])).all()


def test_questions_and_goals_name_no_shelf_and_are_answered_by_what_they_need(world: World, asked: list[Query]) -> None:
    for query in of_kind(asked, "question"):
        use = query.intent.wants[0].text
        rows = np.flatnonzero(world.verdicts(query).grade == 4)
        assert {world.truth.uses[n] for n in world.truth.use[rows]} == {use}
        assert all(use in LEAVES[n].uses for n in query.intent.leaves)
    for query in of_kind(asked, "knowledge"):
        goal = next(g for g in GOALS if g.wants == query.intent.wants[:1] and g.leaf == query.intent.leaf)
        assert goal.fact.endswith(".")
        assert (world.truth.leaf[world.verdicts(query).grade == 4] == goal.leaf).all()


def test_every_need_can_be_met(world: World) -> None:
    large = World.make(12_000, 1).truth
    for goal in GOALS:
        rows = np.flatnonzero(large.leaf == goal.leaf)
        assert (holds(large, goal.wants[0], rows) == 2).any(), goal.phrase
    for question in QUESTIONS:
        assert question.use in USES
        assert question.leaves


def test_traffic_is_a_power_law_with_broad_queries_in_front(asked: list[Query]) -> None:
    share = traffic(asked)
    assert share.sum() == pytest.approx(1)
    ranked = np.sort(share)[::-1]
    slope = np.polyfit(np.log(np.arange(1, 401)), np.log(ranked), 1)[0]
    assert slope == pytest.approx(-1.0)
    broad = np.array([len(q.intent.wants) == 0 for q in asked])
    assert share[broad].mean() > 1.5 * share[~broad].mean()
    assert np.allclose(traffic(asked, 0.0), 1 / 400)


def test_a_world_too_small_for_its_queries_says_so() -> None:
    with pytest.raises(SettingError, match="ask for fewer"):
        queries(World.make(1, 0), 3000)
