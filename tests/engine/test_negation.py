from __future__ import annotations

import numpy as np
import pytest

from aisle.engine.embedded.analysis import Analyser
from aisle.engine.embedded.negation import negation, with_operators, without_denials, without_excluded
from aisle.engine.embedded.negation_words import LANGUAGES, words_of
from aisle.engine.embedded.synonyms import SynonymFile
from aisle.engine.embedded.text import EmbeddedText
from aisle.engine.embedded.text_denials import Denials
from aisle.engine.embedded.text_reading import USUAL

from .conftest import table

TOGETHER = {("stainless", "steel"), ("power", "cord"), ("gluten", "free"), ("silicone", "phone")}


class Shelf:
    """What a shop's texts would tell."""

    def is_known(self, word: str) -> bool:
        return word in ("sugar", "zucker", "blei")

    def stand_together(self, first: str, second: str) -> bool:
        return (first, second) in TOGETHER


def read(text: str, language: str = "english") -> tuple[list[str], str]:
    """What a text says no to, and what is left of it."""
    reader = negation(language)
    text = with_operators(text)
    denials = reader.read(text, Shelf()) if reader.may_deny(text) else []
    return [t for denial in denials for t in denial.texts], without_excluded(without_denials(text, denials))


@pytest.mark.parametrize(
    ("text", "unwanted", "wanted"),
    [
        ("lamp without plastic", ["plastic"], "lamp"),
        ("lamp without any plastic and glass", ["plastic", "glass"], "lamp"),
        ("lamp without plastic and with wood", ["plastic"], "lamp and with wood"),
        ("lamp without power cord red", ["power cord"], "lamp red"),
        ('lamp without "power cord" red', ["power cord"], "lamp red"),
        ("phone case not leather iphone 13", ["leather"], "phone case iphone 13"),
        ("pan not stainless steel", ["stainless steel"], "pan"),
        ("lamp but not red", ["red"], "lamp"),
        ("shirt any colour but beige", ["beige"], "shirt"),
        ("sofa w/o leather under 500", ["leather"], "sofa under 500"),
        ("chocolate no added sugar", ["sugar"], "chocolate"),
        ("soap free of parabens or silicones", ["parabens", "silicones"], "soap"),
        ("lamps except red", ["red"], "lamps"),
        ("non-stick pan", ["stick"], "pan"),
        ("non silicone phone case", ["silicone"], "phone case"),
        ("sugar-free gum", ["sugar"], "gum"),
        ("gluten free pasta", ["gluten"], "pasta"),
        ("sugarfree gum", ["sugar"], "gum"),
        ("t-shirt not v-neck", ["v-neck"], "t-shirt"),
        ("Lampe ohne Kabel", ["Kabel"], "Lampe"),
        ("LAMP NOT RED", ["RED"], "LAMP"),
    ],
)
def test_what_is_said_no_to_and_what_is_left(text, unwanted, wanted):
    assert read(text) == (unwanted, wanted)


@pytest.mark.parametrize(
    ("text", "unwanted", "wanted"),
    [
        ("Lampe ohne Kabel", ["Kabel"], "Lampe"),
        ("Lampe nicht aus Plastik", ["Plastik"], "Lampe"),
        ("Tisch ohne Glas und Metall", ["Glas", "Metall"], "Tisch"),
        ("Hose außer schwarz", ["schwarz"], "Hose"),
        ("Cola zuckerfrei", ["zucker"], "Cola"),
        ("bleifreie Farbe", ["blei"], "Farbe"),
        ("Zucker-freie Cola", ["Zucker"], "Cola"),
        ("Not-Aus Schalter", [], "Not-Aus Schalter"),
    ],
)
def test_german(text, unwanted, wanted):
    assert read(text, "german") == (unwanted, wanted)


@pytest.mark.parametrize(
    "text",
    [
        "No 7 serum", "no. 5 perfume", "chanel no 5", "lamp no more than 20 dollars", "dumbbells free weights", "without", "not",
        "lamp without a", "wireless stainless lamp", "freedom flag", "",
    ],
)  # fmt: skip
def test_words_that_say_no_to_nothing(text):
    assert read(text) == ([], text)


def test_operators_and_what_an_encoder_reads():
    assert with_operators("case NOT red") == "case -red"
    assert with_operators('case NOT "dark red"') == 'case -"dark red"'
    assert with_operators("CASE NOT RED") == "CASE NOT RED", "a text in capitals has no operators"
    assert without_excluded('lamp -red -"dark blue" usb-c -20') == "lamp usb-c -20"


def test_most_queries_end_with_a_quick_look():
    assert not negation("english").may_deny("red desk lamp with usb-c")
    assert negation("english").may_deny("lamp Without café")
    assert not negation("").may_deny("lamp not red"), "a language that nobody described"


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_words_of_a_language_are_written_as_they_are_looked_up(language):
    words = words_of(language)
    plain = Analyser("")
    for kind, phrases in words._asdict().items():
        if kind not in ("joins", "anywhere"):
            assert all(p in ("w/o", " ".join(plain.surface(p))) for p in phrases), kind
    assert set(words.anywhere) <= {*words.far, *words.near}


