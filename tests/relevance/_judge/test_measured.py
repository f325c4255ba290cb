"""Figures of a judge: its grades, and whether it believes its own reasoning."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.relevance._judge.measured import hallucination_rate, measured
from aisle.relevance._verdicts import Parsed, RuleTable

TABLE = RuleTable(4)
SAID = [
    Parsed(3, 2, 2, 3, True),  # consistent
    Parsed(3, 0, 2, 0, True),  # its own verdicts say otherwise
    Parsed(3),
    Parsed(1, 2, 0, 1, True),
    Parsed(),
]


def test_hallucination_is_counted_among_answers_that_can_be_read():
    assert hallucination_rate(SAID, TABLE) == pytest.approx(1 / 3)
    assert hallucination_rate([Parsed(2)], TABLE) is None


def test_figures_of_chances():
    chance_NC = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.1, 0.2, 0.6], [0.1, 0.2, 0.3, 0.4]])
    found = measured(chance_NC, np.array([0, 3, 2]), 0.5, SAID)
    assert found.accuracy == 1.0
    assert found.macro_f1 == 1.0
    assert found.f1 == [1.0, None, 1.0, 1.0]
    assert found.argmax_macro_f1 < 1.0
    assert found.hallucination == pytest.approx(1 / 3)
    assert found.whole == pytest.approx(3 / 5)
