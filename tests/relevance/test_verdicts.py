"""Which grade follows from two verdicts."""

from __future__ import annotations

from itertools import product

import pytest

from aisle.relevance._verdicts import ATTRIBUTE, CATEGORY, Parsed, RuleTable


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
