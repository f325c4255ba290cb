"""Pictures show what the row displays, and are valid drawings."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from aisle.simulate.catalogue import catalogue
from aisle.simulate.pictures import ADDRESS, picture, picture_of
from aisle.simulate.taxonomy import HEX, LEAVES, PATTERNS


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.shelf)
def test_every_shelf_is_drawn_in_its_colour(leaf) -> None:
    svg = picture(leaf.path, {"colour": "navy"})
    ElementTree.fromstring(svg)
    assert HEX["navy"] in svg
    assert "{" not in svg
    assert svg != picture(leaf.path, {"colour": "coral"})


def test_patterns_differ_and_plain_has_none() -> None:
    drawn = {p: picture("Clothing > Tops > T-Shirts", {"colour": "red", "pattern": p}) for p in PATTERNS}
    assert len(set(drawn.values())) == len(PATTERNS)
    assert "<pattern" not in drawn["plain"]
    assert all("<pattern" in svg for p, svg in drawn.items() if p != "plain")


def test_a_picture_is_a_pure_function_of_the_row() -> None:
    rows = catalogue(200, 1).to_pylist()
    assert [picture_of(r) for r in rows] == [picture_of(r) for r in catalogue(200, 1).to_pylist()]
    for row in rows:
        assert row["images"] == [ADDRESS + row["item_id"]]
        ElementTree.fromstring(picture_of(row))
        assert picture_of({**row, "price_cents": 1, "title": "x"}) == picture_of(row)


def test_rows_of_other_shops_are_drawn_too() -> None:
    for row in ({"item_id": "a"}, {"item_id": "b", "category": ["Clothing > Hats"], "attributes": None}):
        ElementTree.fromstring(picture_of(row))
    odd = {"item_id": "<&>", "category": ["A & B > <x>"], "attributes": [{"name": "colour", "text": '"/><script>'}]}
    assert "script" not in picture_of(odd)
    ElementTree.fromstring(picture_of(odd))
