"""What a query says no to, on the page: as masks, before every retriever, behind the ranked prefix, under a sort order."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from aisle import recipes
from aisle.core.filters import In, Sort
from aisle.core.requests import Requests
from aisle.data.items import ItemTable
from aisle.data.schema import CATALOGUE
from aisle.data.view import View
from aisle.funnel import Depth
from aisle.funnel.understanding import embed
from aisle.recipes.environment import memory_env

NUM = 24


def item(n: int) -> dict:
    made = ("Plastic", "Wooden", "Brass")[n % 3]
    title = f"{made} lamp {n}" if n else "Lamp 0 without plastic"
    return {"item_id": str(n), "title": title, "brand": f"B{n % 2}", "price_cents": 100 * n, "rating_count": NUM - n}


PLASTIC = {n for n in range(1, NUM) if n % 3 == 0}


@pytest.fixture(scope="module")
def view():
    fields = [CATALOGUE.field(name) for name in item(0)]
    return View(ItemTable.from_table(pa.Table.from_pylist([item(n) for n in range(NUM)], schema=pa.schema(fields))))


@pytest.fixture(scope="module")
def hybrid(view):
    return recipes.plan("hybrid_own").replace(depth=Depth(retrieve=50, rank=6)).fit(view, memory_env(view.items))


@pytest.fixture(scope="module")
def lexical(view, hybrid):
    return recipes.plan("lexical").replace(depth=Depth(retrieve=50, rank=6)).fit(view, hybrid.env)


def shown(funnel, query: str, **more) -> list[int]:
    return funnel.serve(Requests.make([query], limit=NUM, **more), strict=True).lists.item.tolist()


def test_words_put_behind_and_hide_nothing(lexical, hybrid):
    rows = shown(lexical, "lamp without plastic")
    assert rows[0] == 0, "the one that says so"
    assert set(rows[-len(PLASTIC) :]) == PLASTIC, "beyond the ranked ones too"
    assert len(rows) == NUM
    rows = shown(hybrid, "lamp without plastic")
    assert rows[0] == 0
    assert set(rows) == set(range(NUM))
    assert PLASTIC.isdisjoint(rows[:5]), "likeness alone does not bring them in front"


def test_a_sort_order_holds_within_both(hybrid):
    rows = shown(hybrid, "lamp without plastic", sort=Sort("price_cents"))
    assert rows == sorted(set(range(NUM)) - PLASTIC) + sorted(PLASTIC)


@pytest.mark.parametrize("query", ["lamp -plastic", "lamp NOT plastic", "-plastic"])
def test_an_operator_excludes_from_every_retriever_and_from_what_is_counted(hybrid, query):
    requests = Requests.make([query], filters=In("brand", ("B1",)), limit=NUM)
    page = hybrid.serve(requests, facets=("brand",), strict=True)
    rows = set(page.lists.item.tolist())
    assert rows == set(range(1, NUM, 2)) - PLASTIC
    assert page.total[0] == len(rows)
    assert 0 not in shown(hybrid, query), "whoever holds the word, as search engines do"


def test_requests_of_a_batch_keep_their_own(hybrid):
    queries = ["lamp", "lamp without plastic", "lamp -brass", "lamp"]
    compiled = hybrid.env.engine.compile(Requests.make(queries))
    rows = np.arange(NUM, dtype=np.int32)
    unwanted = [set(rows[compiled.unwanted.allows(np.full(NUM, q), rows)].tolist()) for q in range(4)]
    assert unwanted == [set(), PLASTIC, set(), set()]
    assert [int(compiled.masks().of(q).sum()) for q in range(4)] == [NUM, NUM, NUM - NUM // 3, NUM]
    picked = compiled.select(np.array([1]))
    assert set(rows[picked.unwanted.of(0)].tolist()) == PLASTIC
    plain = Requests.make(["lamp", ""])
    assert hybrid.env.engine.compile(plain).unwanted is None, "most requests carry nothing"


def test_an_encoder_reads_what_is_wanted(hybrid):
    queries = ["lamp without plastic", "lamp -plastic", "lamp", "-plastic"]
    emb_QD = embed(Requests.make(queries), "own", hybrid.env)
    np.testing.assert_array_equal(emb_QD[0], emb_QD[2])
    np.testing.assert_array_equal(emb_QD[1], emb_QD[2])
    assert not emb_QD[3].any()


def test_reasons_say_what_is_not_wanted(hybrid):
    requests = Requests.make(["lamp without plastic"], limit=NUM)
    page = hybrid.serve(requests, strict=True)
    reasons = hybrid.explain(requests, page.lists)
    said = {
        row: next(r.words for r in why if r.stage == "understanding")
        for row, why in zip(page.lists.item.tolist(), reasons, strict=True)
    }
    assert said[1] == "'plastic' is not wanted"
    assert said[3] == "'plastic' is not wanted, but this has it: its words count half"
    assert said[0] == "'plastic' is not wanted, and this says that it has it not"
    plain = hybrid.explain(Requests.make(["lamp"]), page.lists)
    assert not any(r.stage == "understanding" for why in plain for r in why)


def test_a_title_that_says_no_finds_look_alikes(view, hybrid):
    rows = shown(hybrid, "", anchor=np.array([0]))
    assert 0 not in rows
    assert len(rows) > 3
