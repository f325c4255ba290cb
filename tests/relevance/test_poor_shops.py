"""Shops as no paper has them: what a fit makes of broken feeds and few judgments, and what it says where it can make nothing."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from aisle.core.errors import AisleError, DataError
from aisle.core.lists import ItemLists
from aisle.core.requests import Requests
from aisle.data.items import ItemTable
from aisle.data.judged import judgments_of
from aisle.data.schema import CATALOGUE
from aisle.data.splits import VALIDATION_FOLDS, query_folds, split_judgments
from aisle.data.view import View
from aisle.recipes.environment import memory_env
from aisle.relevance.cross_encoder import CrossEncoder
from aisle.relevance.lref import Lref
from aisle.relevance.taosr1 import TaoSr1

QUICK = {
    "cross_encoder": (CrossEncoder, ["train.max_steps=1"]),
    "taosr1": (TaoSr1, ["train.max_steps=1", "correction.train.max_steps=1", "reinforcement.steps=1"]),
    "lref": (Lref, ["train.max_steps=1", "explaining.train.max_steps=1", "debiasing.train.max_steps=1"]),
}
COLOURS, KINDS = ("red", "blue", "green"), (("lamp", "Home > Lamps"), ("boot", "Shoes > Boots"))


def method_of(name: str):
    cls, settings = QUICK[name]
    method = cls.tiny()
    for setting in settings:
        method = method.with_setting(setting)
    return method


def items_of(**changed) -> ItemTable:
    """Twelve lamps and boots; ``p3={...}`` changes fields of one."""
    rows = []
    for n in range(12):
        kind, category = KINDS[n % 2]
        row = {
            "item_id": f"p{n}",
            "title": f"{COLOURS[n % 3]} {kind}",
            "brand": "Acme",
            "category": [category],
            "price_cents": 900,
        }
        rows.append(row | changed.get(f"p{n}", {}))
    return ItemTable.from_table(pa.Table.from_pylist(rows, schema=CATALOGUE))


def view_of(items: ItemTable, graded: list[tuple[str, str, int]]) -> View:
    query, item_id, grade = zip(*graded, strict=True) if graded else ((), (), ())
    columns = {"query": (query, pa.string()), "item_id": (item_id, pa.string()), "grade": (grade, pa.int32())}
    table = pa.table({name: pa.array(values, kind) for name, (values, kind) in columns.items()})
    gains = {g: float(g) for g in set(grade)}
    return View(items, judgments=split_judgments(judgments_of(table, gains, items), 0))


def graded(*queries: str) -> list[tuple[str, str, int]]:
    return [(query, f"p{n}", 1 + (n + len(query)) % 4) for query in queries for n in range(6)]


USUAL = graded("red lamp", "blue boot", "green boots", "lamp", "a lamp in red", "boots of Acme")
LONG = "lamp of 10 cm " * 360  # 5,000 letters, in which every number is looked at
SET_ASIDE = next(f"q{n}" for n in range(99) if not np.any(query_folds([f"q{n}"], VALIDATION_FOLDS, 0)))
"""A query of the validation part."""
SIGNS = "\N{FIRE}\N{ATHLETIC SHOE}"
ARABIC = "\u062d\u0630\u0627\u0621 \u0623\u062d\u0645\u0631"
BROKEN = {
    "p0": {"title": ""},
    "p1": {"title": "lamp of 10 cm " * 7200},  # 100,000 letters
    "p2": {"title": "x" * 100_000, "brand": "B" * 100_000, "category": ["Home > " + "C" * 100_000]},
    "p3": {"title": "", "brand": None, "category": [], "price_cents": None},
}


@pytest.mark.parametrize("name", QUICK)
def test_a_broken_feed_and_queries_in_every_script_are_graded(name):
    items = items_of(**BROKEN)
    env = memory_env(items)
    stage = method_of(name).fit(view_of(items, [*USUAL, *graded(LONG, SIGNS, ARABIC)]), env)
    asked = [LONG, SIGNS, ARABIC, "w" * 5000, "\x00"]
    lists = ItemLists(np.tile(np.arange(12, dtype=np.int32), len(asked)), 12 * np.arange(len(asked) + 1))
    chance_NC = stage.chances(asked, lists)
    assert np.allclose(chance_NC.sum(1), 1, atol=1e-4)
    assert any(stage.explain(Requests.make(asked), lists))


def test_judgments_of_unknown_items_teach_nothing():
    items = items_of()
    env = memory_env(items)
    more = [("red lamp", "gone", 4), ("blue boot", "gone", 1)]
    states = [method_of("cross_encoder").fit(view_of(items, rows), env).state() for rows in (USUAL, [*USUAL, *more])]
    assert all(np.array_equal(array, states[1].tensors[name]) for name, array in states[0].tensors.items())


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], "aisle ingest judgments.csv"),
        ([(query, item, 3) for query, item, _ in USUAL], "the grade 3.*grade pairs that fit worse or better"),
        (graded(SET_ASIDE), "1 judged quer.*set aside for validation.*grade some queries more"),
        ([(f"query {n}", "gone", 1 + n % 4) for n in range(8)], "8 judged queries.*the catalogue has none.*item_id"),
    ],
    ids=["none", "one grade", "one query, set aside", "unknown items alone"],
)
@pytest.mark.parametrize("name", QUICK)
def test_where_nothing_can_be_learned_the_remedy_is_named(name, rows, expected):
    items = items_of()
    with pytest.raises(DataError, match=expected):
        method_of(name).fit(view_of(items, rows), memory_env(items))


@pytest.mark.parametrize("name", QUICK)
def test_one_query_is_learned_from_or_the_setting_is_named(name):
    items = items_of()
    view = view_of(items, graded("red lamp"))
    if name == "lref":
        with pytest.raises(AisleError, match="set selection"):
            method_of(name).fit(view, memory_env(items))
        return
    assert method_of(name).fit(view, memory_env(items)).threshold == 0.5, "no query is left that could choose one"
