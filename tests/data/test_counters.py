"""Counters and histories against a loop over the log."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.core.requests import Action
from aisle.core.shop import Counter, Events
from aisle.data.counters import ItemCounter, UserHistories

INF = float("inf")


def random_log(seed: int, size: int = 400, span_s: float = 1000.0) -> Events:
    rng = np.random.default_rng(seed)
    return Events(
        {
            # Whole seconds, so that several events share a moment and questions hit one exactly.
            "time_s": np.sort(rng.integers(0, int(span_s), size).astype(np.float64)),
            "item": rng.integers(-1, 12, size).astype(np.int32),
            "user": rng.choice(np.array([-1, 3, 2**62, 17, 5]), size),
            "action": rng.integers(0, 6, size).astype(np.int8),
        }
    )


@pytest.mark.parametrize("window_s", [INF, 50.0, 1.0])
@pytest.mark.parametrize("half_life_s", [INF, 20.0, 0.5])
def test_a_counter_is_the_sum_over_its_window(window_s: float, half_life_s: float) -> None:
    log = random_log(3)
    counter = Counter(name="clicks", action="click", window_s=window_s, half_life_s=half_life_s)
    rng = np.random.default_rng(4)
    rows, at_s = rng.integers(0, 20, 500), rng.integers(-10, 1100, 500).astype(np.float64)
    expected = []
    for row, at in zip(rows, at_s, strict=True):
        age_s = at - log["time_s"]
        counts = (log["item"] == row) & (log["action"] == Action.CLICK) & (age_s > 0) & (age_s <= window_s)
        expected.append(np.sum(0.5 ** (age_s[counts] / half_life_s)))
    np.testing.assert_allclose(ItemCounter(counter, log).at(rows, at_s), expected, rtol=1e-9, atol=1e-12)


def test_decay_stays_exact_over_a_million_half_lives() -> None:
    time_s = np.array([0.0, 1e9, 1e9 + 1, 1e9 + 2])
    log = Events({"time_s": time_s, "item": np.zeros(4, np.int32), "action": np.full(4, Action.CLICK, np.int8)})
    counter = Counter(name="c", action="click", half_life_s=1.0)
    at = np.array([1.0, 1e9 + 1, 1e9 + 3])
    assert ItemCounter(counter, log).at(np.zeros(3, np.int64), at).tolist() == [0.5, 0.5, 0.5 + 0.25 + 0.125]


def test_a_counter_of_an_empty_log_is_zero() -> None:
    log = random_log(0).take(np.zeros(0, np.int64))
    for half_life_s in (INF, 5.0):
        counter = Counter(name="c", action="order", half_life_s=half_life_s)
        assert ItemCounter(counter, log).at(np.array([0, 3]), np.array([5.0, 6.0])).tolist() == [0.0, 0.0]


def test_histories_are_the_last_actions_before() -> None:
    log = random_log(5)
    users = np.array([3, -1, 2**62, 17, 99, 2**63 - 1, 3])
    at_s = np.array([500.0, 500.0, 1e9, 0.0, 500.0, 500.0, 20.0])
    for limit in (1, 7, 1000):
        lists = UserHistories(log).at(users, at_s, limit, generation=2)
        assert lists.generation == 2
        for q, (user, at) in enumerate(zip(users, at_s, strict=True)):
            mine = (log["user"] == user) & (user >= 0) & (log["time_s"] < at) & (log["item"] >= 0)
            kept = np.flatnonzero(mine & (log["action"] != Action.IMPRESSION))[-limit:]
            one = lists.list_of(q)
            assert one.item.tolist() == log["item"][kept].tolist()
            assert one["action"].tolist() == log["action"][kept].tolist()
            assert one["time_s"].tolist() == log["time_s"][kept].tolist()
