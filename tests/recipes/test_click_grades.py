"""Grades read from a log: position is taken out, and what shoppers prefer is graded higher."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.core.errors import DataError
from aisle.data.event_columns import events_of, no_events
from aisle.data.items import ItemTable
from aisle.recipes.click_grades import GAINS, click_grades
from aisle.simulate.loop.log import log
from aisle.simulate.loop.policies import UniformPolicy
from aisle.simulate.world import World


def test_grades_from_clicks_follow_the_truth() -> None:
    world = World.make(800, 2, taste=0.0, turnover=0.0)
    table = log(world, 3, 6000, policy=UniformPolicy(world), num_queries=40)
    found = click_grades(events_of(table, ItemTable.from_table(world.items)))
    truth = {q.text: world.grades(q) for q in world.queries(40)}
    asked = [n for n, text in enumerate(found.query) if text in truth]
    assert len(asked) > 20
    grade = np.concatenate([found.lists.list_of(n)["grade"] for n in asked])
    true = np.concatenate([truth[found.query[n]][found.lists.list_of(n).item] for n in asked])
    assert set(np.unique(grade)) == set(GAINS)
    assert true[grade == 4].mean() > true[grade == 1].mean() + 0.5
    assert np.corrcoef(grade, true)[0, 1] > 0.25


def test_a_log_that_says_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="longer log"):
        click_grades(no_events())
