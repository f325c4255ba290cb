"""The judge's language: what is written is read again, and what breaks the grammar is seen."""

from __future__ import annotations

from itertools import product

import pytest

from aisle.relevance._judge.grammar import Grammar
from aisle.relevance._scale import MEANINGS_OF_4
from aisle.relevance._verdicts import Parsed, Rationale

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
