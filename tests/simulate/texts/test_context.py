"""External text: useful, idle and false as the knobs say, and its use known for every query."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest

from aisle.simulate.catalogue.taxonomy import ENTRIES, TEXTS
from aisle.simulate.grades.intent import Intent, Want
from aisle.simulate.texts.context import USES_OF_TEXT, about_items, context, encyclopaedia, looked_up
from aisle.simulate.texts.phrasing import filled
from aisle.simulate.world import World


@pytest.fixture(scope="module")
def world() -> World:
    return World.make(1500, 2)


def test_facts_are_true_and_falsehoods_false(world: World) -> None:
    truth = world.truth
    texts = about_items(truth, np.arange(1500), 0.45, 0.35)
    rows, said = texts.table["row"].to_numpy(), texts.table["text"].to_pylist()
    checked = {0: 0, 1: 0}
    for row, text, kind, field in zip(rows, said, texts.kind, texts.field, strict=True):
        if kind == 2 or field not in truth.texts:
            continue
        value = TEXTS[truth.texts[field][row]]
        assert bool(re.search(rf"(: |is |{field} ){re.escape(value)}[.,]", text)) == (kind == 0), (text, value)
        checked[kind] += 1
    assert min(checked.values()) > 100
    share = np.bincount(texts.kind, minlength=3) / len(texts.kind)
    assert share == pytest.approx([0.45, 0.55 * 0.35, 0.55 * 0.65], abs=0.02)


def test_null_and_adverse_settings(world: World) -> None:
    rows = np.arange(200)
    assert (about_items(world.truth, rows, 0.0, 0.0).kind == 2).all()
    assert (about_items(world.truth, rows, 1.0, 0.0).kind == 0).all()
    assert (about_items(world.truth, rows, 0.0, 1.0).kind == 1).all()
    empty = World.make(300, 2, useful=0.0)
    for query in empty.queries(20):
        _, use = context(empty, query, np.arange(10))
        assert (use == 0).all()


def test_use_depends_on_what_was_asked(world: World) -> None:
    texts = about_items(world.truth, np.arange(300), 1.0, 0.0)
    asked = texts.use(Intent(0, (Want("colour", "red", "red"),)))
    assert (asked[texts.field == "colour"] == 2).all()
    assert (asked[texts.field != "colour"] == 1).all()
    assert USES_OF_TEXT[2] == "adopt"


def test_an_entry_explains_the_words_that_were_typed(world: World) -> None:
    entries = encyclopaedia()
    assert len(entries) == len(set(entries)) > 300
    uses = []
    for query in world.queries(150):
        entry = looked_up(query, 0.45)
        uses.append(entry.use(query) if entry else 0)
        assert looked_up(query, 0.0) is None
        if query.kind == "knowledge" and entry is not None and query.text in entry.text.lower():
            assert uses[-1] == 2
    assert all(uses.count(u) > 5 for u in (0, 1, 2))


def test_a_text_does_not_depend_on_what_else_is_asked(world: World) -> None:
    everything = about_items(world.truth, np.arange(1500), 0.45, 0.35).table["text"].to_pylist()
    few = about_items(world.truth, np.array([9, 4]), 0.45, 0.35).table["text"].to_pylist()
    assert few == everything[27:30] + everything[12:15]
    assert len(ENTRIES) > 150


def test_templates_are_filled_row_by_row() -> None:
    values = {"a": pa.array(["x", "y", "z"]), "b": pa.array(["1", "2", "3"])}
    which = np.array([1, 0, 2])
    assert filled(("{a}-{b}", "only {b}", "plain"), which, values).to_pylist() == ["only 1", "y-2", "plain"]
    assert filled(("{a}",), np.zeros(0, int), {"a": pa.array([], pa.string())}).to_pylist() == []
