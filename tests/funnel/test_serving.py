from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import toys

from aisle import recipes
from aisle.core.errors import ContractError, DataError, GenerationError
from aisle.core.filters import In, Range, Sort
from aisle.core.lists import ItemLists
from aisle.core.requests import Requests, RowMasks
from aisle.funnel import Depth, Fitted, Funnel, Plan
from aisle.retrieval.bm25 import Bm25
from aisle.retrieval.minilm import MiniLm


@pytest.fixture
def lexical(view, env):
    return recipes.plan("lexical").fit(view, env)


def relevance_plan(method):
    return Plan(retrieval={"bm25": Bm25()}, relevance=method)


def walk(funnel, limit, **asked):
    """Every page of one request by its cursors: the rows, and the first page."""
    rows, cursor, first = [], "", None
    for page_number in range(100):
        requests = Requests.make(limit=limit, offset=page_number * limit, **asked)
        page = funnel.serve(requests, cursors=[cursor], strict=True)
        first = first or page
        rows += page.lists.item.tolist()
        cursor = page.cursor[0]
        if not cursor:
            return rows, first
    raise AssertionError("the cursor never ends")


def test_paging_reaches_the_total_without_repeats(view, env):
    plan = recipes.plan("lexical").replace(depth=Depth(retrieve=50, rank=5))
    rows, first = walk(plan.fit(view, env), 3, query=["lamp"])
    assert len(rows) == len(set(rows)) == first.total[0], "beyond the ranked prefix the engine's order goes on"
    group = view.items.group()
    assert len({int(group[r]) for r in rows}) == len(rows), "one variant a product"
    assert first.total[0] > 5


def test_a_judge_moves_candidates_and_without_it_the_order_is_the_rankings(view, env):
    plain, asked = recipes.plan("lexical").fit(view, env), Requests.make(["lamp", ""], limit=20)
    judged = recipes.plan("lexical").replace(relevance=toys.Teacher()).fit(view, env)
    ranked, without = judged.ranked(asked), plain.ranked(asked)
    assert ranked.item.tolist() != without.item.tolist()
    score = dict(zip(without.keys.tolist(), without["score"].tolist(), strict=True))
    for key, value, relevance in zip(ranked.keys.tolist(), ranked["score"], ranked["relevance"], strict=True):
        assert value == pytest.approx(score[key] + relevance, abs=1e-5)
    broken = recipes.plan("lexical").replace(relevance=toys.Breaking()).fit(view, env)
    page, alone = broken.serve(asked).lists, plain.serve(asked).lists
    assert page.item.tolist() == alone.item.tolist()
    np.testing.assert_array_equal(page["score"], alone["score"], "the ranking's score, not ranks alone")


def test_a_later_page_does_not_rank_again(lexical):
    first = lexical.serve(Requests.make(["lamp"], limit=3), strict=True)
    second = lexical.serve(Requests.make(["lamp"], limit=3, offset=3), cursors=first.cursor, strict=True)
    assert second.trace == []
    assert not set(first.lists.item) & set(second.lists.item)


def test_a_cursor_of_another_generation_or_of_nobody_is_refused(lexical):
    first = lexical.serve(Requests.make(["lamp"], limit=3), strict=True)
    moved = ItemsAtGeneration(lexical.env.engine.items, 9)
    lexical.env.engine.refresh(moved, np.zeros(0, np.int32))
    with pytest.raises(GenerationError, match="made on generation 0, the shop is at 9"):
        lexical.serve(Requests.make(["lamp"]), cursors=first.cursor, strict=True)
    with pytest.raises(DataError, match="is not one of ours"):
        lexical.serve(Requests.make(["lamp"]), cursors=["nonsense"], strict=True)


class ItemsAtGeneration:
    """The same items under another generation's number."""

    def __init__(self, items, generation):
        self._items, self.generation = items, generation

    def __getattr__(self, name):
        return getattr(self._items, name)


