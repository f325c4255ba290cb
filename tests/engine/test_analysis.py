from __future__ import annotations

import pytest

from aisle.engine.embedded.analysis import LANGUAGES, Analyser


def texts(words) -> list[str]:
    return [w.text for w in words]


@pytest.mark.parametrize(
    ("item", "query"),
    [("Men's Running Shoes", "mens running shoe"), ("Café-Crème", "cafe creme"), ("KNIVES 20cm", "knives 20CM")],
)
def test_items_and_queries_meet_in_the_same_terms(item, query):
    analyser = Analyser()
    assert analyser.terms(item) == [w.term for w in analyser.query(query).words]


def test_stop_words_go_unless_there_is_nothing_else():
    analyser = Analyser()
    assert texts(analyser.query("a lamp for the desk").words) == ["lamp", "desk"]
    assert texts(analyser.query("to be or not to be").words) == ["to", "be", "or", "not", "to", "be"]


def test_cjk_runs_become_pairs_and_a_single_sign_stays():
    assert Analyser("").terms("索尼相机 sony 红") == ["索尼", "尼相", "相机", "sony", "红"]


def test_query_syntax():
    query = Analyser().query('"dark blue" dress -red -"long sleeve" usb-c -20 15" screen')
    assert [texts(p) for p in query.phrases] == [["dark", "blue"]]
    assert [texts(p) for p in query.excluded] == [["red"], ["long", "sleeve"]]
    assert texts(query.words) == ["dress", "usb", "c", "20", "15", "screen"]
    assert Analyser().query(" - ").is_empty


@pytest.mark.parametrize(
    "text",
    [
        "red lamp",
        "the lamp of the desk",
        "of the",
        "men's 5in cold-pressed oil 1,5 l",
        "",
        " - ",
        "crème brûlée",
        "x" * 70,
    ],
)
def test_a_query_of_words_alone_is_read_as_one_with_syntax(text):
    for one in (Analyser(), Analyser("german"), Analyser("")):
        assert one.query(text) == one.query(f'{text} ""')


def test_positions_keep_the_place_of_dropped_stop_words():
    assert [w.position for w in Analyser().query("lord of the rings").words] == [0, 3]


@pytest.mark.parametrize("language", sorted({*LANGUAGES.values(), ""}))
def test_every_language_of_the_table_builds(language):
    assert Analyser(language).terms("Lampe 42")


def test_language_follows_the_most_frequent_locale():
    assert Analyser.of_locales(["de-DE", "de", "en", ""]).language == "german"
    assert Analyser.of_locales(["", ""]).language == "english"
    assert Analyser.of_locales(["ja"]).language == ""
