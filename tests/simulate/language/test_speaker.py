"""Each mechanism of the language gap: what it does, and that its knob turns it off."""

from __future__ import annotations

from random import Random

import pytest

from aisle.simulate.catalogue import german
from aisle.simulate.catalogue.sellers import misspelt
from aisle.simulate.catalogue.taxonomy import CODE, LEAVES
from aisle.simulate.catalogue.wording import USES
from aisle.simulate.grades.intent import Want
from aisle.simulate.knobs import Knobs
from aisle.simulate.language.speaker import OTHER_NAMES, Speaker, coined, plural, spread
from aisle.simulate.world import World
from aisle.simulate.worlds import settings_of

QUIET = {"gap": 0.0, "morphology": 0.0, "slips": 0.0, "foreign": 0.0, "drift": 0.0}
TABLE = next(n for n, leaf in enumerate(LEAVES) if leaf.shelf == "Dining Tables")


def speaker(day: float = 0.0, seed: int = 0, **knobs: float) -> Speaker:
    return Speaker(Knobs(**{**QUIET, **knobs}), Random(seed), day=day)


def nouns(count: int = 200, **knobs: float) -> set[str]:
    return {speaker(seed=n, **knobs).noun(TABLE) for n in range(count)}


def test_without_a_gap_shoppers_type_what_sellers_write() -> None:
    quiet = speaker()
    assert quiet.noun(TABLE) == quiet.noun(TABLE, synonym=True) == "dining table"
    assert quiet.value("navy") == "navy"
    assert quiet.number(Want("weight", number=500.0)) == "500 g"
    assert quiet.number(Want("pieces", number=500.0)) == "500 pieces"
    assert quiet.finished("Navy  Rug", slip=True) == "navy rug"
    assert quiet.changes == {}
    assert all(q.changes == () for q in World.make(600, 1, "null:words").queries(100))


def test_each_mechanism_brings_its_own_words() -> None:
    assert nouns(gap=1.0) == {"dining table", "kitchen table"}
    assert nouns(morphology=1.0) == {"dining table", "dining tables", "diningtable"}
    assert {speaker(seed=n, gap=1.0).value("navy") for n in range(50)} == {"navy", *OTHER_NAMES["navy"]}
    assert {speaker(seed=n, morphology=1.0).value("wool") for n in range(50)} == {"wool", "woollen"}
    assert {speaker(seed=n, morphology=1.0).number(Want("weight", number=500.0)) for n in range(50)} == {
        "500 g",
        "500g",
    }
    slipped = {speaker(seed=n, slips=1.0).finished("wardrobe", slip=True) for n in range(50)}
    assert "wardrobe" not in slipped
    assert {"wrdrobe", "wardorbe"} & slipped


def test_another_language_is_used_throughout_a_query() -> None:
    asked = World.make(800, 1, foreign=1.0, slips=0.0, hard=0.0).queries(120)
    assert all("german" in q.changes for q in asked)
    own = {word.lower() for nouns in german.NOUNS for word in (*nouns.nouns, *nouns.synonyms)}
    assert all(any(noun in q.text for noun in own) for q in asked)
    assert german.VALUES[CODE["navy"]] == "marineblau"


def test_coined_words_spread_with_time() -> None:
    early, late = (sum(spread(leaf, day, 0) for leaf in range(len(LEAVES))) for day in (0.0, 120.0))
    assert early < 0.4 * late
    assert all(spread(leaf, 200.0, 0) > 0.9 for leaf in range(len(LEAVES)))
    words = [coined(leaf, 0) for leaf in range(len(LEAVES))]
    assert len(set(words)) == len(LEAVES)
    assert [coined(leaf, 1) for leaf in range(len(LEAVES))] != words
    world = World.make(800, 1, drift=1.0)
    share = [sum("coined" in q.changes for q in world.queries(150, day=day)) for day in (0.0, 150.0)]
    assert share[0] < 0.5 * share[1]
    then, later = ({q.text for q in world.queries(150, day=day)} for day in (40.0, 60.0))
    assert len(then & later) > 100, "a word that spreads leaves the other queries alone"
    still = World.make(800, 1, "null:drift")
    assert [q.text for q in still.queries(50)] == [q.text for q in still.queries(50, day=300.0)]


def test_every_word_of_the_tables_names_something() -> None:
    known = {*CODE, *USES}
    assert not set(OTHER_NAMES) - known
    assert all(value not in names for value, names in OTHER_NAMES.items())


@pytest.mark.parametrize("name", ["gap", "morphology", "slips", "foreign", "drift"])
def test_a_null_world_is_without_its_mechanism(name: str) -> None:
    change = {"gap": "synonym", "morphology": "morphology", "slips": "slip", "foreign": "german", "drift": "coined"}[
        name
    ]
    null, adverse = (World.make(600, 2, f"{side}:{name}").queries(150) for side in ("null", "adverse"))
    assert not any(change in q.changes for q in null)
    assert sum(change in q.changes for q in adverse) > 5
    assert settings_of(f"null:{name}") == {name: 0.0}


def test_words() -> None:
    assert [plural(w) for w in ("mug", "brush", "baby", "tray", "box")] == [
        "mugs",
        "brushes",
        "babies",
        "trays",
        "boxes",
    ]
    words = Random(0)
    assert all(misspelt("blue sofa smartphone", words) != "blue sofa smartphone" for _ in range(50))
    assert misspelt("a tea", words) == "a tea"
