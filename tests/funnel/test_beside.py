from __future__ import annotations

from threading import Barrier, Event, current_thread

import numpy as np
import pytest

from aisle import recipes
from aisle.core.filters import Range
from aisle.core.lists import ItemLists
from aisle.core.requests import Requests
from aisle.funnel import Depth, Fitted, Funnel, Plan, beside, retrieving
from aisle.funnel.beside import Errand, Helper
from aisle.ranking.fusion import Fusion
from aisle.retrieval.bm25 import Bm25


@pytest.fixture
def helper() -> Helper:
    made = Helper()
    made.is_wanted = True
    return made


def test_the_helper_works_while_the_caller_goes_on(helper):
    begun, go_on = Event(), Event()

    def work() -> str:
        begun.set()
        go_on.wait()
        return current_thread().name

    errand = helper.send(work)
    begun.wait()  # the helper is at work, the caller here
    go_on.set()
    assert errand.result() == errand.result() == "aisle-beside"


def test_what_the_helper_has_not_begun_the_caller_does(helper):
    busy, go_on = Event(), Event()

    def block() -> None:
        busy.set()
        go_on.wait()

    first = helper.send(block)
    busy.wait()
    assert helper.send(lambda: current_thread().name).result() == current_thread().name
    go_on.set()
    first.result()


def test_work_is_done_once_and_its_error_reaches_who_asks(helper):
    calls, both = [], Barrier(2)

    def work() -> None:
        calls.append(current_thread().name)
        raise RuntimeError("no luck")

    for _ in range(50):
        errand = Errand(work)
        other = helper.send(lambda errand=errand: (both.wait(), errand.do()))
        both.wait()
        with pytest.raises(RuntimeError, match="no luck"):
            errand.result()
        other.result()
    assert len(calls) == 50


def test_one_processor_needs_no_helper(helper):
    helper.is_wanted = False
    assert helper.send(lambda: current_thread().name).result() == current_thread().name
    assert helper._thread is None


@pytest.mark.parametrize("filter", [None, Range("price_cents", 0, 5000)])
def test_a_page_is_the_same_with_and_without(view, env, monkeypatch, filter):
    monkeypatch.setattr(retrieving, "MANY_ROWS", 0)
    funnel = recipes.plan("hybrid_own").replace(depth=Depth(retrieve=30, rank=10)).fit(view, env)
    asked, pages = Requests.make(["red lamp"], filters=filter, limit=20), []
    for wanted in (False, True):
        monkeypatch.setattr(beside.HELPER, "is_wanted", wanted)
        pages.append(funnel.serve(asked, facets=("brand",), strict=True))
    alone, helped = pages
    assert alone.lists.item.tolist() == helped.lists.item.tolist()
    assert alone.facets == helped.facets
    assert alone.total == helped.total
    assert [t.stage for t in alone.trace] == [t.stage for t in helped.trace]
    for name, column in alone.lists.columns.items():
        np.testing.assert_array_equal(column, helped.lists[name])


def test_a_retriever_that_fails_beside_is_skipped_or_raises_when_strict(view, env, monkeypatch):
    class Broken:
        def retrieve(self, requests: Requests, k: int) -> ItemLists:
            raise RuntimeError("the toy is broken")

    monkeypatch.setattr(retrieving, "MANY_ROWS", 0)
    monkeypatch.setattr(beside.HELPER, "is_wanted", True)
    plan = Plan(retrieval={"bm25": Bm25(), "other": Bm25()}, ranking=Fusion(retrievers={"bm25": 1.0, "other": 1.0}))
    fitted = plan.fit(view, env).fitted
    funnel = Funnel(plan, env, {**fitted, "retrieval.other": Fitted(Bm25(), Broken(), "x")}, "x")
    page = funnel.serve(Requests.make(["lamp"]))
    assert len(page.lists.item)
    skipped = {t.stage: t.skipped for t in page.trace}
    assert skipped["retrieval.other"] == "RuntimeError: the toy is broken"
    assert skipped["retrieval.bm25"] is None
    with pytest.raises(RuntimeError, match="the toy is broken"):
        funnel.serve(Requests.make(["lamp"]), strict=True)
