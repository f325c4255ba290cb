"""The rule table by hand: verdicts of every step, and the grade that follows from them."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.core.errors import SettingError
from aisle.simulate.catalogue.taxonomy import CODE, LEAVES
from aisle.simulate.grades.intent import Intent, Want
from aisle.simulate.grades.rules import ATTRIBUTE, CATEGORY, GAINS, NEAR, RULES, holds, judge, steps
from aisle.simulate.world import World

PLACE = {leaf.shelf: n for n, leaf in enumerate(LEAVES)}


@pytest.fixture(scope="module")
def row(world: World) -> int:
    """A women's jacket."""
    women = world.truth.texts["gender"] == CODE["women"]
    return int(np.flatnonzero((world.truth.leaf == PLACE["Jackets"]) & women)[0])


def grade(world: World, row: int, leaf: str, *wants: Want) -> int:
    return int(judge(world.truth, Intent(PLACE[leaf], wants), np.array([row])).grade[0])


def test_every_pair_of_verdicts_has_its_rule_and_the_table_is_that_of_the_cards() -> None:
    assert [(r.category, r.attribute) for r in RULES] == [(c, a) for c in CATEGORY for a in ATTRIBUTE]
    expected = {"mismatch": (1, 1, 1), "near": (2, 3, 3), "match": (2, 3, 4)}
    assert [r.grade for r in RULES] == [g for c in CATEGORY for g in expected[c]]
    assert sorted(GAINS) == [1, 2, 3, 4]
    assert GAINS[2] < 1 <= GAINS[3], "only grades 3 and 4 count as relevant"


def test_grades_by_hand(world: World, row: int) -> None:
    truth = world.truth
    brand = truth.brands[truth.brand[row]]
    other = next(b for b in truth.brands if b != brand)
    price = float(truth.price_cents[row])
    cheap, dear, low = (Want("price_cents", number=price / over) for over in (1.0, 1.2, 2.0))
    women, men = (Want("gender", text, text) for text in ("women", "men"))
    assert grade(world, row, "Jackets") == grade(world, row, "Jackets", women, cheap, Want("brand", brand)) == 4
    assert grade(world, row, "Jackets", dear) == grade(world, row, "Jackets", low) == 3, "secondary, nearly or not"
    assert grade(world, row, "Jackets", Want("brand", other)) == grade(world, row, "Jackets", men) == 2, "core"
    assert grade(world, row, "Raincoats", cheap) == grade(world, row, "Raincoats", low) == 3, "a substitute"
    assert grade(world, row, "Raincoats", men) == 2
    assert grade(world, row, "Laptops") == grade(world, row, "Dresses") == 1


def test_more_than_one_secondary_want_contradicted_is_a_conflict(world: World, row: int) -> None:
    truth = world.truth
    wrong = next(f for f in ("red", "green", "blue") if truth.families["colour"][row] != CODE[f])
    colour, low = Want("colour", wrong, wrong), Want("price_cents", number=truth.price_cents[row] / 3)
    assert grade(world, row, "Jackets", colour) == grade(world, row, "Jackets", low) == 3
    assert grade(world, row, "Jackets", colour, low) == 2


def test_a_shade_counts_for_its_family_and_a_negated_family_for_all_its_shades(world: World) -> None:
    truth = world.truth
    navy = np.flatnonzero(truth.texts["colour"] == CODE["navy"])
    assert len(navy)

    def verdicts(text: str, family: str, *, negated: bool = False) -> set[int]:
        return set(holds(truth, Want("colour", text, family, negated=negated), navy).tolist())

    assert verdicts("blue", "blue") == verdicts("navy", "blue") == {2}
    assert verdicts("sky blue", "blue") == {1}
    assert verdicts("red", "red") == {0}
    assert verdicts("blue", "blue", negated=True) == verdicts("sky blue", "blue", negated=True) == {0}
    assert verdicts("red", "red", negated=True) == {2}


def test_several_shelves_may_answer(world: World) -> None:
    intent = Intent(PLACE["Coffee"], (), (PLACE["Mugs"],))
    grade = judge(world.truth, intent).grade
    leaf = world.truth.leaf
    assert (grade[(leaf == PLACE["Coffee"]) | (leaf == PLACE["Mugs"])] == 4).all()
    assert (grade[leaf == PLACE["Tea"]] == 3).all()
    assert NEAR[PLACE["Coffee"], PLACE["Tea"]]
    assert (NEAR == NEAR.T).all()
    assert not NEAR.diagonal().any()


def test_steps_say_why(world: World, row: int) -> None:
    want = Want("price_cents", number=float(world.truth.price_cents[row]) / 1.2)
    said = steps(world.truth, Intent(PLACE["Jackets"], (Want("gender", "women", "women"), want)), row)
    assert said.query.startswith("jacket; gender women (core); price up to")
    assert "gender women" in said.item
    assert said.category == "match : asked jacket, is jacket"
    assert said.attribute.startswith("partial : gender women: holds; price up to")
    assert said.verdict == "3 : the right kind, but something of lesser weight is missed"
    assert str(said).count("\n") == 4


def test_a_want_that_no_item_can_have_is_refused(world: World) -> None:
    with pytest.raises(SettingError, match="no item of this world has a 'horsepower'"):
        holds(world.truth, Want("horsepower", "many", "many"), np.array([0]))