def test_lists_of_another_generation_are_refused(view, env):
    class OldRows:
        def retrieve(self, requests, k):
            return ItemLists(np.array([1]), np.array([0, 1]), {"score": np.ones(1, np.float32)}, generation=7)

    plan = Plan(retrieval={"bm25": Bm25()})
    funnel = Funnel(plan, env, {"retrieval.bm25": Fitted(Bm25(), OldRows(), "x")}, "x")
    with pytest.raises(GenerationError, match="rows of generation 7, the shop is at 0"):
        funnel.serve(Requests.make(["lamp"]), strict=True)


def test_an_excluded_row_is_a_broken_contract(view, env):
    class Careless:
        def retrieve(self, requests, k):
            lists = ItemLists(np.array([0, 1]), np.array([0, 2]), {"score": np.ones(2, np.float32)})
            return ItemLists.concat([lists] * len(requests))

    funnel = Funnel(Plan(retrieval={"bm25": Bm25()}), env, {"retrieval.bm25": Fitted(Bm25(), Careless(), "x")}, "x")
    with pytest.raises(ContractError, match="a row that the request's filter or a tombstone excludes"):
        funnel.serve(Requests.make(["lamp"], filters=In("brand", ("Comet",))), strict=True)


def test_filters_sort_and_facets(lexical, view):
    asked = Requests.make(["lamp"], filters=In("brand", ("Birch",)), sort=Sort("price_cents"), limit=50)
    page = lexical.serve(asked, facets=("brand", "colour"), strict=True)
    price = view.items.number("price_cents", page.lists.item)
    assert (np.diff(price) >= 0).all()
    assert set(view.items.text("brand", page.lists.item)) == {"Birch"}
    brands = {v["value"]: v["count"] for v in page.facets[0]["brand"]["values"]}
    assert set(brands) == {"Alder", "Birch"}, "a facet is counted without its own selection"
    assert brands["Birch"] == page.total[0]
    colours = {v["value"]: v["count"] for v in page.facets[0]["colour"]["values"]}
    assert sum(colours.values()) >= page.total[0], (
        "other facets count under the selection (a product may come in two colours)"
    )
    assert sum(colours.values()) < sum(brands.values())


def test_order_and_batching_of_requests_do_not_matter(lexical):
    asked = Requests.make(["lamp", "", "red ball"], filters=(None, Range("price_cents", 0, 5000), None), limit=7)
    together = lexical.serve(asked, strict=True)
    for q in range(3):
        alone = lexical.serve(asked.select(np.array([q])), strict=True)
        assert np.array_equal(alone.lists.item, together.lists.list_of(q).item)
        assert alone.total[0] == together.total[q]


def test_a_failing_stage_is_skipped_and_its_breaker_opens(view, env):
    funnel = relevance_plan(toys.Breaking()).fit(view, env)
    stage = funnel.fitted["relevance"].stage
    asked = Requests.make(["lamp"])
    for _ in range(3):
        page = funnel.serve(asked)
        assert len(page.lists.item), "the page still comes"
        assert page.coverage < 1
    assert [t.skipped for t in page.trace if t.stage == "relevance"] == ["RuntimeError: the toy is broken"]
    page = funnel.serve(asked)
    assert stage.calls == 3, "an open breaker keeps the stage from being called"
    assert "breaker open" in page.trace[-1].skipped
    with pytest.raises(RuntimeError, match="the toy is broken"):
        funnel.serve(asked, strict=True)


def test_a_stage_too_slow_for_what_is_left_is_skipped(view, env):
    funnel = relevance_plan(toys.Breaking(sleep_s=0.05)).fit(view, env)
    funnel.serve(Requests.make(["lamp"]))
    start = time.monotonic()
    page = funnel.serve(Requests.make(["lamp"], deadline_s=time.monotonic() + 0.03))
    assert time.monotonic() - start < 0.04
    assert "exceeds" in next(t.skipped for t in page.trace if t.stage == "relevance")
    assert len(page.lists.item)


def test_past_its_deadline_a_request_still_gets_what_matches(lexical):
    page = lexical.serve(Requests.make(["lamp"], deadline_s=time.monotonic() - 1))
    assert len(page.lists.item)
    assert all(t.skipped == "deadline passed" for t in page.trace)
    assert page.coverage == 0


