from __future__ import annotations

import os

import numpy as np
import pytest

from aisle.core.errors import DataError
from aisle.core.requests import RowMasks
from aisle.engine.embedded.analysis import Analyser
from aisle.engine.embedded.synonyms import Rule, Synonyms, parse_synonyms
from aisle.engine.embedded.text import EmbeddedText

from .conftest import table

RULES = """
# two ways
couch, sofa, settee
tv, flat screen
sneaker => trainer, running shoe
"""


@pytest.fixture
def shop(tmp_path):
    """(items, index, where its synonyms stand): an index where a shop has it."""
    items = table(
        [
            {"item_id": "sofa", "title": "Grey sofa"},
            {"item_id": "couch", "title": "Leather couch"},
            {"item_id": "tv", "title": "Smart TV 42"},
            {"item_id": "flat", "title": "Flat screen 50"},
            {"item_id": "scattered", "title": "Screen door, flat pack"},
            {"item_id": "shoe", "title": "Running shoe"},
            {"item_id": "sneaker", "title": "Canvas sneaker"},
            {"item_id": "trainer", "title": "Trainers for men"},
        ]
    )
    (tmp_path / "rules").mkdir()
    index = EmbeddedText.build(items, tmp_path / "generations" / "0" / "text" / "v1")
    return items, index, tmp_path / "rules" / "synonyms.txt"


def found(items, index, query: str) -> set[str]:
    return set(items.ids(np.flatnonzero(index.match(query, {}))))


def test_rules_are_read():
    assert parse_synonyms("a, b b\nc => d, e # why") == [
        Rule("a", ("b b",)),
        Rule("b b", ("a",)),
        Rule("c", ("d", "e")),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("couch", "line 1 .* one phrase alone"),
        ("\na =>", "line 2 .* write 'asked => found"),
        ("=> a", "write 'asked"),
        ("a => b => c", "write 'asked"),
        ("a, A", "to itself"),
        ("one two three four five six seven, b", "6 words at most"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(text, says):
    with pytest.raises(DataError, match=says):
        parse_synonyms(text)


def test_words_and_phrases_one_way_and_both_ways(shop):
    items, index, path = shop
    assert found(items, index, "couch") == {"couch"}
    path.write_text(RULES)
    assert found(items, index, "couch") == {"couch", "sofa"}
    assert found(items, index, "leather settee") == {"couch"}
    assert found(items, index, "tv") == {"tv", "flat"}, "a phrase must stand together"
    assert found(items, index, "flat screen") == {"flat", "scattered", "tv"}
    assert found(items, index, "sneakers") == {"sneaker", "trainer", "shoe"}
    assert found(items, index, "running shoe") == {"shoe"}, "one way only"
    assert found(items, index, "trainer") == {"trainer"}


def test_what_was_typed_comes_first(shop):
    items, index, path = shop
    path.write_text("sofa, couch")
    lists = index.search(["couch", "sofa"], 5, RowMasks(items.live[None], np.zeros(2, np.int64)), {})
    assert [items.ids(lists.list_of(q).item) for q in range(2)] == [["couch", "sofa"], ["sofa", "couch"]]
    np.testing.assert_array_equal(index.score(["couch", "sofa"], lists, {}), lists["score"])


def test_while_typing(shop):
    items, index, path = shop
    path.write_text(RULES)
    assert found(items, index, "sett*") == {"couch", "sofa"}
    assert found(items, index, "flat scr*") == {"flat", "scattered", "tv"}
    assert found(items, index, "sne*") == {"sneaker", "trainer", "shoe"}
    assert index.synonyms.rules.also("sett", Analyser()) == ["sett", "couch", "sofa"]


def test_a_change_acts_at_once_in_every_process_and_a_bad_file_changes_nothing(shop, tmp_path):
    items, index, path = shop
    other = EmbeddedText.open(items, tmp_path / "generations" / "0" / "text" / "v1")
    index.synonyms.write("couch, sofa")
    assert found(items, index, "couch") == found(items, other, "couch") == {"couch", "sofa"}
    path.write_text("couch")
    for one in (index, other):
        assert found(items, one, "couch") == {"couch", "sofa"}
        assert "one phrase alone" in one.synonyms.error
    with pytest.raises(DataError, match="one phrase alone"):
        index.synonyms.write("couch")
    os.remove(path)
    assert found(items, other, "couch") == {"couch"}
    assert other.synonyms.error is None


def test_explanations_name_the_synonym_that_is_there(shop):
    items, index, path = shop
    path.write_text(RULES)
    assert index.matched_fields("grey couch", int(items.rows_of(["sofa"])[0])) == {"title": ("grey", "sofa")}


def test_spans_of_a_query():
    analyser = Analyser()
    rules = Synonyms(parse_synonyms(RULES), analyser)
    query = analyser.query("cheap flat screens sneaker")
    said = [(s.start, s.stop, " ".join(w.text for w in s.found)) for s in rules.spans(query.words)]
    assert said == [(1, 3, "tv"), (3, 4, "trainer"), (3, 4, "running shoe")]
