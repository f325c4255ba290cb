"""Splits that stay put."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.core.errors import SettingError
from aisle.core.lists import ItemLists
from aisle.core.shop import Events
from aisle.data.splits import even_folds, leave_one_out, query_folds, split_time

QUERIES = [f"query {n}" for n in range(1000)]


def test_a_query_keeps_its_fold() -> None:
    folds = query_folds(QUERIES, 5)
    assert np.bincount(folds).min() > 150
    assert query_folds(QUERIES[500:600], 5).tolist() == folds[500:600].tolist()
    assert query_folds([" Query  7 "], 5)[0] == folds[7]
    assert (query_folds(QUERIES, 5, seed=1) != folds).any()
    # Pinned: folds of results that were published must not move.
    assert query_folds(["kettle", "red pan", "usb c cable"], 1000).tolist() == [650, 244, 142]
    with pytest.raises(SettingError):
        query_folds(QUERIES, 1)


def test_even_folds_are_even() -> None:
    folds = even_folds(QUERIES[:96], 5)
    assert sorted(np.bincount(folds)) == [19, 19, 19, 19, 20]
    order = np.random.default_rng(0).permutation(96)
    assert even_folds([QUERIES[n] for n in order], 5).tolist() == folds[order].tolist()


def test_split_by_time() -> None:
    events = Events({"time_s": np.array([1.0, 2.0, 2.0, 3.0]), "item": np.arange(4)})
    before, after = split_time(events, 2.0)
    assert (before["item"].tolist(), after["item"].tolist()) == ([0], [1, 2, 3])


def test_leave_one_out() -> None:
    sequences = ItemLists(np.array([1, 2, 3, 4, 5, 6, 7]), np.array([0, 4, 7]))
    train, validation, test = leave_one_out(sequences)
    assert (train.item.tolist(), train.counts.tolist()) == ([1, 2, 5], [2, 1])
    assert (validation.history.item.tolist(), validation.target.tolist()) == ([1, 2, 5], [3, 6])
    assert (test.history.item.tolist(), test.target.tolist()) == ([1, 2, 3, 5, 6], [4, 7])
    assert (test.last(1).history.item.tolist(), test.last(1).target.tolist()) == ([3, 6], [4, 7])
    with pytest.raises(SettingError, match="sequence 1 has 2 items"):
        leave_one_out(ItemLists(np.arange(5), np.array([0, 3, 5])))
