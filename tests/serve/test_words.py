from __future__ import annotations

from aisle.core.roles import Reason
from aisle.serve import words
from aisle.serve.address import Address
from aisle.serve.pages import money, page_numbers
from aisle.serve.pictures import initials


def test_ordinals() -> None:
    assert [words.ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 22, 101, 111, 113)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "101st", "111th", "113th",
    ]  # fmt: skip


def test_a_summary_names_places_best_first_and_what_missed() -> None:
    columns = {"rank_bm25": 11.0, "rank_minilm": 1.0, "rank_popular": -1.0}
    assert (
        words.summary(4, columns, "red")
        == "5th in this list: 2nd by meaning and 12th by words; not found by popularity."
    )
    assert (
        words.summary(None, {"rank_bm25": None}, "") == "Beyond the ranked part of this list, in the shop's own order."
    )


def test_matches_are_joined_and_scores_left_to_the_table() -> None:
    reasons = [
        Reason("retrieval.bm25", "number 3 for bm25", 0.3),
        Reason("retrieval.bm25", "'red', 'dress' in the title", 1.0),
        Reason("retrieval.bm25", "'red', 'dress' in the brand", 0.5),
        Reason("ranking", "bm25 gave it 11.1", 1.0),
        Reason("reranking", "unlike those above it", None),
        Reason("reranking", "unlike those above it", None),
    ]
    kept = words.plain(reasons)
    assert [r.words for r in kept] == ["matches 'red' and 'dress' in the title and the brand", "unlike those above it"]
    assert kept[0].weight == 1.5


def test_an_address_round_trips() -> None:
    address = Address.parse(
        [("q", "red"), ("f.brand", "A"), ("f.brand", "B"), ("min.price_cents", "1,5"), ("page", "2"), ("x", "1")]
    )
    assert Address.parse(address.pairs()) == address
    assert address.filter() == {"brand": ["A", "B"], "price_cents": {"low": 150.0}}
    assert address.asked().offset == 24
    assert address.less("brand", "A").url() == "/?q=red&f.brand=B&min.price_cents=1.5"


def test_money_pages_and_initials() -> None:
    assert [money(1234, "USD"), money(5, ""), money(100_000, "CHF"), money(None, "EUR")] == [
        "$12.34",
        "0.05",
        "1,000.00 CHF",
        "",
    ]
    assert page_numbers(5, 20) == [1, 0, 4, 5, 6, 0, 20]
    assert page_numbers(1, 3) == [1, 2, 3]
    assert [initials(t) for t in ("Best Price", "IKEA", "", "日本語", "3M")] == ["BP", "IK", "·", "日", "3M"]