class Counting:
    """An encoder that counts its calls."""

    def __init__(self, encoder):
        self._encoder, self.calls, self.texts = encoder, 0, 0
        self.name, self.dim, self.revision = encoder.name, encoder.dim, encoder.revision

    def encode(self, texts):
        self.calls += 1
        self.texts += len(texts)
        return self._encoder.encode(texts)


def test_a_query_is_encoded_once_however_many_stages_read_it(view, env):
    counting = Counting(env.encoder("own"))
    env = replace(env, encoders={"own": counting})
    plan = Plan(
        retrieval={"bm25": Bm25(), "minilm": MiniLm(encoder="own"), "second": MiniLm(encoder="own")},
        ranking=recipes.plan("hybrid_own").ranking.with_setting('retrievers={"bm25": 1, "minilm": 1, "second": 1}'),
    )
    funnel = plan.fit(view, env)
    counting.calls = counting.texts = 0
    funnel.serve(Requests.make(["lamp", "ball", "lamp"]), strict=True)
    assert (counting.calls, counting.texts) == (1, 2)


def test_every_retrievers_score_is_completed(view, env):
    plan = recipes.plan("hybrid_own").replace(depth=Depth(retrieve=5, rank=100))
    _, lists = plan.fit(view, env).retrieve(Requests.make(["lamp"]))
    assert np.isfinite(lists["score_bm25"]).all()
    assert np.isfinite(lists["score_minilm"]).all()
    assert lists["found_bm25"].sum() == 5
    assert (lists["rank_bm25"][~lists["found_bm25"]] == -1).all()
    given = lists.take(~lists["found_bm25"])
    np.testing.assert_allclose(
        given["score_bm25"], env.engine.text.score(["lamp"], given, plan.retrieval["bm25"].weights), rtol=1e-6
    )


def test_similar_items_leave_out_the_anchor(lexical):
    page = lexical.serve(Requests.make([""], anchor=np.array([4])), strict=True)
    assert len(page.lists.item)
    assert 4 not in page.lists.item


def test_explanations_are_words_for_every_row(lexical):
    asked = Requests.make(["red ball"])
    page = lexical.serve(asked, strict=True)
    reasons = lexical.explain(asked, page.lists)
    assert len(reasons) == len(page.lists.item)
    assert any("'ball' in the title" in r.words for r in reasons[0])
    assert not any(r.stage == "retrieval.popular" for row in reasons for r in row), (
        "a stage that took no part says nothing"
    )


def test_a_random_stage_writes_its_propensities_and_others_one(lexical):
    page = lexical.serve(Requests.make(["lamp"]), strict=True)
    assert (page.lists["propensity"] == 1).all()


def test_a_filtered_search_asks_its_retrievers_once_with_and_without_its_filter(view, env):
    plan = recipes.plan("hybrid_own").replace(depth=Depth(retrieve=30, rank=10))
    funnel = plan.fit(view, env)
    asked = [Requests.make(["red lamp"], filters=f, limit=500) for f in (None, Range("price_cents", 0, 5000))]
    free, filtered = (funnel.serve(requests, facets=("brand",), strict=True) for requests in asked)
    retrieved = [trace.stage for trace in filtered.trace if trace.stage == "retrieval.minilm"]
    assert retrieved == ["retrieval.minilm"], "both in one batch"
    group = view.items.group()
    assert 0 < filtered.total[0] < free.total[0]
    assert set(group[filtered.lists.item]) < set(group[free.lists.item]), "a filter takes a part of the list"


def test_rows_that_come_during_a_filtered_search_are_for_the_next_one(view, env, monkeypatch):
    funnel = recipes.plan("hybrid_own").fit(view, env)
    compiled, rows_then, looks = env.engine.compile, view.items.num_rows // 2, []

    def growing(requests):
        out = compiled(requests)
        looks.append(out)
        masks = out.masks()
        return out if len(looks) > 1 else replace(out, allowed=RowMasks(masks.bits[:, :rows_then], masks.which))

    monkeypatch.setattr(env.engine, "compile", growing)
    page = funnel.serve(Requests.make(["red lamp"], filters=Range("price_cents", 0, None), limit=500), strict=True)
    assert len(looks) == 2
    assert 0 <= page.lists.item.min() <= page.lists.item.max() < rows_then