SHOP = [
    ("a", "Plastic floor lamp", ""),
    ("b", "Wooden floor lamp", ""),
    ("c", "Floor lamp without any plastic", ""),
    ("d", "Floor lamp", "free of lead, glass and plastic"),
    ("e", "Floor lamp", "comes in a plastic bag"),
    ("f", "Plastic-free floor lamp", "no plastic at all"),
    ("g", "Strapless dress", ""),
    ("h", "Dress with straps", ""),
    ("i", "Dress", ""),
    ("j", "Stainless steel pan", ""),
    ("k", "Steel pan", ""),
]


@pytest.fixture(scope="module")
def shop():
    return table([{"item_id": i, "title": t, "description": d} for i, t, d in SHOP])


@pytest.fixture(scope="module")
def index(shop) -> EmbeddedText:
    return EmbeddedText.build(shop)


def found(index, shop, query: str) -> list[str]:
    from .test_text import search

    return search(index, shop, query, 20)


def test_rows_that_have_it_and_rows_that_say_they_have_not(index, shop):
    reader = index._reader
    words = index.analyser.words

    def of(*ways: str) -> tuple[str, str]:
        rows = Denials(reader.lexicon, reader.state).rows([words(w) for w in ways], shop.num_rows)
        return tuple("".join(shop.ids(np.flatnonzero(mask))) for mask in rows)

    assert of("plastic") == ("a", "cdf"), "what a description alone names counts for nothing"
    assert of("straps") == ("h", "g")
    assert of("stainless steel") == ("j", "")
    assert of("steel") == ("jk", "")
    assert of("plastic", "wooden") == ("ab", "cdf")
    assert of("unheard") == ("", "")


def test_what_is_not_wanted_does_not_count_and_goes_behind(index, shop):
    assert found(index, shop, "floor lamp plastic")[0] == "a"
    order = found(index, shop, "floor lamp without plastic")
    assert set(order[:3]) == {"c", "d", "f"}, "those that say so come first"
    assert order[-1] == "a"
    assert set(order) == set("abcdef"), "and none is lost"
    assert set(found(index, shop, "floor lamp NOT plastic")) == {"b"}, "an operator excludes whoever holds the word"
    assert found(index, shop, "dress no straps") == ["g", "i", "h"]


def test_a_phrase_is_one_thing_and_a_part_of_it_another(index, shop):
    assert index.asked("pan not stainless steel").unwanted == ("stainless steel",)
    assert found(index, shop, "pan not stainless steel") == ["k", "j"]


def test_the_match_set_is_that_of_what_is_wanted(index, shop):
    matched = index.match("floor lamp without plastic", {})
    np.testing.assert_array_equal(matched, index.match("floor lamp", {}))


def test_with_nothing_else_wanted_it_is_read_as_words(index, shop):
    assert index.asked("without plastic").unwanted == ()
    assert found(index, shop, "without plastic")[0] == "c"


def test_a_name_that_many_products_have_stays_what_is_looked_for():
    titles = [f"Sugar free gum {n}" for n in range(USUAL)] + ["Sugar gum", "Gum"]
    items = table([{"item_id": str(n), "title": title} for n, title in enumerate(titles)])
    index = EmbeddedText.build(items)
    asked = index.asked("sugar free gum")
    assert asked.wanted == "sugar free gum"
    assert asked.unwanted == ("sugar",)
    assert np.flatnonzero(index.match("sugar free gum", {})).tolist() == list(range(USUAL))
    few = table([{"item_id": str(n), "title": title} for n, title in enumerate(titles[-3:])])
    assert EmbeddedText.build(few).asked("sugar free gum").wanted == "gum", "one alone is no name yet"


def test_typing_errors_synonyms_and_words_being_typed(index, shop, tmp_path):
    assert found(index, shop, "floor lamp without plastik")[-1] == "a"
    assert found(index, shop, "floor lamp without plas*") == found(index, shop, "floor lamp"), "waits for the word"
    path = tmp_path / "synonyms.txt"
    path.write_text("resin, plastic\n")
    other = EmbeddedText.build(shop)
    other.synonyms = other._reader._synonyms = SynonymFile(path, other.analyser)
    assert found(other, shop, "floor lamp without resin")[-1] == "a"


def test_a_change_is_followed(shop):
    index = EmbeddedText.build(shop)
    changed = table(
        [{"item_id": i, "title": "Oak floor lamp" if i == "a" else t, "description": d} for i, t, d in SHOP]
    )
    assert index.asked("lamp without plastic").has[0]
    index.refresh(changed, np.array([0]))
    assert not index.asked("lamp without plastic").has.any()
