from __future__ import annotations

import pyarrow as pa
import pytest

from aisle.data.items import ItemTable
from aisle.data.schema import CATALOGUE
from aisle.engine.embedded.engine import EmbeddedEngine
from aisle.serve.answers import typed
from aisle.serve.models import SearchIn
from aisle.serve.suggest import completer

TITLES = ["Wireless kettle", "Wireless kettle steel", "Leather couch", "Grey couch", "Blue sofa", "Green sofa"]


def table(titles: list[str], first: int = 0) -> pa.Table:
    rows = [{"item_id": f"i{first + n}", "title": title, "brand": "Acme"} for n, title in enumerate(titles)]
    return pa.Table.from_pylist(rows, schema=pa.schema([CATALOGUE.field(n) for n in ("item_id", "title", "brand")]))


@pytest.fixture
def engine(tmp_path) -> EmbeddedEngine:
    (tmp_path / "rules").mkdir()
    return EmbeddedEngine.build(ItemTable.from_table(table(TITLES)), tmp_path / "generations" / "0")


def texts(engine: EmbeddedEngine, typed: str) -> list[str]:
    return [s.text for s in completer(engine).complete(typed)]


def test_a_prefix_and_a_later_word(engine):
    assert texts(engine, "wirel")[0] in ("wireless", "wireless kettle")
    assert texts(engine, "blue wirel")[0].startswith("blue wireless")
    assert texts(engine, "acm") == ["Acme"]
    assert texts(engine, "") == texts(engine, "zzzzq") == []


def test_what_was_meant_is_completed(engine):
    assert "wireless kettle" in texts(engine, "wirelss ket")


def test_synonyms_of_what_is_being_typed(engine, tmp_path):
    (tmp_path / "rules" / "synonyms.txt").write_text("couch, sofa\nsofa bed => sleeper couch\n")
    assert "sofa" in texts(engine, "couc")
    assert "grey couch" in texts(engine, "grey sof")
    assert "cheap sleeper couch" in texts(engine, "cheap sofa b")


def test_words_of_items_that_came_later(engine):
    one = completer(engine)
    items = engine.items.upserted(table(["Unicorn mug"], first=100))
    engine.refresh(items, items.rows_of(["i100"]))
    assert [s.text for s in one.complete("unic")] == ["unicorn"]
    assert [s.text for s in one.complete("pink unic")] == ["pink unicorn"]


def test_a_search_while_typing_finds_what_begins_so():
    assert typed(SearchIn(q="wireless ket", prefix=True)) == "wireless ket*"
    assert typed(SearchIn(q="wireless ket", prefix=False)) == "wireless ket"
    assert typed(SearchIn(q="kettle ", prefix=True)) == "kettle", "a blank ends the word"
    assert typed(SearchIn(q="", prefix=True)) == ""
