"""The judge's language: what is written is read again, and what breaks the grammar is seen."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from aisle.core.errors import ContractError, SettingError
from aisle.relevance._grammar import ATTRIBUTE, CATEGORY, Grammar, Parsed, Rationale, RuleTable
from aisle.relevance._scale import MEANINGS_OF_4, scale_of

NAMES = tuple(name for name, _ in MEANINGS_OF_4)


@pytest.mark.parametrize(("order", "form"), list(product(("label_first", "reason_first"), ("short", "steps"))))
class TestBothWays:
    def test_what_is_written_is_read_again(self, order, form):
        grammar = Grammar(NAMES, order, form)
        for label, category, attribute in product(range(4), range(3), range(3)):
            rationale = Rationale(
                label, category, attribute, label, ("a lamp", "a blue lamp", "same kind", "blue", "fits")
            )
            assert grammar.read(grammar.write(rationale)) == Parsed(label, category, attribute, label, True)

    def test_what_lacks_a_part_or_has_one_twice_is_incomplete(self, order, form):
        grammar = Grammar(NAMES, order, form)
        text = grammar.write(Rationale(2, 2, 1, 2))
        assert not grammar.read(text.replace("<category:match>", "")).complete
        assert not grammar.read(f"{text} {text}").complete
        assert grammar.read("").label is None

    def test_every_mark_is_declared(self, order, form):
        grammar = Grammar(NAMES, order, form)
        text = grammar.write(Rationale(3, 0, 0, 3))
        assert all(part in grammar.marks for part in text.split())


def test_a_label_alone():
    grammar = Grammar(NAMES, "label_only")
    assert grammar.write(Rationale(3, 2, 2, 3)) == "<excellent>"
    assert grammar.read("<excellent>") == Parsed(3, complete=True)
    assert not grammar.read("<excellent> <related>").complete


def test_a_label_in_the_wrong_place_is_none():
    first, last = Grammar(NAMES, "label_first"), Grammar(NAMES, "reason_first")
    assert first.read(last.write(Rationale(1, 2, 0, 1))).label is None


class TestRuleTable:
    def test_four_grades(self):
        table = RuleTable(4)
        expected = {
            **{(0, a): 0 for a in range(3)}, (1, 0): 1, (2, 0): 1, (1, 1): 2, (2, 1): 2, (1, 2): 2, (2, 2): 3,
        }  # fmt: skip
        assert {(c, a): table.label(c, a) for c, a in product(range(3), range(3))} == expected

    @pytest.mark.parametrize("num_grades", [2, 3, 4, 5])
    def test_better_verdicts_never_lower_the_label(self, num_grades):
        table = RuleTable(num_grades)
        for c, a in product(range(3), range(3)):
            assert c == 2 or table.label(c + 1, a) >= table.label(c, a)
            assert a == 2 or table.label(c, a + 1) >= table.label(c, a)
        assert table.label(2, 2) == num_grades - 1

    def test_verdicts_lead_back_to_their_label(self):
        table = RuleTable(4)
        for label in range(4):
            assert table.verdicts(label)
            assert all(table.label(*pair) == label for pair in table.verdicts(label))
        assert table.verdicts(3) == [(CATEGORY.index("match"), ATTRIBUTE.index("all"))]

    def test_a_label_against_its_own_reasoning_is_a_hallucination(self):
        table = RuleTable(4)
        assert table.contradicts(Parsed(3, 2, 0, 3, True))
        assert not table.contradicts(Parsed(1, 2, 0, 1, True))
        assert not table.contradicts(Parsed(3))


class TestScale:
    def test_words_by_the_number_of_grades(self):
        assert scale_of([1, 2, 3, 4]).names == NAMES
        assert scale_of([0, 1, 2, 3, 4]).names[-1] == "exact"
        assert scale_of([0, 1]).names == ("level0", "level1")

    def test_places(self):
        scale = scale_of([4, 2, 1, 3])
        assert scale.places(np.array([1, 4, 2])).tolist() == [0, 3, 1]
        with pytest.raises(ContractError, match="a grade 9"):
            scale.places(np.array([1, 9]))

    def test_one_grade_is_no_scale(self):
        with pytest.raises(SettingError):
            scale_of([3])
