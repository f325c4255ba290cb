from __future__ import annotations

import numpy as np

from aisle.core.lists import ItemLists
from aisle.core.shop import Events, Judgments

JUDGED = Judgments(
    ["lamp", "ball", "rug"],
    ItemLists(np.array([1, 2, 3], np.int32), np.array([0, 2, 2, 3]), {"grade": np.array([3, 0, 2], np.int32)}),
    {0: 0.0, 2: 0.1, 3: 1.0},
)


def test_gains_follow_the_map_that_came_with_the_grades():
    assert JUDGED.gain().tolist() == [1.0, 0.0, 0.1]
    assert Judgments(JUDGED.query, JUDGED.lists).gain().tolist() == [3.0, 0.0, 2.0], "without a map a grade is its gain"
    assert Judgments(JUDGED.query, JUDGED.lists, {3: 7.0}).gain().tolist() == [7.0, 0.0, 0.0]


def test_judgments_select_keeps_queries_and_lists_together():
    some = JUDGED.select(np.array([2, 1]))
    assert list(some.query) == ["rug", "ball"]
    assert some.lists.counts.tolist() == [1, 0]
    assert some.lists.item.tolist() == [3]
    assert some.gains == JUDGED.gains


def test_events_take_every_column():
    events = Events({"time_s": np.array([1.0, 2.0, 3.0]), "item": np.array([7, 8, 9])}, ["lamp"])
    some = events.take(np.array([2, 0]))
    assert len(some) == 2
    assert some["item"].tolist() == [9, 7]
    assert some.queries == ["lamp"]
